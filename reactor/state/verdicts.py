"""What the journal answers to a wish to sign."""

from dataclasses import dataclass
from enum import StrEnum

from reactor.documents.reasons import WaitReason


class Refusal(StrEnum):
    """Why the journal refuses a signature."""

    HELD = "held"
    PAUSED = "paused"
    OLDER_THAN_JOURNAL = "older_than_journal"
    CONFLICT = "conflict"
    UNRELEASED = "unreleased"
    SLOT_TAKEN = "slot_taken"
    OVER_THRESHOLD = "over_threshold"
    OVER_WINDOW = "over_window"
    AMOUNT_UNKNOWN = "amount_unknown"
    OTHER_PROCESS = "other_process"
    STATE_REPLACED = "state_replaced"

    @property
    def wait(self) -> WaitReason:
        """The reason that the document shows."""
        return _WAITS[self]


_WAITS = {
    Refusal.HELD: WaitReason.HELD,
    Refusal.PAUSED: WaitReason.PAUSED,
    Refusal.OLDER_THAN_JOURNAL: WaitReason.OLDER_THAN_JOURNAL,
    Refusal.CONFLICT: WaitReason.JOURNAL_CONFLICT,
    Refusal.UNRELEASED: WaitReason.HELD,
    Refusal.SLOT_TAKEN: WaitReason.JOURNAL_CONFLICT,
    Refusal.OVER_THRESHOLD: WaitReason.OVER_THRESHOLD,
    Refusal.OVER_WINDOW: WaitReason.OVER_WINDOW,
    Refusal.AMOUNT_UNKNOWN: WaitReason.LEDGER_BEHIND,
    Refusal.OTHER_PROCESS: WaitReason.OTHER_PROCESS,
    Refusal.STATE_REPLACED: WaitReason.STATE_REPLACED,
}


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
