"""Which key waits for which block: an index by height, so that a new head touches only the keys that it wakes."""

import heapq
import itertools

from reactor.engine.keys import Head, Key

_SLACK = 64  # so many abandoned entries are always tolerated: below that, clearing a heap costs more than it saves


class HeadIndex:
    """Keys by the heights that they wait for, and the newest head of each chain."""

    def __init__(self) -> None:
        self._live: dict[Key, int] = {}
        self._heaps: dict[str, list[tuple[int, int, Key]]] = {}
        self._order = itertools.count()
        self._newest: dict[str, tuple[int, int]] = {}
        self._arrivals = 0

    @property
    def arrivals(self) -> int:
        """How many heads have arrived: a mark to compare later ones with."""
        return self._arrivals

    def __len__(self) -> int:
        return len(self._live)

    def arrived_since(self, mark: int, heads: frozenset[tuple[str, int]]) -> bool:
        """Whether one of ``heads`` was reached by a head that arrived after ``mark``."""
        if mark == self._arrivals:
            return False
        for chain, height in heads:
            newest, arrival = self._newest.get(chain, (-1, 0))
            if arrival > mark and newest >= height:
                return True
        return False

    def add(self, key: Key, heads: frozenset[tuple[str, int]]) -> None:
        """The key waits for the first of ``heads``."""
        order = next(self._order)
        self._live[key] = order
        for chain, height in heads:
            heap = self._heaps.setdefault(chain, [])
            heapq.heappush(heap, (height, order, key))
            if len(heap) > 2 * len(self._live) + _SLACK:
                self._heaps[chain] = [item for item in heap if self._live.get(item[2]) == item[1]]
                heapq.heapify(self._heaps[chain])

    def drop(self, key: Key) -> None:
        """The key waits no longer."""
        self._live.pop(key, None)

    def reached(self, head: Head) -> list[Key]:
        """Notes the head; returns the keys that it wakes, lowest height first, and forgets them."""
        self._arrivals += 1
        self._newest[head.chain] = (head.height, self._arrivals)
        heap = self._heaps.get(head.chain, [])
        woken: list[Key] = []
        while heap and heap[0][0] <= head.height:
            _, order, key = heapq.heappop(heap)
            if self._live.get(key) == order:
                del self._live[key]
                woken.append(key)
        return woken
