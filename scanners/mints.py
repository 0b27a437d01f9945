"""Mints: `Minted` events of WrappedPocket, whoever sent the transaction."""

from reactor.chains.ethereum.types import MintedEvent
from reactor.documents.events import BlockRef, Minted


def minted_of(event: MintedEvent) -> Minted:
    """The mint as the ledger keeps it."""
    return Minted(
        recipient=event.recipient,
        amount=event.amount,
        nonce=event.nonce,
        tx_hash=event.tx_hash,
        log_index=event.log_index,
        block=BlockRef(event.block_number, event.block_hash, event.block_time),
    )
