"""Holds, pauses and releases: what stays on record, what they stop and for how long."""

from pathlib import Path

import pytest

from reactor.state.holds import SIGNING, Hold, direction_scope, event_scope, recipient_scope
from reactor.state.journal import Journal
from reactor.state.problems import StateProblem
from reactor.state.verdicts import Allowed, Refusal
from tests.unit.journal_helpers import ALICE, BRIDGE, BURN, DEPOSIT, NOW, mint, payout, refusals

pytestmark = pytest.mark.unit


class Hands:
    """A clock that the test turns."""

    def __init__(self) -> None:
        self.now = float(NOW)

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Hands:
    return Hands()


@pytest.fixture
def timed(journal: Journal, tmp_path: Path, clock: Hands):
    """The same journal under a clock that moves."""
    opened = Journal.open(tmp_path, BRIDGE, clock)
    yield opened
    opened.close()


def active(number: int, scope: str, reason: str = "operator", detail: str = "", subject: str = "", by: str = "alice") -> Hold:
    return Hold(number, scope, reason, subject, detail, by, NOW, None, None, None)


def test_scopes_are_written_as_operators_write_them() -> None:
    assert SIGNING == "signing"
    assert direction_scope("mint") == "direction:mint"
    assert recipient_scope(ALICE) == f"recipient:{ALICE}"
    assert event_scope(DEPOSIT) == f"event:{DEPOSIT}"


# What stays on record


def test_a_hold_is_kept_whole(journal: Journal) -> None:
    assert journal.hold(SIGNING, "unexplained_return", "code 9", "validator", subject="r1") == 1
    assert journal.holds() == [active(1, SIGNING, "unexplained_return", "code 9", "r1", "validator")]
    assert journal.held(DEPOSIT, "mint", ALICE) == journal.holds()[0]


def test_an_operators_hold_and_pause_have_no_subject_and_need_no_reason(journal: Journal) -> None:
    assert (journal.hold(event_scope(BURN), "operator", "", "alice"), journal.pause("payout", "alice")) == (1, 2)
    assert journal.holds() == [active(1, event_scope(BURN)), active(2, "direction:payout", "paused")]


def test_a_release_keeps_who_when_and_why(timed: Journal, clock: Hands) -> None:
    timed.hold(SIGNING, "operator", "looks odd", "alice")
    clock.now += 60.9
    assert timed.release(SIGNING, "bob", "looked at") == 1
    assert timed.holds() == []
    assert timed.hold_history() == [
        Hold(1, SIGNING, "operator", "", "looks odd", "alice", NOW, "bob", NOW + 60, "looked at"),
    ]


def test_a_resume_keeps_who_when_and_why(timed: Journal, clock: Hands) -> None:
    timed.pause("mint", "alice", "upgrade")
    timed.pause("payout", "alice")
    clock.now += 60
    assert timed.resume("mint", "bob", "done") == 1
    assert timed.resume("payout", "bob") == 1
    assert timed.hold_history() == [
        Hold(1, "direction:mint", "paused", "", "upgrade", "alice", NOW, "bob", NOW + 60, "done"),
        Hold(2, "direction:payout", "paused", "", "", "alice", NOW, "bob", NOW + 60, ""),
    ]


def test_what_was_released_once_keeps_its_release(timed: Journal, clock: Hands) -> None:
    timed.hold(SIGNING, "operator", "", "alice")
    timed.release(SIGNING, "bob", "looked at")
    before = timed.hold_history()
    clock.now += 60
    assert timed.release(1, "carol", "again") == 0
    assert timed.release(SIGNING, "carol", "again") == 0
    assert timed.hold_history() == before


# What they stop


def test_a_release_by_number_ends_that_hold_alone(journal: Journal) -> None:
    first = journal.hold(SIGNING, "operator", "", "alice")
    second = journal.hold(SIGNING, "unexplained_return", "", "validator", subject="r1")
    assert journal.release(first, "bob", "") == 1
    assert [hold.id for hold in journal.holds()] == [second]
    assert refusals(journal.sign_batch([mint()])) == [Refusal.HELD]


