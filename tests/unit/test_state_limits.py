"""Limits: what one direction may move without a person, judged in the journal's own transaction."""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from reactor.documents.keys import burn_key, deposit_key
from reactor.documents.reasons import HoldReason, WaitReason
from reactor.state.holds import Hold
from reactor.state.journal import Journal, JournalEntry
from reactor.state.limits import Limit, Limits, Over, Read
from reactor.state.rows import EventKind
from reactor.state.verdicts import Allowed, Refusal, Refused
from tests.unit.handler_world import USER, World, burn, deposit, make_world

pytestmark = pytest.mark.unit

HOUR = 3600


class Desk:
    """A journal with a clock that the test turns, before a ledger with three deposits and three burns of 100."""

    def __init__(self, world: World, folder: Path) -> None:
        self.now = 1_000_000.0
        self.folder, self.world = folder, world
        world.journal.close()
        self.deposits = [deposit(10 + number, amount=100) for number in range(3)]
        self.burns = [burn(10 + number, amount=100) for number in range(3)]
        world.record(EventKind.DEPOSIT, *self.deposits)
        world.record(EventKind.BURN, *self.burns)
        self.journal = self.open()

    def open(self) -> Journal:
        return Journal.open(self.folder, self.world.bridge, lambda: self.now)

    def limit(self, **rules: Limit) -> None:
        self.journal.limit(Limits(rules, self.world.ledger.amount))

    def mint(self, number: int) -> JournalEntry:
        event = self.deposits[number]
        return JournalEntry(self.key(number), "mint", 0, bytes([number]) * 32, None, "pocket", event.height, "mint", USER)

    def key(self, number: int) -> str:
        return deposit_key(self.world.bridge, self.deposits[number].tx_hash)

    def payout(self, number: int, attempt: int = 0) -> JournalEntry:
        event = self.burns[number]
        key = burn_key(self.world.bridge, event.tx_hash, 0)
        return JournalEntry(key, "payout", attempt, bytes([number, attempt]) * 16, None, "ethereum", event.height, "payout")

    def sign(self, *entries: JournalEntry) -> list[str]:
        """What becomes of each: `ok`, or why not."""
        return ["ok" if isinstance(one, Allowed) else one.reason.value for one in self.journal.sign_batch(entries)]

    def active(self) -> list[tuple[str, str]]:
        return [(hold.scope, hold.reason) for hold in self.journal.holds()]


@pytest.fixture
def desk(tmp_path: Path):
    desk = Desk(make_world(tmp_path), tmp_path)
    yield desk
    desk.journal.close()
    desk.world.ledger.close()


# --- one transfer


def test_without_limits_nothing_is_held(desk: Desk) -> None:
    assert desk.sign(desk.mint(0), desk.payout(0)) == ["ok", "ok"]
    assert desk.active() == []


@pytest.mark.parametrize(("single", "becomes"), [(99, "over_threshold"), (100, "ok")])
def test_a_transfer_above_the_threshold_is_held_and_one_at_it_is_not(desk: Desk, single: int, becomes: str) -> None:
    desk.limit(mint=Limit(single=single))
    assert desk.sign(desk.mint(0)) == [becomes]
    assert desk.active() == ([] if becomes == "ok" else [(f"event:{desk.key(0)}", "over_threshold")])
    assert (desk.journal.knows(desk.key(0), "mint", 0) is not None) == (becomes == "ok")


def test_a_limit_is_of_its_direction_alone(desk: Desk) -> None:
    desk.limit(payout=Limit(single=1))
    assert desk.sign(desk.mint(0), desk.payout(0)) == ["ok", "over_threshold"]


def test_released_by_an_operator_it_is_signed_and_only_it(desk: Desk) -> None:
    desk.limit(mint=Limit(single=99))
    desk.sign(desk.mint(0), desk.mint(1))
    assert desk.journal.release(f"event:{desk.key(0)}", "alice", "looked at") == 1
    assert desk.sign(desk.mint(0), desk.mint(1)) == ["ok", "over_threshold"]
    released, _ = desk.journal.hold_history()
    assert (released.released_by, released.released_why) == ("alice", "looked at"), "the signature does not write over it"


