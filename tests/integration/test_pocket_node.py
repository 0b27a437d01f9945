"""The development node over HTTP: shapes and quirks of the interface, misbehaviours, control, restart, and our client."""

import asyncio
import base64
import io
import json
import signal
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from infra.localnet.pocket import (
    AbciLogging,
    DropConnection,
    EmptyAccountTxs,
    EmptyAnswer,
    GatewayError,
    Genesis,
    Hang,
    HtmlPage,
    IndexLag,
    LoseSubmitted,
    Misbehaviour,
    OldNode,
    PocketNode,
    QuotedAnswer,
    RejectSubmits,
    ServerError,
    Slow,
    StaleHeight,
    Vault,
    Wallet,
    WrongChainId,
)
from infra.localnet.pocket.misbehaviour import MISBEHAVIOUR
from infra.localnet.pocket.wallet import SubmitError, Unsigned, submit, tx_hash
from reactor.chains.pocket.morse.client import MorseClient
from reactor.chains.pocket.morse.transport import Endpoint
from reactor.chains.pocket.types import SubmitOutcome, TxState

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
VECTORS = json.loads((ROOT / "tests" / "vectors" / "pocket.json").read_text())["vectors"]
ALICE, BOB = Wallet.from_seed("alice"), Wallet.from_seed("bob")
VAULT = Vault.from_seeds(3)
RICH = 10**12
MEMO = '{"address":"0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266","chain_id":"31337"}'
NO_PROOF = {"data": None, "proof": {"aunts": None, "index": 0, "leaf_hash": None, "total": 0}, "root_hash": ""}


@pytest.fixture
async def node() -> AsyncIterator[PocketNode]:
    async with PocketNode(Genesis(balances={ALICE.address: RICH, VAULT.address: RICH})) as running:
        yield running


@pytest.fixture
async def http() -> AsyncIterator[aiohttp.ClientSession]:
    async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=20)) as session:
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


# --- the interface in general ----------------------------------------------------------------------------------------


async def test_success_and_error_look_like_the_nodes(node: PocketNode, http: aiohttp.ClientSession) -> None:
    good = await ask(http, node, "query/height")
    assert (good.status, good.text) == (200, '{"height":1}\n')
    assert good.headers["Content-Type"] == "application/json; charset=utf-8"
    bad = await ask(http, node, "query/tx", {"hash": "<"})
    assert (bad.status, bad.text) == (400, '{"code":400,"message":"encoding/hex: invalid byte: U+003C \'\\u003c\'"}\n')


@pytest.mark.parametrize(
    ("method", "path", "status", "text"),
    [
        ("GET", "/v1", 200, '"RC-0.9.2"'),
        ("GET", "/v1/query/height", 405, "Method Not Allowed\n"),
        ("POST", "/v1", 405, "Method Not Allowed\n"),
        ("POST", "/v1/query/allblocktxs", 404, "404 page not found\n"),
        ("POST", "/v2/query/height", 404, "404"),
    ],
)
async def test_routes(node: PocketNode, http: aiohttp.ClientSession, method: str, path: str, status: int, text: str) -> None:
    answer = await ask(http, node, path, method=method)
    assert answer.status == status
    assert answer.text.startswith(text)


async def test_bodies_default_and_wrong_types_are_refused(node: PocketNode, http: aiohttp.ClientSession) -> None:
    assert (await ask(http, node, "query/height", {"unknown": [1]})).status == 200
    wrong = await ask(http, node, "query/block", {"height": "1"})
    assert wrong.status == 400
    assert wrong.json["message"] == "json: cannot unmarshal string into Go struct field HeightParams.height of type int64"
    cut = await ask(http, node, "query/height", data=b'{"a":"' + b"x" * (1 << 20) + b'"}')
    assert cut.status == 400


