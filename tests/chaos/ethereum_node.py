"""One validator's own Ethereum node: anvil behind a relay of ours, which fails or lies on demand."""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable
from typing import Any, Final

import aiohttp
from aiohttp import web
from eth_utils.crypto import keccak

from infra.localnet.ports import HOST, free_port

BURN_TOPIC: Final = "0x" + keccak(b"BurnAndBridge(uint256,address,address)").hex()
FORGED_TX: Final = "0x" + "f0" * 32
FORGED_AMOUNT: Final = 1_234_567
DROPPED_BLOCKS: Final = 3
"""So many of the newest blocks a node does not show any more."""
_AT_A_BLOCK: Final = {"eth_call": 1, "eth_getTransactionCount": 1, "eth_getBalance": 1, "eth_getCode": 1}
LAGGING_BLOCKS: Final = 6
"""So many of the newest blocks the backend that answers for logs does not have, though heads and headers come from others."""
_REFUSALS: Final = {
    "401": (401, '{"error":"invalid api key"}', "application/json"),
    "403": (403, "<html><body><h1>403 Forbidden</h1></body></html>\n", "text/html"),
    "404": (404, "default backend - 404", "text/plain"),
}
_ABSURD: Final = "Mon, 01 Jan 9999999999 00:00:00 GMT"
_HTML = "<!DOCTYPE html>\n<html><body><h1>Checking your browser</h1></body></html>\n"

Answer = dict[str, Any]


