"""What a person sees of a development network: steps of the set-up with their times, live lines, tables."""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Final

from rich.console import Console
from rich.status import Status as Spinner
from rich.text import Text

from infra.localnet.watch import Change, shorten
from reactor.documents.statuses import Collection

_COLOURS: Final[Mapping[Collection, str]] = {
    Collection.MINT: "green",
    Collection.INVALID_MINT: "yellow",
    Collection.BURN: "magenta",
    Collection.MINTED: "cyan",
    Collection.RETURNED: "cyan",
}
_LOG_WIDTH: Final = 120


class Screen:
    """Standard output for a terminal or a log file."""

    def __init__(self, console: Console | None = None) -> None:
        self.console = console or Console(highlight=False)
        if not self.console.is_terminal:
            self.console.width = _LOG_WIDTH
        self._began = time.monotonic()
        self._spinner: Spinner | None = None

    def say(self, text: str, style: str = "") -> None:
        """One line, with the seconds since the beginning."""
        self.console.print(Text(f"{self._clock()}  ") + Text(text, style=style), soft_wrap=True)

    @contextmanager
    def steps(self) -> Iterator[None]:
        """Around the set-up: `step` shows what is being done."""
        with self.console.status("setting up") as self._spinner:
            yield
        self._spinner = None

    def step(self, text: str) -> None:
        """What is being done from now on."""
        self.say(text, "dim")
        if self._spinner is not None:
            self._spinner.update(text)

    def change(self, change: Change) -> None:
        """One line of the live log."""
        line = Text(f"{self._clock()}  ")
        line.append(f"{change.collection.value:<13}", style=_COLOURS[change.collection])
        line.append(f"{shorten(change.transaction):<12} ", style="dim")
        status = change.text.partition(":")[0]
        line.append(change.text, style={"success": "bold green", "failed": "bold red"}.get(status, ""))
        self.console.print(line, soft_wrap=True)

    def _clock(self) -> str:
        return f"{time.monotonic() - self._began:6.1f} s"