# --- queries ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", [pytest.param(v, id=v["id"]) for v in VECTORS if v.get("rpc", {}).get("tx_result")])
async def test_published_transactions_look_as_published(http: aiohttp.ClientSession, vector: dict[str, Any]) -> None:
    """Mainnet's answers, but for height and position."""
    shown = vector["rpc"]
    failed = shown["tx_result"]["code"] != 0
    balance = 10_000 + (0 if failed else int(vector["msg"]["amount"]))
    genesis = Genesis("mainnet", {vector["msg"]["from_address"]: balance}, initial_height=shown["height"] - 1)
    async with PocketNode(genesis) as node:
        assert step_with(node, bytes.fromhex(vector["raw_hex"])) == [vector["hash"]]
        tx = (await ask(http, node, "query/tx", {"hash": vector["hash"].lower()})).json
    assert tx["height"] == shown["height"]
    assert tx["tx"] == shown["tx"]
    assert tx["stdTx"]["entropy"] == shown["entropy"] == int(vector["entropy"])
    assert {key: tx["tx_result"][key] for key in shown["tx_result"]} == shown["tx_result"]
    assert {key: tx["tx_result"][key] for key in ("data", "events", "info")} == {"data": None, "events": None, "info": ""}
    assert tx["hash"] == vector["hash"]
    assert tx["proof"] == NO_PROOF
    value = {key: vector["msg"][key] for key in ("amount", "from_address", "to_address")}
    assert tx["stdTx"] == {
        "entropy": shown["entropy"],
        "fee": vector["fee"],
        "memo": "",
        "msg": {"type": "pos/Send", "value": value},
        "signature": {"pub_key": vector["public_key_field"], "signature": vector["signature_field"]},
    }


async def test_the_published_answer_to_rawtx(http: aiohttp.ClientSession) -> None:
    vector = next(v for v in VECTORS if v["id"] == "V3")
    async with PocketNode(Genesis(balances={vector["msg"]["from_address"]: RICH})) as node:
        answer = await rawtx(http, node, bytes.fromhex(vector["raw_hex"]), vector["msg"]["from_address"])
    assert answer.text == json.dumps(vector["rpc"]["response"], separators=(",", ":")) + "\n"


async def test_a_vault_payment_shows_its_amino_blobs_and_a_rounded_entropy(node: PocketNode, http: aiohttp.ClientSession) -> None:
    raw = VAULT.send(BOB.address, 90_000, "<0x&>", entropy=8039421791355419058)
    (hash_,) = step_with(node, raw)
    answer = await ask(http, node, "query/tx", {"hash": hash_})
    assert '"entropy":8039421791355419000,' in answer.text
    assert '"memo":"\\u003c0x\\u0026\\u003e"' in answer.text
    tx = answer.json
    assert list(tx) == sorted(tx)
    assert tx["stdTx"]["signature"]["pub_key"].startswith("f325b8ad0a259d54477420")
    assert tx["stdTx"]["signature"]["signature"].startswith("b2f515f90a40")
    assert tx["tx_result"]["signer"] == VAULT.address.upper()
    assert tx["stdTx"]["msg"]["value"]["from_address"] == VAULT.address
    assert base64.b64decode(tx["tx"]) == raw


async def test_transactions_that_are_not_there(node: PocketNode, http: aiohttp.ClientSession) -> None:
    unknown = await ask(http, node, "query/tx", {"hash": "ab" * 32})
    assert (unknown.status, unknown.json) == (400, {"code": 400, "message": f"tx ({'AB' * 32}) not found"})
    raw = ALICE.send(BOB.address, 1)
    node.submit(raw)
    pending = await ask(http, node, "query/tx", {"hash": tx_hash(raw)})
    assert pending.json["message"] == f"tx ({tx_hash(raw).upper()}) not found"


async def test_an_undecodable_transaction_is_shown_empty(node: PocketNode, http: aiohttp.ClientSession) -> None:
    hash_ = node.inject(b"garbage")
    node.step()
    tx = (await ask(http, node, "query/tx", {"hash": hash_})).json
    assert tx["stdTx"] == {"entropy": 0, "fee": [], "memo": "", "msg": None, "signature": {"pub_key": "", "signature": ""}}
    assert (tx["tx_result"]["code"], tx["tx_result"]["codespace"], tx["tx_result"]["message_type"]) == (2, "sdk", "")
    assert (tx["tx_result"]["signer"], tx["tx_result"]["recipient"]) == ("", "")


async def test_a_proof_on_demand(node: PocketNode, http: aiohttp.ClientSession) -> None:
    hashes = step_with(node, *(ALICE.send(BOB.address, 1) for _ in range(3)))
    tx = (await ask(http, node, "query/tx", {"hash": hashes[1], "prove": True})).json
    block = (await ask(http, node, "query/block", {"height": 2})).json
    assert tx["proof"]["root_hash"] == block["block"]["header"]["data_hash"]
    assert tx["proof"]["data"] == tx["tx"] == block["block"]["data"]["txs"][1]
    assert (tx["proof"]["proof"]["index"], tx["proof"]["proof"]["total"]) == (1, 3)
    assert len(tx["proof"]["proof"]["aunts"]) == 2


