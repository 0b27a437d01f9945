"""A server that speaks MongoDB's wire protocol and answers what a test wants: cursors over any rows, odd replies, broken ones.

It greets as the primary of a replica set of one, since a client asks nothing of anything else, unless `greeting` says otherwise.
It runs in a thread of its own, so that each test may have event loops as it likes.
"""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Final, Literal

import bson
from bson import ObjectId
from hypothesis import strategies as st

from tests.property.fuzzing import BSON_VALUES
from tests.property.server_thread import ServerThread

__all__ = ["HostileMongo", "Reply", "replies"]

Delivery = Literal["whole", "in pieces", "cut", "aborted", "never"]
_OP_MSG: Final = 2013
_OP_REPLY: Final = 1
_OP_QUERY: Final = 2004
GREETINGS: Final = frozenset({"hello", "ismaster"})


@dataclass(frozen=True)
class Reply:
    """One message. `document`: what it holds, encoded; all else is as an honest server does it unless it is drawn otherwise."""

    document: bytes
    operation: int = _OP_MSG
    flags: int = 0
    section: int = 0
    length: int | None = None
    to: int | None = None
    delivery: Delivery = "whole"
    place: float = 0.5
    """Where it is cut, as a share of all its bytes."""

    def raw(self, request: int) -> bytes:
        """All bytes, in answer to this request."""
        payload = struct.pack("<I", self.flags) + bytes([self.section]) + self.document
        length = 16 + len(payload) if self.length is None else self.length
        return struct.pack("<iiii", length, 1, request if self.to is None else self.to, self.operation) + payload


def rows(found: list[Any], *, namespace: Any = "bridge.mint", cursor: Any = 0) -> Reply:
    """An honest reply: a whole cursor over these rows."""
    return Reply(encoded({"cursor": {"firstBatch": found, "id": cursor, "ns": namespace}, "ok": 1.0}))


def encoded(document: dict[str, Any]) -> bytes:
    """BSON; of what BSON cannot hold, an empty document."""
    try:
        return bson.encode(document)
    except (bson.errors.BSONError, OverflowError, ValueError, TypeError, RecursionError):
        return bson.encode({})


_values = st.sampled_from(BSON_VALUES) | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=8) | st.binary(max_size=8)
values = st.recursive(
    _values, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3), max_leaves=6
)
_NAMES = (
    "ok", "cursor", "firstBatch", "nextBatch", "id", "ns", "code", "errmsg", "codeName", "errorLabels", "writeErrors", "n",
    "nModified", "writeConcernError", "$clusterTime", "operationTime", "topologyVersion", "values", "oplog",
)  # fmt: skip
documents = st.dictionaries(st.sampled_from(_NAMES) | st.text(max_size=5), values, max_size=5)
CODES = (
    0,
    1,
    6,
    11,
    13,
    18,
    43,
    50,
    59,
    64,
    89,
    91,
    112,
    136,
    189,
    251,
    280,
    286,
    10107,
    11000,
    11600,
    13436,
    -1,
    2**40,
    "13",
    None,
)
refusals = st.builds(
    lambda ok, code, text, labels: {"ok": ok, "code": code, "errmsg": text, "codeName": text, "errorLabels": labels},
    st.sampled_from([0, 0.0, False, None, "x"]),
    st.sampled_from(CODES),
    st.sampled_from(["", "no", "\x1b[2J", "x" * 3000, "not primary", "hunter2-hunter2", 5, None, {"a": 1}]),
    st.sampled_from([[], ["RetryableWriteError"], ["x"], [5], 5, None, {"RetryableWriteError": 1}]),
)


