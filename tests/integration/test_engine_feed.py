"""The feed and the reactor against a real replica set: no event is lost, whatever breaks the stream."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Hashable
from contextlib import asynccontextmanager
from typing import Any

import pytest
from bson import ObjectId, Timestamp
from loguru import logger
from pymongo import AsyncMongoClient

from infra.localnet.mongod import MongoReplicaSet
from reactor.engine.clock import SystemClock
from reactor.engine.dispatcher import Dispatcher, Limits
from reactor.engine.feed import ChangeFeed, FeedOptions, Notice
from reactor.engine.heads import HeadSource
from reactor.engine.keys import DONE, Cause, Outcome
from reactor.engine.position import Token
from reactor.engine.reactor import Reactor, SweepOptions

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("engine_feed")]

Client = AsyncMongoClient[dict[str, Any]]
BOUND = 120.0  # seconds in which anything must have happened on a machine shared with others


def stream_client(uri: str) -> Client:
    """With short time-outs, as a validator's own."""
    return AsyncMongoClient(
        uri,
        serverSelectionTimeoutMS=2500,
        connectTimeoutMS=2000,
        socketTimeoutMS=10_000,
        heartbeatFrequencyMS=1000,
        maxPoolSize=2,
        appname="reactor-feed",  # whom `fail` means
    )


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(BOUND):
        while not condition():  # noqa: ASYNC110 - what is waited for happens in another process
            await asyncio.sleep(0.02)


@pytest.fixture(scope="module")
def mongo() -> Any:
    runner = asyncio.Runner()
    replica_set = MongoReplicaSet(test_commands=True, cache_gb=1.0)  # a 7 MiB `_id` lies in it several times over
    runner.run(replica_set.open())
    yield replica_set
    runner.run(replica_set.close())
    runner.close()


class Process:
    """One process of the engine, as a validator would run it; its disk is a token."""

    def __init__(self, uri: str, database: str, disk: dict[str, Token], options: FeedOptions | None = None) -> None:
        self.seen: list[tuple[str, Hashable, Cause]] = []
        self.notices: list[Notice] = []
        self.disk = disk
        self.uri = uri
        self.database = database
        self.gate = asyncio.Event()
        self.gate.set()
        clock = SystemClock()
        self.feed = ChangeFeed(
            lambda: stream_client(uri),
            database,
            ["mint", "burn"],
            load_token=self.load,
            save_token=self.save,
            options=options or FeedOptions(save_every=0.05, idle_save_every=0.2),
        )
        self.feed.notices.subscribe(self.notices.append)
        self.dispatcher = Dispatcher(clock, Limits(settle=0.05))
        self.reactor = Reactor(self.feed, HeadSource(clock), self.dispatcher, clock, sweep=SweepOptions(every=3600))
        for name in ("mint", "burn"):
            self.reactor.subscribe(name, self.handler(name), self.open_ids(name))

    async def load(self) -> Token | None:
        return self.disk.get("token")

    async def save(self, token: Token) -> None:
        self.disk["token"] = token

    def handler(self, name: str) -> Callable[[Hashable, Cause], Awaitable[Outcome]]:
        async def handle(found: Hashable, cause: Cause) -> Outcome:
            await self.gate.wait()
            self.seen.append((name, found, cause))
            return DONE

        return handle

    def open_ids(self, name: str) -> Callable[[], AsyncIterator[Hashable]]:
        async def ids() -> AsyncIterator[Hashable]:
            async with AsyncMongoClient[dict[str, Any]](self.uri) as client:
                async for row in client[self.database][name].find({"open": True}, {"_id": 1}):
                    yield row["_id"]

        return ids

    def ids(self, cause: Cause | None = None) -> set[Hashable]:
        return {found for _, found, why in self.seen if cause is None or why is cause}


@asynccontextmanager
async def running(process: Process) -> AsyncIterator[Process]:
    stop = asyncio.Event()
    task = asyncio.create_task(process.reactor.run(stop))
    live = asyncio.create_task(process.feed.live.wait())
    try:
        await asyncio.wait({task, live}, timeout=BOUND, return_when=asyncio.FIRST_COMPLETED)
        yield process
    finally:
        live.cancel()
        stop.set()
        async with asyncio.timeout(60):
            await task


