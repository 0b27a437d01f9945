"""The steps that all flows share: is there a source, is it final, does the document say what the chain says."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from reactor.documents.classification import NotPayable
from reactor.documents.models import AnyRequest
from reactor.documents.reasons import ObjectionCode, WaitReason
from reactor.documents.statuses import Status
from reactor.flows.decisions import Decision, Move, Object, Repair, Rest, Wait, Wake
from reactor.flows.facts import Common

MOST_REPAIRS = 3
"""After so many repairs of one document by one validator it waits as disputed: two views that differ must not write for ever."""

UNSEEN_RETRY = 30.0
"""Seconds until a document without a source is looked at again. Its source's arrival in the ledger wakes it at once."""

CLAIM_RETRY = 5.0
"""Seconds until an unproven claim is looked at again: its proof is a block that the own node has not shown yet."""

_CLAIMS = frozenset({Status.SIGNED, Status.SUBMITTED, Status.SUCCESS})
"""What is set back before it may fail: `failed` follows on `pending` and `confirmed` only."""


def without_source(document: AnyRequest, facts: Common) -> Decision:
    """The own ledger holds no such event: wait for it, or object once the own final view refutes it."""
    if not facts.source.refuted:
        return Wait(WaitReason.NOT_SEEN, {"height": claimed_height(document)}, Wake(after=UNSEEN_RETRY))
    return refute(document, facts, ObjectionCode.NOT_ON_CHAIN)


def refute(document: AnyRequest, facts: Common, code: ObjectionCode) -> Decision:
    """Object, and fail the document once a quorum of verified objections stands in it.

    SECURITY: nobody fails a document alone (TRUST.md, rule 11), and never one over which a valid signature exists.
    """
    enough = len(facts.objectors) >= facts.quorum.objections
    if document.status == Status.FAILED and enough:
        return Rest(finished=True)
    if facts.signatures.valid or facts.signed_before:
        return Wait(WaitReason.DISPUTED, {"code": code.value})
    if (illegible := _illegible(document, facts)) is not None:
        return illegible
    if not facts.own_objection and facts.me in facts.quorum.members:
        return facts_block(facts) or Object(code)
    if enough:
        # Only a quorum sets such a claim back: one validator with a bad node must not write against the others.
        if document.status in _CLAIMS:
            return Move(Status.CONFIRMED, f"{document.status} was claimed of what {code.value} refutes")
        return Move(Status.FAILED, f"{code.value}: {code.sentence}")
    missing = facts.quorum.objections - len(facts.objectors)
    return Wait(
        WaitReason.OBJECTIONS,
        {"code": code.value, "have": str(len(facts.objectors)), "need": str(facts.quorum.objections)},
        Wake(rings=missing),
    )


def _illegible(document: AnyRequest, facts: Common) -> Repair | Wait | None:
    """What would keep an objection or the failing of a refuted document from being written: a status or a list that is none.

    Its other fields stay as they are: there is nothing on chain to restore them from.
    """
    status = None if document.status in set(Status) else Status.PENDING
    fields: dict[str, Any] = {"objections": []} if "objections" in document.malformed else {}
    if status is None and not fields:
        return None
    if facts.repairs >= MOST_REPAIRS:
        return Wait(WaitReason.DISPUTED, {"fields": ",".join(fields) or "status"}, Wake(after=UNSEEN_RETRY))
    return Repair(fields, f"repaired: {', '.join(fields) or 'status'}", status)


def facts_block(facts: Common) -> Wait | None:
    """The wait that keeps this validator from signing anything, if there is one."""
    if facts.blocked is None:
        return None
    return Wait(facts.blocked.reason, facts.blocked.params, Wake(after=CLAIM_RETRY))


def not_final(facts: Common) -> Wait:
    """Wait for finality. It wakes on every head, because `confirmations` is shown to users."""
    head = facts.pocket_head if facts.source.chain == "pocket" else facts.ethereum_head
    return Wait(
        WaitReason.NOT_FINAL,
        {"chain": facts.source.chain, "final_at": str(facts.source.final_at)},
        Wake(heads=((facts.source.chain, head + 1),)),
    )


