"""The one wrapper of all loops: what a round raises ends that round; the loop goes on, and health is told."""

import ast
import asyncio
from pathlib import Path

import pytest
from bson.errors import InvalidBSON
from pymongo.errors import AutoReconnect, OperationFailure

from reactor.engine.batching import Batcher, BatchError
from reactor.engine.dispatcher import Dispatcher, Limits
from reactor.engine.feed import ChangeFeed
from reactor.engine.keys import DONE, Cause, Key, WakeUp
from reactor.engine.loops import Loops, described
from reactor.engine.supervisor import Stop, Supervisor
from reactor.engine.tasks import wait_for_any
from tests.virtual_clock import VirtualClock, settle

pytestmark = pytest.mark.unit


class UnspeakableError(Exception):
    """Its text cannot be made."""

    def __str__(self) -> str:
        raise UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte")


class FatalError(Exception):
    """What the owner says must end the process."""


ANY = [
    ValueError("year 9999999999 is out of range"),
    OverflowError("date value out of range"),
    KeyError("result"),
    IndexError("list index out of range"),
    TypeError("'NoneType' object is not subscriptable"),
    AttributeError("no attribute"),
    RecursionError("maximum recursion depth exceeded"),
    UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    ZeroDivisionError(),
    AssertionError(),
    MemoryError(),
    OSError(28, "No space left on device"),
    TimeoutError(),
    EOFError(),
    StopAsyncIteration(),
    asyncio.CancelledError("from within"),
    asyncio.InvalidStateError(),
    AutoReconnect("primary stepped down"),
    OperationFailure("unauthorized", 13),
    InvalidBSON("bad"),
    UnspeakableError(),
    ExceptionGroup("several", [ValueError("one"), KeyError("two")]),
]
"""What foreign input has made libraries raise, and what nobody lists."""


def name_of(error: BaseException) -> str:
    return type(error).__name__


async def quick(stop: asyncio.Event) -> None:
    await wait_for_any(stop, seconds=0.001)


def raising(error: BaseException):
    async def work() -> None:
        raise error

    return work


@pytest.mark.parametrize("error", ANY, ids=name_of)
async def test_whatever_a_round_raises_the_loop_goes_on(error: BaseException) -> None:
    clock, stop, rounds = VirtualClock(), asyncio.Event(), 0
    loops = Loops(clock, fatal=(FatalError,))
    shown: list[list[str]] = []

    async def work() -> None:
        nonlocal rounds
        rounds += 1
        shown.append(loops.problems())
        if rounds < 3:
            raise error
        if rounds == 5:
            stop.set()

    loops._backoff = type(loops._backoff)(0.001, 0.002)
    await asyncio.wait_for(loops.repeat(stop, "the books", work, quick), 60)
    assert rounds == 5
    assert [len(one) for one in shown] == [0, 1, 1, 0, 0], "it is told for as long as it fails, and no longer"
    assert shown[1][0].startswith("the books failing since 2024-01-01 00:00:00 UTC: ")
    assert loops.failures["the books"] == 2
    assert loops.failing == []


@pytest.mark.parametrize("error", [error for error in ANY if not isinstance(error, asyncio.CancelledError)], ids=name_of)
async def test_a_rest_that_fails_does_not_end_the_loop_either(error: BaseException) -> None:
    clock, stop, rounds = VirtualClock(), asyncio.Event(), 0
    loops = Loops(clock)
    loops._backoff = type(loops._backoff)(0.001, 0.002)

    async def work() -> None:
        nonlocal rounds
        rounds += 1
        if rounds == 3:
            stop.set()

    async def rest(_: asyncio.Event) -> None:
        raise error

    await asyncio.wait_for(loops.repeat(stop, "the books", work, rest), 60)
    assert rounds == 3
    assert [one.name for one in loops.failing] == ["the books (between two rounds)"]


