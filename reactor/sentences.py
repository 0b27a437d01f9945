"""From an exception to a sentence that a person can read: for logs, heartbeats, waits and the command line. Never a `repr()`.

>>> sentence(TimeoutError())
'no answer in time'
>>> sentence(ConnectionRefusedError(111, "Connect call failed"))
'connection refused'

Imports nothing of ours but `foreign`.
"""

import re
from collections.abc import Callable
from typing import Any, Final

from reactor.foreign import one_line

__all__ = ["SENTENCE_LIMIT", "sentence"]

SENTENCE_LIMIT: Final = 300
"""Characters of one sentence: a driver's message may hold the description of a whole cluster."""

_NO_SERVER = "no server of the replica set can be used"
_WORDS = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")

# By name, so that no driver has to be imported for a word; the first entry of the class's ancestry counts.
_SENTENCES: Final[dict[str, Callable[[Any], str]]] = {
    "pymongo.errors.ServerSelectionTimeoutError": lambda e: f"{_NO_SERVER}: {_first_part(e)}",
    "pymongo.errors.NetworkTimeout": lambda e: _joined("MongoDB did not answer in time", _first_part(e)),
    "pymongo.errors.AutoReconnect": lambda e: _joined("the connection to MongoDB broke", _first_part(e)),
    "pymongo.errors.OperationFailure": lambda e: _joined(
        f"MongoDB refused{f' (code {e.code})' if e.code is not None else ''}", _first_part(e)
    ),
    "pymongo.errors.PyMongoError": lambda e: _joined("MongoDB", _first_part(e)),
    "builtins.TimeoutError": lambda e: _own(e) or "no answer in time",
    "builtins.ConnectionRefusedError": lambda _: "connection refused",
    "builtins.ConnectionResetError": lambda _: "the connection was reset by the other side",
    "builtins.BrokenPipeError": lambda _: "the other side closed the connection",
    "builtins.ConnectionError": lambda e: _joined("the connection failed", _own(e)),
    "builtins.OSError": lambda e: (
        _joined(e.filename and str(e.filename), e.strerror or _own(e)) or "the operating system refused"
    ),
    "asyncio.exceptions.CancelledError": lambda e: _own(e) or "it was cancelled",
    "builtins.BaseExceptionGroup": lambda e: "; ".join(dict.fromkeys(sentence(one) for one in e.exceptions[:3])),
}


def sentence(error: BaseException) -> str:
    """What is wrong, as one line of at most `SENTENCE_LIMIT` characters (and `…`), cleaned as foreign text is.

    An expected error's own message; what a class means, where the message is empty or made for programs. Errors that only a
    fault of the program raises (`KeyError`, `TypeError` …) keep the class's name in front, since their message alone says little.
    """
    return one_line(_spoken(error), SENTENCE_LIMIT)


def _spoken(error: BaseException) -> str:
    for kind in type(error).__mro__:
        say = _SENTENCES.get(f"{kind.__module__}.{kind.__qualname__}")
        if say is not None:
            return say(error)
    if type(error).__module__ == "builtins":
        return _joined(type(error).__name__, _own(error))
    return _own(error) or _name(error)


def _own(error: BaseException) -> str:
    return str(error).strip()


def _first_part(error: BaseException) -> str:
    """A driver's message without what it appends for programs: time-outs, topology, the whole reply."""
    text = _own(error)
    for mark in (", Timeout: ", ", Topology Description:", ", full error:", " (configured timeouts:"):
        text = text.split(mark, 1)[0]
    return text


def _joined(*parts: str | None) -> str:
    return ": ".join(part for part in parts if part)


def _name(error: BaseException) -> str:
    """`NoSuchThing` as `no such thing`."""
    return _WORDS.sub(" ", type(error).__name__.removesuffix("Error")).lower() or "error"
