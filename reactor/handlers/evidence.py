"""Evidence of a lost journal: a signature of one's own that the journal does not know."""

from typing import Literal

from loguru import logger

from reactor.documents.reasons import HoldReason
from reactor.handlers.context import Context
from reactor.handlers.sources import Origin
from reactor.state.holds import SIGNING


def own_signature_known(
    context: Context, origin: Origin, outcome: Literal["mint", "payout"], attempt: int, *, own_entry: bool
) -> bool:
    """Hold all signing where a valid own signature is newer than the journal and unknown to it.

    SECURITY: it means a lost journal or a second process with the same key; either could sign a second digest for one event.
    """
    if not own_entry or origin.event is None or context.me.observes:
        return True
    chain = "pocket" if origin.chain == "pocket" else "ethereum"
    if context.journal.knows(origin.key, outcome, attempt) is not None or not context.journal.covers(chain, origin.event.height):
        return True
    detail = f"a valid own signature over {origin.key} is not in the signing journal"
    logger.error("{}: signing stops until released", detail)
    context.journal.hold(SIGNING, HoldReason.LOST_JOURNAL.value, detail, "validator", subject=origin.key)
    return False
