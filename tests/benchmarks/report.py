"""The tables, the ratios, and whether the targets were reached."""

import os
from collections.abc import Callable, Iterable
from statistics import fmean, median

from tests.benchmarks.driver import Point
from tests.benchmarks.measure import Results

MOST_RPC = 2.0
MOST_MONGO = 4.0
IDLE_PERCENT = 1.0
IDLE_MIB = 130.0
LEAST_THROUGHPUT = 0.70
MOST_LATENCY = 1.5
LEAST_AGAINST_POLLING = 50.0


def show(results: Results) -> None:
    """Everything that was measured, as text on standard output."""
    print(
        f"{results.validators} validators, threshold {results.threshold}, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}\n"
    )
    for nodes, by_name in results.points.items():
        print(f"MongoDB with {nodes} node{'s' if nodes > 1 else ''}")
        _table(by_name, results.validators)
        _ratios(by_name)
        print()
    if results.idle_mib:
        print(f"idle validator: {results.idle_cpu_percent:.2f} % of a core, {results.idle_mib:.0f} MiB\n")
    if results.hop is not None:
        hop = results.hop
        print(
            f"with the chain nodes in the hop: {hop.mints} deposits signed {hop.seconds:.1f} s after the first was sent;"
            f" confirmed to signed p50 {hop.p50:.0f} ms, p99 {hop.p99:.0f} ms;"
            f" seen to signed p50 {hop.seen_to_signed_p50:.0f} ms\n"
        )
    for name, reached, detail in targets(results):
        print(f"{'PASS' if reached else 'FAIL'}  {name}: {detail}")


def targets(results: Results) -> Iterable[tuple[str, bool, str]]:
    """Each target that could be judged: its name, whether it was reached, the figures."""
    one = results.points.get(1, {})
    ours, floor, baseline = (_at(one.get(name, [])) for name in ("ours", "floor", "baseline"))
    if 100 in ours and 100 in floor:
        share = _rate(ours[100]) / _rate(floor[100])
        yield "at least 70 % of the floor's throughput at 100 in flight", share >= LEAST_THROUGHPUT, f"{share:.0%}"
    if 1 in ours and 1 in floor:
        times = _p50(ours[1]) / _p50(floor[1])
        yield "at most 1.5 times the floor's p50 at 1 in flight", times <= MOST_LATENCY, f"{times:.1f} times"
    if 1 in ours and 1 in baseline:
        less = _p50(baseline[1]) / _p50(ours[1])
        yield "at least 50 times less waiting than polling at 1 in flight", less >= LEAST_AGAINST_POLLING, f"{less:.0f} times"
    if 1 in ours:
        rpc = fmean(_kind(point, "rpc ", results.validators) for point in ours[1])
        mongo = fmean(_kind(point, "mongo ", results.validators) for point in ours[1])
        yield "at most 2 RPC calls per mint and validator", rpc <= MOST_RPC, f"{rpc:.1f}"
        yield "at most 4 Mongo operations per mint and validator", mongo <= MOST_MONGO, f"{mongo:.1f}"
    if results.idle_mib:
        cpu, mib = results.idle_cpu_percent, results.idle_mib
        yield "an idle validator takes less than 1 % of a core", cpu < IDLE_PERCENT, f"{cpu:.2f} %"
        yield "an idle validator takes less than 130 MiB", mib < IDLE_MIB, f"{mib:.0f} MiB"


def _table(by_name: dict[str, list[Point]], validators: int) -> None:
    print(
        f"{'':10}{'in flight':>10}{'mints/s':>10}{'p50 ms':>10}{'p99 ms':>10}"
        f"{'ms CPU per mint: one validator':>33}{'mongod':>10}{'Mongo ops':>12}{'RPC':>8}"
    )
    for name, points in by_name.items():
        for in_flight, same in _at(points).items():
            workers, mongod = (fmean(one) for one in zip(*((p.cpu_workers, p.cpu_mongod) for p in same), strict=True))
            mongo, rpc = (fmean(_kind(point, kind, validators) for point in same) for kind in ("mongo ", "rpc "))
            print(
                f"{name:10}{in_flight:>10}{_rate(same):>10.1f}{_p50(same):>10.1f}{median(p.p99 for p in same):>10.1f}"
                f"{workers / validators:>33.2f}{mongod:>10.2f}{mongo:>12.2f}{rpc:>8.2f}"
            )
            if given_up := sum(point.unfinished for point in same):
                print(f"{'':10}{given_up} mints were not signed two minutes later: the figures above leave them out")


def _ratios(by_name: dict[str, list[Point]]) -> None:
    ours = _at(by_name.get("ours", []))
    for other in ("floor", "baseline"):
        theirs = _at(by_name.get(other, []))
        for in_flight in sorted(ours.keys() & theirs.keys()):
            rate = _rate(ours[in_flight]) / _rate(theirs[in_flight])
            wait = _p50(ours[in_flight]) / _p50(theirs[in_flight])
            print(f"ours / {other} at {in_flight}: throughput {rate:.2f}, p50 {wait:.3f}")


def _at(points: Iterable[Point]) -> dict[int, list[Point]]:
    found: dict[int, list[Point]] = {}
    for point in points:
        found.setdefault(point.in_flight, []).append(point)
    return found


def _mean_of(take: Callable[[Point], float]) -> Callable[[list[Point]], float]:
    return lambda points: fmean(take(point) for point in points)


_rate = _mean_of(lambda point: point.per_second)
_p50 = _mean_of(lambda point: point.p50)


def _kind(point: Point, prefix: str, validators: int) -> float:
    """Operations of one kind per mint and validator."""
    return sum(count for name, count in point.counters.items() if name.startswith(prefix)) / validators
