"""A node's answers, one by one: what is read, and what names the field that is wrong."""

import base64
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from reactor.chains.errors import Means
from reactor.chains.pocket.errors import MalformedAnswer, NoNodesAnswer, NotFound, PocketRpcError, RpcRefused, RpcUnavailable
from reactor.chains.pocket.morse import answers
from reactor.chains.pocket.morse.codec import OtherMsg, StdTx, encode_tx, tx_hash
from reactor.chains.pocket.morse.questions import same_block, same_tx, same_window
from reactor.chains.pocket.types import PocketTx, SubmitOutcome, Window
from reactor.foreign import one_line

pytestmark = pytest.mark.unit

ASKED = answers.Asked("node0", "query/x")
HASH = "ab" * 32
VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "pocket.json").read_text())["vectors"]
SHOWN = next({"hash": one["hash"], **one["rpc"]} for one in VECTORS if "rpc" in one)
BLOCK: dict[str, Any] = {
    "block": {"header": {"height": "7", "time": "2020-03-10T02:04:35+02:00", "chain_id": "localnet"}, "data": {"txs": ["aGk="]}},
    "block_id": {"hash": HASH.upper()},
}


def changed(value: Any, path: str, new: Any) -> Any:
    copy = json.loads(json.dumps(value))
    *parents, last = path.split(".")
    place = copy
    for part in parents:
        place = place[part]
    place[last] = new
    return copy


# --- bodies -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("body", "value"),
    [
        (b'{"height":5}', {"height": 5}),
        (b'"{\\"height\\":5}"', {"height": 5}),
        (b'"[1]"', [1]),
        (b'"plain"', "plain"),
        (b"null", None),
        (b'{"error":{"code":0},"height":5}', {"error": {"code": 0}, "height": 5}),
        (b'{"error":"none"}', {"error": "none"}),
        (b'{"code":1,"message":5}', {"code": 1, "message": 5}),
        (b'{"code":1,"message":"x","more":1}', {"code": 1, "message": "x", "more": 1}),
    ],
)
def test_bodies_that_are_read(body: bytes, value: Any) -> None:
    assert answers.read_body(ASKED, 200, body) == value
    assert answers.read_body(ASKED, 299, body) == value


NOT_FOUND = json.dumps({"code": 66, "message": f"tx ({HASH}) not found"}).encode()


@pytest.mark.parametrize(
    ("status", "body", "kind", "text"),
    [
        (200, b"", MalformedAnswer, "empty body"),
        (200, b"<html>", MalformedAnswer, "<html>"),
        pytest.param(200, b"[" * 100_000, MalformedAnswer, "not JSON (it is nested too deep)", id="deep"),
        (200, b'"{"', MalformedAnswer, "not JSON"),
        (200, NOT_FOUND, NotFound, "not found"),
        (200, b'{"code":400,"message":"no"}', RpcRefused, "no"),
        (200, b'{"code":1,"message":"no"}', RpcUnavailable, "gateway error 1: no"),
        (200, b'{"error":{"code":-1,"message":"overloaded"}}', RpcUnavailable, "gateway error -1: overloaded"),
        (200, b'{"error":{}}', RpcUnavailable, "gateway error None"),
        (200, b'{"error":{"code":1,"message":"tx already exists in cache"}}', RpcRefused, "exists in cache"),
        (
            200, b'{"error":{"code":1,"message":"height must be less than or equal to the current blockchain height 9"}}',
            NotFound, "current blockchain height",
        ),
        (500, b"down", RpcUnavailable, "HTTP 500: down"),
        (500, NOT_FOUND, RpcUnavailable, "HTTP 500"),
        (429, b"", RpcUnavailable, "HTTP 429: empty body"),
        (408, b"", RpcUnavailable, "HTTP 408"),
        (425, b"", RpcUnavailable, "HTTP 425"),
        (302, b"", NoNodesAnswer, "HTTP 302"),
        (400, NOT_FOUND, NotFound, "not found"),
        (400, b'{"code":400,"message":"bad"}', RpcRefused, "bad"),
        (400, b'{"message":"bad"}', NoNodesAnswer, "bad"),
        (400, b'{"message":5}', NoNodesAnswer, "HTTP 400"),
        (400, b"[]", NoNodesAnswer, "HTTP 400"),
        (404, NOT_FOUND, NoNodesAnswer, "HTTP 404"),
        (404, b"404 page not found", NoNodesAnswer, "HTTP 404"),
        (405, b"", NoNodesAnswer, "HTTP 405"),
        (199, b"", NoNodesAnswer, "HTTP 199"),
    ],
)  # fmt: skip
def test_bodies_that_are_refused(status: int, body: bytes, kind: type[Exception], text: str) -> None:
    with pytest.raises(PocketRpcError) as caught:
        answers.read_body(ASKED, status, body)
    assert type(caught.value) is kind
    assert text in str(caught.value)
    assert str(caught.value).startswith("node0: query/x: ")