def test_a_release_by_scope_ends_all_of_that_scope_alone(journal: Journal) -> None:
    journal.hold(SIGNING, "operator", "", "alice")
    journal.hold(SIGNING, "unexplained_return", "", "validator", subject="r1")
    journal.hold(recipient_scope(ALICE), "operator", "", "alice")
    assert journal.release(SIGNING, "bob", "") == 2
    assert [hold.scope for hold in journal.holds()] == [recipient_scope(ALICE)]


def test_the_oldest_hold_is_told_and_then_the_next(journal: Journal) -> None:
    scopes = [recipient_scope(ALICE), SIGNING, event_scope(DEPOSIT)]
    for scope in scopes:
        journal.hold(scope, "operator", "", "alice")
    told = []
    while hold := journal.held(DEPOSIT, "mint", ALICE):
        told.append(hold.scope)
        journal.release(hold.id, "bob", "")
    assert told == scopes


def test_a_hold_without_a_recipient_asked_for_is_told_too(journal: Journal) -> None:
    journal.hold(recipient_scope(""), "operator", "what has no recipient", "alice")
    assert journal.held(DEPOSIT, "mint") == active(1, "recipient:", detail="what has no recipient")
    assert journal.held(DEPOSIT, "mint", ALICE) is None


def test_a_pause_of_one_direction_is_ended_by_its_own_resume(journal: Journal) -> None:
    journal.pause("mint", "alice")
    assert journal.resume("payout", "alice") == 0
    assert refusals(journal.sign_batch([mint(), payout()])) == [Refusal.PAUSED, None]
    assert journal.resume("mint", "alice") == 1
    assert journal.sign_batch([mint()]) == [Allowed()]


@pytest.mark.parametrize(
    ("scope", "reason", "subject"),
    [(SIGNING, "return_failed", "r2"), (SIGNING, "unexplained_return", "r1"), (event_scope(BURN), "return_failed", "r1")],
)
def test_another_scope_reason_or_subject_is_another_hold(journal: Journal, scope: str, reason: str, subject: str) -> None:
    assert journal.hold(SIGNING, "return_failed", "", "validator", subject="r1") == 1
    assert journal.hold(scope, reason, "", "validator", subject=subject) == 2
    assert len(journal.holds()) == 2


def test_of_subjects_that_begin_alike_one_hold_at_a_time_is_enough_and_the_newest_is_told(journal: Journal) -> None:
    def raised(subject: str, begins: str) -> int:
        return journal.hold(SIGNING, "deep_reorg", subject, "validator", subject=subject, instead_of=begins)

    first = raised("a block 1", "a block ")
    assert [raised(f"a block {number}", "a block ") for number in range(2, 50)] == [first] * 48
    other = raised("b block 1", "b block ")
    assert [(one.id, one.subject, one.detail) for one in journal.holds()] == [
        (first, "a block 49", "a block 49"),
        (other, "b block 1", "b block 1"),
    ]
    # What a person has let go stays so; anything else is a hold again.
    assert journal.release(first, "alice", "the chain says so too") == 1
    assert raised("a block 49", "a block ") == first
    assert len(journal.holds()) == 1
    again = raised("a block 50", "a block ")
    assert again not in {first, other}
    assert raised("a block 49", "a block ") == first, "and takes nothing over from what is held"
    assert [one.subject for one in journal.holds()] == ["b block 1", "a block 50"]
    assert len(journal.hold_history()) == 3


def replaced(journal: Journal, subject: str) -> int:
    """A node shows another chain than final: one hold, which tells the newest."""
    return journal.hold(SIGNING, "deep_reorg", subject, "validator", subject=subject, instead_of="a block ")


