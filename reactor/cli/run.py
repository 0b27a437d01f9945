"""`run`: one validator, after the pre-flight checks that must hold."""

# ruff: noqa: PLC0415 - what is heavy is imported by the command that needs it

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated

import typer

from reactor.cli.common import ConfigOption, Problem, read_settings

if TYPE_CHECKING:
    from reactor.settings import Settings

ObserveOption = Annotated[
    bool, typer.Option("--observe", help="Scan, decide and log what would be signed; load no key, write nothing.")
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(run)


def run(config: ConfigOption = None, observe: ObserveOption = False) -> None:
    """Run one validator until SIGTERM or Ctrl-C.

    Refuses to start (exit code 1) where a check fails that must hold; `reactor check` tells more. A broken loop of its own ends
    it with a non-zero code, for the service manager to start it again.
    """
    from reactor.logs import configure_logs

    settings = read_settings(config)
    configure_logs(settings.log.level, settings.log.format, secrets=settings.secrets())
    asyncio.run(_run(settings, observe=observe))


async def _run(settings: Settings, *, observe: bool) -> None:
    from loguru import logger

    from reactor.preflight import failures, preflight
    from reactor.validator import Validator

    results = await preflight(settings, observe=observe, deep=False)
    for result in results:
        if not result.ok:
            log = {"error": logger.error, "info": logger.info}.get(result.level, logger.warning)
            log("{}: {}. {}", result.name, result.detail, result.remedy)
    if failed := failures(results):
        names = ", ".join(dict.fromkeys(result.name for result in failed))
        raise Problem(f"not started: {names}", "; ".join(dict.fromkeys(result.remedy for result in failed if result.remedy)))
    validator = await Validator.open(settings, observe=observe)
    try:
        await validator.run()
    finally:
        await validator.close()
