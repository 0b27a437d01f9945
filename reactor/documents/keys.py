"""Keys: how one event is named in the journal, the ledger and Mongo. All are functions of the chain alone."""

from hashlib import sha256

from bson import ObjectId

from reactor.documents.bridge import Bridge
from reactor.documents.events import Burn, Deposit, Event, Minted, Returned
from reactor.documents.statuses import Collection


def event_key(bridge: Bridge, event: Event) -> str:
    """The event's name in journal and ledger. A deposit has one key whichever collection its document lies in."""
    match event:
        case Deposit():
            return deposit_key(bridge, event.tx_hash)
        case Burn():
            return burn_key(bridge, event.tx_hash, event.burn_index)
        case Minted():
            return f"{bridge.ethereum_scope}:minted:{event.recipient}:{event.nonce}:{event.block.hash}"
        case Returned():
            return f"{bridge.pocket_scope}:returned:{event.tx_hash}"


def deposit_key(bridge: Bridge, tx_hash: str) -> str:
    return f"{bridge.pocket_scope}:{tx_hash}"


def burn_key(bridge: Bridge, tx_hash: str, burn_index: int) -> str:
    return f"{bridge.ethereum_scope}:{tx_hash}:{burn_index}"


def nonce_slot(bridge: Bridge, recipient: str, nonce: int) -> str:
    """What the journal binds to one event only: one mint nonce of one recipient."""
    return f"{bridge.ethereum_scope}:nonce:{recipient}:{nonce}"


def document_id(collection: Collection, key: str) -> ObjectId:
    """The `_id` that every honest validator gives the document of one event.

    The same everywhere, so that even without the unique index (which a writer can drop) there is one document per event.
    """
    return ObjectId(sha256(f"{collection.value}:{key}".encode()).digest()[:12])
