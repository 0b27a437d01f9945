"""The published transactions, byte for byte."""

import base64
import json
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from reactor.chains.pocket.errors import PocketDecodeError
from reactor.chains.pocket.morse.amino import amino_prefix
from reactor.chains.pocket.morse.codec import Coin, Envelope, SendMsg, StdTx, decode_tx, encode_tx, tx_hash
from reactor.chains.pocket.morse.multisig import (
    address_of,
    decode_multisig_key,
    decode_multisignature,
    encode_multisig_key,
    encode_multisignature,
    vault_address,
)
from reactor.chains.pocket.morse.returns import ReturnTx, assemble, verify_share
from reactor.chains.pocket.morse.signbytes import sign_bytes
from reactor.chains.pocket.morse.verify import Fault, verify_transaction

pytestmark = pytest.mark.unit

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "pocket.json").read_text())["vectors"]
BY_ID: dict[str, Any] = {vector["id"]: vector for vector in VECTORS}
TXS = [pytest.param(vector, id=vector["id"]) for vector in VECTORS if vector["kind"] == "transaction"]


def raw_of(vector: dict[str, Any]) -> bytes:
    return bytes.fromhex(vector["raw_hex"])


def is_amino(vector: dict[str, Any]) -> bool:
    return vector["envelope"] == "amino"


def sign(private_key: str, message: bytes) -> bytes:
    key = bytes.fromhex(private_key)
    return Ed25519PrivateKey.from_private_bytes(key[:32]).sign(message)


@pytest.mark.parametrize(("name", "prefix"), BY_ID["V0"]["prefixes"].items())
def test_amino_prefix(name: str, prefix: str) -> None:
    assert amino_prefix(name).hex() == prefix


@pytest.mark.parametrize("vector", TXS)
def test_decodes_to_the_published_fields(vector: dict[str, Any]) -> None:
    tx = decode_tx(raw_of(vector), allow_amino=is_amino(vector))
    msg = vector["msg"]
    assert tx.msg == SendMsg(msg["from_address"], msg["to_address"], int(msg["amount"]))
    assert tx.fee == tuple(Coin(int(coin["amount"]), coin["denom"]) for coin in vector["fee"])
    assert tx.fee_upokt == 10000
    assert tx.memo == vector["memo"]
    assert tx.entropy == int(vector["entropy"])
    assert tx.public_key.hex() == vector["public_key_field"]
    assert tx.signature.hex() == vector["signature_field"]
    assert tx.envelope == vector["envelope"]


@pytest.mark.parametrize("vector", TXS)
def test_hash(vector: dict[str, Any]) -> None:
    assert tx_hash(raw_of(vector)).upper() == vector["hash"]


@pytest.mark.parametrize("vector", TXS)
def test_sign_bytes(vector: dict[str, Any]) -> None:
    msg = vector["msg"]
    built = sign_bytes(
        chain_id=vector["chain_id"],
        from_address=msg["from_address"],
        to_address=msg["to_address"],
        amount=int(msg["amount"]),
        fee=[(int(coin["amount"]), coin["denom"]) for coin in vector["fee"]],
        memo=vector["memo"],
        entropy=int(vector["entropy"]),
    )
    assert built.decode() == vector["sign_bytes"]
    assert sha256(built).hexdigest() == vector["sign_bytes_sha256"]
    assert decode_tx(raw_of(vector), allow_amino=is_amino(vector)).sign_bytes(vector["chain_id"]) == built


@pytest.mark.parametrize("vector", TXS)
def test_each_slot_verifies_as_published(vector: dict[str, Any]) -> None:
    message = vector["sign_bytes"].encode()
    for slot in vector["signatures"]:
        assert verify_share(slot["public_key"], message, bytes.fromhex(slot["signature"])) is slot["valid"]


@pytest.mark.parametrize("vector", TXS)
def test_private_keys_give_the_published_signatures(vector: dict[str, Any]) -> None:
    keys = {key["public_key"]: key.get("private_key") for key in vector["keys"]}
    for slot in vector["signatures"]:
        private = keys.get(slot["public_key"])
        if private and slot["valid"]:
            assert sign(private, vector["sign_bytes"].encode()).hex() == slot["signature"]


@pytest.mark.parametrize("vector", TXS)
def test_verdict(vector: dict[str, Any]) -> None:
    verdict = verify_transaction(raw_of(vector), vector["chain_id"], allow_amino=is_amino(vector))
    expected = vector["expected"]
    assert verdict.decodes is expected["decodes"]
    assert verdict.address_matches is expected["address_matches"]
    assert verdict.signature_valid is expected["signature_valid"]
    assert verdict.valid is expected["valid"]
    assert (verdict.fault is None) is expected["valid"]


@pytest.mark.parametrize("vector", TXS)
def test_another_chain_id_never_verifies(vector: dict[str, Any]) -> None:
    verdict = verify_transaction(raw_of(vector), vector["chain_id"] + "x", allow_amino=is_amino(vector))
    assert not verdict.valid
    assert not verdict.signature_valid


