"""Time, injected: the system's clock, and a virtual one that moves only when a test says so."""

import asyncio
import heapq
import itertools
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Protocol


class Cancellable(Protocol):
    """A call that is due and may still be called off."""

    def cancel(self) -> object:
        """Calls it off; harmless when it has already run."""


class Clock(Protocol):
    """All the time that the engine knows."""

    def now(self) -> datetime:
        """The time of day, UTC and aware: for people and documents, never for durations."""

    def monotonic(self) -> float:
        """Seconds since some moment; never goes back."""

    async def sleep(self, seconds: float) -> None:
        """Returns ``seconds`` later."""

    def call_at(self, when: float, call: Callable[[], object]) -> Cancellable:
        """Runs ``call`` once ``monotonic()`` has reached ``when``."""


class SystemClock:
    """The machine's clock and the running event loop's timers."""

    def now(self) -> datetime:
        """See ``Clock.now``."""
        return datetime.now(UTC)

    def monotonic(self) -> float:
        """See ``Clock.monotonic``."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """See ``Clock.sleep``."""
        await asyncio.sleep(seconds)

    def call_at(self, when: float, call: Callable[[], object]) -> Cancellable:
        """See ``Clock.call_at``; must run inside the event loop."""
        return asyncio.get_running_loop().call_later(max(0.0, when - time.monotonic()), call)


class _Call:
    """A call on the virtual clock."""

    __slots__ = ("call", "cancelled")

    def __init__(self, call: Callable[[], object]) -> None:
        self.call = call
        self.cancelled = False

    def cancel(self) -> None:
        self.cancelled = True


class VirtualClock:
    """A clock for tests: it stands still until ``advance``, and runs what is due in order, each at its time."""

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
    """Lets every task that is ready run, ``rounds`` steps deep: for tests on the virtual clock."""
    for _ in range(rounds):
        await asyncio.sleep(0)
