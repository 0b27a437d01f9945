"""Documents by the ten thousand that nobody asked for: honest requests pass, memory and sweeps are bounded, nothing is signed."""

import asyncio
import os
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import pytest
import pytest_asyncio
from bridge_helpers.adversary import WRONG_TYPES, Document, forged
from bridge_helpers.harness import FEE, BridgeUnderTest, running_bridge
from bson import ObjectId

from reactor.documents.statuses import REQUESTS, Collection, Status
from reactor.validator import OPEN_STATUSES, STRANGERS_A_SWEEP

pytestmark = [
    pytest.mark.integration,
    pytest.mark.xdist_group("bridge"),
    pytest.mark.asyncio(loop_scope="module"),
]

MINT, REFUND, BURN = Collection.MINT, Collection.INVALID_MINT, Collection.BURN
AMOUNT = 1_000_000
POCKET_USER = "fa" * 20
FLOOD = 20_000
STRANGERS = 2_000
"""The dispatcher's own limit: `Limits.strangers`."""
_PAGE = os.sysconf("SC_PAGE_SIZE")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bridge(mongo_uri: str) -> AsyncIterator[BridgeUnderTest]:
    async with running_bridge(mongo_uri) as running:
        yield running


def _hash(role: Collection, number: int) -> str:
    return ("0x" if role is BURN else "") + f"{number + 10**12:064x}"


def refutable(bridge: BridgeUnderTest, role: Collection, number: int) -> Document:
    """Of this bridge, in a block that everybody has read: it costs each validator a look at his node and an objection."""
    return forged(role, _hash(role, number), bridge)


def in_the_future(bridge: BridgeUnderTest, role: Collection, number: int) -> Document:
    """Of this bridge, in a block that will come some day: nobody can refute it, it waits."""
    place = "block_number" if role is BURN else "height"
    return forged(role, _hash(role, number + FLOOD), bridge, **{place: "99999999"})


def shapeless(bridge: BridgeUnderTest, role: Collection, number: int) -> Document:
    """Nothing that any honest writer wrote. `_id`s of all kinds; only those that are ObjectIds ring."""
    ids = (ObjectId(), number, f"id {number}", {"a": number})
    types = {name: value for name, value in WRONG_TYPES.items() if not name.startswith("$")}
    return {**types, "_id": ids[number % 4], "transaction_hash": f"{role.value} {number}", "burn_index": number}


def of_another_bridge(bridge: BridgeUnderTest, role: Collection, number: int) -> Document:
    return forged(role, _hash(role, number + 2 * FLOOD), bridge, vault_address="11" * 20, wpokt_address="0x" + "11" * 20)


KINDS: tuple[Callable[[BridgeUnderTest, Collection, int], Document], ...] = (
    refutable,
    in_the_future,
    shapeless,
    of_another_bridge,
)


async def flood(bridge: BridgeUnderTest) -> None:
    """All at once, in all three collections."""
    documents: dict[Collection, list[Document]] = {role: [] for role in REQUESTS}
    for number in range(FLOOD):
        role = REQUESTS[number % 3]
        documents[role].append(KINDS[number // 3 % len(KINDS)](bridge, role, number))
    for role, rows in documents.items():
        there = bridge.net.store.collection(role)
        for start in range(0, len(rows), 2000):
            await there.insert_many(rows[start : start + 2000], ordered=False, bypass_document_validation=True)


async def strangers_left(bridge: BridgeUnderTest) -> int:
    """How many of this bridge's forged documents still claim to be open."""
    query = {"sender_address": "66" * 20, "vault_address": bridge.net.bridge.vault, "status": {"$ne": Status.FAILED}}
    return sum([await bridge.net.store.collection(role).count_documents(query) for role in REQUESTS])


def resident_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[1]) * _PAGE


async def honest_requests(bridge: BridgeUnderTest) -> None:
    """One of each kind, to its end."""
    recipient = bridge.recipient()
    mint = await bridge.send(bridge.deposit_of(AMOUNT, bridge.memo(recipient))[0])
    refund = await bridge.send(bridge.deposit_of(AMOUNT, "no memo")[0])
    burn = await bridge.presigned_burn(AMOUNT, POCKET_USER)
    await asyncio.gather(bridge.minted(mint), bridge.paid(REFUND, refund), bridge.paid(BURN, burn))
    assert await bridge.judge.balance(recipient) == AMOUNT
    assert [one.amount for one in bridge.judge.payments(burn)] == [AMOUNT - FEE]


async def test_honest_requests_pass_while_a_flood_stands(bridge: BridgeUnderTest) -> None:
    await honest_requests(bridge)
    before = resident_bytes()
    await flood(bridge)
    await honest_requests(bridge)
    assert await strangers_left(bridge) > STRANGERS, "the flood was gone before the requests were through: it showed nothing"
    for one in bridge.validators:
        load = one.dispatcher.load()
        assert load.strange <= STRANGERS
        assert load.waiting + load.queued + load.stuck + load.settling <= STRANGERS + 200
        assert one.dispatcher.counters.turned_away > 0
    assert resident_bytes() - before < 300 * 2**20


async def test_a_sweep_costs_the_same_however_many_stand_there(bridge: BridgeUnderTest) -> None:
    bound = sum(len(OPEN_STATUSES[role]) for role in REQUESTS) * STRANGERS_A_SWEEP
    known = 50
    marks = [(one, one.reactor.counters.sweeps, one.reactor.counters.rung) for one in bridge.validators]
    await bridge.eventually(lambda: all(one.reactor.counters.sweeps > sweeps + 1 for one, sweeps, _ in marks), "some sweeps")
    for one, sweeps, rung in marks:
        counters = one.reactor.counters
        # One sweep may be under way at the end: it has rung, and is not counted yet.
        assert counters.rung - rung <= (bound + known) * (counters.sweeps - sweeps + 1)
        assert counters.failures == 0
    # Those that none of them has a place for now are reached in their turn.
    after = [dict(one._strangers_after) for one in bridge.validators]
    await bridge.eventually(
        lambda: all(one._strangers_after != was for one, was in zip(bridge.validators, after, strict=True)), "the next page"
    )


async def test_nothing_was_signed_for_the_flood_and_nothing_is_held(bridge: BridgeUnderTest) -> None:
    for role in REQUESTS:
        query = {"sender_address": "66" * 20, "signers.0": {"$exists": True}}
        assert await bridge.net.store.collection(role).count_documents(query) == 0
    journals = [one.journal for one in bridge.validators]
    assert await bridge.judge.unjustified(journals) == []
    assert await bridge.judge.unpaid_or_doubled() == []
    assert [hold for one in journals for hold in one.holds()] == []
    # What ran into a time-out on a busy machine is taken up again by itself.
    await bridge.eventually(lambda: not any(one.dispatcher.stuck() for one in bridge.validators), "nothing to be stuck")
