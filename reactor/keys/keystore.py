"""Encrypted key files: Web3 Secret Storage v3 for secp256k1, and our own JSON for Ed25519.

The Ed25519 file holds `{"kind", "version", "curve", "address", "public_key", "crypto"}`; `crypto` names scrypt and
its parameters, AES-256-GCM, nonce and ciphertext. Everything outside `crypto` is authenticated with the ciphertext, so
that a file whose public part was exchanged does not open.
"""

import json
import os
import sys
from typing import Any

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from reactor.keys.local import signer_from_secret
from reactor.keys.problem import KeyProblem
from reactor.keys.signer import Scheme

KIND = "bridge-reactor-keystore"
VERSION = 1
SCRYPT_N = 2**17
"""128 MiB and a few tenths of a second with r = 8: dear for a guesser, bearable once per start."""
SCRYPT_R = 8
SCRYPT_P = 1
MAX_SCRYPT_MEMORY = 2**30
"""A file may not ask for more than 1 GiB: a damaged one must fail, not exhaust the machine."""
MAX_SCRYPT_P = 16
MAX_PBKDF2_ROUNDS = 10_000_000
_KEY_BYTES = 32
_NONCE_BYTES = 12
_SALT_BYTES = 16


def encrypt(secret: bytes, scheme: Scheme, passphrase: str, *, scrypt_n: int = SCRYPT_N) -> dict[str, Any]:
    """Lock the 32 secret bytes of a key.

    Args:
        secret: the scalar (secp256k1) or the seed (ed25519).
        scheme: the curve, which decides the format.
        passphrase: never empty.
        scrypt_n: work factor, a power of two.
    """
    if scheme == "secp256k1":
        return dict(_account().encrypt(secret, passphrase, kdf="scrypt", iterations=scrypt_n))
    signer = signer_from_secret(secret, scheme, "keystore://")
    header = {
        "kind": KIND,
        "version": VERSION,
        "curve": scheme,
        "address": signer.address,
        "public_key": signer.public_key,
    }
    salt, nonce = os.urandom(_SALT_BYTES), os.urandom(_NONCE_BYTES)
    key = Scrypt(salt=salt, length=32, n=scrypt_n, r=SCRYPT_R, p=SCRYPT_P).derive(passphrase.encode())
    ciphertext = AESGCM(key).encrypt(nonce, secret, _authenticated(header))
    crypto = {
        "kdf": "scrypt",
        "kdfparams": {"n": scrypt_n, "r": SCRYPT_R, "p": SCRYPT_P, "salt": salt.hex()},
        "cipher": "aes-256-gcm",
        "nonce": nonce.hex(),
        "ciphertext": ciphertext.hex(),
    }
    return {**header, "crypto": crypto}


def decrypt(text: str, scheme: Scheme, passphrase: str, source: str) -> bytes:
    """Unlock a keystore of either format.

    Returns:
        The 32 secret bytes.

    Raises:
        KeyProblem: not a keystore, one of the other curve, a wrong passphrase, or a file that was altered.
    """
    keystore = _parse(text, source)
    ours = keystore.get("kind") == KIND
    curve = keystore.get("curve") if ours else "secp256k1"
    if curve != scheme:
        raise KeyProblem(source, f"holds a {curve} key where a {scheme} key is wanted", "Name the other keystore")
    try:
        _bound_cost(keystore["crypto"])
        secret = _decrypt_ours(keystore, passphrase) if ours else _decrypt_web3(keystore, passphrase)
    except (InvalidTag, _WrongPassphraseError):
        raise KeyProblem(
            source, "does not open: wrong passphrase, or the file was altered", "Check the passphrase of this key"
        ) from None
    except (KeyError, ValueError, TypeError, AttributeError):
        raise KeyProblem(source, "is damaged or of an unknown kind", "Restore it from its backup") from None
    _check_address(keystore, secret, scheme, source)
    return secret


class _WrongPassphraseError(Exception):
    """The key derived from the passphrase does not fit."""


def _parse(text: str, source: str) -> dict[str, Any]:
    try:
        keystore = json.loads(text)
    except (ValueError, RecursionError):
        keystore = None
    if not isinstance(keystore, dict):
        raise KeyProblem(source, "is not a JSON keystore", "Use file:// for plain keys, or `reactor keys new`")
    # Old wallets write "Crypto"; the format compares its keys without case.
    return {str(name).lower(): value for name, value in keystore.items()}


def _bound_cost(crypto: dict[str, Any]) -> None:
    """Refuse parameters that would exhaust memory or time.

    Raises:
        ValueError: too dear.
    """
    parameters = crypto["kdfparams"]
    if parameters.get("dklen", _KEY_BYTES) != _KEY_BYTES:
        raise ValueError
    if crypto["kdf"] == "pbkdf2":
        if not 1 <= parameters["c"] <= MAX_PBKDF2_ROUNDS:
            raise ValueError
        return
    n, r, p = parameters["n"], parameters["r"], parameters["p"]
    if not (n > 1 and r >= 1 and 1 <= p <= MAX_SCRYPT_P and 128 * n * r <= MAX_SCRYPT_MEMORY):
        raise ValueError


def _decrypt_ours(keystore: dict[str, Any], passphrase: str) -> bytes:
    crypto = keystore["crypto"]
    if keystore["version"] != VERSION or crypto["kdf"] != "scrypt" or crypto["cipher"] != "aes-256-gcm":
        raise ValueError
    parameters = crypto["kdfparams"]
    kdf = Scrypt(salt=bytes.fromhex(parameters["salt"]), length=32, n=parameters["n"], r=parameters["r"], p=parameters["p"])
    key = AESGCM(kdf.derive(passphrase.encode()))
    header = {name: keystore[name] for name in ("kind", "version", "curve", "address", "public_key")}
    return key.decrypt(bytes.fromhex(crypto["nonce"]), bytes.fromhex(crypto["ciphertext"]), _authenticated(header))


def _decrypt_web3(keystore: dict[str, Any], passphrase: str) -> bytes:
    if keystore["version"] != 3:
        raise ValueError
    try:
        return bytes(_account().decrypt(keystore, passphrase))
    except ValueError as error:
        if "MAC mismatch" in str(error):
            raise _WrongPassphraseError from None
        raise


def _account() -> Any:  # noqa: ANN401 - eth_account's class
    """eth-account, imported late: half a second that only keystores need."""
    limit = sys.getrecursionlimit()
    from eth_account import Account  # noqa: PLC0415

    # SECURITY: it imports py_ecc, which lifts the recursion limit to 100,000: a deeply nested answer of any node would then
    # overflow the C stack and end the process.
    sys.setrecursionlimit(limit)
    return Account


def _authenticated(header: dict[str, Any]) -> bytes:
    return json.dumps(header, sort_keys=True, separators=(",", ":")).encode()


def _check_address(keystore: dict[str, Any], secret: bytes, scheme: Scheme, source: str) -> None:
    declared = str(keystore.get("address") or "").lower().removeprefix("0x")
    actual = signer_from_secret(secret, scheme, source).address.removeprefix("0x")
    # SECURITY: the address in a v3 file is not authenticated; an operator who reads it must not be misled.
    if declared and declared != actual:
        raise KeyProblem(source, "names another address than its key has", "Restore it from its backup")
