"""For the eye: `confirmations` and `waiting` of a document that stays where it is.

On each head the one validator that a hash of (document, head) picks writes it; nobody depends on it.
"""

from dataclasses import dataclass
from typing import Final

from bson import ObjectId

from reactor.documents.reasons import Of
from reactor.documents.statuses import Collection, Status
from reactor.flows.decisions import Wait
from reactor.flows.refusals import REFUSALS
from reactor.handlers.context import Context
from reactor.store import updates

_FLEETING: Final = frozenset({Of.MOMENT, Of.PROCESS})
"""Nothing that a user should read."""


@dataclass(frozen=True, slots=True)
class Label:
    """What a document is, for people: its event's key, status, chain and height as last read."""

    key: str
    status: str
    chain: str
    height: int


def turn_at(key: str, head: int) -> str:
    """The subject of the turn to show a document at one head."""
    return f"{key}:{head}"


async def show(context: Context, collection: Collection, document_id: ObjectId, label: Label, wait: Wait) -> None:
    """Write why the document waits, if it is this validator's turn and something changed."""
    head = context.heads.height(label.chain)
    if context.me.observes or wait.reason.of in _FLEETING or label.status not in set(Status):
        return
    if label.status == Status.SIGNED and wait.reason in REFUSALS:
        return  # written at once by whoever found it
    if context.turns.place(turn_at(label.key, head)) != 0:
        return
    pending = label.status == Status.PENDING and label.height > 0
    await context.requests.write(
        updates.show_waiting(
            collection,
            document_id,
            frm=label.status,
            confirmations=max(0, head - label.height) if pending else None,
            waiting=(wait.reason.value, wait.params),
            by=context.me.address,
            now=context.now(),
        )
    )
