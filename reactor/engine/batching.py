"""One bulk per drained batch: calls that are ready together leave together."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Generic, TypeVar

from reactor.engine.loops import is_cancelled

Item = TypeVar("Item")
Result = TypeVar("Result")

Flush = Callable[[list[Item]], Awaitable[Sequence[Result | Exception]]]


class BatchError(RuntimeError):
    """The flush broke its contract, or the batcher is closed."""


@dataclass(slots=True)
class BatchCounters:
    """``items`` in ``batches`` so far; ``failed``: batches that failed as a whole."""

    items: int = 0
    batches: int = 0
    failed: int = 0


class Batcher(Generic[Item, Result]):
    """Collects concurrent calls and flushes them together.

    While ``parallel`` flushes are under way the next batch collects, up to ``max_size`` items; with nothing under
    way a batch leaves after ``linger`` seconds (0: at the event loop's next turn, so that what is ready leaves
    together). After a batch of several the next one waits ``busy`` seconds instead: in a burst few large batches cost
    far less than many small ones, and alone nobody waits. ``flush`` answers each item in order with a result or the
    exception that its caller shall see; what it raises, every caller of that batch sees. ``timeout`` seconds bound one
    flush; ``max_pending`` calls wait at most, later ones stand in line before them.
    """

    def __init__(
        self,
        flush: Flush[Item, Result],
        *,
        max_size: int = 500,
        linger: float = 0.0,
        busy: float = 0.0,
        parallel: int = 1,
        timeout: float = 30.0,
        max_pending: int = 10_000,
    ) -> None:
        if min(max_size, parallel, max_pending) < 1 or timeout <= 0 or min(linger, busy) < 0:
            raise ValueError("a batcher needs max_size, parallel and max_pending of 1 or more, and a timeout above 0 s")
        self._flush = flush
        self._max_size = max_size
        self._linger = linger
        self._busy = busy
        self._last = 0
        self._parallel = parallel
        self._timeout = timeout
        self._pending: deque[tuple[Item, asyncio.Future[Result]]] = deque()
        self._room = asyncio.Semaphore(max_pending)
        self._flushes: set[asyncio.Task[None]] = set()
        self._running = 0  # flush loops; counted apart from their tasks, which end a turn of the event loop later
        self._closed = False
        self.counters = BatchCounters()

    async def call(self, item: Item) -> Result:
        """Sends ``item`` with the next batch; returns its own result or raises its own exception.

        A caller that is cancelled before its batch leaves takes its item back.
        """
        async with self._room:
            if self._closed:
                raise BatchError("the batcher is closed: nothing more can be sent")
            answer: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
            self._pending.append((item, answer))
            self._start()
            return await answer

    async def aclose(self) -> None:
        """Refuses new calls and returns when those that wait have been answered."""
        self._closed = True
        while self._flushes:
            await asyncio.wait(self._flushes, timeout=self._timeout)

    def _start(self) -> None:
        if self._pending and self._running < self._parallel:
            self._running += 1
            task = asyncio.get_running_loop().create_task(self._run())
            self._flushes.add(task)
            task.add_done_callback(self._flushes.discard)

    async def _run(self) -> None:
        try:
            while self._pending:
                if len(self._pending) < self._max_size:
                    await asyncio.sleep(self._busy if self._last > 1 else self._linger)
                if batch := self._take():
                    await self._send(batch)
        finally:
            self._running -= 1

    def _take(self) -> list[tuple[Item, asyncio.Future[Result]]]:
        batch: list[tuple[Item, asyncio.Future[Result]]] = []
        while self._pending and len(batch) < self._max_size:
            item, answer = self._pending.popleft()
            if not answer.done():
                batch.append((item, answer))
        return batch

    async def _send(self, batch: list[tuple[Item, asyncio.Future[Result]]]) -> None:
        self._last = len(batch)
        self.counters.items += len(batch)
        self.counters.batches += 1
        results: Sequence[Result | Exception]
        try:
            async with asyncio.timeout(self._timeout):
                results = await self._flush([item for item, _ in batch])
            _require_all(results, batch)
        except Exception as error:  # noqa: BLE001 - it belongs to the callers, who all get it
            self.counters.failed += 1
            results = [error] * len(batch)
        except asyncio.CancelledError as error:
            if is_cancelled():
                for _, answer in batch:
                    answer.cancel()
                raise
            self.counters.failed += 1
            failure = BatchError("the flush was cancelled from within")
            failure.__cause__ = error
            results = [failure] * len(batch)
        for (_, answer), result in zip(batch, results, strict=True):
            if answer.done():
                continue
            if isinstance(result, StopIteration):  # no future takes one
                answer.set_exception(BatchError("the flush answered with a StopIteration"))
            elif isinstance(result, Exception):
                answer.set_exception(result)
            else:
                answer.set_result(result)


def _require_all(results: Sequence[object], batch: Sequence[object]) -> None:
    if len(results) != len(batch):
        raise BatchError(f"the flush answered {len(results)} of {len(batch)} items")
