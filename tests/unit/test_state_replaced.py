"""Files of the state that are taken away or exchanged under a running process: it signs nothing more, for good, and says so."""

import os
import shutil
import sqlite3
import stat
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from loguru import logger

from reactor.adapters import BatchedJournal
from reactor.documents.reasons import WaitReason
from reactor.state.journal import Journal, JournalEntry
from reactor.state.journal_file import JOURNAL_FILE
from reactor.state.ledger import Ledger
from reactor.state.ledger_file import LEDGER_FILE
from reactor.state.lock import LOCK_FILE, ProcessLock
from reactor.state.private import make_private
from reactor.state.problems import StateBusy, StateLocked, StateProblem, StateReplaced
from reactor.state.rows import EventKind
from reactor.state.runs import note_run
from reactor.state.sameness import SameFile
from reactor.state.verdicts import Allowed, Refusal, Refused
from tests.unit.handler_world import World
from tests.unit.journal_helpers import BRIDGE, HEIGHTS, NOW, mint

pytestmark = pytest.mark.unit

Act = Callable[[Path], None]


def entry(tx: str) -> JournalEntry:
    return replace(mint(tx), slot=None)


def remove(path: Path) -> None:
    path.unlink()


def move_away(path: Path) -> None:
    path.rename(path.with_name("moved"))


def replace_by_copy(path: Path) -> None:
    copy = path.with_name("copy")
    shutil.copy2(path, copy)
    copy.replace(path)


def move_and_copy_back(path: Path) -> None:
    move_away(path)
    shutil.copy2(path.with_name("moved"), path)


def truncate(path: Path) -> None:
    os.truncate(path, 0)


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size - 4096)


def move_directory(path: Path) -> None:
    path.parent.rename(path.parent.with_name("elsewhere"))


def replace_directory(path: Path) -> None:
    move_directory(path)
    shutil.copytree(path.parent.with_name("elsewhere"), path.parent)


def directory_becomes_a_file(path: Path) -> None:
    move_directory(path)
    path.parent.write_text("")


def remove_wal(path: Path) -> None:
    path.with_name(path.name + "-wal").unlink()


def remove_shm(path: Path) -> None:
    path.with_name(path.name + "-shm").unlink()


def replace_wal(path: Path) -> None:
    replace_by_copy(path.with_name(path.name + "-wal"))


WAYS: list[Act] = [
    remove,
    move_away,
    replace_by_copy,
    move_and_copy_back,
    truncate,
    cut,
    move_directory,
    replace_directory,
    directory_becomes_a_file,
    remove_wal,
    remove_shm,
    replace_wal,
]


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    return tmp_path / "state"


@pytest.fixture
def opened(directory: Path):
    Journal.create(directory, BRIDGE, HEIGHTS, clock=lambda: NOW).close()
    journal = Journal.open(directory, BRIDGE, lambda: NOW)
    yield journal
    journal.close()


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_journal_that_is_not_the_same_any_more_notes_nothing_for_good(opened: Journal, directory: Path, way: Act) -> None:
    assert opened.sign_batch([entry("d1")]) == [Allowed()]
    assert opened.replaced == ""
    way(directory / JOURNAL_FILE)
    with pytest.raises(StateReplaced) as caught:
        opened.sign_batch([entry("d2")])
    assert str(directory / JOURNAL_FILE) in caught.value.what
    assert "signs nothing more" in caught.value.remedy
    with pytest.raises(StateProblem):
        opened.probe()
    assert opened.replaced == caught.value.what
    # Whatever is put there afterwards: this process cannot know what became of its entries meanwhile.
    if directory.is_dir() and not (directory / JOURNAL_FILE).exists() and (directory / "moved").exists():
        (directory / "moved").rename(directory / JOURNAL_FILE)
    with pytest.raises(StateReplaced):
        opened.sign_batch([entry("d1")])


@pytest.mark.parametrize("grows", [True, False])
def test_a_file_that_grows_while_two_threads_look_at_it_was_not_cut(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, grows: bool
) -> None:
    """One thread measures it, another writes to it and measures it, and only then does the first compare."""
    path = tmp_path / "file"
    path.write_bytes(bytes(100))
    same = SameFile(path)
    same.note()
    measure, others = Path.stat, [lambda: path.write_bytes(bytes(200 if grows else 50)), same.require]

    def stat_slowly(place: Path, **options: bool) -> os.stat_result:
        found = measure(place, **options)
        while others:
            others.pop(0)()
        return found

    monkeypatch.setattr(Path, "stat", stat_slowly)
    if grows:
        same.require()
        same.require()
        assert same.changed == ""
    else:
        with pytest.raises(StateReplaced, match="was cut from 100 to 50"):
            same.require()


