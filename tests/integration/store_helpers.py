"""What the store's tests share: a store on a replica set, a bridge, documents as scanners build them."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from datetime import UTC, datetime
from typing import Any
from uuid import uuid4

from bson import ObjectId

from infra.localnet.mongod import MongoReplicaSet
from reactor.documents.bridge import Bridge, Schedule
from reactor.documents.build import burn_document, deposit_document, minted_document, returned_document
from reactor.documents.events import BlockRef, Burn, Deposit, Minted, Returned
from reactor.documents.statuses import Collection
from reactor.store.connection import Store
from reactor.store.reading import read

NOW = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
LATER = datetime(2026, 1, 2, 3, 5, 5, tzinfo=UTC)
VAULT = "aa" * 20
RECIPIENT = "0x" + "bb" * 20
BRIDGE = Bridge(
    pocket_chain_id="localnet",
    vault=VAULT,
    pocket_keys=("11" * 32, "22" * 32),
    pocket_start=1,
    deposit_fee=Schedule(((0, 10_000),)),
    maximum=Schedule(((0, 10**12),)),
    ethereum_chain_id=31337,
    wpokt="0x" + "cc" * 20,
    mint_controller="0x" + "dd" * 20,
    ethereum_start=1,
    burn_fee=Schedule(((0, 10_000),)),
)
FRONTEND_NAMES = {Collection.MINT: "mints", Collection.INVALID_MINT: "invalidMints", Collection.BURN: "burns"}


@contextmanager
def replica_set(**options: Any) -> Iterator[MongoReplicaSet]:
    """A replica set that outlives the event loop of one test; its cache holds the largest documents several times over."""
    mongo = MongoReplicaSet(**{"cache_gb": 1.0, **options})
    try:
        asyncio.run(mongo.open())
        yield mongo
    finally:
        asyncio.run(mongo.close())


@asynccontextmanager
async def new_store(uri: str, **options: Any) -> AsyncIterator[Store]:
    """A store on a database of its own, removed afterwards."""
    async with await Store.connect(uri, f"t{uuid4().hex}", **options) as store:
        yield store
        await store.client.drop_database(store.database.name)


def tx(number: int) -> str:
    return f"{number:064x}"


def deposit(number: int, *, memo: bool = True) -> Deposit:
    block = BlockRef(100 + number, "ee" * 32, 1_700_000_000)
    parsed = (RECIPIENT, "31337") if memo else (None, None)
    return Deposit(tx(number), 0, block, "ab" * 20, 5_000_000, 0, True, '{"address":"x"}', *parsed)


def mint(number: int, **fields: Any) -> dict[str, Any]:
    """A mint document, as the scanner builds it, with `fields` changed."""
    collection, document = deposit_document(BRIDGE, deposit(number), NOW)
    assert collection is Collection.MINT
    return {**document, **fields}


def invalid_mint(number: int, **fields: Any) -> dict[str, Any]:
    collection, document = deposit_document(BRIDGE, deposit(number, memo=False), NOW)
    assert collection is Collection.INVALID_MINT
    return {**document, **fields}


def burn(number: int, index: int = 0, **fields: Any) -> dict[str, Any]:
    block = BlockRef(200 + number, "0x" + "ff" * 32, 1_700_000_000)
    event = Burn("0x" + tx(number), index, index + 3, block, "0x" + "ab" * 20, "ab" * 20, 5_000_000)
    return {**burn_document(BRIDGE, event, NOW), **fields}


def minted(number: int) -> dict[str, Any]:
    block = BlockRef(300 + number, "0x" + "fe" * 32, 1_700_000_000)
    return minted_document(BRIDGE, Minted(RECIPIENT, 5_000_000, number, "0x" + tx(number), 1, block), NOW)


def returned(number: int) -> dict[str, Any]:
    block = BlockRef(300 + number, "fe" * 32, 1_700_000_000)
    return returned_document(BRIDGE, Returned(tx(number), 0, block, "ab" * 20, 4_990_000, 10_000, "m", -7, 0), NOW)


async def put(store: Store, collection: Collection, document: dict[str, Any]) -> ObjectId:
    await store.collection(collection).insert_one(document)
    doc_id: ObjectId = document["_id"]
    return doc_id


async def now_is(store: Store, collection: Collection, doc_id: ObjectId) -> dict[str, Any]:
    """The document as it lies there, read by the store's own reader."""
    raw = (await read(store, collection, [doc_id]))[doc_id].raw
    assert raw is not None
    return raw
