"""HTTP to the list of Pocket nodes: time-outs, rates, bounded answers. Fail-over and retries are `reactor.chains.rpc`'s."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit, urlunsplit

from reactor.chains.errors import endpoint_label
from reactor.chains.http import Failure, Http, NoReply
from reactor.chains.pocket.errors import MalformedAnswer, NotFound, PocketConfigError, PocketRpcError, RpcRefused, RpcUnavailable
from reactor.chains.pocket.morse.answers import Asked, read_body
from reactor.chains.rpc import Endpoint as Node
from reactor.chains.rpc import Endpoints, Retries
from reactor.sentences import meaning
from reactor.urls import UrlProblem, http_url

T = TypeVar("T")

MAX_BODY: Final = 64 * 1024 * 1024
"""More than a full page of the largest transactions; bounds what a broken node can make us hold."""
_TOO_MANY: Final = 429


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One node. `name` is what errors and logs show; the URL may hold a secret and is shown nowhere."""

    name: str
    url: str = field(repr=False)

    @classmethod
    def parse(cls, url: str, name: str = "") -> Endpoint:
        """An endpoint from its base URL (see `call_url`); the default name is host and port.

        Raises:
            PocketConfigError: not the URL of an endpoint.
        """
        try:
            base = http_url(url)
        except UrlProblem as error:
            raise PocketConfigError(f"Pocket endpoint: {error}") from None
        return cls(name or endpoint_label(base).partition("://")[2], base)


def call_url(base: str, call: str) -> str:
    """Where a call is posted: its path stands behind that of the base URL (with or without `/v1`), before its query.

    >>> call_url("https://host/path?apikey=K", "query/height")
    'https://host/path/v1/query/height?apikey=K'
    """
    parts = urlsplit(base)
    path = parts.path.rstrip("/").removesuffix("/v1").rstrip("/")
    return urlunsplit((parts.scheme, parts.netloc, f"{path}/v1/{call}", parts.query, ""))


@dataclass(frozen=True, slots=True)
class RetryPolicy:
    """Bounds on asking again, in seconds.

    A round asks each endpoint once; between rounds it waits at random up to `wait_initial`, doubled each time up to `wait_max`.
    `cool_down`: how long an endpoint that failed once stands last.
    """

    rounds: int = 3
    wait_initial: float = 0.2
    wait_max: float = 5.0
    cool_down: float = 1.0


class Transport:
    """Calls by node, and the list of nodes around them. `calls` counts HTTP requests by path."""

    def __init__(self, endpoints: Sequence[Endpoint], *, timeout: float, retry: RetryPolicy, rate: float | None = None) -> None:
        if not endpoints:
            raise PocketConfigError("Pocket endpoints: at least one is needed")
        if timeout <= 0 or retry.rounds < 1:
            raise PocketConfigError("Pocket time-out and retry rounds must be positive")
        self.pool = Endpoints(
            [endpoint.url for endpoint in endpoints],
            chain="Pocket",
            labels=[endpoint.name for endpoint in endpoints],
            retries=Retries(
                rounds=retry.rounds, backoff=retry.wait_initial, backoff_limit=retry.wait_max, cool_down=retry.cool_down
            ),
            rate=rate,
            own_error=_own_error,
        )
        self._http = Http(seconds=timeout, limit=MAX_BODY, headers={"Content-Type": "application/json"})

    @property
    def calls(self) -> Counter[str]:
        """HTTP requests so far."""
        return self.pool.calls

    async def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        await self.pool.close()
        await self._http.close()

    async def post(self, endpoint: Node, call: str, body: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON
        """One request to one node, no retry. `call` is the path below `/v1/`. Raises PocketRpcError."""
        if not await self.pool.turn(endpoint):
            refused = RpcUnavailable(endpoint.name, call, "our own rate limit: too many calls wait")
            refused.asked = False
            raise refused
        self.pool.count(call)
        asked = Asked(endpoint.name, call)
        try:
            reply = await self._http.post(call_url(endpoint.url, call), json.dumps(body).encode())
        except NoReply as failure:
            raise _failed(asked, failure) from None
        try:
            value = read_body(asked, reply.status, reply.body)
        except RpcUnavailable as error:
            error.retry_after = reply.retry_after
            error.throttled = reply.status == _TOO_MANY or error.retry_after is not None
            raise
        except (NotFound, RpcRefused):
            self.pool.serves(endpoint, call)  # its own "no" is a node's answer
            raise
        self.pool.serves(endpoint, call)
        return value

    async def failover(self, work: Callable[[Node], Awaitable[T]]) -> T:
        """Do `work` with the preferred node, with the next when that cannot answer, and again in bounded rounds."""
        return await self.pool.run(work)


def _failed(asked: Asked, failure: NoReply) -> PocketRpcError:
    if failure.failure in {Failure.UNREADABLE, Failure.TOO_LONG}:
        return asked.malformed("body", str(failure))
    text = str(failure) if failure.failure is Failure.LATE else f"no answer ({failure})"
    return RpcUnavailable(asked.endpoint, asked.call, text)


def _own_error(endpoint: Node, error: Exception) -> PocketRpcError:
    """What an answer did to the code that reads it is this endpoint's fault."""
    return MalformedAnswer(endpoint.name, "answer", "body", f"cannot be used: {meaning(error)}")
