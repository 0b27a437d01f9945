"""What the journal tells: each refusal in words, what it noted as a whole, and the returns that are on their way."""

import re
from dataclasses import replace
from pathlib import Path

import pytest

from reactor.documents.keys import burn_key, deposit_key, nonce_slot
from reactor.documents.reasons import WaitReason
from reactor.state.complete_sets import InFlight
from reactor.state.holds import SIGNING
from reactor.state.journal import Journal, JournalRow
from reactor.state.verdicts import Allowed, Refusal, Refused
from tests.unit.journal_helpers import ALICE, BRIDGE, BURN, DEPOSIT, HEIGHTS, NOW, mint, payout, slot_owner

pytestmark = pytest.mark.unit

SLOT = nonce_slot(BRIDGE, ALICE, 1)
OTHER_BURN = burn_key(BRIDGE, "0xb2", 0)


# Refusals


def test_another_outcome_is_refused_with_both_named(journal: Journal) -> None:
    journal.sign_batch([mint()])
    refused = Refused(Refusal.CONFLICT, f"{DEPOSIT}: mint was signed, objection is asked")
    assert journal.sign_batch([replace(mint(digest=2), outcome="objection")]) == [refused]


def test_another_outcome_is_refused_whatever_the_attempt(journal: Journal) -> None:
    journal.sign_batch([payout()])
    journal.release_attempt(BURN, "op")
    refused = Refused(Refusal.CONFLICT, f"{BURN}: payout was signed, objection is asked")
    assert journal.sign_batch([replace(payout(digest=2, attempt=1), outcome="objection")]) == [refused]


def test_another_digest_is_refused_with_the_signed_one_named(journal: Journal) -> None:
    journal.sign_batch([mint(digest=1)])
    assert journal.sign_batch([mint(digest=2)]) == [Refused(Refusal.CONFLICT, f"{DEPOSIT}: attempt 0 was signed as {'01' * 32}")]


def test_an_attempt_that_nobody_released_is_named(journal: Journal) -> None:
    journal.sign_batch([payout()])
    assert journal.sign_batch([payout(2, attempt=1)]) == [
        Refused(Refusal.UNRELEASED, f"{BURN}: attempt 1 waits for an operator's release")
    ]


def test_a_taken_slot_names_its_owner(journal: Journal) -> None:
    journal.sign_batch([mint("d1", nonce=1)])
    assert journal.sign_batch([mint("d2", nonce=1)]) == [Refused(Refusal.SLOT_TAKEN, f"{SLOT} belongs to {DEPOSIT}")]


def test_an_event_older_than_the_journal_names_chain_and_both_heights(journal: Journal) -> None:
    assert journal.sign_batch([mint(height=49), payout(height=500)]) == [
        Refused(Refusal.OLDER_THAN_JOURNAL, "pocket height 49 is not above the journal's 50"),
        Refused(Refusal.OLDER_THAN_JOURNAL, "ethereum height 500 is not above the journal's 500"),
    ]


@pytest.mark.parametrize(
    ("detail", "told"),
    [("looks odd", "signing: operator by alice looks odd"), ("", "signing: operator by alice")],
)
def test_a_hold_tells_scope_reason_and_who(journal: Journal, detail: str, told: str) -> None:
    journal.hold(SIGNING, "operator", detail, "alice")
    assert journal.sign_batch([mint()]) == [Refused(Refusal.HELD, told)]


def test_a_pause_tells_direction_and_who(journal: Journal) -> None:
    journal.pause("payout", "alice", "upgrade")
    assert journal.sign_batch([payout()]) == [Refused(Refusal.PAUSED, "direction:payout: paused by alice upgrade")]


def test_a_refused_entry_binds_nothing_and_stops_nothing_behind_it(journal: Journal) -> None:
    journal.hold(f"event:{DEPOSIT}", "operator", "", "alice")
    verdicts = journal.sign_batch([mint("d1", nonce=1), mint("d2", nonce=1)])
    assert verdicts == [Refused(Refusal.HELD, f"event:{DEPOSIT}: operator by alice"), Allowed()]
    assert slot_owner(journal, SLOT) == deposit_key(BRIDGE, "d2")


