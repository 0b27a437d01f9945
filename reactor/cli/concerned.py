"""What a hold, a pause or their end concerns, by the own ledger and journal: what is still to be signed, and what is signed."""

# ruff: noqa: PLC0415 - what is heavy is imported by the command that needs it

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from reactor.cli.audited import Matches
from reactor.cli.local import read_ledger
from reactor.sentences import counted

if TYPE_CHECKING:
    from reactor.documents.bridge import Bridge
    from reactor.documents.events import Event
    from reactor.settings import Settings
    from reactor.state.journal import Journal
    from reactor.state.ledger import Ledger, Seen
    from reactor.state.rows import EventKind

_PAGE: Final = 500


@dataclass(frozen=True, slots=True)
class Concerned(Matches):
    """`matched` are open to this validator. `resting`: in these it has nothing left to sign (enough have signed, say), and they
    are not completed; `done`: completed or failed. `signed`: how many of the matched and resting ones it has signed already.

    `unknown`: why none of this is known; empty: it is.
    """

    resting: int = 0
    done: int = 0
    signed: int = 0
    unknown: str = ""

    def lines(self) -> list[str]:
        """For people."""
        if self.unknown:
            return [f"how many documents are concerned is not known: {self.unknown}"]
        found = [self.text()]
        if self.resting:
            found.append(f"{counted(self.resting, 'document')} more: this validator has nothing left to sign there")
        if self.signed:
            found.append(
                f"{self.signed} of these it has signed already: neither a hold nor its release takes that back, and where enough"
                " have signed, the user can mint or the return be submitted"
            )
        if self.done:
            found.append(f"{counted(self.done, 'document')} more: completed or failed, nothing is signed there any more")
        return found


def concerned(settings: Settings, journal: Journal, scopes: Sequence[str]) -> Concerned:
    """The documents that holds of these scopes concern.

    It is told for information: a ledger that is not there or cannot be read is said, and keeps nobody from stopping or releasing.
    """
    from reactor.parts import bridge_of
    from reactor.state.problems import StateProblem

    try:
        ledger = read_ledger(settings)
        if ledger is None:
            return Concerned(0, 0, unknown=f"there is no ledger in {settings.state.directory}")
        try:
            return _counted(ledger, journal, bridge_of(settings), frozenset(scopes))
        finally:
            ledger.close()
    except StateProblem as problem:
        return Concerned(0, 0, unknown=problem.what)


def _counted(ledger: Ledger, journal: Journal, bridge: Bridge, wanted: frozenset[str]) -> Concerned:
    from reactor.state.rows import EventKind

    evaluated = matched = resting = done = signed = 0
    for kind in (EventKind.DEPOSIT, EventKind.BURN):
        for seen, is_open in _requests(ledger, kind):
            evaluated += is_open
            if wanted.isdisjoint(scopes_of(bridge, seen.event, seen.key)):
                continue
            if not is_open and not _to_be_minted(ledger, bridge, seen):
                done += 1
                continue
            matched += is_open
            resting += not is_open
            signed += bool(journal.signed(seen.key))
    return Concerned(evaluated, matched, resting, done, signed)


def _requests(ledger: Ledger, kind: EventKind) -> Iterator[tuple[Seen[Event], bool]]:
    """All deposits or burns, and whether each is open to this validator."""
    for pages, is_open in ((ledger.unsettled, True), (ledger.settled, False)):
        page = pages(kind, _PAGE)
        while page:
            yield from ((seen, is_open) for seen in page)
            page = pages(kind, _PAGE, page[-1])


def _to_be_minted(ledger: Ledger, bridge: Bridge, seen: Seen[Event]) -> bool:
    """Whether it is a deposit that was not minted yet, by the own ledger. Others are settled only once all is done."""
    from reactor.documents.classification import ToMint, classify_deposit
    from reactor.documents.events import Deposit

    if not isinstance(seen.event, Deposit):
        return False
    outcome = classify_deposit(bridge, seen.event)
    if not isinstance(outcome, ToMint):
        return False
    nonce = ledger.nonce_of(seen.event, outcome.recipient)
    return nonce is None or not ledger.minted(outcome.recipient, nonce)


def scopes_of(bridge: Bridge, event: Event, key: str) -> set[str]:
    """The scopes of the holds that would stop a signature for this event."""
    from reactor.documents.classification import ToMint, ToPay, classify_burn, classify_deposit
    from reactor.documents.events import Burn, Deposit
    from reactor.state.holds import SIGNING, direction_scope, event_scope, recipient_scope

    outcome = None
    if isinstance(event, Deposit):
        outcome = classify_deposit(bridge, event)
    elif isinstance(event, Burn):
        outcome = classify_burn(bridge, event)
    found = {SIGNING, event_scope(key)}
    if isinstance(outcome, ToMint | ToPay):
        way = direction_scope("mint" if isinstance(outcome, ToMint) else "payout")
        found |= {way, recipient_scope(outcome.recipient)}
    return found
