"""Outages: one line when something begins to fail, summaries at growing intervals, one line when it works again."""

from collections.abc import Iterator
from typing import Any, cast

import pytest
from loguru import logger
from pymongo.errors import AutoReconnect, BulkWriteError, DuplicateKeyError, OperationFailure, PyMongoError, WriteError

from reactor.chains.errors import (
    ChainError,
    MalformedAnswer,
    NotAgreed,
    NotFound,
    RpcProblem,
    RpcRefused,
    RpcUnavailable,
    WrongChain,
)
from reactor.chains.ethereum.nodes import Nodes
from reactor.chains.ethereum.provider import NodeProvider
from reactor.chains.http import Reply
from reactor.chains.pocket import errors as pocket
from reactor.chains.pocket.morse.transport import Endpoint, RetryPolicy, Transport
from reactor.outages import SUMMARIES, Outages, duration
from reactor.subjects import subject_of

pytestmark = pytest.mark.unit


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def mongo(error: BaseException) -> str | None:
    return "MongoDB" if isinstance(error, PyMongoError) else None


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def outages(clock: Clock) -> Outages:
    return Outages(clock, subject_of=mongo)


@pytest.fixture
def lines() -> Iterator[list[str]]:
    written: list[str] = []
    sink = logger.add(lambda message: written.append(str(message).strip()), format="{level} {name} {message}")
    yield written
    logger.remove(sink)


def test_an_outage_is_a_line_summaries_and_a_line(outages: Outages, clock: Clock, lines: list[str]) -> None:
    for _ in range(601):
        outages.failed("heads of ethereum", ConnectionRefusedError(111, "Connect call failed"))
        clock.now += 1.0
    outages.worked("heads of ethereum")
    name = __name__
    assert lines == [
        f"WARNING {name} heads of ethereum fails: connection refused",
        f"WARNING {name} heads of ethereum has been failing for 1 min, 61 failures, the last time: connection refused",
        f"WARNING {name} heads of ethereum has been failing for 5 min, 301 failures, the last time: connection refused",
        f"INFO {name} heads of ethereum works again after 10 min 1 s, 601 failures",
    ]
    assert outages.away() == {}


def test_what_works_writes_nothing(outages: Outages, lines: list[str]) -> None:
    outages.worked("heartbeat")
    outages.look()
    assert lines == []


def test_summaries_are_rare_however_long_it_lasts(outages: Outages, clock: Clock, lines: list[str]) -> None:
    for _ in range(7 * 24 * 60):
        outages.failed("books", "no answer")
        clock.now += 60.0
    assert len(lines) <= 1 + len(SUMMARIES) + 7 * 6, "one in four hours, after the first hour"


def test_a_summary_names_the_last_cause_and_comes_without_a_failure_too(outages: Outages, clock: Clock, lines: list[str]) -> None:
    outages.failed("books", "no answer")
    outages.failed("books", "no route")
    clock.now += 61
    outages.look()
    outages.look()
    assert [line for line in lines if "has been failing" in line] == [
        f"WARNING {__name__} books has been failing for 1 min 1 s, 2 failures, the last time: no route"
    ]


def test_many_who_miss_the_same_are_one_outage_that_ends_with_the_last_of_them(
    outages: Outages, clock: Clock, lines: list[str]
) -> None:
    assert outages.failed("change stream", AutoReconnect("127.0.0.1:1: closed"))
    assert not outages.failed("heartbeat", AutoReconnect("127.0.0.1:1: closed"))
    for number in range(500):
        assert not outages.failed(f"mint {number}", AutoReconnect("x"), lasting=False, group="mint documents")
    clock.now += 5
    outages.worked("change stream")
    assert len(lines) == 1, "the heartbeat still fails"
    assert outages.away() == {"MongoDB": "the connection to MongoDB broke: x"}
    outages.worked("heartbeat")
    assert lines[1:] == [f"INFO {__name__} MongoDB works again after 5 s, 502 failures"]
    for number in range(500):
        outages.worked(f"mint {number}")
    assert len(lines) == 2


