"""The nonce of a mint: a function of the chains (TRUST.md, rule 10), the same for every validator at any time."""

from reactor.documents.events import Deposit
from reactor.documents.reasons import WaitReason
from reactor.flows.facts import Blocked
from reactor.handlers.context import Context
from reactor.state.rows import EventKind


async def mint_nonce(context: Context, deposit: Deposit, recipient: str) -> int | Blocked:
    """Base plus rank, or why it is not known yet.

    SECURITY: the rank counts the recipient's final deposits in chain order. The ledger reads Pocket without gaps, so that it
    is complete up to a final deposit's height; no later deposit can come before it.
    """
    cursor = context.ledger.cursor(EventKind.DEPOSIT)
    if cursor is None or cursor.height < deposit.height:
        return Blocked(WaitReason.LEDGER_BEHIND, {"chain": "pocket", "height": str(deposit.height)})
    base = await base_nonce(context, recipient)
    if isinstance(base, Blocked):
        return base
    # After the question: an earlier deposit may have been found late meanwhile.
    rank = context.ledger.mint_rank(deposit)
    return Blocked(WaitReason.NONCE_UNKNOWN, {"recipient": recipient}) if rank is None else base + rank


async def base_nonce(context: Context, recipient: str) -> int | Blocked:
    """The recipient's nonce before the bridge's start block: the contract's, less the `Minted` events since then.

    Both are taken at the same final block, that of the cursor; the result never changes, so it is noted.
    """
    known = context.ledger.base_nonce(recipient)
    if known is not None:
        return known
    cursor = context.ledger.cursor(EventKind.MINTED)
    if cursor is None:
        return Blocked(WaitReason.LEDGER_BEHIND, {"chain": "ethereum", "height": str(context.bridge.ethereum_start)})
    minted, read = context.ledger.minted_count(recipient), context.ledger.rewritten
    nonce = await context.ethereum.user_nonce(recipient, cursor.height)
    if context.ledger.rewritten != read:
        # SECURITY: a `Minted` that was found late while the node was asked is in its answer and not in the count.
        return Blocked(WaitReason.NONCE_UNKNOWN, {"recipient": recipient})
    if nonce < minted:
        return Blocked(WaitReason.NONCE_UNKNOWN, {"recipient": recipient, "nonce": str(nonce), "minted": str(minted)})
    context.ledger.set_base_nonce(recipient, nonce - minted)
    return nonce - minted
