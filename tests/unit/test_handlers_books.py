"""The books: every outflow and every mint has a source on the own chains, or signing stops."""

from pathlib import Path

import pytest

from reactor.handlers.books import Books
from reactor.state.rows import EventKind
from tests.unit.handler_world import USER, World, burn, deposit, make_world, minted, returned

pytestmark = pytest.mark.unit


@pytest.fixture
def world(tmp_path: Path):
    world = make_world(tmp_path)
    yield world
    world.close()


def read(world: World, *, deposits=(), burns=(), mints=(), returns=(), final: int = 100) -> None:
    world.record(EventKind.DEPOSIT, *deposits, final=final)
    world.record(EventKind.BURN, *burns, final=final)
    world.record(EventKind.MINTED, *mints)
    world.record(EventKind.RETURNED, *returns)


def held(world: World) -> list[tuple[str, str]]:
    return [(hold.scope, hold.reason) for hold in world.journal.holds()]


async def test_a_return_of_a_burn_and_of_a_bad_deposit_are_explained(world: World) -> None:
    bad, event = deposit(5, to=None), burn(6)
    read(world, deposits=[bad], burns=[event], returns=[returned(8, bad.tx_hash), returned(9, event.tx_hash)])
    await Books(world.context).check()
    assert held(world) == []
    assert world.ledger.unexplained(EventKind.RETURNED, 10) == []


@pytest.mark.parametrize(
    "outflow",
    [
        returned(8, "no such burn"),
        returned(8, f"0x{6:064x}", amount=990_001),
        returned(8, f"0x{6:064x}", to="cc" * 20),
        returned(8, f"0x{7:064x}"),
    ],
    ids=["unknown memo", "other amount", "other recipient", "other burn"],
)
async def test_an_outflow_without_a_source_stops_all_signing(world: World, outflow) -> None:
    read(world, burns=[burn(6)], returns=[outflow])
    await Books(world.context).check()
    assert held(world) == [("signing", "unexplained_return")]


async def test_it_waits_until_both_scanners_are_past_it(world: World) -> None:
    read(world, returns=[returned(60, "no such burn")], final=50)
    await Books(world.context).check()
    assert held(world) == []
    world.record(EventKind.DEPOSIT, first=51)
    world.record(EventKind.BURN, first=51)
    await Books(world.context).check()
    assert held(world) == [("signing", "unexplained_return")]


async def test_a_return_paid_twice_stops_all_signing_though_its_burn_is_real(world: World) -> None:
    event = burn(6)
    read(world, burns=[event], returns=[returned(8, event.tx_hash), returned(9, event.tx_hash, entropy=8)])
    await Books(world.context).check()
    assert held(world) == [("signing", "unexplained_return")]


async def test_two_equal_burns_justify_two_equal_returns(world: World) -> None:
    burns = [burn(6, 0), burn(6, 1)]
    read(world, burns=burns, returns=[returned(8, burns[0].tx_hash), returned(9, burns[0].tx_hash, entropy=8)])
    await Books(world.context).check()
    assert held(world) == []


async def test_a_mint_of_a_deposit_is_explained_and_one_without_stops_all_signing(world: World) -> None:
    read(world, deposits=[deposit(5)], mints=[minted(8, 1)])
    world.ethereum.nonces[USER] = 1
    await Books(world.context).check()
    assert held(world) == []


async def test_a_mint_without_a_deposit_stops_all_signing(world: World) -> None:
    read(world, mints=[minted(8, 1)])
    world.ethereum.nonces[USER] = 1
    await Books(world.context).check()
    assert held(world) == [("signing", "unexplained_mint")]


@pytest.mark.parametrize(("amount", "contradicts"), [(1_000_000, False), (970_000, False), (969_999, True), (1_000_001, True)])
async def test_a_mint_of_another_amount_holds_its_recipient(world: World, amount: int, contradicts: bool) -> None:
    read(world, deposits=[deposit(5)], mints=[minted(8, 1, amount=amount)])
    world.ethereum.nonces[USER] = 1
    await Books(world.context).check()
    assert held(world) == ([(f"recipient:{USER}", "nonce_contradicted")] if contradicts else [])


async def test_what_was_released_is_not_held_again(world: World) -> None:
    read(world, mints=[minted(8, 1)])
    world.ethereum.nonces[USER] = 1
    books = Books(world.context)
    await books.check()
    world.journal.release("signing", "operator", "a manual mint")
    await books.check()
    assert held(world) == []