@pytest.fixture
async def client(mongo: MongoReplicaSet) -> AsyncIterator[Client]:
    async with AsyncMongoClient[dict[str, Any]](mongo.uri, w="majority") as client:
        yield client


@pytest.fixture
def database(request: pytest.FixtureRequest) -> str:
    return f"feed_{ObjectId()}"


def process(mongo: MongoReplicaSet, database: str, disk: dict[str, Token] | None = None) -> Process:
    return Process(mongo.uri, database, {} if disk is None else disk)


async def insert(client: Client, database: str, count: int, collection: str = "mint", **fields: Any) -> set[Hashable]:
    rows = [{"_id": ObjectId(), **fields} for _ in range(count)]
    await client[database][collection].insert_many(rows)
    return {row["_id"] for row in rows}


async def fail(client: Client, data: dict[str, Any], times: int) -> None:
    mode = {"times": times}
    await client.admin.command({"configureFailPoint": "failCommand", "mode": mode, "data": {"appName": "reactor-feed", **data}})


@pytest.fixture
def errors() -> Any:
    lines: list[str] = []
    sink = logger.add(lines.append, level="ERROR", format="{message}", diagnose=False, backtrace=False)
    yield lines
    logger.remove(sink)


async def test_scan_comes_before_live_and_each_collection_gets_its_own(
    mongo: MongoReplicaSet, client: Client, database: str
) -> None:
    old = await insert(client, database, 3, open=True)
    closed = await insert(client, database, 3, open=False)
    async with running(process(mongo, database)) as one:
        await until(lambda: one.ids(Cause.START) == old)
        mints = await insert(client, database, 5)
        burns = await insert(client, database, 5, "burn")
        await insert(client, database, 5, "elsewhere")
        await until(lambda: len(one.ids(Cause.CHANGE)) >= 10)
        assert {found for name, found, why in one.seen if name == "mint" and why is Cause.CHANGE} == mints
        assert {found for name, found, _ in one.seen if name == "burn"} == burns
        assert not closed & one.ids()
        assert one.feed.counters.events == 10


@pytest.mark.parametrize(
    "data",
    [
        {"failCommands": ["getMore"], "errorCode": 11601},
        {"failCommands": ["getMore"], "errorCode": 43},
        {"failCommands": ["getMore"], "errorCode": 10107},
        {"failCommands": ["getMore"], "closeConnection": True},
        {"failCommands": ["getMore", "aggregate"], "errorCode": 11600},
        {"failCommands": ["getMore", "aggregate"], "closeConnection": True},
    ],
)
async def test_no_event_is_lost_when_the_stream_is_killed(
    mongo: MongoReplicaSet, client: Client, database: str, data: dict[str, Any]
) -> None:
    async with running(process(mongo, database)) as one:
        written = await insert(client, database, 10)
        for _ in range(3):
            await fail(client, data, times=2)
            written |= await insert(client, database, 20)
            written |= await insert(client, database, 20, "burn")
        await until(lambda: one.ids(Cause.CHANGE) >= written)
        assert one.feed.counters.history_lost == 0
        assert one.ids() == written


@pytest.mark.parametrize("code", [286, 280, 260, 136, 10334])
async def test_lost_history_is_loud_and_rescanned(
    mongo: MongoReplicaSet, client: Client, database: str, errors: list[str], code: int
) -> None:
    async with running(process(mongo, database)) as one:
        old = await insert(client, database, 4, open=True)
        await until(lambda: one.ids(Cause.CHANGE) == old)
        await fail(client, {"failCommands": ["getMore"], "errorCode": code}, times=1)
        await until(lambda: one.ids(Cause.START) == old)
        assert one.feed.counters.history_lost == 1
        assert "history is lost" in errors[0]
        new = await insert(client, database, 4)
        await until(lambda: one.ids(Cause.CHANGE) >= new)


