"""Figures of a run, from the documents' own history: how long each hop took."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import Any

import psutil

from infra.localnet.network import Localnet
from reactor.documents.statuses import REQUESTS


async def figures(net: Localnet) -> list[str]:
    """What the database and the validators that run now were asked, then one line per collection and hop: how many, and the
    seconds that half, nearly all and all of them took at most."""
    lines = [await _operations(net), _processor(net)]
    for role in REQUESTS:
        hops: dict[str, list[float]] = {}
        async for row in net.store.collection(role).find():
            for start, end, seconds in _hops(row):
                hops.setdefault(f"{start} → {end}", []).append(seconds)
        lines += [f"{role.value} {hop}: {_spread(taken)}" for hop, taken in hops.items()]
    return lines


async def _operations(net: Localnet) -> str:
    asked = (await net.store.client.admin.command("serverStatus"))["opcounters"]
    shown = ", ".join(f"{name} {asked[name]}" for name in ("insert", "query", "update", "getmore", "command"))
    return f"operations of the database (of its primary, since it runs): {shown}"


def _processor(net: Localnet) -> str:
    spent = {one.name: psutil.Process(one.process.pid).cpu_times() for one in net.validators if one.running}
    return "processor seconds of this life: " + ", ".join(f"{name} {one.user + one.system:.1f}" for name, one in spent.items())


def _hops(row: dict[str, Any]) -> list[tuple[str, str, float]]:
    stations = [("inserted", row["created_at"]), *((one["status"], one["at"]) for one in row["history"])]
    return [(start, end, (ended - started).total_seconds()) for (start, started), (end, ended) in itertools.pairwise(stations)]


def _spread(taken: Sequence[float]) -> str:
    ordered = sorted(taken)
    half, most = ordered[len(ordered) // 2], ordered[min(len(ordered) - 1, len(ordered) * 99 // 100)]
    return f"{len(ordered)}, p50 {half:.2f} s, p99 {most:.2f} s, most {ordered[-1]:.2f} s"
