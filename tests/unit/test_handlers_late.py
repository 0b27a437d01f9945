"""Found late: a document has an event looked for, and a deposit that shifts the nonces of others ends in no second payment."""

import asyncio
from dataclasses import replace
from typing import Any

import pytest

from reactor.chains.ethereum.eip712 import mint_digest
from reactor.documents.build import burn_document
from reactor.documents.keys import deposit_key
from reactor.documents.reasons import WaitReason
from reactor.documents.statuses import Collection
from reactor.flows.decisions import Rest, Wait
from reactor.flows.facts import Blocked
from reactor.handlers.books import Books
from reactor.handlers.lookups import LookUps
from reactor.handlers.mint import MintHandler
from reactor.handlers.nonces import mint_nonce
from reactor.handlers.payout import PayoutHandler
from reactor.state.rows import EventKind
from tests.unit.handler_world import NOW, USER, World, burn, deposit, minted, returned
from tests.unit.test_handlers_mint import put, ready

pytestmark = pytest.mark.unit

EARLY, SIGNED, LATER = deposit(5, amount=3_000_000), deposit(6, amount=1_000_000), deposit(7, amount=2_000_000)


def digests(world: World, *events: Any) -> list[list[bytes]]:
    return [[row.digest for row in world.journal.signed(deposit_key(world.bridge, event.tx_hash))] for event in events]


def of(world: World, event: Any, nonce: int) -> bytes:
    return mint_digest(world.ethereum.facts.domain, USER, event.amount, nonce)


async def handled(world: World, event: Any, **changes: Any) -> Any:
    """Both ways to a signature: before the document is read, and after."""
    handler, document_id = MintHandler(world.context), put(world, event, status="confirmed", **changes)
    await handler.handle(document_id, rung=True, written=True)
    return await handler.handle(document_id)


# --- a deposit that is found late


async def signed_without(world: World) -> None:
    """This validator has not seen the first deposit of three, and has signed the second with its nonce."""
    world.ethereum.nonces[USER] = 0
    ready(world, SIGNED)
    await handled(world, SIGNED)
    assert digests(world, SIGNED) == [[of(world, SIGNED, 1)]]
    world.record(EventKind.DEPOSIT, EARLY, SIGNED)  # the second reading
    world.requests.updates.clear()


async def test_no_deposit_and_no_nonce_is_signed_a_second_time(world: World) -> None:
    await signed_without(world)
    world.record(EventKind.DEPOSIT, EARLY, SIGNED, LATER)
    for _ in range(3):
        for event in (EARLY, SIGNED, LATER):
            result = await handled(world, event)
            assert isinstance(result, Wait)
    # The first one's nonce is spent on the second, which gets no other one; the third has the one that all give it.
    assert digests(world, EARLY, SIGNED, LATER) == [[], [of(world, SIGNED, 1)], [of(world, LATER, 3)]]
    assert len(world.journal.export()["signatures"]) == 2


async def test_where_the_wrong_one_was_minted_its_recipient_is_held_and_nothing_of_it_is_signed_again(world: World) -> None:
    await signed_without(world)
    world.record(EventKind.MINTED, minted(50, 1, amount=SIGNED.amount))
    world.ethereum.nonces[USER] = 1
    books = Books(world.context)
    await books.check()
    assert [(hold.scope, hold.reason) for hold in world.journal.holds()] == [(f"recipient:{USER}", "nonce_contradicted")]
    world.record(EventKind.DEPOSIT, EARLY, SIGNED, LATER)
    for event in (EARLY, SIGNED, LATER):
        await handled(world, event)
    assert digests(world, EARLY, SIGNED, LATER) == [[], [of(world, SIGNED, 1)], []]


async def test_where_the_others_have_minted_in_the_right_order_nothing_is_held(world: World) -> None:
    await signed_without(world)
    both = [minted(50, 1, amount=EARLY.amount), minted(51, 2, amount=SIGNED.amount)]
    world.record(EventKind.MINTED, *both)
    world.ethereum.nonces[USER] = 2
    await Books(world.context).check()
    assert world.journal.holds() == []
    for event in (EARLY, SIGNED):
        await handled(world, event)
    assert digests(world, EARLY, SIGNED) == [[], [of(world, SIGNED, 1)]]


async def test_a_mint_that_is_found_late_corrects_the_base_and_nothing_is_signed_twice(world: World) -> None:
    world.ethereum.nonces[USER] = 4
    ready(world, SIGNED)
    await handled(world, SIGNED)  # the contract's nonce counts a `Minted` that the logs lacked
    assert digests(world, SIGNED) == [[of(world, SIGNED, 5)]]
    world.record(EventKind.MINTED, minted(50, 4, amount=SIGNED.amount))
    world.record(EventKind.DEPOSIT, SIGNED, LATER)
    await handled(world, SIGNED)
    await handled(world, LATER)
    assert world.ledger.base_nonce(USER) == 3
    # Its own nonce, 5, is spent here; all others sign it.
    assert digests(world, SIGNED, LATER) == [[of(world, SIGNED, 5)], []]


