"""What a handler has in hand when it carries a decision out: the facts, and the bytes that a signature would cover."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Generic, Literal, TypeVar

from reactor.documents.models import Objection
from reactor.flows.decisions import Sign
from reactor.flows.facts import Common
from reactor.handlers.sources import Origin
from reactor.state.journal import JournalEntry

F_co = TypeVar("F_co", bound=Common, covariant=True)


@dataclass(frozen=True, slots=True)
class Plan(Generic[F_co]):
    """One handling's facts and material.

    SECURITY: TRUST.md, rule 1. `message` is what is signed (a 32-byte digest for Ethereum, the sign bytes for Pocket), built from
    the own ledger and nodes; None while it cannot be built.
    `guard`: the document's fields that enter those bytes, as they must stand when the write applies. `copies`: fields computed
    from the chains that travel with a signature. `order`: the signers' order, None for ascending addresses.
    `threshold_by_append`: how many verified signatures make the document `signed` in the append itself, None where the
    complete write is one of its own. `objections`: those that verify.
    """

    origin: Origin
    facts: F_co
    direction: Literal["mint", "payout"]
    needed: int
    message: bytes | None = None
    slot: str | None = None
    recipient: str = ""
    guard: Mapping[str, Any] = field(default_factory=dict)
    copies: Mapping[str, Any] = field(default_factory=dict)
    order: Sequence[str] | None = None
    threshold_by_append: int | None = None
    late_welcome: bool = False
    hex_prefix: str = ""
    objections: Sequence[Objection] = ()

    @property
    def key(self) -> str:
        """The event's key."""
        return self.origin.key

    def signature_text(self, signature: bytes) -> str:
        """The signature as it stands in the document."""
        return self.hex_prefix + signature.hex()

    def entry(self, decision: Sign) -> JournalEntry:
        """What the journal binds: this event, outcome and attempt to this digest."""
        assert self.message is not None
        assert self.origin.event is not None
        digest = self.message if len(self.message) == 32 else sha256(self.message).digest()
        return JournalEntry(
            event=self.key,
            outcome="mint" if decision.outcome == "mint" else "payout",
            attempt=decision.attempt,
            digest=digest,
            slot=self.slot,
            chain="pocket" if self.origin.chain == "pocket" else "ethereum",
            height=self.origin.event.height,
            direction=self.direction,
            recipient=self.recipient,
        )
