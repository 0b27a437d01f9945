"""With which code `run` ends where a start condition does not hold: what may pass by itself is started again, the rest is not."""

import json
from pathlib import Path

import pytest
from cli_unit_helpers import PASSWORD, TOML, settings_in, write_config
from pydantic import SecretStr

from reactor.cli import run
from reactor.cli.common import EXIT_DUPLICATE, EXIT_PROBLEM, EXIT_REFUSED, EXIT_USAGE, Problem
from reactor.cli.main import main
from reactor.cli.run import LOCK, _code
from reactor.preflight.own import FOREIGN
from reactor.preflight.results import failed
from reactor.settings import Settings

pytestmark = pytest.mark.unit

SERVICE = "awskms://eu-central-1/1234abcd-12ab-34cd-56ef-1234567890ab"


def settings_with(folder: Path, *, key: str | None = None, uri: str = "mongodb://db/?replicaSet=rs0") -> Settings:
    settings = settings_in(folder)
    ethereum = settings.ethereum.model_copy(update={"key": key})
    mongo = settings.mongo.model_copy(update={"uri": SecretStr(uri)})
    return settings.model_copy(update={"ethereum": ethereum, "mongo": mongo})


@pytest.mark.parametrize(
    ("key", "code"),
    [
        (None, EXIT_USAGE),
        ("file:///etc/reactor/key", EXIT_REFUSED),
        ("keystore:///etc/reactor/key", EXIT_REFUSED),
        ("env://KEY", EXIT_REFUSED),
        ("file://etc/reactor/key", EXIT_USAGE),
        ("nonsense", EXIT_USAGE),
        ("awskms://no-such-place", EXIT_USAGE),
        (SERVICE, EXIT_REFUSED),
        ("awssecret://eu-central-1/bridge/key", EXIT_REFUSED),
    ],
)
def test_a_key_that_does_not_open_yet_passes_and_a_wrong_uri_does_not(tmp_path: Path, key: str | None, code: int) -> None:
    settings = settings_with(tmp_path, key=key)
    assert _code([failed("Ethereum key", "it does not open", "look")], settings) == code
    # Whatever else fails with it.
    assert _code([failed("Ethereum", "away", "wait"), failed("Ethereum key", "it does not open", "look")], settings) == code
    assert _code([failed("vault", "of other keys", "correct it"), failed("Ethereum key", "away", "wait")], settings) == EXIT_USAGE


@pytest.mark.parametrize("key", [SERVICE, "file:///etc/reactor/key"])
def test_a_key_of_another_vault_is_a_wrong_configuration(tmp_path: Path, key: str) -> None:
    settings = settings_with(tmp_path)
    settings = settings.model_copy(update={"pocket": settings.pocket.model_copy(update={"key": key})})
    assert _code([failed("Pocket key", "it is not among them", FOREIGN)], settings) == EXIT_USAGE
    assert _code([failed("Pocket key", "it does not open", "look")], settings) == EXIT_REFUSED


@pytest.mark.parametrize("log_format", ["human", "json"])
def test_the_last_words_of_a_run_are_a_line_of_the_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], log_format: str
) -> None:
    async def refused(*_: object, **__: object) -> None:
        raise Problem("not started: Pocket key", "make one\nhere", EXIT_REFUSED)

    monkeypatch.setattr(run, "_run", refused)
    path = write_config(tmp_path, f'{TOML}\n[log]\nformat = "{log_format}"\n')
    assert main(["run", "-c", str(path)]) == EXIT_REFUSED
    said = capsys.readouterr().err
    if log_format == "human":
        assert said == "error: not started: Pocket key\nremedy: make one\nhere\n"
        return
    (line,) = [json.loads(one) for one in said.splitlines()]
    assert (line["level"], line["message"]) == ("ERROR", "not started: Pocket key; remedy: make one\nhere")
    assert line["bridge"]


def test_a_fault_of_the_program_is_one_json_line_with_its_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    async def broken(*_: object, **__: object) -> None:
        raise ZeroDivisionError(PASSWORD)

    monkeypatch.setattr(run, "_run", broken)
    path = write_config(tmp_path, f'{TOML}\n[log]\nformat = "json"\n')
    assert main(["run", "-c", str(path)]) == EXIT_PROBLEM
    (line,) = [json.loads(one) for one in capsys.readouterr().err.splitlines()]
    assert "please report it" in line["message"]
    assert "ZeroDivisionError" in line["exception"]
    assert PASSWORD not in str(line)


@pytest.mark.parametrize(("scheme", "code"), [("mongodb", EXIT_USAGE), ("mongodb+srv", EXIT_REFUSED)])
def test_a_name_server_that_is_away_is_no_wrong_uri(tmp_path: Path, scheme: str, code: int) -> None:
    settings = settings_with(tmp_path, uri=f"{scheme}://db.example/?replicaSet=rs0")
    assert _code([failed("database URI", "it cannot be used", "look")], settings) == code


@pytest.mark.parametrize(
    "name", ["journal", "ledger", "disk", "state directory", "database", "Ethereum", "Pocket", "clock", "indexes"]
)
def test_what_may_hold_later_is_tried_later(tmp_path: Path, name: str) -> None:
    assert _code([failed(name, "not now", "wait")], settings_with(tmp_path)) == EXIT_REFUSED


def test_another_process_comes_before_everything(tmp_path: Path) -> None:
    found = [failed("vault", "of other keys", "correct it"), failed(LOCK, "process 7 runs", "stop it")]
    assert _code(found, settings_with(tmp_path, key=SERVICE)) == EXIT_DUPLICATE