def test_a_journal_is_found_to_be_gone_without_a_signature(opened: Journal, directory: Path) -> None:
    """Health asks; an idle validator must not look well until the next deposit."""
    assert opened.replaced == ""
    remove(directory / JOURNAL_FILE)
    assert "was removed" in opened.replaced


def test_what_is_changed_between_begin_and_commit_is_noticed(opened: Journal, directory: Path) -> None:
    with pytest.raises(StateReplaced), opened._db.transaction():
        remove(directory / JOURNAL_FILE)


def test_what_is_changed_by_the_commit_itself_is_noticed(opened: Journal, directory: Path) -> None:
    """SECURITY: an entry counts only if its file is there after the commit."""
    real, calls = opened._db._same._look, 0

    def look() -> str:
        nonlocal calls
        calls += 1
        if calls == 3:
            remove(directory / JOURNAL_FILE)
        return real()

    opened._db._same._look = look  # type: ignore[method-assign]
    with pytest.raises(StateReplaced):
        opened.sign_batch([entry("d1")])
    assert calls == 3


def test_an_older_copy_that_is_written_into_the_file_is_noticed(opened: Journal, directory: Path, tmp_path: Path) -> None:
    """The file stays the same, by name and inode: its content knows less than was signed."""
    old = sqlite3.connect(tmp_path / "old")
    with sqlite3.connect(directory / JOURNAL_FILE) as source:
        source.backup(old)
    source.close()
    opened.sign_batch([entry("d1")])
    with sqlite3.connect(directory / JOURNAL_FILE) as target:
        old.backup(target)
    target.close()
    old.close()
    with pytest.raises(StateReplaced, match="older copy"):
        opened.sign_batch([entry("d1")])


def test_another_journal_that_is_written_into_the_file_is_noticed(opened: Journal, directory: Path, tmp_path: Path) -> None:
    Journal.create(tmp_path / "other", BRIDGE, HEIGHTS, clock=lambda: NOW).close()
    with sqlite3.connect(tmp_path / "other" / JOURNAL_FILE) as source, sqlite3.connect(directory / JOURNAL_FILE) as target:
        source.backup(target)
    source.close()
    target.close()
    with pytest.raises(StateReplaced, match="another journal"):
        opened.sign_batch([entry("d1")])


def test_what_operators_and_sqlite_do_beside_it_is_no_change(opened: Journal, directory: Path) -> None:
    """The twin: pauses, checkpoints, growth, a copy for a backup, and other files in the directory."""
    for number in range(200):
        opened.sign_batch([entry(f"d{number}")])
        if number % 40 == 0:
            other = Journal.open(directory, BRIDGE, lambda: NOW)
            other.hold("event:x", "operator", str(number), "alice")
            other.close()
            with sqlite3.connect(directory / JOURNAL_FILE) as tool:
                tool.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            tool.close()
            shutil.copy2(directory / JOURNAL_FILE, directory / "backup")
    opened.probe()
    assert opened.replaced == ""
    assert opened.sign_batch([entry("last")]) == [Allowed()]


@pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
def test_a_ledger_that_is_not_the_same_any_more_is_told(directory: Path, way: Act) -> None:
    ledger = Ledger.open(directory, BRIDGE)
    try:
        ledger.probe()
        assert ledger.replaced == ""
        way(directory / LEDGER_FILE)
        assert ledger.replaced
        with pytest.raises(StateReplaced):
            ledger.record_window(EventKind.DEPOSIT, 1, 5, [], 5)
    finally:
        ledger._db.close()


@pytest.mark.parametrize(
    "way", [remove, move_away, replace_by_copy, move_directory, replace_directory], ids=lambda way: way.__name__
)
def test_a_lock_that_is_not_the_same_any_more_is_told(directory: Path, way: Act) -> None:
    with ProcessLock(directory) as lock:
        assert lock.replaced == ""
        way(directory / LOCK_FILE)
        assert str(directory / LOCK_FILE) in lock.replaced


