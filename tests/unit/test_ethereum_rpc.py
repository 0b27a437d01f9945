"""The list of endpoints, the shared reads, the span and the labels, without a network and without waiting."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest
import stamina

from reactor.chains.cache import SharedReads
from reactor.chains.errors import (
    ChainError,
    MalformedAnswer,
    NotFound,
    RpcRefused,
    RpcUnavailable,
    WrongChain,
    endpoint_label,
)
from reactor.chains.ethereum.finality import Finality
from reactor.chains.ethereum.span import Span
from reactor.chains.rpc import Endpoint, Endpoints, Retries

pytestmark = pytest.mark.unit


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


@pytest.fixture
def pauses() -> Iterator[list[float]]:
    """The pauses between rounds, as they are decided."""
    before = stamina.instrumentation.get_on_retry_hooks()
    seen: list[float] = []
    stamina.instrumentation.set_on_retry_hooks([lambda details: seen.append(details.wait_for)])
    yield seen
    stamina.instrumentation.set_on_retry_hooks(before)


class Script:
    """Each endpoint's answers in turn, the last one for ever; an exception is raised."""

    def __init__(self, **answers: list[object]) -> None:
        self.answers = answers
        self.asked: list[str] = []

    async def __call__(self, endpoint: Endpoint) -> object:
        name = endpoint.label.removeprefix("http://")
        self.asked.append(name)
        answers = self.answers[name]
        answer = answers.pop(0) if len(answers) > 1 else answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def endpoints(clock: Clock, names: str = "ab", **options: object) -> Endpoints:
    return Endpoints([f"http://{name}/key" for name in names], clock=clock, sleep=clock.sleep, **options)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("url", "label"),
    [
        ("https://user:secret@node.example:8545/v3/KEY?apikey=KEY", "https://node.example:8545"),
        ("https://mainnet.example/v3/KEY", "https://mainnet.example"),
        ("http://[::1]:8545/KEY", "http://[::1]:8545"),
        ("https://0123456789abcdef0123456789ABCDEF.eth.rpc.example:8545/", "https://masked.eth.rpc.example:8545"),
        ("https://k3y9key5key7key1key2.node.example", "https://masked.node.example"),
        ("https://01234567-89ab-cdef-0123-456789abcdef.node.example", "https://masked.node.example"),
        ("http://host:port/KEY", "unreadable endpoint"),
        ("KEY", "unreadable endpoint"),
    ],
)
def test_labels_hold_no_key(url: str, label: str) -> None:
    assert endpoint_label(url) == label
    error = RpcRefused("no", endpoint=url, method="eth_call", code=-1)
    assert str(error) == f"eth_call at {label}: no (code -1)"


def test_an_endpoint_shows_no_key() -> None:
    assert "/key" not in repr(Endpoints(["http://a/key"]).all)


@pytest.mark.parametrize("urls", [[], ["ws://a"], ["a"], ["http://"]])
def test_unusable_urls_are_refused(urls: list[str]) -> None:
    with pytest.raises(ValueError, match=r"^endpoints: "):
        Endpoints(urls)


async def test_the_first_endpoint_is_asked_alone() -> None:
    clock, script = Clock(), Script(a=[1], b=[2])
    pool = endpoints(clock)
    assert [await pool.run(script) for _ in range(3)] == [1, 1, 1]
    assert script.asked == ["a", "a", "a"]


@pytest.mark.parametrize("error", [RpcUnavailable("x"), MalformedAnswer("x"), WrongChain("x")])
async def test_a_failing_endpoint_stands_last_until_its_cool_down_is_over(error: ChainError) -> None:
    clock, script = Clock(), Script(a=[error, 1], b=[2])
    pool = endpoints(clock)
    assert await pool.run(script) == 2
    assert await pool.run(script) == 2
    assert script.asked == ["a", "b", "b"]
    assert pool.failures == {("http://a", type(error).__name__): 1}
    clock.now += 1.01
    assert await pool.run(script) == 2, "it is tried beside the healthy one: nobody waits for it"
    await asyncio.sleep(0)
    assert await pool.run(script) == 1


