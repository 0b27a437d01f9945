"""Running a coroutine until it is told to stop."""

import asyncio
from collections.abc import Coroutine

_CANCEL_AGAIN = 1.0  # seconds: as long may a clean-up take before it is disturbed


async def run_until(stop: asyncio.Event, work: Coroutine[object, object, None]) -> None:
    """Runs ``work`` until it ends or ``stop`` is set, which cancels it. What it raises is raised."""
    task = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        stopping.cancel()
        while not task.done():
            # Again and again: asyncio's wait_for (Python 3.11), which drivers use, swallows a cancellation that
            # meets a result.
            task.cancel()
            await asyncio.wait({task}, timeout=_CANCEL_AGAIN)
    if not task.cancelled() and (error := task.exception()) is not None:
        raise error
