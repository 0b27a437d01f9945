"""Running a coroutine until it is told to stop, ending tasks for certain, waiting for one of several events."""

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any, TypeVar

T = TypeVar("T")

_CANCEL_AGAIN = 1.0  # seconds: as long may a clean-up take before it is disturbed


async def end(*tasks: asyncio.Task[Any] | asyncio.Future[Any]) -> None:
    """Cancels the tasks until each has ended; what they raise stays in them.

    Again and again: asyncio's wait_for (Python 3.11), which drivers use, swallows a cancellation that meets a result.
    """
    while left := [task for task in tasks if not task.done()]:
        for task in left:
            task.cancel()
        await asyncio.wait(left, timeout=_CANCEL_AGAIN)


async def wait_for_any(*events: asyncio.Event, seconds: float) -> None:
    """Returns when one of the events is set, or the time is up."""
    waits = [asyncio.ensure_future(one.wait()) for one in events]
    try:
        await asyncio.wait(waits, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


@asynccontextmanager
async def within(seconds: float) -> AsyncIterator[None]:
    """As `asyncio.timeout`, with a `TimeoutError` that says how long it was waited: most of them are shown to people."""
    limit = asyncio.timeout(seconds)
    try:
        async with limit:
            yield
    except TimeoutError as error:
        if not limit.expired():
            raise
        raise TimeoutError(f"no answer within {seconds:g} s") from error


async def run_until(stop: asyncio.Event, work: Coroutine[object, object, None]) -> None:
    """Runs ``work`` until it ends or ``stop`` is set, which cancels it. What it raises is raised, as by ``unless``."""
    await unless(stop, work)


async def unless(stop: asyncio.Event, work: Coroutine[object, object, T]) -> T | None:
    """The result of ``work``, or none where ``stop`` was set before it ended: then it was cancelled. What it raises is raised.

    A cancellation that nobody asked for is a RuntimeError: without a word it would leave a process that lives on half.
    """
    task = asyncio.ensure_future(work)
    stopping = asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait({task, stopping}, return_when=asyncio.FIRST_COMPLETED)
        asked = stop.is_set()
    finally:
        stopping.cancel()
        await end(task)
    if task.cancelled():
        if asked:
            return None
        raise RuntimeError("the work was cancelled from within")
    return task.result()
