"""A shared database that is configured or answers anyhow: its readers fail as callers expect, with no secret and no endless wait.

`HYPOTHESIS_PROFILE=long`: 20,000 connection strings and replies (`make test`: a few hundred).
"""

import asyncio
import contextlib
import logging
from random import Random
from typing import Any

import pytest
from bson import ObjectId
from hypothesis import given
from hypothesis import strategies as st
from pymongo import common
from pymongo.errors import PyMongoError

from reactor.documents.statuses import Collection, Status
from reactor.foreign import register_secrets
from reactor.mongo_uri import KEPT, OURS, REFUSED, MongoUriProblem, parse_mongo_uri
from reactor.sentences import sentence
from reactor.store import renewal, retrying
from reactor.store.connection import Store, try_clients
from reactor.store.heartbeats import each_heartbeat, heartbeats_at, read_heartbeats
from reactor.store.oplog import oplog_times
from reactor.store.problem import StoreProblem
from reactor.store.reading import Found, find_ids, open_page, read
from reactor.store.tail import Row, counts, find, oldest
from tests.property.fuzzing import damaged_text
from tests.property.hostile_mongo import FIRST, HostileMongo, documents, replies, rows, values
from tests.property.searching import LONG, search_settings
from tests.unit.journal_helpers import BRIDGE
from tests.unit.test_mongo_uri import GOOD

pytestmark = pytest.mark.property

STRINGS, REPLIES, CONNECTIONS = (8_000, 10_000, 2_000) if LONG else (300, 200, 40)
HUNG = 60.0
"""Far above what the time-outs below allow: only what waits without a reason takes longer."""
PASSWORD = "hunter2-hunter2"
HASH = "ab" * 32


def fuzzed(examples, strategy):
    def decorate(test):
        return search_settings(examples)(given(strategy)(test))

    return decorate


# --- connection strings ----------------------------------------------------------------------------------------------

HOSTS = (
    "db-1", "db-1:27017,db-2:27018", "db-1,", ",", "", "[::1]:27017", "[::1", "::1", "127.0.0.1:0", "h:99999", "h:x", "H.X.",
    "%2Ftmp%2Fmongod.sock", "h%2Fx", "ü.example", "a" * 300, "h/../x", "h:27017:1", "*", "h h", "h\x00",
)  # fmt: skip
USERS = (
    "", "user@", f"user:{PASSWORD}@", f"user:{PASSWORD}@x@", f"us%40er:{PASSWORD}%2F@", f":{PASSWORD}@", f"user:{PASSWORD}/@",
    "%@",
)  # fmt: skip
DATABASES = ("", "/", "/bridge", "/a.b", "/a$b", "/a b", "/%00", "//", f"/{'x' * 100}", "/admin/x")
SOUND = [f"{name}={value}" for name, value in GOOD.items()]
OPTION_VALUES = (
    "", "0", "1", "-1", "5", "true", "false", "TRUE", "yes", "rs0", "majority", "primary", "MONGODB-X509", "SCRAM-SHA-256",
    "GSSAPI", "MONGODB-AWS", "MONGODB-OIDC", "PLAIN", "$external", "zstd,snappy,zlib", "zlib", "zip", ",", "A:B", "9" * 30,
    "ENVIRONMENT:k8s", "1e3",
    "NaN", "inf", "%", "%zz", "%00", "a=b", "/nonexistent", "/", PASSWORD, "x" * 500, "é", "dc:ny", "standard",
)  # fmt: skip
names = st.sampled_from([*KEPT, *OURS, *REFUSED]) | st.sampled_from(
    ["TLS", "replicaset", "minpoolsize", "nonsense", "", PASSWORD]
)
odd_options = st.tuples(names, st.sampled_from(OPTION_VALUES)).map("=".join)
options = st.lists(st.sampled_from(SOUND), max_size=3) | st.lists(st.sampled_from(SOUND) | odd_options, max_size=4)
strings = st.builds(
    lambda scheme, user, host, database, given, joint: f"{scheme}{user}{host}{database}{'?' if given else ''}{joint.join(given)}",
    st.sampled_from(["mongodb://"] * 6 + ["mongodb+srv://", "MONGODB://", "mongodb:", "http://", ""]),
    st.just("") | st.sampled_from(USERS),
    st.sampled_from(HOSTS[:2]) | st.sampled_from(HOSTS),
    st.sampled_from(DATABASES[:3]) | st.sampled_from(DATABASES),
    options,
    st.sampled_from(["&", "&", "&", ";", "&&", "?"]),
)
damaged = st.tuples(strings, st.integers(0, 2**32)).map(lambda pair: damaged_text(Random(pair[1]), [pair[0]]))


