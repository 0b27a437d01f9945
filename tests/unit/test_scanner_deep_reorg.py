"""A reorganisation deeper than finality: signing and reading stop until a person has accepted the new chain."""

from dataclasses import replace
from typing import Any

import pytest

from reactor.documents.events import BlockRef, Burn
from reactor.state.holds import SIGNING
from reactor.state.rows import EventKind
from scanners.ethereum import WatchedEthereum
from scanners.loop import Reading, View
from tests.unit.ethereum_node import Node, chain_of
from tests.unit.handler_world import World, block, burn, minted
from tests.unit.test_scanner_loop import Bench, FakeChain

pytestmark = pytest.mark.unit


def other(height: int) -> BlockRef:
    return BlockRef(height, "0x" + f"{height:02x}" * 32, 5)


def moved(event: Burn, height: int) -> Burn:
    return replace(event, block=other(height))


def replace_from(bench: Bench, height: int, last: int = 20) -> None:
    """Other blocks than before from there on."""
    bench.chain.replaced = {one: other(one).hash for one in range(height, last + 1)}


def holds(world: World) -> list[tuple[str, str]]:
    return [(hold.scope, hold.reason) for hold in world.journal.holds()]


async def test_the_block_at_the_cursor_is_another_though_no_event_of_ours_changed(world: World) -> None:
    bench = Bench(world, burn(3))
    assert await bench.scanner.scan(View(10, 6))
    replace_from(bench, 5)
    bench.chain.events.append(moved(burn(9), 9))
    assert not await bench.scanner.scan(View(11, 7))
    assert not await bench.scanner.scan(View(12, 8))
    assert holds(world) == [(SIGNING, "deep_reorg")]
    assert "block 6 was final as" in world.journal.holds()[0].detail
    assert bench.cursor() == 6
    assert bench.chain.windows == [(1, 10)], "nothing of the other chain is read"


class ReplacedMeanwhile(FakeChain):
    """Whose blocks are replaced, from `height` on, in the middle of the reading of its window number `during`."""

    height = during = 0

    async def read(self, first: int, last: int, final: int) -> Reading:
        if len(self.windows) + 1 == self.during:
            self.replaced = {one: other(one).hash for one in range(self.height, 30)}
        reading = await super().read(first, last, final)
        rest = reading.rest
        return replace(reading, rest=other(rest.height) if rest and rest.height in self.replaced else rest)


@pytest.mark.parametrize(("most", "during"), [(1000, 2), (2, 3), (2, 4)])
async def test_one_that_comes_while_a_window_is_read_is_found_before_the_cursor_goes_over_to_the_other_chain(
    world: World, most: int, during: int
) -> None:
    bench = Bench(world)
    bench.chain = bench.scanner._watched = chain = ReplacedMeanwhile(burn(3))
    assert await bench.scanner.scan(View(8, 4))
    chain.most, chain.height, chain.during = most, 4, during
    assert not await bench.scanner.scan(View(14, 12))
    assert holds(world) == [(SIGNING, "deep_reorg")]
    cursor = world.ledger.cursor(EventKind.BURN)
    assert cursor is not None
    assert cursor.height == 4 + 2 * (during - 2)
    assert cursor.hash == block(cursor.height, "ethereum").hash, "it still rests on the chain that was final"
    assert "stopped until released" in bench.scanner.scanned.failure


async def test_a_shallow_one_that_comes_while_a_window_is_read_stops_nobody(world: World) -> None:
    bench = Bench(world)
    bench.chain = bench.scanner._watched = chain = ReplacedMeanwhile(burn(3))
    assert await bench.scanner.scan(View(8, 4))
    chain.height, chain.during = 5, 2
    assert await bench.scanner.scan(View(14, 4))
    assert chain.windows == [(1, 8), (5, 14)]
    assert holds(world) == []


async def test_one_that_was_released_and_comes_while_a_window_is_read_has_the_chain_read_anew(world: World) -> None:
    bench = Bench(world)
    bench.chain = bench.scanner._watched = chain = ReplacedMeanwhile(burn(2))
    assert await bench.scanner.scan(View(8, 4))
    chain.height, chain.during = 3, 3
    chain.replaced = {4: other(4).hash}
    assert not await bench.scanner.scan(View(10, 6))
    world.journal.release(SIGNING, "someone", "the exchange says so too")
    chain.replaced, chain.during = {}, 2
    assert await bench.scanner.scan(View(12, 8))
    assert chain.windows == [(1, 8), (5, 12), (3, 12)]
    cursor = world.ledger.cursor(EventKind.BURN)
    assert cursor is not None
    assert (cursor.height, cursor.hash) == (8, other(8).hash)
    assert holds(world) == []


