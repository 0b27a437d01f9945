"""The reactive handlers of `burn` and `invalid_mint`: the return transaction, built by everyone, signed by all."""

from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from typing import Any, Final

from reactor.chains.pocket import AssembleError, ReturnTx, assemble, return_entropy, tx_hash, verify_share
from reactor.documents.classification import ToPay, classify_burn
from reactor.documents.events import Burn, Deposit, Returned
from reactor.documents.models import Burn as BurnModel
from reactor.documents.models import InvalidMint
from reactor.documents.reasons import WaitReason
from reactor.documents.statuses import Collection, Status
from reactor.flows import payout as flow
from reactor.flows.decisions import Complete, Decision, Submit, Wait, Wake
from reactor.flows.facts import PayoutFacts, SignatureView
from reactor.flows.payments import Claim, failed_attempts, payments_by_claim
from reactor.handlers.claims import Remembered
from reactor.handlers.context import Context
from reactor.handlers.evidence import own_signature_known
from reactor.handlers.objectors import objectors
from reactor.handlers.plan import Plan
from reactor.handlers.request import Handling, RequestHandler
from reactor.handlers.signatures import Signatures
from reactor.handlers.sources import Origin, refuted
from reactor.keys.signer import Signer
from reactor.state.rows import EventKind
from reactor.store import signatures, updates
from reactor.store.updates import Update

Document = BurnModel | InvalidMint

MOST_ATTEMPTS: Final = 16
"""Attempts whose entropies are looked for on chain. Each but the last failed in a block and was released by hand."""
_OTHER_SET: Final = Wait(
    WaitReason.JOURNAL_CONFLICT, {"detail": "another complete transaction was journaled first"}, Wake(after=5.0)
)
LOST_AFTER_HEADS: Final = 2
"""A submitted return that is in none of so many new blocks is posted again, the same bytes."""


@lru_cache(maxsize=4096)
def _entropies(chain: str, source: str, index: int) -> tuple[int, ...]:
    """Those of all attempts of one event. They are asked for at each look at its document."""
    return tuple(return_entropy(chain, source, index, attempt) for attempt in range(MOST_ATTEMPTS + 1))


@dataclass(frozen=True, slots=True)
class Payment:
    """Everything about one event's payment that the chain and the identity decide."""

    outcome: ToPay
    attempt: int
    transaction: ReturnTx
    paid: Returned | None
    paid_final: bool


