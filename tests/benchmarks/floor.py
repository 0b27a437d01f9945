"""The bare floor: stream, sign, journal, conditional bulk. It trusts everything it reads and checks nothing."""

import asyncio
from collections import Counter
from datetime import UTC, datetime

from bson import ObjectId
from pymongo import UpdateOne

from tests.benchmarks.bare import Arguments, BareJournal, BareSigner, Document
from tests.benchmarks.reporting import answer_until_closed

_CHAIN, _CONTRACT = 31337, "0x" + "22" * 20


class Floor:
    """One validator's worth of the least that the hop can cost."""

    def __init__(self, arguments: Arguments) -> None:
        self._signer = BareSigner(arguments.key, _CHAIN, _CONTRACT)
        self._journal = BareJournal(arguments.journal)
        self._threshold = arguments.threshold
        self._mints = arguments.client()[arguments.database]["mint"]
        self._ready: list[Document] = []
        self._rung = asyncio.Event()
        self.live = asyncio.Event()
        self.counts: Counter[str] = Counter()

    async def listen(self) -> None:
        """Collect what is inserted."""
        match = [{"$match": {"operationType": "insert"}}, {"$project": {"fullDocument": 1}}]
        async with await self._mints.watch(match, batch_size=500, max_await_time_ms=1000) as stream:
            self.live.set()
            while True:
                event = await stream.try_next()
                if event is not None:
                    self._ready.append(event["fullDocument"])
                    self._rung.set()

    async def work(self) -> None:
        """Drain, sign, commit, write: one bulk at a time."""
        while True:
            await self._rung.wait()
            await asyncio.sleep(0)
            self._rung.clear()
            while batch := self._ready[:500]:
                del self._ready[:500]
                await self._carry_out(batch)

    async def _carry_out(self, batch: list[Document]) -> None:
        signed = [(document, self._signer.digest(document["data"])) for document in batch]
        await asyncio.to_thread(self._journal.commit, signed)
        updates = [self._append(document["_id"], self._signer.sign(digest)) for document, digest in signed]
        await self._mints.bulk_write(updates, ordered=False)
        self.counts["mongo update"] += 1

    def _append(self, document_id: ObjectId, signature: str) -> UpdateOne:
        own, now = self._signer.address, datetime.now(UTC)
        both = {"$concatArrays": [{"$zip": {"inputs": ["$signers", "$signatures"]}}, [[own, signature]]]}
        enough = {"$gte": [{"$size": "$signers"}, self._threshold]}
        entry = {"status": "signed", "at": now, "by": own, "reason": "enough signatures"}
        flip = {"$and": [{"$eq": ["$status", "confirmed"]}, enough]}
        pipeline = [
            {"$set": {"_pairs": {"$sortArray": {"input": both, "sortBy": 1}}}},
            {"$set": {"signers": _column(0), "signatures": _column(1), "updated_at": now}},
            {
                "$set": {
                    "status": {"$cond": [flip, "signed", "$status"]},
                    "history": {"$cond": [flip, {"$concatArrays": ["$history", [entry]]}, "$history"]},
                }
            },
            {"$unset": "_pairs"},
        ]
        return UpdateOne({"_id": document_id, "signers": {"$ne": own}}, pipeline)


def _column(index: int) -> Document:
    return {"$map": {"input": "$_pairs", "as": "pair", "in": {"$arrayElemAt": ["$$pair", index]}}}


async def main() -> None:
    """Run until standard input ends."""
    floor = Floor(Arguments.read())
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(floor.listen()), group.create_task(floor.work())]
        await asyncio.wait_for(floor.live.wait(), 30)
        await answer_until_closed(lambda: floor.counts)
        for task in tasks:
            task.cancel()


if __name__ == "__main__":
    asyncio.run(main())
