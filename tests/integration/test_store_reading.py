"""Reads and inserts on a real server: nothing that lies in a document spoils the read of the others."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import bson
import pytest
from bson import ObjectId
from bson.datetime_ms import DatetimeMS
from bson.raw_bson import RawBSONDocument
from store_helpers import BRIDGE, NOW, burn, invalid_mint, mint, minted, put, returned, tx

from reactor.chains.ethereum.types import ContractFacts, Domain, Head
from reactor.documents.statuses import Collection, Status
from reactor.handlers.refusals import concerned
from reactor.store import reading
from reactor.store.connection import Store
from reactor.store.indexes import OPEN_INDEX, OPEN_STATUSES, init_db
from reactor.store.insert import free_key, insert_missing
from reactor.store.reading import LARGEST, find_ids, natural_key, open_ids, read

pytestmark = pytest.mark.integration

MINT, BURN = Collection.MINT, Collection.BURN


async def test_many_are_read_in_one_aggregate(store: Store) -> None:
    documents = [mint(number) for number in range(20)]
    await store.collection(MINT).insert_many(documents)
    before = store.operations.copy()
    found = await read(store, MINT, [*(document["_id"] for document in documents), ObjectId()])
    assert store.operations - before == {"aggregate": 1}
    assert {doc_id: one.raw for doc_id, one in found.items()} == {document["_id"]: document for document in documents}
    assert await read(store, MINT, []) == {}


async def test_more_than_a_batch_is_read_whole(store: Store, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reading, "BATCH", 7)
    documents = [mint(number) for number in range(20)]
    await store.collection(MINT).insert_many(documents)
    assert len(await read(store, MINT, [document["_id"] for document in documents])) == 20
    keys = [natural_key(MINT, document) for document in documents]
    assert await find_ids(store, MINT, keys) == {natural_key(MINT, document): document["_id"] for document in documents}


async def test_the_body_of_a_large_document_stays_where_it_is(store: Store) -> None:
    small = await put(store, MINT, mint(1))
    empty = {**mint(2), "memo": ""}
    room = LARGEST - len(bson.encode(empty))
    fits = await put(store, MINT, {**empty, "memo": "x" * room})
    large = await put(store, MINT, {**mint(3), "memo": "x" * (room + 1)})
    found = await read(store, MINT, [small, fits, large])
    assert [found[one].oversized for one in (small, fits, large)] == [False, False, True]
    assert found[fits].size == LARGEST
    assert found[large].raw is None


async def test_strange_values_are_read(store: Store) -> None:
    strange: dict[str, Any] = {"created_at": DatetimeMS(2**62), "amount": float("nan"), "$where": "1", "": {"a.b": 1}}
    doc_id = await put(store, MINT, {**mint(1), **strange})
    raw = (await read(store, MINT, [doc_id]))[doc_id].raw
    assert raw is not None
    assert raw["created_at"] == DatetimeMS(2**62)


async def test_keys_are_found_under_foreign_ids(store: Store) -> None:
    free, own, text, listed, huge = (mint(number) for number in range(5))
    holders: list[Any] = [own["_id"], "text id", ObjectId(), "y" * 5000]
    for document, holder in zip((own, text, listed, huge), holders, strict=True):
        hashed = document["transaction_hash"]
        value = [5, hashed, "x" * 100_000] if document is listed else hashed
        await store.collection(MINT).insert_one({**document, "_id": holder, "transaction_hash": value})
    keys = [natural_key(MINT, document) for document in (free, own, text, listed, huge)]
    assert await find_ids(store, MINT, keys) == dict(zip(keys[1:], [*holders[:3], None], strict=True))


async def test_burns_are_told_apart_by_their_index(store: Store) -> None:
    documents = [burn(1, 0), burn(1, 1), burn(2, 0)]
    await store.collection(BURN).insert_many(documents[:2])
    await store.collection(BURN).insert_one({**documents[2], "burn_index": "1"})
    keys = [natural_key(BURN, document) for document in documents]
    assert await find_ids(store, BURN, keys) == {keys[0]: documents[0]["_id"], keys[1]: documents[1]["_id"]}


async def test_open_ids_come_in_pages(store: Store) -> None:
    documents = [mint(number, status=("pending", "confirmed", "success")[number % 3]) for number in range(21)]
    await store.collection(MINT).insert_many(documents)
    pages = [page async for page in open_ids(store, MINT, [Status.PENDING, Status.CONFIRMED], BRIDGE, page=3)]
    expected = {document["_id"] for document in documents if document["status"] != "success"}
    assert {doc_id for page in pages for doc_id in page} == expected
    assert [len(page) for page in pages] == [3, 3, 1, 3, 3, 1]
    assert [page async for page in open_ids(store, MINT, [Status.SIGNED], BRIDGE)] == []


AMOUNTS = ("9999", "10000", "999999", "1000000", "1000001", "2500000", "10000000", "5" * 70)
ALL = set(AMOUNTS)
REFUSING: dict[str, tuple[dict[str, Any], set[str]]] = {
    "nothing": ({}, set()),
    "the limit at an amount": ({"current_mint_limit": 1_000_000}, {"1000001", "2500000", "10000000", "5" * 70}),
    "the limit used up": ({"current_mint_limit": 0}, ALL),
    "the fee": ({"fee_flag": True}, {"9999", "999999", "1000001", "5" * 70}),
    "both": ({"fee_flag": True, "current_mint_limit": 9_999_999}, {"9999", "999999", "1000001", "10000000", "5" * 70}),
    "paused": ({"paused": True}, ALL),
    "no minter": ({"minter": False}, ALL),
}


@pytest.mark.parametrize("case", REFUSING)
async def test_signed_mints_that_the_contracts_may_refuse_are_found_by_their_amounts(store: Store, case: str) -> None:
    changes, expected = REFUSING[case]
    facts = ContractFacts(
        block=Head(1, "0x1", "0x0", 1),
        threshold=2,
        validators=(),
        validator_count=3,
        max_mint_limit=10**80,
        current_mint_limit=10**80,
        mint_per_second=1,
        paused=False,
        fee_flag=False,
        fee_basis=0,
        domain=Domain("MintController", "1", 1, "0x" + "22" * 20),
        minter=True,
    )
    documents = [mint(number, status="signed", amount=amount) for number, amount in enumerate(AMOUNTS)]
    said = {"params": {}, "by": "", "at": NOW}
    labels = [{**said, "reason": "cooling_down"}, {**said, "reason": "signatures"}, None]
    labelled = [mint(number + 50, status="signed", amount="20000", waiting=label) for number, label in enumerate(labels)]
    strange = [mint(90, status="signed", amount=7), mint(91, status="signed", amount=["10000000"]), mint(92, status="confirmed")]
    await store.collection(MINT).insert_many([*documents, *labelled, *strange])
    where = concerned(replace(facts, **changes))
    found = {one for page in [page async for page in open_ids(store, MINT, ["signed"], BRIDGE, where=where)] for one in page}
    amounts = {document["amount"] for document in documents if document["_id"] in found}
    assert amounts == expected
    assert labelled[0]["_id"] in found, "what is said to be refused is looked at, whether it still is or not"
    assert (labelled[1]["_id"] in found) == (len(expected) == len(ALL))
    assert strange[2]["_id"] not in found


@pytest.mark.parametrize(
    "fields",
    [{"_id": "text"}, {"_id": 7}, {"vault_address": "other"}, {"wpokt_address": "0x00"}, {"sender_chain_id": "mainnet"}],
)
async def test_documents_of_others_are_not_open(store: Store, fields: dict[str, Any]) -> None:
    await store.collection(MINT).insert_one({**mint(1), **fields})
    assert [page async for page in open_ids(store, MINT, ["pending"], BRIDGE)] == []
    await store.collection(MINT).insert_one(mint(2))
    assert [page async for page in open_ids(store, MINT, ["pending"], BRIDGE)] == [[mint(2)["_id"]]]
    assert [page async for page in open_ids(store, MINT, ["pending"], replace(BRIDGE, vault="bb" * 20))] == []


@pytest.mark.parametrize(
    ("collection", "document"), [(MINT, mint(1)), (BURN, burn(1)), (Collection.INVALID_MINT, invalid_mint(1))]
)
async def test_open_documents_are_found_by_the_partial_index(store: Store, collection: Collection, document: Any) -> None:
    await init_db(store)
    await put(store, collection, document)
    history = [{**document, "_id": ObjectId(), "transaction_hash": f"{n}", "status": "success"} for n in range(300)]
    await store.collection(collection).insert_many(history)
    assert [page async for page in open_ids(store, collection, ["pending"], BRIDGE)] == [[document["_id"]]]
    query = {"status": "pending", "_id": {"$gt": ObjectId("0" * 24)}, "vault_address": BRIDGE.vault}
    plan = await store.collection(collection).find(query, {"_id": 1}).sort("_id", 1).limit(5).explain()
    assert f"'indexName': '{OPEN_INDEX}'" in str(plan["queryPlanner"]["winningPlan"])
    assert "SORT" not in str(plan["queryPlanner"]["winningPlan"])


async def test_inserted_once_and_never_changed(store: Store) -> None:
    await init_db(store)
    documents = [mint(number) for number in range(5)]
    first = await insert_missing(store, MINT, documents[:3])
    assert (first.inserted, first.present, first.occupied, first.refused) == ([one["_id"] for one in documents[:3]], [], {}, [])
    await store.collection(MINT).update_one({"_id": documents[0]["_id"]}, {"$set": {"status": "signed"}})
    again = await insert_missing(store, MINT, documents)
    assert again.inserted == [one["_id"] for one in documents[3:]]
    assert again.present == [one["_id"] for one in documents[:3]]
    raw = (await read(store, MINT, [documents[0]["_id"]]))[documents[0]["_id"]].raw
    assert raw is not None
    assert raw["status"] == "signed"
    assert (await insert_missing(store, MINT, [])).inserted == []


async def test_twelve_racing_validators_insert_each_once(store: Store) -> None:
    await init_db(store)
    documents = [mint(number) for number in range(100)]
    reports = await asyncio.gather(*(insert_missing(store, MINT, documents) for _ in range(12)))
    inserted = [doc_id for report in reports for doc_id in report.inserted]
    assert sorted(inserted) == sorted(document["_id"] for document in documents)
    assert all(len(report.inserted) + len(report.present) == 100 for report in reports)
    assert await store.collection(MINT).count_documents({}) == 100


@pytest.mark.parametrize("document", [mint(1), invalid_mint(1), burn(1), minted(1), returned(1)])
async def test_a_key_in_foreign_hands_is_reported(store: Store, document: dict[str, Any]) -> None:
    await init_db(store)
    by_fields = {
        "nonce": Collection.MINTED,
        "burn_index": BURN,
        "entropy": Collection.RETURNED,
        "return_tx": Collection.INVALID_MINT,
    }
    role = MINT if "typed_data" in document else next(role for name, role in by_fields.items() if name in document)
    holder = ObjectId()
    await put(store, role, {**document, "_id": holder})
    report = await insert_missing(store, role, [document])
    assert report.occupied == {natural_key(role, document): holder}
    assert (report.inserted, report.present) == ([], [])


async def test_a_malformed_document_is_refused_and_the_others_are_not(store: Store) -> None:
    await init_db(store)
    bad, good = mint(1, amount="5.0"), mint(2)
    report = await insert_missing(store, MINT, [bad, good])
    assert (report.refused, report.inserted) == ([bad["_id"]], [good["_id"]])


LARGE = 15_000_000


def _twice(document: dict[str, Any], field: str) -> Any:
    """The document with `field` once more at its end: no reader of ours can send it back."""
    body, end = bson.encode({**document, field: "other"}), bson.encode({field: document[field]})
    raw = body[4:-1] + end[4:]
    return RawBSONDocument((len(raw) + 4).to_bytes(4, "little") + raw)


HOLDERS: dict[str, Callable[[dict[str, Any]], Any]] = {
    "text id": lambda good: {**good, "_id": "squatter"},
    "object id": lambda good: {**good, "_id": {"a": [1]}},
    "largest id": lambda good: {"transaction_hash": good["transaction_hash"], "_id": "x" * 8_390_000},
    "in a list": lambda good: {**good, "_id": ObjectId(), "transaction_hash": [good["transaction_hash"], "y"]},
    "other bridge": lambda good: {**good, "_id": ObjectId(), "wpokt_address": "0x", "junk": "x" * LARGE},
    "full": lambda good: {"_id": ObjectId(), "transaction_hash": good["transaction_hash"], "junk": "x" * (16 * 2**20 - 150)},
    "a field twice": lambda good: _twice({**good, "_id": ObjectId()}, "amount"),
    "well-formed": lambda good: {**good, "_id": ObjectId()},
}


@pytest.mark.parametrize("holder", HOLDERS.values(), ids=HOLDERS.keys())
@pytest.mark.parametrize("unique", [True, False])
async def test_a_key_is_taken_from_whoever_holds_it(
    store: Store, holder: Callable[[dict[str, Any]], Any], *, unique: bool
) -> None:
    """Whatever the holder is, it is moved aside by an update, is there afterwards and claims to be of no bridge of ours."""
    if unique:
        await init_db(store)
    blocked, other = mint(1), mint(2)
    mints = store.collection(MINT)
    plain = store.client.get_database(store.database.name).get_collection(mints.name)
    await plain.insert_one(holder(blocked), bypass_document_validation=True)
    await put(store, MINT, other)
    if unique:
        assert list((await insert_missing(store, MINT, [blocked])).occupied) == [(tx(1),)]
    before = store.operations["delete"]
    assert await free_key(store, MINT, blocked, blocked["_id"]) == 1
    assert await free_key(store, MINT, blocked, blocked["_id"]) == 0
    assert (await insert_missing(store, MINT, [blocked, other])).inserted == [blocked["_id"]]
    assert await mints.count_documents({}) == 3
    assert await mints.count_documents({"transaction_hash": {"$regex": "^displaced:[0-9a-f]{32}$"}}) == 1
    pages = open_ids(store, MINT, OPEN_STATUSES, BRIDGE)
    assert [one async for page in pages for one in page] == sorted([blocked["_id"], other["_id"]])
    assert store.operations["delete"] == before


async def test_many_holders_lose_it_at_once_and_the_own_document_keeps_it(store: Store) -> None:
    own = mint(1)
    await put(store, MINT, own)
    await store.collection(MINT).insert_many([{**own, "_id": ObjectId()} for _ in range(50)])
    assert await free_key(store, MINT, own, own["_id"]) == 50
    assert [row["_id"] async for row in store.collection(MINT).find({"transaction_hash": tx(1)})] == [own["_id"]]
