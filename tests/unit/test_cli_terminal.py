"""What goes to a terminal and what to a program: colours, and hashes that are never cut where a program reads."""

import io
import os
import pty
import subprocess
import sys
from pathlib import Path

import pytest
from cli_unit_helpers import OperatorDesk, make_journal, make_ledger
from loguru import logger

from reactor.cli.common import moment
from reactor.documents.keys import deposit_key
from reactor.logs import configure_logs
from reactor.state.journal import JournalEntry

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
ESCAPE = "\x1b"
COMMANDS = (["journal", "show"], ["explain", "zz"], ["pause", "mint", "--apply", "--why", "x"], ["tail", "--status", "zz"])
"""A table, errors, and a warning."""
DIGEST = bytes(range(32))


@pytest.fixture
def desk(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> OperatorDesk:
    """A validator's disk with one signature in its journal."""
    desk = OperatorDesk(tmp_path, capsys)
    journal = make_journal(desk.settings)
    key = deposit_key(desk.bridge, "12" * 32)
    journal.sign_batch([JournalEntry(key, "mint", 0, DIGEST, None, "pocket", 5, "mint")])
    journal.close()
    make_ledger(desk.settings)
    return desk


def on_a_terminal(desk: OperatorDesk, arguments: list[str], **environment: str) -> str:
    """What a command writes to a terminal of 80 columns."""
    ours, theirs = pty.openpty()
    whole = {**os.environ, "TERM": "xterm-256color", "COLUMNS": "80", **environment}
    command = [sys.executable, "-m", "reactor.cli.main", *arguments, "--config", desk.config]
    with subprocess.Popen(command, cwd=ROOT, env=whole, stdin=theirs, stdout=theirs, stderr=theirs) as running:
        os.close(theirs)
        said = b""
        try:
            while chunk := os.read(ours, 65_536):
                said += chunk
        except OSError:
            pass  # Linux tells the end of a terminal in this way
        running.wait(60)
    os.close(ours)
    return said.decode()


def test_no_colour_where_it_is_not_wanted(desk: OperatorDesk) -> None:
    coloured = []
    for command in COMMANDS:
        plain = on_a_terminal(desk, command, NO_COLOR="1", FORCE_COLOR="")
        assert ESCAPE not in plain, plain
        coloured.append(ESCAPE in on_a_terminal(desk, command, NO_COLOR=""))
    assert all(coloured), "the twin: without NO_COLOR each of them has colours or bold headings"


@pytest.mark.parametrize("environment", [{}, {"NO_COLOR": "1"}, {"FORCE_COLOR": "1", "NO_COLOR": "1"}])
def test_no_colour_where_no_terminal_is(desk: OperatorDesk, environment: dict[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    for command in COMMANDS:
        assert ESCAPE not in desk.do(*command, code=0 if command[0] in {"journal", "pause"} else 2)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(("value", "coloured"), [(None, True), ("", True), ("1", False), ("0", False)])
def test_log_lines_have_no_colour_where_it_is_not_wanted(
    monkeypatch: pytest.MonkeyPatch, value: str | None, coloured: bool
) -> None:
    if value is None:
        monkeypatch.delenv("NO_COLOR", raising=False)
    else:
        monkeypatch.setenv("NO_COLOR", value)
    stream = Terminal()
    configure_logs("INFO", stream=stream)
    try:
        logger.warning("a line")
    finally:
        configure_logs("WARNING")
    assert "a line" in stream.getvalue()
    assert (ESCAPE in stream.getvalue()) is coloured


def test_keys_and_digests_are_whole_for_a_program(desk: OperatorDesk) -> None:
    said = desk.do("journal", "show")
    assert f"{deposit_key(desk.bridge, '12' * 32)}" in said
    assert DIGEST.hex() in said
    assert "…" not in said


def test_a_narrow_terminal_breaks_keys_and_cuts_none(desk: OperatorDesk) -> None:
    said = on_a_terminal(desk, ["journal", "show"], NO_COLOR="1")
    cells = [line.split("│")[4].strip() for line in said.splitlines() if line.count("│") == 6]
    assert "".join(cells) == deposit_key(desk.bridge, "12" * 32)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, ""),
        (0, "1970-01-01 00:00:00"),
        (1_700_000_000, "2023-11-14 22:13:20"),
        (2**63 - 1, "9999-12-05"),
        (-5, "1970-01-01"),
    ],
)
def test_a_blocks_time_is_shown_whatever_its_node_says(seconds: int | None, text: str) -> None:
    assert moment(seconds).startswith(text)
