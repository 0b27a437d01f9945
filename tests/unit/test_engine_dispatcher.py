"""The dispatcher's rules one by one, on a virtual clock."""

import asyncio
from collections.abc import AsyncIterator, Callable, Hashable
from contextlib import asynccontextmanager

import pytest
from loguru import logger

from reactor.engine.backoff import Backoff
from reactor.engine.dispatcher import Dispatcher, Handler, Limits
from reactor.engine.keys import DONE, Cause, Head, Key, Outcome, Waiting, Wake, WakeUp
from tests.virtual_clock import VirtualClock, settle

pytestmark = pytest.mark.unit

A, B = Key("mint", "a"), Key("mint", "b")
SIGNED_BY_OTHERS = Wake(rings=3, settle=1.0)


class Bench:
    """A dispatcher whose handler follows a script per id, then says done."""

    def __init__(self, **limits: object) -> None:
        self.clock = VirtualClock()
        defaults: dict[str, object] = {"settle": 0.5, "backoff": Backoff(1.0, 8.0), "grace": 0.1}
        self.dispatcher = Dispatcher(self.clock, Limits(**(defaults | limits)))  # type: ignore[arg-type]
        self.dispatcher.due.subscribe(self.dispatcher.ring)
        self.calls: list[tuple[Hashable, Cause]] = []
        self.script: dict[Hashable, list[Outcome | Exception]] = {}
        self.dispatcher.on("mint", self.handle)

    async def handle(self, found: Hashable, cause: Cause) -> Outcome:
        self.calls.append((found, cause))
        step = self.script.get(found, [])
        outcome = step.pop(0) if step else DONE
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    async def ring(self, key: Key, cause: Cause = Cause.CHANGE) -> None:
        self.dispatcher.ring(WakeUp(key, cause))
        await settle()

    async def head(self, chain: str, height: int) -> None:
        for wakeup in self.dispatcher.reached(Head(chain, height)):
            self.dispatcher.ring(wakeup)
        await settle()

    @asynccontextmanager
    async def run(self) -> AsyncIterator[None]:
        stop = asyncio.Event()
        task = asyncio.create_task(self.dispatcher.run(stop))
        await settle()
        try:
            yield
        finally:
            stop.set()
            await asyncio.wait_for(task, 60)


@pytest.fixture
async def bench() -> AsyncIterator[Bench]:
    bench = Bench()
    async with bench.run():
        yield bench


async def test_a_never_seen_key_is_handled_at_once(bench: Bench) -> None:
    await bench.ring(A)
    assert bench.calls == [("a", Cause.CHANGE)]


async def test_a_closed_key_that_rings_again_costs_one_read_per_burst(bench: Bench) -> None:
    await bench.ring(A)
    for _ in range(5):
        await bench.ring(A)
    assert len(bench.calls) == 1
    await bench.clock.advance(0.49)
    assert len(bench.calls) == 1
    await bench.clock.advance(0.02)
    assert len(bench.calls) == 2
    await bench.clock.advance(10)
    assert len(bench.calls) == 2


async def test_a_closed_key_that_a_sweep_finds_open_is_handled_at_once(bench: Bench) -> None:
    await bench.ring(A)
    await bench.ring(A, Cause.SWEEP)
    assert bench.calls[-1] == ("a", Cause.SWEEP)


async def test_closed_keys_are_forgotten_beyond_the_bound() -> None:
    bench = Bench(remembered=1)
    async with bench.run():
        await bench.ring(A)
        await bench.ring(B)
        await bench.ring(A)
        assert [found for found, _ in bench.calls] == ["a", "b", "a"], "forgotten, so it is new"
        assert bench.dispatcher.load().settling == 0
        assert not bench.dispatcher._entries


async def test_a_head_wakes_who_waits_for_it_and_nobody_else(bench: Bench) -> None:
    bench.script["a"] = [Waiting("depth", wake=Wake(heads=frozenset({("eth", 10)})))]
    bench.script["b"] = [Waiting("depth", wake=Wake(heads=frozenset({("eth", 12)})))]
    await bench.ring(A)
    await bench.ring(B)
    await bench.head("eth", 9)
    await bench.head("pocket", 99)
    assert len(bench.calls) == 2
    await bench.head("eth", 11)
    assert bench.calls[2:] == [("a", Cause.HEAD)]


