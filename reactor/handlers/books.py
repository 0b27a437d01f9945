"""Books (TRUST.md, rule 6): every vault outflow has a burn or a bad deposit behind it, every `Minted` a deposit.

Unexplained means that both own scanners are final past it and no source is found. Then this validator signs nothing more until
its operator has looked and released it. The same where the sums say that more is out than in.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from loguru import logger

from reactor.chains.errors import NotAgreed
from reactor.documents.classification import ToMint, ToPay, classify_burn, classify_deposit
from reactor.documents.events import Minted, Returned
from reactor.documents.reasons import HoldReason
from reactor.flows.payments import surplus
from reactor.handlers.context import Context
from reactor.handlers.nonces import base_nonce
from reactor.handlers.past import Scan, SourcesRead
from reactor.handlers.totals import Totals, pays
from reactor.state.holds import SIGNING, recipient_scope
from reactor.state.rows import EventKind

PAGE: Final = 200
"""Events looked at in one round: the rest comes with the next head."""

_OVERDRAWN: Final = HoldReason.BOOKS_OVERDRAWN.value


class Books:
    """Looks for the source of each final outflow and mint, once."""

    def __init__(self, context: Context, scan: Callable[[str], Scan] | None = None) -> None:
        """`scan`: how far each chain was read, by the scanners themselves."""
        self._context = context
        self._sources = SourcesRead(context.ledger, scan)
        self._totals = Totals()
        self._known: dict[str, int] = {}

    async def check(self) -> None:
        """One round: the sums, then what is not explained yet."""
        self._sources.look()
        await self._balance()
        for seen in self._context.ledger.unexplained(EventKind.RETURNED, PAGE):
            if isinstance(seen.event, Returned):
                self._returned(seen.event, seen.key)
        disagreed: list[NotAgreed] = []
        for seen in self._context.ledger.unexplained(EventKind.MINTED, PAGE):
            if isinstance(seen.event, Minted):
                try:
                    await self._minted(seen.event, seen.key)
                except NotAgreed as error:
                    # SECURITY: an endpoint that contradicts the others over one recipient must not hide the mints to all others.
                    disagreed.append(error)
        if disagreed:
            raise disagreed[0]

    async def _balance(self) -> None:
        """SECURITY: never more out than in, whatever each single outflow was explained with."""
        context = self._context
        for _ in self._totals.catch_up(context.ledger, context.bridge, self._sources.past):
            await asyncio.sleep(0)
        if not self._totals.are_of(context.ledger):
            return  # a source that was found between two pages may be missing beside its payment: all is counted anew next time
        sums = self._totals.sums
        if over := sums.mints_over:
            out = sums.minted + sums.token_fees
            self._overdrawn("mint", over, f"{out} upokt were minted, {sums.to_mint} deposited to be minted")
        if over := sums.payouts_over:
            out, due = sums.returned + sums.refunded, sums.burned + sums.to_refund
            self._overdrawn("payout", over, f"{out} upokt left the vault, {due} were burned or are to be refunded")

    def _overdrawn(self, way: str, over: int, detail: str) -> None:
        """What an operator released stays released until more is missing than then. What is in flight lessens it for a while."""
        if way not in self._known:
            held = [one.subject.split(":") for one in self._context.journal.hold_history() if one.reason == _OVERDRAWN]
            self._known[way] = max((int(amount) for name, amount in held if name == way), default=0)
        if over > self._known[way]:
            self._known[way] = over
            self._hold(SIGNING, HoldReason.BOOKS_OVERDRAWN, f"more is out than in: {detail}", f"{way}:{over}")

    def _returned(self, returned: Returned, key: str) -> None:
        claims = self._claims(returned)
        seen = self._context.ledger.returned_matching(returned.recipient, returned.amount, returned.memo)
        beyond = surplus(claims, [one.event for one in seen if one.final])
        if claims and returned not in beyond:
            self._context.ledger.explain(key)
        elif claims or self._sources.past(returned):
            what = "pays what was paid already" if claims else "has no burn or deposit behind it"
            detail = f"vault transaction {returned.tx_hash} of {returned.amount} upokt to {returned.recipient} {what}"
            self._hold(SIGNING, HoldReason.UNEXPLAINED_RETURN, detail, returned.tx_hash)
            self._context.ledger.explain(key)

    def _claims(self, returned: Returned) -> int:
        """How many final events justify a payment of this recipient, amount and memo."""
        context = self._context
        if returned.memo.startswith("0x"):
            outcomes = [
                classify_burn(context.bridge, seen.event) for seen in context.ledger.burns_of_tx(returned.memo) if seen.final
            ]
        else:
            deposit = context.ledger.deposit(returned.memo)
            outcome = classify_deposit(context.bridge, deposit.event) if deposit is not None and deposit.final else None
            outcomes = [] if outcome is None or isinstance(outcome, ToMint) else [outcome]
        wanted = (returned.recipient, returned.amount, returned.fee)
        return sum(1 for one in outcomes if isinstance(one, ToPay) and (one.recipient, one.amount, one.fee) == wanted)

    async def _minted(self, minted: Minted, key: str) -> None:
        base = await base_nonce(self._context, minted.recipient)
        if not isinstance(base, int):
            return
        source = self._context.ledger.mint_by_rank(minted.recipient, minted.nonce - base)
        if source is None:
            if self._sources.past(minted):
                detail = f"mint {minted.tx_hash} of {minted.amount} to {minted.recipient}, nonce {minted.nonce}, has no deposit"
                self._hold(SIGNING, HoldReason.UNEXPLAINED_MINT, detail, key)
                self._context.ledger.explain(key)
            return
        if not pays(source.event, minted):
            detail = (
                f"mint {minted.tx_hash} with nonce {minted.nonce} is of {minted.amount}, its deposit of {source.event.amount}"
            )
            self._hold(recipient_scope(minted.recipient), HoldReason.NONCE_CONTRADICTED, detail, key)
        self._context.ledger.explain(key)

    def _hold(self, scope: str, reason: HoldReason, detail: str, subject: str) -> None:
        if self._context.me.observes:
            logger.error("would hold {}, {}: {}", scope, reason.value, detail)
            return
        self._context.journal.hold(scope, reason.value, detail, "validator", subject=subject)
        self._context.tell_stops()
