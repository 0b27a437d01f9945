"""Liars: HTTP proxies before real nodes, that tamper with answers, hide events, show other blocks, throttle or hang."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import aiohttp
from aiohttp import web
from ethereum_helpers import Answer, Fault, Front, Proxy, result

from infra.localnet.ports import HOST
from reactor.chains.ethereum.contracts import BURN_TOPIC

OTHER_HASH = "0x" + "12" * 32
Change = Callable[[str, Any, Any], Any]
"""(method or call, parameters or body, honest answer) → the answer that is given instead."""


# --- Ethereum --------------------------------------------------------------------------------------------------------


def tampering(proxy: Proxy, change: Change) -> Fault:
    """Lets each call through and changes its result."""

    async def fault(method: str, params: list[Any]) -> Answer:
        answer = await proxy.forward(method, params)
        return result(change(method, params, answer["result"])) if "result" in answer else None

    return fault


def _other(hex_hash: str) -> str:
    """Certainly another one."""
    return f"{15 - int(hex_hash[0], 16):x}{hex_hash[1:]}"


def _more(method: str, params: Any, answer: Any) -> Any:
    """Burns of a hundred times as much."""
    if method != "eth_getLogs" and method != "eth_getTransactionReceipt":
        return answer
    for log in answer if isinstance(answer, list) else answer["logs"]:
        if log["topics"][0] == BURN_TOPIC:
            log["topics"][1] = "0x" + f"{int(log['topics'][1], 16) * 100:064x}"
    return answer


def _hidden(method: str, params: Any, answer: Any) -> Any:
    return [] if method == "eth_getLogs" else answer


def _invented(method: str, params: Any, answer: Any) -> Any:
    """Each burn twice, the second in a transaction that never was."""
    if method != "eth_getLogs":
        return answer
    return [*answer, *({**log, "transactionHash": OTHER_HASH} for log in answer)]


def _forked(method: str, params: Any, answer: Any) -> Any:
    """Another hash for every block."""
    return {**answer, "hash": "0x" + _other(answer["hash"][2:])} if method == "eth_getBlockByNumber" and answer else answer


def _foreign(method: str, params: Any, answer: Any) -> Any:
    return "0x1" if method == "eth_chainId" else answer


TAMPERED: dict[str, Change] = {
    "a tampered amount": _more,
    "a hidden burn": _hidden,
    "an invented burn": _invented,
    "another block hash": _forked,
    "another chain": _foreign,
}


async def _hang(method: str, params: list[Any]) -> Answer:
    await asyncio.sleep(60)
    return None


def throttled(seconds: int) -> Fault:
    """It says that it wants to be left alone for so long."""
    return lambda method, params: web.Response(status=429, headers={"Retry-After": str(seconds)}, text="slow down")


FAULTS: dict[str, Fault] = {
    "429": throttled(1),
    "HTML": lambda method, params: web.Response(text="<html>hello</html>", content_type="text/html"),
    "a hang": _hang,
}
LIES = (*TAMPERED, *FAULTS)


def lie(proxy: Proxy, name: str) -> None:
    """From now on the proxy does this."""
    proxy.fault = FAULTS[name] if name in FAULTS else tampering(proxy, TAMPERED[name])


# --- Pocket ----------------------------------------------------------------------------------------------------------


@dataclass
class PocketProxy(Front):
    """Before a Pocket node: `change` alters each answer, or gives one of its own."""

    change: Change | None = None
    hangs: bool = False

    @property
    def url(self) -> str:
        return f"http://{HOST}:{self.port}"

    async def answer(self, request: web.Request) -> web.StreamResponse:
        call = request.path.removeprefix("/v1/")
        body = await request.json()
        self.calls.append(call)
        if self.hangs:
            await asyncio.sleep(60)
        url = f"{self.upstream}{request.path}"
        async with aiohttp.ClientSession() as session, session.post(url, json=body) as response:
            status, said = response.status, json.loads(await response.text())
        if self.change is not None and status == 200:
            said = self.change(call, body, said)
        return said if isinstance(said, web.StreamResponse) else web.json_response(said, status=status)


def _less(call: str, body: Any, answer: Any) -> Any:
    """Every transaction is said to have failed."""
    if call == "query/accounttxs":
        for tx in answer["txs"] or []:
            tx["tx_result"]["code"] = 7
    if call == "query/tx":
        answer["tx_result"]["code"] = 7
    return answer


def _nothing(call: str, body: Any, answer: Any) -> Any:
    """No deposit, and blocks without transactions."""
    if call == "query/block":
        answer["block"]["data"]["txs"] = None
    return {"page_count": 0, "total_txs": 0, "txs": []} if call == "query/accounttxs" else answer


def _other_block(call: str, body: Any, answer: Any) -> Any:
    if call == "query/block":
        answer["block_id"]["hash"] = _other(answer["block_id"]["hash"])
    return answer


def _other_chain(call: str, body: Any, answer: Any) -> Any:
    if call == "query/block":
        answer["block"]["header"]["chain_id"] = "mainnet"
    return answer


POCKET_LIES: dict[str, Change] = {
    "a tampered outcome": _less,
    "hidden deposits": _nothing,
    "another block hash": _other_block,
    "another chain": _other_chain,
    "429": lambda call, body, answer: web.Response(status=429, headers={"Retry-After": "1"}, text="slow down"),
    "HTML": lambda call, body, answer: web.Response(text="<html>hello</html>", content_type="text/html"),
}


@asynccontextmanager
async def pocket_proxy(upstream: str, change: Change | None = None) -> AsyncIterator[PocketProxy]:
    proxy = PocketProxy(upstream, change)
    async with proxy.serving("/v1/{tail:.*}", handler_cancellation=True, access_log=None):
        yield proxy
