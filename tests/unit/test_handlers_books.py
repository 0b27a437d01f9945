"""The books: every outflow and every mint has a source on the own chains, or signing stops."""

import pytest

from reactor.chains.errors import NotAgreed
from reactor.handlers.books import Books
from reactor.handlers.totals import Totals
from reactor.state.rows import EventKind
from tests.unit.handler_world import USER, World, block, burn, deposit, minted, returned

pytestmark = pytest.mark.unit


def read(world: World, *, deposits=(), burns=(), mints=(), returns=(), final: int = 100) -> None:
    world.record(EventKind.DEPOSIT, *deposits, final=final)
    world.record(EventKind.BURN, *burns, final=final)
    world.record(EventKind.MINTED, *mints)
    world.record(EventKind.RETURNED, *returns)


def held(world: World) -> list[tuple[str, str]]:
    return sorted((hold.scope, hold.reason) for hold in world.journal.holds())


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
    assert ("signing", "unexplained_return") in held(world)


async def test_it_waits_until_both_scanners_are_past_it(world: World) -> None:
    read(world, returns=[returned(60, "no such burn")], final=50)
    await Books(world.context).check()
    assert held(world) == []
    world.record(EventKind.DEPOSIT, first=51)
    world.record(EventKind.BURN, first=51)
    await Books(world.context).check()
    assert held(world) == [("signing", "books_overdrawn"), ("signing", "unexplained_return")]


async def test_a_return_paid_twice_stops_all_signing_though_its_burn_is_real(world: World) -> None:
    event = burn(6)
    read(world, burns=[event], returns=[returned(8, event.tx_hash), returned(9, event.tx_hash, entropy=8)])
    await Books(world.context).check()
    assert held(world) == [("signing", "books_overdrawn"), ("signing", "unexplained_return")]


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
    assert held(world) == [("signing", "books_overdrawn"), ("signing", "unexplained_mint")]


@pytest.mark.parametrize(("amount", "contradicts"), [(1_000_000, False), (970_000, False), (969_999, True), (1_000_001, True)])
async def test_a_mint_of_another_amount_holds_its_recipient(world: World, amount: int, contradicts: bool) -> None:
    read(world, deposits=[deposit(5)], mints=[minted(8, 1, amount=amount)])
    world.ethereum.nonces[USER] = 1
    await Books(world.context).check()
    over = [("signing", "books_overdrawn")] if amount > 1_000_000 else []
    assert held(world) == ([(f"recipient:{USER}", "nonce_contradicted"), *over] if contradicts else [])


async def test_what_was_released_is_not_held_again(world: World) -> None:
    read(world, mints=[minted(8, 1)])
    world.ethereum.nonces[USER] = 1
    books = Books(world.context)
    await books.check()
    world.journal.release("signing", "operator", "a manual mint")
    await books.check()
    assert held(world) == []


# --- the sums


async def test_books_that_balance_hold_nothing(world: World) -> None:
    bad, good, event = deposit(5, to=None), deposit(6), burn(6)
    back = [returned(8, bad.tx_hash), returned(9, event.tx_hash)]
    read(world, deposits=[bad, good], burns=[event], mints=[minted(8, 1)], returns=back)
    world.ethereum.nonces[USER] = 1
    await Books(world.context).check()
    assert held(world) == []


@pytest.mark.parametrize("excess", [0, 1])
async def test_more_minted_than_deposited_stops_signing_to_the_unit(world: World, excess: int) -> None:
    """Each mint within what its own deposit allows for, all together too much: here one whose base nonce is not known yet."""
    read(world, deposits=[deposit(5)], mints=[minted(8, 1, amount=1_000_000 + excess)])
    world.ethereum.nonces[USER] = 0
    await Books(world.context).check()
    assert held(world) == ([("signing", "books_overdrawn")] if excess else [])


@pytest.mark.parametrize("excess", [0, 1])
async def test_more_paid_out_than_burned_stops_signing_to_the_unit(world: World, excess: int) -> None:
    event = burn(6)
    paid = returned(9, event.tx_hash, amount=990_000 + excess)
    world.record(EventKind.BURN, event)
    world.record(EventKind.RETURNED, paid)
    world.record(EventKind.DEPOSIT)
    world.ledger.explain(f"{world.bridge.pocket_scope}:returned:{paid.tx_hash}")
    await Books(world.context).check()
    assert held(world) == ([("signing", "books_overdrawn")] if excess else [])


async def test_a_return_that_failed_pays_nothing(world: World) -> None:
    event = burn(6)
    failed = returned(8, event.tx_hash, code=10)
    read(world, burns=[event], returns=[failed, returned(9, event.tx_hash, entropy=9)])
    world.ledger.explain(f"{world.bridge.pocket_scope}:returned:{failed.tx_hash}")
    await Books(world.context).check()
    assert ("signing", "books_overdrawn") not in held(world)


