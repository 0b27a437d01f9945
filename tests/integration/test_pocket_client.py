"""The client against a server that answers like a node, like an older node, and like a broken one."""

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
    MalformedAnswer,
    NotFound,
    PocketChain,
    PocketConfigError,
    PocketDecodeError,
    PocketRpcError,
    RetryPolicy,
    RpcRefused,
    RpcUnavailable,
    SubmitOutcome,
    TxState,
    WindowNotReady,
    WindowTooLarge,
    WrongChain,
    connect,
    tx_hash,
)
from reactor.chains.pocket.morse import history
from reactor.chains.pocket.morse.codec import Coin, OtherMsg, SendMsg, StdTx, encode_tx

pytestmark = pytest.mark.integration

VECTORS = {
    vector["id"]: vector for vector in json.loads((Path(__file__).parents[1] / "vectors" / "pocket.json").read_text())["vectors"]
}
VAULT, USER = "aa" * 20, "bb" * 20
FAST = RetryPolicy(rounds=2, wait_initial=0.001, wait_max=0.002, wait_jitter=0.0)


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
        raws = [entry.raw for entry in self.entries if entry.height == height]
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


@pytest.fixture
async def node() -> AsyncIterator[Node]:
    node = Node()
    async with serving(node):
        yield node


@pytest.fixture
async def chain(node: Node) -> AsyncIterator[PocketChain]:
    async with client_of(node) as chain:
        yield chain


def client_of(*nodes: Node, page_size: int = 3, timeout: float = 10.0) -> PocketChain:
    endpoints = [Endpoint.parse(node.url, f"node{position}") for position, node in enumerate(nodes)]
    return connect(endpoints, chain_id="localnet", retry=FAST, page_size=page_size, timeout=timeout)


# --- plain answers ------------------------------------------------------------------------------------------------


async def test_heads_and_blocks(node: Node, chain: PocketChain) -> None:
    head = await chain.head()
    assert (head.height, head.time, head.endpoint) == (100, None, "node0")
    block = await chain.block(99)
    assert (block.height, block.hash, block.chain_id) == (99, f"{99:064x}", "localnet")
    assert block.time.isoformat() == "2020-03-10T00:04:35.159615+00:00"
    assert (await chain.block(0)).height == 100
    assert chain.calls == {"query/height": 1, "query/block": 3}
    with pytest.raises(NotFound, match="current blockchain height 100"):
        await chain.block(101)
    with pytest.raises(ValueError, match="negative"):
        await chain.block(-1)


async def test_older_nodes_show_block_meta(node: Node, chain: PocketChain) -> None:
    node.old_block = True
    assert (await chain.block(7)).hash == f"{7:064x}"


async def test_state(node: Node, chain: PocketChain) -> None:
    assert await chain.balance(VAULT) == 577231840000
    assert await chain.balance(USER) == 0
    assert await chain.param("auth/TxSigLimit") == "8"
    node.override["query/param"] = lambda body: reply({"param_key": body["key"], "param_value": 75})
    assert await chain.param("auth/MaxMemoCharacters") == "75"
    with pytest.raises(ValueError, match="lower-case"):
        await chain.balance(VAULT.upper())


@pytest.mark.parametrize("name", [f"V2-{n}" for n in range(1, 11)])
async def test_mainnet_transactions_as_the_node_shows_them(node: Node, chain: PocketChain, name: str) -> None:
    vector = VECTORS[name]
    shown = {"hash": vector["hash"], **vector["rpc"], "stdTx": {"entropy": float(vector["rpc"]["entropy"])}}
    node.override["query/tx"] = lambda body: reply(shown)
    tx = await chain.tx(vector["hash"].lower())
    assert tx.raw.hex() == vector["raw_hex"]
    assert (tx.height, tx.index) == (vector["rpc"]["height"], vector["rpc"]["index"])
    assert (tx.code, tx.codespace) == (vector["rpc"]["tx_result"]["code"], vector["rpc"]["tx_result"]["codespace"])
    assert (tx.decoded, tx.is_send, tx.message_type) == (True, True, "send")
    assert (tx.from_address, tx.to_address) == (vector["msg"]["from_address"], vector["msg"]["to_address"])
    assert (tx.signer, tx.recipient) == (tx.from_address, tx.to_address)
    assert (tx.amount, tx.fee, tx.memo) == (int(vector["msg"]["amount"]), 10000, "")
    assert tx.entropy == int(vector["entropy"])
    status = await chain.status(vector["hash"].lower())
    assert status.state is (TxState.FAILED if name == "V2-2" else TxState.SUCCEEDED)
    assert status.tx == tx


