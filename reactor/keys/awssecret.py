"""Keys in AWS Secrets Manager: encrypted there, decrypted in this process's memory only, never on a disk of ours.

For the curve that KMS does not hold in one's region. A key in KMS is better: this one can be copied by whoever reads the
secret or this process's memory.
"""

import functools
import json
import re
from typing import TYPE_CHECKING, Final
from urllib.parse import quote

from reactor.keys.aws import Calls, Place, parse_place
from reactor.keys.local import Ed25519Signer, Secp256k1Signer, signer_from_text
from reactor.keys.problem import KeyProblem
from reactor.keys.signer import Scheme
from reactor.keys.stats import SignerStats
from reactor.textfile import BOM

if TYPE_CHECKING:
    from mypy_boto3_secretsmanager import SecretsManagerClient

_SECRET_ID: Final = re.compile(r"[A-Za-z0-9:/_+=.@-]{1,2048}")
_FIELD: Final = re.compile(r"[A-Za-z0-9_.-]{1,40}")
_PERMISSIONS: Final = "secretsmanager:GetSecretValue and kms:Decrypt for the key that encrypts it"


def secret_place(uri: str) -> Place:
    """Read the URI, asking nobody. Raises `KeyProblem`."""
    place = parse_place(uri, _SECRET_ID, "awssecret://region/secret-id[?field=name]", frozenset({"field"}))
    field = place.options.get("field")
    # SECURITY: a field's name is too short to be a key, so it may be shown.
    if field is not None and not _FIELD.fullmatch(field):
        raise KeyProblem("awssecret://", "the field's name is malformed", "Give a name of letters, digits, _ . or -")
    return place


async def open_secret_signer(uri: str, scheme: Scheme) -> Secp256k1Signer | Ed25519Signer:
    """Open `awssecret://region/secret-id[?field=name][&endpoint=https://…]`; the id may be a name or an ARN.

    The secret is text: the key as in a `file://` key, or with `field` a JSON object that holds it under that name. It is
    read once; later changes of the secret count from the next start. Credentials come from where boto3 finds them.

    Raises:
        KeyProblem: a bad URI, no credentials, no access, or no key of that curve in the secret.
    """
    place = secret_place(uri)
    field = place.options.get("field")
    source = place.source if field is None else f"{place.source}?field={quote(field)}"
    stats = SignerStats()
    calls = Calls(source, _PERMISSIONS, stats, threads=1)
    try:
        secret = await calls.run(functools.partial(_fetch, calls, place))
    finally:
        calls.close()
    return signer_from_text(_key_text(secret, field, source), scheme, source, stats)


def _fetch(calls: Calls, place: Place) -> object:
    client: SecretsManagerClient = calls.connect(place, "secretsmanager")
    try:
        return client.get_secret_value(SecretId=place.name).get("SecretString")
    finally:
        client.close()


def _key_text(secret: object, field: str | None, source: str) -> str:
    # SECURITY: nothing of the secret is shown, whatever is wrong with it.
    if not isinstance(secret, str):
        raise KeyProblem(source, "holds binary data, not text", "Store the key as a secret string")
    secret = secret.removeprefix(BOM)
    if field is None:
        if secret.lstrip().startswith("{"):
            raise KeyProblem(source, "holds a JSON object", "Name the key's field: ?field=name")
        return secret
    try:
        members = json.loads(secret)
    except (ValueError, RecursionError):
        members = None
    text = members.get(field) if isinstance(members, dict) else None
    if not isinstance(text, str):
        raise KeyProblem(source, f"holds no JSON object with a text under {field!r}", "Check the secret and the field's name")
    return text
