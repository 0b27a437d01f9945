"""What can be known of one request: document, own ledger and journal, signatures, the validators. For `explain`.

Everything is a claim of the database but what stands under `ledger` and `here`; a document that is broken is explained as far
as it can be read.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from bson import ObjectId
from pydantic import BaseModel

from reactor.chains.ethereum.eip712 import Domain, mint_digest, recover_signer
from reactor.chains.pocket import MemoError, ReturnTx, parse_memo, return_entropy, verify_share
from reactor.cli.changes import objection_sentence, waiting_sentence
from reactor.cli.common import ago
from reactor.cli.people import People, Person, Stage
from reactor.cli.reasons import Look, Reason, reasons
from reactor.documents.bridge import Bridge
from reactor.documents.build import burn_chain_fields, burn_document, deposit_chain_fields, deposit_document
from reactor.documents.classification import NotPayable, RefundCause, ToMint, ToPay, classify_burn, classify_deposit
from reactor.documents.events import Burn, Deposit
from reactor.documents.keys import burn_key, deposit_key
from reactor.documents.models import NO_TIME, AnyRequest, InvalidMint, Mint, read_request
from reactor.documents.models import Burn as BurnModel
from reactor.documents.objections import objection_digest
from reactor.documents.statuses import TERMINAL, Collection, Status
from reactor.state.holds import SIGNING, Direction, direction_scope, event_scope, recipient_scope

if TYPE_CHECKING:
    from reactor.chains.ethereum.types import ContractFacts
    from reactor.state.journal import Journal
    from reactor.state.ledger import Ledger, Seen


@dataclass(frozen=True, slots=True)
class Known:
    """What the command found out before: about the bridge, the people, the own disk, the contracts. `threshold` 0: not known.

    `database`: why the shared database could not be asked; empty if it was. `own`: the validator whose state lies on this
    machine, by its own heartbeat; None where none ever ran or the database was not asked. `ethereum`: why the own node did not
    answer this command; empty if it did.
    """

    bridge: Bridge
    people: People
    journal: Journal | None
    ledger: Ledger | None
    threshold: int
    members: Sequence[str]
    contract: ContractFacts | None = None
    database: str = ""
    own: Person | None = None
    ethereum: str = ""

    def hindrances(self, at: Stage) -> list[str]:
        """What keeps the validator of this machine from going on with such a request, in sentences. No node is asked for it."""
        if self.own is not None and self.own.has_done_its_part(at):
            return []
        own = self.own.hindered(at) if self.own is not None else ""
        told = [f"this validator {own}"] if own else []
        if self.ethereum and not (own and self.own is not None and self.own.misses_node_of("Ethereum")):
            told.append(f"this machine's Ethereum node does not answer ({self.ethereum})")
        return told


@dataclass(frozen=True, slots=True)
class Entry:
    """One signature of the document. `verifies` is None where it could not be judged."""

    signer: str
    name: str
    verifies: bool | None


@dataclass(slots=True)
class Dossier:
    """All about one request. `read`: its document was read; else `document` is what a fresh one would be."""

    collection: Collection
    id: str
    document: AnyRequest
    key: str
    needed: int
    read: bool = True
    entries: list[Entry] = field(default_factory=list)
    missing: list[dict[str, str]] = field(default_factory=list)
    reasons: list[Reason] = field(default_factory=list)
    objections: list[dict[str, str]] = field(default_factory=list)
    ledger: dict[str, Any] | None = None
    here: dict[str, Any] | None = None
    others: list[dict[str, str]] = field(default_factory=list)

    @property
    def open(self) -> bool:
        """Whether anything is left to be done by anyone."""
        return self.document.status not in TERMINAL

    @property
    def signable(self) -> bool:
        """Whether it waits for signatures: of a document that is not final yet nobody's is missing."""
        return self.document.status in {Status.CONFIRMED, Status.SIGNED} and not self.enough

    @property
    def enough(self) -> bool:
        """Whether as many have signed as must."""
        return bool(self.needed) and sum(one.verifies is True for one in self.entries) >= self.needed


def compile_dossier(known: Known, collection: Collection, raw: Mapping[str, Any]) -> Dossier:
    """Put together what is known of one request document."""
    document = read_request(collection, raw)
    key = _key(known.bridge, document)
    event = _event(known, document, raw.get("_id"))
    dossier = Dossier(collection, str(raw.get("_id")), document, key, _needed(known, document))
    dossier.entries = _entries(known, document, event)
    dossier.missing = _missing(known, document, dossier)
    dossier.reasons = _reasons(known, dossier, event)
    dossier.objections = _objections(known, collection, key, document)
    dossier.ledger = _ledger(known, collection, document, event)
    dossier.here = _here(known, key, document)
    dossier.others = _others(known, dossier, event)
    return dossier


