"""Transactions that wait for a block, and the hashes that the node has seen lately."""

from collections import OrderedDict
from dataclasses import dataclass, field

CACHE_SIZE = 10_000
"""Hashes remembered; the default of Tendermint's mempool."""


class AlreadyInCacheError(Exception):
    """The node has seen these bytes: they wait, or they were committed with success."""


@dataclass(slots=True)
class Mempool:
    """Raw transactions by hash in the order of their arrival, with a bounded cache of seen hashes."""

    _waiting: dict[str, bytes] = field(default_factory=dict)
    _seen: OrderedDict[str, None] = field(default_factory=OrderedDict)

    def remember(self, hash_: str) -> None:
        """Enter a hash into the cache. Raises `AlreadyInCacheError` if it is there."""
        if hash_ in self._seen:
            raise AlreadyInCacheError
        self._push(hash_)

    def add(self, hash_: str, raw: bytes) -> None:
        """Let a checked transaction wait for the next block."""
        self._waiting[hash_] = raw

    def forget(self, hash_: str) -> bool:
        """Take a transaction out of the mempool and the cache, as if it had never come; whether it waited."""
        self._seen.pop(hash_, None)
        return self._waiting.pop(hash_, None) is not None

    def lose(self, hash_: str) -> bool:
        """Take a transaction out of the mempool but remember it as seen; whether it waited."""
        return self._waiting.pop(hash_, None) is not None

    def clear(self) -> None:
        """Forget everything, as with the process."""
        self._waiting.clear()
        self._seen.clear()

    def settle(self, hash_: str, *, success: bool) -> None:
        """A transaction was in a block: one that succeeded stays in the cache, one that failed may come again."""
        self._waiting.pop(hash_, None)
        if success:
            self._push(hash_)
        else:
            self._seen.pop(hash_, None)

    def _push(self, hash_: str) -> None:
        self._seen[hash_] = None
        self._seen.move_to_end(hash_)
        while len(self._seen) > CACHE_SIZE:
            self._seen.popitem(last=False)

    def get(self, hash_: str) -> bytes | None:
        """A waiting transaction by its hash."""
        return self._waiting.get(hash_)

    def waiting(self) -> tuple[bytes, ...]:
        """All waiting transactions, oldest first."""
        return tuple(self._waiting.values())

    def hashes(self) -> tuple[str, ...]:
        """The hashes of all waiting transactions, oldest first."""
        return tuple(self._waiting)

    def __len__(self) -> int:
        return len(self._waiting)
