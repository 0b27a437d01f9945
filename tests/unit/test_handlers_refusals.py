"""Signed mints that the contracts refuse: the reason is written at once, taken away when it is over; in between nobody looks."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from reactor.documents.build import deposit_document
from reactor.documents.models import read_request
from reactor.documents.reasons import WaitReason
from reactor.flows.decisions import Rest, Wait
from reactor.flows.refusals import REFUSALS
from reactor.handlers.claims import Turns
from reactor.handlers.mint import MintHandler
from reactor.handlers.refusals import RefusalWatch, concerned
from reactor.handlers.sources import Origin
from reactor.state.rows import EventKind
from tests.unit.handler_world import NOW, World, deposit
from tests.unit.test_handlers_mint import ready

pytestmark = pytest.mark.unit

AMOUNT = 1_000_000


async def signed(world: World, **changes: Any) -> Any:
    """A mint that enough have signed, this validator among them; its `_id`."""
    event = deposit(5, amount=AMOUNT)
    ready(world, event)
    _, document = deposit_document(world.bridge, event, NOW)
    world.requests.documents[document["_id"]] = {**document, "status": "confirmed"}
    handler = MintHandler(world.context)
    await handler.handle(document["_id"])
    made = await handler.plan(*planned(handler, world, document["_id"]), oversized=False)
    assert made.message is not None
    signatures = {key.address: "0x" + (await key.sign(made.message, "request")).hex() for key in world.keys[:2]}
    order = sorted(signatures)
    entries = {"signers": order, "signatures": [signatures[one] for one in order]}
    world.requests.documents[document["_id"]] = {**document, **made.copies, **entries, "status": "signed", **changes}
    world.requests.updates.clear()
    return document["_id"]


def planned(handler: MintHandler, world: World, document_id: Any) -> tuple[Any, Any]:
    document = read_request(handler.collection, world.requests.documents[document_id])
    return document, Origin.find(world.context, handler.collection, document, document_id)


def contracts(world: World, **changes: Any) -> None:
    world.ethereum.facts = replace(world.ethereum.facts, **changes)


def waiting(reason: WaitReason, params: Mapping[str, str]) -> dict[str, Any]:
    return {"reason": reason.value, "params": dict(params), "by": "0xother", "at": NOW}


def written(world: World) -> list[Any]:
    """What `waiting` became in each write."""
    assert {update.kind for update in world.requests.updates} <= {"waiting"}
    return [update.pipeline[0]["$set"]["waiting"]["$literal"] for update in world.requests.updates]


REFUSING = {
    "paused": ({"paused": True}, WaitReason.MINTING_PAUSED),
    "no minter": ({"minter": False}, WaitReason.NO_MINTER_ROLE),
    "cooling down": ({"current_mint_limit": AMOUNT - 1}, WaitReason.COOLING_DOWN),
    "above the maximum": ({"max_mint_limit": AMOUNT - 1}, WaitReason.OVER_LIMIT),
}


@pytest.mark.parametrize("rung", [False, True])
@pytest.mark.parametrize("case", REFUSING)
async def test_the_reason_is_written_by_whoever_looks_and_once(world: World, case: str, rung: bool) -> None:
    changes, reason = REFUSING[case]
    document_id = await signed(world)
    contracts(world, **changes)
    handler = MintHandler(world.context)
    result = await handler.handle(document_id, rung=rung)
    assert result.reason is reason
    (shown,) = written(world)
    assert shown["reason"] == reason.value
    world.requests.documents[document_id]["waiting"] = shown
    world.requests.updates.clear()
    await handler.handle(document_id, rung=rung)
    assert world.requests.updates == [], "what stands already is not written again"


@pytest.mark.parametrize("case", REFUSING)
async def test_it_is_taken_away_once_the_contracts_refuse_no_more(world: World, case: str) -> None:
    document_id = await signed(world, waiting=waiting(REFUSING[case][1], {}))
    result = await MintHandler(world.context).handle(document_id)
    assert result == Rest(finished=False, reason=WaitReason.USER)
    assert written(world) == [None]


async def test_a_mint_that_can_be_taken_is_left_as_it_is(world: World) -> None:
    document_id = await signed(world)
    for _ in range(3):
        await MintHandler(world.context).handle(document_id, shown=True)
    assert world.requests.updates == []


async def test_only_what_passes_by_itself_stays_open(world: World) -> None:
    """A user may take for ever: what a person has to end must not be looked at in every sweep."""
    document_id = await signed(world)
    handler = MintHandler(world.context)
    for changes, result in (({"paused": True}, Rest), ({"paused": False, "current_mint_limit": 0}, Wait)):
        contracts(world, **changes)
        assert isinstance(await handler.handle(document_id), result)
        assert bool(world.ledger.unsettled(EventKind.DEPOSIT, 1)) is (result is Wait)


# ---------------------------------------------------------------------- when signed mints are looked for


class Watched:
    """The contracts of a world, and what the watch asked for in one look."""

    def __init__(self, world: World, others: list[str] | None = None) -> None:
        self.asked: list[Any] = []
        self.members = others if others is not None else [world.context.me.address]
        context = replace(world.context, turns=Turns(world.context.me.address, lambda: self.members, lambda: 0.0))
        self.watch = RefusalWatch(context, self._take)

    async def _take(self, query: Any) -> None:
        self.asked.append(query)

    async def look(self) -> int:
        """How many questions the database was asked."""
        self.asked.clear()
        await self.watch.look()
        return len(self.asked)


@pytest.mark.parametrize(
    ("before", "after", "asked"),
    [
        ({}, {}, 0),
        ({}, {"paused": True}, 1),
        ({"paused": True}, {"paused": False}, 1),
        ({}, {"minter": False}, 1),
        ({}, {"fee_flag": True}, 1),
        ({}, {"max_mint_limit": 5}, 1),
        ({}, {"mint_per_second": 5}, 1),
        ({"current_mint_limit": 500}, {"current_mint_limit": 499}, 1),
        ({"current_mint_limit": 500}, {"current_mint_limit": 501}, 0),
        ({"current_mint_limit": 500}, {"current_mint_limit": 500}, 0),
        ({}, {"threshold": 3}, 0),
        ({"paused": True}, {"paused": True}, 0),
    ],
)
async def test_the_database_is_asked_only_when_the_contracts_treat_a_mint_otherwise(
    world: World, before: dict[str, Any], after: dict[str, Any], asked: int
) -> None:
    contracts(world, **before)
    watched = Watched(world)
    assert await watched.look() == 1, "the first look: what was written before a restart may be over"
    contracts(world, **after)
    assert await watched.look() == asked
    assert await watched.look() == 0


async def test_one_validator_of_those_who_are_up_looks_and_the_next_takes_over(world: World) -> None:
    addresses = [key.address for key in world.keys]
    alone = addresses[:1]
    watched = Watched(world, addresses)
    first = Turns(addresses[0], lambda: addresses, lambda: 0.0).place("signed mints that the contracts refuse") == 0
    assert await watched.look() == int(first)
    watched.members = alone
    assert await watched.look() == int(not first)
    watched.members = [one for one in addresses if one != alone[0]]
    contracts(world, paused=True)
    assert await watched.look() == 0, "who is not among those who are up leaves it to them"
    watched.members = alone
    assert await watched.look() == 1


async def test_a_look_that_failed_is_made_again(world: World) -> None:
    fails = [True]
    seen: list[Any] = []

    async def take(query: Any) -> None:
        if fails:
            raise ConnectionError
        seen.append(query)

    watch = RefusalWatch(world.context, take)
    with pytest.raises(ConnectionError):
        await watch.look()
    fails.clear()
    await watch.look()
    assert len(seen) == 1


def test_what_is_said_to_be_refused_is_always_among_those_looked_for(world: World) -> None:
    facts = world.ethereum.facts
    assert concerned(facts) == {"$or": [{"waiting.reason": {"$in": sorted(REFUSALS)}}]}
    assert concerned(replace(facts, paused=True)) == {"waiting.reason": {"$ne": "minting_paused"}}
