"""Nodes that lie, lag, refuse, hang, or are something else altogether: typed errors alone, fail-over with a good one."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator
from typing import Any

import pytest
from aiohttp import web
from ethereum_helpers import USER, Answer, Bridge, error, read_all, result, running_bridge, running_proxy, until

from infra.localnet.anvil import Anvil
from reactor.chains.errors import ChainError, MalformedAnswer, NotFound, RpcRefused, RpcUnavailable, WrongChain
from reactor.chains.ethereum import provider
from reactor.chains.ethereum.span import Span

pytestmark = pytest.mark.integration

POCKET = "bb" * 20


@pytest.fixture
async def bridge() -> AsyncIterator[Bridge]:
    async with running_bridge() as running:
        await running.mint(USER, 1000, 1)
        for amount in (1, 2, 3):
            await running.burn(amount, POCKET)
            await running.anvil.mine(4)
        yield running


def _text(body: str, status: int = 200, kind: str = "text/html") -> web.Response:
    return web.Response(text=body, status=status, content_type=kind)


BAD_ANSWERS = {
    "HTML": (lambda: _text("<html><body>Welcome</body></html>"), MalformedAnswer),
    "HTML 502": (lambda: _text("<html>bad gateway</html>", 502), RpcUnavailable),
    "HTTP 429": (lambda: _text("slow down", 429), RpcUnavailable),
    "a date that no calendar has": (
        lambda: web.Response(status=503, headers={"Retry-After": "Mon, 01 Jan 9999999999 00:00:00 GMT"}),
        RpcUnavailable,
    ),
    "HTTP 401": (lambda: _text("who are you", 401), RpcRefused),
    "redirect": (lambda: web.Response(status=302, headers={"Location": "http://127.0.0.1:9/"}), RpcRefused),
    "empty": (lambda: _text(""), MalformedAnswer),
    "blank": (lambda: _text(" \n"), MalformedAnswer),
    "cut": (lambda: _text('{"jsonrpc": "2.0", "id": 1, "resu', kind="application/json"), MalformedAnswer),
    "not UTF-8": (lambda: web.Response(body=b'{"result": "\xff\xfe"}'), MalformedAnswer),
    "deep": (lambda: _text("[" * 200_000, kind="application/json"), MalformedAnswer),
    "list": (lambda: _text("[]", kind="application/json"), MalformedAnswer),
    "no result": (lambda: _text('{"jsonrpc": "2.0", "id": 1}', kind="application/json"), MalformedAnswer),
    "throttled": (lambda: error(-32005, "daily request count exceeded, request rate limited"), RpcUnavailable),
    "HTTP 400 with an error": (lambda: error(-32602, "invalid argument", 400), RpcRefused),
    "error that is a text": (lambda: _text('{"error": "no"}', kind="application/json"), MalformedAnswer),
    "HTTP 404": (lambda: _text("default backend - 404", 404), RpcRefused),
    "HTTP 403 with an error": (lambda: error(-32000, "project is disabled", 403), RpcRefused),
    "another version": (lambda: web.json_response({"jsonrpc": "1.0", "id": 1, "result": None}), MalformedAnswer),
    "another request": (lambda: web.json_response({"jsonrpc": "2.0", "id": 10**9, "result": None}), MalformedAnswer),
    "no JSON-RPC": (lambda: web.json_response({"status": "ok", "result": {}}), MalformedAnswer),
    "null for the latest block": (lambda: result(None), RpcRefused),
    "block without a hash": (lambda: result({"number": "0x1", "timestamp": "0x1"}), MalformedAnswer),
    "block that is a text": (lambda: result("0x1"), MalformedAnswer),
}


@pytest.mark.parametrize("name", BAD_ANSWERS)
async def test_a_bad_answer_is_typed_and_names_the_endpoint_and_another_endpoint_helps(bridge: Bridge, name: str) -> None:
    make, expected = BAD_ANSWERS[name]

    def fault(method: str, params: list[Any]) -> Answer:
        return make() if method == "eth_getBlockByNumber" else None

    async with running_proxy(bridge.anvil.url, fault) as bad:
        async with bridge.chain(bad.url) as chain:
            with pytest.raises(expected) as raised:
                await chain.head()
            assert raised.value.method == "eth_getBlockByNumber"
            assert raised.value.endpoint == f"http://127.0.0.1:{bad.port}"
            assert "secret-key" not in repr(raised.value) + str(raised.value)
            outcome = next(iter((await chain.check_endpoints()).values()))
            assert isinstance(outcome, expected)
        async with bridge.chain(bad.url, bridge.anvil.url) as chain:
            assert (await chain.head()).number == await bridge.anvil.block_number()


async def test_a_node_that_is_not_there(bridge: Bridge) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{closed.getsockname()[1]}/v3/secret-key"
        async with bridge.chain(url) as chain:
            with pytest.raises(RpcUnavailable) as raised:
                await chain.head()
            assert "secret-key" not in str(raised.value)
        async with bridge.chain(url, bridge.anvil.url) as chain:
            assert (await chain.head()).number == await bridge.anvil.block_number()


async def test_a_node_that_hangs(bridge: Bridge) -> None:
    released = asyncio.Event()

    async def fault(method: str, params: list[Any]) -> Answer:
        await released.wait()
        return None

    async with running_proxy(bridge.anvil.url, fault) as bad:
        async with bridge.chain(bad.url, seconds=0.1) as chain, asyncio.timeout(60):
            with pytest.raises(RpcUnavailable, match=r"no answer in 0\.1 s"):
                await chain.head()
        async with bridge.chain(bad.url, bridge.anvil.url, seconds=2.0) as chain:
            assert (await chain.head()).number == await bridge.anvil.block_number()
        released.set()


async def test_an_answer_without_end_is_cut(bridge: Bridge, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(provider, "ANSWER_LIMIT", 100_000)

    most = 2

    def fault(method: str, params: list[Any]) -> Answer:
        endless = method == "eth_getLogs" and int(params[0]["toBlock"], 16) - int(params[0]["fromBlock"], 16) >= most
        return _text(json.dumps({"result": "x" * 200_000})) if endless else None

    async with running_proxy(bridge.anvil.url, fault) as bad, bridge.chain(bad.url) as chain:
        assert (await chain.window(0, 7)).to_block == 1
        most = 0
        with pytest.raises(RpcRefused, match="single block: response size exceeds"):
            await chain.window(0, 7)
        assert (await chain.head()).number == await bridge.anvil.block_number()


async def test_a_node_on_another_chain_is_never_used(bridge: Bridge) -> None:
    async with Anvil(chain_id=5) as foreign:
        await foreign.mine(100)
        async with bridge.chain(foreign.url) as chain:
            with pytest.raises(WrongChain, match="serves chain 5, the configured chain is 31337"):
                await chain.head()
        async with bridge.chain(foreign.url, bridge.anvil.url) as chain:
            view = await chain.view()
            assert view.endpoint == bridge.anvil.url
            assert (await chain.window(0, view.head.number)).endpoint == bridge.anvil.url
            outcomes = list((await chain.check_endpoints()).values())
            assert isinstance(outcomes[0], WrongChain)
            assert outcomes[1] == view.head


async def test_an_endpoint_that_changes_its_chain_after_an_outage_is_found_out(bridge: Bridge) -> None:
    answers: dict[str, Answer] = {}

    def fault(method: str, params: list[Any]) -> Answer:
        return answers.get(method)

    async with running_proxy(bridge.anvil.url, fault) as proxy, bridge.chain(proxy.url) as chain:
        await chain.head()
        answers["eth_getBlockByNumber"] = _text("", 503)
        with pytest.raises(RpcUnavailable):
            await chain.head()
        answers.clear()
        answers["eth_chainId"] = result("0x1")
        with pytest.raises(WrongChain):
            await chain.head()


async def test_a_lagging_node_does_not_hide_events(bridge: Bridge) -> None:
    head = await bridge.anvil.block_number()
    lag = head - 6

    def fault(method: str, params: list[Any]) -> Answer:
        # As real nodes do: no such header, and of the logs only those it knows, without an error.
        if method == "eth_getBlockByNumber" and params[0].startswith("0x") and int(params[0], 16) > lag:
            return result(None)
        return result([]) if method == "eth_getLogs" else None

    async with running_proxy(bridge.anvil.url, fault) as lagging:
        async with bridge.chain(lagging.url) as chain:
            with pytest.raises(NotFound):
                await chain.window(0, head)
        async with bridge.chain(lagging.url, bridge.anvil.url) as chain:
            window = await chain.window(0, head)
            assert window.endpoint == bridge.anvil.url
            assert [burn.amount for burn in window.burns] == [1, 2, 3]


@pytest.mark.parametrize(
    ("code", "message", "status"),
    [
        (-32005, "query returned more than 10000 results", 200),
        (-32602, "block range too large, at most 10 blocks", 200),
        (-32600, "You can make eth_getLogs requests with up to a 10 block range. Log response size exceeded.", 400),
        (-32000, "exceed maximum block range: 10", 200),
        (-32002, "request timed out", 200),
        (-32614, "eth_getLogs is limited to a 10 range", 413),
        (-32005, "", 413),
    ],
)
async def test_a_node_that_limits_the_range(bridge: Bridge, code: int, message: str, status: int) -> None:
    refused: list[int] = []

    def fault(method: str, params: list[Any]) -> Answer:
        if method != "eth_getLogs":
            return None
        blocks = int(params[0]["toBlock"], 16) - int(params[0]["fromBlock"], 16) + 1
        if blocks > 10:
            refused.append(blocks)
            return error(code, message, status)
        return None

    await bridge.anvil.mine(150)
    await bridge.burn(4, POCKET)
    head = await bridge.anvil.block_number()
    async with running_proxy(bridge.anvil.url, fault) as limited, bridge.chain(limited.url) as chain:
        windows = await read_all(chain, 0, head)
        assert [burn.amount for window in windows for burn in window.burns] == [1, 2, 3, 4]
        assert max(window.to_block - window.from_block + 1 for window in windows) <= 10
        # The limit is found once and remembered: refusals stay few.
        assert 1 <= len(refused) <= 7
        assert not chain.failures


async def test_a_node_that_refuses_every_range(bridge: Bridge) -> None:
    def fault(method: str, params: list[Any]) -> Answer:
        return error(-32005, "query returned more than 10000 results") if method == "eth_getLogs" else None

    async with running_proxy(bridge.anvil.url, fault) as bad:
        async with bridge.chain(bad.url) as chain:
            with pytest.raises(RpcRefused, match="refuses the logs of a single block"):
                await chain.window(0, 5)
            assert chain.window_blocks == 1000
        async with bridge.chain(bad.url, bridge.anvil.url, span=Span(blocks=4)) as chain:
            windows = await read_all(chain, 0, await bridge.anvil.block_number())
            assert [burn.amount for window in windows for burn in window.burns] == [1, 2, 3]


def _log_changes(**changes: Any) -> Any:
    def change(logs: list[dict[str, Any]]) -> list[dict[str, Any]]:
        return [{**log, **changes} for log in logs]

    return change


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("foreign contract", _log_changes(address="0x" + "66" * 20)),
        ("other block", _log_changes(blockNumber="0xffff")),
        ("no topics", _log_changes(topics=None)),
        ("not a list", lambda logs: {"logs": logs}),
    ],
)
async def test_logs_that_were_not_asked_for_are_refused(bridge: Bridge, name: str, change: Any) -> None:
    proxies: list[Any] = []

    async def fault(method: str, params: list[Any]) -> Answer:
        if method != "eth_getLogs":
            return None
        return result(change((await proxies[0].forward(method, params))["result"]))

    head = await bridge.anvil.block_number()
    async with running_proxy(bridge.anvil.url, fault) as bad:
        proxies.append(bad)
        async with bridge.chain(bad.url) as chain:
            with pytest.raises(MalformedAnswer, match="eth_getLogs"):
                await chain.window(0, head)
        async with bridge.chain(bad.url, bridge.anvil.url) as chain:
            assert len((await chain.window(0, head)).burns) == 3


@pytest.mark.parametrize(
    "changes",
    [
        {"transactionHash": "0x" + "12" * 32},
        {"blockHash": "0x" + "12" * 32},
        {"status": "0x0"},
        {"status": "0x2"},
        {"status": None},
        {"logs": None},
    ],
)
async def test_a_receipt_that_does_not_hold_together_is_refused(bridge: Bridge, changes: dict[str, Any]) -> None:
    burn = await bridge.burn(9, POCKET)
    proxies: list[Any] = []

    async def fault(method: str, params: list[Any]) -> Answer:
        if method != "eth_getTransactionReceipt":
            return None
        return result({**(await proxies[0].forward(method, params))["result"], **changes})

    async with running_proxy(bridge.anvil.url, fault) as bad:
        proxies.append(bad)
        async with bridge.chain(bad.url) as chain:
            with pytest.raises(MalformedAnswer, match="eth_getTransactionReceipt"):
                await chain.receipt_events(burn["transactionHash"])
        async with bridge.chain(bad.url, bridge.anvil.url) as chain:
            assert [event.amount for event in (await chain.receipt_events(burn["transactionHash"])).burns] == [9]


async def test_a_block_that_was_not_asked_for_is_refused(bridge: Bridge) -> None:
    block = await bridge.anvil.rpc("eth_getBlockByNumber", "0x1", False)

    def fault(method: str, params: list[Any]) -> Answer:
        return result(block) if method.startswith("eth_getBlockBy") and params[0] != "latest" else None

    async with running_proxy(bridge.anvil.url, fault) as bad, bridge.chain(bad.url) as chain:
        assert (await chain.header(1)).hash == block["hash"]
        for wanted in (2, "0x" + "12" * 32):
            with pytest.raises(MalformedAnswer, match="asked for"):
                await chain.header(wanted)


async def test_block_times_come_from_headers_where_logs_have_none(bridge: Bridge) -> None:
    proxies: list[Any] = []

    async def fault(method: str, params: list[Any]) -> Answer:
        if method != "eth_getLogs":
            return None
        logs = (await proxies[0].forward(method, params))["result"]
        return result([{key: value for key, value in log.items() if key != "blockTimestamp"} for log in logs])

    head = await bridge.anvil.block_number()
    async with running_proxy(bridge.anvil.url, fault) as plain:
        proxies.append(plain)
        async with bridge.chain(plain.url) as chain, bridge.chain() as reference:
            assert (await chain.window(0, head)).burns == (await reference.window(0, head)).burns
            once = chain.calls["eth_getBlockByHash"]
            assert once > 0
            await chain.window(0, head)
            assert chain.calls["eth_getBlockByHash"] == once
            assert reference.calls["eth_getBlockByHash"] == once, "a time that comes with a log is not believed"


async def test_a_reorganisation_in_the_middle_of_a_window_is_noticed(bridge: Bridge) -> None:
    head = await bridge.anvil.block_number()
    reorganisations = [True]

    async def fault(method: str, params: list[Any]) -> Answer:
        if method == "eth_getLogs" and reorganisations:
            reorganisations.pop()
            stale = await proxies[0].forward(method, params)
            await bridge.anvil.reorg(head)
            return web.json_response(stale)
        return None

    proxies: list[Any] = []
    async with running_proxy(bridge.anvil.url, fault) as proxy, bridge.chain(proxy.url) as chain:
        proxies.append(proxy)
        window = await chain.window(1, head)
        assert proxy.calls.count("eth_getLogs") == 2
        assert window.burns == ()
        assert window.last_header == await chain.head()


async def test_a_chain_that_never_stands_still_gives_no_window(bridge: Bridge) -> None:
    head = await bridge.anvil.block_number()

    async def fault(method: str, params: list[Any]) -> Answer:
        if method == "eth_getLogs":
            await bridge.anvil.reorg(1)
        return None

    async with running_proxy(bridge.anvil.url, fault) as proxy, bridge.chain(proxy.url) as chain:
        with pytest.raises(RpcUnavailable, match="changes under the window"):
            await chain.window(1, head)


async def test_heads_go_on_through_an_outage_and_on_another_endpoint(bridge: Bridge) -> None:
    down = False

    def fault(method: str, params: list[Any]) -> Answer:
        return _text("", 503) if down else None

    async with running_proxy(bridge.anvil.url, fault) as proxy, asyncio.timeout(60):
        async with bridge.chain(proxy.url) as chain:
            heads = chain.heads(interval=0.01)
            first = await anext(heads)
            down = True
            following = asyncio.ensure_future(anext(heads))
            await until(lambda: asyncio.sleep(0, sum(chain.failures.values()) > 4))
            await bridge.anvil.mine(1)
            assert not following.done()
            down = False
            assert (await following).head.number == first.head.number + 1
            await heads.aclose()
        async with bridge.chain(proxy.url, bridge.anvil.url) as chain:
            heads = chain.heads(interval=0.01)
            assert (await anext(heads)).endpoint == f"http://127.0.0.1:{proxy.port}"
            down = True
            await bridge.anvil.mine(1)
            view = await anext(heads)
            assert (view.head.number, view.endpoint) == (first.head.number + 2, bridge.anvil.url)
            await heads.aclose()


async def test_a_node_whose_head_stands_still_gives_way(bridge: Bridge) -> None:
    frozen = await bridge.anvil.rpc("eth_getBlockByNumber", "latest", False)

    def fault(method: str, params: list[Any]) -> Answer:
        return result(frozen) if method == "eth_getBlockByNumber" and params[0] == "latest" else None

    async with asyncio.timeout(60), running_proxy(bridge.anvil.url, fault) as stuck:
        urls = (stuck.url, bridge.anvil.url)
        async with bridge.chain(*urls) as chain:
            heads = chain.heads(interval=0.01, stall_seconds=0.2)
            first = await anext(heads)
            assert first.head.number == int(frozen["number"], 16)
            await bridge.anvil.mine(20)
            second = await anext(heads)
            assert (second.head.number, second.endpoint) == (first.head.number + 20, bridge.anvil.url)
            await heads.aclose()


async def test_agreement_counts_only_endpoints_that_show_the_block(bridge: Bridge) -> None:
    block = await bridge.anvil.rpc("eth_getBlockByNumber", "0x2", False)

    def fault(method: str, params: list[Any]) -> Answer:
        return result({**block, "hash": "0x" + "12" * 32}) if method == "eth_getBlockByNumber" else None

    async with running_proxy(bridge.anvil.url, fault) as liar:
        urls = (liar.url, bridge.anvil.url, bridge.anvil.url)
        async with bridge.chain(*urls) as chain:
            assert await chain.agreeing(2, block["hash"]) == 2
            assert await chain.agreeing(2, "0x" + "12" * 32) == 1
            assert await chain.agreeing(10**6, block["hash"]) == 0


async def test_errors_of_facts_are_chain_errors(bridge: Bridge) -> None:
    def fault(method: str, params: list[Any]) -> Answer:
        return result("0x1234") if method == "eth_call" and params[0]["data"] != "0x84b0196e" else None

    async with running_proxy(bridge.anvil.url, fault) as bad:
        async with bridge.chain(bad.url) as chain:
            with pytest.raises(ChainError) as raised:
                await chain.facts()
            assert isinstance(raised.value, MalformedAnswer)
        async with bridge.chain(bad.url, bridge.anvil.url) as chain:
            assert (await chain.facts()).threshold == 2
