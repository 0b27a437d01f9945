"""Events as rows of the ledger and back. The columns are what is searched for; `body` is the whole event."""

from dataclasses import dataclass
from enum import StrEnum
from json import dumps, loads
from typing import Any

from reactor.documents.bridge import Bridge
from reactor.documents.classification import ToMint, classify_deposit, deposit_collection
from reactor.documents.events import BlockRef, Burn, Deposit, Event, Minted, Returned
from reactor.documents.keys import document_id, event_key
from reactor.documents.statuses import Collection


class EventKind(StrEnum):
    """What a scanner watches. Each kind has a cursor of its own."""

    DEPOSIT = "deposit"
    BURN = "burn"
    MINTED = "minted"
    RETURNED = "returned"

    @property
    def chain(self) -> str:
        """ "pocket" or "ethereum"."""
        return "pocket" if self in {EventKind.DEPOSIT, EventKind.RETURNED} else "ethereum"


EVENT_CLASSES: dict[EventKind, type[Event]] = {
    EventKind.DEPOSIT: Deposit,
    EventKind.BURN: Burn,
    EventKind.MINTED: Minted,
    EventKind.RETURNED: Returned,
}


@dataclass(frozen=True, slots=True)
class EventRow:
    """The searched columns of one event.

    `position`: index in the block (Pocket) or log index. `address`: to whom a deposit is to be minted (None: not to be
    minted), or the recipient of a burn, mint or return. `number`: burn index or mint nonce. `memo`: of a return, as bytes.
    `document`: the `_id` of the request's document in Mongo, as hex; None for what is no request.
    """

    key: str
    kind: str
    height: int
    position: int
    tx_hash: str
    address: str | None
    number: str | None
    memo: bytes | None
    document: str | None
    body: str


def encode(bridge: Bridge, event: Event) -> EventRow:
    """The row of one event."""
    key = event_key(bridge, event)
    block = [event.block.height, event.block.hash, event.block.time, event.block.ms]
    columns: tuple[EventKind, int, str | None, str | None, bytes | None]
    match event:
        case Deposit():
            body = [
                *(block, event.tx_hash, event.index, event.sender, event.amount, event.code, event.is_send, event.memo),
                *(event.memo_address, event.memo_chain_id),
            ]
            columns = (EventKind.DEPOSIT, event.index, mint_recipient(bridge, event), None, None)
        case Burn():
            body = [block, event.tx_hash, event.burn_index, event.log_index, event.sender, event.recipient, event.amount]
            columns = (EventKind.BURN, event.log_index, event.recipient, str(event.burn_index), None)
        case Minted():
            body = [block, event.recipient, event.amount, event.nonce, event.tx_hash, event.log_index]
            columns = (EventKind.MINTED, event.log_index, event.recipient, str(event.nonce), None)
        case Returned():
            body = [
                *(block, event.tx_hash, event.index, event.recipient, event.amount, event.fee, event.memo),
                *(event.entropy, event.code),
            ]
            columns = (EventKind.RETURNED, event.index, event.recipient, None, memo_bytes(event.memo))
    kind, position, address, number, memo = columns
    return EventRow(
        *(key, kind.value, event.height, position, event.tx_hash, address, number, memo, request_id(bridge, event)),
        dumps(body, separators=(",", ":")),
    )


def decode(kind: str, body: str) -> Event:
    """The event of one row."""
    fields: list[Any] = loads(body)
    block = BlockRef(*fields[0])
    match kind:
        case EventKind.DEPOSIT:
            tx_hash, index, *rest = fields[1:]
            return Deposit(tx_hash, index, block, *rest)
        case EventKind.BURN:
            tx_hash, burn_index, log_index, *rest = fields[1:]
            return Burn(tx_hash, burn_index, log_index, block, *rest)
        case EventKind.MINTED:
            recipient, amount, nonce, tx_hash, log_index = fields[1:]
            return Minted(recipient, amount, nonce, tx_hash, log_index, block)
        case _:
            tx_hash, index, *rest = fields[1:]
            return Returned(tx_hash, index, block, *rest)


def mint_recipient(bridge: Bridge, deposit: Deposit) -> str | None:
    """To whom the deposit is to be minted; None when it is refunded or not payable."""
    outcome = classify_deposit(bridge, deposit)
    return outcome.recipient if isinstance(outcome, ToMint) else None


def request_id(bridge: Bridge, event: Event) -> str | None:
    """The `_id` of the document that a deposit or burn has in Mongo, as hex."""
    match event:
        case Deposit():
            collection = deposit_collection(classify_deposit(bridge, event))
        case Burn():
            collection = Collection.BURN
        case _:
            return None
    return str(document_id(collection, event_key(bridge, event)))


def memo_bytes(memo: str) -> bytes:
    """A memo as it is searched for: whatever anyone wrote into it, lone surrogates too."""
    return memo.encode("utf-8", "surrogatepass")
