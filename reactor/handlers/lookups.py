"""How often documents of events that the ledger does not hold may make this validator ask its nodes.

Anyone who writes to the database can put there as many as he likes; each costs a call of the own node before it can be refuted.
"""

from collections.abc import Callable
from time import monotonic
from typing import Final

CALLS_PER_SECOND: Final = 20.0
BURST: Final = 500.0


class LookUps:
    """A bound on calls: so many at once at most, and so many per second after that.

    SECURITY: who finds none left refutes nothing and waits: the next sweep asks again.
    """

    def __init__(
        self, *, per_second: float = CALLS_PER_SECOND, burst: float = BURST, clock: Callable[[], float] = monotonic
    ) -> None:
        self._per_second = per_second
        self._burst = burst
        self._clock = clock
        self._left = burst
        self._at = clock()

    def admit(self) -> bool:
        """Whether a call may be made now; it counts then."""
        now = self._clock()
        self._left = min(self._burst, self._left + (now - self._at) * self._per_second)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True
