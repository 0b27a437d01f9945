"""Indexes and schema validators of the shared database: what they should be, made by `init-db` alone, verified by `run`.

No safety rests on them: a writer can drop them, and then things are slower or doubled, never wrong.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

import pymongo
from pymongo import ASCENDING, DESCENDING, IndexModel
from pymongo.errors import PyMongoError

from reactor.documents.statuses import REQUESTS, TERMINAL, Collection, Status
from reactor.sentences import counted, meaning
from reactor.store.connection import Document, Store
from reactor.store.problem import StoreProblem
from reactor.store.reading import DISPLACED, KEY_FIELDS
from reactor.store.schemas import schema

OPEN_STATUSES: Final = tuple(status for status in Status if status not in TERMINAL)
OPEN_INDEX: Final = "open"
_LONG_SECONDS: Final = 900.0
"""For what reads or indexes a whole collection: `init-db` alone waits so long."""
_SHOWN: Final = 5
_LEVEL: Final[Mapping[str, Any]] = {"validationLevel": "moderate", "validationAction": "error"}
"""Moderate: a document that is malformed already may be repaired step by step; a well-formed one must stay so."""


@dataclass(frozen=True, slots=True)
class Index:
    """One index: `keys` as (field, direction), `partial` its filter."""

    collection: Collection
    name: str
    keys: tuple[tuple[str, int], ...]
    unique: bool = False
    partial: Mapping[str, Any] | None = None

    def model(self) -> IndexModel:
        extra: Document = {} if self.partial is None else {"partialFilterExpression": dict(self.partial)}
        return IndexModel(list(self.keys), name=self.name, unique=self.unique, **extra)

    def same(self, stands: Mapping[str, Any]) -> bool:
        """Whether an index as the server lists it does the same, whatever its name."""
        return (
            list(stands["key"].items()) == list(self.keys)
            and bool(stands.get("unique", False)) == self.unique
            and stands.get("partialFilterExpression") == self.partial
            and not stands.get("sparse", False)
            and "collation" not in stands
        )


@dataclass(frozen=True, slots=True)
class Problem:
    """What is not as it should be, in which collection (by its name in the database), and what to do."""

    collection: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.collection}: {self.problem}; {self.remedy}"


@dataclass(slots=True)
class Report:
    """What `init_db` did. With `conflicts` nothing was changed."""

    conflicts: list[Problem] = field(default_factory=list)
    made: list[str] = field(default_factory=list)
    present: list[str] = field(default_factory=list)


# What the existing frontend and monitor ask for; the paths of a user's query must not grow with the history.
_QUERIES: Final[Mapping[Collection, Mapping[str, tuple[tuple[str, int], ...]]]] = {
    Collection.MINT: {
        "by_recipient": (("recipient_address", ASCENDING), ("created_at", DESCENDING)),
        "by_sender": (("sender_address", ASCENDING), ("created_at", DESCENDING)),
        "by_height": (("height", DESCENDING),),
    },
    Collection.INVALID_MINT: {
        "by_sender": (("sender_address", ASCENDING), ("created_at", DESCENDING)),
        "by_vault": (("vault_address", ASCENDING), ("created_at", DESCENDING)),
        "by_height": (("height", DESCENDING),),
    },
    Collection.BURN: {
        "by_recipient": (("recipient_address", ASCENDING), ("created_at", DESCENDING)),
        "by_sender": (("sender_address", ASCENDING), ("created_at", DESCENDING)),
        "by_height": (("block_number", DESCENDING),),
    },
    Collection.MINTED: {"by_transaction": (("transaction_hash", ASCENDING),)},
}


def plan() -> list[Index]:
    """All indexes, by the collections' roles."""
    indexes = [
        Index(role, "unique_key", tuple((name, ASCENDING) for name in names), unique=True) for role, names in KEY_FIELDS.items()
    ]
    partial = {"status": {"$in": [status.value for status in OPEN_STATUSES]}}
    indexes += [Index(role, OPEN_INDEX, (("status", ASCENDING), ("_id", ASCENDING)), partial=partial) for role in REQUESTS]
    indexes += [Index(role, name, keys) for role, named in _QUERIES.items() for name, keys in named.items()]
    return indexes


async def verify(store: Store) -> list[Problem]:
    """What `init-db` would still have to do: indexes and validators that are missing or other than planned. Changes nothing."""
    stands = await _state(store)
    problems = []
    for index in plan():
        name = store.names[index.collection]
        if not any(index.same(other) for other in stands[index.collection].indexes):
            problems.append(Problem(name, f"no index {index.name} on {_fields(index)}", "run `reactor init-db`"))
    for role, state in stands.items():
        if not state.validated(role):
            problems.append(Problem(store.names[role], "no schema validator, or another one", "run `reactor init-db`"))
    return problems


