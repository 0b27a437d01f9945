"""Random tampering, from a seed, by somebody with full write access: any field of any document, while the bridge runs."""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import Awaitable, Callable
from copy import deepcopy
from dataclasses import dataclass, field
from random import Random
from typing import Any

from bson import Decimal128, Int64, ObjectId, Regex
from bson.errors import BSONError
from pymongo.errors import DuplicateKeyError, OperationFailure, PyMongoError, WriteError

from bridge_helpers.adversary import GARBAGE, STRANGER, WRONG_TYPES, Document, forged
from bridge_helpers.harness import BridgeUnderTest
from reactor.documents.statuses import REQUESTS, Collection, Status

_REMEMBERED = 400
_BURST = 20
_VALUES: tuple[Any, ...] = (
    *WRONG_TYPES.values(), None, "", "0", "1", "-1", "999999999999", "9" * 78, "9" * 79, "x" * 5000, 0, 1, -1, 2.5, True,
    Int64(2**62), Decimal128("1"), Regex("x"), ObjectId(b"\x01" * 12), [], {}, [[]], [None], ["x"] * 300, {"$gt": ""},
    STRANGER.address.lower(), "66" * 20, "ab" * 32, "0x" + "ab" * 32, GARBAGE,
)  # fmt: skip
_SIDE = (Collection.MINTED, Collection.RETURNED, Collection.HEARTBEAT)


def _listed(document: Document, name: str) -> list[Any]:
    found = document.get(name)
    return found if isinstance(found, list) else []


