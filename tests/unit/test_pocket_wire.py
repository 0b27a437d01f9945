"""Protobuf's walk over fields, parts of a transaction, Go's amounts: what is read, and what is named where it cannot be."""

from hashlib import sha256

import pytest

from reactor.chains.pocket.errors import PocketDecodeError
from reactor.chains.pocket.morse.amino import amino_prefix
from reactor.chains.pocket.morse.codec import SEND_TYPE_URL, Coin, OtherMsg, SendMsg, decode_tx
from reactor.chains.pocket.morse.gotext import json_string, parse_integer
from reactor.chains.pocket.morse.signbytes import sign_bytes
from reactor.chains.pocket.morse.wire import (
    BYTES,
    FIXED32,
    FIXED64,
    GROUP_END,
    GROUP_START,
    VARINT,
    encode_bytes_field,
    encode_int64,
    encode_uvarint,
    fields,
    read_uvarint,
    to_int64,
)

pytestmark = pytest.mark.unit


def tag(number: int, wire_type: int) -> bytes:
    return encode_uvarint(number << 3 | wire_type)


def walked(data: bytes, known: dict[int, int]) -> list[tuple[int, int | bytes]]:
    return list(fields(data, "x", known))


def fault_of(data: bytes, known: dict[int, int]) -> tuple[str, str]:
    with pytest.raises(PocketDecodeError) as caught:
        walked(data, known)
    return caught.value.field, caught.value.reason


# --- varints ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("data", "value"),
    [
        ("00", 0),
        ("7f", 0x7F),
        ("8000", 0),
        ("8101", 0x81),
        ("ff7f", 0x3FFF),
        ("80808001", 1 << 21),
        ("8180808080808080807f", 1 | 1 << 63),
        ("ffffffffffffffffff01", (1 << 64) - 1),
        ("ffffffffffffffffff7f", (1 << 64) - 1),
    ],
)
def test_a_varint_ends_where_its_top_bit_does_and_keeps_64_bits(data: str, value: int) -> None:
    raw = bytes.fromhex(data)
    assert read_uvarint(raw, 0, "x") == (value, len(raw))
    assert read_uvarint(b"\xff" + raw + b"\x01", 1, "x") == (value, len(raw) + 1)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "the varint is cut off"),
        (b"\x80", "the varint is cut off"),
        (b"\xff" * 9, "the varint is cut off"),
        (b"\x80" * 10, "the varint is longer than ten bytes"),
        (b"\x80" * 10 + b"\x00", "the varint is longer than ten bytes"),
    ],
)
def test_what_is_no_varint_names_its_field(data: bytes, reason: str) -> None:
    with pytest.raises(PocketDecodeError) as caught:
        read_uvarint(data, 0, "length")
    assert (caught.value.field, caught.value.reason) == ("length", reason)


@pytest.mark.parametrize(
    ("value", "spelled"),
    [
        (0, "00"),
        (1, "01"),
        (300, "ac02"),
        (-1, "ff" * 9 + "01"),
        ((1 << 63) - 1, "ff" * 8 + "7f"),
        (-(1 << 63), "80" * 9 + "01"),
    ],
)
def test_signed_numbers_are_in_twos_complement(value: int, spelled: str) -> None:
    assert encode_int64(value).hex() == spelled
    assert to_int64(read_uvarint(bytes.fromhex(spelled), 0, "x")[0]) == value


def test_a_bytes_field_is_tag_length_and_value() -> None:
    assert encode_bytes_field(1, b"").hex() == "0a00"
    assert encode_bytes_field(16, b"k" * 128).hex() == "8201" + "8001" + "6b" * 128


# --- fields -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "skipped",
    [
        pytest.param(tag(9, VARINT) + b"\x85\x01", id="varint"),
        pytest.param(tag(9, BYTES) + b"\x02ab", id="bytes"),
        pytest.param(tag(9, FIXED64) + b"\x0a\x01" * 4, id="fixed64"),
        pytest.param(tag(9, FIXED32) + b"\x0a\x01" * 2, id="fixed32"),
        pytest.param(tag(9, GROUP_START) + tag(9, GROUP_END), id="empty group"),
        pytest.param(tag(9, GROUP_START) + encode_bytes_field(1, b"in") + tag(8, GROUP_END), id="group, ended by another number"),
        pytest.param(
            tag(9, GROUP_START) + tag(2, GROUP_START) + tag(2, FIXED32) + b"\x0c" * 4 + tag(2, GROUP_END) + tag(9, GROUP_END),
            id="group in a group",
        ),
        pytest.param(tag((1 << 31) - 1, VARINT) + b"\x00", id="largest number"),
        pytest.param(tag((1 << 32) + 9, VARINT) + b"\x00", id="number of more than 32 bits"),
    ],
)
def test_unknown_fields_are_skipped_whole(skipped: bytes) -> None:
    data = encode_bytes_field(1, b"a") + skipped + tag(2, VARINT) + b"\x05" + encode_bytes_field(1, b"b")
    assert walked(data, {1: BYTES, 2: VARINT}) == [(1, b"a"), (2, 5), (1, b"b")]