def replies(found: st.SearchStrategy[list[Any]]) -> st.SearchStrategy[Reply]:
    """Good and bad replies around these rows."""
    cursors = st.builds(
        lambda batch, number, namespace, ok: {"cursor": {"firstBatch": batch, "id": number, "ns": namespace}, "ok": ok},
        found | values,
        st.sampled_from([0, 0, 0, 1, -1, 2**62, "x", None, {}]),
        st.sampled_from(["bridge.mint", "", "bridge", ".", 5, None, "\x00", "x" * 300]),
        st.sampled_from([1, 1.0, True, 1, "1"]),
    )
    good = cursors | documents | refusals
    damaged = st.tuples(good, st.integers(0, 2**32)).map(lambda pair: _damaged(encoded(pair[0]), pair[1]))
    whole = st.builds(Reply, good.map(encoded) | good.map(encoded) | damaged | st.binary(max_size=40))
    odd = st.builds(
        Reply,
        good.map(encoded),
        operation=st.sampled_from([_OP_MSG, _OP_MSG, _OP_REPLY, 2012, 2004, 0, -1, 9999]),
        flags=st.sampled_from([0, 1, 2, 3, 1 << 16, 0xFFFFFFFF]),
        section=st.sampled_from([0, 0, 1, 2, 255]),
        length=st.sampled_from([None, None, 0, 15, 16, 17, 21, -1, 2**31 - 1]),
        to=st.sampled_from([None, None, 0, -1, 2**31 - 1]),
        delivery=st.sampled_from(["whole"] * 8 + ["in pieces", "in pieces", "cut", "cut", "aborted", "never"]),
        place=st.floats(0, 1),
    )
    return whole | whole | odd


def _damaged(raw: bytes, seed: int) -> bytes:
    """One byte changed, or the end cut off."""
    at = seed % max(1, len(raw))
    return raw[:at] + bytes([seed // 7 % 256]) + raw[at + 1 :] if seed % 3 else raw[:at]


# ---------------------------------------------------------------------- the server


@dataclass
class HostileMongo(ServerThread):
    """`answer` decides what each command but the greeting gets: it is told the command."""

    answer: Callable[[dict[str, Any]], Reply] = lambda command: rows([])
    greeting: dict[str, Any] = field(default_factory=dict)
    commands: int = field(default=0, init=False)

    @property
    def uri(self) -> str:
        """Its connection string, with a password that nobody asks for."""
        return f"mongodb://127.0.0.1:{self.port}/?replicaSet=rs0"

    async def exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        length, request, _, operation = struct.unpack("<iiii", await reader.readexactly(16))
        body = await reader.readexactly(length - 16)
        # The first greeting may come in the form that servers of all ages understand.
        command = {"hello": 1} if operation == _OP_QUERY else bson.decode(body[5 : 5 + struct.unpack_from("<i", body, 5)[0]])
        if next(iter(command)).lower() in GREETINGS:
            writer.write(self._greeting(request, operation))
            await writer.drain()
            return True
        self.commands += 1
        reply = self.answer(command)
        return await _deliver(reply, reply.raw(request), reader, writer)

    def _greeting(self, request: int, operation: int) -> bytes:
        here = f"127.0.0.1:{self.port}"
        said = {
            "ok": 1.0, "isWritablePrimary": True, "ismaster": True, "setName": "rs0", "hosts": [here], "me": here,
            "maxBsonObjectSize": 2**24, "maxMessageSizeBytes": 48_000_000, "maxWriteBatchSize": 100_000, "minWireVersion": 0,
            "maxWireVersion": 17, "logicalSessionTimeoutMinutes": 30, **self.greeting,
        }  # fmt: skip
        if operation != _OP_QUERY:
            return Reply(encoded(said)).raw(request)
        payload = struct.pack("<iqii", 8, 0, 0, 1) + encoded(said)
        return struct.pack("<iiii", 16 + len(payload), 1, request, _OP_REPLY) + payload


async def _deliver(reply: Reply, raw: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Whether the connection stands for the next command."""
    place = int(reply.place * len(raw))
    if reply.delivery == "never":
        await reader.read()  # until the client or the test ends it
        return False
    if reply.delivery in {"cut", "aborted"}:
        writer.write(raw[:place])
        await writer.drain()
        if reply.delivery == "aborted":
            writer.transport.abort()
        return False
    for part in (raw[:place], raw[place:]):
        writer.write(part)
        await writer.drain()
        await asyncio.sleep(0)
    return True


FIRST: Final = ObjectId(b"\x01" * 12)