async def test_a_head_that_arrives_during_the_handling_is_not_lost() -> None:
    bench = Bench()
    wait = Waiting("depth", wake=Wake(heads=frozenset({("eth", 10)})))

    async def handle(found: Hashable, cause: Cause) -> Outcome:
        bench.calls.append((found, cause))
        if len(bench.calls) == 1:
            await bench.head("eth", 10)
            return wait
        return DONE

    bench.dispatcher.on("burn", handle)
    async with bench.run():
        await bench.ring(Key("burn", 1))
        await asyncio.wait_for(bench.dispatcher.idle(), 60)
        assert bench.calls == [(1, Cause.CHANGE), (1, Cause.HEAD)]


async def test_a_head_that_is_old_news_does_not_spin(bench: Bench) -> None:
    await bench.head("eth", 20)
    bench.script["a"] = [Waiting("depth", wake=Wake(heads=frozenset({("eth", 10)})))] * 50
    await bench.ring(A)
    assert len(bench.calls) == 1
    await bench.head("eth", 21)
    assert len(bench.calls) == 2


async def test_a_timer_wakes_once(bench: Bench) -> None:
    bench.script["a"] = [Waiting("later", wake=Wake(after=5.0))]
    await bench.ring(A)
    await bench.clock.advance(4.9)
    assert len(bench.calls) == 1
    await bench.clock.advance(0.2)
    assert bench.calls[1:] == [("a", Cause.TIMER)]
    await bench.clock.advance(100)
    assert len(bench.calls) == 2


async def test_rings_below_the_hint_are_saved_up(bench: Bench) -> None:
    bench.script["a"] = [Waiting("signatures", wake=SIGNED_BY_OTHERS)] * 2
    await bench.ring(A)
    await bench.ring(A)
    await bench.ring(A)
    assert len(bench.calls) == 1
    await bench.ring(A)
    assert len(bench.calls) == 2, "the third ring wakes"
    await bench.ring(A)
    await bench.clock.advance(0.9)
    assert len(bench.calls) == 2
    await bench.clock.advance(0.2)
    assert bench.calls[2:] == [("a", Cause.CHANGE)], "a ring below the hint wakes after the settle time"


@pytest.mark.parametrize("cause", [Cause.SWEEP, Cause.START])
async def test_other_causes_ignore_the_hint(bench: Bench, cause: Cause) -> None:
    bench.script["a"] = [Waiting("signatures", wake=SIGNED_BY_OTHERS)]
    await bench.ring(A)
    await bench.ring(A, cause)
    assert bench.calls[1:] == [("a", cause)]


async def test_a_failure_is_that_keys_problem(bench: Bench) -> None:
    bench.script["a"] = [ValueError("poison"), RuntimeError("still")]
    await bench.ring(A)
    await bench.ring(B)
    assert bench.calls == [("a", Cause.CHANGE), ("b", Cause.CHANGE)]
    (stuck,) = bench.dispatcher.stuck()
    assert (stuck.key, stuck.error, stuck.failures) == (A, "ValueError: poison", 1)
    assert stuck.next_try_in is not None
    assert 0.5 <= stuck.next_try_in <= 1.0
    since = stuck.since
    await bench.ring(A)
    assert len(bench.calls) == 2, "ringing a stuck key does not make us spin"
    await bench.clock.advance(1.0)
    assert bench.calls[2] == ("a", Cause.RETRY)
    (stuck,) = bench.dispatcher.stuck()
    assert (stuck.error, stuck.failures, stuck.since) == ("RuntimeError: still", 2, since)
    await bench.clock.advance(2.0)
    assert not bench.dispatcher.stuck(), "a success clears it"