def test_without_a_delay_it_waits_for_ever(desk: Desk) -> None:
    desk.limit(mint=Limit(single=99))
    desk.sign(desk.mint(0))
    desk.now += 10 * 365 * 86_400
    assert desk.sign(desk.mint(0)) == ["over_threshold"]


def test_after_the_delay_it_is_signed_and_the_hold_ends(desk: Desk) -> None:
    desk.limit(mint=Limit(single=99, delay=HOUR))
    assert desk.sign(desk.mint(0)) == ["over_threshold"]
    desk.now += HOUR - 1
    assert desk.sign(desk.mint(0)) == ["over_threshold"]
    desk.now += 1
    assert desk.sign(desk.mint(0)) == ["ok"]
    assert desk.active() == []
    (ended,) = desk.journal.hold_history()
    assert (ended.released_by, ended.released_at) == ("validator", int(desk.now))


def test_the_delay_begins_when_it_was_held_and_survives_a_restart(desk: Desk) -> None:
    desk.limit(mint=Limit(single=99, delay=HOUR))
    desk.sign(desk.mint(0))
    desk.journal.close()
    desk.now += HOUR
    desk.journal = desk.open()
    desk.limit(mint=Limit(single=99, delay=HOUR))
    assert desk.sign(desk.mint(0), desk.mint(1)) == ["ok", "over_threshold"]


def test_the_delay_does_not_begin_anew_when_the_other_limit_holds_it_too(desk: Desk) -> None:
    desk.limit(mint=Limit(single=99, delay=HOUR))
    desk.sign(desk.mint(0))
    desk.now += HOUR / 2
    desk.limit(mint=Limit(window=99, seconds=HOUR, delay=HOUR))
    assert desk.sign(desk.mint(0)) == ["over_window"]
    assert [hold.reason for hold in desk.journal.holds()] == ["over_threshold", "over_window"]
    desk.now += HOUR / 2
    assert desk.sign(desk.mint(0)) == ["ok"]
    assert desk.active() == [], "both holds end"


def test_a_clock_that_was_set_back_shortens_nothing(desk: Desk) -> None:
    desk.limit(mint=Limit(single=99, window=1000, delay=HOUR))
    desk.sign(desk.mint(0))
    desk.now -= 5 * HOUR
    assert desk.sign(desk.mint(0)) == ["over_threshold"]


# --- the window


def test_the_window_takes_what_fits_and_holds_the_rest(desk: Desk) -> None:
    desk.limit(mint=Limit(window=200, seconds=HOUR))
    assert desk.sign(desk.mint(0)) == ["ok"]
    assert desk.sign(desk.mint(1)) == ["ok"]
    assert desk.sign(desk.mint(2)) == ["over_window"]
    assert desk.active() == [(f"event:{desk.key(2)}", "over_window")]


def test_many_at_once_do_not_pass_together(desk: Desk) -> None:
    desk.limit(mint=Limit(window=200, seconds=HOUR))
    assert desk.sign(desk.mint(0), desk.mint(1), desk.mint(2)) == ["ok", "ok", "over_window"]


def test_the_window_rolls_and_the_hold_ends_by_itself(desk: Desk) -> None:
    desk.limit(mint=Limit(window=200, seconds=HOUR))
    desk.sign(desk.mint(0))
    desk.now += HOUR / 2
    assert desk.sign(desk.mint(1), desk.mint(2)) == ["ok", "over_window"]
    desk.now += HOUR / 2 - 1
    assert desk.sign(desk.mint(2)) == ["over_window"]
    desk.now += 1
    assert desk.sign(desk.mint(2)) == ["ok"]
    assert desk.active() == []


def test_the_window_is_the_same_after_a_restart_and_without_the_ledger(desk: Desk) -> None:
    desk.limit(mint=Limit(window=200, seconds=HOUR))
    desk.sign(desk.mint(0), desk.mint(1))
    desk.journal.close()
    desk.journal = desk.open()
    known = {desk.key(2): 100}
    desk.journal.limit(Limits({"mint": Limit(window=200, seconds=HOUR)}, known.get))
    assert desk.sign(desk.mint(2)) == ["over_window"]


