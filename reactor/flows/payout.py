"""Payout, for burns and invalid mints: pending → confirmed → signed → submitted → success, or failed.

On Morse the return transaction is signed by all N validators. Everything in it is derived from the source event, so that every
validator builds the same bytes by itself. A published signature never dies on that chain: hence the care before each step.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final

from reactor.documents.classification import ToPay
from reactor.documents.models import Burn, InvalidMint
from reactor.documents.reasons import HoldReason, ObjectionCode, WaitReason
from reactor.documents.statuses import Status
from reactor.flows.common import (
    CLAIM_RETRY,
    MOST_REPAIRS,
    Completion,
    completed,
    facts_block,
    no_outcome,
    not_final,
    refute,
    repair,
    unproven,
    without_source,
    wrongly_failed,
)
from reactor.flows.decisions import Complete, Decision, Hold, Move, Repair, Sign, Submit, Wait, Wake
from reactor.flows.facts import PayoutFacts

OUTCOME: Final = "payout"
SHORT_RETRY: Final = 10.0
"""Seconds until the vault's balance is looked at again."""

Payout = Burn | InvalidMint


def decide(document: Payout, facts: PayoutFacts) -> Decision:
    """What to do with a burn or an invalid mint, and why. Pure: no clock, no client, no log."""
    source = facts.source
    if source.outcome is None:
        return without_source(document, facts)
    if not source.final:
        return not_final(facts)
    # SECURITY: one deposit, one outcome (TRUST.md, rule 9). A deposit that is to be minted is never refunded.
    if not isinstance(source.outcome, ToPay):
        return refute(document, facts, no_outcome(source.outcome) or ObjectionCode.OTHER_OUTCOME)
    steps = repair(document, facts) or _paid(document, facts) or _attempt(document, facts)
    return steps or STEPS[Status(document.status)](document, facts)


def _paid(document: Payout, facts: PayoutFacts) -> Decision | None:
    """SECURITY: TRUST.md, rule 5. `facts.paid` was searched among the vault's own transactions, whatever the document says."""
    if facts.paid is None:
        return None
    end = Completion(
        trace={"return_tx_hash": facts.paid.tx_hash},
        final=facts.paid_final,
        seen="the return transaction is in a block",
        done="the return transaction is final",
        until_final=Wait(
            WaitReason.RETURN_NOT_FINAL,
            {"final_at": str(facts.paid_final_at)},
            Wake(heads=(("pocket", facts.paid_final_at),)),
        ),
    )
    return completed(document, end, {})


def _attempt(document: Payout, facts: PayoutFacts) -> Decision | None:
    """The attempt is computed from the chain. A new one only after the old failed in a block and the operator released it."""
    if facts.attempt > facts.released:
        return Hold(HoldReason.RETURN_FAILED, f"attempt {facts.attempt - 1} failed in a block")
    if document.attempt == str(facts.attempt):
        return None
    if facts.repairs >= MOST_REPAIRS and _ahead(document, facts) and not facts.claim_refuted:
        # Who sees fewer blocks must not write for ever against who sees more.
        return Wait(WaitReason.CLAIM_UNPROVEN, {"attempt": document.attempt}, Wake(after=CLAIM_RETRY))
    cleared = {"attempt": str(facts.attempt), **_CLEARED, "signers": [], "signatures": []}
    if Status(document.status) in {Status.SIGNED, Status.SUBMITTED, Status.SUCCESS}:
        return Move(Status.CONFIRMED, f"attempt {facts.attempt}: the one before failed in a block", cleared)
    return Repair(cleared, f"attempt {facts.attempt} by the chain")


def _ahead(document: Payout, facts: PayoutFacts) -> bool:
    """Whether the document claims a later attempt than the own chain shows."""
    return bool(document.attempt) and int(document.attempt) > facts.attempt


def _pending(_document: Payout, facts: PayoutFacts) -> Decision:
    event = "burn" if facts.source.chain == "ethereum" else "deposit"
    return Move(Status.CONFIRMED, f"the {event} is final")


def _confirmed(_document: Payout, facts: PayoutFacts) -> Decision:
    own_key = facts.own_key
    if own_key not in facts.signatures.signers:
        return facts_block(facts) or _short(facts) or Sign(OUTCOME, facts.attempt)
    if len(facts.signatures.signers) == len(facts.keys):
        return Complete(f"{len(facts.keys)} of {len(facts.keys)} signatures")
    have, need = len(facts.signatures.signers), len(facts.keys)
    return Wait(WaitReason.SIGNATURES, {"have": str(have), "need": str(need)})


def _signed(_document: Payout, facts: PayoutFacts) -> Decision:
    # SECURITY: `signed` is a claim. Only a transaction that verifies under all keys, over the own bytes, is ever submitted.
    if not facts.stored_valid:
        return Move(Status.CONFIRMED, "signed without a complete return transaction", _CLEARED)
    # SECURITY: two complete sets of one attempt are two payments. Whoever journaled another one stops.
    if facts.complete_hash is not None and facts.complete_hash != facts.stored_hash:
        return Hold(HoldReason.RETURN_FAILED, f"a second complete transaction {facts.stored_hash} for one attempt")
    return facts_block(facts) or _short(facts) or Submit()


def _submitted(_document: Payout, facts: PayoutFacts) -> Decision:
    if not facts.stored_valid:
        return Move(Status.CONFIRMED, "submitted without a complete return transaction", _CLEARED)
    if facts.complete_hash is not None and facts.complete_hash != facts.stored_hash:
        return Hold(HoldReason.RETURN_FAILED, f"a second complete transaction {facts.stored_hash} for one attempt")
    if facts.lost:
        return facts_block(facts) or _short(facts) or Submit(again=True)
    return Wait(
        WaitReason.RETURN_PENDING,
        {"return_tx_hash": facts.stored_hash},
        Wake(heads=(("pocket", facts.pocket_head + 1),)),
    )


def _success(document: Payout, facts: PayoutFacts) -> Decision:
    """Reopened where the own final view has no such payment. What is stored decides how far back."""
    return unproven(document, facts, Status.SUBMITTED if facts.stored_valid else Status.CONFIRMED)


def _short(facts: PayoutFacts) -> Wait | None:
    """SECURITY: TRUST.md, rule 12. A return that failed for lack of funds could be wrapped anew and paid beside its successor."""
    if facts.shortfall <= 0:
        return None
    return Wait(WaitReason.VAULT_SHORT, {"short": str(facts.shortfall)}, Wake(after=SHORT_RETRY))


_CLEARED: Final[Mapping[str, Any]] = {"return_tx": "", "return_tx_hash": ""}

STEPS: Final[Mapping[Status, Callable[[Payout, PayoutFacts], Decision]]] = {
    Status.PENDING: _pending,
    Status.CONFIRMED: _confirmed,
    Status.SIGNED: _signed,
    Status.SUBMITTED: _submitted,
    Status.SUCCESS: _success,
    Status.FAILED: wrongly_failed,
}
"""One step per status, for a document whose event is final, payable, not paid yet, and whose fields are right."""
