"""The second run: the chain nodes are in the hop. Real deposits, real HTTP, the whole validator; no target."""

import asyncio
from dataclasses import dataclass

from infra.localnet.network import Localnet
from reactor.documents.statuses import Collection, Status

_USERS = 10
_WAIT_SECONDS = 240.0


@dataclass(frozen=True)
class Hop:
    """`seconds`: from the first deposit to the last signature. Times in milliseconds, by the writers' own clocks."""

    mints: int
    seconds: float
    p50: float
    p99: float
    seen_to_signed_p50: float


async def measure_hop(validators: int, threshold: int, mints: int) -> Hop:
    """Deposit `mints` times, wait until all are signed, read their histories."""
    async with Localnet(validators=validators, threshold=threshold, users=_USERS) as net:
        loop = asyncio.get_running_loop()
        began = loop.time()
        for start in range(0, mints, _USERS):
            await asyncio.gather(*(user.deposit(1_000_000 + start) for user in net.users[: mints - start]))
        signed = {"status": Status.SIGNED.value}
        collection = net.store.collection(Collection.MINT)

        async def done() -> bool:
            return await collection.count_documents(signed) >= mints

        await net.wait_until(done, seconds=_WAIT_SECONDS, what=f"{mints} mints to be signed")
        seconds = loop.time() - began
        documents = await collection.find(signed, {"history": 1, "created_at": 1}).to_list()
    hops, lives = [], []
    for document in documents:
        at = {entry["status"]: entry["at"] for entry in document["history"]}
        hops.append((at["signed"] - at["confirmed"]).total_seconds() * 1000)
        lives.append((at["signed"] - document["created_at"]).total_seconds() * 1000)
    hops.sort()
    lives.sort()
    return Hop(len(hops), seconds, hops[len(hops) // 2], hops[int(len(hops) * 0.99)], lives[len(lives) // 2])
