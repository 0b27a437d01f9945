"""Key files on the disk: what is read, what a new key is drawn from, and that it is ours alone and there to stay."""

import json
import os
import stat
from pathlib import Path

import pytest

from reactor.keys import KeyProblem, create_key, open_signer
from reactor.keys.files import read_key_file, write_key_file

pytestmark = pytest.mark.unit

FAST = 2**4


@pytest.fixture
def unmasked():
    """A process whose umask takes nothing away."""
    before = os.umask(0)
    yield
    os.umask(before)


@pytest.fixture
def synced(monkeypatch):
    """What was synced to the disk, in order, and how much each file held by then."""
    seen = []
    honest = os.fsync

    def fsync(descriptor):
        status = os.fstat(descriptor)
        seen.append((status.st_ino, "folder" if stat.S_ISDIR(status.st_mode) else status.st_size))
        honest(descriptor)

    monkeypatch.setattr(os, "fsync", fsync)
    return seen


@pytest.mark.parametrize("kind", ["file", "keystore"])
def test_a_new_key_is_its_owners_alone_whatever_the_umask(tmp_path, unmasked, kind):
    create_key("ed25519", tmp_path / "key", kind, passphrase="p", scrypt_n=FAST)
    assert stat.S_IMODE((tmp_path / "key").stat().st_mode) == 0o600


def test_a_new_key_is_on_the_disk_whole_and_so_is_its_name(tmp_path, synced):
    write_key_file(tmp_path / "key", "a key\n", "file:///key")
    assert synced == [((tmp_path / "key").stat().st_ino, 6), (tmp_path.stat().st_ino, "folder")]


@pytest.mark.parametrize("fails", [1, 2])
def test_a_key_that_may_not_be_on_the_disk_is_taken_away(tmp_path, monkeypatch, fails):
    times = iter(range(1, 3))

    def fsync(descriptor):
        if next(times) == fails:
            raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(KeyProblem, match="Input/output error"):
        write_key_file(tmp_path / "key", "a key\n", "file:///key")
    assert not (tmp_path / "key").exists()


def test_a_disk_that_takes_the_file_away_itself_is_said_to_be_the_problem(tmp_path, monkeypatch):
    def fsync(descriptor):
        (tmp_path / "key").unlink()
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(os, "fsync", fsync)
    with pytest.raises(KeyProblem, match="Input/output error"):
        write_key_file(tmp_path / "key", "a key\n", "file:///key")


def test_reading_and_writing_leave_no_descriptor_open(tmp_path):
    before = set(Path("/proc/self/fd").iterdir())
    write_key_file(tmp_path / "key", "a key\n", "file:///key")
    assert read_key_file(tmp_path / "key", "file:///key", private=True) == "a key\n"
    (tmp_path / "key").chmod(0o644)
    with pytest.raises(KeyProblem, match="0644"):
        read_key_file(tmp_path / "key", "file:///key", private=True)
    assert set(Path("/proc/self/fd").iterdir()) <= before


@pytest.mark.parametrize("mode", [0o610, 0o601, 0o640, 0o604, 0o620, 0o602])
def test_each_right_of_others_is_one_too_many_for_a_plain_key(tmp_path, mode):
    path = tmp_path / "key"
    path.write_text("a key")
    path.chmod(mode)
    with pytest.raises(KeyProblem, match=rf"mode {mode:04o}"):
        read_key_file(path, "file:///key", private=True)
    assert read_key_file(path, "keystore:///key", private=False) == "a key"


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "key", 0o600)
    with pytest.raises(KeyProblem, match="not a regular file"):
        read_key_file(tmp_path / "key", "file:///key", private=True)


def test_a_key_is_not_written_through_a_link(tmp_path):
    (tmp_path / "key").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(KeyProblem, match="exists already"):
        write_key_file(tmp_path / "key", "a key\n", "file:///key")
    assert not (tmp_path / "elsewhere").exists()


# --- new keys ---------------------------------------------------------------------------------------------------------


def test_a_pocket_seed_is_what_the_system_draws_and_an_ethereum_key_is_always_on_its_curve(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "urandom", lambda size: b"\xff" * size)  # a number above the order of secp256k1
    create_key("ed25519", tmp_path / "pocket", "file")
    assert (tmp_path / "pocket").read_text()[:64] == "ff" * 32
    create_key("secp256k1", tmp_path / "ethereum", "file")
    assert (tmp_path / "ethereum").read_text().strip() != "ff" * 32


