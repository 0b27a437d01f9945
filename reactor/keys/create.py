"""New keys, for `reactor keys new`."""

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from urllib.parse import quote

from coincurve import PrivateKey

from reactor.keys import keystore
from reactor.keys.files import write_key_file
from reactor.keys.local import signer_from_secret
from reactor.keys.problem import KeyProblem
from reactor.keys.signer import KeyDescription, Scheme

KeyKind = Literal["file", "keystore"]


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key that was just written; `uri` is what the configuration wants."""

    uri: str
    description: KeyDescription


def create_key(
    scheme: Scheme,
    path: Path,
    kind: KeyKind,
    *,
    passphrase: str | None = None,
    scrypt_n: int = keystore.SCRYPT_N,
) -> NewKey:
    """Draw a key from the operating system's random source and write it, mode 0600, to a file that does not exist yet.

    Args:
        scheme: `secp256k1` (Ethereum) or `ed25519` (Pocket).
        path: where to; made absolute.
        kind: `file` (plain hex, for development and mounted secrets) or `keystore` (encrypted).
        passphrase: for `keystore` only.
        scrypt_n: work factor of a keystore, a power of two.

    Raises:
        KeyProblem: the file exists or cannot be written, or the passphrase is missing.
    """
    path = path.expanduser().absolute()
    uri = f"{kind}://{quote(str(path))}"
    if kind == "keystore" and not passphrase:
        raise KeyProblem(uri, "needs a passphrase", "Give one, by a file or at the prompt")
    secret = PrivateKey().secret if scheme == "secp256k1" else os.urandom(32)
    signer = signer_from_secret(secret, scheme, uri)
    if kind == "keystore":
        text = json.dumps(keystore.encrypt(secret, scheme, passphrase or "", scrypt_n=scrypt_n), indent=2)
    else:
        text = secret.hex() + (signer.public_key if scheme == "ed25519" else "")
    write_key_file(path, text + "\n", uri)
    return NewKey(uri, signer.describe())