def test_what_was_shown_is_released_with_what_it_told(timed: Journal) -> None:
    replaced(timed, "a block 1")
    timed.hold(event_scope(BURN), "operator", "looks odd", "alice")
    assert timed.release_shown(timed.holds(), "bob", "understood") == 2
    assert [(one.detail, one.released_by, one.released_why) for one in timed.hold_history()] == [
        ("a block 1", "bob", "understood"),
        ("looks odd", "bob", "understood"),
    ]
    assert timed.release_shown(timed.hold_history(), "carol", "again") == 0, "it keeps its release"


def test_what_tells_something_else_meanwhile_is_not_released_nor_what_was_shown_with_it(journal: Journal) -> None:
    journal.hold(event_scope(BURN), "operator", "looks odd", "alice")
    number = replaced(journal, "a block 1")
    shown = journal.holds()
    replaced(journal, "a block 2")
    with pytest.raises(StateProblem, match=f"nothing was released: hold {number} on signing tells something else now"):
        journal.release_shown(shown, "bob", "understood")
    assert [(one.detail, one.released_by) for one in journal.hold_history()] == [("looks odd", None), ("a block 2", None)]
    assert refusals(journal.sign_batch([mint()])) == [Refusal.HELD]
    assert journal.release_shown(journal.holds(), "bob", "understood") == 2


def test_what_another_released_meanwhile_keeps_nobody_from_releasing_the_rest(journal: Journal) -> None:
    number = replaced(journal, "a block 1")
    journal.hold(event_scope(BURN), "operator", "looks odd", "alice")
    shown = journal.holds()
    replaced(journal, "a block 2")
    assert journal.release(number, "carol", "understood") == 1
    assert journal.release_shown(shown, "bob", "calm") == 1
    assert journal.holds() == []


def test_a_hold_takes_nothing_over_from_one_of_another_scope_or_reason(journal: Journal) -> None:
    journal.hold(event_scope(BURN), "deep_reorg", "", "validator", subject="a 1")
    journal.hold(SIGNING, "lost_journal", "", "validator", subject="a 2")
    journal.hold(SIGNING, "deep_reorg", "", "validator", subject="a 3", instead_of="a ")
    assert [one.subject for one in journal.holds()] == ["a 1", "a 2", "a 3"]


# Releases of attempts


def test_the_first_release_of_what_was_never_signed_here_is_of_attempt_one(journal: Journal) -> None:
    assert journal.releases(BURN) == 0
    assert journal.release_attempt(BURN, "alice") == 1
    assert journal.releases(BURN) == 1
    assert journal.releases(DEPOSIT) == 0


def test_which_attempt_is_next_hangs_on_its_own_event_alone(journal: Journal) -> None:
    journal.release_attempt(BURN, "alice")
    journal.sign_batch([payout(1, 0), payout(2, 1)])
    assert journal.release_attempt(DEPOSIT, "alice") == 1
    assert journal.release_attempt(BURN, "alice") == 2


def test_a_release_of_an_attempt_is_of_its_event_alone(journal: Journal) -> None:
    journal.release_attempt(DEPOSIT, "alice")
    assert refusals(journal.sign_batch([payout(1, 0), payout(2, 1)])) == [None, Refusal.UNRELEASED]


def test_the_first_release_of_an_attempt_stays_on_record(timed: Journal, clock: Hands) -> None:
    timed.release_attempt(BURN, "alice", "it failed")
    clock.now += 60
    timed.release_attempt(BURN, "bob", "again")
    timed.release_attempt(BURN, "bob", attempt=2)
    assert timed.export()["releases"] == [
        {"event": BURN, "attempt": 1, "by": "alice", "at": NOW, "why": "it failed"},
        {"event": BURN, "attempt": 2, "by": "bob", "at": NOW + 60, "why": ""},
    ]


def test_the_highest_released_attempt_counts_in_whatever_order(journal: Journal) -> None:
    journal.release_attempt(BURN, "alice", attempt=3)
    journal.release_attempt(BURN, "alice", attempt=2)
    assert journal.releases(BURN) == 3
    assert refusals(journal.sign_batch([payout(1, 4), payout(1, 3)])) == [Refusal.UNRELEASED, None]