async def test_blocks_show_numbers_as_strings(node: PocketNode, http: aiohttp.ClientSession) -> None:
    step_with(node, ALICE.send(BOB.address, 1))
    node.step()
    latest, second = [(await ask(http, node, "query/block", {"height": height})).json for height in (0, 2)]
    header = latest["block"]["header"]
    assert (header["height"], header["chain_id"], header["num_txs"], header["total_txs"]) == ("3", "localnet", "0", "1")
    assert header["time"] == "2025-01-01T00:30:00Z"
    assert header["version"] == {"app": "0", "block": "10"}
    assert latest["block"]["data"]["txs"] is None
    assert len(second["block"]["data"]["txs"]) == 1
    assert header["last_block_id"] == second["block_id"] == latest["block"]["last_commit"]["block_id"]
    assert latest["block_id"]["hash"] != second["block_id"]["hash"] == second["block_id"]["hash"].upper()
    beyond = await ask(http, node, "query/block", {"height": 4})
    assert beyond.status == 400
    assert beyond.json["message"] == "height 4 must be less than or equal to the current blockchain height 3"
    assert (await ask(http, node, "query/block", {"height": -1})).status == 400


async def entropies(http: aiohttp.ClientSession, node: PocketNode, path: str = "query/accounttxs", **body: Any) -> list[int]:
    answer = await ask(http, node, path, body)
    assert answer.status == 200
    assert answer.json["page_count"] == len(answer.json["txs"])
    return [tx["stdTx"]["entropy"] for tx in answer.json["txs"]]


async def test_account_history(node: PocketNode, http: aiohttp.ClientSession) -> None:
    step_with(node, *(ALICE.send(VAULT.address, 1, entropy=number) for number in (1, 2)))
    step_with(node, ALICE.send(VAULT.address, 1, entropy=3), ALICE.send(VAULT.address, 2 * RICH, entropy=4))
    step_with(node, VAULT.send(BOB.address, 1, entropy=5))
    vault = {"address": VAULT.address, "received": True}
    # The orders are inverted.
    assert await entropies(http, node, **vault, order="asc") == [4, 3, 2, 1]
    assert await entropies(http, node, **vault, order="desc") == [1, 2, 3, 4]
    assert await entropies(http, node, **vault, order="up") == [1, 2, 3, 4]
    assert await entropies(http, node, **vault, sort="asc") == [1, 2, 3, 4]
    assert await entropies(http, node, **vault) == [1, 2, 3, 4]
    assert await entropies(http, node, address=VAULT.address) == [5]
    assert await entropies(http, node, address=VAULT.address.upper(), received=False) == [5]
    # Not "at this height" but "from this height on".
    assert await entropies(http, node, **vault, height=3) == [3, 4]
    assert await entropies(http, node, **vault, height=2, order="asc") == [4, 3, 2, 1]
    assert await entropies(http, node, **vault, page=2, per_page=3) == [4]
    assert await entropies(http, node, **vault, page=-1, per_page=-1) == [1, 2, 3, 4]
    beyond = await ask(http, node, "query/accounttxs", vault | {"page": 3, "per_page": 3})
    assert (beyond.status, beyond.text) == (200, '{"page_count":0,"total_txs":4,"txs":[]}\n')
    nobody = await ask(http, node, "query/accounttxs", {"address": "ab" * 20, "received": True})
    assert nobody.json == {"page_count": 0, "total_txs": 0, "txs": []}
    assert (await ask(http, node, "query/accounttxs", {"address": "xy"})).status == 400


async def test_pages_have_thirty_by_default(node: PocketNode, http: aiohttp.ClientSession) -> None:
    step_with(node, *(ALICE.send(VAULT.address, 1, entropy=number) for number in range(1, 33)))
    answer = (await ask(http, node, "query/accounttxs", {"address": VAULT.address, "received": True})).json
    assert (answer["page_count"], answer["total_txs"]) == (30, 32)


async def test_block_history(node: PocketNode, http: aiohttp.ClientSession) -> None:
    step_with(node, *(ALICE.send(BOB.address, 1, entropy=number) for number in (1, 2)))
    step_with(node, ALICE.send(BOB.address, 1, entropy=3))
    assert await entropies(http, node, "query/blocktxs", height=2) == [1, 2]
    assert await entropies(http, node, "query/blocktxs", height=2, order="asc") == [2, 1]
    assert await entropies(http, node, "query/blocktxs") == [3]
    assert await entropies(http, node, "query/blocktxs", height=9) == []