async def test_the_nodes_rounded_entropy_is_never_used(node: Node, chain: PocketChain) -> None:
    raw = send(8039421791355419058)
    node.entries = [Entry(raw, 5, 0)]
    assert (await chain.tx(tx_hash(raw))).entropy == 8039421791355419058


async def test_pending_and_unknown(node: Node, chain: PocketChain) -> None:
    hash_ = tx_hash(send(1))
    with pytest.raises(NotFound):
        await chain.tx(hash_)
    assert (await chain.status(hash_)).state is TxState.UNKNOWN
    assert not await chain.unconfirmed(hash_)
    node.mempool.add(hash_)
    assert (await chain.status(hash_)).state is TxState.PENDING
    assert await chain.unconfirmed(hash_)
    node.override["query/unconfirmedtx"] = lambda body: web.Response(status=404, text="404 page not found")
    assert (await chain.status(hash_)).state is TxState.UNKNOWN
    with pytest.raises(RpcRefused, match="404"):
        await chain.unconfirmed(hash_)


async def test_transactions_that_do_not_decode_are_facts(node: Node, chain: PocketChain) -> None:
    other = encode_tx(StdTx(OtherMsg("/x.nodes.MsgUnjail", b""), (), b"k" * 32, b"s", "hi", 3))
    node.entries = [Entry(b"\x05junk", 5, 0), Entry(other, 5, 1), Entry(send(1), 5, 2, code=10)]
    window = await chain.window(VAULT, 1, 50)
    junk, unjail, failed = window.received
    assert (junk.decoded, junk.is_send, junk.amount, bool(junk.reason)) == (False, False, None, True)
    assert (unjail.decoded, unjail.is_send, unjail.memo, unjail.amount) == (True, False, "hi", None)
    assert (failed.decoded, failed.is_send, failed.code, failed.codespace) == (True, True, 10, "sdk")


async def test_amino_envelopes_are_read_below_the_upgrade_only(node: Node, chain: PocketChain) -> None:
    raw = bytes.fromhex(VECTORS["V4"]["raw_hex"])
    node.entries = [Entry(raw, 30023, 0)]
    assert (await chain.tx(tx_hash(raw))).amount == 100000
    node.entries = [Entry(raw, 30024, 0)]
    assert not (await chain.tx(tx_hash(raw))).decoded


# --- windows ------------------------------------------------------------------------------------------------------


def history_of(heights: range) -> list[Entry]:
    entries = [Entry(send(height), height, 1) for height in heights]
    entries += [Entry(send(-height), height, 0) for height in heights if height % 2]
    entries += [Entry(send(height, VAULT, USER), height, 2, VAULT, USER) for height in heights if height % 3 == 0]
    return entries


@pytest.mark.parametrize("honours_height", [True, False])
@pytest.mark.parametrize("order", ["oldest", "newest", "shuffled"])
@pytest.mark.parametrize(("page_size", "page_cap"), [(1, 1000), (3, 1000), (10, 4), (1000, 1000)])
async def test_windows_do_not_rely_on_order_filter_or_page_size(
    node: Node, honours_height: bool, order: str, page_size: int, page_cap: int
) -> None:
    if order == "shuffled":
        page_size = max(page_size, 3)  # disorder shows only within a page
    node.honours_height, node.page_cap = honours_height, page_cap
    node.newest_first, node.shuffled = order == "newest", order == "shuffled"
    node.entries = history_of(range(1, 41))
    async with client_of(node, page_size=page_size) as chain:
        for low, high in [(1, 40), (1, 1), (10, 20), (40, 99), (35, 36), (41, 50), (12, 12)]:
            window = await chain.window(VAULT, low, high)
            for found, key in ((window.received, "recipient"), (window.sent, "sender")):
                wanted = [e for e in node.entries if getattr(e, key) == VAULT and low <= e.height <= high]
                wanted.sort(key=lambda entry: (entry.height, entry.index))
                assert [tx.hash for tx in found] == [tx_hash(entry.raw) for entry in wanted]
            assert (window.from_height, window.to_height, window.last_block.height) == (low, high, high)
            assert (window.endpoint, window.last_block.endpoint, window.head) == ("node0", "node0", 100)


