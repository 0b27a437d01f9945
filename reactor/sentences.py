"""From an exception to a sentence that a person can read: for logs, heartbeats, waits and the command line. Never a `repr()`.

>>> sentence(TimeoutError())
'no answer in time'
>>> sentence(ConnectionRefusedError(111, "Connect call failed"))
'connection refused'

`sentence` is what the error says, `meaning` what its class means and nothing that anybody sent. Imports nothing of ours but
`foreign`.
"""

import asyncio
import re
from collections.abc import Callable, Mapping
from typing import Any, Final

from reactor.foreign import one_line

__all__ = ["SENTENCE_LIMIT", "counted", "cut", "meaning", "sentence"]

SENTENCE_LIMIT: Final = 300
"""Characters of one sentence: a driver's message may hold the description of a whole cluster."""

_WORDS: Final = re.compile(r"(?<=[a-z0-9])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])")

# By name, so that no driver has to be imported for a word; the first entry of the class's ancestry counts.
_MEANINGS: Final[Mapping[str, str | Callable[[Any], str]]] = {
    "pymongo.errors.ServerSelectionTimeoutError": "no server of the replica set can be used",
    "pymongo.errors.NetworkTimeout": "MongoDB did not answer in time",
    "pymongo.errors.AutoReconnect": "the connection to MongoDB broke",
    "pymongo.errors.OperationFailure": lambda e: f"MongoDB refused{f' (code {e.code})' if e.code is not None else ''}",
    "pymongo.errors.PyMongoError": "MongoDB",
    "aiohttp.client_exceptions.ServerDisconnectedError": "the server closed the connection",
    "aiohttp.client_exceptions.ServerTimeoutError": "no answer in time",
    "aiohttp.client_exceptions.ClientConnectorCertificateError": "the server's certificate is not valid for this host",
    "aiohttp.client_exceptions.ClientSSLError": "no TLS connection could be made",
    "aiohttp.client_exceptions.ClientConnectorDNSError": "the host's name could not be looked up",
    "aiohttp.client_exceptions.ClientOSError": lambda e: meaning(e.os_error) if _os_error(e) else "the connection failed",
    "aiohttp.client_exceptions.ClientPayloadError": "the answer was cut or is damaged",
    "aiohttp.client_exceptions.InvalidURL": "the URL cannot be used",
    "aiohttp.client_exceptions.ClientResponseError": "the answer is no valid HTTP",
    "aiohttp.client_exceptions.ClientError": "the call failed",
    "aiohttp.http_exceptions.HttpProcessingError": "the answer is no valid HTTP",
    "botocore.exceptions.EndpointConnectionError": "the key service cannot be reached",
    "botocore.exceptions.ConnectTimeoutError": "the key service cannot be reached in time",
    "botocore.exceptions.ReadTimeoutError": "the key service did not answer in time",
    "botocore.exceptions.ConnectionClosedError": "the key service closed the connection",
    "botocore.exceptions.HTTPClientError": "the call to the key service failed",
    "botocore.exceptions.NoCredentialsError": "there are no credentials",
    "socket.gaierror": "the host's name could not be looked up",
    "ssl.SSLCertVerificationError": "the server's certificate is not valid for this host",
    "ssl.SSLError": "no TLS connection could be made",
    "builtins.TimeoutError": "no answer in time",
    "builtins.ConnectionRefusedError": "connection refused",
    "builtins.ConnectionResetError": "the connection was reset by the other side",
    "builtins.BrokenPipeError": "the other side closed the connection",
    "builtins.ConnectionError": "the connection failed",
    "builtins.OSError": lambda e: e.strerror if isinstance(e.strerror, str) and e.strerror else "the operating system refused",
    "builtins.UnicodeError": "it is not text in the expected encoding",
    "builtins.RecursionError": "it is nested too deep",
    "builtins.MemoryError": "it is too large",
    "asyncio.exceptions.CancelledError": "it was cancelled",
}


def counted(number: int, one: str, several: str = "") -> str:
    """`1 hold`, `2 holds`; `several`: the plural where it is not made with an `s`."""
    return f"{number} {one if number == 1 else several or f'{one}s'}"


def cut(text: str, most: int) -> str:
    """At most so many characters of a text; `…` is the last of them where something is missing."""
    return text if len(text) <= most else f"{text[: most - 1]}…"


def sentence(error: BaseException) -> str:
    """What is wrong, as one line of at most `SENTENCE_LIMIT` characters (and `…`), cleaned as foreign text is.

    An expected error's own message; what a class means, where the message is empty or made for programs. Errors that only a
    fault of the program raises (`KeyError`, `TypeError` …) keep the class's name in front, since their message alone says little.
    """
    return one_line(_spoken(error), SENTENCE_LIMIT)


def meaning(error: BaseException) -> str:
    """What an error of this class means, and nothing that anybody sent: the error's own text may repeat a URL with its key."""
    known = _meaning(error)
    if known == "MongoDB":
        known = f"MongoDB: {_name(error)}"
    if known is None:
        known = f"{_name(error)} error" if type(error).__module__ == "builtins" else _name(error)
    return one_line(known, SENTENCE_LIMIT)


def _spoken(error: BaseException) -> str:
    if isinstance(error, BaseExceptionGroup):
        return "; ".join(dict.fromkeys(sentence(one) for one in error.exceptions[:3]))
    known = _meaning(error)
    module = type(error).__module__
    if module.startswith("pymongo."):
        return _joined(known, _first_part(error))
    if known is not None and module.startswith(("reactor.", "scanners.", "infra.")):
        return _own(error) or known
    if known is None:
        return _joined(type(error).__name__, _own(error)) if module == "builtins" else _own(error) or _name(error)
    match error:
        case asyncio.CancelledError():
            return _own(error) or known
        case TimeoutError():
            return known if error.errno is not None else _own(error) or known
        case ConnectionRefusedError() | ConnectionResetError() | BrokenPipeError():
            return known
        case OSError() if module == "builtins":
            where = str(error.filename) if error.filename else None
            return _joined(where, known if error.strerror else _own(error) or known)
    return known


def _meaning(error: BaseException) -> str | None:
    for kind in type(error).__mro__:
        found = _MEANINGS.get(f"{kind.__module__}.{kind.__qualname__}")
        if found is not None:
            return found if isinstance(found, str) else found(error)
    return None


def _os_error(error: Any) -> bool:  # noqa: ANN401 - aiohttp's
    return isinstance(getattr(error, "os_error", None), OSError) and error.os_error is not error


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
