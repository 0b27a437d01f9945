"""The command as a whole: what it loads, how it refuses, what it never shows."""

import importlib
import json
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
import typer.main
from cli_unit_helpers import API_KEY, PASSWORD, TOML, make_journal, settings_in, write_config

from reactor.cli import faults
from reactor.cli.common import Problem, ago, clean
from reactor.cli.main import app, main
from reactor.parts import bridge_of

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
HEAVY = ("web3", "boto3", "botocore", "aiohttp", "eth_account", "pymongo", "reactor.chains.ethereum", "reactor.store.connection")


def commands() -> list[list[str]]:
    """Every command, found in the program itself."""
    found = []
    for name, command in typer.main.get_command(app).commands.items():
        below = getattr(command, "commands", None)
        found += [[name, one] for one in below] if below else [[name]]
    return found


def test_every_command_that_the_documentation_names_is_there():
    assert {" ".join(one) for one in commands()} == {
        "run",
        "check",
        "init-db",
        "config show",
        "config check",
        "status",
        "health",
        "tail",
        "explain",
        "pause",
        "resume",
        "hold",
        "release",
        "retry",
        "rescan",
        "supply",
        "journal new",
        "journal show",
        "journal export",
        "journal allow-older",
        "keys new",
        "keys show",
        "version",
    }


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_every_command_has_help_and_takes_a_configuration(command, capsys):
    assert main([*command, "--help"]) == 0
    shown = capsys.readouterr().out
    if command not in (["version"], ["keys", "new"]):
        assert "--config" in shown


def loaded(tmp_path: Path, *arguments: str) -> list[str]:
    """Which heavy modules a command loads. Not its seconds: those are the machine's."""
    code = (
        "import sys, reactor.cli.main as m\n"
        f"code = m.main({list(arguments)!r})\n"
        f"print([name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)\n"
        "sys.exit(code)"
    )
    command, environment = [sys.executable, "-c", code], {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stderr.splitlines()[-1].replace("'", '"'))


@pytest.mark.parametrize("arguments", [["--help"], ["version"], ["config", "show"]])
def test_what_asks_nothing_loads_no_library_of_chains_or_mongo(arguments, tmp_path):
    write_config(tmp_path)
    assert loaded(tmp_path, *arguments) == []


def test_a_check_of_the_configuration_loads_no_library_of_key_services_or_of_web3(tmp_path):
    write_config(tmp_path)
    assert not {"web3", "boto3", "botocore"} & set(loaded(tmp_path, "config", "check"))


def test_a_dry_pause_loads_no_library_of_chains_or_mongo(tmp_path):
    make_journal(settings_in(tmp_path)).close()
    assert loaded(tmp_path, "pause", "mint") == []


def test_a_check_does_load_them(tmp_path, capsys):
    """The twin: the list of heavy modules is not out of date."""
    code = f"import sys, reactor.preflight\nprint([name for name in {HEAVY!r} if name in sys.modules])"
    shown = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True).stdout
    assert "reactor.chains.ethereum" in shown
    assert "pymongo" in shown


