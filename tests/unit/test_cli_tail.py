"""`tail` follows on, whatever the database sends: nonsense ends a session of the stream, and the next one begins."""

import asyncio
import struct
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self

import pytest
from bson import ObjectId, Timestamp
from bson.errors import InvalidBSON
from cli_unit_helpers import write_config
from pymongo.errors import AutoReconnect, OperationFailure

from reactor.cli import tail
from reactor.cli.changes import Changes
from reactor.cli.main import main
from reactor.cli.tail import Wanted
from reactor.documents.statuses import Collection
from reactor.store.problem import StoreProblem

pytestmark = pytest.mark.unit

ID = ObjectId("64" * 12)
GOOD = {
    "_id": {"_data": "1"},
    "ns": {"coll": "mints"},
    "documentKey": {"_id": ID},
    "operationType": "delete",
    "clusterTime": Timestamp(1_700_000_000, 1),
}


class Stream:
    """Gives its events, raises what is an error, and is closed then."""

    def __init__(self, *events: object) -> None:
        self.events = list(events)
        self.resume_token = {"_data": "token"}

    @property
    def alive(self) -> bool:
        return bool(self.events)

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Closed."""

    async def try_next(self) -> object:
        event = self.events.pop(0)
        if isinstance(event, Exception):
            raise event
        return event


class Server:
    """What the stream's client is given: one session after the other."""

    def __init__(self, *sessions: Stream | Exception) -> None:
        self.sessions = list(sessions)
        self.tokens: list[object] = []
        self.closed = False

    def __getitem__(self, name: str) -> Self:
        return self

    async def watch(self, pipeline: object, *, max_await_time_ms: int, start_after: object) -> Stream:
        self.tokens.append(start_after)
        session = self.sessions.pop(0)
        if isinstance(session, Exception):
            raise session
        return session

    async def close(self) -> None:
        self.closed = True


async def follow(monkeypatch: pytest.MonkeyPatch, *servers: Server | Exception) -> None:
    """`servers`: what each client in turn is given, a fault where making one fails; the last one stays."""
    left = list(servers)

    def client() -> Server:
        one = left.pop(0) if len(left) > 1 else left[0]
        if isinstance(one, Exception):
            raise one
        return one

    monkeypatch.setattr(tail, "_PAUSE_SECONDS", 0.0)
    names = {Collection.MINT: "mints"}
    store: Any = SimpleNamespace(
        names=names,
        roles={name: role for role, name in names.items()},
        database=SimpleNamespace(name="bridge"),
        stream_client=client,
    )
    known = asyncio.create_task(asyncio.sleep(0))
    await asyncio.wait_for(tail._follow(store, Wanted((Collection.MINT,), limit=1), Changes(3), known), 60)


@pytest.mark.parametrize(
    "broken",
    [
        InvalidBSON("length of the message"),
        struct.error("unpack requires 4 bytes"),
        ValueError("year 99999 is out of range"),
        RecursionError("maximum recursion depth exceeded"),
        AttributeError("'int' object has no attribute 'get'"),
        AutoReconnect("connection closed"),
        TimeoutError(),
        OperationFailure("the resume point may no longer be in the oplog", 286),
        {},
        {**GOOD, "ns": 7},
        {**GOOD, "ns": {"coll": "another"}},
        {**GOOD, "documentKey": {}},
        {**GOOD, "clusterTime": "yesterday"},
    ],
    ids=repr,
)
async def test_nonsense_of_the_database_ends_a_session_and_not_the_command(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], broken: Any
) -> None:
    first = [broken] if isinstance(broken, Exception) else []
    server = Server(*first, Stream(None, broken, GOOD), Stream(GOOD))
    await follow(monkeypatch, server)
    assert server.closed
    assert len(server.tokens) == 2 + len(first)
    out, err = capsys.readouterr()
    assert "removed" in out
    assert err.count("it is resumed") + err.count("history of the change stream is lost") == 1 + len(first)


async def test_an_outage_of_the_database_is_told_once_and_its_end_too(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    away = [AutoReconnect("connection refused")] * 30
    await follow(monkeypatch, Server(Stream(None, *away[:1]), *away, Stream(None), Stream(*away[:1]), Stream(GOOD)))
    told = [line for line in capsys.readouterr().err.splitlines() if line.startswith("warning: ")]
    assert [line.partition(" (")[0] for line in told] == [
        "warning: the change stream broke",
        "warning: the change stream goes on",
        "warning: the change stream broke",
        "warning: the change stream goes on",
    ]


async def test_where_no_other_client_can_be_made_it_follows_on_with_the_one_it_has(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A certificate is exchanged just when the stream breaks."""
    gone = StoreProblem("mongo.uri", "the file ca.pem that it names cannot be read", "check tlsCAFile")
    broken = [AutoReconnect("connection refused")] * 2
    first, second = Server(*broken), Server(Stream(GOOD))
    await follow(monkeypatch, first, gone, second)
    assert (first.sessions, first.closed, second.sessions, second.closed) == ([], True, [], True)
    assert "removed" in capsys.readouterr().out


@pytest.mark.parametrize(("option", "wrong"), [("--status", "nonsense"), ("--collection", "mints"), ("--status", "")])
def test_what_is_none_of_the_names_is_called_what_it_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], option: str, wrong: str
) -> None:
    assert main(["tail", option, wrong, "-c", str(write_config(tmp_path))]) == 2
    said = capsys.readouterr().err
    assert f"{option}: {wrong or 'nothing'} is no {option[2:]}\n" in said
    assert "give one of" in said


async def test_an_output_that_cannot_be_written_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    def closed(_: str) -> None:
        raise BrokenPipeError

    monkeypatch.setattr(tail, "say", closed)
    with pytest.raises(BrokenPipeError):
        await follow(monkeypatch, Server(Stream(GOOD), Stream(GOOD)))
