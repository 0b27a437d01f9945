"""Reads for decisions: many documents in one aggregate, none of them able to spoil the others.

A document may be of any size and shape (the database is not trusted): the body of one that is too large is never fetched.
"""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from collections.abc import Collection as Many
from dataclasses import dataclass
from itertools import product
from types import MappingProxyType
from typing import Any, Final

import bson
from bson import ObjectId
from bson.errors import BSONError

from reactor.documents.bridge import Bridge
from reactor.documents.statuses import Collection
from reactor.store.connection import Document, Store
from reactor.store.retrying import answers, retrying

LARGEST: Final = 262_144
"""Bytes of the largest document that is fetched. An honest one has some 10 KiB: 12 signatures, typed data, 64 history entries."""
BATCH: Final = 256
"""Documents per aggregate: at worst 64 MiB at once."""
PAGE: Final = 1000
"""Ids per page of `open_ids`."""
EVERY: Final[Mapping[str, Any]] = MappingProxyType({})
"""The query that every document fits."""
_LARGEST_ID: Final = 1024
_FIRST_ID: Final = ObjectId("0" * 24)

Key = tuple[str, ...]

KEY_FIELDS: Final[Mapping[Collection, tuple[str, ...]]] = {
    Collection.MINT: ("transaction_hash",),
    Collection.INVALID_MINT: ("transaction_hash",),
    Collection.BURN: ("transaction_hash", "burn_index"),
    Collection.MINTED: ("wpokt_address", "recipient_address", "nonce", "block_hash"),
    Collection.RETURNED: ("transaction_hash",),
    Collection.HEARTBEAT: ("validator_id", "hostname"),
}
"""The natural key of each collection: what its unique index is over. Audit entries have none."""
DISPLACED: Final = "displaced:"
"""How the first field of a key begins in a document whose key was taken away (`insert.free_key`)."""


@dataclass(frozen=True, slots=True)
class Found:
    """A document that is there. `raw` is None where it is `oversized`: too large, or not one that can be read and sent back
    unchanged (a field twice, a broken string). Its `size` in bytes is what `updates.replace_unreadable` needs.
    """

    raw: Document | None
    size: int

    @property
    def oversized(self) -> bool:
        return self.raw is None


def natural_key(collection: Collection, document: Mapping[str, Any]) -> Key:
    """The values of `KEY_FIELDS` in a document of ours."""
    return tuple(document[name] for name in KEY_FIELDS[collection])


async def read(store: Store, collection: Collection, ids: Iterable[ObjectId]) -> dict[ObjectId, Found]:
    """The current documents of `ids`; one that is not there is not in the answer. One aggregate for up to `BATCH` ids.

    Raises a `PyMongoError` after bounded retries.
    """
    wanted = list(dict.fromkeys(ids))
    found: dict[ObjectId, Found] = {}
    for start in range(0, len(wanted), BATCH):
        batch = wanted[start : start + BATCH]
        rows = await aggregate(store, collection, _bodies(batch))
        with answers():
            found |= {_id_of(row): Found(_readable(row), int(row["size"])) for row in rows}
    return found


def _id_of(row: Document) -> ObjectId:
    """Raises TypeError for an id that cannot be one of those that were asked for."""
    if isinstance(found := row["_id"], ObjectId):
        return found
    raise TypeError


def _bodies(ids: Sequence[ObjectId]) -> list[Document]:
    size = {"$bsonSize": "$$ROOT"}
    raw = {"$cond": [{"$lte": [size, LARGEST]}, "$$ROOT", "$$REMOVE"]}
    return [{"$match": {"_id": {"$in": list(ids)}}}, {"$project": {"size": size, "raw": raw}}]


def _readable(row: Document) -> Document | None:
    raw: Document | None = row.get("raw")
    if raw is None:
        return None
    try:
        same = len(bson.encode(raw)) == row["size"]
    except (BSONError, OverflowError, ValueError, TypeError):
        same = False
    return raw if same else None


