"""Returns: every transaction that the vault sent, failed ones too. Doorbells, and what the books are checked against."""

from reactor.chains.pocket import PocketTx
from reactor.documents.events import BlockRef, Returned


def returned_of(tx: PocketTx, block: BlockRef) -> Returned:
    """The vault's transaction. One that does not decode, or is no send, keeps an empty recipient: nothing will explain it."""
    return Returned(
        tx_hash=tx.hash,
        index=tx.index,
        block=block,
        recipient=tx.to_address if tx.is_send else "",
        amount=tx.amount or 0,
        fee=tx.fee,
        memo=tx.memo,
        entropy=tx.entropy or 0,
        code=tx.code,
    )
