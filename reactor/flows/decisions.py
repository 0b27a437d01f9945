"""What a flow can decide. Every decision says why, in words that go into `history`, logs and `reactor explain`."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any

from reactor.documents.reasons import HoldReason, ObjectionCode, WaitReason
from reactor.documents.statuses import Status

Params = Mapping[str, str]


def nothing() -> Params:
    """No parameters."""
    return MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Wake:
    """What ends a wait, besides any change of the document: chain heads reached, seconds passed.

    `rings`: a cost hint. The document changes this many times before there is something to do (signatures of others). Where
    fewer changes come, it is read `settle` seconds after the first (None: the engine's choice).
    """

    heads: tuple[tuple[str, int], ...] = ()
    after: float | None = None
    rings: int = 0
    settle: float | None = None


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing to do now. `reason` and `params` say why; `wake` says what would change that."""

    reason: WaitReason
    params: Params = field(default_factory=nothing)
    wake: Wake = Wake()


@dataclass(frozen=True, slots=True)
class Rest:
    """Nothing left to do for this validator: the document is closed to it until somebody writes to it.

    `finished` is true when the chains show the end and the document says so; false for a mint that only waits for its user.
    `reason` and `params` say what for.
    """

    finished: bool
    reason: WaitReason | None = None
    params: Params = field(default_factory=nothing)


@dataclass(frozen=True, slots=True)
class Move:
    """Write a new status, forward or back, together with `sets`. Any validator may do it: they take turns."""

    to: Status
    reason: str
    sets: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Repair:
    """Restore fields that the chains decide. `status` is given where the status itself is none of ours, or `failed` by objections
    that the chain has refuted since."""

    fields: Mapping[str, Any]
    reason: str
    status: Status | None = None


@dataclass(frozen=True, slots=True)
class Sign:
    """Sign and append the own signature. `outcome` and `attempt` are what the journal binds the event to."""

    outcome: str
    attempt: int = 0


@dataclass(frozen=True, slots=True)
class Complete:
    """Enough signatures are there: make the document `signed`, dropping the entries that do not verify."""

    reason: str


@dataclass(frozen=True, slots=True)
class Submit:
    """Post the journaled return transaction; `again`: the same bytes once more, because no block has taken them."""

    again: bool = False


@dataclass(frozen=True, slots=True)
class Object:
    """Sign and append an objection: the own final view refutes the document."""

    code: ObjectionCode


@dataclass(frozen=True, slots=True)
class Hold:
    """Stop signing this event until the operator releases it."""

    reason: HoldReason
    detail: str


Decision = Wait | Rest | Move | Repair | Sign | Complete | Submit | Object | Hold
