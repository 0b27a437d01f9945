"""Every argument of every command: what it cannot be is refused with its name (or what was given) and what it can be."""

from pathlib import Path

import pytest
import typer.main
from cli_unit_helpers import deposit, make_journal, make_ledger, settings_in, write_config

from reactor.cli.main import app, main

pytestmark = pytest.mark.unit

APPLIED = ["--apply", "--why", "x"]
RESCAN = ["rescan", "--chain", "pocket", "--from", "1", "--to", "2"]

Case = tuple[list[str], str, str]
"""What is given; what the error must name; what it must say can be given instead."""

CONFIG: Case = (["--config", "no-such-file.toml"], "no-such-file.toml", "Check the path")
BAD: dict[str, dict[str, list[Case]]] = {
    "run": {"config": [CONFIG]},
    "check": {"config": [CONFIG]},
    "init-db": {
        "config": [CONFIG],
        "user": [
            (["--user", "validator:alice"], "--user", "add --roles"),
            (["--roles", "--user", "alice"], "--user", "validator"),
            (["--roles", "--user", "king:alice"], "--user", "validator"),
        ],
    },
    "status": {"config": [CONFIG], "oldest": [(["--oldest", one], "--oldest", "100") for one in ("101", "1000")]},
    "health": {"config": [CONFIG]},
    "tail": {
        "config": [CONFIG],
        "collection": [(["--collection", one], "--collection", "give one of mint,") for one in ("nonsense", "", "mint,burn")],
        "status": [(["--status", one], "--status", "give one of pending,") for one in ("nonsense", "", "signed,failed")],
        "address": [(["--address", one], "--address", "40 hex digits") for one in ("zz", "", "0x12", "ab" * 21, "g" * 40)],
        "hash_": [(["--hash", one], "--hash", "64 hex digits") for one in ("zz", "", "0x12", "ab" * 33, "ab" * 31, "g" * 64)],
        "limit": [(["--limit", "-1"], "--limit", "greater than or equal to 0"), (["--limit", "many"], "--limit", "integer")],
    },
    "explain": {
        "config": [(["9" * 64, *CONFIG[0]], *CONFIG[1:])],
        "what": [([one], one or "''", "64 hex digits") for one in ("zz", "0x12", "hello", "ab" * 33, f"{'ab' * 32} {'cd' * 32}")],
    },
    "supply": {"config": [CONFIG]},
    "pause": {
        "config": [(["mint", *CONFIG[0]], *CONFIG[1:])],
        "direction": [(["sideways"], "sideways", "payout")],
        "why": [(["mint", "--apply"], "--why", "say why")],
    },
    "resume": {
        "config": [(["mint", *CONFIG[0]], *CONFIG[1:])],
        "direction": [(["sideways"], "sideways", "payout")],
        "why": [(["mint", "--apply"], "--why", "say why")],
    },
    "hold": {
        "config": [(["signing", *CONFIG[0]], *CONFIG[1:])],
        "why": [(["signing", "--apply"], "--why", "say why")],
        "target": [
            *(([one], one, "give a transaction hash") for one in ("zz", "0x12", "everything", "ab" * 33)),
            (["direction:mint"], "direction:mint", "reactor pause"),
            (["pocket:localnet:{vault}:zz"], ":zz", "64 hex digits"),
            (["0x" + "9" * 64], "9" * 64, "event key"),
            (["9" * 24], "9" * 24, "event key"),
        ],
    },
    "release": {
        "config": [(["1", *CONFIG[0]], *CONFIG[1:])],
        "why": [(["signing", "--apply"], "--why", "say why")],
        "target": [
            *(([one], one, "give a transaction hash") for one in ("zz", "everything")),
            (["7"], "7", "active are: none"),
            (["signing"], "signing", "active are: none"),
            (["--attempt", "zz"], "zz", "give a transaction hash"),
            (["--attempt", "signing"], "signing", "give a transaction hash"),
            (["--attempt", deposit(1).tx_hash], deposit(1).tx_hash, "a payout whose return failed"),
        ],
        "number": [
            (["signing", "--number", "1"], "--number", "give both"),
            (["signing", "--attempt", "--number", "0"], "--number", "greater than or equal to 1"),
            (["signing", "--attempt", "--number", "16"], "--number", "less than or equal to 15"),
        ],
    },
    "retry": {
        "config": [(["disputed", *CONFIG[0]], *CONFIG[1:])],
        "why": [(["disputed", "--apply"], "--why", "say why")],
        "target": [
            (["zz"], "zz", "give a transaction hash"),
            (["signing"], "signing", "give a hash"),
            (["9" * 64], "9" * 64, "wait until it was scanned"),
        ],
    },
    "rescan": {
        "config": [([*RESCAN[1:], *CONFIG[0]], *CONFIG[1:])],
        "why": [([*RESCAN[1:], "--apply"], "--why", "say why")],
        "chain": [
            (["--chain", "hathor", "--from", "1", "--to", "2"], "--chain", "ethereum"),
            (["--from", "1", "--to", "2"], "--chain", ""),
        ],
        "first": [
            (["--chain", "pocket", "--from", "0", "--to", "2"], "--from", "greater than or equal to 1"),
            (["--chain", "pocket", "--from", "9", "--to", "2"], "--from", "the lower block first"),
            (["--chain", "ethereum", "--from", "9", "--to", "200"], "--from", "begin at 100"),
            (["--chain", "pocket", "--to", "2"], "--from", ""),
        ],
        "last": [
            (["--chain", "pocket", "--from", "1", "--to", "x"], "--to", "integer"),
            (["--chain", "pocket", "--from", "1", "--to", "9999"], "--to", "read anyway"),
            (["--chain", "pocket", "--from", "1"], "--to", ""),
        ],
    },
    "journal new": {"config": [CONFIG]},
    "journal show": {
        "config": [CONFIG],
        "limit": [(["--limit", "-1"], "--limit", "greater than or equal to 0"), (["--limit", "x"], "--limit", "integer")],
    },
    "journal export": {
        "config": [CONFIG],
        "output": [
            (["--output", "{there}"], "{there}", "name a file that does not"),
            (["--output", "{nowhere}/x"], "{nowhere}/x", "directory"),
        ],
    },
    "journal allow-older": {"config": [CONFIG], "why": [(["--apply"], "--why", "say why")]},
    "config show": {"config": [CONFIG]},
    "config check": {"config": [CONFIG]},
    "keys new": {
        "side": [(["hathor", "{nowhere}"], "hathor", "ethereum")],
        "kind": [(["ethereum", "{nowhere}", "--kind", "paper"], "--kind", "keystore")],
        "path": [
            (["ethereum", "{there}", "--kind", "file"], "{there}", ""),
            (["ethereum", "{nowhere}/key", "--kind", "file"], "{nowhere}/key", ""),
        ],
        "passphrase_file": [
            (["ethereum", "{there}-2", "--passphrase-file", "{nowhere}"], "{nowhere}", "check the path"),
            (["ethereum", "{there}-2"], "passphrase", "--passphrase-file"),
        ],
    },
    "keys show": {"config": [CONFIG]},
    "version": {},
}
FREE = {"help"}
"""What takes no value, beside the switches."""