async def test_cool_downs_double_up_to_a_limit() -> None:
    clock, script = Clock(), Script(a=[RpcUnavailable("x")], b=[2])
    pool = endpoints(clock, retries=Retries(cool_down=1.0, cool_down_limit=5.0))
    waits = []
    for _ in range(4):
        await pool.run(script)
        await asyncio.sleep(0)  # after the first time it is tried beside the other one
        waits.append(pool.all[0].down_until - clock.now)
        clock.now = pool.all[0].down_until
    assert waits == [1.0, 2.0, 4.0, 5.0]


async def test_when_all_are_down_rounds_and_pauses_are_bounded(pauses: list[float]) -> None:
    clock, script = Clock(), Script(a=[RpcUnavailable("of a")], b=[RpcUnavailable("of b")])
    pool = endpoints(clock, retries=Retries(rounds=4, backoff=0.01, backoff_limit=0.02, cool_down=0.0))
    with pytest.raises(RpcUnavailable, match="of a"):
        await pool.run(script)
    assert len(script.asked) == 8
    assert all(pause <= limit for pause, limit in zip(pauses, (0.01, 0.02, 0.02), strict=True))


async def test_a_second_round_can_help() -> None:
    clock, script = Clock(), Script(a=[RpcUnavailable("x"), 1], b=[RpcUnavailable("x")])
    assert await endpoints(clock, retries=Retries(cool_down=0.0)).run(script) == 1


async def test_not_found_asks_the_others_and_costs_no_rank() -> None:
    clock, script = Clock(), Script(a=[NotFound("lags")], b=[2])
    pool = endpoints(clock)
    assert await pool.run(script) == 2
    assert await pool.run(script) == 2
    assert script.asked == ["a", "b", "a", "b"]


async def test_not_found_everywhere_is_not_found_at_once(pauses: list[float]) -> None:
    clock, script = Clock(), Script(a=[RpcUnavailable("x")], b=[NotFound("none")])
    with pytest.raises(NotFound):
        await endpoints(clock).run(script)
    assert (script.asked, pauses) == (["a", "b"], [])


async def test_no_refusal_of_one_endpoint_is_final() -> None:
    clock = Clock()
    for refusal in (RpcRefused("pruned", code=-32000), RpcRefused("reverted", code=3, answered=True)):
        script = Script(a=[refusal], b=[2])
        assert await endpoints(clock).run(script) == 2
        assert script.asked == ["a", "b"]


async def test_where_all_revert_that_is_the_answer_at_once(pauses: list[float]) -> None:
    script = Script(a=[RpcRefused("reverted", answered=True)], b=[RpcUnavailable("x")])
    with pytest.raises(RpcRefused, match="reverted"):
        await endpoints(Clock()).run(script)
    assert (script.asked, pauses) == (["a", "b"], [])


async def test_who_refuses_a_call_is_named_and_stands_back_for_a_minute() -> None:
    clock, script = Clock(), Script(a=[RpcRefused("no such method", method="eth_getLogs"), 1], b=[2])
    pool = endpoints(clock)
    assert [await pool.run(script) for _ in range(3)] == [2, 2, 2]
    assert script.asked == ["a", "b", "b", "b"]
    assert pool.problems() == ["http://a refuses a call: eth_getLogs: no such method"]
    assert pool.contradictions() == []
    clock.now += 60.1
    assert pool.problems() == []
    assert await pool.run(script) == 1


async def test_a_refusal_does_not_stand_for_those_that_did_not_answer() -> None:
    script = Script(a=[RpcRefused("no such method")], b=[RpcUnavailable("x"), 2])
    assert await endpoints(Clock(), retries=Retries(cool_down=0.0)).run(script) == 2


async def test_wrong_chains_only_are_told_without_more_rounds() -> None:
    clock, script = Clock(), Script(a=[WrongChain("x")], b=[WrongChain("x")])
    with pytest.raises(WrongChain):
        await endpoints(clock).run(script)
    assert len(script.asked) == 2