def test_a_single_document_is_waited_for_only_where_nobody_else_misses_it(outages: Outages, lines: list[str]) -> None:
    outages.failed("mint 1", AutoReconnect("x"), lasting=False)
    outages.worked("mint 2")
    assert outages.away()
    outages.worked("mint 1")
    assert not outages.away()
    outages.failed("mint 1", AutoReconnect("x"), lasting=False)
    outages.failed("heartbeat", AutoReconnect("x"))
    outages.worked("heartbeat")
    assert not outages.away(), "a document may be backed off for a minute"


def test_who_fails_of_something_else_now_does_not_keep_open_what_works_for_others(outages: Outages, lines: list[str]) -> None:
    outages.failed("heartbeat", AutoReconnect("x"))
    outages.failed("books", AutoReconnect("x"))
    outages.worked("heartbeat")
    outages.failed("books", "no route", subject="Pocket")
    assert list(outages.away()) == ["Pocket"]
    assert [line.rsplit(":", 1)[0] for line in lines[1:]] == [
        f"INFO {__name__} MongoDB works again after 0 s, 2 failures",
        f"WARNING {__name__} Pocket fails (books)",
    ]


def test_to_fail_of_something_else_is_no_success(outages: Outages, clock: Clock, lines: list[str]) -> None:
    outages.failed("books", AutoReconnect("x"))
    clock.now += 5
    outages.failed("books", "no route", subject="Pocket")
    clock.now += 5
    outages.failed("books", AutoReconnect("x"))
    assert list(outages.away()) == ["MongoDB", "Pocket"]
    clock.now += 5
    outages.worked("books")
    assert [line.split(":")[0] for line in lines] == [
        f"WARNING {__name__} MongoDB fails (books)",
        f"WARNING {__name__} Pocket fails (books)",
        f"INFO {__name__} MongoDB works again after 15 s, 2 failures",
        f"INFO {__name__} Pocket works again after 10 s, 1 failure",
    ]
    assert not outages._reported


def test_what_is_only_hidden_by_another_failure_is_not_summed_up_and_told_anew_after_long(
    outages: Outages, clock: Clock, lines: list[str]
) -> None:
    outages.failed("books", AutoReconnect("x"))
    for _ in range(1000):
        clock.now += 1
        outages.failed("books", "no route", subject="Pocket")
        outages.look()
    assert not any("MongoDB has been failing" in line for line in lines)
    assert outages.failed("heartbeat", AutoReconnect("x")), "an outage of its own, which must be told"
    outages.worked("heartbeat")
    outages.worked("books")
    assert not outages.away()


def test_who_tries_seldom_goes_on_with_the_same_outage(outages: Outages, clock: Clock, lines: list[str]) -> None:
    for _ in range(3):
        outages.failed("books", AutoReconnect("x"))
        clock.now += 3000
    outages.worked("books")
    assert [line for line in lines if " fails " in line] == lines[:1]
    assert lines[-1] == f"INFO {__name__} MongoDB works again after 2 h 30 min, 3 failures"


def test_who_fails_of_the_first_again_after_long_is_told_of_once_more(outages: Outages, clock: Clock, lines: list[str]) -> None:
    outages.failed("books", AutoReconnect("x"))
    outages.failed("books", "no route", subject="Pocket")
    outages.failed("heartbeat", "no route", subject="Pocket")
    clock.now += 1000
    outages.worked("heartbeat")
    assert outages.failed("books", AutoReconnect("x"))
    assert list(outages.away()) == ["MongoDB"]
    outages.worked("books")
    assert not outages._open
    assert not outages._reported


DROPPED = RpcUnavailable("the server closed the connection", endpoint="http://node", method="eth_chainId")
REVERTED = RpcRefused("execution reverted", endpoint="http://node", method="eth_call", code=3, answered=True)
NO_METHOD = RpcRefused("the method does not exist", endpoint="http://node", method="eth_getLogs", code=-32601)


def gateway(status: int) -> ChainError:
    """What the provider makes of an answer that is no node's."""
    provider = NodeProvider("http://node", 1.0)
    with pytest.raises(ChainError) as caught:
        provider._answer(Reply(status, b"<html>no such page</html>", None), 1, "eth_chainId")
    return caught.value


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410, 451])
def test_an_endpoint_that_drops_and_then_answers_as_no_node_is_one_outage(clock: Clock, lines: list[str], status: int) -> None:
    outages = Outages(clock, subject_of=subject_of)
    for error in [DROPPED, gateway(status), gateway(status), DROPPED]:
        outages.failed("heads of ethereum", error)
        clock.now += 3
        outages.failed("looking for mints that the contracts refuse", error)
        clock.now += 3
        outages.look()
    outages.worked("looking for mints that the contracts refuse")
    assert len(lines) == 1, "the heads are not read yet"
    outages.worked("heads of ethereum")
    assert lines == [
        f"WARNING {__name__} Ethereum fails (heads of ethereum): eth_chainId at http://node: the server closed the connection",
        f"INFO {__name__} Ethereum works again after 24 s, 8 failures",
    ]


