"""A server that answers HTTP as badly as Hypothesis can think of, for the clients of everything that this program asks.

It runs in a thread of its own, so that clients with and without asyncio can be tried. What it answers is drawn as an `Answer`
(plain data, which Hypothesis shrinks and shows) and put together when the request is there, so that it can repeat what it was
asked: the path with its key, the credentials, the id.

>>> with HostilePeer() as peer:
>>>     peer.answer = lambda request: drawn
>>>     client(peer.url("/v3/KEY"))
"""

from __future__ import annotations

import asyncio
import gzip
import json
import zlib
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Literal

from hypothesis import strategies as st

from tests.property.fuzzing import JSON_VALUES, TEXTS
from tests.property.server_thread import ServerThread

__all__ = ["Answer", "HostilePeer", "Request", "answers", "json_answer", "json_bodies"]

Delivery = Literal["whole", "in pieces", "cut", "aborted", "slow", "never"]
Encoding = Literal["", "gzip", "deflate", "bomb", "garbage", "broken", "twice"]
Framing = Literal["length", "chunked", "close", "short", "long", "two lengths", "odd length", "odd chunks", "both"]
_SOUND: list[Framing] = ["length", "length", "chunked", "close"]
_UNSOUND: list[Framing] = ["short", "long", "two lengths", "odd length", "odd chunks", "both"]
_PACKED = {"gzip": "gzip", "deflate": "deflate", "bomb": "gzip", "garbage": "gzip", "broken": "gzip", "twice": "gzip, gzip"}
BOMB = 3 * 1024 * 1024
"""Bytes into which a bomb unpacks: more than the limit that a test should set for its client, soon enough made."""


@dataclass(frozen=True)
class Request:
    """What came: `head` are the request line and the headers."""

    head: str
    body: bytes

    @property
    def target(self) -> str:
        """Path and query."""
        return self.head.split(" ", 2)[1]

    def header(self, name: str) -> str:
        """A header's value, empty if there is none."""
        for line in self.head.split("\r\n")[1:]:
            key, _, value = line.partition(":")
            if key.strip().lower() == name.lower():
                return value.strip()
        return ""

    @property
    def json(self) -> Any:
        """The body as JSON, None if it is none."""
        try:
            return json.loads(self.body)
        except ValueError:
            return None


@dataclass(frozen=True)
class Answer:
    """One answer. In `reason`, `headers` and `body` these stand for what the request held: `%ID%` (of its JSON), `%TARGET%`,
    `%AUTH%` (the credentials as they came), `%HOST%`."""

    status: str = "200"
    reason: str = "OK"
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    encoding: Encoding = ""
    framing: Framing = "length"
    delivery: Delivery = "whole"
    place: float = 0.5
    """Where it is cut or slow, as a share of all its bytes."""

    def raw(self, request: Request) -> bytes:
        """All bytes, as they would be sent whole."""
        body = _packed(self.encoding, _filled(self.body, request))
        headers = [(name, value) for name, value in self.headers]
        if self.encoding:
            headers.append(("Content-Encoding", _PACKED[self.encoding]))
        framing, body = _framed(self.framing, body)
        lines = [f"HTTP/1.1 {self.status} {self.reason}", *(f"{name}: {value}" for name, value in [*headers, *framing])]
        head = _filled("\r\n".join(lines).encode("utf-8", "surrogateescape"), request)
        return head + b"\r\n\r\n" + body


def json_answer(value: object) -> Answer:
    """An honest answer."""
    return Answer(headers=(("Content-Type", "application/json"),), body=json.dumps(value).encode())


def _filled(text: bytes, request: Request) -> bytes:
    asked = request.json
    number = json.dumps(asked.get("id")) if isinstance(asked, dict) else "null"
    for mark, value in (
        (b"%ID%", number),
        (b"%TARGET%", request.target),
        (b"%AUTH%", request.header("Authorization")),
        (b"%HOST%", request.header("Host")),
    ):
        text = text.replace(mark, value.encode("utf-8", "surrogateescape"))
    return text


def _packed(encoding: Encoding, body: bytes) -> bytes:
    match encoding:
        case "gzip":
            return gzip.compress(body, 1)
        case "deflate":
            return zlib.compress(body, 1)
        case "bomb":
            return gzip.compress(b" " * BOMB, 1)
        case "broken":
            return gzip.compress(body, 1)[:-5] + b"xxxxx"
        case "garbage" | "twice":
            return body
    return body


