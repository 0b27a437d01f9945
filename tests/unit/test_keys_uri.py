"""From URI to signer: what opens, what is refused, and how it is said."""

import json
import os
import re
import subprocess
import sys

import pytest
from eth_account import Account

from reactor.keys import KeyProblem, create_key, open_signer
from reactor.keys.aws import parse_place
from reactor.keys.keystore import decrypt, encrypt
from reactor.keys.local import signer_from_secret
from reactor.keys.uri import check_key_uri, is_local

pytestmark = pytest.mark.unit

SECRET = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
FAST = 2**4
"""A work factor for tests; real ones are 8192 times dearer."""


@pytest.mark.parametrize(
    ("uri", "problem"),
    [
        (SECRET, "not given as a URI"),
        ("0x" + SECRET, "not given as a URI"),
        ("", "not given as a URI"),
        ("FILE:///x", "not given as a URI"),
        (f"env://{SECRET}", "no name of an environment variable"),
        (f"env://F{SECRET}", "no name of an environment variable"),
        ("env://", "no name of an environment variable"),
        ("env://MISSING", "not set"),
        ("env://BLANK", "not set"),
        (f"vault://{SECRET}", "not known"),
        ("file://relative/path", "absolute path"),
        ("file:///", "regular file"),
        ("file:///dev/null", "regular file"),
        ("file:///no/such/key", "cannot be opened"),
        ("file:///etc/passwd?x=1", "absolute path"),
        ("keystore:///no/such/key", "cannot be opened"),
        ("awskms://eu-west-1", "region or name"),
        ("awskms:///key", "region or name"),
        ("awskms://eu-west-1/a%20b", "region or name"),
        ("awskms://eu-west-1/key?endpoint=http://kms.example.com", "neither https"),
        ("awskms://eu-west-1/key?endpoint=https://user:pw@kms.example.com", "neither https"),
        ("awskms://eu-west-1/key?endpoint=https://", "neither https"),
        ("awskms://eu-west-1/key?endpoint=https://[::1", "neither https"),
        ("awskms://eu-west-1/key?endpoint=ftp://127.0.0.1", "neither https"),
        ("awskms://eu-west-1/key?endpoint=https://a&endpoint=https://b", "only `endpoint`"),
        ("awskms://eu-west-1/key?region=x", "only `endpoint`"),
        ("awskms://eu-west-1/key?field=x", "only `endpoint`"),
        ("awskms://eu-west-1/key?x", "well-formed"),
        ("awskms://[eu-west-1/key", "well-formed"),
        ("awskms://eu-west-1/key#fragment", "region or name"),
        (f"awskms://eu-west-1/{SECRET}", "region or name"),
        ("awssecret://eu-west-1", "region or name"),
        ("awssecret://eu-west-1/a%20b", "region or name"),
        ("awssecret://eu-west-1/a*b", "region or name"),
        (f"awssecret://eu-west-1/{SECRET}", "region or name"),
        (f"awssecret://eu-west-1/{SECRET * 2}", "region or name"),
        ("awssecret://eu-west-1/name?field=", "field's name"),
        ("awssecret://eu-west-1/name?field=a%20b", "field's name"),
        (f"awssecret://eu-west-1/name?field={SECRET}", "field's name"),
        ("awssecret://eu-west-1/name?field=a&field=b", "only `endpoint` and `field`"),
        ("awssecret://eu-west-1/name?version=1", "only `endpoint` and `field`"),
        ("awssecret://eu-west-1/name?endpoint=http://secrets.example.com", "neither https"),
    ],
)
async def test_a_uri_that_opens_nothing_says_why_and_what_to_do(uri, problem):
    with pytest.raises(KeyProblem, match=problem) as caught:
        await open_signer(uri, "secp256k1", environ={"BLANK": " "})
    assert SECRET not in str(caught.value)
    assert caught.value.remedy in str(caught.value)
    assert not caught.value.transient


