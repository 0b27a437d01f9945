"""Keystores byte by byte: the format that files of today must open with for ever, its bounds, and what is written."""

import hashlib
import json

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from eth_account import Account
from eth_hash.auto import keccak

from reactor.keys import KeyProblem, create_key, keystore, open_signer
from reactor.keys.keystore import decrypt, encrypt

pytestmark = pytest.mark.unit

# Anvil's first account, and RFC 8032's first test key: published ones.
ETHEREUM_KEY = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
ETHEREUM_ADDRESS = "f39fd6e51aad88f6f4ce6ab8827279cfffb92266"
POCKET_SEED = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
FAST = 2**4

GOLDEN = {
    "kind": "bridge-reactor-keystore",
    "version": 1,
    "curve": "ed25519",
    "address": "21fe31dfa154a261626bf854046fd2271b7bed4b",
    "public_key": "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a",
    "crypto": {
        "kdf": "scrypt",
        "kdfparams": {"n": 16, "r": 8, "p": 1, "salt": "000102030405060708090a0b0c0d0e0f"},
        "cipher": "aes-256-gcm",
        "nonce": "000102030405060708090a0b",
        "ciphertext": "6227f7a725cbedbcc8bae88a7bd69c4463a5a4a55f1dcbf01b1e94aead564763327ad2d48d6eb154e0dbdb32606efc8f",
    },
}
"""Made once with hashlib's scrypt and AES-256-GCM over RFC 8032's first key, passphrase `pässphrase`."""
AUTHENTICATED = (
    '{"address":"21fe31dfa154a261626bf854046fd2271b7bed4b","curve":"ed25519","kind":"bridge-reactor-keystore",'
    '"public_key":"d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a","version":1}'
)


def opened(file, scheme="ed25519", passphrase="pässphrase"):
    return decrypt(json.dumps(file), scheme, passphrase, "keystore:///key").hex()


def web3(**parameters):
    """A v3 file of the published key, and then other cost parameters: it opens with its own only."""
    locked = encrypt(bytes.fromhex(ETHEREUM_KEY), "secp256k1", "p", scrypt_n=FAST)
    locked["crypto"]["kdfparams"].update(parameters)
    return locked


def test_a_file_of_the_format_opens_in_whatever_order_its_members_stand():
    assert opened(GOLDEN) == POCKET_SEED
    assert opened(dict(reversed(GOLDEN.items()))) == POCKET_SEED


def test_what_is_written_is_of_the_format():
    made = encrypt(bytes.fromhex(POCKET_SEED), "ed25519", "pässphrase", scrypt_n=FAST)
    crypto = made["crypto"]
    parameters = crypto["kdfparams"]
    assert list(made) == list(GOLDEN)
    assert {**made, "crypto": None} == {**GOLDEN, "crypto": None}
    assert {**crypto, "kdfparams": None, "nonce": None, "ciphertext": None} == {
        "kdf": "scrypt",
        "kdfparams": None,
        "cipher": "aes-256-gcm",
        "nonce": None,
        "ciphertext": None,
    }
    salt, nonce = bytes.fromhex(parameters["salt"]), bytes.fromhex(crypto["nonce"])
    assert parameters == {"n": FAST, "r": 8, "p": 1, "salt": salt.hex()}
    assert (len(salt), len(nonce)) == (16, 12)
    key = hashlib.scrypt("pässphrase".encode(), salt=salt, n=FAST, r=8, p=1, dklen=32)
    assert AESGCM(key).decrypt(nonce, bytes.fromhex(crypto["ciphertext"]), AUTHENTICATED.encode()).hex() == POCKET_SEED


def test_no_two_files_share_salt_or_nonce():
    one, two = (encrypt(bytes.fromhex(POCKET_SEED), "ed25519", "p", scrypt_n=FAST)["crypto"] for _ in range(2))
    assert one["kdfparams"]["salt"] != two["kdfparams"]["salt"]
    assert one["nonce"] != two["nonce"]
    assert one["ciphertext"] != two["ciphertext"]


@pytest.mark.parametrize("scheme", ["secp256k1", "ed25519"])
def test_a_guesser_pays_in_full_unless_told_otherwise(tmp_path, scheme):
    create_key(scheme, tmp_path / "key", "keystore", passphrase="p")
    crypto = json.loads((tmp_path / "key").read_text())["crypto"]
    assert crypto["kdf"] == "scrypt"
    assert {name: crypto["kdfparams"][name] for name in ("n", "r", "p")} == {"n": 2**17, "r": 8, "p": 1}


def test_a_web3_keystore_has_the_cost_that_was_asked_for():
    crypto = web3()["crypto"]
    assert crypto["kdf"] == "scrypt"
    assert crypto["kdfparams"]["n"] == FAST


def test_what_the_library_would_take_by_default_does_not_matter(monkeypatch):
    monkeypatch.setattr(Account, "_default_kdf", "pbkdf2")  # its environment sets this
    assert web3()["crypto"]["kdf"] == "scrypt"


def test_a_keystore_that_holds_no_key_of_the_curve_is_named():
    locked = web3()
    crypto = locked["crypto"]
    zero = bytes(a ^ b for a, b in zip(bytes.fromhex(crypto["ciphertext"]), bytes.fromhex(ETHEREUM_KEY), strict=True))
    salt = bytes.fromhex(crypto["kdfparams"]["salt"])
    derived = hashlib.scrypt(b"p", salt=salt, n=FAST, r=crypto["kdfparams"]["r"], p=crypto["kdfparams"]["p"], dklen=32)
    crypto.update(ciphertext=zero.hex(), mac=keccak(derived[16:] + zero).hex())
    with pytest.raises(KeyProblem) as caught:
        opened(locked, "secp256k1", "p")
    assert str(caught.value) == "key keystore:///key: is zero or above the order of secp256k1. Give a real key"