def _framed(framing: Framing, body: bytes) -> tuple[list[tuple[str, str]], bytes]:
    size = len(body)
    halves = [part for part in (body[: size // 2], body[size // 2 :]) if part]
    chunked = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in halves) + b"0\r\n\r\n"
    match framing:
        case "length":
            return [("Content-Length", str(size))], body
        case "chunked":
            return [("Transfer-Encoding", "chunked")], chunked
        case "short":
            return [("Content-Length", str(size // 2))], body
        case "long":
            return [("Content-Length", str(size * 2 + 10))], body
        case "two lengths":
            return [("Content-Length", str(size)), ("Content-Length", str(size + 1))], body
        case "odd length":
            return [("Content-Length", "-5")], body
        case "odd chunks":
            return [("Transfer-Encoding", "chunked")], b"zz\r\n" + chunked
        case "both":
            return [("Content-Length", "3"), ("Transfer-Encoding", "chunked")], chunked
    return [("Connection", "close")], body


# ---------------------------------------------------------------------- what is drawn

ODD_STATUS = ("400", "401", "402", "403", "404", "405", "408", "413", "418", "422", "429", "500", "502", "503")
RARE_STATUS = ("100", "101", "199", "201", "204", "206", "301", "302", "304", "307", "451", "499", "504", "520", "599", "999")
NO_STATUS = ("", "0", "99", "1000", "-200", "2OO", "200.0", "\u0662\u0660\u0660")
RETRY_AFTER = (
    "0", "1", "7", "-1", "1.5", "1e9", "9" * 9, "9" * 30, "soon", "", " ", "\u0667", "Mon, 01 Jan 9999999999 00:00:00 GMT",
    "Mon, 01 Jan 0001 00:00:00 +2359", "Wed, 21 Oct 2199 07:28:00 GMT", "Fri, 31 Feb 2026 25:61:61 GMT", ",,,,", "%TARGET%",
    "Mon, 01 Jan 2026 00:00:00 +99999999999999999999", "\x00", "\udcff",
)  # fmt: skip
_TYPES = ("application/json", "text/html; charset=utf-16", "application/json; charset=nonsense", "", ";;;", "%TARGET%", "\udcff")
_HEADERS = {
    "Retry-After": RETRY_AFTER,
    "Content-Type": _TYPES,
    "Content-Encoding": ("gzip", "br", "zstd", "deflate", "identity", "gzip, br, zstd", "nonsense", "%TARGET%"),
    "Transfer-Encoding": ("chunked", "gzip, chunked", "nonsense", "identity"),
    "Location": ("http://127.0.0.1:9/%TARGET%", "%TARGET%", "file:///etc/passwd", "//[", ""),
    "Set-Cookie": ("a=b", "%TARGET%", "=;=;=", "a" * 5000, "\udcff", "__Secure-a=1; Max-Age=9999999999999999999999"),
    "Date": ("Mon, 01 Jan 9999999999 00:00:00 GMT", "now"),
    "Content-Range": ("bytes 0-9/5", "nonsense"),
    "Connection": ("close", "keep-alive, close", "upgrade", "%TARGET%"),
    "Keep-Alive": ("timeout=99999999999999999999", "timeout=-1", "nonsense"),
    "WWW-Authenticate": ("Basic realm=%TARGET%", "nonsense"),
    "X-Amzn-RequestId": ("%TARGET%", "\x00"),
    "X-Long": ("x" * 9000, "x" * 70_000),
    "Bad name": ("x",),
    "": ("x",),
}  # fmt: skip

headers = st.lists(
    st.one_of([st.tuples(st.just(name), st.sampled_from(values)) for name, values in _HEADERS.items()]), max_size=4
).map(tuple)
statuses = st.one_of(
    st.sampled_from(ODD_STATUS), st.sampled_from(ODD_STATUS), st.sampled_from(RARE_STATUS), st.sampled_from(NO_STATUS)
)
_PAGES = (
    b"", b" ", b"\n", b"null", b"true", b"[]", b"{}", b'""', b"0", b"-", b"{", b'{"', b'{"a":1}{"b":2}', b"\xef\xbb\xbf{}",
    b"\xff\xfe{\x00}\x00", b"\x00" * 9, b"default backend - 404", b"%TARGET% %AUTH%",
    b"<html><body>no route for %TARGET% at %HOST%</body></html>", b"<!DOCTYPE html>" + b"x" * 70_000,
    b'{"message":"no project for %TARGET% (%AUTH%)"}', b'{"error":"no project for %TARGET% (%AUTH%)"}',
    b"[" * 100_000, b'{"a":' * 50_000, b"9" * 5000, b'{"result":' + b"9" * 5000 + b"}", b'"' + b"x" * 200_000 + b'"',
    b"NaN", b'{"result":Infinity}', b'"\\ud800"', b'"\\u0000"', b"\x1b[2J\x07", "\u202e\u2028".encode(),
)  # fmt: skip

_leaves = st.one_of(
    st.sampled_from([value for value in JSON_VALUES if not isinstance(value, str) or len(value) < 500]),
    st.sampled_from(TEXTS[:40]),
    st.sampled_from(["no route for %TARGET%", "key %AUTH% is unknown", "\x1b[2J", "\u202e%TARGET%"]),
    st.integers(),
    st.text(max_size=20),
)
json_values = st.recursive(
    _leaves, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3), max_leaves=6
)


def _dumped(value: object) -> bytes:
    try:
        text = json.dumps(value)
    except (ValueError, RecursionError):
        text = "[1e999]"
    return text.replace('"%ID%"', "%ID%").encode("utf-8", "surrogatepass")


def json_bodies(shapes: st.SearchStrategy[Any]) -> st.SearchStrategy[bytes]:
    """JSON of these shapes; the text `%ID%` alone becomes the request's id as it came."""
    return shapes.map(_dumped)


def answers(bodies: st.SearchStrategy[bytes], *, slow: bool = True) -> st.SearchStrategy[Answer]:
    """Bad answers around these bodies (those of the protocol, good and bad), and pages that are none of it.

    `slow`: some come later than any time-out, so each of those costs one; they are few.
    """
    usual: list[Delivery] = ["whole"] * 12 + ["in pieces"] * 3 + ["cut"] * 3 + ["aborted"] * 2
    deliveries = st.sampled_from(usual + (["slow", "never"] if slow else []))
    return st.builds(
        Answer,
        status=st.one_of(st.just("200"), statuses),
        reason=st.sampled_from(["OK", "", "No %TARGET%", "\x00", "\udcff", "x" * 500]),
        headers=st.one_of(st.just(()), headers),
        body=st.one_of(bodies, bodies, bodies, st.sampled_from(_PAGES), st.binary(max_size=60)),
        encoding=st.sampled_from(["", "", "", "", "", "", "", "gzip", "deflate", "bomb", "garbage", "broken", "twice"]),
        framing=st.one_of(st.sampled_from(_SOUND), st.sampled_from(_SOUND), st.sampled_from(_UNSOUND)),
        delivery=deliveries,
        place=st.floats(0, 1),
    )


# ---------------------------------------------------------------------- the server


@dataclass
class HostilePeer(ServerThread):
    """Listens on a free port of this machine; `answer` decides what each request gets, None: the connection is closed."""

    answer: Callable[[Request], Answer | None] = lambda request: None
    requests: int = field(default=0, init=False)

    def url(self, target: str = "/", userinfo: str = "") -> str:
        """Its URL with this path and query."""
        return f"http://{userinfo + '@' if userinfo else ''}127.0.0.1:{self.port}{target}"

    async def exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").removesuffix("\r\n\r\n")
        request = Request(head, b"")
        size = request.header("Content-Length")
        request = Request(head, await reader.readexactly(int(size)) if size.isdigit() else b"")
        self.requests += 1
        answer = self.answer(request)
        return answer is not None and await _deliver(answer, answer.raw(request), reader, writer)


async def _deliver(answer: Answer, raw: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
    """Whether the connection stands for the next request."""
    place = int(answer.place * len(raw))
    match answer.delivery:
        case "whole":
            writer.write(raw)
            await writer.drain()
            return answer.framing in {"length", "chunked"} and answer.status == "200"
        case "in pieces":
            for part in (raw[:place], raw[place:]):
                writer.write(part)
                await writer.drain()
                await asyncio.sleep(0)
            return False
        case "cut":
            writer.write(raw[:place])
            await writer.drain()
            return False
        case "aborted":
            writer.write(raw[:place])
            await writer.drain()
            writer.transport.abort()
            return False
        case "slow":
            writer.write(raw[:place])
            await writer.drain()
    with suppress(OSError):
        await reader.read()  # until the client or the test ends it
    return False