async def init_db(store: Store) -> Report:
    """Create collections, validators and indexes. Every conflict is listed first; if there is one, nothing is changed.

    May be run again: what stands is left alone. Raises `StoreProblem` where the user may not do it.
    """
    try:
        with pymongo.timeout(_LONG_SECONDS):
            stands = await _state(store)
            report = Report(conflicts=await _conflicts(store, stands))
            if not report.conflicts:
                for role, state in stands.items():
                    await _make(store, role, state, report)
    except PyMongoError as error:
        raise StoreProblem(
            "mongo.uri",
            f"init-db failed: {meaning(error)}",
            "run it as a user with the role dbAdmin on the database; it may be run again",
        ) from error
    return report


@dataclass(frozen=True, slots=True)
class _State:
    exists: bool
    indexes: list[Document]
    options: Mapping[str, Any]

    def validated(self, role: Collection) -> bool:
        wanted = {"validator": schema(role), **_LEVEL}
        return all(self.options.get(name) == value for name, value in wanted.items())


async def _state(store: Store) -> dict[Collection, _State]:
    listed = {one["name"]: one async for one in await store.database.list_collections()}
    states = {}
    for role, name in store.names.items():
        exists = name in listed
        indexes = [dict(one) async for one in await store.database[name].list_indexes()] if exists else []
        states[role] = _State(exists, indexes, listed.get(name, {}).get("options", {}))
    return states


async def _conflicts(store: Store, stands: Mapping[Collection, _State]) -> list[Problem]:
    problems = [problem for index in plan() for problem in _index_conflicts(store, index, stands[index.collection])]
    for index in plan():
        if index.unique and stands[index.collection].exists:
            problems += await _duplicates(store, index)
    for role, state in stands.items():
        if state.exists:
            problems += await _malformed(store, role)
    return problems


def _index_conflicts(store: Store, index: Index, state: _State) -> list[Problem]:
    name = store.names[index.collection]
    if any(index.same(other) for other in state.indexes):
        return []
    return [
        Problem(name, f"index {other['name']} on {list(other['key'])} stands in the way of {index.name}", f"drop {other['name']}")
        for other in state.indexes
        if other["name"] == index.name or list(other["key"].items()) == list(index.keys)
    ]


async def _duplicates(store: Store, index: Index) -> list[Problem]:
    key = {field_name: f"${field_name}" for field_name, _ in index.keys}
    pipeline: list[Document] = [
        {"$group": {"_id": key, "count": {"$sum": 1}, "ids": {"$firstN": {"input": "$_id", "n": _SHOWN}}}},
        {"$match": {"count": {"$gt": 1}}},
        {"$limit": _SHOWN},
    ]
    name = store.names[index.collection]
    rows = await (await store.collection(index.collection).aggregate(pipeline, allowDiskUse=True)).to_list()
    return [
        Problem(
            name,
            f"{row['count']} documents have the same {_fields(index)}, among them {_shown(row['ids'])}",
            "keep the one that the chain shows and remove the others",
        )
        for row in rows
    ]


async def _malformed(store: Store, role: Collection) -> list[Problem]:
    # What lost its key to an event's own document stays as it is: nobody reads it.
    query: Document = {"$nor": [schema(role)]}
    if role in KEY_FIELDS:
        query[KEY_FIELDS[role][0]] = {"$not": {"$regex": f"^{DISPLACED}"}}
    ids = [row["_id"] async for row in store.collection(role).find(query, {"_id": 1}).limit(_SHOWN)]
    if not ids:
        return []
    count = counted(await store.collection(role).count_documents(query), "document breaks", "documents break")
    return [Problem(store.names[role], f"{count} the schema, among them {_shown(ids)}", "mend or remove them")]


async def _make(store: Store, role: Collection, state: _State, report: Report) -> None:
    name = store.names[role]
    if not state.exists:
        await store.database.create_collection(name, validator=schema(role), **_LEVEL)
        report.made.append(f"{name} with its schema")
    elif not state.validated(role):
        await store.database.command({"collMod": name, "validator": schema(role), **_LEVEL})
        report.made.append(f"{name} schema")
    else:
        report.present.append(f"{name} schema")
    missing = []
    for index in (index for index in plan() if index.collection is role):
        there = any(index.same(other) for other in state.indexes)
        (report.present if there else report.made).append(f"{name} index {index.name}")
        if not there:
            missing.append(index.model())
    if missing:
        await store.database[name].create_indexes(missing)


def _fields(index: Index) -> str:
    return " + ".join(name for name, _ in index.keys)


def _shown(ids: list[Any]) -> str:
    return ", ".join(str(one)[:80] for one in ids)