@pytest.mark.parametrize("before", ["backed off", "waiting", "done", "unknown"])
async def test_what_an_operator_wants_taken_up_is_handled_at_once_wherever_it_stands(bench: Bench, before: str) -> None:
    """`reactor retry` rings twice: as a sweep, which a key in back-off lets pass, and as its timer, which ends the back-off."""
    bench.script["a"] = {"backed off": [RuntimeError("x")], "waiting": [Waiting("w", {}, Wake(after=1e6))]}.get(before, [])
    if before != "unknown":
        await bench.ring(A)
    bench.calls.clear()
    bench.dispatcher.ring(WakeUp(A, Cause.SWEEP))
    bench.dispatcher.ring(WakeUp(A, Cause.TIMER))
    await settle()
    assert bench.calls == [("a", Cause.RETRY if before == "backed off" else Cause.SWEEP)]


async def test_a_sweep_alone_leaves_a_key_in_its_back_off(bench: Bench) -> None:
    bench.script["a"] = [RuntimeError("x")]
    await bench.ring(A)
    await bench.ring(A, Cause.SWEEP)
    assert len(bench.calls) == 1


async def test_the_back_off_is_bounded(bench: Bench) -> None:
    bench.script["a"] = [ValueError("poison")] * 100
    await bench.ring(A)
    await bench.clock.advance(800)
    assert len(bench.calls) >= 100, "at most 8 s apart"
    assert bench.dispatcher.counters.failed == 100


async def nothing(found: Hashable, cause: Cause) -> Outcome:
    return None  # type: ignore[return-value]


async def cancelled(found: Hashable, cause: Cause) -> Outcome:
    raise asyncio.CancelledError


async def endless(found: Hashable, cause: Cause) -> Outcome:
    await asyncio.Event().wait()
    return DONE


async def broken_group(found: Hashable, cause: Cause) -> Outcome:
    async with asyncio.TaskGroup() as group:
        group.create_task(nothing_but_trouble())
    return DONE


async def nothing_but_trouble() -> None:
    raise KeyError("trouble")


@pytest.mark.parametrize(
    ("handler", "error"),
    [
        (nothing, "must return Done or Waiting"),
        (cancelled, "cancelled from within"),
        (endless, "longer than 0.01 s"),
        (broken_group, "KeyError: 'trouble'"),
    ],
)
async def test_however_a_handler_misbehaves_the_others_move_on(handler: Handler, error: str) -> None:
    bench = Bench(concurrency=1)
    bench.dispatcher.on("burn", handler, timeout=0.01)
    async with bench.run():
        bench.dispatcher.ring(WakeUp(Key("burn", 1), Cause.CHANGE))
        bench.dispatcher.ring(WakeUp(A, Cause.CHANGE))
        await asyncio.wait_for(bench.dispatcher.idle(), 60)
        assert bench.calls == [("a", Cause.CHANGE)]
        (stuck,) = bench.dispatcher.stuck()
        assert error in stuck.error


async def test_a_collection_without_handler_is_that_keys_problem(bench: Bench) -> None:
    await bench.ring(Key("unknown", 1))
    (stuck,) = bench.dispatcher.stuck()
    assert stuck.error.startswith("KeyError")


async def test_failures_of_many_tries_do_not_flood_the_log(bench: Bench) -> None:
    lines: list[str] = []
    sink = logger.add(lines.append, level="INFO", format="{message}", diagnose=False, backtrace=False)
    bench.script["a"] = [ValueError("poison")] * 70
    await bench.ring(A)
    await bench.clock.advance(700)
    logger.remove(sink)
    told = [line.strip() for line in lines if "Traceback" not in line]
    assert len(lines) - len(told) == 1, "one traceback"
    begins = [
        "mint a fails: ValueError: poison",
        "mint a has been failing for 1",
        "mint a has been failing for 5",
        "mint a works again",
    ]
    assert [line[: len(start)] for line, start in zip(told, begins, strict=True)] == begins
    assert told[-1].endswith("70 failures")


@pytest.mark.parametrize(("error", "traced"), [(ConnectionError("node away"), False), (ValueError("a bug"), True)])
async def test_what_is_expected_to_fail_is_told_without_a_traceback(bench: Bench, error: Exception, *, traced: bool) -> None:
    lines: list[str] = []
    sink = logger.add(lines.append, level="WARNING", format="{message}", diagnose=False, backtrace=False)
    bench.dispatcher._expected = (ConnectionError,)
    bench.script["a"] = [error]
    await bench.ring(A)
    logger.remove(sink)
    assert str(error) in lines[0]
    assert any("Traceback" in line for line in lines) == traced


