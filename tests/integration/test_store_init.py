"""init-db, what it refuses, what the existing frontend then finds, heartbeats, and operators' questions."""

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import bson
import pytest
from bson import ObjectId
from bson.raw_bson import RawBSONDocument
from pymongo.errors import WriteError
from store_helpers import (
    BRIDGE,
    FRONTEND_NAMES,
    LATER,
    NOW,
    RECIPIENT,
    VAULT,
    burn,
    invalid_mint,
    mint,
    minted,
    new_store,
    put,
    returned,
    tx,
)

from reactor.documents.keys import document_id
from reactor.documents.models import Heartbeat
from reactor.documents.statuses import Collection, Status
from reactor.store import heartbeats, tail
from reactor.store.bulk import Written, bulk
from reactor.store.connection import Store
from reactor.store.indexes import Report, init_db, plan, verify
from reactor.store.updates import advance, as_read, repair

pytestmark = pytest.mark.integration

MINT, BURN, INVALID_MINT = Collection.MINT, Collection.BURN, Collection.INVALID_MINT


@pytest.fixture
async def store(mongo_uri: str) -> AsyncIterator[Store]:
    async with new_store(mongo_uri, names=FRONTEND_NAMES) as store:
        yield store


async def everything(store: Store) -> dict[str, Any]:
    """What the server says of all collections, their options and indexes."""
    listed = {one["name"]: one["options"] async for one in await store.database.list_collections()}
    return {name: (options, await store.database[name].index_information()) for name, options in listed.items()}


async def test_init_db_makes_what_verify_misses_and_may_be_run_again(store: Store) -> None:
    missing = await verify(store)
    assert len(missing) == len(plan()) + len(Collection)
    assert "run `reactor init-db`" in str(missing[0])
    first = await init_db(store)
    assert (first.conflicts, first.present) == ([], [])
    assert await verify(store) == []
    before = await everything(store)
    assert set(before) == {"mints", "invalidMints", "burns", "minted", "returned", "heartbeat", "audit"}
    again = await init_db(store)
    assert (again.conflicts, again.made) == ([], [])
    assert len(again.present) == len(plan()) + len(Collection)
    assert await everything(store) == before


async def test_verify_sees_what_was_dropped_or_changed(store: Store) -> None:
    await init_db(store)
    await store.collection(MINT).drop_index("unique_key")
    await store.database.command({"collMod": "burns", "validationAction": "warn"})
    problems = await verify(store)
    assert [problem.collection for problem in problems] == ["mints", "burns"]
    assert "no index unique_key on transaction_hash" in problems[0].problem
    assert (await init_db(store)).made == ["mints index unique_key", "burns schema"]
    assert await verify(store) == []


async def test_an_equal_index_under_another_name_will_do(store: Store) -> None:
    await store.collection(MINT).create_index("transaction_hash", unique=True)
    report = await init_db(store)
    assert report.conflicts == []
    assert "mints index unique_key" in report.present
    assert await verify(store) == []


async def twice(store: Store) -> None:
    await store.collection(BURN).insert_many([burn(1), burn(1, _id=ObjectId())])


async def other_index_of_that_name(store: Store) -> None:
    await store.collection(BURN).create_index("amount", name="open")


async def not_unique(store: Store) -> None:
    await store.collection(MINT).create_index("transaction_hash")


async def broken_document(store: Store) -> None:
    await store.collection(INVALID_MINT).insert_one(invalid_mint(1, amount=5))


async def foreign_id(store: Store) -> None:
    await store.collection(MINT).insert_one(mint(1, _id="text"))


CONFLICTS = {
    twice: ("burns", "2 documents have the same transaction_hash + burn_index"),
    other_index_of_that_name: ("burns", "index open on ['amount'] stands in the way of open"),
    not_unique: ("mints", "index transaction_hash_1 on ['transaction_hash'] stands in the way of unique_key"),
    broken_document: ("invalidMints", "1 document breaks the schema"),
    foreign_id: ("mints", "1 document breaks the schema, among them text"),
}


@pytest.mark.parametrize("prepare", CONFLICTS, ids=lambda prepare: prepare.__name__)
async def test_a_conflict_is_named_and_nothing_is_changed(store: Store, prepare: Any) -> None:
    await prepare(store)
    before = await everything(store)
    report = await init_db(store)
    collection, problem = CONFLICTS[prepare]
    assert [(one.collection, problem in one.problem) for one in report.conflicts] == [(collection, True)]
    assert (report.made, report.present) == ([], [])
    assert await everything(store) == before


