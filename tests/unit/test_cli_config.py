"""`config show` writes what `config check` reads: the same settings but for their secrets, and the same identity."""

import json
from pathlib import Path

import pytest
from cli_unit_helpers import API_KEY, NOBODY, PASSWORD, TOML, write_config

from reactor.cli.main import main
from reactor.settings import load_settings

pytestmark = pytest.mark.unit

HOST_KEY = "0a1b2c3d4e5f60718293a4b5c6d7e8f9"
STEPS = "[{ from_height = 1, amount = 1000000000 }, { from_height = 50, amount = 2000000000 }]"
CASES = {
    "as in the documentation": TOML,
    "schedules": TOML.replace("max_mint = 1000000000", f"max_mint = {STEPS}").replace(
        "burn_fee = 10000", "burn_fee = [{ from_block = 100, amount = 10000 }, { from_block = 200, amount = 20000 }]"
    ),
    "two endpoints of one host": TOML.replace(
        f'rpc_urls = ["http://{NOBODY}/v3/{API_KEY}"]',
        f'rpc_urls = ["http://{NOBODY}/v3/{API_KEY}", "http://{NOBODY}/v3/{API_KEY[::-1]}", "http://{NOBODY}"]',
    ),
    "keys in the hosts": TOML.replace(
        f'rpc_urls = ["http://{NOBODY}/v3/{API_KEY}"]',
        f'rpc_urls = ["https://{HOST_KEY}.eth.rpc.example/", "https://{HOST_KEY[::-1]}.eth.rpc.example/"]',
    ),
    "strange paths": TOML.replace('directory = "state"', 'directory = "st\\\\a\\"te \\u0007 \\u00e9 \\U0001f600"'),
    "a name": TOML + '\n[validator]\nname = "v-1"\n',
    "a key of the environment": TOML.replace("burn_fee", 'key = "env://REACTOR_DEV_KEY"\nburn_fee'),
    "a keystore": TOML.replace("burn_fee", f'key = "keystore:///nowhere/key.json"\nkey_passphrase = "{PASSWORD}-2"\nburn_fee'),
}


@pytest.fixture(params=CASES)
def shown(request: pytest.FixtureRequest, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> tuple[Path, Path, str]:
    """A configuration, the file that shows it, and that file's text."""
    first = write_config(tmp_path, CASES[request.param])
    assert main(["config", "show", "-c", str(first)]) == 0
    said = capsys.readouterr().out
    second = tmp_path / "shown.toml"
    second.write_text(said)
    return first, second, said


def test_what_is_shown_is_the_same_configuration(shown: tuple[Path, Path, str]) -> None:
    first, second, said = shown
    before, after = load_settings(first, {}), load_settings(second, {})
    assert after.identity_hash() == before.identity_hash()
    ours, theirs = before.masked(), after.masked()
    for settings in (ours, theirs):
        for section in ("ethereum", "pocket"):
            for secret in ("rpc_urls", "key", "key_passphrase"):
                settings[section].pop(secret, None)  # type: ignore[attr-defined]
    assert theirs == ours
    assert PASSWORD not in said
    assert API_KEY not in said
    assert HOST_KEY not in said
    assert HOST_KEY[::-1] not in said


def test_what_is_shown_passes_the_check(
    shown: tuple[Path, Path, str], capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second, _ = shown
    monkeypatch.setenv("REACTOR_DEV_KEY", "11" * 32)
    assert main(["config", "check", "--json", "-c", str(second)]) == 0, capsys.readouterr()
    assert json.loads(capsys.readouterr().out)["ok"] is True
    if "nowhere" not in first.read_text():
        assert main(["config", "check", "--json", "-c", str(first)]) == 0
