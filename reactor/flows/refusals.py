"""Whether the contracts would refuse a signed mint now, why, and when that passes.

Every way in which `mintWrappedPocket` can refuse a mint whose signatures are good, but for the order of the recipient's nonces:
that is the ledger's to tell.
"""

from datetime import UTC, datetime
from math import ceil
from typing import Final

from reactor.documents.reasons import Of, WaitReason
from reactor.flows.decisions import Wake
from reactor.flows.facts import Blocked, MintTerms

FEE_UNIT: Final = 10_000
"""With its fee on the token mints multiples of this only (`BASIS_POINTS`), in upokt."""
REFUSALS: Final = frozenset(one for one in WaitReason if one.of is Of.CONTRACT)
"""What a signed mint waits for besides its user."""
_LONGEST: Final = 3600.0
_MINUTE: Final = 60
_LATEST: Final = int(datetime(9999, 1, 1, tzinfo=UTC).timestamp())
"""Unix seconds. A later time is none: at that rate the limit never refills."""


def refusal(amount: int, terms: MintTerms) -> Blocked | None:
    """Why the contracts refuse a signed mint of `amount` upokt now, the most lasting reason first; None where they take it."""
    if not terms.minter:
        return Blocked(WaitReason.NO_MINTER_ROLE)
    if terms.paused:
        return Blocked(WaitReason.MINTING_PAUSED)
    if amount > terms.maximum:
        return Blocked(WaitReason.OVER_LIMIT, {"amount": str(amount), "limit": str(terms.maximum)})
    if terms.fee and amount % FEE_UNIT:
        return Blocked(WaitReason.FEE_INDIVISIBLE, {"amount": str(amount), "unit": str(FEE_UNIT)})
    if amount > terms.limit:
        params = {"amount": str(amount), "per_second": str(terms.per_second), "enough_at": _enough_at(amount, terms)}
        return Blocked(WaitReason.COOLING_DOWN, params)
    return None


def refilled(amount: int, terms: MintTerms) -> Wake:
    """When to look again at a mint that waits for the contract's limit to refill."""
    seconds = (amount - terms.limit) / terms.per_second if terms.per_second else _LONGEST
    return Wake(after=min(max(seconds, 1.0) + 1.0, _LONGEST))


def _enough_at(amount: int, terms: MintTerms) -> str:
    """To the minute, rounded up: it stays the same from look to look, unless somebody else mints meanwhile."""
    if not terms.per_second:
        return "never, unless the contract's admin sets a rate"
    seconds = terms.now + ceil((amount - terms.limit) / terms.per_second)
    if (minutes := -(-seconds // _MINUTE)) * _MINUTE > _LATEST:
        return "never, at this rate"
    return datetime.fromtimestamp(minutes * _MINUTE, UTC).strftime("%Y-%m-%d %H:%M UTC")