@pytest.mark.parametrize(
    ("refusal", "wait"),
    [
        (Refusal.HELD, WaitReason.HELD),
        (Refusal.PAUSED, WaitReason.PAUSED),
        (Refusal.OLDER_THAN_JOURNAL, WaitReason.OLDER_THAN_JOURNAL),
        (Refusal.CONFLICT, WaitReason.JOURNAL_CONFLICT),
        (Refusal.UNRELEASED, WaitReason.HELD),
        (Refusal.SLOT_TAKEN, WaitReason.JOURNAL_CONFLICT),
        (Refusal.OVER_THRESHOLD, WaitReason.OVER_THRESHOLD),
        (Refusal.OVER_WINDOW, WaitReason.OVER_WINDOW),
        (Refusal.AMOUNT_UNKNOWN, WaitReason.LEDGER_BEHIND),
        (Refusal.OTHER_PROCESS, WaitReason.OTHER_PROCESS),
        (Refusal.STATE_REPLACED, WaitReason.STATE_REPLACED),
    ],
)
def test_each_refusal_shows_one_reason_in_the_document(refusal: Refusal, wait: WaitReason) -> None:
    assert refusal.wait is wait


def test_no_refusal_is_without_a_reason_to_show() -> None:
    assert {refusal.wait for refusal in Refusal} <= set(WaitReason)


# What cannot be asked


def test_a_digest_of_another_length_is_refused_with_its_length() -> None:
    with pytest.raises(ValueError, match=r"^digest: 31 bytes, must be the 32 bytes hash of what is signed$"):
        replace(mint(), digest=bytes(31))


@pytest.mark.parametrize(
    ("change", "told"),
    [({"attempt": -1}, f"attempt -1 of event '{DEPOSIT}'"), ({"event": ""}, "attempt 0 of event ''")],
)
def test_an_entry_without_key_or_attempt_names_both(change: dict[str, object], told: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(told)}: need a key and an attempt from 0$"):
        replace(mint(), **change)


# What was noted


def test_what_was_signed_is_kept_whole_and_by_attempt(journal: Journal) -> None:
    journal.release_attempt(BURN, "op", attempt=1)
    journal.sign_batch([payout(2, attempt=1), payout(1, attempt=0), mint()])
    assert journal.signed(BURN) == [
        JournalRow(BURN, "payout", attempt, bytes([attempt + 1]) * 32, None, "ethereum", 501, "payout", "5e" * 20, NOW)
        for attempt in (0, 1)
    ]
    assert journal.signed(DEPOSIT) == [JournalRow(DEPOSIT, "mint", 0, b"\1" * 32, SLOT, "pocket", 51, "mint", ALICE, NOW)]
    assert journal.signed(OTHER_BURN) == []


def test_what_is_known_is_known_of_its_own_attempt_and_outcome(journal: Journal) -> None:
    journal.release_attempt(BURN, "op", attempt=1)
    journal.sign_batch([payout(2, attempt=1)])
    assert journal.knows(BURN, "payout", 1) == b"\2" * 32
    assert journal.knows(BURN, "payout", 0) is None
    assert journal.knows(BURN, "payout", 2) is None
    assert journal.knows(BURN, "objection", 1) is None
    assert journal.knows(OTHER_BURN, "payout", 1) is None


def test_the_newest_signature_tells_when_the_last_was_made(journal: Journal, tmp_path: Path) -> None:
    journal.sign_batch([mint()])
    later = Journal.open(tmp_path, BRIDGE, lambda: NOW + 60.5)
    later.sign_batch([payout()])
    assert later.last_signature_at() == NOW + 60
    later.close()


def test_a_slot_that_nobody_took_has_no_owner(journal: Journal) -> None:
    journal.sign_batch([mint(nonce=1)])
    assert slot_owner(journal, SLOT) == DEPOSIT
    assert slot_owner(journal, nonce_slot(BRIDGE, ALICE, 2)) is None


def test_a_journal_tells_when_and_at_which_heights_it_was_made(journal: Journal) -> None:
    assert (journal.created_at, journal.heights) == (NOW, HEIGHTS)
    assert len(bytes.fromhex(journal.instance)) == 16


def test_who_allowed_older_events_is_kept(journal: Journal) -> None:
    assert not journal.allows_older
    journal.allow_older("alice")
    assert journal.allows_older
    assert journal.export()["meta"]["allow_older_by"] == "alice"