class EthereumNode:
    """`how` None: it serves truly. `url` is for the validator's configuration.

    What a lagging node does not have it does not show: heads, blocks, receipts, logs and states above are not there.
    """

    def __init__(self, upstream: str, token: str) -> None:
        self._upstream = upstream
        self._token = token
        self._port = free_port()
        self._how: str | None = None
        self._over = asyncio.Event()
        self._stands_at = 0
        self._session: aiohttp.ClientSession | None = None
        self._runner: web.AppRunner | None = None

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self._port}"

    async def start(self) -> None:
        """Listen."""
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60))
        await self._listen()

    async def _listen(self) -> None:
        app = web.Application(client_max_size=8 << 20)
        app.router.add_post("/", self._serve)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.5)
        await self._runner.setup()
        await web.TCPSite(self._runner, HOST, self._port).start()

    async def close(self) -> None:
        """Stop listening, and let go of whoever hangs."""
        self.behave()
        if self._runner is not None:
            await self._runner.cleanup()
        if self._session is not None:
            await self._session.close()

    async def misbehave(self, how: str) -> None:
        """From now on."""
        self._stands_at = int((await self._ask("eth_blockNumber", []))["result"], 16)
        self._over = asyncio.Event()
        self._how = how
        if how == "refused" and self._runner is not None:
            runner, self._runner = self._runner, None
            await runner.cleanup()

    async def mend(self) -> None:
        """Serve truly; who hangs is let go."""
        self.behave()
        if self._runner is None:
            await self._listen()

    def behave(self) -> None:
        """Answer truly from now on, where it listens."""
        self._how = None
        self._over.set()

    async def _serve(self, request: web.Request) -> web.StreamResponse:
        body = await request.read()
        spoiled = await self._spoiled(request)
        if spoiled is not None:
            return spoiled
        asked = json.loads(body)
        answers = [await self._answer(one) for one in asked] if isinstance(asked, list) else await self._answer(asked)
        text = json.dumps(answers)
        if self._how == "truncated":
            text = text[: len(text) // 2]
        return web.Response(text=text, content_type="application/json")

    async def _spoiled(self, request: web.Request) -> web.StreamResponse | None:
        match self._how:
            case "timeout":
                await self._over.wait()
                return web.Response(status=504)
            case "slow":
                await asyncio.sleep(1)
            case "429":
                return web.Response(status=429, text="Too Many Requests", headers={"Retry-After": "1"})
            case "503":
                return web.Response(status=503, text="upstream request timeout")
            case "absurd_date":
                return web.Response(status=429, text="Too Many Requests", headers={"Retry-After": _ABSURD})
            case "401" | "403" | "404":
                status, text, kind = _REFUSALS[self._how]
                return web.Response(status=status, text=text, content_type=kind)
            case "reset":
                assert request.transport is not None
                request.transport.abort()
                return web.Response()
            case "empty":
                return web.Response(content_type="application/json")
            case "html":
                return web.Response(text=_HTML, content_type="text/html")
            case "garbage":
                return web.Response(body=b'{"jsonrpc":"2.0","result":' + os.urandom(200), content_type="application/json")
        return None

    async def _answer(self, asked: Answer) -> Answer:
        method, params = asked["method"], asked.get("params") or []
        lie: Callable[[str, list[Any]], Any] | None = getattr(self, f"_lie_{self._how}", None) if self._how else None
        answer = await (lie(method, params) if lie else self._ask(method, params))
        return {**answer, "id": asked.get("id")}

    async def _ask(self, method: str, params: list[Any]) -> Answer:
        assert self._session is not None
        async with self._session.post(
            self._upstream, json={"jsonrpc": "2.0", "id": 1, "method": method, "params": params}
        ) as got:
            return dict(await got.json())

    # --- lies ----------------------------------------------------------------------------------------------------

    async def _lie_wrong_chain(self, method: str, params: list[Any]) -> Answer:
        return {"jsonrpc": "2.0", "result": "0x1"} if method == "eth_chainId" else await self._ask(method, params)

    async def _lie_stale(self, method: str, params: list[Any]) -> Answer:
        return await self._up_to(self._stands_at, method, params)

    async def _lie_dropped_blocks(self, method: str, params: list[Any]) -> Answer:
        head = int((await self._ask("eth_blockNumber", []))["result"], 16)
        return await self._up_to(max(0, head - DROPPED_BLOCKS), method, params)

    async def _up_to(self, last: int, method: str, params: list[Any]) -> Answer:
        if method == "eth_blockNumber":
            return {"jsonrpc": "2.0", "result": hex(last)}
        if method == "eth_getBlockByNumber":
            params = [hex(last) if params[0] == "latest" else params[0], *params[1:]]
        place = _AT_A_BLOCK.get(method)
        if place is not None and params[place:] == ["latest"]:
            params = [*params[:place], hex(last)]
        answer = await self._ask(method, params)
        result = answer.get("result")
        if isinstance(result, list):
            return {**answer, "result": [one for one in result if int(one["blockNumber"], 16) <= last]}
        number = result.get("blockNumber", result.get("number")) if isinstance(result, dict) else None
        return {**answer, "result": None} if number is not None and int(number, 16) > last else answer

    async def _lie_limit(self, method: str, params: list[Any]) -> Answer:
        return {"jsonrpc": "2.0", "error": {"code": -32007, "message": "50/second request limit reached"}}

    async def _lie_lagging_logs(self, method: str, params: list[Any]) -> Answer:
        answer = await self._ask(method, params)
        if not _logs(method, answer):
            return answer
        last = int((await self._ask("eth_blockNumber", []))["result"], 16) - LAGGING_BLOCKS
        return {**answer, "result": [one for one in answer["result"] if int(one["blockNumber"], 16) <= last]}

    async def _lie_duplicated_events(self, method: str, params: list[Any]) -> Answer:
        answer = await self._ask(method, params)
        return {**answer, "result": [*answer["result"], *answer["result"]]} if _logs(method, answer) else answer

    async def _lie_hidden_events(self, method: str, params: list[Any]) -> Answer:
        answer = await self._ask(method, params)
        return {**answer, "result": []} if _logs(method, answer) else answer

    async def _lie_forged_event(self, method: str, params: list[Any]) -> Answer:
        answer = await self._ask(method, params)
        if not _logs(method, answer) or BURN_TOPIC not in json.dumps(params):
            return answer
        block = (await self._ask("eth_getBlockByNumber", [params[0]["toBlock"], False])).get("result")
        return {**answer, "result": [*answer["result"], self._forged(block)]} if block else answer

    def _forged(self, block: dict[str, Any]) -> dict[str, Any]:
        """A burn that never was, in the last block that was asked for."""
        someone = "0x" + ("ab" * 20).rjust(64, "0")
        return {
            "address": self._token,
            "topics": [BURN_TOPIC, "0x" + FORGED_AMOUNT.to_bytes(32, "big").hex(), someone, someone],
            "data": "0x",
            "blockHash": block["hash"],
            "blockNumber": block["number"],
            "blockTimestamp": block["timestamp"],
            "transactionHash": FORGED_TX,
            "transactionIndex": "0x0",
            "logIndex": "0x0",
            "removed": False,
        }


def _logs(method: str, answer: Answer) -> bool:
    return method == "eth_getLogs" and isinstance(answer.get("result"), list)
