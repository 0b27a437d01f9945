"""From a key URI to a signer."""

import asyncio
import os
import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import unquote, urlsplit

from reactor.keys import keystore
from reactor.keys.files import read_key_file
from reactor.keys.local import signer_from_secret, signer_from_text
from reactor.keys.problem import KeyProblem
from reactor.keys.signer import Scheme, Signer

_SUPPORTED = "env://NAME, file:///path, keystore:///path, awskms://region/key-id or awssecret://region/secret-id"
_KINDS = frozenset({"env", "file", "keystore", "awskms", "awssecret"})
_SCHEME = re.compile(r"([a-z]{1,12})://")
_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_HEX_KEY = re.compile(r"[0-9a-fA-F]{64}")


async def open_signer(
    uri: str,
    scheme: Scheme,
    *,
    passphrase: str | None = None,
    environ: Mapping[str, str] | None = None,
) -> Signer:
    """Open the key that a URI names. Slow work (scrypt, the key service) runs beside the event loop.

    Args:
        uri: `env://NAME` (development), `file:///path`, `keystore:///path`, `awskms://region/key-id?endpoint=https://…` or
            `awssecret://region/secret-id?field=name&endpoint=https://…`.
        scheme: the curve that is wanted; a key of the other one is refused.
        passphrase: for `keystore://`.
        environ: where `env://` looks; the process environment by default.

    Raises:
        KeyProblem: with the remedy.
    """
    kind = _kind(uri)
    if kind == "env":
        return _from_environment(uri, scheme, os.environ if environ is None else environ)
    if kind == "file":
        return await asyncio.to_thread(_from_file, uri, scheme)
    if kind == "keystore":
        return await asyncio.to_thread(_from_keystore, uri, scheme, passphrase)
    if kind == "awskms":
        from reactor.keys.awskms import open_kms_signer  # noqa: PLC0415 - only KMS users pay for boto3

        return await open_kms_signer(uri, scheme)
    from reactor.keys.awssecret import open_secret_signer  # noqa: PLC0415

    return await open_secret_signer(uri, scheme)


def check_key_uri(uri: str) -> None:
    """Refuse a URI that cannot lead to a key, opening nothing and asking nobody. Raises `KeyProblem`."""
    kind = _kind(uri)
    if kind == "env":
        _variable(uri)
    elif kind in {"file", "keystore"}:
        _path(uri)
    elif kind == "awskms":
        from reactor.keys.awskms import kms_place  # noqa: PLC0415 - see above

        kms_place(uri)
    else:
        from reactor.keys.awssecret import secret_place  # noqa: PLC0415 - see above

        secret_place(uri)


def is_local(uri: str) -> bool:
    """Whether the key lies in this process's environment or on this machine's disk."""
    return uri.startswith(("env://", "file://", "keystore://"))


def _kind(uri: str) -> str:
    match = _SCHEME.match(uri)
    if match is None:
        # SECURITY: the text is not shown: it may be a key that was put where its URI belongs.
        raise KeyProblem("(not a URI)", "the key is not given as a URI", f"Give {_SUPPORTED}")
    if match.group(1) not in _KINDS:
        raise KeyProblem(match.group(), "this kind of key is not known", f"Give {_SUPPORTED}")
    return match.group(1)


def _variable(uri: str) -> str:
    name = uri.removeprefix("env://")
    # SECURITY: a key put where the variable's name belongs is neither looked up nor shown.
    if not _ENVIRONMENT_NAME.fullmatch(name) or _HEX_KEY.search(name):
        raise KeyProblem("env://", "no name of an environment variable follows", "Give env://NAME, not the key itself")
    return name


def _from_environment(uri: str, scheme: Scheme, environ: Mapping[str, str]) -> Signer:
    name = _variable(uri)
    text = environ.get(name, "")
    if not text.strip():
        raise KeyProblem(uri, "the environment variable is not set", f"Set {name} to the key in hexadecimal")
    return signer_from_text(text, scheme, uri)


def _from_file(uri: str, scheme: Scheme) -> Signer:
    text = read_key_file(_path(uri), uri, private=True)
    if text.lstrip().startswith("{"):
        raise KeyProblem(uri, "is a keystore, not a plain key", f"Write keystore://{_path(uri)}")
    return signer_from_text(text, scheme, uri)


def _from_keystore(uri: str, scheme: Scheme, passphrase: str | None) -> Signer:
    text = read_key_file(_path(uri), uri, private=False)
    if not passphrase:
        raise KeyProblem(uri, "needs its passphrase", "Set key_passphrase, or key_passphrase_file, of this key")
    return signer_from_secret(keystore.decrypt(text, scheme, passphrase, uri), scheme, uri)


def _path(uri: str) -> Path:
    scheme = uri.partition("://")[0]
    problem = KeyProblem(f"{scheme}://", "an absolute path must follow", f"Write three slashes: {scheme}:///path/of/the/key")
    try:
        parts = urlsplit(uri)
    except ValueError:  # a bracket that is never closed where a host would stand
        raise problem from None
    path = Path(unquote(parts.path))
    if parts.netloc or parts.query or parts.fragment or not path.is_absolute():
        raise problem
    return path
