"""The dispatcher against a model: never two at once, no wake-up lost, faults stay apart, first come first served."""

import asyncio
import itertools
import random
from collections.abc import Hashable
from dataclasses import dataclass, field

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule
from loguru import logger

from reactor.engine.backoff import Backoff
from reactor.engine.dispatcher import Dispatcher, Limits
from reactor.engine.keys import DONE, Cause, Head, Key, Outcome, Waiting, Wake, WakeUp
from tests.virtual_clock import VirtualClock, settle

pytestmark = pytest.mark.property

KEYS = [Key("mint", number) for number in range(4)]
SETTLE = 0.5
BACKOFF = Backoff(first=1.0, most=8.0)
TIMEOUT = 10_000.0


class NoJitter(random.Random):
    def uniform(self, a: float, b: float) -> float:
        return b


class Ticket:
    def __init__(self) -> None:
        self.taken = False
        self.finished = 0

    def take(self) -> None:
        self.taken = True

    def finish(self) -> None:
        self.finished += 1


@dataclass
class Model:
    """What the rules of the engine say about one key."""

    state: str = "new"  # new, queued, working, waiting, backoff, settling, closed
    rings: int = 0
    again: bool = False
    due: float | None = None
    set_as: int = 0  # the place of its timer among all that were set: equal times come in that order
    wake: Wake = field(default_factory=Wake)
    failures: int = 0
    heads_during: dict[str, int] = field(default_factory=dict)


wakes = st.builds(
    Wake,
    heads=st.frozensets(st.tuples(st.sampled_from(["a", "b"]), st.integers(0, 6)), max_size=2),
    after=st.none() | st.sampled_from([0.25, 1.0, 3.0]),
    rings=st.integers(0, 4),
    settle=st.sampled_from([0.25, 1.0]),
)