async def test_the_sums_wait_for_sources_that_may_not_be_read_yet(world: World) -> None:
    world.record(EventKind.MINTED, minted(60, 1))
    world.record(EventKind.DEPOSIT, final=50)
    world.record(EventKind.BURN)
    world.ethereum.nonces[USER] = 1
    books = Books(world.context)
    await books.check()
    assert held(world) == []
    world.record(EventKind.DEPOSIT, deposit(55), first=51)
    await books.check()
    assert held(world) == []


async def test_released_books_are_held_again_only_when_more_is_missing(world: World) -> None:
    read(world, deposits=[deposit(5)], mints=[minted(8, 1), minted(9, 2)])
    world.ethereum.nonces[USER] = 2
    books = Books(world.context)
    await books.check()
    assert ("signing", "books_overdrawn") in held(world)
    world.journal.release("signing", "operator", "understood")
    world.record(EventKind.DEPOSIT, deposit(101, amount=20_000), first=101, last=102, final=102)  # in flight: less is missing
    for again in (books, Books(world.context)):
        await again.check()
        assert held(world) == []
    world.record(EventKind.MINTED, minted(105, 3, amount=20_001), first=101, last=110, final=110)
    world.record(EventKind.DEPOSIT, first=103, last=110, final=110)
    world.record(EventKind.BURN, first=101, last=110, final=110)
    await books.check()
    assert ("signing", "books_overdrawn") in held(world)


async def test_an_event_that_an_earlier_scan_missed_is_counted(world: World) -> None:
    read(world, mints=[minted(8, 1)])
    world.ethereum.nonces[USER] = 1
    books = Books(world.context)
    await books.check()
    world.journal.release("signing", "operator", "the scan missed a deposit")
    world.record(EventKind.DEPOSIT, deposit(5))  # read again
    world.record(EventKind.MINTED, minted(105, 2, amount=20_000), first=101, last=110, final=110)
    world.record(EventKind.DEPOSIT, deposit(103, amount=20_000), first=101, last=110, final=110)
    world.record(EventKind.BURN, first=101, last=110, final=110)
    await books.check()
    assert held(world) == []


def test_locked_is_what_was_minted_and_is_owed_to_the_unit(world: World) -> None:
    bad, good, dust = deposit(5, to=None), deposit(6), deposit(7, amount=9_999)
    event, unpaid, small = burn(6), burn(7, amount=77_777), burn(8, amount=10_000)
    failed = returned(7, event.tx_hash, code=10)
    read(
        world,
        deposits=[bad, good, dust, deposit(8, amount=400_000), deposit(9, code=4)],
        burns=[event, unpaid, small],
        mints=[minted(8, 1)],
        returns=[failed, returned(8, bad.tx_hash), returned(9, event.tx_hash)],
    )
    totals = Totals()
    assert sum(totals.catch_up(world.ledger, world.bridge)) == 12
    sums = totals.sums
    assert (sums.to_mint, sums.minted, sums.to_be_minted) == (1_400_000, 1_000_000, 400_000)
    assert (sums.burned, sums.returned, sums.to_be_returned) == (1_077_777, 1_000_000, 77_777)
    assert (sums.to_refund, sums.refunded, sums.to_be_refunded) == (1_000_000, 1_000_000, 0)
    assert (sums.kept_deposits, sums.kept_burns, sums.lost_fees) == (9_999, 10_000, 10_000)
    owed = sums.to_be_minted + sums.to_be_returned + sums.to_be_refunded
    assert sums.locked == sums.outstanding + owed + sums.kept_deposits + sums.kept_burns - sums.lost_fees == 399_999
    assert list(totals.catch_up(world.ledger, world.bridge)) == []


async def test_sums_begin_anew_after_the_ledger_was_rewound(world: World) -> None:
    read(world, deposits=[deposit(5), deposit(60)], mints=[minted(8, 1)])
    totals = Totals()
    list(totals.catch_up(world.ledger, world.bridge))
    assert totals.sums.to_mint == 2_000_000
    world.ledger.rewind([EventKind.DEPOSIT, EventKind.RETURNED], block(50))
    list(totals.catch_up(world.ledger, world.bridge))
    assert (totals.sums.to_mint, totals.sums.minted) == (1_000_000, 1_000_000)


async def test_endpoints_that_contradict_each_other_over_one_recipient_hide_no_mint_to_another(world: World) -> None:
    disputed, ask = "0x" + "cc" * 20, world.ethereum.user_nonce
    read(world, deposits=[deposit(5, to=disputed, amount=9_000_000)], mints=[minted(8, 1, to=disputed), minted(9, 1)])
    world.ethereum.nonces[USER] = 1

    async def user_nonce(recipient: str, height: int) -> int:
        if recipient == disputed:
            raise NotAgreed("its nonce", needed=2, agreeing=["http://a"], others={"http://b": "7"})
        return await ask(recipient, height)

    world.ethereum.user_nonce = user_nonce  # type: ignore[method-assign]
    with pytest.raises(NotAgreed, match="its nonce"):
        await Books(world.context).check()
    assert held(world) == [("signing", "unexplained_mint")]
    assert [seen.event.height for seen in world.ledger.unexplained(EventKind.MINTED, 10)] == [8]
