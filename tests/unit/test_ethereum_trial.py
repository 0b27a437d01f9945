"""`check` asks each Ethereum endpoint for each call that the client makes, and names the endpoint and what it lacks."""

from __future__ import annotations

from collections.abc import Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from reactor.chains.errors import ChainError
from reactor.chains.ethereum import Finality
from reactor.chains.ethereum.span import Span
from reactor.chains.ethereum.types import CallTrial
from reactor.preflight.ethereum import check_calls
from tests.unit.ethereum_node import Node, blocks_asked, burn_log, chain_of

pytestmark = pytest.mark.unit

SPAN = Span(blocks=1000, most=2000)
METHODS = ["eth_getBlockByHash", "eth_getLogs", "eth_getTransactionReceipt", "eth_call"]


def lacking(method: str) -> Node:
    refusal = {"code": -32601, "message": f"the method {method} does not exist"}
    return Node(5000, [burn_log(4500)], lambda asked, params: refusal if asked == method else None)


def settings(agreement: int = 1) -> Any:
    return SimpleNamespace(ethereum=SimpleNamespace(start_block=1, agreement=agreement))


async def test_a_good_endpoint_lacks_nothing_and_is_asked_for_all() -> None:
    node = Node(5000, [burn_log(4500)])
    async with chain_of(node, span=SPAN, finality=Finality("safe")) as chain:
        found = await chain.try_calls(1)
        assert found == {"http://n0": CallTrial("http://n0", {}, 2000)}
        made = set(node.calls)
        # Whatever else the client does, it makes no other call.
        await chain.view()
        await chain.window(1, 90)
        await chain.receipt_events(node.logs[0]["transactionHash"])
        await chain.facts()
        assert set(node.calls) == made
        (result,) = await check_calls(chain, settings())
        assert (result.ok, result.name) == (True, "Ethereum calls")
        assert "logs of 2000 blocks" in result.detail
    windows = {(params[0]["fromBlock"], params[0]["toBlock"]) for method, params in node.asked if method == "eth_getLogs"}
    assert {(hex(1), hex(2000)), (hex(3001), hex(5000))} <= windows


@pytest.mark.parametrize("method", METHODS)
@pytest.mark.parametrize(
    ("others", "agreement", "level"), [(0, 1, "error"), (1, 1, "warning"), (1, 2, "error"), (2, 2, "warning")]
)
async def test_what_an_endpoint_lacks_is_named_with_it(method: str, others: int, agreement: int, level: str) -> None:
    async with chain_of(lacking(method), *(Node(5000) for _ in range(others)), span=SPAN, agreement=agreement) as chain:
        results = await check_calls(chain, settings(agreement))
    assert results
    for result in results:
        assert (result.ok, result.level) == (False, level)
        assert f"http://n0 does not answer {method}" in result.detail


async def test_a_limit_of_blocks_is_no_fault_and_told() -> None:
    def limited(method: str, params: Sequence[Any]) -> dict[str, Any] | None:
        over = method == "eth_getLogs" and blocks_asked(params) > 500
        return {"code": 35, "message": "ranges over 500 blocks are not supported on freetier"} if over else None

    async with chain_of(Node(5000, refuse=limited), Node(5000), span=SPAN) as chain:
        (result,) = await check_calls(chain, settings())
        assert result.ok
        assert "logs of 500 to 2000 blocks" in result.detail


async def test_old_state_or_logs_that_are_gone_are_found() -> None:
    def pruned(method: str, params: Sequence[Any]) -> dict[str, Any] | None:
        old = method == "eth_getLogs" and int(params[0]["fromBlock"], 16) < 3000
        return {"code": -32000, "message": "history is pruned"} if old else None

    async with chain_of(Node(5000, refuse=pruned), span=SPAN) as chain:
        (result,) = await check_calls(chain, settings())
        assert (result.ok, result.level) == (False, "error")
        assert "history is pruned" in result.detail


async def test_an_endpoint_without_a_head_is_told_elsewhere() -> None:
    async with chain_of(lacking("eth_getBlockByNumber"), Node(5000), span=SPAN) as chain:
        found = await chain.try_calls(1)
        assert isinstance(found["http://n0"], ChainError)
        assert all(result.ok for result in await check_calls(chain, settings()))


async def test_a_young_chain_is_no_fault() -> None:
    async with chain_of(Node(head=3), span=SPAN, finality=Finality("finalized")) as chain:
        assert (await chain.try_calls(50))["http://n0"] == CallTrial("http://n0", {}, 1)


async def test_an_old_chain_without_final_blocks_is_told() -> None:
    def none(method: str, params: Sequence[Any]) -> dict[str, Any] | None:
        return {"code": -39001, "message": "finalized block not found"} if params and params[0] == "finalized" else None

    async with chain_of(Node(5000, refuse=none), span=SPAN, finality=Finality("finalized")) as chain:
        (result,) = await check_calls(chain, settings())
        assert (result.ok, result.level) == (False, "error")
        assert "does not answer eth_getBlockByNumber of `finalized`" in result.detail
