"""What holds for any bytes and any text."""

import json
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactor.chains.pocket.errors import PocketDecodeError
from reactor.chains.pocket.memo import Memo, MemoError, MemoFault, parse_memo
from reactor.chains.pocket.morse import multisig
from reactor.chains.pocket.morse.codec import Coin, OtherMsg, SendMsg, StdTx, decode_tx, encode_tx
from reactor.chains.pocket.morse.gotext import decode_utf8, json_string, parse_integer
from reactor.chains.pocket.morse.verify import verify_transaction
from reactor.chains.pocket.morse.wire import encode_bytes_field, encode_uvarint, read_uvarint, to_int64

pytestmark = pytest.mark.property

int64 = st.integers(-(1 << 63), (1 << 63) - 1)
amounts = st.integers(-(2**255) + 1, 2**255 - 1)
addresses = st.binary(min_size=20, max_size=20).map(bytes.hex)
text = st.text(st.characters(exclude_categories=["Cs"]))
sends = st.builds(SendMsg, addresses, addresses, amounts)
others = st.builds(OtherMsg, text.filter(lambda url: url != "/x.nodes.MsgSend"), st.binary())
coins = st.lists(st.builds(Coin, amounts, text), max_size=3).map(tuple)
transactions = st.builds(StdTx, sends | others, coins, st.binary(), st.binary(), text, int64)


@given(transactions)
def test_encoding_and_decoding_are_inverse(tx: StdTx) -> None:
    raw = encode_tx(tx)
    assert decode_tx(raw) == tx
    assert encode_tx(decode_tx(raw)) == raw
    assert decode_tx(encode_tx(tx, explicit_empty_memo=True)) == tx


@given(st.binary(), st.booleans())
def test_any_body_decodes_or_fails_as_promised(body: bytes, allow_amino: bool) -> None:
    for raw in (body, encode_uvarint(len(body)) + body):
        with suppress(PocketDecodeError):
            decode_tx(raw, allow_amino=allow_amino)
        assert not verify_transaction(raw, "localnet", allow_amino=allow_amino).valid


@given(transactions, st.data())
def test_damaged_transactions_decode_or_fail_as_promised(tx: StdTx, data: st.DataObject) -> None:
    raw = bytearray(encode_tx(tx))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    with suppress(PocketDecodeError):
        decode_tx(bytes(raw))


@given(transactions, st.integers(100, 1000), st.binary())
def test_unknown_fields_change_nothing(tx: StdTx, number: int, value: bytes) -> None:
    raw = encode_tx(tx)
    body = raw[read_uvarint(raw, 0, "length")[1] :] + encode_bytes_field(number, value)
    assert decode_tx(encode_uvarint(len(body)) + body) == tx


@given(st.integers(0, (1 << 64) - 1))
def test_varints(value: int) -> None:
    data = encode_uvarint(value)
    assert read_uvarint(data, 0, "value") == (value, len(data))
    assert to_int64(value) % (1 << 64) == value


@given(st.lists(st.binary(min_size=32, max_size=32), max_size=12), st.lists(st.binary(max_size=70), max_size=12))
def test_multisig_blobs(keys: list[bytes], slots: list[bytes]) -> None:
    encoded = multisig.encode_multisig_key(keys)
    assert multisig.decode_multisig_key(encoded) == tuple(keys)
    assert len(encoded) == 4 + 39 * len(keys)
    assert multisig.decode_multisignature(multisig.encode_multisignature(slots)) == tuple(slots)


@given(st.binary())
def test_multisig_decoding_never_crashes(data: bytes) -> None:
    for prefix in ("", "f325b8ad", "b2f515f9"):
        for decode in (multisig.decode_multisig_key, multisig.decode_multisignature):
            with suppress(PocketDecodeError):
                decode(bytes.fromhex(prefix) + data)


@given(text)
def test_json_strings_read_back(value: str) -> None:
    literal = json_string(value)
    assert json.loads(literal) == value
    assert not set(literal) & set("<>&\u2028\u2029")


@given(st.binary())
def test_utf8_is_read_like_go(data: bytes) -> None:
    found = decode_utf8(data)
    try:
        assert found == data.decode()
    except UnicodeDecodeError:
        assert "\ufffd" in found
        assert found.encode().count(b"\xef\xbf\xbd") >= data.decode(errors="replace").count("\ufffd")


@given(amounts)
def test_amounts_in_every_base(value: int) -> None:
    for spelled in (f"{value}", f"{value:#x}", f"{value:#b}", f"{value:#o}"):
        assert parse_integer(spelled.encode()) == value


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=12,
)
memo_keys = st.sampled_from(["address", "Address", "chain_id", "CHAIN_ID", "x", "addres"])
memo_values = st.sampled_from(["0x" + "ab" * 20, "0x" + "00" * 20, "1", "0001", "2", ""]) | json_values
memo_objects = st.lists(st.tuples(memo_keys, memo_values), max_size=5)


def expected(members: list[tuple[str, Any]]) -> str | None:
    """The recipient by the plain reading of the rules, or None."""
    fields = {"address": "", "chain_id": ""}
    for key, value in members:
        if key.lower() in fields and value is not None:
            if not isinstance(value, str):
                return None
            fields[key.lower()] = value
    good = fields["address"] == "0x" + "ab" * 20 and fields["chain_id"] in {"1", "0001"}
    return fields["address"] if good else None


@given(memo_objects, st.booleans())
def test_memo_agrees_with_the_plain_reading(members: list[tuple[str, Any]], ascii_only: bool) -> None:
    inner = ",".join(f"{json.dumps(key)}:{json.dumps(value, ensure_ascii=ascii_only)}" for key, value in members)
    found = parse_memo(f"{{{inner}}}", "1")
    assert (found.address if isinstance(found, Memo) else None) == expected(members)
    assert not isinstance(found, MemoError) or found.fault is not MemoFault.NOT_JSON


@given(st.text(st.characters()) | st.binary() | st.text('{}[]":,\\ addresschain_id0x1u', max_size=60))
def test_any_memo_has_a_verdict(memo: str | bytes) -> None:
    found = parse_memo(memo, "1")
    assert isinstance(found, Memo | MemoError)


@given(st.text('{}[]":,\\tfnu0e-.1 ', max_size=30))
def test_json_syntax_is_judged_as_by_another_parser(memo: str) -> None:
    try:
        json.loads(memo)
    except ValueError:
        valid = False
    else:
        valid = True
    found = parse_memo(memo, "1")
    assert (isinstance(found, MemoError) and found.fault is MemoFault.NOT_JSON) is not valid
