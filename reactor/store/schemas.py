"""The shape that the server itself holds documents to: `$jsonSchema`, against honest mistakes and types that nobody can read.

Not a defence: whoever may change collections may drop it, and every reader checks for himself. So it is loose where an attack
could use its strictness: no limit on the length of lists, or a list filled up by a stranger would keep honest signatures out.
"""

from collections.abc import Mapping
from typing import Any, Final

from reactor.documents.statuses import Collection, Status

Schema = dict[str, Any]

_STRING: Final[Schema] = {"bsonType": "string"}
_DECIMAL: Final[Schema] = {"bsonType": "string", "pattern": "^[0-9]{0,78}$"}
_COUNT: Final[Schema] = {"bsonType": ["int", "long"]}
_DATE: Final[Schema] = {"bsonType": "date"}
_STRINGS: Final[Schema] = {"bsonType": "array", "items": _STRING}
_OBJECTS: Final[Schema] = {"bsonType": "array", "items": {"bsonType": "object"}}
_OBJECT_OR_NULL: Final[Schema] = {"bsonType": ["object", "null"]}
_ID: Final[Schema] = {"_id": {"bsonType": "objectId"}}

_ADDRESSED: Final[Mapping[str, Schema]] = {
    "wpokt_address": _STRING,
    "vault_address": _STRING,
    "sender_address": _STRING,
    "sender_chain_id": _STRING,
}
_REQUEST: Final[Mapping[str, Schema]] = {
    **_ID,
    **_ADDRESSED,
    "transaction_hash": _STRING,
    "amount": _DECIMAL,
    "confirmations": _DECIMAL,
    "status": {"enum": [status.value for status in Status]},
    "signers": _STRINGS,
    "signatures": _STRINGS,
    "history": _OBJECTS,
    "objections": _OBJECTS,
    "waiting": _OBJECT_OR_NULL,
    "created_at": _DATE,
    "updated_at": _DATE,
}
_RECIPIENT: Final[Mapping[str, Schema]] = {"recipient_address": _STRING, "recipient_chain_id": _STRING}
_PAYOUT: Final[Mapping[str, Schema]] = {"attempt": _DECIMAL, "return_tx": _STRING, "return_tx_hash": _STRING}

_PROPERTIES: Final[Mapping[Collection, Mapping[str, Schema]]] = {
    Collection.MINT: {
        **_REQUEST,
        **_RECIPIENT,
        "height": _DECIMAL,
        "nonce": _DECIMAL,
        "memo": {"bsonType": "object"},
        "data": _OBJECT_OR_NULL,
        "typed_data": _STRING,
        "mint_tx_hash": _STRING,
    },
    Collection.INVALID_MINT: {**_REQUEST, **_PAYOUT, "height": _DECIMAL, "memo": _STRING},
    Collection.BURN: {
        **_REQUEST,
        **_RECIPIENT,
        **_PAYOUT,
        "log_index": _DECIMAL,
        "burn_index": _DECIMAL,
        "block_number": _DECIMAL,
        "block_hash": _STRING,
    },
    Collection.MINTED: {
        **_ID,
        **_RECIPIENT,
        "wpokt_address": _STRING,
        "amount": _DECIMAL,
        "nonce": _DECIMAL,
        "transaction_hash": _STRING,
        "log_index": _DECIMAL,
        "block_number": _DECIMAL,
        "block_hash": _STRING,
        "created_at": _DATE,
    },
    Collection.RETURNED: {
        **_ID,
        "vault_address": _STRING,
        "sender_chain_id": _STRING,
        "transaction_hash": _STRING,
        "height": _DECIMAL,
        "recipient_address": _STRING,
        "amount": _DECIMAL,
        "fee": _DECIMAL,
        "memo": _STRING,
        "entropy": _STRING,
        "code": _DECIMAL,
        "created_at": _DATE,
    },
    Collection.HEARTBEAT: {**_ID, "validator_id": _STRING, "hostname": _STRING, "created_at": _DATE, "updated_at": _DATE},
    Collection.AUDIT: {
        **_ID,
        "at": _DATE,
        "by": _STRING,
        "why": _STRING,
        "verb": _STRING,
        "arguments": _STRINGS,
        "evaluated": _COUNT,
        "matched": _COUNT,
        "host": _STRING,
        "validator": _STRING,
        "vault_address": _STRING,
        "wpokt_address": _STRING,
    },
}


def schema(collection: Collection) -> Schema:
    """The validator of a collection: every field that `documents.build` writes must be there and of its type; more may be."""
    properties = _PROPERTIES[collection]
    return {"$jsonSchema": {"bsonType": "object", "required": list(properties), "properties": dict(properties)}}
