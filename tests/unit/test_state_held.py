"""A ledger that another process holds while the validator runs: no loop ends, and people are told which process it is."""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from reactor.engine.backoff import Backoff
from reactor.engine.clock import SystemClock
from reactor.engine.loops import Loops
from reactor.engine.tasks import wait_for_any
from reactor.vitals import Trial
from scanners.loop import View
from tests.unit.handler_world import World, burn
from tests.unit.test_scanner_loop import Bench

pytestmark = pytest.mark.unit

_HOLD = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.read()
"""
SECONDS = 60


@contextmanager
def held(path: Path) -> Iterator[int]:
    """The number of a process that holds this SQLite file as a backup or a person with a tool would."""
    command = [sys.executable, "-c", _HOLD, str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        yield holder.pid


async def until(condition) -> None:
    async with asyncio.timeout(SECONDS):
        while not condition():  # noqa: ASYNC110 - the condition is of another thread and process
            await asyncio.sleep(0.01)


async def test_scanning_goes_on_once_the_ledger_is_free_and_names_who_held_it(world: World) -> None:
    bench, stop = Bench(world, burn(3)), asyncio.Event()
    database = world.ledger._db
    # For how long each connection waits by itself: the one of this thread, and those of others.
    database._connection().execute("PRAGMA busy_timeout = 20")
    database._busy = 0.02
    loops = Loops(SystemClock(), backoff=Backoff(first=0.01, most=0.02))
    trial = Trial("ledger", lambda: asyncio.to_thread(world.ledger.probe), SECONDS)

    async def look() -> None:
        assert await bench.scanner.scan(View(10, 6))

    async def rest(stop: asyncio.Event) -> None:
        await wait_for_any(stop, seconds=SECONDS)

    with held(database.path) as holder:
        scanning = asyncio.create_task(loops.repeat(stop, "Ethereum", look, rest))
        await until(lambda: loops.failures.get("Ethereum", 0) > 2)
        (failing,) = loops.failing
        words = f"another process holds the file for too long (process {holder}): find out which, and stop it"
        assert words in failing.error
        assert str(database.path) in failing.error
        await trial()
        assert words in trial.trouble, "the heartbeat says that the state cannot be written, and why"
        assert (scanning.done(), bench.cursor(), bench.inserts.rows) == (False, None, [])
    await until(lambda: bench.cursor() == 6 and not loops.failing)
    await trial()
    assert trial.trouble == ""
    stop.set()
    await scanning
    assert bench.collections() == ["burn"]
