"""The network between one validator and the replica set: one relay per mongod, which can be cut, slowed or made deaf.

A driver learns the set's members from their own answers and would go past any relay. So the answers to `hello` are rewritten:
each member's address stands for the relay's. Both are of the same length, so that nothing else of a message changes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Mapping
from typing import Literal

from infra.localnet.ports import HOST, free_port

_CHUNK = 65_536
_HEAD = 4
_HELLO = b"setName"
_MOST_HELLO = 16_384
"""Bytes: documents of the bridge are not searched through."""

Lost = Literal["requests", "answers"]


class Wire:
    """The lines of one validator, one to each member. `uri_hosts` is what its connection string names."""

    def __init__(self, members: Mapping[int, int]) -> None:
        """`members`: port of each mongod and that of the relay to it."""
        self._members = dict(members)
        self._names = {f"{HOST}:{there}".encode(): f"{HOST}:{here}".encode() for there, here in members.items()}
        if any(len(there) != len(here) for there, here in self._names.items()):
            raise ValueError("ports of different length: a rewritten answer would have another length")
        self._servers: list[asyncio.Server] = []
        self._relays: set[asyncio.Task[None]] = set()
        self._requests, self._answers = asyncio.Event(), asyncio.Event()
        self._requests.set()
        self._answers.set()
        self.delay = 0.0

    @classmethod
    async def lay(cls, ports: tuple[int, ...]) -> Wire:
        """Lines to these members, open."""
        wire = cls({port: free_port() for port in ports})
        for there, here in wire._members.items():
            wire._servers.append(await asyncio.start_server(wire._taken(there), HOST, here))
        return wire

    @property
    def hosts(self) -> str:
        """For a connection string."""
        return ",".join(f"{HOST}:{here}" for here in self._members.values())

    def cut(self) -> None:
        """Let nothing through, as a pulled cable does: connections stay open, new ones are taken."""
        self._requests.clear()
        self._answers.clear()

    def lose(self, what: Lost) -> None:
        """Let one direction through only."""
        (self._requests if what == "requests" else self._answers).clear()

    def slow(self, seconds: float) -> None:
        """Let everything come so much later, each way."""
        self.delay = seconds

    def mend(self) -> None:
        """Let everything through. What was connected over a broken line is hung up, as by a router that has forgotten it."""
        if not (self._requests.is_set() and self._answers.is_set()):
            self._hang_up()
        self.delay = 0.0
        self._requests.set()
        self._answers.set()

    async def close(self) -> None:
        """End the lines and all that goes over them."""
        for server in self._servers:
            server.close()
        self._hang_up()
        await asyncio.gather(*self._relays, return_exceptions=True)

    def _hang_up(self) -> None:
        for relay in self._relays:
            relay.cancel()

    def _taken(self, there: int):
        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.current_task()
            assert task is not None
            self._relays.add(task)
            try:
                with contextlib.suppress(OSError, asyncio.CancelledError, asyncio.IncompleteReadError):
                    await self._relay(there, reader, writer)
            finally:
                self._relays.discard(task)
                await _end(writer)

        return connected

    async def _relay(self, there: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await self._requests.wait()
        far_reader, far_writer = await asyncio.open_connection(HOST, there)
        ways = [
            asyncio.create_task(self._requests_on(reader, far_writer)),
            asyncio.create_task(self._answers_back(far_reader, writer)),
        ]
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            await _end(far_writer)

    async def _requests_on(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(_CHUNK):
            await self._pass(self._requests)
            writer.write(data)
            await writer.drain()

    async def _answers_back(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Message by message: each begins with its own length, four bytes, little-endian."""
        while True:
            head = await reader.readexactly(_HEAD)
            message = head + await reader.readexactly(int.from_bytes(head, "little") - _HEAD)
            await self._pass(self._answers)
            writer.write(self._renamed(message))
            await writer.drain()

    async def _pass(self, whole: asyncio.Event) -> None:
        await whole.wait()
        if self.delay:
            await asyncio.sleep(self.delay)

    def _renamed(self, message: bytes) -> bytes:
        if len(message) > _MOST_HELLO or _HELLO not in message:
            return message
        for there, here in self._names.items():
            message = message.replace(there, here)
        return message


async def _end(writer: asyncio.StreamWriter) -> None:
    """At once: a side that hangs would not take the rest."""
    writer.transport.abort()
    with contextlib.suppress(OSError):
        await writer.wait_closed()
