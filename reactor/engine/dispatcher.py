"""The coalescing dispatcher: one document is handled by one task at a time, different documents run side by side.

Wake-ups for a key in work collapse into one more handling; what a handling raises is that key's problem. Queued work
is bounded by the number of distinct keys, which ``room`` holds below a limit for those who can wait.

Anyone may put keys into the database by the hundred thousand. Those that the owner calls strange go into a lane of their
own: they are handled after all others and a few at a time, only so many of them are known at once, and nobody waits for
room because of them. One that finds no place is forgotten; a sweep may bring it again.
"""

import asyncio
import random
from collections import OrderedDict, deque
from collections.abc import Awaitable, Callable, Hashable
from dataclasses import dataclass, field
from datetime import datetime

from loguru import logger
from reactivex import Observable
from reactivex import operators as ops

from reactor.engine.backoff import Backoff
from reactor.engine.clock import Clock
from reactor.engine.entries import Entry, State
from reactor.engine.keys import Cause, Done, Head, Key, Outcome, Waiting, WakeUp
from reactor.engine.loops import described, is_cancelled, tellable
from reactor.engine.timers import Timers
from reactor.engine.waits import HeadIndex
from reactor.outages import Outages

Handler = Callable[[Hashable, Cause], Awaitable[Outcome]]
Strange = Callable[[Key], bool]

_YIELD_EVERY = 16  # handlings in a row by one worker after which the event loop gets its turn even if none suspended


@dataclass(frozen=True, slots=True)
class Limits:
    """Bounds of a dispatcher; times in seconds.

    ``concurrency``: handlings at once. ``queued``: distinct keys in the queue above which ``room`` waits.
    ``timeout``: for one handling. ``settle``: delay before a closed key that rings again is read again, so that a
    burst of late appends costs one read. ``remembered``: closed keys for which that holds. ``grace``: how long
    handlings in work may finish when stopped. ``strangers``: strange keys known at once; ``strange_share``: they take
    at most one in so many of the handlings at once.
    """

    concurrency: int = 64
    queued: int = 10_000
    timeout: float = 60.0
    settle: float = 0.25
    remembered: int = 65_536
    grace: float = 3.0
    strangers: int = 2_000
    strange_share: int = 8
    backoff: Backoff = field(default_factory=Backoff)


@dataclass(frozen=True, slots=True)
class WaitingKey:
    """A key that waits: why, since when, and in how many seconds a timer wakes it (``None``: no timer)."""

    key: Key
    outcome: Waiting
    since: datetime
    due_in: float | None


@dataclass(frozen=True, slots=True)
class StuckKey:
    """A key whose handling failed: the last error, the time of the first failure in a row, seconds to the next try."""

    key: Key
    error: str
    failures: int
    since: datetime
    next_try_in: float | None


@dataclass(slots=True)
class Counters:
    """What a dispatcher has done since it was made. ``coalesced``: wake-ups that cost no handling of their own;
    ``turned_away``: of strange keys that found no place; ``unjudged``: questions whether a key is strange that failed."""

    wakeups: int = 0
    coalesced: int = 0
    handled: int = 0
    done: int = 0
    failed: int = 0
    timeouts: int = 0
    turned_away: int = 0
    unjudged: int = 0


@dataclass(frozen=True, slots=True)
class Load:
    """How many keys are where, now; ``strange``: how many of all of them are."""

    queued: int
    working: int
    waiting: int
    stuck: int
    settling: int
    strange: int = 0


def _timer(key: Key) -> WakeUp:
    return WakeUp(key, Cause.TIMER)