def test_a_refusal_carries_its_status_and_a_long_body_is_cut() -> None:
    with pytest.raises(RpcRefused) as refused:
        answers.read_body(ASKED, 400, b'{"code":400,"message":"bad"}')
    assert refused.value.status == 400
    with pytest.raises(RpcUnavailable) as cut:
        answers.read_body(ASKED, 502, b"x" * 1000)
    assert cut.value.text == "HTTP 502: " + "x" * 300 + "…"


NODE_CALLS = ("query/height", "query/block", "query/tx", "query/accounttxs", "query/balance", "query/param", "client/rawtx")
GATEWAYS_NO = {
    "plain": b"default backend - 404\n",
    "router": b"404 page not found\n",
    "method": b"Method Not Allowed\n",
    "empty": b"",
    "html": b"<html><body>404 Not Found</body></html>",
    "message": b'{"message":"no Route matched with those values"}',
    "code": b'{"code":401,"message":"invalid API key"}',
    "more": b'{"code":400,"message":"bad request","request_id":"1"}',
    "no words": b'{"code":400,"message":5}',
    "error": b'{"error":"not found"}',
    "errors": b'{"error":{"code":-32600,"message":"unauthorized"}}',
    "text": b'"not found"',
    "list": b"[]",
    "null": b"null",
    "node's words, foreign form": json.dumps({"error": f"tx ({HASH}) not found"}).encode(),
}
STATUSES = [*range(300, 309), *range(400, 419), 421, 422, 423, 424, 426, 428, 431, 451, 499, 500, 502, 503, 504, 520, 530, 599]


@pytest.mark.parametrize("call", [*NODE_CALLS, "query/unconfirmedtx"])
@pytest.mark.parametrize("name", GATEWAYS_NO)
def test_a_gateways_no_is_the_endpoints_fault_whatever_was_asked(call: str, name: str) -> None:
    """Every status with every body that no node sends: fail over, stand back, never the chain's word."""
    for status in STATUSES:
        if call == "query/unconfirmedtx" and (status, name) in {(404, "router"), (405, "method")}:
            continue  # an older node's, see below
        with pytest.raises(RpcUnavailable) as caught:
            answers.read_body(answers.Asked("node0", call), status, GATEWAYS_NO[name])
        assert caught.value.about == call
        lasting = status < 500 and status != 408
        assert caught.value.means is (Means.UNABLE if lasting else Means.FAULT)
        assert isinstance(caught.value, NoNodesAnswer) == lasting


@pytest.mark.parametrize("status", [*STATUSES[:9], 401, 403, 404, 405, 409, 418, 451, 500, 503])
@pytest.mark.parametrize("message", [f"tx ({HASH}) not found", "tx already exists in cache", "no"])
def test_a_nodes_own_words_count_with_its_own_status_alone(status: int, message: str) -> None:
    body = json.dumps({"code": 400, "message": message}).encode()
    with pytest.raises(RpcUnavailable):
        answers.read_body(ASKED, status, body)
    with pytest.raises((NotFound, RpcRefused)) as own:
        answers.read_body(ASKED, 400, body)
    assert own.value.means is Means.ELSEWHERE, "another node may know better"


