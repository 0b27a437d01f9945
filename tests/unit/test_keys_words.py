"""What an operator reads when a key does not open: where it was looked for, what is wrong, and what to do, compared whole."""

import errno
import json
import os

import pytest

from reactor.keys import KeyProblem, create_key, open_signer
from reactor.keys import local as local_module
from reactor.keys.files import MAX_KEY_FILE_BYTES
from reactor.keys.keystore import encrypt

pytestmark = pytest.mark.unit

# Anvil's first account, and RFC 8032's first test key: published ones.
ETHEREUM_KEY = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
POCKET_SEED = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
POCKET_PUBLIC = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
FAST = 2**4

KINDS = "Give env://NAME, file:///path, keystore:///path, awskms://region/key-id or awssecret://region/secret-id"
ETHEREUM_FORM = "A secp256k1 key is 64 hex characters; `reactor keys new` makes one"
POCKET_FORM = "An ed25519 key is 128 hex characters, seed then public key; `reactor keys new` makes one"
KMS_FORM = "Write awskms://region/key-id, if need be with ?endpoint=https://host"
SECRET_FORM = "Write awssecret://region/secret-id[?field=name], if need be with ?endpoint=https://host"
ENDPOINT = "the endpoint is neither https nor on this machine"
MALFORMED = "region or name is missing or malformed"


def said(caught) -> tuple[str, str, str]:
    """What was raised, which passes to nobody by waiting, and tells each part once."""
    problem = caught.value
    assert not problem.transient
    assert str(problem) == f"key {problem.source}: {problem.problem}. {problem.remedy}"
    return problem.source, problem.problem, problem.remedy


@pytest.mark.parametrize(
    ("uri", "source", "problem", "remedy"),
    [
        (ETHEREUM_KEY, "(not a URI)", "the key is not given as a URI", KINDS),
        ("vault://key", "vault://", "this kind of key is not known", KINDS),
        ("env://", "env://", "no name of an environment variable follows", "Give env://NAME, not the key itself"),
        ("env://KEY", "env://KEY", "the environment variable is not set", "Set KEY to the key in hexadecimal"),
        ("file://key", "file://", "an absolute path must follow", "Write three slashes: file:///path/of/the/key"),
        ("file://[/key", "file://", "an absolute path must follow", "Write three slashes: file:///path/of/the/key"),
        ("file:///key#part", "file://", "an absolute path must follow", "Write three slashes: file:///path/of/the/key"),
        ("file://key://x", "file://", "an absolute path must follow", "Write three slashes: file:///path/of/the/key"),
        ("keystore://key", "keystore://", "an absolute path must follow", "Write three slashes: keystore:///path/of/the/key"),
        ("file:///key%00", "file:///key%00", "holds a character that no path has", "Check the path"),
        ("file:///dev/null", "file:///dev/null", "is not a regular file", "Give the path of a key file"),
        ("keystore:///dev/null", "keystore:///dev/null", "is not a regular file", "Give the path of a key file"),
        (
            "file:///no/key",
            "file:///no/key",
            "cannot be opened (No such file or directory)",
            "Check the path and its permissions, or make a key there with `reactor keys new`",
        ),
        ("awskms://[eu-west-1/key", "awskms://", "is not a well-formed URI", KMS_FORM),
        ("awskms://eu-west-1", "awskms://", MALFORMED, KMS_FORM),
        ("awskms://eu-west-1/key?endpoint=http://kms.example.com", "awskms://", ENDPOINT, KMS_FORM),
        ("awskms://eu-west-1/key?x=1", "awskms://", "only `endpoint` may follow the question mark, once", KMS_FORM),
        ("awssecret://[eu-west-1/key", "awssecret://", "is not a well-formed URI", SECRET_FORM),
        ("awssecret://eu-west-1", "awssecret://", MALFORMED, SECRET_FORM),
        ("awssecret://eu-west-1/key?endpoint=http://example.com", "awssecret://", ENDPOINT, SECRET_FORM),
        (
            "awssecret://eu-west-1/key?x=1",
            "awssecret://",
            "only `endpoint` and `field` may follow the question mark, once",
            SECRET_FORM,
        ),
        (
            "awssecret://eu-west-1/key?field=a%20b",
            "awssecret://",
            "the field's name is malformed",
            "Give a name of letters, digits, _ . or -",
        ),
    ],
)
async def test_a_uri_that_opens_nothing(uri, source, problem, remedy):
    with pytest.raises(KeyProblem) as caught:
        await open_signer(uri, "secp256k1", environ={}, passphrase="p")
    assert said(caught) == (source, problem, remedy)