@pytest.mark.parametrize("late", [True, False], ids=["found meanwhile", "nothing found"])
async def test_a_mint_that_is_found_while_the_node_is_asked_makes_no_wrong_base(world: World, late: bool) -> None:
    """Without the count begun anew the base would be one too high for good: the nonce of another deposit."""
    world.ethereum.nonces[USER] = 4
    ready(world, SIGNED)
    ask = world.ethereum.user_nonce

    async def meanwhile(recipient: str, block: int) -> int:
        nonce = await ask(recipient, block)
        if late:
            world.record(EventKind.MINTED, minted(50, 4, amount=SIGNED.amount))
        return nonce

    world.ethereum.user_nonce = meanwhile  # type: ignore[method-assign]
    assert isinstance(await mint_nonce(world.context, SIGNED, USER), Blocked) is late
    assert world.ledger.base_nonce(USER) == (None if late else 4)
    world.ethereum.user_nonce = ask  # type: ignore[method-assign]
    assert await mint_nonce(world.context, SIGNED, USER) == (4 if late else 5)


async def test_a_deposit_that_is_found_while_the_node_is_asked_counts(world: World) -> None:
    ready(world, SIGNED)
    ask = world.ethereum.user_nonce

    async def meanwhile(recipient: str, block: int) -> int:
        world.ethereum.user_nonce = ask  # type: ignore[method-assign]
        world.record(EventKind.DEPOSIT, EARLY, SIGNED)
        return await ask(recipient, block)

    world.ethereum.user_nonce = meanwhile  # type: ignore[method-assign]
    assert await mint_nonce(world.context, SIGNED, USER) != 1
    assert await mint_nonce(world.context, SIGNED, USER) == 2


# --- the books, where something is found late


async def test_a_mint_that_was_explained_by_anothers_deposit_is_looked_at_again(world: World) -> None:
    """One deposit, two mints; of the first the logs said nothing, so that the second passed for it. Deposits of others that
    nobody has claimed hide it in the sums."""
    unclaimed = deposit(8, amount=9_000_000, to="0x" + "cc" * 20)
    world.ethereum.nonces[USER] = 2
    world.record(EventKind.DEPOSIT, SIGNED, unclaimed)
    world.record(EventKind.BURN)
    second = minted(51, 2, amount=SIGNED.amount)
    world.record(EventKind.MINTED, second)
    books = Books(world.context)
    await books.check()
    assert (world.ledger.base_nonce(USER), world.journal.holds()) == (1, [])
    world.record(EventKind.MINTED, minted(50, 1, amount=SIGNED.amount), second)
    await books.check()
    assert [(hold.scope, hold.reason) for hold in world.journal.holds()] == [("signing", "unexplained_mint")]


async def test_mints_of_others_are_not_looked_at_again(world: World) -> None:
    other = "0x" + "cc" * 20
    world.record(EventKind.DEPOSIT, deposit(8, to=other))
    world.record(EventKind.BURN)
    world.ethereum.nonces |= {other: 1, USER: 1}
    theirs = minted(51, 1, to=other)
    world.record(EventKind.MINTED, theirs)
    await Books(world.context).check()
    world.record(EventKind.DEPOSIT, SIGNED, deposit(8, to=other))
    world.record(EventKind.MINTED, minted(50, 1, amount=SIGNED.amount), theirs)
    assert [seen.event.height for seen in world.ledger.unexplained(EventKind.MINTED, 10)] == [50]
    await Books(world.context).check()
    assert world.journal.holds() == []


async def test_a_return_is_looked_at_again_where_an_earlier_one_is_found_that_pays_the_same(world: World) -> None:
    event = burn(6)
    world.record(EventKind.DEPOSIT)
    world.record(EventKind.BURN, event, burn(7, amount=9_000_000))
    later = returned(9, event.tx_hash, entropy=8)
    world.record(EventKind.RETURNED, later)
    books = Books(world.context)
    await books.check()
    assert world.journal.holds() == []
    world.record(EventKind.RETURNED, returned(8, event.tx_hash), later)
    await books.check()
    assert [(hold.scope, hold.reason) for hold in world.journal.holds()] == [("signing", "unexplained_return")]


