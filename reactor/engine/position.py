"""Where the stream may be resumed: the newest token behind which all work is finished."""

import asyncio
from collections import deque
from collections.abc import Mapping
from typing import Any

Token = Mapping[str, Any]

_TIMESTAMP_TYPE = "82"  # a KeyString opens with its type; 0x82 is a timestamp, and its four next bytes are seconds


class EventTicket:
    """The receipt of one event: finished when a handling that began after it has ended."""

    __slots__ = ("_tracker", "done", "taken", "token")

    def __init__(self, token: Token, tracker: "PositionTracker") -> None:
        self.token = token
        self.taken = False
        self.done = False
        self._tracker = tracker

    def take(self) -> None:
        """Somebody works on it and will say when he has finished."""
        self.taken = True

    def finish(self) -> None:
        """The work is done; harmless when said twice."""
        if not self.done:
            self.done = True
            self._tracker.advance()


class PositionTracker:
    """Tokens in the order of the stream, with those behind which all is finished.

    ``newest``: the last token read, from which this process goes on. ``safe``: the one to save. At most
    ``max_open`` tokens wait for older work; a reader waits for ``room`` before it reads on.
    """

    def __init__(self, max_open: int = 20_000) -> None:
        self._max_open = max_open
        self._open: deque[EventTicket] = deque()
        self._room = asyncio.Event()
        self._room.set()
        self.newest: Token | None = None
        self.safe: Token | None = None
        self.finished = 0

    @property
    def in_flight(self) -> int:
        """Tokens read but not yet behind finished work."""
        return len(self._open)

    async def room(self) -> None:
        """Returns when fewer than ``max_open`` tokens are open."""
        await self._room.wait()

    def reset(self, token: Token | None) -> None:
        """A new history begins at ``token``; what was open before no longer matters to the position."""
        self._open.clear()
        self._room.set()
        self.newest = self.safe = token

    def saw(self, token: Token) -> EventTicket:
        """An event was read; it holds the position back until its ticket is finished."""
        ticket = EventTicket(token, self)
        self.newest = token
        self._open.append(ticket)
        if len(self._open) >= self._max_open:
            self._room.clear()
        return ticket

    def passed(self, token: Token | None) -> None:
        """The stream was read up to ``token`` without an event of ours."""
        if token is None or token == self.newest:
            return
        self.newest = token
        if self._open:
            ticket = self.saw(token)
            ticket.done = True
        else:
            self.safe = token

    def advance(self) -> None:
        """Moves the safe position over all that is finished."""
        while self._open and self._open[0].done:
            self.safe = self._open.popleft().token
            self.finished += 1
        if len(self._open) < self._max_open:
            self._room.set()


def is_token(found: object) -> bool:
    """Whether this has the form of a resume token: a document whose `_data` is a KeyString in hex."""
    data = found.get("_data") if isinstance(found, Mapping) else None
    try:
        return isinstance(data, str) and bool(bytes.fromhex(data))
    except ValueError:
        return False


def token_seconds(token: Token | None) -> int | None:
    """The cluster time (Unix seconds) inside a resume token, or ``None`` if it has another form."""
    data = token.get("_data") if token else None
    if not isinstance(data, str) or not data.startswith(_TIMESTAMP_TYPE):
        return None
    try:
        return int(data[2:10], 16)
    except ValueError:
        return None