async def test_a_plain_key_is_one_line_of_its_form(tmp_path):
    new = create_key("secp256k1", tmp_path / "ethereum", "file")
    assert new.uri == f"file://{tmp_path}/ethereum"
    assert len((tmp_path / "ethereum").read_text()) == 65
    new = create_key("ed25519", tmp_path / "pocket", "file")
    text = (tmp_path / "pocket").read_text()
    assert (len(text), text[64:]) == (129, new.description.public_key + "\n")


@pytest.mark.parametrize("scheme", ["secp256k1", "ed25519"])
def test_a_keystore_has_the_cost_that_was_asked_for(tmp_path, scheme):
    new = create_key(scheme, tmp_path / "key", "keystore", passphrase="p", scrypt_n=FAST)
    text = (tmp_path / "key").read_text()
    assert text.endswith("}\n")
    assert json.loads(text)["crypto"]["kdfparams"]["n"] == FAST
    assert new.uri == f"keystore://{tmp_path}/key"
    assert (new.description.scheme, new.description.source) == (scheme, new.uri)


async def test_a_path_below_the_home_folder_or_this_one_becomes_absolute(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    for given in ("~/one", "two"):
        new = create_key("ed25519", Path(given), "file")
        assert new.uri == f"file://{tmp_path}/{given.removeprefix('~/')}"
        assert (await open_signer(new.uri, "ed25519")).address == new.description.address


async def test_a_variable_is_looked_up_where_the_process_has_it_unless_told_otherwise(tmp_path, monkeypatch):
    create_key("ed25519", tmp_path / "one", "file")
    create_key("ed25519", tmp_path / "two", "file")
    one = await open_signer(f"file://{tmp_path}/one", "ed25519")
    two = await open_signer(f"file://{tmp_path}/two", "ed25519")
    monkeypatch.setenv("KEY", (tmp_path / "one").read_text())
    assert (await open_signer("env://KEY", "ed25519")).address == one.address
    other = {"KEY": (tmp_path / "two").read_text()}
    assert (await open_signer("env://KEY", "ed25519", environ=other)).address == two.address
    with pytest.raises(KeyProblem, match="not set"):
        await open_signer("env://KEY", "ed25519", environ={})


@pytest.mark.parametrize("ends", ["", "\n", "\r\n"])
@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16", "utf-32"])
async def test_a_key_file_is_read_as_editors_save_it(tmp_path, encoding, ends):
    create_key("secp256k1", tmp_path / "plain", "file")
    create_key("ed25519", tmp_path / "locked", "keystore", passphrase="p", scrypt_n=FAST)
    for name, scheme in (("plain", "secp256k1"), ("locked", "ed25519")):
        path = tmp_path / name
        kind = "keystore" if name == "locked" else "file"
        before = await open_signer(f"{kind}://{path}", scheme, passphrase="p")
        path.write_bytes((path.read_text().rstrip("\n") + ends).encode(encoding))
        after = await open_signer(f"{kind}://{path}", scheme, passphrase="p")
        assert after.address == before.address


async def test_a_key_in_a_variable_may_begin_with_the_mark_of_the_file_it_came_from():
    signer = await open_signer("env://KEY", "secp256k1", environ={"KEY": "\ufeff0x" + "11" * 32 + "\r\n"})
    assert signer.address == (await open_signer("env://KEY", "secp256k1", environ={"KEY": "11" * 32})).address


@pytest.mark.parametrize(
    ("kind", "raw"), [("file", "11".encode("utf-16-le") * 32), ("file", b"\xff" * 64), ("keystore", b"\xfe\xff\x00")]
)
async def test_a_file_that_is_no_text_is_refused(tmp_path, kind, raw):
    (tmp_path / "key").write_bytes(raw)
    (tmp_path / "key").chmod(0o600)
    with pytest.raises(KeyProblem, match="is not text"):
        await open_signer(f"{kind}://{tmp_path}/key", "secp256k1", passphrase="p")


async def test_a_keystore_of_brackets_without_end_is_refused(tmp_path):
    (tmp_path / "key").write_text("[" * 60_000)
    with pytest.raises(KeyProblem, match="not a JSON keystore"):
        await open_signer(f"keystore://{tmp_path}/key", "secp256k1", passphrase="p")