def test_version(capsys):
    assert main(["version", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["name"] == "bridge-reactor"


@pytest.mark.parametrize("arguments", [["nonsense"], ["pause"], ["pause", "sideways", "--why", "x"], ["run", "--nonsense"]])
def test_wrong_usage_is_2(arguments, capsys):
    assert main(arguments) == 2
    assert "Traceback" not in capsys.readouterr().err


@pytest.mark.parametrize(
    "command",
    [["run"], ["check"], ["init-db"], ["status"], ["config", "show"], ["config", "check"], ["journal", "show"], ["keys", "show"]],
    ids=" ".join,
)
def test_a_faulty_configuration_is_2_with_every_fault(command, tmp_path, capsys):
    path = write_config(tmp_path, TOML.replace("start_block = 100", "start_block = 0").replace("tx_fee = 10000", ""))
    assert main([*command, "--config", str(path)]) == 2
    shown = capsys.readouterr().err
    assert "ethereum.start_block" in shown
    assert "pocket.tx_fee" in shown
    assert "Traceback" not in shown


def test_config_check_lists_faults_for_machines(tmp_path, capsys):
    path = write_config(tmp_path, TOML.replace("start_block = 100", "start_block = 0"))
    assert main(["config", "check", "--json", "-c", str(path)]) == 2
    said = json.loads(capsys.readouterr().out)
    assert said["ok"] is False
    assert [fault["field"] for fault in said["faults"]] == ["ethereum.start_block"]


def test_config_check_accepts_a_sound_file(tmp_path, capsys):
    assert main(["config", "check", "--json", "-c", str(write_config(tmp_path))]) == 0
    assert json.loads(capsys.readouterr().out)["ok"] is True


@pytest.mark.parametrize("options", [[], ["--json"]])
def test_config_show_masks_secrets(options, tmp_path, capsys):
    assert main(["config", "show", *options, "-c", str(write_config(tmp_path))]) == 0
    shown = capsys.readouterr().out
    assert settings_in(tmp_path).identity_hash() in shown
    assert PASSWORD not in shown
    assert API_KEY not in shown


# A connection that is being made when its client is closed is left to the collector by asyncio.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")
def test_an_unreachable_database_is_told_with_its_remedy_and_without_its_password(tmp_path, capsys):
    assert main(["status", "-c", str(write_config(tmp_path))]) == 1
    shown = capsys.readouterr().err
    assert "error: mongo.uri" in shown
    assert "remedy: " in shown
    assert PASSWORD not in shown
    assert "Traceback" not in shown


# A connection that is being made when its client is closed is left to the collector by asyncio.
@pytest.mark.filterwarnings("ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning")
def test_unreachable_nodes_are_told_without_their_keys(tmp_path, capsys):
    assert main(["journal", "new", "-c", str(write_config(tmp_path))]) == 1
    shown = capsys.readouterr().err
    assert "error: " in shown
    assert API_KEY not in shown
    assert "Traceback" not in shown


def test_a_fault_of_the_program_shows_a_traceback_with_secrets_masked(tmp_path, capsys, monkeypatch):
    path = write_config(tmp_path)

    def broken(_: object) -> None:
        raise RuntimeError(f"something about {PASSWORD}")

    monkeypatch.setattr("reactor.parts.bridge_of", broken)
    assert main(["journal", "show", "-c", str(path)]) == 1
    shown = capsys.readouterr().err
    assert "RuntimeError: something about ****" in shown
    assert PASSWORD not in shown


@pytest.mark.parametrize("name", faults._EXPECTED)
def test_each_expected_error_exists_under_its_name(name):
    module, _, cls = name.rpartition(".")
    assert issubclass(getattr(importlib.import_module(module), cls), BaseException)


def test_only_expected_errors_are_told_without_a_traceback():
    assert faults.told(Problem("m", "r", 2)) == ("m", "r", 2)
    assert faults.told(ExceptionGroup("several", [Problem("m", "r")])) == ("m", "r", 1)
    assert faults.told(KeyError("x")) is None


def test_the_two_identities_are_one(tmp_path):
    settings = settings_in(tmp_path)
    assert bridge_of(settings).identity() == settings.identity()


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("plain", "plain"),
        ("\x1b[2J\x1b]0;evil\x07", "\ufffd[2J\ufffd]0;evil\ufffd"),
        ("a\nb\rc", "a\ufffdb\ufffdc"),
        ("\u202egnp", "\ufffdgnp"),
        (None, ""),
        (7, "7"),
        ("x" * 5000, "x" * 2000 + "…"),
    ],
)
def test_text_of_strangers_cannot_steer_the_terminal(given, shown):
    assert clean(given) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"), [(5, "5 s"), (119, "119 s"), (120, "2 min"), (3 * 3600, "3 h"), (50 * 3600, "2 d"), (-5, "-5 s")]
)
def test_ages(seconds, shown):
    now = datetime(2026, 1, 2, tzinfo=UTC)
    assert ago(now - timedelta(seconds=seconds), now) == shown


def test_no_age_for_what_never_was():
    assert ago(None) == "-"
    assert ago(datetime.fromtimestamp(0, UTC)) == "-"