async def test_all_conflicts_are_listed_at_once(store: Store) -> None:
    await twice(store)
    await broken_document(store)
    await not_unique(store)
    report: Report = await init_db(store)
    assert sorted(one.collection for one in report.conflicts) == ["burns", "invalidMints", "mints"]


ALL = {
    MINT: mint(1),
    INVALID_MINT: invalid_mint(1),
    BURN: burn(1),
    Collection.MINTED: minted(1),
    Collection.RETURNED: returned(1),
    Collection.AUDIT: {
        "_id": ObjectId(),
        "at": NOW,
        **dict.fromkeys(("by", "why", "verb", "host", "validator", "vault_address", "wpokt_address"), "x"),
        "arguments": ["mint"],
        "evaluated": 2,
        "matched": 1,
    },
}


@pytest.mark.parametrize("role", ALL)
async def test_the_schema_takes_what_build_makes_and_refuses_other_types(store: Store, role: Collection) -> None:
    await init_db(store)
    document = ALL[role]
    doc_id = await put(store, role, dict(document))
    await store.collection(role).delete_one({"_id": doc_id})
    for name in document:
        with pytest.raises(WriteError, match="Document failed validation"):
            await store.collection(role).insert_one({**document, name: 5.5})
        if name != "_id":
            with pytest.raises(WriteError, match="Document failed validation"):
                await store.collection(role).insert_one({field: value for field, value in document.items() if field != name})
    await put(store, role, {**document, "more": 5})


async def test_a_document_malformed_before_can_be_repaired_step_by_step(store: Store) -> None:
    await init_db(store)
    await store.database.command({"collMod": "mints", "validationLevel": "off"})
    raw = mint(1, amount=5, nonce=None)
    doc_id = await put(store, MINT, raw)
    await store.database.command({"collMod": "mints", "validationLevel": "moderate"})
    step = repair(
        MINT, doc_id, fields={"amount": "5"}, was=as_read(raw, ["amount"]), by="0x", reason="", now=LATER, status=Status.PENDING
    )
    assert await bulk(store, [step]) == [Written.APPLIED]
    other = advance(MINT, doc_id, frm="pending", to=Status.CONFIRMED, by="0x", reason="", now=LATER, sets={"nonce": "1"})
    assert await bulk(store, [other]) == [Written.APPLIED]
    wrong = advance(MINT, doc_id, frm="confirmed", to=Status.PENDING, by="0x", reason="", now=LATER, sets={"nonce": 1})
    assert await bulk(store, [wrong]) == [Written.REFUSED]


async def test_the_frontend_finds_what_it_asks_for(store: Store) -> None:
    """The queries of the existing frontend and monitor, with the collection names that they use."""
    await init_db(store)
    database = store.database
    times = [datetime(2026, 1, day, tzinfo=UTC) for day in (1, 2, 3)]
    for number, at in enumerate(times):
        await put(store, MINT, mint(number, created_at=at, status=("signed", "pending", "success")[number]))
        await put(store, INVALID_MINT, invalid_mint(10 + number, created_at=at))
        await put(store, BURN, burn(20 + number, created_at=at))
    scope = {"wpokt_address": BRIDGE.wpokt, "vault_address": VAULT}
    mints = await database["mints"].find({**scope, "recipient_address": RECIPIENT}).sort("created_at", -1).to_list()
    assert [one["transaction_hash"] for one in mints] == [tx(2), tx(1), tx(0)]
    active = [one for one in mints if one["status"] not in {"success", "failed"}]
    assert active[-1]["status"] == "signed"
    found = await database["mints"].find_one({**scope, "transaction_hash": tx(1)})
    assert found is not None
    assert found["memo"] == {"address": RECIPIENT, "chain_id": "31337"}
    sender = "0x" + "ab" * 20
    burns = (
        await database["burns"].find({"wpokt_address": BRIDGE.wpokt, "sender_address": sender}).sort("created_at", -1).to_list()
    )
    assert [one["block_number"] for one in burns] == ["222", "221", "220"]
    both = {"wpokt_address": BRIDGE.wpokt, "sender_address": sender, "recipient_address": "ab" * 20}
    assert await database["burns"].count_documents(both) == 3
    one = await database["burns"].find_one({"wpokt_address": BRIDGE.wpokt, "transaction_hash": "0x" + tx(21)})
    assert one is not None
    assert one["return_tx_hash"] == ""
    invalid = await database["invalidMints"].find({"vault_address": VAULT}).sort("created_at", -1).to_list()
    assert [one["transaction_hash"] for one in invalid] == [tx(12), tx(11), tx(10)]
    page = await database["burns"].find().sort("block_number", -1).skip(0).limit(10).to_list()
    assert len(page) == 3
    total = {"_id": None, "sum": {"$sum": {"$toLong": "$amount"}}}
    totals: list[dict[str, Any]] = [
        {"$match": {"status": "success"}},
        {"$group": total},
    ]
    assert await (await database["mints"].aggregate(totals)).to_list() == [{"_id": None, "sum": 5_000_000}]