@pytest.mark.parametrize("found", [True, False], ids=["found meanwhile", "nothing found"])
async def test_sums_of_which_a_part_was_found_while_they_were_made_accuse_nobody(world: World, found: bool) -> None:
    """Between two pages the loop goes on: a source that is found then is missing in the pages that were counted before."""
    world.ethereum.nonces[USER] = 2
    mints = [minted(50, 1, amount=EARLY.amount), minted(51, 2, amount=SIGNED.amount)]
    world.record(EventKind.DEPOSIT, SIGNED)
    world.record(EventKind.BURN)
    world.record(EventKind.MINTED, *mints)

    async def read_again() -> None:
        world.record(EventKind.DEPOSIT, *([EARLY] if found else []), SIGNED)

    books, again = Books(world.context), asyncio.create_task(read_again())
    await books.check()
    assert again.done(), "it ran between two pages"
    reasons = {hold.reason for hold in world.journal.holds()}
    assert reasons == (set() if found else {"books_overdrawn", "unexplained_mint", "nonce_contradicted"})
    await books.check()
    assert {hold.reason for hold in world.journal.holds()} == reasons


async def test_sums_that_were_broken_off_are_made_anew_and_judged(world: World) -> None:
    """The twin: what is found meanwhile puts the verdict off, once."""
    world.record(EventKind.DEPOSIT, SIGNED)
    world.record(EventKind.BURN)
    world.record(EventKind.MINTED, minted(50, 1, amount=9_000_000))

    async def read_again() -> None:
        world.record(EventKind.DEPOSIT, EARLY, SIGNED)

    books, again = Books(world.context), asyncio.create_task(read_again())
    await books.check()
    assert again.done(), "it ran between two pages"
    assert "books_overdrawn" not in {hold.reason for hold in world.journal.holds()}
    await books.check()
    assert "books_overdrawn" in {hold.reason for hold in world.journal.holds()}


# --- what a document names


@pytest.mark.parametrize(
    ("indexed", "looked", "objects"),
    [
        ({}, [], True),
        ({SIGNED.tx_hash: (6, True)}, [(EventKind.DEPOSIT, SIGNED.tx_hash, 6)], False),
        ({SIGNED.tx_hash: (6, False)}, [], False),
        ({SIGNED.tx_hash: (101, True)}, [], False),
    ],
    ids=["unknown", "a deposit", "another's transaction", "not final here"],
)
async def test_a_deposit_that_the_own_node_shows_is_read_again(
    world: World, indexed: dict[str, tuple[int, bool]], looked: list[Any], objects: bool
) -> None:
    asked = looks(world)
    ready(world)

    async def answer(tx_hash: str) -> tuple[int, bool] | None:
        return indexed.get(tx_hash)

    world.pocket.indexed = answer  # type: ignore[method-assign]
    await MintHandler(world.context).handle(put(world, SIGNED, status="confirmed"))
    assert asked == looked
    assert [update.kind for update in world.requests.updates] == (["object"] if objects else [])


@pytest.mark.parametrize(
    ("mined", "looks_again", "objects"),
    [(None, False, True), ((6, 1), True, False), ((6, 0), False, True), ((101, 1), False, False), ((101, 0), False, False)],
    ids=["unknown", "it holds the burn", "it holds none", "not final here", "none, not final here"],
)
async def test_a_burn_that_the_own_node_shows_is_read_again(
    world: World, mined: tuple[int, int] | None, looks_again: bool, objects: bool
) -> None:
    asked = looks(world)
    ready(world)
    event = burn(6)
    if mined is not None:
        world.ethereum.mined[event.tx_hash] = mined
    document = burn_document(world.bridge, event, NOW)
    world.requests.documents[document["_id"]] = document
    await PayoutHandler(Collection.BURN, world.context).handle(document["_id"])
    assert asked == ([(EventKind.BURN, event.tx_hash, 6)] if looks_again else [])
    assert [update.kind for update in world.requests.updates] == (["object"] if objects else [])


async def test_a_flood_of_documents_makes_few_calls_and_refutes_nothing_beyond(world: World) -> None:
    asked: list[str] = []
    ready(world)
    world.context = replace(world.context, lookups=LookUps(per_second=0.0, burst=3.0))

    async def answer(tx_hash: str) -> None:
        asked.append(tx_hash)

    world.pocket.indexed = answer  # type: ignore[method-assign]
    handler = MintHandler(world.context)
    results = [await handler.handle(put(world, deposit(5, index), status="confirmed")) for index in range(20)]
    assert len(asked) == 3
    waits = [one for one in results if isinstance(one, Wait | Rest)]
    assert [one.reason for one in waits[3:]] == [WaitReason.NOT_SEEN] * 17
    assert [update.kind for update in world.requests.updates] == ["object"] * 3


def test_calls_come_back_with_time_up_to_the_burst() -> None:
    now = 0.0
    lookups = LookUps(per_second=2.0, burst=3.0, clock=lambda: now)
    assert [lookups.admit() for _ in range(4)] == [True, True, True, False]
    now = 0.5
    assert [lookups.admit() for _ in range(2)] == [True, False]
    now = 1000.0
    assert [lookups.admit() for _ in range(4)] == [True, True, True, False]


def looks(world: World) -> list[tuple[EventKind, str, int]]:
    asked: list[tuple[EventKind, str, int]] = []
    world.context = replace(world.context, look=lambda *named: asked.append(named))
    return asked
