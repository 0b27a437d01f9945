"""The baseline: each validator polls once a second and reads, changes and writes each document under one lock document."""

import asyncio
import random
from collections import Counter
from datetime import UTC, datetime

from pymongo import ReturnDocument
from pymongo.errors import DuplicateKeyError

from tests.benchmarks.bare import Arguments, BareJournal, BareSigner, Document
from tests.benchmarks.reporting import answer_until_closed

_CHAIN, _CONTRACT = 31337, "0x" + "22" * 20
_POLL_SECONDS = 1.0
_LOCK_RETRY_SECONDS = 0.01


class Poller:
    """One validator that polls."""

    def __init__(self, arguments: Arguments) -> None:
        self._signer = BareSigner(arguments.key, _CHAIN, _CONTRACT)
        self._journal = BareJournal(arguments.journal)
        self._threshold = arguments.threshold
        database = arguments.client()[arguments.database]
        self._mints, self._locks = database["mint"], database["lock"]
        self.counts: Counter[str] = Counter()

    async def run(self) -> None:
        """Poll for ever; twelve validators do not poll at the same moment."""
        await asyncio.sleep(random.uniform(0, _POLL_SECONDS))
        while True:
            await self._lock()
            try:
                await self._round()
            finally:
                await self._locks.update_one({"_id": "lock"}, {"$set": {"owner": None}})
                self.counts["mongo update"] += 1
            await asyncio.sleep(_POLL_SECONDS)

    async def _lock(self) -> None:
        while True:
            self.counts["mongo findAndModify"] += 1
            try:
                held = await self._locks.find_one_and_update(
                    {"_id": "lock", "owner": None},
                    {"$set": {"owner": self._signer.address}},
                    upsert=True,
                    return_document=ReturnDocument.AFTER,
                )
            except DuplicateKeyError:
                held = None
            if held is not None:
                return
            await asyncio.sleep(_LOCK_RETRY_SECONDS)

    async def _round(self) -> None:
        self.counts["mongo find"] += 1
        unsigned = {"status": "confirmed", "signers": {"$ne": self._signer.address}}
        async for document in self._mints.find(unsigned).limit(1000):
            await self._sign(document)

    async def _sign(self, document: Document) -> None:
        digest = self._signer.digest(document["data"])
        await asyncio.to_thread(self._journal.commit, [(document, digest)])
        pairs = sorted(
            [*zip(document["signers"], document["signatures"], strict=True), (self._signer.address, self._signer.sign(digest))]
        )
        document["signers"], document["signatures"] = [one for one, _ in pairs], [one for _, one in pairs]
        if len(pairs) >= self._threshold:
            document["status"] = "signed"
            document["history"].append({"status": "signed", "at": datetime.now(UTC), "by": self._signer.address, "reason": ""})
        await self._mints.update_one(
            {"_id": document["_id"]},
            {"$set": {name: document[name] for name in ("signers", "signatures", "status", "history")}},
        )
        self.counts["mongo update"] += 1


async def main() -> None:
    """Run until standard input ends."""
    poller = Poller(Arguments.read())
    async with asyncio.TaskGroup() as group:
        task = group.create_task(poller.run())
        await answer_until_closed(lambda: poller.counts)
        task.cancel()


if __name__ == "__main__":
    asyncio.run(main())