async def test_what_is_fatal_passes_through() -> None:
    """The twin: exactly what was named, from a round or a rest."""
    loops, stop = Loops(VirtualClock(), fatal=(FatalError,)), asyncio.Event()
    with pytest.raises(FatalError):
        await loops.attempt("the heartbeat", raising(FatalError()))
    with pytest.raises(FatalError):
        await loops.repeat(stop, "the heartbeat", raising(FatalError()), quick)
    assert loops.failing == []


async def test_a_cancellation_from_outside_is_obeyed() -> None:
    loops, stop = Loops(VirtualClock()), asyncio.Event()

    async def work() -> None:
        await asyncio.Event().wait()

    task = asyncio.create_task(loops.repeat(stop, "the books", work, quick))
    await settle()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asyncio.wait_for(task, 60)


async def test_a_round_that_never_ends_has_failed_after_its_time() -> None:
    loops = Loops(VirtualClock())
    assert not await loops.attempt("the books", asyncio.Event().wait, within=0.01)
    assert loops.failing[0].error == "no answer within 0.01 s"


async def test_an_outage_is_told_once_with_its_cause_and_when_it_is_over(lines: list[str]) -> None:
    clock = VirtualClock()
    loops = Loops(clock, expected=(ValueError,))
    for _ in range(50):
        await loops.attempt("books", raising(ValueError("out of range")))
    await clock.advance(30)
    await loops.attempt("books", quick_once)
    assert lines == ["WARNING books fails: ValueError: out of range\n", "INFO books works again after 30 s, 50 failures\n"]


async def test_what_nobody_expects_is_told_with_its_traceback_once(lines: list[str]) -> None:
    loops = Loops(VirtualClock(), expected=(OSError,))
    for _ in range(50):
        await loops.attempt("books", raising(ZeroDivisionError("division by zero")))
        await loops.attempt("heads", raising(OSError(28, "No space left on device")))
    assert [line.split("\n")[0] for line in lines] == [
        "WARNING books fails: ZeroDivisionError: division by zero",
        "ERROR books: this should not happen, please report it",
        "WARNING heads fails: No space left on device",
    ]
    assert "Traceback" in lines[1]


async def quick_once() -> None:
    """A round that goes well."""


async def test_pauses_grow_while_it_fails_and_begin_anew() -> None:
    loops = Loops(VirtualClock())
    pauses = []
    for _ in range(12):
        await loops.attempt("the books", raising(ValueError()))
        pauses.append(loops.pause("the books"))
    assert pauses[0] <= 0.5
    assert 7.5 <= pauses[-1] <= 15
    await loops.attempt("the books", quick_once)
    assert loops.pause("the books") <= 0.5


def test_an_error_is_a_sentence_whatever_its_class() -> None:
    assert described(ValueError("a\nb\tc")) == "ValueError: a b c"
    assert described(ValueError("http://user:password@node")) == "ValueError: http://********@node"
    assert described(UnspeakableError()) == "UnspeakableError (its text cannot be shown)"


# ------------------------------------------------------------------ what stands beside the wrapper


@pytest.mark.parametrize("error", ANY, ids=name_of)
async def test_a_batcher_answers_and_goes_on_after_whatever_a_flush_raises(error: BaseException) -> None:
    flushes = 0

    async def flush(items: list[int]) -> list[int | Exception]:
        nonlocal flushes
        flushes += 1
        if flushes == 1:
            raise error
        return list(items)

    batcher: Batcher[int, int] = Batcher(flush, max_size=2)
    calls = [asyncio.create_task(batcher.call(number)) for number in range(4)]
    answers = await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 60)
    assert all(isinstance(one, Exception) for one in answers[:2])
    assert answers[2:] == [2, 3]


async def test_a_batcher_passes_on_an_answer_that_no_future_takes() -> None:
    async def flush(items: list[int]) -> list[int | Exception]:
        return [StopIteration() for _ in items]

    batcher: Batcher[int, int] = Batcher(flush)
    with pytest.raises(BatchError, match="StopIteration"):
        await asyncio.wait_for(batcher.call(1), 60)


