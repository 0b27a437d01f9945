"""A list of endpoints used as one: order, cool-down, fail-over, bounded retries with jitter, counters. Knows no protocol."""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

from loguru import logger

from reactor.chains.errors import (
    ChainError,
    MalformedAnswer,
    NotFound,
    RpcRefused,
    RpcUnavailable,
    WrongChain,
    endpoint_label,
)

__all__ = ["Endpoint", "Endpoints", "Retries"]

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Retries:
    """How long to go on. Each call of an operation is bounded by the operation's own time-outs.

    `rounds`: tries over all endpoints. `backoff`: seconds before the second round, doubled for each further one, at most
    `backoff_limit`, each with full jitter (N validators must not return to a struggling node in step). `cool_down`: seconds
    for which a failing endpoint stands last, doubled for each failure in a row, at most `cool_down_limit`.
    """

    rounds: int = 3
    backoff: float = 0.2
    backoff_limit: float = 5.0
    cool_down: float = 1.0
    cool_down_limit: float = 60.0


@dataclass(slots=True, eq=False)
class Endpoint:
    """One endpoint and how it fares. `url` may hold a key and is never shown; `label` may."""

    url: str = field(repr=False)
    label: str
    index: int
    failures: int = 0
    down_until: float = 0.0
    verified: bool = False
    lock: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)


class Endpoints:
    """The endpoints in the order of preference; `run` carries an operation out on the first that can.

    `verify`, if given, is called before an endpoint's first use and after each of its failures (wrong-chain check).
    `calls` counts by method (the protocol client calls `count`), `failures` by (label, error class).
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        retries: Retries | None = None,
        verify: Callable[[Endpoint], Awaitable[None]] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        if not urls:
            raise ValueError("endpoints: at least one URL is needed")
        for url in urls:
            if not url.startswith(("http://", "https://")) or endpoint_label(url) == "unreadable endpoint":
                raise ValueError(f"endpoints: expected http:// or https:// URLs, got {endpoint_label(url)}")
        self.all = tuple(Endpoint(url, endpoint_label(url), index) for index, url in enumerate(urls))
        self.calls: Counter[str] = Counter()
        self.failures: Counter[tuple[str, str]] = Counter()
        self._retries = retries or Retries()
        self._verify = verify
        self._clock = clock
        self._sleep = sleep

    def count(self, method: str) -> None:
        """Note one call of `method` that goes out."""
        self.calls[method] += 1

    def order(self) -> list[Endpoint]:
        """Usable endpoints in the configured order, then those in cool-down, the one that is due first leading."""
        now = self._clock()
        return sorted(self.all, key=lambda e: (e.down_until if e.down_until > now else 0.0, e.index))

    async def run(self, operation: Callable[[Endpoint], Awaitable[T]]) -> T:
        """Carry `operation` out on one endpoint, falling back to the others.

        An endpoint that gives no usable answer stands last for a while. One that answers "not found" or refuses keeps
        its place, but the others are asked too, since it may lag or be pruned; if none knows better, its answer stands.

        Raises:
            NotFound, RpcRefused: at least one endpoint answered so, and none better.
            RpcUnavailable, MalformedAnswer, WrongChain: of the preferred endpoint, after all rounds.
        """
        for attempt in range(self._retries.rounds):
            if attempt:
                await self._sleep(self._pause(attempt))
            errors: list[ChainError] = []
            for endpoint in self.order():
                try:
                    return await self.on(endpoint, operation)
                except RpcRefused as error:
                    if error.final:
                        raise
                    errors.append(error)
                except ChainError as error:
                    errors.append(error)
            answers = [error for error in errors if isinstance(error, NotFound | RpcRefused)]
            if answers:
                raise answers[0]
            if all(isinstance(error, WrongChain) for error in errors):
                break
        raise errors[0]

    async def on(self, endpoint: Endpoint, operation: Callable[[Endpoint], Awaitable[T]]) -> T:
        """Carry `operation` out on this endpoint alone, once, with the check before it and the accounts after it."""
        try:
            if self._verify is not None and not endpoint.verified:
                async with endpoint.lock:
                    if not endpoint.verified:
                        await self._verify(endpoint)
                        endpoint.verified = True
            result = await operation(endpoint)
        except ChainError as error:
            self.failures[endpoint.label, type(error).__name__] += 1
            if isinstance(error, RpcUnavailable | MalformedAnswer | WrongChain):
                self.mark_down(endpoint, error)
            raise
        if endpoint.failures:
            logger.info("{} answers again", endpoint.label)
        endpoint.failures = 0
        endpoint.down_until = 0.0
        return result

    def mark_down(self, endpoint: Endpoint, error: ChainError, seconds: float = 0.0) -> None:
        """Put the endpoint last for `seconds` at least, longer with each failure in a row."""
        endpoint.failures += 1
        endpoint.verified = False
        # Not above 2^20: a float power must not overflow after weeks of failures.
        wait = self._retries.cool_down * 2 ** min(endpoint.failures - 1, 20)
        endpoint.down_until = self._clock() + max(seconds, min(wait, self._retries.cool_down_limit))
        if endpoint.failures == 1:
            level = "ERROR" if isinstance(error, WrongChain) else "WARNING"
            logger.log(level, "{} stands back: {}", endpoint.label, error)

    def _pause(self, attempt: int) -> float:
        ceiling = min(self._retries.backoff * 2 ** (attempt - 1), self._retries.backoff_limit)
        return random.uniform(0, ceiling)  # noqa: S311 - jitter, not a secret
