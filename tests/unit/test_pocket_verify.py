"""What a transaction must satisfy: each verdict with all that it says, and multisig keys and signatures in no form but one."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from reactor.chains.pocket.errors import PocketDecodeError
from reactor.chains.pocket.morse import multisig
from reactor.chains.pocket.morse.amino import amino_prefix
from reactor.chains.pocket.morse.codec import OtherMsg, StdTx, decode_tx, encode_tx
from reactor.chains.pocket.morse.returns import ReturnTx, assemble
from reactor.chains.pocket.morse.verify import Fault, Verdict, verify_decoded, verify_ed25519, verify_transaction
from reactor.chains.pocket.morse.wire import encode_bytes_field

pytestmark = pytest.mark.unit

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "pocket.json").read_text())["vectors"]
BY_ID: dict[str, Any] = {vector["id"]: vector for vector in VECTORS}
SINGLE = decode_tx(bytes.fromhex(BY_ID["V9"]["raw_hex"]))

SIGNERS = [Ed25519PrivateKey.from_private_bytes(bytes([n]) * 32) for n in range(1, 4)]
KEYS = [signer.public_key().public_bytes_raw() for signer in SIGNERS]
NAMES = [key.hex() for key in KEYS]
RETURN = ReturnTx(multisig.vault_address(NAMES), "ab" * 20, 90_000, 10_000, "0x" + "cd" * 32, -7, "localnet")
SHARES = [signer.sign(RETURN.sign_bytes) for signer in SIGNERS]
VAULT_KEY = multisig.vault_key(NAMES)
VAULT = decode_tx(assemble(RETURN, NAMES, dict(zip(NAMES, SHARES, strict=True))))


def with_slots(*slots: bytes, tx: StdTx = VAULT) -> StdTx:
    return replace(tx, signature=multisig.encode_multisignature(slots))


# --- verdicts -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("tx", "slots"), [(SINGLE, (True,)), (VAULT, (True, True, True))])
def test_a_valid_transaction_has_no_fault_and_nothing_to_tell(tx: StdTx, slots: tuple[bool, ...]) -> None:
    verdict = verify_transaction(encode_tx(tx), "localnet")
    assert verdict == Verdict(None, "", tx, True, slots)
    assert (verdict.valid, verdict.decodes, verdict.signature_valid) == (True, True, True)


@pytest.mark.parametrize(
    ("tx", "fault", "told"),
    [
        (replace(SINGLE, msg=OtherMsg("/x.nodes.MsgUnjail", b"\x01")), Fault.UNSUPPORTED_MESSAGE, "message type '/x.nodes"),
        (replace(SINGLE, public_key=b""), Fault.NO_KEY, "the public key field"),
        (replace(SINGLE, public_key=b"k" * 33), Fault.UNSUPPORTED_KEY, "secp256k1"),
        (replace(SINGLE, public_key=b"k" * 31), Fault.BAD_KEY, "publicKey: unsupported public key type, length of: 31"),
        (replace(SINGLE, public_key=VAULT_KEY + b"\x10\x01"), Fault.BAD_KEY, "publicKey: not in canonical form"),
        (replace(SINGLE, signature=b""), Fault.NO_SIGNATURE, "the signature is empty"),
    ],
)
def test_what_stops_the_check_before_any_signature(tx: StdTx, fault: Fault, told: str) -> None:
    verdict = verify_transaction(encode_tx(tx), "localnet")
    assert replace(verdict, text="") == Verdict(fault, "", tx, False, ())
    assert verdict.text.startswith(told)
    assert verdict.decodes is (fault is not Fault.BAD_KEY)
    assert not verdict.signature_valid


@pytest.mark.parametrize(
    ("tx", "verdict"),
    [
        (replace(SINGLE, entropy=5), Verdict(Fault.BAD_SIGNATURE, "slot 0 does not verify", None, True, (False,))),
        (with_slots(*SHARES[:2]), Verdict(Fault.SLOT_COUNT, "2 signature slots for 3 keys", None, True, (True, True))),
        (with_slots(*SHARES, b""), Verdict(Fault.SLOT_COUNT, "4 signature slots for 3 keys", None, True, (True,) * 3)),
        (
            with_slots(SHARES[0], SHARES[2], SHARES[1]),
            Verdict(Fault.BAD_SIGNATURE, "slot 1 does not verify", None, True, (True, False, False)),
        ),
        (
            replace(VAULT, signature=SHARES[0]),
            Verdict(Fault.BAD_MULTISIGNATURE, "signature: not a multisignature", None, True, ()),
        ),
        (
            replace(VAULT, public_key=VAULT_KEY[:4]),
            Verdict(Fault.ADDRESS_MISMATCH, f"not the sender {RETURN.from_address}", None, False, ()),
        ),
    ],
)
def test_a_signature_that_does_not_do_is_shown_slot_by_slot(tx: StdTx, verdict: Verdict) -> None:
    found = verify_transaction(encode_tx(tx), "localnet")
    assert replace(found, text="") == replace(verdict, text="", tx=tx)
    assert verdict.text in found.text
    assert (found.valid, found.decodes, found.signature_valid) == (False, True, False)


def foreign(slots: int) -> StdTx:
    """A payment out of somebody else's account, with that many slots of the vault's keys, which sign it in earnest."""
    message = replace(RETURN, from_address="ee" * 20)
    signed = [signer.sign(message.sign_bytes) for signer in SIGNERS]
    return message.std_tx(VAULT_KEY, multisig.encode_multisignature(signed[:slots]))


@pytest.mark.parametrize(("count", "slots"), [(3, (True, True, True)), (2, ())])
def test_whoever_signs_well_for_an_account_that_is_not_his_is_refused(count: int, slots: tuple[bool, ...]) -> None:
    """Signatures count as valid by themselves only where every key has its slot."""
    tx = foreign(count)
    verdict = verify_decoded(tx, "localnet")
    assert replace(verdict, text="") == Verdict(Fault.ADDRESS_MISMATCH, "", tx, False, slots)
    assert "the sender " + "ee" * 20 in verdict.text
    assert (verdict.valid, verdict.signature_valid) == (False, count == 3)


def test_a_multisig_of_no_keys_is_never_signed() -> None:
    """Its address is known to everybody, and of no slots each one verifies."""
    nobody = multisig.encode_multisig_key([])
    tx = replace(RETURN, from_address=multisig.address_of(nobody)).std_tx(nobody, multisig.encode_multisignature([]))
    verdict = verify_transaction(encode_tx(tx), "localnet")
    assert verdict == Verdict(Fault.SLOT_COUNT, "0 signature slots for 0 keys", tx, True, ())
    assert not verdict.signature_valid


def test_the_old_envelope_is_refused_unless_asked_for() -> None:
    vector = next(vector for vector in VECTORS if vector.get("envelope") == "amino" and vector["expected"]["valid"])
    raw = bytes.fromhex(vector["raw_hex"])
    refused = verify_transaction(raw, vector["chain_id"])
    assert refused == Verdict(Fault.UNDECODABLE, "body: amino envelope, not accepted at this height")
    assert verify_transaction(raw, vector["chain_id"], allow_amino=True).valid


@pytest.mark.parametrize("change", [0, 31, 32, 63])
def test_each_byte_of_a_signature_counts(change: int) -> None:
    spoilt = bytearray(SHARES[0])
    spoilt[change] ^= 1
    assert verify_ed25519(KEYS[0], RETURN.sign_bytes, SHARES[0])
    assert not verify_ed25519(KEYS[0], RETURN.sign_bytes, bytes(spoilt))


# --- multisig -----------------------------------------------------------------------------------------------------

ED25519 = amino_prefix("crypto/ed25519_public_key") + b"\x20"
SECP256K1 = amino_prefix("crypto/secp256k1_public_key") + b"\x21"


def key_of(*elements: bytes) -> bytes:
    return amino_prefix("crypto/public_key_multi_signature") + b"".join(encode_bytes_field(1, one) for one in elements)


def test_keys_are_read_in_their_order() -> None:
    assert multisig.decode_multisig_key(key_of(*(ED25519 + key for key in reversed(KEYS)))) == tuple(reversed(KEYS))


@pytest.mark.parametrize(
    ("data", "field", "reason"),
    [
        (VAULT_KEY[1:], "publicKey", "unsupported public key type, length of: 120"),
        (key_of(ED25519 + KEYS[0], ED25519 + KEYS[1][:-1]), "publicKey.1", "not an Ed25519 key"),
        (key_of(ED25519 + KEYS[0], ED25519 + KEYS[1] + b"\0"), "publicKey.1", "not an Ed25519 key"),
        (key_of(SECP256K1[:4] + b"\x20" + KEYS[0]), "publicKey.0", "not an Ed25519 key"),
        (key_of(ED25519 + KEYS[0], SECP256K1 + b"\x02" + KEYS[1]), "publicKey.1", "not an Ed25519 key"),
        (key_of(ED25519 + KEYS[0], VAULT_KEY), "publicKey.1", "not an Ed25519 key"),
        (key_of(b""), "publicKey.0", "not an Ed25519 key"),
        (VAULT_KEY + b"\x10\x01", "publicKey", "not in canonical form"),
        (VAULT_KEY[:5] + b"\xa5\x00" + VAULT_KEY[6:], "publicKey", "not in canonical form"),
        (VAULT_KEY[:-1], "publicKey.1", "the value ends beyond the message"),
        (VAULT_KEY + b"\x0a", "publicKey.1", "the varint is cut off"),
        (VAULT_KEY + b"\x08\x01", "publicKey.1", "wire type is 0, expected 2"),
        (VAULT_KEY + b"\x8a", "publicKey", "the varint is cut off"),
    ],
)
def test_what_is_no_multisig_key_is_named(data: bytes, field: str, reason: str) -> None:
    with pytest.raises(PocketDecodeError) as caught:
        multisig.decode_multisig_key(data)
    assert (caught.value.field, caught.value.reason) == (field, reason)


@pytest.mark.parametrize(
    ("data", "field", "reason"),
    [
        (b"", "signature", "not a multisignature"),
        (VAULT.signature[1:], "signature", "not a multisignature"),
        (VAULT.signature + b"\x10\x01", "signature", "not in canonical form"),
        (VAULT.signature[:5] + b"\xc0\x00" + VAULT.signature[6:], "signature", "not in canonical form"),
        (VAULT.signature[:-1], "signature.1", "the value ends beyond the message"),
        (VAULT.signature + b"\x8a", "signature", "the varint is cut off"),
    ],
)
def test_what_is_no_multisignature_is_named(data: bytes, field: str, reason: str) -> None:
    assert multisig.decode_multisignature(VAULT.signature) == tuple(SHARES)
    with pytest.raises(PocketDecodeError) as caught:
        multisig.decode_multisignature(data)
    assert (caught.value.field, caught.value.reason) == (field, reason)


def test_public_keys_are_64_hex_digits_in_either_case() -> None:
    assert multisig.parse_public_key(NAMES[0]) == multisig.parse_public_key(NAMES[0].upper()) == KEYS[0]


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (NAMES[0][:-2], "64 hex characters, not 62"),
        (NAMES[0] + "00", "64 hex characters, not 66"),
        (NAMES[0][:2] + " " + NAMES[0][2:], "64 hex characters, not 65"),
        (NAMES[0][:-1] + "g", "64 hex characters, and is not hex"),
    ],
)
def test_what_is_no_public_key_is_told(text: str, told: str) -> None:
    with pytest.raises(ValueError, match=f"^a public key must be {told}"):
        multisig.parse_public_key(text)


def test_a_vault_of_two_is_the_smallest() -> None:
    assert multisig.decode_multisig_key(multisig.vault_key(NAMES[:2])) == tuple(KEYS[:2])
    with pytest.raises(ValueError, match=r"^a vault needs at least 2 public keys, 1 given"):
        multisig.vault_key(NAMES[:1])