def compile_local(known: Known, seen: Seen[Deposit] | Seen[Burn]) -> Dossier:
    """What the own ledger, journal and node say of one event, without its document."""
    event = seen.event
    if isinstance(event, Burn):
        collection, raw = Collection.BURN, burn_document(known.bridge, event, NO_TIME)
    else:
        collection, raw = deposit_document(known.bridge, event, NO_TIME)
    if collection is Collection.MINT and (nonce := _own_nonce(known, event)):
        raw = {**raw, "nonce": nonce}
    document = read_request(collection, raw)
    dossier = Dossier(collection, str(raw["_id"]), document, seen.key, _needed(known, document), read=False)
    dossier.reasons = _reasons(known, dossier, (event, seen.final))
    dossier.ledger = _ledger(known, collection, document, (event, seen.final))
    dossier.here = _here(known, seen.key, document)
    return dossier


def _own_nonce(known: Known, event: Deposit | Burn) -> str:
    """A function of the chains, where the own ledger knows all of them."""
    outcome = classify_deposit(known.bridge, event) if isinstance(event, Deposit) else None
    if known.ledger is None or not isinstance(event, Deposit) or not isinstance(outcome, ToMint):
        return ""
    nonce = known.ledger.nonce_of(event, outcome.recipient)
    return "" if nonce is None else str(nonce)


def _reasons(known: Known, dossier: Dossier, event: tuple[Deposit | Burn, bool] | None) -> list[Reason]:
    holders = {key: one.address for key, one in known.people.by_pocket_key().items()}
    good = [one.signer for one in dossier.entries if one.verifies is not False]
    outcome = classify_deposit(known.bridge, event[0]) if event is not None and isinstance(event[0], Deposit) else None
    return reasons(
        Look(
            document=dossier.document,
            read=dossier.read,
            event=event,
            outcome=outcome,
            ledger=known.ledger,
            contract=known.contract,
            signed=len(set(good)),
            needed=dossier.needed,
            signers=frozenset(holders.get(one, one) for one in good),
            hindrances=known.hindrances(_stage(dossier, event)),
        )
    )


def _stage(dossier: Dossier, event: tuple[Deposit | Burn, bool] | None) -> Stage:
    """Whether the event is final says the own ledger; where it does not know the event, that somebody has confirmed it."""
    status = dossier.document.status if dossier.read else ""
    final = event[1] if event is not None else status not in {"", Status.PENDING}
    signers = frozenset(one.signer for one in dossier.entries if one.verifies is not False)
    return Stage(dossier.collection, status, final, signers, dossier.enough)


def _key(bridge: Bridge, document: AnyRequest) -> str:
    if isinstance(document, BurnModel):
        return burn_key(bridge, document.transaction_hash, int(document.burn_index or 0))
    return deposit_key(bridge, document.transaction_hash)


def _event(known: Known, document: AnyRequest, document_id: object) -> tuple[Deposit | Burn, bool] | None:
    """The source event in the own ledger, and whether it is final."""
    if known.ledger is None:
        return None
    seen = known.ledger.by_document(document_id) if isinstance(document_id, ObjectId) else None
    if seen is not None and isinstance(seen.event, Deposit | Burn):
        return seen.event, seen.final
    if isinstance(document, BurnModel):
        burn = known.ledger.burn(document.transaction_hash, int(document.burn_index or 0))
        return (burn.event, burn.final) if burn else None
    deposit = known.ledger.deposit(document.transaction_hash)
    return (deposit.event, deposit.final) if deposit else None


def _needed(known: Known, document: AnyRequest) -> int:
    return known.threshold if isinstance(document, Mint) else len(known.bridge.pocket_keys)


# ---------------------------------------------------------------------- signatures


def _entries(known: Known, document: AnyRequest, event: tuple[Deposit | Burn, bool] | None) -> list[Entry]:
    names = {one.address: one.name for one in known.people.persons}
    names |= {key: one.name or one.address for key, one in known.people.by_pocket_key().items()}
    if len(document.signers) != len(document.signatures):
        return [Entry(one, names.get(one, ""), False) for one in document.signers]
    message = _message(known.bridge, document, event[0] if event else None)
    return [Entry(one, names.get(one, ""), _verifies(document, message, one, text)) for one, text in document.pairs]


