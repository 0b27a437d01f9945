"""The engine's root: four sources of wake-ups merged into one flow, and the handlers that subscribe to it.

Document changes, chain heads, due timers and a slow sweep end in the dispatcher. Observables have no back-pressure:
the feed is paced, scans and sweeps wait for room, and everything else is bounded by the number of open keys.
"""

import asyncio
import random
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from dataclasses import dataclass
from functools import partial

import reactivex
from loguru import logger
from reactivex import Observable
from reactivex import operators as ops
from reactivex.subject import Subject

from reactor.engine.clock import Clock
from reactor.engine.dispatcher import Dispatcher, Handler
from reactor.engine.feed import Change, ChangeFeed, ScanReason
from reactor.engine.heads import HeadSource
from reactor.engine.keys import Cause, Head, Key, WakeUp
from reactor.engine.loops import Loops
from reactor.engine.tasks import run_until, within

OpenIds = Callable[[], AsyncIterator[Hashable]]


@dataclass(frozen=True, slots=True)
class SweepOptions:
    """Times in seconds. A sweep comes ``every`` so often, give or take the share ``jitter``; the next row of open
    documents must come within ``row_timeout``."""

    every: float = 30.0
    jitter: float = 0.2
    row_timeout: float = 30.0


@dataclass(slots=True)
class SweepCounters:
    """``rung``: keys that scans and sweeps have rung. ``failures``: parts of a sweep that failed, until the next."""

    sweeps: int = 0
    rung: int = 0
    failures: int = 0


class Reactor:
    """Merges the sources and runs them. Handlers subscribe by collection, before ``run``."""

    def __init__(
        self,
        feed: ChangeFeed,
        heads: HeadSource,
        dispatcher: Dispatcher,
        clock: Clock,
        *,
        sweep: SweepOptions | None = None,
        rng: random.Random | None = None,
        loops: Loops | None = None,
    ) -> None:
        """``loops``: those of the whole process."""
        self.feed = feed
        self.heads = heads
        self.dispatcher = dispatcher
        self.counters = SweepCounters()
        self._clock = clock
        self._sweep = sweep or SweepOptions()
        self._rng = rng or random.Random()  # noqa: S311 - jitter, no secret
        self._loops = loops or Loops(clock, rng=rng)
        self._open: dict[str, OpenIds] = {}
        self._subscribed: list[str] = []
        self._rung: Subject[WakeUp] = Subject()
        self._fault: Exception | None = None
        self._faulty = asyncio.Event()

    def subscribe(
        self, collection: str, handler: Handler, open_ids: OpenIds | None = None, *, timeout: float | None = None
    ) -> None:
        """Handles each document of ``collection`` that is woken with ``handler(id, cause)``.

        ``open_ids()`` iterates over the ids that this process still has work on: the scan at the start and after a
        loss of history, and the sweep. ``timeout``: seconds for one handling.
        """
        if collection not in self.feed.collections:
            raise ValueError(f"collection {collection!r} is not in the feed: add it to the feed's collections")
        self.dispatcher.on(collection, handler, timeout=timeout)
        self._subscribed.append(collection)
        if open_ids is not None:
            self._open[collection] = open_ids

    def ring(self, collection: str, id: Hashable, cause: Cause = Cause.CHANGE) -> None:  # noqa: A002 - Key's own word
        """Rings one key from inside the process."""
        self._rung.on_next(WakeUp(Key(collection, id), cause))

    async def idle(self) -> None:
        """Returns when nothing is queued or in work."""
        await self.dispatcher.idle()

    # ---------------------------------------------------------------- the flow

    def wakeups(self) -> Observable[WakeUp]:
        """The one flow: changes by collection, heads, due timers, and what scans, sweeps and the process ring."""
        changes = [self.feed.changes(name).pipe(ops.map(_woken)) for name in self._subscribed]
        heads = self.heads.heads.pipe(ops.flat_map(self._reached))
        return reactivex.merge(*changes, heads, self.dispatcher.due, self._rung)

    def _reached(self, head: Head) -> Observable[WakeUp]:
        return reactivex.from_iterable(self.dispatcher.reached(head))

    def _take(self, wakeup: WakeUp) -> None:
        # An exception in an observer would end the flow without a word: it must end the process instead.
        try:
            self.dispatcher.ring(wakeup)
        except Exception as error:  # noqa: BLE001 - handed to run(), which raises it
            self._broke(error)

    def _broke(self, error: Exception) -> None:
        self._fault = self._fault or error
        self._faulty.set()

    async def run(self, stop: asyncio.Event) -> None:
        """Runs until ``stop``; then sources stop, handlings in work finish, the position is saved.

        Raises what breaks in the engine itself; the process must end then.
        """
        subscription = self.wakeups().subscribe(on_next=self._take, on_error=self._broke)
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(self.dispatcher.run(stop))
                group.create_task(self.feed.run(stop, scan=self._scan, pace=self.dispatcher.room))
                group.create_task(self.heads.run(stop))
                group.create_task(run_until(stop, self._sweeps()))
                group.create_task(run_until(stop, self._watch()))
        finally:
            subscription.dispose()
            await self.feed.save_position()  # once more: the last handlings have finished by now

    async def _watch(self) -> None:
        await self._faulty.wait()
        raise RuntimeError("the flow of wake-ups broke") from self._fault

    # ---------------------------------------------------------------- scan and sweep

    async def _scan(self, reason: ScanReason) -> None:
        """All open documents, or an exception: the feed then scans again."""
        logger.info("reading all open documents: {}", reason)
        for name, open_ids in self._open.items():
            await self._ring_all(name, open_ids, Cause.START)

    async def _sweeps(self) -> None:
        await self.feed.live.wait()
        while True:
            spread = self._sweep.jitter
            await self._clock.sleep(self._sweep.every * self._rng.uniform(1 - spread, 1 + spread))
            for name, open_ids in self._open.items():
                await self._guarded(name, partial(self._ring_all, name, open_ids, Cause.SWEEP))
            self.counters.sweeps += 1

    async def _guarded(self, name: str, part: Callable[[], Awaitable[None]]) -> None:
        # The database or a node may be away: the other parts go on, and the next sweep tries this one again.
        if not await self._loops.attempt(f"sweep of {name}", part):
            self.counters.failures += 1

    async def _ring_all(self, collection: str, open_ids: OpenIds, cause: Cause) -> None:
        ids = aiter(open_ids())
        while True:
            async with within(self._sweep.row_timeout):
                found = await anext(ids, _END)
            if found is _END:
                return
            await self.dispatcher.room()
            self.counters.rung += 1
            self._rung.on_next(WakeUp(Key(collection, found), cause))


_END = object()


def _woken(change: Change) -> WakeUp:
    return WakeUp(Key(change.collection, change.id), Cause.CHANGE, change.ticket)
