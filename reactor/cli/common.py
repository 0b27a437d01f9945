"""What all commands share: the configuration option, how things are printed, how problems are told. Light to import."""

# ruff: noqa: PLC0415 - what is heavy is imported by the command that needs it

from __future__ import annotations

import getpass
import json
import os
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from reactor import foreign

if TYPE_CHECKING:
    from rich.console import Console

    from reactor.settings import Settings

EXIT_PROBLEM: Final = 1
EXIT_USAGE: Final = 2
EXIT_REFUSED: Final = 3
EXIT_DUPLICATE: Final = 4
_TABLE_WIDTH: Final = 1000
"""Of tables that go to a file or a pipe, where no terminal says how wide it is: nothing of ours is cut or broken."""
_LONGEST: Final = 2000

ConfigOption = Annotated[
    Path | None,
    typer.Option("--config", "-c", help="TOML file; else REACTOR_CONFIG, else reactor.toml.", show_default=False),
]
JsonOption = Annotated[bool, typer.Option("--json", help="Print JSON, for machines.")]


class Problem(Exception):  # noqa: N818 - the word the operator reads
    """Something that the operator can mend: `message` says what and where, `remedy` what to do."""

    def __init__(self, message: str, remedy: str = "", code: int = EXIT_PROBLEM) -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy
        self.code = code


def read_settings(config: Path | None) -> Settings:
    """The settings; their secrets are masked in everything that is printed from now on. Raises SettingsError."""
    from reactor.logs import configure_logs
    from reactor.settings import load_settings

    configure_logs("WARNING")
    settings = load_settings(config, os.environ)
    configure_logs("WARNING", secrets=settings.secrets())
    return settings


def settings_source(config: Path | None) -> str:
    """Where the settings come from, in words: the file, or the environment alone."""
    from reactor.settings.sources import find_file

    file = find_file(config, os.environ)
    return "environment only" if file is None else str(file)


def operator() -> str:
    """Who gives the command, by the operating system's account."""
    try:
        user = getpass.getuser()
    except (OSError, KeyError):  # an account without a name, as in some containers
        user = f"uid {os.getuid()}"
    behind = os.environ.get("SUDO_USER", "")
    return f"{user} (sudo by {clean(behind, 64)})" if behind and behind != user else user


def say(text: str = "") -> None:
    """One line to standard output, as it is: never wrapped, so that hashes can be copied."""
    typer.echo(text)


def warn(text: str) -> None:
    """One line to standard error."""
    typer.secho(f"warning: {text}", err=True, fg=typer.colors.YELLOW, color=colours())


def print_json(value: object, *, indent: int | None = 2) -> None:
    """One JSON value; characters beyond ASCII are escaped, terminal controls among them."""
    typer.echo(json.dumps(value, indent=indent, default=plain))


def plain(value: object) -> object:
    """A value as JSON holds it: dates in ISO 8601, whatever else as text."""
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    if isinstance(value, set | frozenset | tuple):
        return list(value)
    return str(value)


def clean(value: object, longest: int = _LONGEST) -> str:
    """Text of the shared database as a terminal may show it.

    SECURITY: anyone with write access could put escape sequences into a field and so write over what an operator reads.
    """
    return foreign.clean(value, longest)


def for_people() -> bool:
    """Whether standard output is a terminal. Where it is none, hashes and keys are never shortened: a program may read them."""
    return sys.stdout.isatty()


def colours() -> bool | None:
    """For `click`: False where `NO_COLOR` is set to anything (no-color.org), else None, which is as the terminal can."""
    return False if os.environ.get("NO_COLOR") else None


def console() -> Console:
    """The console for tables: as wide as the terminal, or wide enough where there is none."""
    from rich.console import Console

    if not for_people():
        return Console(highlight=False, width=_TABLE_WIDTH, color_system=None, force_terminal=False)
    # Without colours rich would still write other escape sequences, for bold headings say.
    return Console(highlight=False, color_system=None if colours() is False else "auto")


def ago(moment: datetime | None, now: datetime | None = None) -> str:
    """How long ago, in one unit: `12 s`, `5 min`, `3 h`, `8 d`; `-` for never."""
    if moment is None or moment.year < 1971:
        return "-"
    seconds = int(((now or datetime.now(UTC)) - moment).total_seconds())
    for size, unit in ((86_400, "d"), (3_600, "h"), (60, "min")):
        if abs(seconds) >= 2 * size:
            return f"{seconds // size} {unit}"
    return f"{seconds} s"


def moment(seconds: int | None) -> str:
    """Seconds since the epoch as UTC text, a block's too, whatever its node says; empty for none."""
    from reactor.state.created import header_moment

    return "" if seconds is None else header_moment(seconds).strftime("%Y-%m-%d %H:%M:%S")


def described(value: Any) -> str:  # noqa: ANN401 - whatever a caller wants to show
    """A list for people: comma separated, `none` if it is empty."""
    items = [clean(one) for one in value]
    return ", ".join(items) if items else "none"
