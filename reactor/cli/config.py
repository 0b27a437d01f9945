"""`config show|check`: the settings as they were understood, secrets masked; every fault at once."""

# ruff: noqa: PLC0415 - what is heavy is imported by the command that needs it

from __future__ import annotations

import os
from dataclasses import asdict

import typer

from reactor.cli.common import EXIT_USAGE, ConfigOption, JsonOption, clean, print_json, read_settings, say

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
    """Check the configuration alone, without asking anything else. Exit code 2 with every fault listed."""
    if not as_json:
        say(f"the configuration is sound, identity {read_settings(config).identity_hash()}")
        return
    from reactor.settings import SettingsError, load_settings

    try:
        settings = load_settings(config, os.environ)
    except SettingsError as error:
        print_json({"ok": False, "source": error.source, "faults": [asdict(fault) for fault in error.faults]})
        raise typer.Exit(EXIT_USAGE) from None
    print_json({"ok": True, "identity_hash": settings.identity_hash(), "faults": []})


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