def test_what_was_signed_before_a_clock_was_set_back_still_counts(desk: Desk) -> None:
    desk.limit(mint=Limit(window=200, seconds=HOUR))
    desk.sign(desk.mint(0), desk.mint(1))
    desk.now -= 10 * HOUR
    assert desk.sign(desk.mint(2)) == ["over_window"]


def test_the_same_signature_again_is_not_counted_twice(desk: Desk) -> None:
    desk.limit(mint=Limit(window=200, seconds=HOUR))
    assert desk.sign(desk.mint(0), desk.mint(0)) == ["ok", "ok"]
    assert desk.sign(desk.mint(0)) == ["ok"]
    assert desk.sign(desk.mint(1)) == ["ok"]


def test_what_an_operator_released_counts_too(desk: Desk) -> None:
    desk.limit(mint=Limit(single=99, window=200, seconds=HOUR))
    desk.sign(desk.mint(0))
    desk.journal.release(f"event:{desk.key(0)}", "alice", "looked at")
    assert desk.sign(desk.mint(0)) == ["ok"]
    desk.limit(mint=Limit(window=200, seconds=HOUR))
    assert desk.sign(desk.mint(1), desk.mint(2)) == ["ok", "over_window"]


def test_a_raised_limit_lets_go_what_the_lower_one_held(desk: Desk) -> None:
    desk.limit(mint=Limit(single=99))
    desk.sign(desk.mint(0))
    desk.limit(mint=Limit(single=100))
    assert desk.journal.over_limit(desk.key(0), "mint") is None
    assert desk.sign(desk.mint(0)) == ["ok"]


def test_a_limit_that_was_removed_leaves_its_holds_to_an_operator(desk: Desk) -> None:
    desk.limit(mint=Limit(single=99))
    desk.sign(desk.mint(0))
    desk.journal.close()
    desk.journal = desk.open()
    assert desk.sign(desk.mint(0), desk.mint(1)) == ["held", "ok"]


# --- what limits do not touch, and what they refuse


def test_an_amount_that_the_ledger_does_not_know_is_within_no_limit(desk: Desk) -> None:
    desk.journal.limit(Limits({"mint": Limit(single=10**9)}, lambda _: None))
    assert desk.sign(desk.mint(0)) == ["amount_unknown"]
    assert desk.active() == []


def test_the_ledger_tells_no_amount_of_what_is_not_final(desk: Desk) -> None:
    late = deposit(150, amount=100)
    desk.world.ledger.record_window(EventKind.DEPOSIT, 101, 200, [late], final=100)
    assert desk.world.ledger.amount(deposit_key(desk.world.bridge, late.tx_hash)) is None
    assert desk.world.ledger.amount(desk.key(0)) == 100


def test_an_objection_moves_nothing(desk: Desk) -> None:
    desk.limit(payout=Limit(single=1, window=1, seconds=HOUR))
    entry = JournalEntry(desk.payout(0).event, "objection", 0, bytes(32), None, "ethereum", 10, "payout")
    assert desk.sign(entry) == ["ok"]


def test_the_next_attempt_of_a_payout_was_released_by_a_person(desk: Desk) -> None:
    desk.limit(payout=Limit(window=100, seconds=HOUR))
    assert desk.sign(desk.payout(0)) == ["ok"]
    desk.journal.release_attempt(desk.payout(0).event, "alice", "it failed")
    assert desk.sign(desk.payout(0, attempt=1)) == ["ok"]
    assert desk.sign(desk.payout(1)) == ["over_window"]


def test_an_objection_takes_no_room_in_the_window(desk: Desk) -> None:
    desk.limit(payout=Limit(window=100, seconds=HOUR))
    entry = JournalEntry(desk.payout(0).event, "objection", 0, bytes(32), None, "ethereum", 10, "payout")
    assert desk.sign(entry, desk.payout(1)) == ["ok", "ok"]
    assert desk.sign(desk.payout(2)) == ["over_window"]


def test_what_one_direction_signs_takes_no_room_of_the_other(desk: Desk) -> None:
    desk.limit(mint=Limit(window=100, seconds=HOUR), payout=Limit(window=100, seconds=HOUR))
    assert desk.sign(desk.mint(0), desk.payout(0)) == ["ok", "ok"]
    assert desk.sign(desk.mint(1), desk.payout(1)) == ["over_window", "over_window"]


