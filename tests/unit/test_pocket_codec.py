"""Where the codec must be lenient (the node is) and where it must not."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from reactor.chains.pocket.errors import PocketDecodeError
from reactor.chains.pocket.morse import amino, multisig, returns
from reactor.chains.pocket.morse.codec import (
    MAX_TX_BYTES,
    SEND_TYPE_URL,
    Coin,
    Envelope,
    OtherMsg,
    SendMsg,
    StdTx,
    decode_tx,
    encode_send,
    encode_tx,
    tx_hash,
)
from reactor.chains.pocket.morse.gotext import decode_utf8, json_string, parse_integer
from reactor.chains.pocket.morse.returns import AssembleError, ReturnTx, assemble, return_entropy, verify_share
from reactor.chains.pocket.morse.verify import Fault, verify_ed25519, verify_transaction
from reactor.chains.pocket.morse.wire import encode_bytes_field, encode_int64, encode_uvarint, fields, read_uvarint, to_int64

pytestmark = pytest.mark.unit

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "pocket.json").read_text())["vectors"]
V9 = bytes.fromhex(next(vector["raw_hex"] for vector in VECTORS if vector["id"] == "V9"))


def body_of(raw: bytes) -> bytes:
    return raw[read_uvarint(raw, 0, "length")[1] :]


def wrap(body: bytes) -> bytes:
    return encode_uvarint(len(body)) + body


BODY = body_of(V9)
TX = decode_tx(V9)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(BODY + bytes.fromhex("f80101"), id="unknown varint field"),
        pytest.param(BODY + encode_bytes_field(99, b"x"), id="unknown bytes field"),
        pytest.param(BODY + bytes.fromhex("f90100000000000000 00".replace(" ", "")), id="unknown fixed64"),
        pytest.param(BODY + bytes.fromhex("fd0100000000"), id="unknown fixed32"),
        pytest.param(BODY + bytes.fromhex("fb010801fc01"), id="unknown group"),
        pytest.param(bytes.fromhex("8a00") + BODY[1:], id="non-minimal tag"),
        pytest.param(BODY + BODY[: 2 + BODY[1]], id="repeated message merges"),
    ],
)
def test_rewrapped_bytes_are_the_same_transaction_with_a_valid_signature_and_another_hash(body: bytes) -> None:
    raw = wrap(body)
    assert decode_tx(raw) == TX
    assert tx_hash(raw) != tx_hash(V9)
    assert verify_transaction(raw, "localnet").valid


def test_a_non_minimal_length_prefix_decodes() -> None:
    raw = bytes.fromhex("988200") + BODY
    assert decode_tx(raw) == TX


@pytest.mark.parametrize(
    ("raw", "field"),
    [
        (b"", "length"),
        (b"\xff" * 11, "length"),
        (V9 + b"\0", "length"),
        (V9[:-1], "length"),
        (wrap(BODY[:-1]), "tx.5"),
        (wrap(b"\x00\x00"), "tx"),
        (wrap(b"\x0c"), "tx"),
        (wrap(b"\x0f"), "tx.1"),
        (wrap(b"\x08\x01"), "tx.1"),
        (wrap(BODY + b"\xfb\x01"), "tx.31"),
        (wrap(b"\x0a\x05abc"), "tx.1"),
        (wrap(BODY + b"\x2a\x00"), "tx.5"),
        (b"\0" * (MAX_TX_BYTES + 1), "raw"),
    ],
)
def test_what_the_chain_does_not_decode(raw: bytes, field: str) -> None:
    with pytest.raises(PocketDecodeError) as caught:
        decode_tx(raw)
    assert caught.value.field == field
    assert caught.value.reason
    verdict = verify_transaction(raw, "localnet")
    assert (verdict.fault, verdict.decodes, verdict.tx) == (Fault.UNDECODABLE, False, None)


def test_the_largest_transaction_is_read() -> None:
    unknown = MAX_TX_BYTES - len(BODY) - len(encode_uvarint(99 << 3 | 2)) - 2 * len(encode_uvarint(MAX_TX_BYTES))
    raw = wrap(BODY + encode_bytes_field(99, b"x" * unknown))
    assert len(raw) == MAX_TX_BYTES
    assert decode_tx(raw) == TX


@pytest.mark.parametrize(
    ("raw", "reason"),
    [
        (V9 + b"\0", f"the prefix says {len(BODY)} bytes, {len(BODY) + 1} follow"),
        (V9[:-1], f"the prefix says {len(BODY)} bytes, {len(BODY) - 1} follow"),
        (b"\0" + V9, f"the prefix says 0 bytes, {len(V9)} follow"),
    ],
)
def test_a_length_that_is_wrong_is_told_with_the_right_one(raw: bytes, reason: str) -> None:
    with pytest.raises(PocketDecodeError) as caught:
        decode_tx(raw)
    assert (caught.value.field, caught.value.reason) == ("length", reason)


def test_other_messages_are_kept_and_not_judged() -> None:
    tx = StdTx(OtherMsg("/x.nodes.MsgUnjail", b"\x01"), (), b"k" * 32, b"s" * 64, "", 1)
    raw = encode_tx(tx)
    assert decode_tx(raw) == tx
    assert verify_transaction(raw, "localnet").fault is Fault.UNSUPPORTED_MESSAGE
    with pytest.raises(ValueError, match="only sends"):
        tx.sign_bytes("localnet")


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (b"", 0), (b"0", 0), (b"007", 7), (b"0x10", 16), (b"0B11", 3), (b"0o17", 15), (b"1_000", 1000), (b"+5", 5),
        (b"-5", -5), (b"0_7", 7), (str(2**255 - 1).encode(), 2**255 - 1), (b"0x" + b"0" * 5000 + b"1", 1),
        (b"08", None), (b"1__0", None), (b"_1", None), (b"1_", None), (b"0x", None), (b" 1", None), (b"1e3", None),
        (b"1.0", None), (b"\xd9\xa1", None), (str(2**255).encode(), None), (b"9" * 100_000, None), (b"--1", None),
    ],
)  # fmt: skip
def test_amounts_are_read_as_the_chain_reads_them(text: bytes, value: int | None) -> None:
    assert parse_integer(text) == value


def test_an_amount_in_hex_is_a_real_transfer() -> None:
    send = encode_bytes_field(1, b"f" * 20) + encode_bytes_field(2, b"t" * 20) + encode_bytes_field(3, b"0x10")
    body = encode_bytes_field(1, encode_bytes_field(1, b"/x.nodes.MsgSend") + encode_bytes_field(2, send))
    msg = decode_tx(wrap(body)).msg
    assert isinstance(msg, SendMsg)
    assert msg.amount == 16
    with pytest.raises(PocketDecodeError, match=r"msg\.value\.amount"):
        decode_tx(wrap(body.replace(b"0x10", b"0xg0")))


@pytest.mark.parametrize(
    ("text", "literal"),
    [
        ("", '""'), ('a"b\\c', '"a\\"b\\\\c"'), ("<>&", '"\\u003c\\u003e\\u0026"'), ("\u2028\u2029", '"\\u2028\\u2029"'),
        ("\n\r\t", '"\\n\\r\\t"'), ("\b\f\x00\x1f", '"\\u0008\\u000c\\u0000\\u001f"'), ("\x7f/é😀", '"\x7f/é😀"'),
        ("\ud800", '"\ufffd"'),
    ],
)  # fmt: skip
def test_go_json_strings(text: str, literal: str) -> None:
    assert json_string(text) == literal


def test_invalid_utf8_becomes_one_replacement_per_byte() -> None:
    assert decode_utf8(b"a\xe2\x82z\xff\xf0\x9f\x98") == "a\ufffd\ufffdz\ufffd\ufffd\ufffd\ufffd"
    assert decode_utf8("é😀".encode()) == "é😀"
    memo_body = encode_bytes_field(4, b"\xe2\x82")
    assert b'"memo":"\xef\xbf\xbd\xef\xbf\xbd"' in decode_tx(wrap(BODY + memo_body)).sign_bytes("localnet")


@pytest.mark.parametrize("value", [-(1 << 63), -1, 0, 1, (1 << 63) - 1])
def test_entropy_survives(value: int) -> None:
    assert decode_tx(encode_tx(replace(TX, entropy=value))).entropy == value


@pytest.mark.parametrize("value", [-(1 << 63) - 1, 1 << 63])
def test_no_entropy_beyond_int64(value: int) -> None:
    with pytest.raises(ValueError, match="int64"):
        encode_int64(value)


# --- verdicts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("changed", "fault"),
    [
        (replace(TX, public_key=b""), Fault.NO_KEY),
        (replace(TX, public_key=b"k" * 33), Fault.UNSUPPORTED_KEY),
        (replace(TX, public_key=b"k" * 34), Fault.BAD_KEY),
        (replace(TX, signature=b""), Fault.NO_SIGNATURE),
        (replace(TX, signature=TX.signature[:-1]), Fault.BAD_SIGNATURE),
        (replace(TX, signature=TX.signature[:-1] + b"\0"), Fault.BAD_SIGNATURE),
        (replace(TX, public_key=b"k" * 32), Fault.ADDRESS_MISMATCH),
        (replace(TX, fee=(Coin(10001),)), Fault.BAD_SIGNATURE),
        (replace(TX, memo=TX.memo + " "), Fault.BAD_SIGNATURE),
        (replace(TX, entropy=TX.entropy + 1), Fault.BAD_SIGNATURE),
    ],
)
def test_each_tampering_has_its_verdict(changed: StdTx, fault: Fault) -> None:
    assert verify_transaction(encode_tx(TX), "localnet").valid
    verdict = verify_transaction(encode_tx(changed), "localnet")
    assert (verdict.fault, verdict.valid) == (fault, False)
    assert verdict.text


# --- multisig and returns -----------------------------------------------------------------------------------------

SIGNERS = [Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in range(1, 4)]
KEYS = [signer.public_key().public_bytes_raw().hex() for signer in SIGNERS]
RETURN = ReturnTx(multisig.vault_address(KEYS), "ab" * 20, 90_000, 10_000, "0x" + "cd" * 32, -7, "localnet")
SHARES = {key: signer.sign(RETURN.sign_bytes) for key, signer in zip(KEYS, SIGNERS, strict=True)}


def test_assembled_return_is_valid_and_the_same_in_any_order_of_shares() -> None:
    raw = assemble(RETURN, KEYS, SHARES)
    assert verify_transaction(raw, "localnet").slots == (True, True, True)
    assert assemble(RETURN, KEYS, dict(reversed(SHARES.items()))) == raw
    assert decode_tx(raw).sign_bytes("localnet") == RETURN.sign_bytes


def test_what_was_encoded_is_read_back_before_it_is_given_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """Were our own encoder wrong, a transaction that says something else, or that nobody can read, would go out."""
    really = encode_tx
    monkeypatch.setattr(returns, "encode_tx", lambda tx: really(replace(tx, entropy=tx.entropy + 1)))
    with pytest.raises(AssembleError, match="would not pass on the chain: slot 0 does not verify"):
        assemble(RETURN, KEYS, SHARES)
    monkeypatch.setattr(returns, "encode_tx", lambda tx: really(tx)[:-1])
    with pytest.raises(AssembleError, match="would not pass on the chain"):
        assemble(RETURN, KEYS, SHARES)


@pytest.mark.parametrize(
    ("keys", "shares", "match"),
    [
        (KEYS[::-1], SHARES, "the keys make vault"),
        (KEYS, {key: SHARES[key] for key in KEYS[:2]}, "is missing"),
        (KEYS, SHARES | {KEYS[1]: SHARES[KEYS[0]]}, "does not verify"),
        (KEYS, SHARES | {KEYS[1]: b""}, "does not verify"),
        (KEYS, SHARES | {"00" * 32: b"x" * 64}, "not the vault's"),
        (KEYS, SHARES | {KEYS[0].upper(): SHARES[KEYS[0]]}, "given twice"),
    ],
)
def test_no_bad_set_is_assembled(keys: list[str], shares: dict[str, bytes], match: str) -> None:
    with pytest.raises(AssembleError, match=match):
        assemble(RETURN, keys, shares)


@pytest.mark.parametrize(
    ("keys", "match"),
    [
        ([], "at least 2"), (KEYS[:1], "at least 2"), ([KEYS[0], KEYS[0]], "^a vault's public keys must be distinct"),
        ([KEYS[0], KEYS[0].upper()], "distinct"), ([KEYS[0], "zz"], "not hex"), ([KEYS[0], "00"], "64 hex"),
        ([KEYS[0], KEYS[1] + " "], "64 hex"),
    ],
)  # fmt: skip
def test_a_vault_needs_distinct_keys(keys: list[str], match: str) -> None:
    with pytest.raises(ValueError, match=match):
        multisig.vault_address(keys)


@pytest.mark.parametrize(
    ("field", "value", "told"),
    [
        ("from_address", "AB" * 20, f"must be 40 lower-case hex characters, is '{'AB' * 20}'"),
        ("to_address", "ab" * 19, f"must be 40 lower-case hex characters, is '{'ab' * 19}'"),
        ("to_address", "ab" * 21, f"must be 40 lower-case hex characters, is '{'ab' * 21}'"),
        ("to_address", "ab" * 20 + "\n", "must be 40 lower-case hex characters"),
        ("amount", 0, "must be positive, is 0"),
        ("amount", -1, "must be positive, is -1"),
        ("fee", -1, "must not be negative, is -1"),
        ("memo", "a\nb", "must be printable ASCII"),
        ("memo", "a\n", "must be printable ASCII"),
        ("memo", "\x7f", "must be printable ASCII"),
        ("memo", "é", "must be printable ASCII"),
        ("entropy", 1 << 63, "must be an int64"),
        ("entropy", -(1 << 63) - 1, "must be an int64"),
        ("chain_id", "", "must not be empty"),
    ],
)
def test_a_return_that_would_be_ambiguous_is_refused(field: str, value: object, told: str) -> None:
    with pytest.raises(ValueError, match=field) as caught:
        replace(RETURN, **{field: value})
    assert str(caught.value).startswith(f"{field}: {told}")


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("amount", 1),
        ("amount", 2**200),
        ("fee", 1),
        ("fee", 0),
        ("memo", ""),
        ("memo", " ~"),
        ("entropy", -(1 << 63)),
        ("entropy", (1 << 63) - 1),
        ("chain_id", "x"),
    ],
)
def test_a_return_at_its_edges_is_on_the_wire_what_it_was_before(field: str, value: object) -> None:
    tx = replace(RETURN, **{field: value})
    read = decode_tx(encode_tx(tx.std_tx(b"k", b"s")))
    fee = (Coin(tx.fee, "upokt"),) if tx.fee else ()
    assert read == StdTx(SendMsg(tx.from_address, tx.to_address, tx.amount), fee, b"k", b"s", tx.memo, tx.entropy)
    assert read.sign_bytes(tx.chain_id) == tx.sign_bytes


def test_a_return_without_fee_has_no_coins() -> None:
    free = replace(RETURN, fee=0)
    assert b'"fee":[]' in free.sign_bytes
    assert decode_tx(encode_tx(free.std_tx(b"k", b"s"))).fee == ()


def test_shares() -> None:
    message, key = RETURN.sign_bytes, KEYS[0]
    assert verify_share(key, message, SHARES[key])
    assert not verify_share(key, message + b" ", SHARES[key])
    assert not verify_share(KEYS[1], message, SHARES[key])
    assert not verify_share("zz", message, SHARES[key])
    assert not verify_share(key, message, SHARES[key] + b"\0")
    assert not verify_ed25519(b"\xff" * 32, message, SHARES[key])


def test_return_entropy_is_fixed_for_ever() -> None:
    assert return_entropy("1", "0x" + "ab" * 32, 0, 0) == GOLDEN_ENTROPY
    others = [("2", "0x" + "ab" * 32, 0, 0), ("1", "0x" + "ac" * 32, 0, 0), ("1", "0x" + "ab" * 32, 1, 0),
              ("1", "0x" + "ab" * 32, 0, 1)]  # fmt: skip
    values = {return_entropy(*other) for other in others} | {GOLDEN_ENTROPY}
    assert len(values) == 5
    assert all(-(1 << 63) <= value < 1 << 63 for value in values)


GOLDEN_ENTROPY = 3791528674240886160


@pytest.mark.parametrize(("source", "index", "attempt"), [("", 0, 0), ("AB", 0, 0), ("ab", -1, 0), ("ab", 0, -1)])
def test_return_entropy_of_no_event(source: str, index: int, attempt: int) -> None:
    with pytest.raises(ValueError, match=r"source id|negative"):
        return_entropy("1", source, index, attempt)


@pytest.mark.parametrize(
    ("data", "match"),
    [
        (b"", "unsupported public key type"),
        (bytes.fromhex("f325b8ad0a05fb5cd03c21"), "not an Ed25519 key"),
        (multisig.vault_key(KEYS) + b"\x10\x01", "canonical"),
        (multisig.vault_key(KEYS)[:-1], "ends beyond"),
    ],
)
def test_multisig_keys_that_are_none(data: bytes, match: str) -> None:
    with pytest.raises(PocketDecodeError, match=match):
        multisig.decode_multisig_key(data)


def test_multisignatures_with_gaps_are_read_and_do_not_verify() -> None:
    slots = (b"", b"\0", SHARES[KEYS[2]])
    data = multisig.encode_multisignature(slots)
    assert data.startswith(bytes.fromhex("b2f515f90a000a0100"))
    assert multisig.decode_multisignature(data) == slots
    raw = encode_tx(RETURN.std_tx(multisig.vault_key(KEYS), data))
    assert verify_transaction(raw, "localnet").slots == (False, False, True)
    with pytest.raises(PocketDecodeError, match="not a multisignature"):
        multisig.decode_multisignature(SHARES[KEYS[0]])
    bad = encode_tx(RETURN.std_tx(multisig.vault_key(KEYS), SHARES[KEYS[0]]))
    assert verify_transaction(bad, "localnet").fault is Fault.BAD_MULTISIGNATURE


def test_a_one_key_multisig_decodes() -> None:
    key = bytes.fromhex(KEYS[0])
    assert multisig.decode_multisig_key(multisig.encode_multisig_key([key])) == (key,)


def _amino(*messages: bytes) -> bytes:
    body = bytes(amino.STD_TX) + b"".join(encode_bytes_field(1, one) for one in messages)
    return encode_uvarint(len(body)) + body


def test_the_old_envelope_holds_one_message() -> None:
    other = decode_tx(_amino(b"\x01\x02\x03\x04rest"), allow_amino=True)
    assert other.msg == OtherMsg("amino:01020304", b"rest")
    for messages in ((), (b"", b"")):
        with pytest.raises(PocketDecodeError, match=f"^msg: {len(messages)} messages instead of one"):
            decode_tx(_amino(*messages), allow_amino=True)


def test_an_empty_amount_leaves_the_one_before() -> None:
    send = encode_send(SendMsg("aa" * 20, "bb" * 20, 7)) + encode_bytes_field(3, b"")
    coin = encode_bytes_field(1, b"upokt") + encode_bytes_field(2, b"5") + encode_bytes_field(2, b"")
    message = encode_bytes_field(1, SEND_TYPE_URL.encode()) + encode_bytes_field(2, send)
    body = encode_bytes_field(1, message) + encode_bytes_field(2, coin)
    tx = decode_tx(encode_uvarint(len(body)) + body)
    assert (tx.msg, tx.fee, tx.fee_upokt) == (SendMsg("aa" * 20, "bb" * 20, 7), (Coin(5),), 5)


@pytest.mark.parametrize(("value", "spelled"), [(0, "00"), (127, "7f"), (128, "8001"), ((1 << 64) - 1, "ff" * 9 + "01")])
def test_varints_at_their_edges(value: int, spelled: str) -> None:
    assert encode_uvarint(value).hex() == spelled


@pytest.mark.parametrize("value", [-1, 1 << 64])
def test_what_is_no_varint(value: int) -> None:
    with pytest.raises(ValueError, match="varint out of range"):
        encode_uvarint(value)


@pytest.mark.parametrize(
    ("value", "good"), [(-(1 << 63), True), ((1 << 63) - 1, True), (-(1 << 63) - 1, False), (1 << 63, False)]
)
def test_int64_at_its_edges(value: int, good: bool) -> None:
    if good:
        assert to_int64(read_uvarint(encode_int64(value), 0, "x")[0]) == value
    else:
        with pytest.raises(ValueError, match="int64 out of range"):
            encode_int64(value)


def test_groups_are_skipped_to_a_depth() -> None:
    start, end = encode_uvarint(100 << 3 | 3), encode_uvarint(100 << 3 | 4)
    for depth, good in ((9_999, True), (10_000, True), (10_001, False)):
        walk = fields(start * depth + end * depth, "x", {})
        if good:
            assert list(walk) == []
        else:
            with pytest.raises(PocketDecodeError, match="nested too deep"):
                list(walk)


def test_keys_of_another_length_make_no_multisig() -> None:
    with pytest.raises(ValueError, match="public key 1: 31 bytes instead of 32"):
        multisig.encode_multisig_key([b"k" * 32, b"k" * 31])


def test_only_bytes_that_are_no_utf8_are_replaced() -> None:
    with pytest.raises(UnicodeEncodeError):
        "\ud800".encode("utf-8", "pocket-go-replace")
    assert decode_utf8(b"a\xff\xfeb") == "a\ufffd\ufffdb"


def test_an_empty_memo_is_left_out_unless_asked_for() -> None:
    silent = replace(TX, memo="")
    assert list(fields(body_of(encode_tx(silent)), "tx", {4: 2})) == []
    assert list(fields(body_of(encode_tx(silent, explicit_empty_memo=True)), "tx", {4: 2})) == [(4, b"")]


def test_faults_of_the_old_envelope_name_their_field() -> None:
    with pytest.raises(PocketDecodeError) as caught:
        decode_tx(_amino(bytes(amino.SEND) + encode_uvarint(1 << 3)), allow_amino=True)
    assert caught.value.field == "msg.value.1"
    with pytest.raises(ValueError, match=r"^only protobuf transactions are encoded"):
        encode_tx(replace(TX, envelope=Envelope.AMINO))


def test_what_is_not_there_is_left_out() -> None:
    nothing = encode_tx(replace(TX, public_key=b"", signature=b""))
    assert list(fields(body_of(nothing), "tx", {3: 2})) == [(3, b"")]
    unsigned = encode_tx(replace(TX, signature=b""))
    assert list(fields(body_of(unsigned), "tx", {3: 2})) == [(3, encode_bytes_field(1, TX.public_key))]
