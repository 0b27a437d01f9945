"""The oplog's window: alarmed before history is lost, not when all is well, and a silent stream is told."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

import pytest
from bson import ObjectId
from loguru import logger
from pymongo import AsyncMongoClient
from pymongo.errors import OperationFailure
from store_helpers import mint, new_store, replica_set

from infra.localnet.mongod import MongoReplicaSet
from infra.localnet.processes import wait_until
from reactor.documents.statuses import Collection
from reactor.engine.feed import Change, ChangeFeed, FeedOptions, ScanReason
from reactor.engine.position import EventTicket, Token, token_seconds
from reactor.store.connection import Store
from reactor.store.oplog import OplogTimes, OplogWatch, judge, oplog_times

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("replica")]

BOUND = 120.0
MINT = Collection.MINT
NOW = 1_800_000_000


@pytest.mark.parametrize(
    ("window", "read_lag", "position_age", "told"),
    [
        (86_400, 0, 0, []),
        (86_400, 30, 30, []),
        (86_400, 31, 31, ["silent"]),
        (86_400, 0, 43_200, []),
        (86_400, 0, 43_201, ["history will be lost"]),
        (86_400, 90_000, 90_000, ["silent", "history will be lost"]),
        (4, 0, 4, []),  # a set that was made just now
        (6, 0, 6, ["history will be lost"]),
        (86_400, None, None, []),
    ],
)
def test_what_is_told(window: int, read_lag: int | None, position_age: int | None, told: list[str]) -> None:
    read = None if read_lag is None else NOW - read_lag
    safe = None if position_age is None else NOW - position_age
    found = judge(OplogTimes(NOW - window, NOW), read, safe, rolls=True)
    assert len(found) == len(told)
    assert all(word in problem for word, problem in zip(told, found, strict=True))


@pytest.mark.parametrize(("window", "age"), [(33, 17), (1490, 901), (1490, 1490), (86_400, 43_201)])
def test_an_oplog_that_was_never_cut_is_short_and_loses_nothing(window: int, age: int) -> None:
    assert judge(OplogTimes(NOW - window, NOW), NOW, NOW - age, rolls=False) == []
    (found,) = judge(OplogTimes(NOW - window, NOW), NOW, NOW - age, rolls=True)
    assert found.startswith("history will be lost")


@pytest.fixture(scope="module")
def mongo() -> Iterator[MongoReplicaSet]:
    # The smallest oplog there is, truncated as soon as it may be.
    with replica_set(oplog_size_mb=1, test_commands=True, extra=("--syncdelay", "1")) as mongo:
        yield mongo


@pytest.fixture
async def store(mongo: MongoReplicaSet) -> AsyncIterator[Store]:
    async with new_store(mongo.uri) as store:
        yield store


@pytest.fixture
def alarms() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lines.append, level="WARNING", format="{message}", diagnose=False, backtrace=False)
    yield lines
    logger.remove(sink)


async def flood(store: Store) -> None:
    """One second of writes that fill the oplog several times."""
    for _ in range(20):
        await store.database["elsewhere"].insert_many([{"blob": "x" * 100_000} for _ in range(3)])
        await asyncio.sleep(0.05)


@asynccontextmanager
async def following(store: Store, hold: list[EventTicket] | None = None) -> AsyncIterator[ChangeFeed]:
    """A feed on the mints; with `hold`, what it reports is never finished."""

    async def load() -> Token | None:
        return None

    async def save(token: Token) -> None:
        assert token

    async def scan(reason: ScanReason) -> None:
        assert reason is not ScanReason.DROPPED

    def take(change: Change) -> None:
        if hold is not None:
            change.ticket.take()
            hold.append(change.ticket)

    name = store.names[MINT]
    options = FeedOptions(await_ms=100)
    feed = ChangeFeed(store.stream_client, store.database.name, [name], load_token=load, save_token=save, options=options)
    subscription = feed.changes(name).subscribe(take)
    stop = asyncio.Event()
    task = asyncio.create_task(feed.run(stop, scan=scan))
    try:
        async with asyncio.timeout(BOUND):
            await feed.live.wait()
        yield feed
    finally:
        stop.set()
        await asyncio.wait_for(task, 60)
        subscription.dispose()


async def look(watch: OplogWatch, feed: ChangeFeed) -> tuple[str, ...]:
    await watch.look(read_until=token_seconds(feed.newest), safe_until=token_seconds(feed.position))
    return watch.problems


async def test_the_window_is_that_of_the_oplog(mongo: MongoReplicaSet, store: Store) -> None:
    async with AsyncMongoClient[dict[str, Any]](mongo.uri) as client:

        async def agrees() -> bool:
            times = await oplog_times(store)
            assert times is not None
            for order, said in ((1, times.oldest), (-1, times.newest)):
                row = await client.local["oplog.rs"].find_one(sort=[("$natural", order)])
                assert row is not None
                if abs(row["ts"].time - said) > 1:
                    return False
            again = await oplog_times(store)
            return again is not None and again.seconds == pytest.approx(times.seconds, abs=2)

        # The server writes to its oplog and cuts it by itself, and a busy machine may let that happen between two looks.
        await wait_until(agrees, seconds=BOUND, what="the window to be that of the oplog")


async def test_a_position_that_stays_behind_is_told_before_its_history_is_lost(store: Store, alarms: list[str]) -> None:
    held: list[EventTicket] = []
    watch = OplogWatch(store)
    async with following(store, held) as feed:
        await store.collection(MINT).insert_one(mint(1))

        async def taken() -> bool:
            return bool(held)

        await wait_until(taken, seconds=BOUND, what="the event")
        assert await look(watch, feed) == ()

        async def told() -> bool:
            await flood(store)
            return bool(await look(watch, feed))

        await wait_until(told, seconds=BOUND, what="the alarm")
        assert watch.problems[0].startswith("history will be lost")
        assert watch.window is not None
        assert feed.counters.history_lost == 0, "told before, not after"
        assert any("history will be lost" in line for line in alarms)
        count = len(alarms)
        await look(watch, feed)
        assert len(alarms) == count, "said once"
        assert any("the oplog holds 0.0 h" in line for line in alarms), "an oplog that rolls and is short is told too"
        held[0].finish()  # the work is done: the position moves, the alarm ends
        await flood(store)

        async def over() -> bool:
            return not await look(watch, feed)

        await wait_until(over, seconds=BOUND, what="the end of the alarm")


async def test_a_stream_that_keeps_up_is_well_however_small_the_oplog(store: Store, alarms: list[str]) -> None:
    watch = OplogWatch(store)
    async with following(store) as feed:
        for _ in range(3):
            await flood(store)
            await store.collection(MINT).insert_one({"_id": ObjectId()})

            async def well() -> bool:
                return not await look(watch, feed)

            await wait_until(well, seconds=BOUND, what="a stream that is well")
    assert not any("silent" in line for line in alarms)


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The newest cluster time, to be moved by a test."""
    newest = [NOW]

    async def times(_: Store) -> OplogTimes:
        return OplogTimes(NOW - 86_400, newest[0])

    monkeypatch.setattr("reactor.store.oplog.oplog_times", times)
    return newest


