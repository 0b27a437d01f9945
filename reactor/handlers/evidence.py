"""Evidence of a lost journal: a signature of one's own that the journal does not know.

It lies in a document, or one's own heartbeat tells of it: the earlier process with this key said when it had signed last.
"""

from typing import Literal

from reactor.documents.models import Heartbeat
from reactor.documents.reasons import HoldReason
from reactor.handlers.context import Context
from reactor.handlers.sources import Origin
from reactor.state.holds import SIGNING


def own_signature_known(
    context: Context, origin: Origin, outcome: Literal["mint", "payout"], attempt: int, *, own_entry: bool
) -> bool:
    """Hold all signing where a valid own signature is newer than the journal and unknown to it.

    SECURITY: TRUST.md, rule 14. It means a lost journal or a second process with the same key; either could sign a second digest
    for one event.
    """
    if not own_entry or origin.event is None or context.me.observes:
        return True
    chain = "pocket" if origin.chain == "pocket" else "ethereum"
    if context.journal.knows(origin.key, outcome, attempt) is not None or not context.journal.covers(chain, origin.event.height):
        return True
    detail = f"a valid own signature over {origin.key} is not in the signing journal"
    context.journal.hold(SIGNING, HoldReason.LOST_JOURNAL.value, detail, "validator", subject=origin.key)
    context.tell_stops()
    return False


def heartbeat_known(context: Context, beat: Heartbeat) -> bool:
    """Hold all signing where a verified own heartbeat tells of a signature that is newer than all that the journal knows.

    SECURITY: so an old copy of the journal, put back, is found out before anything is signed with it. A heartbeat that somebody
    put back tells of an older signature and stops nobody. A journal made anew after the signature covers nothing that old.
    """
    journal = context.journal
    if context.me.observes or beat.last_signature_at is None:
        return True
    told = int(beat.last_signature_at.timestamp())
    # A clock that was set forward for a while has left entries that are later than the newest one.
    if told <= max(journal.created_at, journal.last_signature_at() or 0) or journal.signed_at(told):
        return True
    subject = f"process {beat.instance[:32]}"
    if any((one.reason, one.subject) == (HoldReason.LOST_JOURNAL, subject) for one in journal.hold_history()):
        return False  # told already; a person may have released it
    detail = (
        f"process {beat.instance[:32]} on {beat.hostname[:80]} signed with this key at"
        f" {beat.last_signature_at:%Y-%m-%d %H:%M:%S} UTC, later than all that the signing journal knows: it is an old copy"
    )
    journal.hold(SIGNING, HoldReason.LOST_JOURNAL.value, detail, "validator", subject=subject)
    context.tell_stops()
    return False
