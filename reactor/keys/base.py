"""What all signers share: their public face, and that every call is measured."""

from abc import ABC, abstractmethod
from typing import NoReturn

from reactor.keys.signer import KeyDescription, Scheme
from reactor.keys.stats import Purpose, SignerStats


class BaseSigner(ABC):
    """A signer's public half; the key itself is its subclass's matter."""

    __slots__ = ("_address", "_public_key", "_source", "_stats")
    scheme: Scheme

    def __init__(self, source: str, public_key: bytes, address: str, stats: SignerStats | None = None) -> None:
        self._source = source
        self._public_key = public_key.hex()
        self._address = address
        self._stats = stats or SignerStats()

    @property
    def public_key(self) -> str:
        """Lower-case hex without 0x."""
        return self._public_key

    @property
    def address(self) -> str:
        """The address that the key signs for."""
        return self._address

    @property
    def stats(self) -> SignerStats:
        """Counts and latencies since the signer was opened."""
        return self._stats

    def describe(self) -> KeyDescription:
        """Say what the key is, without secrets."""
        return KeyDescription(self.scheme, self._source, self._address, self._public_key)

    async def sign(self, payload: bytes, purpose: Purpose = "other") -> bytes:
        """Sign a digest (secp256k1) or a raw message (ed25519); see `Signer.sign`."""
        with self._stats.measured(purpose):
            return await self._sign(payload)

    @abstractmethod
    async def _sign(self, payload: bytes) -> bytes:
        """Sign, and verify the own signature before it leaves."""

    async def close(self) -> None:  # noqa: B027 - meant to be empty here
        """Nothing to free, unless a subclass knows better."""

    def __repr__(self) -> str:
        # SECURITY: a signer in a log, a traceback or a test's diff must not show its key.
        return f"<{type(self).__name__} {self._address} from {self._source}>"

    def __reduce__(self) -> NoReturn:
        # SECURITY: a copied or pickled signer would carry the key to another process or to disk.
        raise TypeError(f"{type(self).__name__} is not copied: open it again by its URI")