async def test_a_reorganisation_above_the_cursor_stops_nobody(world: World) -> None:
    bench = Bench(world, burn(3), burn(9))
    assert await bench.scanner.scan(View(10, 6))
    replace_from(bench, 7)
    bench.chain.events = [burn(3), moved(burn(9), 8)]
    assert await bench.scanner.scan(View(11, 6))
    assert holds(world) == []


async def test_a_node_that_cannot_show_the_cursors_block_proves_nothing(world: World) -> None:
    bench = Bench(world, burn(3))
    assert await bench.scanner.scan(View(10, 6))
    bench.chain.shown = 4
    assert await bench.scanner.scan(View(4, 1))
    assert holds(world) == []


async def test_once_released_the_chain_is_read_anew_from_the_last_block_that_both_know(world: World) -> None:
    bench = Bench(world, burn(2), burn(4), minted(5, 1), burn(6))
    assert await bench.scanner.scan(View(10, 7))
    replace_from(bench, 4)
    # One burn is in another block, one is gone, the mint was mined again: its key holds the block's hash.
    again = replace(minted(5, 1), block=other(6))
    bench.chain.events = [burn(2), moved(burn(4), 5), again]
    assert not await bench.scanner.scan(View(11, 8))
    assert world.journal.release(SIGNING, "someone", "the exchange says so too") == 1

    assert await bench.scanner.scan(View(12, 9))
    assert bench.chain.windows[-1] == (3, 12)
    assert bench.chain.forgotten == 1, "no header of the old chain comes back from memory"
    assert bench.cursor() == bench.cursor(EventKind.MINTED) == 9
    assert world.ledger.burn(burn(4).tx_hash, 0).event == moved(burn(4), 5)  # type: ignore[union-attr]
    assert world.ledger.burn(burn(4).tx_hash, 0).final  # type: ignore[union-attr]
    assert world.ledger.burn(burn(6).tx_hash, 0) is None
    assert [seen.event for seen in world.ledger.minted(again.recipient, 1)] == [again]
    assert bench.rings("vanished") == [burn(6), minted(5, 1)]
    assert holds(world) == []
    bench.chain.replaced = {}  # its hashes are those of the fake's own blocks again: the cursor's is one of them
    assert await bench.scanner.scan(View(13, 10))


async def test_where_no_block_is_the_same_all_is_read_anew(world: World) -> None:
    bench = Bench(world, burn(3))
    assert await bench.scanner.scan(View(10, 6))
    replace_from(bench, 1)
    bench.chain.events = [moved(burn(3), 4)]
    assert not await bench.scanner.scan(View(11, 7))
    world.journal.release(SIGNING, "someone", "a development chain")
    assert await bench.scanner.scan(View(11, 7))
    assert bench.chain.windows[-1] == (1, 11)
    assert world.ledger.burn(burn(3).tx_hash, 0).event == moved(burn(3), 4)  # type: ignore[union-attr]


async def test_another_one_is_another_hold(world: World) -> None:
    bench = Bench(world, burn(3))
    assert await bench.scanner.scan(View(10, 6))
    replace_from(bench, 5)
    assert not await bench.scanner.scan(View(11, 7))
    world.journal.release(SIGNING, "someone", "known")
    bench.chain.replaced = {6: block(99, "ethereum").hash}
    assert not await bench.scanner.scan(View(11, 7))
    assert holds(world) == [(SIGNING, "deep_reorg")]


async def test_a_node_that_shows_another_block_each_time_makes_one_hold_that_names_the_newest(world: World) -> None:
    bench = Bench(world, burn(3))
    assert await bench.scanner.scan(View(10, 6))
    for number in range(100, 150):
        bench.chain.replaced = {bench.cursor(): block(number, "ethereum").hash}
        assert not await bench.scanner.scan(View(11, 7))
    assert holds(world) == [(SIGNING, "deep_reorg")]
    assert block(149, "ethereum").hash in world.journal.holds()[0].detail
    # It tells the truth again, and lies of a later block.
    bench.chain.replaced = {}
    assert await bench.scanner.scan(View(12, 8))
    bench.chain.replaced = {bench.cursor(): block(99, "ethereum").hash}
    assert not await bench.scanner.scan(View(13, 9))
    assert [hold.detail[:16] for hold in world.journal.hold_history()] == ["ethereum block 8"]