def test_an_endpoint_that_is_no_node_from_the_beginning_is_the_chain_being_away(clock: Clock, lines: list[str]) -> None:
    outages = Outages(clock, subject_of=subject_of)
    for _ in range(15):
        outages.failed("heads of ethereum", gateway(404))
        clock.now += 3
    outages.worked("heads of ethereum")
    assert [line.split(":")[0] for line in lines] == [
        f"WARNING {__name__} Ethereum fails (heads of ethereum)",
        f"INFO {__name__} Ethereum works again after 45 s, 15 failures",
    ]


@pytest.mark.parametrize(
    ("error", "subject"),
    [
        (DROPPED, "Ethereum"),
        (MalformedAnswer("not JSON"), "Ethereum"),
        (WrongChain("it serves chain 5"), "Ethereum"),
        (REVERTED, "a question to Ethereum"),
        (NO_METHOD, "a question to Ethereum"),
        (NotFound("no such block"), "a question to Ethereum"),
        (pocket.RpcUnavailable("node0", "query/height", "HTTP 503"), "Pocket"),
        (pocket.NoNodesAnswer("node0", "query/height", "HTTP 404: empty body"), "Pocket"),
        (pocket.RpcRefused("node0", "query/balance", "no"), "a question to Pocket"),
        (pocket.NotFound("node0", "query/tx", "not found"), "a question to Pocket"),
    ],
)
def test_only_the_nodes_own_refusal_is_a_question_to_it(error: RpcProblem, subject: str) -> None:
    assert subject_of(error) == subject


def test_an_outage_ends_when_it_was_first_seen_working(outages: Outages, clock: Clock, lines: list[str]) -> None:
    outages.failed("heartbeat", AutoReconnect("x"))
    outages.failed("books", AutoReconnect("x"))
    clock.now += 30
    outages.worked("heartbeat")
    clock.now += 40
    outages.look()
    assert len(lines) == 1, "no summary of what is known to work"
    outages.worked("books")
    assert lines[1:] == [f"INFO {__name__} MongoDB works again after 30 s, 2 failures"]


def test_what_fails_again_before_all_have_tried_did_not_end_then(outages: Outages, clock: Clock, lines: list[str]) -> None:
    outages.failed("heartbeat", AutoReconnect("x"))
    outages.failed("books", AutoReconnect("x"))
    clock.now += 10
    outages.worked("heartbeat")
    clock.now += 10
    outages.failed("books", AutoReconnect("x"))
    clock.now += 10
    outages.worked("books")
    assert lines[1:] == [f"INFO {__name__} MongoDB works again after 30 s, 3 failures"]


def test_a_timeout_while_something_is_away_is_its_consequence(outages: Outages, lines: list[str]) -> None:
    outages.failed("change stream", AutoReconnect("x"))
    assert not outages.failed("heartbeat", TimeoutError())
    assert not outages.failed("mint 1", TimeoutError("the handling took longer than 30 s"), lasting=False)
    outages.worked("change stream")
    outages.worked("heartbeat")
    assert outages.failed("heartbeat", TimeoutError()), "by itself it is one of its own"
    assert lines[-1].endswith("heartbeat fails: no answer in time")


def test_what_flaps_is_told_less_and_less(outages: Outages, clock: Clock, lines: list[str]) -> None:
    for _ in range(3600):
        outages.failed("http://node", "HTTP 503")
        outages.worked("http://node")
        clock.now += 1.0
    assert len(lines) <= 10, lines
    assert outages._open, "it comes and goes"
    clock.now += 600
    outages.look()
    assert not outages._open
    assert "works again" in lines[-1]


def test_what_is_well_for_long_is_told_at_once_when_it_fails_again(outages: Outages, clock: Clock, lines: list[str]) -> None:
    for _ in range(3):
        outages.failed("http://node", "HTTP 503")
        outages.worked("http://node")
        clock.now += 3600
    assert len(lines) == 6


