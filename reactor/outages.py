"""Outages by subject: one line when something begins to fail, a summary at growing intervals, one line when it works again.

Whoever retries something tells of each failure and of each success; what is written to the log of it is decided here. Imports
nothing of ours but `sentences`.

>>> outages = Outages()
>>> outages.failed("change stream", error, subject="MongoDB")  # MongoDB fails (change stream): no server can be used
>>> outages.failed("heartbeat", error, subject="MongoDB")      # counted
>>> outages.worked("change stream")
>>> outages.worked("heartbeat")                                # MongoDB works again after 3 min 5 s, 2 failures
"""

import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Final

from loguru import logger

from reactor.sentences import counted, sentence

__all__ = ["Calm", "Outages", "SubjectOf", "duration"]

SUMMARIES: Final = (60.0, 300.0, 900.0, 3600.0)
"""Seconds after its beginning at which an outage is summed up; from then on, every four hours."""
_CALM: Final = 15.0
"""What comes back soon after it was over is over only when it has worked for so long, twice as long the next time, and so on:
what flaps must not fill the log."""
_MOST_CALM: Final = 600.0
_REMEMBERED: Final = 900.0
"""Seconds for which an outage that is over counts as the same trouble when it comes back."""
_MOST_REMEMBERED: Final = 1000
_MOST_OF_A_GROUP: Final = 20
"""Outages of one group (documents of one collection, say) that are told each by itself; more are told together."""

SubjectOf = Callable[[BaseException], str | None]
"""What is away when this error is raised ("MongoDB"), by its class; None where the class does not say."""


@dataclass(slots=True)
class _Outage:
    """One trouble. `mixed`: each of its reporters fails of its own (see `_MOST_OF_A_GROUP`).
    `reporters`: who has to work again before it is over, each with whether it will certainly try again.
    `worked_at`: when the first of them worked after the last failure; None where none has."""

    since: float
    group: str
    calm: float
    mixed: bool = False
    failures: int = 0
    cause: str = ""
    failed_at: float = 0.0
    worked_at: float | None = None
    summaries: int = 0
    reporters: dict[str, bool] = field(default_factory=dict)