@dataclass
class Tamperer:
    """Tampers with the documents of one bridge. `done` counts what took effect, by kind."""

    bridge: BridgeUnderTest
    rng: Random
    done: Counter[str] = field(default_factory=Counter)
    _stopped: asyncio.Event = field(default_factory=asyncio.Event)
    _past: deque[tuple[Collection, Document]] = field(default_factory=lambda: deque(maxlen=_REMEMBERED))
    _rung: deque[tuple[Collection, Any]] = field(default_factory=lambda: deque(maxlen=16))

    @property
    def total(self) -> int:
        return self.done.total()

    async def tamper(self, count: int) -> None:
        """Until `count` more changes have taken effect. Between bursts of them the validators run on for a random moment."""
        goal = self.total + count
        self._stopped.clear()
        follower = asyncio.create_task(self._follow())
        try:
            while self.total < goal:
                # Bursts, so that several documents, or one several times, change between two steps of a validator.
                await asyncio.gather(*(self._one() for _ in range(min(goal - self.total, self.rng.randint(1, _BURST)))))
                await asyncio.sleep(self.rng.choice((0, 0.002, 0.01, 0.05)))
        finally:
            # Told, not cancelled: the driver makes an error of its own of a cancellation, and the loop would go on.
            self._stopped.set()
            await follower

    async def _one(self) -> None:
        kind, act = self.rng.choice(self._acts())
        with contextlib.suppress(WriteError, DuplicateKeyError, OperationFailure, BSONError, OverflowError):  # Mongo refuses it
            took = await act()
            self.done[kind] += took

    async def _follow(self) -> None:
        """Remember versions of documents, and which were written last: those are the ones that validators work on."""
        roles = {name: role for role, name in self.bridge.net.store.names.items() if role in REQUESTS}
        while not self._stopped.is_set():
            try:
                database = self.bridge.net.store.database
                async with await database.watch(full_document="updateLookup", max_await_time_ms=100) as stream:
                    while not self._stopped.is_set():
                        if (change := await stream.try_next()) is not None:
                            self._note(roles.get(change["ns"].get("coll", "")), change.get("fullDocument"))
            except PyMongoError:
                await asyncio.sleep(0.05)  # a change that is too large for a stream

    def _note(self, role: Collection | None, document: Document | None) -> None:
        if role is None or document is None:
            return
        self._rung.append((role, document["_id"]))
        if len(str(document)) < 50_000:
            self._past.append((role, document))

    # --- where ------------------------------------------------------------------------------------------------

    def _collection(self, role: Collection) -> Any:
        return self.bridge.net.store.collection(role)

    async def _pick(self) -> tuple[Collection, Document] | None:
        """A document that lies there: mostly one that was just written."""
        if self._rung and self.rng.random() < 0.7:
            role, document_id = self.rng.choice(self._rung)
            found = await self._collection(role).find_one({"_id": document_id})
        else:
            role = self.rng.choice(REQUESTS)
            found = await self._any(role)
        return None if found is None else (role, found)

    async def _any(self, role: Collection) -> Document | None:
        ids = [row["_id"] async for row in self._collection(role).find({}, {"_id": 1}).limit(60)]
        return await self._collection(role).find_one({"_id": self.rng.choice(ids)}) if ids else None

    async def _write(self, role: Collection, document: Document, change: Any) -> bool:
        done = await self._collection(role).update_one({"_id": document["_id"]}, change, bypass_document_validation=True)
        return bool(done.modified_count)

    async def _replace(self, role: Collection, document_id: Any, document: Document) -> bool:
        fresh = {**document, "_id": document_id}
        done = await self._collection(role).replace_one({"_id": document_id}, fresh, bypass_document_validation=True)
        return bool(done.modified_count)

    # --- what -------------------------------------------------------------------------------------------------

    def _acts(self) -> list[tuple[str, Callable[[], Awaitable[bool]]]]:
        return [
            ("field set", self._field),
            ("field set", self._field),
            ("field moved", self._moved),
            ("field removed", self._removed),
            ("status jump", self._status),
            ("status jump", self._status),
            ("old version", self._old),
            ("another's content", self._foreign),
            ("signatures swapped", self._signatures),
            ("signatures garbled", self._garbled),
            ("objections", self._objections),
            ("deleted", self._deleted),
            ("copied", self._copied),
            ("forged document", self._forged),
            ("doorbell or heartbeat", self._side),
        ]

    async def _field(self) -> bool:
        if (found := await self._pick()) is None:
            return False
        role, document = found
        name = self.rng.choice([*document, *WRONG_TYPES])
        return name != "_id" and await self._write(role, document, {"$set": {name: deepcopy(self.rng.choice(_VALUES))}})

    async def _moved(self) -> bool:
        """A field of another document of the same collection, right for that one."""
        if (found := await self._pick()) is None or (other := await self._any(found[0])) is None:
            return False
        name = self.rng.choice(list(other))
        return name != "_id" and await self._write(*found, {"$set": {name: other[name]}})

    async def _removed(self) -> bool:
        if (found := await self._pick()) is None:
            return False
        name = self.rng.choice(list(found[1]))
        return name != "_id" and await self._write(*found, {"$unset": {name: 1}})

    async def _status(self) -> bool:
        found = await self._pick()
        return found is not None and await self._write(*found, {"$set": {"status": self.rng.choice(list(Status)).value}})

    async def _old(self) -> bool:
        if not self._past:
            return False
        role, document = self.rng.choice(self._past)
        return await self._replace(role, document["_id"], document)

    async def _foreign(self) -> bool:
        if not self._past or (found := await self._pick()) is None:
            return False
        _, document = self.rng.choice(self._past)
        content = {**document, "transaction_hash": found[1].get("transaction_hash")} if self.rng.random() < 0.5 else document
        return await self._replace(found[0], found[1]["_id"], content)

    async def _signatures(self) -> bool:
        """Genuine signatures of another document, or of an earlier version, or the own ones in another order."""
        if not self._past or (found := await self._pick()) is None:
            return False
        _, other = self.rng.choice([*self._past, found])
        signers, signatures = other.get("signers"), other.get("signatures")
        if not isinstance(signers, list) or not isinstance(signatures, list):
            return False
        if self.rng.random() < 0.5:
            signatures = self.rng.sample(signatures, len(signatures))
        return await self._write(*found, {"$set": {"signers": signers, "signatures": signatures}})

    async def _garbled(self) -> bool:
        if (found := await self._pick()) is None:
            return False
        members = self.bridge.net.validators
        names = [one.address if found[0] is Collection.MINT else one.public_key for one in members] + [STRANGER.address.lower()]
        chosen = self.rng.sample(names, self.rng.randint(1, len(names)))
        garbage = GARBAGE if found[0] is Collection.MINT else GARBAGE[4:]
        change: Document = {"signers": chosen, "signatures": [garbage] * len(chosen)}
        if self.rng.random() < 0.5:
            change["status"] = "signed"
        return await self._write(*found, {"$set": change})

    async def _objections(self) -> bool:
        if (found := await self._pick()) is None:
            return False
        genuine = [one for _, document in self._past for one in _listed(document, "objections") if isinstance(one, dict)]
        strange = STRANGER.unsafe_sign_hash(b"\1" * 32).signature.to_0x_hex()
        said: list[Any] = [
            {"signer": one.address, "code": "other_outcome", "reason": "", "signature": strange}
            for one in self.bridge.net.validators
        ]
        said += self.rng.sample(genuine, min(3, len(genuine)))
        return await self._write(*found, {"$set": {"objections": said, "status": self.rng.choice(("failed", "pending"))}})

    async def _deleted(self) -> bool:
        found = await self._pick()
        return found is not None and bool((await self._collection(found[0]).delete_one({"_id": found[1]["_id"]})).deleted_count)

    async def _copied(self) -> bool:
        """The document under another `_id`, in place of the right one or in another collection."""
        if (found := await self._pick()) is None:
            return False
        role, document = found
        if self.rng.random() < 0.5:
            await self._collection(role).delete_one({"_id": document["_id"]})
        else:
            role = self.rng.choice(REQUESTS)
        await self._collection(role).insert_one({**document, "_id": ObjectId()}, bypass_document_validation=True)
        return True

    async def _forged(self) -> bool:
        """Of an event that never was; or of a real one, before or beside its own document."""
        role = self.rng.choice(REQUESTS)
        known = [document.get("transaction_hash") for _, document in self._past]
        hashes = [one for one in known if isinstance(one, str)] or ["ab" * 32]
        fresh = ("0x" if role is Collection.BURN else "") + self.rng.randbytes(32).hex()
        hash_ = fresh if self.rng.random() < 0.2 else self.rng.choice(hashes)
        document = forged(role, hash_, self.bridge, status=self.rng.choice(list(Status)).value)
        await self._collection(role).insert_one(document, bypass_document_validation=True)
        return True

    async def _side(self) -> bool:
        role = self.rng.choice(_SIDE)
        if (document := await self._any(role)) is None:
            return False
        if self.rng.random() < 0.2:
            return bool((await self._collection(role).delete_one({"_id": document["_id"]})).deleted_count)
        name = self.rng.choice(list(document))
        return name != "_id" and await self._write(role, document, {"$set": {name: deepcopy(self.rng.choice(_VALUES))}})
