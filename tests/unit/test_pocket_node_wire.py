"""The development node's own reading of transactions, against published bytes and against damaged ones."""

import json
from pathlib import Path
from typing import Any

import pytest

from infra.localnet.pocket.gotext import (
    HexError,
    decode_hex,
    encode_json,
    parse_integer,
    quote,
    text_of,
    through_float64,
)
from infra.localnet.pocket.keys import MultisigKey, SingleKey, read_multisignature, read_public_key
from infra.localnet.pocket.protobuf import WireError, write_varint
from infra.localnet.pocket.wallet import Unsigned, Vault, Wallet, multisig_key, multisignature, tx_hash, vault_address
from infra.localnet.pocket.wire import Transaction, decode, sign_bytes

pytestmark = pytest.mark.unit

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "pocket.json").read_text())["vectors"]
TXS = [pytest.param(vector, id=vector["id"]) for vector in VECTORS if vector["kind"] == "transaction"]
BY_ID: dict[str, Any] = {vector["id"]: vector for vector in VECTORS}
SIGNED_WITH_KEYS = [
    pytest.param(vector.values[0], id=vector.id)
    for vector in TXS
    if vector.values[0]["envelope"] == "protobuf" and all("private_key" in key for key in vector.values[0]["keys"])
]

ALICE = Wallet.from_seed("alice")
BOB = Wallet.from_seed("bob")


def is_valid(tx: Transaction, chain_id: str) -> bool:
    assert tx.public_key is not None
    return tx.public_key.address == tx.msg.from_address and tx.public_key.verifies(sign_bytes(tx, chain_id), tx.signature)


# --- published transactions ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("vector", TXS)
def test_every_published_transaction_gets_its_verdict(vector: dict[str, Any]) -> None:
    tx = decode(bytes.fromhex(vector["raw_hex"]))
    assert tx.hash == vector["hash"]
    assert tx.msg.from_address.hex() == vector["msg"]["from_address"]
    assert tx.msg.to_address.hex() == vector["msg"]["to_address"]
    assert str(tx.msg.amount) == vector["msg"]["amount"]
    assert [{"amount": str(coin.amount), "denom": coin.denom} for coin in tx.fee] == vector["fee"]
    assert tx.memo.decode() == vector["memo"]
    assert str(tx.entropy) == vector["entropy"]
    assert tx.signature.hex() == vector["signature_field"]
    assert tx.public_key is not None
    assert tx.public_key.raw.hex() == vector["public_key_field"]
    assert sign_bytes(tx, vector["chain_id"]).decode() == vector["sign_bytes"]
    assert (tx.public_key.address == tx.msg.from_address) is vector["expected"]["address_matches"]
    assert is_valid(tx, vector["chain_id"]) is vector["expected"]["valid"]
    assert not is_valid(tx, vector["chain_id"] + "x")


@pytest.mark.parametrize("vector", TXS)
def test_every_published_signature_slot_gets_its_verdict(vector: dict[str, Any]) -> None:
    message = vector["sign_bytes"].encode()
    for slot in vector["signatures"]:
        key = SingleKey(bytes.fromhex(slot["public_key"]))
        assert key.verifies(message, bytes.fromhex(slot["signature"])) is slot["valid"]


@pytest.mark.parametrize("vector", [tx for tx in TXS if tx.values[0]["envelope"] == "amino"])
def test_above_the_upgrade_height_amino_does_not_decode(vector: dict[str, Any]) -> None:
    raw = bytes.fromhex(vector["raw_hex"])
    assert decode(raw, 30023).hash == vector["hash"]
    with pytest.raises(WireError, match="error decoding transaction: "):
        decode(raw, 30024)


