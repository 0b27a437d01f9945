"""What people read of an exception."""

import asyncio
import socket
import ssl

import aiohttp
import pytest
from aiohttp.client_reqrep import ConnectionKey
from botocore.exceptions import EndpointConnectionError, ReadTimeoutError
from pymongo.errors import (
    AutoReconnect,
    ConfigurationError,
    NetworkTimeout,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)

from reactor import foreign
from reactor.sentences import SENTENCE_LIMIT, counted, meaning, sentence

pytestmark = pytest.mark.unit


SECRET = "http://node.example/v3/0123456789abcdef"
KEY = ConnectionKey("node.example", 443, is_ssl=True, ssl=True, proxy=None, proxy_auth=None, proxy_headers_hash=None)


class NothingToSayError(Exception):
    pass


class KnownProblem(Exception):  # noqa: N818 - as the program's own
    pass


class WithWordsError(ValueError):
    pass


TOPOLOGY = (
    "127.0.0.1:27017: [Errno 111] Connection refused (configured timeouts: socketTimeoutMS: 10.0ms), Timeout: 2.5s, "
    "Topology Description: <TopologyDescription id: 1, servers: [<ServerDescription ('127.0.0.1', 27017)>]>"
)

CASES: list[tuple[BaseException, str]] = [
    (TimeoutError(), "no answer in time"),
    (TimeoutError("the handling took longer than 30 s"), "the handling took longer than 30 s"),
    (ConnectionRefusedError(111, "Connect call failed ('127.0.0.1', 1)"), "connection refused"),
    (ConnectionResetError(), "the connection was reset by the other side"),
    (OSError(28, "No space left on device", "/state/ledger.sqlite"), "/state/ledger.sqlite: No space left on device"),
    (OSError(), "the operating system refused"),
    (asyncio.CancelledError(), "it was cancelled"),
    (KnownProblem("the node\nis away"), "the node is away"),
    (KnownProblem(), "known problem"),
    (NothingToSayError(), "nothing to say"),
    (WithWordsError("expected a number"), "expected a number"),
    (ValueError("expected a number"), "ValueError: expected a number"),
    (KeyError("x"), "KeyError: 'x'"),
    (AssertionError(), "AssertionError"),
    (
        ServerSelectionTimeoutError(TOPOLOGY),
        "no server of the replica set can be used: 127.0.0.1:27017: [Errno 111] Connection refused",
    ),
    (NetworkTimeout("10.0.0.1:1: timed out"), "MongoDB did not answer in time: 10.0.0.1:1: timed out"),
    (AutoReconnect("connection closed"), "the connection to MongoDB broke: connection closed"),
    (AutoReconnect(), "the connection to MongoDB broke"),
    (OperationFailure("not authorized, full error: {'ok': 0}", 13), "MongoDB refused (code 13): not authorized"),
    (ConfigurationError("bad"), "MongoDB: bad"),
    (PyMongoError(), "MongoDB"),
    (ExceptionGroup("several", [TimeoutError(), KnownProblem("a"), TimeoutError()]), "no answer in time; a"),
]


@pytest.mark.parametrize(("error", "text"), CASES, ids=[type(error).__name__ for error, _ in CASES])
def test_an_error_is_a_sentence(error: BaseException, text: str) -> None:
    assert sentence(error) == text


@pytest.mark.parametrize("error", [error for error, _ in CASES], ids=repr)
def test_no_sentence_is_empty_or_looks_like_a_program(error: BaseException) -> None:
    text = sentence(error)
    assert text.strip()
    assert "\n" not in text
    assert repr(error) not in text


def test_a_sentence_has_an_end() -> None:
    assert sentence(KnownProblem("x" * 10_000)) == "x" * SENTENCE_LIMIT + "…"


def test_what_a_remote_party_sent_is_cleaned(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(foreign, "_secrets", foreign._Secrets())
    foreign.register_secrets("hunter-two")
    assert sentence(KnownProblem("no key hunter-two\x1b[2J")) == f"no key {foreign.MASK}\N{REPLACEMENT CHARACTER}[2J"


MEANINGS: list[tuple[BaseException, str]] = [
    (aiohttp.ClientConnectorError(KEY, ConnectionRefusedError(111, SECRET)), "connection refused"),
    (aiohttp.ClientConnectorError(KEY, OSError(113, "No route to host")), "No route to host"),
    (aiohttp.ClientConnectorError(KEY, socket.gaierror(-2, SECRET)), "the host's name could not be looked up"),
    (aiohttp.ServerDisconnectedError(SECRET), "the server closed the connection"),
    (aiohttp.ClientPayloadError(SECRET), "the answer was cut or is damaged"),
    (aiohttp.InvalidURL(SECRET), "the URL cannot be used"),
    (aiohttp.ServerTimeoutError(SECRET), "no answer in time"),
    (ssl.SSLCertVerificationError(1, SECRET), "the server's certificate is not valid for this host"),
    (EndpointConnectionError(endpoint_url=SECRET), "the key service cannot be reached"),
    (ReadTimeoutError(endpoint_url=SECRET), "the key service did not answer in time"),
    (UnicodeDecodeError("utf-8", SECRET.encode(), 0, 1, SECRET), "it is not text in the expected encoding"),
    (RecursionError(SECRET), "it is nested too deep"),
    (OperationFailure(SECRET, 18), "MongoDB refused (code 18)"),
    (ConfigurationError(SECRET), "MongoDB: configuration"),
    (ServerSelectionTimeoutError(SECRET), "no server of the replica set can be used"),
    (TimeoutError(SECRET), "no answer in time"),
    (KeyError(SECRET), "key error"),
    (KnownProblem(SECRET), "known problem"),
]


@pytest.mark.parametrize(("error", "text"), MEANINGS, ids=[type(error).__name__ for error, _ in MEANINGS])
def test_the_meaning_of_a_class_holds_nothing_that_was_sent(error: BaseException, text: str) -> None:
    assert meaning(error) == text


@pytest.mark.parametrize(("number", "told"), [(0, "0 warnings"), (1, "1 warning"), (2, "2 warnings")])
def test_one_is_not_told_as_several(number: int, told: str) -> None:
    assert counted(number, "warning") == told
    assert counted(number, "entry", "entries") == told.replace("warnings", "entries").replace("warning", "entry")