@pytest.mark.parametrize(
    ("uri", "place"),
    [
        ("awskms://eu-west-1/alias/bridge", ("eu-west-1", "alias/bridge", None, {})),
        ("awskms://eu-west-1/key?endpoint=https://vpce.example.com", ("eu-west-1", "key", "https://vpce.example.com", {})),
        ("awskms://eu-west-1/key?endpoint=http://127.0.0.1:1/", ("eu-west-1", "key", "http://127.0.0.1:1/", {})),
        ("awskms://eu-west-1/key?endpoint=http://[::1]:1", ("eu-west-1", "key", "http://[::1]:1", {})),
        ("awskms://eu-west-1/key?endpoint=http://localhost:1", ("eu-west-1", "key", "http://localhost:1", {})),
        ("awskms://us-gov-west-1/a%2Fb?field=f", ("us-gov-west-1", "a/b", None, {"field": "f"})),
    ],
)
def test_a_place_is_read_as_written(uri, place):
    read = parse_place(uri, re.compile(r"[a-z/]+"), "a form", frozenset({"field"}))
    assert (read.region, read.name, read.endpoint, read.options) == place
    assert read.source == f"awskms://{read.region}/{read.name}"


@pytest.mark.parametrize("scheme", ["secp256k1", "ed25519"])
async def test_a_new_plain_key_opens_again(tmp_path, scheme):
    new = create_key(scheme, tmp_path / "a key #1%", "file")
    signer = await open_signer(new.uri, scheme)
    assert signer.describe() == new.description
    assert (tmp_path / "a key #1%").stat().st_mode & 0o777 == 0o600
    other = "ed25519" if scheme == "secp256k1" else "secp256k1"
    with pytest.raises(KeyProblem, match="bytes"):
        await open_signer(new.uri, other)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620, 0o602, 0o644])
async def test_a_plain_key_that_others_can_reach_is_refused(tmp_path, mode):
    new = create_key("secp256k1", tmp_path / "key", "file")
    (tmp_path / "key").chmod(mode)
    with pytest.raises(KeyProblem, match="chmod 600"):
        await open_signer(new.uri, "secp256k1")
    (tmp_path / "key").chmod(0o400)
    assert (await open_signer(new.uri, "secp256k1")).address == new.description.address


@pytest.mark.parametrize("kind", ["file", "keystore"])
def test_a_key_is_never_overwritten(tmp_path, kind):
    path = tmp_path / "key"
    path.write_text("precious")
    with pytest.raises(KeyProblem, match="exists already"):
        create_key("ed25519", path, kind, passphrase="secret", scrypt_n=FAST)
    assert path.read_text() == "precious"


def test_a_keystore_needs_a_passphrase_before_anything_is_written(tmp_path):
    with pytest.raises(KeyProblem, match="needs a passphrase"):
        create_key("ed25519", tmp_path / "key", "keystore")
    assert not (tmp_path / "key").exists()


def test_a_missing_folder_is_named(tmp_path):
    with pytest.raises(KeyProblem, match="cannot be created"):
        create_key("ed25519", tmp_path / "none" / "key", "file")


def test_two_new_keys_differ(tmp_path):
    one = create_key("secp256k1", tmp_path / "1", "file")
    two = create_key("secp256k1", tmp_path / "2", "file")
    assert one.description.address != two.description.address


@pytest.mark.parametrize("scheme", ["secp256k1", "ed25519"])
async def test_a_keystore_opens_with_its_passphrase_only(tmp_path, scheme):
    new = create_key(scheme, tmp_path / "key", "keystore", passphrase="pässphrase", scrypt_n=FAST)
    signer = await open_signer(new.uri, scheme, passphrase="pässphrase")
    assert signer.address == new.description.address
    assert len(await signer.sign(b"\1" * 32)) in {64, 65}
    for wrong in ("passphräse", "pässphrase ", "Pässphrase"):
        with pytest.raises(KeyProblem, match="wrong passphrase") as caught:
            await open_signer(new.uri, scheme, passphrase=wrong)
        assert wrong not in str(caught.value)
    with pytest.raises(KeyProblem, match="needs its passphrase"):
        await open_signer(new.uri, scheme)


