"""The change feed while primaries die, stop, hang and are cut off under load: no event is lost; the silence is measured."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from itertools import count, pairwise
from time import monotonic
from typing import Any
from uuid import uuid4

import pytest
from store_helpers import mint, replica_set

from infra.localnet.mongod import MongoReplicaSet
from infra.localnet.processes import wait_until
from reactor.documents.statuses import Collection
from reactor.engine.feed import Change, ChangeFeed, FeedOptions, ScanReason
from reactor.engine.position import Token
from reactor.store.connection import Store
from reactor.store.insert import insert_missing

pytestmark = [
    pytest.mark.integration,
    pytest.mark.xdist_group("replica"),
    # A driver that is closed while it connects leaves its socket to the garbage collector.
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
]

MINT = Collection.MINT
BOUND = 120.0
_WARM = 300
"""Events before and after each fault."""
GONE_SECONDS = 10.0
"""Longer than an election, than one operation may take and than the stream's client looks for a primary."""


@dataclass
class Follower:
    """The engine's feed on the store's stream client, as a validator runs it; its disk is one token."""

    feed: ChangeFeed
    seen: dict[Any, float] = field(default_factory=dict)
    times: list[float] = field(default_factory=list)
    scans: list[ScanReason] = field(default_factory=list)

    def take(self, change: Change) -> None:
        if change.id not in self.seen:
            self.times.append(monotonic())
        self.seen.setdefault(change.id, monotonic())

    async def scan(self, reason: ScanReason) -> None:
        self.scans.append(reason)


@asynccontextmanager
async def following(store: Store) -> AsyncIterator[Follower]:
    disk: dict[str, Token] = {}

    async def load() -> Token | None:
        return disk.get("token")

    async def save(token: Token) -> None:
        disk["token"] = token

    name = store.names[MINT]
    feed = ChangeFeed(
        store.stream_client, store.database.name, [name], load_token=load, save_token=save, options=FeedOptions(save_every=0.2)
    )
    follower = Follower(feed)
    subscription = feed.changes(name).subscribe(follower.take)
    stop = asyncio.Event()
    task = asyncio.create_task(feed.run(stop, scan=follower.scan))
    try:
        async with asyncio.timeout(BOUND):
            await feed.live.wait()
        yield follower
    finally:
        stop.set()
        await asyncio.wait_for(task, 60)
        subscription.dispose()


