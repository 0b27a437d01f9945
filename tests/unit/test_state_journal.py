"""The signing journal: one event, one outcome, one digest per attempt; holds, releases, complete sets; what disks do."""

import json
import multiprocessing
import os
import signal
import sqlite3
import subprocess
import sys
import threading
from dataclasses import replace
from pathlib import Path

import pytest

from reactor.documents.bridge import Schedule
from reactor.documents.keys import deposit_key, nonce_slot
from reactor.documents.reasons import WaitReason
from reactor.state.holds import SIGNING, event_scope, recipient_scope
from reactor.state.journal import Journal
from reactor.state.lock import ProcessLock
from reactor.state.problems import JournalMissing, StateLocked, StateProblem
from reactor.state.verdicts import Allowed, Refusal
from tests.unit.journal_helpers import ALICE, BRIDGE, BURN, DEPOSIT, HEIGHTS, mint, payout, refusals, slot_owner

pytestmark = pytest.mark.unit


def test_a_signature_is_noted_and_allowed_again(journal):
    assert journal.sign_batch([mint()]) == [Allowed()]
    assert journal.sign_batch([mint()]) == [Allowed(again=True)]
    (row,) = journal.signed(DEPOSIT)
    assert (row.digest, row.outcome, row.attempt, row.height, row.at) == (b"\1" * 32, "mint", 0, 51, 1_700_000_000)
    assert journal.knows(DEPOSIT, "mint", 0) == b"\1" * 32
    assert journal.knows(DEPOSIT, "mint", 1) is None
    assert journal.knows(DEPOSIT, "payout", 0) is None
    assert slot_owner(journal, nonce_slot(BRIDGE, ALICE, 1)) == DEPOSIT
    assert journal.last_signature_at() == 1_700_000_000


def test_an_empty_batch_writes_nothing(journal):
    assert journal.sign_batch([]) == []
    assert journal.last_signature_at() is None


def test_a_second_digest_is_refused(journal):
    journal.sign_batch([mint(digest=1)])
    assert refusals(journal.sign_batch([mint(digest=2)])) == [Refusal.CONFLICT]
    assert len(journal.signed(DEPOSIT)) == 1


@pytest.mark.parametrize("first", ["mint", "payout", "objection"])
@pytest.mark.parametrize("second", ["mint", "payout", "objection"])
def test_one_event_has_one_outcome(journal, first, second):
    verdicts = [
        journal.sign_batch([replace(mint(), outcome=outcome, digest=bytes([number]) * 32)])
        for number, outcome in enumerate([first, second])
    ]
    assert verdicts[0] == [Allowed()]
    assert refusals(verdicts[1]) == [Refusal.CONFLICT]


def test_a_slot_belongs_to_one_event(journal):
    assert refusals(journal.sign_batch([mint("d1", nonce=1), mint("d2", nonce=1), mint("d2", nonce=2)])) == [
        None,
        Refusal.SLOT_TAKEN,
        None,
    ]


def test_an_attempt_waits_for_its_release(journal):
    assert refusals(journal.sign_batch([payout(1, 0), payout(2, 1)])) == [None, Refusal.UNRELEASED]
    assert journal.releases(BURN) == 0
    assert journal.release_attempt(BURN, "operator") == 1
    assert journal.release_attempt(BURN, "operator") == 1, "given twice it allows no more"
    assert refusals(journal.sign_batch([payout(2, 1), payout(3, 2), payout(4, 1)])) == [
        None,
        Refusal.UNRELEASED,
        Refusal.CONFLICT,
    ]
    assert journal.release_attempt(BURN, "operator") == 2
    assert journal.releases(BURN) == 2
    assert refusals(journal.sign_batch([payout(3, 2)])) == [None]
    assert [row.attempt for row in journal.signed(BURN)] == [0, 1, 2]


def test_an_attempt_can_be_released_by_number(journal):
    assert journal.release_attempt(BURN, "operator", attempt=3) == 3
    assert refusals(journal.sign_batch([payout(1, 3), payout(1, 4)])) == [None, Refusal.UNRELEASED]


