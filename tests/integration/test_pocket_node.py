"""The development node over HTTP: shapes and quirks of the interface, and our client against it."""

import base64
import json
from typing import Any

import aiohttp
import pytest
from pocket_node_helpers import (
    ALICE,
    BOB,
    MEMO,
    NO_PROOF,
    RICH,
    VAULT,
    VECTORS,
    ask,
    entropies,
    http_session,
    rawtx,
    rich_node,
    step_with,
)

from infra.localnet.pocket import (
    Genesis,
    PocketNode,
    Wallet,
    WrongChainId,
)
from infra.localnet.pocket.wallet import SubmitError, Unsigned, submit, tx_hash
from reactor.chains.pocket.morse.client import MorseClient
from reactor.chains.pocket.morse.transport import Endpoint
from reactor.chains.pocket.types import SubmitOutcome, TxState

pytestmark = pytest.mark.integration

node, http = rich_node, http_session


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
        ("GET", "/v1", 200, '"RC-0.12.0"'),
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
    cut = await ask(http, node, "query/block", data=b'{"a":"' + b"x" * (1 << 20) + b'"}')
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
            (status,) = await client.check(VAULT.address)
            assert status.head is None
            assert "mainnet" in status.error
