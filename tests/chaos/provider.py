"""How the people of a run talk to Ethereum: web3's provider on a session of its own.

web3 guards its cache of sessions with a lock that a thread takes: a call that is given up while it waits for that leaves it
locked, and no call of the process returns any more. Here calls are given up all the time.
"""

from __future__ import annotations

import aiohttp
from web3 import AsyncHTTPProvider
from web3.types import RPCEndpoint

_SECONDS = 20.0


class PatientProvider(AsyncHTTPProvider):
    """Made inside a running loop; close it."""

    def __init__(self, url: str) -> None:
        super().__init__(url, exception_retry_configuration=None)
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_SECONDS), headers=self.get_request_headers())

    async def _make_request(self, method: RPCEndpoint, request_data: bytes) -> bytes:
        async with self._session.post(str(self.endpoint_uri), data=request_data) as answer:
            return await answer.read()

    async def close(self) -> None:
        """Close the connections."""
        await self._session.close()
