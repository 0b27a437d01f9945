"""Threads for blocking calls: as many as asked for, replaced where one is held for ever, and none that keeps a process alive."""

import subprocess
import sys
import threading
from concurrent.futures import CancelledError

import pytest

from reactor.keys import threads as module
from reactor.keys.threads import Threads

pytestmark = pytest.mark.unit


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


class Holder:
    """Calls that hold their threads until they are let go."""

    def __init__(self) -> None:
        self.gate = threading.Event()
        self.began = threading.Semaphore(0)

    def __call__(self) -> str:
        self.began.release()
        self.gate.wait(60)
        return "let go"


@pytest.fixture
def holder():
    holder = Holder()
    yield holder
    holder.gate.set()


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def two(clock):
    threads = Threads(2, "held", clock)
    yield threads
    threads.close()


def held(threads: Threads, holder: Holder, number: int = 2) -> list:
    futures = [threads.submit(holder) for _ in range(number)]
    for _ in futures:
        assert holder.began.acquire(timeout=60)
    return futures


def test_outcomes_and_errors_are_the_callers(two):
    assert two.submit(lambda: 7).result(60) == 7
    with pytest.raises(SystemExit):
        two.submit(lambda: sys.exit(3)).result(60)
    assert two.submit(lambda: 8).result(60) == 8, "the thread goes on"


def test_threads_held_for_ever_are_replaced_and_not_before_their_time(two, clock, holder):
    futures = held(two, holder)
    waiting = two.submit(lambda: "answered")
    assert two.unfinished == 3
    clock.now = 60.0
    two.write_off(60.0)
    assert (two.unfinished, waiting.running(), waiting.done()) == (3, False, False), "nobody has its place yet"
    clock.now = 60.1
    two.write_off(60.0)
    assert waiting.result(60) == "answered", "what waited already is not left behind"
    assert two.submit(lambda: "answered too").result(60) == "answered too"
    assert two.unfinished == 0
    holder.gate.set()
    assert [future.result(60) for future in futures] == ["let go"] * 2


def test_a_thread_that_was_written_off_takes_no_other_call_once_it_is_let_go(two, clock, holder):
    before = {one for one in threading.enumerate() if one.name == "held"}
    futures = held(two, holder)
    lost = {one for one in threading.enumerate() if one.name == "held"} - before
    clock.now = 61.0
    two.write_off(60.0)
    holder.gate.set()
    for future in futures:
        future.result(60)
    for thread in lost:
        thread.join(60)
    assert not any(thread.is_alive() for thread in lost)
    assert two.submit(lambda: 1).result(60) == 1


def test_so_many_are_replaced_and_no_more(two, clock, holder, monkeypatch):
    monkeypatch.setattr(module, "MOST_WRITTEN_OFF", 3)
    held(two, holder)
    clock.now = 61.0
    two.write_off(60.0)
    held(two, holder)
    clock.now = 122.0
    assert two.write_off(60.0) is True
    assert two.unfinished == 1, "the fourth keeps its place"
    assert two.submit(lambda: 1).result(60) == 1
    assert two.write_off(60.0) is True
    assert two.unfinished == 1


def test_it_is_told_when_each_thread_is_held_and_none_can_be_replaced(two, clock, holder, monkeypatch):
    monkeypatch.setattr(module, "MOST_WRITTEN_OFF", 1)
    first = held(two, holder)
    clock.now = 61.0
    assert two.write_off(60.0) is True, "one is replaced"
    first += held(two, holder, 1)
    assert two.write_off(60.0) is True, "the one in its place may yet end"
    clock.now = 122.0
    assert two.write_off(60.0) is False
    holder.gate.set()
    assert [future.result(60) for future in first] == ["let go"] * 3
    assert two.submit(lambda: 1).result(60) == 1
    assert two.write_off(60.0) is True, "it is over"


def test_closing_drops_what_waits_and_waits_for_nothing(two, holder):
    futures = held(two, holder)
    waiting = two.submit(lambda: 1)
    two.close()
    with pytest.raises(CancelledError):
        waiting.result(60)
    with pytest.raises(RuntimeError, match="closed"):
        two.submit(lambda: 1)
    two.write_off(0.0)
    holder.gate.set()
    assert [future.result(60) for future in futures] == ["let go"] * 2


def test_a_process_ends_though_a_call_is_held():
    text = (
        "import threading, reactor.keys.threads as t\n"
        "began = threading.Event()\n"
        "t.Threads(1, 'held').submit(lambda: (began.set(), threading.Event().wait()))\n"
        "assert began.wait(60)\n"
        "print('over')\n"
    )
    ended = subprocess.run([sys.executable, "-c", text], capture_output=True, text=True, timeout=120, check=True)
    assert (ended.stdout, ended.stderr) == ("over\n", "")
