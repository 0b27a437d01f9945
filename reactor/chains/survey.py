"""All endpoints of a chain compared now and then: who lags, who claims too much, who shows another fork. Knows no protocol.

Between two surveys only the preferred endpoints are asked, and nobody would notice what the others do, or that the preferred one
has fallen behind.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from reactor.chains.errors import RpcProblem
from reactor.chains.rpc import Endpoint, Endpoints

__all__ = ["survey"]

DOUBT_SECONDS: Final = 300.0
"""How long who was found wanting stands back, unless a later survey finds it well: longer than the pause between two surveys."""
_ENOUGH: Final = 3
"""With fewer endpoints there is no majority: then the highest head counts, and of two forks none can be preferred."""


async def survey(
    pool: Endpoints,
    height: Callable[[Endpoint], Awaitable[int]],
    block_hash: Callable[[Endpoint, int], Awaitable[str]],
    *,
    lag: int,
    depth: int,
) -> None:
    """Ask every endpoint for its head and for one block that all should share; who differs stands back, who is well returns.

    `lag`: blocks that an endpoint may be behind. `depth`: how far below the lowest head blocks are compared. Never raises a
    `RpcProblem`; with one endpoint nothing is asked.
    """
    if len(pool.all) < 2:
        return
    answers = await pool.each(pool.all, height)
    heads = {endpoint: found for endpoint, found in answers.items() if not isinstance(found, RpcProblem)}
    level = _compare_heads(pool, heads, lag)
    if level:
        await _compare_blocks(pool, level, block_hash, max(0, min(level.values()) - depth))


def _compare_heads(pool: Endpoints, heads: dict[Endpoint, int], lag: int) -> dict[Endpoint, int]:
    """Those that are about level."""
    if not heads:
        return {}
    ordered = sorted(heads.values(), reverse=True)
    # SECURITY: a head that one endpoint alone claims must not make all the others laggards.
    best = ordered[1] if len(ordered) >= _ENOUGH else ordered[0]
    level = {}
    for endpoint, head in heads.items():
        if head < best - lag:
            pool.doubt(endpoint, "head", f"lags: it stands at block {head} while others have {best}", DOUBT_SECONDS)
        elif head > best + lag:
            pool.doubt(endpoint, "head", f"claims block {head} while the others stand at {best}", DOUBT_SECONDS)
        else:
            pool.trust(endpoint, "head")
            level[endpoint] = head
    return level


async def _compare_blocks(
    pool: Endpoints, level: dict[Endpoint, int], block_hash: Callable[[Endpoint, int], Awaitable[str]], height: int
) -> None:
    answers = await pool.each(level, lambda endpoint: block_hash(endpoint, height))
    groups: dict[str, list[Endpoint]] = {}
    for endpoint, found in answers.items():
        if not isinstance(found, RpcProblem):
            groups.setdefault(found, []).append(endpoint)
    if not groups:
        return
    best = max(groups, key=lambda one: len(groups[one]))
    if len(groups) > 1 and 2 * len(groups[best]) <= sum(len(group) for group in groups.values()):
        shown = "; ".join(f"{endpoint.name}: {found}" for found, group in groups.items() for endpoint in group)
        pool.dispute("fork", f"endpoints show different blocks {height}: {shown}")
        return
    pool.settle("fork")
    for found, group in groups.items():
        for endpoint in group:
            if found == best:
                pool.trust(endpoint, "fork")
            else:
                text = f"shows another fork: block {height} is {found}, {len(groups[best])} others show {best}"
                pool.doubt(endpoint, "fork", text, DOUBT_SECONDS)
