"""How a validator's process begins and ends, seen from outside: signals at any time, and exit codes for a service manager."""

import asyncio
import json
import os
import shutil
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from cli_helpers import keys_of

from reactor.chains.pocket import vault_address
from reactor.cli.common import EXIT_DUPLICATE, EXIT_REFUSED, EXIT_USAGE
from reactor.parts import bridge_of, software_version
from reactor.settings import load_settings
from reactor.state.free import when_free
from reactor.state.journal import Journal
from reactor.state.ledger import Ledger
from reactor.state.ledger_file import LEDGER_FILE
from reactor.state.lock import ProcessLock

pytestmark = pytest.mark.integration

ROOT = Path(__file__).parents[2]
ENTRYPOINT = ROOT / "infra" / "containers" / "entrypoint.py"
SECONDS = 120
"""For what takes a second or two where the machine is not loaded."""


class SilentServer:
    """Takes connections and never answers: a database behind a broken route."""

    def __init__(self) -> None:
        self.listener = socket.create_server(("127.0.0.1", 0))
        self.port = self.listener.getsockname()[1]
        self.reached = threading.Event()
        self._taken: list[socket.socket] = []
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                taken, _ = self.listener.accept()
            except OSError:
                return
            self._taken.append(taken)
            self.reached.set()

    def close(self) -> None:
        self.listener.close()
        for one in self._taken:
            one.close()


@pytest.fixture
def silent() -> Iterator[SilentServer]:
    server = SilentServer()
    yield server
    server.close()


def configuration(folder: Path, port: int, *, vault: str = "", timeout: int = 10_000) -> Path:
    """A whole configuration with keys and a journal, whose database and nodes are on this port."""
    ours, others = keys_of(0), [keys_of(1).pocket_key, keys_of(2).pocket_key]
    keys = [ours.pocket_key, *others]
    for name, secret in (("ethereum", ours.ethereum), ("pocket", ours.pocket)):
        path = folder / name
        path.touch(mode=0o600)
        path.write_text(secret)
    path = folder / "reactor.toml"
    path.write_text(
        f"""
[mongo]
uri = "mongodb://127.0.0.1:{port}/?replicaSet=rs0"
timeout_ms = {timeout}
[ethereum]
rpc_urls = ["http://127.0.0.1:{port}"]
chain_id = 31337
wrapped_pocket_address = "0x{"11" * 20}"
mint_controller_address = "0x{"22" * 20}"
start_block = 1
burn_fee = 10000
rpc_timeout_ms = {timeout}
validator_addresses = ["{ours.ethereum_address}"]
key = "file://{folder}/ethereum"
[pocket]
rpc_urls = ["http://127.0.0.1:{port}"]
chain_id = "localnet"
start_height = 1
multisig_public_keys = {json.dumps(keys)}
vault_address = "{vault or vault_address(keys)}"
tx_fee = 10000
rpc_timeout_ms = {timeout}
max_mint = 1000000000
key = "file://{folder}/pocket"
[state]
directory = "{folder}/state"
"""
    )
    settings = load_settings(path, {})
    if not vault:
        Journal.create(settings.state.directory, bridge_of(settings), {"pocket": 1, "ethereum": 1}).close()
    return path


class Run:
    """`reactor run` as a process."""

    def __init__(self, config: Path, *before: str, program: Path = ENTRYPOINT) -> None:
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("REACTOR_", "MONGODB_"))}
        environment["PYTHONPATH"] = str(ROOT)
        self.process = subprocess.Popen(
            [*before, sys.executable, str(program), "run", "--config", str(config)],
            cwd=ROOT,
            env=environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )

    def ended(self) -> tuple[int, str]:
        said, _ = self.process.communicate(timeout=SECONDS)
        return self.process.returncode, said

    def kill(self) -> None:
        for one in (
            [*psutil.Process(self.process.pid).children(recursive=True), self.process] if self.process.poll() is None else []
        ):
            one.kill()
        self.process.communicate()


