"""`created_at` is a function of the chain: in whatever windows it was read, and whatever was found late or reorganised."""

import tempfile
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactor.documents.events import BlockRef, Deposit
from reactor.state.created import moment
from reactor.state.ledger import Ledger
from reactor.state.rows import EventKind
from tests.unit.journal_helpers import ALICE, BRIDGE

pytestmark = pytest.mark.property

START = BRIDGE.pocket_start
TIMES = st.one_of(st.integers(-1, 3), st.integers(1_700_000_000, 1_700_000_003), st.just(2**62))
BLOCKS = st.lists(st.tuples(st.integers(0, 4), TIMES, st.integers(0, 999)), min_size=1, max_size=12)
"""Of each block how many deposits, and the header's time: equal, unknown, backwards, nonsense."""


def chain(blocks: list[tuple[int, int, int]], fork: str = "") -> list[Deposit]:
    found = []
    for number, (count, time, ms) in enumerate(blocks):
        block = BlockRef(START + number, f"{fork}h{number}", time, ms)
        # Places need not follow each other: other transactions lie between.
        found += [
            Deposit(f"{number}-{index}", 3 * index, block, "5e" * 20, 20_000, 0, True, "", ALICE, "31337")
            for index in range(count)
        ]
    return found


def expected(events: list[Deposit]) -> list[int]:
    """The definition."""
    found: list[int] = []
    for event in events:
        header = min(max(0, event.block.time * 1000 + event.block.ms), 253_400_000_000_000)
        found.append(max([header, *(one + 1 for one in found[-1:])]))
    return found


def shown(ledger: Ledger) -> list[tuple[str, object]]:
    seen = sorted(ledger.unsettled(EventKind.DEPOSIT, 1000), key=lambda one: (one.event.height, one.event.index))  # type: ignore[union-attr]
    return [(one.event.tx_hash, one.created) for one in seen]


def record(ledger: Ledger, events: list[Deposit], first: int, last: int, final: int) -> None:
    ledger.record_window(EventKind.DEPOSIT, first, last, [one for one in events if first <= one.height <= last], final)


@given(blocks=BLOCKS, data=st.data())
def test_any_way_of_reading_gives_the_same_moments_in_the_chains_order(blocks: list[tuple[int, int, int]], data) -> None:
    events, head = chain(blocks), START + len(blocks) - 1
    hidden = data.draw(st.sets(st.sampled_from(events), max_size=4)) if events else set()
    with tempfile.TemporaryDirectory() as directory:
        ledger = Ledger.open(Path(directory), BRIDGE)
        try:
            first = START
            while first <= head:
                last = data.draw(st.integers(first, head))
                # What is above `final` may be another fork's at first, with other times and more deposits.
                final = data.draw(st.integers(first, last))
                fork = chain([(count + 1, time + 5, ms) for count, time, ms in blocks], "other")
                above = [one for one in fork if one.height > final]
                known = [one for one in events if one not in hidden and one.height <= final]
                record(ledger, [*known, *above], first, last, final)
                first = final + 1
                if final < last:
                    record(ledger, [one for one in events if one not in hidden], first, last, final)
            # Found late, one by one, in any order; each with all that is known of its block.
            for late in data.draw(st.permutations(sorted(hidden, key=lambda one: one.tx_hash))):
                hidden.discard(late)
                known = [one for one in events if one not in hidden]
                record(ledger, known, late.height, late.height, head)
            moments = [moment(one) for one in expected(events)]
            assert shown(ledger) == list(zip([one.tx_hash for one in events], moments, strict=True))
            assert [ledger.created_at(one) for one in events] == moments
            assert all(before < after for before, after in pairwise(moments))
        finally:
            ledger.close()
