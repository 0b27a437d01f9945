"""Which of the vault's transactions pays which event (TRUST.md, rule 5), and which pay nothing that is known (rule 6)."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from reactor.documents.events import Returned


@dataclass(frozen=True, slots=True)
class Claim:
    """An event that is to be paid: its key, and the entropies of its attempts so far. Recipient, amount and memo are equal
    among the claims that are compared."""

    key: str
    entropies: frozenset[int]


def payments_by_claim(claims: Sequence[Claim], payments: Iterable[Returned]) -> dict[str, Returned]:
    """The payment of each claim that has one.

    `claims`: all equal claims (the same transaction, recipient and amount), in the order of their index. `payments`: the
    vault's transactions to that recipient with that amount and memo. Those with an own entropy pay their own claim; others
    (an earlier validator's, with random entropy) count against the unpaid claims in order.

    SECURITY: this is what keeps a request from being paid twice when its document is reset by hand.
    """
    arrived = sorted((paid for paid in payments if paid.code == 0), key=lambda paid: (paid.height, paid.index))
    known = {entropy: claim.key for claim in claims for entropy in claim.entropies}
    paid_by: dict[str, Returned] = {}
    foreign: list[Returned] = []
    for paid in arrived:
        if paid.entropy in known:
            paid_by.setdefault(known[paid.entropy], paid)
        else:
            foreign.append(paid)
    unpaid = [claim.key for claim in claims if claim.key not in paid_by]
    return paid_by | dict(zip(unpaid, foreign, strict=False))


def surplus(claims: int, payments: Iterable[Returned]) -> tuple[Returned, ...]:
    """The payments beyond the number of claims that justify them: a return that was re-wrapped and paid again."""
    arrived = sorted((paid for paid in payments if paid.code == 0), key=lambda paid: (paid.height, paid.index))
    return tuple(arrived[claims:])


def failed_attempts(entropies: Sequence[int], payments: Iterable[Returned]) -> int:
    """How many attempts failed in a block, from the first on: the number of the attempt that is due.

    `entropies`: those of attempt 0, 1, 2 …; `payments`: final vault transactions of the event, failed ones included.
    """
    failed = {paid.entropy for paid in payments if paid.code != 0}
    due = 0
    for entropy in entropies:
        if entropy not in failed:
            break
        due += 1
    return due
