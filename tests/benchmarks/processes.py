"""The measured processes: started, asked for their counters, ended; and what the kernel says of their time and memory."""

import asyncio
import json
import os
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Self

_TICKS = os.sysconf("SC_CLK_TCK")
_READY_SECONDS = 120.0


class Worker:
    """One process that answers on its standard output (see `reporting`)."""

    def __init__(self, process: asyncio.subprocess.Process, log: Path) -> None:
        self._process = process
        self._log = log

    @property
    def pid(self) -> int:
        return self._process.pid

    @classmethod
    async def start(cls, module: str, arguments: Sequence[str], log: Path) -> Self:
        """Start it; it is ready once `heard` returned for the first time."""
        with log.open("w") as file:
            process = await asyncio.create_subprocess_exec(
                sys.executable,
                *("-m", module, *arguments),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=file,
            )
        return cls(process, log)

    async def heard(self) -> dict[str, float]:
        """Its next line."""
        assert self._process.stdout is not None
        async with asyncio.timeout(_READY_SECONDS):
            line = await self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"a measured process ended: {self._log.read_text()[-2000:]}")
        answer: dict[str, float] = json.loads(line)
        return answer

    async def report(self) -> dict[str, float]:
        """Its counters now."""
        assert self._process.stdin is not None
        self._process.stdin.write(b"?\n")
        await self._process.stdin.drain()
        return await self.heard()

    async def end(self) -> None:
        """Close its standard input; kill it if it does not end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        try:
            async with asyncio.timeout(15):
                await self._process.wait()
        except TimeoutError:
            self._process.kill()
            await self._process.wait()


class Group:
    """The processes of one contestant."""

    def __init__(self, workers: Sequence[Worker]) -> None:
        self.workers = tuple(workers)

    @classmethod
    async def start(cls, module: str, arguments: Sequence[Sequence[str]], logs: Path) -> Self:
        """Start one process per list of arguments and wait until all are ready."""
        logs.mkdir(parents=True, exist_ok=True)  # noqa: ASYNC240 - nothing is measured yet
        started = [await Worker.start(module, one, logs / f"{number}.log") for number, one in enumerate(arguments, 1)]
        group = cls(started)
        try:
            await asyncio.gather(*(worker.heard() for worker in started))
        except BaseException:
            await group.end()
            raise
        return group

    @property
    def pids(self) -> tuple[int, ...]:
        return tuple(worker.pid for worker in self.workers)

    async def counters(self) -> Counter[str]:
        """The counters of all, added up."""
        total: Counter[str] = Counter()
        for row in await asyncio.gather(*(worker.report() for worker in self.workers)):
            total.update({name: int(count) for name, count in row.items()})
        return total

    async def end(self) -> None:
        await asyncio.gather(*(worker.end() for worker in self.workers))


def cpu_seconds(pids: Sequence[int]) -> float:
    """Processor time used so far, user and system, all threads."""
    total = 0
    for pid in pids:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / _TICKS


def resident_mib(pid: int) -> float:
    """Resident memory now, shared libraries included."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    raise RuntimeError(f"process {pid} has no VmRSS")
