"""The life of one handling: read, gather facts, decide, carry out. The same for the three request collections.

The doorbell's content is never used: a handling starts from the document as it is now and ends in a reason to wait or to rest.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final, Generic, TypeVar

from bson import ObjectId
from loguru import logger

from reactor.documents.models import AnyRequest, read_request
from reactor.documents.objections import objection_digest
from reactor.documents.reasons import ObjectionCode, Of, WaitReason
from reactor.documents.statuses import Collection, Status
from reactor.flows.decisions import Complete, Decision, Hold, Move, Object, Repair, Rest, Sign, Submit, Wait, Wake
from reactor.flows.facts import Common
from reactor.handlers.claims import TURN_SECONDS, Remembered
from reactor.handlers.context import Context
from reactor.handlers.display import Label, show, turn_at
from reactor.handlers.plan import Plan
from reactor.handlers.sources import Origin, removed
from reactor.keys.signer import Signer
from reactor.sentences import counted
from reactor.state.holds import event_scope
from reactor.state.journal import JournalEntry
from reactor.state.verdicts import Refused
from reactor.store import signatures, updates
from reactor.store.reading import KEY_FIELDS, Found
from reactor.store.updates import Update

if TYPE_CHECKING:
    from loguru import Logger

Result = Wait | Rest
F = TypeVar("F", bound=Common)
D = TypeVar("D", bound=AnyRequest)

_TRIES: Final = 3
"""Reads of one document in one handling; a race lost more often than that is continued by the next doorbell."""
_FARTHEST_LOOK: Final = 64
"""Heads that are looked ahead for the own turn to show something."""
_ANY_HEIGHT: Final = 2**62
_AFTER_WRITE: Final = 2.0
"""The own write rings the own doorbell; this is the bound should that ring be lost."""
BURST: Final = 1_000
"""More changes than the signers of one document make."""
LATER_SECONDS: Final = 5.0
"""After about this time those who have nothing to do but to see that it stands look: many documents at once, in one read."""
SPARE_SECONDS: Final = 1.0
"""After this time, or up to twice it, those who were not needed to sign at once look."""
BURST_SECONDS: Final = 0.5
"""In this time after the first signature the others and the completing write have come, where nobody is dead."""


@dataclass(frozen=True, slots=True)
class Handling(Generic[D, F]):
    """One look at one document: as it was found, as it reads, and what was planned for it."""

    id: ObjectId
    found: Found
    document: D
    plan: Plan[F]

    @property
    def status(self) -> str:
        return self.document.status


def completion(key: str) -> str:
    """The subject of the order in which validators complete an event's document."""
    return f"{key}:Complete"


