"""`keys new|show`."""

import json

import pytest
from cli_unit_helpers import TOML, write_config

from reactor.cli.main import main
from reactor.keys import open_signer

pytestmark = pytest.mark.unit


def new(*arguments):
    return main(["keys", "new", *map(str, arguments)])


@pytest.mark.parametrize(("side", "scheme"), [("ethereum", "secp256k1"), ("pocket", "ed25519")])
async def test_a_new_file_key_opens_as_it_says(side, scheme, tmp_path, capsys):
    path = tmp_path / "key"
    assert new(side, path, "--kind", "file", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    signer = await open_signer(said["uri"], scheme)
    assert (signer.address, signer.public_key) == (said["address"], said["public_key"])
    assert path.stat().st_mode & 0o077 == 0
    assert path.read_text().strip()[:64] not in str(said)


def test_a_plain_key_comes_with_a_warning(tmp_path, capsys):
    assert new("pocket", tmp_path / "key", "--kind", "file") == 0
    assert "unencrypted" in capsys.readouterr().err


async def test_a_keystore_opens_with_its_passphrase(tmp_path, capsys):
    secret = tmp_path / "passphrase"
    secret.write_text("correct horse\n")
    assert new("pocket", tmp_path / "key", "--passphrase-file", secret, "--json") == 0
    said = json.loads(capsys.readouterr().out)
    signer = await open_signer(said["uri"], "ed25519", passphrase="correct horse")
    assert signer.address == said["address"]


def test_a_keystore_needs_a_passphrase(tmp_path, capsys):
    assert new("pocket", tmp_path / "key") == 1
    assert "--passphrase-file" in capsys.readouterr().err
    assert not (tmp_path / "key").exists()


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe"])
def test_a_passphrase_file_that_is_none(content, tmp_path, capsys):
    secret = tmp_path / "passphrase"
    if content is not None:
        secret.write_bytes(content)
    assert new("pocket", tmp_path / "key", "--passphrase-file", secret) == 1
    assert "Traceback" not in capsys.readouterr().err


def test_a_key_is_never_overwritten(tmp_path, capsys):
    assert new("ethereum", tmp_path / "key", "--kind", "file") == 0
    before = (tmp_path / "key").read_text()
    assert new("ethereum", tmp_path / "key", "--kind", "file") == 1
    assert "exists already" in capsys.readouterr().err
    assert (tmp_path / "key").read_text() == before


def test_show_tells_public_halves_alone(tmp_path, capsys):
    assert new("ethereum", tmp_path / "key", "--kind", "file", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    text = TOML.replace("[pocket]", f'key = "{said["uri"]}"\n\n[pocket]')
    config = write_config(tmp_path, text)
    assert main(["keys", "show", "--json", "-c", str(config)]) == 0
    shown = capsys.readouterr().out
    assert json.loads(shown)["ethereum"]["address"] == said["address"]
    assert json.loads(shown)["pocket"] is None
    assert (tmp_path / "key").read_text().strip() not in shown


def test_show_tells_what_is_wrong_with_a_key(tmp_path, capsys):
    text = TOML.replace("[pocket]", f'key = "file://{tmp_path}/absent"\n\n[pocket]')
    assert main(["keys", "show", "-c", str(write_config(tmp_path, text))]) == 1
    shown = capsys.readouterr().err
    assert "cannot be opened" in shown
    assert "remedy: " in shown
