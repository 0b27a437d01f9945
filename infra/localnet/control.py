"""The control of a network that runs: its parts are watched, stopped, killed and started again, to practise outages.

The network listens on a socket in its directory, which only its own user can reach; `ask` is the other side.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Final, Self

from infra.localnet.info import NoNetworkError
from infra.localnet.processes import ProcessError
from reactor.sentences import sentence

if TYPE_CHECKING:
    from infra.localnet.anvil import Anvil
    from infra.localnet.member import LocalValidator
    from infra.localnet.mongod import MongoReplicaSet
    from infra.localnet.network import Localnet
    from infra.localnet.pocket import PocketNode

SOCKET: Final = "control.sock"
VERBS: Final = ("start", "stop", "kill")
_LONGEST: Final = 64 * 1024
_ANSWER_SECONDS: Final = 180.0
"""A start waits until the process is ready, on a busy machine too."""

Say = Callable[[str], None]


@dataclass(slots=True)
class Part:
    """A process of the network that may end and be started again.

    `ended` says how it ended, in words; `lost`: why it cannot be started again, empty if it can; `known_down`: that it does not
    run was told.
    """

    name: str
    running: Callable[[], bool]
    ended: Callable[[], str]
    start: Callable[[], Awaitable[object]]
    stop: Callable[[], Awaitable[object]]
    kill: Callable[[], Awaitable[object]]
    lost: Callable[[], str] = str
    known_down: bool = False


class Control:
    """Entered: each part that ends is told in a line (`look`), and the verbs of other processes are carried out.

    Nothing that a part does ends the network: `say` gets one line, the others go on.
    """

    def __init__(self, net: Localnet, say: Say, command: Callable[[str, str], str]) -> None:
        """`command`: how a person gives a verb to the part of a name."""
        self._net = net
        self._say = say
        self._command = command
        self._parts = {part.name: part for part in _parts(net)}
        self._server: asyncio.Server | None = None
        self._one_at_a_time = asyncio.Lock()

    async def __aenter__(self) -> Self:
        """Listen."""
        with _short(self._net.directory) as directory:
            (directory / SOCKET).unlink(missing_ok=True)
            self._server = await asyncio.start_unix_server(self._serve, directory / SOCKET, limit=_LONGEST)
            (directory / SOCKET).chmod(0o600)
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()
        (self._net.directory / SOCKET).unlink(missing_ok=True)

    def look(self) -> None:
        """Tell each part that ended since the last look, whoever ended it."""
        for part in self._parts.values():
            if part.running():
                part.known_down = False
            elif not part.known_down and not self._one_at_a_time.locked():
                part.known_down = True
                self._say(f"{part.name} {part.ended()}; the others go on. {self._effect()}")
                self._say(part.lost() or f"start it again: {self._command('start', part.name)}")

    def _effect(self) -> str:
        net = self._net
        up = sum(one.running for one in net.validators)
        threshold, count = net.info.deployment.threshold, len(net.validators)
        away = [*_chains_away(net), *(["MongoDB"] if net.mongo is not None and not _has_majority(net.mongo) else [])]
        if away:
            without, back = " and ".join(away), "it is" if len(away) == 1 else "all are"
            return f"{up} of {count} validators run: without {without} nothing is signed; it is picked up again once {back} back"
        mints = "mints go on" if up >= threshold else f"mints wait for {threshold - up} more"
        payouts = "payouts go on" if up == count else "payouts wait: all must sign"
        return f"{up} of {count} validators run: {mints}, {payouts}"

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):  # who asked has gone
            try:
                asked = json.loads(await reader.readline())
                good, text = await self._carry_out(str(asked["verb"]), str(asked["name"]))
            except (ValueError, KeyError, TypeError) as error:
                good, text = False, f"not understood: {sentence(error)}"
            writer.write(json.dumps({"good": good, "text": text}).encode() + b"\n")
            await writer.drain()
            writer.close()
            await writer.wait_closed()

    async def _carry_out(self, verb: str, name: str) -> tuple[bool, str]:
        part = self._parts.get(name)
        if part is None or verb not in VERBS:
            return False, f"{name}: the network has {', '.join(self._parts)}, which can be told to {', '.join(VERBS)}"
        async with self._one_at_a_time:
            if part.running() is (verb == "start"):
                return False, f"{name} {'runs already' if part.running() else 'does not run'}"
            if verb == "start" and (lost := part.lost()):
                return False, f"{name}: {lost}"
            try:
                await {"start": part.start, "stop": part.stop, "kill": part.kill}[verb]()
            except (ProcessError, TimeoutError) as error:
                return False, f"{name}: {error}"
            part.known_down = not part.running()
        done = {"start": "runs again", "stop": "is stopped", "kill": "is killed"}[verb]
        self._say(f"{name} {done}. {self._effect()}")
        return True, f"{name} {done}. {self._effect()}"


async def ask(directory: Path, verb: str, name: str) -> tuple[bool, str]:
    """Have the network in `directory` start, stop or kill a part: whether it did, and what it says. Raises `NoNetworkError`."""
    try:
        with _short(directory) as short:
            reader, writer = await asyncio.open_unix_connection(short / SOCKET, limit=_LONGEST)
    except OSError:
        raise NoNetworkError(f"no network runs in {directory}: start one with `make up`") from None
    try:
        writer.write(json.dumps({"verb": verb, "name": name}).encode() + b"\n")
        await writer.drain()
        async with asyncio.timeout(_ANSWER_SECONDS):
            line = await reader.readline()
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
    if not line:
        raise NoNetworkError(f"the network in {directory} has ended")
    answer = json.loads(line)
    return bool(answer["good"]), str(answer["text"])


def _has_majority(mongo: MongoReplicaSet) -> bool:
    """Whether enough of the set's nodes run to elect a primary: with fewer nothing can be written."""
    count = len(mongo.ports)
    return 2 * sum(mongo.node(index).running for index in range(count)) > count


