"""Inserts by scanners and sweeps: find what is missing, then insert that. Twelve validators do so at once; one of them wins."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final
from uuid import uuid4

from bson import ObjectId
from loguru import logger
from pymongo.errors import BulkWriteError

from reactor.documents.statuses import Collection
from reactor.sentences import counted
from reactor.store.connection import Document, Store
from reactor.store.reading import BATCH, DISPLACED, KEY_FIELDS, Key, find_ids, natural_key
from reactor.store.retrying import DUPLICATE_KEY, is_passing, retrying

_BRIDGE_FIELDS: Final = ("wpokt_address", "vault_address")
"""What names the bridge that a document is of."""


@dataclass(slots=True)
class InsertReport:
    """What became of the documents, by `_id`. The four parts together are all that were given.

    `occupied`: natural keys that a document with another `_id` holds, and that `_id`. `refused`: malformed, says the server.
    """

    inserted: list[ObjectId] = field(default_factory=list)
    present: list[ObjectId] = field(default_factory=list)
    occupied: dict[Key, Any] = field(default_factory=dict)
    refused: list[ObjectId] = field(default_factory=list)


async def insert_missing(store: Store, collection: Collection, documents: Sequence[Mapping[str, Any]]) -> InsertReport:
    """Insert those of `documents` (from `documents.build`, with their `_id`) that are not there. Never changes one that is.

    To have lost the race against another validator counts as `present`. Raises a `PyMongoError` after bounded retries.
    """
    report = InsertReport()
    for start in range(0, len(documents), BATCH):
        await _batch(store, collection, documents[start : start + BATCH], report)
    if store.outages.any:
        for document_id in (*report.inserted, *report.present):
            store.outages.worked(_inserting(collection, document_id))
    return report


async def _batch(store: Store, collection: Collection, documents: Sequence[Mapping[str, Any]], report: InsertReport) -> None:
    there = await _present(store, collection, [document["_id"] for document in documents])
    report.present += [document["_id"] for document in documents if document["_id"] in there]
    missing = [dict(document) for document in documents if document["_id"] not in there]
    if not missing:
        return
    faults = await _insert(store, collection, missing)
    report.inserted += [document["_id"] for index, document in enumerate(missing) if index not in faults]
    doubles = [missing[index] for index, code in faults.items() if code == DUPLICATE_KEY]
    if doubles:
        await _sort_out(store, collection, doubles, report)
    for index, code in faults.items():
        if code != DUPLICATE_KEY:
            document_id = missing[index]["_id"]
            refused = f"the server refused it (code {code})"
            group = f"inserts of {collection.value}"
            store.outages.failed(_inserting(collection, document_id), refused, lasting=False, group=group)
            report.refused.append(document_id)


def _inserting(collection: Collection, document_id: object) -> str:
    return f"insert of {collection.value} {document_id}"


async def _present(store: Store, collection: Collection, ids: Sequence[ObjectId]) -> set[ObjectId]:
    async def run() -> set[ObjectId]:
        return {row["_id"] async for row in store.collection(collection).find({"_id": {"$in": list(ids)}}, {"_id": 1})}

    return await retrying(run)


async def _insert(store: Store, collection: Collection, documents: list[Document]) -> dict[int, int | None]:
    """The faults of one unordered insert, code by index."""

    async def run() -> dict[int, int | None]:
        try:
            await store.collection(collection).insert_many(documents, ordered=False)
        except BulkWriteError as error:
            if is_passing(error):
                raise
            return {fault["index"]: fault.get("code") for fault in (error.details or {}).get("writeErrors", [])}
        return {}

    return await retrying(run)


async def _sort_out(store: Store, collection: Collection, doubles: Sequence[Document], report: InsertReport) -> None:
    """Duplicate keys: of the `_id` (another validator was faster) or of the natural key alone (somebody else's document)."""
    there = await _present(store, collection, [document["_id"] for document in doubles])
    report.present += [document["_id"] for document in doubles if document["_id"] in there]
    foreign = [natural_key(collection, document) for document in doubles if document["_id"] not in there]
    if not foreign:
        return
    holders = await find_ids(store, collection, foreign)
    report.occupied |= {key: holders.get(key) for key in foreign}


async def free_key(store: Store, collection: Collection, document: Mapping[str, Any], keep: ObjectId) -> int:
    """Take the natural key of `document` from all documents but `keep` that hold it, in a list too; answers how many.

    For a key that stands in the way of an event's own document, in one that nobody can read or that is another event's. Nothing
    is deleted (validators may not): the holder's key becomes `displaced:…`, and one that claims to be of this bridge is of none.
    If it is another event's own document, its handler repairs it.
    """
    names = KEY_FIELDS[collection]
    holds: Document = {**dict(zip(names, natural_key(collection, document), strict=True)), "_id": {"$ne": keep}}
    # A key has 64 characters or more. The mark is shorter, and the bridge's names are emptied only where they stand: a document
    # that somebody made as large as can be must not grow by the change that moves it away.
    mark = {names[0]: f"{DISPLACED}{uuid4().hex}"}
    of_bridge = {name: document[name] for name in _BRIDGE_FIELDS if name in document and name != names[0]}
    moved = await _displace(store, collection, {**holds, **of_bridge}, {**dict.fromkeys(of_bridge, ""), **mark})
    moved += await _displace(store, collection, holds, mark)
    if moved:
        logger.warning("{} {}: took its key from {}", collection.value, keep, counted(moved, "other document"))
    return moved


async def _displace(store: Store, collection: Collection, query: Document, fields: Mapping[str, str]) -> int:
    async def run() -> int:
        # SECURITY: a plain `$set`, no pipeline: see `updates.replace_unreadable`. To many at once it is not a retryable write,
        # so its oplog entry holds a forged `_id`, however large, only once.
        return (await store.collection(collection).update_many(query, {"$set": dict(fields)})).matched_count

    return await retrying(run)