@pytest.mark.parametrize("scheme", ["secp256k1", "ed25519"])
async def test_a_keystore_holds_no_plain_key(tmp_path, scheme):
    new = create_key(scheme, tmp_path / "key", "keystore", passphrase="p", scrypt_n=FAST)
    signer = await open_signer(new.uri, scheme, passphrase="p")
    secret = signer._key.secret if scheme == "secp256k1" else signer._key.private_bytes_raw()
    assert secret.hex() not in (tmp_path / "key").read_text()


async def test_a_keystore_of_the_other_curve_is_refused_without_trying(tmp_path):
    new = create_key("ed25519", tmp_path / "key", "keystore", passphrase="p", scrypt_n=FAST)
    with pytest.raises(KeyProblem, match="holds a ed25519 key where a secp256k1"):
        await open_signer(new.uri, "secp256k1", passphrase="p")


@pytest.mark.parametrize("scheme", ["secp256k1", "ed25519"])
async def test_a_keystore_taken_for_a_plain_key_is_named(tmp_path, scheme):
    new = create_key(scheme, tmp_path / "key", "keystore", passphrase="p", scrypt_n=FAST)
    with pytest.raises(KeyProblem, match="Write keystore://"):
        await open_signer(new.uri.replace("keystore://", "file://"), scheme)


async def test_the_published_web3_keystore_opens(tmp_path):
    # The scrypt example of the Web3 Secret Storage definition, with its parameters (n 262144, r 1, p 8).
    published = {
        "crypto": {
            "cipher": "aes-128-ctr",
            "cipherparams": {"iv": "83dbcc02d8ccb40e466191a123791e0e"},
            "ciphertext": "d172bf743a674da9cdad04534d56926ef8358534d458fffccd4e6ad2fbde479c",
            "kdf": "scrypt",
            "kdfparams": {
                "dklen": 32,
                "n": 262144,
                "p": 8,
                "r": 1,
                "salt": "ab0c7876052600dd703518d6fc3fe8984592145b591fc8fb5c6d43190334ba19",
            },
            "mac": "2103ac29920d71da29f15d75b4a16dbe95cfd7ff8faea1056c33131d846e3097",
        },
        "id": "3198bc9c-6672-5ab3-d995-4942343ae5b6",
        "version": 3,
    }
    path = tmp_path / "key.json"
    path.write_text(json.dumps(published))
    signer = await open_signer(f"keystore://{path}", "secp256k1", passphrase="testpassword")
    assert signer.address == "0x008aeeda4d805471df9b2a5b0f38a0c3bcba786b"


PUBLISHED_PBKDF2 = {
    "crypto": {
        "cipher": "aes-128-ctr",
        "cipherparams": {"iv": "6087dab2f9fdbbfaddc31a909735c1e6"},
        "ciphertext": "5318b4d5bcd28de64ee5559e671353e16f075ecae9f99c7a79a38af5f869aa46",
        "kdf": "pbkdf2",
        "kdfparams": {
            "c": 262144,
            "dklen": 32,
            "prf": "hmac-sha256",
            "salt": "ae3cd4e7013836a3df6bd7241b12db061dbe2c6785853cce422d148a624ce0bd",
        },
        "mac": "517ead924a9d0dc3124507e3393d175ce3ff7c1e96529c6c555ce9e51205e9b2",
    },
    "id": "3198bc9c-6672-5ab3-d995-4942343ae5b6",
    "version": 3,
}
"""The PBKDF2 example of the Web3 Secret Storage definition."""


async def test_a_published_keystore_of_the_other_kdf_opens(tmp_path):
    path = tmp_path / "key.json"
    path.write_text(json.dumps(PUBLISHED_PBKDF2))
    signer = await open_signer(f"keystore://{path}", "secp256k1", passphrase="testpassword")
    assert signer.address == "0x008aeeda4d805471df9b2a5b0f38a0c3bcba786b"