FRONTEND_QUERIES: list[tuple[Collection, dict[str, Any], str | None]] = [
    (MINT, {"wpokt_address": "x", "vault_address": VAULT, "recipient_address": RECIPIENT}, "by_recipient"),
    (BURN, {"wpokt_address": "x", "sender_address": "y"}, "by_sender"),
    (BURN, {"wpokt_address": "x", "recipient_address": "y"}, "by_recipient"),
    (INVALID_MINT, {"vault_address": VAULT}, "by_vault"),
]


@pytest.mark.parametrize(("role", "query", "name"), FRONTEND_QUERIES)
async def test_the_frontends_lists_need_no_sort(store: Store, role: Collection, query: dict[str, Any], name: str) -> None:
    await init_db(store)
    explained = await store.collection(role).find(query).sort("created_at", -1).explain()
    winning = str(explained["queryPlanner"]["winningPlan"])
    assert f"'indexName': '{name}'" in winning
    assert "'stage': 'SORT'" not in winning


def beating(hostname: str, **fields: Any) -> dict[str, Any]:
    said = Heartbeat(validator_id="wpokt-validator-01", hostname=hostname, eth_address="0xa", created_at=NOW, updated_at=NOW)
    return {**said.model_dump(exclude={"id"}), **fields}


async def test_one_heartbeat_per_validator_and_host(store: Store) -> None:
    await init_db(store)
    await heartbeats.beat(store, beating("h1", counter=1))
    await heartbeats.beat(store, beating("h1", counter=2, created_at=LATER, updated_at=LATER))
    await heartbeats.beat(store, beating("h2", counter=1, eth_address="0xb"))
    rows = await heartbeats.read_heartbeats(store)
    assert [(row["hostname"], row["counter"], row["created_at"]) for row in rows] == [("h1", 2, NOW), ("h2", 1, NOW)]
    assert [row["hostname"] for row in await heartbeats.read_heartbeats(store, ["0xb", "0xc"])] == ["h2"]
    parsed = Heartbeat.read(rows[0])
    assert parsed is not None
    assert (parsed.counter, parsed.id) == (2, rows[0]["_id"])
    assert Heartbeat.read({**rows[0], "counter": "2"}) is None


async def test_a_spoiled_heartbeat_is_overwritten_and_a_huge_one_not_read(store: Store) -> None:
    spoiled = {"validator_id": "wpokt-validator-01", "hostname": "h1", "created_at": "x", "counter": "y" * 100_000, "more": 1}
    await store.collection(Collection.HEARTBEAT).insert_one(spoiled)
    assert await heartbeats.read_heartbeats(store) == []
    await heartbeats.beat(store, beating("h1", counter=3))
    (row,) = await heartbeats.read_heartbeats(store)
    assert (row["_id"], row["counter"], row["created_at"]) == (spoiled["_id"], 3, NOW)
    assert "more" not in row


