"""Endpoints that are down, throttle, lag, fork or lie: nobody storms them, they are named, stand back and return."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest
from loguru import logger

from reactor.chains.agreement import Question, agree, at_least, checked_agreement
from reactor.chains.errors import ChainError, NotAgreed, NotFound, RpcRefused, RpcUnavailable, WrongChain, retry_after_seconds
from reactor.chains.limits import DEFAULT_RATE, Rate, rate_for
from reactor.chains.rpc import VERIFY_AGAIN, Endpoint, Endpoints, Retries
from reactor.chains.survey import DOUBT_SECONDS, survey

pytestmark = pytest.mark.unit

ONCE = Retries(rounds=1)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0
        self.slept = 0.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept += seconds
        self.now += seconds


class Nodes:
    """What each endpoint says at the moment, by name; an exception class is raised. `asked` counts."""

    def __init__(self, **says: object) -> None:
        self.says = says
        self.asked: list[str] = []

    async def __call__(self, endpoint: Endpoint) -> object:
        name = endpoint.name.removeprefix("http://")
        self.asked.append(name)
        await asyncio.sleep(0)
        said = self.says[name]
        if isinstance(said, type) and issubclass(said, ChainError):
            raise said("no", endpoint=endpoint.url)
        if isinstance(said, ChainError):
            raise said
        return said


def pool_of(clock: Clock, names: str = "abc", retries: Retries = ONCE, rate: float | None = 10**6) -> Endpoints:
    urls = [f"http://{name}" for name in names]
    return Endpoints(urls, chain="Ethereum", retries=retries, rate=rate, clock=clock, sleep=clock.sleep)


def question(**options: object) -> Question[object]:
    return Question("the answer", "test", same=str, **options)  # type: ignore[arg-type]


# --- the right chain -----------------------------------------------------------------------------------------------


async def test_an_endpoint_that_turns_to_another_chain_without_a_failure_is_found_and_stands_back() -> None:
    """A balancer may send to another backend at any time: nothing fails then, and every answer is of the wrong chain."""
    clock, served, nodes = Clock(), Nodes(a=None, b=None), Nodes(a="answer", b="answer")

    async def verify(endpoint: Endpoint) -> None:
        await served(endpoint)

    pool = Endpoints(["http://a", "http://b"], retries=ONCE, verify=verify, rate=10**6, clock=clock, sleep=clock.sleep)
    for _ in range(100):
        assert await pool.run(nodes) == "answer"
    assert served.asked == ["a"], "asked once, not before each call"
    served.says["a"] = WrongChain
    clock.now += VERIFY_AGAIN - 1
    await pool.run(nodes)
    assert nodes.asked == ["a"] * 101
    clock.now += 2
    await pool.run(nodes)
    assert nodes.asked[101:] == ["b"]
    assert any("a" in problem for problem in pool.problems())
    served.says["a"] = None
    clock.now += 60
    await pool.run(nodes)
    await asyncio.sleep(0.01)
    assert set(nodes.asked[102:]) == {"a", "b"}, "b answers, and a is tried beside it"
    await pool.run(nodes)
    assert nodes.asked[-1] == "a"


# --- no storm ------------------------------------------------------------------------------------------------------


async def test_an_endpoint_that_is_down_is_not_asked_by_everyone_who_needs_it() -> None:
    clock, nodes = Clock(), Nodes(a=RpcUnavailable)
    pool = pool_of(clock, "a", Retries(rounds=3, backoff=0.0001))
    for _ in range(300):
        with pytest.raises(RpcUnavailable, match="no"):
            await pool.run(nodes)
        clock.now += 0.1
    # 300 callers with 3 rounds each in 30 s: two probes a second and those that one caller may use at once.
    assert 30 <= len(nodes.asked) <= 8 + 2 * 30 + 1
    nodes.says["a"] = 7
    assert await pool.run(nodes) == 7, "the first probe that is answered ends it"
    nodes.asked.clear()
    assert [await pool.run(nodes) for _ in range(300)] == [7] * 300
    assert len(nodes.asked) == 300


async def test_callers_at_once_ask_an_endpoint_that_is_down_no_more_than_once_each() -> None:
    clock, nodes = Clock(), Nodes(a=RpcUnavailable)
    pool = pool_of(clock, "a", Retries(rounds=3, backoff=0.0001))
    outcomes = await asyncio.gather(*(pool.run(nodes) for _ in range(200)), return_exceptions=True)
    assert all(isinstance(outcome, RpcUnavailable) for outcome in outcomes)
    assert len(nodes.asked) <= 200 + 8


async def test_a_healthy_endpoint_spares_the_one_that_is_down() -> None:
    clock, nodes = Clock(), Nodes(a=RpcUnavailable, b=2)
    pool = pool_of(clock, "ab")
    assert [await pool.run(nodes) for _ in range(100)] == [2] * 100
    assert (nodes.asked.count("a"), nodes.asked.count("b")) == (1, 100)


async def test_nobody_waits_to_find_out_whether_an_endpoint_still_hangs() -> None:
    clock, nodes, answers = Clock(), Nodes(a=RpcUnavailable, b=2), asyncio.Event()
    pool = pool_of(clock, "ab")
    tries = 0

    async def asked(endpoint: Endpoint) -> object:
        nonlocal tries
        if endpoint.index == 0 and tries:
            await answers.wait()
        tries += endpoint.index == 0
        return await nodes(endpoint)

    assert await pool.run(asked) == 2
    clock.now += 1.01
    async with asyncio.timeout(60):
        assert [await pool.run(asked) for _ in range(50)] == [2] * 50
        assert await agree(pool, 1, question(), asked) == 2
    assert nodes.asked.count("a") == 1, "one trial waits, beside the callers"
    nodes.says["a"] = 1
    answers.set()
    for _ in range(5):
        await asyncio.sleep(0)
    assert pool.problems() == []
    assert await pool.run(asked) == 1


async def test_trials_end_with_the_list() -> None:
    clock, nodes = Clock(), Nodes(a=RpcUnavailable, b=2)
    pool, cancelled = pool_of(clock, "ab"), asyncio.Event()
    assert await pool.run(nodes) == 2
    clock.now += 1.01

    async def hanging(endpoint: Endpoint) -> object:
        if endpoint.index:
            await asyncio.sleep(0)
            return 2
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()
        return None

    assert await pool.run(hanging) == 2
    await pool.close()
    assert cancelled.is_set()


# --- throttling ----------------------------------------------------------------------------------------------------


def throttled(seconds: float | None) -> RpcUnavailable:
    error = RpcUnavailable("HTTP 429")
    error.throttled, error.retry_after = True, seconds
    return error


async def test_retry_after_is_honoured_to_the_second() -> None:
    clock, nodes = Clock(), Nodes(a=throttled(30.0))
    pool = pool_of(clock, "a")
    for _ in range(29):
        with pytest.raises(RpcUnavailable, match="429"):
            await pool.run(nodes)
        clock.now += 1
    assert nodes.asked == ["a"]
    nodes.says["a"] = 1
    clock.now += 1.01
    assert await pool.run(nodes) == 1


async def test_429_without_a_time_closes_for_the_cool_down_and_the_others_are_asked() -> None:
    clock, nodes = Clock(), Nodes(a=throttled(None), b=2)
    pool = pool_of(clock, "ab")
    assert [await pool.run(nodes) for _ in range(5)] == [2] * 5
    assert nodes.asked.count("a") == 1
    nodes.says |= {"a": 1, "b": RpcUnavailable}
    clock.now += 1.01
    assert await pool.run(nodes) == 1


async def test_an_operation_under_way_stops_when_the_endpoint_asks_to_be_left_alone() -> None:
    clock, calls = Clock(), 0
    pool = pool_of(clock, "a")

    async def long(endpoint: Endpoint) -> None:
        nonlocal calls
        for _ in range(10):
            await pool.turn(endpoint)
            calls += 1
            await asyncio.sleep(0)

    async def hit(endpoint: Endpoint) -> None:
        await asyncio.sleep(0)
        raise throttled(30.0)

    outcomes = await asyncio.gather(pool.run(long), pool.run(hit), return_exceptions=True)
    assert [str(outcome) for outcome in outcomes] == ["HTTP 429", "HTTP 429"]
    assert calls < 5
    assert pool.all[0].failures == 1, "what was not asked counts against nobody"


@pytest.mark.parametrize(
    ("header", "seconds"),
    [
        (None, None),
        ("", None),
        ("7", 7.0),
        (" 0 ", 0.0),
        ("99999", 300.0),
        ("-1", None),
        ("1.5", None),
        ("soon", None),
        ("٣", None),
        ("Mon, 01 Jan 9999999999 00:00:00 GMT", None),
        ("Mon, 99 Jan 2026 00:00:00 GMT", None),
        ("Mon, 01 Jan 2026 00:00:00 +99999999999999", None),
        ("Mon, 01 Jan 0001 00:00:00 +2359", 0.0),
        ("\x00" * 70_000, None),
        ("9" * 5000, None),
        (", , , ,", None),
        ("\udcff", None),
    ],
)
def test_retry_after_in_seconds(header: str | None, seconds: float | None) -> None:
    assert retry_after_seconds(header) == seconds


def test_retry_after_as_a_date() -> None:
    began = datetime.now(UTC)
    wished = retry_after_seconds(format_datetime(began + timedelta(seconds=60), usegmt=True))
    passed = (datetime.now(UTC) - began).total_seconds()
    assert wished is not None
    assert max(0.0, 59.0 - passed) <= wished <= 60
    assert retry_after_seconds("Wed, 21 Oct 2015 07:28:00 GMT") == 0.0
    assert retry_after_seconds("Wed, 21 Oct 2199 07:28:00 GMT") == 300.0


# --- rates ---------------------------------------------------------------------------------------------------------


async def test_a_rate_lets_a_second_through_at_once_and_spreads_the_rest() -> None:
    clock = Clock()
    pool = pool_of(clock, "a", rate=10)
    for _ in range(30):
        assert await pool.turn(pool.all[0]) is True
    assert clock.slept == pytest.approx(2.0)
    clock.now += 100
    before = clock.slept
    for _ in range(10):
        await pool.turn(pool.all[0])
    assert clock.slept == before


def test_more_than_some_seconds_of_calls_do_not_queue() -> None:
    rate = Rate(1, longest=3.0, clock=Clock())
    assert [rate.take() for _ in range(6)] == [0.0, 1.0, 2.0, 3.0, None, None]
    with pytest.raises(ValueError, match="above 0"):
        Rate(0)


@pytest.mark.parametrize("url", ["http://localhost:1", "http://127.0.0.1:8545/x", "http://[::1]:1", "http://a.localhost"])
def test_endpoints_on_this_machine_have_no_rate_unless_one_is_set(url: str) -> None:
    assert rate_for(url, None) is None
    assert rate_for(url, 5) is not None


def test_other_endpoints_have_one() -> None:
    rate = rate_for("https://node.example", None, Clock())
    assert rate is not None
    assert [rate.take() for _ in range(DEFAULT_RATE + 1)][-2:] == [0.0, pytest.approx(1 / DEFAULT_RATE)]


# --- agreement -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("needed", "asked"), [(1, "a"), (2, "ab"), (3, "abc")])
async def test_as_many_are_asked_as_must_agree(needed: int, asked: str) -> None:
    nodes = Nodes(a=1, b=1, c=1)
    assert await agree(pool_of(Clock()), needed, question(), nodes) == 1
    assert "".join(nodes.asked) == asked


@pytest.mark.parametrize(
    ("says", "needed", "answer"),
    [
        ({"a": 1, "b": 2, "c": 2}, 2, 2),
        ({"a": RpcUnavailable, "b": 2, "c": 2}, 2, 2),
        ({"a": WrongChain, "b": 2, "c": 2}, 2, 2),
        ({"a": 1, "b": 2, "c": 2, "d": 1, "e": 2}, 3, 2),
    ],
)
async def test_enough_agree_although_one_does_not(says: dict[str, object], needed: int, answer: int) -> None:
    assert await agree(pool_of(Clock(), "".join(says)), needed, question(), Nodes(**says)) == answer


@pytest.mark.parametrize(
    ("says", "needed", "agreeing", "others"),
    [
        ({"a": 1, "b": 2}, 2, ("http://a",), {"http://b": "2"}),
        ({"a": 1, "b": 2, "c": 3}, 2, ("http://a",), {"http://b": "2", "http://c": "3"}),
        ({"a": 1, "b": RpcUnavailable}, 2, ("http://a",), {"http://b": "no"}),
        ({"a": 1, "b": 1, "c": 2}, 3, ("http://a", "http://b"), {"http://c": "2"}),
        ({"a": RpcUnavailable, "b": WrongChain}, 2, (), {"http://a": "no", "http://b": "no"}),
    ],
)
async def test_too_few_agree_and_all_others_are_named(
    says: dict[str, object], needed: int, agreeing: tuple[str, ...], others: dict[str, str]
) -> None:
    with pytest.raises(NotAgreed) as raised:
        await agree(pool_of(Clock(), "".join(says)), needed, question(), Nodes(**says))
    assert (raised.value.agreeing, raised.value.others, raised.value.needed) == (agreeing, others, needed)
    assert raised.value.chain == "Ethereum"
    assert raised.value.params["endpoints"] == "; ".join(f"{name}: {said}" for name, said in others.items())
    assert all(isinstance(value, str) for value in raised.value.params.values())


async def test_who_says_otherwise_is_named_stands_back_and_returns_when_it_says_the_same() -> None:
    clock, nodes = Clock(), Nodes(a=1, b=2, c=2)
    pool = pool_of(clock)
    assert await agree(pool, 2, question(seconds=60.0, accuse="lies"), nodes) == 2
    assert pool.problems() == ["http://a: lies: the answer: 1, 2 others say 2"]
    nodes.asked.clear()
    assert await agree(pool, 2, question(), nodes) == 2
    assert nodes.asked == ["b", "c"], "the liar is not asked while it stands back"
    assert await pool.run(nodes) == 2
    nodes.says["a"] = 2
    clock.now += 61
    assert await agree(pool, 2, question(), nodes) == 2
    assert (pool.problems(), pool.order()[0].name) == ([], "http://a")


async def test_a_contradiction_that_none_can_settle_is_told_until_they_agree() -> None:
    nodes = Nodes(a=1, b=2)
    pool = pool_of(Clock(), "ab")
    with pytest.raises(NotAgreed):
        await agree(pool, 2, question(), nodes)
    assert pool.problems() == ["endpoints contradict each other: the answer: http://a: 1; http://b: 2"]
    nodes.says["b"] = 1
    assert await agree(pool, 2, question(), nodes) == 1
    assert pool.problems() == []


async def test_not_found_is_an_answer_where_the_question_says_so() -> None:
    pool, asked = pool_of(Clock()), question(answers=(NotFound,))
    with pytest.raises(NotFound):
        await agree(pool, 2, asked, Nodes(a=NotFound, b=1, c=NotFound))
    assert [endpoint.name for endpoint in pool.all if endpoint.doubts] == ["http://b"]
    assert await agree(pool_of(Clock()), 2, asked, Nodes(a=NotFound, b=1, c=1)) == 1
    with pytest.raises(NotAgreed):
        await agree(pool_of(Clock(), "ab"), 2, asked, Nodes(a=NotFound, b=1))


async def test_who_is_only_behind_is_waited_for_unless_others_contradict_each_other() -> None:
    asked = question(soft=(NotFound,))
    with pytest.raises(NotFound):
        await agree(pool_of(Clock(), "ab"), 2, asked, Nodes(a=1, b=NotFound))
    with pytest.raises(NotAgreed, match="http://c: no"):
        await agree(pool_of(Clock()), 2, asked, Nodes(a=1, b=2, c=NotFound))


async def test_who_did_not_answer_is_asked_again_in_bounded_rounds() -> None:
    clock, nodes = Clock(), Nodes(a=1, b=RpcUnavailable)
    pool = pool_of(clock, "ab", Retries(rounds=3, backoff=0.0001))
    with pytest.raises(NotAgreed):
        await agree(pool, 2, question(), nodes)
    assert nodes.asked.count("b") == 3
    nodes = Nodes(a=1, b=2)
    with pytest.raises(NotAgreed):
        await agree(pool_of(clock, "ab", Retries(rounds=3, backoff=0.0001)), 2, question(), nodes)
    assert nodes.asked == ["a", "b"], "a contradiction is not asked away"


async def test_heads_differ_and_count_by_number() -> None:
    nodes = Nodes(a=5, b=RpcUnavailable, c=7)
    assert await at_least(pool_of(Clock()), 2, "heads", nodes) == [5, 7]
    assert await at_least(pool_of(Clock()), 1, "heads", Nodes(a=5, b=6, c=7)) == [5]
    assert await at_least(pool_of(Clock()), 1, "heads", Nodes(a=5, b=6, c=7), everyone=True) == [5, 6, 7]
    with pytest.raises(NotAgreed, match="2 of 3 endpoints needed") as raised:
        await at_least(pool_of(Clock()), 3, "heads", nodes)
    assert raised.value.chain == "Ethereum"


@pytest.mark.parametrize(("agreement", "endpoints"), [(0, 1), (2, 1), (-1, 3), (4, 3)])
def test_an_impossible_agreement_is_refused(agreement: int, endpoints: int) -> None:
    with pytest.raises(ValueError, match=f"expected 1 to {endpoints}"):
        checked_agreement(agreement, endpoints)
    assert checked_agreement(endpoints, endpoints) == endpoints


def test_plans_of_one_provider_are_told_apart() -> None:
    pool = Endpoints(["https://node.example/key-one", "https://node.example/key-two", "https://other.example"])
    names = [endpoint.name for endpoint in pool.all]
    assert names == ["https://node.example (endpoint 1)", "https://node.example (endpoint 2)", "https://other.example"]
    assert "key" not in str(pool.all)


# --- surveys -------------------------------------------------------------------------------------------------------


class Chains:
    """Heads and hashes by endpoint."""

    def __init__(self, heads: dict[str, int], hashes: dict[str, str] | None = None) -> None:
        self.heads = Nodes(**heads)
        self.hashes = Nodes(**{**dict.fromkeys(heads, "same"), **(hashes or {})})
        self.heights: set[int] = set()

    async def hash(self, endpoint: Endpoint, height: int) -> str:
        self.heights.add(height)
        return str(await self.hashes(endpoint))

    async def look(self, pool: Endpoints) -> None:
        await survey(pool, self.heads, self.hash, lag=3, depth=10)  # type: ignore[arg-type]


async def test_endpoints_that_are_level_and_agree_are_well() -> None:
    pool, chains = pool_of(Clock()), Chains({"a": 100, "b": 97, "c": 99})
    await chains.look(pool)
    assert (pool.problems(), chains.heights) == ([], {87})


async def test_one_that_lags_stands_back_and_returns_when_it_has_caught_up() -> None:
    clock = Clock()
    pool, chains = pool_of(clock), Chains({"a": 90, "b": 100, "c": 99})
    await chains.look(pool)
    assert pool.problems() == ["http://a: lags: it stands at block 90 while others have 99"]
    assert [endpoint.name for endpoint in pool.order()] == ["http://b", "http://c", "http://a"]
    assert await pool.run(Nodes(a=1, b=2, c=3)) == 2
    chains.heads.says["a"] = 99
    await chains.look(pool)
    assert (pool.problems(), pool.order()[0].name) == ([], "http://a")


async def test_a_head_that_one_alone_claims_makes_no_laggards() -> None:
    pool, chains = pool_of(Clock()), Chains({"a": 10**9, "b": 100, "c": 99})
    await chains.look(pool)
    assert pool.problems() == ["http://a: claims block 1000000000 while the others stand at 100"]


async def test_another_fork_is_named_by_the_majority() -> None:
    clock = Clock()
    pool, chains = pool_of(clock), Chains({"a": 100, "b": 100, "c": 100}, {"a": "other"})
    await chains.look(pool)
    assert pool.problems() == ["http://a: shows another fork: block 90 is other, 2 others show same"]
    assert pool.order()[-1].name == "http://a"
    clock.now += DOUBT_SECONDS + 1
    assert pool.order()[0].name == "http://a", "without surveys it is given another chance"
    await chains.look(pool)
    assert pool.order()[-1].name == "http://a"


async def test_two_that_differ_are_both_named_and_none_stands_back() -> None:
    pool, chains = pool_of(Clock(), "ab"), Chains({"a": 100, "b": 100}, {"b": "other"})
    await chains.look(pool)
    assert pool.problems() == ["endpoints show different blocks 90: http://a: same; http://b: other"]
    assert [endpoint.name for endpoint in pool.order()] == ["http://a", "http://b"]
    chains.hashes.says["b"] = "same"
    await chains.look(pool)
    assert pool.problems() == []


async def test_a_wrong_chain_and_a_dead_one_are_named_and_the_rest_compared() -> None:
    pool, chains = pool_of(Clock(), "abcd"), Chains({"a": 100, "b": 100, "c": 100, "d": 100})
    chains.heads.says |= {"a": WrongChain, "b": RpcUnavailable}
    await chains.look(pool)
    assert pool.problems() == ["http://a: at http://a: no", "http://b: at http://b: no"]
    assert [endpoint.name for endpoint in pool.order()][:2] == ["http://c", "http://d"]


async def test_one_endpoint_alone_is_not_asked() -> None:
    chains = Chains({"a": 1})
    await chains.look(pool_of(Clock(), "a"))
    assert chains.heads.asked == []


async def test_the_one_that_answered_before_is_asked_only_after_the_others() -> None:
    nodes, pool = Nodes(a="yes", b=RpcUnavailable, c="yes"), pool_of(Clock())
    assert await pool.run(nodes, last="http://a") == "yes"
    assert nodes.asked == ["b", "c"]
    nodes.says["c"] = NotFound
    assert await pool.run(nodes, last="http://a") == "yes", "where no other can answer, its answer counts"
    assert nodes.asked[-1] == "a"
    assert "c" in nodes.asked[2:]
    assert await pool.run(nodes) == "yes"
    assert nodes.asked[-1] == "a"


async def test_agreement_too_asks_the_one_that_answered_before_last() -> None:
    nodes, pool = Nodes(a="yes", b="yes", c="yes"), pool_of(Clock())
    assert await agree(pool, 2, question(), nodes, last="http://a") == "yes"
    assert sorted(nodes.asked) == ["b", "c"]


async def test_a_refused_call_is_forgiven_when_it_is_answered_and_not_before() -> None:
    nodes, pool = (
        Nodes(a=RpcRefused("HTTP 404: default backend", endpoint="http://a", method="logs"), b="yes"),
        pool_of(Clock(), "ab"),
    )
    assert await pool.run(nodes) == "yes"
    told = pool.problems()
    assert len(told) == 1
    assert "default backend" in told[0]
    nodes.says["a"] = "yes"
    await pool.each(pool.all, nodes)
    assert (pool.problems(), pool.order()[0].name) == (told, "http://b"), "another call says nothing of it"
    pool.serves(pool.all[0], "logs")
    assert (pool.problems(), pool.order()[0].name) == ([], "http://a")


async def test_a_call_that_is_refused_for_hours_is_an_outage_of_a_few_lines() -> None:
    clock, written = Clock(), list[str]()
    refused = RpcRefused("no such method", endpoint="http://a", method="logs")
    nodes, pool = Nodes(a=refused, b="yes"), pool_of(clock, "ab")
    sink = logger.add(lambda message: written.append(str(message).strip()), format="{level} {message}")
    try:
        for _ in range(2 * 60):
            assert await pool.run(nodes) == "yes"
            pool.answered(pool.all[0], "logs")  # of another kind: its time is not over
            clock.now += 61
        assert nodes.asked.count("a") == 2 * 60, "each minute it is asked again"
        assert written[0] == "WARNING logs at http://a fails: no such method"
        assert 1 < len(written) < 8
        assert all("has been failing for" in line for line in written[1:])
        written.clear()
        nodes.says["a"] = "yes"
        assert await pool.run(nodes) == "yes"
        pool.answered(pool.all[0], "logs")
    finally:
        logger.remove(sink)
    assert len(written) == 1
    assert written[0].startswith("INFO logs at http://a works again after 2 h 2 min")
    assert pool.problems() == []
