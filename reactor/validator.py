"""The composition root: builds one validator out of its settings and runs it. The only place that knows every part."""

import asyncio
import gc
import socket
import uuid
from collections.abc import AsyncIterator, Hashable, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from time import monotonic
from typing import Any, Final, Self

import bson
from bson import ObjectId
from loguru import logger
from pymongo.errors import PyMongoError

from reactor.adapters import (
    BatchedJournal,
    BatchedRequests,
    Bells,
    ChainHeads,
    EthereumNode,
    PocketNode,
    SameContent,
    WriteRefusedError,
)
from reactor.audits import AuditSender
from reactor.chains.errors import RpcProblem
from reactor.chains.ethereum.client import EthereumChain
from reactor.chains.ethereum.finality import Finality
from reactor.chains.pocket import PocketChain
from reactor.documents.bridge import Bridge
from reactor.documents.statuses import REQUESTS, Collection, Status
from reactor.endpoints import EndpointWatch, SameEvents
from reactor.engine.clock import SystemClock
from reactor.engine.dispatcher import Dispatcher, Limits
from reactor.engine.feed import ChangeFeed
from reactor.engine.heads import HeadSource, heads_of
from reactor.engine.keys import Cause, Key, WakeUp
from reactor.engine.loops import Loops, pausing
from reactor.engine.position import Token, token_seconds
from reactor.engine.reactor import Reactor, SweepOptions
from reactor.engine.supervisor import Stop, Supervisor
from reactor.engine.tasks import run_until
from reactor.exchange import HEARTBEAT, HeartbeatExchange
from reactor.first_line import first_line
from reactor.flows.facts import Quorum
from reactor.handlers.books import Books
from reactor.handlers.claims import Turns
from reactor.handlers.context import Context, Me
from reactor.handlers.display import Label
from reactor.handlers.heartbeat import Health, Hearts, Instance, Pulse
from reactor.handlers.mint import MintHandler
from reactor.handlers.payout import PayoutHandler
from reactor.handlers.peers import Peers
from reactor.handlers.reconcile import Reconciler
from reactor.handlers.refusals import RefusalWatch
from reactor.handlers.stops import LOOK_SECONDS, Stops
from reactor.handling import Handler, handling
from reactor.health import STREAM, Trouble
from reactor.health_log import HealthLog
from reactor.keys.problem import KeyProblem
from reactor.outages import Outages
from reactor.parts import (
    bridge_of,
    ethereum_chain,
    limits_of,
    open_ethereum_key,
    open_pocket_key,
    open_store,
    pocket_chain,
    software_version,
)
from reactor.settings import Settings
from reactor.state.free import BUSY_SECONDS, when_free
from reactor.state.journal import Journal
from reactor.state.ledger import Ledger
from reactor.state.lock import ProcessLock
from reactor.state.problems import SecondProcess, StateProblem
from reactor.state.rows import EventKind
from reactor.state.runs import note_run
from reactor.store.insert import insert_missing
from reactor.store.oplog import OplogWatch
from reactor.store.problem import StoreProblem
from reactor.store.reading import EVERY, open_ids, open_page
from reactor.store.updates import QUIET
from reactor.store.watch import SchemaWatch
from reactor.subjects import subject_of
from reactor.twice import read_twice
from reactor.vitals import PROBE_SECONDS, Vitals, open_documents, stuck_documents
from scanners.ethereum import WatchedEthereum
from scanners.loop import ChainScanner
from scanners.pocket import WatchedPocket
from scanners.second import SecondReader, WatchedTwice

