"""The connection to the shared replica set: one client for operations, one more for each change stream."""

import asyncio
import re
import warnings
from collections import Counter
from collections.abc import Mapping
from datetime import UTC
from typing import Any, Final, Self

from bson import ObjectId
from pymongo import AsyncMongoClient
from pymongo.asynchronous.collection import AsyncCollection
from pymongo.asynchronous.database import AsyncDatabase
from pymongo.errors import (
    ConnectionFailure,
    OperationFailure,
    PyMongoError,
    ServerSelectionTimeoutError,
)
from pymongo.monitoring import CommandFailedEvent, CommandListener, CommandStartedEvent, CommandSucceededEvent
from pymongo.read_concern import ReadConcern

from reactor.documents.statuses import Collection
from reactor.foreign import one_line
from reactor.mongo_uri import MongoUri, MongoUriProblem, parse_mongo_uri
from reactor.outages import Outages
from reactor.sentences import sentence
from reactor.store.problem import StoreProblem
from reactor.store.renewal import Renewed
from reactor.store.retrying import UnreadableAnswer, answers

Document = dict[str, Any]

DEFAULT_NAMES: Final[Mapping[Collection, str]] = {role: role.value for role in Collection}
_UNAUTHORIZED: Final = 13
_LOGIN_REFUSED: Final = frozenset({11, 18})
"""UserNotFound (a certificate that is nobody's) and AuthenticationFailed."""
_TLS_WORDS: Final = ("SSL", "TLS", "certificate")
_POOL: Final = 24
_STREAM_SELECTION_MS: Final = 2500
"""A stream's next read waits this long for a primary that was stopped; with the driver's 30 s it stalls for 30 s."""
_CONNECT_MS: Final = 2000
_HEARTBEAT_MS: Final = 1000
_FAREWELL_SECONDS: Final = 2.0
"""A client that is closed tells the server which sessions it will not use any more; nobody needs to wait for that."""
_READING: Final[Mapping[str, Any]] = {
    "tz_aware": True,
    "tzinfo": UTC,
    # The database is not trusted: one date out of range or one broken string must not end the read of a whole batch.
    "datetime_conversion": "DATETIME_AUTO",
    "unicode_decode_error_handler": "replace",
    "uuidRepresentation": "unspecified",
}


class _Counting(CommandListener):
    """Counts the commands sent, by name."""

    def __init__(self, counts: Counter[str]) -> None:
        self._counts = counts

    def started(self, event: CommandStartedEvent) -> None:
        self._counts[event.command_name] += 1

    def succeeded(self, event: CommandSucceededEvent) -> None:
        """Counted when it started."""

    def failed(self, event: CommandFailedEvent) -> None:
        """Counted when it started."""


class _Client(AsyncMongoClient[Document]):
    """A client that is closed whatever the server says to that: the driver's own breaks off where the farewell goes wrong."""

    async def close(self) -> None:
        """Say farewell if that is possible in good time, and end all connections and the watching of servers."""
        try:
            with answers():
                async with asyncio.timeout(_FAREWELL_SECONDS):
                    await super().close()
        except (PyMongoError, TimeoutError):
            # The sessions of which the server was told are forgotten now: nothing more is said, everything is closed.
            await super().close()


