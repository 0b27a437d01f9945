"""Stops are told later where the shared database was away: kept with the stop, written in order, each once."""

import asyncio
from datetime import UTC, datetime
from typing import Any

import pytest
from pymongo.errors import ServerSelectionTimeoutError

from reactor import audits
from reactor.audits import AuditSender
from reactor.engine.clock import SystemClock
from reactor.engine.loops import Loops
from reactor.state.journal import Journal
from reactor.state.problems import StateProblem
from tests.unit.journal_helpers import BRIDGE

pytestmark = pytest.mark.unit

AT = datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=UTC)


def entry(number: int, why: str = "x") -> dict[str, Any]:
    return {"_id": f"{number:024x}", "at": AT, "by": "alice", "why": why, "verb": "pause", "arguments": ["mint"], "evaluated": 0}


@pytest.fixture
def database(monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """The audit collection: `lies` by `_id`, `away` while it cannot be reached; `tried`, `written`: events."""
    state: dict[str, Any] = {"lies": {}, "away": False, "tried": asyncio.Event(), "written": asyncio.Event()}

    async def write(_store: Any, given: dict[str, Any]) -> None:
        state["tried"].set()
        if state["away"]:
            raise ServerSelectionTimeoutError("no server")
        state["lies"].setdefault(given["_id"], given)
        state["written"].set()

    monkeypatch.setattr(audits, "write_audit", write)
    return state


def sender(journal: Journal) -> AuditSender:
    return AuditSender(None, journal, Loops(SystemClock()), pause=0.01)  # type: ignore[arg-type]


def test_a_stop_and_its_entry_come_together(journal: Journal) -> None:
    made, number = journal.stop(["signing", "recipient:0x1"], "operator", "alice", "odd", entry(1))
    assert [(one.scope, one.detail, one.by) for one in journal.holds()] == [
        ("signing", "odd", "alice"), ("recipient:0x1", "odd", "alice")
    ]  # fmt: skip
    assert made == {"signing": 1, "recipient:0x1": 2}
    (kept,) = journal.unsent_audits()
    assert (kept.number, kept.entry) == (number, entry(1))


def test_neither_is_there_where_the_disk_refuses_one_of_them(journal: Journal) -> None:
    with pytest.raises(TypeError, match="JSON"):
        journal.stop(["signing"], "operator", "alice", "odd", {**entry(1), "arguments": {1, 2}})
    with pytest.raises(StateProblem):
        journal.stop(["signing"], "operator", "alice", None, entry(1))  # type: ignore[arg-type]
    assert (journal.holds(), journal.unsent_audits()) == ([], [])


def test_a_journal_of_before_has_kept_none(journal: Journal) -> None:
    assert journal.unsent_audits() == []


def test_what_it_concerns_is_added_and_nothing_comes_back_once_it_is_sent(journal: Journal) -> None:
    _, number = journal.stop(["signing"], "operator", "alice", "odd", entry(1))
    journal.amend_audit(number, {**entry(1), "evaluated": 7})
    assert [one.entry["evaluated"] for one in journal.unsent_audits()] == [7]
    journal.audits_sent([number])
    journal.amend_audit(number, entry(1))
    assert journal.unsent_audits() == []


async def test_the_running_validator_writes_them_once_the_database_is_back(journal: Journal, database: dict[str, Any]) -> None:
    database["away"] = True
    # Another process, as the verbs are.
    desk = Journal.open(journal._db.path.parent, BRIDGE)
    for number in (1, 2, 3):
        desk.stop([f"recipient:0x{number}"], "operator", "alice", "odd", entry(number))
    stop = asyncio.Event()
    task = asyncio.create_task(sender(journal).run(stop))
    try:
        await asyncio.wait_for(database["tried"].wait(), 60)
        assert len(journal.unsent_audits()) == 3
        database["away"] = False
        await asyncio.wait_for(database["written"].wait(), 60)
    finally:
        stop.set()
        await task
    assert list(database["lies"].values()) == [entry(1), entry(2), entry(3)]
    assert journal.unsent_audits() == []
    desk.close()


async def test_one_that_was_written_though_nobody_heard_so_is_one_entry(journal: Journal, database: dict[str, Any]) -> None:
    journal.stop(["signing"], "operator", "alice", "odd", entry(1))
    database["lies"][entry(1)["_id"]] = "as it was written"
    await sender(journal).send()
    assert database["lies"] == {entry(1)["_id"]: "as it was written"}
    assert journal.unsent_audits() == []
