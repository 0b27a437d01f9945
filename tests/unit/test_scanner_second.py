"""The second reading: what a list lacked enters the ledger by itself and is named; nothing else moves, and it costs little."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import pytest

from reactor.documents.events import Event
from reactor.documents.statuses import Collection
from reactor.state.holds import SIGNING
from scanners.loop import Reading, Scanned, View
from scanners.second import _TRIES, Answered, SecondReader
from tests.unit.handler_world import World, block, burn, minted
from tests.unit.test_scanner_loop import Bench, FakeChain

pytestmark = pytest.mark.unit


class Twice(FakeChain):
    """Two sources of one chain: `hidden` from the list, `hidden_again` from the second source, by transaction."""

    margin = 2
    batch = 3
    believes_one_of_several = False

    def __init__(self, *events: Event) -> None:
        super().__init__(*events)
        self.hidden: set[str] = set()
        self.hidden_again: set[str] = set()
        self.again: list[tuple[int, int, tuple[str, ...]]] = []
        self.fails = False
        self.sends_only = False
        self.before = "one"
        self.shown_elsewhere: dict[str, str] = {}

    async def shown_by(self, event: Event, apart_from: str) -> str | None:
        assert apart_from == "two"
        return self.shown_elsewhere.get(event.tx_hash)

    async def read(self, first: int, last: int, final: int) -> Reading:
        return without(await super().read(first, last, final), self.hidden)

    async def read_again(self, first: int, last: int, final: int, naming: Sequence[str] = ()) -> Reading:
        if self.fails:
            raise ValueError("a number of 9999 digits")
        last = min(last, first + self.most - 1, self.shown)
        self.again.append((first, last, tuple(naming)))
        if last < first:
            return Reading(first - 1, {}, None)
        reading = await super().read(first, last, final)
        self.windows.pop()
        shown = without(reading, self.hidden_again)
        return replace(shown, endpoint="two", before=self.before, sends_only=self.sends_only)


def without(reading: Reading, hidden: set[str]) -> Reading:
    return replace(
        reading, events={kind: [e for e in events if e.tx_hash not in hidden] for kind, events in reading.events.items()}
    )


class SecondBench(Bench):
    def __init__(self, world: World, *events: Event) -> None:
        super().__init__(world)
        self.chain = self.scanner._watched = self.twice = Twice(*events)
        self.reader = SecondReader(self.twice, self.scanner, world.ledger)

    async def first(self, head: int, final: int) -> None:
        assert await self.scanner.scan(View(head, final))
        self.scanner._scanned = Scanned(1.0, head)
        self.rung.clear()

    async def windows(self, times: int = 1) -> list[tuple[int, int]]:
        self.twice.again.clear()
        for _ in range(times):
            await self.reader.read_windows()
        return [(first, last) for first, last, _ in self.twice.again]

    def stretches(self) -> list[tuple[int, int | None]]:
        return [(one.next, one.last) for one in self.world.ledger.second_stretches("ethereum")]


async def test_what_the_list_lacked_enters_the_ledger_by_itself_and_is_named(world: World) -> None:
    lost, other = burn(3), burn(5)
    bench = SecondBench(world, lost, other, minted(4, 1))
    bench.twice.hidden = {lost.tx_hash, minted(4, 1).tx_hash}
    await bench.first(10, 8)
    assert world.ledger.burn(lost.tx_hash, 0) is None
    assert await bench.windows() == [(1, 8)]
    assert bench.rings("new") == [lost, minted(4, 1)]
    assert world.ledger.burn(lost.tx_hash, 0).final  # type: ignore[union-attr]
    assert bench.collections().count("burn") == 2
    first, second = bench.reader.problems
    assert first == f"Ethereum endpoint one did not list the burn {lost.tx_hash} in block 3, but two shows it"
    assert "the minted" in second
    assert world.journal.holds() == []


async def test_without_a_difference_nothing_changes_and_nothing_is_said(world: World) -> None:
    bench = SecondBench(world, burn(3), minted(4, 1))
    await bench.first(10, 8)
    cursors = [world.ledger.cursor(kind) for kind in bench.twice.kinds]
    inserted = list(bench.inserts.rows)
    assert await bench.windows() == [(1, 8)]
    assert bench.rings("new") == bench.rings("changed") == bench.rings("vanished") == bench.rings("final") == []
    assert (bench.reader.problems, bench.inserts.rows) == ([], inserted)
    assert [world.ledger.cursor(kind) for kind in bench.twice.kinds] == cursors


async def test_each_block_is_read_twice_once_some_blocks_after_it_is_final(world: World) -> None:
    bench = SecondBench(world)
    await bench.first(10, 8)
    assert await bench.windows(3) == [(1, 8)]
    assert bench.stretches() == [(9, None)]
    for final, read in [(9, []), (12, []), (13, [(9, 11)]), (14, []), (15, []), (16, [(12, 14)])]:
        await bench.first(final + 2, final)
        assert (final, await bench.windows(2)) == (final, read)


async def test_what_is_new_does_not_wait_for_the_past(world: World) -> None:
    bench = SecondBench(world)
    bench.twice.most = 1000
    await bench.first(100, 98)
    bench.twice.most = 10
    assert await bench.windows() == [(1, 10)]
    await bench.first(120, 118)
    assert await bench.windows(2) == [(99, 108), (11, 20), (109, 116), (21, 30)]
    assert await bench.windows(20) == [(low, min(low + 9, 98)) for low in range(31, 99, 10)]
    assert bench.stretches() == [(117, None)]


async def test_it_goes_on_where_it_was_after_a_restart_and_finds_a_miss_of_the_past(world: World) -> None:
    bench = SecondBench(world, burn(3))
    bench.twice.hidden = {burn(3).tx_hash}
    await bench.first(100, 98)
    again = SecondBench(world, burn(3))
    again.twice.hidden = {burn(3).tx_hash}
    await again.windows()
    assert again.stretches() == []  # the first reading comes first
    await again.first(100, 98)
    assert await again.windows() == [(1, 98)]
    assert again.rings("new") == [burn(3)]


async def test_a_node_that_lags_or_fails_leaves_the_place_where_it_is(world: World) -> None:
    bench = SecondBench(world, burn(3))
    await bench.first(100, 98)
    bench.twice.shown = 0
    await bench.windows(2)
    assert bench.stretches() == [(99, None), (1, 98)]
    bench.twice.fails = True
    with pytest.raises(ValueError, match="digits"):
        await bench.windows()
    assert bench.stretches() == [(99, None), (1, 98)]


# --- what one endpoint alone shows, where the word of one is enough for what is read


def bench_of_several(world: World, lost: Event, shown_elsewhere: str | None) -> SecondBench:
    bench = SecondBench(world, lost, burn(5))
    bench.twice.believes_one_of_several = True
    bench.twice.hidden = {lost.tx_hash}
    if shown_elsewhere is not None:
        bench.twice.shown_elsewhere = {lost.tx_hash: shown_elsewhere}
    return bench


@pytest.mark.parametrize("elsewhere", [None, "two"], ids=["nobody else knows it", "nobody else answers"])
@pytest.mark.parametrize("way", ["window", "name"])
async def test_an_event_that_one_endpoint_alone_adds_is_named_and_not_believed(
    world: World, elsewhere: str | None, way: str
) -> None:
    """SECURITY: the last endpoint of a list could invent a deposit while the first one is well."""
    lost = burn(3)
    bench = bench_of_several(world, lost, elsewhere)
    await bench.first(10, 8)
    if way == "window":
        assert await bench.windows() == [(1, 8)]
        assert bench.stretches() == [(9, None), (1, 8)]
    else:
        bench.reader.look(lost.tx_hash, 3)
        await bench.reader.read_asked()
    assert (world.ledger.burn(lost.tx_hash, 0), bench.rings("new")) == (None, [])
    (problem,) = bench.reader.problems
    assert problem == (
        f"Ethereum endpoint two shows the burn {lost.tx_hash} in block 3, and no other one does: it is not believed"
    )
    bench.twice.shown_elsewhere = {lost.tx_hash: "one"}
    if way == "window":
        await bench.windows()
        assert bench.stretches() == [(9, None)]
    else:
        bench.reader.look(lost.tx_hash, 3)
        await bench.reader.read_asked()
    assert bench.rings("new") == [lost]
    assert world.journal.holds() == []


async def test_an_event_that_a_second_endpoint_shows_too_is_believed_at_once(world: World) -> None:
    bench = bench_of_several(world, burn(3), "three")
    await bench.first(10, 8)
    await bench.windows()
    assert bench.rings("new") == [burn(3)]
    assert bench.stretches() == [(9, None)]


async def test_the_endpoint_of_the_first_reading_needs_nobody_beside_it(world: World) -> None:
    """Its list had a hole, and the others are away: it is the one that is believed in everything else."""
    bench = bench_of_several(world, burn(3), None)
    bench.twice.before = "two"
    await bench.first(10, 8)
    await bench.windows()
    assert bench.rings("new") == [burn(3)]


async def test_what_stays_unproven_keeps_what_comes_after_it_waiting_for_a_while_only(world: World) -> None:
    bench = bench_of_several(world, burn(3), None)
    await bench.first(10, 8)
    assert len(await bench.windows(200)) == 60
    assert bench.stretches() == [(9, None)]
    assert world.ledger.burn(burn(3).tx_hash, 0) is None


@pytest.mark.parametrize(("lost", "stays"), [(104, 0), (24, 1)], ids=["the newest blocks", "the past"])
async def test_what_stays_unproven_in_one_stretch_waits_as_long_however_the_other_one_goes_on(
    world: World, lost: int, stays: int
) -> None:
    bench = bench_of_several(world, burn(lost), None)
    head = 100
    await bench.first(head, head - 2)
    bench.twice.most = 1
    await bench.windows()
    while bench.stretches()[stays][0] < lost:
        head += 3
        await bench.first(head, head - 2)
        await bench.windows()
    for tried in range(_TRIES):
        before = bench.stretches()
        assert (tried, before[stays][0]) == (tried, lost)
        head += 3
        await bench.first(head, head - 2)
        await bench.windows()
        assert bench.stretches()[1 - stays][0] > before[1 - stays][0]
    assert bench.stretches()[stays][0] == lost + 1
    assert world.ledger.burn(burn(lost).tx_hash, 0) is None


async def test_two_stretches_that_stay_unproven_wait_as_long_as_one(world: World) -> None:
    bench = bench_of_several(world, burn(3), None)
    bench.twice.events.append(burn(101))
    bench.twice.hidden.add(burn(101).tx_hash)
    bench.twice.fails = True
    await bench.first(100, 98)
    with pytest.raises(ValueError, match="digits"):
        await bench.windows()
    bench.twice.fails = False
    await bench.first(110, 108)
    await bench.windows(_TRIES - 1)
    assert bench.stretches() == [(99, None), (1, 98)]
    await bench.windows()
    assert bench.stretches() == [(107, None)]


# --- what the second source lacks


async def test_an_incomplete_second_list_stops_nothing_while_the_chain_holds_the_event(world: World) -> None:
    bench = SecondBench(world, burn(3), burn(5))
    await bench.first(10, 8)
    bench.twice.hidden_again = {burn(3).tx_hash}
    bench.twice.located = {burn(3).tx_hash: 3}
    await bench.windows()
    assert world.journal.holds() == []
    assert bench.reader.problems == [
        f"Ethereum endpoint two did not list the burn {burn(3).tx_hash} in block 3, but the chain holds it"
    ]
    assert bench.stretches() == [(9, None)]
    bench.reader._differences.clear()
    bench.twice.sends_only = True
    world.ledger.ask_rescan("ethereum", 1, 8)
    bench.twice.hidden = {burn(3).tx_hash}
    await bench.scanner.rescan(View(10, 8))
    assert world.journal.holds() == []


@pytest.mark.parametrize("located", [{}, {burn(3).tx_hash: 4}], ids=["nowhere", "in another block"])
async def test_an_event_that_no_node_shows_any_more_stops_signing(world: World, located: dict[str, int]) -> None:
    bench = SecondBench(world, burn(3))
    await bench.first(10, 8)
    bench.twice.hidden_again = {burn(3).tx_hash}
    bench.twice.located = located
    await bench.windows()
    assert [hold.reason for hold in world.journal.holds()] == ["deep_reorg"]
    assert world.ledger.burn(burn(3).tx_hash, 0) is not None


async def test_an_event_that_differs_stops_signing(world: World) -> None:
    bench = SecondBench(world, burn(3))
    await bench.first(10, 8)
    bench.twice.events = [replace(burn(3), amount=7)]
    bench.twice.located = {burn(3).tx_hash: 3}
    await bench.windows()
    assert [hold.reason for hold in world.journal.holds()] == ["deep_reorg"]


async def test_a_window_that_violates_finality_does_not_count_as_read_twice_while_that_is_held(world: World) -> None:
    bench = SecondBench(world, burn(3), burn(5))
    bench.twice.hidden = {burn(5).tx_hash}
    await bench.first(10, 8)
    bench.twice.hidden_again = {burn(3).tx_hash}
    assert await bench.windows(100) == [(1, 8)] * 100
    assert bench.stretches() == [(9, None), (1, 8)]
    assert world.ledger.burn(burn(5).tx_hash, 0) is None, "nothing of this kind was recorded"
    # The endpoint shows what is true again: what the first reading lacked is found after all.
    bench.twice.hidden_again = set()
    world.journal.release(SIGNING, "alice", "the node was wrong")
    assert await bench.windows() == [(1, 8)]
    assert world.ledger.burn(burn(5).tx_hash, 0) is not None
    assert bench.stretches() == [(9, None)]


async def test_a_window_whose_violation_a_person_released_is_tried_for_a_while_and_not_for_ever(world: World) -> None:
    bench = SecondBench(world, burn(3))
    await bench.first(10, 8)
    bench.twice.hidden_again = {burn(3).tx_hash}
    await bench.windows()
    world.journal.release(SIGNING, "alice", "understood")
    assert await bench.windows(_TRIES - 1) == [(1, 8)] * (_TRIES - 1)
    assert bench.stretches() == [(9, None), (1, 8)]
    await bench.windows()
    assert bench.stretches() == [(9, None)]
    assert world.journal.holds() == []


@pytest.mark.parametrize("moment", ["read_again", "locate"])
async def test_a_reading_during_which_the_chain_was_taken_anew_counts_for_nothing(world: World, moment: str) -> None:
    bench = SecondBench(world, burn(3), burn(5))
    bench.twice.hidden, bench.twice.hidden_again = {burn(3).tx_hash}, {burn(5).tx_hash}
    await bench.first(10, 8)
    original = getattr(bench.twice, moment)

    async def meanwhile(*args: Any) -> Any:
        world.ledger.rewind(bench.twice.kinds, block(1, "ethereum"))
        await bench.first(10, 8)
        return await original(*args)

    setattr(bench.twice, moment, meanwhile)
    await bench.reader.read_windows()
    assert world.ledger.burn(burn(3).tx_hash, 0) is None
    assert world.journal.holds() == []
    assert bench.stretches() == [(2, None), (1, 1)]


# --- what documents name


async def test_a_named_transaction_is_read_at_once_and_costs_no_window(world: World) -> None:
    bench = SecondBench(world, burn(3), burn(5))
    bench.twice.hidden = {burn(3).tx_hash}
    await bench.first(10, 8)
    bench.reader.look(burn(3).tx_hash, 3)
    await bench.reader.read_asked()
    assert bench.twice.again == [(3, 3, (burn(3).tx_hash,))]
    assert bench.rings("new") == [burn(3)]
    await bench.reader.read_asked()
    assert len(bench.twice.again) == 1


async def test_what_is_not_final_here_yet_waits(world: World) -> None:
    bench = SecondBench(world, burn(9))
    await bench.first(10, 8)
    bench.reader.look(burn(9).tx_hash, 9)
    await bench.reader.read_asked()
    assert bench.twice.again == []
    await bench.first(12, 10)
    await bench.reader.read_asked()
    assert bench.twice.again == [(9, 9, (burn(9).tx_hash,))]


async def test_however_many_transactions_are_named_so_many_blocks_wait_at_most(world: World) -> None:
    bench = SecondBench(world)
    bench.twice.most = 10**6
    await bench.first(100_000, 100_000)
    for number in range(1000):
        bench.reader.look(f"0x{number:064x}", 1 + number)
        bench.reader.look(f"0x{number:064x}", 1 + number)
    await bench.reader.read_asked()
    assert len(bench.twice.again) == 64


async def test_what_lies_below_the_start_is_not_looked_for_and_keeps_nothing_waiting(world: World) -> None:
    """Anyone who writes to the database can name burns of the time before the bridge, by the thousand."""
    bench = SecondBench(world, burn(5))
    bench.twice.hidden = {burn(5).tx_hash}
    await bench.first(10, 8)
    for number in range(64):
        bench.reader.look(f"0x{number:064x}", -number)
    bench.reader.look(burn(5).tx_hash, 5)
    await bench.reader.read_asked()
    assert bench.twice.again == [(5, 5, (burn(5).tx_hash,))]
    assert bench.rings("new") == [burn(5)]


async def test_what_fails_is_tried_again_when_it_is_named_again(world: World) -> None:
    bench = SecondBench(world, burn(3))
    bench.twice.hidden = {burn(3).tx_hash}
    await bench.first(10, 8)
    bench.twice.fails = True
    bench.reader.look(burn(3).tx_hash, 3)
    assert bench.reader.rung.is_set()
    with pytest.raises(ValueError, match="digits"):
        await bench.reader.read_asked()
    assert not bench.reader.rung.is_set()
    bench.twice.fails = False
    bench.reader.look(burn(3).tx_hash, 3)
    await bench.reader.read_asked()
    assert world.ledger.burn(burn(3).tx_hash, 0) is not None


async def test_an_observer_finds_it_too_and_inserts_nothing(world: World) -> None:
    bench = SecondBench(world, burn(3))
    bench.scanner._observe = True
    bench.twice.hidden = {burn(3).tx_hash}
    await bench.first(10, 8)
    await bench.windows()
    assert bench.rings("new") == [burn(3)]
    assert [collection for collection, _ in bench.inserts.rows if collection is Collection.BURN] == []


def test_who_gave_a_block_first_is_asked_last() -> None:
    answered = Answered()
    assert answered.of(5) == ""
    answered.note(10, "one")
    answered.note(20, "two")
    assert [answered.of(5), answered.of(10), answered.of(11), answered.of(21)] == ["one", "one", "two", "two"]
    answered.note(15, "three")
    assert [answered.of(11), answered.of(16)] == ["three", "two"]