def test_a_number_counts_by_its_lower_32_bits() -> None:
    """As the node's decoder, which keeps it in an int32."""
    assert walked(tag((1 << 32) + 1, VARINT) + b"\x05", {1: VARINT}) == [(1, 5)]


@pytest.mark.parametrize(
    ("data", "field", "reason"),
    [
        (b"\x80", "x", "the varint is cut off"),
        (tag(1, GROUP_END), "x", "a group ends that never began"),
        (tag(0, VARINT) + b"\x01", "x", "illegal field number 0"),
        (tag(1 << 31, VARINT) + b"\x01", "x", "illegal field number -2147483648"),
        (tag((1 << 32) - 1, VARINT) + b"\x01", "x", "illegal field number -1"),
        (tag(1, VARINT) + b"\x01", "x.1", "wire type is 0, expected 2"),
        (tag(2, BYTES) + b"\x00", "x.2", "wire type is 2, expected 0"),
        (tag(1, BYTES), "x.1", "the varint is cut off"),
        (tag(1, BYTES) + b"\x02a", "x.1", "the value ends beyond the message"),
        (tag(2, VARINT), "x.2", "the varint is cut off"),
        (tag(9, BYTES) + b"\x02a", "x.9", "the value ends beyond the message"),
        (tag(9, FIXED64) + b"\0" * 7, "x.9", "the value ends beyond the message"),
        (tag(9, FIXED32) + b"\0" * 3, "x.9", "the value ends beyond the message"),
        (tag(9, GROUP_START), "x.9", "the varint is cut off"),
        (tag(9, GROUP_START) + tag(1, FIXED32) + b"\0" * 3, "x.9", "the value ends beyond the message"),
        (tag(9, GROUP_START) + tag(1, 6), "x.9", "wire type 6 does not exist"),
        (tag(9, GROUP_START) * 10_001, "x.9", "groups are nested too deep"),
        (tag(9, 6), "x.9", "wire type 6 does not exist"),
        (tag(9, 7), "x.9", "wire type 7 does not exist"),
    ],
)
def test_what_cannot_be_walked_is_named(data: bytes, field: str, reason: str) -> None:
    assert fault_of(encode_bytes_field(1, b"a") + data, {1: BYTES, 2: VARINT}) == (field, reason)


def test_what_stands_before_a_fault_is_read() -> None:
    walk = fields(encode_bytes_field(1, b"a") + b"\x0c", "x", {1: BYTES})
    assert next(walk) == (1, b"a")
    with pytest.raises(PocketDecodeError, match="a group ends"):
        next(walk)


# --- parts of a transaction ---------------------------------------------------------------------------------------


def tx_of(*, send: bytes = b"", fee: tuple[bytes, ...] = (), signature: bytes = b"", url: str = SEND_TYPE_URL) -> bytes:
    body = encode_bytes_field(1, encode_bytes_field(1, url.encode()) + encode_bytes_field(2, send))
    body += b"".join(encode_bytes_field(2, coin) for coin in fee) + encode_bytes_field(3, signature)
    return encode_uvarint(len(body)) + body


def test_a_send_that_says_nothing_is_of_nothing_from_nobody() -> None:
    tx = decode_tx(tx_of())
    assert tx.msg == SendMsg("", "", 0)
    assert (tx.fee, tx.fee_upokt, tx.public_key, tx.signature, tx.memo, tx.entropy) == ((), 0, b"", b"", "", 0)


def test_a_fee_counts_in_its_own_denomination_only() -> None:
    coins = (
        encode_bytes_field(1, b"upokt") + encode_bytes_field(2, b"7"),
        encode_bytes_field(1, b"uatom") + encode_bytes_field(2, b"5"),
        encode_bytes_field(2, b"3"),
        encode_bytes_field(1, b"upokt"),
    )
    tx = decode_tx(tx_of(fee=coins))
    assert tx.fee == (Coin(7, "upokt"), Coin(5, "uatom"), Coin(3, ""), Coin(0, "upokt"))
    assert tx.fee_upokt == 7


