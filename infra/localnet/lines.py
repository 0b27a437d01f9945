"""A line to a server that can be cut: a TCP relay on the loopback interface that goes silent without closing anything."""

import asyncio
import contextlib

from infra.localnet.ports import HOST

_CHUNK = 65_536


class Line:
    """Relays connections to `target`, a port of this machine, until `cut`. `port` is where it listens, once `open`.

    Cut means what a pulled cable means: connections stay open, new ones are taken, and nothing arrives in either direction.
    """

    def __init__(self, target: int) -> None:
        """Describe the line; `open` lays it."""
        self._target = target
        self._server: asyncio.Server | None = None
        self._whole = asyncio.Event()
        self._whole.set()
        self._relays: set[asyncio.Task[None]] = set()
        self.port = 0

    async def open(self) -> None:
        """Listen on a port that the system chooses; after `close`, when connections are refused, on the same one."""
        self._server = await asyncio.start_server(self._connected, HOST, self.port)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        """End it and all that goes over it."""
        if self._server is not None:
            self._server.close()
        self._hang_up()
        await asyncio.gather(*self._relays, return_exceptions=True)

    def cut(self) -> None:
        """Let nothing through."""
        self._whole.clear()

    def mend(self) -> None:
        """Let things through again; what was connected before is hung up, as by a router that has forgotten it."""
        self._hang_up()
        self._whole.set()

    def _hang_up(self) -> None:
        for relay in self._relays:
            relay.cancel()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._relays.add(task)
        try:
            with contextlib.suppress(OSError, asyncio.CancelledError):  # the end of a connection, whoever ended it
                await self._relay(reader, writer)
        finally:
            self._relays.discard(task)
            writer.close()

    async def _relay(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._whole.wait()
        there, back = await asyncio.open_connection(HOST, self._target)
        try:
            async with asyncio.TaskGroup() as group:
                ways = [group.create_task(self._pump(reader, back)), group.create_task(self._pump(there, writer))]
                await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
                for way in ways:
                    way.cancel()
        finally:
            back.close()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(OSError):  # one side is gone: the other one is closed with it
            while data := await reader.read(_CHUNK):
                await self._whole.wait()
                writer.write(data)
                await writer.drain()
