"""What stops signing, told in the log: each hold, pause, limit and release once, whoever made it.

Operators' verbs write them from other processes, the journal's own limits inside its transactions. So there is one place that
looks at what the journal holds and tells what has changed: at once after this process has held something, else every second.
"""

from collections.abc import Callable
from datetime import UTC, datetime
from time import monotonic
from typing import Final

from loguru import logger

from reactor.documents.reasons import Ends
from reactor.outages import Calm, duration
from reactor.state.holds import SIGNING, Hold, direction_scope, ending
from reactor.state.journal import Journal

LOOK_SECONDS: Final = 1.0
MOST_TOLD: Final = 20
"""Lines of one look; more are counted: a limit may hold a thousand deposits at once."""
_DIRECTIONS: Final = {direction_scope("mint"): "signing of mints", direction_scope("payout"): "signing of payouts"}


class Stops:
    """Compares what is held with what was told. The first look tells what is held since before the start.

    `clock`: seconds that never go back.
    """

    def __init__(self, journal: Journal, clock: Callable[[], float] = monotonic) -> None:
        self._journal = journal
        self._clock = clock
        self._calm = Calm(clock)
        self._held: dict[int, Hold] = {}
        self._told: dict[int, Hold] = {}
        """What is held as the log tells it: a hold may tell something else later (`Journal.hold`, `instead_of`)."""
        self._retold: list[int] = []
        self._due: dict[int, float] = {}
        """When a hold that has told something else before is told again at the earliest."""
        self._newest_hold = 0
        self._newest_attempt = 0
        self._seen: object = None
        """What `Journal.changes` said at the last look."""

    def look(self) -> None:
        """Tell what has changed since the last look: next to nothing is read where nothing was written to the journal since.

        Raises StateProblem where the journal cannot be read.
        """
        changes = self._journal.changes()
        if changes != self._seen:
            self._compare(changes)
        self._tell_retold()

    def _compare(self, changes: object) -> None:
        active = {hold.id: hold for hold in self._journal.holds()}
        newest = max(self._newest_hold, *active, self._journal.newest_hold()) if active else self._journal.newest_hold()
        allowed = self._journal.attempts_after(self._newest_attempt)
        if self._seen is not None:
            begun = self._journal.holds_after(self._newest_hold)
            gone = [number for number in self._held if number not in active]
            ended = [*self._journal.holds_of(gone), *(hold for hold in begun if hold.released_at is not None)]
            self._tell("ERROR", [(_begun(hold), hold) for hold in begun])
            self._tell("WARNING", [(_ended(hold, self._told.get(hold.id, hold)), hold) for hold in ended])
            for one in allowed[:MOST_TOLD]:
                text = f"{one.event}: attempt {one.attempt} is released by {_by(one.by, one.why)}"
                logger.bind(key=one.event, reason="released").warning("{}", text)
        else:
            self._tell("WARNING", [(_since(hold), hold) for hold in active.values()])
        self._held, self._newest_hold, self._seen = active, newest, changes
        self._told = {number: self._told.get(number, hold) for number, hold in active.items()}
        self._retold = [number for number, hold in active.items() if hold.detail != self._told[number].detail]
        self._due = {number: at for number, at in self._due.items() if number in active}
        self._newest_attempt = max([self._newest_attempt, *(one.number for one in allowed)])

    def _tell_retold(self) -> None:
        """Tell what known holds tell now, each less and less often: a node that shows something else each time must not fill the
        log. What is released is told with its last text in any case.
        """
        now = self._clock()
        for number in [one for one in self._retold if now >= self._due.get(one, now)]:
            hold = self._told[number] = self._held[number]
            self._tell("ERROR", [(_retold(hold), hold)])
            self._retold.remove(number)
            self._calm.over(str(number), self._calm.of(str(number)))
            self._due[number] = now + self._calm.of(str(number))

    @staticmethod
    def _tell(level: str, lines: list[tuple[str, Hold]]) -> None:
        for text, hold in lines[:MOST_TOLD]:
            key = hold.scope.removeprefix("event:") if hold.scope.startswith("event:") else ""
            logger.bind(reason=hold.reason, **({"key": key} if key else {})).log(level, "{}", text)
        if len(lines) > MOST_TOLD:
            logger.log(level, "{} more like these: reactor journal show", len(lines) - MOST_TOLD)


def _what(scope: str) -> str:
    """What a scope stops, for people."""
    if scope == SIGNING:
        return "signing"
    kind, _, name = scope.partition(":")
    return _DIRECTIONS.get(scope) or (f"signing for recipient {name}" if kind == "recipient" else name or scope)


def _begun(hold: Hold) -> str:
    if hold.ends is Ends.RESUMED:
        return f"{_what(hold.scope)} is paused by {_by(hold.by, hold.detail)}; it goes on with: {ending(hold)}"
    text = f"{_what(hold.scope)} is held, {hold.reason}: {hold.detail or 'no reason given'} (by {hold.by})"
    if hold.ends is Ends.BY_ITSELF:
        return f"{text}. It ends by itself, or with: {ending(hold)}"
    if hold.ends is Ends.AFTER_READING:
        return f"{text}. What to do: {ending(hold)}"
    return f"{text}. Release it once it is explained: {ending(hold)}"


def _retold(hold: Hold) -> str:
    return f"{_what(hold.scope)} is still held, {hold.reason}, and tells something else now: {hold.detail or 'nothing'}"


def _since(hold: Hold) -> str:
    return f"since {datetime.fromtimestamp(hold.at, UTC):%Y-%m-%d %H:%M:%S} UTC: {_begun(hold)}"


def _ended(hold: Hold, told: Hold) -> str:
    kind = "resumed" if hold.ends is Ends.RESUMED else "released"
    after = duration((hold.released_at or hold.at) - hold.at)
    who = _by(hold.released_by or "?", hold.released_why or "")
    # SECURITY: what is let go is accepted: it stands in the log though it was never told before.
    accepted = "" if hold.detail == told.detail else f"; what it told last: {hold.detail}"
    return f"{_what(hold.scope)} is {kind} by {who}; it was {_was(hold)} for {after}{accepted}"


def _was(hold: Hold) -> str:
    return "paused" if hold.ends is Ends.RESUMED else f"held ({hold.reason})"


def _by(who: str, why: str) -> str:
    return f"{who}: {why}" if why else who