def test_the_export_is_everything(journal: Journal) -> None:
    journal.sign_batch([mint(), payout()])
    journal.complete_set(BURN, 0, b"\xab\xcd", 2**70, 10_000)
    journal.submitted(BURN, 0, NOW + 5)
    journal.included(BURN, 0)
    journal.complete_set(OTHER_BURN, 0, b"\xef")
    journal.hold(SIGNING, "unexplained_return", "one", "validator", subject="r1")
    journal.release(SIGNING, "alice", "known")
    journal.release_attempt(BURN, "alice", "it failed")
    assert journal.export() == {
        "meta": {
            "schema": "1",
            "instance": journal.instance,
            "created_at": str(NOW),
            "pocket_scope": BRIDGE.pocket_scope,
            "ethereum_scope": BRIDGE.ethereum_scope,
            "pocket_height": "50",
            "ethereum_height": "500",
            "allow_older": "0",
        },
        "signatures": [
            {
                "event": DEPOSIT,
                "outcome": "mint",
                "attempt": 0,
                "digest": "01" * 32,
                "slot": SLOT,
                "chain": "pocket",
                "height": "51",
                "direction": "mint",
                "recipient": ALICE,
                "at": NOW,
            },
            {
                "event": BURN,
                "outcome": "payout",
                "attempt": 0,
                "digest": "01" * 32,
                "slot": None,
                "chain": "ethereum",
                "height": "501",
                "direction": "payout",
                "recipient": "5e" * 20,
                "at": NOW,
            },
        ],
        "complete_sets": [
            {
                "event": BURN,
                "attempt": 0,
                "raw": "abcd",
                "amount": str(2**70),
                "fee": "10000",
                "at": NOW,
                "submitted_at": NOW + 5,
                "included_at": NOW,
            },
            {
                "event": OTHER_BURN,
                "attempt": 0,
                "raw": "ef",
                "amount": "0",
                "fee": "0",
                "at": NOW,
                "submitted_at": None,
                "included_at": None,
            },
        ],
        "holds": [
            {
                "id": 1,
                "scope": "signing",
                "reason": "unexplained_return",
                "subject": "r1",
                "detail": "one",
                "by": "validator",
                "at": NOW,
                "released_by": "alice",
                "released_at": NOW,
                "released_why": "known",
            }
        ],
        "releases": [{"event": BURN, "attempt": 1, "by": "alice", "at": NOW, "why": "it failed"}],
    }


# Returns on their way


def test_returns_in_flight_are_told_whole_and_oldest_first(journal: Journal) -> None:
    journal.complete_set(BURN, 0, b"one", 100, 10)
    journal.complete_set(BURN, 1, b"two", 100, 20)
    journal.complete_set(OTHER_BURN, 0, b"three", 300, 30)
    journal.submitted(BURN, 1, 3000)
    journal.submitted(OTHER_BURN, 0, 2000)
    journal.submitted(BURN, 0, 2500)
    assert journal.in_flight() == [
        InFlight(OTHER_BURN, 0, 300, 30, 2000),
        InFlight(BURN, 0, 100, 10, 2500),
        InFlight(BURN, 1, 100, 20, 3000),
    ]
    assert journal.in_flight_total() == 560
    assert journal.in_flight_total(besides=BURN) == 330


def test_complete_sets_are_exported_as_they_came(journal: Journal, tmp_path: Path) -> None:
    journal.complete_set(OTHER_BURN, 0, b"one")
    later = Journal.open(tmp_path, BRIDGE, lambda: NOW + 60.5)
    later.complete_set(BURN, 0, b"two")
    exported = later.export()["complete_sets"]
    assert [(one["event"], one["at"]) for one in exported] == [(OTHER_BURN, NOW), (BURN, NOW + 60)]
    later.close()


def test_an_attempt_in_a_block_leaves_the_others_in_flight(journal: Journal) -> None:
    for event, attempt in ((BURN, 0), (BURN, 1), (OTHER_BURN, 0)):
        journal.complete_set(event, attempt, b"raw", 100, 10)
        journal.submitted(event, attempt, 1000)
    journal.included(BURN, 0)
    assert [(one.event, one.attempt) for one in journal.in_flight()] == [(BURN, 1), (OTHER_BURN, 0)]


def test_the_first_inclusion_stays_on_record(journal: Journal, tmp_path: Path) -> None:
    journal.complete_set(BURN, 0, b"raw")
    journal.included(BURN, 0)
    later = Journal.open(tmp_path, BRIDGE, lambda: NOW + 60.5)
    later.included(BURN, 0)
    (kept,) = later.export()["complete_sets"]
    assert kept["included_at"] == NOW
    later.close()


def test_a_set_that_was_kept_is_told_by_event_and_attempt(journal: Journal) -> None:
    journal.complete_set(BURN, 0, b"one")
    assert journal.complete(BURN, 0) == b"one"
    assert journal.complete(BURN, 1) is None
    assert journal.complete(OTHER_BURN, 0) is None