@pytest.mark.parametrize(("status", "name"), [(404, "router"), (405, "method")])
def test_an_older_node_lacks_the_look_up_in_the_mempool_alone(status: int, name: str) -> None:
    with pytest.raises(RpcRefused):
        answers.read_body(answers.Asked("node0", "query/unconfirmedtx"), status, GATEWAYS_NO[name])


@pytest.mark.parametrize("call", ["query/height", "query/accounttxs", "query/param"])
def test_what_no_node_refuses_is_a_fault_even_in_its_form(call: str) -> None:
    for status in (200, 400):
        with pytest.raises(NoNodesAnswer, match="which no node does: no"):
            answers.read_body(answers.Asked("node0", call), status, b'{"code":400,"message":"no"}')


# --- typed access -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "number"),
    [(0, 0), (5, 5), (5.0, 5), ("5", 5), ("007", 7), (2**63 - 1, 2**63 - 1), (str(2**63 - 1), 2**63 - 1)],
)
def test_integers(value: Any, number: int) -> None:
    assert answers.integer(ASKED, {"a": {"b": value}}, "a.b", text=True) == number


@pytest.mark.parametrize(
    "value",
    [-1, 1.5, True, None, [], "", "-1", "5.0", "\u0665", "9" * 21, 2**63, str(2**63), 1e300, float("inf"), float("nan"), 10**400],
)
def test_what_is_no_height_of_this_chain_is_malformed(value: Any) -> None:
    with pytest.raises(MalformedAnswer, match="an integer from 0") as caught:
        answers.integer(ASKED, {"a": {"b": value}}, "a.b", text=True)
    assert caught.value.field == "a.b"


def test_a_text_is_an_integer_only_where_the_node_writes_one() -> None:
    with pytest.raises(MalformedAnswer, match="'5'"):
        answers.integer(ASKED, {"a": "5"}, "a")


def test_the_part_that_is_missing_is_named() -> None:
    for value, field in (([], "body"), ({}, "a"), ({"a": 5}, "a"), ({"a": {}}, "a.b")):
        with pytest.raises(MalformedAnswer) as caught:
            answers.member(ASKED, value, "a.b")
        assert caught.value.field == field


# --- blocks and transactions ------------------------------------------------------------------------------------------


def test_a_block_is_read_from_either_form() -> None:
    block = answers.parse_block(ASKED, BLOCK)
    assert (block.height, block.hash, block.chain_id, block.endpoint) == (7, HASH, "localnet", "node0")
    assert block.time == datetime(2020, 3, 10, 0, 4, 35, tzinfo=UTC)
    assert block.time.tzinfo is UTC
    older = {"block": BLOCK["block"], "block_meta": {"block_id": {"hash": HASH}}}
    assert answers.parse_block(ASKED, older) == block
    assert answers.parse_block_txs(ASKED, BLOCK) == (b"hi",)
    assert answers.parse_block_txs(ASKED, changed(BLOCK, "block.data.txs", None)) == ()


@pytest.mark.parametrize(
    ("path", "value", "field"),
    [
        ("block.header.height", -1, "height"),
        ("block.header.time", 5, "time"),
        ("block.header.time", "soon", "block.header.time"),
        ("block.header.time", "2020-03-10T00:04:35", "block.header.time"),
        ("block.header.time", "0001-01-01T00:00:00+14:00", "block.header.time"),
        ("block.header.time", "9999-12-31T23:59:59-14:00", "block.header.time"),
        ("block.header.chain_id", None, "chain_id"),
        ("block_id", {}, "block_id.hash"),
        ("block_id.hash", "zz", "block_id.hash"),
        ("block", {"header": 5}, "body"),
    ],
)
def test_a_block_that_is_none_names_the_field(path: str, value: Any, field: str) -> None:
    with pytest.raises(MalformedAnswer) as caught:
        answers.parse_block(ASKED, changed(BLOCK, path, value))
    assert caught.value.field == field