@pytest.mark.parametrize("entry", [mint(height=50), payout(height=500)])
def test_nothing_older_than_the_journal_is_signed(journal, entry):
    assert refusals(journal.sign_batch([entry])) == [Refusal.OLDER_THAN_JOURNAL]
    assert not journal.covers(entry.chain, entry.height)
    assert journal.covers(entry.chain, entry.height + 1)
    journal.allow_older("operator")
    assert refusals(journal.sign_batch([entry])) == [None]


def test_older_events_are_signed_when_the_new_journal_was_told_so(tmp_path):
    journal = Journal.create(tmp_path, BRIDGE, HEIGHTS, allow_older=True)
    assert journal.sign_batch([mint(height=1)]) == [Allowed()]
    journal.close()


@pytest.mark.parametrize("scope", [SIGNING, event_scope(DEPOSIT), recipient_scope(ALICE), "direction:mint"])
def test_a_hold_stops_what_it_names(journal, scope):
    identifier = journal.hold(scope, "operator", "looks odd", "op")
    assert refusals(journal.sign_batch([mint()])) == [Refusal.HELD]
    assert journal.held(DEPOSIT, "mint", ALICE).id == identifier
    assert journal.signed(DEPOSIT) == []
    assert journal.release(scope, "op", "fine") == 1
    assert journal.release(scope, "op", "fine") == 0
    assert journal.held(DEPOSIT, "mint", ALICE) is None
    assert journal.sign_batch([mint()]) == [Allowed()]


@pytest.mark.parametrize("scope", [event_scope(BURN), recipient_scope("0x" + "ee" * 20), "direction:payout"])
def test_a_hold_stops_nothing_else(journal, scope):
    journal.hold(scope, "operator", "", "op")
    assert journal.sign_batch([mint()]) == [Allowed()]


def test_a_hold_stops_a_signature_that_was_allowed_before(journal):
    journal.sign_batch([mint()])
    journal.hold(SIGNING, "unexplained_return", "", "validator", subject="r1")
    assert refusals(journal.sign_batch([mint()])) == [Refusal.HELD]


def test_a_released_hold_is_not_raised_again_for_its_subject(journal):
    first = journal.hold(SIGNING, "unexplained_return", "one", "validator", subject="r1")
    assert journal.hold(SIGNING, "unexplained_return", "one more time", "validator", subject="r1") == first
    assert len(journal.holds()) == 1
    journal.release(first, "op", "known")
    assert journal.hold(SIGNING, "unexplained_return", "one", "validator", subject="r1") == first
    assert journal.holds() == []
    assert journal.hold(SIGNING, "unexplained_return", "two", "validator", subject="r2") != first
    assert len(journal.holds()) == 1
    (released, active) = journal.hold_history()
    assert (released.released_by, released.released_why, active.released_at) == ("op", "known", None)


def test_an_operators_own_hold_can_be_raised_again(journal):
    first = journal.hold(SIGNING, "operator", "", "op")
    assert journal.hold(SIGNING, "operator", "", "op") == first
    journal.release(SIGNING, "op", "")
    assert journal.hold(SIGNING, "operator", "", "op") != first


def test_a_pause_is_its_own_reason_and_resume_ends_no_hold(journal):
    journal.pause("mint", "op", "upgrade")
    assert journal.pause("mint", "op") == journal.holds()[0].id
    assert refusals(journal.sign_batch([mint(), payout()])) == [Refusal.PAUSED, None]
    assert Refusal.PAUSED.wait is WaitReason.PAUSED
    journal.hold("direction:mint", "operator", "", "op")
    assert journal.resume("mint", "op") == 1
    assert journal.resume("mint", "op") == 0
    assert refusals(journal.sign_batch([mint()])) == [Refusal.HELD]


def test_another_connection_pauses_before_the_next_batch(journal, tmp_path):
    journal.sign_batch([mint("d1")])
    verb = Journal.open(tmp_path, BRIDGE)
    verb.pause("mint", "op")
    assert refusals(journal.sign_batch([mint("d2", nonce=2)])) == [Refusal.PAUSED]
    verb.resume("mint", "op")
    verb.close()
    assert journal.sign_batch([mint("d2", nonce=2)]) == [Allowed()]


