"""The control interface under `/dev`: what a test does to the node from another process."""

import json
from collections.abc import Awaitable, Callable
from typing import Any, Protocol

from aiohttp import web
from pydantic import ValidationError

from infra.localnet.pocket.genesis import GenesisError
from infra.localnet.pocket.misbehaviour import MISBEHAVIOUR, Misbehaviour

MOST_BLOCKS = 100_000
"""Blocks per `step` request."""
LONGEST_RESTART = 600
"""Seconds for which a `restart` request may keep the node away."""


class Controlled(Protocol):
    """The node as the control interface sees it."""

    def step(self, blocks: int = 1) -> int:
        """Make blocks; the new height."""
        ...

    def fund(self, address: str, amount: int) -> int:
        """Mint uPOKT; the new balance."""
        ...

    def inject(self, raw: bytes) -> str:
        """Put bytes into the next block unchecked; their hash."""
        ...

    def drop(self, hash_: str | None = None) -> tuple[str, ...]:
        """Take transactions out of the mempool; their hashes."""
        ...

    def restart(self, seconds: float = 0.0) -> None:
        """Go away and come back."""
        ...

    def misbehave(self, *switches: Misbehaviour) -> None:
        """Turn misbehaviours on."""
        ...

    def behave(self, *kinds: str) -> None:
        """Turn misbehaviours off."""
        ...

    def dump(self) -> dict[str, Any]:
        """Everything worth knowing, as JSON."""
        ...


class _BadRequestError(Exception):
    """A control request that cannot be carried out."""


def routes(node: Controlled) -> list[web.RouteDef]:
    """The routes of the interface."""

    def step(body: dict[str, Any]) -> object:
        blocks = _integer(body, "blocks", 1)
        if not 1 <= blocks <= MOST_BLOCKS:
            raise _BadRequestError(f"blocks: must be 1 to {MOST_BLOCKS}, is {blocks}")
        return {"height": node.step(blocks)}

    def fund(body: dict[str, Any]) -> object:
        return {"balance": str(node.fund(_text(body, "address"), _integer(body, "amount")))}

    def inject(body: dict[str, Any]) -> object:
        return {"hash": node.inject(bytes.fromhex(_text(body, "raw_hex_bytes")))}

    def drop(body: dict[str, Any]) -> object:
        return {"dropped": list(node.drop(_text(body, "hash") if "hash" in body else None))}

    def restart(body: dict[str, Any]) -> object:
        seconds = body.get("seconds", 0)
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 <= seconds <= LONGEST_RESTART:
            raise _BadRequestError(f"seconds: must be 0 to {LONGEST_RESTART}")
        node.restart(seconds)
        return {"seconds": seconds}

    def misbehave(body: dict[str, Any]) -> object:
        node.misbehave(MISBEHAVIOUR.validate_python(body))
        return {"misbehaviours": node.dump()["misbehaviours"]}

    def behave(body: dict[str, Any]) -> object:
        kinds = body.get("kinds", [])
        if not isinstance(kinds, list) or not all(isinstance(kind, str) for kind in kinds):
            raise _BadRequestError("kinds: must be a list of strings")
        node.behave(*kinds)
        return {"misbehaviours": node.dump()["misbehaviours"]}

    async def state(_: web.Request) -> web.Response:
        return web.json_response(node.dump())

    calls = {"step": step, "fund": fund, "inject": inject, "drop": drop, "restart": restart}
    calls |= {"misbehave": misbehave, "behave": behave}
    return [web.get("/dev/state", state), *(web.post(f"/dev/{name}", _handler(call)) for name, call in calls.items())]


def _handler(call: Callable[[dict[str, Any]], object]) -> Callable[[web.Request], Awaitable[web.Response]]:
    async def handle(request: web.Request) -> web.Response:
        text = await request.text()
        try:
            return web.json_response(call(_object(text)))
        except (_BadRequestError, ValidationError, GenesisError, RuntimeError, ValueError) as error:
            return web.json_response({"error": str(error)}, status=400)

    return handle


def _object(text: str) -> dict[str, Any]:
    body = json.loads(text) if text else {}
    if not isinstance(body, dict):
        raise _BadRequestError("the body must be a JSON object")
    return body


def _text(body: dict[str, Any], name: str) -> str:
    value = body.get(name)
    if not isinstance(value, str):
        raise _BadRequestError(f"{name}: must be a string")
    return value


def _integer(body: dict[str, Any], name: str, default: int | None = None) -> int:
    value = body.get(name, default)
    if isinstance(value, bool) or not isinstance(value, int | str):
        raise _BadRequestError(f"{name}: must be a whole number")
    return int(value)