class PayoutHandler(RequestHandler[Document, PayoutFacts]):
    """pending → confirmed → signed → submitted → success."""

    def __init__(self, collection: Collection, context: Context) -> None:
        super().__init__(collection, context)
        self._signatures = Signatures(_verify_share)
        self._submitted_at: Remembered[str, int] = Remembered()
        self._complete: Remembered[bytes, bool] = Remembered()

    @property
    def signer(self) -> Signer | None:
        return self.context.me.pocket_signer

    def decide(self, document: Document, facts: PayoutFacts) -> Decision:
        return flow.decide(document, facts)

    async def plan(self, document: Document, origin: Origin, *, oversized: bool) -> Plan[PayoutFacts]:
        context = self.context
        quorum, contract = await context.quorum()
        outcome = origin.outcome(context)
        keys = context.bridge.pocket_keys
        payment = self._payment(origin, outcome) if isinstance(outcome, ToPay) and origin.final else None
        known: dict[str, Any] = {}
        view = SignatureView()
        if payment is not None:
            message = payment.transaction.sign_bytes
            view = self._signatures.view(message, document.pairs, keys)
            known = await self._payment_facts(document, origin, payment)
            own_entry = context.me.pocket_key in view.signers
            own_signature_known(context, origin, "payout", payment.attempt, own_entry=own_entry)
        cursor = context.ledger.cursor(EventKind.RETURNED)
        who = objectors(context, self.collection, origin, document, quorum.members)
        recipient = outcome.recipient if isinstance(outcome, ToPay) else ""
        facts = PayoutFacts(
            bridge=context.bridge,
            me=context.me.address,
            own_key=context.me.pocket_key,
            source=origin.source(context, refuted=await refuted(context, origin, document)),
            quorum=quorum,
            signatures=view,
            objectors=who,
            own_objection=context.me.address in who,
            signed_before=not origin.elsewhere and self._signed(origin.key),
            claim_refuted=context.claim_refuted(document.id, document.status, cursor.time if cursor else None),
            blocked=context.blocked(origin.key, "payout", recipient, member=context.me.pocket_key in keys),
            repairs=context.ledger.repairs(f"{self.collection.value}:{origin.key}"),
            pocket_head=context.heads.height("pocket"),
            ethereum_head=max(context.heads.height("ethereum"), contract.block.number),
            oversized=oversized,
            keys=keys,
            **known,
        )
        return Plan(
            origin,
            facts,
            direction="payout",
            needed=len(keys),
            message=payment.transaction.sign_bytes if payment else None,
            recipient=recipient,
            guard=_guard(document, payment),
            order=keys,
            objections=[one for one in document.objections if one.signer in who],
        )

    # ------------------------------------------------------------------ the payment

    def _payment(self, origin: Origin, outcome: ToPay) -> Payment:
        """SECURITY: TRUST.md, rule 5. The vault's own transactions are searched for a payment of any attempt of this event."""
        seen = self.context.ledger.returned_matching(outcome.recipient, outcome.amount, outcome.memo)
        entropies = self._entropies(origin.event)
        attempt = failed_attempts(entropies[:MOST_ATTEMPTS], [one.event for one in seen if one.final])
        paid = payments_by_claim(self._claims(origin, outcome), [one.event for one in seen]).get(origin.key)
        final = paid is not None and any(one.final for one in seen if one.event == paid)
        bridge = self.context.bridge
        transaction = ReturnTx(
            from_address=bridge.vault,
            to_address=outcome.recipient,
            amount=outcome.amount,
            fee=outcome.fee,
            memo=outcome.memo,
            entropy=entropies[attempt],
            chain_id=bridge.pocket_chain_id,
        )
        return Payment(outcome, attempt, transaction, paid, final)

    def _claims(self, origin: Origin, outcome: ToPay) -> list[Claim]:
        """This event and its equals (burns of one transaction may be equal), in the order of their index."""
        if not isinstance(origin.event, Burn):
            return [Claim(origin.key, frozenset(self._entropies(origin.event)))]
        claims = []
        for seen in self.context.ledger.burns_of_tx(origin.event.tx_hash):
            twin = classify_burn(self.context.bridge, seen.event)
            if isinstance(twin, ToPay) and (twin.recipient, twin.amount) == (outcome.recipient, outcome.amount):
                claims.append(Claim(seen.key, frozenset(self._entropies(seen.event))))
        return claims

    def _entropies(self, event: Deposit | Burn | None) -> tuple[int, ...]:
        bridge = self.context.bridge
        match event:
            case Burn():
                return _entropies(str(bridge.ethereum_chain_id), event.tx_hash, event.burn_index)
            case Deposit():
                return _entropies(bridge.pocket_chain_id, event.tx_hash, 0)
        return ()

    async def _payment_facts(self, document: Document, origin: Origin, payment: Payment) -> dict[str, Any]:
        context = self.context
        stored = self._stored(document, payment)
        if stored is not None and document.status == Status.SUBMITTED and payment.paid is None:
            self._note_submitted(origin, payment, stored)
        complete = context.journal.complete(origin.key, payment.attempt)
        if payment.paid is not None:
            if complete is not None:
                context.journal.included(origin.key, payment.attempt)
            shortfall = 0
        else:
            shortfall = await self._shortfall(document, origin, payment)
        return {
            "attempt": payment.attempt,
            "released": context.journal.releases(origin.key),
            "paid": payment.paid,
            "paid_final": payment.paid_final,
            "paid_final_at": context.heads.final_at("pocket", payment.paid.height) if payment.paid else 0,
            "complete_hash": tx_hash(complete) if complete else None,
            "stored_valid": stored is not None,
            "stored_hash": tx_hash(stored) if stored else "",
            "shortfall": shortfall,
            "lost": self._lost(document, origin),
        }

    def _note_submitted(self, origin: Origin, payment: Payment, stored: bytes) -> None:
        """Somebody submitted it: it is in flight for this validator too, whose next payout must leave it its coins."""
        journal, outcome = self.context.journal, payment.outcome
        if journal.complete(origin.key, payment.attempt) is None and not self.context.me.observes:
            journal.complete_set(origin.key, payment.attempt, stored, outcome.amount, outcome.fee)
            journal.submitted(origin.key, payment.attempt, int(self.context.now().timestamp()))

    def _stored(self, document: Document, payment: Payment) -> bytes | None:
        """SECURITY: the document's `return_tx`, if it is exactly our message under a signature of every vault key."""
        if not document.return_tx:
            return None
        # Documents are read many times over: all that is judged here is judged once.
        said = (payment.transaction.sign_bytes, document.pairs, document.return_tx, document.return_tx_hash)
        name = sha256(repr(said).encode()).digest()
        good = self._complete.get(name)
        if good is None:
            good = self._complete.set(name, self._is_complete(document, payment))
        return bytes.fromhex(document.return_tx) if good else None

    def _is_complete(self, document: Document, payment: Payment) -> bool:
        try:
            raw = bytes.fromhex(document.return_tx)
            shares = {signer: bytes.fromhex(text) for signer, text in document.pairs}
            built = assemble(payment.transaction, self.context.bridge.pocket_keys, shares)
        except (ValueError, AssembleError):
            return False
        return raw == built and document.return_tx_hash == tx_hash(raw)

    async def _shortfall(self, document: Document, origin: Origin, payment: Payment) -> int:
        """What the vault lacks for this payment and all that is under way. Asked only where something would be sent."""
        if document.status not in {Status.CONFIRMED, Status.SIGNED, Status.SUBMITTED}:
            return 0
        wanted = payment.outcome.amount + payment.outcome.fee + self.context.journal.in_flight_total(besides=origin.key)
        return max(0, wanted - await self.context.pocket.balance())

    def _lost(self, document: Document, origin: Origin) -> bool:
        head = self.context.heads.height("pocket")
        if document.status != Status.SUBMITTED:
            self._submitted_at.forget(origin.key)
            return False
        return head - self._submitted_at.first(origin.key, head) >= LOST_AFTER_HEADS

    # ------------------------------------------------------------------ the writes

    async def complete(self, handling: Handling[Document, PayoutFacts], decision: Complete) -> Update | Wait:
        """SECURITY: the first complete set is journaled before it is written, and only those bytes are ever submitted."""
        plan, document = handling.plan, handling.document
        payment = self._payment_of(plan)
        shares = {signer: bytes.fromhex(text) for signer, text in plan.facts.signatures.valid}
        raw = assemble(payment.transaction, self.context.bridge.pocket_keys, shares)
        if not self._keep(plan, payment, raw):
            return _OTHER_SET
        return signatures.complete_payout(
            self.collection,
            handling.id,
            signers=document.signers,
            signatures=document.signatures,
            pairs=plan.facts.signatures.valid,
            return_tx=raw.hex(),
            return_tx_hash=tx_hash(raw),
            guard=plan.guard,
            by=self.context.me.address,
            reason=decision.reason,
            now=self.context.now(),
        )

    async def submit(self, handling: Handling[Document, PayoutFacts], decision: Submit) -> Update | Wait:
        plan, document = handling.plan, handling.document
        payment = self._payment_of(plan)
        raw = self._stored(document, payment)
        if raw is None or not self._keep(plan, payment, raw):
            return _OTHER_SET
        self.context.journal.submitted(plan.key, payment.attempt, int(self.context.now().timestamp()))
        said = await self.context.pocket.submit(raw, again=decision.again)
        self.log(plan.key, handling.status).info("{} {}: return transaction posted: {}", self.collection.value, plan.key, said)
        self._submitted_at.set(plan.key, self.context.heads.height("pocket"))
        if decision.again:
            params = {"return_tx_hash": document.return_tx_hash}
            return Wait(WaitReason.RETURN_PENDING, params, Wake(heads=(("pocket", plan.facts.pocket_head + 1),)))
        return updates.advance(
            self.collection,
            handling.id,
            frm=handling.status,
            to=Status.SUBMITTED,
            by=self.context.me.address,
            reason="the return transaction is submitted",
            now=self.context.now(),
            guard={"return_tx_hash": document.return_tx_hash, "attempt": document.attempt},
        )

    def _keep(self, plan: Plan[PayoutFacts], payment: Payment, raw: bytes) -> bool:
        """Journal the complete set; False if another one was journaled first."""
        outcome = payment.outcome
        return self.context.journal.complete_set(plan.key, payment.attempt, raw, outcome.amount, outcome.fee) == raw

    def _signed(self, key: str) -> bool:
        """Whether a payment of this event was signed here. The own objection to it is in the journal too, and is none."""
        return any(row.outcome != "objection" for row in self.context.journal.signed(key))

    def _payment_of(self, plan: Plan[PayoutFacts]) -> Payment:
        outcome = plan.origin.outcome(self.context)
        assert isinstance(outcome, ToPay)
        return self._payment(plan.origin, outcome)


def _verify_share(message: bytes, signer: str, signature: str) -> bool:
    try:
        return verify_share(signer, message, bytes.fromhex(signature))
    except ValueError:
        return False


def _guard(document: Document, payment: Payment | None) -> dict[str, Any]:
    """The fields that enter the signed bytes, as they stand once repaired."""
    if payment is None:
        return {}
    total = payment.outcome.amount + payment.outcome.fee
    fields = {"amount": str(total), "transaction_hash": document.transaction_hash, "attempt": document.attempt}
    if isinstance(document, BurnModel):
        return {**fields, "recipient_address": payment.outcome.recipient}
    return {**fields, "sender_address": payment.outcome.recipient}
