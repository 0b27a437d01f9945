"""The books and time: a node that is away, clocks that differ and times that are wrong accuse nobody; a theft is still found."""

from dataclasses import dataclass, replace

import pytest

from reactor.documents.events import BlockRef, Deposit, Minted
from reactor.handlers.books import Books
from reactor.state.rows import EventKind
from scanners.loop import Scanned
from tests.unit.handler_world import USER, World, block, burn, deposit, minted, returned

pytestmark = pytest.mark.unit

T = 1_700_000_000
"""When the deposit was made, by a clock that is right; the mint comes 30 s later."""


def at(chain: str, height: int, time: int) -> BlockRef:
    return replace(block(height, chain), time=time)


@dataclass
class Clocks:
    """What the two chains' headers say, in seconds beside the truth; None: a header's time is not known (stored as 0)."""

    pocket: int = 0
    ethereum: int = 0
    mint: int | None = 0

    @property
    def deposit(self) -> Deposit:
        return replace(deposit(50), block=at("pocket", 50, T + self.pocket))

    @property
    def minted(self) -> Minted:
        time = 0 if self.mint is None else T + 30 + self.ethereum + self.mint
        return replace(minted(60, 1), block=at("ethereum", 60, time))


CLOCKS = {
    "right": Clocks(),
    "the mint's time is not known": Clocks(mint=None),
    "the mint's time is long ago": Clocks(mint=-1_000_000),
    "the mint's time is years ahead": Clocks(mint=10**9),
    "equal times": Clocks(mint=-30),
    "pocket an hour ahead": Clocks(pocket=3600),
    "pocket an hour behind": Clocks(pocket=-3600),
    "ethereum an hour behind": Clocks(ethereum=-3600),
    "ethereum an hour ahead": Clocks(ethereum=3600),
}


class Scene:
    """A validator whose Ethereum is well; its Pocket node was last read to block 49, a second before the deposit's."""

    def __init__(self, world: World, clocks: Clocks) -> None:
        self.world, self.clocks = world, clocks
        self.now = 100.0
        self.scans = {"pocket": Scanned(90.0, 49), "ethereum": Scanned(90.0, 70)}
        self.books = Books(world.context, self.scans.__getitem__)
        self.books._sources._clock = lambda: self.now
        world.ethereum.nonces[USER] = 1
        self.pocket(49)
        self.ethereum(70)

    def pocket(self, final: int, *deposits: Deposit, last: int | None = None) -> None:
        self.read(EventKind.DEPOSIT, "pocket", final, T - 1 + 60 * (final - 49) + self.clocks.pocket, *deposits, last=last)
        self.read(EventKind.RETURNED, "pocket", final, T - 1 + 60 * (final - 49) + self.clocks.pocket)

    def ethereum(self, final: int) -> None:
        shown = [self.clocks.minted]
        self.read(EventKind.MINTED, "ethereum", final, T + 30 + 12 * (final - 60) + self.clocks.ethereum, *shown)
        self.read(EventKind.BURN, "ethereum", final, T + 30 + 12 * (final - 60) + self.clocks.ethereum)

    def read(
        self, kind: EventKind, chain: str, final: int, time: int, *events: Deposit | Minted, last: int | None = None
    ) -> None:
        self.world.ledger.record_window(kind, 1, last or final, list(events), final, at(chain, final, time))

    def scanned(self, chain: str, head: int) -> None:
        self.now += 10
        self.scans[chain] = Scanned(self.now, head)

    async def look(self) -> list[str]:
        self.now += 1
        await self.books.check()
        return sorted(hold.reason for hold in self.world.journal.holds())


@pytest.mark.parametrize("clocks", CLOCKS.values(), ids=CLOCKS)
async def test_a_pocket_node_that_is_away_is_not_enough_against_an_honest_mint(world: World, clocks: Clocks) -> None:
    scene = Scene(world, clocks)
    for final in (70, 75, 300):  # Ethereum goes on for an hour
        scene.ethereum(final)
        scene.scanned("ethereum", final + 5)
        assert await scene.look() == []
    # It is back: the deposit is seen before it is final.
    scene.pocket(49, clocks.deposit, last=50)
    scene.scanned("pocket", 50)
    assert await scene.look() == []
    scene.pocket(200, clocks.deposit)
    scene.scanned("pocket", 200)
    assert await scene.look() == []
    assert world.ledger.unexplained(EventKind.MINTED, 10) == []
    assert scene.books._totals.sums.mints_over == 0


@pytest.mark.parametrize("clocks", CLOCKS.values(), ids=CLOCKS)
async def test_a_mint_without_a_deposit_is_found_as_soon_as_pocket_was_read(world: World, clocks: Clocks) -> None:
    scene = Scene(world, clocks)
    scene.ethereum(1000)
    assert await scene.look() == []
    scene.pocket(300)
    scene.scanned("pocket", 300)
    # Of a time that is not known it is said that it lies no later than the final block of that moment.
    scene.ethereum(1001)
    assert await scene.look() == ["books_overdrawn", "unexplained_mint"]


async def test_a_deposit_that_comes_later_delays_nothing(world: World) -> None:
    scene = Scene(world, Clocks())
    assert await scene.look() == []
    scene.pocket(100)
    scene.scanned("pocket", 100)
    late = replace(deposit(101), block=at("pocket", 101, T + 4000))
    scene.pocket(100, late, last=101)
    scene.now += 1
    assert await scene.look() == ["books_overdrawn", "unexplained_mint"]


@pytest.mark.parametrize("chain", ["pocket", "ethereum"])
async def test_a_return_waits_for_both_chains_on_which_its_source_may_lie(world: World, chain: str) -> None:
    scene = Scene(world, Clocks())
    paid = replace(returned(49, burn(61).tx_hash), block=at("pocket", 49, 0))
    world.ledger.record_window(EventKind.RETURNED, 1, 49, [paid], 49, at("pocket", 49, T))
    assert await scene.look() == []
    world.ledger.record_window(EventKind.DEPOSIT, 1, 100, [], 100, at("pocket", 100, T + 3000))
    scene.ethereum(100)
    scene.scanned(chain, 105)
    assert "unexplained_return" not in await scene.look()
    scene.scanned("ethereum" if chain == "pocket" else "pocket", 105)
    assert "unexplained_return" in await scene.look()


async def test_what_is_final_later_waits_for_its_own_look(world: World) -> None:
    scene = Scene(world, Clocks())
    scene.pocket(50, scene.clocks.deposit)
    scene.pocket(300, scene.clocks.deposit)
    assert await scene.look() == []
    scene.scanned("pocket", 300)
    assert await scene.look() == []
    second = replace(minted(80, 2), block=at("ethereum", 80, T + 100))
    scene.read(EventKind.MINTED, "ethereum", 90, T + 400, scene.clocks.minted, second)
    scene.read(EventKind.BURN, "ethereum", 90, T + 400)
    world.ethereum.nonces[USER] = 2
    for _ in range(3):
        assert await scene.look() == []  # Pocket was not read since
    scene.scanned("pocket", 300)
    assert await scene.look() == ["books_overdrawn", "unexplained_mint"]