class Dispatcher:
    """Runs the handlers of woken keys: serial per key, bounded across keys, first come first served."""

    def __init__(
        self,
        clock: Clock,
        limits: Limits | None = None,
        rng: random.Random | None = None,
        *,
        strange: Strange | None = None,
        expected: tuple[type[Exception], ...] = (),
        outages: Outages | None = None,
    ) -> None:
        """``strange``: whether nothing that this process relies on vouches for a key; cheap, for every new key is asked.
        ``expected``: errors whose own words say it all; they are logged without a traceback. ``outages``: where failures are
        told."""
        self._clock = clock
        self._strange = strange
        self._expected = expected
        self._outages = outages or Outages(clock.monotonic)
        self._limits = limits or Limits()
        self._rng = rng or random.Random()  # noqa: S311 - jitter, no secret
        self._timers = Timers(clock)
        self._heads = HeadIndex()
        self._handlers: dict[str, tuple[Handler, float]] = {}
        self._entries: dict[Key, Entry] = {}
        self._closed: OrderedDict[Key, None] = OrderedDict()
        self._ready: deque[Entry] = deque()
        self._strange_ready: deque[Entry] = deque()
        self._strange_working = 0
        self._strangers = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._workers = 0
        self._working = 0
        self._group: asyncio.TaskGroup | None = None
        self._idle = asyncio.Event()
        self._idle.set()
        self._room = asyncio.Event()
        self._room.set()
        self.counters = Counters()

    # ---------------------------------------------------------------- wiring

    def on(self, collection: str, handler: Handler, *, timeout: float | None = None) -> None:
        """Handles the keys of ``collection`` with ``handler``; ``timeout`` seconds instead of the common limit."""
        if collection in self._handlers:
            raise ValueError(f"collection {collection!r} has a handler already: a document has one owner")
        self._handlers[collection] = (handler, timeout or self._limits.timeout)

    @property
    def due(self) -> Observable[WakeUp]:
        """Wake-ups of keys whose timer (wait, retry or settling) has come; to be fed back into ``ring``."""
        return self._timers.due.pipe(ops.map(_timer))

    def reached(self, head: Head) -> list[WakeUp]:
        """Notes a new head; returns the wake-ups of the keys that waited for it, to be fed back into ``ring``."""
        return [WakeUp(key, Cause.HEAD) for key in self._heads.reached(head)]

    # ---------------------------------------------------------------- wake-ups in

    @property
    def full(self) -> bool:
        """Whether the queue has reached its limit."""
        return not self._room.is_set()

    async def room(self) -> None:
        """Returns when the queue is below its limit. Who can wait, waits here before he rings."""
        await self._room.wait()

    async def submit(self, wakeup: WakeUp) -> None:
        """``ring`` with back-pressure."""
        await self._room.wait()
        self.ring(wakeup)

    def ring(self, wakeup: WakeUp) -> None:
        """Takes a wake-up; never blocks, never fails, and loses none: a handling that begins later follows.

        A key in back-off is the exception that proves it: its retry is that handling.
        """
        key, cause, ticket = wakeup
        self.counters.wakeups += 1
        entry = self._entries.get(key)
        if entry is None:
            entry = self._admitted(key)
            if entry is None:
                self.counters.turned_away += 1
                return
            self._entries[key] = entry
            closed = self._closed.pop(key, False) is None
            entry.take(ticket)
            if closed and cause is Cause.CHANGE:
                self._settle(entry)
            else:
                self._enqueue(entry, cause)
            return
        if entry.state is State.BACKOFF:
            # The ticket stays untaken: the retry covers the change, and a poisoned document must not hold
            # the stream's position back. Nor may its writer make us spin by ringing it.
            if cause is Cause.TIMER:
                self._enqueue(entry, Cause.RETRY)
            else:
                self.counters.coalesced += 1
            return
        entry.take(ticket)
        if cause is Cause.CHANGE:
            self._changed(entry)
        elif entry.state is State.WORKING:
            self.counters.coalesced += 1
            entry.again = entry.again or cause
        elif entry.state is State.READY:
            self.counters.coalesced += 1
        else:
            changed = cause is Cause.TIMER and entry.rings > 0
            self._enqueue(entry, Cause.CHANGE if changed else cause)

    def _admitted(self, key: Key) -> Entry | None:
        entry = Entry(key)
        entry.strange = self._asked_strange(key)
        if entry.strange:
            if self._strangers >= self._limits.strangers:
                return None
            self._strangers += 1
        return entry

    def _is_strange(self, entry: Entry) -> bool:
        """Whether it still is: what was strange at first may be vouched for by now."""
        if entry.strange and not self._asked_strange(entry.key):
            entry.strange = False
            self._strangers -= 1
        return entry.strange

    def _asked_strange(self, key: Key) -> bool:
        """The owner's word; yes where it cannot be had, because its disk is away say: a wake-up must not fail for that."""
        if self._strange is None:
            return False
        try:
            return self._strange(key)
        except Exception as error:  # noqa: BLE001 - the key stays in the bounded lane, and a sweep brings it again
            self.counters.unjudged += 1
            if self.counters.unjudged & (self.counters.unjudged - 1) == 0:
                logger.warning("whether {} {} is strange cannot be told: {}", key.collection, key.id, described(error))
            return True

    def _changed(self, entry: Entry) -> None:
        entry.rings += 1
        if entry.state is State.WAITING:
            if entry.rings >= entry.wake.rings:
                self._enqueue(entry, Cause.CHANGE)
                return
            if entry.rings == 1:
                self._due_within(entry.key, entry.wake.settle)
        self.counters.coalesced += 1

    def _settle(self, entry: Entry) -> None:
        entry.state = State.SETTLING
        entry.rings = max(entry.rings, 1)
        self._due_within(entry.key, self._limits.settle)

    def _due_within(self, key: Key, seconds: float) -> None:
        when = self._clock.monotonic() + seconds
        before = self._timers.time_of(key)
        if before is None or when < before:
            self._timers.set(key, when)

    def _enqueue(self, entry: Entry, cause: Cause) -> None:
        entry.state = State.READY
        entry.cause = cause
        self._timers.drop(entry.key)
        self._heads.drop(entry.key)
        self._idle.clear()
        if self._is_strange(entry):
            self._strange_ready.append(entry)
        else:
            self._ready.append(entry)
            if len(self._ready) >= self._limits.queued:
                self._room.clear()
        self._spawn()

    # ---------------------------------------------------------------- handling

    def _spawn(self) -> None:
        wanted = self._working + len(self._ready) + min(len(self._strange_ready), self._strange_room())
        if self._group is not None and self._workers < min(self._limits.concurrency, wanted):
            self._workers += 1
            task = self._group.create_task(self._work())
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

    def _strange_room(self) -> int:
        return max(1, self._limits.concurrency // self._limits.strange_share) - self._strange_working

    def _next(self) -> Entry | None:
        if self._ready:
            return self._ready.popleft()
        return self._strange_ready.popleft() if self._strange_ready and self._strange_room() > 0 else None

    async def _work(self) -> None:
        try:
            count = 0
            while self._group is not None and (entry := self._next()) is not None:
                await self._handle(entry)
                count += 1
                if count % _YIELD_EVERY == 0:
                    await asyncio.sleep(0)
        finally:
            self._workers -= 1

    async def _handle(self, entry: Entry) -> None:
        self._working += 1
        strange = entry.strange
        self._strange_working += strange
        if len(self._ready) < self._limits.queued:
            self._room.set()
        cause = entry.begin(self._heads.arrivals)
        try:
            try:
                outcome = await self._call(entry.key, cause)
            except Exception as error:  # noqa: BLE001 - whatever a handling raises is that document's problem
                self._failed(entry, error)
            else:
                self._finished(entry, outcome)
            entry.retire()  # not when cancelled: unfinished work stays ahead of the stream's saved position
        finally:
            self._working -= 1
            self._strange_working -= strange
            if not self._working and not self._ready and not self._strange_ready:
                self._idle.set()

    async def _call(self, key: Key, cause: Cause) -> Outcome:
        handler, seconds = self._handlers[key.collection]
        limit = asyncio.timeout(seconds)
        try:
            async with limit:
                outcome = await handler(key.id, cause)
        except TimeoutError as error:
            if not limit.expired():
                raise
            self.counters.timeouts += 1
            raise TimeoutError(f"the handling took longer than {seconds:g} s") from error
        except asyncio.CancelledError as error:
            if is_cancelled():
                raise
            raise RuntimeError("the handler was cancelled from within") from error
        if not isinstance(outcome, Done | Waiting):
            raise TypeError(f"the handler of {key.collection!r} must return Done or Waiting, not {outcome!r}")
        return outcome

    def _finished(self, entry: Entry, outcome: Outcome) -> None:
        self.counters.handled += 1
        if entry.failures:
            self._outages.worked(str(entry.key))
        entry.succeeded(outcome, self._clock.now())
        if isinstance(outcome, Done):
            self.counters.done += 1
            if entry.again:
                self._enqueue(entry, entry.again)
            elif entry.rings:
                self._settle(entry)
            else:
                self._close(entry.key)
            return
        wake = outcome.wake
        if entry.again:
            self._enqueue(entry, entry.again)
        elif entry.rings >= max(1, wake.rings):
            self._enqueue(entry, Cause.CHANGE)
        elif self._heads.arrived_since(entry.head_mark, wake.heads):
            self._enqueue(entry, Cause.HEAD)
        else:
            entry.state = State.WAITING
            if wake.heads:
                self._heads.add(entry.key, wake.heads)
            if wake.after is not None:
                self._due_within(entry.key, wake.after)
            if entry.rings:
                self._due_within(entry.key, wake.settle)

    def _close(self, key: Key) -> None:
        self._strangers -= self._entries.pop(key).strange
        self._closed[key] = None
        if len(self._closed) > self._limits.remembered:
            self._closed.popitem(last=False)

    def _failed(self, entry: Entry, error: Exception) -> None:
        self.counters.failed += 1
        entry.failed(error, self._clock.now())
        pause = self._limits.backoff.pause(entry.failures, self._rng)
        self._due_within(entry.key, pause)
        group = f"{entry.key.collection} documents"
        fields = {"collection": entry.key.collection, "document_id": str(entry.key.id)}
        began = self._outages.failed(str(entry.key), tellable(error), lasting=False, group=group, fields=fields)
        if began and not isinstance(error, self._expected):
            logger.opt(exception=error).error("{}: this should not happen, please report it", str(entry.key))

    # ---------------------------------------------------------------- what people and tests see

    async def idle(self) -> None:
        """Returns when nothing is queued or in work. Work counts from the moment a wake-up is taken."""
        await self._idle.wait()

    def load(self) -> Load:
        """How many keys are where, now."""
        states = [entry.state for entry in self._entries.values()]
        return Load(
            queued=len(self._ready) + len(self._strange_ready),
            working=self._working,
            waiting=states.count(State.WAITING),
            stuck=sum(1 for entry in self._entries.values() if entry.failures),
            settling=states.count(State.SETTLING),
            strange=self._strangers,
        )

    def waiting(self) -> list[WaitingKey]:
        """The keys that wait, longest first."""
        rows = [
            WaitingKey(entry.key, entry.outcome, entry.since, self._in(entry.key))
            for entry in self._entries.values()
            if entry.state is State.WAITING and entry.outcome and entry.since
        ]
        return sorted(rows, key=lambda row: row.since)

    def stuck(self) -> list[StuckKey]:
        """The keys whose last handling failed, longest first."""
        rows = [
            StuckKey(entry.key, entry.error, entry.failures, entry.since, self._in(entry.key))
            for entry in self._entries.values()
            if entry.failures and entry.since
        ]
        return sorted(rows, key=lambda row: row.since)

    def _in(self, key: Key) -> float | None:
        when = self._timers.time_of(key)
        return None if when is None else max(0.0, when - self._clock.monotonic())

    # ---------------------------------------------------------------- running

    async def run(self, stop: asyncio.Event) -> None:
        """Handles what is rung until ``stop``; then lets the handlings in work finish within ``grace`` seconds.

        What cannot finish is cancelled, its tickets unfinished. A fault of the dispatcher itself is raised.
        """
        async with asyncio.TaskGroup() as group:
            self._group = group
            for _ in range(len(self._ready) + len(self._strange_ready)):
                self._spawn()
            try:
                await stop.wait()
            finally:
                self._group = None
            if self._tasks:
                _, late = await asyncio.wait(self._tasks, timeout=self._limits.grace)
                for task in late:
                    task.cancel()
