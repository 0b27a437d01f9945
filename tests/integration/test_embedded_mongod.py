"""The embedded replica set: what it promises when all is well and when nodes die, hang or come back."""

import os
import stat
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from pymongo import AsyncMongoClient
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.errors import OperationFailure, PyMongoError

from infra.localnet import mongod
from infra.localnet.mongod import MongodNotFoundError, MongoReplicaSet, development_mongo, find_mongod
from infra.localnet.ports import is_free
from infra.localnet.processes import ProcessError, wait_until

pytestmark = pytest.mark.integration

WAIT_SECONDS = 120.0
Items = AsyncCollection[dict[str, Any]]


@asynccontextmanager
async def items_of(uri: str) -> AsyncIterator[Items]:
    async with AsyncMongoClient[dict[str, Any]](
        uri, serverSelectionTimeoutMS=2000, connectTimeoutMS=1000, heartbeatFrequencyMS=500, w="majority"
    ) as client:
        yield client["bridge"]["items"]


async def written(items: Items, key: int) -> None:
    """Write `key` as soon as the set allows it: whatever comes in between is tried again."""

    async def write() -> bool:
        try:
            await items.replace_one({"_id": key}, {}, upsert=True)
        except PyMongoError:
            return False
        return True

    await wait_until(write, seconds=WAIT_SECONDS, what=f"a majority write of {key}")


async def test_one_node_takes_majority_writes_and_streams_changes() -> None:
    async with MongoReplicaSet() as mongo, items_of(mongo.uri) as items:
        assert await mongo.primary() == 0
        hello = await items.database.client.admin.command("hello")
        assert (hello["setName"], hello["me"]) == ("rs0", f"127.0.0.1:{mongo.ports[0]}")
        async with await items.watch() as stream:
            await items.insert_one({"_id": 1})
            assert (await stream.next())["documentKey"] == {"_id": 1}
        # Being ready left nothing in anybody's database.
        assert await items.database.list_collection_names() == ["items"]


async def test_closing_leaves_nothing_behind() -> None:
    async with MongoReplicaSet() as mongo:
        process, log = mongo.node(0), mongo.node(0).log
        assert process.running
        assert log.exists()
    assert not process.running
    assert not log.parent.exists()
    assert is_free(mongo.ports[0])


async def test_three_nodes_survive_a_killed_primary_and_a_frozen_one() -> None:
    async with MongoReplicaSet(3) as mongo, items_of(mongo.uri) as items:
        assert await mongo.primary() == 0
        await written(items, 1)

        mongo.kill(0)
        second = await mongo.primary()
        assert second != 0
        await written(items, 2)
        await mongo.start(0)

        mongo.freeze(second)
        await written(items, 3)  # so another one is primary
        assert await mongo.primary() != second
        assert mongo.node(second).running
        mongo.thaw(second)

        kept = sorted([item["_id"] async for item in items.find()])
        assert kept == [1, 2, 3]


async def test_a_minority_takes_no_majority_write() -> None:
    async with MongoReplicaSet(3) as mongo, items_of(mongo.uri) as items:
        mongo.kill(1)
        mongo.kill(2)
        with pytest.raises(TimeoutError, match="a majority write to rs0"):
            await mongo.wait_writable(seconds=3)
        await mongo.start(1)
        await written(items, 1)


async def test_a_primary_steps_down_or_is_stopped_in_order() -> None:
    # A stopped mongod waits 15 s for its clients to move on, unless told otherwise.
    quick = ["--setParameter", "shutdownTimeoutMillisForSignaledShutdown=500"]
    async with MongoReplicaSet(3, extra=quick) as mongo, items_of(mongo.uri) as items:
        await written(items, 1)
        await mongo.step_down(seconds=60)
        first = await mongo.primary()
        assert first != 0
        await mongo.stop(first)
        assert mongo.node(first).exit_code == 0
        await written(items, 2)