OPEN_STATUSES: Final = {
    # A signed mint waits for its user: where this validator still has to sign it, its own ledger says so.
    Collection.MINT: (Status.PENDING, Status.CONFIRMED, Status.SUBMITTED),
    Collection.INVALID_MINT: (Status.PENDING, Status.CONFIRMED, Status.SIGNED, Status.SUBMITTED),
    Collection.BURN: (Status.PENDING, Status.CONFIRMED, Status.SIGNED, Status.SUBMITTED),
}
STRANGERS_A_SWEEP: Final = 500
_STALE_STREAM_SECONDS: Final = 60.0
"""A change stream whose position is older than this, by the clock of this machine, is told."""
_BOOKS_SECONDS: Final = 5.0
_LATE_SECONDS: Final = 1.0
"""A document at rest that is written to is read so much later: late signatures come in a burst, and what the chains show rings by
itself and at once."""
# Who tells of failures, in words for people.
_BOOKS: Final = "books"
_STOPS: Final = "reading what is held"
_REFUSALS: Final = "looking for mints that the contracts refuse"
_BOOKS_TIMEOUT: Final = 600.0
"""One look at the books: after a long outage thousands of outflows are explained in it."""
_EXPECTED: Final = (RpcProblem, PyMongoError, StoreProblem, StateProblem, KeyProblem, WriteRefusedError, TimeoutError)
"""Errors whose own words say it all: they are logged without a traceback."""


@dataclass(frozen=True, slots=True)
class Chains:
    """The two chains as the scanners read them."""

    ethereum: EthereumChain
    pocket: PocketChain

    def watched(self, bridge: Bridge, settings: Settings) -> tuple[tuple[WatchedTwice, float], ...]:
        """Each chain with the seconds between two looks at its head."""
        return (
            (WatchedPocket(self.pocket, bridge, settings.pocket.confirmations), settings.pocket.poll_interval_ms / 1000),
            (WatchedEthereum(self.ethereum, bridge), settings.ethereum.poll_interval_ms / 1000),
        )


