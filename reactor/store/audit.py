"""The audit collection: what operators did, who and why. Only ever inserted to; no role may change or delete an entry.

It is for people. Nothing is decided by it: what is in force stands in each validator's own state.
"""

from collections.abc import Mapping
from typing import Any, Final

from bson import ObjectId
from pymongo.errors import DuplicateKeyError

from reactor.documents.statuses import Collection
from reactor.store.connection import Document, Store
from reactor.store.reading import aggregate, no_larger
from reactor.store.retrying import retrying

MOST: Final = 1000
_LARGEST: Final = 65_536


async def write_audit(store: Store, entry: Mapping[str, Any]) -> ObjectId:
    """Insert one entry; its `_id`, which is the entry's own (an ObjectId or its hex digits) where it has one.

    Raises a `PyMongoError` after bounded retries. An entry that lies there already is not written again.
    """
    own = ObjectId(entry.get("_id"))

    async def run() -> None:
        try:
            await store.collection(Collection.AUDIT).insert_one({**entry, "_id": own})
        except DuplicateKeyError:
            return  # an earlier try arrived though nobody said so

    await retrying(run)
    return own


async def read_audit(store: Store, limit: int = 50) -> list[Document]:
    """The newest entries, newest first. SECURITY: claims: whoever may write to the database can insert an entry."""
    pipeline: list[Document] = [
        {"$sort": {"_id": -1}},
        no_larger(_LARGEST),
        {"$limit": min(limit, MOST)},
    ]
    return await aggregate(store, Collection.AUDIT, pipeline)