async def test_a_kept_directory_is_found_again(tmp_path: Path) -> None:
    async with MongoReplicaSet(directory=tmp_path / "db") as mongo, items_of(mongo.uri) as items:
        await items.insert_one({"_id": 1})
        uri = mongo.uri
        again = MongoReplicaSet(directory=tmp_path / "db")
        with pytest.raises(ProcessError, match="is it running already"):
            await again.open()
    assert mongo.node(0).exit_code == 0
    async with MongoReplicaSet(directory=tmp_path / "db") as mongo, items_of(mongo.uri) as items:
        assert mongo.uri == uri
        assert await items.count_documents({}) == 1
    with pytest.raises(ProcessError, match="holds a set of 1 nodes, not 3"):
        await MongoReplicaSet(3, directory=tmp_path / "db").open()


async def test_with_authorization_only_users_get_in(tmp_path: Path) -> None:
    for _ in range(2):  # the second time the user is there already
        async with MongoReplicaSet(authorization=True, directory=tmp_path) as mongo:
            async with items_of(mongo.uri) as items:
                await written(items, 1)
            anonymous = f"mongodb://127.0.0.1:{mongo.ports[0]}/?replicaSet=rs0"
            async with items_of(anonymous) as items:
                with pytest.raises(OperationFailure, match="requires authentication"):
                    await items.find_one()
            assert mongo.uri.split("@")[0].split(":")[2] not in repr(mongo)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


async def test_fail_points_only_when_asked_for() -> None:
    point = {"configureFailPoint": "failCommand", "mode": {"times": 1}, "data": {"failCommands": [], "errorCode": 1}}
    async with MongoReplicaSet(test_commands=True) as mongo, items_of(mongo.uri) as items:
        assert (await items.database.client.admin.command(point))["ok"] == 1
    async with MongoReplicaSet() as mongo, items_of(mongo.uri) as items:
        with pytest.raises(OperationFailure, match="configureFailPoint"):
            await items.database.client.admin.command(point)


async def test_a_small_oplog() -> None:
    async with MongoReplicaSet(oplog_size_mb=1) as mongo, items_of(mongo.uri) as items:
        statistics = await items.database.client["local"].command("collStats", "oplog.rs")
        assert statistics["maxSize"] == 1024 * 1024


async def test_a_node_that_cannot_start_says_why() -> None:
    with pytest.raises(ProcessError, match=r"(?s)mongod 0 of rs0 ended .*--noSuchOption"):
        await MongoReplicaSet(extra=["--noSuchOption"]).__aenter__()


@pytest.mark.parametrize("nodes", [0, 2, 5])
def test_other_sizes_are_refused(nodes: int) -> None:
    with pytest.raises(ValueError, match=f"nodes is {nodes}"):
        MongoReplicaSet(nodes)


async def test_the_users_own_database_comes_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MONGODB_URI", "mongodb://database.example/?replicaSet=mine")
    async with development_mongo() as uri:
        assert uri == "mongodb://database.example/?replicaSet=mine"
    monkeypatch.delenv("MONGODB_URI")
    async with development_mongo() as uri, items_of(uri) as items:
        await written(items, 1)


def _program(folder: Path, text: str) -> Path:
    file = folder / "mongod"
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(0o755)
    return file


def test_mongod_on_the_path_comes_before_the_wheel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    of_wheel = find_mongod()
    program = _program(tmp_path, "echo db version")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    assert find_mongod() == program != of_wheel


def test_no_mongod_names_the_remedy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr(mongod, "_WHEELS", ("no-such-wheel",))
    with pytest.raises(MongodNotFoundError, match=r"make setup.*MONGODB_URI"):
        find_mongod()


def test_missing_shared_libraries_are_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    complaint = "mongod: error while loading shared libraries: libcurl.so.4: cannot open shared object file"
    _program(tmp_path, f"echo '{complaint}' >&2; exit 127")
    monkeypatch.setenv("PATH", f"{tmp_path}{os.pathsep}{os.environ['PATH']}")
    with pytest.raises(MongodNotFoundError, match=r"libcurl\.so\.4.*apt-get install libcurl4"):
        find_mongod()
