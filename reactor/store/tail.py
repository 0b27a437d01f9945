"""What operators ask the shared database: how many, what is oldest, where is this transaction. Bounded by open documents."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Final

from bson import ObjectId

from reactor.documents.models import CLOCKS_DIFFER
from reactor.documents.statuses import REQUESTS, Collection, Status
from reactor.store.connection import Document, Store
from reactor.store.indexes import OPEN_STATUSES
from reactor.store.reading import LARGEST, aggregate, no_larger
from reactor.store.retrying import answers, retrying

OLDEST: Final = 10
MOST_FOUND: Final = 20
_OBJECT_ID_LENGTH: Final = 24
_TRACES: Final = ("transaction_hash", "return_tx_hash", "mint_tx_hash")


@dataclass(frozen=True, slots=True)
class Counts:
    """How many documents stand where. `total` is the collection's own count: closed ones are `total` less all that is open."""

    open: Mapping[Status, int]
    total: int


@dataclass(frozen=True, slots=True)
class Row:
    """One document, briefly. A field that is absent or of a wrong type is empty.

    `waiting`: the code of what it waits for, empty where that was written in an earlier status.
    """

    collection: Collection
    id: Any
    status: str
    transaction_hash: str
    created_at: datetime | None
    updated_at: datetime | None
    signers: int
    waiting: str


async def counts(store: Store) -> dict[Collection, Counts]:
    """Open documents by status and all documents, of each request collection."""
    return {role: await _counts(store, role) for role in REQUESTS}


async def _counts(store: Store, role: Collection) -> Counts:
    pipeline: list[Document] = [
        {"$match": {"status": {"$in": [status.value for status in OPEN_STATUSES]}}},
        {"$group": {"_id": "$status", "count": {"$sum": 1}}},
    ]
    found = await aggregate(store, role, pipeline)
    with answers():
        rows = {row["_id"]: int(row["count"]) for row in found if isinstance(row["_id"], str)}

    async def total() -> int:
        return await store.collection(role).estimated_document_count()

    return Counts({status: rows.get(status.value, 0) for status in OPEN_STATUSES}, await retrying(total))


async def oldest(store: Store, status: Status, limit: int = OLDEST) -> list[Row]:
    """The oldest documents that stand in an open `status`, over all request collections, oldest first."""
    rows: list[Row] = []
    for role in REQUESTS:
        pipeline: list[Document] = [
            {"$match": {"status": status.value}},
            {"$project": _BRIEF},
            {"$sort": {"created_at": 1}},
            {"$limit": limit},
        ]
        found = await aggregate(store, role, pipeline)
        with answers():
            rows += [_row(role, row) for row in found]
    return sorted(rows, key=lambda row: (row.created_at is None, row.created_at and row.created_at.timestamp()))[:limit]


async def find(store: Store, text: str) -> list[tuple[Collection, Document]]:
    """The documents that a hash (with or without `0x`, any case) or an `_id` (24 hex digits) names, over all collections.

    Source transactions are found by index; the hashes of mints and returns by reading the whole collection, only where nothing
    else was found. Documents that are too large are left out.
    """
    found: list[tuple[Collection, Document]] = []
    for query in _queries(text.strip().lower()):
        for role in (*REQUESTS, Collection.MINTED, Collection.RETURNED):
            pipeline: list[Document] = [
                {"$match": query},
                no_larger(LARGEST),
                {"$limit": MOST_FOUND},
            ]
            found += [(role, row) for row in await aggregate(store, role, pipeline)]
        if found:
            break
    return found


def _queries(text: str) -> list[Document]:
    if len(text) == _OBJECT_ID_LENGTH and ObjectId.is_valid(text):
        return [{"_id": ObjectId(text)}]
    bare = text.removeprefix("0x")
    # The node of the old network writes hashes in upper case; an earlier validator stored them so.
    spellings = [bare, f"0x{bare}", bare.upper()]
    return [{"transaction_hash": {"$in": spellings}}, {"$or": [{name: {"$in": spellings}} for name in _TRACES[1:]]}]


def _text(name: str) -> Document:
    field = f"${name}"
    is_text = {"$eq": [{"$type": field}, "string"]}
    return {"$substrCP": [{"$cond": [is_text, field, ""]}, 0, 100]}


def _date(name: str) -> Document:
    return {"$cond": [{"$eq": [{"$type": f"${name}"}, "date"]}, f"${name}", None]}


_BRIEF: Final[Document] = {
    "status": _text("status"),
    "transaction_hash": _text("transaction_hash"),
    "waiting": _text("waiting.reason"),
    "waiting_at": _date("waiting.at"),
    "moved_at": {"$max": "$history.at"},
    "created_at": _date("created_at"),
    "updated_at": _date("updated_at"),
    "signers": {"$size": {"$cond": [{"$isArray": ["$signers"]}, "$signers", []]}},
}


def _row(role: Collection, row: Mapping[str, Any]) -> Row:
    created, updated, said, moved = (
        one if isinstance(one := row.get(name), datetime) else None
        for name in ("created_at", "updated_at", "waiting_at", "moved_at")
    )
    stale = moved is not None and (said is None or said + CLOCKS_DIFFER < moved)
    waiting = "" if stale else row["waiting"]
    return Row(role, row["_id"], row["status"], row["transaction_hash"], created, updated, row["signers"], waiting)
