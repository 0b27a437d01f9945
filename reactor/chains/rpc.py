"""A list of endpoints used as one: order, fail-over, bounded retries with jitter, rates, doubts, counters. Knows no protocol.

An endpoint stands back for three kinds of reasons. *Down*: it gave no usable answer; that is forgotten at its next one.
*Doubted*: it answered, but not as the others do (it lags, shows another fork, hides or changes events); this outlives its answers
and ends with its time, or when it is found to say the same as the others again. *Unable*: it refused a call that others may
answer (it lacks the method, old state, permission); this ends with its time.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, TypeVar

import stamina
from loguru import logger

from reactor.chains.errors import Means, NotAgreed, RpcProblem, endpoint_label
from reactor.chains.limits import Rate, rate_for
from reactor.foreign import register_secrets, url_secrets
from reactor.outages import Outages

__all__ = ["Doubt", "Endpoint", "Endpoints", "Retries"]

T = TypeVar("T")

VERIFY_AGAIN = 10.0
"""Seconds for which an endpoint's check holds: it may be led to another chain without ever failing."""
_CLOSED_LIMIT = 10.0
"""Seconds for which an endpoint that did not say for how long is left alone at most: it may be the only one."""
_UNABLE_SECONDS: Final = 60.0
"""For how long an endpoint that refused a call stands behind those that may answer it."""


@dataclass(frozen=True, slots=True)
class Retries:
    """How long to go on. Each call of an operation is bounded by the operation's own time-outs.

    `rounds`: tries over all endpoints. `backoff`: seconds before the second round, doubled for each further one, at most
    `backoff_limit`, each with full jitter (N validators must not return to a struggling node in step). `cool_down`: seconds
    for which a failing endpoint stands last, doubled for each failure in a row, at most `cool_down_limit`. `probes_per_second`:
    how often a failing endpoint is asked at all, by everyone together; who comes too early is given its last error. `probes` may
    go at once, so that one caller has its rounds.
    """

    rounds: int = 3
    backoff: float = 0.2
    backoff_limit: float = 5.0
    cool_down: float = 1.0
    cool_down_limit: float = 60.0
    probes: int = 8
    probes_per_second: float = 2.0


@dataclass(frozen=True, slots=True)
class Doubt:
    """Why an endpoint that answers is not believed, and until when (by the clock of the list) it stands back for it."""

    text: str
    until: float


@dataclass(slots=True, eq=False)
class Endpoint:
    """One endpoint and how it fares. `url` may hold a key and is never shown; `label` and `name` may, and `name` is unique."""

    url: str = field(repr=False)
    label: str
    index: int
    name: str = ""
    rate: Rate | None = None
    failures: int = 0
    down_until: float = 0.0
    closed_until: float = 0.0
    trouble: RpcProblem | None = None
    spared: int = 0
    probed: float = 0.0
    tried: bool = False
    verified: bool = False
    verified_at: float = 0.0
    doubts: dict[str, Doubt] = field(default_factory=dict)
    refusals: dict[str, Doubt] = field(default_factory=dict)
    lock: asyncio.Lock = field(default_factory=asyncio.Lock, repr=False)


