"""Heads, position, faults, the flow and the supervisor."""

import asyncio
import os
import random
import signal
from collections.abc import AsyncIterator, Hashable
from typing import Any

import pytest
from bson import ObjectId
from bson.errors import InvalidBSON
from pymongo.errors import AutoReconnect, InvalidOperation, OperationFailure, ServerSelectionTimeoutError
from reactivex.subject import Subject

from reactor.engine.backoff import Backoff
from reactor.engine.dispatcher import Dispatcher, Limits
from reactor.engine.faults import StreamFault, StreamInvalidatedError, classify
from reactor.engine.feed import Change, pipeline
from reactor.engine.heads import HeadSource
from reactor.engine.keys import DONE, Cause, Head, Outcome, Waiting, Wake
from reactor.engine.loops import Loops
from reactor.engine.position import PositionTracker, token_seconds
from reactor.engine.reactor import Reactor, SweepOptions
from reactor.engine.supervisor import LoopError, Stop, Supervisor
from reactor.outages import Outages
from tests.virtual_clock import VirtualClock, settle

pytestmark = pytest.mark.unit


def token(number: int) -> dict[str, Any]:
    return {"_data": str(number)}


# ------------------------------------------------------------------ position


def test_the_position_moves_only_behind_finished_work() -> None:
    tracker = PositionTracker()
    tracker.reset(token(0))
    first, second, third = (tracker.saw(token(n)) for n in (1, 2, 3))
    second.finish()
    assert tracker.safe == token(0)
    first.finish()
    assert tracker.safe == token(2)
    tracker.passed(token(4))
    assert (tracker.safe, tracker.newest) == (token(2), token(4))
    third.finish()
    third.finish()
    assert tracker.safe == token(4)
    tracker.passed(token(5))
    assert (tracker.safe, tracker.in_flight) == (token(5), 0)


def test_after_a_loss_of_history_old_work_no_longer_moves_the_position() -> None:
    tracker = PositionTracker()
    old = tracker.saw(token(1))
    tracker.reset(token(100))
    old.finish()
    assert tracker.safe == token(100)


async def test_too_many_open_events_hold_the_reader() -> None:
    tracker = PositionTracker(max_open=2)
    first = tracker.saw(token(1))
    await asyncio.wait_for(tracker.room(), 60)
    tracker.saw(token(2))
    waiting = asyncio.create_task(tracker.room())
    await settle()
    assert not waiting.done()
    first.finish()
    await asyncio.wait_for(waiting, 60)


def test_the_time_of_a_token() -> None:
    assert token_seconds({"_data": "8265A1B2C3000000012B0229296E04"}) == 0x65A1B2C3
    for other in (None, {}, {"_data": 1}, {"_data": "00"}, {"_data": "82zzzzzzzz"}):
        assert token_seconds(other) is None


# ------------------------------------------------------------------ faults


@pytest.mark.parametrize(
    ("error", "tries", "fault"),
    [
        (OperationFailure("x", 286), 1, StreamFault.LOST),
        (OperationFailure("x", 280), 1, StreamFault.LOST),
        (OperationFailure("x", 260), 1, StreamFault.LOST),
        (OperationFailure("x", 136), 1, StreamFault.LOST),
        (OperationFailure("x", 10334), 1, StreamFault.LOST),
        (OperationFailure("x", 1, {"errorLabels": ["NonResumableChangeStreamError"]}), 1, StreamFault.LOST),
        (StreamInvalidatedError(), 1, StreamFault.LOST),
        (InvalidBSON(), 1, StreamFault.LOST),
        (OperationFailure("x", 11601), 1, StreamFault.AGAIN),
        (OperationFailure("x", 11601), 5, StreamFault.LOST),
        (OperationFailure("x", 13), 50, StreamFault.AGAIN),
        (AutoReconnect("x"), 50, StreamFault.AGAIN),
        (ServerSelectionTimeoutError("x"), 50, StreamFault.AGAIN),
        (InvalidOperation("x"), 1, StreamFault.AGAIN),
        (TimeoutError(), 50, StreamFault.AGAIN),
        (ZeroDivisionError(), 1, StreamFault.OURS),
        (KeyError("documentKey"), 1, StreamFault.OURS),
    ],
)
def test_what_a_broken_stream_means(error: Exception, tries: int, fault: StreamFault) -> None:
    assert classify(error, tries) is fault


def test_the_pipeline_carries_no_content() -> None:
    match, project = pipeline(["mint", "burn"])
    assert set(project["$project"]) == {"_id", "ns", "documentKey", "operationType"}
    assert "fullDocument" not in str(match)
    assert match["$match"]["$or"][0]["documentKey._id"] == {"$type": "objectId"}


