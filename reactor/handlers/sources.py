"""Which event a document stands for, in the own ledger: found by what the document says, or by its own `_id`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from bson import ObjectId

from reactor.documents.bridge import Bridge
from reactor.documents.build import burn_chain_fields, burn_document, deposit_chain_fields, deposit_document
from reactor.documents.classification import BurnOutcome, DepositOutcome, classify_burn, classify_deposit, deposit_collection
from reactor.documents.events import Burn, Deposit, Event
from reactor.documents.keys import burn_key, deposit_key
from reactor.documents.models import AnyRequest
from reactor.documents.models import Burn as BurnModel
from reactor.documents.statuses import Collection
from reactor.flows.facts import Source
from reactor.handlers.context import Context
from reactor.state.ledger import Seen
from reactor.state.rows import EventKind

_POCKET_HASH: Final = re.compile(r"[0-9a-f]{64}")
_ETHEREUM_HASH: Final = re.compile(r"0x[0-9a-f]{64}")


@dataclass(frozen=True, slots=True)
class Origin:
    """The event behind a document. `event` is None where the own ledger holds none.

    `elsewhere`: the event is real but its document belongs in another collection. `ours`: the document concerns this bridge at
    all. `document`: what a fresh document of the event looks like.
    """

    key: str
    chain: str
    event: Deposit | Burn | None
    final: bool
    ours: bool
    elsewhere: bool = False
    document: dict[str, Any] | None = None

    @property
    def height(self) -> int:
        """Where the event lies; 0 where there is none."""
        return self.event.height if self.event else 0

    @classmethod
    def find(cls, context: Context, collection: Collection, document: AnyRequest, document_id: ObjectId) -> Self:
        """By the `_id` first: it is a hash of the event's key, and no writer can change it."""
        seen = _request_event(context.ledger.by_document(document_id)) or _by_content(context, collection, document)
        if seen is not None:
            return cls._of(context, collection, seen)
        return cls(
            key=_claimed_key(context, document),
            chain="ethereum" if collection is Collection.BURN else "pocket",
            event=None,
            final=False,
            ours=_names(context, document),
        )

    @classmethod
    def of_missing(cls, context: Context, collection: Collection, document_id: ObjectId) -> Self:
        """The event whose document had this `_id`."""
        seen = _request_event(context.ledger.by_document(document_id))
        if seen is None:
            return cls("", "", None, final=False, ours=False)
        return cls._of(context, collection, seen)

    @classmethod
    def _of(cls, context: Context, collection: Collection, seen: Seen[Any]) -> Self:
        event: Deposit | Burn = seen.event
        bridge, now = context.bridge, context.now()
        if isinstance(event, Burn):
            home, fresh, chain = Collection.BURN, burn_document(bridge, event, seen.created, now), "ethereum"
        else:
            home, fresh = deposit_document(bridge, event, seen.created, now)
            chain = "pocket"
        return cls(seen.key, chain, event, seen.final, True, home is not collection, fresh)

    def outcome(self, context: Context) -> DepositOutcome | BurnOutcome | None:
        """What the event is to become, from the chains and the identity alone."""
        match self.event:
            case Deposit():
                return classify_deposit(context.bridge, self.event)
            case Burn():
                return classify_burn(context.bridge, self.event)
        return None

    def source(self, context: Context, *, refuted: bool) -> Source:
        """The facts about the event."""
        if self.event is None:
            return Source(refuted=refuted, chain=self.chain)
        fields = (
            burn_chain_fields(context.bridge, self.event)
            if isinstance(self.event, Burn)
            else deposit_chain_fields(context.bridge, self.event)
        )
        return Source(
            outcome=self.outcome(context),
            final=self.final,
            fields=fields,
            final_at=context.heads.final_at(self.chain, self.event.height),
            chain=self.chain,
        )


async def refuted(context: Context, origin: Origin, document: AnyRequest) -> bool:
    """Whether the own final view refutes that the claimed event exists. What the own node shows after all is read again.

    SECURITY: only where the own scanner is final past the claimed place **and** the own node knows no such transaction, or one
    in a final block with fewer burns: what a validator cannot read, it does not refute.
    """
    if origin.event is not None:
        return False
    burn = isinstance(document, BurnModel)
    claimed = document.block_number if isinstance(document, BurnModel) else document.height
    cursor = context.ledger.cursor(EventKind.BURN if burn else EventKind.DEPOSIT)
    pattern = _ETHEREUM_HASH if burn else _POCKET_HASH
    if not pattern.fullmatch(document.transaction_hash):
        return True
    if cursor is None or not claimed or int(claimed) > cursor.height:
        return False
    if not context.lookups.admit():
        return False
    if isinstance(document, BurnModel):
        return await _burn_refuted(context, document.transaction_hash, int(document.burn_index or 0), cursor.height)
    return await _deposit_refuted(context, document.transaction_hash, cursor.height)


async def _deposit_refuted(context: Context, tx_hash: str, final: int) -> bool:
    found = await context.pocket.indexed(tx_hash)
    if found is None:
        return True
    height, may_be_deposit = found
    if may_be_deposit and height <= final:
        context.look(EventKind.DEPOSIT, tx_hash, height)
    return False


async def _burn_refuted(context: Context, tx_hash: str, burn_index: int, final: int) -> bool:
    mined = await context.ethereum.mined_burns(tx_hash)
    if mined is None:
        return True
    height, burns = mined
    if height > final:
        return False
    if burn_index < burns:
        # A list of logs lacked it. SECURITY: the document is believed nothing but the name: the nodes are read again.
        context.look(EventKind.BURN, tx_hash, height)
    return burn_index >= burns


def home_of(bridge: Bridge, event: Event) -> Collection | None:
    """The collection of a request's document; None for events that are no requests."""
    match event:
        case Burn():
            return Collection.BURN
        case Deposit():
            return deposit_collection(classify_deposit(bridge, event))
    return None


def removed(context: Context, document: Mapping[str, Any]) -> dict[str, Any]:
    """The fresh document in the place of one that was there: whoever reads it later sees that somebody removed it."""
    reason = "inserted again: it was removed from the database"
    entry = {"status": document["status"], "at": context.now(), "by": context.me.address, "reason": reason}
    return {**document, "history": [entry]}


def _request_event(seen: Seen[Any] | None) -> Seen[Any] | None:
    return seen if seen is not None and isinstance(seen.event, Deposit | Burn) else None


def _by_content(context: Context, collection: Collection, document: AnyRequest) -> Seen[Any] | None:
    if isinstance(document, BurnModel):
        return context.ledger.burn(document.transaction_hash, int(document.burn_index)) if document.burn_index else None
    return context.ledger.deposit(document.transaction_hash) if collection is not Collection.BURN else None


def _claimed_key(context: Context, document: AnyRequest) -> str:
    if isinstance(document, BurnModel):
        return burn_key(context.bridge, document.transaction_hash, int(document.burn_index or 0))
    return deposit_key(context.bridge, document.transaction_hash)


def _names(context: Context, document: AnyRequest) -> bool:
    """Whether a document without an event here says that it belongs to this bridge."""
    bridge = context.bridge
    return document.vault_address == bridge.vault and document.wpokt_address == bridge.wpokt
