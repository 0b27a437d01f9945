"""Due timers, one per key: a heap with one armed call on the clock for the earliest."""

import heapq
import itertools

from reactivex import Observable
from reactivex.subject import Subject

from reactor.engine.clock import Cancellable, Clock
from reactor.engine.keys import Key

_SLACK = 64  # so many abandoned entries are always tolerated: below that, clearing the heap costs more than it saves


class Timers:
    """Announces on ``due`` each key whose time has come. Setting a key's timer again replaces it."""

    def __init__(self, clock: Clock) -> None:
        self._clock = clock
        self._due: Subject[Key] = Subject()
        self._times: dict[Key, tuple[float, int]] = {}
        self._heap: list[tuple[float, int, Key]] = []
        self._order = itertools.count()
        self._armed: tuple[float, Cancellable] | None = None

    @property
    def due(self) -> Observable[Key]:
        """Keys whose time has come."""
        return self._due

    def __len__(self) -> int:
        return len(self._times)

    def time_of(self, key: Key) -> float | None:
        """When the key is due on the monotonic clock, in seconds."""
        entry = self._times.get(key)
        return entry[0] if entry else None

    def set(self, key: Key, when: float) -> None:
        """Sets the key's timer to ``when`` (seconds on the monotonic clock)."""
        entry = (when, next(self._order))
        self._times[key] = entry
        heapq.heappush(self._heap, (*entry, key))
        if len(self._heap) > 2 * len(self._times) + _SLACK:
            self._heap = [(*entry, key) for key, entry in self._times.items()]
            heapq.heapify(self._heap)
        if self._armed is None or when < self._armed[0]:
            self._arm()

    def drop(self, key: Key) -> None:
        """Calls the key's timer off."""
        self._times.pop(key, None)

    def _arm(self) -> None:
        if self._armed is not None:
            self._armed[1].cancel()
            self._armed = None
        while self._heap and self._stale(self._heap[0]):
            heapq.heappop(self._heap)
        if self._heap:
            when = self._heap[0][0]
            self._armed = (when, self._clock.call_at(when, self._fire))

    def _stale(self, item: tuple[float, int, Key]) -> bool:
        return self._times.get(item[2]) != item[:2]

    def _fire(self) -> None:
        self._armed = None
        now = self._clock.monotonic()
        ready: list[Key] = []
        while self._heap and self._heap[0][0] <= now:
            item = heapq.heappop(self._heap)
            if not self._stale(item):
                del self._times[item[2]]
                ready.append(item[2])
        self._arm()
        for key in ready:
            self._due.on_next(key)