async def test_a_window_at_the_end_of_a_long_history_costs_few_calls(node: Node) -> None:
    node.entries = [Entry(send(height), height, 0) for height in range(1, 91)]
    async with client_of(node, page_size=3) as chain:
        await chain.window(VAULT, 88, 90)
        assert chain.calls == {"query/block": 2, "query/height": 1, "query/balance": 1, "query/accounttxs": 2}
        node.honours_height = False
        chain.calls.clear()
        assert len((await chain.window(VAULT, 88, 90)).received) == 3
        assert chain.calls["query/accounttxs"] <= 5
        chain.calls.clear()
        assert len((await chain.window(VAULT, 40, 41)).received) == 2
        assert chain.calls["query/accounttxs"] <= 10


@pytest.mark.parametrize("newest_first", [False, True])
async def test_transactions_that_arrive_while_reading_lose_none(node: Node, newest_first: bool) -> None:
    node.newest_first = newest_first
    node.entries = history_of(range(1, 21))
    wanted = [e for e in node.entries if e.recipient == VAULT]

    def grow(body: dict[str, Any]) -> None:
        node.entries.append(Entry(send(1000 + len(node.entries)), 60, len(node.entries)))

    node.override["query/accounttxs"] = grow
    async with client_of(node, page_size=3) as chain:
        window = await chain.window(VAULT, 1, 50)
    assert {tx.hash for tx in window.received} == {tx_hash(entry.raw) for entry in wanted}


async def test_a_node_that_lags_does_not_count(node: Node) -> None:
    node.entries = [Entry(send(1), 100, 0)]
    behind = Node(height=98)
    async with serving(behind), client_of(behind, node) as chain:
        window = await chain.window(VAULT, 90, 99)
        assert window.endpoint == "node1"
    async with serving(behind), client_of(behind) as chain:
        with pytest.raises(WindowNotReady) as caught:
            await chain.window(VAULT, 90, 99)
        assert caught.value.readable_to == 98
        node_block = behind.on_query_block
        behind.height = 99
        behind.override["query/block"] = lambda body: (
            refuse("height 99 must be less than or equal to the current blockchain height 98")
            if body["height"] == 99
            else node_block(body)
        )
        with pytest.raises(WindowNotReady, match="current blockchain height"):
            await chain.window(VAULT, 90, 99)


async def test_the_head_is_read_when_it_is_indexed(node: Node, chain: PocketChain) -> None:
    node.entries = [Entry(send(1), 100, 0), Entry(send(2, VAULT, USER), 100, 1, VAULT, USER)]
    window = await chain.window(VAULT, 100, 100)
    assert (window.to_height, len(window.received), len(window.sent)) == (100, 1, 1)


@pytest.mark.parametrize("raw", [send(7), send(7, VAULT, USER)])
async def test_a_head_that_is_not_indexed_is_left_out(node: Node, chain: PocketChain, raw: bytes) -> None:
    node.entries = [Entry(send(1), 99, 0), Entry(send(2), 100, 0)]
    node.unindexed = [raw]
    window = await chain.window(VAULT, 90, 100)
    assert (window.to_height, window.last_block.height) == (99, 99)
    assert [tx.height for tx in window.received] == [99]
    with pytest.raises(WindowNotReady) as caught:
        await chain.window(VAULT, 100, 100)
    assert caught.value.readable_to == 99
    node.height = 101
    node.unindexed = []
    assert (await chain.window(VAULT, 90, 100)).to_height == 100


async def test_foreign_transactions_in_the_head_do_not_hold_it_up(node: Node, chain: PocketChain) -> None:
    node.unindexed = [send(7, USER, "cc" * 20), b"\x03abc", b""]
    assert (await chain.window(VAULT, 90, 100)).to_height == 100


async def test_pages_that_contradict_each_other_are_not_believed(node: Node) -> None:
    node.entries = history_of(range(1, 21))
    original = node.on_query_accounttxs

    def lossy(body: dict[str, Any]) -> web.Response | None:
        answer = json.loads(original(body).text or "")
        if body["page"] == 2:
            answer["txs"] = answer["txs"][:-1]
        return reply(answer)

    def shrinking(body: dict[str, Any]) -> web.Response | None:
        answer = json.loads(original(body).text or "")
        answer["total_txs"] -= body["page"]
        return reply(answer)

    def hollow(body: dict[str, Any]) -> web.Response | None:
        return reply({"page_count": 0, "total_txs": 5, "txs": []})

    for trick in (lossy, shrinking, hollow):
        node.override["query/accounttxs"] = trick
        async with client_of(node) as chain:
            with pytest.raises(RpcUnavailable, match="do not add up"):
                await chain.window(VAULT, 1, 50)


