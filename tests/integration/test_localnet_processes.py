"""Child processes, ports and anvil of the development network."""

import asyncio
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from infra.localnet import anvil as anvil_module
from infra.localnet.anvil import Anvil, AnvilNotFoundError, AnvilRpcError, development_account, find_anvil
from infra.localnet.ports import HOST, free_port, free_ports, is_free
from infra.localnet.processes import ChildProcess, ProcessError, accepts_connections, wait_until

pytestmark = pytest.mark.integration

FOREVER = (sys.executable, "-c", "import time; print('up', flush=True); time.sleep(600)")
DEAF = (
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(600)",
)


def child(tmp_path: Path, *command: str) -> ChildProcess:
    return ChildProcess("child", command, log=tmp_path / "child.log")


async def up(process: ChildProcess) -> None:
    """Start and wait for its first word."""

    async def said_up() -> bool:
        return process.said("up")

    await process.start(said_up)


def _alive(pid: int) -> bool:
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


# --- processes ----------------------------------------------------------------------------------------------------


async def test_a_process_starts_and_stops(tmp_path: Path) -> None:
    process = child(tmp_path, *FOREVER)
    assert (process.running, process.exit_code) == (False, None)
    await up(process)
    assert _alive(process.pid)
    with pytest.raises(ProcessError, match="runs already"):
        await process.start()
    assert await process.stop() == -signal.SIGTERM
    assert not _alive(process.pid)
    assert await process.stop() == -signal.SIGTERM  # stopping twice is harmless


async def test_what_it_said_counts_from_its_last_start(tmp_path: Path) -> None:
    flag = tmp_path / "flag"
    process = child(tmp_path, sys.executable, "-c", f"print(open({str(flag)!r}).read())")
    for word, other in (("first", "second"), ("second", "first")):
        flag.write_text(word)
        await process.start()
        assert await process.wait(60) == 0
        assert (process.said(word), process.said(other)) == (True, False)


async def test_a_deaf_process_is_killed_after_the_time_allowed(tmp_path: Path) -> None:
    process = child(tmp_path, *DEAF)
    await up(process)
    assert await process.stop(0.2) == -signal.SIGKILL


async def test_a_frozen_process_can_be_stopped(tmp_path: Path) -> None:
    process = child(tmp_path, *FOREVER)
    await up(process)
    process.freeze()
    with pytest.raises(TimeoutError, match="the end of child"):
        await process.wait(0.2)
    assert await process.stop() == -signal.SIGTERM


async def test_a_process_that_ends_early_shows_its_last_words(tmp_path: Path) -> None:
    process = child(tmp_path, sys.executable, "-c", "print('no such luck'); raise SystemExit(3)")

    async def never() -> bool:
        return False

    with pytest.raises(ProcessError, match=r"(?s)code 3.*no such luck"):
        await process.start(never)


async def test_a_process_that_is_not_ready_in_time_is_ended(tmp_path: Path) -> None:
    process = child(tmp_path, *FOREVER)

    async def never() -> bool:
        return False

    with pytest.raises(ProcessError, match=r"not ready after 0\.3 s"):
        await process.start(never, seconds=0.3)
    assert not process.running


async def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ProcessError, match="no-such-program"):
        await child(tmp_path, str(tmp_path / "no-such-program")).start()


async def test_cancelling_the_start_ends_the_process(tmp_path: Path) -> None:
    process = child(tmp_path, *FOREVER)

    async def never() -> bool:
        return False

    async def running() -> bool:
        return process.running

    starting = asyncio.create_task(process.start(never))
    await wait_until(running, seconds=60, what="the child to run")
    starting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await starting
    assert not process.running


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel's parent-death signal is Linux's")
async def test_children_die_with_a_killed_parent(tmp_path: Path) -> None:
    program = (
        "import asyncio, pathlib, sys, time\n"
        "from infra.localnet.processes import ChildProcess\n"
        "child = ChildProcess('child', ['sleep', '600'], log=pathlib.Path(sys.argv[1]))\n"
        "asyncio.run(child.start())\n"
        "print(child.pid, flush=True)\n"
        "time.sleep(600)\n"
    )
    parent = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, str(tmp_path / "log"), stdout=subprocess.PIPE, cwd=_project()
    )
    try:
        pid = int(await asyncio.wait_for(parent.stdout.readline(), 60))
        assert _alive(pid)
    finally:
        parent.kill()
        await parent.wait()

    async def gone() -> bool:
        return not _alive(pid)

    await wait_until(gone, seconds=60, what="the orphan's end")


