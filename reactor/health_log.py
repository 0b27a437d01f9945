"""Changes of the own health in the log: one line when something costs an ability, one when it does not any more.

Only `validator` and `exchange` use this. The causes themselves are told by `outages`, holds by `handlers.stops`; here stands what
they come to.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from time import monotonic
from typing import Final

from loguru import logger

from reactor.handlers.heartbeat import Health
from reactor.health import Ability, Code, Phase, Problem, cannot, signs
from reactor.outages import Calm, duration
from reactor.sentences import counted

START_SECONDS: Final = 60.0
"""What every start goes through is told only where it lasts for longer."""
_OF_A_START: Final = frozenset({Code.NO_HEAD, Code.CATCHING_UP, Code.STREAM_STARTING, Code.OTHER_PROCESS})


@dataclass(slots=True)
class _Told:
    """A problem that has its line. `since` when it was first seen, which may be before it was told; `gone_at`: since when it is
    not there; None while it is."""

    problem: Problem
    since: float
    calm: float
    gone_at: float | None = None


class HealthLog:
    """Compares the health with what was told of it. One for each validator. `clock`: seconds that never go back."""

    def __init__(self, clock: Callable[[], float] = monotonic) -> None:
        self._clock = clock
        self._began = clock()
        self._calm = Calm(clock)
        self._told: dict[str, _Told] = {}
        self._first_seen: dict[str, float] = {}
        """Since when each problem is there, told or not."""
        self._settled = False
        """Whether anything was told of the health since the start."""

    def look(self, health: Health) -> None:
        """Tell what has changed since the last look. To be called each second or so; costs next to nothing."""
        present = {one.about: one for one in reversed(health.problems)}  # of several with one cause the first counts
        self._first_seen = {about: self._first_seen.get(about, self._clock()) for about in present}
        starting = health.phase == Phase.STARTING and self._clock() - self._began < START_SECONDS
        for about, problem in reversed(present.items()):
            if not (starting and problem.code in _OF_A_START):
                self._is_there(about, problem, health.problems)
        for about in [*self._told]:
            if about not in present:
                self._is_gone(about, health.problems)
        if not self._settled and not health.problems:
            self._settled = True
            self._log("INFO", f"healthy: signs {_signing(health.problems)}", health.problems)

    def _is_there(self, about: str, problem: Problem, problems: Iterable[Problem]) -> None:
        before = self._told.get(about)
        if before is not None:
            before.problem, before.gone_at = problem, None
            return
        self._settled = True
        self._told[about] = _Told(problem, self._first_seen[about], self._calm.of(about))
        text = f"not healthy: {problem.sentence}; signs {_signing(problems)}"
        self._log("WARNING", text, problems, code=problem.code.value, reason=problem.sentence)

    def _is_gone(self, about: str, problems: Iterable[Problem]) -> None:
        told, now = self._told[about], self._clock()
        if told.gone_at is None:
            told.gone_at = now
        # What comes and goes must not fill the log: it is over once it has been well for a while.
        if now - told.gone_at < told.calm:
            return
        del self._told[about]
        self._calm.over(about, told.calm)
        left = [*problems]
        state = f"still not healthy, {counted(len(left), 'problem')} left" if left else "healthy again"
        text = f"{state}: over after {duration(told.gone_at - told.since)}: {about}; signs {_signing(left)}"
        self._log("INFO", text, left, code=told.problem.code.value, reason=about)

    @staticmethod
    def _log(level: str, text: str, problems: Iterable[Problem], **fields: str) -> None:
        left = [*problems]
        said = {"healthy": not left, "cannot": ",".join(cannot(left)), "signs": ",".join(signs(left)), **fields}
        logger.bind(**said).log(level, "{}", text)


def _signing(problems: Iterable[Problem]) -> str:
    left = signs(problems)
    return " and ".join(f"{one.value}s" for one in Ability if one.value in left) or "nothing"
