"""Whatever is asked, released, waited for or restarted: what is signed without a person never exceeds the limits."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from reactor.documents.keys import deposit_key
from reactor.state.journal import Journal, JournalEntry
from reactor.state.limits import Limit, Limits
from reactor.state.verdicts import Allowed
from tests.property.test_state_journal_machine import BRIDGE
from tests.unit.handler_world import USER, deposit

pytestmark = pytest.mark.property

SECONDS = 100
EVENTS = st.integers(0, 11)


class LimitsMachine(RuleBasedStateMachine):
    """The model knows only what was signed when, and what a person or the delay let pass."""

    @initialize(
        single=st.one_of(st.none(), st.integers(1, 60)),
        window=st.one_of(st.none(), st.integers(20, 150)),
        delay=st.one_of(st.none(), st.integers(1, 300)),
        amounts=st.lists(st.integers(1, 80), min_size=12, max_size=12),
    )
    def begin(self, single: int | None, window: int | None, delay: int | None, amounts: list[int]) -> None:
        self.now = 1_000_000
        self.folder = tempfile.TemporaryDirectory()
        Journal.create(Path(self.folder.name), BRIDGE, {"pocket": 0, "ethereum": 0}).close()
        self.rule = Limit(single, window, SECONDS, delay)
        self.deposits = [deposit(10 + number) for number in range(12)]
        self.keys = [deposit_key(BRIDGE, one.tx_hash) for one in self.deposits]
        self.amounts = dict(zip(self.keys, amounts, strict=True))
        self.signed: dict[str, int] = {}
        self.held: dict[str, int] = {}
        self.released: set[str] = set()
        self.open()

    def open(self) -> None:
        self.journal = Journal.open(Path(self.folder.name), BRIDGE, lambda: self.now)
        self.journal.limit(Limits({"mint": self.rule}, self.amounts.get))

    def may_pass(self, key: str) -> bool:
        """As the limits are told to people."""
        if key in self.signed or key in self.released:
            return True
        if self.rule.delay is not None and key in self.held and self.now - self.held[key] >= self.rule.delay:
            return True
        if self.rule.single is not None and self.amounts[key] > self.rule.single:
            return False
        moved = sum(self.amounts[one] for one, at in self.signed.items() if at > self.now - SECONDS)
        return self.rule.window is None or moved + self.amounts[key] <= self.rule.window

    @rule(batch=st.lists(EVENTS, min_size=1, max_size=4, unique=True))
    def sign(self, batch: list[int]) -> None:
        entries = [
            JournalEntry(self.keys[one], "mint", 0, bytes([one]) * 32, None, "pocket", self.deposits[one].height, "mint", USER)
            for one in batch
        ]
        for entry, verdict in zip(entries, self.journal.sign_batch(entries), strict=True):
            assert isinstance(verdict, Allowed) == self.may_pass(entry.event), (entry.event, verdict)
            if isinstance(verdict, Allowed):
                self.signed.setdefault(entry.event, self.now)
            else:
                self.held.setdefault(entry.event, self.now)

    @rule(event=EVENTS)
    def release(self, event: int) -> None:
        key = self.keys[event]
        ended = self.journal.release(f"event:{key}", "alice", "looked at")
        assert ended <= 2
        assert bool(ended) == (key in self.held and key not in self.signed and key not in self.released)
        if ended:
            self.released.add(key)

    @rule(seconds=st.integers(1, 2 * SECONDS))
    def wait(self, seconds: int) -> None:
        self.now += seconds

    @rule()
    def restart(self) -> None:
        self.journal.close()
        self.open()

    @invariant()
    def what_is_shown_is_what_would_be_judged(self) -> None:
        if not hasattr(self, "journal"):
            return
        for key in self.held:
            if key not in self.signed and key not in self.released:
                assert (self.journal.over_limit(key, "mint") is None) == self.may_pass(key)

    def teardown(self) -> None:
        if hasattr(self, "journal"):
            self.journal.close()
            self.folder.cleanup()


TestLimits = LimitsMachine.TestCase
TestLimits.settings = settings(max_examples=30, stateful_step_count=20, deadline=None)
