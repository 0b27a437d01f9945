"""What must be equal where several nodes have to say the same: the fields that the chain defines and that are used.

What a node derives or formats itself (signer, recipient, kind of message, log, events, proof, the decoded transaction) is not
compared: the raw bytes say it, and two honest nodes of different versions may show it differently.
"""

from __future__ import annotations

from collections.abc import Hashable, Sequence

from reactor.chains.agreement import Question
from reactor.chains.pocket.errors import NotFound, WindowNotReady, WindowTooLarge
from reactor.chains.pocket.types import PocketBlock, PocketTx, Window


def same_block(height: int) -> Question[PocketBlock]:
    """Which block stands at this height."""
    return Question(
        f"block {height}",
        "header",
        same=_block,
        show=lambda block: f"block {block.height} is {block.hash}",
        answers=(NotFound,),
        accuse="shows another block",
    )


def same_window(low: int, high: int) -> Question[Window]:
    """What the vault received and sent in these blocks."""
    return Question(
        f"the vault's transactions of blocks {low} to {high}",
        "transactions",
        same=lambda window: (window.to_height, _block(window.last_block), _txs(window.received), _txs(window.sent)),
        show=lambda window: f"{len(window.received)} received, {len(window.sent)} sent up to block {window.to_height}",
        soft=(WindowTooLarge, WindowNotReady),
        accuse="shows other transactions",
    )


def same_tx(hash_: str) -> Question[tuple[PocketTx, str]]:
    """Where this transaction is and what came of it."""
    return Question(
        f"transaction {hash_}",
        "transaction",
        same=lambda found: _txs([found[0]]),
        show=lambda found: f"in block {found[0].height} at {found[0].index} with code {found[0].code}",
        answers=(NotFound,),
        accuse="shows another transaction",
    )


def _block(block: PocketBlock) -> Hashable:
    # The time is the header's and enters its hash; what is compared is the moment, however it is written.
    return block.height, block.hash, block.time


def _txs(txs: Sequence[PocketTx]) -> Hashable:
    # Everything else that is used comes out of the raw bytes, which have this hash.
    return tuple((tx.hash, tx.height, tx.index, tx.code) for tx in txs)
