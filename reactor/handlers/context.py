"""What every handler works with: the bridge, the own names and keys, the stores, the chains, the clock. No globals."""

from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Literal

from reactor.chains.ethereum.types import ContractFacts
from reactor.documents.bridge import Bridge
from reactor.documents.events import BlockRef
from reactor.documents.reasons import WaitReason
from reactor.flows.facts import Blocked, Quorum
from reactor.handlers.claims import Remembered, Turns
from reactor.handlers.lookups import LookUps
from reactor.handlers.ports import EthereumReads, Heads, PocketReads, Requests, SigningJournal
from reactor.keys.signer import Signer
from reactor.state.journal import Journal
from reactor.state.ledger import Ledger
from reactor.state.rows import EventKind


@dataclass(frozen=True, slots=True)
class Me:
    """The own names and keys. Without keys (`run --observe`) everything is decided and nothing is written."""

    address: str
    pocket_key: str
    ethereum_signer: Signer | None = None
    pocket_signer: Signer | None = None

    @property
    def observes(self) -> bool:
        return self.ethereum_signer is None or self.pocket_signer is None


@dataclass(frozen=True, slots=True)
class Context:
    """The dependencies of the handlers.

    `members` are the configured validators' Ethereum addresses: they only order turns; who counts is the contract's word.
    `identity_clash` says why the others' heartbeats forbid signing, or is empty;
    `silenced` the same because of another process with this key; `state_replaced` because a file of the own state is not the one
    that this process opened, looked at whenever it is asked. `tell_stops` writes to the log what is held or released and was not
    told yet; it is called after this process has held something. `claims`: since when (seconds since the epoch) a document has
    claimed its status, as seen by this process. `lookups` bounds what is asked for documents of unknown events; `look` has a
    block read again in which the own node shows such a transaction (kind of event, hash, height).
    """

    bridge: Bridge
    me: Me
    requests: Requests
    ledger: Ledger
    journal: Journal
    admissions: SigningJournal
    ethereum: EthereumReads
    pocket: PocketReads
    heads: Heads
    turns: Turns
    now: Callable[[], datetime]
    identity_clash: Callable[[], str] = lambda: ""
    silenced: Callable[[], str] = lambda: ""
    state_replaced: Callable[[], str] = lambda: ""
    tell_stops: Callable[[], None] = lambda: None
    claims: Remembered[object, tuple[str, float]] = field(default_factory=Remembered)
    lookups: LookUps = field(default_factory=LookUps)
    look: Callable[[EventKind, str, int], None] = lambda _kind, _tx, _height: None

    async def quorum(self) -> tuple[Quorum, ContractFacts]:
        """Who signs, as the contract says now."""
        facts = await self.ethereum.contract_facts()
        return Quorum(facts.threshold, frozenset(facts.validators)), facts

    def claim_refuted(self, document_id: object, status: str, final_time: int | None) -> bool:
        """Whether the own final view has passed the time at which this claim was first seen here.

        Evidence older than the claim would lie in a block that is final to this validator by now.
        """
        claimed = self.claims.get(document_id)
        if claimed is None or claimed[0] != status:
            claimed = self.claims.set(document_id, (status, self.now().timestamp()))
        return final_time is not None and final_time > claimed[1]

    def blocked(self, event: str, direction: str, recipient: str, *, member: bool) -> Blocked | None:
        """Why this validator signs nothing of this event now. The journal asks again, in its own transaction.

        Who only observes has no key that could be a member's or another process's: for it the question is what a validator on
        this state and these nodes would do.
        """
        if not self.me.observes and (barred := self._barred(member=member)) is not None:
            return barred
        # SECURITY: TRUST.md, rule 8. Signatures over another identity's bytes could justify what this bridge does not.
        if clash := self.identity_clash():
            return Blocked(WaitReason.IDENTITY, {"detail": clash})
        way: Literal["mint", "payout"] = "mint" if direction == "mint" else "payout"
        hold = self.journal.held(event, way, recipient)
        if hold is None:
            # SECURITY: the limits. A transfer is first judged when the journal is asked to note it: until then nothing is held.
            over = self.journal.over_limit(event, way)
            return None if over is None else Blocked(over.wait, over.params)
        reason = WaitReason.PAUSED if hold.reason == "paused" else WaitReason.HELD
        return Blocked(reason, {"scope": hold.scope, "reason": hold.reason, "by": hold.by, "detail": hold.detail})

    def _barred(self, *, member: bool) -> Blocked | None:
        """Why this very process signs nothing at all."""
        if not member:
            return Blocked(WaitReason.NOT_A_MEMBER, {"address": self.me.address})
        if why := self.state_replaced():
            return Blocked(WaitReason.STATE_REPLACED, {"detail": why})
        if other := self.silenced():
            return Blocked(WaitReason.OTHER_PROCESS, {"detail": other})
        return None

    async def still_there(self, chain: str, block: BlockRef) -> bool:
        """SECURITY: the source's block, by hash, on the own node, right before a signature.

        The node's answer is ten seconds old at most: so long all that is signed of one block shares one question. It asks whether
        a final block is still there; one that is replaced within these seconds could as well be so right after the signature.
        """
        return await (self.pocket if chain == "pocket" else self.ethereum).same_block(block)