async def test_waiting_shows_the_reason_since_it_holds(bench: Bench) -> None:
    bench.script["a"] = [Waiting("depth", {"missing": 3}), Waiting("depth", {"missing": 2}), Waiting("vault_short")]
    await bench.ring(A)
    first = bench.clock.now()
    await bench.clock.advance(10)
    await bench.ring(A)
    (row,) = bench.dispatcher.waiting()
    assert (row.outcome.params, row.since) == ({"missing": 2}, first)
    await bench.ring(A)
    (row,) = bench.dispatcher.waiting()
    assert (row.outcome.reason, row.since) == ("vault_short", bench.clock.now())


async def test_room_holds_the_queue_below_its_limit() -> None:
    bench = Bench(queued=2, concurrency=1)
    bench.dispatcher.ring(WakeUp(A, Cause.CHANGE))
    await asyncio.wait_for(bench.dispatcher.submit(WakeUp(B, Cause.CHANGE)), 60)
    assert bench.dispatcher.full
    third = asyncio.create_task(bench.dispatcher.submit(WakeUp(Key("mint", "c"), Cause.CHANGE)))
    await settle()
    assert not third.done()
    async with bench.run():
        await asyncio.wait_for(third, 60)
        await bench.dispatcher.idle()
    assert [found for found, _ in bench.calls] == ["a", "b", "c"]


async def test_work_counts_from_the_moment_it_is_taken() -> None:
    bench = Bench()
    await asyncio.wait_for(bench.dispatcher.idle(), 60)
    bench.dispatcher.ring(WakeUp(A, Cause.CHANGE))
    idle = asyncio.create_task(bench.dispatcher.idle())
    await settle()
    assert not idle.done()
    async with bench.run():
        await asyncio.wait_for(idle, 60)
    assert bench.calls


@pytest.mark.parametrize("patient", [True, False])
async def test_a_stop_lets_work_finish_within_its_grace(patient: bool) -> None:
    bench = Bench(grace=5.0 if patient else 0.05)
    go = asyncio.Event()
    ended: list[str] = []

    async def slow(found: Hashable, cause: Cause) -> Outcome:
        try:
            await go.wait()
            ended.append("finished")
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise
        return DONE

    bench.dispatcher.on("burn", slow)
    stop = asyncio.Event()
    task = asyncio.create_task(bench.dispatcher.run(stop))
    await bench.ring(Key("burn", 1))
    await bench.ring(Key("burn", 1))
    stop.set()
    await settle()
    if patient:
        go.set()
    await asyncio.wait_for(task, 60)
    assert ended == ["finished" if patient else "cancelled"]


async def test_one_owner_per_collection(bench: Bench) -> None:
    with pytest.raises(ValueError, match="one owner"):
        bench.dispatcher.on("mint", nothing)


@pytest.mark.parametrize(
    "make",
    [
        lambda: Wake(after=0),
        lambda: Wake(after=float("nan")),
        lambda: Wake(after=float("inf")),
        lambda: Wake(settle=0),
        lambda: Wake(rings=-1),
    ],
)
def test_a_wake_that_would_spin_or_never_come_is_refused(make: Callable[[], Wake]) -> None:
    with pytest.raises(ValueError, match="Wake"):
        make()


def test_the_smallest_sensible_wake() -> None:
    assert Wake(after=0.001, settle=0.001, rings=0)


async def test_timers_and_heads_left_behind_do_not_pile_up(bench: Bench) -> None:
    wait = Waiting("x", wake=Wake(after=1000.0, heads=frozenset({("eth", 10**9)})))
    bench.script["a"] = [wait] * 2000
    for _ in range(2000):
        bench.dispatcher.ring(WakeUp(A, Cause.CHANGE))
        await bench.dispatcher.idle()
    assert len(bench.dispatcher._timers._heap) < 200
    assert len(bench.dispatcher._heads._heaps["eth"]) < 200


