"""One HTTP connection pool to one Ethereum node, on web3's provider. Imports web3 (one second): import it late.

What web3's own provider lacks: it opens a new connection (and TLS handshake) for each call, throws away the JSON-RPC error
that many nodes send along with an HTTP 4xx, and reads answers of any size.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Sequence
from typing import Any

import aiohttp
from web3 import AsyncHTTPProvider
from web3.types import RPCEndpoint

from reactor.chains.errors import ChainError, MalformedAnswer, RpcRefused, RpcUnavailable, retry_after_seconds
from reactor.chains.ethereum.wire import TooMuch

__all__ = ["NodeProvider"]

# SECURITY: web3 imports py_ecc, which lifts the interpreter's recursion limit to 100,000. Python's JSON parser then overflows
# the C stack on a deeply nested answer, and any node could end the process. We use none of py_ecc: back to the default.
_RECURSION_LIMIT = 1000
sys.setrecursionlimit(min(sys.getrecursionlimit(), _RECURSION_LIMIT))

# A window of logs is a few megabytes at most; what is larger is halved by the caller instead of filling the memory.
ANSWER_LIMIT = 32 * 1024 * 1024
_CONNECTIONS = 16
# Shorter than any server's own (Node.js: 5 s): a call on a connection that the server closes meanwhile would fail.
_KEEP_ALIVE_SECONDS = 4.0
_TOO_MANY = 429
_TRY_AGAIN = (408, 425, 429, 500, 502, 503, 504, 520, 521, 522, 523, 524, 529)
_STATUSES: dict[int, type[ChainError]] = {413: TooMuch, **dict.fromkeys(_TRY_AGAIN, RpcUnavailable)}


class NodeProvider(AsyncHTTPProvider):
    """web3's provider with a kept-alive session, bounded answers and typed errors (`RpcUnavailable`, `MalformedAnswer`)."""

    def __init__(self, url: str, seconds: float) -> None:
        super().__init__(url, exception_retry_configuration=None)
        self._url = url
        self._seconds = seconds
        self._session: aiohttp.ClientSession | None = None

    async def ask(self, method: str, params: Sequence[Any]) -> dict[str, Any]:
        """The JSON-RPC answer as an object (with `result` or `error`, unchecked), within the time-out.

        Raises:
            RpcUnavailable, RpcRefused, MalformedAnswer
        """
        try:
            async with asyncio.timeout(self._seconds):
                answer: Any = await self.make_request(RPCEndpoint(method), list(params))
        except TimeoutError:
            raise RpcUnavailable(f"no answer in {self._seconds:g} s", endpoint=self._url, method=method) from None
        except (aiohttp.ClientError, OSError) as error:
            # SECURITY: aiohttp's texts may repeat the whole URL, and with it a provider's key: only the class is kept.
            raise RpcUnavailable(type(error).__name__, endpoint=self._url, method=method) from None
        except (ValueError, RecursionError):
            raise MalformedAnswer("not JSON", endpoint=self._url, method=method) from None
        if not isinstance(answer, dict):
            raise MalformedAnswer("not a JSON object", endpoint=self._url, method=method)
        return answer

    async def _make_request(self, method: RPCEndpoint, request_data: bytes) -> bytes:
        if self._session is None or self._session.closed:
            connector = aiohttp.TCPConnector(limit=_CONNECTIONS, keepalive_timeout=_KEEP_ALIVE_SECONDS)
            self._session = aiohttp.ClientSession(connector=connector, headers=self.get_request_headers())
        async with self._session.post(self._url, data=request_data, allow_redirects=False) as response:
            body = await self._body(response, method)
            # What 429 carries is an error object at some providers, but only the header says for how long.
            if response.status == _TOO_MANY or (response.status != 200 and not _is_rpc_answer(body)):
                raise self._refusal(response, method)
        if not body.strip():
            raise MalformedAnswer("empty answer", endpoint=self._url, method=method)
        return body

    def _refusal(self, response: aiohttp.ClientResponse, method: str) -> ChainError:
        kind = _STATUSES.get(response.status, RpcRefused)
        error = kind(f"HTTP {response.status}", endpoint=self._url, method=method)
        error.retry_after = retry_after_seconds(response.headers.get("Retry-After"))
        error.throttled = response.status == _TOO_MANY or (kind is RpcUnavailable and error.retry_after is not None)
        return error

    async def _body(self, response: aiohttp.ClientResponse, method: str) -> bytes:
        body = bytearray()
        async for chunk in response.content.iter_chunked(65536):
            body += chunk
            if len(body) > ANSWER_LIMIT:
                raise TooMuch(f"response size exceeds our limit of {ANSWER_LIMIT} bytes", endpoint=self._url, method=method)
        return bytes(body)

    async def close(self) -> None:
        """Close the connections."""
        if self._session is not None:
            await self._session.close()
            self._session = None


def _is_rpc_answer(body: bytes) -> bool:
    try:
        answer = json.loads(body)
    except (ValueError, RecursionError):
        return False
    return isinstance(answer, dict) and isinstance(answer.get("error"), dict)