@pytest.mark.parametrize("error", [one for one in ANY if isinstance(one, Exception)], ids=name_of)
async def test_a_disk_that_is_away_does_not_break_the_flow_of_wakeups(error: Exception) -> None:
    """Whether a key is strange is asked of the own ledger, for each wake-up."""
    handled, away = [], True

    def strange(_: Key) -> bool:
        if away:
            raise error
        return False

    async def handle(found: object, _: Cause):
        handled.append(found)
        return DONE

    dispatcher = Dispatcher(VirtualClock(), Limits(strangers=1), strange=strange)
    dispatcher.on("mint", handle)
    stop = asyncio.Event()
    running = asyncio.create_task(dispatcher.run(stop))
    await settle()
    for number in range(3):
        dispatcher.ring(WakeUp(Key("mint", number), Cause.CHANGE))
    await settle()
    assert handled == [0]
    assert dispatcher.counters.turned_away == 2, "what cannot be judged stays bounded"
    away = False
    dispatcher.ring(WakeUp(Key("mint", 1), Cause.SWEEP))
    await settle()
    assert handled == [0, 1]
    stop.set()
    await asyncio.wait_for(running, 60)


# ------------------------------------------------------------------ the saved position


GOOD = {"_data": "8265A1B2C3000000012B022C0100296E5A1004"}


@pytest.mark.parametrize(
    "found",
    [
        InvalidBSON("not BSON"),
        OSError(5, "Input/output error"),
        KeyError("_data"),
        {},
        {"_data": ""},
        {"_data": "zz"},
        {"_data": 7},
        {"other": "82"},
        ["82"],
        "82",
        7,
    ],
    ids=str,
)
async def test_a_saved_position_that_is_none_costs_a_scan_and_is_told(found: object, lines: list[str]) -> None:
    feed = feed_with(found)
    assert await feed._load() is None
    assert len(lines) == 1
    assert lines[0].startswith("ERROR the saved stream position")
    assert "all open documents are read again" in lines[0]


@pytest.mark.parametrize("found", [None, GOOD], ids=["none", "a token"])
async def test_a_saved_position_that_is_one_is_used(found: object, lines: list[str]) -> None:
    assert await feed_with(found)._load() == found
    assert lines == []


def feed_with(found: object) -> ChangeFeed:
    async def load() -> object:
        if isinstance(found, Exception):
            raise found
        return found

    async def save(_: object) -> None:
        raise AssertionError("nothing is saved here")

    return ChangeFeed(lambda: None, "db", ["mint"], load_token=load, save_token=save)  # type: ignore[arg-type, return-value]


# ------------------------------------------------------------------ the end


async def obedient(stop: asyncio.Event) -> None:
    await stop.wait()


async def test_last_acts_come_after_the_loops_and_harm_nothing(lines: list[str]) -> None:
    supervisor, order = Supervisor(Stop(), grace=5), []

    async def loop(stop: asyncio.Event) -> None:
        await stop.wait()
        order.append("loop")

    async def say() -> None:
        order.append("said")

    supervisor.add("one", loop)
    supervisor.last("the farewell", raising(ValueError("no primary")))
    supervisor.last("a farewell that hangs", asyncio.Event().wait, within=0.01)
    supervisor.last("another", say)
    supervisor.stop.set()
    await asyncio.wait_for(supervisor.run(), 60)
    assert order == ["loop", "said"]
    assert any("the farewell: ValueError: no primary" in line for line in lines)
    assert any("a farewell that hangs: no answer in time" in line for line in lines)


async def test_after_a_fault_nothing_is_said() -> None:
    supervisor, said = Supervisor(Stop(), grace=5), []

    async def faulty(_: asyncio.Event) -> None:
        raise ZeroDivisionError

    async def say() -> None:
        said.append(1)

    supervisor.add("bad", faulty)
    supervisor.last("the farewell", say)
    with pytest.raises(RuntimeError, match="bad"):
        await asyncio.wait_for(supervisor.run(), 60)
    assert not said