async def test_windows_are_bounded(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MAX_PAGES", 3)
    node.entries = history_of(range(1, 21))
    async with client_of(node) as chain:
        with pytest.raises(WindowTooLarge):
            await chain.window(VAULT, 1, 50)
        assert len((await chain.window(VAULT, 19, 50)).received) == 3
        for low, high in [(0, 5), (6, 5)]:
            with pytest.raises(ValueError, match="window"):
                await chain.window(VAULT, low, high)


# --- submitting ---------------------------------------------------------------------------------------------------


async def test_accepted(node: Node, chain: PocketChain) -> None:
    raw = bytes.fromhex(VECTORS["V3"]["raw_hex"])
    node.override["client/rawtx"] = lambda body: reply(VECTORS["V3"]["rpc"]["response"])
    result = await chain.submit(raw)
    assert (result.outcome, result.hash, result.on_its_way) == (SubmitOutcome.ACCEPTED, tx_hash(raw), True)
    call, body = node.seen[-1]
    assert call == "client/rawtx"
    assert body == {"address": VECTORS["V3"]["msg"]["from_address"], "raw_hex_bytes": raw.hex()}


def rejection(code: int, codespace: str, message: str) -> Callable[[dict[str, Any]], web.Response]:
    text = f'ERROR:\nCodespace: {codespace}\nCode: {code}\nMessage: "{message}"\n'
    log = json.dumps({"codespace": codespace, "code": code, "message": text})
    hash_ = tx_hash(send(1)).upper()
    return lambda body: reply({"code": code, "logs": None, "raw_log": log, "txhash": hash_})


@pytest.mark.parametrize(
    ("code", "codespace", "message", "outcome"),
    [
        (4, "sdk", "signature verification failed for the transaction", SubmitOutcome.REJECTED),
        (6, "auth", "this is a duplicate transaction: AB", SubmitOutcome.DUPLICATE_INDEXED),
        (6, "auth", "the account does not have enough coins for the tx", SubmitOutcome.REJECTED),
        (6, "sdk", "this is a duplicate transaction: AB", SubmitOutcome.REJECTED),
        (1, "auth", "memo too long", SubmitOutcome.REJECTED),
    ],
)
async def test_a_rejection_is_http_200(
    node: Node, chain: PocketChain, code: int, codespace: str, message: str, outcome: SubmitOutcome
) -> None:
    node.override["client/rawtx"] = rejection(code, codespace, message)
    result = await chain.submit(send(1))
    assert (result.outcome, result.code, result.codespace) == (outcome, code, codespace)
    assert message in result.text
    assert result.on_its_way is (outcome is not SubmitOutcome.REJECTED)


async def test_a_log_that_is_not_json(node: Node, chain: PocketChain) -> None:
    answer = {"code": 2, "raw_log": "ERROR:\nCodespace: sdk\nCode: 2", "txhash": tx_hash(send(1))}
    node.override["client/rawtx"] = lambda body: reply(answer)
    assert (await chain.submit(send(1))).codespace == "sdk"
    answer["raw_log"] = "?"
    result = await chain.submit(send(1))
    assert (result.outcome, result.codespace) == (SubmitOutcome.REJECTED, "")


@pytest.mark.parametrize("wrapped", [False, True])
async def test_already_in_the_cache(node: Node, chain: PocketChain, wrapped: bool) -> None:
    text = "broadcast_tx_sync: RPC error -32603 - Internal error: tx already exists in cache"
    error = reply({"error": {"code": -32603, "message": text}}) if wrapped else refuse(text)
    node.override["client/rawtx"] = lambda body: error
    result = await chain.submit(send(1))
    assert (result.outcome, result.on_its_way) == (SubmitOutcome.ALREADY_KNOWN, True)


async def test_submission_fails_over_with_the_same_bytes(node: Node) -> None:
    broken = Node(override={"client/rawtx": lambda body: web.Response(status=503, text="timeout")})
    async with serving(broken), client_of(broken, node) as chain:
        result = await chain.submit(send(1))
    assert (result.outcome, result.endpoint) == (SubmitOutcome.ACCEPTED, "node1")
    assert broken.seen[-1] == node.seen[-1]


async def test_submissions_that_are_not_understood(node: Node, chain: PocketChain) -> None:
    node.override["client/rawtx"] = lambda body: reply({"logs": None, "txhash": "AB" * 32})
    with pytest.raises(MalformedAnswer, match="txhash"):
        await chain.submit(send(1))
    node.override["client/rawtx"] = lambda body: refuse("mempool is full")
    with pytest.raises(RpcRefused, match="mempool is full"):
        await chain.submit(send(1))
    node.seen.clear()
    with pytest.raises(PocketDecodeError):
        await chain.submit(b"junk")
    assert not node.seen


# --- misbehaviour -------------------------------------------------------------------------------------------------

HTML = "<html><body>Bad gateway</body></html>"


@pytest.mark.parametrize(
    ("answer", "error", "match"),
    [
        (web.Response(text=""), MalformedAnswer, "empty body"),
        (web.Response(text=HTML), MalformedAnswer, "Bad gateway"),
        (web.Response(text="[" * 100_000), MalformedAnswer, "not JSON"),
        (web.Response(status=502, text=HTML), RpcUnavailable, "HTTP 502"),
        (web.Response(status=503, text="timeout"), RpcUnavailable, "HTTP 503"),
        (web.Response(status=429, text=""), RpcUnavailable, "HTTP 429"),
        (web.Response(status=403, text=HTML), RpcUnavailable, "HTTP 403"),
        (web.Response(status=302, headers={"Location": "http://127.0.0.1:1/"}), RpcUnavailable, "HTTP 302"),
        (web.Response(status=404, text="404 page not found"), RpcRefused, "404 page not found"),
        (refuse("json: cannot unmarshal string"), RpcRefused, "cannot unmarshal"),
        (refuse("unauthorized", 401), RpcRefused, "unauthorized"),
        (reply({"code": 400, "message": "no"}), RpcRefused, "no"),
        (reply({"error": {"code": 7, "message": "relay failed"}}), RpcUnavailable, "gateway error 7: relay failed"),
        (reply(None), MalformedAnswer, "body: expected an object"),
        (reply([]), MalformedAnswer, "body: expected an object"),
        (reply({}), MalformedAnswer, "height: missing"),
        (reply({"height": "100"}), MalformedAnswer, "height: expected a non-negative integer"),
        (reply({"height": True}), MalformedAnswer, "height"),
        (reply({"height": -1}), MalformedAnswer, "height"),
        (reply({"height": 1.5}), MalformedAnswer, "height"),
    ],
)
async def test_bad_answers_are_typed(
    node: Node, chain: PocketChain, answer: web.Response, error: type[PocketRpcError], match: str
) -> None:
    body, status, headers = answer.text, answer.status, dict(answer.headers)
    headers.pop("Content-Type", None)
    node.override["query/height"] = lambda _: web.Response(status=status, text=body, headers=headers)
    with pytest.raises(error, match=match) as caught:
        await chain.head()
    assert caught.value.endpoint == "node0"
    assert caught.value.call == "query/height"
    assert chain.calls["query/height"] == (FAST.rounds if error.retryable else 1)


@pytest.mark.parametrize("text", ['{"height":100}', '"{\\"height\\":100}"', '{"height":100.0}', '{"height":100,"x":1}'])
async def test_good_answers_in_odd_wrapping(node: Node, chain: PocketChain, text: str) -> None:
    node.override["query/height"] = lambda body: web.Response(text=text)
    assert (await chain.head()).height == 100


async def test_not_found_through_a_gateway(node: Node, chain: PocketChain) -> None:
    message = f"tx ({'AB' * 32}) not found"
    node.override["query/tx"] = lambda body: reply({"error": {"code": -1, "message": message}})
    with pytest.raises(NotFound):
        await chain.tx("ab" * 32)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"hash": "zz"}, "hash"), ({"hash": "AB" * 32}, "tx"), ({"height": "5"}, "height"), ({"index": None}, "index"),
        ({"tx": "%%%"}, "tx"), ({"tx": 5}, "tx"), ({"tx_result": None}, "tx_result"), ({"tx_result": {}}, "code"),
        ({"tx_result": {"code": "0"}}, "code"), ({"tx_result": {"code": 0}}, "codespace"),
    ],
)  # fmt: skip
async def test_malformed_transactions_name_the_field(node: Node, chain: PocketChain, change: dict[str, Any], field: str) -> None:
    shown = Entry(send(1), 5, 0).shown() | change
    node.override["query/tx"] = lambda body: reply(shown)
    node.override["query/accounttxs"] = lambda body: reply({"page_count": 1, "total_txs": 1, "txs": [shown]})
    for work in (chain.tx(tx_hash(send(1))), chain.window(VAULT, 1, 50)):
        with pytest.raises(MalformedAnswer) as caught:
            await work
        assert caught.value.field in {field, "body"}


