"""The journal against a model, over two connections: whatever is asked, in whatever order, nothing is signed twice."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from reactor.state.holds import SIGNING
from reactor.state.journal import Journal, JournalEntry
from reactor.state.verdicts import Allowed, Refusal, Refused, Verdict
from tests.unit.journal_helpers import BRIDGE

pytestmark = pytest.mark.property

EVENTS = ["e1", "e2", "e3"]
RECIPIENTS = ["alice", "bob"]
SCOPES = [SIGNING, "direction:mint", "direction:payout", "event:e1", "recipient:bob"]
HEIGHT = 50
ENTRY = st.builds(
    JournalEntry,
    event=st.sampled_from(EVENTS),
    outcome=st.sampled_from(["mint", "payout", "objection"]),
    attempt=st.integers(0, 2),
    digest=st.sampled_from([b"\1" * 32, b"\2" * 32]),
    slot=st.sampled_from([None, "s1", "s2"]),
    chain=st.sampled_from(["pocket", "ethereum"]),
    height=st.integers(HEIGHT - 1, HEIGHT + 5),
    direction=st.sampled_from(["mint", "payout"]),
    recipient=st.sampled_from(RECIPIENTS),
)


class JournalMachine(RuleBasedStateMachine):
    """`signed` and `slots` are what the journal must have bound; `stops` the scopes held or paused, by reason, oldest first."""

    @initialize()
    def begin(self) -> None:
        self.directory = tempfile.TemporaryDirectory()
        self.journal = Journal.create(Path(self.directory.name), BRIDGE, {"pocket": HEIGHT, "ethereum": HEIGHT})
        self.operator = Journal.open(Path(self.directory.name), BRIDGE)
        self.signed: dict[tuple[str, int], tuple[str, bytes]] = {}
        self.slots: dict[str, str] = {}
        self.stops: list[tuple[str, str]] = []
        self.released: dict[str, int] = {}

    def teardown(self) -> None:
        if hasattr(self, "journal"):
            self.journal.close()
            self.operator.close()
            self.directory.cleanup()

    @rule(entries=st.lists(ENTRY, min_size=1, max_size=5))
    def sign(self, entries: list[JournalEntry]) -> None:
        expected = [self._expect(entry) for entry in entries]
        verdicts = self.journal.sign_batch(entries)
        assert [self._plain(verdict) for verdict in verdicts] == expected

    @staticmethod
    def _plain(verdict: Verdict) -> Refusal | bool:
        return verdict.reason if isinstance(verdict, Refused) else verdict.again

    def _expect(self, entry: JournalEntry) -> Refusal | bool:
        """What the journal must answer: a refusal, or whether it was signed before."""
        scopes = {SIGNING, f"direction:{entry.direction}", f"event:{entry.event}", f"recipient:{entry.recipient}"}
        stop = next((reason for scope, reason in self.stops if scope in scopes), None)
        if stop:
            return Refusal.PAUSED if stop == "paused" else Refusal.HELD
        if entry.height <= HEIGHT:
            return Refusal.OLDER_THAN_JOURNAL
        if any(event == entry.event and outcome != entry.outcome for (event, _), (outcome, _) in self.signed.items()):
            return Refusal.CONFLICT
        known = self.signed.get((entry.event, entry.attempt))
        if known:
            return True if known[1] == entry.digest else Refusal.CONFLICT
        if entry.attempt > self.released.get(entry.event, 0):
            return Refusal.UNRELEASED
        if entry.slot and self.slots.setdefault(entry.slot, entry.event) != entry.event:
            return Refusal.SLOT_TAKEN
        self.signed[entry.event, entry.attempt] = (entry.outcome, entry.digest)
        return False

    @rule(scope=st.sampled_from(SCOPES))
    def hold(self, scope: str) -> None:
        self.operator.hold(scope, "operator", "", "op")
        if (scope, "operator") not in self.stops:
            self.stops.append((scope, "operator"))

    @rule(direction=st.sampled_from(["mint", "payout"]), on=st.booleans())
    def pause(self, direction: str, on: bool) -> None:
        stop = (f"direction:{direction}", "paused")
        if on:
            self.operator.pause(direction, "op")
            self.stops += [stop] if stop not in self.stops else []
        else:
            assert self.operator.resume(direction, "op") == int(stop in self.stops)
            self.stops = [other for other in self.stops if other != stop]

    @rule(scope=st.sampled_from(SCOPES))
    def release(self, scope: str) -> None:
        active = [stop for stop in self.stops if stop[0] == scope]
        assert self.operator.release(scope, "op", "") == len(active)
        self.stops = [stop for stop in self.stops if stop[0] != scope]

    @rule()
    def release_all(self) -> None:
        for hold in self.operator.holds():
            self.operator.release(hold.id, "op", "")
        self.stops = []

    @rule(event=st.sampled_from(EVENTS))
    def release_attempt(self, event: str) -> None:
        last = max((attempt for signed, attempt in self.signed if signed == event), default=0)
        assert self.operator.release_attempt(event, "op") == last + 1
        self.released[event] = max(self.released.get(event, 0), last + 1)

    @rule()
    def restart(self) -> None:
        self.journal.close()
        self.journal = Journal.open(Path(self.directory.name), BRIDGE)

    @invariant()
    def the_journal_is_the_model(self) -> None:
        if not hasattr(self, "journal"):
            return
        rows = [row for event in EVENTS for row in self.journal.signed(event)]
        assert {(row.event, row.attempt): (row.outcome, row.digest) for row in rows} == self.signed
        assert len(rows) == len(self.signed), "one digest per event and attempt"
        assert all(len({row.outcome for row in rows if row.event == event}) <= 1 for event in EVENTS)
        owners: dict[str, set[str]] = {}
        for row in rows:
            owners.setdefault(row.slot or row.event, set()).add(row.event)
        assert all(len(events) == 1 for events in owners.values()), "one event per slot"
        assert [(hold.scope, hold.reason) for hold in self.journal.holds()] == self.stops


def test_the_plain_verdict_tells_apart() -> None:
    """The machine above compares these: an `Allowed` must never look like a refusal."""
    verdicts = [Allowed(), Allowed(again=True), Refused(Refusal.HELD, "")]
    assert [JournalMachine._plain(verdict) for verdict in verdicts] == [False, True, Refusal.HELD]


TestJournalMachine = JournalMachine.TestCase
TestJournalMachine.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
