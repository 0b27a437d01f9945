"""The closed loop: k mints are kept in flight from `confirmed` to `signed`, and each one's time is taken."""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any, Self

from bson import ObjectId
from pymongo import AsyncMongoClient
from pymongo.asynchronous.collection import AsyncCollection

from reactor.engine.tasks import end
from tests.benchmarks.processes import Group, cpu_seconds

Document = dict[str, Any]
Make = Callable[[int], Document]

_MOST_AT_ONCE = 500
_DRAIN_SECONDS = 120.0
LATE_SECONDS = 3.0
"""So long after a mint is signed the last validators have signed too, and have looked whether it stands."""


@dataclass(frozen=True)
class Point:
    """One measurement. Times in milliseconds, CPU in milliseconds per mint: of all measured processes, of the database."""

    in_flight: int
    mints: int
    unfinished: int
    """Mints that were given up: two minutes after the end of the point they were still not signed."""
    per_second: float
    p50: float
    p99: float
    cpu_workers: float
    cpu_mongod: float
    counters: dict[str, float]
    """Of all processes together, per mint."""


class Driver:
    """Inserts confirmed mints and watches them become signed, on a change stream of its own."""

    def __init__(self, uri: str, database: str, make: Make, numbers: Iterator[int]) -> None:
        self._client: AsyncMongoClient[Document] = AsyncMongoClient(uri, w="majority", readConcernLevel="majority")
        self._mints: AsyncCollection[Document] = self._client[database]["mint"]
        self._make = make
        self._numbers = numbers
        self._sent: dict[ObjectId, float] = {}
        self._latencies: list[tuple[float, float]] = []
        self.unfinished = 0
        self._room = asyncio.Event()
        self._live = asyncio.Event()
        self._watching: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        self._watching = asyncio.create_task(self._watch())
        await asyncio.wait_for(self._live.wait(), 30)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._watching is not None:
            await end(self._watching)
            if not self._watching.cancelled():
                self._watching.result()
        await self._client.close()

    async def _watch(self) -> None:
        match = [
            {"$match": {"operationType": "update", "updateDescription.updatedFields.status": "signed"}},
            {"$project": {"documentKey": 1}},
        ]
        async with await self._mints.watch(match, batch_size=500, max_await_time_ms=1000) as stream:
            self._live.set()
            while True:
                event = await stream.try_next()
                if event is None:
                    continue
                now = time.perf_counter()
                began = self._sent.pop(event["documentKey"]["_id"], None)
                if began is not None:
                    self._latencies.append((now, now - began))
                    self._room.set()

    async def run(self, in_flight: int, seconds: float, *, mints: int | None = None) -> list[tuple[float, float]]:
        """Keep so many in flight for so long (or until so many were sent); (when, how long) of each that became signed."""
        self._latencies, self.unfinished = [], 0
        sent, end = 0, time.perf_counter() + seconds
        while time.perf_counter() < end and (mints is None or sent < mints):
            free = min(in_flight - len(self._sent), _MOST_AT_ONCE, in_flight if mints is None else mints - sent)
            if free > 0:
                sent += await self._insert(free)
            else:
                self._room.clear()
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._room.wait(), max(0.001, end - time.perf_counter()))
        await self._drain()
        return self._latencies

    async def _insert(self, count: int) -> int:
        documents = [self._make(number) for number in islice(self._numbers, count)]
        if len(documents) < count:
            raise RuntimeError("the prepared deposits are used up: give the plan fewer seconds or the bridge more deposits")
        now = time.perf_counter()
        self._sent |= {document["_id"]: now for document in documents}
        await self._mints.insert_many(documents, ordered=False)
        return count

    async def _drain(self) -> None:
        try:
            async with asyncio.timeout(_DRAIN_SECONDS):
                while self._sent:
                    self._room.clear()
                    await self._room.wait()
        except TimeoutError:
            self.unfinished = len(self._sent)
            self._sent.clear()

    async def point(self, in_flight: int, seconds: float, group: Group, mongods: tuple[int, ...]) -> Point:
        """Measure one point: new mints for so many seconds, figures over all of them, until the last one is signed."""
        counters = await group.counters()
        workers, mongod, began = cpu_seconds(group.pids), cpu_seconds(mongods), time.perf_counter()
        done = await self.run(in_flight, seconds)
        await asyncio.sleep(LATE_SECONDS)  # what is done late belongs to these mints
        workers, mongod = cpu_seconds(group.pids) - workers, cpu_seconds(mongods) - mongod
        after = await group.counters()
        # All of them, those of the drain too: to leave out what had not ended in time would flatter the slow.
        took = sorted(one for _, one in done)
        lasted = max(when for when, _ in done) - began
        return Point(
            in_flight=in_flight,
            mints=len(done),
            unfinished=self.unfinished,
            per_second=len(took) / lasted,
            p50=1000 * took[len(took) // 2],
            p99=1000 * took[int(len(took) * 0.99)],
            cpu_workers=1000 * workers / len(done),
            cpu_mongod=1000 * mongod / len(done),
            counters={name: (after[name] - counters[name]) / len(done) for name in sorted(after)},
        )