def caught(call, kind):
    """What a call gives, or the error of this kind that it raises; any other is the test's."""
    try:
        return call(), None
    except kind as error:
        return None, error


def must_keep_quiet(problem):
    said = str(problem) + repr(problem)
    assert (PASSWORD[:8] in said, said.isprintable(), len(said) < 1500, problem.__cause__) == (False, True, True, None)


@pytest.mark.timeout(7200 if LONG else 900)
def test_any_connection_string_is_judged_the_same_way_by_all_who_take_it():
    made = []
    loop = asyncio.new_event_loop()

    @fuzzed(STRINGS, strings | strings | damaged)
    def one(uri):
        parsed, problem = caught(lambda: parse_mongo_uri(uri), MongoUriProblem)
        if problem is not None:
            must_keep_quiet(problem)
            with pytest.raises(StoreProblem):
                Store(uri, "bridge", {}, 100)
            return
        told = " ".join((*parsed.notes, *parsed.warnings))
        assert (PASSWORD[:8] in told, told.isprintable()) == (False, True)
        _, problem = caught(lambda: loop.run_until_complete(try_clients(uri, "bridge", {}, 100)), StoreProblem)
        if problem is None:
            made.append(uri)
        else:  # a file that it names
            assert "tls" in uri.lower()
            must_keep_quiet(problem)

    one()
    loop.close()
    assert len(made) > STRINGS / 50, "some are good: else nothing was tried"


# --- answers ---------------------------------------------------------------------------------------------------------

FIELDS = (
    "_id", "size", "raw", "holds", "transaction_hash", "count", "status", "waiting", "waiting_at", "moved_at", "created_at",
    "updated_at", "signers", "validator_id", "hostname", "eth_address", "burn_index",
)  # fmt: skip
row = st.dictionaries(st.sampled_from(FIELDS), st.just(FIRST) | st.just({"transaction_hash": [HASH]}) | values, max_size=8)
row_lists = st.lists(row | row | row | values, max_size=4)


async def _all(found: Any) -> list[Any]:
    return [one async for one in found]


READERS = {
    "read": lambda store: read(store, Collection.MINT, [FIRST]),
    "find_ids": lambda store: find_ids(store, Collection.MINT, [(HASH,)]),
    "open_page": lambda store: open_page(store, Collection.BURN, "pending", BRIDGE, after=None, size=5),
    "read_heartbeats": read_heartbeats,
    "heartbeats_at": lambda store: heartbeats_at(store, [FIRST]),
    "each_heartbeat": lambda store: _all(each_heartbeat(store)),
    "counts": counts,
    "oldest": lambda store: oldest(store, Status.PENDING),
    "find": lambda store: find(store, HASH),
    "oplog_times": oplog_times,
}


def must_be_sound(name, found):
    """What a reader gives is of the types that it promises, whatever came."""
    match name:
        case "read":
            assert all(
                isinstance(key, ObjectId) and isinstance(one, Found) and type(one.size) is int for key, one in found.items()
            )
        case "find_ids":
            assert set(found) <= {(HASH,)}
        case "open_page":
            assert all(isinstance(one, ObjectId) for one in found)
        case "read_heartbeats" | "heartbeats_at" | "each_heartbeat":
            assert all(isinstance(one, dict) for one in found)
        case "counts":
            assert all(type(one) is int for each in found.values() for one in each.open.values())
        case "oldest":
            assert all(isinstance(one, Row) and isinstance(one.status, str) for one in found)
        case "find":
            assert all(isinstance(one, dict) for _, one in found)


@pytest.fixture(autouse=True)
def _quick(monkeypatch):
    register_secrets(PASSWORD)
    # The driver looks at a server that failed twice a second at most; here it is looked at once it is asked.
    monkeypatch.setattr(common, "MIN_HEARTBEAT_INTERVAL", 0.001)
    monkeypatch.setattr(retrying, "ATTEMPTS", 2)
    monkeypatch.setattr(retrying, "_FIRST_WAIT", 0.001)
    monkeypatch.setattr(retrying, "_LONGEST_WAIT", 0.001)


@pytest.fixture
def server():
    with HostileMongo() as running:
        yield running


