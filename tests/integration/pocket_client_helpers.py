"""A server that answers like a Pocket node, like an older one, and like a broken one; and our client of it."""

import base64
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer

from reactor.chains.pocket import (
    Endpoint,
    PocketChain,
    RetryPolicy,
    connect,
    tx_hash,
)
from reactor.chains.pocket.morse.codec import Coin, SendMsg, StdTx, encode_tx

VECTORS = {
    vector["id"]: vector for vector in json.loads((Path(__file__).parents[1] / "vectors" / "pocket.json").read_text())["vectors"]
}
VAULT, USER = "aa" * 20, "bb" * 20
FAST = RetryPolicy(rounds=2, wait_initial=0.001, wait_max=0.002)


def send(entropy: int, sender: str = USER, recipient: str = VAULT, amount: int = 5) -> bytes:
    return encode_tx(StdTx(SendMsg(sender, recipient, amount), (Coin(10000),), b"k" * 32, b"s" * 64, "", entropy))


@dataclass
class Entry:
    raw: bytes
    height: int
    index: int
    sender: str = USER
    recipient: str = VAULT
    code: int = 0

    def shown(self) -> dict[str, Any]:
        return {
            "hash": tx_hash(self.raw).upper(),
            "height": self.height,
            "index": self.index,
            "proof": {"data": None, "root_hash": ""},
            "stdTx": {"entropy": 1000, "fee": [], "memo": "", "msg": None, "signature": {}},
            "tx": base64.b64encode(self.raw).decode(),
            "tx_result": {
                "code": self.code,
                "codespace": "sdk" if self.code else "",
                "data": None,
                "events": None,
                "info": "",
                "log": "",
                "message_type": "send",
                "recipient": self.recipient.upper(),
                "signer": self.sender.upper(),
            },
        }


@dataclass
class Node:
    """A node's `/v1` with the shapes of RC-0.9.2, and switches for how others differ."""

    height: int = 100
    chain_id: str = "localnet"
    entries: list[Entry] = field(default_factory=list)
    unindexed: list[bytes] = field(default_factory=list)
    mempool: set[str] = field(default_factory=set)
    honours_height: bool = True
    newest_first: bool = False
    shuffled: bool = False
    page_cap: int = 1000
    old_block: bool = False
    override: dict[str, Callable[[dict[str, Any]], web.Response | None]] = field(default_factory=dict)
    seen: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    url: str = ""

    async def handle(self, request: web.Request) -> web.Response:
        call = request.path.removeprefix("/v1/")
        body = json.loads(await request.text() or "{}")
        self.seen.append((call, body))
        if call in self.override and (answer := self.override[call](body)) is not None:
            return answer
        method = getattr(self, "on_" + call.replace("/", "_"), None)
        if method is None:
            return web.Response(status=404, text="404 page not found\n")
        return method(body)

    def on_query_height(self, body: dict[str, Any]) -> web.Response:
        return reply({"height": self.height})

    def on_query_block(self, body: dict[str, Any]) -> web.Response:
        height = body.get("height") or self.height
        if height > self.height:
            return refuse(f"height {height} must be less than or equal to the current blockchain height {self.height}")
        raws = [entry.raw for entry in sorted(self.entries, key=lambda one: one.index) if entry.height == height]
        raws += self.unindexed if height == self.height else []
        header = {"chain_id": self.chain_id, "height": str(height), "time": "2020-03-10T00:04:35.159615123Z"}
        block_id = {"hash": f"{height:064X}", "parts": {"hash": "AB", "total": "1"}}
        texts = [base64.b64encode(raw).decode() for raw in raws]
        block = {"data": {"txs": texts or None}, "header": header, "evidence": {"evidence": None}}
        return reply({"block": block} | ({"block_meta": {"block_id": block_id}} if self.old_block else {"block_id": block_id}))

    def on_query_accounttxs(self, body: dict[str, Any]) -> web.Response:
        key = "recipient" if body["received"] else "sender"
        found = [entry for entry in self.entries if getattr(entry, key) == body["address"]]
        if self.honours_height:
            found = [entry for entry in found if entry.height >= body["height"]]
        found.sort(key=lambda entry: (entry.height, entry.index), reverse=self.newest_first)
        if self.shuffled:
            found = [entry for pair in zip(found[1::2], found[::2], strict=False) for entry in pair] + (
                found[-1:] if len(found) % 2 else []
            )
        size = min(body["per_page"], self.page_cap)
        page = found[(body["page"] - 1) * size : body["page"] * size]
        return reply({"page_count": len(page), "total_txs": len(found), "txs": [entry.shown() for entry in page]})

    def on_query_tx(self, body: dict[str, Any]) -> web.Response:
        for entry in self.entries:
            if tx_hash(entry.raw) == body["hash"]:
                return reply(entry.shown())
        return refuse(f"tx ({body['hash'].upper()}) not found")

    def on_query_unconfirmedtx(self, body: dict[str, Any]) -> web.Response:
        return reply({"hash": body["hash"].upper()} if body["hash"] in self.mempool else None)

    def on_query_balance(self, body: dict[str, Any]) -> web.Response:
        return reply({"balance": 577231840000 if body["address"] == VAULT else 0})

    def on_query_param(self, body: dict[str, Any]) -> web.Response:
        return reply({"param_key": body["key"], "param_value": '"8"'})

    def on_client_rawtx(self, body: dict[str, Any]) -> web.Response:
        if not body["raw_hex_bytes"]:
            return reply({"code": 2, "logs": None, "raw_log": "txBytes are empty", "txhash": tx_hash(b"").upper()})
        return reply({"logs": None, "txhash": tx_hash(bytes.fromhex(body["raw_hex_bytes"])).upper()})


def reply(value: Any, status: int = 200) -> web.Response:
    return web.Response(status=status, text=json.dumps(value) + "\n", content_type="application/json")


def refuse(message: str, status: int = 400) -> web.Response:
    return reply({"code": status, "message": message}, status)


@contextlib.asynccontextmanager
async def serving(*nodes: Node) -> AsyncIterator[None]:
    async with contextlib.AsyncExitStack() as stack:
        for node in nodes:
            app = web.Application()
            app.router.add_post("/v1/{tail:.*}", node.handle)
            server = await stack.enter_async_context(TestServer(app))
            node.url = str(server.make_url("/"))
        yield


def client_of(*nodes: Node, page_size: int = 3, timeout: float = 10.0) -> PocketChain:
    endpoints = [Endpoint.parse(node.url, f"node{position}") for position, node in enumerate(nodes)]
    return connect(endpoints, chain_id="localnet", retry=FAST, page_size=page_size, timeout=timeout)


# Fixtures. A module takes them under its tests' own names, as `node` is another server in other modules.


@pytest.fixture
async def served_node() -> AsyncIterator[Node]:
    """A node with 100 blocks and no transactions, that answers."""
    node = Node()
    async with serving(node):
        yield node


@pytest.fixture
async def client_of_node(node: Node) -> AsyncIterator[PocketChain]:
    """Our client of the module's `node`."""
    async with client_of(node) as chain:
        yield chain
