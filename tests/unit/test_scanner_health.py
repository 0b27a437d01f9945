"""How a scanner says how its last look at the chain went, and that nothing which a node answers ends its following."""

import asyncio
from time import monotonic

import pytest

from reactor.health import SIGNING, SIGNING_HELD, STREAM, Facts, HoldFacts, SigningFacts, problems_of
from scanners.loop import View
from tests.unit.handler_world import World, burn
from tests.unit.test_scanner_loop import Bench, FakeChain

pytestmark = pytest.mark.unit


class Unwilling(FakeChain):
    """Fails where it is told to, as whatever a node may answer could make a client fail."""

    fails = ""

    async def view(self) -> View:
        if self.fails == "view":
            raise OSError("no route to the node")
        return await super().view()

    async def read(self, first, last, final):
        if self.fails in {"read", f"read {first} to {last}"}:
            raise ValueError("a year of 9999999999")
        return await super().read(first, last, final)


async def test_nothing_is_scanned_at_first_and_then_the_head_and_the_moment_are_told(world: World) -> None:
    bench = Bench(world, burn(3))
    assert (bench.scanner.scanned.at, bench.scanner.scanned.head) == (None, 0)
    bench.chain.heads = [View(10, 6), View(10, 6), View(12, 8)]
    heads = bench.scanner.heads()
    before = monotonic()
    await anext(heads)
    await anext(heads)
    await heads.aclose()
    scanned = bench.scanner.scanned
    assert scanned.at is not None
    assert (before <= scanned.at <= monotonic(), scanned.head, scanned.final, scanned.failure) == (True, 10, 6, "")


@pytest.mark.parametrize(("fails", "why"), [("view", "no route to the node"), ("read", "ValueError: a year of 9999999999")])
async def test_a_look_that_fails_says_why_and_the_next_one_that_works_clears_it(world: World, fails: str, why: str) -> None:
    bench = Bench(world)
    bench.chain = bench.scanner._watched = chain = Unwilling()
    chain.heads = [View(10, 6)] * 4
    chain.fails = fails
    with pytest.raises((OSError, ValueError)):
        await anext(bench.scanner.heads())
    assert (bench.scanner.scanned.at, bench.scanner.scanned.failure) == (None, why)
    chain.fails = ""
    chain.heads = [View(10, 6), View(12, 8)]
    heads = bench.scanner.heads()
    assert [await anext(heads), await anext(heads)] == [10, 12]
    assert (bench.scanner.scanned.head, bench.scanner.scanned.failure) == (10, "")
    await heads.aclose()


async def test_a_node_that_cannot_show_its_head_is_no_success(world: World) -> None:
    bench = Bench(world)
    bench.chain.shown = 5
    bench.chain.heads = [View(10, 6)]
    await anext(bench.scanner.heads())
    assert bench.scanner.scanned.at is None
    assert "nothing from 6 on yet" in bench.scanner.scanned.failure


async def test_a_chain_that_stands_until_released_is_no_success(world: World) -> None:
    bench = Bench(world)
    await bench.scanner.scan(View(10, 6))
    bench.chain.replaced[6] = "0x" + "ab" * 32
    bench.chain.heads = [View(12, 8)]
    await anext(bench.scanner.heads())
    assert bench.scanner.scanned.failure.startswith("stopped until released: ethereum block 6 was final")
    assert bench.scanner.scanned.cause == SIGNING_HELD
    held = SigningFacts(holds=[HoldFacts(SIGNING, one.reason) for one in world.journal.holds()])
    assert SIGNING_HELD in {one.about for one in problems_of(Facts(signing=held))}, "so it is told with the hold"


async def test_blocks_that_cannot_be_read_again_keep_no_head_waiting(world: World) -> None:
    bench = Bench(world)
    bench.chain = bench.scanner._watched = chain = Unwilling()
    chain.heads = [View(10, 10), View(10, 10), View(11, 10)]
    heads = bench.scanner.heads()
    assert await anext(heads) == 10
    world.ledger.ask_rescan("ethereum", 1, 5)
    chain.fails = "read 1 to 5"
    assert await anext(heads) == 11
    assert (bench.scanner.scanned.head, bench.scanner.scanned.failure) == (10, "")
    assert world.ledger.next_rescan("ethereum") is not None
    await heads.aclose()


async def test_a_look_that_waits_for_the_database_says_so_while_it_does(world: World) -> None:
    bench = Bench(world, burn(3))
    bench.chain.heads = [View(10, 6), View(10, 6)]
    taken, asked = asyncio.Event(), asyncio.Event()

    async def insert(*_: object) -> None:
        asked.set()
        await taken.wait()

    bench.scanner._insert = insert
    heads = bench.scanner.heads()
    look = asyncio.ensure_future(anext(heads))
    await asked.wait()
    assert (bench.scanner.scanned.cause, bench.scanner.scanned.at) == (STREAM, None)
    assert "the database has not taken the events yet" in bench.scanner.scanned.failure
    taken.set()
    await look
    assert (bench.scanner.scanned.cause, bench.scanner.scanned.failure) == ("", "")
    await heads.aclose()


async def test_what_the_node_says_is_not_hidden_by_an_insertion(world: World) -> None:
    bench = Bench(world, burn(3))
    bench.chain = bench.scanner._watched = chain = Unwilling()
    chain.fails = "view"
    with pytest.raises(OSError, match="no route"):
        await anext(bench.scanner.heads())
    bench.scanner._inserts = 1
    assert (bench.scanner.scanned.failure, bench.scanner.scanned.cause) == ("no route to the node", "")
