"""What can be wrong with a validator's own disk, each with the remedy that a person can apply."""

from pathlib import Path

from reactor.documents.events import Event


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
        what = (
            f"the final event {known!r} is now shown as {shown!r}" if shown else f"the final event {known!r} is no longer shown"
        )
        super().__init__(
            what, "compare the node with others; once the chain is understood, delete ledger.sqlite to read it again"
        )
        self.known = known
        self.shown = shown
