"""The one wrapper of every loop: whatever a round raises ends that round, never the loop.

What a remote party sends can make any library raise anything, so no loop has a list of errors of its own. A round that failed
is counted, told as an outage, followed by a growing pause, and shown in ``Loops.failing`` for as long as it fails. Only what the
owner names as ``fatal`` passes through, and ends the process.
"""

import asyncio
import random
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import datetime

from loguru import logger

from reactor.engine.backoff import Backoff
from reactor.engine.clock import Clock
from reactor.engine.tasks import wait_for_any
from reactor.outages import Outages
from reactor.sentences import sentence

Work = Callable[[], Awaitable[object]]
Rest = Callable[[asyncio.Event], Awaitable[object]]


@dataclass(frozen=True, slots=True)
class FailingLoop:
    """A loop whose last round failed: why, how often in a row, and the time (UTC) of the first of these failures."""

    name: str
    error: str
    failures: int
    since: datetime

    def __str__(self) -> str:
        return f"{self.name} failing since {self.since:%Y-%m-%d %H:%M:%S} UTC: {self.error}"


class Loops:
    """How the rounds of a process's loops go. A loop is known by its name, which people read: "the books", say."""

    def __init__(
        self,
        clock: Clock,
        *,
        fatal: tuple[type[Exception], ...] = (),
        expected: tuple[type[Exception], ...] = (),
        outages: Outages | None = None,
        backoff: Backoff | None = None,
        rng: random.Random | None = None,
    ) -> None:
        """``fatal``: errors that must end the process; every other ends a round. ``expected``: errors whose own words say it
        all; they are logged without a traceback. ``outages``: where failures are told."""
        self._clock = clock
        self._outages = outages or Outages(clock.monotonic)
        self._fatal = fatal
        self._expected = expected
        self._backoff = backoff or Backoff(first=0.5, most=15.0)
        self._rng = rng or random.Random()  # noqa: S311 - jitter, no secret
        self._failing: dict[str, FailingLoop] = {}
        self.failures: dict[str, int] = {}
        """All failed rounds since the start, by loop."""

    @property
    def failing(self) -> list[FailingLoop]:
        """The loops that fail now, longest first."""
        return sorted(self._failing.values(), key=lambda one: one.since)

    def problems(self, *, but: frozenset[str] = frozenset()) -> list[str]:
        """The same for health, in words; without the loops named in ``but``."""
        return [str(one) for one in self.failing if one.name not in but]

    async def attempt(self, name: str, work: Work, *, within: float | None = None, level: str = "WARNING") -> bool:
        """One round of the loop ``name``: whether it succeeded.

        ``within``: seconds after which it has failed; ``level``: of the log's first line of a failure. Raises what is ``fatal``,
        and the caller's own cancellation.
        """
        limit = asyncio.timeout(within)
        try:
            async with limit:
                await work()
        except self._fatal:
            raise
        except asyncio.CancelledError:
            if is_cancelled():
                raise
            self.failed(name, RuntimeError("it was cancelled from within"), level=level)
            return False
        except Exception as error:  # noqa: BLE001 - the one place that says so for all loops
            self.failed(name, TimeoutError(f"no answer within {within:g} s") if limit.expired() else error, level=level)
            return False
        self.succeeded(name)
        return True

    async def repeat(self, stop: asyncio.Event, name: str, work: Work, rest: Rest, *, within: float | None = None) -> None:
        """Rounds of ``work`` until ``stop``: ``rest(stop)`` after one that succeeded, a growing pause after one that failed."""
        while not stop.is_set():
            done = await self.attempt(name, work, within=within)
            rested = done and await self.attempt(f"{name} (between two rounds)", lambda: rest(stop))
            if not rested:
                await wait_for_any(stop, seconds=self.pause(name))

    def succeeded(self, name: str) -> None:
        """A round of ``name`` went well."""
        self.failures.setdefault(name, 0)
        self._failing.pop(name, None)
        self._outages.worked(name)

    def failed(self, name: str, error: BaseException, *, level: str = "WARNING") -> None:
        """A round of ``name`` raised ``error``. ``level``: of the log's first line of it."""
        before = self._failing.get(name)
        self.failures[name] = self.failures.get(name, 0) + 1
        failures = before.failures + 1 if before else 1
        since = before.since if before else self._clock.now()
        self._failing[name] = FailingLoop(name, described(error), failures, since)
        began = self._outages.failed(name, tellable(error), level=level)
        if began and not isinstance(error, (*self._expected, TimeoutError)):
            logger.opt(exception=error).error("{}: this should not happen, please report it", name)

    def pause(self, name: str) -> float:
        """Seconds to wait before the next round of a loop that fails; jittered."""
        failing = self._failing.get(name)
        return self._backoff.pause(failing.failures if failing else 1, self._rng)


def pausing(seconds: float, *events: asyncio.Event) -> Rest:
    """A rest of so many seconds, which one of the events ends before its time."""

    async def rest(stop: asyncio.Event) -> None:
        await wait_for_any(stop, *events, seconds=seconds)

    return rest


def is_cancelled() -> bool:
    """Whether somebody has cancelled the current task. If not, a ``CancelledError`` is an error of what it awaits, like any."""
    task = asyncio.current_task()
    return task is None or task.cancelling() > 0


def described(error: BaseException) -> str:
    """An error as a sentence, whatever its class: made of foreign input, its own words can be broken too."""
    try:
        return sentence(error)
    except Exception:  # noqa: BLE001 - the words are for people; who waits for them must not break
        return f"{type(error).__name__} (its text cannot be shown)"


def tellable(error: BaseException) -> BaseException | str:
    """The error itself, by whose class an outage finds its subject; a text where its own words cannot be made."""
    try:
        str(error)
    except Exception:  # noqa: BLE001 - as above
        return described(error)
    return error
