"""Mint: pending → confirmed → signed → submitted → success, or failed.

A deposit to the vault with a valid memo is signed by M of N validators (EIP-712); the user mints and pays the gas.
"""

from collections.abc import Callable, Mapping
from typing import Final

from reactor.documents.classification import ToMint
from reactor.documents.models import Mint
from reactor.documents.reasons import ObjectionCode, WaitReason
from reactor.documents.statuses import Status
from reactor.flows.common import (
    Completion,
    changed,
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
from reactor.flows.decisions import Complete, Decision, Move, Repair, Rest, Sign, Wait, Wake
from reactor.flows.facts import Blocked, MintFacts
from reactor.flows.refusals import refilled, refusal
from reactor.sentences import counted

OUTCOME: Final = "mint"


def decide(document: Mint, facts: MintFacts) -> Decision:
    """What to do with a mint, and why. Pure: no clock, no client, no log."""
    source = facts.source
    if source.outcome is None:
        return without_source(document, facts)
    if not source.final:
        return not_final(facts)
    # SECURITY: one deposit, one outcome (TRUST.md, rule 9). A deposit that is to be refunded or cannot be paid is never minted.
    if not isinstance(source.outcome, ToMint):
        return refute(document, facts, no_outcome(source.outcome) or ObjectionCode.OTHER_OUTCOME)
    return repair(document, facts) or _minted(document, facts) or STEPS[Status(document.status)](document, facts)


def _minted(document: Mint, facts: MintFacts) -> Decision | None:
    if facts.minted is None:
        return None
    end = Completion(
        trace={"mint_tx_hash": facts.minted.tx_hash},
        final=facts.minted_final,
        seen="the user minted",
        done="the Minted event is final",
        until_final=Wait(
            WaitReason.MINTED_NOT_FINAL,
            {"final_at": str(facts.minted_final_at)},
            Wake(heads=(("ethereum", facts.minted_final_at),)),
        ),
    )
    return completed(document, end, facts.copies or {})


def _pending(_document: Mint, _facts: MintFacts) -> Decision:
    return Move(Status.CONFIRMED, "the deposit is final")


def _confirmed(document: Mint, facts: MintFacts) -> Decision:
    if (waits := _not_signable(facts)) is not None:
        return waits
    if facts.own_key not in facts.signatures.signers:
        if facts.blocked is None:
            return Sign(OUTCOME)
        return _enough(facts) or facts_block(facts) or _for_signatures(facts)
    if wrong := changed(document, facts.copies or {}):
        return Repair(wrong, f"computed from the chain: {', '.join(sorted(wrong))}")
    return _enough(facts) or _for_signatures(facts)


def _signed(document: Mint, facts: MintFacts) -> Decision:
    """Earned only by M valid signatures over the own digest, in order, and nothing that would make the contract refuse."""
    if (waits := _not_signable(facts)) is not None:
        return waits
    if wrong := changed(document, facts.copies or {}):
        return Repair(wrong, f"computed from the chain: {', '.join(sorted(wrong))}")
    # SECURITY: `signed` is a claim. The frontend passes the entries on verbatim, and one malformed entry reverts the mint.
    if len(facts.signatures.valid) < facts.quorum.threshold or facts.signatures.invalid or not facts.signatures.ordered:
        return Move(Status.CONFIRMED, f"signed with {len(facts.signatures.valid)} of {facts.quorum.threshold} valid signatures")
    if facts.own_key not in facts.signatures.signers and facts.blocked is None:
        return Sign(OUTCOME)
    return _claimable(facts)


def _claimable(facts: MintFacts) -> Wait | Rest:
    """It waits for its user, who may take for ever; where the contracts would refuse him, for that.

    Only what passes by itself keeps it open. What a person has to end rings when it is ended.
    """
    refused = refusal(_amount(facts), facts.terms)
    if refused is None:
        return Rest(finished=False, reason=WaitReason.USER)
    if refused.reason is WaitReason.COOLING_DOWN:
        return Wait(refused.reason, refused.params, refilled(_amount(facts), facts.terms))
    return Rest(finished=False, reason=refused.reason, params=refused.params)


def _submitted(document: Mint, facts: MintFacts) -> Decision:
    return unproven(document, facts, Status.SIGNED)


def _success(document: Mint, facts: MintFacts) -> Decision:
    return unproven(document, facts, Status.CONFIRMED)


def _not_signable(facts: MintFacts) -> Wait | None:
    """Why nobody can sign it yet: the nonce is not known, or the contract would refuse the amount."""
    if facts.copies is None:
        known = facts.nonce_wait or Blocked(WaitReason.NONCE_UNKNOWN)
        return Wait(known.reason, known.params, Wake(after=2.0))
    if (amount := _amount(facts)) > facts.terms.maximum:
        return Wait(WaitReason.OVER_LIMIT, {"amount": str(amount), "limit": str(facts.terms.maximum)}, Wake(after=60.0))
    return None


def _amount(facts: MintFacts) -> int:
    return facts.source.outcome.amount if isinstance(facts.source.outcome, ToMint) else 0


def _enough(facts: MintFacts) -> Complete | None:
    valid = len(facts.signatures.valid)
    need = facts.quorum.threshold
    return Complete(f"{counted(valid, 'signature')}, {need} needed") if valid >= need else None


def _for_signatures(facts: MintFacts) -> Wait:
    have, need = len(facts.signatures.valid), facts.quorum.threshold
    return Wait(WaitReason.SIGNATURES, {"have": str(have), "need": str(need)})


STEPS: Final[Mapping[Status, Callable[[Mint, MintFacts], Decision]]] = {
    Status.PENDING: _pending,
    Status.CONFIRMED: _confirmed,
    Status.SIGNED: _signed,
    Status.SUBMITTED: _submitted,
    Status.SUCCESS: _success,
    Status.FAILED: wrongly_failed,
}
"""One step per status, for a document whose deposit is final, to be minted, not minted yet, and whose fields are right."""