def test_the_pause_doubles_up_to_its_bound() -> None:
    class Most(random.Random):
        def uniform(self, a: float, b: float) -> float:
            return b

    assert [Backoff(0.1, 2.0).pause(n, Most()) for n in (1, 2, 3, 50, 10_000)] == [0.1, 0.2, 0.4, 2.0, 2.0]


# ------------------------------------------------------------------ heads


async def test_heads_go_on_after_failures_backwards_and_beside_each_other() -> None:
    clock = VirtualClock()
    source = HeadSource(clock, backoff=Backoff(1.0, 1.0))
    scripts: list[list[object]] = [[5, 6, 6, 4, ConnectionError("away")], [-1], ["7"], [8]]

    async def eth() -> AsyncIterator[int]:
        for step in scripts.pop(0) if scripts else []:
            if isinstance(step, Exception):
                raise step
            yield step  # type: ignore[misc]
        if not scripts:
            await asyncio.Event().wait()

    async def pocket() -> AsyncIterator[int]:
        yield 100
        await asyncio.Event().wait()

    source.add("eth", eth)
    source.add("pocket", pocket)
    seen: list[Head] = []
    source.heads.subscribe(seen.append)
    stop = asyncio.Event()
    task = asyncio.create_task(source.run(stop))
    await clock.advance(10)
    assert [head.height for head in seen if head.chain == "eth"] == [5, 6, 4, 8]
    assert Head("pocket", 100) in seen
    assert (source.newest("eth"), source.failures["eth"]) == (8, 3)
    assert source.newest("elsewhere") is None
    source.observe("eth", 3)
    assert source.newest("eth") == 3
    stop.set()
    await asyncio.wait_for(task, 60)


async def test_a_chain_that_answers_without_a_new_head_is_away_no_more() -> None:
    clock = VirtualClock()
    outages = Outages(clock.monotonic)
    source = HeadSource(clock, loops=Loops(clock, backoff=Backoff(1.0, 1.0), outages=outages))
    back = asyncio.Event()

    async def eth() -> AsyncIterator[int]:
        if back.is_set():
            source.well("eth")
            await asyncio.Event().wait()
        raise ConnectionRefusedError
        yield 1

    source.add("eth", eth)
    stop = asyncio.Event()
    task = asyncio.create_task(source.run(stop))
    await clock.advance(3)
    assert outages.away() == {"heads of eth": "connection refused"}
    back.set()
    await clock.advance(3)
    assert outages.away() == {}
    stop.set()
    await asyncio.wait_for(task, 60)


@pytest.mark.parametrize("height", [-1, True, "7", None, 1.5])
def test_a_head_that_is_no_height_is_refused(height: Any) -> None:
    with pytest.raises(ValueError, match="height"):
        HeadSource(VirtualClock()).observe("eth", height)


# ------------------------------------------------------------------ the flow


class FakeFeed:
    """A feed whose events a test makes."""

    def __init__(self) -> None:
        self.collections = frozenset({"mint", "burn"})
        self.subjects: dict[str, Subject[Change]] = {name: Subject() for name in self.collections}
        self.live = asyncio.Event()
        self.tracker = PositionTracker()
        self.saves = 0

    def changes(self, name: str) -> Subject[Change]:
        return self.subjects[name]

    async def run(self, stop: asyncio.Event, *, scan: Any, pace: Any) -> None:
        await scan("start")
        self.live.set()
        await stop.wait()

    async def save_position(self) -> None:
        self.saves += 1

    def write(self, name: str, found: ObjectId) -> None:
        ticket = self.tracker.saw(token(1))
        self.subjects[name].on_next(Change(name, found, "update", ticket))


