"""How often one endpoint may be asked: a rate with a burst. Knows no protocol."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final
from urllib.parse import urlsplit

from reactor.urls import on_this_machine

__all__ = ["DEFAULT_RATE", "Rate", "rate_for"]

DEFAULT_RATE: Final = 100
"""Calls per second to an endpoint that is not on this machine, where nothing else is configured: the providers' plans allow less
than a busy validator could ask in a burst, and more than it needs on average."""


class Rate:
    """At most `per_second` calls, of which those of one second may go at once (the generic cell rate algorithm).

    `take` says how long the caller has to wait before it asks; None where more than `longest` seconds of calls wait already.
    """

    def __init__(self, per_second: float, *, longest: float = 10.0, clock: Callable[[], float] = time.monotonic) -> None:
        if per_second <= 0:
            raise ValueError("rate: expected a number of calls per second above 0")
        self._interval = 1.0 / per_second
        self._burst = max(1.0, per_second) * self._interval
        self._longest = longest
        self._clock = clock
        self._next = clock()

    def take(self) -> float | None:
        """Seconds to wait before this call; None: not now. Counts the call unless it is None."""
        now = self._clock()
        following = max(self._next, now) + self._interval
        wait = following - now - self._burst
        if wait > self._longest:
            return None
        self._next = following
        return max(0.0, wait)


def rate_for(url: str, per_second: float | None, clock: Callable[[], float] = time.monotonic) -> Rate | None:
    """The rate of an endpoint. Without a configured one, endpoints on this machine have none and others `DEFAULT_RATE`."""
    if per_second is not None:
        return Rate(per_second, clock=clock)
    # A name below `localhost` is one of this machine wherever it is used for a node; at worst its own limits are met.
    here = on_this_machine(url) or (urlsplit(url).hostname or "").endswith(".localhost")
    return None if here else Rate(DEFAULT_RATE, clock=clock)
