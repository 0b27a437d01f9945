"""A server of this machine in a thread of its own, so that clients with and without asyncio can be tried against it."""

from __future__ import annotations

import asyncio
import threading
from abc import ABC, abstractmethod
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Final, Self

__all__ = ["ServerThread"]

_STARTED: Final = 60.0
_LONGEST_LINE: Final = 2**20


@dataclass
class ServerThread(ABC):
    """Entered, it listens on a free `port`; each connection is asked for one exchange after the other."""

    port: int = field(default=0, init=False)
    _loop: asyncio.AbstractEventLoop = field(default_factory=asyncio.new_event_loop, init=False, repr=False)
    _thread: threading.Thread | None = field(default=None, init=False, repr=False)
    _connections: set[asyncio.Task[None]] = field(default_factory=set, init=False, repr=False)

    @abstractmethod
    async def exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """Take one request and answer it; whether the connection stands for the next one."""

    def __enter__(self) -> Self:
        started = threading.Event()
        self._thread = threading.Thread(target=self._run, args=(started,), daemon=True)
        self._thread.start()
        assert started.wait(_STARTED)
        return self

    def __exit__(self, *_: object) -> None:
        assert self._thread is not None
        asyncio.run_coroutine_threadsafe(self.hang_up(), self._loop).result(_STARTED)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(_STARTED)

    async def hang_up(self) -> None:
        """End all connections: those that are kept waiting too."""
        waiting = [task for task in self._connections if task is not asyncio.current_task()]
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    def _run(self, started: threading.Event) -> None:
        asyncio.set_event_loop(self._loop)
        server = self._loop.run_until_complete(asyncio.start_server(self._serve, "127.0.0.1", 0, limit=_LONGEST_LINE))
        self.port = server.sockets[0].getsockname()[1]
        started.set()
        try:
            self._loop.run_forever()
        finally:
            server.close()
            self._loop.run_until_complete(self._loop.shutdown_asyncgens())
            self._loop.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._connections.add(task)
        try:
            # Cancelled by `hang_up` alone.
            with suppress(OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, asyncio.CancelledError):
                while await self.exchange(reader, writer):
                    pass
        finally:
            self._connections.discard(task)
            # The other side, or a stopping loop, may have ended it first.
            with suppress(OSError, RuntimeError):
                writer.close()
