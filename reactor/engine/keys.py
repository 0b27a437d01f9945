"""The words of the engine: what is woken, why, and how a handling ended."""

import math
from collections.abc import Hashable, Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import NamedTuple, Protocol


class Key(NamedTuple):
    """Names one document: its collection and its ``_id``. A tuple, because its hash is on the hot path."""

    collection: str
    id: Hashable

    def __str__(self) -> str:
        """As people read it, and as outages know who failed."""
        return f"{self.collection} {self.id}"


class Cause(StrEnum):
    """Why a key is woken."""

    CHANGE = "change"
    HEAD = "head"
    TIMER = "timer"
    SWEEP = "sweep"
    START = "start"
    RETRY = "retry"


class Ticket(Protocol):
    """What a wake-up leaves behind with its sender: told once it is taken, and once its work has been done."""

    def take(self) -> None:
        """The work was accepted: ``finish`` will follow."""

    def finish(self) -> None:
        """A handling that began after this wake-up has ended."""


class WakeUp(NamedTuple):
    """A doorbell: something may have changed. It carries no content that anyone may decide upon."""

    key: Key
    cause: Cause
    ticket: Ticket | None = None


class Head(NamedTuple):
    """The newest block that a source of heads reported. It may lie below an earlier one."""

    chain: str
    height: int


@dataclass(frozen=True, slots=True)
class Wake:
    """What wakes a waiting key. A change always does; the rest is in addition.

    ``heads``: chains with the height whose arrival wakes (a head counts if it arrives after the handling began).
    ``after``: seconds after which it is woken anyway. ``rings``: a hint that fewer than so many changes since the
    handling began are not worth a read (each of M appended signatures rings once); if some, but fewer, arrive, it
    is woken ``settle`` seconds after the first. Any other cause wakes at once.
    """

    heads: frozenset[tuple[str, int]] = frozenset()
    after: float | None = None
    rings: int = 1
    settle: float = 0.25

    def __post_init__(self) -> None:
        if self.after is not None and not (self.after > 0 and math.isfinite(self.after)):
            raise ValueError(f"Wake.after must be a positive number of seconds, not {self.after!r}")
        if not (self.settle > 0 and math.isfinite(self.settle)):
            raise ValueError(f"Wake.settle must be a positive number of seconds, not {self.settle!r}")
        if self.rings < 0:
            raise ValueError(f"Wake.rings must not be negative, but is {self.rings}")


ON_CHANGE = Wake()


@dataclass(frozen=True, slots=True)
class Done:
    """Nothing more to do: the key is closed and forgotten until somebody rings again."""


@dataclass(frozen=True, slots=True)
class Waiting:
    """Not yet: why (for people: a reason with parameters), and what wakes it."""

    reason: str
    params: Mapping[str, object] = field(default_factory=dict)
    wake: Wake = ON_CHANGE


Outcome = Done | Waiting
DONE = Done()