async def test_balances_and_accounts(node: PocketNode, http: aiohttp.ClientSession) -> None:
    step_with(node, ALICE.send(BOB.address, 123))
    for height, balance in ((0, 123), (1, 0), (2, 123)):
        answer = await ask(http, node, "query/balance", {"address": BOB.address.upper(), "height": height})
        assert answer.text == f'{{"balance":{balance}}}\n'
    account = (await ask(http, node, "query/account", {"address": BOB.address})).json
    assert account == {"address": BOB.address, "coins": [{"amount": "123", "denom": "upokt"}], "public_key": None}
    unknown = await ask(http, node, "query/account", {"address": "ab" * 20})
    assert (unknown.status, unknown.text) == (200, "null\n")
    assert (await ask(http, node, "query/balance", {"address": "ab"})).json["message"] == "Incorrect address length"
    assert (await ask(http, node, "query/balance", {"address": BOB.address, "height": 3})).status == 400


async def test_parameters(http: aiohttp.ClientSession) -> None:
    async with PocketNode(Genesis(sig_limit=13, max_memo=256)) as node:
        for key, value in (("auth/TxSigLimit", "13"), ("auth/MaxMemoCharacters", "256")):
            assert (await ask(http, node, "query/param", {"key": key})).json == {"param_key": key, "param_value": value}
        assert (await ask(http, node, "query/param", {"key": "x"})).json == {"param_key": "", "param_value": ""}


async def test_the_mempool_can_be_seen(node: PocketNode, http: aiohttp.ClientSession) -> None:
    raws = [ALICE.send(BOB.address, 1, entropy=number) for number in (1, 2, 3)]
    for raw in raws:
        node.submit(raw)
    seen = (await ask(http, node, "query/unconfirmedtx", {"hash": tx_hash(raws[0])})).json
    assert (seen["hash"], seen["message_type"], seen["stdTx"]["entropy"]) == (tx_hash(raws[0]).upper(), "send", 1)
    page = (await ask(http, node, "query/unconfirmedtxs", {"page": 2, "per_page": 2})).json
    assert (page["page_count"], page["total_txs"], page["txs"][0]["stdTx"]["entropy"]) == (1, 3, 3)
    node.step()
    assert (await ask(http, node, "query/unconfirmedtx", {"hash": tx_hash(raws[0])})).text == "null\n"


# --- submitting ------------------------------------------------------------------------------------------------------


async def test_a_refusal_is_http_200_with_a_code(node: PocketNode, http: aiohttp.ClientSession) -> None:
    raw = Wallet.from_seed("alice", "mainnet").send(BOB.address, 1)
    answer = await rawtx(http, node, raw)
    assert answer.status == 200
    log = (
        '{"codespace":"sdk","code":4,"message":"ERROR:\\nCodespace: sdk\\nCode: 4\\n'
        'Message: \\"signature verification failed for the transaction\\"\\n"}'
    )
    assert answer.json == {"code": 4, "logs": None, "raw_log": log, "txhash": tx_hash(raw).upper()}
    assert list(answer.json) == ["code", "logs", "raw_log", "txhash"]


async def test_what_rawtx_answers_with_400(node: PocketNode, http: aiohttp.ClientSession) -> None:
    raw = ALICE.send(BOB.address, 1)
    assert (await rawtx(http, node, raw, ALICE.address)).json == {"logs": None, "txhash": tx_hash(raw).upper()}
    cached = "broadcast_tx_sync: RPC error -32603 - Internal error: tx already exists in cache"
    for _ in range(2):
        again = await rawtx(http, node, raw)
        assert (again.status, again.json) == (400, {"code": 400, "message": cached})
        node.step()
    assert (await rawtx(http, node, raw, "ab")).json["message"] == "Incorrect address length"
    odd = await ask(http, node, "client/rawtx", {"raw_hex_bytes": "abc"})
    assert (odd.status, odd.json["message"]) == (400, "encoding/hex: odd length hex string")


async def test_the_duplicate_and_the_poor_share_a_code(node: PocketNode, http: aiohttp.ClientSession) -> None:
    failing = ALICE.send(BOB.address, 2 * RICH)
    step_with(node, failing)
    duplicate = await rawtx(http, node, failing)
    assert duplicate.json["code"] == 6
    assert f"this is a duplicate transaction: {tx_hash(failing)}" in duplicate.json["raw_log"]
    node.fund(BOB.address, 1)
    poor = await rawtx(http, node, BOB.send(ALICE.address, 1))
    assert poor.json["code"] == 6
    assert "does not have enough coins for the tx" in poor.json["raw_log"]


