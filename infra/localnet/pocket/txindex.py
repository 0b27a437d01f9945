"""The index of executed transactions: by hash, by height, by signer and by recipient."""

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field

from infra.localnet.pocket.wire import Transaction


@dataclass(frozen=True, slots=True)
class TxResult:
    """How a transaction ended in its block; code 0 is success."""

    code: int = 0
    codespace: str = ""
    log: str = ""


@dataclass(frozen=True)
class IndexedTx:
    """An executed transaction: height, position in its block, decoded form (None if it does not decode) and result."""

    raw: bytes
    hash: str
    height: int
    index: int
    tx: Transaction | None
    result: TxResult


@dataclass(frozen=True, slots=True)
class _Run:
    """Transactions in the order of the chain, with their heights apart so that a range is found by bisection."""

    txs: list[IndexedTx] = field(default_factory=list)
    heights: list[int] = field(default_factory=list)

    def append(self, tx: IndexedTx) -> None:
        self.txs.append(tx)
        self.heights.append(tx.height)


@dataclass(frozen=True, slots=True)
class Found:
    """One page of a search, and how many transactions match in all."""

    txs: Sequence[IndexedTx]
    total: int


@dataclass(slots=True)
class TxIndex:
    """All executed transactions but those that the node leaves out. A page costs its own length, not the history's."""

    _by_hash: dict[str, IndexedTx] = field(default_factory=dict)
    _all: _Run = field(default_factory=_Run)
    _by_signer: dict[bytes, _Run] = field(default_factory=dict)
    _by_recipient: dict[bytes, _Run] = field(default_factory=dict)

    def add(self, tx: IndexedTx) -> None:
        """Index a transaction; heights and positions only grow."""
        self._by_hash[tx.hash] = tx
        self._all.append(tx)
        if tx.tx is not None:
            self._by_signer.setdefault(tx.tx.msg.from_address, _Run()).append(tx)
            self._by_recipient.setdefault(tx.tx.msg.to_address, _Run()).append(tx)

    def __len__(self) -> int:
        return len(self._all.txs)

    def get(self, hash_: str) -> IndexedTx | None:
        """A transaction by its hash (upper case)."""
        return self._by_hash.get(hash_)

    def of_account(self, address: bytes, *, received: bool, low: int, high: int, page: slice, newest_first: bool) -> Found:
        """What an account received or signed at heights `low` to `high`, both included."""
        runs = self._by_recipient if received else self._by_signer
        return _search(runs.get(address), low, high, page, newest_first=newest_first)

    def of_block(self, height: int, *, page: slice, newest_first: bool) -> Found:
        """The transactions of one block."""
        return _search(self._all, height, height, page, newest_first=newest_first)


def _search(run: _Run | None, low: int, high: int, page: slice, *, newest_first: bool) -> Found:
    if run is None:
        return Found((), 0)
    start, end = bisect_left(run.heights, low), bisect_right(run.heights, high)
    total = max(end - start, 0)
    first, last = min(page.start, total), min(page.stop, total)
    if newest_first:
        return Found(run.txs[end - last : end - first][::-1], total)
    return Found(run.txs[start + first : start + last], total)
