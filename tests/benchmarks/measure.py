"""The order of measurements: ours and the floor take turns, so that both see the same noise of the machine."""

import asyncio
import sys
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from infra.localnet.mongod import MongoReplicaSet
from tests.benchmarks.bridge import MeasuredBridge
from tests.benchmarks.contestants import contestants, running
from tests.benchmarks.driver import LATE_SECONDS, Driver, Point
from tests.benchmarks.hop import Hop, measure_hop
from tests.benchmarks.processes import Group, cpu_seconds, resident_mib

_WARM_UP = (10, 2.0)
"""In flight, and seconds: connections, caches and plans are there before the first point."""
_WARM_UP_MINTS = 300
_IDLE_SECONDS = 10.0
_BASELINE_FACTOR = 2.0
"""The baseline needs longer points: it signs one mint a second."""


@dataclass(frozen=True)
class Plan:
    """What is measured."""

    in_flight: tuple[int, ...]
    nodes: tuple[int, ...]
    seconds: float
    rounds: int
    only: tuple[str, ...] = ("ours", "floor", "baseline")
    idle: bool = True
    hop_mints: int = 0

    @property
    def deposits(self) -> int:
        """More than any group can sign."""
        rates = {1: 300, 10: 900, 100: 1300}
        return int(sum((rates.get(k, 1300)) * self.seconds + 2 * k for k in self.in_flight)) + 4000

    def order(self, nodes: int) -> Iterator[str]:
        """ours, floor, floor, ours, …, and the baseline once. One round on three nodes: no target rests on it."""
        for number in range(self.rounds if nodes == 1 else 1):
            yield from ("ours", "floor") if number % 2 == 0 else ("floor", "ours")
        yield "baseline"


@dataclass
class Results:
    """Points by nodes and contestant, in the order in which they were measured; the idle validators."""

    validators: int
    threshold: int
    points: dict[int, dict[str, list[Point]]] = field(default_factory=dict)
    idle_cpu_percent: float = 0.0
    idle_mib: float = 0.0
    hop: Hop | None = None

    def as_json(self) -> dict[str, Any]:
        """For a machine."""
        return asdict(self)


async def measure(measured: MeasuredBridge, plan: Plan, directory: Path) -> Results:
    """Everything in the plan, progress on standard error."""
    results = Results(measured.validators, measured.threshold)
    _say(f"filling a ledger with {measured.deposits} deposits")
    ledger = await asyncio.to_thread(measured.fill_ledger, directory / "ledger")
    for nodes in plan.nodes:
        results.points[nodes] = {}
        for number, name in enumerate(one for one in plan.order(nodes) if one in plan.only):
            async with MongoReplicaSet(nodes, cache_gb=0.5) as mongo:
                pids = tuple(mongo.node(index).pid for index in range(nodes))
                place = directory / f"{nodes}-{number}-{name}"
                _say(f"{nodes} node(s), {name}: starting {measured.validators} processes")
                async with running(name, measured, ledger, mongo.uri, "bridge", place) as group:
                    if name == "ours" and plan.idle and not results.idle_mib:
                        await _idle(group, results)
                    found = await _points(name, measured, plan, mongo.uri, group, pids)
                results.points[nodes].setdefault(name, []).extend(found)
    if plan.hop_mints:
        _say("the whole network, chain nodes in the hop")
        results.hop = await measure_hop(measured.validators, measured.threshold, plan.hop_mints)
    return results


async def _points(
    name: str, measured: MeasuredBridge, plan: Plan, uri: str, group: Group, mongods: tuple[int, ...]
) -> list[Point]:
    points = []
    seconds = plan.seconds * (_BASELINE_FACTOR if name == "baseline" else 1.0)
    async with Driver(uri, "bridge", contestants(measured)[name].make, measured.numbers()) as driver:
        await driver.run(*_WARM_UP, mints=_WARM_UP_MINTS)
        await asyncio.sleep(LATE_SECONDS)
        for in_flight in plan.in_flight:
            point = await driver.point(in_flight, seconds, group, mongods)
            _say(f"  {name} k={in_flight}: {point.per_second:.0f}/s, p50 {point.p50:.1f} ms, p99 {point.p99:.1f} ms")
            points.append(point)
    return points


async def _idle(group: Group, results: Results) -> None:
    """Validators with nothing to do: heads, sweeps and heartbeats at their usual pace."""
    await asyncio.sleep(3.0)
    before, began = cpu_seconds(group.pids), time.perf_counter()
    await asyncio.sleep(_IDLE_SECONDS)
    used = cpu_seconds(group.pids) - before
    results.idle_cpu_percent = 100 * used / (time.perf_counter() - began) / len(group.pids)
    results.idle_mib = max(resident_mib(pid) for pid in group.pids)
    _say(f"  idle: {results.idle_cpu_percent:.2f} % of a core and {results.idle_mib:.0f} MiB per validator")


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)
