"""Who is up, as far as one hears: only for the order in which validators act, never for what counts.

A validator that is down must not be the one for whom the others wait, turn after turn.
"""

import math
from collections.abc import Callable, Collection
from typing import Final

from reactor.handlers.twins import SILENT_BEATS

_RECOUNT_SECONDS: Final = 1.0
_NEVER: Final = -math.inf


class Peers:
    """The configured validators, and which of them are heard. Times in seconds, by the own monotonic clock.

    Who leaves out `SILENT_BEATS` heartbeats counts as down.

    A heartbeat counts when it differs from the one before: the others' clocks, and what was written long ago, say nothing.
    """

    def __init__(self, me: str, members: Collection[str], interval: float, monotonic: Callable[[], float]) -> None:
        self._me = me
        self._members = tuple(members)
        self._patience = SILENT_BEATS * interval
        self._monotonic = monotonic
        self._began = monotonic()
        self._heard: dict[str, tuple[object, float]] = {}
        self._up = self._members
        self._counted = self._began

    def heard(self, address: str, mark: object) -> None:
        """A verified heartbeat of `address`; `mark` changes with each one that he writes."""
        before = self._heard.get(address)
        if before is None or before[0] != mark:
            # The first may be an old one: it is the second that shows that somebody lives.
            self._heard[address] = (mark, self._monotonic() if before else _NEVER)

    def left(self, address: str) -> None:
        """`address` has stopped, by its own last heartbeat: nobody waits for its turns until it is heard again."""
        self._heard[address] = (None, _NEVER)

    def up(self) -> tuple[str, ...]:
        """Those heard lately, and oneself; all, as long as one has not listened long enough to tell."""
        if self._monotonic() - self._counted >= _RECOUNT_SECONDS:
            self._count()
        return self._up

    def _count(self) -> None:
        self._counted = self._monotonic()
        self._up = tuple(one for one in self._members if one == self._me or self._is_up(one))

    def _is_up(self, address: str) -> bool:
        if self._counted - self._began <= self._patience:
            return True
        return self._counted - self._heard.get(address, (None, _NEVER))[1] <= self._patience