def _message(bridge: Bridge, document: AnyRequest, event: Deposit | Burn | None) -> bytes | None:
    """What is signed, from the own ledger where it knows the event, else from the document; None where neither says enough."""
    try:
        if isinstance(document, Mint):
            outcome = classify_deposit(bridge, event) if isinstance(event, Deposit) else None
            recipient = outcome.recipient if isinstance(outcome, ToMint) else document.recipient_address
            amount = outcome.amount if isinstance(outcome, ToMint) else int(document.amount)
            domain = Domain("MintController", "1", bridge.ethereum_chain_id, bridge.mint_controller)
            return mint_digest(domain, recipient, amount, int(document.nonce))
        return _return(bridge, document, event).sign_bytes
    except ValueError:
        return None


def _return(bridge: Bridge, document: InvalidMint | BurnModel, event: Deposit | Burn | None) -> ReturnTx:
    """The return transaction of the document's attempt. Raises ValueError where the fields make none."""
    attempt = int(document.attempt)
    if isinstance(document, BurnModel):
        chain, index, fee = (
            str(bridge.ethereum_chain_id),
            int(document.burn_index),
            bridge.burn_fee.at(int(document.block_number)),
        )
        recipient = document.recipient_address
    else:
        chain, index, fee = bridge.pocket_chain_id, 0, bridge.deposit_fee.at(int(document.height))
        recipient = document.sender_address
    pay = ToPay(recipient, int(document.amount) - fee, fee, document.transaction_hash)
    if event is not None:
        outcome = classify_burn(bridge, event) if isinstance(event, Burn) else classify_deposit(bridge, event)
        pay = outcome if isinstance(outcome, ToPay) else pay
    return ReturnTx(
        from_address=bridge.vault,
        to_address=pay.recipient,
        amount=pay.amount,
        fee=pay.fee,
        memo=pay.memo,
        entropy=return_entropy(chain, document.transaction_hash, index, attempt),
        chain_id=bridge.pocket_chain_id,
    )


def _verifies(document: AnyRequest, message: bytes | None, signer: str, signature: str) -> bool | None:
    if message is None:
        return None
    if isinstance(document, Mint):
        return recover_signer(message, signature) == signer
    try:
        return verify_share(signer, message, bytes.fromhex(signature))
    except ValueError:
        return False


def _missing(known: Known, document: AnyRequest, dossier: Dossier) -> list[dict[str, str]]:
    """Who could sign and has not, with what his heartbeat says."""
    signed = {one.signer for one in dossier.entries if one.verifies is not False}
    holders: dict[str, Person]
    if isinstance(document, Mint):
        wanted, holders = list(known.members), {one.address: one for one in known.people.persons}
    else:
        wanted, holders = list(known.bridge.pocket_keys), known.people.by_pocket_key()
    return [_absentee(one, holders.get(one), dossier) for one in wanted if one not in signed]


def _absentee(signer: str, person: Person | None, dossier: Dossier) -> dict[str, str]:
    if person is None or person.beat is None:
        return {"signer": signer, "name": "", "state": "never", "why": "no verified heartbeat"}
    return {"signer": signer, "name": person.name, "state": person.state, "why": _listed(person, dossier)}


# ---------------------------------------------------------------------- objections, ledger, journal, others


def _objections(known: Known, collection: Collection, key: str, document: AnyRequest) -> list[dict[str, str]]:
    rows = []
    for one in document.objections:
        good = recover_signer(objection_digest(known.bridge, collection, key, one.code), one.signature) == one.signer
        verdict = "does not verify" if not good else "verifies" if one.signer in known.members else "of no member"
        rows.append({"signer": one.signer, "code": one.code, "sentence": objection_sentence(one.code), "verdict": verdict})
    return rows


def _ledger(
    known: Known, collection: Collection, document: AnyRequest, event: tuple[Deposit | Burn, bool] | None
) -> dict[str, Any] | None:
    """What the own scanners saw of the event and of its completion, and in which fields the document says otherwise."""
    if known.ledger is None:
        return None
    if event is None:
        return {"seen": False}
    source, final = event
    fields = burn_chain_fields(known.bridge, source) if isinstance(source, Burn) else deposit_chain_fields(known.bridge, source)
    differs = {
        name: {"document": _said(document, name), "ledger": value}
        for name, value in fields.items()
        if name in document.malformed or _said(document, name) != value
    }
    return {
        "seen": True,
        "final": final,
        "height": source.height,
        "block_hash": source.block.hash,
        "time": source.block.time,
        "outcome": _outcome(known.bridge, source),
        "differs": differs,
        "completion": _completion(known.ledger, collection, document, source),
    }


def _said(document: AnyRequest, name: str) -> object:
    """What the document says, as it lies in Mongo."""
    stands = getattr(document, name, None)
    return stands.model_dump() if isinstance(stands, BaseModel) else stands