class Calm:
    """For how long something has to be well before it counts as over: not at all at first, longer each time it comes back."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._over: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def of(self, subject: str) -> float:
        """Seconds, for an outage that begins now."""
        ended, calm = self._over.get(subject, (None, 0.0))
        if ended is None or self._clock() - ended > _REMEMBERED:
            return 0.0
        return min(_MOST_CALM, max(_CALM, calm * 2))

    def over(self, subject: str, calm: float) -> None:
        """One is over that had to be well for `calm` seconds."""
        self._over[subject] = self._clock(), calm
        self._over.move_to_end(subject)
        while len(self._over) > _MOST_REMEMBERED:
            self._over.popitem(last=False)


class Outages:
    """What is away at this moment. One for each validator; not for several threads.

    `clock`: seconds that never go back. `subject_of`: see `SubjectOf`.
    """

    def __init__(self, clock: Callable[[], float] = time.monotonic, *, subject_of: SubjectOf = lambda _: None) -> None:
        self._clock = clock
        self._subject_of = subject_of
        self._open: dict[str, _Outage] = {}
        self._reported: dict[str, list[str]] = {}
        """What each reporter has failed of since it last worked; what it failed of last is last."""
        self._calm = Calm(clock)

    def failed(
        self,
        reporter: str,
        cause: BaseException | str,
        *,
        subject: str = "",
        lasting: bool = True,
        group: str = "",
        level: str = "WARNING",
        fields: Mapping[str, object] | None = None,
        depth: int = 0,
    ) -> bool:
        """`reporter` tried something and failed. Returns whether this began an outage, that is, wrote its first line.

        Args:
            reporter: who tried, in words for people: "change stream", "mint 64f0…".
            cause: the error, or what is wrong as a sentence.
            subject: what is away, where the caller knows; else what `subject_of` says, else the reporter itself. A time-out
                of which nobody knows the subject is taken for a consequence of what is away already.
            lasting: whether the reporter goes on trying every few seconds; only such a reporter is waited for before the
                outage is over, where there is one.
            group: of many reporters of one kind only some are told by themselves.
            level: of the first line.
            fields: what JSON lines carry besides, of this failure.
            depth: frames between the caller to be named in the log and this call.
        """
        text = cause if isinstance(cause, str) else sentence(cause)
        named = subject or self._subject(cause) or reporter
        # Only what each fails of by itself is told together: what many miss has a name of its own.
        group = group if named == reporter else ""
        subject = self._placed(named, group)
        if self._is_stale(subject):
            self._close(subject)
        self._moved(reporter, subject, depth + 1)
        found = self._open.get(subject)
        began = found is None
        if found is None:
            found = self._open[subject] = _Outage(self._clock(), group, self._calm.of(subject), subject != named)
        found.failures += 1
        found.cause, found.failed_at, found.worked_at = text, self._clock(), None
        self._join(found, reporter, lasting=lasting)
        self._reported.setdefault(reporter, []).append(subject)
        if began:
            who = "" if reporter == subject else f" ({reporter})"
            self._log(level, depth + 1, subject, found, f"{subject} fails{who}: {text}", fields)
        else:
            self._sum_up(subject, found, depth + 1)
        return began

    def worked(self, reporter: str, *, depth: int = 0) -> None:
        """`reporter` tried and succeeded. Costs nothing while nothing is away."""
        if self._open:
            self._left(reporter, depth + 1)

    def look(self) -> None:
        """Write what has become due: summaries, and the end of what has been calm for long enough. To be called now and then."""
        for subject, found in list(self._open.items()):
            if found.reporters:
                if found.worked_at is None and self._is_failing(subject, found):
                    self._sum_up(subject, found, 1)
            else:
                self._end(subject, found, 1)

    @property
    def any(self) -> bool:
        """Whether anything is away: where many names would have to be made for `worked`."""
        return bool(self._open)

    def away(self) -> dict[str, str]:
        """What is away now, and why, as a sentence."""
        return {subject: found.cause for subject, found in self._open.items() if found.reporters}

    def about(self, reporter: str) -> str:
        """What `reporter` failed of last; empty where it works, or where that has no name because it is one of many."""
        subject = self._reported.get(reporter, [""])[-1]
        found = self._open.get(subject)
        return "" if found is None or found.mixed else subject

    def _subject(self, cause: BaseException | str) -> str | None:
        if isinstance(cause, str):
            return None
        named = self._subject_of(cause)
        if named is None and isinstance(cause, TimeoutError):
            lasting = [subject for subject, one in self._open.items() if any(one.reporters.values())]
            return lasting[-1] if lasting else None
        return named

    def _placed(self, subject: str, group: str) -> str:
        if not group or subject in self._open:
            return subject
        told = sum(1 for one in self._open.values() if one.group == group)
        return subject if told < _MOST_OF_A_GROUP else f"more {group}"

    @staticmethod
    def _join(found: _Outage, reporter: str, *, lasting: bool) -> None:
        if lasting and not any(found.reporters.values()):
            found.reporters.clear()
        if lasting or not any(found.reporters.values()):
            found.reporters[reporter] = lasting

    def _left(self, reporter: str, depth: int) -> None:
        for subject in self._reported.pop(reporter, ()):
            found = self._open.get(subject)
            if found is not None and found.reporters.pop(reporter, None) is not None and found.worked_at is None:
                found.worked_at = self._clock()
        self._end_where_nobody_fails(depth + 1)

    def _moved(self, reporter: str, subject: str, depth: int) -> None:
        """It fails of `subject` now. That is no success: what it failed of before may still be away, only hidden by this.

        So it is waited for there until it works, except where another has found meanwhile that it is not away any more.
        """
        before = self._reported.pop(reporter, [])
        others = [one for one in before if one != subject]
        waiting = [one for one in others if one in self._open and self._open[one].worked_at is None]
        for one in set(others).difference(waiting) & set(self._open):
            self._open[one].reporters.pop(reporter, None)
        if waiting:
            self._reported[reporter] = waiting
        if others:
            self._end_where_nobody_fails(depth + 1)

    def _is_failing(self, subject: str, found: _Outage) -> bool:
        """Whether this is what at least one of its reporters failed of last."""
        return any(self._reported.get(reporter, [""])[-1] == subject for reporter in found.reporters)

    def _is_stale(self, subject: str) -> bool:
        """Whether all its reporters have failed of other things for so long that a failure is told as a new outage."""
        found = self._open.get(subject)
        long_ago = found is not None and self._clock() - found.failed_at > _REMEMBERED
        return found is not None and long_ago and not self._is_failing(subject, found)

    def _end_where_nobody_fails(self, depth: int) -> None:
        for name, one in list(self._open.items()):
            if not one.reporters:
                self._end(name, one, depth + 1)

    def _close(self, subject: str) -> None:
        del self._open[subject]
        left = {who: [one for one in what if one != subject] for who, what in self._reported.items()}
        self._reported = {who: what for who, what in left.items() if what}

    def _end(self, subject: str, found: _Outage, depth: int) -> None:
        now = self._clock()
        if now - found.failed_at < found.calm:
            return
        self._close(subject)
        self._calm.over(subject, found.calm)
        worked_at = now if found.worked_at is None else found.worked_at
        text = f"{subject} works again after {duration(worked_at - found.since)}, {counted(found.failures, 'failure')}"
        self._log("INFO", depth + 1, subject, found, text)

    def _sum_up(self, subject: str, found: _Outage, depth: int) -> None:
        age = self._clock() - found.since
        if age < _due(found.summaries):
            return
        while age >= _due(found.summaries):
            found.summaries += 1
        text = (
            f"{subject} has been failing for {duration(age)}, {counted(found.failures, 'failure')}, the last time: {found.cause}"
        )
        self._log("WARNING", depth + 1, subject, found, text)

    def _log(
        self, level: str, depth: int, subject: str, found: _Outage, text: str, fields: Mapping[str, object] | None = None
    ) -> None:
        seconds = round(self._clock() - found.since, 1)
        log = logger.bind(**(fields or {}), reason=found.cause, outage=subject, outage_seconds=seconds, failures=found.failures)
        log.opt(depth=depth + 1).log(level, "{}", text)


def _due(number: int) -> float:
    """Age of an outage at its summary of this number, from 0."""
    if number < len(SUMMARIES):
        return SUMMARIES[number]
    return SUMMARIES[-1] * 4 * (number - len(SUMMARIES) + 1)


def duration(seconds: float) -> str:
    """`185` as `3 min 5 s`; two units at most."""
    whole = max(0, round(seconds))
    units = [(whole // 86400, "d"), (whole // 3600 % 24, "h"), (whole // 60 % 60, "min"), (whole % 60, "s")]
    first = next((index for index, (count, _) in enumerate(units) if count), len(units) - 1)
    shown = [f"{count} {unit}" for count, unit in units[first : first + 2] if count]
    return " ".join(shown) or "0 s"