@pytest.mark.parametrize("change", [{"c": 0}, {"c": 10**8}, {"c": "262144"}])
async def test_a_keystore_of_absurd_cost_is_not_tried(tmp_path, change):
    path = tmp_path / "key.json"
    crypto = PUBLISHED_PBKDF2["crypto"]
    parameters = {**crypto["kdfparams"], **change}
    path.write_text(json.dumps({**PUBLISHED_PBKDF2, "crypto": {**crypto, "kdfparams": parameters}}))
    with pytest.raises(KeyProblem, match="damaged"):
        await open_signer(f"keystore://{path}", "secp256k1", passphrase="testpassword")


async def test_a_web3_keystore_with_impossible_parameters_is_refused(tmp_path):
    path = tmp_path / "key.json"
    keystore = Account.encrypt(b"\1" * 32, "p", kdf="scrypt", iterations=FAST)
    keystore["crypto"]["kdfparams"]["n"] = 3  # no power of two
    path.write_text(json.dumps(keystore))
    with pytest.raises(KeyProblem, match="damaged"):
        await open_signer(f"keystore://{path}", "secp256k1", passphrase="p")


async def test_a_keystore_of_another_version_is_refused(tmp_path):
    path = tmp_path / "key.json"
    path.write_text(json.dumps({**PUBLISHED_PBKDF2, "version": 2}))
    with pytest.raises(KeyProblem, match="damaged"):
        await open_signer(f"keystore://{path}", "secp256k1", passphrase="testpassword")


async def test_a_key_that_is_too_short_is_refused(tmp_path):
    path = tmp_path / "key.json"
    path.write_text(json.dumps(Account.encrypt(b"\1" * 32, "p", kdf="scrypt", iterations=FAST)))
    assert (await open_signer(f"keystore://{path}", "secp256k1", passphrase="p")).scheme == "secp256k1"
    with pytest.raises(KeyProblem, match="31 bytes where"):
        signer_from_secret(b"\1" * 31, "secp256k1", "keystore://x")


def test_a_full_disk_leaves_no_half_key(tmp_path, monkeypatch):
    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(KeyProblem, match="No space left"):
        create_key("ed25519", tmp_path / "key", "file")
    assert not (tmp_path / "key").exists()


ALTERATIONS = {
    "the public key": lambda k: k.update(public_key="00" * 32),
    "the address": lambda k: k.update(address="00" * 20),
    "the ciphertext": lambda k: k["crypto"].update(ciphertext="00" * 48),
    "the salt": lambda k: k["crypto"]["kdfparams"].update(salt="00" * 16),
}
DAMAGES = {
    "no crypto": lambda k: k.pop("crypto"),
    "crypto of another type": lambda k: k.update(crypto=[]),
    "another version": lambda k: k.update(version=2),
    "another cipher": lambda k: k["crypto"].update(cipher="rot13"),
    "another kdf": lambda k: k["crypto"].update(kdf="md5"),
    "a work factor that would take the machine down": lambda k: k["crypto"]["kdfparams"].update(n=2**40),
    "a work factor that is text": lambda k: k["crypto"]["kdfparams"].update(n="16"),
    "no hex": lambda k: k["crypto"].update(nonce="zz"),
}


@pytest.mark.parametrize(
    ("alter", "problem"),
    [(a, "was altered") for a in ALTERATIONS.values()] + [(d, "damaged") for d in DAMAGES.values()],
    ids=[*ALTERATIONS, *DAMAGES],
)
async def test_an_altered_ed25519_keystore_does_not_open(tmp_path, alter, problem):
    path = tmp_path / "key"
    new = create_key("ed25519", path, "keystore", passphrase="p", scrypt_n=FAST)
    keystore = json.loads(path.read_text())
    alter(keystore)
    path.write_text(json.dumps(keystore))
    with pytest.raises(KeyProblem, match=problem):
        await open_signer(new.uri, "ed25519", passphrase="p")


