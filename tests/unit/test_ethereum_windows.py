"""Windows of events: which endpoint reads them, what is believed of them, and what a refusal means."""

from __future__ import annotations

import pytest

from tests.unit.ethereum_node import Node, burn_log, chain_of

pytestmark = pytest.mark.unit


async def test_a_second_reading_asks_another_endpoint_than_the_first() -> None:
    first, second = Node(logs=[]), Node(logs=[burn_log(5)])
    async with chain_of(first, second) as chain:
        window = await chain.window(1, 9)
        assert (window.endpoint, window.burns) == ("http://n0", ())
        again = await chain.window(1, 9, apart_from=window.endpoint)
        assert (again.endpoint, [burn.block_number for burn in again.burns]) == ("http://n1", [5])
        second.head = 3
        assert (await chain.window(1, 9, apart_from=window.endpoint)).endpoint == "http://n0", "nobody else can answer"


@pytest.mark.parametrize("apart_from", ["", "http://n0", "http://n2", "unknown"])
async def test_with_agreement_the_others_are_asked_first(apart_from: str) -> None:
    nodes = [Node(logs=[burn_log(5)]) for _ in range(3)]
    async with chain_of(*nodes, agreement=2) as chain:
        assert len((await chain.window(1, 9, apart_from=apart_from)).burns) == 1
        spared = {"": 2, "http://n0": 0}.get(apart_from, 2)
        assert [node.calls["eth_getLogs"] > 0 for node in nodes] == [number != spared for number in range(3)]