@pytest.mark.parametrize(
    ("name", "fault", "slots"),
    [("V4-first-signer", Fault.SLOT_COUNT, (True,)), ("V6", Fault.BAD_SIGNATURE, (False, True))],
)
def test_why_the_incomplete_ones_fail(name: str, fault: Fault, slots: tuple[bool, ...]) -> None:
    vector = BY_ID[name]
    verdict = verify_transaction(raw_of(vector), vector["chain_id"], allow_amino=is_amino(vector))
    assert (verdict.fault, verdict.slots) == (fault, slots)


@pytest.mark.parametrize("vector", TXS)
def test_encodes_back_to_the_same_bytes(vector: dict[str, Any]) -> None:
    if is_amino(vector):
        with pytest.raises(PocketDecodeError, match="amino envelope"):
            decode_tx(raw_of(vector))
        with pytest.raises(ValueError, match="only protobuf"):
            encode_tx(decode_tx(raw_of(vector), allow_amino=True))
        return
    tx = decode_tx(raw_of(vector))
    assert encode_tx(tx, explicit_empty_memo=vector["memo_field"] == "empty") == raw_of(vector)


@pytest.mark.parametrize("vector", TXS)
def test_keys_and_addresses(vector: dict[str, Any]) -> None:
    for key in vector["keys"]:
        assert address_of(bytes.fromhex(key["public_key"])) == key["address"]


@pytest.mark.parametrize("multisig", [BY_ID["V4"]["multisig"], BY_ID["V6"]["multisig"], BY_ID["V9"]["recipient_multisig"]])
def test_multisig_key(multisig: dict[str, Any]) -> None:
    keys = [bytes.fromhex(key) for key in multisig["public_keys"]]
    assert encode_multisig_key(keys).hex() == multisig["public_key"]
    assert decode_multisig_key(bytes.fromhex(multisig["public_key"])) == tuple(keys)
    assert vault_address(multisig["public_keys"]) == multisig["address"]
    assert vault_address(multisig["public_keys"][::-1]) != multisig["address"]


@pytest.mark.parametrize("name", ["V4", "V4-first-signer", "V6", "V6-complete"])
def test_multisignature(name: str) -> None:
    vector = BY_ID[name]
    slots = tuple(bytes.fromhex(slot["signature"]) for slot in vector["signatures"])
    assert decode_multisignature(bytes.fromhex(vector["signature_field"])) == slots
    assert encode_multisignature(slots).hex() == vector["signature_field"]


def v6_return() -> ReturnTx:
    vector = BY_ID["V6-complete"]
    msg = vector["msg"]
    return ReturnTx(
        msg["from_address"],
        msg["to_address"],
        int(msg["amount"]),
        10000,
        vector["memo"],
        int(vector["entropy"]),
        vector["chain_id"],
    )


def test_assembles_the_complete_multisig_transaction() -> None:
    vector = BY_ID["V6-complete"]
    tx = v6_return()
    shares = {key["public_key"]: sign(key["private_key"], tx.sign_bytes) for key in reversed(vector["keys"])}
    assert assemble(tx, vector["multisig"]["public_keys"], shares) == raw_of(vector)


def test_signature_of_the_earlier_bridge() -> None:
    key = BY_ID["V6"]["keys"][1]
    message = sign_bytes(
        chain_id="testnet",
        from_address="0b7a71f5baa23e493be517ac44264b4d5b90b352",
        to_address="e8ae8fdce6b5fc62455f778d6660bc330a47aef1",
        amount=90000,
        fee=[(10000, "upokt")],
        memo="transaction_hash",
        entropy=-5673541072589755554,
    )
    assert sign(key["private_key"], message).hex() == (
        "96a74f64b20a5e274bf1c0cda4dc9f8bbde016a59d9701947529e727ddb9d29d"
        "3c3a421e54884993050eceaff9781d268ce3456fdb617086010afded6c23dd05"
    )
    tx = StdTx(SendMsg("00" * 20, "11" * 20, 1), (), b"", b"", "", -5673541072589755554)
    assert encode_tx(tx).endswith(bytes.fromhex("28ded6cbadc48ee2a1b101"))


@pytest.mark.parametrize("vector", [param for param in TXS if param.id and param.id.startswith("V2-")])
def test_the_nodes_view_is_the_same_transaction(vector: dict[str, Any]) -> None:
    assert base64.b64decode(vector["rpc"]["tx"], validate=True) == raw_of(vector)
    tx = decode_tx(raw_of(vector))
    assert isinstance(tx.msg, SendMsg)
    assert tx.msg.to_address.upper() == vector["rpc"]["tx_result"]["recipient"]
    assert tx.msg.from_address.upper() == vector["rpc"]["tx_result"]["signer"]
    assert tx.envelope is Envelope.PROTOBUF
