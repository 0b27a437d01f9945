"""`config show|check`: the settings as they were understood, secrets masked; every fault at once."""

# ruff: noqa: PLC0415 - what is heavy is imported by the command that needs it

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Final

import typer

from reactor.cli.common import EXIT_USAGE, ConfigOption, JsonOption, clean, print_json, read_settings, say, settings_source, warn
from reactor.foreign import MASK

if TYPE_CHECKING:
    from pathlib import Path

    from reactor.preflight.results import CheckResult
    from reactor.settings import Fault, Settings

app = typer.Typer(help="The configuration.", no_args_is_help=True)

_ITS_SECRET: Final = "key_passphrase"  # noqa: S105 - the name of a setting


@app.command("show")
def show(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show the settings in force, secrets masked, and the bridge's identity."""
    settings = read_settings(config)
    values, identity = settings.masked(), settings.identity_hash()
    if as_json:
        print_json({"settings": values, "identity": settings.identity(), "identity_hash": identity})
        return
    say("# the settings as they were understood; where ******** stands, a secret is left out")
    for line in _lines(values):
        say(line)
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


def _lines(values: Mapping[str, object], path: str = "") -> Iterator[str]:
    """TOML that `config check` reads. What cannot be shown whole without its secret stands there as a comment."""
    own = {name: value for name, value in values.items() if not isinstance(value, dict)}
    if path:
        yield f"[{path}]"
    for name, value in own.items():
        if name == _ITS_SECRET:
            yield f"# {name} is secret: give the path of a file that holds it as {name}_file"
        elif name == "key" and _ITS_SECRET in own:
            yield f"# {name} = {_toml(path, value)}  # with {_ITS_SECRET}_file"
        else:
            yield f"{name} = {_toml(path, value)}"
    if own:
        yield ""
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _lines(value, f"{path}.{name}" if path else name)


def _toml(path: str, value: object) -> str:
    match value:
        case bool():
            return str(value).lower()
        case int() | float():
            return str(value)
        case [list(), *_]:
            return _schedule(path, value)
        case list():
            return "[" + ", ".join(_toml(path, one) for one in _distinct(value)) + "]"
    # A user without a password is no valid URI of a database.
    return _quoted(str(value).replace(f"://{MASK}@", f"://{MASK}:{MASK}@") if path == "mongo" else str(value))


def _schedule(path: str, steps: Sequence[Any]) -> str:
    """An amount, or the heights from which each is in force; one that is in force from the start needs no height."""
    if len(steps) == 1:
        return str(steps[0][1])
    start = "from_block" if path == "ethereum" else "from_height"
    return "[" + ", ".join(f"{{{start} = {height}, amount = {amount}}}" for height, amount in steps) + "]"


def _distinct(values: list[object]) -> list[object]:
    """Two endpoints of one host look the same once their keys are masked; the same twice is no valid list."""
    seen: Counter[object] = Counter()
    shown: list[object] = []
    for value in values:
        seen[value] += 1
        shown.append(f"{value}{seen[value]}" if seen[value] > 1 else value)
    return shown


def _quoted(text: str) -> str:
    """A TOML string; what a terminal would not show is escaped."""
    escaped = text.replace("\\", "\\\\").replace('"', '\\"')
    return '"' + "".join(one if one.isprintable() else f"\\U{ord(one):08x}" for one in escaped) + '"'