async def test_the_wallet_speaks_to_the_node(node: PocketNode) -> None:
    hash_ = await ALICE.pay(node.url, VAULT.address, 1_000_000, MEMO)
    node.step()
    found = node.find(hash_)
    assert found is not None
    assert found.tx is not None
    assert (found.result.code, found.tx.memo.decode()) == (0, MEMO)
    assert node.balance(VAULT.address) == RICH + 1_000_000
    unsigned = Unsigned(VAULT.address, BOB.address, 1)
    with pytest.raises(SubmitError, match="signature verification failed"):
        await submit(node.url, VAULT.complete(unsigned, [b"x" * 64] * 3))
    with pytest.raises(SubmitError, match="answered 400"):
        await submit(node.url, b"", "ab")


# --- misbehaviours ---------------------------------------------------------------------------------------------------

SPOILT = [
    pytest.param(ServerError(), 503, "upstream request timeout\n", id="5xx"),
    pytest.param(ServerError(status=500, body="boom"), 500, "boom", id="500"),
    pytest.param(HtmlPage(), 200, "<!DOCTYPE html>", id="html"),
    pytest.param(HtmlPage(status=502), 502, "<!DOCTYPE html>", id="html 502"),
    pytest.param(EmptyAnswer(), 200, "", id="empty"),
    pytest.param(GatewayError(), 200, '{"error":{"code":-32098,"message":"relay', id="gateway"),
    pytest.param(QuotedAnswer(), 200, '"{\\"height\\":1}\\n"', id="quoted"),
]


@pytest.mark.parametrize(("switch", "status", "text"), SPOILT)
async def test_spoilt_answers(
    node: PocketNode, http: aiohttp.ClientSession, switch: Misbehaviour, status: int, text: str
) -> None:
    with node.misbehaving(switch):
        answer = await ask(http, node, "query/height")
        assert answer.status == status
        assert answer.text.startswith(text)
        assert bool(answer.text) == bool(text)
        # Control is never spoilt.
        assert (await ask(http, node, "/dev/state", method="GET")).status == 200
    assert (await ask(http, node, "query/height")).json == {"height": 1}


async def test_faults_count_down_and_choose_their_paths(node: PocketNode, http: aiohttp.ClientSession) -> None:
    node.misbehave(ServerError(paths=("query/tx", "query/block"), times=2))
    assert (await ask(http, node, "query/height")).status == 200
    assert [(await ask(http, node, "query/block")).status for _ in range(3)] == [503, 503, 200]


async def test_hanging_ends_with_the_client_or_the_switch(node: PocketNode, http: aiohttp.ClientSession) -> None:
    node.misbehave(Hang())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await ask(http, node, "query/height")
    waiting = asyncio.create_task(ask(http, node, "query/height"))
    node.step()
    done, _ = await asyncio.wait([waiting], timeout=0.1)
    assert not done
    node.behave("hang")
    assert (await waiting).json == {"height": 2}


async def test_an_answer_can_be_lost_after_the_deed(node: PocketNode, http: aiohttp.ClientSession) -> None:
    for switch in (Hang(after=True), DropConnection(after=True)):
        raw = ALICE.send(BOB.address, 1)
        with node.misbehaving(switch), pytest.raises((TimeoutError, aiohttp.ClientError)):
            async with asyncio.timeout(0.3):
                await rawtx(http, node, raw)
        assert tx_hash(raw).upper() in node.dump()["mempool"]
        node.step()
    raw = ALICE.send(BOB.address, 1)
    with node.misbehaving(DropConnection()), pytest.raises(aiohttp.ClientError):
        await rawtx(http, node, raw)
    assert node.dump()["mempool"] == []


async def test_slow_answers_come(node: PocketNode, http: aiohttp.ClientSession) -> None:
    node.misbehave(Slow(seconds=0.05, times=1))
    started = time.monotonic()
    assert (await ask(http, node, "query/height")).json == {"height": 1}
    assert time.monotonic() - started >= 0.05


async def test_a_wrong_chain_id_is_shown(node: PocketNode, http: aiohttp.ClientSession) -> None:
    with node.misbehaving(WrongChainId("mainnet")):
        assert (await ask(http, node, "query/block")).json["block"]["header"]["chain_id"] == "mainnet"
    assert (await ask(http, node, "query/block")).json["block"]["header"]["chain_id"] == "localnet"


