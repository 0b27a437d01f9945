"""All transactions of an address in a window of heights, out of a paged list whose order is not to be trusted.

Nodes have the two orders inverted, older ones ignore the height filter, and pages shift while they are read. So the
direction is read off the pages themselves, everything is filtered and sorted here, and the pages must add up. A list
whose pages are sorted neither way is read whole.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from enum import Enum
from itertools import pairwise
from typing import Final

from reactor.chains.pocket.errors import RpcUnavailable, WindowTooLarge
from reactor.chains.pocket.morse.answers import Asked
from reactor.chains.pocket.types import PocketTx

DEFAULT_PAGE_SIZE: Final = 200
"""A middle way: each call makes the node walk the address's whole history, but pages of 1000 time out on some."""
MAX_PAGES: Final = 500

Fetch = Callable[[int], Awaitable[tuple[tuple[PocketTx, ...], int]]]
"""Page number (from 1) → its transactions and the number of all matches."""


class _Order(Enum):
    OLDEST_FIRST = 1
    NEWEST_FIRST = 2
    NONE = 3


def _key(tx: PocketTx) -> tuple[int, int]:
    return tx.height, tx.index


def _order_of(txs: Sequence[PocketTx]) -> _Order:
    pairs = [(_key(a), _key(b)) for a, b in pairwise(txs)]
    if all(a < b for a, b in pairs):
        return _Order.OLDEST_FIRST
    return _Order.NEWEST_FIRST if all(a > b for a, b in pairs) else _Order.NONE


class _Pages:
    """The pages read so far. Raises RpcUnavailable when they contradict each other."""

    def __init__(self, asked: Asked, fetch: Fetch) -> None:
        self._asked = asked
        self._fetch = fetch
        self._pages: dict[int, tuple[PocketTx, ...]] = {}
        self._size = 0
        self._total = 0

    @property
    def count(self) -> int:
        return -(-self._total // self._size) if self._size else 0

    @property
    def order(self) -> _Order:
        """Of what was read so far, within pages and from page to page; oldest first when that could be any."""
        firsts = [self._pages[number][0] for number in sorted(self._pages) if self._pages[number]]
        orders = {_order_of(page) for page in self._pages.values() if len(page) > 1}
        if len(firsts) > 1:
            # While a newest-first list shifts, a page may begin as the one before it did.
            falling = all(_key(a) >= _key(b) for a, b in pairwise(firsts))
            orders.add(_Order.NEWEST_FIRST if falling else _order_of(firsts))
        if len(orders) > 1:
            return _Order.NONE
        return orders.pop() if orders else _Order.OLDEST_FIRST

    async def get(self, number: int) -> tuple[PocketTx, ...]:
        if number in self._pages:
            return self._pages[number]
        if len(self._pages) >= MAX_PAGES:
            raise WindowTooLarge(self._asked.endpoint, self._asked.call, f"more than {MAX_PAGES} pages: ask for less")
        txs, total = await self._fetch(number)
        if total < self._total:
            raise self._inconsistent(f"total_txs fell from {self._total} to {total}")
        self._total = total
        if number == 1:
            self._size = len(txs)  # a node may allow less per page than was asked for
        expected = max(0, min(self._size, total - (number - 1) * self._size))
        if len(txs) != expected or (total and not self._size):
            raise self._inconsistent(f"page {number} holds {len(txs)} of {total}, expected {expected}")
        self._pages[number] = txs
        return txs

    def _inconsistent(self, text: str) -> RpcUnavailable:
        return RpcUnavailable(self._asked.endpoint, self._asked.call, f"the pages do not add up: {text}")

    def within(self, low: int, high: int) -> tuple[PocketTx, ...]:
        found = {tx.hash: tx for page in self._pages.values() for tx in page if low <= tx.height <= high}
        return tuple(sorted(found.values(), key=_key))


async def read_window(asked: Asked, fetch: Fetch, from_height: int, to_height: int) -> tuple[PocketTx, ...]:
    """The transactions of [from_height, to_height], each once, sorted by (height, index).

    Raises:
        RpcUnavailable: the pages contradict each other (the answers came from different nodes): read again.
        WindowTooLarge: more than `MAX_PAGES` pages.
        PocketRpcError: whatever `fetch` raises.
    """
    pages = _Pages(asked, fetch)
    first = await pages.get(1)
    if not first:
        return ()
    if len(first) == 1 and pages.count > 1:
        await pages.get(2)  # one transaction alone shows no direction
    order = pages.order
    if order is _Order.OLDEST_FIRST:
        await _read_oldest_first(pages, from_height, to_height)
    elif order is _Order.NEWEST_FIRST:
        await _read_newest_first(pages, from_height)
    if order is _Order.NONE or pages.order is not order:
        await _read_all(pages)  # whatever was skipped was skipped for a wrong reason
    return pages.within(from_height, to_height)


async def _read_oldest_first(pages: _Pages, low: int, high: int) -> None:
    """New transactions append at the end, so page numbers are stable and the start can be found by bisection."""
    number = await _page_of(pages, low)
    while number <= pages.count and pages.order is _Order.OLDEST_FIRST:
        page = await pages.get(number)
        if page[-1].height > high:
            return
        number += 1


async def _page_of(pages: _Pages, height: int) -> int:
    """The last page that begins below `height` (the first page when none does: the node honours the filter)."""
    if (await pages.get(1))[0].height >= height:
        return 1
    below, above, step = 1, pages.count + 1, 1
    while above - below > 1:  # most windows lie at the end: go back from there, in growing steps
        number = max(above - step, below)
        if number == below or (await pages.get(number))[0].height < height:
            below = number
            break
        above, step = number, step * 2
    while above - below > 1:
        middle = (below + above) // 2
        if (await pages.get(middle))[0].height < height:
            below = middle
        else:
            above = middle
    return below


async def _read_newest_first(pages: _Pages, low: int) -> None:
    """New transactions push the others towards later pages: some are seen twice, none is missed."""
    number = 1
    while number <= pages.count and pages.order is _Order.NEWEST_FIRST:
        if (await pages.get(number))[-1].height < low:
            return
        number += 1


async def _read_all(pages: _Pages) -> None:
    number = 1
    while number <= pages.count:
        await pages.get(number)
        number += 1