def test_a_locked_key_is_opened_by_other_wallets():
    locked = encrypt(bytes.fromhex(ETHEREUM_KEY), "secp256k1", "p", scrypt_n=FAST)
    assert Account.decrypt(locked, "p").hex() == ETHEREUM_KEY


@pytest.mark.parametrize(
    ("declared", "opens"),
    [
        (ETHEREUM_ADDRESS, True),
        ("0x" + ETHEREUM_ADDRESS, True),
        ("0xF39Fd6e51aad88F6F4ce6aB8827279cffFb92266", True),
        ("", True),
        (None, True),
        ("f39fd6e51aad88f6f4ce6ab8827279cfffb92267", False),
        ("0x", True),
    ],
)
def test_the_address_that_a_web3_keystore_names_is_that_of_its_key(declared, opens):
    locked = {**web3(), "address": declared}
    if opens:
        assert opened(locked, "secp256k1", "p") == ETHEREUM_KEY
    else:
        with pytest.raises(KeyProblem, match="names another address"):
            opened(locked, "secp256k1", "p")


def test_a_web3_keystore_may_name_no_address():
    locked = web3()
    del locked["address"]
    assert opened(locked, "secp256k1", "p") == ETHEREUM_KEY


def test_names_of_members_are_compared_without_case():
    locked = web3()
    locked["Crypto"] = locked.pop("crypto")
    locked["VERSION"] = locked.pop("version")
    assert opened(locked, "secp256k1", "p") == ETHEREUM_KEY


# --- bounds -----------------------------------------------------------------------------------------------------------


def bound(kdf, **parameters):
    """Whether a file of these parameters is tried; what is tried and does not fit is a wrong passphrase."""
    file = json.loads(json.dumps(GOLDEN))
    file["crypto"].update(kdf=kdf, kdfparams={"salt": "00" * 16, **parameters})
    with pytest.raises(KeyProblem) as caught:
        opened(file)
    return "wrong passphrase" in caught.value.problem


def test_a_file_may_ask_for_a_gibibyte_and_no_more(monkeypatch):
    assert keystore.MAX_SCRYPT_MEMORY == 2**30
    monkeypatch.setattr(keystore, "MAX_SCRYPT_MEMORY", 128 * 16 * 8)
    assert bound("scrypt", n=16, r=8, p=1)
    assert not bound("scrypt", n=32, r=8, p=1)
    assert not bound("scrypt", n=16, r=9, p=1)


def test_a_file_may_ask_for_sixteen_lanes_and_no_more():
    assert bound("scrypt", n=2, r=1, p=16)
    assert not bound("scrypt", n=2, r=1, p=17)
    assert not bound("scrypt", n=2, r=1, p=0)


def test_the_least_cost_is_tried_and_none_is_not():
    assert bound("scrypt", n=2, r=1, p=1)
    assert not bound("scrypt", n=1, r=1, p=1)
    assert not bound("scrypt", n=2, r=0, p=1)


@pytest.mark.parametrize(("n", "problem"), [(1, "damaged"), (2, "wrong passphrase")])
def test_a_web3_keystore_without_any_cost_is_not_tried(n, problem):
    """The library of these files would: scrypt is defined from 2 on."""
    with pytest.raises(KeyProblem, match=problem):
        opened(web3(n=n), "secp256k1", "p")


@pytest.mark.parametrize(("rounds", "tried"), [(0, False), (1, True), (3, True), (4, False)])
def test_the_rounds_of_the_other_kdf_are_bounded(monkeypatch, rounds, tried):
    assert keystore.MAX_PBKDF2_ROUNDS == 10_000_000
    monkeypatch.setattr(keystore, "MAX_PBKDF2_ROUNDS", 3)
    locked = dict(Account.encrypt(bytes.fromhex(ETHEREUM_KEY), "p", kdf="pbkdf2", iterations=rounds or 1))
    locked["crypto"]["kdfparams"]["c"] = rounds
    if tried:
        assert opened(locked, "secp256k1", "p") == ETHEREUM_KEY
    else:
        with pytest.raises(KeyProblem, match="damaged"):
            opened(locked, "secp256k1", "p")


@pytest.mark.parametrize(("length", "tried"), [(32, True), (31, False), (33, False)])
def test_a_derived_key_has_32_bytes(length, tried):
    assert bound("scrypt", n=16, r=8, p=1, dklen=length) is tried


@pytest.mark.parametrize("kdf", ["pbkdf2", "argon2", "SCRYPT"])
def test_our_own_files_know_one_kdf(kdf):
    assert not bound(kdf, n=16, r=8, p=1, c=1)


@pytest.mark.parametrize("version", [1, 2, 4, "3", None])
def test_a_web3_keystore_of_another_version_is_not_tried(version):
    with pytest.raises(KeyProblem, match="damaged"):
        opened({**web3(), "version": version}, "secp256k1", "p")


async def test_the_file_that_was_made_opens_by_its_uri(tmp_path):
    path = tmp_path / "golden"
    path.write_text(json.dumps(GOLDEN))
    signer = await open_signer(f"keystore://{path}", "ed25519", passphrase="pässphrase")
    assert (signer.address, signer.public_key) == (GOLDEN["address"], GOLDEN["public_key"])
    assert signer.describe().source == f"keystore://{path}"
