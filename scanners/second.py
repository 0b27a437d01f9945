"""Every window is read a second time, somewhat later and from another source; and what a document names is looked for at once.

A list that a node gives may lack an event that its chain holds: a list of an address's transactions with a hole, logs from a
backend that was behind. What the second reading finds enters the ledger the same way as ever, and the difference is named. It is
a safety net: no signature waits for it, the cursors stay where they are, and at rest it costs a few calls for many blocks.
"""

import asyncio
from collections import OrderedDict
from collections.abc import Collection, Sequence
from dataclasses import replace
from time import monotonic
from typing import Final, Protocol

from loguru import logger

from reactor.documents.events import Deposit, Event, Returned
from reactor.documents.keys import event_key
from reactor.state.ledger import Ledger
from reactor.state.rows import EventKind
from reactor.state.second import Stretch
from scanners.loop import ChainScanner, Reading, Recorded, Watched

PAUSE_SECONDS: Final = 5.0
"""Between two calls of `read_windows`: each reads one window of what is new, and one of what was read before this was begun."""
SHOWN_SECONDS: Final = 3600.0
"""So long a difference stands among the problems; in the log it stays."""
_MOST_ASKED: Final = 64
"""Blocks that wait to be read again because documents name transactions in them. Who finds no room asks in the next sweep."""
_MOST_SHOWN: Final = 20
_TRIES: Final = 60
"""So often a window is read again in which one endpoint shows what no other does, or what violates finality and a person has
released; then the reading goes on after it."""


class WatchedTwice(Watched, Protocol):
    """One chain, as the second reading needs it. Raises the chain package's errors."""

    @property
    def margin(self) -> int:
        """So many blocks beyond finality a window is read again: what was behind then has caught up."""
        ...

    @property
    def believes_one_of_several(self) -> bool:
        """Whether there are several endpoints, and the word of one is enough for what is read of the chain."""
        ...

    @property
    def batch(self) -> int:
        """So many blocks are gathered before they are read again."""
        ...

    async def shown_by(self, event: Event, apart_from: str) -> str | None:
        """The name of an endpoint whose answer to its transaction's hash shows exactly this event; None where none does.

        The endpoint named `apart_from` is asked after all the others.
        """
        ...

    async def read_again(self, first: int, last: int, final: int, naming: Sequence[str] = ()) -> Reading:
        """As `read`, from another source than the first time where there is one.

        `naming`: transactions in these blocks that must not be missed if the own nodes show them at all.
        """
        ...