class RequestHandler(ABC, Generic[D, F]):
    """One collection's handler. Subclasses say how facts are gathered, what is signed, and what a complete document holds."""

    def __init__(self, collection: Collection, context: Context) -> None:
        self.collection = collection
        self.context = context
        self.labels: Remembered[ObjectId, Label] = Remembered()
        self._would_do: Remembered[tuple[str, str], object] = Remembered()
        self._disputed: Remembered[ObjectId, bool] = Remembered()

    @abstractmethod
    async def plan(self, document: D, origin: Origin, *, oversized: bool) -> Plan[F]:
        """The facts of this document and what would be signed."""

    @abstractmethod
    def decide(self, document: D, facts: F) -> Decision:
        """The flow."""

    @abstractmethod
    async def complete(self, handling: Handling[D, F], decision: Complete) -> Update | Wait:
        """The write that makes the document `signed`."""

    @abstractmethod
    async def submit(self, handling: Handling[D, F], decision: Submit) -> Update | Wait:
        """Submit what is signed; the write that says so."""

    @property
    @abstractmethod
    def signer(self) -> Signer | None:
        """The key of this flow."""

    async def handle(self, document_id: ObjectId, *, shown: bool = False, rung: bool = False, written: bool = False) -> Result:
        """Take the document as far as it goes now. `shown`: write into the document why it waits. `rung`: it was written to
        (`written`), or its own timer is due; else all of it is looked at, whoever's turn that is.
        """
        if rung and (ahead := await self.ahead(document_id, written=written)) is not None:
            return ahead
        result = await self._handle(document_id, rung=rung)
        label = self.labels.get(document_id)
        if shown and label is not None and isinstance(result, Wait):
            await show(self.context, self.collection, document_id, label, result)
        return result

    async def ahead(self, document_id: ObjectId, *, written: bool) -> Result | None:
        """What can be done for a document that was rung before it is read; None: read it."""
        del document_id, written
        return None

    def at_rest(self, document_id: ObjectId, document: D) -> str | None:
        """The event's key, where a document that was rung needs no closer look by this validator; else None."""
        del document_id, document
        return None

    async def ended(self, handling: Handling[D, F], result: Result | None) -> None:
        """What is left to write for the eye after a look; `result` None: it is read again."""
        del handling, result

    async def _handle(self, document_id: ObjectId, *, rung: bool) -> Result:
        for _ in range(_TRIES):
            found = await self.context.requests.read(self.collection, document_id)
            if found is None:
                return await self._missing(document_id)
            result = await self._step(document_id, found, rung=rung)
            if result is not None:
                return result
        return Wait(WaitReason.LOST_RACE, wake=Wake(after=0.25))

    async def _step(self, document_id: ObjectId, found: Found, *, rung: bool) -> Result | None:
        document: Any = read_request(self.collection, found.raw or {})
        if rung and (key := self.at_rest(document_id, document)) is not None:
            self.context.ledger.settle(key)
            return Rest(finished=False, reason=WaitReason.USER)
        origin = Origin.find(self.context, self.collection, document, document_id)
        if not origin.ours:
            return Rest(finished=False)
        self.labels.set(document_id, Label(origin.key, document.status, origin.chain, origin.height))
        plan = await self.plan(document, origin, oversized=found.raw is None)
        decision = self.decide(document, plan.facts)
        self.log(origin.key, document.status).debug("{} {} {}: {}", self.collection.value, origin.key, document.status, decision)
        self._tell_dispute(document_id, origin.key, document.status, decision)
        handling = Handling(document_id, found, document, plan)
        result = await self._carry_out(handling, decision)
        self._settle(origin, result, document_id)
        await self.ended(handling, result)
        return result

    def log(self, key: str, status: str = "", reason: str = "") -> "Logger":
        """The log with the fields that JSON lines carry of a document."""
        fields = {"collection": self.collection.value, "key": key, "status": status, "reason": reason}
        return logger.bind(**{name: value for name, value in fields.items() if value})

    def _tell_dispute(self, document_id: ObjectId, key: str, status: str, decision: Decision) -> None:
        """When a document becomes disputed, and when it is no more."""
        disputed = isinstance(decision, Wait) and decision.reason is WaitReason.DISPUTED
        if disputed == (self._disputed.get(document_id) is not None):
            return
        bound = self.log(key, status, WaitReason.DISPUTED.value)
        if isinstance(decision, Wait) and disputed:
            self._disputed.set(document_id, True)
            what = ", ".join(f"{name} {value}" for name, value in decision.params.items())
            bound.error("{} {} is disputed ({}): this validator leaves it alone", self.collection.value, key, what)
        else:
            self._disputed.forget(document_id)
            bound.info("{} {} is disputed no more", self.collection.value, key)

    async def _missing(self, document_id: ObjectId) -> Result:
        """A deleted document of an event in the own ledger is inserted again; any other is nobody's."""
        origin = Origin.of_missing(self.context, self.collection, document_id)
        if origin.document is None or origin.elsewhere or self.context.me.observes:
            return Rest(finished=False)
        # One that this process has read before was removed. Else it may never have been there: Mongo was away, say.
        was_there = self.labels.get(document_id) is not None
        fresh = removed(self.context, origin.document) if was_there else origin.document
        if not await self.context.requests.insert(self.collection, fresh):
            return Rest(finished=False)
        return Wait(WaitReason.WRITTEN, {"wrote": "insert"}, Wake(after=_AFTER_WRITE))

    def _settle(self, origin: Origin, result: Result | None, document_id: ObjectId) -> None:
        """The sweep looks only at what is open to this validator.

        A foreign document that was adopted stays open: should it be removed or made unreadable, its `_id` would tell nobody
        whose it was.
        """
        if origin.event is None or origin.elsewhere or result is None:
            return
        own = origin.document is not None and origin.document["_id"] == document_id
        if isinstance(result, Rest) and own:
            self.context.ledger.settle(origin.key)
        elif isinstance(result, Rest) or result.reason.of is not Of.MOMENT:
            self.context.ledger.unsettle(origin.key)

    async def _carry_out(self, handling: Handling[D, F], decision: Decision) -> Result | None:
        """Do it. None: the race was lost, read again."""
        match decision:
            case Rest():
                return decision
            case Wait():
                return self._wait(handling.plan, decision)
            case Hold():
                return self._hold(handling.plan, decision)
        if self.context.me.observes:
            return await self._would(handling, decision)
        match decision:
            case Sign():
                return await self._sign(handling, decision)
            case Object():
                return await self._object(handling, decision)
        return await self._in_turn(handling, decision)

    async def _would(self, handling: Handling[D, F], decision: Decision) -> Wait:
        """Tell, once, what a validator with keys would do now: of a signature the digest, to be compared with those of others."""
        kind, plan = type(decision).__name__.lower(), handling.plan
        what: object = f"status {handling.status}"
        if isinstance(decision, Sign):
            event = plan.origin.event
            if plan.message is None or event is None or not await self.context.still_there(plan.origin.chain, event.block):
                return Wait(WaitReason.OBSERVING, wake=Wake(after=2.0))
            entry = plan.entry(decision)
            journal = self.context.journal
            # SECURITY: who signs asks the journal, which notes it; here it is only asked what it would say to an old event.
            if not journal.covers(entry.chain, entry.height) and not journal.allows_older:
                return Wait(WaitReason.OLDER_THAN_JOURNAL)
            what = f"{entry.outcome}, attempt {entry.attempt}, digest {entry.digest.hex()}"
        if self._would_do.get((plan.key, kind)) != what:
            self._would_do.set((plan.key, kind), what)
            logger.info("would {} {} {}: {}", kind, self.collection.value, plan.key, what)
        return Wait(WaitReason.OBSERVING, {"would": kind})

    def _wait(self, plan: Plan[F], wait: Wait) -> Wait:
        """The flow's wait, with this validator's turns in it, so that N validators together read about as often as one."""
        if wait.reason is WaitReason.NOT_FINAL:
            chain, final_at = plan.origin.chain, plan.facts.source.final_at
            return replace(wait, wake=Wake(heads=((chain, self._next_look(plan.key, chain, final_at)),)))
        if wait.reason is WaitReason.SIGNATURES and (place := self.context.turns.place(completion(plan.key))):
            return replace(wait, wake=self._after_the_first(plan, wait.wake, place))
        return wait

    def _after_the_first(self, plan: Plan[F], wake: Wake, place: int) -> Wake:
        """Whoever is not first to complete it lets the first one's write ring too, and reads once instead of twice."""
        if not plan.late_welcome:
            return replace(wake, rings=max(1, wake.rings) + 1)
        # Several may ring before it is completed: it is read once when the burst is over.
        return replace(wake, rings=BURST, settle=self.context.turns.together(BURST_SECONDS) + place * TURN_SECONDS)

    def _next_look(self, key: str, chain: str, final_at: int) -> int:
        """The next head at which this validator shows the confirmations, or at which the event is final."""
        head = self.context.heads.height(chain)
        for height in range(head + 1, min(final_at, head + _FARTHEST_LOOK)):
            if self.context.turns.place(turn_at(key, height)) == 0:
                return height
        return max(head + 1, min(final_at, head + _FARTHEST_LOOK))

    def _hold(self, plan: Plan[F], decision: Hold) -> Wait:
        if not self.context.me.observes:
            self.context.journal.hold(
                event_scope(plan.key), decision.reason.value, decision.detail, "validator", subject=decision.detail
            )
            self.context.tell_stops()
        return Wait(WaitReason.HELD, {"reason": decision.reason.value, "detail": decision.detail}, Wake(after=5.0))

    async def _in_turn(self, handling: Handling[D, F], decision: Move | Repair | Complete | Submit) -> Result | None:
        """What any validator may do, and the result is the same: one does it, the others wait their turn."""
        kind = type(decision).__name__
        key = handling.plan.key
        subject = f"{key}:{kind}:{handling.status}"
        # Who completes a document also confirms it: he is among those who look at once.
        first = isinstance(decision, Complete) or handling.status == Status.PENDING
        left = self.context.turns.left(subject, completion(key) if first else "")
        if left > 0:
            return Wait(WaitReason.TURN, {"for": kind.lower()}, Wake(after=left))
        update = await self._update(handling, decision)
        if isinstance(update, Wait):
            return update
        self.context.turns.taken(subject)
        return await self._write(update, handling.plan, decision)

    async def _update(self, handling: Handling[D, F], decision: Move | Repair | Complete | Submit) -> Update | Wait:
        match decision:
            case Move() if decision.to is Status.FAILED:
                return self._fail(handling, decision)
            case Move():
                return updates.advance(
                    self.collection,
                    handling.id,
                    frm=handling.status,
                    to=decision.to,
                    by=self.context.me.address,
                    reason=decision.reason,
                    now=self.context.now(),
                    guard=handling.plan.guard,
                    sets={**decision.sets, **self._shown(handling, decision)},
                )
            case Repair():
                return await self._repair(handling, decision)
            case Complete():
                return await self.complete(handling, decision)
            case Submit():
                return await self.submit(handling, decision)

    def _shown(self, handling: Handling[D, F], decision: Move) -> dict[str, Any]:
        """What the eye sees of a move: the confirmations are those that were enough."""
        if handling.status != Status.PENDING or decision.to is not Status.CONFIRMED:
            return {}
        origin = handling.plan.origin
        return {"confirmations": str(max(0, self.context.heads.height(origin.chain) - origin.height))}

    def _fail(self, handling: Handling[D, F], decision: Move) -> Update:
        return updates.fail(
            self.collection,
            handling.id,
            frm=handling.status,
            objections=[(one.signer, one.signature) for one in handling.plan.objections],
            signers=handling.document.signers,
            signatures=handling.document.signatures,
            by=self.context.me.address,
            reason=decision.reason,
            now=self.context.now(),
        )

    async def _repair(self, handling: Handling[D, F], decision: Repair) -> Update:
        key, now = handling.plan.key, self.context.now()
        bound = self.log(key, handling.status, decision.reason)
        bound.warning("{} {} was not what the chains say: {}", self.collection.value, key, decision.reason)
        fresh = handling.plan.origin.document
        if fresh is not None and (handling.found.raw is None or set(KEY_FIELDS[self.collection]) & set(decision.fields)):
            # Another document may hold the key that this one gets back: the unique index would refuse the repair for ever.
            await self.context.requests.free_key(self.collection, fresh, handling.id)
        if handling.found.raw is None:
            return updates.replace_unreadable(
                self.collection,
                handling.id,
                size=handling.found.size,
                fresh=handling.plan.origin.document or {},
                by=self.context.me.address,
                reason=decision.reason,
                now=now,
            )
        return updates.repair(
            self.collection,
            handling.id,
            fields=decision.fields,
            was=updates.as_read(handling.found.raw, list(decision.fields)),
            by=self.context.me.address,
            reason=decision.reason,
            now=now,
            status=decision.status,
        )

    async def _write(self, update: Update, plan: Plan[F], decision: Decision) -> Result | None:
        if not await self.context.requests.write(update):
            return None
        kind = type(decision).__name__.lower()
        reason = getattr(decision, "reason", "")
        bound = self.log(plan.key, decision.to.value if isinstance(decision, Move) else "", reason)
        bound.info("{} {}: {} {}", self.collection.value, plan.key, kind, reason)
        if isinstance(decision, Repair):
            self.context.ledger.count_repair(f"{self.collection.value}:{plan.key}")
        wake = Wake(after=_AFTER_WRITE)
        if isinstance(decision, Complete) and plan.late_welcome:
            # Nothing is left to do but to see that it stands.
            wake = replace(wake, rings=BURST, settle=self.context.turns.together(LATER_SECONDS))
        return Wait(WaitReason.WRITTEN, {"wrote": kind}, wake)

    async def _sign(self, handling: Handling[D, F], decision: Sign) -> Result | None:
        """SECURITY: the order is: block still there, journal synced to disk, signature made, signature published."""
        plan, event = handling.plan, handling.plan.origin.event
        if plan.message is None or event is None or self.signer is None:
            return Wait(WaitReason.OBSERVING)
        if not await self.context.still_there(plan.origin.chain, event.block):
            return Wait(WaitReason.NOT_SEEN, {"block": event.block.hash}, Wake(after=2.0))
        verdict = await self.context.admissions.admit(plan.entry(decision))
        if isinstance(verdict, Refused):
            self.context.tell_stops()  # a limit may hold it now
            return Wait(verdict.reason.wait, {"detail": verdict.detail}, Wake(after=5.0))
        signature = plan.signature_text(await self.signer.sign(plan.message, "request"))
        # SECURITY: a key service may take its time, and a file that went meanwhile takes what was noted with it.
        if why := self.context.state_replaced():
            return Wait(WaitReason.STATE_REPLACED, {"detail": why})
        if not await self.context.requests.write(self._append(handling, signature)):
            return None
        have = len(plan.facts.signatures.valid)
        bound = self.log(plan.key, handling.status)
        bound.info("{} {}: signed, {} of {}", self.collection.value, plan.key, have + 1, plan.needed)
        return self._wait(plan, Wait(WaitReason.SIGNATURES, {"have": str(have + 1), "need": str(plan.needed)}))

    def _append(self, handling: Handling[D, F], signature: str) -> Update:
        plan = handling.plan
        return signatures.append_signature(
            self.collection,
            handling.id,
            statuses=(Status.CONFIRMED, Status.SIGNED) if plan.late_welcome else (Status.CONFIRMED,),
            guard=plan.guard,
            signer=plan.facts.own_key,
            signature=signature,
            by=self.context.me.address,
            reason=f"{counted(len(plan.facts.signatures.valid) + 1, 'signature')}, {plan.needed} needed",
            now=self.context.now(),
            rings_at=plan.needed,
            order=plan.order,
            threshold=plan.threshold_by_append,
            verified=plan.facts.signatures.valid,
            invalid=plan.facts.signatures.invalid,
            sets=plan.copies,
        )

    async def _object(self, handling: Handling[D, F], decision: Object) -> Result | None:
        """SECURITY: an objection is journaled like a signature: who objected never signs, who signed never objects."""
        key, plan = self.context.me.ethereum_signer, handling.plan
        if key is None:
            return Wait(WaitReason.OBSERVING)
        digest = objection_digest(self.context.bridge, self.collection, plan.key, decision.code.value)
        verdict = await self.context.admissions.admit(self._objection_entry(handling, decision.code, digest))
        if isinstance(verdict, Refused):
            return Wait(verdict.reason.wait, {"detail": verdict.detail}, Wake(after=5.0))
        said = {
            "signer": self.context.me.address,
            "code": decision.code.value,
            "reason": decision.code.sentence,
            "signature": "0x" + (await key.sign(digest, "objection")).hex(),
        }
        # SECURITY: as for a signature.
        if why := self.context.state_replaced():
            return Wait(WaitReason.STATE_REPLACED, {"detail": why})
        update = updates.add_objection(self.collection, handling.id, frm=handling.status, objection=said, now=self.context.now())
        return await self._write(update, plan, decision)

    def _objection_entry(self, handling: Handling[D, F], code: ObjectionCode, digest: bytes) -> JournalEntry:
        """What is refuted of no event of its own here goes under a name of its own, by the code too.

        A document in the wrong collection has its event signed for in the right one; and what was first on no chain at all may
        later turn out to belong elsewhere: that is another objection, not a second digest for one event.
        """
        plan = handling.plan
        origin = plan.origin
        known = origin.event is not None and not origin.elsewhere
        return JournalEntry(
            event=plan.key if known else f"{self.collection.value}:{plan.key}:{code.value}",
            outcome="objection",
            attempt=0,
            digest=digest,
            slot=None,
            chain="pocket" if origin.chain == "pocket" else "ethereum",
            # What never happened has no height; an objection to it is safe whatever a lost journal knew.
            height=origin.event.height if origin.event else _ANY_HEIGHT,
            direction=plan.direction,
        )
