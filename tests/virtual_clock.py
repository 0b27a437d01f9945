"""A clock for tests that moves only when a test says so."""

import asyncio
import heapq
import itertools
from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from reactor.engine.clock import Cancellable


class _Call:
    """A call on the virtual clock."""

    __slots__ = ("call", "cancelled")

    def __init__(self, call: Callable[[], object]) -> None:
        self.call = call
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class VirtualClock:
    """It stands still until ``advance``, and runs what is due in order, each at its time."""

    def __init__(self, start: datetime = datetime(2024, 1, 1, tzinfo=UTC)) -> None:
        self._start = start
        self._elapsed = 0.0
        self._calls: list[tuple[float, int, _Call]] = []
        self._order = itertools.count()

    def now(self) -> datetime:
        """See ``Clock.now``."""
        return self._start + timedelta(seconds=self._elapsed)

    def monotonic(self) -> float:
        """See ``Clock.monotonic``."""
        return self._elapsed

    async def sleep(self, seconds: float) -> None:
        """Returns when ``advance`` has gone so far."""
        due: asyncio.Future[None] = asyncio.get_running_loop().create_future()

        def wake() -> None:
            if not due.done():
                due.set_result(None)

        call = self.call_at(self._elapsed + seconds, wake)
        try:
            await due
        finally:
            call.cancel()

    def call_at(self, when: float, call: Callable[[], object]) -> Cancellable:
        """See ``Clock.call_at``."""
        entry = _Call(call)
        heapq.heappush(self._calls, (when, next(self._order), entry))
        return entry

    def due(self) -> float | None:
        """Seconds to the next call, ``None`` when there is none."""
        while self._calls and self._calls[0][2].cancelled:
            heapq.heappop(self._calls)
        return max(0.0, self._calls[0][0] - self._elapsed) if self._calls else None

    async def advance(self, seconds: float) -> None:
        """Moves the time on; the tasks that a call wakes run before the time moves further."""
        end = self._elapsed + seconds
        await settle()
        while (wait := self.due()) is not None and self._elapsed + wait <= end:
            when, _, entry = heapq.heappop(self._calls)
            self._elapsed = max(self._elapsed, when)
            entry.call()
            await settle()
        self._elapsed = end
        await settle()


async def settle(rounds: int = 20) -> None:
    """Lets every task that is ready run, ``rounds`` steps deep."""
    for _ in range(rounds):
        await asyncio.sleep(0)
