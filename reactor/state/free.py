"""Opening a file of the state that another process has locked: waited for with a bound, told, and stopped by a cancellation."""

import asyncio
from collections.abc import Callable
from time import monotonic
from typing import Final, TypeVar

from loguru import logger

from reactor.state.problems import StateBusy

T = TypeVar("T")

BUSY_SECONDS: Final = 2.0
"""For so long may SQLite itself wait for a lock where an event loop waits with it."""
FREE_SECONDS: Final = 75.0
"""A backup or a person with a tool holds a file for a minute at most; whoever holds it for longer has forgotten it."""
_AGAIN_SECONDS: Final = 0.5


async def when_free(
    opening: Callable[[], T],
    *,
    seconds: float = FREE_SECONDS,
    clock: Callable[[], float] = monotonic,
) -> T:
    """What `opening` returns, tried again for so many seconds while it raises StateBusy. Raises the last StateBusy."""
    until, told = clock() + seconds, False
    while True:
        try:
            return opening()
        except StateBusy as busy:
            if clock() >= until:
                raise
            if not told:
                logger.warning("waiting for up to {:.0f} s: {}; {}", seconds, busy.what, busy.remedy)
                told = True
        await asyncio.sleep(_AGAIN_SECONDS)
