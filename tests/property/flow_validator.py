"""One honest validator of the flows' state machine: gathers facts, asks `decide`, carries the decision out.

Each write checks, when it applies, what an honest validator may never write: that is where most invariants are asserted.
"""

from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any

from reactor.documents.build import burn_chain_fields, deposit_chain_fields
from reactor.documents.classification import NotPayable, ToMint, ToPay
from reactor.documents.events import Burn, Deposit
from reactor.documents.keys import burn_key, deposit_key, event_key
from reactor.documents.models import AnyRequest, Mint, read_request
from reactor.documents.models import Burn as BurnModel
from reactor.documents.reasons import WaitReason
from reactor.documents.statuses import Collection, Status, may_move
from reactor.flows import mint, payout
from reactor.flows.decisions import Complete, Decision, Hold, Move, Object, Repair, Rest, Sign, Submit, Wait
from reactor.flows.facts import Blocked, MintFacts, MintTerms, PayoutFacts, Quorum, SignatureView, Source
from reactor.flows.payments import failed_attempts, payments_by_claim
from tests.property.flow_world import (
    ADDRESSES,
    BRIDGE,
    FINAL,
    Id,
    Ledger,
    Raw,
    World,
    Write,
    assembled,
    entropies,
    fresh,
    hash_of,
    home,
    mint_digest,
    outcome_of,
    pay_message,
)

ABSENT = object()


@dataclass
class Journal:
    """What outlives a restart. One digest for each event and attempt, one outcome for each event, one event for each nonce."""

    signed: dict[tuple[str, int], tuple[str, str]] = field(default_factory=dict)
    slots: dict[str, str] = field(default_factory=dict)
    complete: dict[tuple[str, int], str] = field(default_factory=dict)
    released: dict[str, int] = field(default_factory=dict)
    held: set[str] = field(default_factory=set)

    def admit(self, event: str, outcome: str, attempt: int, digest: str, slot: str | None) -> bool:
        noted = self.signed.get((event, attempt))
        others = {what for (key, _), (what, _) in self.signed.items() if key == event}
        if (noted is not None and noted != (outcome, digest)) or others - {outcome}:
            return False
        if slot is not None and self.slots.setdefault(slot, event) != event:
            return False
        self.signed[event, attempt] = (outcome, digest)
        return True


@dataclass
class Plan:
    """What one look at a document rests on."""

    key: str
    facts: Any
    event: Deposit | Burn | None
    message: str | None
    guard: Mapping[str, Any]
    outcome: Any
    copies: Mapping[str, Any] = field(default_factory=dict)
    slot: str | None = None


