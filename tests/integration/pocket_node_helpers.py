"""What the tests of the development node share: who pays whom, and how the node is asked over HTTP."""

import io
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from infra.localnet.pocket import Genesis, PocketNode, Vault, Wallet

ROOT = Path(__file__).parents[2]
VECTORS = json.loads((ROOT / "tests" / "vectors" / "pocket.json").read_text())["vectors"]
ALICE, BOB = Wallet.from_seed("alice"), Wallet.from_seed("bob")
VAULT = Vault.from_seeds(3)
RICH = 10**12
MEMO = '{"address":"0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266","chain_id":"31337"}'
NO_PROOF = {"data": None, "proof": {"aunts": None, "index": 0, "leaf_hash": None, "total": 0}, "root_hash": ""}


def rich_genesis() -> Genesis:
    return Genesis(balances={ALICE.address: RICH, VAULT.address: RICH})


# Fixtures. A module takes them under its tests' own names, as `node` is another server in other modules.


@pytest.fixture
async def rich_node() -> AsyncIterator[PocketNode]:
    """The development node at its first block, where Alice and the vault are rich."""
    async with PocketNode(rich_genesis()) as running:
        yield running


@pytest.fixture
async def http_session() -> AsyncIterator[aiohttp.ClientSession]:
    """Asks over HTTP, and gives up after a minute."""
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=60)) as session:
        yield session


class Answer:
    """Status, headers and text of an answer."""

    def __init__(self, status: int, headers: Any, text: str) -> None:
        self.status, self.headers, self.text = status, headers, text

    @property
    def json(self) -> Any:
        return json.loads(self.text)


async def ask(
    http: aiohttp.ClientSession, node: PocketNode, path: str, body: Any = None, *, data: bytes | None = None, method: str = "POST"
) -> Answer:
    content = data if data is not None else b"" if body is None else json.dumps(body).encode()
    async with http.request(
        method, f"{node.url}{path if path.startswith('/') else '/v1/' + path}", data=io.BytesIO(content)
    ) as answer:
        return Answer(answer.status, answer.headers, await answer.text())


async def rawtx(http: aiohttp.ClientSession, node: PocketNode, raw: bytes, address: str = "") -> Answer:
    return await ask(http, node, "client/rawtx", {"address": address, "raw_hex_bytes": raw.hex()})


def step_with(node: PocketNode, *raws: bytes) -> list[str]:
    """A block of these transactions; their hashes as the node shows them."""
    answers = [node.submit(raw) for raw in raws]
    assert all(answer.rejection is None for answer in answers)
    node.step()
    return [answer.hash for answer in answers]


async def entropies(http: aiohttp.ClientSession, node: PocketNode, path: str = "query/accounttxs", **body: Any) -> list[int]:
    answer = await ask(http, node, path, body)
    assert answer.status == 200
    assert answer.json["page_count"] == len(answer.json["txs"])
    return [tx["stdTx"]["entropy"] for tx in answer.json["txs"]]
