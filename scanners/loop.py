"""The skeleton of every scanner: who understands one chain's, understands all.

On each new head the blocks from the cursor on are read in windows. The cursor rests at the last final block, so everything above
it is read again on each head: that is how a reorganisation is noticed. A window goes into the ledger in one transaction, and only
then are documents inserted and doorbells rung.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import datetime
from enum import Enum, auto
from time import monotonic
from typing import Any, Final, Protocol

from loguru import logger
from pymongo.errors import PyMongoError

from reactor.documents.bridge import Bridge
from reactor.documents.build import burn_document, deposit_document, minted_document, returned_document
from reactor.documents.events import BlockRef, Burn, Deposit, Event, Minted, Returned
from reactor.documents.keys import event_key
from reactor.documents.reasons import HoldReason
from reactor.documents.statuses import Collection
from reactor.health import SIGNING_HELD, STREAM
from reactor.outages import Outages
from reactor.sentences import counted, sentence
from reactor.state.holds import SIGNING
from reactor.state.journal import Journal
from reactor.state.ledger import Ledger
from reactor.state.problems import FinalityViolated
from reactor.state.rows import EventKind
from reactor.state.windows import WindowResult
from reactor.state.wishes import Rescan

PROGRESS_BLOCKS: Final = 1000
"""How many blocks of catching up pass between two lines of progress in the log."""

RESCAN_WINDOWS: Final = 10
"""How many windows are read again for an operator between two looks at the head."""

Insert = Callable[[Collection, Sequence[Mapping[str, Any]]], Awaitable[object]]
Clock = Callable[[], datetime]


@dataclass(frozen=True, slots=True)
class View:
    """A chain's heights as one node shows them: its newest block and its newest final one."""

    head: int
    final: int


@dataclass(frozen=True, slots=True)
class Reading:
    """What one window showed: the events by kind, up to `last` (which may lie below what was asked for).

    `rest`: the header of the block at which the cursor will rest, min(final, last); None where nothing is final yet.
    `endpoint`: who answered; `before`: of a second reading, who did the first time, where that is known. `sends_only`: it cannot
    show transactions of another kind.
    """

    last: int
    events: Mapping[EventKind, Sequence[Event]]
    rest: BlockRef | None
    endpoint: str = ""
    before: str = ""
    sends_only: bool = False


@dataclass(frozen=True, slots=True)
class Scanned:
    """How far a chain was read, for whoever asks after this validator's health.

    `at`: when the last look began that read it to the head which its node showed then, in seconds of the monotonic clock; None:
    none yet in this process. `head`: that head, `final`: the newest final block then. `failure`: why the last try did not get
    there; empty where it did. `cause`: what it waits for then, where that is not the chain, in the words of `reactor.health`.
    """

    at: float | None = None
    head: int = 0
    failure: str = ""
    final: int = 0
    cause: str = ""


class Recorded(Enum):
    """What the ledger took of a window: all of it; not the kinds that violate finality, and signing is held for that, or a
    person has released it."""

    WHOLE = auto()
    HELD = auto()
    RELEASED = auto()


class Watched(Protocol):
    """One chain, as the loop needs it. Raises the chain package's errors."""

    @property
    def name(self) -> str:
        """The chain's name."""
        ...

    @property
    def kinds(self) -> tuple[EventKind, ...]:
        """What is watched on it."""
        ...

    @property
    def start(self) -> int:
        """The bridge's first block on it."""
        ...

    async def view(self) -> View:
        """The newest heights, from one node."""
        ...

    async def read(self, first: int, last: int, final: int) -> Reading:
        """The events of the blocks `first` to at most `last`, from one node that shows the last of them."""
        ...

    async def hash_at(self, height: int) -> str | None:
        """The hash of the block at this height, asked of the node now; None while it cannot show one."""
        ...

    def forget(self) -> None:
        """Ask anew for the headers of all blocks, however final they were."""
        ...

    async def locate(self, tx_hash: str) -> int | None:
        """The block in which the own nodes show this transaction; None where none does."""
        ...


