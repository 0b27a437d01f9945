"""The statuses of a request and the moves between them: the one table that flows, store and docs agree on.

`pending → confirmed → signed → submitted → success | failed` is the scoping document's list. The ways back exist because
a status is a claim that anyone with write access can make (TRUST.md, rule 2): what is not earned is set back.
"""

from enum import StrEnum
from typing import Final


class Status(StrEnum):
    """Where a request stands. The values are the scoping document's own words."""

    PENDING = "pending"
    CONFIRMED = "confirmed"
    SIGNED = "signed"
    SUBMITTED = "submitted"
    SUCCESS = "success"
    FAILED = "failed"


class Collection(StrEnum):
    """The collections by their role. Their names in the database are configuration; these are the defaults."""

    MINT = "mint"
    INVALID_MINT = "invalid_mint"
    BURN = "burn"
    MINTED = "minted"
    RETURNED = "returned"
    HEARTBEAT = "heartbeat"
    AUDIT = "audit"


REQUESTS: Final = (Collection.MINT, Collection.INVALID_MINT, Collection.BURN)
"""The collections that hold requests: the ones handlers subscribe to."""

PAYOUTS: Final = (Collection.INVALID_MINT, Collection.BURN)
"""The requests that end in a return transaction on Pocket."""

TERMINAL: Final = frozenset({Status.SUCCESS, Status.FAILED})

_FORWARD: Final = {
    Status.PENDING: {Status.CONFIRMED, Status.FAILED},
    Status.CONFIRMED: {Status.SIGNED, Status.FAILED},
    Status.SIGNED: {Status.SUBMITTED},
    Status.SUBMITTED: {Status.SUCCESS},
    Status.SUCCESS: set[Status](),
    Status.FAILED: set[Status](),
}

# A claim ahead of its evidence goes back: `signed` without enough valid signatures, `submitted` whose event vanished, a return
# that failed in a block (attempt + 1), `success` or `failed` written by hand.
_BACK: Final = {
    Status.CONFIRMED: {Status.PENDING},
    Status.SIGNED: {Status.CONFIRMED},
    Status.SUBMITTED: {Status.SIGNED, Status.CONFIRMED},
    Status.SUCCESS: {Status.PENDING, Status.CONFIRMED, Status.SIGNED, Status.SUBMITTED},
    Status.FAILED: {Status.PENDING, Status.CONFIRMED},
}

TRANSITIONS: Final[dict[Status, frozenset[Status]]] = {
    # What the chains show as done goes to success from any status, without signing (TRUST.md, rule 2).
    status: frozenset(_FORWARD[status] | _BACK.get(status, set()) | ({Status.SUCCESS} - {status}))
    for status in Status
}
"""Every move that is ever written, by the status it starts from; `store.updates` builds no other. The same for the three request
collections."""


def may_move(start: str, end: Status) -> bool:
    """Whether a request may go from `start` to `end`. A status that is none of ours may only be reset to `pending`."""
    try:
        return end in TRANSITIONS[Status(start)]
    except ValueError:
        return end is Status.PENDING