async def test_another_transaction_than_asked_for(node: Node, chain: PocketChain) -> None:
    node.override["query/tx"] = lambda body: reply(Entry(send(2), 5, 0).shown())
    with pytest.raises(MalformedAnswer, match="asked for"):
        await chain.tx(tx_hash(send(1)))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("header.time", "yesterday"), ("header.time", "2020-03-10T00:04:35"), ("header.height", "x"),
        ("header.chain_id", 5), ("data.txs", "x"), ("data.txs", [5]), ("data.txs", ["%"]), ("header.height", "8"),
    ],
)  # fmt: skip
async def test_malformed_blocks_name_the_field(node: Node, chain: PocketChain, path: str, value: object) -> None:
    answer = json.loads(node.on_query_block({"height": 9}).text or "")
    parent, key = path.split(".")
    answer["block"][parent][key] = value
    node.override["query/block"] = lambda body: reply(answer)
    with pytest.raises(MalformedAnswer) as caught:
        await chain.block(9)
    assert key in caught.value.field


async def test_a_node_of_another_chain_is_never_asked_anything_else(node: Node) -> None:
    foreign = Node(chain_id="mainnet", height=5000)
    async with serving(foreign), client_of(foreign, node) as chain:
        assert (await chain.head()).endpoint == "node1"
        assert {call for call, _ in foreign.seen} == {"query/block"}
        statuses = await chain.check()
        assert [status.head is not None for status in statuses] == [False, True]
        assert "correct the endpoint or the chain id" in statuses[0].error
    async with serving(foreign), client_of(foreign) as chain:
        with pytest.raises(WrongChain) as caught:
            await chain.submit(send(1))
        assert (caught.value.expected, caught.value.found) == ("localnet", "mainnet")
        assert {call for call, _ in foreign.seen} == {"query/block"}