@pytest.mark.parametrize("vector", SIGNED_WITH_KEYS)
def test_the_wallet_builds_the_published_bytes(vector: dict[str, Any]) -> None:
    wallets = tuple(Wallet.from_private_hex(key["private_key"], vector["chain_id"]) for key in vector["keys"])
    to, amount, memo, entropy = vector["msg"]["to_address"], int(vector["msg"]["amount"]), vector["memo"], int(vector["entropy"])
    if "multisig" in vector:
        vault = Vault(wallets)
        assert vault.address == vector["multisig"]["address"]
        raw = vault.send(to, amount, memo, entropy=entropy)
        complete = BY_ID["V6-complete"]
        assert raw.hex() == complete["raw_hex"]
        if vector["id"] == "V6":
            unsigned = Unsigned(vault.address, to, amount, memo, entropy, chain_id=vector["chain_id"])
            only = wallets[1].sign(unsigned.sign_bytes())
            raw = vault.complete(unsigned, [only, only])
    else:
        assert wallets[0].address == vector["msg"]["from_address"]
        raw = wallets[0].send(to, amount, memo, entropy=entropy)
    assert raw.hex() == vector["raw_hex"]
    assert tx_hash(raw) == vector["hash"].lower()


def test_the_deposit_vault_has_its_published_address() -> None:
    recipient = BY_ID["V9"]["recipient_multisig"]
    assert vault_address(recipient["public_keys"]) == recipient["address"]
    assert multisig_key(recipient["public_keys"]).hex() == recipient["public_key"]
    assert vault_address(recipient["public_keys"][::-1]) != recipient["address"]


def test_a_negative_entropy_signs_as_published() -> None:
    wallet = Wallet.from_private_hex(BY_ID["V6"]["keys"][1]["private_key"], "testnet")
    # The published message names a sender that is not the signer's: the signature is over the bytes alone.
    unsigned = Unsigned(
        "0b7a71f5baa23e493be517ac44264b4d5b90b352",
        "e8ae8fdce6b5fc62455f778d6660bc330a47aef1",
        90000,
        "transaction_hash",
        -5673541072589755554,
        chain_id="testnet",
    )
    signature = wallet.sign(unsigned.sign_bytes())
    assert signature.hex() == (
        "96a74f64b20a5e274bf1c0cda4dc9f8bbde016a59d9701947529e727ddb9d29d"
        "3c3a421e54884993050eceaff9781d268ce3456fdb617086010afded6c23dd05"
    )
    raw = unsigned.encode(bytes.fromhex(wallet.public_key), signature)
    assert raw.endswith(bytes.fromhex("28ded6cbadc48ee2a1b101"))
    assert decode(raw).entropy == -5673541072589755554


# --- damaged and foreign bytes ---------------------------------------------------------------------------------------


def body_of(raw: bytes) -> bytes:
    return raw[2:]


def wrap(body: bytes) -> bytes:
    return write_varint(len(body)) + body


