"""A field that is not what the chains say is named: by the repair in the document's history, by `explain`, one by one."""

from typing import Any

import pytest
from bson import ObjectId

from reactor.cli.dossier import Known, compile_dossier
from reactor.cli.people import People
from reactor.documents.build import burn_chain_fields, burn_document, deposit_chain_fields, deposit_document
from reactor.documents.statuses import Collection, Status
from reactor.flows.common import MOST_REPAIRS
from reactor.flows.decisions import Wait
from reactor.handlers.mint import MintHandler
from reactor.handlers.payout import PayoutHandler
from reactor.handlers.reconcile import Reconciler
from reactor.state.rows import EventKind
from tests.unit.handler_world import NOW, World, burn, deposit

pytestmark = pytest.mark.unit

MINT, REFUND, BURN = Collection.MINT, Collection.INVALID_MINT, Collection.BURN
EVENTS: dict[Collection, Any] = {MINT: deposit(5), REFUND: deposit(6, to=None), BURN: burn(7)}
# What the chain decides, by what `documents.build` writes; the world's bridge is the same in each.
OF_EVERY_DEPOSIT = [
    "transaction_hash",
    "height",
    "sender_address",
    "sender_chain_id",
    "wpokt_address",
    "vault_address",
    "amount",
]
CHAIN_FIELDS = {
    MINT: [*OF_EVERY_DEPOSIT, "recipient_address", "recipient_chain_id", "memo"],
    REFUND: [*OF_EVERY_DEPOSIT, "memo"],
    BURN: [
        "transaction_hash",
        "log_index",
        "burn_index",
        "block_number",
        "block_hash",
        "sender_address",
        "sender_chain_id",
        "recipient_address",
        "recipient_chain_id",
        "wpokt_address",
        "vault_address",
        "amount",
    ],
}
CASES = [(role, name) for role, names in CHAIN_FIELDS.items() for name in names]
OTHER: dict[str, Any] = {
    "transaction_hash": "cd" * 32,
    "height": "4",
    "amount": "1000001",
    "memo": {"address": "0x" + "66" * 20, "chain_id": "1"},
    "log_index": "9",
    "burn_index": "9",
    "block_number": "4",
}


@pytest.fixture
def world(world: World) -> World:
    """The world whose validator has read all three events."""
    world.record(EventKind.DEPOSIT, EVENTS[MINT], EVENTS[REFUND])
    world.record(EventKind.BURN, EVENTS[BURN])
    world.record(EventKind.MINTED)
    world.record(EventKind.RETURNED)
    return world


def document(world: World, role: Collection, **changes: Any) -> dict[str, Any]:
    event = EVENTS[role]
    built = burn_document(world.bridge, event, NOW) if role is BURN else deposit_document(world.bridge, event, NOW)[1]
    return {**built, "status": "confirmed", **changes}


def other(role: Collection, name: str) -> Any:
    if name == "transaction_hash" and role is BURN:
        return "0x" + OTHER[name]
    if name == "memo" and role is REFUND:
        return "another memo"
    return OTHER.get(name, "66" * 20)


async def repaired(world: World, role: Collection, raw: dict[str, Any]) -> list[Any]:
    """The updates that handling this document makes."""
    world.requests.documents[raw["_id"]] = raw
    handler = MintHandler(world.context) if role is MINT else PayoutHandler(role, world.context)
    await handler.handle(raw["_id"])
    return world.requests.updates


def test_these_are_all_the_fields_that_the_chains_decide(world: World) -> None:
    assert set(CHAIN_FIELDS[MINT]) == set(deposit_chain_fields(world.bridge, EVENTS[MINT]))
    assert set(CHAIN_FIELDS[REFUND]) == set(deposit_chain_fields(world.bridge, EVENTS[REFUND]))
    assert set(CHAIN_FIELDS[BURN]) == set(burn_chain_fields(world.bridge, EVENTS[BURN]))