def repair(document: AnyRequest, facts: Common) -> Repair | Wait | None:
    """Restore what the event decides and what is malformed; None where the document says what the chain says."""
    wanted = dict(facts.source.fields or {})
    wrong = {name: value for name, value in wanted.items() if differs(document, name, value)}
    wrong |= {name: default(document, name) for name in document.malformed if name not in wanted and name != "status"}
    if "signers" in wrong or "signatures" in wrong or len(document.signers) != len(document.signatures):
        wrong |= {"signers": [], "signatures": []}
    status = None if document.status in set(Status) else Status.PENDING
    if not wrong and status is None and not facts.oversized:
        return None
    if facts.repairs >= MOST_REPAIRS:
        return Wait(WaitReason.DISPUTED, {"fields": ",".join(sorted(wrong)) or "status"}, Wake(after=UNSEEN_RETRY))
    named = ", ".join(sorted(wrong)) or "status"
    return Repair(wrong, f"repaired from the chain: {named}", status)


def differs(document: AnyRequest, name: str, value: object) -> bool:
    """Whether a field says other than the chain. Models compare as the plain values that lie in Mongo."""
    if name in document.malformed:
        return True
    stands = getattr(document, name, None)
    return plain(stands) != value


def plain(value: object) -> object:
    return value.model_dump() if isinstance(value, BaseModel) else value


def default(document: AnyRequest, name: str) -> object:
    """What a malformed field that no chain decides is set to: the model's default, as Mongo holds it."""
    field = type(document).model_fields.get(name)
    return None if field is None else plain(field.get_default(call_default_factory=True))


def unproven(document: AnyRequest, facts: Common, back: Status) -> Decision:
    """A claim ahead of the evidence: set back once refuted, else wait for the own node to catch up.

    SECURITY: TRUST.md, rule 2. What is set back is only the claim; whatever was signed stays journaled.
    """
    if facts.claim_refuted:
        return Move(back, f"{document.status} was claimed without evidence on chain")
    return Wait(WaitReason.CLAIM_UNPROVEN, {"status": document.status}, Wake(after=CLAIM_RETRY))


@dataclass(frozen=True, slots=True)
class Completion:
    """What the chains show as done: the event's trace in the document, whether it is final, and the words for it."""

    trace: Mapping[str, Any]
    final: bool
    seen: str
    done: str
    until_final: Wait


def completed(document: AnyRequest, end: Completion, also: Mapping[str, Any]) -> Decision:
    """SECURITY: what the chains show as done goes to success from any status, and nothing is signed (TRUST.md, rule 2)."""
    if not end.final:
        # A claim of success is neither proven nor refuted by an event that is there: it becomes final, or vanishes.
        return Move(Status.SUBMITTED, end.seen, end.trace) if document.status == Status.SIGNED else end.until_final
    if document.status != Status.SUCCESS:
        return Move(Status.SUCCESS, end.done, {**also, **end.trace})
    if wrong := changed(document, {**also, **end.trace}):
        return Repair(wrong, f"repaired from the chain: {', '.join(sorted(wrong))}")
    return Rest(finished=True)


def wrongly_failed(document: AnyRequest, facts: Common) -> Decision:
    """The chains justify the request, so it does not stay `failed`.

    A quorum may have objected rightly, and the event came after: mined again behind a reorganisation, or its document was
    written by somebody before it was in a block. Such a reopening counts as a repair, so that it is bounded where the others
    still do not see the event and object again.
    """
    if len(facts.objectors) < facts.quorum.objections:
        return Move(Status.PENDING, "failed was claimed without a quorum of objections", {"objections": []})
    if facts.repairs >= MOST_REPAIRS:
        return Wait(WaitReason.DISPUTED, {"status": document.status}, Wake(after=UNSEEN_RETRY))
    return Repair({"objections": []}, "the chain holds what was objected to", Status.PENDING)


def claimed_height(document: AnyRequest) -> str:
    """Where the document says its source lies."""
    height: str = getattr(document, "height", "") or getattr(document, "block_number", "")
    return height


def no_outcome(outcome: object) -> ObjectionCode | None:
    """The objection for an event that nothing can be done for."""
    return outcome.code if isinstance(outcome, NotPayable) else None


def changed(document: AnyRequest, wanted: Mapping[str, Any]) -> dict[str, Any]:
    """Those of `wanted` that the document does not say."""
    return {name: value for name, value in wanted.items() if differs(document, name, value)}