async def test_four_sources_end_in_one_flow() -> None:
    clock, feed = VirtualClock(), FakeFeed()
    heads, dispatcher = HeadSource(clock), Dispatcher(clock, Limits(settle=0.1))
    reactor = Reactor(feed, heads, dispatcher, clock, sweep=SweepOptions(every=60, jitter=0))  # type: ignore[arg-type]
    one, two = ObjectId(), ObjectId()
    calls: list[tuple[Hashable, Cause]] = []

    async def handle(found: Hashable, cause: Cause) -> Outcome:
        calls.append((found, cause))
        if found == two:
            return DONE
        return Waiting("depth", wake=Wake(heads=frozenset({("eth", 7)}), after=20))

    async def open_ids() -> AsyncIterator[Hashable]:
        yield one

    async def broken_ids() -> AsyncIterator[Hashable]:
        if feed.live.is_set():
            raise ConnectionError("no primary")
        yield two

    reactor.subscribe("burn", handle, broken_ids)
    reactor.subscribe("mint", handle, open_ids)
    stop = asyncio.Event()
    task = asyncio.create_task(reactor.run(stop))
    await settle()
    assert set(calls) == {(one, Cause.START), (two, Cause.START)}
    calls.clear()
    feed.write("mint", one)
    await settle()
    heads.observe("eth", 7)
    await settle()
    await clock.advance(21)
    reactor.ring("mint", one)
    await settle()
    assert [cause for _, cause in calls] == [Cause.CHANGE, Cause.HEAD, Cause.TIMER, Cause.CHANGE]
    calls.clear()
    await clock.advance(18)
    assert not calls
    await clock.advance(22)
    assert (one, Cause.SWEEP) in calls, "a part that fails does not stop the sweep of the others"
    assert reactor.counters.failures == 1
    assert feed.tracker.in_flight == 0
    stop.set()
    await asyncio.wait_for(task, 60)
    assert feed.saves == 1


def test_a_collection_outside_the_feed_is_refused() -> None:
    clock = VirtualClock()
    reactor = Reactor(FakeFeed(), HeadSource(clock), Dispatcher(clock), clock)  # type: ignore[arg-type]
    with pytest.raises(ValueError, match="feed's collections"):
        reactor.subscribe("elsewhere", lambda found, cause: asyncio.sleep(0, DONE))


# ------------------------------------------------------------------ supervisor


async def obedient(stop: asyncio.Event) -> None:
    await stop.wait()


async def stubborn(stop: asyncio.Event) -> None:
    await asyncio.Event().wait()


async def faulty(stop: asyncio.Event) -> None:
    await asyncio.sleep(0)
    raise ZeroDivisionError("a bug")


async def faithless(stop: asyncio.Event) -> None:
    await asyncio.sleep(0)


async def deaf(stop: asyncio.Event) -> None:
    while not stop.is_set() or len(asyncio.all_tasks()) > 2:
        try:
            await asyncio.sleep(30)
            if stop.is_set():
                return
        except asyncio.CancelledError:
            continue


async def test_a_signal_stops_all_and_is_no_fault() -> None:
    with Stop().on_signals() as stop:
        supervisor = Supervisor(stop, grace=5)
        supervisor.add("one", obedient)
        supervisor.add("two", obedient)
        task = asyncio.create_task(supervisor.run())
        await settle()
        os.kill(os.getpid(), signal.SIGTERM)
        await asyncio.wait_for(task, 60)


async def test_who_does_not_stop_is_cancelled() -> None:
    supervisor = Supervisor(Stop(), grace=0.05)
    supervisor.stop.set()
    cancelled: list[str] = []

    async def deaf(stop: asyncio.Event) -> None:
        try:
            await stubborn(stop)
        except asyncio.CancelledError:
            cancelled.append("by the supervisor")
            raise

    supervisor.add("deaf", deaf)
    await supervisor.run()  # without an end of its own it would never come back
    assert cancelled == ["by the supervisor"]


async def test_a_second_signal_does_not_wait_for_the_grace() -> None:
    with Stop().on_signals() as stop:
        supervisor = Supervisor(stop, grace=900)
        supervisor.add("stubborn", stubborn)
        task = asyncio.create_task(supervisor.run())
        await settle()
        for _ in range(2):
            os.kill(os.getpid(), signal.SIGINT)
            await settle()
            await asyncio.sleep(0.01)
        await asyncio.wait_for(task, 60)


@pytest.mark.parametrize(("loop", "error"), [(faulty, "ZeroDivisionError"), (faithless, "nobody asked")])
async def test_one_fault_ends_all(loop: Any, error: str) -> None:
    supervisor = Supervisor(Stop(), grace=5)
    supervisor.add("good", obedient)
    supervisor.add("bad", loop)
    with pytest.raises(LoopError, match=error) as caught:
        await asyncio.wait_for(supervisor.run(), 60)
    assert "'bad'" in str(caught.value)


async def test_who_ignores_his_cancellation_is_named() -> None:
    supervisor = Supervisor(Stop(), grace=0.01, cancel_grace=0.01)
    supervisor.add("deaf", deaf)
    supervisor.stop.set()
    with pytest.raises(LoopError, match="deaf"):
        await asyncio.wait_for(supervisor.run(), 60)


def test_a_name_is_given_once() -> None:
    supervisor = Supervisor(Stop())
    supervisor.add("one", obedient)
    with pytest.raises(ValueError, match="already"):
        supervisor.add("one", obedient)