@pytest.mark.timeout(7200 if LONG else 900)
def test_whatever_the_database_answers_ends_a_read_at_most(server):
    """One client for all: what came before must not spoil what comes after."""
    ended: set[str] = set()
    loop = asyncio.new_event_loop()
    store = loop.run_until_complete(_store(server))

    async def one_read(name) -> None:
        try:
            async with asyncio.timeout(HUNG):
                must_be_sound(name, await READERS[name](store))
            ended.add("well")
        except PyMongoError as error:
            said = sentence(error)
            assert (PASSWORD in said, said.isprintable(), len(said) < 400) == (False, True, True)
            ended.add(type(error).__name__)

    @fuzzed(REPLIES, st.tuples(st.sampled_from(sorted(READERS)), replies(row_lists)))
    def one(drawn):
        name, reply = drawn
        server.answer = lambda command: reply
        loop.run_until_complete(one_read(name))

    try:
        one()
        assert {"well", "UnreadableAnswer", "OperationFailure"} <= ended
        server.answer = lambda command: rows([{"_id": FIRST, "size": 5, "raw": {}}])
        loop.run_until_complete(_until_read(store))
    finally:
        loop.run_until_complete(store.close())
        loop.close()


async def _store(server) -> Store:
    return Store(server.uri, "bridge", {}, 300)


async def _until_read(store: Store) -> None:
    """The server answers well again: so does the reader, once the driver has seen it."""
    async with asyncio.timeout(HUNG):
        while True:
            try:
                assert (await read(store, Collection.MINT, [FIRST]))[FIRST] == Found({}, 5)
            except PyMongoError:
                await asyncio.sleep(0.01)
                continue
            return


GREETED = (
    "ok", "isWritablePrimary", "setName", "hosts", "me", "maxBsonObjectSize", "maxMessageSizeBytes", "maxWriteBatchSize", "msg",
    "minWireVersion", "maxWireVersion", "logicalSessionTimeoutMinutes", "compression", "saslSupportedMechs", "setVersion",
    "electionId", "topologyVersion", "speculativeAuthenticate", "primary", "secondary", "lastWrite", "serviceId", "$clusterTime",
)  # fmt: skip
greetings = st.dictionaries(st.sampled_from(GREETED), values, max_size=3)


# The driver leaves a connection to the collector where a greeting makes it break off.
@pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.timeout(7200 if LONG else 900)
def test_whoever_answers_at_that_address_a_connection_ends_with_a_problem_or_well(server, caplog):
    """The greeting, the login and the first questions, over any replies."""
    caplog.set_level(logging.INFO)
    uri = f"mongodb://user:{PASSWORD}@127.0.0.1:{server.port}/?replicaSet=rs0&authSource=admin"

    async def connect(address: str) -> None:
        async with asyncio.timeout(HUNG):
            store = await Store.connect(address, "bridge", timeout_ms=100)
        await store.close()

    @fuzzed(CONNECTIONS, st.tuples(st.booleans(), greetings | st.just({}) | documents, replies(row_lists)))
    def one(drawn):
        login, server.greeting, reply = drawn
        server.answer = lambda command: reply
        _, problem = caught(lambda: asyncio.run(connect(uri if login else server.uri)), StoreProblem)
        if problem is not None:
            must_keep_quiet(problem)
        assert PASSWORD not in caplog.text
        caplog.clear()

    one()


@pytest.mark.filterwarnings("ignore:Exception ignored in:pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize(
    "greeting",
    [
        {"maxWireVersion": "x"},
        {"setName": 5},
        {"setName": "another"},
        {"setName": None},
        {"hosts": ["127.0.0.1:1"]},
        {"hosts": 7},
        {"ok": 0},
        {"topologyVersion": "x"},
        {"logicalSessionTimeoutMinutes": {}},
    ],
    ids=str,
)
async def test_a_server_that_greeted_wrongly_is_used_once_it_greets_as_it_should(server, greeting, monkeypatch):
    """Whatever it breaks in the driver, the same store goes on, with another client where the driver has forgotten the server."""
    monkeypatch.setattr(renewal, "FORGOTTEN_SECONDS", 0.0)
    monkeypatch.setattr(renewal, "AWAY_SECONDS", 0.0)
    server.answer = lambda command: rows([{"_id": FIRST, "size": 5, "raw": {}}])
    server.greeting = greeting
    store = Store(server.uri, "bridge", {}, 300)
    try:
        for _ in range(3):
            with contextlib.suppress(PyMongoError):
                await read(store, Collection.MINT, [FIRST])
        server.greeting = {}
        await _until_read(store)
    finally:
        await store.close()


async def test_an_honest_server_passes_the_same_test(server):
    """The twin: the harness does not refuse everything."""
    server.answer = lambda command: rows([])
    async with await Store.connect(server.uri, "bridge", timeout_ms=5000) as store:
        server.answer = lambda command: rows([{"_id": FIRST, "size": 5, "raw": {}}])
        assert await read(store, Collection.MINT, [FIRST]) == {FIRST: Found({}, 5)}