@pytest.mark.parametrize(
    ("scheme", "text", "problem", "remedy"),
    [
        ("secp256k1", "zz" * 32, "is not hexadecimal", ETHEREUM_FORM),
        ("secp256k1", ETHEREUM_KEY[2:], "holds 31 bytes, not 32", ETHEREUM_FORM),
        ("secp256k1", "00" * 32, "is zero or above the order of secp256k1", "Give a real key"),
        ("ed25519", "zz" * 64, "is not hexadecimal", POCKET_FORM),
        ("ed25519", POCKET_SEED, "holds 32 bytes, not 64", POCKET_FORM),
        ("ed25519", POCKET_SEED + "00" * 32, "its public half does not belong to its seed", POCKET_FORM),
    ],
)
async def test_a_text_that_is_no_key(scheme, text, problem, remedy):
    with pytest.raises(KeyProblem) as caught:
        await open_signer("env://KEY", scheme, environ={"KEY": text})
    assert said(caught) == ("env://KEY", problem, remedy)


@pytest.mark.parametrize(
    ("content", "mode", "problem", "remedy"),
    [
        (b"x", 0o640, "may be read by others than its owner (mode 0640)", "Run: chmod 600 {path}"),
        (b"x", 0o4601, "may be read by others than its owner (mode 4601)", "Run: chmod 600 {path}"),
        (b"\xff\xfe", 0o600, "is not text", "Give the path of a key file"),
        (b"0" * (MAX_KEY_FILE_BYTES + 1), 0o600, "is too large for a key", "Give the path of a key file"),
        (b"0" * MAX_KEY_FILE_BYTES, 0o600, "holds 32768 bytes, not 32", ETHEREUM_FORM),
        (b"\n {}", 0o600, "is a keystore, not a plain key", "Write keystore://{path}"),
    ],
)
async def test_a_file_that_holds_no_plain_key(tmp_path, content, mode, problem, remedy):
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(mode)
    with pytest.raises(KeyProblem) as caught:
        await open_signer(f"file://{path}", "secp256k1")
    assert said(caught) == (f"file://{path}", problem, remedy.format(path=path))


def _damaged() -> dict:
    return {**encrypt(bytes.fromhex(ETHEREUM_KEY), "secp256k1", "p", scrypt_n=FAST), "version": 2}


def _misnamed() -> dict:
    return {**encrypt(bytes.fromhex(ETHEREUM_KEY), "secp256k1", "p", scrypt_n=FAST), "address": "00" * 20}


@pytest.mark.parametrize(
    ("content", "passphrase", "problem", "remedy"),
    [
        (lambda: "no JSON", "p", "is not a JSON keystore", "Use file:// for plain keys, or `reactor keys new`"),
        (lambda: "[]", "p", "is not a JSON keystore", "Use file:// for plain keys, or `reactor keys new`"),
        (_damaged, "p", "is damaged or of an unknown kind", "Restore it from its backup"),
        (_misnamed, "p", "names another address than its key has", "Restore it from its backup"),
        (
            _misnamed,
            "q",
            "does not open: wrong passphrase, or the file was altered",
            "Check the passphrase of this key",
        ),
        (_misnamed, None, "needs its passphrase", "Set key_passphrase, or key_passphrase_file, of this key"),
        (_misnamed, "", "needs its passphrase", "Set key_passphrase, or key_passphrase_file, of this key"),
        (
            lambda: encrypt(bytes.fromhex(POCKET_SEED), "ed25519", "p", scrypt_n=FAST),
            "p",
            "holds a ed25519 key where a secp256k1 key is wanted",
            "Name the other keystore",
        ),
    ],
)
async def test_a_keystore_that_does_not_open(tmp_path, content, passphrase, problem, remedy):
    path = tmp_path / "key"
    made = content()
    path.write_text(made if isinstance(made, str) else json.dumps(made))
    with pytest.raises(KeyProblem) as caught:
        await open_signer(f"keystore://{path}", "secp256k1", passphrase=passphrase)
    assert said(caught) == (f"keystore://{path}", problem, remedy)


