"""What is held, paused and released is told in the log, once, whoever did it."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from journal_helpers import BRIDGE
from loguru import logger

from reactor.documents.reasons import HoldReason
from reactor.handlers.stops import MOST_TOLD, Stops
from reactor.state.holds import Hold
from reactor.state.journal import Journal

pytestmark = pytest.mark.unit

ALICE = "alice@ops-1"


@dataclass
class Bench:
    """The running process's journal and look, and the journal as a verb of another process opens it."""

    directory: Path
    lines: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        Journal.create(self.directory, BRIDGE, {"pocket": 0, "ethereum": 0}).close()
        self.running = Journal.open(self.directory, BRIDGE)
        self.verb = Journal.open(self.directory, BRIDGE)
        self.now = 0.0
        self.stops = Stops(self.running, lambda: self.now)

    def look(self) -> list[str]:
        self.lines.clear()
        self.stops.look()
        return list(self.lines)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    sink = logger.add(lambda text: made.lines.append(str(text).strip()), format="{level} {message}")
    yield made
    logger.remove(sink)
    made.running.close()
    made.verb.close()


def test_a_pause_and_its_end(bench: Bench) -> None:
    assert bench.look() == []
    bench.verb.pause("mint", ALICE, "maintenance")
    goes_on = "it goes on with: reactor resume mint --apply --why '…'"
    assert bench.look() == [f"ERROR signing of mints is paused by {ALICE}: maintenance; {goes_on}"]
    assert bench.look() == []
    bench.verb.resume("mint", ALICE, "done")
    (line,) = bench.look()
    assert line.startswith(f"WARNING signing of mints is resumed by {ALICE}: done; it was paused for ")
    assert bench.look() == []


@pytest.mark.parametrize(
    ("scope", "what"),
    [
        ("signing", "signing"),
        ("recipient:0xab", "signing for recipient 0xab"),
        ("event:pocket:1:ff", "pocket:1:ff"),
        ("direction:payout", "signing of payouts"),
    ],
)
def test_a_hold_and_its_release(bench: Bench, scope: str, what: str) -> None:
    bench.look()
    bench.verb.hold(scope, HoldReason.OPERATOR.value, "looks odd", ALICE)
    (line,) = bench.look()
    command = f"reactor release {scope} --apply --why '…'"
    assert line == f"ERROR {what} is held, operator: looks odd (by {ALICE}). Release it once it is explained: {command}"
    bench.verb.release(scope, "bob@ops-2", "it was well")
    (line,) = bench.look()
    assert line.startswith(f"WARNING {what} is released by bob@ops-2: it was well; it was held (operator) for ")


def test_what_was_held_and_released_between_two_looks_is_told_too(bench: Bench) -> None:
    bench.look()
    bench.verb.hold("signing", "operator", "x", ALICE)
    bench.verb.release("signing", ALICE, "y")
    assert [line.split()[0] for line in bench.look()] == ["ERROR", "WARNING"]
    assert bench.look() == []


def test_what_is_raised_again_after_its_release_is_not_told_again(bench: Bench) -> None:
    """The same thing found again is the same hold: it stays released."""
    bench.look()
    for told in (1, 0):
        bench.running.hold("signing", HoldReason.LOST_JOURNAL.value, "unknown signature", "validator", subject="x")
        assert len(bench.look()) == told
        bench.verb.release("signing", ALICE, "understood")
        assert len(bench.look()) == told


def test_a_limit_says_that_it_ends_by_itself(bench: Bench) -> None:
    bench.look()
    bench.running.hold("event:a", HoldReason.OVER_WINDOW.value, "amount 5", "validator", subject="a")
    (line,) = bench.look()
    command = "reactor release event:a --apply --why '…'"
    assert line == f"ERROR a is held, over_window: amount 5 (by validator). It ends by itself, or with: {command}"


def test_a_lost_journal_is_not_released_before_one_has_read_what_it_means(bench: Bench) -> None:
    bench.look()
    bench.running.hold("signing", HoldReason.LOST_JOURNAL.value, "unknown signature", "validator", subject="x")
    (line,) = bench.look()
    assert line.endswith('(by validator). What to do: see reactor/state/README.md, "A lost journal"')
    assert "reactor release" not in line


def test_what_is_held_since_before_the_start_is_told_at_the_start(bench: Bench) -> None:
    bench.verb.hold("signing", "operator", "x", ALICE)
    bench.verb.pause("payout", ALICE)
    bench.verb.hold("event:a", "operator", "x", ALICE)
    bench.verb.release("event:a", ALICE, "over")
    lines = bench.look()
    assert len(lines) == 2
    assert all(line.startswith("WARNING since ") for line in lines)
    assert bench.look() == []
    bench.verb.release("signing", ALICE, "over")
    assert len(bench.look()) == 1


