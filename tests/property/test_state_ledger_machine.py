"""The ledger against a model: a chain that grows and reorganises, a scanner that reads any legal window of it."""

import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from reactor.documents.events import BlockRef, Deposit
from reactor.state.ledger import Ledger
from reactor.state.problems import FinalityViolated, StateProblem
from reactor.state.rows import EventKind
from tests.unit.journal_helpers import BRIDGE

pytestmark = pytest.mark.property

START = BRIDGE.pocket_start
RECIPIENTS = ["0x" + "a1" * 20, "0x" + "b0" * 20, None]
Transactions = list[tuple[int, str | None]]
NEW = st.lists(st.sampled_from(RECIPIENTS), max_size=3)


class LedgerMachine(RuleBasedStateMachine):
    """`chain[i]` are the transactions of block START + i; `seen` is what the ledger must hold."""

    @initialize()
    def begin(self) -> None:
        self.directory = tempfile.TemporaryDirectory()
        self.ledger = Ledger.open(Path(self.directory.name), BRIDGE)
        self.chain: list[Transactions] = []
        self.forks: list[int] = []
        self.fork = self.count = self.final = 0
        self.cursor: int | None = None
        self.seen: dict[str, tuple[Deposit, bool]] = {}

    def teardown(self) -> None:
        if hasattr(self, "ledger"):
            self.ledger.close()
            self.directory.cleanup()

    def _new(self, recipients: list[str | None]) -> Transactions:
        self.count += len(recipients)
        return [(self.count - number, recipient) for number, recipient in enumerate(recipients)]

    def _events(self, height: int) -> list[Deposit]:
        block = BlockRef(height, f"f{self.forks[height - START]}h{height}", height)
        return [
            Deposit(f"d{number}", index, block, "5e" * 20, 20_000, 0, True, "", recipient, "31337" if recipient else None)
            for index, (number, recipient) in enumerate(self.chain[height - START])
        ]

    @property
    def head(self) -> int:
        return START + len(self.chain) - 1

    @rule(blocks=st.lists(NEW, min_size=1, max_size=3))
    def grow(self, blocks: list[list[str | None]]) -> None:
        for recipients in blocks:
            self.chain.append(self._new(recipients))
            self.forks.append(self.fork)

    @precondition(lambda self: self.chain and self.head > self.final)
    @rule(data=st.data(), fresh=NEW)
    def reorganise(self, data: st.DataObject, fresh: list[str | None]) -> None:
        """Blocks above the final one are replaced; their transactions are mined again elsewhere, or never."""
        first = data.draw(st.integers(max(self.final + 1, START), self.head))
        orphans = [transaction for block in self.chain[first - START :] for transaction in block]
        del self.chain[first - START :], self.forks[first - START :]
        kept = data.draw(st.permutations(orphans))[: data.draw(st.integers(0, len(orphans)))]
        self.fork += 1
        length = data.draw(st.integers(1, 3))
        blocks: list[Transactions] = [[] for _ in range(length)]
        for transaction in kept + self._new(fresh):
            blocks[data.draw(st.integers(0, length - 1))].append(transaction)
        self.chain += blocks
        self.forks += [self.fork] * length

    @precondition(lambda self: bool(self.chain))
    @rule(data=st.data())
    def scan(self, data: st.DataObject) -> None:
        reached = START - 1 if self.cursor is None else self.cursor
        first = data.draw(st.integers(START, min(reached + 1, self.head)))
        last = data.draw(st.integers(first, self.head))
        lagging = data.draw(st.integers(0, self.head))
        self.final = max(self.final, lagging)
        events = [event for height in range(first, last + 1) for event in self._events(height)]
        before = dict(self.seen)
        result = self.ledger.record_window(EventKind.DEPOSIT, first, last, events, lagging)
        self._model(first, last, events, lagging)
        assert set(result.new) == {event for event in events if event.tx_hash not in before}
        assert set(result.changed) == {e for e in events if e.tx_hash in before and before[e.tx_hash][0] != e}
        assert set(result.vanished) == {event for tx, (event, _) in before.items() if tx not in self.seen}
        became = {e for tx, (e, final) in self.seen.items() if final and before.get(tx) == (e, False)}
        assert set(result.final) == became

    def _model(self, first: int, last: int, events: list[Deposit], final: int) -> None:
        final = max(final, self.cursor or 0)
        shown = {event.tx_hash: (event, event.height <= final) for event in events}
        self.seen = {tx: s for tx, s in self.seen.items() if not first <= s[0].height <= last} | shown
        if min(final, last) >= first:
            self.cursor = max(self.cursor or 0, min(final, last))

    @precondition(lambda self: bool(self.chain))
    @rule(ahead=st.integers(1, 3))
    def a_gap_is_refused(self, ahead: int) -> None:
        reached = START - 1 if self.cursor is None else self.cursor
        with pytest.raises(StateProblem):
            self.ledger.record_window(EventKind.DEPOSIT, reached + 1 + ahead, reached + 9, [], reached)

    @precondition(lambda self: any(final for _, final in self.seen.values()))
    @rule(data=st.data(), hide=st.booleans())
    def a_deep_reorganisation_is_refused(self, data: st.DataObject, hide: bool) -> None:
        victim = data.draw(st.sampled_from(sorted(tx for tx, (_, final) in self.seen.items() if final)))
        event = self.seen[victim][0]
        other = Deposit(victim, 99, event.block, event.sender, 1, 0, True, "", None, None)
        with pytest.raises(FinalityViolated):
            self.ledger.record_window(
                EventKind.DEPOSIT, START, event.height, [] if hide else [other, *self._others(event)], self.final
            )

    def _others(self, event: Deposit) -> list[Deposit]:
        return [e for e, _ in self.seen.values() if e.height <= event.height and e != event]

    @rule()
    def restart(self) -> None:
        self.ledger.close()
        self.ledger = Ledger.open(Path(self.directory.name), BRIDGE)

    @invariant()
    def the_ledger_is_the_model(self) -> None:
        if not hasattr(self, "ledger"):
            return
        cursor = self.ledger.cursor(EventKind.DEPOSIT)
        assert (cursor.height if cursor else None) == self.cursor
        held = {s.event.tx_hash: (s.event, s.final) for s in self.ledger.unsettled(EventKind.DEPOSIT, 1000)}
        assert held == self.seen
        # What is final is exactly what the chain holds up to the cursor.
        upto = [event for height in range(START, (self.cursor or START - 1) + 1) for event in self._events(height)]
        assert {event for event, final in self.seen.values() if final} == set(upto)
        for recipient in RECIPIENTS[:2]:
            order = [event for event in upto if event.memo_address == recipient]
            assert [s.event for s in self.ledger.deposits_to_mint(recipient)] == order
            assert [self.ledger.mint_rank(event) for event in order] == list(range(1, len(order) + 1))


TestLedgerMachine = LedgerMachine.TestCase
TestLedgerMachine.settings = settings(
    max_examples=40, stateful_step_count=25, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
