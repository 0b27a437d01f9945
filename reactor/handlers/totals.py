"""The books in sums: what came in and went out on both sides since the start blocks, from the own ledger alone.

Only final events count, each once; in steady state a round reads the few that became final since the last.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Final

from reactor.documents.bridge import Bridge
from reactor.documents.classification import NotPayable, ToMint, classify_burn, classify_deposit
from reactor.documents.events import Burn, Deposit, Event, Minted, Returned
from reactor.state.ledger import Ledger, Seen
from reactor.state.rows import EventKind

PAGE: Final = 200
BASIS_POINTS: Final = 10_000
HIGHEST_FEE_BASIS: Final = 300
"""WrappedPocket's MAX_FEE_BASIS: with the token's fee on, `Minted` carries the amount less at most three percent."""


@dataclass(slots=True)
class Sums:
    """Amounts in upokt. What was deposited is `to_mint`, `to_refund` and `kept_deposits` together.

    `kept_deposits`, `kept_burns`: arrived or burned, but nothing can be paid for them (not above the fee, to the vault itself).
    `minted` is what the recipients got: with the token's fee on, less than what was deposited; `token_fees` the difference, which
    the token mints to its own collector. `refunded`, `returned`: amounts with their fees, for deposits and for burns.
    `lost_fees`: of returns that failed in a block; the vault paid them all the same.
    """

    to_mint: int = 0
    to_refund: int = 0
    kept_deposits: int = 0
    burned: int = 0
    kept_burns: int = 0
    minted: int = 0
    token_fees: int = 0
    refunded: int = 0
    returned: int = 0
    lost_fees: int = 0

    def add(self, bridge: Bridge, event: Event, ledger: Ledger) -> None:
        """Count one event. The ledger says which deposit stands behind a mint."""
        match event:
            case Deposit():
                self._deposit(bridge, event)
            case Burn():
                payable = not isinstance(classify_burn(bridge, event), NotPayable)
                self.burned += event.amount if payable else 0
                self.kept_burns += 0 if payable else event.amount
            case Minted():
                self.minted += event.amount
                self.token_fees += token_fee(ledger, event)
            case Returned():
                self._returned(event)

    def _deposit(self, bridge: Bridge, deposit: Deposit) -> None:
        if deposit.code != 0 or deposit.amount is None or not deposit.is_send:
            return  # nothing arrived
        outcome = classify_deposit(bridge, deposit)
        if isinstance(outcome, ToMint):
            self.to_mint += deposit.amount
        elif isinstance(outcome, NotPayable):
            self.kept_deposits += deposit.amount
        else:
            self.to_refund += deposit.amount

    def _returned(self, returned: Returned) -> None:
        if returned.code != 0:
            self.lost_fees += returned.fee
        elif returned.memo.startswith("0x"):
            self.returned += returned.amount + returned.fee
        else:
            self.refunded += returned.amount + returned.fee

    @property
    def mints_over(self) -> int:
        """By how much more was minted than was deposited to be minted; 0 if it was not.

        SECURITY: with the fees that the token took of mints whose deposit is known, so that a history of fees leaves no room for
        a mint without a deposit.
        """
        return max(0, self.minted + self.token_fees - self.to_mint)

    @property
    def payouts_over(self) -> int:
        """By how much more left the vault than was burned or is to be refunded; 0 if it did not."""
        return max(0, self.returned + self.refunded - self.burned - self.to_refund)

    @property
    def to_be_minted(self) -> int:
        """Deposited and not minted yet."""
        return self.to_mint - self.minted - self.token_fees

    @property
    def to_be_returned(self) -> int:
        """Burned and not paid out yet, fees included."""
        return self.burned - self.returned

    @property
    def to_be_refunded(self) -> int:
        """Deposited wrongly and not sent back yet, fees included."""
        return self.to_refund - self.refunded

    @property
    def locked(self) -> int:
        """What the vault holds of all that moved since the start block."""
        deposited = self.to_mint + self.to_refund + self.kept_deposits
        return deposited - self.returned - self.refunded - self.lost_fees

    @property
    def outstanding(self) -> int:
        """What was minted, to the token's fee collector too, and not burned since the start block."""
        return self.minted + self.token_fees - self.burned - self.kept_burns


def token_fee(ledger: Ledger, minted: Minted) -> int:
    """What the token kept of a mint for its fee collector: its deposit's amount less its own.

    The deposit is that of its nonce; where no base is noted yet, the recipient's first `Minted` since the start block shows it.
    0 where the ledger holds none, or one of which the highest fee does not explain the mint.
    """
    base = ledger.base_nonce(minted.recipient)
    if base is None and (first := ledger.first_minted(minted.recipient)) is not None:
        base = first.event.nonce - 1
    source = ledger.mint_by_rank(minted.recipient, minted.nonce - base) if base is not None else None
    return (source.event.amount or 0) - minted.amount if source is not None and pays(source.event, minted) else 0


def pays(deposit: Deposit, minted: Minted) -> bool:
    """Whether the mint is of the deposit's amount, less at most the highest fee that the token can take."""
    amount = deposit.amount or 0
    return amount * (BASIS_POINTS - HIGHEST_FEE_BASIS) <= minted.amount * BASIS_POINTS <= amount * BASIS_POINTS


@dataclass(slots=True)
class Totals:
    """Sums that follow the ledger. `counted`: the last event of each kind that is in them."""

    sums: Sums = field(default_factory=Sums)
    _counted: dict[EventKind, Seen[Event]] = field(default_factory=dict)
    _rewritten: int = 0

    def catch_up(
        self, ledger: Ledger, bridge: Bridge, past: Callable[[Minted | Returned], bool] = lambda _: True
    ) -> Iterator[int]:
        """Count what became final, in pages; yields after each how many it held.

        `past`: mints and returns from the first one for which this is false are left for later: the own scanners may not have
        read their source yet. Where what was read for good changed after all, everything is counted anew; where it changes
        between two pages, by the next call: until then nothing is to be concluded from the sums (`are_of`).
        """
        if ledger.rewritten != self._rewritten:
            self._rewritten = ledger.rewritten
            self.sums = Sums()
            self._counted.clear()
        for kind in EventKind:
            yield from self._count(ledger, bridge, kind, past)

    def are_of(self, ledger: Ledger) -> bool:
        """Whether all that was counted was read from one state of the ledger, which it still is."""
        return ledger.rewritten == self._rewritten

    def _count(self, ledger: Ledger, bridge: Bridge, kind: EventKind, past: Callable[[Minted | Returned], bool]) -> Iterator[int]:
        while page := ledger.final_page(kind, PAGE, self._counted.get(kind)):
            for seen in page:
                if isinstance(seen.event, Minted | Returned) and not past(seen.event):
                    return
                self.sums.add(bridge, seen.event, ledger)
                self._counted[kind] = seen
            yield len(page)
