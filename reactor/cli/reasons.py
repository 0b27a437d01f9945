"""Why a request is where it is: what its document says, as far as that is true now, and what the own ledger and node say.

What a document waits for was written by one validator on one head. Where this machine knows better, that is said instead.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from reactor.cli.changes import waiting_sentence
from reactor.documents.classification import ToMint
from reactor.documents.events import Burn, Deposit
from reactor.documents.models import AnyRequest, Mint
from reactor.documents.reasons import Of, WaitReason
from reactor.documents.statuses import TERMINAL, Status
from reactor.flows.refusals import refusal
from reactor.handlers.mint import mint_terms
from reactor.state.rows import EventKind

if TYPE_CHECKING:
    from reactor.chains.ethereum.types import ContractFacts
    from reactor.state.ledger import Ledger, Seen

ONE_VALIDATORS: Final = frozenset(one for one in WaitReason if one.of is Of.VALIDATOR)
"""What keeps the validator that says it from signing, and nobody else: over once its signature is there."""


@dataclass(frozen=True, slots=True)
class Reason:
    """One reason. `by` and `at`: who wrote it into the document and when; None and empty where this machine found it."""

    sentence: str
    by: str = ""
    at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Look:
    """What is known of one request when its reasons are named.

    `read`: its document was read; else `document` is what a fresh one would be. `event`: the source in the own ledger, and
    whether it is final. `signed`: how many verified signatures stand in it; `needed`: how many must (0: not known);
    `signers`: the Ethereum addresses of those who signed. `contract`: None where the own node was not asked or did not answer.
    `hindrances`: what keeps this machine's own validator from going on with anything, in sentences.
    """

    document: AnyRequest
    read: bool
    event: tuple[Deposit | Burn, bool] | None
    outcome: object
    ledger: Ledger | None
    contract: ContractFacts | None
    signed: int
    needed: int
    signers: frozenset[str]
    hindrances: Sequence[str] = ()


def reasons(look: Look) -> list[Reason]:
    """Why it is where it is now, what the document says first; empty where it is done."""
    if look.read and look.document.status in TERMINAL:
        return []
    own = _own(look)
    said = _said(look, [code for code, _ in own])
    found = said + [Reason(waiting_sentence(code, params)) for code, params in own]
    return found + [Reason(one) for one in look.hindrances]


def _said(look: Look, known: list[str]) -> list[Reason]:
    """The document's own reason, unless it is of another status, over by what is known here, or known here in newer words."""
    waiting = look.document.current_waiting if look.read else None
    if waiting is None or waiting.reason in {*known, WaitReason.SIGNATURES, WaitReason.USER}:
        return []
    final = look.event is not None and look.event[1]
    if waiting.reason == WaitReason.NOT_FINAL and final:
        return []
    if waiting.reason in ONE_VALIDATORS and waiting.by in look.signers:
        return []
    return [Reason(waiting_sentence(waiting.reason, waiting.params), waiting.by, waiting.at)]


Own = list[tuple[str, Mapping[str, str]]]


def _own(look: Look) -> Own:
    """What this machine finds: the codes of reasons with their parameters."""
    status = look.document.status if look.read else ""
    if look.event is not None and not look.event[1]:
        return [(WaitReason.NOT_FINAL.value, _depth(look.ledger, look.event[0]))]
    if status == Status.CONFIRMED and look.needed:
        if look.signed >= look.needed:
            return [(WaitReason.UNCOMPLETED.value, {})]
        return [(WaitReason.SIGNATURES.value, {"have": str(look.signed), "need": str(look.needed)})]
    if isinstance(look.document, Mint):
        return _of_mint(look, look.document, status)
    return _of_payout(look, status)


def _depth(ledger: Ledger | None, event: Deposit | Burn) -> dict[str, str]:
    kind = EventKind.BURN if isinstance(event, Burn) else EventKind.DEPOSIT
    cursor = ledger.cursor(kind) if ledger is not None else None
    final = {} if cursor is None else {"final": str(cursor.height)}
    return {"chain": kind.chain, "height": str(event.height), **final}


def _of_mint(look: Look, mint: Mint, status: str) -> Own:
    if status not in {"", Status.SIGNED, Status.SUBMITTED}:
        return []
    recipient, nonce = mint.recipient_address, int(mint.nonce) if mint.nonce else 0
    seen = look.ledger.minted(recipient, nonce) if look.ledger is not None and nonce else []
    if seen:
        return [] if seen[0].final else [(WaitReason.MINTED_NOT_FINAL.value, {"height": str(seen[0].event.height)})]
    if status == Status.SUBMITTED or not isinstance(amount := _amount(look, mint), int):
        return []
    refused = refusal(amount, mint_terms(look.contract, datetime.now(UTC))) if look.contract is not None else None
    found: Own = [] if refused is None else [(refused.reason.value, refused.params)]
    found += _earlier(look.ledger, recipient, nonce)
    return found or ([(WaitReason.USER.value, {})] if status else [])


def _amount(look: Look, mint: Mint) -> int | None:
    if isinstance(look.outcome, ToMint):
        return look.outcome.amount
    return int(mint.amount) if mint.amount else None


def _earlier(ledger: Ledger | None, recipient: str, nonce: int) -> Own:
    """The contract takes a recipient's mints in the order of their nonces."""
    base = ledger.base_nonce(recipient) if ledger is not None else None
    if ledger is None or base is None or nonce <= base + 1 or ledger.minted(recipient, nonce - 1):
        return []
    before: Seen[Deposit] | None = ledger.mint_by_rank(recipient, nonce - 1 - base)
    which = {} if before is None else {"deposit": before.event.tx_hash}
    return [(WaitReason.EARLIER_MINT.value, {"nonce": str(nonce - 1), **which})]


def _of_payout(look: Look, status: str) -> Own:
    event = look.event[0] if look.event is not None else None
    paid = look.ledger.returned_by_memo(event.tx_hash) if look.ledger is not None and event is not None else []
    under_way = [one for one in paid if one.event.code == 0 and not one.final]
    if status == Status.SUBMITTED:
        if under_way:
            return [(WaitReason.RETURN_NOT_FINAL.value, {"height": str(under_way[-1].event.height)})]
        return [(WaitReason.RETURN_PENDING.value, {})]
    if status == Status.SIGNED and look.document.current_waiting is None:
        return [(WaitReason.UNSUBMITTED.value, {})]
    return []
