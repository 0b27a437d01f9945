"""What the journal answers to a wish to sign."""

from dataclasses import dataclass

from reactor.documents.reasons import Refusal

__all__ = ["Allowed", "Refusal", "Refused", "Verdict"]


@dataclass(frozen=True, slots=True)
class Allowed:
    """Sign. `again`: the same digest was noted before (a restart, a lost write)."""

    again: bool = False


@dataclass(frozen=True, slots=True)
class Refused:
    """Do not sign. `detail` is for people."""

    reason: Refusal
    detail: str


Verdict = Allowed | Refused