def test_what_was_signed_without_a_limit_is_not_in_the_window(desk: Desk) -> None:
    desk.limit(payout=Limit(window=100, seconds=HOUR))
    assert desk.sign(desk.mint(0)) == ["ok"]
    desk.limit(mint=Limit(window=100, seconds=HOUR))
    assert desk.sign(desk.mint(1)) == ["ok"]


def test_a_later_attempt_counts_from_its_own_signature(desk: Desk) -> None:
    desk.limit(payout=Limit(window=100, seconds=HOUR))
    assert desk.sign(desk.payout(0)) == ["ok"]
    desk.now += HOUR - 1
    desk.journal.release_attempt(desk.payout(0).event, "alice", "it failed")
    assert desk.sign(desk.payout(0, attempt=1)) == ["ok"]
    desk.now += HOUR - 1
    assert desk.sign(desk.payout(1)) == ["over_window"]
    desk.now += 1
    assert desk.sign(desk.payout(1)) == ["ok"]


def test_a_later_attempt_whose_amount_is_unknown_was_released_all_the_same(desk: Desk) -> None:
    known = {desk.payout(0).event: 100}
    desk.journal.limit(Limits({"payout": Limit(window=100, seconds=HOUR)}, known.get))
    assert desk.sign(desk.payout(0)) == ["ok"]
    known.clear()
    desk.journal.release_attempt(desk.payout(0).event, "alice", "it failed")
    assert desk.sign(desk.payout(0, attempt=1)) == ["ok"]


def test_a_hold_by_hand_still_stops_what_is_within_the_limits(desk: Desk) -> None:
    desk.limit(mint=Limit(single=100))
    desk.journal.hold("signing", "operator", "x", "alice")
    assert desk.sign(desk.mint(0)) == ["held"]


# --- what is shown


def test_what_is_shown_names_amount_limit_and_end(desk: Desk) -> None:
    desk.limit(mint=Limit(single=150, window=150, seconds=HOUR, delay=HOUR))
    assert desk.journal.over_limit(desk.key(1), "mint") is None
    desk.sign(desk.mint(0), desk.mint(1))
    over = desk.journal.over_limit(desk.key(1), "mint")
    assert over is not None
    assert over.wait is WaitReason.OVER_WINDOW
    assert dict(over.params) | {"until": ""} == {
        "amount": "100", "limit": "150", "moved": "100", "seconds": "3600", "until": ""
    }  # fmt: skip
    desk.now += HOUR
    assert desk.journal.over_limit(desk.key(1), "mint") is None


def test_what_is_refused_tells_its_reason(desk: Desk) -> None:
    desk.limit(mint=Limit(single=99))
    (verdict,) = desk.journal.sign_batch([desk.mint(0)])
    assert isinstance(verdict, Refused)
    assert verdict.reason is Refusal.OVER_THRESHOLD
    assert verdict.reason.wait is WaitReason.OVER_THRESHOLD
    assert "amount 100" in verdict.detail
    assert "limit 99" in verdict.detail


def test_a_transfer_that_a_limit_holds_is_on_record_whole(desk: Desk) -> None:
    desk.limit(mint=Limit(single=99))
    desk.sign(desk.mint(0))
    assert desk.journal.holds() == [
        Hold(
            *(1, f"event:{desk.key(0)}", "over_threshold", desk.key(0), "limit 99, amount 100, until released"),
            *("validator", int(desk.now), None, None, None),
        )
    ]


def test_each_refusal_of_a_limit_tells_what_it_was_measured_by(desk: Desk) -> None:
    desk.limit(mint=Limit(single=99), payout=Limit(window=150, seconds=HOUR, delay=HOUR))
    assert desk.journal.sign_batch([desk.mint(0), desk.payout(0), desk.payout(1)]) == [
        Refused(Refusal.OVER_THRESHOLD, f"{desk.key(0)}: limit 99, amount 100, until released"),
        Allowed(),
        Refused(
            Refusal.OVER_WINDOW,
            f"{desk.payout(1).event}: limit 150, moved 100, seconds 3600, amount 100, delay 3600",
        ),
    ]


