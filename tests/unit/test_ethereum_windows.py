"""Windows of events: which endpoint reads them, what is believed of them, and what a refusal means."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest

from reactor.chains.errors import NotAgreed, NotFound, RpcRefused, RpcUnavailable
from reactor.chains.ethereum.finality import YOUNG_BLOCKS, Finality
from reactor.chains.ethereum.span import Span
from reactor.chains.rpc import Retries
from tests.unit.ethereum_node import (
    CONTROLLER,
    Node,
    Refusal,
    block_hash,
    block_time,
    blocks_asked,
    burn_log,
    chain_of,
    read_all,
    receipt,
)

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


# ---------------------------------------------------------------------- refusals


def refusing(code: int, message: str, over: int = 0) -> Refusal:
    """Refuses logs of more than so many blocks."""

    def refuse(method: str, params: Sequence[Any]) -> dict[str, Any] | None:
        wanted = method == "eth_getLogs" and blocks_asked(params) > over
        return {"code": code, "message": message} if wanted else None

    return refuse


THROTTLED = [(-32007, "50/second request limit reached"), (-32012, "credits limited to 5000/min"), (15, "Too many request")]


@pytest.mark.parametrize(("code", "message"), THROTTLED)
async def test_throttling_stands_back_and_leaves_the_window(code: int, message: str) -> None:
    node = Node(head=5000)
    asked = iter(range(100))
    node.refuse = lambda method, params: (
        {"code": code, "message": message} if method == "eth_getLogs" and next(asked) < 2 else None
    )
    async with chain_of(node) as chain:
        with pytest.raises(RpcUnavailable, match=r"request|credits"):
            await chain.window(1, 5000)
        assert chain.window_blocks == 2000
        assert chain.problems
        # As soon as the endpoint may be asked again it reads on in windows of the same size.
        for endpoint in chain._nodes.endpoints.all:
            endpoint.closed_until = endpoint.down_until = 0.0
        windows = await read_all(chain, 1, 5000)
        assert len(windows) <= 3
        assert node.calls["eth_getLogs"] <= 5


@pytest.mark.parametrize(("code", "message"), THROTTLED)
async def test_who_throttles_for_good_is_left_for_another_with_a_handful_of_calls(code: int, message: str) -> None:
    tired, other = Node(head=5000, refuse=refusing(code, message)), Node(head=5000, logs=[burn_log(4999)])
    async with chain_of(tired, other) as chain:
        windows = await read_all(chain, 1, 5000)
        assert [burn.block_number for window in windows for burn in window.burns] == [4999]
        assert {window.endpoint for window in windows} == {"http://n1"}
        assert tired.calls["eth_getLogs"] <= 3
        assert any("http://n0" in problem and message in problem for problem in chain.problems)


# Each with the largest window that passes: refusals of real providers, and some that no list could know.
LIMITS = [
    (35, "ranges over 10000 blocks are not supported on freetier", 10_000),
    (-32005, "query returned more than 10000 results", 300),
    (-32602, "please use a smaller one", 10),
    (-32000, "nope", 1),
    (-32601, "the method is not available for this plan", 100),
    (-32600, "", 7),
    (0, "limite dépassée", 999),
    (-32000, "rate of blocks per request", 50),
]


@pytest.mark.parametrize(("code", "message", "over"), LIMITS)
@pytest.mark.parametrize("agreement", [1, 2])
async def test_a_window_that_is_refused_is_tried_smaller_whatever_the_words(
    code: int, message: str, over: int, agreement: int
) -> None:
    head = 40 if over < 10 else 25_000 if over >= 10_000 else 3000
    numbers = sorted({1, head // 2, head})
    nodes = [Node(head, [burn_log(number) for number in numbers], refusing(code, message, over)) for _ in range(agreement)]
    async with chain_of(*nodes, agreement=agreement, span=Span(blocks=20_000, most=20_000)) as chain:
        windows = await read_all(chain, 1, head)
        assert [burn.block_number for window in windows for burn in window.burns] == numbers
        assert max(window.to_block - window.from_block + 1 for window in windows) <= over
        needed = -(-head // over)
        # It is found once and remembered: few refusals, windows of at least half the size that would pass.
        assert nodes[0].calls["eth_getLogs"] <= 2 * needed + 40
        assert not chain.problems


@pytest.mark.parametrize(("code", "message"), [(-32000, "block range not found in our cache"), (-39001, "blockOutOfRange")])
@pytest.mark.parametrize("agreement", [1, 2])
async def test_a_limit_in_words_of_a_block_that_is_not_there_is_no_end(code: int, message: str, agreement: int) -> None:
    nodes = [Node(3000, [burn_log(2999)], refusing(code, message, 60)) for _ in range(agreement)]
    async with chain_of(*nodes, agreement=agreement) as chain:
        windows = await read_all(chain, 1, 3000)
        assert [burn.block_number for window in windows for burn in window.burns] == [2999]
        assert not chain.problems
        # As with other words it is found once and remembered, for the next poll too.
        assert nodes[0].calls["eth_getLogs"] <= 2 * 3000 // 60 + 40
        asked = nodes[0].calls["eth_getLogs"]
        assert len(await read_all(chain, 2401, 3000)) * 2 >= nodes[0].calls["eth_getLogs"] - asked
        assert chain.window_blocks <= 60


@pytest.mark.parametrize("agreement", [1, 2])
async def test_a_backend_that_is_behind_with_its_logs_is_waited_for(agreement: int) -> None:
    """It says "not found" of blocks whose headers another backend shows; what it has is read, and it is not at fault."""

    def behind(method: str, params: Sequence[Any]) -> dict[str, Any] | None:
        late = method == "eth_getLogs" and int(params[0]["toBlock"], 16) > 98
        return {"code": -32000, "message": "block not found"} if late else None

    nodes = [Node(100, [burn_log(95)], behind) for _ in range(agreement)]
    async with chain_of(*nodes, agreement=agreement) as chain:
        windows = [await chain.window(91, 100)]
        while windows[-1].to_block < 98:
            windows.append(await chain.window(windows[-1].to_block + 1, 100))
        assert sum(len(window.burns) for window in windows) == 1
        with pytest.raises(NotFound):
            await chain.window(99, 100)
        assert not chain.problems
        if agreement == 1:
            assert chain.window_blocks == 2000, "it says nothing of the size that it bears"
        for node in nodes:
            node.refuse = lambda method, params: None
        assert (await chain.window(99, 100)).to_block >= 99


@pytest.mark.parametrize("agreement", [1, 2])
@pytest.mark.parametrize("behind", [1, 2, 10**9])
async def test_one_backend_of_several_that_is_behind_makes_no_window_smaller(agreement: int, behind: int) -> None:
    """It answers the first questions for the window, and another one those for a single block; said twice it is a limit."""

    def balanced() -> Node:
        asked: list[int] = []

        def refuse(method: str, params: Sequence[Any]) -> dict[str, Any] | None:
            if method != "eth_getLogs" or blocks_asked(params) <= 600:
                return None
            asked.append(blocks_asked(params))
            return {"code": -32000, "message": "block not found"} if len(asked) <= behind else None

        return Node(1000, [burn_log(995)], refuse)

    nodes = [balanced() for _ in range(agreement)]
    async with chain_of(*nodes, agreement=agreement) as chain:
        window = await chain.window(1, 1000)
        assert (window.to_block, len(window.burns)) == ((1000, 1) if behind == 1 else (500, 0))
        assert chain.window_blocks == (2000 if behind == 1 else 500)
        assert not chain.problems
        # The window, the last block by itself, the window once more; then half of it.
        assert [node.calls["eth_getLogs"] for node in nodes] == [3 if behind == 1 else 4] * agreement


# ---------------------------------------------------------------------- what every chain has


@pytest.mark.parametrize(
    "answer", [None, {"code": -32000, "message": "header not found"}, {"code": -39001, "message": "unknown block"}]
)
async def test_an_endpoint_without_a_latest_block_is_at_fault_and_named(answer: dict[str, Any] | None) -> None:
    empty, good = Node(head=100), Node(head=100)
    if answer is None:
        empty.results["eth_getBlockByNumber"] = None
    else:
        empty.refuse = lambda method, params: answer if method == "eth_getBlockByNumber" else None
    async with chain_of(empty, good) as chain:
        for _ in range(5):
            assert (await chain.view()).endpoint == "http://n1"
        assert empty.calls["eth_getBlockByNumber"] <= 2, "it stands back"
        assert any("http://n0" in problem and "no latest block" in problem for problem in chain.problems)


@pytest.mark.parametrize("tag", ["safe", "finalized"])
@pytest.mark.parametrize("agreement", [1, 2])
async def test_an_old_chain_has_final_blocks_whoever_shows_none(tag: str, agreement: int) -> None:
    """A node that was just started knows none until its consensus client tells it; nothing would ever be final by its word."""

    def none(method: str, params: Sequence[Any]) -> dict[str, Any] | None:
        return {"code": -39001, "message": f"{tag} block not found"} if params and params[0] == tag else None

    nodes = [Node(YOUNG_BLOCKS + 1, refuse=none), Node(YOUNG_BLOCKS + 1), Node(YOUNG_BLOCKS + 1)]
    async with chain_of(*nodes, agreement=agreement, finality=Finality.parse(tag)) as chain:
        final = (await chain.view()).final
        assert final is not None
        assert final.number >= YOUNG_BLOCKS - 15
        assert any("http://n0" in problem and f"no {tag} one" in problem for problem in chain.problems)
    nodes = [Node(YOUNG_BLOCKS, refuse=none) for _ in range(3)]
    async with chain_of(*nodes, agreement=agreement, finality=Finality.parse(tag)) as chain:
        assert (await chain.view()).final is None, "a young chain may have none"
        assert not chain.problems


@pytest.mark.parametrize("tag", ["safe", "finalized"])
async def test_a_final_block_that_rests_while_the_head_moves_is_named_and_another_endpoint_asked(tag: str) -> None:
    resting, good = Node(5000), Node(5000)
    resting.tags = {tag: 5000 - YOUNG_BLOCKS - 1}
    async with chain_of(resting, good, finality=Finality.parse(tag)) as chain:
        await chain.view()
        view = await chain.view()
        assert (view.endpoint, view.final is not None and view.final.number >= 4984) == ("http://n1", True)
        assert [problem for problem in chain.problems if "http://n0" in problem and f"its {tag} block 3975" in problem]
        resting.tags = {tag: 5000 - YOUNG_BLOCKS}
        await chain._nodes.ask_all(lambda endpoint: chain._final(endpoint, view.head))
        assert not chain.problems
        assert (await chain.view()).endpoint == "http://n0"
    resting.tags = {tag: 10}
    async with chain_of(resting, finality=Finality.parse(tag)) as chain:
        assert (await chain.view()).final is not None, "alone it is believed, and named"
        assert len(chain.problems) == 1


async def test_words_that_look_like_throttling_do_not_stop_a_window_for_good() -> None:
    node = Node(3000, [burn_log(2999)], refusing(-32000, "limit of 100 blocks; requests per second are free", 100))
    async with chain_of(node, retries=Retries(rounds=1, backoff=0.001, cool_down=0.001, probes=1000)) as chain:
        failed = 0
        while (window := await _or_none(chain.window(1, 3000))) is None:
            failed += 1
            assert failed < 5
            for endpoint in chain._nodes.endpoints.all:
                endpoint.closed_until = 0.0
        assert window.to_block <= 100
        assert failed == 2, "twice it is believed"


async def _or_none(window: Any) -> Any:
    try:
        return await window
    except RpcUnavailable:
        return None


@pytest.mark.parametrize(
    ("code", "message"), [(-32601, "the method eth_getLogs does not exist"), (-32000, "?"), (-32005, "limit exceeded")]
)
async def test_who_refuses_a_single_block_is_at_fault_and_named(code: int, message: str) -> None:
    bad = Node(5000, refuse=refusing(code, message))
    async with chain_of(bad) as chain:
        with pytest.raises(RpcRefused, match="refuses the logs of a single block"):
            await chain.window(1, 5000)
        assert chain.window_blocks == 2000
    good = Node(5000, [burn_log(77)])
    async with chain_of(bad, good) as chain:
        bad.calls.clear()
        windows = await read_all(chain, 1, 5000)
        assert [burn.block_number for window in windows for burn in window.burns] == [77]
        assert bad.calls["eth_getLogs"] == 2, "asked for a window and for a block, then not again for a minute"
        assert any("http://n0" in one and "eth_getLogs" in one and "single block" in one for one in chain.problems)


async def test_each_endpoint_keeps_its_own_size() -> None:
    small, large = Node(9000, refuse=refusing(-32602, "too wide", 10)), Node(9000)
    async with chain_of(small, large) as chain:
        assert (await chain.window(1, 9000)).to_block <= 10
        assert (await chain.window(1, 9000, apart_from="http://n0")).to_block == 2000
        assert chain.window_blocks <= 10


async def test_a_window_whose_answer_is_too_late_is_smaller_next_time() -> None:
    late = iter([True])
    node = Node(5000)
    node.refuse = lambda method, params: (
        RpcUnavailable("no answer in 10 s") if method == "eth_getLogs" and next(late, False) else None
    )
    async with chain_of(node) as chain:
        assert (await chain.window(1, 5000)).to_block == 1000


# ---------------------------------------------------------------------- what is believed


@pytest.mark.parametrize("stamp", ["0x0", "0xffff", "soon", 5, None])
async def test_a_time_that_comes_with_a_log_is_not_believed(stamp: object) -> None:
    node = Node(logs=[burn_log(5, blockTimestamp=stamp), burn_log(5, 1, blockTimestamp="0x1"), burn_log(9)])
    async with chain_of(node) as chain:
        window = await chain.window(1, 9)
        assert [burn.block_time for burn in window.burns] == [block_time(5), block_time(5), block_time(9)]
        assert node.calls["eth_getBlockByHash"] == 1, "one for block 5; of block 9 it has the header already"
        await chain.window(1, 9)
        found = await chain.receipt_events(node.logs[0]["transactionHash"])
        assert (found.block_time, found.burns[0].block_time) == (block_time(5), block_time(5))
        assert node.calls["eth_getBlockByHash"] == 1


ADDED: list[dict[str, Any]] = [
    {"blockTimestamp": "0x0"},
    {"removed": None},
    {"removed": "no"},
    {"logType": 1},
    {"data": "0x"},
    {"transactionIndex": "0x99"},
]


@pytest.mark.parametrize("added", ADDED)
async def test_endpoints_agree_whatever_fields_they_add(added: dict[str, Any]) -> None:
    first, second = Node(logs=[burn_log(5)]), Node(logs=[burn_log(5, **added)])
    second.results["eth_getTransactionReceipt"] = receipt(second.logs, effectiveGasPrice="?", type=None, logsBloom=7)
    async with chain_of(first, second, agreement=2) as chain:
        assert len((await chain.window(1, 9)).burns) == 1
        assert (await chain.receipt_events(first.logs[0]["transactionHash"])).succeeded
        assert chain.problems == []


DIFFERENT: list[dict[str, Any]] = [
    {"topics": burn_log(5, amount=6)["topics"]},
    {"blockHash": block_hash(6)},
    {"transactionHash": "0x" + "12" * 32},
    {"logIndex": "0x9"},
    {"address": CONTROLLER},
]


@pytest.mark.parametrize("changed", DIFFERENT)
async def test_endpoints_disagree_in_what_the_protocol_defines(changed: dict[str, Any]) -> None:
    first, second = Node(logs=[burn_log(5)]), Node(logs=[burn_log(5, **changed)])
    async with chain_of(first, second, agreement=2) as chain:
        with pytest.raises(NotAgreed):
            await chain.window(1, 9)


@pytest.mark.parametrize("wrong", [{"removed": True}, {"blockNumber": "0x6"}, {"blockHash": block_hash(6)}])
async def test_a_log_that_contradicts_itself_or_its_block_is_the_endpoints_fault(wrong: dict[str, Any]) -> None:
    bad, good = Node(logs=[burn_log(5, **wrong)]), Node(logs=[burn_log(5)])
    async with chain_of(bad, good) as chain:
        window = await chain.window(1, 9)
        assert (window.endpoint, len(window.burns)) == ("http://n1", 1)
        assert any("http://n0" in problem for problem in chain.problems)


@pytest.mark.parametrize("wrong", [{"blockNumber": "0x6"}, {"blockHash": block_hash(6)}, {"status": "0x2"}])
async def test_a_receipt_that_contradicts_its_block_is_the_endpoints_fault(wrong: dict[str, Any]) -> None:
    bad, good = Node(logs=[burn_log(5)]), Node(logs=[burn_log(5)])
    bad.results["eth_getTransactionReceipt"] = receipt([burn_log(5)]) | {"logs": []} | wrong
    async with chain_of(bad, good) as chain:
        found = await chain.receipt_events(burn_log(5)["transactionHash"])
        assert (found.block_number, len(found.burns)) == (5, 1)
        assert any("http://n0" in problem for problem in chain.problems)
