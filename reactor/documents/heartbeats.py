"""The bytes that a heartbeat signs: everything it says, bound to the bridge."""

from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from json import dumps
from typing import Any

_DOMAIN = b"bridge-reactor heartbeat v1\n"
_UNSIGNED = frozenset({"_id", "signature", "created_at"})


def heartbeat_digest(fields: Mapping[str, Any]) -> bytes:
    """32 bytes to sign with the validator's Ethereum key, from the heartbeat's fields as they lie in Mongo.

    SECURITY: under a text prefix of its own, so that it can never be an EIP-712 digest or an objection. Dates count in whole
    milliseconds, as BSON holds them.
    """
    said = {name: _plain(value) for name, value in fields.items() if name not in _UNSIGNED}
    return sha256(_DOMAIN + dumps(said, sort_keys=True, separators=(",", ":")).encode()).digest()


def milliseconds(moment: datetime) -> datetime:
    """The moment as BSON holds it: UTC, whole milliseconds."""
    return moment.astimezone(UTC).replace(microsecond=moment.microsecond // 1000 * 1000)


def _plain(value: object) -> object:
    match value:
        case datetime():
            return milliseconds(value).isoformat()
        case Mapping():
            return {str(name): _plain(item) for name, item in value.items()}
        case list() | tuple():
            return [_plain(item) for item in value]
    return value