async def test_a_token_and_a_time_that_the_oplog_has_left_behind(database: str, errors: list[str]) -> None:
    async with (
        MongoReplicaSet(oplog_size_mb=1, extra=("--syncdelay", "1")) as small,
        AsyncMongoClient[dict[str, Any]](small.uri, w="majority") as client,
    ):
        disk: dict[str, Token] = {}
        async with running(process(small, database, disk)):
            old = await insert(client, database, 2, open=True)
        old |= await insert(client, database, 2, open=True)
        async with asyncio.timeout(BOUND):
            while await oldest(client) < Timestamp(int(disk["token"]["_data"][2:10], 16) + 1, 0):
                await insert(client, database, 20, "elsewhere", blob="x" * 100_000)
        async with running(process(small, database, disk)) as two:
            await until(lambda: two.ids(Cause.START) == old)
            assert two.feed.counters.history_lost == 1
            assert "286" in errors[0]
            new = await insert(client, database, 2)
            await until(lambda: two.ids(Cause.CHANGE) >= new)

        three = process(small, database, {"token": {"_data": "00"}})
        opened: list[Token | None] = []
        really = three.feed._open

        async def open_too_early(stream_client: Client, token: Token | None) -> Any:
            opened.append(token)
            if len(opened) > 1:
                return await really(stream_client, token)
            return await stream_client[database].watch(start_at_operation_time=Timestamp(1, 1))

        three.feed._open = open_too_early  # type: ignore[method-assign,assignment]
        async with running(three):
            await until(lambda: three.ids(Cause.START) == old)
            assert three.feed.counters.history_lost == 1
            assert opened == [{"_data": "00"}, None]


async def oldest(client: Client) -> Timestamp:
    # A read of the oplog itself dies where its beginning is just being cut off (136).
    said = await client.admin.command({"serverStatus": 1, "oplog": 1})
    return said["oplog"]["earliestOptime"]  # type: ignore[no-any-return]


@pytest.mark.parametrize("token", [{"_data": "rubbish"}, {"other": 1}, {"_data": "8200"}, "no mapping", {}])
async def test_a_worthless_saved_token_costs_a_scan_and_not_the_process(
    mongo: MongoReplicaSet, client: Client, database: str, token: Any
) -> None:
    old = await insert(client, database, 2, open=True)
    async with running(process(mongo, database, {"token": token})) as one:
        await until(lambda: one.ids(Cause.START) == old)
        new = await insert(client, database, 2)
        await until(lambda: one.ids(Cause.CHANGE) == new)
        await until(lambda: one.disk["token"] != token)


async def test_huge_documents_do_not_end_the_stream(mongo: MongoReplicaSet, client: Client, database: str) -> None:
    async with running(process(mongo, database)) as one:
        huge = await insert(client, database, 1, blob="x" * (15 * 1024 * 1024))
        for found in huge:
            await client[database]["mint"].update_one({"_id": found}, {"$set": {"blob": "y" * (15 * 1024 * 1024)}})
            await client[database]["mint"].replace_one({"_id": found}, {"blob": "z" * (15 * 1024 * 1024)})
        small = await insert(client, database, 1)
        await until(lambda: one.ids(Cause.CHANGE) == huge | small)
        assert one.feed.counters.history_lost == one.feed.counters.restarts == 0


async def test_ids_of_other_types_are_ignored_however_large(mongo: MongoReplicaSet, client: Client, database: str) -> None:
    async with running(process(mongo, database)) as one:
        for weird in (1, "text", 1.5, {"a": 1}, b"bytes", None, True, "x" * (7 * 1024 * 1024)):
            await client[database]["mint"].insert_one({"_id": weird})
        good = await insert(client, database, 3)
        await until(lambda: one.ids(Cause.CHANGE) >= good)
        assert one.ids() == good
        assert one.feed.counters.history_lost == 0


async def test_a_dropped_collection_and_database_are_noticed_and_survived(
    mongo: MongoReplicaSet, client: Client, database: str, errors: list[str]
) -> None:
    async with running(process(mongo, database)) as one:
        await insert(client, database, 1)
        kept = await insert(client, database, 1, "burn", open=True)
        await insert(client, database, 1, "elsewhere")
        await client[database].drop_collection("elsewhere")
        await client[database].drop_collection("mint")
        await until(lambda: one.ids(Cause.START) == kept)
        assert one.notices == [Notice("mint", "drop")]
        assert "drop" in errors[0]
        await client.drop_database(database)
        await until(lambda: one.notices[-1].operation == "invalidate")
        new = await insert(client, database, 3)
        await until(lambda: one.ids(Cause.CHANGE) >= new)
        await client[database]["mint"].rename("mint_old")
        await until(lambda: one.notices[-1] == Notice("mint", "rename"))
        assert one.feed.counters.history_lost == 0