async def test_a_stale_node_stands_still_with_all_it_shows(node: PocketNode, http: aiohttp.ClientSession) -> None:
    (hash_,) = step_with(node, ALICE.send(BOB.address, 5))
    node.step()
    for switch in (StaleHeight(behind=2), StaleHeight(height=1)):
        with node.misbehaving(switch):
            assert (await ask(http, node, "query/height")).json == {"height": 1}
            assert (await ask(http, node, "query/block")).json["block"]["header"]["height"] == "1"
            assert (await ask(http, node, "query/block", {"height": 2})).status == 400
            assert (await ask(http, node, "query/tx", {"hash": hash_})).status == 400
            assert await entropies(http, node, address=BOB.address, received=True) == []
            assert (await ask(http, node, "query/balance", {"address": BOB.address})).json == {"balance": 0}
    assert (await ask(http, node, "query/tx", {"hash": hash_})).status == 200
    with node.misbehaving(StaleHeight(behind=99)):
        assert (await ask(http, node, "query/height")).json == {"height": 1}


@pytest.mark.parametrize("switch", [IndexLag(blocks=1), IndexLag(seconds=3600)])
async def test_the_height_runs_ahead_of_the_index(node: PocketNode, http: aiohttp.ClientSession, switch: IndexLag) -> None:
    node.misbehave(switch)
    (hash_,) = step_with(node, ALICE.send(BOB.address, 5))
    assert (await ask(http, node, "query/height")).json == {"height": 2}
    assert len((await ask(http, node, "query/block")).json["block"]["data"]["txs"]) == 1
    assert (await ask(http, node, "query/tx", {"hash": hash_})).status == 400
    assert await entropies(http, node, address=BOB.address, received=True) == []
    if switch.blocks:
        node.step()
    else:
        node.misbehave(IndexLag(seconds=0))
    assert (await ask(http, node, "query/tx", {"hash": hash_})).status == 200


@pytest.mark.parametrize("cached", [False, True])
async def test_a_submitted_transaction_is_lost(node: PocketNode, http: aiohttp.ClientSession, cached: bool) -> None:
    node.misbehave(LoseSubmitted(times=1, cached=cached))
    raw = ALICE.send(BOB.address, 1)
    assert (await rawtx(http, node, raw)).json == {"logs": None, "txhash": tx_hash(raw).upper()}
    node.step()
    assert node.find(tx_hash(raw)) is None
    again = await rawtx(http, node, raw)
    assert again.status == (400 if cached else 200)
    node.step()
    assert (node.find(tx_hash(raw)) is None) is cached


async def test_the_next_submissions_are_refused(node: PocketNode, http: aiohttp.ClientSession) -> None:
    node.misbehave(RejectSubmits(times=2, codespace="auth", code=4, message="no"))
    raw = ALICE.send(BOB.address, 1)
    codes = [(await rawtx(http, node, raw)).json.get("code") for _ in range(3)]
    assert codes == [4, 4, None]


async def test_abci_logging(node: PocketNode, http: aiohttp.ClientSession) -> None:
    node.misbehave(AbciLogging())
    answer = (await rawtx(http, node, ALICE.send(BOB.address, 1))).json
    event = '{"type":"message","attributes":[{"key":"action","value":"send"}]}'
    assert answer["raw_log"] == f'[{{"msg_index":0,"success":true,"log":"","events":[{event}]}}]'
    assert answer["logs"] == json.loads(answer["raw_log"])
    refused = (await rawtx(http, node, ALICE.send(BOB.address, 0))).json
    assert refused["logs"] is None


async def test_an_empty_history_and_an_old_node(node: PocketNode, http: aiohttp.ClientSession) -> None:
    step_with(node, ALICE.send(BOB.address, 1, entropy=1))
    with node.misbehaving(EmptyAccountTxs()):
        assert await entropies(http, node, address=BOB.address, received=True) == []
    assert await entropies(http, node, address=BOB.address, received=True, height=9) == []
    with node.misbehaving(OldNode()):
        assert await entropies(http, node, address=BOB.address, received=True, height=9) == [1]
        missing = await ask(http, node, "query/unconfirmedtxs")
        assert (missing.status, missing.text) == (404, "404 page not found\n")
        assert (await rawtx(http, node, ALICE.send(BOB.address, 1))).json["height"] == "0"


async def test_two_nodes_on_one_chain_misbehave_apart(node: PocketNode, http: aiohttp.ClientSession) -> None:
    async with PocketNode(chain=node.chain) as other:
        other.misbehave(StaleHeight(behind=1))
        raw = ALICE.send(BOB.address, 1)
        assert (await rawtx(http, other, raw)).json["txhash"] == tx_hash(raw).upper()
        node.step()
        heights = [(await ask(http, one, "query/height")).json["height"] for one in (node, other)]
        assert heights == [2, 1]
    assert (await ask(http, node, "query/tx", {"hash": tx_hash(raw)})).status == 200
    with pytest.raises(ValueError, match="shared chain"):
        PocketNode(Genesis(), chain=node.chain)


