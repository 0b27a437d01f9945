"""What can be wrong with a validator's own disk, each with the remedy that a person can apply."""

from dataclasses import fields
from pathlib import Path
from typing import Final

from reactor.documents.events import BlockRef, Event
from reactor.foreign import one_line

_LONGEST_FIELD: Final = 80
"""Characters of a memo: it is the depositor's own text."""


class StateProblem(Exception):  # noqa: N818 (it is told to a person, with its remedy)
    """The validator's own state cannot be used, or refuses what was asked of it. `remedy` says what to do about it."""

    def __init__(self, what: str, remedy: str) -> None:
        super().__init__(f"{what}; {remedy}")
        self.what = what
        self.remedy = remedy


class JournalMissing(StateProblem):
    """There is no signing journal. It is never made silently: an empty one would sign again what a lost one has signed."""

    def __init__(self, path: Path) -> None:
        super().__init__(
            f"there is no signing journal at {path}",
            "restore it from its disk if this validator has ever signed, else create it with `reactor journal new`",
        )


class StateReplaced(StateProblem):
    """A file of the state is not the one that this process opened. Nothing that is noted in it now would outlive the process."""

    def __init__(self, what: str) -> None:
        super().__init__(
            what,
            "this process signs nothing more: stop it, put the very file back in its place (never an older copy of the journal),"
            " and start it again",
        )


class StateBusy(StateProblem):
    """Another process holds a file of the state for longer than is waited for."""


class StateLocked(StateProblem):
    """Another process runs on this state directory."""


class SecondProcess(StateProblem):
    """An older process runs with the same key."""

    def __init__(self, what: str) -> None:
        super().__init__(
            what, "run one process per key: leave the other one, or stop it first and start this one with its journal"
        )


class FinalityViolated(StateProblem):
    """The chain now shows something else than what this validator has seen final: a deep reorganisation or a lying node."""

    def __init__(self, known: Event, shown: Event | None) -> None:
        how = f"now shown otherwise: {differences(known, shown)}" if shown else "no longer shown"
        super().__init__(
            f"the final {named(known)} is {how}",
            "compare the node with others; once the chain is understood, delete ledger.sqlite to read it again",
        )
        self.known = known
        self.shown = shown


def named(event: Event) -> str:
    """An event as people find it on its chain: `burn 0x… in block 17 (0x…)`."""
    return f"{type(event).__name__.lower()} {event.tx_hash} in block {event.height} ({event.block.hash})"


def differences(before: Event, after: Event) -> str:
    """In which fields `after` is another event than `before`, and how: `amount 7 instead of 5`."""
    if type(before) is not type(after):
        return f"{named(after)} instead"
    pairs = [(one.name, getattr(before, one.name), getattr(after, one.name)) for one in fields(before) if one.compare]
    return ", ".join(f"{name} {_told(new)} instead of {_told(old)}" for name, old, new in pairs if new != old)


def _told(value: object) -> str:
    if isinstance(value, BlockRef):
        return f"{value.height} ({value.hash})"
    return "nothing" if value is None or value == "" else one_line(str(value), _LONGEST_FIELD)