@pytest.mark.parametrize("kind", ["another value", "another type", "removed"])
@pytest.mark.parametrize(("role", "name"), CASES)
async def test_the_repair_names_the_field_in_the_history_and_restores_it(
    world: World, role: Collection, name: str, kind: str
) -> None:
    raw = document(world, role)
    right = raw[name]
    if kind == "removed":
        del raw[name]
    else:
        raw[name] = other(role, name) if kind == "another value" else [name]
    (update,) = await repaired(world, role, raw)
    assert update.kind == "repair"
    change = update.pipeline[0]["$set"]
    assert change[name] == {"$literal": right}
    assert f"repaired from the chain: {name}'" in str(change["history"])
    assert world.journal.export()["signatures"] == [], "what is repaired is signed when it is read again, not now"


@pytest.mark.parametrize("role", [MINT, REFUND, BURN])
async def test_an_untouched_document_is_signed_and_not_repaired(world: World, role: Collection) -> None:
    assert [update.kind for update in await repaired(world, role, document(world, role))] == ["append"]


@pytest.mark.parametrize("role", [MINT, REFUND, BURN])
async def test_several_are_all_named(world: World, role: Collection) -> None:
    names = ["amount", "height" if role is not BURN else "block_number", "sender_address"]
    (update,) = await repaired(world, role, document(world, role, **{name: other(role, name) for name in names}))
    assert f"repaired from the chain: {', '.join(sorted(names))}'" in str(update.pipeline[0]["$set"]["history"])


@pytest.mark.parametrize(("role", "name"), CASES)
def test_explain_says_which_field_differs_and_how(world: World, role: Collection, name: str) -> None:
    known = Known(world.bridge, People([]), None, world.ledger, 2, ())
    right = document(world, role)
    dossier = compile_dossier(known, role, right)
    assert dossier.ledger is not None
    assert dossier.ledger["differs"] == {}
    dossier = compile_dossier(known, role, {**right, name: other(role, name)})
    assert dossier.ledger is not None
    assert dossier.ledger["differs"] == {name: {"document": other(role, name), "ledger": right[name]}}
    dossier = compile_dossier(known, role, {**right, name: 5})
    assert dossier.ledger is not None
    assert list(dossier.ledger["differs"]) == [name]


async def test_after_three_repairs_it_waits_as_disputed_and_says_which_field(world: World) -> None:
    raw = document(world, MINT, amount="77")
    world.requests.documents[raw["_id"]] = raw
    for _ in range(MOST_REPAIRS):
        await MintHandler(world.context).handle(raw["_id"])
    assert [update.kind for update in world.requests.updates] == ["repair"] * MOST_REPAIRS
    result = await MintHandler(world.context).handle(raw["_id"])
    assert isinstance(result, Wait)
    assert (result.reason, dict(result.params)) == ("disputed", {"fields": "amount"})


async def test_a_document_that_was_removed_says_so_and_one_that_never_was_does_not(world: World) -> None:
    handler, raw = MintHandler(world.context), document(world, MINT)
    await handler.handle(raw["_id"])
    assert world.requests.inserted[-1]["history"] == []
    world.requests.documents[raw["_id"]] = raw
    await handler.handle(raw["_id"])
    del world.requests.documents[raw["_id"]]
    await handler.handle(raw["_id"])
    (entry,) = world.requests.inserted[-1]["history"]
    assert (entry["status"], entry["by"]) == (Status.PENDING, world.context.me.address)
    assert entry["reason"] == "inserted again: it was removed from the database"


async def test_a_sweep_that_misses_what_was_settled_says_so(world: World) -> None:
    seen: list[Any] = []

    async def insert_missing(_collection: Collection, documents: Any) -> dict[ObjectId, ObjectId]:
        seen.extend(documents)
        return {one["_id"]: one["_id"] for one in documents}

    reconciler = Reconciler(world.context, insert_missing, lambda most: most - 1)
    assert [one async for one in reconciler.open_ids(MINT)]
    assert [one["history"] for one in seen] == [[]]
    seen.clear()
    for one in world.ledger.unsettled(EventKind.DEPOSIT, 10):
        world.ledger.settle(one.key)
    assert [one async for one in reconciler.open_ids(MINT)] == []
    assert [entry["reason"] for one in seen for entry in one["history"]] == ["inserted again: it was removed from the database"]