@pytest.mark.parametrize(
    ("txs", "field"), [("x", "block.data.txs"), ([5], "block.data.txs.0"), (["aGk=", "%"], "block.data.txs.1")]
)
def test_raw_transactions_that_are_none(txs: Any, field: str) -> None:
    with pytest.raises(MalformedAnswer) as caught:
        answers.parse_block_txs(ASKED, changed(BLOCK, "block.data.txs", txs))
    assert caught.value.field == field


def test_a_transaction_is_read_from_its_bytes() -> None:
    tx = answers.parse_tx(ASKED, SHOWN)
    assert (tx.decoded, tx.is_send, tx.hash) == (True, True, SHOWN["hash"].lower())
    assert tx.raw == base64.b64decode(SHOWN["tx"])
    assert answers.parse_page(ASKED, {"txs": [SHOWN], "total_txs": 9}) == ((tx,), 9)
    assert answers.parse_page(ASKED, {"txs": None, "total_txs": 0}) == ((), 0)


def test_bytes_that_the_hash_does_not_name_are_refused() -> None:
    other = {**SHOWN, "tx": base64.b64encode(b"\x01x").decode()}
    with pytest.raises(MalformedAnswer, match="the bytes hash to"):
        answers.parse_tx(ASKED, other)
    with pytest.raises(MalformedAnswer, match="not base64"):
        answers.parse_tx(ASKED, {**SHOWN, "tx": "\u00e4"})


def test_bytes_that_do_not_decode_are_a_fact() -> None:
    tx = answers.parse_tx(ASKED, {**SHOWN, "tx": "BWp1bms=", "hash": tx_hash(b"\x05junk")})
    assert (tx.decoded, tx.is_send, tx.amount, tx.raw) == (False, False, None, b"\x05junk")
    assert tx.reason


@pytest.mark.parametrize("raw", ["", "AA=="])
def test_bytes_that_are_left_out_are_no_fact(raw: str) -> None:
    with pytest.raises(MalformedAnswer, match="the bytes hash to"):
        answers.parse_tx(ASKED, {**SHOWN, "tx": raw})


REMOVED = object()
DERIVED = ["proof", "stdTx", "tx_result.data", "tx_result.events", "tx_result.info", "tx_result.log"]
DERIVED += ["tx_result.message_type", "tx_result.recipient", "tx_result.signer", "tx_result.codespace"]


@pytest.mark.parametrize(
    "new", [None, "", "zz", 5, [], {"height": 1}, REMOVED], ids=["null", "empty", "text", "number", "list", "object", "gone"]
)
@pytest.mark.parametrize("path", [*DERIVED, "timestamp", "tx_result.gas"])
def test_what_a_node_derives_is_neither_believed_nor_compared(path: str, new: Any) -> None:
    """Only the raw bytes and where they stand count: two honest nodes may show the rest as they like."""
    if new is REMOVED:
        *parents, last = path.split(".")
        shown = json.loads(json.dumps(SHOWN))
        place = shown[parents[0]] if parents else shown
        place.pop(last, None)
    else:
        shown = changed(SHOWN, path, new)
    tx, plain = answers.parse_tx(ASKED, shown), answers.parse_tx(ASKED, SHOWN)
    assert replace(tx, codespace="") == replace(plain, codespace="")
    question = same_tx(plain.hash)
    assert question.same((tx, "a")) == question.same((plain, "b"))


@pytest.mark.parametrize(("path", "new"), [("height", 9), ("index", 9), ("tx_result.code", 9)])
def test_where_a_transaction_stands_and_its_code_are_compared(path: str, new: int) -> None:
    question, plain = same_tx(HASH), answers.parse_tx(ASKED, SHOWN)
    other = answers.parse_tx(ASKED, changed(SHOWN, path, new))
    assert question.same((other, "a")) != question.same((plain, "a"))
    assert same_window(1, 9).same(window_of(other)) != same_window(1, 9).same(window_of(plain))
    assert same_window(1, 9).same(window_of(plain)) == same_window(1, 9).same(window_of(plain, endpoint="b", head=77))


def window_of(*received: PocketTx, endpoint: str = "a", head: int = 9) -> Window:
    block = replace(answers.parse_block(ASKED, BLOCK), endpoint=endpoint)
    return Window("aa" * 20, 1, 9, received, (), block, head, endpoint)


