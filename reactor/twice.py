"""The loop of a chain's second readings: what documents name at once, windows now and then. Only `validator` uses this."""

import asyncio
from time import monotonic
from typing import Final

from reactor.engine.loops import Loops
from reactor.engine.tasks import wait_for_any
from scanners.second import PAUSE_SECONDS, SecondReader

_TIMEOUT: Final = 120.0
"""For one window that is read a second time: some blocks of megabytes, from an endpoint that is slow."""


async def read_twice(chain: str, reader: SecondReader, loops: Loops, stop: asyncio.Event) -> None:
    """Second readings of this chain until `stop`. Windows that fail do not keep what documents name waiting."""
    named, windows = f"looking for what documents name on {chain}", f"reading {chain} a second time"
    due = monotonic()
    while not stop.is_set():
        await loops.attempt(named, reader.read_asked, within=_TIMEOUT)
        if monotonic() >= due:
            done = await loops.attempt(windows, reader.read_windows, within=_TIMEOUT)
            due = monotonic() + (PAUSE_SECONDS if done else max(PAUSE_SECONDS, loops.pause(windows)))
        await wait_for_any(stop, reader.rung, seconds=max(0.0, due - monotonic()))
