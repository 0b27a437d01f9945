"""Heartbeats: what each validator says of itself, one document per validator and host."""

from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from reactor.documents.keys import document_id
from reactor.documents.statuses import Collection
from reactor.store.connection import Document, Store
from reactor.store.reading import aggregate, no_larger
from reactor.store.retrying import answers, retrying

MOST: Final = 256
"""Heartbeats read at once: several hosts for each of some dozen validators."""
_LARGEST: Final = 65_536


async def beat(store: Store, heartbeat: Mapping[str, Any]) -> None:
    """Write one's own heartbeat in the place of the earlier one of this `validator_id` and `hostname`.

    `created_at` stays that of the first beat. Whatever else stood there is gone. Raises a `PyMongoError` after bounded retries.
    """
    who = {name: heartbeat[name] for name in ("validator_id", "hostname")}
    # The same `_id` everywhere, so that one document remains even if somebody dropped the unique index.
    own = document_id(Collection.HEARTBEAT, f"{who['validator_id']}:{who['hostname']}")
    said = {name: value for name, value in heartbeat.items() if name not in {"_id", "id"}}

    async def run() -> None:
        there = store.collection(Collection.HEARTBEAT)  # of the client to use now: another may have taken its place
        # SECURITY: whole documents, no pipeline: see `updates.replace_unreadable`.
        stands = await there.find_one(who, {"_id": 0, "created_at": 1}) or {}
        first = stands.get("created_at")
        whole = {**said, "created_at": first if isinstance(first, datetime) else heartbeat["created_at"]}
        if not (await there.replace_one(who, whole)).matched_count:
            await there.replace_one({"_id": own}, whole, upsert=True)

    await retrying(run)


async def read_heartbeats(store: Store, addresses: Sequence[str] | None = None) -> list[Document]:
    """The heartbeats as they lie there, newest first: of these Ethereum `addresses`, or all.

    At most `MOST`; one that is too large is left out.

    SECURITY: they are claims; the caller verifies each signature.
    """
    match: Document = {} if addresses is None else {"eth_address": {"$in": list(addresses)}}
    pipeline: list[Document] = [
        {"$match": match},
        no_larger(_LARGEST),
        {"$sort": {"updated_at": -1}},
        {"$limit": MOST},
    ]
    return await aggregate(store, Collection.HEARTBEAT, pipeline)


async def heartbeats_at(store: Store, ids: Iterable[Any]) -> list[Document]:
    """The heartbeats under these `_id`s: those of validators that were heard before are found among any number of forged ones.

    At most `MOST`; one that is too large is left out. SECURITY: claims, as above.
    """
    wanted = list(dict.fromkeys(ids))[:MOST]
    if not wanted:
        return []
    pipeline: list[Document] = [
        {"$match": {"_id": {"$in": wanted}}},
        no_larger(_LARGEST),
    ]
    return await aggregate(store, Collection.HEARTBEAT, pipeline)


async def instance_heartbeats(store: Store, instance: str) -> list[Document]:
    """The heartbeats that name this process, at most `MOST`; one that is too large is left out. SECURITY: claims, as above."""
    pipeline: list[Document] = [
        {"$match": {"instance": instance}},
        no_larger(_LARGEST),
        {"$sort": {"updated_at": -1}},
        {"$limit": MOST},
    ]
    return await aggregate(store, Collection.HEARTBEAT, pipeline)


async def each_heartbeat(store: Store) -> AsyncIterator[Document]:
    """Every heartbeat that is not too large, in no order: for people, who want to find the honest ones whatever lies there."""
    with answers():
        async with await store.collection(Collection.HEARTBEAT).aggregate([no_larger(_LARGEST)], batchSize=MOST) as cursor:
            async for row in cursor:
                if isinstance(row, dict):
                    yield row