async def test_a_web3_keystore_with_a_foreign_address_does_not_open(tmp_path):
    path = tmp_path / "key"
    new = create_key("secp256k1", path, "keystore", passphrase="p", scrypt_n=FAST)
    keystore = json.loads(path.read_text())
    keystore["address"] = "00" * 20
    path.write_text(json.dumps(keystore))
    with pytest.raises(KeyProblem, match="another address"):
        await open_signer(new.uri, "secp256k1", passphrase="p")
    keystore["crypto"]["kdfparams"]["n"] = 2**40
    path.write_text(json.dumps(keystore))
    with pytest.raises(KeyProblem, match="damaged"):
        await open_signer(new.uri, "secp256k1", passphrase="p")


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b"\xff\xfe", b"0" * 100_000])
async def test_a_file_that_is_no_keystore_is_refused(tmp_path, content):
    path = tmp_path / "key"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(KeyProblem):
        await open_signer(f"keystore://{path}", "ed25519", passphrase="p")
    with pytest.raises(KeyProblem):
        await open_signer(f"file://{path}", "ed25519")


def test_importing_the_package_loads_neither_boto3_nor_eth_account():
    script = "import sys, reactor.keys; print(sorted({'boto3', 'eth_account', 'web3'} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.strip() == "[]"


async def test_a_path_that_no_system_has_is_a_problem_of_the_key():
    with pytest.raises(KeyProblem, match="no path has"):
        await open_signer("file:///key%00.hex", "secp256k1")


@pytest.mark.parametrize("uri", ["file://[/key", "keystore://[x/key"])
async def test_a_host_that_is_none_is_a_problem_of_the_key(uri):
    with pytest.raises(KeyProblem, match="an absolute path must follow"):
        await open_signer(uri, "secp256k1", passphrase="x")


def test_opening_a_keystore_leaves_the_recursion_limit_as_it_was():
    """eth-account lifts it to 100,000 when it is first imported, and a nested answer of a node would then end the process."""
    code = "import sys; from reactor.keys.keystore import encrypt; encrypt(bytes([7]) * 32, 'secp256k1', 'x', scrypt_n=2);"
    done = subprocess.run([sys.executable, "-c", f"{code} print(sys.getrecursionlimit())"], capture_output=True, check=True)
    assert int(done.stdout) == 1000


@pytest.mark.parametrize("length", [2**31 - 1, 31, "32", None])
def test_a_keystore_that_asks_for_a_key_of_another_length_is_damaged(length):
    locked = encrypt(bytes.fromhex(SECRET), "secp256k1", "x", scrypt_n=FAST)
    assert decrypt(json.dumps(locked), "secp256k1", "x", "keystore:///k").hex() == SECRET
    locked["crypto"]["kdfparams"]["dklen"] = length
    with pytest.raises(KeyProblem, match="damaged"):
        decrypt(json.dumps(locked), "secp256k1", "x", "keystore:///k")


# --- judged unopened

BAD_KEYS = [
    "file://relative",
    "keystore://relative/path",
    "env://no-name",
    "awskms://eu-west-1",
    "awskms://eu-west-1/key?endpoint=http://kms.example",
    "awssecret://eu-west-1/name?field=",
]
GOOD_KEYS = ["env://NAME", "file:///k", "keystore:///k", "awskms://eu-west-1/alias/x", "awssecret://eu-west-1/bridge/v1?field=a"]


@pytest.mark.parametrize("uri", GOOD_KEYS)
def test_a_key_uri_that_may_lead_somewhere_is_none(uri):
    check_key_uri(uri)


@pytest.mark.parametrize("uri", [*BAD_KEYS, "nothing", "ftp://x"])
def test_what_is_refused_unopened_is_refused(uri):
    with pytest.raises(KeyProblem):
        check_key_uri(uri)


@pytest.mark.parametrize("uri", GOOD_KEYS)
def test_keys_of_a_service_are_not_on_this_machine(uri):
    assert is_local(uri) is (not uri.startswith("aws"))
