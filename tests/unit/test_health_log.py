"""Changes of the own health: one line each, whatever the words of a problem are a second later, and no flood where it flaps."""

from collections.abc import Iterator
from typing import Any

import pytest
from loguru import logger

from reactor.handlers.heartbeat import Health
from reactor.health import SIGNING as BOTH
from reactor.health import ChainFacts, Facts, HoldFacts, SigningFacts, StreamFacts, phase_of, problems_of
from reactor.health_log import START_SECONDS, HealthLog

pytestmark = pytest.mark.unit

STREAM = StreamFacts(live=True, went_live=True, answer_age=0.4)
WELL = ChainFacts("Ethereum", poll=1.0, head=9, cursor=8, read_age=0.5)


class Log:
    """What is told second by second."""

    def __init__(self) -> None:
        self.now = 1000.0
        self.lines: list[str] = []
        self.fields: list[dict[str, Any]] = []
        self.log = HealthLog(lambda: self.now)

    def write(self, message: Any) -> None:
        record = message.record
        self.lines.append(f"{record['level'].name} {record['message']}")
        self.fields.append({name: value for name, value in record["extra"].items() if not name.startswith("_")})

    def see(self, seconds: int = 1, **changes: Any) -> list[str]:
        """The lines of so many seconds in which nothing changes."""
        before = len(self.lines)
        for _ in range(seconds):
            self.now += 1
            facts = Facts(**{"chains": (WELL,), "stream": STREAM, "running_for": self.now - 1000.0, **changes})
            self.log.look(Health(phase_of(facts), problems_of(facts), []))
        return self.lines[before:]


@pytest.fixture
def log() -> Iterator[Log]:
    told = Log()
    sink = logger.add(told.write)
    yield told
    logger.remove(sink)


def away(age: float, trouble: str = "no answer in time", name: str = "Ethereum", cause: str = "") -> ChainFacts:
    return ChainFacts(name, poll=1.0, head=9, cursor=8, read_age=age, trouble=trouble, cause=cause)


def test_a_healthy_one_says_so_once(log: Log) -> None:
    assert log.see(100) == ["INFO healthy: signs mints and payouts"]
    assert log.fields[0] | {"healthy": True, "cannot": "", "signs": "mint,payout"} == log.fields[0]


def test_an_outage_is_a_line_and_its_end_one(log: Log) -> None:
    log.see()
    assert log.see(chains=(away(11.0),)) == [
        "WARNING not healthy: Ethereum: not read to its head for 11 s: no answer in time; signs nothing"
    ]
    assert log.see(chains=(away(12.0, "connection refused"),)) == [], "the same in other words"
    fields = {"healthy": False, "cannot": "scan", "signs": "", "code": "not_read"}
    assert log.fields[-1] | fields == log.fields[-1]
    assert log.fields[-1]["reason"].startswith("Ethereum: not read")
    assert log.see() == ["INFO healthy again: over after 2 s: Ethereum; signs mints and payouts"]
    assert log.fields[-1] | {"healthy": True, "code": "not_read"} == log.fields[-1]


def test_a_node_that_fails_in_another_way_is_still_the_same_outage(log: Log) -> None:
    log.see()
    causes = ["Ethereum", "a question to Ethereum", "the agreement of the Ethereum endpoints", "heads of ethereum", "Ethereum"]
    assert len([line for cause in causes for line in log.see(5, chains=(away(11.0, cause=cause),))]) == 1
    assert log.see() == ["INFO healthy again: over after 25 s: Ethereum; signs mints and payouts"]


def test_endpoints_that_do_not_agree_are_told_of_each_chain(log: Log) -> None:
    log.see()
    ill = tuple(away(11.0, "1 of 2", name, f"the agreement of the {name} endpoints") for name in ("Pocket", "Ethereum"))
    assert [line.split(":")[1].strip() for line in log.see(5, chains=ill)] == ["Pocket", "Ethereum"]
    assert log.see(chains=(ill[0], WELL)) == ["INFO still not healthy, 1 problem left: over after 5 s: Ethereum; signs nothing"]


def test_of_two_each_is_told_and_health_comes_back_with_the_last(log: Log) -> None:
    log.see()
    held = SigningFacts(holds=[HoldFacts(BOTH, "deep_reorg")])
    assert len(log.see(chains=(away(11.0),))) == 1
    assert log.see(chains=(away(12.0),), signing=held) == [
        "WARNING not healthy: signs no mints and no payouts: deep_reorg; signs nothing"
    ]
    assert log.see(signing=held) == ["INFO still not healthy, 1 problem left: over after 2 s: Ethereum; signs nothing"]
    assert log.see() == ["INFO healthy again: over after 2 s: hold of mints and payouts; signs mints and payouts"]


def test_what_flaps_does_not_fill_the_log(log: Log) -> None:
    log.see()
    for _ in range(300):
        log.see(chains=(away(11.0),))
        log.see()
    assert len(log.lines) == 1 + 2 + 1, "healthy, once there and over, and there again"
    assert log.see(3600)[-1].startswith("INFO healthy again")
    assert len(log.see(chains=(away(11.0),))) == 1, "after a long peace it is a new outage"


def test_what_each_start_goes_through_is_told_only_where_it_lasts(log: Log) -> None:
    empty = ChainFacts("Ethereum", poll=1.0)
    assert log.see(int(START_SECONDS) - 1, chains=(empty,)) == []
    assert log.see(5, chains=(empty,)) == [
        "WARNING not healthy: Ethereum: its node has shown no block in the 60 s since the start; signs nothing"
    ]
    assert log.see(5) == ["INFO healthy again: over after 1 min 4 s: Ethereum; signs mints and payouts"], "since it is there"
    assert len(log.see(int(START_SECONDS), chains=(empty,))) == 1
    assert "over after 1 min:" in log.see(60)[-1], "of another one the time counts anew"


def test_what_is_no_matter_of_a_start_is_told_at_once(log: Log) -> None:
    empty = ChainFacts("Ethereum", poll=1.0)
    (line,) = log.see(chains=(empty,), unwritable=["ledger: the disk is full"])
    assert line == "WARNING not healthy: cannot write its state: ledger: the disk is full; signs nothing"