# --- control ---------------------------------------------------------------------------------------------------------


async def test_control_equals_the_methods(node: PocketNode, http: aiohttp.ClientSession) -> None:
    async def control(name: str, **body: Any) -> Any:
        answer = await ask(http, node, f"/dev/{name}", body)
        assert answer.status == 200, answer.text
        return answer.json

    assert await control("step") == {"height": 2}
    assert await control("step", blocks=3) == {"height": 5}
    assert await control("fund", address=BOB.address, amount=str(RICH)) == {"balance": str(RICH)}
    assert await control("fund", address=BOB.address, amount=1) == {"balance": str(RICH + 1)}
    raw = ALICE.send(BOB.address, 2 * RICH)
    assert await control("inject", raw_hex_bytes=raw.hex()) == {"hash": tx_hash(raw).upper()}
    await control("step")
    found = node.find(tx_hash(raw))
    assert found is not None
    assert found.result.code == 10
    waiting = [node.submit(ALICE.send(BOB.address, 1)).hash for _ in range(3)]
    assert await control("drop", hash=waiting[1].lower()) == {"dropped": [waiting[1]]}
    assert await control("drop", hash=waiting[1]) == {"dropped": []}
    assert await control("drop") == {"dropped": [waiting[0], waiting[2]]}
    shown = await control("misbehave", kind="stale_height", behind=4)
    assert shown["misbehaviours"] == [{"kind": "stale_height", "behind": 4, "height": 0}]
    await control("misbehave", kind="server_error", times=1, paths=["query/tx"])
    assert [switch.kind for switch in node.behaviour.active()] == ["stale_height", "server_error"]
    assert len((await control("behave", kinds=["stale_height"]))["misbehaviours"]) == 1
    assert await control("behave") == {"misbehaviours": []}
    state = (await ask(http, node, "/dev/state", method="GET")).json
    assert (state["height"], state["mempool"], state["balances"][BOB.address]) == (6, [], str(RICH + 1))
    assert state == node.dump()


@pytest.mark.parametrize(
    ("name", "body", "message"),
    [
        ("step", {"blocks": 0}, "blocks"),
        ("step", {"blocks": True}, "blocks"),
        ("step", [], "JSON object"),
        ("fund", {"address": "ab", "amount": 1}, "address"),
        ("fund", {"address": "ab" * 20}, "amount"),
        ("fund", {"address": "ab" * 20, "amount": -1}, "cannot pay"),
        ("inject", {"raw_hex_bytes": "xy"}, "hexadecimal"),
        ("misbehave", {"kind": "rude"}, "rude"),
        ("misbehave", {"kind": "slow", "second": 1}, "second"),
        ("misbehave", {"kind": "lose_submitted", "times": 0}, "greater than 0"),
        ("behave", {"kinds": "slow"}, "kinds"),
    ],
)
async def test_control_refuses(node: PocketNode, http: aiohttp.ClientSession, name: str, body: Any, message: str) -> None:
    answer = await ask(http, node, f"/dev/{name}", body)
    assert answer.status == 400
    assert message in answer.json["error"]
    assert node.dump()["misbehaviours"] == []


def test_every_switch_is_in_the_readme() -> None:
    readme = (ROOT / "infra" / "localnet" / "pocket" / "README.md").read_text()
    kinds = MISBEHAVIOUR.json_schema()["discriminator"]["mapping"]
    assert len(kinds) == 16
    for kind in kinds:
        assert f"`{kind}`" in readme


# --- life ------------------------------------------------------------------------------------------------------------


async def test_the_timer_makes_blocks_in_real_time() -> None:
    async with PocketNode(block_time=0.02) as node:
        raw = ALICE.send(BOB.address, 1)
        node.fund(ALICE.address, RICH)
        node.submit(raw)
        await node.wait_for_height(4)
        assert node.find(tx_hash(raw)) is not None
        assert abs(node.chain.block(3).time.timestamp() - time.time()) < 60
    height = node.height
    with pytest.raises(TimeoutError):
        await node.wait_for_height(height + 1, seconds=0.1)


