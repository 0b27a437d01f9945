"""Signers whose key lies in this process: what `env://`, `file://`, `keystore://` and `awssecret://` open."""

from typing import Final

from coincurve import PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from reactor.keys.base import BaseSigner
from reactor.keys.curves import (
    ethereum_address,
    is_ed25519_signature,
    pocket_address,
    recovers_to,
    require_digest,
)
from reactor.keys.problem import KeyProblem
from reactor.keys.signer import Scheme
from reactor.keys.stats import SignerStats
from reactor.textfile import BOM

_BAD_OWN_SIGNATURE = "its own signature does not verify"
_CHECK_MACHINE = "Nothing was signed; check the memory and libraries of this machine before going on"


class Secp256k1Signer(BaseSigner):
    """Signs 32-byte digests for Ethereum: RFC 6979 nonces, low s, v 27 or 28."""

    __slots__ = ("_key", "_public")
    scheme: Scheme = "secp256k1"

    def __init__(self, key: PrivateKey, source: str, stats: SignerStats | None = None) -> None:
        self._key = key
        self._public = key.public_key
        super().__init__(source, self._public.format(), ethereum_address(self._public), stats)

    async def _sign(self, payload: bytes) -> bytes:
        require_digest(payload)
        signature = self._key.sign_recoverable(payload, hasher=None)
        compact, recovery_id = signature[:64], signature[64]
        # SECURITY: a faulty signature (bad memory, bad library) can give the key away; it never leaves.
        if recovery_id > 1 or not recovers_to(self._public, payload, compact, recovery_id):
            raise KeyProblem(self._source, _BAD_OWN_SIGNATURE, _CHECK_MACHINE)
        return compact + bytes([27 + recovery_id])


class Ed25519Signer(BaseSigner):
    """Signs raw messages for Pocket (Morse): RFC 8032, deterministic."""

    __slots__ = ("_key", "_public")
    scheme: Scheme = "ed25519"

    def __init__(self, key: Ed25519PrivateKey, source: str, stats: SignerStats | None = None) -> None:
        self._key = key
        self._public = key.public_key()
        public_key = self._public.public_bytes_raw()
        super().__init__(source, public_key, pocket_address(public_key), stats)

    async def _sign(self, payload: bytes) -> bytes:
        if not payload:
            raise ValueError("an ed25519 signer takes a message, not nothing")
        signature = self._key.sign(payload)
        # SECURITY: a faulty Ed25519 signature gives the key away; it never leaves.
        if not is_ed25519_signature(self._public, payload, signature):
            raise KeyProblem(self._source, _BAD_OWN_SIGNATURE, _CHECK_MACHINE)
        return signature


def signer_from_secret(
    secret: bytes, scheme: Scheme, source: str, stats: SignerStats | None = None
) -> Secp256k1Signer | Ed25519Signer:
    """Make a signer from the 32 secret bytes of a key (scalar or seed).

    Raises:
        KeyProblem: the bytes are no key of that curve.
    """
    if len(secret) != 32:
        raise KeyProblem(source, f"holds {len(secret)} bytes where a {scheme} key has 32", f"Give a {scheme} key")
    if scheme == "ed25519":
        return Ed25519Signer(Ed25519PrivateKey.from_private_bytes(secret), source, stats)
    try:
        key = PrivateKey(secret)
    except ValueError:
        raise KeyProblem(source, "is zero or above the order of secp256k1", "Give a real key") from None
    return Secp256k1Signer(key, source, stats)


_TEXT_FORMS: Final[dict[Scheme, tuple[int, str]]] = {
    "secp256k1": (32, "A secp256k1 key is 64 hex characters"),
    "ed25519": (64, "An ed25519 key is 128 hex characters, seed then public key"),
}
"""How many bytes the text of a key stands for, and how that is said."""


def signer_from_text(text: str, scheme: Scheme, source: str, stats: SignerStats | None = None) -> Secp256k1Signer | Ed25519Signer:
    """Make a signer from the text form of a key.

    secp256k1: 64 hex characters, `0x` optional. ed25519: 128 hex characters, seed then public key (Pocket's form).

    Raises:
        KeyProblem: another form, or a public half that does not belong to the seed.
    """
    wanted, form = _TEXT_FORMS[scheme]
    remedy = f"{form}; `reactor keys new` makes one"
    try:
        raw = bytes.fromhex(text.removeprefix(BOM).strip().removeprefix("0x"))
    except ValueError:
        raise KeyProblem(source, "is not hexadecimal", remedy) from None
    if len(raw) != wanted:
        raise KeyProblem(source, f"holds {len(raw)} bytes, not {wanted}", remedy)
    signer = signer_from_secret(raw[:32], scheme, source, stats)
    # SECURITY: Pocket nodes trust the second half; a key whose halves differ would sign for an address it is not.
    if scheme == "ed25519" and signer.public_key != raw[32:].hex():
        raise KeyProblem(source, "its public half does not belong to its seed", remedy)
    return signer
