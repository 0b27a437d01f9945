"""Collections, indexes and schemas that are taken away while everything runs: noticed, told, and every request has its end."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
from bridge_helpers.harness import BridgeUnderTest, running_bridge
from bson import ObjectId
from pymongo.errors import WriteError

from reactor.documents.statuses import REQUESTS, Collection, Status
from reactor.state.rows import EventKind
from reactor.store.indexes import init_db, verify

pytestmark = [
    pytest.mark.integration,
    pytest.mark.xdist_group("bridge"),
    pytest.mark.asyncio(loop_scope="module"),
]

MINT, REFUND, BURN = Collection.MINT, Collection.INVALID_MINT, Collection.BURN
AMOUNT = 1_000_000
POCKET_USER = "fb" * 20
Act = Callable[[BridgeUnderTest], Awaitable[None]]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bridge(mongo_uri: str) -> AsyncIterator[BridgeUnderTest]:
    async with running_bridge(mongo_uri) as running:
        for one in running.validators:
            one.schema._every = 0.5
            one.schema.alarm()
        yield running


def everywhere(bridge: BridgeUnderTest) -> list[Any]:
    return [bridge.net.store.collection(role) for role in REQUESTS]


async def emptied(bridge: BridgeUnderTest) -> None:
    for there in everywhere(bridge):
        await there.delete_many({})


async def dropped(bridge: BridgeUnderTest) -> None:
    await asyncio.gather(*(there.drop() for there in everywhere(bridge)))


async def renamed(bridge: BridgeUnderTest) -> None:
    for there in everywhere(bridge):
        await there.rename(f"was_{there.name}_{ObjectId()}")


async def replaced(bridge: BridgeUnderTest) -> None:
    """Another collection, full of something else, takes the name."""
    for there in everywhere(bridge):
        other = bridge.net.store.database[f"other_{ObjectId()}"]
        await other.insert_many([{"_id": number, "status": "success", "transaction_hash": f"{number}"} for number in range(50)])
        await other.rename(there.name, dropTarget=True)


async def without_indexes(bridge: BridgeUnderTest) -> None:
    for there in everywhere(bridge):
        await there.drop_indexes()


async def without_schemas(bridge: BridgeUnderTest) -> None:
    for there in everywhere(bridge):
        await bridge.net.store.database.command({"collMod": there.name, "validator": {}, "validationLevel": "off"})


TOLD: dict[Act, str] = {
    emptied: "",
    dropped: "no index unique_key",
    renamed: "no index unique_key",
    replaced: "no schema validator",
    without_indexes: "no index unique_key",
    without_schemas: "no schema validator",
}
"""What each validator's heartbeat says of it; of a document that was removed its own history says so."""


@pytest.mark.parametrize("act", TOLD, ids=lambda act: act.__name__)
async def test_what_is_taken_away_is_told_and_every_request_has_its_end(bridge: BridgeUnderTest, act: Act) -> None:
    recipient = bridge.recipient()
    at_rest = await bridge.send(bridge.deposit_of(AMOUNT, bridge.memo(recipient))[0])
    await bridge.until(MINT, at_rest, Status.SIGNED)
    await bridge.eventually(
        lambda: not any(one.ledger.unsettled(EventKind.DEPOSIT, 1) for one in bridge.validators), "everybody to rest"
    )
    bridge.lines.clear()
    refund = await bridge.send(bridge.deposit_of(AMOUNT, "no memo")[0])
    burn = await bridge.presigned_burn(AMOUNT, POCKET_USER)
    await act(bridge)
    other = await bridge.send(bridge.deposit_of(AMOUNT, bridge.memo(recipient))[0])
    await bridge.minted(at_rest)
    await bridge.minted(other)
    await bridge.paid(REFUND, refund)
    await bridge.paid(BURN, burn)
    assert await bridge.judge.balance(recipient) == 2 * AMOUNT
    await told(bridge, TOLD[act])
    if act in {emptied, dropped, renamed, replaced}:
        await bridge.eventually(lambda: bridge.said("missing from the database, inserted again"), "the log to say so")
        past = [one["reason"] for one in (await bridge.document(MINT, at_rest) or {})["history"]]
        assert past[0] == "inserted again: it was removed from the database", past
    if act in {dropped, renamed}:
        await bridge.eventually(
            lambda: bridge.said(f"{act.__name__.removesuffix('ped').removesuffix('d')}", "in the watched database"),
            "the log to say so",
        )
    # One verb mends it, and the heartbeats say so.
    report = await init_db(bridge.net.store)
    if act is replaced:
        assert {one.collection for one in report.conflicts} == {there.name for there in everywhere(bridge)}
        for there in everywhere(bridge):
            await there.delete_many({"_id": {"$type": "number"}})
        report = await init_db(bridge.net.store)
    assert report.conflicts == []
    assert await verify(bridge.net.store) == []
    await told(bridge, "")


async def told(bridge: BridgeUnderTest, what: str) -> None:
    """Every validator's heartbeat says it, or nothing of the database at all."""
    beats = bridge.net.store.collection(Collection.HEARTBEAT)

    async def said() -> bool:
        rows = await beats.find({"eth_address": {"$in": [one.me.address for one in bridge.validators]}}).to_list()
        newest = {row["eth_address"]: [text for text in row["problems"] if text.startswith("database: ")] for row in rows}
        if len(newest) < len(bridge.validators):
            return False
        return all(any(what in text for text in texts) if what else not texts for texts in newest.values())

    await bridge.eventually(said, f"every heartbeat to say {what!r} of the database")
    if what:
        await bridge.eventually(lambda: bridge.said("taken away or changed while this validator runs", what), "the log to say so")


async def test_a_schema_refuses_again_what_it_let_through(bridge: BridgeUnderTest) -> None:
    with pytest.raises(WriteError):
        await bridge.net.store.collection(MINT).insert_one({"status": 7})


async def test_nothing_unjustified_was_signed_and_everything_was_paid_once(bridge: BridgeUnderTest) -> None:
    journals = [one.journal for one in bridge.validators]
    assert await bridge.judge.unjustified(journals) == []
    assert await bridge.judge.unpaid_or_doubled() == []
    assert [hold for one in journals for hold in one.holds()] == []