class Store:
    """The shared database of one bridge. Made by `connect`, ended by `close`; also an asynchronous context manager.

    Writes are acknowledged by a majority; reads go to the primary with read concern majority. Every operation ends within
    `timeout_ms`. `operations` counts the commands sent, by name (for benchmarks and metrics). `outages`: where
    what the server refuses is told; a validator puts its own there.
    """

    def __init__(self, uri: str, database: str, names: Mapping[Collection, str], timeout_ms: int) -> None:
        """Make the clients; nothing is sent yet. Raises `StoreProblem` for a malformed URI. Use `connect`."""
        self.names: Mapping[Collection, str] = {**DEFAULT_NAMES, **names}
        self.roles: Mapping[str, Collection] = {name: role for role, name in self.names.items()}
        self.operations: Counter[str] = Counter()
        self.timeout_ms = timeout_ms
        self.outages = Outages()
        if len(self.roles) != len(self.names):
            raise StoreProblem("MONGODB_COLLECTIONS", "two collections have the same name", "give each its own")
        self._uri = _parsed(uri).text
        self._name = database
        self._collections: dict[Collection, AsyncCollection[Document]] = {}
        self._renewed: Renewed[AsyncMongoClient[Document]] = Renewed(
            self._operations_client, timeout_ms / 1000, lambda: self.outages
        )

    def _operations_client(self) -> AsyncMongoClient[Document]:
        return self._client(
            {
                "w": "majority",
                "readConcernLevel": "majority",
                "readPreference": "primary",
                "retryWrites": True,
                "retryReads": True,
                "timeoutMS": self.timeout_ms,
                "serverSelectionTimeoutMS": self.timeout_ms,
                "connectTimeoutMS": min(self.timeout_ms, _CONNECT_MS),
                "heartbeatFrequencyMS": _HEARTBEAT_MS,
                "maxPoolSize": _POOL,
                "event_listeners": [_Counting(self.operations)],
            }
        )

    @classmethod
    async def connect(
        cls, uri: str, database: str, names: Mapping[Collection, str] | None = None, *, timeout_ms: int = 10_000
    ) -> Self:
        """Connect and check that the server is a replica set with a primary and a majority.

        `names`: what the collections are called where not by default. Raises `StoreProblem`.
        """
        store = cls(uri, database, names or {}, timeout_ms)
        try:
            await store.check()
        except BaseException:  # whatever the reason, no client may be left behind
            await store.close()
            raise
        return store

    def __repr__(self) -> str:
        # SECURITY: the URI may hold a password.
        return f"Store({self._name!r})"

    @property
    def client(self) -> AsyncMongoClient[Document]:
        """The client to use now. Ask anew for each operation: another may have taken its place (`store/renewal.py`)."""
        return self._renewed.current()

    @property
    def database(self) -> AsyncDatabase[Document]:
        """The bridge's database, for one operation, as `client`."""
        return self.client[self._name]

    def collection(self, role: Collection) -> AsyncCollection[Document]:
        """The collection of that role, under its configured name; for one operation, as `client`."""
        client, made = self.client, self._collections.get(role)
        if made is None or made.database.client is not client:
            made = self._collections[role] = client[self._name][self.names[role]]
        return made

    def stream_client(self) -> AsyncMongoClient[Document]:
        """A new client for one change stream, with short time-outs. The caller closes it.

        An open stream pins a connection, and a long server selection would stall it whenever a primary steps down.
        """
        return self._client(
            {
                "readConcernLevel": "majority",
                "readPreference": "primary",
                "serverSelectionTimeoutMS": _STREAM_SELECTION_MS,
                "connectTimeoutMS": _CONNECT_MS,
                "socketTimeoutMS": _STREAM_SELECTION_MS + self.timeout_ms,
                "heartbeatFrequencyMS": _HEARTBEAT_MS,
                "maxPoolSize": 2,
            }
        )

    async def check(self) -> None:
        """Raise `StoreProblem` unless the server is a replica set with a primary that reaches a majority."""
        await self.stream_client().close()  # what would keep it from being made must show now, not when the first stream opens
        try:
            with answers():
                hello = await self.client.admin.command("hello")
                if not hello.get("setName"):
                    raise StoreProblem(
                        "mongo.uri",
                        "the server is not a replica set",
                        "start mongod with --replSet and initiate it: change streams need it",
                    )
                # A linearizable read succeeds only if a majority confirms the primary just now.
                certain = self.collection(Collection.MINT).with_options(read_concern=ReadConcern("linearizable"))
                await certain.find_one({"_id": ObjectId("0" * 24)}, {"_id": 1})
        except PyMongoError as error:
            raise _explain(error, self._name) from None

    async def close(self) -> None:
        """End the client for operations."""
        await self._renewed.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    def _client(self, options: Mapping[str, Any]) -> AsyncMongoClient[Document]:
        try:
            with warnings.catch_warnings():
                # What the driver would only warn of and pass over is a fault here.
                warnings.simplefilter("error", UserWarning)
                return _Client(self._uri, appname="bridge-reactor", **_READING, **options)
        except OSError as error:
            # A file that was read and holds no certificate is an error without a name.
            problem = "a file that it names holds no certificate"
            if error.filename is not None:
                problem = f"the file {error.filename} that it names cannot be read ({error.strerror})"
            raise StoreProblem("mongo.uri", problem, "check tlsCAFile, tlsCertificateKeyFile and tlsCRLFile") from None
        except (PyMongoError, ValueError, TypeError, UserWarning):
            # SECURITY: the driver's own words may quote parts of the URI, the password among them.
            raise StoreProblem(
                "mongo.uri",
                "its TLS options do not fit each other, or the files that they name",
                "check tls, tlsCertificateKeyFile and its password, tlsCRLFile and tlsAllowInvalidCertificates",
            ) from None


