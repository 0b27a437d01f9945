"""Many compare-and-set writes in one command per collection: the conditional bulk is the write."""

import asyncio
from collections.abc import Mapping, Sequence
from enum import Enum
from typing import Any, Final

from pymongo import ReplaceOne, UpdateOne
from pymongo.errors import BulkWriteError

from reactor.documents.statuses import Collection
from reactor.store.connection import Document, Store
from reactor.store.retrying import is_passing, retrying
from reactor.store.updates import Update

MOST: Final = 1000
"""Updates per command; more are sent one command after the other."""


class Written(Enum):
    """What became of one update.

    APPLIED: written. UNKNOWN: it or another of its command matched nothing; read the document again, it says. REFUSED: the server
    refused this one (another document holds its unique key, or the collection's schema forbids it); trying again won't help.
    """

    APPLIED = "applied"
    UNKNOWN = "unknown"
    REFUSED = "refused"


async def bulk(store: Store, updates: Sequence[Update]) -> list[Written]:
    """Carry out `updates`, in no order, and say of each what became of it.

    A bulk answers only how many matched. All matched: all APPLIED; else all of that command are UNKNOWN. Retried within bounds
    when no primary answers, which is harmless: a write that was carried out no longer matches its guard. Raises a
    `PyMongoError` after that.
    """
    results: list[Written] = [Written.UNKNOWN] * len(updates)
    places: dict[Collection, list[int]] = {}
    for index, update in enumerate(updates):
        places.setdefault(update.collection, []).append(index)
    parts = await asyncio.gather(
        *(_collection(store, collection, [updates[i] for i in indexes]) for collection, indexes in places.items())
    )
    for indexes, part in zip(places.values(), parts, strict=True):
        for index, written in zip(indexes, part, strict=True):
            results[index] = written
    return results


async def _collection(store: Store, collection: Collection, updates: Sequence[Update]) -> list[Written]:
    written: list[Written] = []
    for start in range(0, len(updates), MOST):
        written += await _command(store, collection, updates[start : start + MOST])
    return written


async def _command(store: Store, collection: Collection, updates: Sequence[Update]) -> list[Written]:
    requests = [_request(update) for update in updates]

    async def run() -> list[Written]:
        try:
            result = await store.collection(collection).bulk_write(requests, ordered=False)
        except BulkWriteError as error:
            if is_passing(error):
                raise
            return _refused(store, collection, updates, error.details or {})
        return [Written.APPLIED if result.matched_count == len(updates) else Written.UNKNOWN] * len(updates)

    return await retrying(run)


def _request(update: Update) -> UpdateOne | ReplaceOne[Document]:
    # The hint keeps the planner from weighing other indexes, which whoever can write may have added.
    if update.whole is not None:
        return ReplaceOne(update.query, dict(update.whole), hint="_id_")
    return UpdateOne(update.query, [dict(stage) for stage in update.pipeline], hint="_id_")


def _refused(store: Store, collection: Collection, updates: Sequence[Update], details: Mapping[str, Any]) -> list[Written]:
    faults = {fault["index"]: fault.get("code") for fault in details.get("writeErrors", [])}
    for index, code in faults.items():
        update = updates[index]
        # Under the name by which the engine tells of this document: it is one trouble, over when the document is handled again.
        name = store.names[collection]
        refused = f"the server refused a write of kind {update.kind} (code {code})"
        store.outages.failed(f"{name} {update.id}", refused, lasting=False, group=f"{name} documents")
    others = Written.APPLIED if details.get("nMatched", -1) == len(updates) - len(faults) else Written.UNKNOWN
    return [Written.REFUSED if index in faults else others for index in range(len(updates))]
