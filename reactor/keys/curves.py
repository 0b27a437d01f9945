"""The public side of both curves: addresses, and checks of signatures."""

import hashlib

from coincurve import PublicKey
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from eth_hash.auto import keccak

SECP256K1_ORDER = 0xFFFFFFFF_FFFFFFFF_FFFFFFFF_FFFFFFFE_BAAEDCE6_AF48A03B_BFD25E8C_D0364141
DIGEST_BYTES = 32


def ethereum_address(public_key: PublicKey) -> str:
    """Give the address of a secp256k1 key: `0x` + the last 20 bytes of Keccak-256 over x and y, lower case."""
    return "0x" + keccak(public_key.format(compressed=False)[1:])[-20:].hex()


def pocket_address(public_key: bytes) -> str:
    """Give the address of a 32-byte Ed25519 key: the first 20 bytes of its SHA-256 (Pocket RC-0.9.2, no amino prefix)."""
    return hashlib.sha256(public_key).digest()[:20].hex()


def require_digest(payload: bytes) -> None:
    """Refuse what is not a 32-byte digest.

    Raises:
        ValueError: always the caller's fault.
    """
    if len(payload) != DIGEST_BYTES:
        raise ValueError(f"a secp256k1 signer takes a {DIGEST_BYTES}-byte digest, not {len(payload)} bytes")


def recovers_to(public_key: PublicKey, digest: bytes, compact: bytes, recovery_id: int) -> bool:
    """Tell whether r, s (64 bytes) with this recovery id is a signature of `public_key` over `digest`."""
    try:
        found = PublicKey.from_signature_and_message(compact + bytes([recovery_id]), digest, hasher=None)
    except ValueError:  # no point on the curve fits: not a signature of anybody
        return False
    return found == public_key


def is_ed25519_signature(public_key: Ed25519PublicKey, message: bytes, signature: bytes) -> bool:
    """Tell whether the signature is of this key over this message."""
    try:
        public_key.verify(signature, message)
    except InvalidSignature:
        return False
    return True