def _project() -> Path:
    return Path(__file__).parents[2]


# --- ports --------------------------------------------------------------------------------------------------------


async def test_ports_are_free_and_different() -> None:
    ports = free_ports(50)
    assert len(set(ports)) == 50
    assert all(is_free(port) for port in ports)


async def test_a_listening_port_is_not_free() -> None:
    port = free_port()
    assert not await accepts_connections(port)
    server = await asyncio.start_server(lambda _, writer: writer.close(), HOST, port)
    async with server:
        assert not is_free(port)
        assert await accepts_connections(port)


# --- anvil --------------------------------------------------------------------------------------------------------


async def test_anvil_mines_rolls_back_and_reorganises() -> None:
    async with Anvil() as anvil:
        assert await anvil.block_number() == 0
        assert await anvil.mine(5) == 5
        hashes = [(await anvil.rpc("eth_getBlockByNumber", hex(height), False))["hash"] for height in range(6)]
        await anvil.reorg(2)
        after = [(await anvil.rpc("eth_getBlockByNumber", hex(height), False))["hash"] for height in range(6)]
        assert after[:4] == hashes[:4]
        assert (after[4] != hashes[4], after[5] != hashes[5]) == (True, True)
        assert await anvil.rollback(2) == 3


async def test_anvil_snapshots() -> None:
    async with Anvil() as anvil:
        snapshot = await anvil.snapshot()
        await anvil.mine(3)
        await anvil.revert(snapshot)
        assert await anvil.block_number() == 0
        with pytest.raises(AnvilRpcError):
            await anvil.revert(snapshot)


async def test_anvil_finality_lags_by_epochs() -> None:
    async with Anvil(slots_in_an_epoch=2) as anvil:
        await anvil.mine(10)
        finalized = await anvil.rpc("eth_getBlockByNumber", "finalized", False)
        assert int(finalized["number"], 16) == 6


async def test_anvil_mines_by_time_or_by_hand() -> None:
    async with Anvil(block_time=0.1, chain_id=5) as anvil:
        assert await anvil.rpc("eth_chainId") == "0x5"

        async def two_blocks() -> bool:
            return await anvil.block_number() >= 2

        await wait_until(two_blocks, seconds=60, what="two blocks")
    async with Anvil(manual=True) as anvil:
        account = development_account(0)
        await anvil.rpc("eth_sendTransaction", {"from": account.address, "to": account.address})
        assert await anvil.block_number() == 0
        assert await anvil.mine() == 1
    with pytest.raises(ValueError, match="exclude each other"):
        Anvil(manual=True, block_time=1)


async def test_anvil_accounts_and_balances() -> None:
    async with Anvil(accounts=2) as anvil:
        balances = [int(await anvil.rpc("eth_getBalance", development_account(i).address, "latest"), 16) for i in (1, 2)]
        assert balances == [10_000 * 10**18, 0]
        await anvil.set_balance(development_account(2).address, 7)
        assert await anvil.rpc("eth_getBalance", development_account(2).address, "latest") == "0x7"
    assert development_account(0).address == "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"


async def test_anvil_remembers_its_state_on_the_same_port(tmp_path: Path) -> None:
    async with Anvil(state=tmp_path / "state.json") as anvil:
        await anvil.mine(3)
        url = anvil.url
        await anvil.stop()
        await anvil.start()
        assert (anvil.url, await anvil.block_number()) == (url, 3)
    async with Anvil() as anvil:
        assert await anvil.block_number() == 0


async def test_anvil_that_cannot_start_says_why() -> None:
    with pytest.raises(ProcessError, match="--no-such-option"):
        await Anvil(extra=["--no-such-option"]).__aenter__()


async def test_anvil_takes_the_port_given_or_fails() -> None:
    port = free_port()
    async with Anvil(port=port, chain_id=1) as anvil:
        assert anvil.url == f"http://127.0.0.1:{port}"
        with pytest.raises(ProcessError, match="anvil ended after"):
            await Anvil(port=port, chain_id=1).__aenter__()
        assert await anvil.block_number() == 0


def test_anvil_is_found_or_the_remedy_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert "node_modules" in find_anvil().parts
    monkeypatch.setattr(anvil_module, "_NODE_MODULES", tmp_path)
    program = tmp_path / "anvil"
    program.touch(0o755)
    monkeypatch.setenv("PATH", str(tmp_path) + os.pathsep)
    assert find_anvil() == program
    monkeypatch.setenv("PATH", "")
    with pytest.raises(AnvilNotFoundError, match="make setup"):
        find_anvil()
