"""`run`: one validator, after the pre-flight checks that must hold."""

# ruff: noqa: PLC0415 - what is heavy is imported by the command that needs it

from __future__ import annotations

import asyncio
import os
import socket
from typing import TYPE_CHECKING, Annotated

import typer

from reactor.cli.common import EXIT_DUPLICATE, EXIT_REFUSED, EXIT_USAGE, ConfigOption, Problem, read_settings

if TYPE_CHECKING:
    from reactor.preflight import CheckResult
    from reactor.settings import Settings
    from reactor.validator import Validator

LOCK = "state lock"
"""The check that fails where another process runs on the state directory."""

ObserveOption = Annotated[
    bool, typer.Option("--observe", help="Scan, decide and log what would be signed; load no key, write nothing.")
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(run)


def run(config: ConfigOption = None, observe: ObserveOption = False) -> None:
    """Run one validator until SIGTERM or Ctrl-C. SIGHUP changes nothing.

    Exit codes: 0 stopped as asked. 1 something broke: start it again. 2 configuration or usage: correct it first. 3 not started,
    because a condition for it does not hold (`reactor check` tells which): start it again later. 4 another process runs on this
    state directory or with this key: do not start it again.
    """
    import signal

    from reactor.cli.faults import log
    from reactor.logs import configure_logs, name_lines
    from reactor.settings.sources import find_file
    from reactor.signals import Terminated

    # A terminal that is closed, or a tool that rotates logs, must not end it before it can say what it does with the signal.
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        settings = read_settings(config)
        configure_logs(settings.log.level, settings.log.format, secrets=settings.secrets())
        name_lines(bridge=settings.identity_hash()[:12], validator=settings.validator.name or socket.gethostname())
        file = find_file(config, os.environ)
        try:
            asyncio.run(_run(settings, observe=observe, source=str(file.absolute()) if file is not None else ""))
        except Exception as error:
            if settings.log.format != "json":
                raise  # the last words are for people
            raise typer.Exit(log(error)) from None
    except Terminated:
        raise typer.Exit(0) from None  # it was asked to end, and has ended


async def _run(settings: Settings, *, observe: bool, source: str) -> None:
    from reactor.engine.supervisor import Stop
    from reactor.engine.tasks import unless

    # Before anything else: a stop must be heard however long a dependency is waited for.
    with Stop().on_signals() as stop:
        validator = await unless(stop.asked, _started(settings, observe=observe, source=source))
        if validator is None:
            return
        try:
            await validator.run(stop)
        finally:
            await validator.close()


async def _started(settings: Settings, *, observe: bool, source: str) -> Validator:
    """The validator, once all that it needs was found to be there. Raises Problem where it was not."""
    from loguru import logger

    from reactor.first_line import asking_line
    from reactor.logs import name_lines
    from reactor.preflight import failures, preflight
    from reactor.validator import Validator

    logger.info(asking_line(source))
    results = await preflight(settings, observe=observe, starting=True)
    for result in results:
        if not result.ok:
            log = {"error": logger.error, "info": logger.info}.get(result.level, logger.warning)
            log("{}: {}. {}", result.name, result.detail, result.remedy)
    if failed := failures(results):
        names = ", ".join(dict.fromkeys(result.name for result in failed))
        remedies = "; ".join(dict.fromkeys(result.remedy for result in failed if result.remedy))
        raise Problem(f"not started: {names}", remedies, _code(failed, settings))
    validator = await Validator.open(settings, observe=observe, source=source)
    name_lines(bridge=settings.identity_hash()[:12], validator=validator.hearts.instance.validator_id)
    return validator


def _code(failed: list[CheckResult], settings: Settings) -> int:
    """What a service manager is to do: a second process and a wrong configuration do not pass by themselves."""
    if any(result.name == LOCK for result in failed):
        return EXIT_DUPLICATE
    return EXIT_USAGE if any(_lasting(result, settings) for result in failed) else EXIT_REFUSED


def _lasting(result: CheckResult, settings: Settings) -> bool:
    """Whether a failure lies in the configuration itself: what `config check` calls a fault, or a key that is not configured.

    A key that does not open, wherever it lies, may be made, mounted or answered for later; so may a name server.
    """
    from reactor.preflight.offline import FIELDS
    from reactor.preflight.own import FOREIGN

    keys = {"Ethereum key": settings.ethereum.key, "Pocket key": settings.pocket.key}
    if result.name in keys:
        return result.remedy == FOREIGN or not _can_lead_to_a_key(keys[result.name])
    if result.name == "database URI":
        return not settings.mongo.uri.get_secret_value().startswith("mongodb+srv://")
    return result.name in FIELDS


def _can_lead_to_a_key(uri: str | None) -> bool:
    from reactor.keys.problem import KeyProblem
    from reactor.keys.uri import check_key_uri

    try:
        check_key_uri(uri or "")
    except KeyProblem:
        return False
    return True
