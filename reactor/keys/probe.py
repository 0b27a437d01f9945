"""Exercise a signer without signing anything that could be used."""

import hashlib
import time
from dataclasses import dataclass
from typing import Final

from coincurve import PublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from reactor.keys.curves import is_ed25519_signature, recovers_to
from reactor.keys.problem import KeyProblem
from reactor.keys.signer import Scheme, Signer

# SECURITY: what is signed here must mean nothing to anyone.
# - Pocket (Morse) signs JSON objects, Shannon protobuf documents that open with byte 0x0a: neither opens with a letter.
# - Mints are Keccak-256 of 0x1901…, Ethereum transactions Keccak-256 too; objections and heartbeats are SHA-256 under prefixes
#   of their own; double SHA-256, as UTXO chains sign it, is over an inner hash of 32 bytes, and this text is longer.
PROBE_TEXT: Final = (
    b"bridge-reactor key probe v1\nThis signature proves that a key works. It moves nothing and means nothing else.\n"
)


@dataclass(frozen=True, slots=True)
class Probe:
    """A signer that was asked and answered rightly."""

    scheme: Scheme
    source: str
    address: str
    seconds: float
    """From the question to the verified answer."""


def probe_payload(scheme: Scheme) -> bytes:
    """The constant that a probe signs: the text itself (ed25519) or its SHA-256 (secp256k1)."""
    return PROBE_TEXT if scheme == "ed25519" else hashlib.sha256(PROBE_TEXT).digest()


async def probe(signer: Signer) -> Probe:
    """Let a signer sign a constant that nobody accepts, and verify the answer with the public key it shows.

    It takes as long as a signature of this signer takes at most: a key service is given up after `aws.CALL_TIMEOUT_S`.

    Raises:
        KeyProblem: the key refused, did not answer, or its signature does not verify.
    """
    payload = probe_payload(signer.scheme)
    started = time.perf_counter()
    signature = await signer.sign(payload, "probe")
    seconds = time.perf_counter() - started
    shown = signer.describe()
    # Each signer verifies what it gives out; this looks from outside, with nothing but what operators compare by eye.
    if not _verifies(signer, payload, signature):
        raise KeyProblem(shown.source, "its signature does not verify for the public key it shows", "Open the key again")
    return Probe(shown.scheme, shown.source, shown.address, seconds)


def _verifies(signer: Signer, payload: bytes, signature: bytes) -> bool:
    public = bytes.fromhex(signer.public_key)
    if signer.scheme == "ed25519":
        return is_ed25519_signature(Ed25519PublicKey.from_public_bytes(public), payload, signature)
    return (
        len(signature) == 65
        and signature[64] in {27, 28}
        and recovers_to(PublicKey(public), payload, signature[:64], signature[64] - 27)
    )