def test_an_unknown_amount_is_told(desk: Desk) -> None:
    desk.journal.limit(Limits({"mint": Limit(single=10**9)}, lambda _: None))
    told = f"{desk.key(0)}: detail its amount is not known here"
    assert desk.journal.sign_batch([desk.mint(0)]) == [Refused(Refusal.AMOUNT_UNKNOWN, told)]


@pytest.fixture
def far_east(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A machine whose clock on the wall is nine hours ahead of UTC."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "XXX-9")
        time.tzset()
        yield
    time.tzset()


@pytest.mark.usefixtures("far_east")
def test_the_end_of_a_delay_is_told_in_utc_wherever_the_machine_stands(desk: Desk) -> None:
    desk.now = 1_700_000_000.0
    desk.limit(mint=Limit(single=99, delay=HOUR))
    desk.sign(desk.mint(0))
    over = desk.journal.over_limit(desk.key(0), "mint")
    assert over == Over(
        WaitReason.OVER_THRESHOLD,
        HoldReason.OVER_THRESHOLD,
        {"limit": "99", "amount": "100", "until": "2023-11-14 23:13:20 UTC"},
    )


def test_what_a_window_holds_is_told_with_its_end(desk: Desk) -> None:
    desk.now = 1_700_000_000.0
    desk.limit(mint=Limit(window=150, seconds=HOUR, delay=2 * HOUR))
    desk.sign(desk.mint(0), desk.mint(1))
    assert desk.journal.over_limit(desk.key(1), "mint") == Over(
        WaitReason.OVER_WINDOW,
        HoldReason.OVER_WINDOW,
        {"limit": "150", "moved": "100", "seconds": "3600", "amount": "100", "until": "2023-11-15 00:13:20 UTC"},
    )


def test_nothing_is_shown_of_what_was_never_held(desk: Desk) -> None:
    desk.limit(mint=Limit(single=99))
    assert desk.journal.over_limit(desk.key(0), "mint") is None
    desk.journal.hold(f"event:{desk.key(0)}", "operator", "", "alice")
    assert desk.journal.over_limit(desk.key(0), "mint") is None, "a hold by hand is told by `held`"


def test_what_is_shown_follows_the_window_and_the_signatures(desk: Desk) -> None:
    desk.limit(mint=Limit(window=250, seconds=HOUR))
    desk.sign(desk.mint(0))
    desk.journal.limit(Limits({"mint": Limit(window=150, seconds=HOUR)}, desk.world.ledger.amount))
    desk.sign(desk.mint(1))

    def moved() -> str | None:
        over = desk.journal.over_limit(desk.key(1), "mint")
        return over.params["moved"] if over else None

    assert moved() == "100"
    desk.journal.limit(Limits({"mint": Limit(window=250, seconds=HOUR)}, desk.world.ledger.amount))
    desk.sign(desk.mint(2))
    desk.journal.limit(Limits({"mint": Limit(window=150, seconds=HOUR)}, desk.world.ledger.amount))
    assert moved() == "200", "in the same second, after another signature"
    desk.now += HOUR
    assert moved() is None, "the window rolled on without a signature"


def test_all_that_is_shown_in_one_second_sums_the_window_up_once(desk: Desk) -> None:
    sums: list[int] = []

    class Counted(Limits):
        def moved(self, read: Read, direction: str, now: int) -> int:
            sums.append(now)
            return super().moved(read, direction, now)

    desk.journal.limit(Counted({"mint": Limit(window=50, seconds=HOUR)}, desk.world.ledger.amount))
    desk.sign(desk.mint(0), desk.mint(1))
    sums.clear()
    for second in range(2):
        desk.now += 1
        assert [desk.journal.over_limit(desk.key(number), "mint") is None for number in (0, 1)] == [False, False], second
    assert sums == [int(desk.now) - 1, int(desk.now)]


def test_what_a_limit_holds_is_no_hold_while_limits_are_in_force(desk: Desk) -> None:
    desk.limit(mint=Limit(single=99))
    desk.sign(desk.mint(0))
    assert desk.journal.held(desk.key(0), "mint") is None
    assert desk.journal.over_limit(desk.key(0), "mint") is not None
    desk.journal.close()
    desk.journal = desk.open()
    held = desk.journal.held(desk.key(0), "mint")
    assert held is not None
    assert held.reason == "over_threshold"
    assert desk.journal.over_limit(desk.key(0), "mint") is None
