"""The skeleton of every scanner: who understands one chain's, understands all.

On each new head the blocks from the cursor on are read in windows. The cursor rests at the last final block, so everything above
it is read again on each head: that is how a reorganisation is noticed. A window goes into the ledger in one transaction, and only
then are documents inserted and doorbells rung.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Protocol

from loguru import logger
from pymongo.errors import PyMongoError

from reactor.documents.bridge import Bridge
from reactor.documents.build import burn_document, deposit_document, minted_document, returned_document
from reactor.documents.events import BlockRef, Burn, Deposit, Event, Minted, Returned
from reactor.documents.reasons import HoldReason
from reactor.documents.statuses import Collection
from reactor.state.holds import SIGNING
from reactor.state.journal import Journal
from reactor.state.ledger import Ledger
from reactor.state.problems import FinalityViolated
from reactor.state.rows import EventKind
from reactor.state.windows import WindowResult

PROGRESS_BLOCKS: Final = 1000
"""How many blocks of catching up pass between two lines of progress in the log."""

Insert = Callable[[Collection, Sequence[Mapping[str, Any]]], Awaitable[object]]
Clock = Callable[[], Any]


@dataclass(frozen=True, slots=True)
class View:
    """A chain's heights as one node shows them: its newest block and its newest final one."""

    head: int
    final: int


@dataclass(frozen=True, slots=True)
class Reading:
    """What one window showed: the events by kind, up to `last` (which may lie below what was asked for).

    `rest`: the header of the block at which the cursor will rest, min(final, last); None where nothing is final yet.
    """

    last: int
    events: Mapping[EventKind, Sequence[Event]]
    rest: BlockRef | None


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
    ) -> None:
        self._watched = watched
        self._bridge = bridge
        self._ledger = ledger
        self._journal = journal
        self._insert = insert
        self._ring = ring
        self._now = now
        self._interval = interval
        self._observe = observe
        self._newest: View | None = None

    async def heads(self) -> AsyncIterator[int]:
        """Each new head, announced after the chain has been read as far as the node shows it: who waits for it finds its events.

        Where the node cannot show the head itself yet, it is read again after the interval.
        """
        while True:
            view = await self._watched.view()
            if view != self._newest:
                complete = await self.scan(view)
                self._newest = view if complete else None
                yield view.head
            await asyncio.sleep(self._interval)

    async def scan(self, view: View) -> bool:
        """Read from the cursor to the head; False if the node cannot show the head yet (then it is read again soon).

        A final event that changed stops signing, not scanning.
        """
        first = self._first()
        began = first
        while first <= view.head:
            reading = await self._watched.read(first, view.head, view.final)
            if reading.last < first:
                return False
            await self._record(first, reading, view.final)
            first = reading.last + 1
            if first - began >= PROGRESS_BLOCKS and first <= view.head:
                logger.info("{}: read up to {} of {}", self._watched.name, reading.last, view.head)
                began = first
        return True

    def _first(self) -> int:
        cursors = [self._ledger.cursor(kind) for kind in self._watched.kinds]
        return min(self._watched.start if cursor is None else cursor.height + 1 for cursor in cursors)

    async def _record(self, first: int, reading: Reading, final: int) -> None:
        for kind in self._watched.kinds:
            events = reading.events[kind]
            try:
                result = self._ledger.record_window(kind, first, reading.last, events, final, reading.rest)
            except FinalityViolated as violated:
                self._hold(violated)
                continue
            await self._publish(result)

    def _hold(self, violated: FinalityViolated) -> None:
        """SECURITY: a reorganisation below finality, or a node that lies: what was signed may not hold, so nothing more is."""
        logger.error("{}: signing stops until released: {}", self._watched.name, violated)
        self._journal.hold(SIGNING, HoldReason.DEEP_REORG.value, violated.what[:500], "validator", subject=violated.what[:500])

    async def _publish(self, result: WindowResult) -> None:
        documents: dict[Collection, list[Mapping[str, Any]]] = {}
        for event in (*result.new, *result.changed):
            collection, document = document_of(self._bridge, event, self._now())
            documents.setdefault(collection, []).append(document)
        if not self._observe:
            for collection, rows in documents.items():
                await self._insert_all(collection, rows)
        self._ring(result)

    async def _insert_all(self, collection: Collection, rows: Sequence[Mapping[str, Any]]) -> None:
        try:
            await self._insert(collection, rows)
        except PyMongoError as error:
            # The ledger has them: the sweep inserts what is missing once Mongo answers again.
            logger.warning("{} documents of {} wait for the next sweep: {}", len(rows), collection.value, error)


def document_of(bridge: Bridge, event: Event, now: Any) -> tuple[Collection, Mapping[str, Any]]:  # noqa: ANN401 - datetime
    """The collection and the fresh document of an event."""
    match event:
        case Deposit():
            return deposit_document(bridge, event, now)
        case Burn():
            return Collection.BURN, burn_document(bridge, event, now)
        case Minted():
            return Collection.MINTED, minted_document(bridge, event, now)
        case Returned():
            return Collection.RETURNED, returned_document(bridge, event, now)
