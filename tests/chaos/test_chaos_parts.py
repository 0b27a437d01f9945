"""What faults are made with does what it says, and is whole again afterwards."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from random import Random
from types import SimpleNamespace
from typing import Any, ClassVar

import aiohttp
import pytest
from aiohttp import web

from infra.localnet.pocket.genesis import Genesis
from infra.localnet.pocket.node import PocketNode
from infra.localnet.pocket.wallet import Wallet
from infra.localnet.ports import HOST, free_port
from tests.chaos import kinds
from tests.chaos.ethereum_node import BURN_TOPIC, DROPPED_BLOCKS, FORGED_TX, LAGGING_BLOCKS, EthereumNode
from tests.chaos.faults import Storms
from tests.chaos.manifest import Requests
from tests.chaos.people import People
from tests.chaos.wire import Wire

pytestmark = pytest.mark.unit

SOON = 0.3
"""Seconds in which something must not have come; what must come has sixty."""
BOUND = 60.0
HEAD = 100
TOKEN = "0x" + "cc" * 20


def message(body: bytes) -> bytes:
    return (len(body) + 4).to_bytes(4, "little") + body


@pytest.fixture
async def echo() -> AsyncIterator[int]:
    """A server that answers each message with the same one."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while data := await reader.read(65536):
                writer.write(data)
                await writer.drain()
        finally:
            writer.close()
            with suppress(OSError):
                await writer.wait_closed()

    port = free_port()
    server = await asyncio.start_server(serve, HOST, port)
    yield port
    server.close()
    await asyncio.sleep(0)  # its last connections end in the loop's next turn


@pytest.fixture
async def wire(echo: int) -> AsyncIterator[Wire]:
    laid = await Wire.lay((echo,))
    yield laid
    for caller in Caller.all:
        caller.writer.close()
        with suppress(OSError):
            await caller.writer.wait_closed()
    Caller.all.clear()
    await laid.close()


class Caller:
    """A client of a wire; `all` are closed with it."""

    all: ClassVar[list[Caller]] = []

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer
        self.all.append(self)

    @classmethod
    async def on(cls, wire: Wire) -> Caller:
        return cls(*await asyncio.open_connection(HOST, int(wire.hosts.rpartition(":")[2])))

    def say(self, body: bytes) -> None:
        self.writer.write(message(body))

    async def hear(self, seconds: float = BOUND) -> bytes:
        async with asyncio.timeout(seconds):
            length = int.from_bytes(await self.reader.readexactly(4), "little")
            return await self.reader.readexactly(length - 4)


async def test_a_wire_passes_everything_on_and_names_itself_in_hellos(wire: Wire, echo: int) -> None:
    caller = await Caller.on(wire)
    caller.say(b"x" * 200_000)
    assert await caller.hear() == b"x" * 200_000
    caller.say(b'setName, primary: "' + f"{HOST}:{echo}".encode() + b'"')
    assert wire.hosts.encode() in await caller.hear()
    caller.say(f"{HOST}:{echo} outside a hello".encode())
    assert f"{HOST}:{echo}".encode() in await caller.hear()


@pytest.mark.parametrize("lost", ["both", "requests", "answers"])
async def test_a_broken_wire_is_silent_and_hangs_up_when_it_is_mended(wire: Wire, lost: str) -> None:
    caller = await Caller.on(wire)
    caller.say(b"before")
    assert await caller.hear() == b"before"
    wire.cut() if lost == "both" else wire.lose("requests" if lost == "requests" else "answers")
    caller.say(b"meanwhile")
    with pytest.raises(TimeoutError):
        await caller.hear(SOON)
    assert not caller.reader.at_eof(), "an open connection that is silent, not a closed one"
    wire.mend()
    with pytest.raises((asyncio.IncompleteReadError, ConnectionError)):
        await caller.hear()
    again = await Caller.on(wire)
    again.say(b"after")
    assert await again.hear() == b"after"


async def test_a_slow_wire_brings_everything_later(wire: Wire) -> None:
    caller = await Caller.on(wire)
    wire.slow(SOON)
    began = asyncio.get_running_loop().time()
    caller.say(b"slowly")
    assert await caller.hear() == b"slowly"
    assert asyncio.get_running_loop().time() - began >= 2 * SOON * 0.9
    wire.mend()
    caller.say(b"still connected")
    assert await caller.hear() == b"still connected"


# --- Ethereum ------------------------------------------------------------------------------------------------------


@pytest.fixture
async def node() -> AsyncIterator[EthereumNode]:
    async def serve(request: web.Request) -> web.Response:
        asked = await request.json()
        method, params = asked["method"], asked["params"]
        number = HEAD if params[:1] == ["latest"] else int(params[0], 16) if method == "eth_getBlockByNumber" else 0
        block = {"number": hex(number), "hash": "0x" + f"{number:064x}", "timestamp": "0x1"}
        answers = {
            "eth_chainId": "0x7a69",
            "eth_blockNumber": hex(HEAD),
            "eth_getBlockByNumber": block if number <= HEAD else None,
            "eth_getTransactionReceipt": {"blockNumber": hex(HEAD)},
            "eth_getLogs": [{"blockNumber": hex(HEAD - 10)}, {"blockNumber": hex(HEAD)}],
            "eth_call": params[-1] if params else None,
        }
        return web.json_response({"jsonrpc": "2.0", "id": asked["id"], "result": answers[method]})

    app = web.Application()
    app.router.add_post("/", serve)
    runner = web.AppRunner(app)
    await runner.setup()
    port = free_port()
    await web.TCPSite(runner, HOST, port).start()
    relay = EthereumNode(f"http://{HOST}:{port}", TOKEN)
    await relay.start()
    yield relay
    await relay.close()
    await runner.cleanup()


