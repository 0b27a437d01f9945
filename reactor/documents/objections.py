"""The bytes that an objection signs: which document of which bridge is refuted, and why."""

from hashlib import sha256
from json import dumps

from reactor.documents.bridge import Bridge
from reactor.documents.statuses import Collection

_DOMAIN = b"bridge-reactor objection v1\n"


def objection_digest(bridge: Bridge, collection: Collection, key: str, code: str) -> bytes:
    """32 bytes to sign with the validator's Ethereum key.

    SECURITY: bound to the bridge's identity, the collection and the event, so that an objection cannot be replayed elsewhere.
    A SHA-256 under a text prefix of its own can never be an EIP-712 digest: no objection can be taken for a mint.
    """
    said = {"bridge": bridge.identity_hash(), "collection": collection.value, "key": key, "code": code}
    return sha256(_DOMAIN + dumps(said, sort_keys=True, separators=(",", ":")).encode()).digest()


def objection_quorum(threshold: int, members: int) -> int:
    """How many members must object before a document fails: max(M, N - M + 1).

    M: as many as could sign; N - M + 1: so many that the others can no longer reach M.
    """
    return max(threshold, members - threshold + 1)