class DispatcherMachine(RuleBasedStateMachine):
    @initialize(concurrency=st.integers(1, 4))
    def begin(self, concurrency: int) -> None:
        self.runner = asyncio.Runner()
        self.concurrency = concurrency
        self.clock = VirtualClock()
        self.model = {key: Model() for key in KEYS}
        self.queue: list[Key] = []
        self.timers = itertools.count()
        self.orders: dict[Key, asyncio.Future[Outcome]] = {}
        self.active: list[Key] = []
        self.tickets: list[tuple[Key, Ticket]] = []
        self.runner.run(self.open())

    async def open(self) -> None:
        limits = Limits(concurrency=self.concurrency, settle=SETTLE, backoff=BACKOFF, timeout=TIMEOUT, grace=1.0)
        self.dispatcher = Dispatcher(self.clock, limits, NoJitter())
        self.dispatcher.on("mint", self.handle)
        self.dispatcher.due.subscribe(self.dispatcher.ring)
        self.stop = asyncio.Event()
        self.task = asyncio.create_task(self.dispatcher.run(self.stop))
        await settle()

    async def handle(self, found: Hashable, cause: Cause) -> Outcome:
        key = Key("mint", found)
        assert key not in self.active, "two handlings of one key at once"
        self.active.append(key)
        self.orders[key] = asyncio.get_running_loop().create_future()
        try:
            return await self.orders[key]
        finally:
            self.active.remove(key)

    # ------------------------------------------------------------ the model

    def enqueue(self, key: Key) -> None:
        model = self.model[key]
        model.state, model.due = "queued", None
        self.queue.append(key)

    def begun(self) -> None:
        """The model's workers take from the model's queue."""
        busy = sum(model.state == "working" for model in self.model.values())
        while self.queue and busy < self.concurrency:
            model = self.model[self.queue.pop(0)]
            model.state, model.rings, model.again, model.heads_during = "working", 0, False, {}
            busy += 1

    def soon(self, model: Model, seconds: float) -> None:
        when = self.clock.monotonic() + seconds
        if model.due is None or when < model.due:
            model.due, model.set_as = when, next(self.timers)

    def model_ring(self, key: Key, *, change: bool) -> None:
        model = self.model[key]
        match model.state:
            case "new":
                self.enqueue(key)
            case "closed" if change:
                model.state, model.rings = "settling", 1
                self.soon(model, SETTLE)
            case "closed" | "settling" if not change:
                self.enqueue(key)
            case "waiting":
                model.rings += change
                if not change or model.rings >= max(1, model.wake.rings):
                    self.enqueue(key)
                elif model.rings == 1:
                    self.soon(model, model.wake.settle)
            case "working":
                model.rings += change
                model.again |= not change

    def model_finish(self, key: Key, outcome: Outcome | None) -> None:
        model = self.model[key]
        if outcome is None:
            model.failures += 1
            model.state = "backoff"
            self.soon(model, min(8.0, 2.0 ** (model.failures - 1)))
            return
        model.failures = 0
        wake = outcome.wake if isinstance(outcome, Waiting) else None
        if model.again:
            self.enqueue(key)
        elif wake is None:
            model.state = "closed"
            if model.rings:
                model.state = "settling"
                self.soon(model, SETTLE)
        elif model.rings >= max(1, wake.rings) or any(
            model.heads_during.get(chain, -1) >= height for chain, height in wake.heads
        ):
            self.enqueue(key)
        else:
            model.state, model.wake = "waiting", wake
            if wake.after:
                self.soon(model, wake.after)
            if model.rings:
                self.soon(model, wake.settle)

    # ------------------------------------------------------------ rules

    @rule(key=st.sampled_from(KEYS), cause=st.sampled_from([Cause.CHANGE] * 3 + [Cause.SWEEP, Cause.START]))
    def ring(self, key: Key, cause: Cause) -> None:
        ticket = Ticket()
        self.tickets.append((key, ticket))
        self.runner.run(self.do(lambda: self.dispatcher.ring(WakeUp(key, cause, ticket))))
        self.model_ring(key, change=cause is Cause.CHANGE)
        self.begun()

    @rule(chain=st.sampled_from(["a", "b"]), height=st.integers(0, 6))
    def head(self, chain: str, height: int) -> None:
        woken: list[Key] = []

        def reach() -> None:
            for wakeup in self.dispatcher.reached(Head(chain, height)):
                woken.append(wakeup.key)
                self.dispatcher.ring(wakeup)

        self.runner.run(self.do(reach))
        for key, model in self.model.items():
            if model.state == "working":
                model.heads_during[chain] = height
            reached = any(name == chain and wanted <= height for name, wanted in model.wake.heads)
            assert (key in woken) == (model.state == "waiting" and reached)
        for key in woken:
            self.enqueue(key)
        self.begun()

    @precondition(lambda self: self.active)
    @rule(data=st.data(), outcome=st.none() | st.just(DONE) | st.builds(Waiting, st.just("why"), wake=wakes))
    def finish(self, data: st.DataObject, outcome: Outcome | None) -> None:
        self.finish_one(data.draw(st.sampled_from(self.active)), outcome)

    def finish_one(self, key: Key, outcome: Outcome | None) -> None:
        order = self.orders[key]
        if outcome is None:
            self.runner.run(self.do(lambda: order.set_exception(ValueError(f"poison {key.id}"))))
        else:
            self.runner.run(self.do(lambda: order.set_result(outcome)))
        self.model_finish(key, outcome)
        self.begun()

    @rule(seconds=st.sampled_from([0.1, 0.25, 1.0, 5.0]))
    def advance(self, seconds: float) -> None:
        start = self.clock.monotonic()
        self.runner.run(self.clock.advance(seconds))
        ripe = [
            (model.due, model.set_as, key)
            for key, model in self.model.items()
            if model.due is not None and model.due <= start + seconds
        ]
        for _, _, key in sorted(ripe):
            self.enqueue(key)
        self.begun()

    async def do(self, act: object) -> None:
        act()  # type: ignore[operator]
        await settle()

    # ------------------------------------------------------------ what always holds

    @invariant()
    def as_the_model_says(self) -> None:
        if not hasattr(self, "dispatcher"):
            return
        working = {key for key, model in self.model.items() if model.state == "working"}
        assert set(self.active) == working
        assert len(self.active) <= self.concurrency
        load = self.dispatcher.load()
        assert load.queued == len(self.queue)
        assert load.waiting == sum(model.state == "waiting" for model in self.model.values())
        assert load.settling == sum(model.state == "settling" for model in self.model.values())
        stuck = {row.key: row.failures for row in self.dispatcher.stuck()}
        assert stuck == {key: model.failures for key, model in self.model.items() if model.failures}

    def teardown(self) -> None:
        if not hasattr(self, "dispatcher"):
            return
        for _ in range(100):
            if self.active:
                self.finish_one(self.active[0], DONE)
            else:
                self.advance(5.0)
            if all(model.state in {"new", "closed", "waiting"} for model in self.model.values()):
                break
        self.runner.run(asyncio.wait_for(self.dispatcher.idle(), 60))
        for key, ticket in self.tickets:
            if ticket.taken and self.model[key].state != "waiting":
                assert ticket.finished == 1, "a taken ticket is finished exactly once"
            elif not ticket.taken:
                assert ticket.finished == 0
        self.stop.set()
        self.runner.run(asyncio.wait_for(self.task, 60))
        self.runner.close()


DispatcherMachine.TestCase.settings = settings(
    max_examples=150, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)


@pytest.fixture(autouse=True)
def quiet() -> object:
    logger.disable("reactor.engine")
    yield
    logger.enable("reactor.engine")


class TestDispatcher(DispatcherMachine.TestCase):  # type: ignore[misc,valid-type]
    """Run by pytest."""