def _outcome(bridge: Bridge, source: Deposit | Burn) -> str:
    match classify_burn(bridge, source) if isinstance(source, Burn) else classify_deposit(bridge, source):
        case ToMint(recipient, amount):
            return f"mint {amount} upokt to {recipient}"
        case ToPay(recipient, amount, fee, _, cause):
            said = f"pay {amount} upokt to {recipient}, fee {fee}"
            return said if cause is None or isinstance(source, Burn) else f"{said}: {_why_refunded(bridge, source, cause)}"
        case NotPayable(code):
            return f"not payable: {code.sentence}"


def _why_refunded(bridge: Bridge, deposit: Deposit, cause: RefundCause) -> str:
    """What the depositor has to hear."""
    if cause is RefundCause.ABOVE_MAXIMUM:
        return f"the amount is above the maximum of {bridge.maximum.at(deposit.height)} upokt"
    memo = parse_memo(deposit.memo, str(bridge.ethereum_chain_id))
    return f"the memo is refused: {memo.text if isinstance(memo, MemoError) else cause.value}"


def _completion(ledger: Ledger, collection: Collection, document: AnyRequest, source: Deposit | Burn) -> list[str]:
    if isinstance(document, Mint) and collection is Collection.MINT:
        if not document.nonce:
            return []
        found = ledger.minted(document.recipient_address, int(document.nonce))
        return [f"minted in {one.event.tx_hash}, block {one.event.height}, {_finality(one.final)}" for one in found]
    paid = ledger.returned_by_memo(source.tx_hash)
    return [
        f"vault sent {one.event.amount} upokt to {one.event.recipient} in {one.event.tx_hash}, height {one.event.height},"
        f" code {one.event.code}, {_finality(one.final)}"
        for one in paid
    ]


def _finality(final: bool) -> str:
    return "final" if final else "not final yet"


def _here(known: Known, key: str, document: AnyRequest) -> dict[str, Any] | None:
    """What this validator has signed for the event, and what holds it."""
    journal = known.journal
    if journal is None:
        return None
    signed = [
        {"outcome": row.outcome, "attempt": row.attempt, "digest": row.digest.hex(), "at": row.at} for row in journal.signed(key)
    ]
    direction: Direction = "mint" if isinstance(document, Mint) else "payout"
    recipient = document.sender_address if isinstance(document, InvalidMint) else document.recipient_address
    scopes = {SIGNING, direction_scope(direction), event_scope(key), recipient_scope(recipient)}
    holds = [
        {"id": hold.id, "scope": hold.scope, "reason": hold.reason, "detail": hold.detail, "by": hold.by}
        for hold in journal.holds()
        if hold.scope in scopes
    ]
    return {"instance": journal.instance, "signed": signed, "holds": holds, "released_attempt": journal.releases(key)}


def _others(known: Known, dossier: Dossier, event: tuple[Deposit | Burn, bool] | None) -> list[dict[str, str]]:
    """Each validator's own word on this document, and what it owes it."""
    absent, stage = {one["signer"] for one in dossier.missing}, _stage(dossier, event)
    return [
        {"address": one.address, "name": one.name, "state": one.state, "says": _says(one, dossier, stage, absent)}
        for one in known.people.persons
    ]


def _says(person: Person, dossier: Dossier, stage: Stage, absent: set[str]) -> str:
    beat = person.beat
    if beat is None:
        return "no verified heartbeat"
    key = person.address if isinstance(dossier.document, Mint) else beat.pokt_public_key
    more = "not among its oldest open documents" if beat.open_count > len(beat.open) else ""
    owes = "its signature is missing" if key in absent and dossier.signable else ""
    alive = person.state in {"up", "starting"}
    ill = person.hindered(stage) if dossier.open and alive else ""
    heard = "" if person.state == "up" else f"last heard {ago(beat.updated_at)} ago"
    said = "; ".join(filter(None, [_listed(person, dossier) or more, owes, ill, heard]))
    if said or not dossier.open or beat.updated_at >= dossier.document.updated_at:
        return said or "nothing left to do"
    return "its next heartbeat will tell: the last is older than the document's last change"


def _listed(person: Person, dossier: Dossier) -> str:
    """What its heartbeat names as the reason, if that is of the status in which the document stands now."""
    rows = person.beat.open if person.beat is not None else []
    for one in rows:
        if one.key in {dossier.key, dossier.id}:
            sentence = f"{one.status or 'open'}: {waiting_sentence(one.reason, one.params)}"
            return sentence if one.status in {"", dossier.document.status} else ""
    return ""
