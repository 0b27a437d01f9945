"""The reactive handler of `mint`: nonce and digest from the chains, entries verified over them, the flow asked."""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from bson import ObjectId

from reactor.chains.ethereum.eip712 import mint_digest, recover_signer, typed_data
from reactor.chains.ethereum.types import ContractFacts
from reactor.documents.classification import ToMint, classify_deposit
from reactor.documents.events import Deposit
from reactor.documents.keys import nonce_slot
from reactor.documents.models import Mint
from reactor.documents.reasons import WaitReason
from reactor.documents.statuses import Collection, Status
from reactor.flows import mint as flow
from reactor.flows.decisions import Complete, Decision, Rest, Submit, Wait, Wake
from reactor.flows.facts import Blocked, MintFacts, MintTerms, Quorum, SignatureView
from reactor.flows.refusals import REFUSALS
from reactor.handlers.claims import Remembered
from reactor.handlers.context import Context
from reactor.handlers.display import Label
from reactor.handlers.evidence import own_signature_known
from reactor.handlers.nonces import mint_nonce
from reactor.handlers.objectors import objectors
from reactor.handlers.plan import Plan
from reactor.handlers.request import BURST, LATER_SECONDS, SPARE_SECONDS, Handling, RequestHandler, Result, completion
from reactor.handlers.signatures import Signatures
from reactor.handlers.sources import Origin, refuted
from reactor.keys.signer import Signer
from reactor.state.journal import JournalEntry
from reactor.state.rows import EventKind
from reactor.state.verdicts import Refused
from reactor.store import signatures, updates
from reactor.store.updates import Update


@dataclass(frozen=True, slots=True)
class Made:
    """What is signed before the document is read."""

    entry: JournalEntry
    outcome: ToMint
    copies: Mapping[str, Any]