async def test_failover_is_sticky_and_reports_the_retryable_error(node: Node) -> None:
    down = Node(override={"query/height": lambda body: web.Response(status=500)})
    async with serving(down), client_of(down, node) as chain:
        assert (await chain.head()).endpoint == "node1"
        assert (await chain.head()).endpoint == "node1"
        assert [call for call, _ in down.seen].count("query/height") == 1
        node.override["query/height"] = lambda body: refuse("no")
        with pytest.raises(RpcRefused):
            await chain.head()


async def test_recovers_within_its_rounds(node: Node, chain: PocketChain) -> None:
    answers = iter([web.Response(status=500), None])
    node.override["query/height"] = lambda body: next(answers)
    assert (await chain.head()).height == 100


async def test_no_connection_and_no_answer_in_time(node: Node) -> None:
    async with connect(["http://127.0.0.1:1"], chain_id="localnet", retry=FAST) as chain:
        with pytest.raises(RpcUnavailable, match=r"127\.0\.0\.1:1: query/block: no answer"):
            await chain.head()
        assert "no answer" in (await chain.check())[0].error
    async with client_of(node, timeout=0.000001) as chain:
        with pytest.raises(RpcUnavailable, match="no answer"):
            await chain.head()


async def test_urls_with_secrets_stay_secret() -> None:
    endpoint = Endpoint.parse("http://user:hunter2@127.0.0.1:1/v1/hunter2/")
    assert "hunter2" not in repr(endpoint)
    async with connect([endpoint], chain_id="localnet", retry=FAST) as chain:
        with pytest.raises(RpcUnavailable) as caught:
            await chain.head()
    assert "hunter2" not in repr(caught.value) + str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"generation": "shannon"}, "not built yet"), ({"generation": "x"}, "unknown"), ({"chain_id": ""}, "chain id"),
        ({"endpoints": []}, "at least one"), ({"endpoints": ["ftp://x"]}, "http"), ({"endpoints": ["http://"]}, "host"),
        ({"endpoints": ["http://[x"]}, "host"), ({"page_size": 1001}, "page size"), ({"timeout": 0}, "time-out"),
    ],
)  # fmt: skip
def test_bad_settings_are_refused(arguments: dict[str, Any], match: str) -> None:
    settings: dict[str, Any] = {"endpoints": ["http://localhost:8081/v1/"], "chain_id": "localnet"}
    assert connect(**settings).chain_id == "localnet"
    with pytest.raises(PocketConfigError, match=match):
        connect(**(settings | arguments))