async def find_ids(store: Store, collection: Collection, keys: Many[Key]) -> dict[Key, Any]:
    """Which `_id` holds each natural key, whatever that `_id` is (None: a huge one). Keys that are free are not in the answer.

    An array that contains a key's value holds the key too: a unique index sees it so.
    """
    wanted = list(dict.fromkeys(keys))
    found: dict[Key, Any] = {}
    for start in range(0, len(wanted), BATCH):
        batch = wanted[start : start + BATCH]
        values = {name: sorted({key[i] for key in batch}) for i, name in enumerate(KEY_FIELDS[collection])}
        rows = await aggregate(store, collection, _holders(values))
        with answers():
            for row in rows:
                held = set(product(*(row["holds"][name] for name in values))) & set(batch)
                found |= {key: row.get("_id") for key in held if not isinstance(found.get(key), ObjectId)}
    return found


def _holders(values: Mapping[str, Sequence[str]]) -> list[Document]:
    small = {"$lte": [{"$bsonSize": {"id": "$_id"}}, _LARGEST_ID]}
    holds = {
        name: {"$setIntersection": [{"$cond": [{"$isArray": [f"${name}"]}, f"${name}", [f"${name}"]]}, {"$literal": list(known)}]}
        for name, known in values.items()
    }
    return [
        {"$match": {name: {"$in": list(known)} for name, known in values.items()}},
        {"$project": {"_id": {"$cond": [small, "$_id", None]}, "holds": holds}},
    ]


async def open_ids(
    store: Store,
    collection: Collection,
    statuses: Iterable[str],
    bridge: Bridge,
    *,
    page: int = PAGE,
    where: Mapping[str, Any] = EVERY,
) -> AsyncIterator[list[ObjectId]]:
    """The ids of the documents of this bridge that stand in `statuses`, in pages, by status and then `_id`.

    `where`: a query of ours that they must fit too.

    Only ids of type ObjectId: other documents are not ours. Documents that come or change status meanwhile may be missed: the
    change stream brings them.
    """
    for status in statuses:
        last: ObjectId | None = None
        while True:
            ids = await open_page(store, collection, status, bridge, after=last, size=page, where=where)
            if ids:
                yield ids
                last = ids[-1]
            if len(ids) < page:
                break


async def open_page(
    store: Store,
    collection: Collection,
    status: str,
    bridge: Bridge,
    *,
    after: ObjectId | None,
    size: int,
    where: Mapping[str, Any] = EVERY,
) -> list[ObjectId]:
    """One page of `open_ids`: at most `size` ids above `after`, in order."""
    query = {
        "wpokt_address": bridge.wpokt,
        "vault_address": bridge.vault,
        "sender_chain_id": str(bridge.ethereum_chain_id) if collection is Collection.BURN else bridge.pocket_chain_id,
        "status": str(status),
        # Comparing with an ObjectId finds ids of that type only.
        "_id": {"$gt": after or _FIRST_ID},
        **where,
    }

    async def run() -> list[ObjectId]:
        return [_id_of(row) async for row in store.collection(collection).find(query, {"_id": 1}).sort("_id", 1).limit(size)]

    return await retrying(run)


async def aggregate(store: Store, collection: Collection, pipeline: Sequence[Mapping[str, Any]]) -> list[Document]:
    """All rows of one aggregate, documents all of them. Raises a `PyMongoError` after bounded retries."""

    async def run() -> list[Document]:
        rows: list[Any] = await (await store.collection(collection).aggregate(pipeline)).to_list()
        if not all(isinstance(row, dict) for row in rows):
            raise TypeError
        return rows

    return await retrying(run)


def no_larger(size: int) -> Document:
    """The stage that leaves out documents of more than `size` bytes, before their bodies are fetched."""
    return {"$match": {"$expr": {"$lte": [{"$bsonSize": "$$ROOT"}, size]}}}