RAW = ALICE.send(BOB.address, 1000, "memo", entropy=7)
BODY = body_of(RAW)


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        pytest.param(b"", "txBytes are empty", id="nothing"),
        pytest.param(RAW[:-1], "not enough bytes to read", id="a byte missing"),
        pytest.param(RAW + b"\x00", "too many bytes to read", id="a byte behind"),
        pytest.param(BODY, "bytes to read", id="no prefix"),
        pytest.param(b"\xff" * 11 + BODY, "invalid number of bytes", id="overlong prefix"),
        pytest.param(wrap(BODY[:-1]), "unexpected EOF", id="truncated varint"),
        pytest.param(wrap(BODY + b"\x0a\x05a"), "unexpected EOF", id="truncated bytes"),
        pytest.param(wrap(BODY + b"\x2a\x01a"), "wrong wireType = 2 for field Entropy", id="bytes for a number"),
        pytest.param(wrap(BODY + b"\x20\x01"), "wrong wireType = 0 for field Memo", id="number for bytes"),
        pytest.param(wrap(BODY + b"\x37"), "illegal wireType 7", id="no such wire type"),
        pytest.param(wrap(BODY + b"\x02\x00"), "illegal tag 0", id="field zero"),
        pytest.param(wrap(BODY + b"\x34"), "end group for non-group", id="end of no group"),
        pytest.param(wrap(BODY + b"\x33\x08\x01"), "unexpected EOF", id="open group"),
        pytest.param(wrap(BODY + b"\x28" + b"\xff" * 10), "integer overflow", id="varint of eleven bytes"),
        pytest.param(wrap(BODY + b"\x1a\x02\x0a\x00"), "unsupported public key type, length of: 0", id="empty key"),
        pytest.param(wrap(BODY + b"\x1a\x03\x0a\x01a"), "unsupported public key type, length of: 1", id="short key"),
        pytest.param(wrap(BODY + b"\x12\x03\x12\x01x"), "cannot unmarshal", id="fee is no number"),
        pytest.param(wrap(b"\x0a\x06\x0a\x04/x.y"), "no concrete type registered for type URL /x.y", id="other message"),
        pytest.param(wrap(b""), "must return at least one message", id="no message"),
    ],
)
def test_what_does_not_decode(raw: bytes, message: str) -> None:
    with pytest.raises(WireError, match=message):
        decode(raw)


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(wrap(BODY + b"\x30\x01"), id="unknown number"),
        pytest.param(wrap(BODY + b"\x3a\x02hi"), id="unknown bytes"),
        pytest.param(wrap(b"\x31" + b"x" * 8 + b"\x35" + b"x" * 4 + BODY), id="unknown fixed sizes"),
        pytest.param(wrap(BODY + b"\x33\x08\x01\x3b\x3c\x34"), id="unknown groups"),
        pytest.param(wrap(BODY + b"\x28\x87\x00"), id="padded varint, last one wins"),
        pytest.param(wrap(b"\x22\x00" + BODY), id="memo twice, last one wins"),
        pytest.param(wrap(BODY + b"\x1a\x00"), id="empty signature merged"),
        pytest.param(bytes([len(BODY) & 0x7F | 0x80, len(BODY) >> 7 | 0x80, 0]) + BODY, id="padded prefix"),
    ],
)
def test_a_transaction_can_be_wrapped_anew(raw: bytes) -> None:
    """Other bytes, another hash, the same valid payment: what the bridge has to live with."""
    tx, original = decode(raw), decode(RAW)
    assert tx.hash != original.hash
    assert sign_bytes(tx, "localnet") == sign_bytes(original, "localnet")
    assert is_valid(tx, "localnet")


def test_a_changed_payment_is_not_valid() -> None:
    for changed in (wrap(BODY + b"\x28\x08"), wrap(BODY + b"\x22\x01x"), RAW.replace(b"1000", b"1001", 1)):
        assert not is_valid(decode(changed), "localnet")


def test_a_multisig_key_is_read_leniently_and_addressed_canonically() -> None:
    vault = Vault.from_seeds(2)
    canonical = multisig_key(vault.public_keys)
    for blob in (canonical, canonical + b"\x12\x01x", canonical.replace(b"\x0a\x25", b"\x0a\xa5\x00")):
        key = read_public_key(blob)
        assert isinstance(key, MultisigKey)
        assert key.raw == canonical
        assert key.address.hex() == vault.address
    nested = read_public_key(bytes.fromhex("f325b8ad") + b"\x0a" + write_varint(len(canonical)) + canonical)
    assert isinstance(nested, MultisigKey)
    assert nested.count() == 3


@pytest.mark.parametrize(
    "blob",
    [
        pytest.param(multisig_key(Vault.from_seeds(2).public_keys)[:-1], id="truncated"),
        pytest.param(b"\x00" + multisig_key(Vault.from_seeds(2).public_keys), id="other prefix"),
        pytest.param(bytes.fromhex("f325b8ad0a01aa"), id="element is no key"),
        pytest.param(bytes.fromhex("f325b8ad0a069d5447740100"), id="element too short"),
        pytest.param(bytes.fromhex("f325b8ad0801"), id="element is a number"),
    ],
)
def test_what_is_no_key(blob: bytes) -> None:
    with pytest.raises(WireError, match=f"unsupported public key type, length of: {len(blob)}"):
        read_public_key(blob)


