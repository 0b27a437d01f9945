"""Whether the source of an outflow must be known by now, if there is one: before that, nothing is said against it.

Two conditions. By the chains' times: all own scanners are final past the outflow's own time. And by what was seen here, for the
clocks of two chains differ and a node may tell a wrong time or none: since the outflow was final here, each chain on which its
source may lie was read to its head, and no such source up to that head waits for its finality.
"""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Final, Protocol

from reactor.documents.events import Minted, Returned
from reactor.state.ledger import Ledger
from reactor.state.rows import EventKind

SOURCES: Final = {EventKind.MINTED: (EventKind.DEPOSIT,), EventKind.RETURNED: (EventKind.DEPOSIT, EventKind.BURN)}
"""Where the source of an outflow may lie."""
_MOST_MARKS: Final = 1000


class Scan(Protocol):
    """How far a scanner has come, as it says itself."""

    @property
    def at(self) -> float | None:
        """When its chain was last read to the head, by the monotonic clock in seconds; None: not yet."""
        ...

    @property
    def head(self) -> int:
        """That head."""
        ...


@dataclass(slots=True)
class _Mark:
    """At this moment the outflows up to `height` were final, the block there of time `time` (0: not known)."""

    at: float
    height: int
    time: int
    heads: dict[str, int] = field(default_factory=dict)


class SourcesRead:
    """`look` notes what is final now; `past` says whether an outflow's source would be known.

    `scan`: how far a chain ("pocket", "ethereum") was read; without it what the ledger holds is all that there is.
    """

    def __init__(self, ledger: Ledger, scan: Callable[[str], Scan] | None, clock: Callable[[], float] = monotonic) -> None:
        self._ledger = ledger
        self._scan = scan
        self._clock = clock
        self._marks: dict[EventKind, deque[_Mark]] = {kind: deque() for kind in SOURCES}
        self._ready: dict[EventKind, _Mark] = {}

    def look(self) -> None:
        """Take in what became final, and what was read since."""
        for kind, marks in self._marks.items():
            self._note(kind, marks)
            while marks and self._has_passed(kind, marks[0]):
                self._ready[kind] = marks.popleft()

    def _note(self, kind: EventKind, marks: deque[_Mark]) -> None:
        cursor = self._ledger.cursor(kind)
        newest = marks[-1] if marks else self._ready.get(kind)
        if cursor is None or len(marks) >= _MOST_MARKS or (newest is not None and newest.height == cursor.height):
            return
        marks.append(_Mark(self._clock(), cursor.height, cursor.time or 0))

    def _has_passed(self, kind: EventKind, mark: _Mark) -> bool:
        if self._scan is None:
            return True
        for source in SOURCES[kind]:
            if source.chain not in mark.heads:
                scan = self._scan(source.chain)
                if scan.at is None or scan.at <= mark.at:
                    return False
                mark.heads[source.chain] = scan.head
            if self._ledger.waits_for_finality(source, mark.heads[source.chain]):
                return False
        return True

    def past(self, outflow: Minted | Returned) -> bool:
        """Whether its source, which comes before it, would be known: SECURITY: then one that is not known is none."""
        ready = self._ready.get(EventKind.MINTED if isinstance(outflow, Minted) else EventKind.RETURNED)
        if ready is None or outflow.height > ready.height:
            return False
        until = self._read_until()
        # It lies no later than the final block in which, or below which, it was seen. That is also what is known of one whose
        # own time is not.
        times = [time for time in (outflow.block.time, ready.time) if time > 0]
        return until is not None and until > min(times, default=0)

    def _read_until(self) -> int | None:
        """The moment up to which all own scanners know every source, by their chains' times; None while one does not say."""
        cursors = [self._ledger.cursor(kind) for kind in (EventKind.DEPOSIT, EventKind.BURN)]
        times = [cursor.time for cursor in cursors if cursor is not None and cursor.time]
        return min(times) if len(times) == len(cursors) else None