async def test_a_node_that_shows_final_events_otherwise_each_time_makes_one_hold_of_each_kind(world: World) -> None:
    bench = Bench(world, burn(3), minted(4, 1))
    assert await bench.scanner.scan(View(10, 6))
    for amount in range(900, 950):
        bench.chain.events = [replace(burn(3), amount=amount), replace(minted(4, 1), amount=amount)]
        world.ledger.ask_rescan("ethereum", 1, 6)
        await bench.scanner.rescan(View(10, 6))
    told = [hold.detail for hold in world.journal.hold_history()]
    assert ["amount 949 instead of" in one for one in told] == [True, True]
    assert [one.split()[:3] for one in told] == [["the", "final", "burn"], ["the", "final", "minted"]]


# --- between two nodes' words


class Forks(Node):
    """Whose blocks from `fork` on are others as soon as it is asked for logs, if it is `about_to`."""

    fork, forked, about_to = 5, False, False

    def _result(self, method: str, params: Any) -> Any:
        self.forked = self.forked or (self.about_to and method == "eth_getLogs")
        result = super()._result(method, params)
        if method != "eth_getBlockByNumber" or not self.forked or result is None or int(result["number"], 16) < self.fork:
            return result
        return {**result, "hash": "0x" + "ab" * 24 + f"{int(result['number'], 16):016x}"}


@pytest.mark.parametrize("fork", [5, 13])
async def test_the_node_itself_is_asked_after_each_window_whatever_it_said_before(world: World, fork: int) -> None:
    node, bench = Forks(10), Bench(world)
    node.fork = fork
    async with chain_of(node) as chain:
        bench.scanner._watched = watched = WatchedEthereum(chain, world.bridge)
        assert await bench.scanner.scan(await watched.view())
        node.head, node.about_to = 14, True
        deep = fork <= 8
        assert await bench.scanner.scan(await watched.view()) is not deep
    assert holds(world) == ([(SIGNING, "deep_reorg")] if deep else [])
    assert bench.cursor() == (8 if deep else 12)


async def test_whether_a_block_still_stands_is_never_told_from_memory() -> None:
    node = Forks(10)
    async with chain_of(node) as chain:
        block_hash = (await chain.header(6)).hash
        assert await chain.is_canonical(6, block_hash)
        node.forked = True
        assert not await chain.is_canonical(6, block_hash)
        assert (await chain.header(6)).hash == block_hash, "who only wants a header shares it"


class Forgets(FakeChain):
    """A node that does not show the blocks from `gone` on any more once it has shown a window."""

    gone = 10**9

    async def read(self, first: int, last: int, final: int) -> Reading:
        reading = await super().read(first, last, final)
        self.shown = min(self.shown, self.gone - 1)
        return reading


async def test_what_was_read_counts_once_the_cursors_block_is_shown_again(world: World) -> None:
    bench = Bench(world)
    bench.chain = bench.scanner._watched = chain = Forgets(burn(3), burn(9))
    assert await bench.scanner.scan(View(10, 6))
    chain.gone = 6
    assert not await bench.scanner.scan(View(12, 8))
    assert (bench.cursor(), holds(world)) == (6, [])
    assert "does not show block 6" in bench.scanner.scanned.failure
    chain.gone = chain.shown = 10**9
    assert await bench.scanner.scan(View(12, 8))
    assert bench.cursor() == 8


# --- more than once in one look


class Replays(FakeChain):
    """Shows two chains by turns, another one after every second window."""

    most = 4

    async def read(self, first: int, last: int, final: int) -> Reading:
        assert len(self.windows) < 100, "it never pauses"
        reading = await super().read(first, last, final)
        rest = reading.rest
        reading = replace(reading, rest=other(rest.height) if rest and rest.height in self.replaced else rest)
        if len(self.windows) % 2 == 0:
            self.replaced = {} if self.replaced else {one: other(one).hash for one in range(3, 30)}
        return reading


async def test_a_chain_that_is_taken_anew_again_and_again_in_one_look_is_left_for_the_next(world: World) -> None:
    bench = Bench(world)
    bench.chain = bench.scanner._watched = chain = Replays()
    chain.most = 4
    for _ in range(2):
        assert not await bench.scanner.scan(View(20, 20))
        assert holds(world) == [(SIGNING, "deep_reorg")]
        world.journal.release(SIGNING, "someone", "the exchange says so too")
    chain.windows.clear()
    assert not await bench.scanner.scan(View(20, 20))
    assert chain.windows == [(1, 4), (5, 8)]
    assert "taken anew a second time" in bench.scanner.scanned.failure
    assert holds(world) == []
