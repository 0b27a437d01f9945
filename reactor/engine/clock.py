"""Time, injected: what the engine asks of a clock, and the machine's own."""

import asyncio
import time
from collections.abc import Callable
from datetime import UTC, datetime
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