@dataclass
class Load:
    """Inserts, one after the other, as fast as the set takes them; `written`: when each was acknowledged by a majority."""

    store: Store
    written: dict[Any, float] = field(default_factory=dict)
    failures: int = 0

    async def run(self, stop: asyncio.Event) -> None:
        for number in count(1):
            if stop.is_set():
                return
            await self._put(mint(number), stop)

    async def _put(self, document: dict[str, Any], stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                await insert_missing(self.store, MINT, [document])
            except Exception:  # noqa: BLE001 - Mongo is away for longer than the store's own retries: the same again
                self.failures += 1
            else:
                self.written[document["_id"]] = monotonic()
                return
            await asyncio.sleep(0.05)


@asynccontextmanager
async def under_load(uri: str) -> AsyncIterator[tuple[Load, Follower]]:
    """A database of its own, written to and followed, warmed up; at the end everything that was written has been seen."""
    async with await Store.connect(uri, f"t{uuid4().hex}") as store, following(store) as follower:
        load, stop = Load(store), asyncio.Event()
        writer = asyncio.create_task(load.run(stop))
        try:
            await more(load, follower)
            yield load, follower
            await more(load, follower)
        finally:
            stop.set()
            await asyncio.wait_for(writer, BOUND)
        await caught_up(load, follower)


async def more(load: Load, follower: Follower) -> None:
    """So many further writes, and all that was written until then seen."""
    goal = len(load.written) + _WARM

    async def enough() -> bool:
        return len(load.written) >= goal

    await wait_until(enough, seconds=BOUND, what=f"{goal} writes")
    await caught_up(load, follower)


async def caught_up(load: Load, follower: Follower) -> None:
    expected = set(load.written)

    async def all_seen() -> bool:
        return follower.seen.keys() >= expected

    try:
        await wait_until(all_seen, seconds=BOUND, what="all events")
    except TimeoutError:
        pytest.fail(f"{len(expected - follower.seen.keys())} of {len(expected)} events were lost")


def longest_gap(times: list[float], since: float) -> float:
    late = [one for one in times if one >= since]
    before = [one for one in times if one < since][-1:]
    return max((b - a for a, b in pairwise(before + late)), default=0.0)


@pytest.fixture(scope="module")
def mongo() -> Iterator[MongoReplicaSet]:
    with replica_set(nodes=3) as mongo:
        yield mongo


async def all_back(mongo: MongoReplicaSet) -> None:
    """All three nodes run and are primary or secondary: the next fault finds a whole set."""

    async def whole() -> bool:
        with contextlib.suppress(Exception):
            said = await mongo._run(await mongo.primary(), {"replSetGetStatus": 1})
            return sorted(member["state"] for member in said["members"]) == [1, 2, 2]
        return False

    await wait_until(whole, seconds=BOUND, what="a whole replica set")


async def _kill(mongo: MongoReplicaSet, primary: int) -> None:
    mongo.kill(primary)


async def _freeze(mongo: MongoReplicaSet, primary: int) -> None:
    mongo.freeze(primary)


async def _stop(mongo: MongoReplicaSet, primary: int) -> None:
    await mongo.stop(primary)


Fault = Callable[[MongoReplicaSet, int], Awaitable[None]]
FAULTS: dict[str, Fault] = {"kill -9": _kill, "SIGTERM": _stop, "SIGSTOP": _freeze}


def told(capsys: pytest.CaptureFixture[str], name: str, since: float, load: Load, follower: Follower) -> None:
    """Print what was measured: times are the cluster's and the machine's, and no test asserts one."""
    silent, halted = longest_gap(follower.times, since), longest_gap(list(load.written.values()), since)
    with capsys.disabled():
        print(f"\n{name}: stream silent {silent:.1f} s, writes halted {halted:.1f} s, {len(load.written)} events, none lost")


async def goes_under_load(mongo: MongoReplicaSet, name: str, fault: Fault, capsys: pytest.CaptureFixture[str]) -> None:
    primary = await mongo.primary()
    async with under_load(mongo.uri) as (load, follower):
        at = monotonic()
        task = asyncio.create_task(fault(mongo, primary))

        async def another() -> bool:
            return len([one for one in load.written.values() if one > at + 0.5]) >= _WARM

        await wait_until(another, seconds=BOUND, what="writes to another primary")
        await caught_up(load, follower)
        await asyncio.wait_for(task, BOUND)
        told(capsys, name, at, load, follower)
    assert (follower.feed.counters.history_lost, follower.scans) == (0, [ScanReason.START])


@pytest.mark.parametrize("name", FAULTS)
async def test_a_primary_goes_under_load(mongo: MongoReplicaSet, name: str, capsys: pytest.CaptureFixture[str]) -> None:
    await all_back(mongo)
    primary = await mongo.primary()
    try:
        await goes_under_load(mongo, name, FAULTS[name], capsys)
        if name != "SIGTERM":  # whoever stepped down in order may be elected again
            assert await mongo.primary() != primary
    finally:
        mongo.thaw(primary)
        if not mongo.node(primary).running:
            await mongo.start(primary)


async def test_a_primary_is_cut_off_and_then_all_are(capsys: pytest.CaptureFixture[str]) -> None:
    """Connections stay open and nothing arrives. The second time nobody is left to go to until the lines are mended."""

    async def cut(mongo: MongoReplicaSet, primary: int) -> None:
        mongo.cut(primary)

    async with MongoReplicaSet(3, lines=True) as mongo:
        first = await mongo.primary()
        await goes_under_load(mongo, "cut off", cut, capsys)
        mongo.mend(first)
        await all_back(mongo)
        async with under_load(mongo.uri) as (load, follower):
            at = monotonic()
            for index in range(3):
                mongo.cut(index)
            await asyncio.sleep(GONE_SECONDS)
            done = len(load.written)
            assert max(load.written.values()) < at + GONE_SECONDS / 2, "nothing can be written to a set that nobody reaches"
            for index in range(3):
                mongo.mend(index)
            await more(load, follower)
            told(capsys, f"all cut off for {GONE_SECONDS:.0f} s", at, load, follower)
        assert len(load.written) > done
        assert (follower.feed.counters.history_lost, follower.scans) == (0, [ScanReason.START])


async def test_all_nodes_die_and_come_back(mongo: MongoReplicaSet, capsys: pytest.CaptureFixture[str]) -> None:
    await all_back(mongo)
    async with under_load(mongo.uri) as (load, follower):
        at = monotonic()
        for index in range(3):
            mongo.kill(index)
        await asyncio.sleep(GONE_SECONDS)
        await asyncio.gather(*(mongo.start(index) for index in range(3)))
        await more(load, follower)
        told(capsys, f"all dead for {GONE_SECONDS:.0f} s", at, load, follower)
    assert (follower.feed.counters.history_lost, follower.scans) == (0, [ScanReason.START])