def test_slots_must_match_the_keys() -> None:
    vault = Vault.from_seeds(3)
    key = read_public_key(multisig_key(vault.public_keys))
    slots = [wallet.sign(b"message") for wallet in vault.wallets]
    assert key.verifies(b"message", multisignature(slots))
    assert not key.verifies(b"massage", multisignature(slots))
    assert not key.verifies(b"message", multisignature(slots[:2]))
    assert not key.verifies(b"message", multisignature([*slots, slots[0]]))
    assert not key.verifies(b"message", multisignature([slots[1], slots[0], slots[2]]))
    assert not key.verifies(b"message", multisignature([slots[0], b"", slots[2]]))
    assert not key.verifies(b"message", slots[0])
    assert read_multisignature(multisignature([b"", b"\x00"])) == (b"", b"\x00")


def test_a_secp256k1_key_is_read_and_never_believed() -> None:
    key = read_public_key(b"\x02" + b"k" * 32)
    assert not key.verifies(b"message", b"s" * 64)


# --- text as Go writes it --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ('<a href="x">&\'', '"\\u003ca href=\\"x\\"\\u003e\\u0026\'"'),
        ("\u2028\u2029é€😀/", '"\\u2028\\u2029é€😀/"'),
        ("\\b\b\f\n\r\t\x1f\x7f", '"\\\\b\\u0008\\u000c\\n\\r\\t\\u001f\x7f"'),
        ("\\\\u0008 \\f", '"\\\\\\\\u0008 \\\\f"'),
    ],
)
def test_strings_are_escaped_like_go(text: str, shown: str) -> None:
    assert encode_json(text) == shown
    assert json.loads(shown) == text


@pytest.mark.parametrize(
    ("data", "text"),
    [(b"a\xffb", "a\ufffdb"), (b"\xe2\x82", "\ufffd\ufffd"), (b"\xed\xa0\x80", "\ufffd" * 3), ("é".encode(), "é")],
)
def test_broken_utf8_is_replaced_byte_by_byte(data: bytes, text: str) -> None:
    assert text_of(data) == text


def test_a_memo_is_escaped_in_the_sign_bytes() -> None:
    raw = ALICE.send(BOB.address, 1, '<"&\u2028>', entropy=-1)
    tx = decode(raw)
    assert b'"memo":"\\u003c\\"\\u0026\\u2028\\u003e"' in sign_bytes(tx, "localnet")
    assert is_valid(tx, "localnet")


@pytest.mark.parametrize(
    ("number", "shown"),
    [
        (8039421791355419058, "8039421791355419000"),
        (3908904207717607, "3908904207717607"),
        (-9223372036854775808, "-9223372036854776000"),
        (9007199254740993, "9007199254740992"),
        (0, "0"),
        (577231840000, "577231840000"),
    ],
)
def test_numbers_go_through_a_double(number: int, shown: str) -> None:
    assert encode_json(through_float64({"n": [number]})) == f'{{"n":[{shown}]}}'


def test_a_boolean_stays_one() -> None:
    assert through_float64({"a": True, "b": None}) == {"a": True, "b": None}


@pytest.mark.parametrize(
    ("text", "value"),
    [("90000", 90000), ("+1", 1), ("-0", 0), ("-12", -12), ("0x10", 16), ("0b11", 3), ("0o17", 15), ("017", 15), ("1_000", 1000)],
)
def test_amounts_are_read_like_go(text: str, value: int) -> None:
    assert parse_integer(text.encode()) == value


@pytest.mark.parametrize("text", ["", " 1", "1 ", "1.0", "1e3", "_1", "1_", "1__0", "0x", "09", "ab", "--1", "٣", str(1 << 255)])
def test_what_is_no_amount(text: str) -> None:
    with pytest.raises(ValueError, match=r"cannot unmarshal|out of range"):
        parse_integer(text.encode())


@pytest.mark.parametrize(
    ("text", "message"),
    [("abc", "encoding/hex: odd length hex string"), ("0x12", "encoding/hex: invalid byte: U+0078 'x'"), ("1\n", "U+000A$")],
)
def test_hex_errors_are_those_of_go(text: str, message: str) -> None:
    with pytest.raises(HexError, match=message.replace("+", r"\+")):
        decode_hex(text)
    assert decode_hex("aBcD") == b"\xab\xcd"


def test_quoted_text_is_that_of_go() -> None:
    assert quote('a"b\\\n\x00\x7fé\u2028') == '"a\\"b\\\\\\n\\x00\\x7fé\\u2028"'
