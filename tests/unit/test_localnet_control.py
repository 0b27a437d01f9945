"""Outages on a network that runs: what ends is told once, the rest goes on, and it is started again from another process."""

import asyncio
import contextlib
import signal
from types import SimpleNamespace

import pytest

from infra.localnet.control import SOCKET, Control, ask
from infra.localnet.info import NoNetworkError
from infra.localnet.processes import ProcessError

pytestmark = pytest.mark.unit


class Member:
    """A validator without a process."""

    def __init__(self, number):
        self.name = f"validator-{number}"
        self.code = None
        self.fails = None

    @property
    def running(self):
        return self.code is None

    @property
    def process(self):
        return SimpleNamespace(exit_code=self.code)

    def log_tail(self, lines):
        return "error: the last word"

    async def start(self):
        if self.fails:
            raise self.fails
        self.code = None

    async def stop(self):
        self.code = 0

    def kill(self):
        self.code = -signal.SIGKILL


class Ethereum:
    """anvil without a process."""

    def __init__(self):
        self.process = SimpleNamespace(running=True, exit_code=None)
        self.fails = None

    async def start(self):
        self.process = SimpleNamespace(running=not self.fails, exit_code=1 if self.fails else None)
        if self.fails:
            raise self.fails

    async def stop(self):
        self.end(0)

    def end(self, code):
        self.process = SimpleNamespace(running=False, exit_code=code)


class Pocket:
    """The Pocket node without a port."""

    def __init__(self):
        self.running, self.lost = True, 0
        self.chain = SimpleNamespace(mempool=SimpleNamespace(clear=self._clear))

    def _clear(self):
        self.lost += 1

    async def start(self):
        self.running = True

    async def stop(self):
        self.running = False


@pytest.fixture
async def net(tmp_path):
    """Three validators, two of them sign a mint; their directory has a name longer than a socket's may be."""
    directory = tmp_path / ("long" * 40)
    directory.mkdir()
    deployment = SimpleNamespace(threshold=2)
    made = SimpleNamespace(directory=directory, mongo=None, validators=[Member(number) for number in (1, 2, 3)])
    made.anvil, made.pocket = Ethereum(), Pocket()
    made.info, made.said = SimpleNamespace(deployment=deployment, directory=directory), []
    async with Control(made, made.said.append, lambda verb, name: f"do {verb} {name}") as made.control:
        yield made


@pytest.mark.parametrize(
    ("code", "how"),
    [
        (0, "was stopped"),
        (-signal.SIGTERM, "was ended by SIGTERM"),
        (-signal.SIGKILL, "was ended by SIGKILL"),
        (1, "ended by itself, code 1 (error: the last word)"),
    ],
)
async def test_a_validator_that_ends_is_told_once_with_what_still_works(net, code, how):
    net.control.look()
    assert net.said == []
    net.validators[1].code = code
    for _ in range(3):
        net.control.look()
    assert net.said == [
        f"validator-2 {how}; the others go on. 2 of 3 validators run: mints go on, payouts wait: all must sign",
        "start it again: do start validator-2",
    ]
    net.validators[0].code = code
    net.control.look()
    assert "1 of 3 validators run: mints wait for 1 more" in net.said[2]


@pytest.mark.parametrize(
    ("count", "down", "lost"), [(1, 0, False), (1, 1, True), (3, 1, False), (3, 2, True), (3, 3, True), (2, 1, True)]
)
async def test_without_a_majority_of_the_database_no_signing_is_promised(net, count, down, lost):
    nodes = [SimpleNamespace(running=index >= down) for index in range(count)]
    net.mongo = SimpleNamespace(ports=tuple(range(count)), node=nodes.__getitem__)
    good, text = await ask(net.directory, "stop", "validator-3")
    assert good
    without = "2 of 3 validators run: without MongoDB nothing is signed; it is picked up again once it is back"
    assert (without in text) is lost
    assert ("mints go on" in text) is not lost


async def test_one_that_runs_again_and_ends_again_is_told_again(net):
    for code in (1, None, 1):
        net.validators[0].code = code
        net.control.look()
    assert len(net.said) == 4


async def test_another_process_stops_kills_and_starts(net):
    for verb, code, done in (("stop", 0, "is stopped"), ("start", None, "runs again"), ("kill", -9, "is killed")):
        good, text = await ask(net.directory, verb, "validator-3")
        assert good
        assert text.startswith(f"validator-3 {done}. ")
        assert net.validators[2].code == code
        assert net.said[-1] == text
    said = len(net.said)
    net.control.look()
    assert len(net.said) == said, "an end that was asked for is not told a second time"