async def ask(node: EthereumNode, method: str, *params: object) -> tuple[int, str]:
    request = {"jsonrpc": "2.0", "id": 9, "method": method, "params": list(params)}
    async with aiohttp.ClientSession() as session, session.post(node.url, json=request) as answer:
        return answer.status, (await answer.read()).decode(errors="replace")


async def result(node: EthereumNode, method: str, *params: object):
    status, text = await ask(node, method, *params)
    assert status == 200
    answer = json.loads(text)
    assert answer["id"] == 9
    return answer["result"]


@pytest.mark.parametrize(
    ("how", "status", "part"),
    [
        ("429", 429, "Too Many"),
        ("absurd_date", 429, "Too Many"),
        ("503", 503, "timeout"),
        ("403", 403, "<html>"),
        ("404", 404, "default backend"),
        ("html", 200, "<html>"),
        ("empty", 200, ""),
        ("garbage", 200, "jsonrpc"),
    ],
)
async def test_a_node_fails_as_told_until_it_behaves(node: EthereumNode, how: str, status: int, part: str) -> None:
    await node.misbehave(how)
    said, text = await ask(node, "eth_chainId")
    assert said == status
    assert part in text
    with pytest.raises(ValueError):  # noqa: PT011 - whatever it is, it is no JSON
        json.loads(text)
    node.behave()
    assert await result(node, "eth_chainId") == "0x7a69"


async def test_a_node_hangs_until_it_behaves_and_closes_connections(node: EthereumNode) -> None:
    await node.misbehave("timeout")
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(SOON):
            await ask(node, "eth_chainId")
    await node.misbehave("reset")
    with pytest.raises(aiohttp.ClientError):
        await ask(node, "eth_chainId")
    node.behave()
    assert await result(node, "eth_chainId") == "0x7a69"


async def test_a_node_refuses_in_json_too(node: EthereumNode) -> None:
    await node.misbehave("401")
    assert await ask(node, "eth_chainId") == (401, '{"error":"invalid api key"}')
    await node.misbehave("limit")
    status, text = await ask(node, "eth_chainId")
    assert (status, json.loads(text)["error"]["code"]) == (200, -32007)


async def test_a_node_that_is_gone_refuses_connections_and_comes_back_in_its_place(node: EthereumNode) -> None:
    url = node.url
    await node.misbehave("refused")
    with pytest.raises(aiohttp.ClientConnectorError):
        await ask(node, "eth_chainId")
    await node.mend()
    assert node.url == url
    assert await result(node, "eth_chainId") == "0x7a69"


async def test_the_logs_of_a_lagging_backend_lack_the_newest_and_all_else_is_there(node: EthereumNode) -> None:
    before = await result(node, "eth_getLogs", {})
    await node.misbehave("lagging_logs")
    shown = [int(log["blockNumber"], 16) for log in await result(node, "eth_getLogs", {})]
    assert shown == [number for log in before if (number := int(log["blockNumber"], 16)) <= HEAD - LAGGING_BLOCKS]
    assert len(shown) < len(before)
    assert await result(node, "eth_blockNumber") == hex(HEAD)
    assert (await result(node, "eth_getBlockByNumber", hex(HEAD), False))["number"] == hex(HEAD)


async def test_a_node_that_lags_shows_nothing_above(node: EthereumNode) -> None:
    last = HEAD - DROPPED_BLOCKS
    await node.misbehave("dropped_blocks")
    assert await result(node, "eth_blockNumber") == hex(last)
    assert (await result(node, "eth_getBlockByNumber", "latest", False))["number"] == hex(last)
    assert await result(node, "eth_getBlockByNumber", hex(HEAD), False) is None
    assert await result(node, "eth_getTransactionReceipt", "0x1") is None
    assert [int(log["blockNumber"], 16) for log in await result(node, "eth_getLogs", {})] == [HEAD - 10]
    assert await result(node, "eth_call", {}, "latest") == hex(last)
    node.behave()
    assert (await result(node, "eth_getBlockByNumber", hex(HEAD), False))["number"] == hex(HEAD)


async def test_a_node_lies_about_chain_and_events(node: EthereumNode) -> None:
    query = {"toBlock": hex(HEAD), "topics": [[BURN_TOPIC]]}
    await node.misbehave("wrong_chain")
    assert await result(node, "eth_chainId") == "0x1"
    await node.misbehave("hidden_events")
    assert await result(node, "eth_getLogs", query) == []
    await node.misbehave("duplicated_events")
    assert len(await result(node, "eth_getLogs", query)) == 4
    await node.misbehave("forged_event")
    *_, forged = await result(node, "eth_getLogs", query)
    assert (forged["transactionHash"], forged["address"], forged["blockNumber"]) == (FORGED_TX, TOKEN, hex(HEAD))
    assert len(await result(node, "eth_getLogs", {**query, "topics": [["0x00"]]})) == 2
    node.behave()
    assert len(await result(node, "eth_getLogs", query)) == 2