def test_one_thread_signs_while_another_reads(journal):
    done, seen = threading.Event(), []

    def sign() -> None:
        try:
            seen.extend(journal.sign_batch([mint(f"d{number}", nonce=number)]) for number in range(30))
        finally:
            done.set()

    worker = threading.Thread(target=sign)
    worker.start()
    while not done.is_set():
        assert journal.holds() == []
    worker.join()
    assert seen == [[Allowed()]] * 30
    assert len(journal.export()["signatures"]) == 30


def test_two_threads_cannot_bind_one_event_twice(journal):
    start, verdicts = threading.Barrier(4), []

    def sign(digest: int) -> None:
        start.wait(30)
        verdicts.extend(journal.sign_batch([mint(digest=digest)]))

    workers = [threading.Thread(target=sign, args=(digest,)) for digest in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert sorted(str(reason) for reason in refusals(verdicts)) == ["None", "conflict", "conflict", "conflict"]


def test_the_first_complete_set_stays(journal):
    assert journal.complete(BURN, 0) is None
    assert journal.complete_set(BURN, 0, b"first", 100, 10) == b"first"
    assert journal.complete_set(BURN, 0, b"second", 100, 10) == b"first"
    assert journal.complete_set(BURN, 1, b"third") == b"third"
    assert journal.complete(BURN, 0) == b"first"


def test_returns_are_in_flight_between_submission_and_inclusion(journal):
    journal.complete_set(BURN, 0, b"raw", 2**70, 10)
    assert journal.in_flight_total() == 0
    journal.submitted(BURN, 0, 1000)
    journal.submitted(BURN, 0, 2000)
    assert [(one.event, one.submitted_at) for one in journal.in_flight()] == [(BURN, 1000)]
    assert journal.in_flight_total() == 2**70 + 10
    assert journal.in_flight_total(besides=BURN) == 0
    journal.included(BURN, 0)
    assert journal.in_flight_total() == 0


def test_everything_is_there_after_a_restart(tmp_path):
    journal = Journal.create(tmp_path, BRIDGE, HEIGHTS)
    journal.sign_batch([mint()])
    journal.hold(event_scope(BURN), "return_failed", "code 9", "validator", subject="r1")
    journal.release_attempt(BURN, "op")
    before, instance = journal.export(), journal.instance
    journal.close()
    again = Journal.open(tmp_path, BRIDGE)
    assert json.loads(json.dumps(again.export())) == before
    assert (again.instance, again.heights) == (instance, HEIGHTS)
    again.close()


@pytest.mark.parametrize("change", [{"digest": b"short"}, {"attempt": -1}, {"event": ""}])
def test_an_entry_that_binds_nothing_cannot_be_made(change):
    with pytest.raises(ValueError, match=r"digest|attempt"):
        replace(mint(), **change)


def test_the_tables_are_append_only_whatever_the_code_does(journal, tmp_path):
    journal.sign_batch([mint()])
    connection = sqlite3.connect(tmp_path / "journal.sqlite")
    for statement in ("DELETE FROM signatures", "UPDATE signatures SET digest = x'00'", "DELETE FROM slots"):
        with pytest.raises(sqlite3.IntegrityError, match="append-only"):
            connection.execute(statement)
    connection.close()


# Files and disks


def test_a_missing_journal_is_not_made_silently(tmp_path):
    with pytest.raises(JournalMissing, match="reactor journal new"):
        Journal.open(tmp_path, BRIDGE)
    assert list(tmp_path.iterdir()) == []


def test_a_journal_is_never_replaced(journal, tmp_path):
    with pytest.raises(StateProblem, match="already"):
        Journal.create(tmp_path, BRIDGE, HEIGHTS)
    again = Journal.open(tmp_path, BRIDGE)
    assert again.instance == journal.instance
    again.close()


@pytest.mark.parametrize("change", [{"vault": "ff" * 20}, {"ethereum_chain_id": 1}])
def test_the_journal_of_another_bridge_is_refused(journal, tmp_path, change):
    with pytest.raises(StateProblem, match="belongs to"):
        Journal.open(tmp_path, replace(BRIDGE, **change))


def test_the_journal_of_this_bridge_outlives_its_schedules(journal, tmp_path):
    Journal.open(tmp_path, replace(BRIDGE, burn_fee=Schedule(((0, 1),)))).close()


@pytest.mark.parametrize("content", [b"", b"no database" * 1000])
def test_a_damaged_journal_names_its_remedy(tmp_path, content):
    (tmp_path / "journal.sqlite").write_bytes(content)
    with pytest.raises(StateProblem, match="restore the newest copy"):
        Journal.open(tmp_path, BRIDGE)


def test_damage_inside_the_file_is_found(tmp_path):
    journal = Journal.create(tmp_path, BRIDGE, HEIGHTS)
    journal.sign_batch([mint(f"d{number}", nonce=number) for number in range(300)])
    journal.close()
    path = tmp_path / "journal.sqlite"
    content = bytearray(path.read_bytes())
    for page in range(4096 * 8, len(content), 4096):
        content[page : page + 64] = b"\xff" * 64
    path.write_bytes(content)
    with pytest.raises(StateProblem, match="restore the newest copy"):
        Journal.open(tmp_path, BRIDGE)


def test_another_schema_is_refused(journal, tmp_path):
    connection = sqlite3.connect(tmp_path / "journal.sqlite")
    connection.execute("UPDATE meta SET value = '99' WHERE name = 'schema'")
    connection.commit()
    connection.close()
    with pytest.raises(StateProblem, match="has schema 99"):
        Journal.open(tmp_path, BRIDGE)


def test_a_full_disk_notes_nothing(journal):
    connection = journal._db._connection()
    (pages,) = connection.execute("PRAGMA page_count").fetchone()
    connection.execute(f"PRAGMA max_page_count={pages + 1}")
    batch = [mint(f"d{number}", nonce=number) for number in range(500)]
    with pytest.raises(StateProblem, match="free some space"):
        journal.sign_batch(batch)
    assert journal.export()["signatures"] == []
    connection.execute("PRAGMA max_page_count=100000")
    assert journal.sign_batch(batch) == [Allowed()] * 500


def test_a_read_only_journal_says_so(journal):
    journal._db._connection().execute("PRAGMA query_only=1")
    with pytest.raises(StateProblem, match="writable"):
        journal.sign_batch([mint()])


def test_a_directory_that_cannot_be_made_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StateProblem, match="writable"):
        Journal.create(tmp_path / "file" / "state", BRIDGE, HEIGHTS)


