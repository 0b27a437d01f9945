"""A client that another takes the place of where the driver would never reach the database again.

A driver forgets a server for good that once answered as one of another replica set, or of none, and goes where a server says
that the set is. Once it has forgotten all, or was sent to where nobody is, only a new client asks the addresses of the URI again.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from time import monotonic
from typing import Any, Final, Generic, Protocol, TypeVar

from loguru import logger

from reactor.outages import Outages
from reactor.store.problem import StoreProblem

FORGOTTEN_SECONDS: Final = 1.0
"""Between the first look at a client that has no server left and the next client."""
AWAY_SECONDS: Final = 30.0
"""The same where servers are left and none is a primary: longer than an election takes. In an outage it costs one client each."""

_RENEWING: Final = "making a new connection to the database"


class Client(Protocol):
    """What of a driver's client is needed here."""

    @property
    def topology_description(self) -> Any:  # noqa: ANN401 - the driver's, or what stands for it
        """What the client knows of the servers."""

    async def close(self) -> None:
        """End all connections."""


_C = TypeVar("_C", bound=Client)


class Renewed(Generic[_C]):
    """`make` makes a client and may raise `StoreProblem`; `grace`: seconds within which each operation under way ends by itself;
    `outages`: where it is told that none can be made; `clock`: seconds that never go back.

    Raises `StoreProblem` where the first one cannot be made.
    """

    def __init__(
        self, make: Callable[[], _C], grace: float, outages: Callable[[], Outages], clock: Callable[[], float] = monotonic
    ) -> None:
        self._make = make
        self._grace = grace
        self._outages = outages
        self._clock = clock
        self._client = make()
        self._without: float | None = None
        self._told = False
        self._closing: set[asyncio.Task[None]] = set()
        self._over = asyncio.Event()

    def current(self) -> _C:
        """The client to use now, for one operation: never to be kept."""
        known = self._client.topology_description
        if known.has_writable_server():
            self._without, self._told = None, False
            self._outages().worked(_RENEWING)
            return self._client
        now = self._clock()
        if self._without is None:
            self._without = now
        forgotten = not known.server_descriptions()
        if now - self._without > (FORGOTTEN_SECONDS if forgotten else AWAY_SECONDS):
            self._renew(forgotten=forgotten)
        return self._client

    async def close(self) -> None:
        """End the client, and those before it."""
        self._over.set()
        await asyncio.gather(*self._closing)
        await self._client.close()

    def _renew(self, *, forgotten: bool) -> None:
        self._without = None  # the new one gets its time, and so does another try where it cannot be made
        if forgotten and not self._told:
            self._told = True
            logger.warning("each server of mongo.uri answered as one of another replica set or of none: they are asked again")
        try:
            fresh = self._make()
        except StoreProblem as problem:
            self._outages().failed(_RENEWING, problem)
            return
        self._outages().worked(_RENEWING)
        closing = asyncio.get_running_loop().create_task(self._let_go(self._client))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)
        self._client = fresh

    async def _let_go(self, client: _C) -> None:
        # What is under way would end with words about a closed client instead of those about the outage.
        with suppress(TimeoutError):
            async with asyncio.timeout(self._grace):
                await self._over.wait()
        await client.close()
