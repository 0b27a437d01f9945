"""A few threads for blocking calls to a service that may never let go of one.

A time-out of a library bounds each wait for bytes; who sends one byte now and then holds a call, and its thread, for as long as
he likes. So such a thread is written off after a while, another takes its place, and none keeps the process from ending.
"""

import threading
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass, field
from queue import Empty, SimpleQueue
from time import monotonic
from typing import Any, Final, TypeVar

MOST_WRITTEN_OFF: Final = 32
"""Threads at once that are written off and not over: with more, no other takes the place of one."""

_T = TypeVar("_T")


@dataclass(eq=False, slots=True)
class _Job:
    """A call, and where its outcome goes. `began`: when a thread took it, by the clock; None while it waits."""

    call: Callable[[], object]
    future: Future[Any] = field(default_factory=Future)
    began: float | None = None
    written_off: bool = False


class Threads:
    """Carries out calls in the order of their coming, `most` at once.

    Args:
        most: threads, those written off apart.
        name: of the threads.
        clock: seconds that never go back.
    """

    __slots__ = ("_clock", "_closed", "_jobs", "_lock", "_most", "_name", "_queue", "_workers")

    def __init__(self, most: int, name: str, clock: Callable[[], float] = monotonic) -> None:
        self._most = most
        self._name = name
        self._clock = clock
        self._queue: SimpleQueue[_Job | None] = SimpleQueue()
        self._jobs: set[_Job] = set()
        self._workers = 0
        self._closed = False
        self._lock = threading.Lock()

    @property
    def unfinished(self) -> int:
        """Calls that wait or are under way, given up by their callers or not; not those whose threads are written off."""
        with self._lock:
            return sum(not job.written_off and not job.future.done() for job in self._jobs)

    def submit(self, call: Callable[[], _T]) -> "Future[_T]":
        """The outcome of a call, once a thread has carried it out. Raises RuntimeError once closed."""
        with self._lock:
            if self._closed:
                raise RuntimeError("closed")
            if self._workers < self._most:
                self._start()
            job = _Job(call)
            self._jobs.add(job)
            self._queue.put(job)
        return job.future

    def write_off(self, seconds: float) -> bool:
        """Let others take the place of the threads that have been with one call for longer than this.

        Whether any thread is left for a call: not where each is held for so long and too many are written off already.
        """
        now, lost = self._clock(), 0
        with self._lock:
            off = sum(job.written_off for job in self._jobs)
            for job in self._jobs:
                held = job.began is not None and now - job.began > seconds and not job.future.done()
                if not held or job.written_off:
                    continue
                if off >= MOST_WRITTEN_OFF:
                    lost += 1
                    continue
                job.written_off = True
                self._workers -= 1
                off += 1
            for _ in range(0 if self._closed else min(self._most - self._workers, self._queue.qsize())):
                self._start()
            return lost < self._most

    def close(self) -> None:
        """Drop what waits. A call under way goes on, and is waited for by nobody."""
        with self._lock:
            self._closed = True
            dropped = []
            while True:
                try:
                    job = self._queue.get_nowait()
                except Empty:
                    break
                if job is not None:
                    dropped.append(job)
            self._jobs.difference_update(dropped)
            for _ in range(self._workers):
                self._queue.put(None)
        for job in dropped:
            job.future.cancel()

    def _start(self) -> None:
        # A daemon: the interpreter does not wait for it at its end.
        threading.Thread(target=self._work, name=self._name, daemon=True).start()
        self._workers += 1

    def _work(self) -> None:
        while (job := self._queue.get()) is not None:
            again = self._carried_out(job)
            del job  # its outcome may be a secret, and the next one may be long in coming
            if not again:
                return

    def _carried_out(self, job: _Job) -> bool:
        """Whether this thread may take another call."""
        if job.future.set_running_or_notify_cancel():
            job.began = self._clock()
            try:
                result = job.call()
            except BaseException as error:  # noqa: BLE001 - it is the caller's
                job.future.set_exception(error)
            else:
                job.future.set_result(result)
        with self._lock:
            self._jobs.discard(job)
            return not job.written_off
