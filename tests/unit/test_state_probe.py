"""Whether journal and ledger take a write is tried for real; and that something was written is noticed without reading it."""

import sqlite3
from collections.abc import Callable
from contextlib import closing, suppress
from pathlib import Path

import pytest

from reactor.state.database import Database
from reactor.state.problems import StateProblem
from reactor.state.runs import last_run, note_run
from tests.unit.handler_world import World

pytestmark = pytest.mark.unit


@pytest.fixture(params=["journal", "ledger"])
def probe(request: pytest.FixtureRequest, world: World) -> Callable[[], None]:
    return getattr(world, request.param).probe


@pytest.fixture
def database(probe: Callable[[], None]) -> Database:
    return probe.__self__._db  # type: ignore[attr-defined]


def pages(database: Database) -> int:
    return int(database._connection().execute("PRAGMA page_count").fetchone()[0])


def test_what_can_be_written_to_does_not_grow_by_being_tried(probe: Callable[[], None], database: Database) -> None:
    for _ in range(3):
        probe()
    before = pages(database)
    for _ in range(50):
        probe()
    assert pages(database) == before
    assert database.read("SELECT count(*) FROM probe") == [(1,)]


def fill(database: Database) -> None:
    """SQLite's own limit on the file stands for the disk; then what room is left in it is used up."""
    connection = database._connection()
    connection.execute("CREATE TABLE filler (content BLOB)")
    connection.execute(f"PRAGMA max_page_count = {pages(database) + 4}")
    with suppress(sqlite3.OperationalError):
        while True:
            connection.execute("INSERT INTO filler VALUES (zeroblob(3000))")


@pytest.mark.parametrize("tried", [0, 3])
def test_a_full_disk_is_found_however_often_it_was_tried_before(
    probe: Callable[[], None], database: Database, tried: int
) -> None:
    for _ in range(tried):
        probe()
    fill(database)
    for _ in range(3):
        with pytest.raises(StateProblem, match="full") as found:
            probe()
        assert "free some space" in found.value.remedy
    database._connection().execute("PRAGMA max_page_count = 1000000")
    probe()


def test_a_file_that_may_not_be_written_to_is_found(probe: Callable[[], None], database: Database) -> None:
    database._connection().execute("PRAGMA query_only = 1")
    with pytest.raises(StateProblem):
        probe()
    database._connection().execute("PRAGMA query_only = 0")
    probe()


def test_the_probe_changes_nothing_that_was_signed_or_is_held(world: World) -> None:
    before = world.journal.export()
    world.journal.probe()
    assert world.journal.export() == before


def test_what_anybody_writes_is_noticed(world: World) -> None:
    """The own writes, and those of an operator's command in another process."""
    first = world.journal.changes()
    assert world.journal.changes() == first
    number = world.journal.hold("signing", "operator", "", "me")
    second = world.journal.changes()
    assert second != first
    with closing(sqlite3.connect(world.journal._db.path)) as other:
        other.execute("UPDATE holds SET released_at = 1 WHERE id = ?", (number,))
        assert world.journal.changes() == second, "not committed yet"
        other.commit()
    assert world.journal.changes() != second
    assert world.journal.holds() == []


def test_the_last_run_is_the_one_noted_last(tmp_path: Path) -> None:
    assert last_run(tmp_path) == ""
    (tmp_path / "reactor.lock").touch()
    for name in ("one", "two"):
        note_run(tmp_path, name)
        assert last_run(tmp_path) == name
    (tmp_path / "runs").write_bytes(b"\xff\xfe")
    assert last_run(tmp_path) == ""
    (tmp_path / "runs").write_text("\n")
    assert last_run(tmp_path) == ""
