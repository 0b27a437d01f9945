"""HTTP to a list of endpoints: time-outs, immediate failover, bounded rounds of retries with jitter."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar
from urllib.parse import urlsplit

import aiohttp
import stamina
from loguru import logger

from reactor.chains.pocket.errors import PocketConfigError, PocketRpcError, RpcUnavailable
from reactor.chains.pocket.morse.answers import Asked, read_body

T = TypeVar("T")

MAX_BODY: Final = 64 * 1024 * 1024
"""More than a full page of the largest transactions; bounds what a broken node can make us hold."""
MAX_CONNECTIONS: Final = 16


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
    """Bounds on asking again. A round asks each endpoint once; between rounds it waits, longer each time (seconds)."""

    rounds: int = 3
    wait_initial: float = 0.2
    wait_max: float = 5.0
    wait_jitter: float = 0.5


class Transport:
    """Calls by endpoint, and the failover around them. `calls` counts HTTP requests by path."""

    def __init__(self, endpoints: Sequence[Endpoint], *, timeout: float, retry: RetryPolicy) -> None:
        if not endpoints:
            raise PocketConfigError("Pocket endpoints: at least one is needed")
        if timeout <= 0 or retry.rounds < 1:
            raise PocketConfigError("Pocket time-out and retry rounds must be positive")
        self.endpoints = tuple(endpoints)
        self.calls: Counter[str] = Counter()
        self._timeout = aiohttp.ClientTimeout(total=timeout)
        self._retry = retry
        self._preferred = 0
        self._session: aiohttp.ClientSession | None = None

    async def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None:
            connector = aiohttp.TCPConnector(limit=MAX_CONNECTIONS)
            self._session = aiohttp.ClientSession(connector=connector, timeout=self._timeout)
        return self._session

    async def post(self, endpoint: Endpoint, call: str, body: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON
        """One request to one endpoint, no retry. `call` is the path below `/v1/`. Raises PocketRpcError."""
        self.calls[call] += 1
        asked = Asked(endpoint.name, call)
        try:
            async with self._open().post(f"{endpoint.url}/v1/{call}", json=body, allow_redirects=False) as response:
                content = await _read(response)
                status = response.status
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            # The text of some client errors holds the URL: only the kind is told.
            raise RpcUnavailable(endpoint.name, call, f"no answer ({type(error).__name__})") from None
        if content is None:
            raise asked.malformed("body", f"more than {MAX_BODY} bytes")
        return read_body(asked, status, content)

    async def failover(self, work: Callable[[Endpoint], Awaitable[T]]) -> T:
        """Do `work` with one endpoint, with the next when that cannot answer, and again in bounded rounds.

        The endpoint that answered is asked first next time. Raises the round's first retryable error, or the last.
        """
        retry = self._retry
        async for attempt in stamina.retry_context(
            on=lambda error: isinstance(error, PocketRpcError) and error.retryable,
            attempts=retry.rounds,
            timeout=None,
            wait_initial=retry.wait_initial,
            wait_max=retry.wait_max,
            wait_jitter=retry.wait_jitter,
        ):
            with attempt:
                return await self._round(work)
        raise AssertionError("unreachable: the last attempt returns or raises")

    async def _round(self, work: Callable[[Endpoint], Awaitable[T]]) -> T:
        errors: list[PocketRpcError] = []
        first = self._preferred
        for step in range(len(self.endpoints)):
            position = (first + step) % len(self.endpoints)
            try:
                result = await work(self.endpoints[position])
            except PocketRpcError as error:
                if not error.failover:
                    raise
                logger.debug("pocket endpoint cannot answer: {}", error)
                errors.append(error)
            else:
                self._preferred = position
                return result
        raise next((error for error in errors if error.retryable), errors[-1])


async def _read(response: aiohttp.ClientResponse) -> bytes | None:
    """The body; None when it is longer than `MAX_BODY`."""
    chunks = bytearray()
    async for chunk in response.content.iter_chunked(1 << 16):
        chunks += chunk
        if len(chunks) > MAX_BODY:
            return None
    return bytes(chunks)


async def gather_endpoints(endpoints: Sequence[Endpoint], work: Callable[[Endpoint], Awaitable[T]]) -> list[T | BaseException]:
    """`work` on every endpoint at once; exceptions are returned."""
    return await asyncio.gather(*(work(endpoint) for endpoint in endpoints), return_exceptions=True)