@pytest.mark.parametrize(
    ("verb", "name", "words"),
    [
        ("start", "validator-1", "runs already"),
        ("stop", "validator-9", "the network has validator-1, validator-2, validator-3"),
        ("explode", "validator-1", "can be told to start, stop, kill"),
        ("stop", "", "the network has"),
    ],
)
async def test_what_cannot_be_done_is_said_and_changes_nothing(net, verb, name, words):
    good, text = await ask(net.directory, verb, name)
    assert not good
    assert words in text
    assert all(one.running for one in net.validators)


async def test_one_that_does_not_run_is_not_stopped_and_one_that_does_not_come_up_says_its_last_words(net):
    net.validators[0].code = 1
    assert await ask(net.directory, "stop", "validator-1") == (False, "validator-1 does not run")
    net.validators[0].fails = ProcessError("its last words")
    assert await ask(net.directory, "start", "validator-1") == (False, "validator-1: its last words")
    net.validators[0].fails = None
    assert (await ask(net.directory, "start", "validator-1"))[0]


@pytest.mark.parametrize("line", [b"", b"\n", b"[]\n", b"{}\n", b"5\n", b'{"verb": "stop"}\n', b"\xff\n", b"x" * 100_000 + b"\n"])
async def test_what_is_no_question_ends_that_conversation_only(net, line, monkeypatch):
    monkeypatch.chdir(net.directory)
    reader, writer = await asyncio.open_unix_connection(SOCKET)
    writer.write(line)
    writer.write_eof()
    with contextlib.suppress(ConnectionError):
        assert b"true" not in await reader.read()
    writer.close()
    assert (await ask(net.directory, "stop", "validator-1"))[0]


async def test_a_socket_is_its_users_alone_and_gone_with_the_network(net, tmp_path):
    assert (net.directory / SOCKET).stat().st_mode & 0o077 == 0
    await net.control.__aexit__(None, None, None)
    with pytest.raises(NoNetworkError, match="make up"):
        await ask(net.directory, "stop", "validator-1")
    with pytest.raises(NoNetworkError, match="make up"):
        await ask(tmp_path / "nothing", "stop", "validator-1")


@pytest.mark.parametrize(("name", "chain"), [("anvil", "Ethereum"), ("pocket", "Pocket")])
async def test_a_chains_node_is_stopped_and_started_again(net, name, chain):
    good, text = await ask(net.directory, "stop", name)
    assert good
    assert text == (
        f"{name} is stopped. 3 of 3 validators run: without {chain} nothing is signed; it is picked up again once it is back"
    )
    assert await ask(net.directory, "stop", name) == (False, f"{name} does not run")
    said = len(net.said)
    net.control.look()
    assert len(net.said) == said, "an end that was asked for is not told a second time"
    good, text = await ask(net.directory, "start", name)
    assert (good, text) == (True, f"{name} runs again. 3 of 3 validators run: mints go on, payouts go on")
    assert net.pocket.lost == 0


async def test_all_that_is_away_is_named(net):
    await ask(net.directory, "stop", "pocket")
    _, text = await ask(net.directory, "stop", "anvil")
    assert "without Ethereum and Pocket nothing is signed; it is picked up again once all are back" in text


async def test_anvil_is_not_killed_as_its_chain_would_not_come_back(net):
    good, text = await ask(net.directory, "kill", "anvil")
    assert (good, net.anvil.process.running) == (False, True)
    assert "use stop" in text
    good, _ = await ask(net.directory, "kill", "pocket")
    assert (good, net.pocket.running, net.pocket.lost) == (True, False, 1)


async def test_anvil_that_was_killed_is_not_started_with_an_empty_chain(net):
    net.anvil.end(-signal.SIGKILL)
    net.control.look()
    assert net.said[-2].startswith("anvil was ended by SIGKILL; the others go on.")
    assert net.said[-1] == "its chain went with it, and the contracts: end the network (Ctrl-C) and begin anew"
    good, text = await ask(net.directory, "start", "anvil")
    assert (good, net.anvil.process.running) == (False, False)
    assert "begin anew" in text


async def test_a_start_of_anvil_that_fails_can_be_tried_again(net):
    await ask(net.directory, "stop", "anvil")
    net.anvil.fails = ProcessError("the port is taken")
    assert await ask(net.directory, "start", "anvil") == (False, "anvil: the port is taken")
    net.anvil.fails = None
    assert (await ask(net.directory, "start", "anvil"))[0]
