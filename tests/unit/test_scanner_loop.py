"""The scanning loop over a chain in memory and a real ledger: windows, the cursor, reorganisations, nodes that lag or lie."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest
from pymongo.errors import AutoReconnect

from reactor.documents.events import BlockRef, Burn, Event, Minted
from reactor.documents.statuses import Collection
from reactor.outages import Outages
from reactor.state.created import moment
from reactor.state.holds import SIGNING
from reactor.state.rows import EventKind
from reactor.state.windows import WindowResult
from scanners.loop import ChainScanner, Reading, View
from tests.unit.handler_world import NOW, World, block, burn, minted

pytestmark = pytest.mark.unit


class FakeChain:
    """Ethereum as one node shows it. `most`: blocks in a window; `shown`: up to where it can show anything."""

    name = "ethereum"
    kinds = (EventKind.BURN, EventKind.MINTED)
    start = 1

    def __init__(self, *events: Event) -> None:
        self.events = list(events)
        self.heads: list[View] = []
        self.most = 1000
        self.shown = 10**9
        self.windows: list[tuple[int, int]] = []
        self.replaced: dict[int, str] = {}
        self.located: dict[str, int] = {}
        self.forgotten = 0

    async def view(self) -> View:
        return self.heads.pop(0)

    async def read(self, first: int, last: int, final: int) -> Reading:
        last = min(last, first + self.most - 1, self.shown)
        self.windows.append((first, last))
        if last < first:
            return Reading(first - 1, {}, None)
        inside = [event for event in self.events if first <= event.height <= last]
        rest = min(final, last)
        return Reading(
            last,
            {
                EventKind.BURN: [event for event in inside if isinstance(event, Burn)],
                EventKind.MINTED: [event for event in inside if isinstance(event, Minted)],
            },
            block(rest, "ethereum") if rest >= first else None,
        )

    async def locate(self, tx_hash: str) -> int | None:
        return self.located.get(tx_hash)

    async def hash_at(self, height: int) -> str | None:
        return self.replaced.get(height, block(height, "ethereum").hash) if height <= self.shown else None

    def forget(self) -> None:
        self.forgotten += 1


class Inserts:
    """The collections: keeps what was inserted, or is not there."""

    def __init__(self) -> None:
        self.rows: list[tuple[Collection, Any]] = []
        self.whole: list[tuple[Collection, Mapping[str, Any]]] = []
        self.down = False

    async def __call__(self, collection: Collection, rows: Sequence[Mapping[str, Any]]) -> None:
        if self.down:
            raise AutoReconnect("no primary")
        self.rows += [(collection, row["_id"]) for row in rows]
        self.whole += [(collection, row) for row in rows]


class Bench:
    def __init__(self, world: World, *events: Event, observe: bool = False) -> None:
        self.world, self.chain, self.inserts = world, FakeChain(*events), Inserts()
        self.rung: list[WindowResult] = []
        self.outages = Outages()
        self.answers = 0
        self.scanner = ChainScanner(
            self.chain,
            world.bridge,
            world.ledger,
            world.journal,
            self.inserts,
            self.rung.append,
            lambda: NOW,
            interval=0.0,
            observe=observe,
            outages=self.outages,
            answered=self.answered,
        )

    def answered(self) -> None:
        self.answers += 1

    def cursor(self, kind: EventKind = EventKind.BURN) -> int | None:
        cursor = self.world.ledger.cursor(kind)
        return cursor.height if cursor else None

    def collections(self) -> list[str]:
        return [collection.value for collection, _ in self.inserts.rows]

    def rings(self, what: str) -> list[Event]:
        return [event for result in self.rung for event in getattr(result, what)]


async def test_reads_from_the_start_block_and_rests_at_the_last_final_one(world: World) -> None:
    bench = Bench(world, burn(3), minted(4, 1), burn(9))
    assert await bench.scanner.scan(View(10, 6))
    assert bench.chain.windows == [(1, 10)]
    assert (bench.cursor(), bench.cursor(EventKind.MINTED)) == (6, 6)
    assert sorted(bench.collections()) == ["burn", "burn", "minted"]
    assert world.ledger.burn(burn(3).tx_hash, 0).final  # type: ignore[union-attr]
    assert not world.ledger.burn(burn(9).tx_hash, 0).final  # type: ignore[union-attr]
    cursor = world.ledger.cursor(EventKind.BURN)
    assert cursor is not None
    assert (cursor.hash, cursor.time) == (block(6, "ethereum").hash, block(6, "ethereum").time)


async def test_what_is_not_final_is_read_again_and_inserted_once(world: World) -> None:
    bench = Bench(world, burn(9))
    await bench.scanner.scan(View(10, 6))
    await bench.scanner.scan(View(12, 8))
    assert bench.chain.windows == [(1, 10), (7, 12)]
    assert bench.collections() == ["burn"]
    await bench.scanner.scan(View(13, 9))
    assert bench.rings("final") == [burn(9)]
    assert bench.collections() == ["burn"]


async def test_a_long_way_is_read_in_windows_and_each_is_kept_as_it_comes(world: World) -> None:
    bench = Bench(world, burn(3), burn(9))
    bench.chain.most = 4
    await bench.scanner.scan(View(10, 8))
    assert bench.chain.windows == [(1, 4), (5, 8), (9, 10)]
    assert bench.cursor() == 8
    assert len(bench.rings("new")) == 2


async def test_a_node_that_cannot_show_the_head_yet_is_asked_again_from_there(world: World) -> None:
    bench = Bench(world, burn(9))
    bench.chain.shown = 5
    assert not await bench.scanner.scan(View(10, 8))
    assert bench.cursor() == 5
    assert bench.rings("new") == []
    bench.chain.shown = 10
    assert await bench.scanner.scan(View(10, 8))
    assert bench.chain.windows[-1] == (6, 10)
    assert bench.rings("new") == [burn(9)]


async def test_a_node_that_is_behind_takes_nothing_back(world: World) -> None:
    bench = Bench(world, burn(3), burn(9))
    await bench.scanner.scan(View(10, 6))
    assert await bench.scanner.scan(View(4, 1))
    assert await bench.scanner.scan(View(8, 4))
    assert bench.cursor() == 6
    assert bench.rings("vanished") == []
    assert world.ledger.burn(burn(3).tx_hash, 0).final  # type: ignore[union-attr]
    assert world.ledger.burn(burn(9).tx_hash, 0) is not None


async def test_a_burn_that_a_reorganisation_takes_vanishes_and_rings(world: World) -> None:
    bench = Bench(world, burn(9))
    await bench.scanner.scan(View(10, 6))
    bench.chain.events.clear()
    await bench.scanner.scan(View(11, 7))
    assert bench.rings("vanished") == [burn(9)]
    assert world.ledger.burn(burn(9).tx_hash, 0) is None
    assert world.journal.holds() == []


async def test_a_burn_that_is_mined_again_elsewhere_is_changed_not_doubled(world: World) -> None:
    bench = Bench(world, burn(9))
    await bench.scanner.scan(View(10, 6))
    moved = replace(burn(9), block=BlockRef(11, "0x" + "ab" * 32, 5), log_index=4)
    bench.chain.events = [moved]
    await bench.scanner.scan(View(12, 8))
    assert world.ledger.burn(burn(9).tx_hash, 0).event == moved  # type: ignore[union-attr]
    assert len(world.ledger.burns_of_tx(burn(9).tx_hash)) == 1
    assert len({row for _, row in bench.inserts.rows}) == 1


@pytest.mark.parametrize("shown", [[], [replace(burn(3), amount=5)]])
async def test_a_final_event_that_changes_stops_signing_and_the_other_kind_is_still_read(
    world: World, shown: list[Event]
) -> None:
    bench = Bench(world, burn(3))
    await bench.scanner.scan(View(10, 6))
    bench.chain.start = 1
    with world.ledger._db.transaction() as connection:
        connection.execute("DELETE FROM cursors")
    bench.chain.events = [*shown, minted(8, 1)]
    await bench.scanner.scan(View(12, 8))
    await bench.scanner.scan(View(13, 9))
    assert [(hold.scope, hold.reason) for hold in world.journal.holds()] == [(SIGNING, "deep_reorg")]
    assert world.ledger.burn(burn(3).tx_hash, 0).event == burn(3)  # type: ignore[union-attr]
    assert [seen.event for seen in world.ledger.minted(minted(8, 1).recipient, 1)] == [minted(8, 1)]
    assert bench.cursor(EventKind.MINTED) == 9


async def test_a_kind_that_stands_still_though_a_person_released_it_is_no_success(world: World) -> None:
    bench = Bench(world, burn(3))
    assert await bench.scanner.scan(View(10, 6))
    world.ledger.rewind([EventKind.BURN, EventKind.MINTED], block(2, "ethereum"))
    for kind, shown in ((EventKind.MINTED, [minted(4, 1)]), (EventKind.BURN, [])):
        world.ledger.record_window(kind, 3, 6, shown, 6, block(6, "ethereum"))
    with world.ledger._db.transaction() as connection:
        connection.execute("UPDATE cursors SET height = 2, hash = NULL WHERE kind = 'minted'")
    # The own ledger holds a final mint that the node does not show.
    bench.chain.events = [burn(8)]
    bench.chain.heads = [View(12, 8), View(12, 8), View(13, 9), View(13, 9), View(14, 10), View(14, 10)]
    heads = bench.scanner.heads()
    await anext(heads)
    assert [hold.reason for hold in world.journal.holds()] == ["deep_reorg"]
    world.journal.release(SIGNING, "alice", "understood")
    await anext(heads)
    assert (bench.scanner.scanned.head, bench.scanner.scanned.failure) == (12, ""), "while it is held, that says it all"
    bench.chain.events += [minted(4, 1)]
    await anext(heads)
    assert (bench.cursor(), bench.cursor(EventKind.MINTED)) == (10, 10)
    assert bench.scanner.scanned.head == 12
    assert bench.scanner.scanned.failure.startswith("nothing after block 2 counts: the final minted")
    bench.chain.heads += [View(15, 11)]
    await anext(heads)
    assert (bench.scanner.scanned.head, bench.scanner.scanned.failure) == (14, "")
    await heads.aclose()


async def test_without_mongo_nothing_is_lost(world: World) -> None:
    bench = Bench(world, burn(3), minted(4, 1))
    bench.inserts.down = True
    assert await bench.scanner.scan(View(10, 6))
    assert bench.inserts.rows == []
    assert bench.rings("new") == [burn(3), minted(4, 1)]
    assert [seen.event for seen in world.ledger.unsettled(EventKind.BURN, 10)] == [burn(3)]
    assert bench.cursor() == 6


async def test_an_observer_reads_and_rings_and_inserts_nothing(world: World) -> None:
    bench = Bench(world, burn(3), observe=True)
    await bench.scanner.scan(View(10, 6))
    assert bench.inserts.rows == []
    assert bench.rings("new") == [burn(3)]


async def test_a_head_is_told_after_its_blocks_were_read_and_the_same_one_not_twice(world: World) -> None:
    bench = Bench(world, burn(3), burn(11))
    bench.chain.heads = [View(10, 6), View(10, 6), View(12, 8)]
    heads = bench.scanner.heads()
    assert await anext(heads) == 10
    assert bench.rings("new") == [burn(3)]
    assert await anext(heads) == 12
    assert bench.rings("new") == [burn(3), burn(11)]
    assert bench.chain.windows == [(1, 10), (7, 12)]
    await heads.aclose()


async def test_a_node_whose_head_fell_below_what_was_read_is_told_until_it_is_back(world: World) -> None:
    bench = Bench(world)
    bench.chain.heads = [View(10, 6), View(6, 2), View(5, 1), View(3, 0), View(7, 3)]
    heads, told = bench.scanner.heads(), []
    for _ in range(5):
        await anext(heads)
        told.append(dict(bench.outages.away()))
    await heads.aclose()
    below = "the head {} is below block 6 that was read already: the node was reset or follows another chain"
    assert told == [{}, {}, {"the Ethereum node": below.format(5)}, {"the Ethereum node": below.format(3)}, {}]


async def test_who_reads_a_chain_that_stands_still_says_that_it_answers(world: World) -> None:
    bench = Bench(world)
    bench.chain.heads = [View(10, 6)] * 3 + [View(11, 7)]
    heads = bench.scanner.heads()
    assert [await anext(heads), await anext(heads)] == [10, 11]
    assert bench.answers == 3
    await heads.aclose()


async def test_a_head_that_was_not_read_up_to_is_read_again_at_the_same_height(world: World) -> None:
    bench = Bench(world, burn(9))
    bench.chain.heads = [View(10, 6)] * 2
    bench.chain.shown = 5
    heads = bench.scanner.heads()
    assert await anext(heads) == 10
    bench.chain.shown = 10
    assert await anext(heads) == 10
    assert bench.rings("new") == [burn(9)]
    await heads.aclose()


async def test_documents_are_created_when_the_chain_says_in_its_order_and_not_when_they_are_inserted(world: World) -> None:
    first = replace(burn(9), block=BlockRef(9, block(9, "ethereum").hash, 1_700_000_000))
    events = [first, replace(first, burn_index=1, log_index=1), replace(minted(9, 1), block=first.block)]
    bench = Bench(world, *events)
    await bench.scanner.scan(View(10, 6))
    times = {(collection.value, row["created_at"]) for collection, row in bench.inserts.whole}
    assert times == {
        ("burn", moment(1_700_000_000_000)),
        ("burn", moment(1_700_000_000_001)),
        ("minted", moment(1_700_000_000_000)),
    }
    assert {row["updated_at"] for collection, row in bench.inserts.whole if collection is Collection.BURN} == {NOW}


@pytest.mark.parametrize("most", [1, 2, 3])
async def test_a_node_that_allows_fewer_blocks_than_are_not_final_is_read_to_its_head(world: World, most: int) -> None:
    events = [burn(3), burn(7), minted(8, 1), burn(10)]
    bench = Bench(world, *events)
    bench.chain.most = most
    assert await bench.scanner.scan(View(10, 5))
    assert sorted(bench.rings("new"), key=lambda one: one.height) == events
    assert bench.rings("vanished") == bench.rings("changed") == []
    assert (bench.cursor(), bench.cursor(EventKind.MINTED)) == (5, 5)
    bench.chain.events.remove(burn(7))
    assert await bench.scanner.scan(View(12, 7))
    assert bench.rings("vanished") == [burn(7)]
    assert bench.cursor() == 7
    assert world.journal.holds() == []
