"""One HTTP exchange with a node, for the clients of all chains: whatever the node does, there is a `Reply` or a `NoReply`.

SECURITY: everything that a remote party sends passes through libraries here, whose errors no list foresees: a header alone has
ended processes. So this is the boundary at which any exception becomes the client's own. The answer's size is bounded, unpacked
too, and so is the time; redirects are not followed (a request goes where the operator said) and cookies are not kept.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Final

import aiohttp

from reactor.chains.errors import retry_after_seconds
from reactor.sentences import meaning

__all__ = ["Failure", "Http", "NoReply", "Reply", "parse_json"]

_CONNECTIONS: Final = 16
_KEEP_ALIVE_SECONDS: Final = 4.0
"""Shorter than any server's own (Node.js: 5 s): a call on a connection that the server closes meanwhile would fail."""
_CHUNK: Final = 65_536


class Failure(Enum):
    """Why there is no reply. `UNREACHABLE`: no connection, or it broke. `LATE`: not within the time. `UNREADABLE`: not HTTP, or
    not what its headers promise. `TOO_LONG`: more bytes than allowed."""

    UNREACHABLE = "unreachable"
    LATE = "late"
    UNREADABLE = "unreadable"
    TOO_LONG = "too long"


class NoReply(Exception):  # noqa: N818 - named for what happened
    """There is no reply, for the reason `failure`; the text says so in a few words and holds nothing that was received."""

    def __init__(self, failure: Failure, text: str) -> None:
        super().__init__(text)
        self.failure = failure


@dataclass(frozen=True, slots=True)
class Reply:
    """Status, body, and the seconds for which the server wants to be left alone (`Retry-After`; None: it did not say)."""

    status: int
    body: bytes
    retry_after: float | None = None


class Http:
    """Kept-alive connections. `seconds`: time-out of one exchange; `limit`: bytes of one body, unpacked."""

    def __init__(self, *, seconds: float, limit: int, headers: Mapping[str, str] | None = None) -> None:
        self._seconds = seconds
        self._limit = limit
        self._headers = dict(headers or {})
        self._session: aiohttp.ClientSession | None = None

    async def post(self, url: str, body: bytes) -> Reply:
        """What the server replied. Raises NoReply, whatever happens."""
        try:
            async with asyncio.timeout(self._seconds):
                return await self._post(url, body)
        except NoReply:
            raise
        except TimeoutError:
            raise NoReply(Failure.LATE, f"no answer in {self._seconds:g} s") from None
        # SECURITY: the texts of these errors may repeat the whole URL, and with it a provider's key: only the kind is told.
        except (aiohttp.ClientPayloadError, aiohttp.ClientResponseError) as error:
            raise NoReply(Failure.UNREADABLE, f"unreadable answer: {meaning(error)}") from None
        except (aiohttp.ClientError, OSError) as error:
            raise NoReply(Failure.UNREACHABLE, meaning(error)) from None
        except Exception as error:  # noqa: BLE001 - what a library makes of foreign bytes may end this call, never its caller
            raise NoReply(Failure.UNREADABLE, f"unreadable answer: {meaning(error)}") from None

    async def _post(self, url: str, body: bytes) -> Reply:
        async with self._open().post(url, data=body, allow_redirects=False) as response:
            content = bytearray()
            async for chunk in response.content.iter_chunked(_CHUNK):
                content += chunk
                if len(content) > self._limit:
                    raise NoReply(Failure.TOO_LONG, f"response size exceeds our limit of {self._limit} bytes")
            return Reply(response.status, bytes(content), retry_after_seconds(response.headers.get("Retry-After")))

    def _open(self) -> aiohttp.ClientSession:
        if self._session is None or self._session.closed:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=_CONNECTIONS, keepalive_timeout=_KEEP_ALIVE_SECONDS),
                cookie_jar=aiohttp.DummyCookieJar(),
                timeout=aiohttp.ClientTimeout(total=None),  # `post` bounds it
                headers=self._headers,
            )
        return self._session

    async def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        session, self._session = self._session, None
        if session is not None:
            await session.close()


def parse_json(body: bytes | str) -> Any:  # noqa: ANN401 - JSON
    """The JSON value. Raises ValueError, whatever is wrong with it: nesting, digits, encoding."""
    try:
        return json.loads(body)
    except ValueError:
        raise
    except Exception as error:  # noqa: BLE001 - nested too deep, too large: for the caller no JSON either
        raise ValueError(meaning(error)) from None