def test_a_lock_is_not_taken_on_a_file_that_is_gone(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between its opening and its locking somebody removed it: whoever comes next would lock another file."""
    lock, removed = ProcessLock(directory), []
    real = lock._locked

    def locked(descriptor: int) -> bool:
        if not removed:
            removed.append(1)
            (directory / LOCK_FILE).unlink()
        return real(descriptor)

    monkeypatch.setattr(lock, "_locked", locked)
    with lock, pytest.raises(StateLocked):
        ProcessLock(directory).acquire()


# ---------------------------------------------------------------------- no signature leaves


async def test_the_last_gate_before_a_signature_refuses(opened: Journal, directory: Path) -> None:
    gate = BatchedJournal(opened, timeout=5)
    assert await gate.admit(entry("d1")) == Allowed()
    remove(directory / JOURNAL_FILE)
    verdict = await gate.admit(entry("d2"))
    assert isinstance(verdict, Refused)
    assert (verdict.reason, verdict.reason.wait) == (Refusal.STATE_REPLACED, WaitReason.STATE_REPLACED)
    await gate.close()


async def test_nothing_passes_while_another_file_of_the_state_is_gone(opened: Journal) -> None:
    gate = BatchedJournal(opened, timeout=5, state_replaced=lambda: "the ledger was removed")
    assert await gate.admit(entry("d1")) == Refused(Refusal.STATE_REPLACED, "the ledger was removed")
    assert opened.signed(entry("d1").event) == []
    await gate.close()


def test_a_document_says_why_it_waits(world: World) -> None:
    context = replace(world.context, state_replaced=lambda: "the journal was removed")
    blocked = context.blocked("event", "mint", "", member=True)
    assert blocked is not None
    assert (blocked.reason, blocked.params) == (WaitReason.STATE_REPLACED, {"detail": "the journal was removed"})


# ---------------------------------------------------------------------- a file that another process holds


def test_a_locked_file_is_named_with_the_process_that_holds_it(opened: Journal, directory: Path) -> None:
    opened._db._connection().execute("PRAGMA busy_timeout=50")
    holder = sqlite3.connect(directory / JOURNAL_FILE, isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    try:
        with pytest.raises(StateBusy) as caught:
            opened.sign_batch([entry("d1")])
    finally:
        holder.close()
    assert str(directory / JOURNAL_FILE) in caught.value.what
    assert "another process holds the file" in caught.value.remedy
    assert opened.sign_batch([entry("d1")]) == [Allowed()]


# ---------------------------------------------------------------------- nobody else's


@pytest.mark.parametrize("umask", [0o000, 0o022, 0o077])
def test_state_is_its_owners_alone_whatever_the_umask(directory: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        Journal.create(directory, BRIDGE, HEIGHTS, clock=lambda: NOW).close()
        with ProcessLock(directory):
            journal, ledger = Journal.open(directory, BRIDGE, lambda: NOW), Ledger.open(directory, BRIDGE)
            journal.sign_batch([entry("d1")])
            ledger.probe()
            note_run(directory, "this one")
            modes = {one.name: stat.S_IMODE(one.stat().st_mode) for one in directory.iterdir()}
            ledger.close()
            journal.close()
    finally:
        os.umask(before)
    assert len(modes) == 8
    assert set(modes.values()) == {0o600}, modes
    assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_state_of_an_earlier_version_is_made_its_owners_alone(directory: Path) -> None:
    Journal.create(directory, BRIDGE, HEIGHTS, clock=lambda: NOW).close()
    Ledger.open(directory, BRIDGE).close()
    directory.chmod(0o755)
    for one in directory.iterdir():
        one.chmod(0o644)
    Journal.open(directory, BRIDGE, lambda: NOW).close()
    Ledger.open(directory, BRIDGE).close()
    with ProcessLock(directory):
        assert {stat.S_IMODE(one.stat().st_mode) for one in directory.iterdir()} == {0o600}
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700


def test_a_directory_that_everybody_uses_is_left_as_it_is(tmp_path: Path) -> None:
    said: list[str] = []
    number = logger.add(lambda line: said.append(str(line)), level="WARNING")
    try:
        tmp_path.chmod(0o1777)
        make_private(tmp_path)
    finally:
        logger.remove(number)
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o1777
    assert "a directory of its own" in said[0]
