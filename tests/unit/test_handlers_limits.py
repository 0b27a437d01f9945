"""The limits before every signature: the way through the flow, and the one that signs before the document is read."""

from typing import Any

import pytest

from reactor.documents.build import burn_document, deposit_document
from reactor.documents.keys import burn_key, deposit_key
from reactor.documents.reasons import WaitReason
from reactor.documents.statuses import Collection
from reactor.flows.decisions import Wait
from reactor.handlers.heartbeat import OLDEST_OPEN, Hearts, Instance, Pulse, beyond_holds
from reactor.handlers.mint import MintHandler
from reactor.handlers.payout import PayoutHandler
from reactor.health import ENTRY, Trouble
from reactor.state.limits import Limit, Limits
from reactor.state.rows import EventKind
from tests.unit.handler_world import NOW, World, burn, deposit

pytestmark = pytest.mark.unit

AMOUNT = 1_000_000


def read(world: World, *, deposits: Any = (), burns: Any = ()) -> None:
    world.record(EventKind.DEPOSIT, *deposits)
    world.record(EventKind.RETURNED)
    world.record(EventKind.MINTED)
    world.record(EventKind.BURN, *burns)


def limit(world: World, single: int) -> None:
    rules = {way: Limit(single=single) for way in ("mint", "payout")}
    world.journal.limit(Limits(rules, world.ledger.amount))


def signed(world: World) -> bool:
    return "append" in [update.kind for update in world.requests.updates]


@pytest.mark.parametrize("rung", [True, False], ids=["signing ahead", "through the flow"])
@pytest.mark.parametrize("single", [AMOUNT - 1, AMOUNT])
async def test_a_mint_above_the_limit_is_held_whichever_way_it_is_signed(world: World, rung: bool, single: int) -> None:
    event = deposit(5, amount=AMOUNT)
    read(world, deposits=[event])
    limit(world, single)
    document = deposit_document(world.bridge, event, NOW)[1] | {"status": "confirmed"}
    world.requests.documents[document["_id"]] = document
    handler, key = MintHandler(world.context), deposit_key(world.bridge, event.tx_hash)
    result = await handler.handle(document["_id"], rung=rung)
    assert signed(world) == (single == AMOUNT)
    assert (world.journal.knows(key, "mint", 0) is not None) == (single == AMOUNT)
    if single == AMOUNT:
        return
    result = await handler.handle(document["_id"], rung=rung)
    assert isinstance(result, Wait)
    assert result.reason is WaitReason.OVER_THRESHOLD
    assert dict(result.params) == {"limit": str(single), "amount": str(AMOUNT), "until": "released"}
    world.journal.release(f"event:{key}", "alice", "looked at")
    await handler.handle(document["_id"], rung=rung)
    assert signed(world)


@pytest.mark.parametrize("single", [AMOUNT - 1, AMOUNT])
async def test_a_payout_above_the_limit_is_held_until_released(world: World, single: int) -> None:
    event = burn(5, amount=AMOUNT)
    read(world, burns=[event])
    limit(world, single)
    document = burn_document(world.bridge, event, NOW) | {"status": "confirmed"}
    world.requests.documents[document["_id"]] = document
    handler, key = PayoutHandler(Collection.BURN, world.context), burn_key(world.bridge, event.tx_hash, 0)
    await handler.handle(document["_id"])
    assert signed(world) == (single == AMOUNT)
    if single == AMOUNT:
        return
    result = await handler.handle(document["_id"])
    assert isinstance(result, Wait)
    assert result.reason is WaitReason.OVER_THRESHOLD
    world.journal.release(f"event:{key}", "alice", "looked at")
    await handler.handle(document["_id"])
    assert signed(world)


async def test_a_document_that_is_done_raises_no_hold(world: World) -> None:
    """Who reads all history anew would otherwise hold every large transfer that there ever was."""
    event = deposit(5, amount=AMOUNT)
    read(world, deposits=[event])
    limit(world, 1)
    document = deposit_document(world.bridge, event, NOW)[1] | {"status": "pending"}
    world.requests.documents[document["_id"]] = document
    await MintHandler(world.context).handle(document["_id"])
    assert world.journal.holds() == []


async def test_a_pause_is_shown_to_all_however_many_events_are_held(world: World) -> None:
    for number in range(2 * OLDEST_OPEN):
        world.journal.hold(f"event:{number}", "over_window", "amount 1", "validator", subject=str(number))
    world.journal.pause("payout", "alice", "the vault moves")
    world.journal.hold("signing", "operator", "a look", "alice")
    instance = Instance("v1", "host", "0", "1", NOW, "aa" * 20)
    said = await Hearts(world.context, instance, lambda: Pulse(0, [], 0, [])).own()
    assert len(said["holds"]) == OLDEST_OPEN
    assert said["holds"][:3] == [
        "direction:payout: paused the vault moves",
        "signing: operator a look",
        "event:0: over_window amount 1",
    ]
    world.journal.resume("payout", "alice", "moved")
    assert "direction:payout" not in str((await Hearts(world.context, instance, lambda: Pulse(0, [], 0, [])).own())["holds"])


@pytest.mark.parametrize("length", [1, 470, 480, 490, 600])
async def test_status_can_tell_a_hold_once_however_long_its_words_are(world: World, length: int) -> None:
    world.journal.hold("signing", "operator", "a look", "alice")
    world.journal.hold("signing", "deep_reorg", "x" * length, "validator")
    world.journal.pause("payout", "alice", "y" * length)
    said = await Hearts(world.context, Instance("v1", "host", "0", "1", NOW, "aa" * 20), lambda: Pulse(0, [], 0, [])).own()
    assert len(said["holds"]) == 3
    assert max(len(text) for text in (*said["holds"], *said["problems"])) <= ENTRY
    held = [problem for problem in said["problems"] if problem.startswith("signs no ")]
    assert held
    assert [beyond_holds(problem, said["holds"]) for problem in held] == [""] * len(held)


async def test_what_finds_no_room_in_a_heartbeat_is_counted(world: World) -> None:
    for number, last in ((OLDEST_OPEN, "the last"), (OLDEST_OPEN + 5, "… and 6 more")):
        # Before any heartbeat was heard there is one problem more: whether another process runs.
        warnings = [*(Trouble(f"trouble {place}") for place in range(number - 2)), Trouble("the last")]
        instance = Instance("v1", "host", "0", "1", NOW, "aa" * 20)
        said = await Hearts(world.context, instance, lambda told=warnings: Pulse(0, [], 0, told)).own()
        assert (len(said["problems"]), said["problems"][-1]) == (OLDEST_OPEN, last)
