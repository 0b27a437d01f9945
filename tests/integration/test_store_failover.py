"""Writes while primaries change and commands fail, and what is said when there is no usable server."""

import asyncio
import gc
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from pymongo import AsyncMongoClient
from pymongo.errors import OperationFailure
from store_helpers import LATER, mint, new_store, now_is, put, replica_set

from infra.localnet.mongod import MongoReplicaSet, find_mongod
from infra.localnet.ports import free_ports
from infra.localnet.processes import ChildProcess, accepts_connections
from reactor.documents.statuses import Collection, Status
from reactor.store.bulk import Written, bulk
from reactor.store.connection import Store
from reactor.store.insert import insert_missing
from reactor.store.problem import StoreProblem
from reactor.store.reading import read
from reactor.store.updates import Update, advance

pytestmark = [
    pytest.mark.integration,
    # A driver that is closed while it connects leaves its socket to the garbage collector.
    pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"),
]

MINT = Collection.MINT


@pytest.fixture(autouse=True)
def sockets() -> Iterator[None]:
    """Such a socket is collected in the test that left it."""
    yield
    gc.collect()


@pytest.fixture(scope="module")
def mongo() -> Iterator[MongoReplicaSet]:
    with replica_set(test_commands=True) as mongo:
        yield mongo


@pytest.fixture
async def store(mongo: MongoReplicaSet) -> AsyncIterator[Store]:
    async with new_store(mongo.uri, timeout_ms=5000) as store:
        yield store
        await store.client.admin.command({"configureFailPoint": "failCommand", "mode": "off"})


async def failing(store: Store, times: int, *commands: str, **how: Any) -> None:
    data = {"failCommands": list(commands), **how}
    await store.client.admin.command({"configureFailPoint": "failCommand", "mode": {"times": times}, "data": data})


def confirming(doc_id: Any) -> Update:
    return advance(MINT, doc_id, frm="pending", to=Status.CONFIRMED, by="0x", reason="final", now=LATER)


FAULTS: dict[str, dict[str, Any]] = {
    "not the primary": {"errorCode": 10107},
    "interrupted by a step-down": {"errorCode": 11602},
    "shutting down": {"errorCode": 91},
    "socket closed": {"closeConnection": True},
    "time limit": {"errorCode": 50},
}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
async def test_writes_and_reads_outlast_failures(store: Store, fault: dict[str, Any]) -> None:
    documents = [mint(number) for number in range(3)]
    await failing(store, 4, "insert", **fault)
    assert len((await insert_missing(store, MINT, documents)).inserted) == 3
    await failing(store, 4, "update", **fault)
    assert await bulk(store, [confirming(document["_id"]) for document in documents]) == [Written.APPLIED] * 3
    await failing(store, 4, "aggregate", **fault)
    found = await read(store, MINT, [document["_id"] for document in documents])
    assert {one.raw["status"] for one in found.values() if one.raw} == {"confirmed"}


async def test_what_was_written_though_the_answer_said_otherwise_is_unknown(store: Store) -> None:
    doc_id = await put(store, MINT, mint(1))
    fault = {"code": 64, "codeName": "WriteConcernFailed", "errmsg": "waiting for replication timed out"}
    await failing(store, 1, "update", writeConcernError=fault)
    assert await bulk(store, [confirming(doc_id)]) == [Written.UNKNOWN]
    raw = await now_is(store, MINT, doc_id)
    assert (raw["status"], len(raw["history"])) == ("confirmed", 1)


async def test_other_errors_are_raised_at_once(store: Store) -> None:
    doc_id = await put(store, MINT, mint(1))
    before = store.operations["update"]
    await failing(store, 5, "update", errorCode=13)
    with pytest.raises(OperationFailure):
        await bulk(store, [confirming(doc_id)])
    assert store.operations["update"] - before == 1


async def test_streams_have_a_client_of_their_own(store: Store) -> None:
    before = sum(store.operations.values())
    async with store.stream_client() as client, await client[store.database.name].watch() as stream:
        doc_id = await put(store, MINT, mint(1))
        async with asyncio.timeout(60):
            assert (await stream.next())["documentKey"] == {"_id": doc_id}
        assert client.options.server_selection_timeout == 2.5
    assert sum(store.operations.values()) - before == 1


async def test_writes_go_on_when_the_primary_steps_down() -> None:
    async with MongoReplicaSet(3) as mongo, new_store(mongo.uri, timeout_ms=60_000) as store:
        documents = [mint(number) for number in range(30)]
        await insert_missing(store, MINT, documents)
        stepping = asyncio.create_task(mongo.step_down(seconds=10))
        results = [(await bulk(store, [confirming(document["_id"])]))[0] for document in documents]
        await stepping
        late = mint(99)
        assert (await insert_missing(store, MINT, [late])).inserted in ([late["_id"]], [])
        assert await store.collection(MINT).count_documents({}) == 31
        assert Written.REFUSED not in results
        for document in documents:
            raw = await now_is(store, MINT, document["_id"])
            assert (raw["status"], len(raw["history"])) == ("confirmed", 1)


async def test_a_majority_that_is_gone_is_named() -> None:
    async with MongoReplicaSet(3) as mongo:
        primary = await mongo.primary()
        for index in {0, 1, 2} - {primary}:
            mongo.freeze(index)
        with pytest.raises(StoreProblem, match="majority"):
            await Store.connect(mongo.uri, "bridge", timeout_ms=1500)


async def test_nobody_there_is_named() -> None:
    (port,) = free_ports(1)
    with pytest.raises(StoreProblem, match=r"mongo\.uri: no primary can be reached; check host, port"):
        await Store.connect(f"mongodb://127.0.0.1:{port}/?replicaSet=rs0", "bridge", timeout_ms=500)


async def test_wrong_passwords_and_missing_roles_are_named() -> None:
    async with MongoReplicaSet(authorization=True) as mongo:
        async with AsyncMongoClient[dict[str, Any]](mongo.uri) as client:
            await client["bridge"].command({"createUser": "nobody", "pwd": "secret", "roles": []})
        bare = mongo.uri.split("@")[1].split("&")[0]
        with pytest.raises(StoreProblem, match="refuses the login") as refused:
            await Store.connect(f"mongodb://nobody:not-it@{bare}&authSource=bridge", "bridge")
        assert "not-it" not in repr(refused.value.__cause__) + str(refused.value)
        with pytest.raises(StoreProblem, match="may not read database bridge"):
            await Store.connect(f"mongodb://nobody:secret@{bare}&authSource=bridge", "bridge")


async def test_a_single_server_without_a_replica_set_is_named(tmp_path: Any) -> None:
    (port,) = free_ports(1)
    command = [find_mongod(), "--dbpath", tmp_path, "--bind_ip", "127.0.0.1", "--port", str(port), "--nounixsocket"]
    process = ChildProcess("mongod alone", command, log=tmp_path / "log")
    try:
        await process.start(lambda: accepts_connections(port), seconds=60)
        with pytest.raises(StoreProblem, match="not a replica set"):
            await Store.connect(f"mongodb://127.0.0.1:{port}/", "bridge", timeout_ms=5000)
    finally:
        process.kill()