async def test_endpoints_are_verified_before_use_and_after_failures() -> None:
    verified: list[str] = []

    async def verify(endpoint: Endpoint) -> None:
        verified.append(endpoint.label)

    clock, script = Clock(), Script(a=[1, RpcUnavailable("x"), 1], b=[2])
    pool = endpoints(clock, verify=verify)
    assert await asyncio.gather(pool.run(script), pool.run(script)) == [1, 2]
    assert verified == ["http://a", "http://b"]
    clock.now += 5
    assert await pool.run(script) == 2
    await asyncio.sleep(0)
    assert await pool.run(script) == 1
    assert verified == ["http://a", "http://b", "http://a"]


async def test_a_failure_that_is_no_chain_error_is_not_hidden() -> None:
    with pytest.raises(ZeroDivisionError):
        await endpoints(Clock()).run(Script(a=[ZeroDivisionError()], b=[2]))


async def test_whatever_an_operation_raises_is_the_clients_own_error_and_the_endpoints_fault() -> None:
    clock, script = Clock(), Script(a=[OverflowError("year 9999999999")], b=[2])
    pool = endpoints(clock, own_error=lambda endpoint, error: MalformedAnswer(f"unusable: {error!r}", endpoint=endpoint.url))
    assert [await pool.run(script) for _ in range(2)] == [2, 2]
    assert pool.failures == {("http://a", "MalformedAnswer"): 1}
    assert pool.problems() == ["http://a: at http://a: unusable: OverflowError('year 9999999999')"]
    clock.now += 1.01
    assert await pool.run(script) == 2, "the trial beside it fails the same way and hurts nobody"
    await asyncio.sleep(0)
    assert pool.failures == {("http://a", "MalformedAnswer"): 2}
    assert not pool.all[0].tried


async def test_a_trial_that_breaks_is_told_and_tried_again() -> None:
    clock, script = Clock(), Script(a=[RpcUnavailable("x"), ZeroDivisionError(), 1], b=[2])
    pool = endpoints(clock)
    assert await pool.run(script) == 2
    for trials in (1, 2):
        clock.now += 1.01
        assert await pool.run(script) == 2
        await asyncio.sleep(0)
        assert script.asked.count("a") == 1 + trials
    assert await pool.run(script) == 1


async def test_reads_in_flight_are_joined_and_kept() -> None:
    clock, go, reads = Clock(), asyncio.Event(), 0
    shared = SharedReads(clock=clock)

    async def read() -> int:
        nonlocal reads
        reads += 1
        await go.wait()
        return reads

    first, second = asyncio.ensure_future(shared.get("k", 5, read)), asyncio.ensure_future(shared.get("k", 5, read))
    await asyncio.sleep(0)
    go.set()
    assert (await first, await second, await shared.get("k", 5, read)) == (1, 1, 1)
    clock.now += 5
    assert await shared.get("k", 5, read) == 2
    shared.drop(lambda key: key == "other")
    assert await shared.get("k", 5, read) == 2
    shared.drop(lambda key: key == "k")
    assert await shared.get("k", 5, read) == 3


async def test_a_cancelled_caller_cancels_nobody_else() -> None:
    go, shared = asyncio.Event(), SharedReads()

    async def read() -> str:
        await go.wait()
        return "value"

    first, second = asyncio.ensure_future(shared.get("k", 5, read)), asyncio.ensure_future(shared.get("k", 5, read))
    await asyncio.sleep(0)
    first.cancel()
    go.set()
    assert await second == "value"
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_errors_are_shared_but_not_kept() -> None:
    shared, answers = SharedReads(), [NotFound("x"), 7]

    async def read() -> object:
        answer = answers.pop(0)
        if isinstance(answer, Exception):
            raise answer
        return answer

    with pytest.raises(NotFound):
        await shared.get("k", 5, read)
    assert await shared.get("k", 5, read) == 7


async def test_a_read_from_before_a_drop_is_not_kept() -> None:
    go, shared, values = asyncio.Event(), SharedReads(), iter([1, 2])

    async def read() -> int:
        value = next(values)
        if value == 1:
            await go.wait()
        return value

    old = asyncio.ensure_future(shared.get("k", 5, read))
    await asyncio.sleep(0)
    shared.drop(lambda key: True)
    assert await shared.get("k", 5, read) == 2
    go.set()
    assert await old == 1
    assert await shared.get("k", 5, read) == 2