class Validator:
    """One validator: its scanners, its reactor, its keys, its own state. Made by `open`, run once, then closed."""

    def __init__(self, settings: Settings, *, observe: bool, source: str = "") -> None:
        self.settings = settings
        self.source = source
        self.observe = observe
        self.bridge = bridge_of(settings)
        self._stack = AsyncExitStack()
        self._ledger_changed = asyncio.Event()
        self._instance_id = uuid.uuid4().hex
        self._started_at = datetime.now(UTC)
        self._dead: frozenset[str] = frozenset()
        self._lock: ProcessLock | None = None
        self._replaced = ""
        self._quorum: Quorum | None = None
        self.clock = SystemClock()
        self.outages = Outages(subject_of=subject_of)
        self.loops = Loops(self.clock, fatal=(SecondProcess,), expected=_EXPECTED, outages=self.outages)
        self.heads = HeadSource(self.clock, loops=self.loops)
        self.dispatcher = Dispatcher(
            self.clock,
            Limits(concurrency=settings.engine.concurrency, timeout=settings.engine.handling_timeout_s, settle=_LATE_SECONDS),
            strange=self._is_strange,
            expected=_EXPECTED,
            outages=self.outages,
        )
        self.second: dict[str, SecondReader] = {}
        self._strangers_after: dict[tuple[Collection, Status], ObjectId | None] = {}
        self.scanners: dict[str, ChainScanner] = {}

    @classmethod
    async def open(cls, settings: Settings, *, observe: bool = False, source: str = "") -> Self:
        """Open state, keys, chains and store. `source`: the configuration file, to be told.

        Raises StateProblem, KeyProblem or StoreProblem, each with its remedy.
        """
        validator = cls(settings, observe=observe, source=source)
        try:
            await validator._build()
        except BaseException:  # whatever the reason, nothing may stay open
            await validator.close()
            raise
        return validator

    async def close(self) -> None:
        """Close everything, in the reverse order of opening."""
        await self._stack.aclose()

    async def _build(self) -> None:
        await self._open_state()
        # SECURITY: who only observes loads no key at all.
        ethereum_key = None if self.observe else await open_ethereum_key(self.settings)
        if ethereum_key is not None:
            self._stack.push_async_callback(ethereum_key.close)
        pocket_key = None if self.observe else await open_pocket_key(self.settings)
        if pocket_key is not None:
            self._stack.push_async_callback(pocket_key.close)
        self.me = Me(
            address=ethereum_key.address if ethereum_key else "",
            pocket_key=pocket_key.public_key if pocket_key else "",
            ethereum_signer=ethereum_key,
            pocket_signer=pocket_key,
        )
        self.chains = self._open_chains()
        self._stack.push_async_callback(self.chains.ethereum.close)
        self._stack.push_async_callback(self.chains.pocket.close)
        self.store = await open_store(self.settings)
        self.store.outages = self.outages
        self._stack.push_async_callback(self.store.close)
        self._wire(pocket_key.address if pocket_key else "")

    def _open_chains(self) -> Chains:
        """The own nodes; a measurement puts others in their place."""
        return Chains(ethereum_chain(self.settings), pocket_chain(self.settings))

    async def _open_state(self) -> None:
        directory = self.settings.state.directory
        # SECURITY: two processes on one disk would share journal and ledger and race; the second is refused, an observer too.
        lock = ProcessLock(directory)
        lock.acquire()
        self._stack.callback(lock.release)
        self._lock = lock
        if not self.observe:
            self._dead = note_run(directory, self._instance_id)
        self.journal = await when_free(lambda: Journal.open(directory, self.bridge, busy=BUSY_SECONDS))
        self._stack.callback(self.journal.close)
        self.ledger = await when_free(lambda: Ledger.open(directory, self.bridge, busy=BUSY_SECONDS))
        self._stack.callback(self._close_ledger)
        limits = limits_of(self.settings, self.ledger.amount)
        if limits is not None and not self.observe:
            self.journal.limit(limits)

    def _close_ledger(self) -> None:
        try:
            self.ledger.close()
        except StateProblem as problem:
            # What was not noted is looked at once more after the next start.
            logger.warning("the ledger was closed without its last notes: {}", problem.what)

    def _wire(self, pocket_address: str) -> None:
        engine, store = self.settings.engine, self.store
        finality = Finality.parse(self.settings.ethereum.finality, self.settings.ethereum.finality_floor)
        timeout = self.settings.mongo.timeout_ms / 1000 * 3
        self.requests = requests = BatchedRequests(store, self._ring, batch=engine.batch_size, timeout=timeout)
        admissions = BatchedJournal(self.journal, timeout=timeout, silenced=self._silenced, state_replaced=self.state_replaced)
        self._stack.push_async_callback(requests.close)
        self._stack.push_async_callback(admissions.close)
        members = self.settings.ethereum.validator_addresses
        peers = Peers(self.me.address, members, self.settings.engine.heartbeat_interval_s, monotonic)
        self.stops = Stops(self.journal)
        self.context = Context(
            bridge=self.bridge,
            me=self.me,
            requests=requests,
            ledger=self.ledger,
            journal=self.journal,
            admissions=admissions,
            ethereum=EthereumNode(self.chains.ethereum, members, self._content(EventKind.BURN)),
            pocket=PocketNode(self.chains.pocket, self.bridge.vault, self._content(EventKind.DEPOSIT)),
            heads=ChainHeads(self.heads, self.settings.pocket.confirmations, finality),
            turns=Turns(self.me.address, peers.up, monotonic, members),
            now=lambda: datetime.now(UTC),
            identity_clash=lambda: self.hearts.clash,
            look=self._look,
            silenced=self._silenced,
            state_replaced=self.state_replaced,
            tell_stops=self.stops.look,
        )
        self.endpoints = EndpointWatch(self.chains.ethereum, self.chains.pocket, self.settings, self.loops)
        self.books = Books(self.context, lambda chain: self.scanners[chain].scanned)
        self.refusals = RefusalWatch(self.context, self._look_at_signed_mints)
        self.handlers: dict[Collection, Handler] = {
            Collection.MINT: MintHandler(self.context),
            Collection.INVALID_MINT: PayoutHandler(Collection.INVALID_MINT, self.context),
            Collection.BURN: PayoutHandler(Collection.BURN, self.context),
        }
        self.reconciler = Reconciler(self.context, requests.insert_missing, outages=self.outages)
        self.oplog = OplogWatch(store)
        self.schema = SchemaWatch(store)
        self.hearts = Hearts(self.context, self._instance(pocket_address), self._pulse, peers)
        self.reactor = self._reactor()
        self._add_scanners()
        self.vitals = self._vitals(admissions)
        self._stack.push_async_callback(self.vitals.close)
        told = HealthLog().look
        self.exchange = HeartbeatExchange(store, self.hearts, members, self.loops, self.health, self._look_around, told)
        self.reactor.feed.changes(store.names[Collection.HEARTBEAT]).subscribe(self.exchange.rang)

    def _content(self, kind: EventKind) -> SameContent | None:
        """Asked again before a signature where several endpoints must agree; with one, the block's hash says it all."""
        if getattr(self.settings, kind.chain).agreement == 1:
            return None
        watched = next(one for one, _ in self.chains.watched(self.bridge, self.settings) if one.name == kind.chain)
        return SameEvents(watched, self.ledger, kind)

    def _reactor(self) -> Reactor:
        names = self.store.names

        async def load() -> Token | None:
            saved = self.ledger.load_token()
            return bson.decode(saved) if saved else None

        async def save(token: Token) -> None:
            self.ledger.save_token(bson.encode(token))

        feed = ChangeFeed(
            self.store.stream_client,
            self.settings.mongo.database,
            [names[role] for role in (*REQUESTS, Collection.HEARTBEAT)],
            load_token=load,
            save_token=save,
            quiet=QUIET,
            loops=self.loops,
        )
        sweep = SweepOptions(every=self.settings.engine.sweep_interval_s)
        reactor = Reactor(feed, self.heads, self.dispatcher, self.clock, sweep=sweep, loops=self.loops)
        for role, handler in self.handlers.items():
            reactor.subscribe(names[role], handling(handler), partial(self._open, role))
        feed.notices.subscribe(lambda _: self.schema.alarm())
        return reactor

    async def _open(self, role: Collection) -> AsyncIterator[ObjectId]:
        """What this validator has work on: the open events of its ledger, and open documents that its ledger may not know.

        Of the latter one page of each status, in turns: anyone can put them there by the hundred thousand.
        """
        seen: set[ObjectId] = set()
        async for document_id in self.reconciler.open_ids(role):
            seen.add(document_id)
            yield document_id
        for status in OPEN_STATUSES[role]:
            after = self._strangers_after.get((role, status))
            page = await open_page(self.store, role, status, self.bridge, after=after, size=STRANGERS_A_SWEEP)
            self._strangers_after[role, status] = page[-1] if len(page) == STRANGERS_A_SWEEP else None
            for document_id in page:
                if document_id not in seen:
                    yield document_id

    def _is_strange(self, key: Key) -> bool:
        """Whether no event of the own ledger stands behind a document: nothing is ever signed for it.

        SECURITY: whoever floods the collections must not keep honest requests from being handled.
        """
        document_id = key.id
        assert isinstance(document_id, ObjectId)
        return not self.ledger.knows_document(document_id) and self.requests.adopted.get(document_id) is None

    def _ring(self, role: Collection, document_id: ObjectId) -> None:
        self.reactor.ring(self.store.names[role], document_id, Cause.HEAD)

    def _add_scanners(self) -> None:
        bells = Bells(self.bridge, self.ledger, self._ring, self._ledger_changed)

        for watched, interval in self.chains.watched(self.bridge, self.settings):
            scanner = ChainScanner(
                watched,
                self.bridge,
                self.ledger,
                self.journal,
                partial(insert_missing, self.store),
                bells,
                self.context.now,
                interval=interval,
                observe=self.observe,
                outages=self.outages,
                answered=partial(self.heads.well, watched.name),
                tell_stops=self.stops.look,
            )
            self.scanners[watched.name] = scanner
            self.heads.add(watched.name, scanner.heads)
            self.second[watched.name] = SecondReader(watched, scanner, self.ledger)

    def _look(self, kind: EventKind, tx_hash: str, height: int) -> None:
        """An own node shows a transaction that a document names, and the ledger lacks it: its block is read again."""
        self.second[kind.chain].look(tx_hash, height)

    def _vitals(self, admissions: BatchedJournal) -> Vitals:
        settings = self.settings
        finality = Finality.parse(settings.ethereum.finality, settings.ethereum.finality_floor)
        polls = {"pocket": settings.pocket.poll_interval_ms / 1000, "ethereum": settings.ethereum.poll_interval_ms / 1000}
        return Vitals(
            self.me,
            self.ledger,
            admissions,
            self.reactor.feed,
            self.heads,
            self.scanners,
            polls,
            usual={"pocket": settings.pocket.confirmations, "ethereum": finality.usual},
            silent=lambda: self.oplog.silent,
            replaced=self.state_replaced,
            cause=lambda chain: self.outages.about(heads_of(chain)),
        )

    async def run(self, stop: Stop) -> None:
        """Run until `stop` is asked for.

        Raises LoopError when one of the engine's own loops breaks, or when an older process turns out to run with the same key.
        """
        # What was imported lives as long as the process: the collector would walk through it again and again.
        gc.collect()
        gc.freeze()
        logger.info(first_line(self.bridge, self.me, self.hearts.instance, observe=self.observe, source=self.source))
        await self.loops.attempt(_STOPS, self._look_at_stops)
        supervisor = Supervisor(stop, grace=self.settings.engine.stop_timeout_s + 3.0)
        supervisor.add("reactor", self.reactor.run)
        supervisor.add("books", self._keep_books)
        supervisor.add("refusals", self._watch_refusals)
        supervisor.add("endpoints", self.endpoints.run)
        for name, reader in self.second.items():
            supervisor.add(f"second readings of {name}", partial(read_twice, name, reader, self.loops))
        supervisor.add("stops", self._tell_stops)
        if not self.observe:
            # Before anything is looked at: where nobody else runs with this key, nothing has to wait to be signed.
            await run_until(supervisor.stop, self._first_heartbeat())
            supervisor.add("heartbeat", self.exchange.run)
            supervisor.add("audit", AuditSender(self.store, self.journal, self.loops).run)
            supervisor.add("health", self.exchange.watch)
            supervisor.add("probes", self._probe)
            supervisor.last("last heartbeat", self.exchange.say_stopped)
        logger.info(
            "validator {} of vault {} and token {}{}: it runs",
            self.me.address or "(no key)",
            self.bridge.vault,
            self.bridge.wpokt,
            ", observing" if self.observe else "",
        )
        await supervisor.run()
        logger.info("stopped")

    # ------------------------------------------------------------------ loops beside the reactor

    async def _keep_books(self, stop: asyncio.Event) -> None:
        """Explain outflows and mints whenever the ledger changed, and now and then."""
        await self.loops.repeat(
            stop, _BOOKS, self._look_at_books, pausing(_BOOKS_SECONDS, self._ledger_changed), within=_BOOKS_TIMEOUT
        )

    async def _look_at_books(self) -> None:
        self._ledger_changed.clear()
        self.outages.look()
        await self.loops.attempt("taking up what operators asked for", self._take_retries)
        await self.books.check()
        await self._ring_if_members_changed()

    async def _watch_refusals(self, stop: asyncio.Event) -> None:
        """SECURITY: a loop of its own, since it reads the shared database, which must not keep the books from being looked at."""
        await self.loops.repeat(stop, _REFUSALS, self.refusals.look, pausing(_BOOKS_SECONDS), within=_BOOKS_TIMEOUT)

    async def _take_retries(self) -> None:
        """What an operator wants taken up again is looked at now: as in a sweep, and also where it is backed off."""
        for role, document_id in self.ledger.take_retries():
            for cause in (Cause.SWEEP, Cause.TIMER):
                self.reactor.ring(self.store.names[Collection(role)], ObjectId(document_id), cause)

    async def _tell_stops(self, stop: asyncio.Event) -> None:
        """Tell within seconds what an operator's verb has held, paused or released from another process."""
        await self.loops.repeat(stop, _STOPS, self._look_at_stops, pausing(LOOK_SECONDS))

    async def _look_at_stops(self) -> None:
        self.stops.look()

    async def _ring_if_members_changed(self) -> None:
        """With another threshold or other members, signed mints may no longer pass: each is looked at again, once."""
        quorum, _ = await self.context.quorum()
        before, self._quorum = self._quorum, quorum
        if before is None or before == quorum:
            return
        logger.warning("{} of {} sign mints now: all signed mints are looked at again", quorum.threshold, len(quorum.members))
        await self._look_at_signed_mints()

    async def _look_at_signed_mints(self, where: Mapping[str, Any] = EVERY) -> None:
        """All of them, or those that a query finds."""
        name = self.store.names[Collection.MINT]
        async for page in open_ids(self.store, Collection.MINT, [Status.SIGNED], self.bridge, where=where):
            for document_id in page:
                await self.dispatcher.submit(WakeUp(Key(name, document_id), Cause.SWEEP))

    async def _first_heartbeat(self) -> None:
        await self.vitals.probe()
        await self.exchange_heartbeats()

    async def exchange_heartbeats(self) -> None:
        """Hear the others, and write the own heartbeat. Raises SecondProcess where an older one runs with the same key."""
        await self.exchange.once()

    def health(self) -> Health:
        """What this validator can do at this moment."""
        return self.hearts.health(self.vitals.facts())

    async def _look_around(self) -> None:
        """What is looked at with each heartbeat: the others' words, the oplog, the indexes."""
        await self.hearts.compare()
        self.vitals.hear(self.hearts.others(), self.hearts.threshold, self.context.now().timestamp())
        await self._look_at_oplog()
        await self.schema.look()

    async def _probe(self, stop: asyncio.Event) -> None:
        every = min(PROBE_SECONDS, self.settings.engine.heartbeat_interval_s)
        await self.loops.repeat(stop, "trying disk and keys", self.vitals.probe, pausing(every))

    def state_replaced(self) -> str:
        """What happened to a file of the state since it was opened, in a sentence; from then on always the same.

        SECURITY: nothing is signed by a process whose journal would be lost with it, or beside which another can be made.
        """
        if not self._replaced:
            lock = self._lock.replaced if self._lock is not None else ""
            self._replaced = self.journal.replaced or self.ledger.replaced or lock
            if self._replaced:
                logger.error("nothing more is signed until this process was started again: {}", self._replaced)
        return self._replaced

    def _silenced(self) -> str:
        return self.hearts.twins.silenced()

    def _instance(self, pocket_address: str) -> Instance:
        keys = self.bridge.pocket_keys
        place = keys.index(self.me.pocket_key) + 1 if self.me.pocket_key in keys else 0
        return Instance(
            validator_id=self.settings.validator.name or f"wpokt-validator-{place:02d}",
            hostname=socket.gethostname(),
            instance=self._instance_id,
            version=software_version(),
            started_at=self._started_at,
            pocket_address=pocket_address,
            interval=self.settings.engine.heartbeat_interval_s,
            dead=self._dead,
        )

    async def _look_at_oplog(self) -> None:
        """An alarm before the stream's history is lost, and when the stream is silent though the cluster writes."""
        feed = self.reactor.feed
        # In the scan before it goes live a stream does not move, however long the scan takes.
        read_until = token_seconds(feed.newest) if feed.live.is_set() else None
        await self.oplog.look(read_until=read_until, safe_until=token_seconds(feed.position))

    def _label(self, role: Collection, document_id: Hashable) -> Label | None:
        return self.handlers[role].labels.get(document_id) if isinstance(document_id, ObjectId) else None

    def _pulse(self) -> Pulse:
        """What the heartbeat says, true at this moment."""
        load = self.dispatcher.load()
        age = self.reactor.feed.position_age()
        warnings: list[Trouble] = []
        if age is not None and age > _STALE_STREAM_SECONDS:
            warnings.append(Trouble(f"the change stream is {age:.0f} s behind", STREAM))
        warnings += [Trouble(problem, STREAM) for problem in self.oplog.problems]
        warnings += [Trouble(problem) for problem in self.schema.problems]
        warnings += self.endpoints.troubles
        # What the heartbeat's own loop says of it is over once this one is read.
        failing = [one for one in self.loops.failing if one.name != HEARTBEAT]
        warnings += [Trouble(str(one), self.outages.about(one.name), one.name) for one in failing]
        warnings += stuck_documents(self.dispatcher, self.outages.about)
        warnings += [Trouble(problem) for reader in self.second.values() for problem in reader.problems]
        warnings += [Trouble(problem) for problem in self.hearts.problems]
        return Pulse(
            open_count=load.waiting + load.working + load.queued + load.stuck,
            open=open_documents(self.dispatcher, {self.store.names[role]: role for role in REQUESTS}, self._label),
            stream_age_ms=int((age or 0.0) * 1000),
            warnings=warnings,
            facts=self.vitals.facts(),
        )