@dataclass
class Validator:
    world: World
    number: int
    ledger: Ledger
    journal: Journal = field(default_factory=Journal)
    claims: dict[Id, tuple[str, int]] = field(default_factory=dict)
    repairs: dict[Id, int] = field(default_factory=dict)
    paused: bool = False
    lost: bool = False
    variants: int = 0

    @property
    def address(self) -> str:
        return ADDRESSES[self.number]

    @property
    def pocket_key(self) -> str:
        return BRIDGE.pocket_keys[self.number]

    def restart(self) -> None:
        self.claims = {}

    # ------------------------------------------------------------------ one look

    def look(self, doc: Id) -> tuple[Decision, Write] | None:
        """Read, gather, decide. The write is made later, or never. None: nothing to do here."""
        raw = self.world.store.get(doc)
        if raw is None:
            return self._missing(doc)
        raw = deepcopy(raw)
        document = read_request(doc[0], raw)
        event = self.ledger.by_document(doc[1]) or self.ledger.by_content(
            doc[0], document.transaction_hash, getattr(document, "burn_index", "")
        )
        if event is None and (document.vault_address, document.wpokt_address) != (BRIDGE.vault, BRIDGE.wpokt):
            return None
        plan = self._plan(doc, document, event)
        decision = mint.decide(document, plan.facts) if isinstance(document, Mint) else payout.decide(document, plan.facts)
        if isinstance(decision, Move) and document.status in set(Status):
            assert may_move(document.status, decision.to), f"{document.status} → {decision.to} is in no table"
        return decision, lambda: self._carry_out(doc, raw, document, plan, decision)

    def handle(self, doc: Id) -> bool:
        """The whole handling at once. Whether it wrote."""
        found = self.look(doc)
        return found is not None and found[1]()

    def _missing(self, doc: Id) -> tuple[Decision, Write] | None:
        event = self.ledger.by_document(doc[1])
        if event is None or home(event) != doc:
            return None

        def insert() -> bool:
            self.world.insert(*fresh(event))
            return doc in self.world.store

        return Wait(WaitReason.LOST_RACE), insert

    def reinsert(self) -> None:
        """The sweep: every event of the own ledger has its document."""
        for event in self.ledger.sources():
            self.world.insert(*fresh(event))

    # ------------------------------------------------------------------ facts

    def _plan(self, doc: Id, document: AnyRequest, event: Deposit | Burn | None) -> Plan:
        chain = "ethereum" if doc[0] is Collection.BURN else "pocket"
        key = event_key(BRIDGE, event) if event else _claimed_key(document)
        outcome = outcome_of(event) if event else None
        final = event is not None and self.ledger.final(event)
        elsewhere = event is not None and home(event)[0] is not doc[0]
        quorum = Quorum(self.world.threshold, frozenset(ADDRESSES))
        name = f"{doc[0].value}:{key}"
        objectors = frozenset(
            one.signer
            for one in document.objections
            if (one.signer, f"object:{name}:{one.code}", one.signature) in self.world.made
        )
        signed = {what for (noted, _), (what, _) in self.journal.signed.items() if noted == key} - {"objection"}
        other_chain = "ethereum" if doc[0] is Collection.MINT else "pocket"
        common: dict[str, Any] = {
            "bridge": BRIDGE,
            "me": self.address,
            "source": self._source(chain, document, event, outcome),
            "quorum": quorum,
            "objectors": objectors,
            "own_objection": self.address in objectors,
            "signed_before": not elsewhere and bool(signed),
            "claim_refuted": self._claim_refuted(doc, document.status, self.ledger.final_time(other_chain)),
            "repairs": self.repairs.get(doc, 0),
            "pocket_head": self.ledger.heads["pocket"],
            "ethereum_head": self.ledger.heads["ethereum"],
            "blocked": self._blocked(key),
        }
        if isinstance(document, Mint):
            return self._mint_plan(document, event if isinstance(event, Deposit) and final else None, event, key, outcome, common)
        return self._payout_plan(document, event, key, outcome, common, final=final)

    def _blocked(self, key: str) -> Blocked | None:
        if self.paused:
            return Blocked(WaitReason.PAUSED)
        return Blocked(WaitReason.HELD) if key in self.journal.held else None

    def _source(self, chain: str, document: AnyRequest, event: Deposit | Burn | None, outcome: Any) -> Source:
        if event is None:
            claimed = document.block_number if isinstance(document, BurnModel) else document.height
            past = bool(claimed) and int(claimed) <= self.ledger.cursors[chain]
            known = any(one.tx_hash == document.transaction_hash for one in self.ledger.seen(chain))
            return Source(refuted=past and not known, chain=chain)
        fields = burn_chain_fields(BRIDGE, event) if isinstance(event, Burn) else deposit_chain_fields(BRIDGE, event)
        return Source(outcome, self.ledger.final(event), fields=fields, final_at=event.height + FINAL, chain=chain)

    def _claim_refuted(self, doc: Id, status: str, final_time: int | None) -> bool:
        if doc not in self.claims or self.claims[doc][0] != status:
            self.claims[doc] = (status, self.world.clock)
        return final_time is not None and final_time > self.claims[doc][1]

    def _view(self, message: str, pairs: Sequence[tuple[str, str]], members: Sequence[str]) -> SignatureView:
        valid = [one for one in pairs if one[0] in members and (one[0], message, one[1]) in self.world.made]
        places = [members.index(signer) for signer, _ in valid]
        return SignatureView(tuple(valid), tuple(one for one in pairs if one not in valid), places == sorted(set(places)))

    def _mint_plan(
        self, document: Mint, deposit: Deposit | None, event: Any, key: str, outcome: Any, common: dict[str, Any]
    ) -> Plan:
        known: dict[str, Any] = {}
        message, slot = None, None
        guard: dict[str, Any] = {}
        if isinstance(outcome, ToMint):
            guard = {"recipient_address": outcome.recipient, "amount": str(outcome.amount)}
        if isinstance(outcome, ToMint) and deposit is not None:
            nonce = self.ledger.nonce(deposit, outcome.recipient)
            message, slot = mint_digest(outcome.recipient, outcome.amount, nonce), f"{outcome.recipient}:{nonce}"
            data = {"recipient": outcome.recipient, "amount": str(outcome.amount), "nonce": str(nonce)}
            known["copies"] = {"nonce": str(nonce), "data": data, "typed_data": message}
            known["signatures"] = self._view(message, document.pairs, ADDRESSES)
            if (minted := self.ledger.minted(outcome.recipient, nonce)) is not None:
                known |= {"minted": minted, "minted_final": self.ledger.final(minted), "minted_final_at": minted.height + FINAL}
        terms = MintTerms(self.world.limit, self.world.limit, 0, paused=False, fee=False, minter=True, now=0)
        facts = MintFacts(**common, own_key=self.address, terms=terms, **known)
        return Plan(key, facts, event, message, guard, outcome, facts.copies or {}, slot)

    def _payout_plan(self, document: Any, event: Any, key: str, outcome: Any, common: dict[str, Any], *, final: bool) -> Plan:
        known: dict[str, Any] = {}
        message = None
        guard: dict[str, Any] = {}
        if isinstance(outcome, ToPay) and final:
            seen = self.ledger.returns(outcome)
            attempt = failed_attempts(entropies(event), [one for one in seen if self.ledger.final(one)])
            paid = payments_by_claim(self.ledger.claims(event, outcome), seen).get(key)
            message = pay_message(outcome, entropies(event)[attempt])
            stored = assembled(message, dict(document.pairs))
            good = bool(stored) and (document.return_tx, document.return_tx_hash) == (stored, hash_of(stored))
            complete = self.journal.complete.get((key, attempt))
            known = {
                "signatures": self._view(message, document.pairs, BRIDGE.pocket_keys),
                "attempt": attempt,
                "released": self.journal.released.get(key, 0),
                "paid": paid,
                "paid_final": paid is not None and self.ledger.final(paid),
                "paid_final_at": paid.height + FINAL if paid else 0,
                "complete_hash": hash_of(complete) if complete else None,
                "stored_valid": good,
                "stored_hash": hash_of(stored) if good else "",
                "shortfall": int(self.world.short),
                "lost": self.lost,
            }
            who = {"recipient_address": outcome.recipient} if isinstance(document, BurnModel) else {}
            who = who or {"sender_address": outcome.recipient}
            total = str(outcome.amount + outcome.fee)
            guard = {**who, "amount": total, "attempt": document.attempt, "transaction_hash": document.transaction_hash}
        facts = PayoutFacts(**common, own_key=self.pocket_key, keys=BRIDGE.pocket_keys, **known)
        return Plan(key, facts, event, message, guard, outcome)

    # ------------------------------------------------------------------ carrying out

    def _carry_out(self, doc: Id, raw: Raw, document: AnyRequest, plan: Plan, decision: Decision) -> bool:
        match decision:
            case Wait() | Rest():
                return False
            case Hold():
                self.journal.held.add(plan.key)
                return False
            case Move():
                return self._move(doc, raw, document, plan, decision)
            case Repair():
                return self._repair(doc, raw, decision)
            case Sign():
                return self._sign(doc, document, plan, decision)
            case Complete():
                return self._complete(doc, raw, document, plan)
            case Submit():
                return self._submit(doc, document, plan, decision)
            case Object():
                return self._object(doc, document, plan, decision)

    def _write(self, doc: Id, guard: Mapping[str, Any], sets: Mapping[str, Any]) -> bool:
        """The compare-and-set. A change of status is checked against the table."""
        stands = self.world.store.get(doc)
        if stands is None or any(stands.get(name, ABSENT) != value for name, value in guard.items()):
            return False
        if "status" in sets:
            before = stands.get("status")
            legal = before == sets["status"] or may_move(before if isinstance(before, str) else "", Status(sets["status"]))
            assert legal, f"{before} → {sets['status']}"
        stands.update(deepcopy(dict(sets)))
        self.world.writes += 1
        return True

    def _move(self, doc: Id, raw: Raw, document: AnyRequest, plan: Plan, move: Move) -> bool:
        guard = {"status": document.status, **plan.guard}
        if move.to is Status.FAILED:
            guard = {"status": document.status, "objections": raw["objections"]}
            guard |= {"signers": raw.get("signers", ABSENT), "signatures": raw.get("signatures", ABSENT)}
        if not self._write(doc, guard, {"status": move.to.value, **move.sets}):
            return False
        self._earned(doc, document, plan, move.to)
        return True

    def _earned(self, doc: Id, document: AnyRequest, plan: Plan, to: Status) -> None:
        """TRUST.md, rule 2: who moves a document on has the evidence himself."""
        event, facts = plan.event, plan.facts
        match to:
            case Status.CONFIRMED if document.status == Status.PENDING:
                assert event is not None
                assert self.ledger.final(event)
                assert isinstance(plan.outcome, ToMint if isinstance(document, Mint) else ToPay)
            case Status.SUBMITTED if document.status == Status.SIGNED:
                assert (facts.minted if isinstance(document, Mint) else facts.paid or facts.stored_valid) is not None
            case Status.SUCCESS:
                done = facts.minted if isinstance(document, Mint) else facts.paid
                assert done is not None
                assert self.ledger.final(done)
            case Status.FAILED:
                assert len(facts.objectors) >= max(self.world.threshold, len(ADDRESSES) - self.world.threshold + 1)
                if event is not None and home(event)[0] is doc[0]:
                    assert isinstance(plan.outcome, NotPayable)
                    assert all(what == "objection" for (key, _), (what, _) in self.journal.signed.items() if key == plan.key)

    def _repair(self, doc: Id, raw: Raw, repair: Repair) -> bool:
        self.repairs[doc] = self.repairs.get(doc, 0) + 1
        guard = {name: raw.get(name, ABSENT) for name in [*repair.fields, "status"]}
        stands = self.world.store.get(doc)
        if stands is None or any(stands.get(name, ABSENT) != value for name, value in guard.items()):
            return False
        return self._write(doc, {}, {**repair.fields, **({"status": repair.status.value} if repair.status else {})})

    def _sign(self, doc: Id, document: AnyRequest, plan: Plan, decision: Sign) -> bool:
        assert plan.message is not None
        assert plan.event is not None
        assert plan.event in self.world.chains["ethereum" if isinstance(plan.event, Burn) else "pocket"].events
        assert not self.paused
        assert plan.key not in self.journal.held
        assert decision.attempt <= self.journal.released.get(plan.key, 0), "another attempt without the operator's word"
        if not self.journal.admit(plan.key, decision.outcome, decision.attempt, plan.message, plan.slot):
            return False
        is_mint = isinstance(document, Mint)
        if is_mint and self.number == 0:  # a key service that never signs alike twice; one of its answers came too late
            self.world.sign(plan.facts.own_key, plan.message, variant=self.variants)
            self.variants += 1
        text = self.world.sign(plan.facts.own_key, plan.message, variant=self.variants)
        return self._append(doc, plan, (plan.facts.own_key, text), is_mint=is_mint)

    def _append(self, doc: Id, plan: Plan, own: tuple[str, str], *, is_mint: bool) -> bool:
        stands = self.world.store.get(doc)
        if stands is None or stands.get("status") not in (("confirmed", "signed") if is_mint else ("confirmed",)):
            return False
        pairs = _pairs(stands)
        if own in pairs or any(stands.get(name, ABSENT) != value for name, value in plan.guard.items()):
            return False
        pairs = [one for one in pairs if one[0] != own[0]] + [own]
        sets: Raw = {}
        if is_mint:
            counted = {**dict(plan.facts.signatures.valid), own[0]: own[1]}
            if stands["status"] == "confirmed" and len(set(counted.items()) & set(pairs)) >= self.world.threshold:
                pairs = list(dict.fromkeys(one for one in pairs if one not in plan.facts.signatures.invalid))
                sets["status"] = "signed"
            pairs.sort()
            sets |= plan.copies
        else:
            order = {key: place for place, key in enumerate(BRIDGE.pocket_keys)}
            pairs.sort(key=lambda one: order.get(one[0], len(order)))
        wrote = self._write(doc, plan.guard, {**sets, **_columns(pairs)})
        if wrote and "status" in sets:
            self._check_signed(doc, plan)
        return wrote

    def _complete(self, doc: Id, raw: Raw, document: AnyRequest, plan: Plan) -> bool:
        assert plan.message is not None
        view = plan.facts.signatures
        stands = self.world.store.get(doc)
        if stands is None:
            return False
        if isinstance(document, Mint):
            pairs = _pairs(stands)
            if len(set(dict(view.valid).items()) & set(pairs)) < self.world.threshold:
                return False
            pairs = sorted(set(pairs) - set(view.invalid))
            wrote = self._write(
                doc, {**plan.guard, "status": "confirmed"}, {**plan.copies, **_columns(pairs), "status": "signed"}
            )
        else:
            tx = assembled(plan.message, dict(view.valid))
            assert tx
            if self.journal.complete.setdefault((plan.key, plan.facts.attempt), tx) != tx:
                return False
            guard = {**plan.guard, "status": "confirmed", "signers": raw["signers"], "signatures": raw["signatures"]}
            sets = {"return_tx": tx, "return_tx_hash": hash_of(tx), **_columns(view.valid), "status": "signed"}
            wrote = self._write(doc, guard, sets)
        if wrote:
            self._check_signed(doc, plan)
        return wrote

    def _check_signed(self, doc: Id, plan: Plan) -> None:
        """Whoever writes `signed` leaves enough valid signatures over the one digest that the chains decide."""
        stands = self.world.store[doc]
        is_mint = doc[0] is Collection.MINT
        who = {signer for signer, text in _pairs(stands) if (signer, plan.message, text) in self.world.made}
        who &= set(ADDRESSES if is_mint else BRIDGE.pocket_keys)
        assert len(who) >= (self.world.threshold if is_mint else len(BRIDGE.pocket_keys))
        if is_mint:
            assert {name: stands[name] for name in plan.copies} == plan.copies

    def _submit(self, doc: Id, document: AnyRequest, plan: Plan, decision: Submit) -> bool:
        assert not isinstance(document, Mint)
        assert plan.facts.shortfall == 0
        assert not self.paused
        tx = document.return_tx
        if self.journal.complete.setdefault((plan.key, plan.facts.attempt), tx) != tx:
            return False
        self.world.submit(tx, plan.outcome.fee)
        if decision.again:
            return False
        guard = {"status": document.status, "return_tx_hash": document.return_tx_hash, "attempt": document.attempt}
        return self._write(doc, guard, {"status": "submitted"})

    def _object(self, doc: Id, document: AnyRequest, plan: Plan, decision: Object) -> bool:
        what = f"object:{doc[0].value}:{plan.key}:{decision.code.value}"
        known = plan.event is not None and home(plan.event)[0] is doc[0]
        if not self.journal.admit(plan.key if known else f"{doc[0].value}:{plan.key}", "objection", 0, what, None):
            return False
        said = {
            "signer": self.address,
            "code": decision.code.value,
            "reason": "",
            "signature": self.world.sign(self.address, what),
        }
        stands = self.world.store.get(doc, {})
        there = stands.get("objections")
        there = there if isinstance(there, list) else []
        mine = [one for one in there if isinstance(one, dict) and one.get("signer") == self.address]
        if mine == [said]:
            return False
        others = [one for one in there if one not in mine]
        return self._write(doc, {"status": document.status}, {"objections": [*others, said]})


def _claimed_key(document: AnyRequest) -> str:
    if isinstance(document, BurnModel):
        return burn_key(BRIDGE, document.transaction_hash, int(document.burn_index or 0))
    return deposit_key(BRIDGE, document.transaction_hash)


def _pairs(raw: Raw) -> list[tuple[str, str]]:
    lists = [raw.get(name) if isinstance(raw.get(name), list) else [] for name in ("signers", "signatures")]
    return list(zip(*lists, strict=False))


def _columns(pairs: Sequence[tuple[str, str]]) -> Raw:
    return {"signers": [signer for signer, _ in pairs], "signatures": [text for _, text in pairs]}