async def test_the_memory_is_bounded() -> None:
    shared, reads = SharedReads(size=2), []

    async def read(key: str) -> str:
        reads.append(key)
        return key

    for key in "abcba":
        await shared.get(key, 5, lambda key=key: read(key))  # type: ignore[misc]
    assert reads == ["a", "b", "c", "a"]


async def test_close_cancels_reads_in_flight() -> None:
    shared = SharedReads()
    waiting = asyncio.ensure_future(shared.get("k", 5, asyncio.Event().wait))
    await asyncio.sleep(0)
    await shared.close()
    with pytest.raises(asyncio.CancelledError):
        await waiting


def test_a_span_grows_while_quick_and_full() -> None:
    span = Span(blocks=100, most=350)
    span.answered(50, 0.1)
    assert span.blocks == 100
    for expected in (200, 350, 350):
        span.answered(span.blocks, 0.1)
        assert span.blocks == expected
    span.answered(350, 2.0)
    assert span.blocks == 350
    span.answered(350, 9.0)
    assert span.blocks == 175


@pytest.mark.parametrize("limit", [1, 10, 777, 999])
def test_a_fixed_limit_is_found_and_costs_few_refusals(limit: int) -> None:
    span, refusals = Span(blocks=1000, most=1000), 0
    for _ in range(500):
        asked = span.blocks
        if asked > limit:
            refusals += 1
            assert span.refused(asked) is True
        else:
            span.answered(asked, 0.1)
    assert limit // 2 < span.blocks <= limit
    assert refusals < 40


def test_a_lifted_limit_is_found_again() -> None:
    span = Span(blocks=1000, most=1000)
    assert span.refused(1000) is True
    for expected in (500, 750, 1000):
        for _ in range(20):
            assert span.blocks == expected
            span.answered(expected, 0.1)
    assert span.blocks == 1000


def test_after_a_refusal_the_known_good_size_comes_first() -> None:
    span = Span(blocks=80, most=1000)
    span.answered(80, 0.1)
    assert span.refused(160) is True
    assert span.blocks == 80
    assert span.refused(80) is True
    assert span.blocks == 40


def test_the_least_span_cannot_shrink() -> None:
    span = Span(blocks=2, most=8)
    assert span.refused(2) is True
    assert span.blocks == 1
    assert span.refused(1) is False
    span.failed(1)
    assert span.blocks == 1


def test_a_query_without_an_answer_halves_without_a_ceiling() -> None:
    span = Span(blocks=4, most=8)
    span.failed(4)
    for expected in (2, 4, 8, 8):
        assert span.blocks == expected
        span.answered(span.blocks, 0.1)


@pytest.mark.parametrize("options", [{"blocks": 0}, {"blocks": 5, "most": 4}, {"least": 0}])
def test_a_span_is_checked(options: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="span"):
        Span(**options)


@pytest.mark.parametrize(
    ("text", "floor", "expected", "blocks"),
    [
        ("latest-12", 0, Finality("latest", 12), 12),
        ("latest - 0", 0, Finality("latest", 0), 0),
        (" Latest-3 ", 7, Finality("latest", 3, 7), 7),
        ("safe", 2, Finality("safe", 0, 2), 2),
        ("finalized", 0, Finality("finalized"), 0),
    ],
)
def test_finality(text: str, floor: int, expected: Finality, blocks: int) -> None:
    assert Finality.parse(text, floor) == expected
    assert expected.blocks == blocks


@pytest.mark.parametrize("text", ["latest", "", "latest-", "latest--1", "latest-1.5", "final", "pending", "latest-٣"])
def test_other_finalities_are_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"^finality: expected latest-<blocks>"):
        Finality.parse(text)


def test_impossible_finalities_are_refused() -> None:
    for make in (
        lambda: Finality("latest", -1),
        lambda: Finality("safe", 3),
        lambda: Finality("safe", floor=-1),
        lambda: Finality("pending"),  # type: ignore[arg-type]
    ):
        with pytest.raises(ValueError, match=r"^finality: "):
            make()