async def test_a_heartbeat_with_fields_twice_or_under_a_taken_id_is_overwritten(store: Store) -> None:
    """The server survives it: a difference to such a document, which a pipeline computes, ends MongoDB 6.0."""
    first, second = bson.encode(beating("h1", counter=7)), bson.encode({"counter": 8, "healthy": 1})
    raw = first[4:-1] + second[4:]
    plain = store.client.get_database(store.database.name).get_collection(store.names[Collection.HEARTBEAT])
    await plain.insert_one(RawBSONDocument((len(raw) + 4).to_bytes(4, "little") + raw))  # type: ignore[arg-type]
    await heartbeats.beat(store, beating("h1", counter=9))
    (row,) = await heartbeats.read_heartbeats(store)
    assert (row["counter"], row["created_at"]) == (9, NOW)
    own = document_id(Collection.HEARTBEAT, "wpokt-validator-01:h2")
    await plain.insert_one({"_id": own, "validator_id": "somebody", "hostname": "else"})
    await heartbeats.beat(store, beating("h2", counter=1))
    assert {row["hostname"] for row in await heartbeats.read_heartbeats(store)} == {"h1", "h2"}


async def test_operators_see_counts_and_the_oldest(store: Store) -> None:
    await init_db(store)
    for number, status in enumerate(("pending", "pending", "signed", "success")):
        waiting = {"reason": "user", "params": {}, "by": "", "at": NOW}
        await put(store, MINT, mint(number, status=status, created_at=datetime(2026, 1, 9 - number, tzinfo=UTC), waiting=waiting))
    await put(store, BURN, burn(1, created_at=datetime(2026, 1, 5, tzinfo=UTC)))
    counted = await tail.counts(store)
    assert (counted[MINT].open[Status.PENDING], counted[MINT].open[Status.SIGNED], counted[MINT].total) == (2, 1, 4)
    assert counted[BURN].open == {Status.PENDING: 1, Status.CONFIRMED: 0, Status.SIGNED: 0, Status.SUBMITTED: 0}
    rows = await tail.oldest(store, Status.PENDING)
    assert [(row.collection, row.created_at and row.created_at.day) for row in rows] == [(BURN, 5), (MINT, 8), (MINT, 9)]
    assert (rows[1].waiting, rows[1].signers, rows[1].transaction_hash) == ("user", 0, tx(1))
    assert len(await tail.oldest(store, Status.PENDING, limit=1)) == 1


@pytest.mark.parametrize(
    ("moved", "shown"), [(NOW - timedelta(seconds=60), "not_final"), (NOW + timedelta(seconds=60), ""), ("never", "not_final")]
)
async def test_what_was_written_in_an_earlier_status_is_not_told_as_what_it_waits_for(
    store: Store, moved: Any, shown: str
) -> None:
    entry = {"status": "signed", "at": moved, "by": "", "reason": ""}
    waiting = {"reason": "not_final", "params": {}, "by": "", "at": NOW}
    await put(store, MINT, mint(1, status="signed", waiting=waiting, history=[entry]))
    assert [row.waiting for row in await tail.oldest(store, Status.SIGNED)] == [shown]


async def test_garbage_does_not_stop_the_operators_reads(store: Store) -> None:
    garbage = {"status": "pending", "created_at": "long ago", "transaction_hash": ["x"], "signers": 5, "waiting": {"reason": 7}}
    await store.collection(MINT).insert_many([garbage, {"status": "pending", "more": "x" * 300_000}, {"status": ["signed"]}])
    assert (await tail.counts(store))[MINT].open[Status.PENDING] == 2
    rows = await tail.oldest(store, Status.PENDING)
    assert [(row.created_at, row.transaction_hash, row.signers, row.waiting) for row in rows] == [(None, "", 0, "")] * 2


async def test_a_document_is_found_by_any_of_its_names(store: Store) -> None:
    await put(store, MINT, mint(1, mint_tx_hash="0x" + tx(7)))
    await put(store, BURN, burn(2, return_tx_hash=tx(8).upper()))
    await put(store, Collection.RETURNED, returned(3))
    huge = await put(store, BURN, burn(4, memo="x" * 300_000))

    async def roles(text: str) -> list[Collection]:
        return [role for role, _ in await tail.find(store, text)]

    assert await roles("0x" + tx(1).upper()) == [MINT]
    assert await roles(tx(2)) == [BURN]
    assert await roles(f" {tx(7)} ") == [MINT]
    assert await roles(tx(8)) == [BURN]
    assert await roles(tx(3)) == [Collection.RETURNED]
    assert await roles(str(mint(1)["_id"])) == [MINT]
    assert await roles(tx(9)) == []
    assert await roles(str(huge)) == []
