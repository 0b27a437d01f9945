"""The journal's file: how it comes into being, who may read it, how it reaches the disk, and what is said when it cannot."""

import errno
import fcntl
import os
import sqlite3
import stat
import threading
from dataclasses import replace
from functools import partial
from pathlib import Path

import pytest

from reactor.state.database import Database
from reactor.state.journal import Journal
from reactor.state.journal_file import CORRUPT_REMEDY, JOURNAL_FILE
from reactor.state.lock import LOCK_FILE, ProcessLock
from reactor.state.problems import JournalMissing, StateLocked, StateProblem
from reactor.state.verdicts import Allowed
from tests.unit.journal_helpers import BRIDGE, BURN, HEIGHTS, mint, payout, slot_owner

pytestmark = pytest.mark.unit

ALREADY = "use it; move it away only if it is certainly not this validator's"
NO_ROOM = "check that its directory is writable and its disk has space"


def change_meta(directory: Path, statement: str) -> None:
    connection = sqlite3.connect(directory / JOURNAL_FILE)
    connection.execute(statement)
    connection.commit()
    connection.close()


def problem_of_opening(directory: Path) -> StateProblem:
    with pytest.raises(StateProblem) as caught:
        Journal.open(directory, BRIDGE)
    return caught.value


# How it comes into being


def test_a_new_journal_is_one_file_for_its_owner_alone(tmp_path: Path) -> None:
    Journal.create(tmp_path / "a" / "b", BRIDGE, HEIGHTS).close()
    (file,) = (tmp_path / "a" / "b").iterdir()
    assert file.name == "journal.sqlite"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600


def test_no_two_journals_have_one_name(tmp_path: Path) -> None:
    made = [Journal.create(tmp_path / name, BRIDGE, HEIGHTS) for name in ("a", "b")]
    assert made[0].instance != made[1].instance
    for journal in made:
        journal.close()


def test_a_second_journal_is_refused_and_leaves_nothing_behind(journal: Journal, tmp_path: Path) -> None:
    before = sorted(tmp_path.iterdir())
    with pytest.raises(StateProblem) as caught:
        Journal.create(tmp_path, BRIDGE, HEIGHTS)
    assert caught.value.what == f"there is a signing journal at {tmp_path / JOURNAL_FILE} already"
    assert caught.value.remedy == ALREADY
    assert sorted(tmp_path.iterdir()) == before


def test_a_height_that_is_missing_makes_no_journal(tmp_path: Path) -> None:
    with pytest.raises(KeyError, match="ethereum"):
        Journal.create(tmp_path, BRIDGE, {"pocket": 50})
    assert list(tmp_path.iterdir()) == []


def test_a_disk_without_room_makes_no_journal_and_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(os, "open", refuse)
        with pytest.raises(StateProblem) as caught:
            Journal.create(tmp_path, BRIDGE, HEIGHTS)
    assert caught.value.what == f"cannot create {tmp_path / JOURNAL_FILE}: [Errno 28] No space left on device"
    assert caught.value.remedy == NO_ROOM
    assert list(tmp_path.iterdir()) == []


