"""One read per fact, shared by all that need it: a small cache that also joins reads in flight."""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Any, TypeVar, cast

__all__ = ["SharedReads"]

T = TypeVar("T")


class SharedReads:
    """Remembers the results of reads by key for a while; two callers that ask at once cause one read.

    Errors are shared by those who waited together and are never remembered. At most `size` results are kept, the least
    recently used one leaves first. A caller that is cancelled does not cancel the read for the others.
    """

    def __init__(self, size: int = 4096, clock: Callable[[], float] = time.monotonic) -> None:
        self._size = size
        self._clock = clock
        self._results: OrderedDict[Hashable, tuple[float, Any]] = OrderedDict()
        self._running: dict[Hashable, asyncio.Task[Any]] = {}
        self._generation = 0

    async def get(self, key: Hashable, seconds: float, read: Callable[[], Awaitable[T]]) -> T:
        """The result for `key`, at most `seconds` old; read by `read` if there is none."""
        known = self._results.get(key)
        if known is not None and known[0] > self._clock():
            self._results.move_to_end(key)
            return cast("T", known[1])
        task = self._running.get(key)
        if task is None:
            task = asyncio.ensure_future(self._read(key, seconds, read, self._generation))
            self._running[key] = task
            task.add_done_callback(lambda done: self._forget_task(key, done))
        return cast("T", await asyncio.shield(task))

    async def _read(self, key: Hashable, seconds: float, read: Callable[[], Awaitable[T]], generation: int) -> T:
        value = await read()
        # A read that began before a `drop` may show the state from before it: hand it out, but do not remember it.
        if seconds > 0 and generation == self._generation:
            self._results[key] = (self._clock() + seconds, value)
            self._results.move_to_end(key)
            while len(self._results) > self._size:
                self._results.popitem(last=False)
        return value

    def _forget_task(self, key: Hashable, task: asyncio.Task[Any]) -> None:
        if self._running.get(key) is task:
            del self._running[key]
        if not task.cancelled():
            task.exception()  # seen, even if every waiter was cancelled

    def drop(self, matches: Callable[[Hashable], bool]) -> None:
        """Forget the results whose key matches; reads in flight are not joined by later callers."""
        self._generation += 1
        for key in [key for key in self._results if matches(key)]:
            del self._results[key]
        for key in [key for key in self._running if matches(key)]:
            del self._running[key]

    async def close(self) -> None:
        """Cancel the reads in flight."""
        tasks = list(self._running.values())
        self._running.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