async def test_a_settling_ring_never_puts_off_an_earlier_timer(bench: Bench) -> None:
    bench.script["a"] = [Waiting("later", wake=Wake(after=2.0, rings=3, settle=60.0))]
    await bench.ring(A)
    await bench.ring(A)
    await bench.clock.advance(2.1)
    assert len(bench.calls) == 2


# ---------------------------------------------------------------- strange keys


class Doors(Bench):
    """A bench whose handlings stay in work until they are let go; ids above 99 are strange."""

    def __init__(self, **limits: object) -> None:
        super().__init__(**limits)
        self.known: set[Hashable] = set()
        self.gates: dict[Hashable, asyncio.Event] = {}
        self.dispatcher._strange = lambda key: isinstance(key.id, int) and key.id > 99 and key.id not in self.known

    async def handle(self, found: Hashable, cause: Cause) -> Outcome:
        await self.gates.setdefault(found, asyncio.Event()).wait()
        return await super().handle(found, cause)

    async def let_go(self, *ids: Hashable) -> None:
        for one in ids:
            self.gates.setdefault(one, asyncio.Event()).set()
        await settle()


def _keys(*ids: int) -> list[Key]:
    return [Key("mint", one) for one in ids]


async def test_strange_keys_take_a_share_of_the_handlings_and_come_after_all_others() -> None:
    bench = Doors(concurrency=8, strange_share=4)
    async with bench.run():
        for key in _keys(*range(100, 120)):
            await bench.ring(key)
        assert bench.dispatcher.load().working == 2
        for key in _keys(*range(10)):
            await bench.ring(key)
        assert bench.dispatcher.load().working == 8, "the others use what is left"
        await bench.let_go(*range(10))
        assert sorted(one for one, _ in bench.calls) == [*range(10)]
        await bench.let_go(*range(100, 120))
        assert sorted(one for one, _ in bench.calls[10:]) == [*range(100, 120)], "each of them has its turn"
        assert bench.dispatcher.load().strange == 0
        await asyncio.wait_for(bench.dispatcher.idle(), 60)


async def test_only_so_many_strange_keys_are_known_and_nobody_waits_for_them() -> None:
    bench = Doors(queued=5, strangers=20)
    async with bench.run():
        for key in _keys(*range(100, 200)):
            await bench.ring(key)
        assert (bench.dispatcher.load().strange, bench.dispatcher.counters.turned_away) == (20, 80)
        assert not bench.dispatcher.full
        await bench.let_go(*range(100, 200))
        assert len(bench.calls) == 20
        await bench.ring(Key("mint", 199))
        assert len(bench.calls) == 21, "there is place again"


async def test_a_ticket_of_a_strange_key_that_finds_no_place_is_not_taken() -> None:
    class Slip:
        taken = 0

        def take(self) -> None:
            self.taken += 1

        def finish(self) -> None:
            """The feed finishes what nobody took."""

    bench, slips = Doors(strangers=1), (Slip(), Slip())
    async with bench.run():
        for key, slip in zip(_keys(100, 101), slips, strict=True):
            bench.dispatcher.ring(WakeUp(key, Cause.CHANGE, slip))
        assert [slip.taken for slip in slips] == [1, 0]
        await bench.let_go(100)


async def test_a_key_that_is_strange_no_more_is_handled_among_the_others() -> None:
    bench = Doors(concurrency=4, strange_share=4, strangers=3)
    bench.script[102] = [Waiting("later", wake=Wake(after=5.0))]
    async with bench.run():
        await bench.ring(Key("mint", 102))
        await bench.let_go(102)
        for key in _keys(100, 101):
            await bench.ring(key)
        assert bench.dispatcher.load().strange == 3
        bench.known.add(102)
        await bench.ring(Key("mint", 102))
        assert [one for one, _ in bench.calls] == [102, 102], "100 has the strangers' only place"
        assert bench.dispatcher.load().strange == 2
        await bench.let_go(100, 101)
        assert bench.dispatcher.load().strange == 0


async def test_without_a_word_about_strangers_nobody_is_one(bench: Bench) -> None:
    for key in _keys(*range(100, 130)):
        await bench.ring(key)
    assert (len(bench.calls), bench.dispatcher.counters.turned_away) == (30, 0)
