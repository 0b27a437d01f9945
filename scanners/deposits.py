"""Deposits: Pocket transactions that the vault received. Failed ones and dust too, so that they fail by quorum with a reason."""

from reactor.chains.pocket import Memo, PocketTx, parse_memo
from reactor.documents.bridge import Bridge
from reactor.documents.events import BlockRef, Deposit


def deposit_of(bridge: Bridge, tx: PocketTx, block: BlockRef) -> Deposit | None:
    """The deposit, or None where it is none: a transaction that the vault itself sent, or one of another kind than a send.

    One that does not decode is kept without a sender: money may have arrived with it.

    SECURITY: all of it comes out of the raw bytes. What the node says of sender, recipient and kind decides nothing.
    """
    if tx.from_address == bridge.vault:
        return None
    if tx.decoded and not tx.is_send:
        return None
    arrived = tx.decoded and tx.to_address == bridge.vault
    memo = parse_memo(tx.memo, str(bridge.ethereum_chain_id))
    return Deposit(
        tx_hash=tx.hash,
        index=tx.index,
        block=block,
        sender=tx.from_address,
        amount=tx.amount,
        code=tx.code,
        is_send=arrived,
        memo=tx.memo,
        memo_address=memo.address if isinstance(memo, Memo) else None,
        memo_chain_id=memo.chain_id if isinstance(memo, Memo) else None,
    )