def test_a_released_attempt_is_told(bench: Bench) -> None:
    bench.look()
    bench.verb.release_attempt("burn:1", ALICE, "the first one failed")
    assert bench.look() == [f"WARNING burn:1: attempt 1 is released by {ALICE}: the first one failed"]
    assert bench.look() == []


def test_thousands_of_holds_at_once_are_counted(bench: Bench) -> None:
    bench.look()
    for number in range(300):
        bench.running.hold(f"event:{number}", HoldReason.OVER_WINDOW.value, "x", "validator", subject=str(number))
    lines = bench.look()
    assert len(lines) == MOST_TOLD + 1
    assert lines[-1] == f"ERROR {300 - MOST_TOLD} more like these: reactor journal show"


def test_where_nothing_was_written_no_hold_is_read(bench: Bench, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each document that is held has the stops looked at, again and again: thousands must not read thousands each time."""
    bench.running.hold("event:a", HoldReason.OVER_WINDOW.value, "x", "validator", subject="a")
    bench.look()
    read: list[list[Hold]] = []
    holds = bench.running.holds

    def counted() -> list[Hold]:
        read.append(holds())
        return read[-1]

    monkeypatch.setattr(bench.running, "holds", counted)
    bench.running.hold("event:a", HoldReason.OVER_WINDOW.value, "x", "validator", subject="a")
    assert bench.look() == []
    assert read == []
    bench.verb.hold("event:b", "operator", "x", ALICE)
    assert len(bench.look()) == 1
    assert [[hold.scope for hold in one] for one in read] == [["event:a", "event:b"]]


def replaced(bench: Bench, told: str, kind: str = "") -> None:
    """A node shows another chain than final: one hold, which tells the newest."""
    begins = f"{kind}block "
    bench.running.hold("signing", HoldReason.DEEP_REORG.value, told, "validator", subject=begins + told, instead_of=begins)


def test_a_hold_that_tells_something_else_is_told_again(bench: Bench) -> None:
    bench.look()
    replaced(bench, "1 is 0xb")
    assert len(bench.look()) == 1
    replaced(bench, "2 is 0xc")
    assert bench.look() == ["ERROR signing is still held, deep_reorg, and tells something else now: 2 is 0xc"]
    assert bench.look() == []


def test_one_that_tells_something_else_each_time_is_told_less_and_less_often_and_its_newest_in_the_end(bench: Bench) -> None:
    bench.look()
    replaced(bench, "0")
    assert len(bench.look()) == 1
    lines = []
    for number in range(1, 1801):
        bench.now += 2.0
        replaced(bench, str(number))
        lines += bench.look()
    assert 5 < len(lines) < 15
    assert [bench.look() for _ in range(3)] == [[]] * 3
    bench.now += 600.0
    assert bench.look() == ["ERROR signing is still held, deep_reorg, and tells something else now: 1800"]
    assert bench.look() == []


def test_that_one_hold_is_told_seldom_keeps_no_other_silent(bench: Bench) -> None:
    for told in "abc":
        replaced(bench, told)
        bench.look()
    replaced(bench, "x", "final ")
    assert len(bench.look()) == 1
    replaced(bench, "y", "final ")
    assert bench.look() == ["ERROR signing is still held, deep_reorg, and tells something else now: y"]


def test_one_that_tells_again_what_the_log_says_of_it_is_not_told(bench: Bench) -> None:
    for told in "aba":
        replaced(bench, told)
        bench.look()
    # "a" waits for its time, and is "b" again by then, which was told last.
    replaced(bench, "c")
    replaced(bench, "b")
    bench.now += 600.0
    assert bench.look() == []


def test_what_is_released_is_told_with_what_it_told_last_where_the_log_does_not_say_so_yet(bench: Bench) -> None:
    """SECURITY: what was let go is accepted for good."""
    bench.look()
    replaced(bench, "1 is 0xb")
    bench.look()
    replaced(bench, "1 is 0xc")
    bench.verb.release("signing", ALICE, "understood")
    (line,) = bench.look()
    assert line.startswith(f"WARNING signing is released by {ALICE}: understood; it was held (deep_reorg) for ")
    assert line.endswith("; what it told last: 1 is 0xc")
    assert bench.look() == []


def test_what_is_released_and_told_already_says_no_more_than_that(bench: Bench) -> None:
    bench.look()
    replaced(bench, "1 is 0xb")
    bench.look()
    bench.verb.release("signing", ALICE, "understood")
    (line,) = bench.look()
    assert "0xb" not in line