def test_a_secret_of_another_length_is_not_locked():
    with pytest.raises(KeyProblem) as caught:
        encrypt(b"\1" * 33, "ed25519", "p", scrypt_n=FAST)
    assert said(caught) == ("keystore://", "holds 33 bytes where a ed25519 key has 32", "Give a ed25519 key")


# --- new keys ---------------------------------------------------------------------------------------------------------


def test_a_path_that_is_taken(tmp_path):
    (tmp_path / "key").write_text("precious")
    with pytest.raises(KeyProblem) as caught:
        create_key("secp256k1", tmp_path / "key", "file")
    assert said(caught) == (
        f"file://{tmp_path}/key",
        "exists already",
        "Choose another path; a key is never overwritten",
    )


def test_a_folder_that_is_not_there(tmp_path):
    with pytest.raises(KeyProblem) as caught:
        create_key("secp256k1", tmp_path / "none" / "key", "file")
    assert said(caught) == (
        f"file://{tmp_path}/none/key",
        "cannot be created (No such file or directory)",
        "Check the folder",
    )


def test_a_disk_that_is_full(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(KeyProblem) as caught:
        create_key("secp256k1", tmp_path / "key", "file")
    assert said(caught) == (f"file://{tmp_path}/key", "cannot be written (No space left on device)", "Check the disk")


def test_a_new_keystore_without_a_passphrase(tmp_path):
    with pytest.raises(KeyProblem) as caught:
        create_key("secp256k1", tmp_path / "key", "keystore", passphrase="")
    assert said(caught) == (
        f"keystore://{tmp_path}/key",
        "needs a passphrase",
        "Give one, by a file or at the prompt",
    )


# --- signing ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("scheme", "text"), [("secp256k1", ETHEREUM_KEY), ("ed25519", POCKET_SEED + POCKET_PUBLIC)])
async def test_a_machine_that_signs_wrongly(monkeypatch, scheme, text):
    signer = await open_signer("env://KEY", scheme, environ={"KEY": text})
    monkeypatch.setattr(local_module, "recovers_to", lambda *_: False)
    monkeypatch.setattr(local_module, "is_ed25519_signature", lambda *_: False)
    with pytest.raises(KeyProblem) as caught:
        await signer.sign(b"\1" * 32)
    assert said(caught) == (
        "env://KEY",
        "its own signature does not verify",
        "Nothing was signed; check the memory and libraries of this machine before going on",
    )


@pytest.mark.parametrize(
    ("scheme", "text", "payload", "words"),
    [
        ("secp256k1", ETHEREUM_KEY, b"\1" * 31, "a secp256k1 signer takes a 32-byte digest, not 31 bytes"),
        ("ed25519", POCKET_SEED + POCKET_PUBLIC, b"", "an ed25519 signer takes a message, not nothing"),
    ],
)
async def test_a_payload_that_is_not_signed(scheme, text, payload, words):
    signer = await open_signer("env://KEY", scheme, environ={"KEY": text})
    with pytest.raises(ValueError, match=f"^{words}$"):
        await signer.sign(payload)


@pytest.mark.parametrize(
    ("scheme", "text", "name"),
    [("secp256k1", ETHEREUM_KEY, "Secp256k1Signer"), ("ed25519", POCKET_SEED + POCKET_PUBLIC, "Ed25519Signer")],
)
async def test_a_signer_is_shown_by_its_kind_its_address_and_its_source(scheme, text, name):
    signer = await open_signer("env://KEY", scheme, environ={"KEY": text})
    assert repr(signer) == f"<{name} {signer.address} from env://KEY>"
    with pytest.raises(TypeError, match=f"^{name} is not copied: open it again by its URI$"):
        signer.__reduce__()
