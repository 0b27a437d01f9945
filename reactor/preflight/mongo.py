"""Checks of the shared database: replica set, indexes, clock, and what the others' heartbeats say."""

from __future__ import annotations

from collections.abc import Container
from datetime import UTC, datetime
from time import monotonic
from typing import Final

from reactor.documents.models import Heartbeat
from reactor.handlers.heartbeat import verified_heartbeat, verified_heartbeats
from reactor.health import FRESH_SECONDS, Phase, seconds_ahead
from reactor.parts import bridge_of
from reactor.preflight.results import CheckResult, Level, failed, passed
from reactor.settings import Settings
from reactor.store.connection import Store
from reactor.store.indexes import verify

_SKEW_WARNING: Final = 2.0
_SKEW_ERROR: Final = 30.0
_CLOCK_REMEDY: Final = "synchronise this machine's clock (chrony, systemd-timesyncd) and that of the server"


async def check_indexes(store: Store) -> list[CheckResult]:
    """Collections, indexes and schema validators are as `init-db` makes them."""
    problems = await verify(store)
    if problems:
        more = f" and {len(problems) - 5} more" if len(problems) > 5 else ""
        detail = "; ".join(f"{one.collection}: {one.problem}" for one in problems[:5]) + more
        remedy = "run `reactor init-db`"
        if not any(await store.database.list_collection_names()):
            detail = f"database {store.database.name} holds nothing"
            remedy = "correct mongo.database if this is not the name that all validators share; else run `reactor init-db`"
        return [failed("indexes", detail, remedy)]
    return [passed("indexes", f"complete in database {store.database.name}")]


async def check_mongo_clock(store: Store) -> list[CheckResult]:
    """The server's clock and this machine's."""
    started = monotonic()
    hello = await store.client.admin.command("hello")
    middle = datetime.now(UTC).timestamp() - (monotonic() - started) / 2
    skew = middle - hello["localTime"].timestamp()
    detail = f"{skew:+.1f} s against the database server"
    if abs(skew) > _SKEW_WARNING:
        level: Level = "error" if abs(skew) > _SKEW_ERROR else "warning"
        return [failed("clock", detail, _CLOCK_REMEDY, level)]
    return [passed("clock", detail)]


async def check_others(store: Store, settings: Settings, own: str, members: Container[str], threshold: int) -> list[CheckResult]:
    """The other validators' heartbeats: who is there, and whose identity differs.

    SECURITY: only heartbeats that verify for a member count; anyone with write access can invent one.
    """
    identity = bridge_of(settings).identity_hash()
    heard: dict[str, Heartbeat] = {}
    rows, _ = await verified_heartbeats(store, settings.ethereum.validator_addresses)
    for row in rows:
        one = verified_heartbeat(row)
        if one is not None and one.eth_address in members and one.eth_address != own:
            heard.setdefault(one.eth_address, one)  # newest first
    now = datetime.now(UTC)
    # One that has said that it stops contradicts nobody any more: a change that all operators make together can be started.
    fresh = {
        address: one
        for address, one in heard.items()
        # One that is dated far ahead says nothing about the present: the clock here is compared with the cluster's.
        if abs((now - one.updated_at).total_seconds()) <= FRESH_SECONDS and one.phase != Phase.STOPPED
    }
    expected = [address for address in settings.ethereum.validator_addresses if address in members and address != own]
    return [_identities(fresh, identity, threshold), _presence(fresh, heard, expected, now)]


def _identities(fresh: dict[str, Heartbeat], identity: str, threshold: int) -> CheckResult:
    different = sorted(address for address, one in fresh.items() if one.identity != identity)
    if not different:
        return passed("identity of others", f"the same in all {len(fresh)} fresh heartbeats" if fresh else "none to compare")
    shown = ", ".join(f"{address} has {fresh[address].identity[:12]}" for address in different)
    remedy = "compare `reactor config show` with their operators: chain ids, contracts, vault keys, start blocks, fees, maximum"
    # SECURITY: TRUST.md, rule 8. The one that stands alone against M others is the one with the wrong configuration.
    level: Level = "error" if threshold and len(different) >= threshold else "warning"
    return failed("identity of others", f"own {identity[:12]}; {shown}", remedy, level)


def _last(beat: Heartbeat, now: datetime) -> str:
    ahead = ", ahead of the clock here: one of the two is wrong" if seconds_ahead(beat, now) else ""
    return f"last {beat.updated_at:%Y-%m-%d %H:%M:%S} UTC{ahead}"


def _presence(fresh: dict[str, Heartbeat], heard: dict[str, Heartbeat], expected: list[str], now: datetime) -> CheckResult:
    missing = [address for address in expected if address not in fresh]
    if not missing:
        return passed("other validators", f"{len(fresh)} of {len(expected)} are up")
    shown = ", ".join(f"{one} ({_last(heard[one], now)})" if one in heard else f"{one} (never)" for one in missing)
    return failed(
        "other validators", f"no fresh heartbeat of {shown}", "ask their operators; payouts need every vault key", "warning"
    )
