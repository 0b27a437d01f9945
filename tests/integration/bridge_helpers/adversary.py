"""Somebody with write access to the shared database: every forgery bypasses the schema, and must have taken effect."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from bson import Decimal128, Int64, ObjectId, Regex
from eth_account import Account

from bridge_helpers.harness import BridgeUnderTest
from reactor.documents.statuses import Collection
from reactor.engine.tasks import end

Document = dict[str, Any]
NOW = datetime(2020, 1, 1, tzinfo=UTC)
STRANGER = Account.create()
GARBAGE = "0x" + "5a" * 65

WRONG_TYPES: Mapping[str, Any] = {
    "status": 7,
    "amount": Decimal128("NaN"),
    "confirmations": True,
    "signers": {"0": "x"},
    "signatures": "0x",
    "history": [1, 2, 3],
    "objections": [[], None, {"signer": 5}],
    "waiting": [[[]]],
    "created_at": "yesterday",
    "updated_at": Int64(2**62),
    "sender_address": None,
    "sender_chain_id": 31337,
    "vault_address": ["x"],
    "wpokt_address": {"$gt": ""},
    "height": -1.5,
    "recipient_address": Regex("."),
    "recipient_chain_id": b"\xff",
    "nonce": Int64(-1),
    "memo": float("nan"),
    "data": [],
    "typed_data": 0,
    "mint_tx_hash": None,
    "attempt": "-1",
    "return_tx": 5,
    "return_tx_hash": [],
    "log_index": "ff",
    "block_number": "\u0661",
    "block_hash": 3,
    "$where": "sleep(1000)",
    "malformed": "yes",
}
"""By field; each of a type or shape that no honest writer uses."""


def forged(collection: Collection, hash_: str, bridge: BridgeUnderTest, **fields: Any) -> Document:
    """A well-formed document under a right key that says everything else wrong."""
    identity = bridge.net.bridge
    document: Document = {
        "_id": ObjectId(),
        "transaction_hash": hash_,
        "sender_address": "66" * 20,
        "sender_chain_id": "31337" if collection is Collection.BURN else "localnet",
        "wpokt_address": identity.wpokt,
        "vault_address": identity.vault,
        "amount": "999999999999",
        "confirmations": "99",
        "status": "pending",
        "signers": [],
        "signatures": [],
        "history": [],
        "objections": [],
        "waiting": None,
        "created_at": NOW,
        "updated_at": NOW,
    }
    thief_ethereum, thief_pocket = STRANGER.address.lower(), "66" * 20
    if collection is Collection.MINT:
        document |= {
            "height": "1",
            "recipient_address": thief_ethereum,
            "recipient_chain_id": "31337",
            "nonce": "1",
            "memo": {"address": thief_ethereum, "chain_id": "31337"},
            "data": {"recipient": thief_ethereum, "amount": "999999999999", "nonce": "1"},
            "typed_data": "{}",
            "mint_tx_hash": "",
        }
    else:
        document |= {"attempt": "0", "return_tx": "", "return_tx_hash": ""}
    if collection is Collection.INVALID_MINT:
        document |= {"height": "1", "memo": "forged"}
    if collection is Collection.BURN:
        document |= {
            "log_index": "99",
            "burn_index": "0",
            "block_number": "1",
            "block_hash": "0x" + "00" * 32,
            "recipient_address": thief_pocket,
            "recipient_chain_id": "localnet",
        }
    return document | fields


ORDER = ["pending", "confirmed", "signed", "submitted", "success"]
Act = Callable[["Adversary", Any], Awaitable[object]]


@dataclass(frozen=True)
class _Trap:
    rank: int
    act: Act
    done: "asyncio.Future[str]"


@dataclass
class Adversary:
    """Writes into the collections of one bridge, and can react to a document's status as quickly as a validator."""

    bridge: BridgeUnderTest
    _watched: dict[Any, "_Trap"] = field(default_factory=dict)

    def collection(self, role: Collection) -> Any:
        return self.bridge.net.store.collection(role)

    async def insert(self, role: Collection, document: Document) -> Any:
        """Insert, or raise: a forgery that did not happen proves nothing."""
        await self.collection(role).insert_one(document, bypass_document_validation=True)
        return document["_id"]

    async def change(self, role: Collection, query: Document, change: Document | list[Document]) -> int:
        """Change what matches; how many matched."""
        done = await self.collection(role).update_many(query, change, bypass_document_validation=True)
        return int(done.matched_count)

    async def replace(self, role: Collection, document_id: Any, document: Document) -> int:
        fresh = {**document, "_id": document_id}
        done = await self.collection(role).replace_one({"_id": document_id}, fresh, bypass_document_validation=True)
        return int(done.matched_count)

    async def delete(self, role: Collection, query: Document) -> int:
        return int((await self.collection(role).delete_many(query)).deleted_count)

    def once(self, role: Collection, document_id: Any, status: str, act: Act) -> "asyncio.Future[str]":
        """Do `act(adversary, document_id)` once, as soon as the document has come to `status` or beyond.

        The future: the status at which it was done.
        """
        done: asyncio.Future[str] = asyncio.get_running_loop().create_future()
        self._watched[role.value, str(document_id)] = _Trap(ORDER.index(status), act, done)
        return done

    async def watch(self) -> None:
        """Follow all changes and spring the traps: by what the change says, so that no status is too short for it."""
        names = {name: role.value for role, name in self.bridge.net.store.names.items()}
        async with await self.bridge.net.store.database.watch() as stream:
            async for change in stream:
                said = change.get("fullDocument") or change.get("updateDescription", {}).get("updatedFields") or {}
                document_id = change.get("documentKey", {}).get("_id")
                key = (names.get(change["ns"].get("coll", "")), str(document_id))
                trap = self._watched.get(key)
                status = said.get("status")
                if trap is None or status not in ORDER or ORDER.index(status) < trap.rank:
                    continue
                del self._watched[key]
                try:
                    await trap.act(self, document_id)
                except Exception as error:  # noqa: BLE001 - whatever it was, the scenario's own test must show it
                    trap.done.set_exception(error)
                else:
                    trap.done.set_result(status)


@asynccontextmanager
async def adversary_of(bridge: BridgeUnderTest) -> AsyncIterator[Adversary]:
    adversary = Adversary(bridge)
    task = asyncio.create_task(adversary.watch())
    try:
        yield adversary
    finally:
        await end(task)
        if not task.cancelled():
            task.result()