async def test_a_node_comes_back_at_its_port(http: aiohttp.ClientSession) -> None:
    node = PocketNode()
    with pytest.raises(RuntimeError, match="start it first"):
        _ = node.url
    await node.start()
    url = node.url
    node.step()
    await node.stop()
    assert not node.running
    with pytest.raises(aiohttp.ClientError):
        await ask(http, node, "query/height")
    await node.start()
    assert node.url == url
    assert (await ask(http, node, "query/height")).json == {"height": 2}
    await node.close()


async def start_process(*arguments: str) -> tuple[asyncio.subprocess.Process, dict[str, Any]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "infra.localnet.pocket", "--port", "0", *arguments, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(30):
        return process, json.loads(await process.stdout.readline())


async def test_the_process_survives_a_kill(tmp_path: Path) -> None:
    genesis = tmp_path / "genesis.json"
    genesis.write_text(json.dumps({"chain_id": "other", "balances": {ALICE.address: RICH}}))
    arguments = ("--chain-id", "localnet", "--block-time", "0.02", "--genesis", str(genesis), "--state", str(tmp_path / "state"))
    process, hello = await start_process(*arguments)
    try:
        assert hello["chain_id"] == "localnet"
        hash_ = await ALICE.pay(hello["url"], BOB.address, 5)
        async with aiohttp.ClientSession() as session, asyncio.timeout(30):
            while True:
                async with session.post(hello["url"] + "/v1/query/tx", json={"hash": hash_}) as answer:
                    if answer.status == 200:
                        break
    finally:
        process.kill()
        await process.wait()
    process, hello = await start_process(*arguments)
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.post(hello["url"] + "/v1/query/tx", json={"hash": hash_}) as answer,
        ):
            assert answer.status == 200
    finally:
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(10):
            assert await process.wait() == 0


async def test_a_bad_genesis_ends_the_process(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "infra.localnet.pocket", "--port", "0", "--genesis", str(tmp_path / "none.json")),
        cwd=ROOT,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(30):
        _, errors = await process.communicate()
    assert process.returncode == 1
    assert b"none.json" in errors
    assert b"Traceback" not in errors


async def test_ten_thousand_transactions_page_quickly(node: PocketNode, http: aiohttp.ClientSession) -> None:
    """A page late in a long history costs its own length, and may be large."""
    raw = ALICE.send(VAULT.address, 1, entropy=1)
    step_with(node, raw)
    found = node.find(tx_hash(raw))
    assert found is not None
    for number in range(10_000):
        # Straight into the index: ten thousand signatures would be the test's time, not the page's.
        node.chain.index.add(type(found)(found.raw, f"{number:064X}", 2, number + 1, found.tx, found.result))
    body = {"address": VAULT.address, "received": True, "page": 10, "per_page": 1000}
    times = []
    for _ in range(5):
        started = time.perf_counter()
        answer = await ask(http, node, "query/accounttxs", body)
        times.append(time.perf_counter() - started)
    assert (answer.json["page_count"], answer.json["total_txs"]) == (1000, 10_001)
    assert min(times) < 0.5


# --- the validator's client ------------------------------------------------------------------------------------------


async def test_the_validators_client_and_the_node_agree(node: PocketNode) -> None:
    async with MorseClient([Endpoint.parse(node.url)], chain_id="localnet") as client:
        deposit = ALICE.send(VAULT.address, 1_000_000, MEMO, entropy=-(1 << 63))
        assert (await client.submit(deposit)).outcome is SubmitOutcome.ACCEPTED
        assert (await client.submit(deposit)).outcome is SubmitOutcome.ALREADY_KNOWN
        assert (await client.status(tx_hash(deposit))).state is TxState.PENDING
        failing = VAULT.send(BOB.address, 2 * RICH, "0x" + "ab" * 32)
        assert (await client.submit(failing)).on_its_way
        node.step()
        assert (await client.submit(failing)).outcome is SubmitOutcome.DUPLICATE_INDEXED
        assert (await client.status(tx_hash(deposit))).state is TxState.SUCCEEDED
        assert (await client.status(tx_hash(failing))).state is TxState.FAILED
        window = await client.window(VAULT.address, 1, 2)
        (received,), (sent,) = window.received, window.sent
        assert (received.amount, received.memo, received.entropy, received.code) == (1_000_000, MEMO, -(1 << 63), 0)
        assert (sent.hash, sent.code, sent.raw) == (tx_hash(failing), 10, failing)
        assert window.last_block.height == 2
        assert await client.balance(VAULT.address) == node.balance(VAULT.address)
        assert await client.param("auth/TxSigLimit") == "8"
        with node.misbehaving(WrongChainId()):
            (status,) = await client.check()
            assert status.head is None
            assert "mainnet" in status.error