@pytest.fixture
def run() -> Iterator[type[Run]]:
    started: list[Run] = []

    class Started(Run):
        def __init__(self, *arguments: object, **options: object) -> None:
            super().__init__(*arguments, **options)  # type: ignore[arg-type]
            started.append(self)

    yield Started
    for one in started:
        one.kill()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_it_waits_for_a_dependency_ends_it(run, silent: SilentServer, tmp_path: Path, number: int) -> None:
    one = run(configuration(tmp_path, silent.port))
    assert silent.reached.wait(SECONDS)
    one.process.send_signal(signal.SIGHUP)  # changes nothing
    one.process.send_signal(number)
    code, said = one.ended()
    assert code == 0, said
    assert "SIGHUP: this validator goes on" in said
    asking = f"bridge-reactor {software_version()}"
    assert asking in said.splitlines()[0], "what runs is told before anything is waited for"
    assert f"configuration {tmp_path}/reactor.toml: asking for all that a start needs" in said.splitlines()[0]
    assert "stopping" in said


def can_unshare() -> bool:
    command = ["unshare", "--pid", "--fork", "--kill-child", "true"]
    return shutil.which("unshare") is not None and subprocess.run(command, capture_output=True, check=False).returncode == 0


@pytest.mark.skipif(not can_unshare(), reason="no right to make a process namespace here")
def test_as_process_1_it_hears_sigterm_too(run, silent: SilentServer, tmp_path: Path) -> None:
    """In a container the kernel drops every signal that process 1 has no handler for."""
    one = run(configuration(tmp_path, silent.port), "unshare", "--pid", "--fork", "--kill-child")
    assert silent.reached.wait(SECONDS)
    (child,) = psutil.Process(one.process.pid).children()
    child.send_signal(signal.SIGTERM)
    code, said = one.ended()
    assert code == 0, said


def test_who_waits_for_a_locked_file_is_told_which_and_can_be_stopped(run, silent: SilentServer, tmp_path: Path) -> None:
    config = configuration(tmp_path, silent.port)
    holder = sqlite3.connect(tmp_path / "state" / "journal.sqlite", isolation_level=None)
    holder.execute("PRAGMA locking_mode=EXCLUSIVE")
    holder.execute("BEGIN EXCLUSIVE")
    one = run(config)
    try:
        line = next(line for line in one.process.stdout if "waiting for up to" in line)
        one.process.send_signal(signal.SIGTERM)
        code, said = one.ended()
    finally:
        holder.close()
    assert str(tmp_path / "state" / "journal.sqlite") in line
    assert f"(process {os.getpid()})" in line
    assert code == 0, said


# ---------------------------------------------------------------------- exit codes


def test_a_configuration_that_cannot_be_read(run, tmp_path: Path) -> None:
    code, said = run(tmp_path / "absent.toml").ended()
    assert code == EXIT_USAGE, said


def test_a_configuration_that_is_wrong_in_itself(run, tmp_path: Path) -> None:
    code, said = run(configuration(tmp_path, 1, timeout=200, vault="ab" * 20)).ended()
    assert code == EXIT_USAGE, said
    assert "pocket.vault_address" in said


def test_a_condition_that_does_not_hold_now(run, tmp_path: Path) -> None:
    code, said = run(configuration(tmp_path, 1, timeout=200)).ended()
    assert code == EXIT_REFUSED, said
    assert "not started" in said


def test_a_second_process_on_the_same_state(run, tmp_path: Path) -> None:
    config = configuration(tmp_path, 1, timeout=200)
    with ProcessLock(tmp_path / "state"):
        code, said = run(config).ended()
    assert code == EXIT_DUPLICATE, said
    assert f"process {os.getpid()} already runs" in said


def test_a_ledger_that_another_process_holds_is_waited_for(tmp_path: Path) -> None:
    """As the validator opens it, without the rest of a process."""
    settings = load_settings(configuration(tmp_path, 1, timeout=200), {})
    bridge, directory = bridge_of(settings), settings.state.directory
    Ledger.open(directory, bridge).close()
    holder = sqlite3.connect(directory / LEDGER_FILE, isolation_level=None, check_same_thread=False)
    holder.execute("BEGIN IMMEDIATE")
    tries = 0

    def opening() -> Ledger:
        nonlocal tries
        tries += 1
        if tries == 3:
            holder.close()
        return Ledger.open(directory, bridge, busy=0.05)

    asyncio.run(when_free(opening)).close()
    assert tries == 3
