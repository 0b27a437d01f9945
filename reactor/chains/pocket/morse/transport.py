"""HTTP to the list of Pocket nodes: time-outs, rates, bounded answers. Fail-over and retries are `reactor.chains.rpc`'s."""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import aiohttp

from reactor.chains.errors import retry_after_seconds
from reactor.chains.pocket.errors import PocketConfigError, RpcUnavailable
from reactor.chains.pocket.morse.answers import Asked, read_body
from reactor.chains.rpc import Endpoint as Node
from reactor.chains.rpc import Endpoints, Retries

T = TypeVar("T")

MAX_BODY: Final = 64 * 1024 * 1024
"""More than a full page of the largest transactions; bounds what a broken node can make us hold."""
MAX_CONNECTIONS: Final = 16
_TOO_MANY: Final = 429


@dataclass(frozen=True, slots=True)
class Endpoint:
    """One node. `name` is what errors and logs show; the URL may hold a secret and is shown nowhere."""

    name: str
    url: str = field(repr=False)

    @classmethod
    def parse(cls, url: str, name: str = "") -> Endpoint:
        """An endpoint from its base URL (a trailing `/v1` is dropped); the default name is host and port.

        Raises:
            PocketConfigError: not an http or https URL.
        """
        try:
            parts = urlsplit(url)
            host = parts.hostname
            port = parts.port
        except ValueError:
            host, port, parts = None, None, urlsplit("")
        if parts.scheme not in {"http", "https"} or not host:
            raise PocketConfigError("Pocket endpoint: must be an http:// or https:// URL with a host")
        base = url.rstrip("/").removesuffix("/v1").rstrip("/")
        return cls(name or (f"{host}:{port}" if port else host), base)


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
            labels=[endpoint.name for endpoint in endpoints],
            retries=Retries(
                rounds=retry.rounds, backoff=retry.wait_initial, backoff_limit=retry.wait_max, cool_down=retry.cool_down
            ),
            rate=rate,
        )
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._session: aiohttp.ClientSession | None = None

    @property
    def calls(self) -> Counter[str]:
        """HTTP requests so far."""
        return self.pool.calls

    async def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        await self.pool.close()
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=MAX_CONNECTIONS)
            self._session = aiohttp.ClientSession(connector=connector, timeout=self._timeout)
        return self._session

    async def post(self, endpoint: Node, call: str, body: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON
        """One request to one node, no retry. `call` is the path below `/v1/`. Raises PocketRpcError."""
        if not await self.pool.turn(endpoint):
            refused = RpcUnavailable(endpoint.name, call, "our own rate limit: too many calls wait")
            refused.asked = False
            raise refused
        self.pool.count(call)
        asked = Asked(endpoint.name, call)
        try:
            async with self._open().post(f"{endpoint.url}/v1/{call}", json=body, allow_redirects=False) as response:
                content = await _read(response)
                status, retry_after = response.status, response.headers.get("Retry-After")
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            # The text of some client errors holds the URL: only the kind is told.
            raise RpcUnavailable(endpoint.name, call, f"no answer ({type(error).__name__})") from None
        if content is None:
            raise asked.malformed("body", f"more than {MAX_BODY} bytes")
        try:
            return read_body(asked, status, content)
        except RpcUnavailable as error:
            error.retry_after = retry_after_seconds(retry_after)
            error.throttled = status == _TOO_MANY or error.retry_after is not None
            raise

    async def failover(self, work: Callable[[Node], Awaitable[T]]) -> T:
        """Do `work` with the preferred node, with the next when that cannot answer, and again in bounded rounds."""
        return await self.pool.run(work)


async def _read(response: aiohttp.ClientResponse) -> bytes | None:
    """The body; None when it is longer than `MAX_BODY`."""
    chunks = bytearray()
    async for chunk in response.content.iter_chunked(1 << 16):
        chunks += chunk
        if len(chunks) > MAX_BODY:
            return None
    return bytes(chunks)
