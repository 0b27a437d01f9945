"""`config show|check`: the settings as they were understood, secrets masked; every fault at once."""

# ruff: noqa: PLC0415 - what is heavy is imported by the command that needs it

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from reactor.cli.common import EXIT_USAGE, ConfigOption, JsonOption, clean, print_json, read_settings, say, settings_source, warn

if TYPE_CHECKING:
    from pathlib import Path

    from reactor.preflight.results import CheckResult
    from reactor.settings import Fault, Settings

app = typer.Typer(help="The configuration.", no_args_is_help=True)


@app.command("show")
def show(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show the settings in force, secrets masked, and the bridge's identity."""
    settings = read_settings(config)
    values, identity = settings.masked(), settings.identity_hash()
    if as_json:
        print_json({"settings": values, "identity": settings.identity(), "identity_hash": identity})
        return
    _print_section("", values)
    say(f"# identity {identity}")


@app.command("check")
def check(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Check the configuration alone, and the files that it names. Asks no other machine. Exit code 2 with every fault listed."""
    from reactor.settings import SettingsError

    try:
        settings, results = _judged(config)
    except SettingsError as error:
        if not as_json:
            raise
        print_json({"ok": False, "source": error.source, "faults": [asdict(fault) for fault in error.faults]})
        raise typer.Exit(EXIT_USAGE) from None
    told = [one for one in results if not one.ok]
    if as_json:
        notes = [{"level": one.level, **asdict(_fault(one))} for one in told]
        print_json({"ok": True, "identity_hash": settings.identity_hash(), "faults": [], "notes": notes})
        return
    for one in told:
        line = f"{_fault(one).field}: {clean(one.detail)}. {clean(one.remedy)}"
        if one.level == "warning":
            warn(line)
        else:
            say(f"note: {line}")
    say(f"the configuration is sound, identity {settings.identity_hash()}")


def _judged(config: Path | None) -> tuple[Settings, list[CheckResult]]:
    """The settings and what was found about them. Raises SettingsError with every fault."""
    from reactor.settings import SettingsError

    settings = read_settings(config)
    results = asyncio.run(_offline(settings))
    faults = [_fault(one) for one in results if not one.ok and one.level == "error"]
    if faults:
        raise SettingsError(faults, settings_source(config))
    return settings, results


async def _offline(settings: Settings) -> list[CheckResult]:
    """The start conditions that need no network, and whose keys lie on this machine."""
    from reactor.preflight.offline import key_checks, offline_checks

    groups = await asyncio.gather(*offline_checks(settings), *key_checks(settings))
    return [result for group in groups for result in group]


def _fault(result: CheckResult) -> Fault:
    from reactor.preflight.offline import FIELDS
    from reactor.settings import Fault

    return Fault(FIELDS.get(result.name, result.name), "", result.detail, result.remedy)


def _print_section(path: str, values: dict[str, object]) -> None:
    """TOML, so that it can be read beside the file."""
    own = {name: value for name, value in values.items() if not isinstance(value, dict)}
    if path:
        say(f"[{path}]")
    for name, value in own.items():
        say(f"{name} = {_toml(value)}")
    if own:
        say()
    for name, value in values.items():
        if isinstance(value, dict):
            _print_section(f"{path}.{name}" if path else name, value)


def _toml(value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return str(value)
        case list():
            return "[" + ", ".join(_toml(one) for one in value) + "]"
    return f'"{clean(value)}"'
