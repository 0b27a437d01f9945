"""What the dispatcher knows of one key."""

from datetime import datetime
from enum import Enum, auto

from reactor.engine.keys import ON_CHANGE, Cause, Key, Outcome, Ticket, Waiting, Wake
from reactor.engine.loops import described


class State(Enum):
    """Where a key is."""

    READY = auto()
    WORKING = auto()
    WAITING = auto()
    BACKOFF = auto()
    SETTLING = auto()


class Entry:
    """The state of one open key. ``rings``: changes since the last handling began; ``strange``: see ``Dispatcher``."""

    __slots__ = (
        "again",
        "cause",
        "error",
        "failures",
        "head_mark",
        "in_work",
        "key",
        "outcome",
        "rings",
        "since",
        "state",
        "strange",
        "tickets",
        "wake",
    )

    def __init__(self, key: Key) -> None:
        self.key = key
        self.state = State.READY
        self.cause = Cause.CHANGE
        self.again: Cause | None = None
        self.rings = 0
        self.strange = False
        self.head_mark = 0
        self.wake: Wake = ON_CHANGE
        self.outcome: Waiting | None = None
        self.since: datetime | None = None
        self.failures = 0
        self.error = ""
        self.tickets: list[Ticket] = []
        self.in_work: list[Ticket] = []

    def take(self, ticket: Ticket | None) -> None:
        """Keeps the ticket until a handling that begins from now on has ended."""
        if ticket is not None:
            ticket.take()
            self.tickets.append(ticket)

    def begin(self, head_mark: int) -> Cause:
        """A handling begins: what rings from now on belongs to the next one."""
        self.state = State.WORKING
        self.again = None
        self.rings = 0
        self.head_mark = head_mark
        if self.tickets:
            self.in_work, self.tickets = self.tickets, []
        return self.cause

    def retire(self) -> None:
        """The handling has ended, well or not: a restart scans the open documents, so a failed one is found again."""
        for ticket in self.in_work:
            ticket.finish()
        self.in_work = []

    def succeeded(self, outcome: Outcome, now: datetime) -> None:
        """Notes the outcome; ``since`` stays while the reason stays."""
        waiting = outcome if isinstance(outcome, Waiting) else None
        same = waiting and self.outcome and not self.failures and waiting.reason == self.outcome.reason
        if not same:
            self.since = now
        self.outcome = waiting
        self.wake = waiting.wake if waiting else ON_CHANGE
        self.failures = 0
        self.error = ""

    def failed(self, error: Exception, now: datetime) -> None:
        """Notes the failure; what rang meanwhile is covered by the retry."""
        if not self.failures:
            self.since = now
        self.state = State.BACKOFF
        self.failures += 1
        self.error = described(error)
        self.in_work += self.tickets
        self.tickets = []