class SecondReader:
    """Reads one chain a second time. Its methods raise what the chain's client does; they are called again later then."""

    def __init__(self, watched: WatchedTwice, scanner: ChainScanner, ledger: Ledger) -> None:
        self._watched = watched
        self._scanner = scanner
        self._ledger = ledger
        self._asked: OrderedDict[int, set[str]] = OrderedDict()
        self.rung = asyncio.Event()
        """Set where a document names something: `read_asked` has work."""
        self._differences: OrderedDict[str, float] = OrderedDict()
        self._tries: dict[int, tuple[Stretch, int]] = {}
        """How often in a row a stretch could not go on, by its id: one does not wait for the other."""

    @property
    def problems(self) -> list[str]:
        """The differences of the last hour, for the heartbeat: each names the endpoint and the transaction."""
        now = monotonic()
        return [what for what, at in self._differences.items() if now - at < SHOWN_SECONDS]

    def look(self, tx_hash: str, height: int) -> None:
        """Have a block read again at once in which the own node shows this transaction, and the ledger does not hold it."""
        # Below the bridge's start nothing is an event of it, and the ledger takes no such block.
        if height < self._watched.start or (height not in self._asked and len(self._asked) >= _MOST_ASKED):
            return
        self._asked.setdefault(height, set()).add(tx_hash)
        self.rung.set()

    async def read_asked(self) -> None:
        """The blocks in which documents name transactions, as far as they are final."""
        self.rung.clear()
        reached = self._reached()
        for height, names in list(self._asked.items()):
            if reached is None or height > reached:
                continue
            # Asked for again if it is still missing afterwards.
            self._asked.pop(height)
            rewinds = self._ledger.rewinds
            reading = await self._watched.read_again(height, height, reached, sorted(names))
            if reading.last >= height:
                await self._take_over(height, reading, reached, rewinds, await self._doubtful(height, reading))

    async def read_windows(self) -> None:
        """One window of what is new, and one of the past. The first reading comes first."""
        reached = self._reached()
        if self._scanner.scanned.at is None or reached is None:
            return
        self._ledger.begin_second(self._watched.name, self._watched.start, reached)
        newest, *past = self._ledger.second_stretches(self._watched.name)
        last = reached - self._watched.margin
        if last - newest.next + 1 >= self._watched.batch:
            await self._read(newest, last, reached)
        if past and past[0].last is not None:
            await self._read(past[0], min(past[0].last, reached), reached)

    def _reached(self) -> int | None:
        """Up to where all kinds are read for good."""
        cursors = [self._ledger.cursor(kind) for kind in self._watched.kinds]
        return min((cursor.height for cursor in cursors if cursor is not None), default=None) if all(cursors) else None

    async def _read(self, stretch: Stretch, last: int, reached: int) -> None:
        if last < stretch.next:
            return
        rewinds = self._ledger.rewinds
        reading = await self._watched.read_again(stretch.next, last, reached)
        if reading.last < stretch.next:
            return
        doubtful = await self._doubtful(stretch.next, reading)
        recorded = await self._take_over(stretch.next, reading, reached, rewinds, doubtful)
        # SECURITY: of a kind that violates finality nothing was recorded; what it shows beside that must not be lost.
        if recorded in {None, Recorded.HELD}:
            return
        # Another endpoint may only be away or behind now.
        unsettled = bool(doubtful) or recorded is Recorded.RELEASED
        if unsettled and self._tried(stretch) < _TRIES:
            return
        self._tries.pop(stretch.id, None)
        self._ledger.read_twice(stretch, reading.last)

    def _tried(self, stretch: Stretch) -> int:
        """How often the stretch was read at this place, this time included."""
        before, tries = self._tries.get(stretch.id, (stretch, 0))
        # After a rewind it is another one, under the same id perhaps.
        tries = tries + 1 if before == stretch else 1
        self._tries[stretch.id] = stretch, tries
        return tries

    async def _doubtful(self, first: int, reading: Reading) -> frozenset[str]:
        """Keys of the events that this reading adds to the ledger and that no other endpoint than its own shows.

        SECURITY: the endpoint of the first reading is the preferred one; what another one adds to it could be invented. So two of
        them must show it, as long as the operator does not let more than one agree in everything.
        """
        if not self._watched.believes_one_of_several or reading.endpoint == reading.before:
            return frozenset()
        doubtful = set()
        for kind in self._watched.kinds:
            known = {seen.key for seen in self._ledger.events_between(kind, first, reading.last)}
            for event in reading.events[kind]:
                if (key := event_key(self._scanner.bridge, event)) not in known and not await self._is_shown_elsewhere(
                    event, reading.endpoint
                ):
                    doubtful.add(key)
        return frozenset(doubtful)

    async def _is_shown_elsewhere(self, event: Event, endpoint: str) -> bool:
        return await self._watched.shown_by(event, endpoint) not in {None, endpoint}

    async def _take_over(
        self, first: int, reading: Reading, reached: int, rewinds: int, doubtful: Collection[str] = ()
    ) -> Recorded | None:
        """Record what a second reading shows, by the rules of the first one; None if the chain was taken anew meanwhile.

        `doubtful`: keys of events that are named and not recorded.

        SECURITY: what was read of the old chain must not enter as final on the new one.
        """
        reading = self._without(reading, doubtful)
        whole, unlisted = await self._scanner.completed(first, reading)
        if self._ledger.rewinds != rewinds:
            return None
        for kind in self._watched.kinds:
            known = {seen.key for seen in self._ledger.events_between(kind, first, reading.last)}
            for event in reading.events[kind]:
                if event_key(self._scanner.bridge, event) not in known:
                    self._differ(kind, event, reading.before, f"{reading.endpoint or 'a second reading'} shows it")
        for kind, event in unlisted:
            if not reading.sends_only or _is_send(event):
                self._differ(kind, event, reading.endpoint, "the chain holds it")
        return await self._scanner.record(first, replace(whole, rest=None), reached)

    def _without(self, reading: Reading, doubtful: Collection[str]) -> Reading:
        """The reading without the events of these keys, which are named."""
        events: dict[EventKind, Sequence[Event]] = {}
        for kind, shown in reading.events.items():
            left_out = [event for event in shown if event_key(self._scanner.bridge, event) in doubtful]
            events[kind] = [event for event in shown if event not in left_out]
            for event in left_out:
                who = f"{self._watched.name.capitalize()} endpoint {reading.endpoint}"
                what = f"{who} shows the {kind.value} {event.tx_hash} in block {event.height}, and no other one does"
                self._name(f"{what}: it is not believed")
        return replace(reading, events=events)

    def _differ(self, kind: EventKind, event: Event, endpoint: str, but: str) -> None:
        who = f"{self._watched.name.capitalize()} endpoint {endpoint or '(the first reading)'}"
        self._name(f"{who} did not list the {kind.value} {event.tx_hash} in block {event.height}, but {but}")

    def _name(self, what: str) -> None:
        if what not in self._differences:
            logger.error("{}", what)
        self._differences[what] = monotonic()
        self._differences.move_to_end(what)
        while len(self._differences) > _MOST_SHOWN:
            self._differences.popitem(last=False)


def _is_send(event: Event) -> bool:
    match event:
        case Deposit():
            return event.amount is not None
        case Returned():
            return event.recipient != ""
    return True


class Answered:
    """Which endpoint gave the first reading of which blocks: the second one asks another."""

    _MOST: Final = 4096

    def __init__(self) -> None:
        self._windows: OrderedDict[int, str] = OrderedDict()
        self._latest = ""

    def note(self, last: int, endpoint: str) -> None:
        """The window that ended with block `last` came from this endpoint."""
        self._windows[last] = self._latest = endpoint
        self._windows.move_to_end(last)
        if len(self._windows) > self._MOST:
            self._windows.popitem(last=False)

    def of(self, block: int) -> str:
        """Who gave this block; where that is not known (any more), who answered last."""
        ends = [last for last in self._windows if last >= block]
        return self._windows[min(ends)] if ends else self._latest
