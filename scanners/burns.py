"""Burns: `BurnAndBridge` events of WrappedPocket, several per transaction, dust too."""

from reactor.chains.ethereum.types import BurnEvent
from reactor.documents.events import BlockRef, Burn


def burn_of(event: BurnEvent) -> Burn:
    """The burn as the ledger keeps it."""
    return Burn(
        tx_hash=event.tx_hash,
        burn_index=event.burn_index,
        log_index=event.log_index,
        block=BlockRef(event.block_number, event.block_hash, event.block_time),
        sender=event.sender,
        recipient=event.recipient,
        amount=event.amount,
    )