async def test_a_restart_resumes_behind_finished_work_and_loses_nothing(
    mongo: MongoReplicaSet, client: Client, database: str
) -> None:
    disk: dict[str, Token] = {}
    async with running(process(mongo, database, disk)) as one:
        first = await insert(client, database, 5)
        await until(lambda: one.ids() == first and one.feed.in_flight == 0)
        await until(lambda: disk["token"] == one.feed.position)
    away = await insert(client, database, 5)
    async with running(process(mongo, database, disk)) as two:
        await until(lambda: two.ids(Cause.CHANGE) >= away)
        assert two.ids() == away, "what was finished before is not handled again"


async def test_the_token_stays_before_unfinished_work(mongo: MongoReplicaSet, client: Client, database: str) -> None:
    disk: dict[str, Token] = {}
    one = process(mongo, database, disk)
    async with running(one):
        one.gate.clear()
        held = await insert(client, database, 5)
        await until(lambda: one.feed.in_flight >= 5)
        # What an idle stream reached before them may be saved yet.
        await until(lambda: disk.get("token") == one.feed.position)
        before, saves = dict(disk), one.feed.counters.saves
        await asyncio.sleep(0.5)  # several save intervals: the negative needs some time to have had its chance
        assert disk == before
        assert one.feed.counters.saves == saves
        one.dispatcher._limits = Limits(grace=0.1)
    assert not one.seen
    async with running(process(mongo, database, disk)) as two:
        await until(lambda: two.ids(Cause.CHANGE) == held)


async def test_the_position_follows_an_idle_stream(mongo: MongoReplicaSet, client: Client, database: str) -> None:
    async with running(process(mongo, database)) as one:
        await until(lambda: "token" in one.disk)
        first = one.disk["token"]
        await insert(client, database, 1, "elsewhere")
        await until(lambda: one.disk["token"] != first)
        age = one.feed.position_age()
        assert age is not None
        assert age < BOUND


async def test_a_save_that_fails_stops_nothing(mongo: MongoReplicaSet, client: Client, database: str) -> None:
    one = process(mongo, database)

    async def full(token: Token) -> None:
        raise OSError(28, "No space left on device")

    one.feed._save_token = full
    async with running(one):
        new = await insert(client, database, 3)
        await until(lambda: one.ids() == new and one.feed.counters.save_failures > 1)
        one.feed._save_token = one.save
        await until(lambda: "token" in one.disk)


async def test_a_failing_scan_is_tried_again_before_going_live(mongo: MongoReplicaSet, client: Client, database: str) -> None:
    old = await insert(client, database, 2, open=True)
    one = process(mongo, database)
    ids = one.reactor._open["mint"]
    tries = 0

    async def sometimes() -> AsyncIterator[Hashable]:
        nonlocal tries
        tries += 1
        if tries < 3:
            assert not one.feed.live.is_set()
            raise ConnectionError("no primary")
        async for found in ids():
            yield found

    one.reactor._open["mint"] = sometimes
    async with running(one):
        await until(lambda: one.ids(Cause.START) == old)
        assert one.feed.counters.scan_failures == 2


async def test_a_fault_of_the_engine_itself_ends_the_run(mongo: MongoReplicaSet, client: Client, database: str) -> None:
    one = process(mongo, database)

    def broken(wakeup: object) -> None:
        raise ZeroDivisionError("a bug in the dispatcher")

    one.dispatcher.ring = broken  # type: ignore[method-assign]
    task = asyncio.create_task(one.reactor.run(asyncio.Event()))
    await until(one.feed.live.is_set)
    await insert(client, database, 1)
    with pytest.raises(ExceptionGroup) as caught:
        await asyncio.wait_for(task, BOUND)
    assert caught.group_contains(RuntimeError, match="flow of wake-ups")