def commands() -> dict[str, typer.main.TyperGroup]:
    found = {}
    for name, command in typer.main.get_command(app).commands.items():  # type: ignore[attr-defined]
        below = getattr(command, "commands", None)
        found |= {f"{name} {one}": it for one, it in below.items()} if below else {name: command}
    return found


def test_every_argument_of_every_command_is_in_the_table() -> None:
    taken = {
        name: {one.name for one in command.params if not getattr(one, "is_flag", False) and one.name not in FREE}
        for name, command in commands().items()
    }
    assert {name: set(cases) for name, cases in BAD.items()} == taken


MISSPELT = {
    "explain": ["zz", "hello", "0x12", "ab" * 33],
    "hold": ["zz", "0x12", "ab" * 33, "direction:mint", "pocket:localnet:{vault}:zz"],
    "release": ["zz", "0x12", "direction:mint"],
    "release --attempt": ["zz", "signing"],
    "retry": ["zz", "signing"],
    "tail --hash": ["zz", "0x12"],
    "tail --address": ["zz"],
}
UNKNOWN = {"hold": ["0x" + "9" * 64, "9" * 24], "release": ["7", "signing"], "retry": ["9" * 64, "9" * 24]}


@pytest.mark.parametrize(
    ("command", "target", "ends"),
    [(command, one, code) for code, table in ((2, MISSPELT), (1, UNKNOWN)) for command, names in table.items() for one in names],
)
def test_what_can_be_no_target_is_wrong_usage_and_what_is_only_unknown_is_not(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], command: str, target: str, ends: int
) -> None:
    settings = settings_in(tmp_path)
    make_journal(settings).close()
    make_ledger(settings)
    given = target.format(vault=settings.pocket.vault_address)
    assert main([*command.split(), given, "--config", str(tmp_path / "reactor.toml")]) == ends
    assert "remedy: " in capsys.readouterr().err


CASES = [(command, *case) for command, arguments in BAD.items() for cases in arguments.values() for case in cases]


@pytest.mark.parametrize(("command", "given", "names", "says"), CASES, ids=[f"{one[0]} {' '.join(one[1])}"[:70] for one in CASES])
def test_what_it_cannot_be_is_refused_with_its_name_and_what_it_can_be(
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    command: str,
    given: list[str],
    names: str,
    says: str,
) -> None:
    settings = settings_in(tmp_path)
    make_journal(settings).close()
    make_ledger(settings)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").write_text("x")
    places = {"there": str(tmp_path / "there"), "nowhere": str(tmp_path / "nowhere"), "vault": settings.pocket.vault_address}

    def filled(text: str) -> str:
        for name, place in places.items():
            text = text.replace(f"{{{name}}}", place)
        return text

    arguments = [*command.split(), *map(filled, given)]
    if "--config" not in arguments and command != "keys new":
        arguments += ["--config", str(write_config(tmp_path))]
    code = main(arguments)
    said = capsys.readouterr()
    assert code in {1, 2}
    assert filled(names) in said.err
    assert says.lower() in said.err.lower()
    assert "remedy: " in said.err or "Usage: " in said.err, "what to do"
    assert "Traceback" not in said.err
    assert len(said.err) < 2000