def test_a_closed_journal_signs_nothing(tmp_path):
    journal = Journal.create(tmp_path, BRIDGE, HEIGHTS)
    journal.close()
    with pytest.raises(StateProblem, match="is closed"):
        journal.sign_batch([mint()])


_SIGN_AND_WAIT = """
import sys
sys.path.insert(0, {root!r})
from pathlib import Path
from reactor.state.journal import Journal
from tests.unit.journal_helpers import BRIDGE, mint
journal = Journal.open(Path(sys.argv[1]), BRIDGE)
print(journal.sign_batch([mint("d1"), mint("d2", nonce=2)]), flush=True)
sys.stdin.read()
"""


def test_what_was_allowed_survives_a_kill(tmp_path):
    Journal.create(tmp_path, BRIDGE, HEIGHTS).close()
    code = _SIGN_AND_WAIT.format(root=str(Path(__file__).parents[2]))
    with subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        answer = process.stdout.readline()
        os.kill(process.pid, signal.SIGKILL)
        process.wait(30)
    assert answer.count(b"Allowed") == 2
    journal = Journal.open(tmp_path, BRIDGE)
    assert journal.sign_batch([mint("d1"), mint("d2", digest=2, nonce=2)])[0] == Allowed(again=True)
    assert journal.knows(deposit_key(BRIDGE, "d2"), "mint", 0) == b"\1" * 32
    journal.close()


def _try_lock(directory: Path, answers) -> None:
    try:
        with ProcessLock(directory):
            answers.put("taken")
    except StateLocked as problem:
        answers.put(str(problem))


def test_a_second_process_on_one_disk_is_refused(tmp_path):
    context = multiprocessing.get_context("spawn")
    answers = context.Queue()

    def attempt() -> str:
        process = context.Process(target=_try_lock, args=(tmp_path, answers))
        process.start()
        answer = answers.get(timeout=60)
        process.join(60)
        return answer

    with ProcessLock(tmp_path):
        assert str(os.getpid()) in attempt()
    assert attempt() == "taken"


def test_a_lock_in_an_impossible_place_says_so(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(StateProblem, match="writable"):
        ProcessLock(tmp_path / "file").acquire()