# --- clocks --------------------------------------------------------------------------------------------------------


async def test_the_clock_of_a_process_jumps_and_its_monotonic_one_does_not(tmp_path: Path) -> None:
    clock = tmp_path / "clock"
    clock.write_text("0")
    code = (
        "import sys, time\nfrom datetime import UTC, datetime\nfrom loguru import logger\n"
        "class Own(datetime): pass\nassert type(Own(2026, 1, 1)) is Own and not isinstance(datetime.now(UTC), Own)\n"
        "logger.remove()\nlogger.add(sys.stdout, format='{time:YYYY}')\nlogger.info('')\n"
        "for _ in sys.stdin:\n"
        "  time.sleep(0.2)\n"
        "  said = datetime.now(UTC)\n"
        "  print(time.time(), said.timestamp(), time.monotonic(), isinstance(said, datetime), flush=True)\n"
    )
    environment = {**os.environ, "CHAOS_CLOCK": str(clock), "PYTHONPATH": str(Path(__file__).with_name("shifted"))}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, env=environment
    )
    assert process.stdin is not None
    assert process.stdout is not None

    async def look() -> tuple[float, float, float]:
        process.stdin.write(b"\n")
        async with asyncio.timeout(BOUND):
            *times, real = (await process.stdout.readline()).decode().split()
        assert real == "True"
        return float(times[0]), float(times[1]), float(times[2])

    year = (await process.stdout.readline()).decode().strip()
    assert year.isdigit(), year
    wall, shown, monotonic = await look()
    clock.write_text("-86400")
    later, shown_later, monotonic_later = await look()
    process.stdin.close()
    await process.wait()
    assert abs(wall - shown) < BOUND
    assert abs((later - wall) - (monotonic_later - monotonic) + 86400) < BOUND
    assert abs((shown_later - shown) - (later - wall)) < BOUND


async def test_a_restarted_pocket_node_loses_what_waits_and_refuses_until_its_first_block() -> None:
    sender, other = Wallet.from_seed("sender"), Wallet.from_seed("other")
    async with PocketNode(Genesis(balances={sender.address: 10**9})) as node:
        world: Any = SimpleNamespace(net=SimpleNamespace(pocket=node))
        node.submit(sender.send(other.address, 1))
        fault = kinds.PocketRestart(kind="pocket_restart", at=0, seconds=0.05)
        playing = asyncio.create_task(Storms(world, Random(1), lambda _: None).play([fault]))
        async with asyncio.timeout(BOUND):
            while not node.dump()["misbehaviours"] or node.running:  # noqa: ASYNC110 - until it is killed
                await asyncio.sleep(0)
            while not node.running:  # noqa: ASYNC110 - and is there again
                await asyncio.sleep(0.01)
        assert node.dump()["mempool"] == []
        rejection = node.submit(sender.send(other.address, 2)).rejection
        assert rejection is not None
        assert rejection.code == 4
        assert not playing.done(), "the fault lasts until its first new block"
        node.step()
        await playing
        assert node.dump()["misbehaviours"] == []
        assert node.submit(sender.send(other.address, 2)).rejection is None


@pytest.mark.parametrize("stopped", [False, True])
async def test_people_begin_nothing_that_they_are_told_to_leave(stopped: bool) -> None:
    """A coroutine that was made and is never awaited would be warned of."""
    people = People(SimpleNamespace(), Random(1), Requests(deposits=1, bad_deposits=1, burns=0), lambda _: None)
    begun: list[bool] = []

    async def work() -> None:
        begun.append(True)

    task = asyncio.create_task(people._tried("mint", work))
    if stopped:
        task.cancel()
    await asyncio.wait({task})
    assert (task.cancelled(), begun) == (stopped, [True] * (not stopped))


async def test_people_send_again_what_a_node_has_lost() -> None:
    """Nothing that they count on is missing on the chain in the end, and nothing is there twice."""
    sender = Wallet.from_seed("sender")
    async with PocketNode(Genesis(balances={sender.address: 10**9})) as node:
        vault = "aa" * 20
        net: Any = SimpleNamespace(pocket=node, bridge=SimpleNamespace(vault=vault))
        user: Any = SimpleNamespace(identity=SimpleNamespace(pocket=sender))
        people = People(net, Random(1), Requests(deposits=1, bad_deposits=1, burns=0), lambda _: None)
        sent = people._pay(user, 5, "memo")
        assert people._send_again() == 1, "it waits, and is sent again without harm"
        node.chain.mempool.clear()
        node.step()
        assert node.find(sent) is None
        assert people._send_again() == 1
        node.step()
        assert people._send_again() == 0
        assert len(node.dump()["mempool"]) == 0
        assert node.balance(vault) == 5