NUMBER = "not an integer of at most 255 bits"
KIND = "wire type is 0, expected 2"


@pytest.mark.parametrize(
    ("raw", "field", "reason"),
    [
        (tx_of(send=encode_bytes_field(3, b"x")), "msg.value.amount", NUMBER),
        (tx_of(send=b"\x08\x01"), "msg.value.1", KIND),
        (tx_of(send=b"\x10\x01"), "msg.value.2", KIND),
        (tx_of(send=b"\x18\x01"), "msg.value.3", KIND),
        (tx_of(fee=(b"", encode_bytes_field(2, b"1.5"))), "fee.1.amount", NUMBER),
        (tx_of(fee=(b"\x08\x01",)), "fee.0.1", KIND),
        (tx_of(fee=(b"", b"", b"\x10\x01")), "fee.2.2", KIND),
        (tx_of(signature=b"\x08\x01"), "signature.1", KIND),
        (tx_of(signature=b"\x10\x01"), "signature.2", KIND),
        (encode_uvarint(4) + encode_bytes_field(1, b"\x08\x01"), "msg.1", KIND),
        (encode_uvarint(4) + encode_bytes_field(1, b"\x10\x01"), "msg.2", KIND),
    ],
)
def test_a_part_that_cannot_be_read_is_named(raw: bytes, field: str, reason: str) -> None:
    with pytest.raises(PocketDecodeError) as caught:
        decode_tx(raw)
    assert (caught.value.field, caught.value.reason) == (field, reason)


def test_a_message_that_is_no_send_is_kept_whatever_it_holds() -> None:
    assert decode_tx(tx_of(send=b"\x08\x01", url="/x.nodes.MsgSend2")).msg == OtherMsg("/x.nodes.MsgSend2", b"\x08\x01")


# --- amino prefixes, amounts, texts -------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "digest", "prefix"),
    [
        pytest.param("test/Type41019322", "00007fd64c00d3981aa6", "d3981aa6", id="two zeros before, one behind the three"),
        pytest.param("test/Type7449122", "0026eaa00000a273f1cb", "a273f1cb", id="one zero before, two behind"),
        pytest.param("test/Type81326", "5859445860397cdb3399", "5860397c", id="no zeros, nothing is dropped"),
    ],
)
def test_an_amino_prefix_begins_with_no_zero_byte(name: str, digest: str, prefix: str) -> None:
    assert sha256(name.encode()).hexdigest().startswith(digest)
    assert amino_prefix(name).hex() == prefix


LARGEST = str(2**255 - 1)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (LARGEST, 2**255 - 1),
        ("_".join(LARGEST), 2**255 - 1),
        (f"-{LARGEST}", -(2**255) + 1),
        (f"{2**255 - 1:#x}", 2**255 - 1),
        (f"{2**255 - 1:#o}", 2**255 - 1),
        (f"{2**255 - 1:#b}", 2**255 - 1),
        ("0X_fF", 255),
        ("0O_17", 15),
        ("0b_1_1", 3),
        ("-0x10", -16),
        ("-0", 0),
        ("010", 8),
        (f"{2**255}", None),
        (f"{2**255:#x}", None),
        (f"-{2**255}", None),
        ("1" + "0" * 77, None),
        ("0b2", None),
        ("0o8", None),
        ("0xg", None),
        ("0_", None),
        ("+", None),
        ("+-1", None),
    ],
)
def test_the_largest_amount_has_255_bits_in_each_spelling(text: str, value: int | None) -> None:
    assert parse_integer(text.encode()) == value


def test_half_a_surrogate_pair_is_written_as_a_replacement() -> None:
    assert json_string("\ud800 \udabc \udfff") == '"\ufffd \ufffd \ufffd"'
    assert json_string("\ud7ff\ue000") == '"\ud7ff\ue000"'


def test_what_is_signed_is_one_text_whatever_its_parts_hold() -> None:
    signed = sign_bytes(
        chain_id='a"b', from_address="f<", to_address="t>", amount=-1, fee=[(1, "x&"), (2, "y")], memo="\\\n", entropy=-2
    )
    assert signed == (
        rb'{"chain_id":"a\"b","entropy":"-2","fee":[{"amount":"1","denom":"x\u0026"},{"amount":"2","denom":"y"}],'
        rb'"memo":"\\\n","msg":{"type":"pos/Send","value":{"amount":"-1","from_address":"f\u003c","to_address":"t\u003e"}}}'
    )
