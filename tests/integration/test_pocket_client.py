"""The client's plain answers and submissions against a server that answers like a node, and like an older node."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web
from pocket_client_helpers import (
    USER,
    VAULT,
    VECTORS,
    Entry,
    Node,
    client_of,
    client_of_node,
    refuse,
    reply,
    send,
    served_node,
    serving,
)

from reactor.chains.pocket import (
    MalformedAnswer,
    NotFound,
    PocketChain,
    PocketDecodeError,
    RpcRefused,
    SubmitOutcome,
    TxState,
    tx_hash,
)
from reactor.chains.pocket.morse.codec import OtherMsg, StdTx, encode_tx

pytestmark = pytest.mark.integration

node, chain = served_node, client_of_node


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
    assert (tx.decoded, tx.is_send) == (True, True)
    assert (tx.from_address, tx.to_address) == (vector["msg"]["from_address"], vector["msg"]["to_address"])
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