class ChainScanner:
    """Reads one chain into the ledger and the collections. `ring` is told what changed in the ledger."""

    def __init__(
        self,
        watched: Watched,
        bridge: Bridge,
        ledger: Ledger,
        journal: Journal,
        insert: Insert,
        ring: Callable[[WindowResult], None],
        now: Clock,
        *,
        interval: float,
        observe: bool = False,
        outages: Outages | None = None,
        answered: Callable[[], None] = lambda: None,
        tell_stops: Callable[[], None] = lambda: None,
    ) -> None:
        """`outages`: where failures are told. `answered` is called whenever the chain could be read, `tell_stops`
        when something was held."""
        self._watched = watched
        self.bridge = bridge
        self._ledger = ledger
        self._journal = journal
        self._insert = insert
        self._ring = ring
        self._now = now
        self._interval = interval
        self._observe = observe
        self._outages = outages or Outages()
        self._answered = answered
        self._tell_stops = tell_stops
        self._told = ""
        self._inserting = f"inserting events of {watched.name}"
        self._rereading = f"reading blocks of {watched.name} again"
        self._newest: View | None = None
        self._standing = ""
        """Why the cursor of a kind stands still though the chain is read, empty while none does."""
        self._put_off: set[int] = set()
        """Numbers of the requests to read blocks again that wait for a release."""
        self._scanned = Scanned()
        self._inserts = 0
        """Insertions that have not ended yet: of a look, and of a second reading beside it."""

    @property
    def scanned(self) -> Scanned:
        """How the last look at the chain went. One that waits for the database to take what it found says so while it does."""
        if self._inserts and not self._scanned.failure:
            return replace(self._scanned, failure="the database has not taken the events yet that were found", cause=STREAM)
        return self._scanned

    async def heads(self) -> AsyncIterator[int]:
        """Each new head, announced after the chain has been read as far as the node shows it: who waits for it finds its events.

        Where the node cannot show the head itself yet, it is read again after the interval. Raises what the chain's client does;
        whoever follows then asks anew.
        """
        while True:
            began = monotonic()
            view = await self._looked_at()
            self._tell_if_below(view)
            if view != self._newest:
                complete = await self._scanned_to(view)
                self._newest = view if complete else None
                yield view.head
            if self._newest is not None:
                self._looked(began, view)
                await self._rescan_quietly(view)
                self._answered()
            await asyncio.sleep(self._interval)

    def _looked(self, began: float, view: View) -> None:
        if self._standing:
            self._note(self._standing)
        else:
            self._scanned = Scanned(began, view.head, final=view.final)

    async def _looked_at(self) -> View:
        with self._noting():
            return await self._watched.view()

    async def _scanned_to(self, view: View) -> bool:
        with self._noting():
            return await self.scan(view)

    @contextmanager
    def _noting(self) -> Iterator[None]:
        """Keep why a look failed."""
        try:
            yield
        except Exception as error:
            self._note(sentence(error))
            raise

    def _note(self, failure: str, cause: str = "") -> None:
        self._scanned = replace(self._scanned, failure=failure, cause=cause)

    async def _rescan_quietly(self, view: View) -> None:
        """What goes wrong with blocks that an operator wants read again keeps no head waiting: they are tried again later."""
        try:
            await self.rescan(view)
        except Exception as error:  # noqa: BLE001 - whatever a node answers ends this call, not the scanning
            self._outages.failed(self._rereading, error)
        else:
            self._outages.worked(self._rereading)

    def _tell_if_below(self, view: View) -> None:
        """A node that was restarted empty answers everything well; nothing is found on it, and nothing said why."""
        name = f"the {self._watched.name.capitalize()} node"
        read = self._first() - 1
        if view.head < read:
            what = (
                f"the head {view.head} is below block {read} that was read already: the node was reset or follows another chain"
            )
            self._outages.failed(name, what, level="ERROR")
        else:
            self._outages.worked(name)

    async def scan(self, view: View) -> bool:
        """Read from the cursor to the head; False if the node cannot show the head yet (then it is read again soon).

        A final event that changed stops signing, not scanning; a final block that was replaced stops both until released.
        """
        at_first = self._ledger.rewinds
        if not await self._may_go_on():
            return False
        first = self._first()
        began = first
        before: Mapping[EventKind, Sequence[Event]] = {}
        while first <= view.head:
            rewinds = self._ledger.rewinds
            reading = await self._watched.read(first, view.head, view.final)
            # SECURITY: of blocks that were replaced meanwhile the cursor would go over to the other chain, and nobody would know.
            if not await self._may_go_on(after=True):
                return False
            if self._ledger.rewinds > at_first + 1:
                self._note("taken anew a second time since this look began: its node shows two chains by turns")
                return False
            if self._ledger.rewinds != rewinds:
                first, before = self._first(), {}
                continue
            if reading.last < first:
                self._note(f"the node shows block {view.head} as its head, but nothing from {first} on yet")
                return False
            # A node that allows few blocks at once shows those above the last final one in several windows: the ledger, which
            # knows no gaps, is given all of them as one.
            above = min(first, self._first())
            before = {kind: [one for one in events if one.height >= above] for kind, events in before.items()}
            before = {kind: [*before.get(kind, ()), *reading.events[kind]] for kind in self._watched.kinds}
            self._tell_if_standing(await self.record(above, replace(reading, events=before), view.final))
            first = reading.last + 1
            if first - began >= PROGRESS_BLOCKS and first <= view.head:
                logger.info("{}: read up to {} of {}", self._watched.name, reading.last, view.head)
                began = first
        return True

    def _tell_if_standing(self, recorded: Recorded) -> None:
        """While it is held, that says enough; once a person has released it, nothing else says that a cursor stands still."""
        released = recorded is Recorded.RELEASED
        self._standing = (
            f"nothing after block {self._first() - 1} counts: {self._told} (released, and shown again)" if released else ""
        )

    async def rescan(self, view: View) -> None:
        """Read again what an operator asked for, some windows at a time, so that new heads are not kept waiting.

        Only what was read before: the cursors stay where they are, for nonces rest on them. What is not in the database any more
        is inserted again. Blocks that show otherwise what was final are put off until the hold for that is released.
        """
        if self._put_off and not any(one.reason == HoldReason.DEEP_REORG for one in self._journal.holds()):
            self._put_off.clear()
        for _ in range(RESCAN_WINDOWS):
            wish = self._ledger.next_rescan(self._watched.name, self._put_off)
            last = min(wish.last, self._first() - 1) if wish else 0
            if wish is None or last < wish.next:
                return
            self._watched.forget()
            reading = await self._watched.read(wish.next, last, view.final)
            if reading.last < wish.next:
                return
            reading, _ = await self.completed(wish.next, reading)
            await self._take_in_again(wish, reading, view)

    async def _take_in_again(self, wish: Rescan, reading: Reading, view: View) -> None:
        recorded = await self.record(wish.next, reading, view.final)
        blocks = f"{self._watched.name}: blocks {wish.next} to {reading.last}"
        if recorded is Recorded.HELD:
            # SECURITY: of a kind that violates finality nothing was recorded; what it shows beside that must not be lost.
            self._put_off.add(self._ledger.put_off(wish, reading.last))
            logger.error("{} show otherwise what was final: they are read again once that is released", blocks)
            return
        if recorded is Recorded.RELEASED:
            logger.warning(
                "{} still show otherwise what was final, which a person has released: events of that kind stay as they were",
                blocks,
            )
        # Of what the ledger holds of these blocks, and of nothing that it refused.
        for kind in self._watched.kinds:
            await self._insert_missing([seen.event for seen in self._ledger.events_between(kind, wish.next, reading.last)])
        self._ledger.rescanned(wish, reading.last)
        found = sum(len(events) for events in reading.events.values())
        logger.info("{} read again, {}", blocks, counted(found, "event"))

    def _first(self) -> int:
        cursors = [self._ledger.cursor(kind) for kind in self._watched.kinds]
        return min(self._watched.start if cursor is None else cursor.height + 1 for cursor in cursors)

    async def completed(self, first: int, reading: Reading) -> tuple[Reading, list[tuple[EventKind, Event]]]:
        """A reading of blocks that were read before, with what it lacks of the ledger's final events though the chain holds it.

        SECURITY: what is lacking counts as a deep reorganisation, unless an own node still shows its transaction in its block:
        one incomplete list must not stop signing. An event that differs is not put right here.
        """
        events: dict[EventKind, Sequence[Event]] = {}
        added: list[tuple[EventKind, Event]] = []
        for kind in self._watched.kinds:
            shown = {event_key(self.bridge, event) for event in reading.events[kind]}
            known = self._ledger.events_between(kind, first, reading.last)
            lacking = [seen.event for seen in known if seen.final and seen.key not in shown]
            there = [event for event in lacking if await self._watched.locate(event.tx_hash) == event.height]
            events[kind] = [*reading.events[kind], *there]
            added += [(kind, event) for event in there]
        return replace(reading, events=events), added

    async def record(self, first: int, reading: Reading, final: int) -> Recorded:
        """Bring the ledger to what a window shows, insert what is new and ring for it. What violates finality stops signing."""
        results, recorded = [], Recorded.WHOLE
        # All kinds before anything is awaited: nothing may come between them that takes the chain anew.
        for kind in self._watched.kinds:
            events = reading.events[kind]
            try:
                results.append(self._ledger.record_window(kind, first, reading.last, events, final, reading.rest))
            except FinalityViolated as violated:
                held = self._hold(violated.what, f"the final {type(violated.known).__name__.lower()} ")
                recorded = Recorded.HELD if held or recorded is Recorded.HELD else Recorded.RELEASED
        for result in results:
            await self._publish(result)
        return recorded

    async def _may_go_on(self, *, after: bool = False) -> bool:
        """Whether the chain still holds the blocks at which the cursors rest; else why not is noted.

        `after`: blocks were read meanwhile. A node that cannot show the cursor's block proves nothing: what it read is read anew.
        """
        why, cause = await self._obstacle(after=after)
        if why:
            self._note(why, cause)
        return not why

    async def _obstacle(self, *, after: bool) -> tuple[str, str]:
        """Why this chain is not the one that was read so far, where its operator has not accepted that; empty if it is. With it,
        what it stands for where that is not its node (`Scanned.cause`).

        SECURITY: a reorganisation deeper than finality replaces the cursors' blocks, whether it holds events of ours or not.
        """
        cursors = {one for kind in self._watched.kinds if (one := self._ledger.cursor(kind)) is not None}
        for cursor in sorted(cursors, key=lambda one: one.height):
            if cursor.hash is None:
                continue
            shown = await self._watched.hash_at(cursor.height)
            if shown is None and after:
                return f"the node does not show block {cursor.height} any more, up to which everything was read", ""
            if shown is None or shown == cursor.hash:
                continue
            begins = f"{self._watched.name} block "
            if self._hold(f"{begins}{cursor.height} was final as {cursor.hash} and is {shown} now", begins):
                return f"stopped until released: {self._told}", SIGNING_HELD
            await self._accept(cursor.height)
            return await self._obstacle(after=after)
        return "", ""

    async def _accept(self, height: int) -> None:
        """Take the chain as it is now: what was read above the last block that both know is read anew."""
        while (seen := self._ledger.newest_below(self._watched.kinds, height)) is not None:
            block = seen.event.block
            if await self._watched.hash_at(block.height) == block.hash:
                break
            height = block.height
        fork = seen.event.block if seen else None
        logger.warning(
            "{}: released; read anew from block {}", self._watched.name, fork.height + 1 if fork else self._watched.start
        )
        self._ledger.rewind(self._watched.kinds, fork)
        self._watched.forget()

    def _hold(self, what: str, begins: str) -> bool:
        """SECURITY: a reorganisation below finality, or a node that lies: what was signed may not hold, so nothing more is.

        Whether it is held: a person may have released it already. `begins`: of what begins so there is one hold at a time, for a
        node that says something else each time would fill the journal.
        """
        what = what[:500]
        number = self._journal.hold(SIGNING, HoldReason.DEEP_REORG.value, what, "validator", subject=what, instead_of=begins)
        self._tell_stops()
        self._told = what
        return any(one.id == number for one in self._journal.holds())

    async def _publish(self, result: WindowResult) -> None:
        await self._insert_missing((*result.new, *result.changed))
        self._ring(result)

    async def _insert_missing(self, events: Sequence[Event]) -> None:
        documents: dict[Collection, list[Mapping[str, Any]]] = {}
        for event in events:
            collection, document = document_of(self.bridge, event, self._ledger.created_at(event), self._now())
            documents.setdefault(collection, []).append(document)
        if not self._observe:
            for collection, rows in documents.items():
                await self._insert_all(collection, rows)

    async def _insert_all(self, collection: Collection, rows: Sequence[Mapping[str, Any]]) -> None:
        self._inserts += 1
        try:
            await self._insert(collection, rows)
        except PyMongoError as error:
            # The ledger has them: the sweep inserts what is missing once Mongo answers again.
            self._outages.failed(self._inserting, error)
        else:
            self._outages.worked(self._inserting)
        finally:
            self._inserts -= 1


def document_of(bridge: Bridge, event: Event, created_at: datetime, now: datetime) -> tuple[Collection, Mapping[str, Any]]:
    """The collection and the fresh document of an event."""
    match event:
        case Deposit():
            return deposit_document(bridge, event, created_at, now)
        case Burn():
            return Collection.BURN, burn_document(bridge, event, created_at, now)
        case Minted():
            return Collection.MINTED, minted_document(bridge, event, created_at)
        case Returned():
            return Collection.RETURNED, returned_document(bridge, event, created_at)