async def test_a_second_signal_cuts_the_farewell_short() -> None:
    supervisor, begun = Supervisor(Stop(), grace=5), asyncio.Event()

    async def hang() -> None:
        begun.set()
        await asyncio.Event().wait()

    supervisor.add("one", obedient)
    supervisor.last("the farewell", hang, within=900)
    supervisor.stop.set()
    running = asyncio.create_task(supervisor.run())
    await asyncio.wait_for(begun.wait(), 60)
    supervisor._hurry.set()
    await asyncio.wait_for(running, 60)


# ------------------------------------------------------------------ the table of all loops

ROOT = Path(__file__).parents[2]
LOOPS = {
    "reactor/engine/loops.py Loops.repeat": "the wrapper itself",
    "reactor/engine/feed.py ChangeFeed._follow": "each session's error is classified; none ends it",
    "reactor/engine/feed.py ChangeFeed._session": "one session of the loop above",
    "reactor/engine/feed.py ChangeFeed._keep_saving": "save_position is an attempt of the wrapper",
    "reactor/engine/heads.py HeadSource._run_chain": "each head is an attempt of the wrapper; the scanners run inside",
    "reactor/engine/reactor.py Reactor._sweeps": "each part is an attempt of the wrapper",
    "reactor/engine/reactor.py Reactor._ring_all": "one part of a sweep or scan, inside an attempt",
    "reactor/exchange.py HeartbeatExchange._pause": "the rest of a wrapped loop",
    "scanners/loop.py ChainScanner.heads": "runs inside the attempts of HeadSource",
    "reactor/twice.py read_twice": "each of its two parts is an attempt of the wrapper",
}
"""Every endless loop of the process, and what keeps a round's error from ending it. A new one belongs into `Loops.repeat`."""
LOOKED_AT = [
    "reactor/engine",
    "reactor/handlers",
    "scanners",
    *(f"reactor/{name}.py" for name in ("adapters", "audits", "endpoints", "exchange", "twice", "validator", "vitals")),
]


def endless_loops() -> set[str]:
    """Coroutines below `LOOKED_AT` with a loop that nothing but a stop ends."""
    found = set()
    for base in LOOKED_AT:
        path = ROOT / base
        for file in [path] if path.is_file() else sorted(path.rglob("*.py")):
            tree = ast.parse(file.read_text("utf-8"))
            for name, function in coroutines(tree, ""):
                if any(isinstance(one, ast.While) and is_endless(one.test) for one in own_nodes(function)):
                    found.add(f"{file.relative_to(ROOT)} {name}")
    return found


def coroutines(node: ast.AST, prefix: str):
    for child in ast.iter_child_nodes(node):
        if isinstance(child, ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            name = f"{prefix}.{child.name}".lstrip(".")
            if isinstance(child, ast.AsyncFunctionDef):
                yield name, child
            yield from coroutines(child, name)
        else:
            yield from coroutines(child, prefix)


def own_nodes(function: ast.AST):
    """The nodes of a function without those of functions inside it."""
    for child in ast.iter_child_nodes(function):
        if not isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            yield child
            yield from own_nodes(child)


def is_endless(test: ast.expr) -> bool:
    words = {one.id for one in ast.walk(test) if isinstance(one, ast.Name)}
    words |= {one.attr for one in ast.walk(test) if isinstance(one, ast.Attribute)}
    return (isinstance(test, ast.Constant) and bool(test.value)) or bool(words & {"stop", "stopped", "alive", "running"})


def test_every_endless_loop_is_known_and_wrapped() -> None:
    assert endless_loops() == set(LOOPS)


def test_the_search_would_find_a_new_one() -> None:
    tree = ast.parse("class A:\n  async def run(self, stop):\n    while not stop.is_set():\n      await self.look()")
    [(name, function)] = coroutines(tree, "")
    assert name == "A.run"
    assert any(isinstance(one, ast.While) and is_endless(one.test) for one in own_nodes(function))