@pytest.mark.parametrize("when", ["2020-03-10T00:04:35Z", "2020-03-10T00:04:35.000Z", "2020-03-10T01:04:35+01:00"])
def test_a_time_is_compared_as_a_moment(when: str) -> None:
    written = answers.parse_block(ASKED, changed(BLOCK, "block.header.time", when))
    assert same_block(7).same(written) == same_block(7).same(answers.parse_block(ASKED, BLOCK))
    later = replace(written, time=written.time + timedelta(microseconds=1))
    assert same_block(7).same(later) != same_block(7).same(written)


def test_a_message_of_another_kind_is_no_send() -> None:
    raw = encode_tx(StdTx(OtherMsg("/x.nodes.MsgUnjail", b""), (), b"k" * 32, b"s", "hi", 3))
    shown = {**SHOWN, "tx": base64.b64encode(raw).decode(), "hash": tx_hash(raw)}
    tx = answers.parse_tx(ASKED, shown)
    assert (tx.decoded, tx.is_send, tx.memo, tx.amount) == (True, False, "hi", None)


def test_the_old_envelope_is_read_below_the_upgrade_alone() -> None:
    raw = bytes.fromhex(next(one["raw_hex"] for one in VECTORS if one.get("envelope") == "amino"))
    assert answers.decode_for_height(raw, answers.CODEC_UPGRADE_HEIGHT - 1).envelope == "amino"
    with pytest.raises(ValueError, match="amino envelope"):
        answers.decode_for_height(raw, answers.CODEC_UPGRADE_HEIGHT)


# --- submissions ------------------------------------------------------------------------------------------------------

DUPLICATE = '{"codespace":"auth","message":"this is a duplicate transaction"}'


@pytest.mark.parametrize(
    ("answer", "outcome", "codespace"),
    [
        ({}, SubmitOutcome.ACCEPTED, ""),
        ({"code": 0, "raw_log": "x"}, SubmitOutcome.ACCEPTED, ""),
        ({"code": 6, "raw_log": DUPLICATE}, SubmitOutcome.DUPLICATE_INDEXED, "auth"),
        ({"code": 6, "raw_log": "Codespace: auth this is a duplicate transaction"}, SubmitOutcome.DUPLICATE_INDEXED, "auth"),
        ({"code": 5, "raw_log": DUPLICATE}, SubmitOutcome.REJECTED, "auth"),
        ({"code": 6, "raw_log": '{"codespace":"auth","message":"does not have enough coins"}'}, SubmitOutcome.REJECTED, "auth"),
        ({"code": 6, "raw_log": DUPLICATE.replace("auth", "sdk")}, SubmitOutcome.REJECTED, "sdk"),
        ({"code": 4, "raw_log": '{"codespace":5}'}, SubmitOutcome.REJECTED, ""),
        pytest.param({"code": 4, "raw_log": "[" * 100_000}, SubmitOutcome.REJECTED, "", id="deep"),
        ({"code": 4}, SubmitOutcome.REJECTED, ""),
    ],
)
def test_submissions(answer: dict[str, Any], outcome: SubmitOutcome, codespace: str) -> None:
    result = answers.parse_submission(ASKED, {"txhash": HASH.upper(), **answer}, HASH)
    assert (result.outcome, result.codespace, result.hash, result.endpoint) == (outcome, codespace, HASH, "node0")
    assert result.on_its_way == (outcome is not SubmitOutcome.REJECTED)
    if outcome is not SubmitOutcome.ACCEPTED:
        assert (result.code, result.text) == (answer["code"], one_line(answer.get("raw_log", ""), 300))


@pytest.mark.parametrize("answer", [{}, {"txhash": "cd" * 32}, {"txhash": 5}, {"txhash": HASH, "code": "0"}])
def test_an_answer_about_other_bytes_is_no_verdict(answer: dict[str, Any]) -> None:
    with pytest.raises(MalformedAnswer):
        answers.parse_submission(ASKED, answer, HASH)
