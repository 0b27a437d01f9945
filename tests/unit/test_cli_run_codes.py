"""With which code `run` ends where a start condition does not hold: what may pass by itself is started again, the rest is not."""

from pathlib import Path

import pytest
from cli_unit_helpers import settings_in
from pydantic import SecretStr

from reactor.cli.common import EXIT_DUPLICATE, EXIT_REFUSED, EXIT_USAGE
from reactor.cli.run import LOCK, _code
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
        ("file:///etc/reactor/key", EXIT_USAGE),
        ("keystore:///etc/reactor/key", EXIT_USAGE),
        ("env://KEY", EXIT_USAGE),
        ("nonsense", EXIT_USAGE),
        ("awskms://no-such-place", EXIT_USAGE),
        (SERVICE, EXIT_REFUSED),
        ("awssecret://eu-central-1/bridge/key", EXIT_REFUSED),
    ],
)
def test_a_key_service_that_is_away_passes_and_a_wrong_key_does_not(tmp_path: Path, key: str | None, code: int) -> None:
    settings = settings_with(tmp_path, key=key)
    assert _code([failed("Ethereum key", "it does not open", "look")], settings) == code
    # Whatever else fails with it.
    assert _code([failed("Ethereum", "away", "wait"), failed("Ethereum key", "it does not open", "look")], settings) == code
    assert _code([failed("vault", "of other keys", "correct it"), failed("Ethereum key", "away", "wait")], settings) == EXIT_USAGE


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