async def try_clients(uri: str, database: str, names: Mapping[Collection, str], timeout_ms: int) -> MongoUri:
    """Make each client that a validator makes, and end it: nothing is sent. What the URI's options come to.

    Raises `StoreProblem` where `run` could not make one of them.
    """
    parsed = _parsed(uri)
    store = Store(uri, database, names, timeout_ms)
    try:
        await store.stream_client().close()
    finally:
        await store.close()
    return parsed


def _parsed(uri: str) -> MongoUri:
    try:
        return parse_mongo_uri(uri)
    except MongoUriProblem as error:
        raise StoreProblem("mongo.uri", error.problem, error.remedy) from None


def _tls_reason(text: str) -> str:
    """The library's own words for it (`certificate verify failed: …`), without the addresses and time-outs around them."""
    found = re.search(r"\[SSL[^\]]*\] ?([^(\[]+)", text)
    # What the library says may repeat the names of the server's certificate.
    return one_line(found[1].strip(" .,"), 200) if found else "the handshake failed"


def _explain(error: PyMongoError, database: str) -> StoreProblem:
    if isinstance(error, UnreadableAnswer):
        return StoreProblem("mongo.uri", str(error), "check host and port: is it a MongoDB, and nothing between it and here?")
    if isinstance(error, OperationFailure) and error.code in _LOGIN_REFUSED:
        return StoreProblem("mongo.uri", "the server refuses the login", "check user and password or certificate, and authSource")
    if isinstance(error, OperationFailure) and error.code == _UNAUTHORIZED:
        return StoreProblem(
            "mongo.database",
            f"the user may not read database {database}",
            "correct mongo.database (the name that `reactor init-db` was run with), or give the user the role for validators",
        )
    if isinstance(error, ConnectionFailure) and any(word in str(error) for word in _TLS_WORDS):
        return StoreProblem(
            "mongo.uri",
            f"no TLS connection: {_tls_reason(str(error))}",
            "check tls, tlsCAFile, tlsCertificateKeyFile and that the server's certificate names the host of the URI",
        )
    if isinstance(error, ServerSelectionTimeoutError):
        return StoreProblem(
            "mongo.uri", "no primary can be reached", "check host, port, replicaSet and that a majority of the nodes runs"
        )
    if error.timeout:
        return StoreProblem("mongo.uri", "the primary reaches no majority of its replica set", "start the missing nodes")
    if isinstance(error, ConnectionFailure):
        return StoreProblem("mongo.uri", "the connection to the server failed", "check host, port and TLS settings")
    return StoreProblem("mongo.uri", sentence(error), "see the server's log")