def _chains_away(net: Localnet) -> list[str]:
    nodes = (("Ethereum", net.anvil.process.running), ("Pocket", net.pocket.running))
    return [name for name, running in nodes if not running]


def _parts(net: Localnet) -> Iterator[Part]:
    for one in net.validators:
        yield _validator(one)
    yield _ethereum(net.anvil)
    yield _pocket(net.pocket)
    if net.mongo is not None:
        for index in range(len(net.mongo.ports)):
            yield _database_node(net.mongo, index)


def _validator(one: LocalValidator) -> Part:
    def ended() -> str:
        return _ending(one.process.exit_code, one.log_tail(1))

    async def kill() -> None:
        one.kill()

    return Part(one.name, lambda: one.running, ended, one.start, one.stop, kill)


def _database_node(mongo: MongoReplicaSet, index: int) -> Part:
    node = mongo.node(index)

    async def kill() -> None:
        mongo.kill(index)

    return Part(
        f"mongo-{index + 1}",
        lambda: node.running,
        lambda: _ending(node.exit_code, ""),
        partial(mongo.start, index),
        partial(mongo.stop, index),
        kill,
    )


def _ethereum(anvil: Anvil) -> Part:
    """anvil writes its chain down only when it is stopped in order, and ends with 0 then."""
    written = False

    def running() -> bool:
        return anvil.process.running

    def lost() -> str:
        gone = not running() and anvil.process.exit_code != 0 and not written
        return "its chain went with it, and the contracts: end the network (Ctrl-C) and begin anew" if gone else ""

    async def start() -> None:
        nonlocal written
        written = True  # a start that fails leaves the file as it is
        await anvil.start()
        written = False

    async def kill() -> None:
        raise ProcessError("killed it would lose its chain, which it writes down only when it is stopped: use stop")

    return Part("anvil", running, lambda: _ending(anvil.process.exit_code, ""), start, anvil.stop, kill, lost)


def _pocket(node: PocketNode) -> Part:
    """It runs within the network's own process. Killed it loses what waits for a block, as a real one does."""

    async def kill() -> None:
        await node.stop()
        node.chain.mempool.clear()

    return Part("pocket", lambda: node.running, lambda: "does not run", node.start, node.stop, kill)


def _ending(code: int | None, last_line: str) -> str:
    if code is None:
        return "does not run"
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    if code == 0:
        return "was stopped"
    return f"ended by itself, code {code}" + (f" ({last_line})" if last_line else "")


@contextlib.contextmanager
def _short(directory: Path) -> Iterator[Path]:
    """The directory under a short name: the path of a socket has at most 107 bytes."""
    descriptor = os.open(directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield Path(f"/proc/self/fd/{descriptor}")
    finally:
        os.close(descriptor)
