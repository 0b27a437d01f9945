"""`health`: whether the validator whose state lies on this machine can do its work. For the health checks of containers."""

# ruff: noqa: PLC0415 - what is heavy is imported by the command that needs it

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

import typer

from reactor.cli.common import EXIT_PROBLEM, ConfigOption, Problem, clean, read_settings, say

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from reactor.documents.models import Heartbeat
    from reactor.health import Standing
    from reactor.settings import Settings

ANSWER_SECONDS: Final = 25.0
"""Below the time that health checks are given: its own words are better than being cut off."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(health)


def health(config: ConfigOption = None) -> None:
    """Tell whether the validator whose state lies here is healthy, by its own signed heartbeat: what all others see of it.

    Exit code 0: it can scan both chains, reach its change stream, write its state and sign. 1: it cannot, it stopped, it is late
    or it never ran, and why.
    """
    settings = read_settings(config)
    standing = asyncio.run(_own_standing(settings))
    say(_sentence(standing))
    if not standing.healthy:
        say(clean(standing.why))
        raise typer.Exit(EXIT_PROBLEM)


def _sentence(standing: Standing) -> str:
    from reactor.health import State

    if standing.state is State.NEVER:
        return "this validator is not healthy: it has just started, or does not reach the shared database"
    return f"this validator is {standing.state.value} and {'healthy' if standing.healthy else 'not healthy'}"


async def _own_standing(settings: Settings) -> Standing:
    """SECURITY: by the instance that this state directory names, so that no other validator's heartbeat is taken for its own."""
    from reactor.health import standing_of
    from reactor.parts import open_store
    from reactor.state.runs import last_run
    from reactor.store.heartbeats import instance_heartbeats

    instance = last_run(settings.state.directory)
    if not instance:
        raise Problem(f"no validator has ever run on {settings.state.directory}", "start it: reactor run")
    async with asyncio.timeout(ANSWER_SECONDS), await open_store(settings) as store:
        rows = await instance_heartbeats(store, instance)
    return standing_of(own_heartbeat(rows, instance, settings.ethereum.validator_addresses), datetime.now(UTC))


def own_heartbeat(rows: Iterable[Mapping[str, Any]], instance: str, addresses: Sequence[str]) -> Heartbeat | None:
    """The newest of the heartbeats that verify, are of one of `addresses` and name `instance`. Raises Problem where two
    addresses claim to be it: one of them is lying, and which is not known here.
    """
    from reactor.handlers.heartbeat import verified_heartbeat

    verified = [beat for row in rows if row.get("eth_address") in addresses and (beat := verified_heartbeat(row)) is not None]
    beats = [beat for beat in verified if beat.instance == instance]
    claimed = sorted({beat.eth_address for beat in beats})
    if len(claimed) > 1:
        raise Problem(
            f"{' and '.join(claimed)} claim to be the process of this state directory", "one of them lies, see `reactor status`"
        )
    return max(beats, key=lambda beat: beat.counter, default=None)