class MintHandler(RequestHandler[Mint, MintFacts]):
    """pending → confirmed → signed → submitted → success."""

    def __init__(self, context: Context) -> None:
        super().__init__(Collection.MINT, context)
        self._signatures = Signatures(verify_mint_signature)
        self._own: Remembered[ObjectId, tuple[str, str]] = Remembered()
        self._tried: Remembered[ObjectId, bool] = Remembered()
        self._listens: Remembered[ObjectId, bool] = Remembered()
        self._quorum: Quorum | None = None

    @property
    def signer(self) -> Signer | None:
        return self.context.me.ethereum_signer

    def decide(self, document: Mint, facts: MintFacts) -> Decision:
        return flow.decide(document, facts)

    async def ahead(self, document_id: ObjectId, *, written: bool) -> Result | None:
        """Sign before the document is read: all that would be read of it is compared in the write.

        SECURITY: the same conditions as in the flow, on the own ledger and node; a document that says otherwise than the guard,
        or is not `confirmed`, is left as it is, and read. Tried once: whoever signed here before reads first.

        So many as are needed sign at once: the one who completes it, and the last in the order of those who are up. The others
        look when it should be signed: they audit it and add theirs, or sign because somebody did not.
        """
        if self._tried.get(document_id) is not None:
            return self._left_to_auditors(document_id, written=written)
        seen = self.context.ledger.by_document(document_id)
        if seen is None or not seen.final or not isinstance(seen.event, Deposit) or self.signer is None:
            return None
        self._tried.set(document_id, True)
        if self.context.journal.knows(seen.key, "mint", 0) is not None:
            return None
        quorum, contract = await self.context.quorum()
        self._quorum = quorum
        place = self.context.turns.place(completion(seen.key))
        if 0 < place <= self.context.turns.spare(quorum.threshold):
            return self._for_the_burst(quorum)
        made = await self._made_ahead(seen.event, seen.key, quorum, contract)
        if made is None or not await self.context.still_there("pocket", seen.event.block):
            return None
        if isinstance(await self.context.admissions.admit(made.entry), Refused):
            return None
        signature = "0x" + (await self.signer.sign(made.entry.digest, "request")).hex()
        # SECURITY: as in `RequestHandler._sign`; the document is then read, and says why it waits.
        if self.context.state_replaced():
            return None
        if not await self.context.requests.write(self._append_ahead(document_id, made, quorum, signature)):
            return None
        self._own.set(document_id, (seen.key, signature))
        self.labels.set(document_id, Label(seen.key, Status.CONFIRMED.value, "pocket", seen.event.height))
        self.log(seen.key, Status.CONFIRMED.value).info("mint {}: signed", seen.key)
        if place > 0 and not self.context.turns.audits(completion(seen.key), quorum.threshold):
            self._listens.set(document_id, True)
        return self._after_ahead(place, quorum)

    async def _made_ahead(self, deposit: Deposit, key: str, quorum: Quorum, contract: ContractFacts) -> Made | None:
        """What is to be signed for a final deposit; None where anything speaks against it or is not known yet."""
        context = self.context
        outcome = classify_deposit(context.bridge, deposit)
        if not isinstance(outcome, ToMint):
            return None
        member = context.me.address in quorum.members
        if outcome.amount > contract.max_mint_limit or context.blocked(key, "mint", outcome.recipient, member=member) is not None:
            return None
        nonce = await mint_nonce(context, deposit, outcome.recipient)
        if isinstance(nonce, Blocked) or context.ledger.minted(outcome.recipient, nonce):
            return None
        entry = JournalEntry(
            event=key,
            outcome="mint",
            attempt=0,
            digest=mint_digest(contract.domain, outcome.recipient, outcome.amount, nonce),
            slot=nonce_slot(context.bridge, outcome.recipient, nonce),
            chain="pocket",
            height=deposit.height,
            direction="mint",
            recipient=outcome.recipient,
        )
        return Made(entry, outcome, _copies(contract, outcome, nonce))

    def _append_ahead(self, document_id: ObjectId, made: Made, quorum: Quorum, signature: str) -> Update:
        return signatures.append_signature(
            self.collection,
            document_id,
            statuses=(Status.CONFIRMED, Status.SIGNED),
            guard={"recipient_address": made.outcome.recipient, "amount": str(made.outcome.amount)},
            signer=self.context.me.address,
            signature=signature,
            by=self.context.me.address,
            reason=f"1 signature, {quorum.threshold} needed",
            now=self.context.now(),
            rings_at=quorum.threshold,
            threshold=quorum.threshold,
            sets=made.copies,
        )

    def _for_the_burst(self, quorum: Quorum) -> Wait:
        """Others sign first, as one's own place can be spared: until it should be signed, on a busy machine too; one look then,
        at many together.
        """
        wake = Wake(after=self.context.turns.together(SPARE_SECONDS), rings=BURST)
        return Wait(WaitReason.SIGNATURES, {"need": str(quorum.threshold)}, wake)

    def _after_ahead(self, place: int, quorum: Quorum) -> Wait:
        """The first is rung when enough stand in it, and completes it; the others need only hear that it goes on."""
        wake = Wake() if place == 0 else Wake(after=self.context.turns.together(LATER_SECONDS), rings=BURST)
        return Wait(WaitReason.SIGNATURES, {"need": str(quorum.threshold)}, wake)

    def _left_to_auditors(self, document_id: ObjectId, *, written: bool) -> Rest | None:
        """Signed here, and written to since: enough have signed, and it is for those who audit it to say if it does not stand.

        What they find wrong rings again, and then it is read. Nothing written: not enough have signed, so it is read now.
        """
        listens, own = self._listens.get(document_id), self._own.get(document_id)
        self._listens.forget(document_id)
        if not (listens and own and written):
            return None
        self.context.ledger.settle(own[0])
        return Rest(finished=False, reason=WaitReason.USER)

    def at_rest(self, document_id: ObjectId, document: Mint) -> str | None:
        """A signed mint that carries the own signature is audited by N - M + 1 validators when it is written to.

        SECURITY: of so many at least one is honest and up whenever M are. The others count nobody's signature here, and look at
        all of it whenever it is not just rung: at the start, in the sweeps, and when `Minted` is seen.
        """
        quorum, own = self._quorum, self._own.get(document_id)
        if quorum is None or own is None or document.status != Status.SIGNED or document.malformed:
            return None
        key, signature = own
        if (self.context.me.address, signature) not in document.pairs:
            return None
        return None if self.context.turns.audits(completion(key), quorum.threshold) else key

    async def plan(self, document: Mint, origin: Origin, *, oversized: bool) -> Plan[MintFacts]:
        context = self.context
        quorum, contract = await context.quorum()
        self._quorum = quorum
        outcome = origin.outcome(context)
        source = origin.source(context, refuted=await refuted(context, origin, document))
        known: dict[str, Any] = {}
        message, slot = None, None
        view = SignatureView()
        if isinstance(outcome, ToMint) and isinstance(origin.event, Deposit) and origin.final:
            nonce = await mint_nonce(context, origin.event, outcome.recipient)
            if isinstance(nonce, Blocked):
                known["nonce_wait"] = nonce
            else:
                message = mint_digest(contract.domain, outcome.recipient, outcome.amount, nonce)
                slot = nonce_slot(context.bridge, outcome.recipient, nonce)
                known["copies"] = _copies(contract, outcome, nonce)
                known |= self._minted(outcome.recipient, nonce)
                view = self._signatures.view(message, document.pairs, sorted(quorum.members, key=lambda one: int(one, 16)))
        recipient = outcome.recipient if isinstance(outcome, ToMint) else ""
        if document.id is not None:
            self._listens.forget(document.id)
        if message is not None:
            own_signature_known(context, origin, "mint", 0, own_entry=context.me.address in view.signers)
        facts = MintFacts(
            **self.common(document, origin, quorum, contract, view),
            source=source,
            blocked=context.blocked(origin.key, "mint", recipient, member=context.me.address in quorum.members),
            own_key=context.me.address,
            terms=mint_terms(contract, context.now()),
            oversized=oversized,
            **known,
        )
        return Plan(
            origin,
            facts,
            direction="mint",
            needed=quorum.threshold,
            message=message,
            slot=slot,
            recipient=recipient,
            guard={"recipient_address": recipient, "amount": str(outcome.amount)} if isinstance(outcome, ToMint) else {},
            copies=facts.copies or {},
            threshold_by_append=quorum.threshold,
            late_welcome=True,
            hex_prefix="0x",
            objections=[one for one in document.objections if one.signer in facts.objectors],
        )

    def common(
        self, document: Mint, origin: Origin, quorum: Quorum, contract: ContractFacts, view: SignatureView
    ) -> dict[str, Any]:
        """The facts that need the document's claims judged."""
        context = self.context
        cursor = context.ledger.cursor(EventKind.MINTED)
        who = objectors(context, self.collection, origin, document, quorum.members)
        return {
            "bridge": context.bridge,
            "me": context.me.address,
            "quorum": quorum,
            "signatures": view,
            "objectors": who,
            "own_objection": context.me.address in who,
            "signed_before": not origin.elsewhere and context.journal.knows(origin.key, "mint", 0) is not None,
            "claim_refuted": context.claim_refuted(document.id, document.status, cursor.time if cursor else None),
            "repairs": context.ledger.repairs(f"{self.collection.value}:{origin.key}"),
            "pocket_head": context.heads.height("pocket"),
            "ethereum_head": max(context.heads.height("ethereum"), contract.block.number),
        }

    def _minted(self, recipient: str, nonce: int) -> dict[str, Any]:
        seen = self.context.ledger.minted(recipient, nonce)
        if not seen:
            return {}
        best = max(seen, key=lambda one: (one.final, one.event.height))
        return {
            "minted": best.event,
            "minted_final": best.final,
            "minted_final_at": self.context.heads.final_at("ethereum", best.event.height),
        }

    async def ended(self, handling: Handling[Mint, MintFacts], result: Result | None) -> None:
        """Write at once why the contracts would refuse a signed mint, and take it away once they do not.

        Whoever looks at it writes it: few do (those who audit it, or the one who looks for such mints), and all write the same.
        """
        if result is None or handling.status != Status.SIGNED or self.context.me.observes or handling.document.malformed:
            return
        refused = result.reason in REFUSALS
        if not refused and result.reason is not WaitReason.USER:
            return
        shown = handling.document.waiting
        stands = None if shown is None else (shown.reason, dict(shown.params))
        wanted = (str(result.reason), dict(result.params)) if refused else None
        if stands == wanted:
            return
        by, now = self.context.me.address, self.context.now()
        update = updates.show_waiting(
            self.collection, handling.id, frm=handling.status, confirmations=None, waiting=wanted, by=by, now=now
        )
        await self.context.requests.write(update)

    async def complete(self, handling: Handling[Mint, MintFacts], decision: Complete) -> Update | Wait:
        plan = handling.plan
        return signatures.mark_signed(
            self.collection,
            handling.id,
            guard=plan.guard,
            verified=plan.facts.signatures.valid,
            invalid=plan.facts.signatures.invalid,
            threshold=plan.needed,
            by=self.context.me.address,
            reason=decision.reason,
            now=self.context.now(),
            sets=plan.copies,
        )

    async def submit(self, handling: Handling[Mint, MintFacts], decision: Submit) -> Update | Wait:
        """The user mints, never a validator: no flow decides this for a mint."""
        del handling, decision
        return Wait(WaitReason.USER)


def mint_terms(contract: ContractFacts, now: datetime) -> MintTerms:
    """What the contracts take at this moment, as the flow reads it."""
    return MintTerms(
        maximum=contract.max_mint_limit,
        limit=contract.current_mint_limit,
        per_second=contract.mint_per_second,
        paused=contract.paused,
        fee=contract.fee_flag,
        minter=contract.minter,
        now=int(now.timestamp()),
    )


def verify_mint_signature(digest: bytes, signer: str, signature: str) -> bool:
    """Whether the signature recovers to the signer, in exactly the form that the contract accepts."""
    return recover_signer(digest, signature) == signer


def _copies(contract: ContractFacts, outcome: ToMint, nonce: int) -> dict[str, Any]:
    """What the frontend passes on: computed, never copied from the document."""
    return {
        "nonce": str(nonce),
        "data": {"recipient": outcome.recipient, "amount": str(outcome.amount), "nonce": str(nonce)},
        "typed_data": typed_data(contract.domain, outcome.recipient, outcome.amount, nonce),
    }
