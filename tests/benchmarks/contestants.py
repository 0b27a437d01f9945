"""The three that are measured: this bridge, the bare floor, and the baseline that polls under a lock."""

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from reactor.documents.statuses import Collection
from reactor.parts import open_store
from reactor.settings import load_settings
from reactor.store.indexes import init_db
from tests.benchmarks.bridge import MeasuredBridge
from tests.benchmarks.processes import Group

Make = Callable[[int], dict[str, Any]]


@dataclass(frozen=True)
class Contestant:
    """Its name, and how a mint looks when it gets it."""

    name: str
    make: Make


def contestants(measured: MeasuredBridge) -> dict[str, Contestant]:
    """By name."""
    return {
        "ours": Contestant("ours", measured.confirmed),
        "floor": Contestant("floor", measured.prepared),
        "baseline": Contestant("baseline", measured.prepared),
    }


@asynccontextmanager
async def running(
    name: str, measured: MeasuredBridge, ledger: Path, uri: str, database: str, directory: Path
) -> AsyncIterator[Group]:
    """All validators of one contestant, each a process, over a fresh database and fresh state."""
    directory.mkdir(parents=True)  # noqa: ASYNC240 - nothing is measured yet
    if name == "ours":
        files = [
            measured.place_validator(directory / f"{number}", ledger, number, uri, database)
            for number in range(1, measured.validators + 1)
        ]
        async with await open_store(load_settings(files[0], {})) as store:
            await init_db(store)
            await store.collection(Collection.MINT).insert_many(measured.old())
        arguments = [[str(file), str(measured.head), str(measured.threshold)] for file in files]
    else:
        arguments = [
            [uri, database, str(directory / f"{number}.sqlite"), bytes(one.ethereum.key).hex(), str(measured.threshold)]
            for number, one in enumerate(measured.identities, 1)
        ]
    group = await Group.start(f"tests.benchmarks.{name}", arguments, directory / "logs")
    try:
        yield group
    finally:
        await group.end()