YOUNG = OplogTimes(NOW - 1490, NOW, "one:27017")


@pytest.mark.parametrize(
    ("after", "told"),
    [
        (YOUNG, False),
        (replace(YOUNG, newest=NOW + 90), False),
        (replace(YOUNG, oldest=NOW - 1300), True),
        (replace(YOUNG, cut=True), True),
        # Another primary, whose oplog begins elsewhere; then one of which it is known that it was cut.
        (replace(YOUNG, oldest=NOW - 1300, server="two:27017"), False),
        (replace(YOUNG, server="two:27017", cut=True), True),
    ],
)
async def test_history_is_in_danger_only_where_the_oplog_is_cut(
    store: Store, monkeypatch: pytest.MonkeyPatch, alarms: list[str], after: OplogTimes, *, told: bool
) -> None:
    said = [YOUNG, after]

    async def times(_: Store) -> OplogTimes:
        return said.pop(0)

    monkeypatch.setattr("reactor.store.oplog.oplog_times", times)
    watch = OplogWatch(store)
    await watch.look(read_until=YOUNG.newest, safe_until=NOW - 901)
    assert watch.problems == ()
    await watch.look(read_until=after.newest, safe_until=NOW - 901)
    assert bool(watch.problems) is told
    assert any("history will be lost" in line for line in alarms) is told


async def test_the_server_says_whether_its_oplog_was_cut(store: Store) -> None:
    async def cut() -> bool:
        await flood(store)
        times = await oplog_times(store)
        return times is not None and times.cut

    await wait_until(cut, seconds=BOUND, what="the server to cut its oplog and to say so")
    async with MongoReplicaSet() as young, new_store(young.uri) as other:
        times = await oplog_times(other)
        assert times is not None
        assert not times.cut
        assert times.server


async def test_a_stream_that_brings_nothing_is_silent(cluster: list[int], store: Store, alarms: list[str]) -> None:
    watch = OplogWatch(store)
    for passed, told in ((0, False), (30, False), (31, True)):
        cluster[0] = NOW + passed
        await watch.look(read_until=NOW - 1, safe_until=NOW)
        assert bool(watch.problems) == told
    assert watch.problems[0].startswith("the stream is silent: the cluster has written for 31 s")
    assert any("silent" in line for line in alarms)
    await watch.look(read_until=NOW + 31, safe_until=NOW + 31)
    assert watch.problems == ()


async def test_who_comes_back_is_behind_and_not_silent(cluster: list[int], store: Store, alarms: list[str]) -> None:
    """A stream does not move in the scan at the start, and comes nearer step by step afterwards."""
    watch = OplogWatch(store)
    away = NOW - 3600
    for passed, read_until in (
        (0, away),
        (10, away),
        (20, None),
        (90, None),
        (100, away),
        (130, away),
        (131, away + 1800),
        (161, NOW),
    ):
        cluster[0] = NOW + passed
        await watch.look(read_until=read_until, safe_until=away)
        assert watch.problems == ()
    assert not any("silent" in line for line in alarms)


@pytest.mark.parametrize(("code", "passing"), [(13, False), (59, False), (8000, False), (91, True)])
async def test_a_server_that_does_not_say_is_no_fault(store: Store, code: int, *, passing: bool) -> None:
    """Forbidden or unknown (hosted clusters): nothing is known. What passes by itself is tried again, within bounds."""
    point = {"configureFailPoint": "failCommand", "data": {"failCommands": ["serverStatus"], "errorCode": code}}
    await store.client.admin.command({**point, "mode": {"times": 1}})
    try:
        assert (await oplog_times(store) is not None) == passing
        watch = OplogWatch(store)
        if not passing:
            await store.client.admin.command({**point, "mode": {"times": 1}})
            await watch.look(read_until=1, safe_until=1)
            assert (watch.window, watch.problems) == (None, ())
    finally:
        await store.client.admin.command({"configureFailPoint": "failCommand", "mode": "off"})


async def test_what_does_not_pass_is_raised_in_the_end(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    async def stepping_down(*_: object) -> dict[str, Any]:
        raise OperationFailure("not primary", 10107)

    monkeypatch.setattr("reactor.store.oplog.retrying", lambda run: stepping_down())
    with pytest.raises(OperationFailure):
        await oplog_times(store)