def test_of_many_documents_that_fail_each_by_itself_some_are_told(outages: Outages, lines: list[str]) -> None:
    for number in range(5000):
        outages.failed(f"burn {number}", KeyError("x"), lasting=False, group="burn documents")
    assert len(lines) == 21
    assert lines[-1] == f"WARNING {__name__} more burn documents fails (burn 20): KeyError: 'x'"
    for number in range(5000):
        outages.worked(f"burn {number}")
    assert not outages.away()


def test_memory_does_not_grow_with_what_ever_failed(outages: Outages, clock: Clock) -> None:
    for number in range(5000):
        outages.failed(f"mint {number}", "x", lasting=False)
        outages.worked(f"mint {number}")
    assert len(outages._calm._over) <= 1000
    assert not outages._reported


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (0.4, "0 s"),
        (59.6, "1 min"),
        (185, "3 min 5 s"),
        (3600, "1 h"),
        (3605, "1 h"),
        (90061, "1 d 1 h"),
        (-5, "0 s"),
    ],
)
def test_a_duration_is_written_for_people(seconds: float, text: str) -> None:
    assert duration(seconds) == text


def test_who_fails_says_of_what(outages: Outages) -> None:
    assert outages.about("heartbeat") == ""
    outages.failed("heartbeat", AutoReconnect("gone"))
    outages.failed("books", "a fault")
    assert (outages.about("heartbeat"), outages.about("books")) == ("MongoDB", "books")
    outages.worked("heartbeat")
    assert (outages.about("heartbeat"), outages.about("books")) == ("", "books")


def test_who_waits_for_his_next_try_fails_of_nothing_that_is_away(outages: Outages) -> None:
    """A document tries again in a minute; the heartbeat, each second, has found meanwhile that the database is back."""
    outages.failed("mint 1", AutoReconnect("gone"), lasting=False)
    outages.failed("heartbeat", AutoReconnect("gone"))
    assert outages.about("mint 1") == "MongoDB"
    outages.worked("heartbeat")
    assert (outages.away(), outages.about("mint 1")) == ({}, "")


def test_of_many_documents_each_fails_of_its_own_and_what_they_miss_together_keeps_its_name(outages: Outages) -> None:
    for number in range(30):
        outages.failed(f"burn {number}", KeyError("x"), lasting=False, group="burn documents")
    assert (outages.about("burn 3"), outages.about("burn 29")) == ("burn 3", "")
    outages.failed("burn 30", AutoReconnect("x"), lasting=False, group="burn documents")
    assert outages.about("burn 30") == "MongoDB"


def test_endpoints_that_do_not_agree_are_those_of_a_chain() -> None:
    for chain in ("Pocket", "Ethereum"):
        apart = NotAgreed("heads", needed=2, agreeing=["a"], others={"b": "7"}, chain=chain)
        assert subject_of(apart) == f"the agreement of the {chain} endpoints"
    assert subject_of(NotAgreed("heads", needed=2, agreeing=[], others={})) == "the agreement of the endpoints"


@pytest.mark.parametrize(
    ("error", "subject"),
    [
        (WriteError("Document failed validation", 121), None),
        (DuplicateKeyError("E11000", 11000), None),
        (BulkWriteError({"writeErrors": [{"code": 121}]}), None),
        (BulkWriteError({"writeErrors": [{"code": 10107}]}), "MongoDB"),
        (BulkWriteError({"writeErrors": [], "writeConcernErrors": [{"code": 64}]}), "MongoDB"),
        (OperationFailure("not authorized", 13), "MongoDB"),
        (AutoReconnect("x"), "MongoDB"),
    ],
)
def test_a_write_that_the_schema_refuses_is_no_outage_of_the_database(error: PyMongoError, subject: str | None) -> None:
    assert subject_of(error) == subject


def test_both_chains_name_themselves_to_their_endpoints() -> None:
    nodes = Nodes(["http://a"], 1, transport=lambda _url, _seconds: cast("Any", None))
    transport = Transport([Endpoint.parse("http://b")], timeout=1.0, retry=RetryPolicy())
    assert (nodes.endpoints.chain, transport.pool.chain) == ("Ethereum", "Pocket")
