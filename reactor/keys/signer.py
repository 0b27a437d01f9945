"""What every signer offers, whatever holds its key."""

from dataclasses import dataclass
from typing import Literal, Protocol

from reactor.keys.stats import Purpose, SignerStats

Scheme = Literal["secp256k1", "ed25519"]


@dataclass(frozen=True, slots=True)
class KeyDescription:
    """What may be shown of a key: for `check`, `keys show` and the logs."""

    scheme: Scheme
    source: str
    """The URI, which holds no secret."""
    address: str
    public_key: str


class Signer(Protocol):
    """A key that signs. Its `repr` shows the address and the source, never the key."""

    @property
    def scheme(self) -> Scheme:
        """The curve: `secp256k1` signs for Ethereum, `ed25519` for Pocket (Morse)."""

    @property
    def public_key(self) -> str:
        """Lower-case hex without 0x: 33 compressed bytes (secp256k1) or 32 bytes (ed25519)."""

    @property
    def address(self) -> str:
        """Ethereum: `0x` + 40 lower-case hex. Pocket: 40 lower-case hex, the first 20 bytes of SHA-256(public key)."""

    @property
    def stats(self) -> SignerStats:
        """Counts and latencies by purpose since the signer was opened."""

    async def sign(self, payload: bytes, purpose: Purpose = "other") -> bytes:
        """Sign and verify the own signature before it leaves.

        Args:
            payload: secp256k1: a 32-byte digest, signed as it is. ed25519: the raw message, never hashed first.
            purpose: what it is for; only counted.

        Returns:
            secp256k1: 65 bytes r, s, v with low s and v 27 or 28. ed25519: 64 bytes.

        Raises:
            ValueError: the payload has the wrong length.
            KeyProblem: the key refused, did not answer, or its signature does not verify.
        """

    def describe(self) -> KeyDescription:
        """Say what the key is, without secrets."""

    async def close(self) -> None:
        """Free what the signer holds (threads, connections). Signing afterwards is an error."""
