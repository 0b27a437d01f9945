"""Is a transaction signed as the chain demands? Address check and signature check, nothing about balances."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from reactor.chains.pocket.errors import PocketDecodeError
from reactor.chains.pocket.morse import multisig
from reactor.chains.pocket.morse.codec import SendMsg, StdTx, decode_tx


class Fault(StrEnum):
    """Why a transaction would not pass the chain's signature checks."""

    UNDECODABLE = "undecodable"
    UNSUPPORTED_MESSAGE = "unsupported_message"
    NO_KEY = "no_key"
    BAD_KEY = "bad_key"
    UNSUPPORTED_KEY = "unsupported_key"
    NO_SIGNATURE = "no_signature"
    ADDRESS_MISMATCH = "address_mismatch"
    BAD_MULTISIGNATURE = "bad_multisignature"
    SLOT_COUNT = "slot_count"
    BAD_SIGNATURE = "bad_signature"


@dataclass(frozen=True, slots=True)
class Verdict:
    """The outcome. `fault` and `text` are None and empty when valid; `tx` is None when it does not decode.

    `slots`: for each key, in order, whether its slot verifies (empty when it did not come to that).
    """

    fault: Fault | None
    text: str = ""
    tx: StdTx | None = None
    address_matches: bool = False
    slots: tuple[bool, ...] = ()

    @property
    def valid(self) -> bool:
        """It decodes, the key owns the sending address, and every signature verifies."""
        return self.fault is None

    @property
    def decodes(self) -> bool:
        """The bytes are a transaction with a key that the chain can read."""
        return self.fault not in {Fault.UNDECODABLE, Fault.BAD_KEY}

    @property
    def signature_valid(self) -> bool:
        """Every signature verifies under its key."""
        return bool(self.slots) and all(self.slots) and self.fault in {None, Fault.ADDRESS_MISMATCH}


def verify_ed25519(public_key: bytes, message: bytes, signature: bytes) -> bool:
    """Does the signature verify? Never raises, whatever the bytes."""
    if len(public_key) != multisig.KEY_SIZE or len(signature) != multisig.SIGNATURE_SIZE:
        return False
    try:
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True


def verify_transaction(raw: bytes, chain_id: str, *, allow_amino: bool = False) -> Verdict:
    """Check decoding, sending address and signatures of `raw` for `chain_id`. Never raises."""
    try:
        tx = decode_tx(raw, allow_amino=allow_amino)
    except PocketDecodeError as error:
        return Verdict(Fault.UNDECODABLE, str(error))
    return verify_decoded(tx, chain_id)


def verify_decoded(tx: StdTx, chain_id: str) -> Verdict:
    """As `verify_transaction`, for a transaction that is decoded already."""
    if not isinstance(tx.msg, SendMsg):
        return Verdict(Fault.UNSUPPORTED_MESSAGE, f"message type {tx.msg.type_url!r} is not checked here", tx)
    if not tx.public_key:
        return Verdict(Fault.NO_KEY, "the public key field is absent or empty", tx)
    if len(tx.public_key) == 33:
        return Verdict(Fault.UNSUPPORTED_KEY, "secp256k1 keys are not checked here", tx)
    keys: tuple[bytes, ...] = (tx.public_key,)
    if len(tx.public_key) != multisig.KEY_SIZE:
        try:
            keys = multisig.decode_multisig_key(tx.public_key)
        except PocketDecodeError as error:
            return Verdict(Fault.BAD_KEY, str(error), tx)
    if not tx.signature:
        return Verdict(Fault.NO_SIGNATURE, "the signature is empty", tx)
    # SECURITY: the address is derived from the key bytes as they stand, and must be the one that pays.
    matches = multisig.address_of(tx.public_key) == tx.msg.from_address
    return _verify_slots(tx, tx.msg, keys, tx.sign_bytes(chain_id), matches=matches)


def _verify_slots(tx: StdTx, msg: SendMsg, keys: tuple[bytes, ...], message: bytes, *, matches: bool) -> Verdict:
    slots: tuple[bytes, ...] = (tx.signature,)
    if len(tx.public_key) != multisig.KEY_SIZE:
        try:
            slots = multisig.decode_multisignature(tx.signature)
        except PocketDecodeError as error:
            return Verdict(Fault.BAD_MULTISIGNATURE, str(error), tx, matches)
    good = tuple(verify_ed25519(key, message, slot) for key, slot in zip(keys, slots, strict=False))
    if not matches:
        text = f"the key's address is not the sender {msg.from_address}"
        return Verdict(Fault.ADDRESS_MISMATCH, text, tx, matches, good if len(slots) == len(keys) else ())
    # SECURITY: strictly N of N: as many slots as keys, and slot i must verify under key i.
    if len(slots) != len(keys) or not keys:
        return Verdict(Fault.SLOT_COUNT, f"{len(slots)} signature slots for {len(keys)} keys", tx, matches, good)
    if not all(good):
        return Verdict(Fault.BAD_SIGNATURE, f"slot {good.index(False)} does not verify under its key", tx, matches, good)
    return Verdict(None, "", tx, matches, good)
