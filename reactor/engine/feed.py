"""The change feed: one database-level change stream, split by collection into observables.

It carries keys only, so that no document, however large, can end the stream. Order at the start and after each loss
of history: token, scan, live. The token is saved only behind finished work.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, NamedTuple

from bson import ObjectId
from loguru import logger
from pymongo import AsyncMongoClient
from pymongo.asynchronous.change_stream import AsyncChangeStream
from reactivex import Observable
from reactivex.subject import Subject

from reactor.engine.backoff import Backoff
from reactor.engine.clock import Clock, SystemClock
from reactor.engine.faults import StreamFault, StreamInvalidatedError, classify
from reactor.engine.loops import Loops, described, is_cancelled
from reactor.engine.position import EventTicket, PositionTracker, Token, is_token, token_seconds
from reactor.engine.tasks import run_until, within

Client = AsyncMongoClient[dict[str, Any]]
Event = Mapping[str, Any]

DOCUMENT_OPERATIONS = ("insert", "update", "replace", "delete")
COLLECTION_OPERATIONS = ("drop", "rename")
DATABASE_OPERATIONS = ("dropDatabase", "invalidate")


# Who tells of failures, in words for people.
_STREAM = "change stream"
_SCAN = "scan of open documents"
_SAVING = "saving the stream position"
_PROVEN_SECONDS = 60.0  # a stream that has gone on for so long has left the fault before it behind
# So many failures in a row, and each multiple: a driver may have forgotten all servers, or was sent to where nobody is.
_FRESH_CLIENT_AFTER = 4


class ScanReason(StrEnum):
    """Why all open documents are to be looked at."""

    START = "start"
    HISTORY_LOST = "history_lost"
    DROPPED = "dropped"
    FAULT = "fault"


class Change(NamedTuple):
    """A document of ``collection`` was written or deleted. Who handles it takes and finishes the ticket."""

    collection: str
    id: ObjectId
    operation: str
    ticket: EventTicket


class Notice(NamedTuple):
    """A whole collection, or the database, was dropped or renamed."""

    collection: str | None
    operation: str


Scan = Callable[[ScanReason], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class FeedOptions:
    """Times in seconds. ``save_every``: at most so often is a position saved that moved over work; ``idle_save_every``:
    one that moved over nothing of ours. ``poll_timeout`` bounds one read of the stream (which waits ``await_ms`` on the
    server), ``open_timeout`` its opening. ``max_open``: events read but not yet handled, above which reading pauses.
    ``linger``: after so long reading pauses for as long. An idle stream's first event comes at once, and a burst (each signer
    of a document rings everybody) comes in a few batches instead of one by one, which costs both sides far less.
    """

    await_ms: int = 1000
    batch: int = 500
    save_every: float = 0.5
    idle_save_every: float = 10.0
    save_timeout: float = 10.0
    poll_timeout: float = 15.0
    open_timeout: float = 15.0
    max_open: int = 20_000
    linger: float = 0.005
    backoff: Backoff = Backoff(first=0.1, most=2.0)  # noqa: RUF009 - frozen, as this class is


@dataclass(slots=True)
class FeedCounters:
    """``restarts``: streams reopened from the tracked token. ``history_lost``: new tokens after a loss. ``notices``:
    collections dropped or renamed. ``save_failures``, ``scan_failures``: retried by themselves. ``faults``: sessions that ended
    with an error that no server is known to send."""

    events: int = 0
    restarts: int = 0
    history_lost: int = 0
    notices: int = 0
    scans: int = 0
    scan_failures: int = 0
    saves: int = 0
    save_failures: int = 0
    faults: int = 0


def pipeline(collections: Collection[str], quiet: Mapping[str, Any] | None = None) -> list[dict[str, Any]]:
    """Keys of our collections, object ids only; no content, ever. Events that match `quiet` are left out."""
    ours = {"$in": sorted(collections)}
    documents: dict[str, Any] = {
        "operationType": {"$in": list(DOCUMENT_OPERATIONS)},
        "ns.coll": ours,
        "documentKey._id": {"$type": "objectId"},
    }
    if quiet:
        documents["$nor"] = [dict(quiet)]
    whole = {"operationType": {"$in": list(COLLECTION_OPERATIONS)}, "$or": [{"ns.coll": ours}, {"to.coll": ours}]}
    database = {"operationType": {"$in": list(DATABASE_OPERATIONS)}}
    return [
        {"$match": {"$or": [documents, whole, database]}},
        {"$project": {"_id": 1, "ns": 1, "documentKey": 1, "operationType": 1}},
    ]


class ChangeFeed:
    """Changes of ``collections`` in ``database``, as observables; ``client_factory`` makes its own clients,
    one at a time: another takes the place of one that fails again and again.

    ``quiet``: a match for the change events of writes that give nobody anything to do. The server drops them: each event that is
    delivered costs both sides more than the write that it tells of.
    """

    def __init__(
        self,
        client_factory: Callable[[], Client],
        database: str,
        collections: Collection[str],
        *,
        load_token: Callable[[], Awaitable[Token | None]],
        save_token: Callable[[Token], Awaitable[None]],
        quiet: Mapping[str, Any] | None = None,
        clock: Clock | None = None,
        options: FeedOptions | None = None,
        rng: random.Random | None = None,
        loops: Loops | None = None,
    ) -> None:
        """``loops``: those of the whole process."""
        self._client_factory = client_factory
        self._client: Client
        self._database = database
        self._subjects: dict[str, Subject[Change]] = {name: Subject() for name in collections}
        self._notices: Subject[Notice] = Subject()
        self._load_token = load_token
        self._save_token = save_token
        self._quiet = quiet
        self._clock = clock or SystemClock()
        self._options = options or FeedOptions()
        self._rng = rng or random.Random()  # noqa: S311 - jitter, no secret
        self._loops = loops or Loops(self._clock, rng=self._rng)
        self._tracker = PositionTracker(self._options.max_open)
        self._scan_due: ScanReason | None = ScanReason.START
        self._failures = 0
        self._faults = 0
        self._saved: Token | None = None
        self._saved_at = 0.0
        self._saved_finished = 0
        self._answered_at: float | None = None
        self.counters = FeedCounters()
        self.live = asyncio.Event()

    @property
    def collections(self) -> frozenset[str]:
        """The collections that are watched."""
        return frozenset(self._subjects)

    def changes(self, collection: str) -> Observable[Change]:
        """The changes of one collection. Subscribers must be quick and must not raise."""
        return self._subjects[collection]

    @property
    def notices(self) -> Observable[Notice]:
        """Dropped and renamed collections, for alarms; the feed itself rescans."""
        return self._notices

    @property
    def in_flight(self) -> int:
        """Events read whose work is not finished."""
        return self._tracker.in_flight

    @property
    def position(self) -> Token | None:
        """The newest token behind which all work is finished."""
        return self._tracker.safe

    @property
    def newest(self) -> Token | None:
        """The newest token read; on an idle stream it moves too, with the cluster's own no-ops."""
        return self._tracker.newest

    def position_age(self) -> float | None:
        """Seconds between the position and now, to be compared with the oplog's window; ``None`` before the first."""
        seconds = token_seconds(self._tracker.safe)
        return None if seconds is None else max(0.0, self._clock.now().timestamp() - seconds)

    def answer_age(self) -> float | None:
        """Seconds since the server answered on the stream, with events or without; ``None`` before the stream was live."""
        return None if self._answered_at is None else self._clock.monotonic() - self._answered_at

    # ---------------------------------------------------------------- running

    async def run(self, stop: asyncio.Event, *, scan: Scan, pace: Callable[[], Awaitable[None]] | None = None) -> None:
        """Follows the stream until ``stop``.

        ``scan`` looks at all open documents; it is called once a token is held and before the first event. ``pace``
        is awaited after each event: the back-pressure that observables do not have.
        """
        self._tracker.reset(await self._load())
        self._saved = self._tracker.safe
        self._client = self._client_factory()
        try:
            async with asyncio.TaskGroup() as group:
                group.create_task(run_until(stop, self._follow(scan, pace)))
                group.create_task(run_until(stop, self._keep_saving()))
        finally:
            self.live.clear()
            await self.save_position()
            await self._client.close()

    async def _load(self) -> Token | None:
        """The saved token, or none: it only saves work, so one that cannot be read costs a scan and never the start."""
        try:
            async with within(self._options.save_timeout):
                token = await self._load_token()
        except Exception as error:  # noqa: BLE001 - whatever lies there, nothing is lost by reading all open documents
            logger.error("the saved stream position cannot be read, all open documents are read again: {}", described(error))
            return None
        if token is not None and not is_token(token):
            logger.error("the saved stream position is not a resume token, all open documents are read again")
            return None
        return token

    async def _follow(self, scan: Scan, pace: Callable[[], Awaitable[None]] | None) -> None:
        while True:
            began = self._clock.monotonic()
            try:
                if self._failures and self._failures % _FRESH_CLIENT_AFTER == 0:
                    await self._renew_client()
                await self._session(self._client, scan, pace)
            except asyncio.CancelledError:
                if is_cancelled():
                    raise
                self._ended(began, TimeoutError("the driver cancelled the session from within"))
            except Exception as error:  # noqa: BLE001 - classified: what the server sends never ends this loop
                self._ended(began, error)
            self.live.clear()
            await self._clock.sleep(self._options.backoff.pause(max(1, self._failures, self._faults), self._rng))

    async def _renew_client(self) -> None:
        """Ask the addresses of the configuration again. Where no client can be made, the one before stays.

        What goes wrong here says nothing of what was read: no position is given up for it.
        """
        try:
            before, self._client = self._client, self._client_factory()
            await before.close()
        except Exception as error:  # noqa: BLE001 - a file that the URI names may be away, a farewell may go wrong
            self._failures += 1
            self._loops.failed(_STREAM, error)

    def _ended(self, began: float, error: Exception) -> None:
        self._failures += 1
        if self._clock.monotonic() - began > _PROVEN_SECONDS:
            self._faults = 0
        self._broken(error)
        self._loops.failed(_STREAM, error)

    def _broken(self, error: Exception) -> None:
        fault = classify(error, self._failures)
        if fault is StreamFault.LOST and self._tracker.newest is None:
            fault = StreamFault.AGAIN  # said already: it is the new stream that does not open yet
        match fault:
            case StreamFault.LOST:
                self.counters.history_lost += 1
                self._scan_due = ScanReason.HISTORY_LOST
                self._tracker.reset(None)
                logger.error("change stream history is lost, all open documents are read again: {}", described(error))
            case StreamFault.AGAIN:
                self.counters.restarts += 1
            case StreamFault.OURS:
                # Which event it was is not known, so none is trusted to have been passed on.
                self._faults += 1
                self.counters.faults += 1
                self._scan_due = ScanReason.FAULT
                self._tracker.reset(None)
                if self._faults & (self._faults - 1) == 0:
                    logger.error("change stream failed unexpectedly, all open documents are read again: {}", described(error))

    async def _session(self, client: Client, scan: Scan, pace: Callable[[], Awaitable[None]] | None) -> None:
        async with within(self._options.open_timeout):
            stream = await self._open(client, self._tracker.newest)
        async with stream:
            if self._tracker.newest is None:
                self._tracker.reset(stream.resume_token)
                await self.save_position()  # before the first event there is no other: a crash must not lose it
            if self._scan_due is not None:
                await self._rescan(scan, self._scan_due)
                self._scan_due = None
            self.live.set()
            paused = self._answered_at = self._clock.monotonic()
            while stream.alive:
                async with asyncio.timeout(self._options.poll_timeout):
                    event = await stream.try_next()
                self._failures, self._answered_at = 0, self._clock.monotonic()
                self._loops.succeeded(_STREAM)
                if event is None:
                    self._tracker.passed(stream.resume_token)
                    continue
                self._emit(event)
                if self._scan_due is not None:
                    break
                await self._tracker.room()
                if pace is not None:
                    await pace()
                if self._clock.monotonic() - paused >= self._options.linger:
                    await self._clock.sleep(self._options.linger)
                    paused = self._clock.monotonic()
        if self._scan_due is None:
            raise StreamInvalidatedError("the server closed the change stream")

    async def _open(self, client: Client, token: Token | None) -> AsyncChangeStream[dict[str, Any]]:
        # start_after, never resume_after: it takes every token, that of an invalidated stream too.
        where: dict[str, Any] = {} if token is None else {"start_after": token}
        stages, options = pipeline(self._subjects, self._quiet), self._options
        return await client[self._database].watch(stages, max_await_time_ms=options.await_ms, batch_size=options.batch, **where)

    def _emit(self, event: Event) -> None:
        ticket = self._tracker.saw(event["_id"])
        operation = event["operationType"]
        name = event.get("ns", {}).get("coll")
        subject = self._subjects.get(name)
        if operation not in DOCUMENT_OPERATIONS:
            self._noticed(Notice(name, operation))
        elif subject is not None:
            self.counters.events += 1
            subject.on_next(Change(name, event["documentKey"]["_id"], operation, ticket))
        if not ticket.taken:
            ticket.finish()

    def _noticed(self, notice: Notice) -> None:
        self.counters.notices += 1
        self._scan_due = ScanReason.DROPPED
        logger.error("{}: {} in the watched database; all open documents are read again", *reversed(notice))
        self._notices.on_next(notice)

    async def _rescan(self, scan: Scan, reason: ScanReason) -> None:
        """Scans until it succeeds: to go live without it would lose what happened before the token."""
        tries = 0
        while not await self._loops.attempt(_SCAN, lambda: scan(reason)):
            tries += 1
            self.counters.scan_failures += 1
            await self._clock.sleep(self._options.backoff.pause(tries, self._rng))
        self.counters.scans += 1

    # ---------------------------------------------------------------- position

    async def _keep_saving(self) -> None:
        while True:
            await self._clock.sleep(self._options.save_every)
            idle = self._tracker.finished == self._saved_finished
            if not idle or self._clock.monotonic() - self._saved_at >= self._options.idle_save_every:
                await self.save_position()

    async def save_position(self) -> None:
        """Saves the position if it moved. A failure costs a longer catch-up, so it is logged, counted and retried."""
        token, finished = self._tracker.safe, self._tracker.finished
        if token is None or token == self._saved:
            return
        self._saved_at = self._clock.monotonic()

        async def save() -> None:
            await self._save_token(token)

        # A full disk must not stop documents from moving.
        if await self._loops.attempt(_SAVING, save, within=self._options.save_timeout, level="ERROR"):
            self.counters.saves += 1
            self._saved, self._saved_finished = token, finished
        else:
            self.counters.save_failures += 1