def test_a_draft_that_could_not_be_put_in_place_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drafts: list[Path] = []

    def refuse(draft: Path, path: Path) -> None:
        drafts.append(draft)
        assert draft.exists()
        assert draft.parent == path.parent, "a hard link needs one file system"
        raise OSError(errno.EIO, "Input/output error")

    with monkeypatch.context() as patch:
        patch.setattr(os, "link", refuse)
        with pytest.raises(StateProblem, match="Input/output error"):
            Journal.create(tmp_path, BRIDGE, HEIGHTS)
    assert len(drafts) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_new_journal_is_on_the_disk_before_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[tuple[bool, bool]] = []
    sync = os.fsync

    def note(descriptor: int) -> None:
        is_directory = os.fstat(descriptor).st_ino == tmp_path.stat().st_ino
        synced.append((is_directory, (tmp_path / JOURNAL_FILE).exists()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    Journal.create(tmp_path, BRIDGE, HEIGHTS).close()
    assert synced == [(True, True)], "the directory is synced once, with the journal in it"


def test_a_new_journals_content_is_synced_when_it_is_committed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[int] = []

    class Noting(sqlite3.Connection):
        def close(self) -> None:
            seen.extend(self.execute("PRAGMA synchronous").fetchone())
            super().close()

    monkeypatch.setattr(sqlite3, "connect", partial(sqlite3.connect, factory=Noting))
    Journal.create(tmp_path, BRIDGE, HEIGHTS).close()
    assert seen == [3, 2], "extra while it is made, full while it is used"


# How it reaches the disk


def pragmas(journal: Journal) -> dict[str, object]:
    names = ("synchronous", "journal_mode", "fullfsync", "foreign_keys", "busy_timeout")
    with journal._db.transaction() as connection:
        return {name: connection.execute(f"PRAGMA {name}").fetchone()[0] for name in names}


def test_what_is_signed_is_synced_before_the_answer_in_every_thread(journal: Journal) -> None:
    durable = {"synchronous": 2, "journal_mode": "wal", "fullfsync": 1, "foreign_keys": 1, "busy_timeout": 10_000}
    seen: list[dict[str, object]] = []
    worker = threading.Thread(target=lambda: seen.append(pragmas(journal)))
    worker.start()
    worker.join()
    assert [pragmas(journal), *seen] == [durable, durable]


def test_a_threads_connection_is_kept_for_its_next_batch(journal: Journal) -> None:
    with journal._db.transaction() as first, pytest.raises(StateProblem, match="within a transaction"):
        journal.sign_batch([mint()])
    with journal._db.transaction() as second:
        assert second is first


def test_a_failed_transaction_leaves_nothing_and_frees_the_file(journal: Journal, tmp_path: Path) -> None:
    def fail_halfway() -> None:
        with journal._db.transaction() as connection:
            connection.execute("INSERT INTO slots VALUES ('slot', 'event')")
            raise InterruptedError

    with pytest.raises(InterruptedError):
        fail_halfway()
    assert slot_owner(journal, "slot") is None
    other = Journal.open(tmp_path, BRIDGE)
    assert other.sign_batch([mint()]) == [Allowed()]
    other.close()


def test_closing_closes_the_connections_of_all_threads(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path, BRIDGE, HEIGHTS)
    worker = threading.Thread(target=journal.sign_batch, args=([mint()],))
    worker.start()
    worker.join()
    assert (tmp_path / f"{JOURNAL_FILE}-wal").exists()
    journal.close()
    assert [file.name for file in tmp_path.iterdir()] == [JOURNAL_FILE], "the last connection takes its log with it"


def test_a_closed_journal_reads_nothing_either(tmp_path: Path) -> None:
    journal = Journal.create(tmp_path, BRIDGE, HEIGHTS)
    journal.close()
    with pytest.raises(StateProblem) as caught:
        journal.holds()
    assert (caught.value.what, caught.value.remedy) == (f"{tmp_path / JOURNAL_FILE} is closed", "open the state again")


# What the file itself refuses, whatever the code does


SECOND = "INSERT INTO signatures (event, outcome, attempt, digest, slot, chain, height, direction, recipient, at) SELECT"
INSTEAD = SECOND.replace("INSERT", "REPLACE")


@pytest.mark.parametrize(
    ("statement", "told"),
    [
        ("DELETE FROM signatures", "append-only"),
        ("UPDATE signatures SET digest = x'00'", "append-only"),
        ("DELETE FROM slots", "append-only"),
        ("UPDATE slots SET event = 'other'", "append-only"),
        (
            f"{SECOND} event, 'payout', attempt, x'00', slot, chain, height, direction, recipient, at FROM signatures",
            "UNIQUE constraint failed: signatures.event, signatures.attempt",
        ),
        (
            f"{SECOND} 'other', outcome, attempt, digest, 'nobodys', chain, height, direction, recipient, at FROM signatures",
            "FOREIGN KEY constraint failed",
        ),
        (
            f"{SECOND} 'other', outcome, attempt, digest, slot, chain, 'high', direction, recipient, at FROM signatures",
            "cannot store TEXT value in INTEGER column signatures.height",
        ),
        (
            f"{INSTEAD} event, outcome, attempt, x'00', slot, chain, height, direction, recipient, at FROM signatures",
            "append-only",
        ),
        ("REPLACE INTO slots SELECT slot, 'other' FROM slots", "append-only"),
        ("INSERT INTO slots SELECT slot, 'other' FROM slots", "UNIQUE constraint failed: slots.slot"),
        (
            "INSERT INTO complete_sets SELECT * FROM complete_sets",
            "UNIQUE constraint failed: complete_sets.event, complete_sets.attempt",
        ),
        ("INSERT INTO releases SELECT * FROM releases", "UNIQUE constraint failed: releases.event, releases.attempt"),
    ],
)
def test_no_statement_binds_twice_or_unbinds(journal: Journal, statement: str, told: str) -> None:
    journal.sign_batch([mint()])
    journal.complete_set(BURN, 0, b"raw")
    journal.release_attempt(BURN, "alice")
    before = journal.export()
    with pytest.raises(StateProblem, match=told), journal._db.transaction() as connection:
        connection.execute(statement)
    assert journal.export() == before


def test_a_slot_may_be_noted_again_for_its_own_event(journal: Journal) -> None:
    journal.sign_batch([payout(0)])
    journal.release_attempt(BURN, "alice")
    slot = "a slot"
    assert journal.sign_batch([replace(payout(1, attempt=1), slot=slot)]) == [Allowed()]
    journal.release_attempt(BURN, "alice")
    assert journal.sign_batch([replace(payout(2, attempt=2), slot=slot)]) == [Allowed()]
    assert slot_owner(journal, slot) == BURN


# What is refused when it is opened


def test_a_missing_journal_names_where_it_was_looked_for(tmp_path: Path) -> None:
    with pytest.raises(JournalMissing) as caught:
        Journal.open(tmp_path, BRIDGE)
    assert caught.value.what == f"there is no signing journal at {tmp_path / JOURNAL_FILE}"


@pytest.mark.parametrize("scope", ["pocket_scope", "ethereum_scope"])
def test_another_bridges_journal_names_both_bridges(journal: Journal, tmp_path: Path, scope: str) -> None:
    change_meta(tmp_path, f"UPDATE meta SET value = 'elsewhere' WHERE name = '{scope}'")
    problem = problem_of_opening(tmp_path)
    assert problem.what == f"{tmp_path / JOURNAL_FILE} belongs to elsewhere, not to {getattr(BRIDGE, scope)}"
    assert problem.remedy == "point the state directory to this bridge's journal"


@pytest.mark.parametrize(
    ("statement", "told"),
    [("UPDATE meta SET value = '2' WHERE name = 'schema'", "2"), ("DELETE FROM meta WHERE name = 'schema'", "none")],
)
def test_another_schema_names_both_versions(journal: Journal, tmp_path: Path, statement: str, told: str) -> None:
    change_meta(tmp_path, statement)
    problem = problem_of_opening(tmp_path)
    assert problem.what == f"{tmp_path / JOURNAL_FILE} has schema {told}, this version reads 1"
    assert problem.remedy == "run the version that wrote it, or the one whose changelog says that it migrates it"


def test_a_refused_journal_is_not_left_open(journal: Journal, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    closed: list[Path] = []
    close = Database.close

    def note(database: Database) -> None:
        closed.append(database.path)
        close(database)

    monkeypatch.setattr(Database, "close", note)
    with pytest.raises(StateProblem, match="belongs to"):
        Journal.open(tmp_path, replace(BRIDGE, ethereum_chain_id=1))
    assert closed == [tmp_path / JOURNAL_FILE]


def test_damage_names_file_finding_and_remedy(tmp_path: Path) -> None:
    Journal.create(tmp_path, BRIDGE, HEIGHTS).close()
    path = tmp_path / JOURNAL_FILE
    connection = sqlite3.connect(path)
    connection.execute("PRAGMA writable_schema = 1")
    connection.execute("UPDATE sqlite_schema SET sql = replace(sql, 'value TEXT NOT NULL', 'value INTEGER NOT NULL')")
    connection.commit()
    connection.close()
    problem = problem_of_opening(tmp_path)
    assert problem.what.startswith(f"{path} is damaged (")
    assert "meta.value" in problem.what
    assert problem.remedy == CORRUPT_REMEDY


def test_a_file_that_is_no_database_is_called_so(tmp_path: Path) -> None:
    (tmp_path / JOURNAL_FILE).write_bytes(b"no database" * 1000)
    problem = problem_of_opening(tmp_path)
    assert problem.what == f"{tmp_path / JOURNAL_FILE}: file is not a database"
    assert problem.remedy == CORRUPT_REMEDY


# What the disk says


@pytest.mark.parametrize(
    ("name", "remedy"),
    [
        ("SQLITE_FULL", "free some space on its disk"),
        ("SQLITE_READONLY", "make the file and its directory writable"),
        ("SQLITE_READONLY_DBMOVED", "make the file and its directory writable"),
        ("SQLITE_CANTOPEN", "check that the directory exists"),
        ("SQLITE_BUSY", "another process holds the file for too long"),
        ("SQLITE_BUSY_SNAPSHOT", "another process holds the file for too long"),
        ("SQLITE_LOCKED", "another process holds the file for too long"),
        ("SQLITE_IOERR_FSYNC", "check the disk"),
        ("SQLITE_CORRUPT", CORRUPT_REMEDY),
        ("SQLITE_NOTADB", CORRUPT_REMEDY),
    ],
)
def test_each_fault_of_the_disk_has_its_remedy(journal: Journal, tmp_path: Path, name: str, remedy: str) -> None:
    error = sqlite3.OperationalError("as SQLite says")
    error.sqlite_errorcode = getattr(sqlite3, name)
    problem = journal._db.problem(error)
    assert problem.what == f"{tmp_path / JOURNAL_FILE}: as SQLite says"
    assert problem.remedy.startswith(remedy)


def test_a_fault_without_a_code_is_told_as_a_problem_too(journal: Journal) -> None:
    with pytest.raises(StateProblem, match="bindings"):
        journal._db.read("SELECT ?")
    with pytest.raises(StateProblem, match="bindings"):
        journal._db.read_one("SELECT ?")


def test_a_directory_in_the_files_place_says_so(tmp_path: Path) -> None:
    (tmp_path / JOURNAL_FILE).mkdir()
    assert problem_of_opening(tmp_path).remedy == "check that the directory exists and that this user may write to it"


# The lock


def test_the_lock_tells_process_and_directory_and_the_remedy(tmp_path: Path) -> None:
    with ProcessLock(tmp_path), pytest.raises(StateLocked) as caught:
        ProcessLock(tmp_path).acquire()
    assert caught.value.what == f"process {os.getpid()} already runs on {tmp_path}"
    # Not with another directory either: that would be a second journal of one key.
    assert caught.value.remedy.startswith("stop it first; one key never runs twice, nor with a second journal")


def test_a_holder_that_wrote_no_number_is_unknown(tmp_path: Path) -> None:
    with (tmp_path / LOCK_FILE).open("wb") as holder:
        fcntl.flock(holder, fcntl.LOCK_EX)
        with pytest.raises(StateLocked, match=r"^process unknown already runs on "):
            ProcessLock(tmp_path).acquire()


def test_a_holder_that_wrote_no_text_is_told_all_the_same(tmp_path: Path) -> None:
    with (tmp_path / LOCK_FILE).open("wb") as holder:
        holder.write(b"\xff 12 \n")
        holder.flush()
        fcntl.flock(holder, fcntl.LOCK_EX)
        with pytest.raises(StateLocked, match=r"^process \ufffd 12 already runs on "):
            ProcessLock(tmp_path).acquire()


def test_the_lock_is_its_owners_alone_and_holds_this_process_only(tmp_path: Path) -> None:
    (tmp_path / "a" / "b").mkdir(parents=True)
    (tmp_path / "a" / "b" / LOCK_FILE).write_text("1" * 30)
    with ProcessLock(tmp_path / "a" / "b"):
        assert (tmp_path / "a" / "b" / LOCK_FILE).read_text() == str(os.getpid())
    with ProcessLock(tmp_path / "c" / "d"):
        assert stat.S_IMODE((tmp_path / "c" / "d" / LOCK_FILE).stat().st_mode) == 0o600


def test_a_released_lock_can_be_taken_and_released_again(tmp_path: Path) -> None:
    lock = ProcessLock(tmp_path)
    lock.release()
    with lock:
        pass
    lock.release()
    with ProcessLock(tmp_path), pytest.raises(StateLocked):
        lock.acquire()


def test_an_impossible_place_of_the_lock_is_named(tmp_path: Path) -> None:
    (tmp_path / LOCK_FILE).mkdir()
    with pytest.raises(StateProblem) as caught:
        ProcessLock(tmp_path).acquire()
    assert caught.value.what == f"cannot open {tmp_path / LOCK_FILE}: Is a directory"
    assert caught.value.remedy == "make the directory writable for this user"
