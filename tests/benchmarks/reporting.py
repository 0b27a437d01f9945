"""What a measured process says of itself, and how it is asked: one JSON line for each line on its standard input."""

import asyncio
import json
import sys
from collections.abc import Callable, Mapping


async def answer_until_closed(report: Callable[[], Mapping[str, float]]) -> None:
    """Say `ready`, then answer each line with the counters, until standard input ends."""
    reader = asyncio.StreamReader()
    await asyncio.get_running_loop().connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    _say({"ready": 1})
    while await reader.readline():
        _say(report())


def _say(row: Mapping[str, float]) -> None:
    sys.stdout.write(json.dumps(dict(row)) + "\n")
    sys.stdout.flush()