class Endpoints:
    """The endpoints in the order of preference; `run` carries an operation out on the first that can.

    `chain`: whose they are, for people. `labels`: what may be shown of each, by default scheme, host and port. `verify`,
    if given, is called before an endpoint's first use, after each of its failures and again after `VERIFY_AGAIN` seconds
    (wrong-chain check). `rate`: calls per second to each endpoint; None: see `rate_for`. `own_error`: the client's own error for
    any other exception that an operation raises, which then counts as the endpoint's fault; without it such an exception reaches
    the caller. `calls` counts by method (the protocol client calls `count`), `failures` by (label, error class).
    """

    def __init__(
        self,
        urls: Sequence[str],
        *,
        chain: str = "",
        labels: Sequence[str] = (),
        retries: Retries | None = None,
        verify: Callable[[Endpoint], Awaitable[None]] | None = None,
        rate: float | None = None,
        own_error: Callable[[Endpoint, Exception], RpcProblem] | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        if not urls:
            raise ValueError("endpoints: at least one URL is needed")
        for url in urls:
            if not url.startswith(("http://", "https://")) or endpoint_label(url) == "unreadable endpoint":
                raise ValueError(f"endpoints: expected http:// or https:// URLs, got {endpoint_label(url)}")
        # SECURITY: nodes repeat the URL that they were asked by in their errors.
        register_secrets(*(secret for url in urls for secret in url_secrets(url)))
        shown = list(labels) or [endpoint_label(url) for url in urls]
        self.all = tuple(
            # Several plans of one provider have one host: their place in the list tells them apart.
            Endpoint(url, label, index, label if shown.count(label) == 1 else f"{label} (endpoint {index + 1})")
            for index, (url, label) in enumerate(zip(urls, shown, strict=True))
        )
        self.chain = chain
        self.calls: Counter[str] = Counter()
        self.failures: Counter[tuple[str, str]] = Counter()
        self.disputes: dict[str, str] = {}
        self.outages = Outages(clock)
        self.now = clock
        self._retries = retries or Retries()
        self._verify = verify
        self._own_error = own_error
        self._sleep = sleep
        self._trials: set[asyncio.Task[None]] = set()
        for endpoint in self.all:
            endpoint.rate = rate_for(endpoint.url, rate, clock)

    def count(self, method: str) -> None:
        """Note one call of `method` that goes out."""
        self.calls[method] += 1

    def order(self, last: str = "") -> list[Endpoint]:
        """Usable endpoints in the configured order, then those to be tried again, then those that stand back, first due first.

        `last`: the name of one that comes after all the others, however they fare.
        """
        return sorted(self.all, key=lambda one: (one.name == last, self._due(one), one.trouble is not None, one.index))

    def _due(self, endpoint: Endpoint) -> float:
        """Until when it stands back; 0 if it does not."""
        reasons = [*endpoint.doubts.values(), *endpoint.refusals.values()]
        until = max([endpoint.down_until, endpoint.closed_until, *(reason.until for reason in reasons)])
        return until if until > self.now() else 0.0

    # Asking

    async def run(self, operation: Callable[[Endpoint], Awaitable[T]], *, last: str = "") -> T:
        """Carry `operation` out on one endpoint, falling back to the others; to the one named `last` only after them.

        An endpoint that gives no usable answer, or refuses the call, stands last for a while. One that answers "not found"
        keeps its place, but the others are asked too, since it may lag; if none knows better, its answer stands.

        Raises:
            NotFound, RpcRefused that is an answer (a revert): at least one endpoint answered so, and none better.
            RpcUnavailable, MalformedAnswer, RpcRefused, WrongChain: of the preferred endpoint, after all rounds.
        """
        return await self.rounds(lambda: self._first(operation, last))

    async def rounds(self, work: Callable[[], Awaitable[T]]) -> T:
        """`work` again while its error says that another round may help: bounded, with jitter (stamina)."""
        try:
            return await work()
        except RpcProblem as error:
            if not _may_help(error):
                raise
            first = error
        number = 1
        pauses = stamina.retry_context(
            on=lambda error: self._pause(number) if _may_help(error) else False, attempts=self._retries.rounds, timeout=None
        )
        async for attempt in pauses:
            number = attempt.num
            with attempt:
                if number == 1:
                    # It costs a tenth of a millisecond to begin, so it begins where there is something to retry.
                    raise first
                return await work()
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _first(self, operation: Callable[[Endpoint], Awaitable[T]], last: str) -> T:
        errors: list[RpcProblem] = []
        order = self.order(last)
        self.try_again(order[:1], operation)
        for endpoint in order:
            try:
                return await self.on(endpoint, operation)
            except RpcProblem as error:
                errors.append(error)
        answers = [error for error in errors if error.means is Means.ELSEWHERE]
        faults = [error for error in errors if error.means is Means.FAULT]
        raise (answers or faults or errors)[0]

    def try_again(self, preferred: Sequence[Endpoint], operation: Callable[[Endpoint], Awaitable[object]]) -> None:
        """Where the preferred ones are well, carry `operation` out beside them on those whose time to stand back is over.

        One that hangs would keep every caller waiting again and again, if they were to find out whether it still does.
        """
        if any(endpoint.trouble is not None for endpoint in preferred):
            return
        for endpoint in self.all:
            if endpoint.trouble is not None and not endpoint.tried and not self._due(endpoint):
                endpoint.tried = True
                trial = asyncio.create_task(self._trial(endpoint, operation))
                self._trials.add(trial)
                trial.add_done_callback(self._trials.discard)

    async def _trial(self, endpoint: Endpoint, operation: Callable[[Endpoint], Awaitable[object]]) -> None:
        try:
            with suppress(RpcProblem):  # noted in `on`
                await self.on(endpoint, operation)
        except Exception as error:  # noqa: BLE001 - nobody waits for a trial: what ends it must be told here or nowhere
            logger.opt(exception=error).error("the trial of {} failed", endpoint.name)
        finally:
            endpoint.tried = False

    async def close(self) -> None:
        """End the trials under way."""
        trials = list(self._trials)
        for trial in trials:
            trial.cancel()
        await asyncio.gather(*trials, return_exceptions=True)

    async def on(self, endpoint: Endpoint, operation: Callable[[Endpoint], Awaitable[T]]) -> T:
        """Carry `operation` out on this endpoint alone, once, with the check before it and the accounts after it.

        One that is failing is not asked by everyone who needs it: in between, its last error is the answer.
        """
        if endpoint.trouble is not None and not self._may_probe(endpoint):
            raise endpoint.trouble.with_traceback(None)
        try:
            if self._verify is not None and not self._is_verified(endpoint):
                async with endpoint.lock:
                    if not self._is_verified(endpoint):
                        await self._verify(endpoint)
                        endpoint.verified, endpoint.verified_at = True, self.now()
            result = await operation(endpoint)
        except _SparedError as spared:
            raise spared.trouble.with_traceback(None) from None
        except RpcProblem as error:
            self._note(endpoint, error)
            raise
        except Exception as error:
            if self._own_error is None:
                raise
            # SECURITY: what a remote party sends may end a call, never a loop, whatever it does to the libraries that read it.
            problem = self._own_error(endpoint, error)
            logger.opt(exception=error).debug("an answer of {} could not be used", endpoint.name)
            self._note(endpoint, problem)
            raise problem from error
        self.outages.worked(endpoint.name)
        endpoint.failures = 0
        endpoint.down_until = endpoint.closed_until = 0.0
        endpoint.trouble = None
        return result

    def _is_verified(self, endpoint: Endpoint) -> bool:
        return endpoint.verified and self.now() - endpoint.verified_at < VERIFY_AGAIN

    def _note(self, endpoint: Endpoint, error: RpcProblem) -> None:
        if not error.asked:
            return
        self.failures[endpoint.label, type(error).__name__] += 1
        if error.means in {Means.FAULT, Means.WRONG}:
            self.mark_down(endpoint, error)
        elif error.means is Means.UNABLE:
            self._note_refusal(endpoint, error)

    def _note_refusal(self, endpoint: Endpoint, error: RpcProblem) -> None:
        endpoint.refusals[error.about] = Doubt(str(error), self.now() + _UNABLE_SECONDS)
        self.outages.failed(_call_at(endpoint, error.about), error.words)

    def answered(self, endpoint: Endpoint, call: str) -> None:
        """It answered this call, though perhaps not all that it may be asked (old state, say): a refusal ends with its time."""
        refusal = endpoint.refusals.get(call)
        if refusal is not None and refusal.until <= self.now():
            self.serves(endpoint, call)

    def serves(self, endpoint: Endpoint, call: str) -> None:
        """It answered this call as the protocol says: a refusal of it is forgotten before its time."""
        endpoint.refusals.pop(call, None)
        self.outages.worked(_call_at(endpoint, call))

    async def each(
        self, endpoints: Iterable[Endpoint], operation: Callable[[Endpoint], Awaitable[T]]
    ) -> dict[Endpoint, T | RpcProblem]:
        """Each of these endpoints' own outcome, all asked at once, none asked twice."""

        async def one(endpoint: Endpoint) -> T | RpcProblem:
            try:
                return await self.on(endpoint, operation)
            except RpcProblem as error:
                return error

        asked = list(endpoints)
        return dict(zip(asked, await asyncio.gather(*(one(endpoint) for endpoint in asked)), strict=True))

    async def turn(self, endpoint: Endpoint) -> bool:
        """Wait, within an operation of `on`, until this endpoint may be called once more. False: too many calls wait already.

        Where the endpoint asked meanwhile to be left alone, the operation ends with what it said then.
        """
        if endpoint.trouble is not None and endpoint.closed_until > self.now():
            raise _SparedError(endpoint.trouble)
        if endpoint.rate is None:
            return True
        wait = endpoint.rate.take()
        if wait:
            await self._sleep(wait)
        return wait is not None

    # Standing back

    def mark_down(self, endpoint: Endpoint, error: RpcProblem, seconds: float = 0.0) -> None:
        """Put the endpoint last for `seconds` at least, longer with each failure in a row."""
        endpoint.failures += 1
        endpoint.verified = False
        endpoint.trouble = error
        if endpoint.failures == 1:
            endpoint.spared, endpoint.probed = self._retries.probes - 1, self.now()
        # Not above 2^20: a float power must not overflow after weeks of failures.
        wait = self._retries.cool_down * 2 ** min(endpoint.failures - 1, 20)
        endpoint.down_until = self.now() + max(seconds, min(wait, self._retries.cool_down_limit))
        if error.throttled:
            # Its own wish, else the cool-down: whoever is asked too much is not asked at all.
            wish = min(wait, _CLOSED_LIMIT) if error.retry_after is None else error.retry_after
            endpoint.closed_until = self.now() + wish
        self.outages.failed(endpoint.name, error, level="ERROR" if error.means is Means.WRONG else "WARNING")

    def _may_probe(self, endpoint: Endpoint) -> bool:
        now = self.now()
        if endpoint.closed_until > now:
            return False
        gained = int((now - endpoint.probed) * self._retries.probes_per_second)
        if gained > 0:
            endpoint.spared = min(self._retries.probes, endpoint.spared + gained)
            endpoint.probed = now
        if endpoint.spared <= 0:
            return False
        endpoint.spared -= 1
        return True

    def doubt(self, endpoint: Endpoint, kind: str, text: str, seconds: float) -> None:
        """Put an endpoint that answers last, for `seconds`: what it says is not what the others say. `kind` names the check."""
        if kind not in endpoint.doubts:
            logger.error("{} stands back: {}", endpoint.name, text)
        endpoint.doubts[kind] = Doubt(text, self.now() + seconds)

    def trust(self, endpoint: Endpoint, kind: str) -> None:
        """The check that `kind` names found it well."""
        if endpoint.doubts.pop(kind, None) is not None:
            logger.info("{} says what the others say again ({})", endpoint.name, kind)

    def dispute(self, kind: str, text: str) -> None:
        """The endpoints contradict each other and none can be preferred; shown until `settle`."""
        if kind not in self.disputes:
            logger.error("{}", text)
        self.disputes[kind] = text

    def settle(self, kind: str) -> None:
        """The endpoints agree in this again."""
        if self.disputes.pop(kind, None) is not None:
            logger.info("the endpoints agree again ({})", kind)

    def problems(self) -> list[str]:
        """What is wrong with which endpoint now, for people."""
        now = self.now()
        down = [f"{one.name}: {one.trouble}" for one in self.all if one.trouble is not None]
        unable = [
            f"{one.name} refuses a call: {refusal.text}"
            for one in self.all
            for refusal in one.refusals.values()
            if refusal.until > now and (one.trouble is None or refusal.text != str(one.trouble))
        ]
        return down + unable + self.contradictions()

    def contradictions(self) -> list[str]:
        """Which endpoint answers, but not what the others do."""
        now = self.now()
        found = [f"{one.name}: {doubt.text}" for one in self.all for doubt in one.doubts.values() if doubt.until > now]
        return found + list(self.disputes.values())

    def _pause(self, attempt: int) -> float:
        ceiling = min(self._retries.backoff * 2 ** (attempt - 1), self._retries.backoff_limit)
        jitter = random.uniform(0, ceiling)  # noqa: S311 - jitter, not a secret
        opens = min(endpoint.closed_until for endpoint in self.all) - self.now()
        # Not 0, which stamina takes for "no opinion".
        return max(jitter, min(opens, self._retries.backoff_limit), 0.001)


class _SparedError(Exception):
    """An operation under way is not carried on, since the endpoint must not be asked now: `trouble` says why."""

    def __init__(self, trouble: RpcProblem) -> None:
        super().__init__(str(trouble))
        self.trouble = trouble


def _call_at(endpoint: Endpoint, call: str) -> str:
    """Who fails, of an endpoint that refuses one call and answers the others."""
    return f"{call} at {endpoint.name}"


def _may_help(error: Exception) -> bool:
    """Whether the same question may be answered a little later."""
    return error.transient if isinstance(error, NotAgreed) else isinstance(error, RpcProblem) and error.means is Means.FAULT
