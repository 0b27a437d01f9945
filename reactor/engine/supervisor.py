"""Runs the process's loops: one fault ends them all, a request to stop ends them in seconds, nothing lives on half.

A fault is one of the engine's own machinery, or what ``Loops`` was told to let through: what a round of a loop raises otherwise
ends that round alone (``reactor.engine.loops``).
"""

import asyncio
import signal
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from typing import Self

from loguru import logger

from reactor.engine.loops import described
from reactor.engine.tasks import run_until
from reactor.sentences import sentence

Loop = Callable[[asyncio.Event], Awaitable[None]]
LastAct = Callable[[], Awaitable[object]]


class LoopError(RuntimeError):
    """A loop broke, or ended though nobody had asked it to; the process must end with a non-zero code."""


class Stop:
    """The request that this process ends: `asked`, and `hurry` where it was asked again."""

    def __init__(self) -> None:
        self.asked = asyncio.Event()
        self.hurry = asyncio.Event()

    @contextmanager
    def on_signals(self) -> Iterator[Self]:
        """Hear SIGTERM and SIGINT for as long as this lasts. SIGHUP is told and changes nothing: no setting is read again."""
        events = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            events.add_signal_handler(number, self.signalled, number)
        events.add_signal_handler(signal.SIGHUP, _hung_up)
        try:
            yield self
        finally:
            for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
                events.remove_signal_handler(number)

    def signalled(self, number: signal.Signals) -> None:
        """This signal came."""
        logger.info("{}: stopping", number.name)
        if self.asked.is_set():
            self.hurry.set()
        self.asked.set()


def _hung_up() -> None:
    logger.info("SIGHUP: this validator goes on; to take in another configuration it must be started again")


class Supervisor:
    """Named loops. Each gets the ``stop`` event and must return soon after it is set; after ``grace`` seconds it is
    cancelled, and given up ``cancel_grace`` seconds later."""

    def __init__(self, stop: Stop, *, grace: float = 8.0, cancel_grace: float = 2.0) -> None:
        """``stop``: the request to end, which whoever made it hears (``Stop.on_signals``)."""
        self._grace = grace
        self._cancel_grace = cancel_grace
        self._loops: dict[str, Loop] = {}
        self._last: list[tuple[str, LastAct, float]] = []
        self._hurry = stop.hurry
        self.stop = stop.asked

    def add(self, name: str, loop: Loop) -> None:
        """Adds a loop, before ``run``."""
        if name in self._loops:
            raise ValueError(f"a loop named {name!r} runs already")
        self._loops[name] = loop

    def last(self, name: str, act: LastAct, *, within: float = 3.0) -> None:
        """Adds what is done once all loops have stopped as asked, in order, each for at most ``within`` seconds.

        What it raises is told and changes nothing: the process ends well all the same. It is left out after a fault, and cut
        short by a second signal.
        """
        self._last.append((name, act, within))

    async def run(self) -> None:
        """Runs all loops until ``stop`` is asked for (returns) or the first fault (raises ``LoopError``)."""
        tasks = {asyncio.ensure_future(_named(name, loop, self.stop)): name for name, loop in self._loops.items()}
        stopping = asyncio.ensure_future(self.stop.wait())
        try:
            await asyncio.wait({*tasks, stopping}, return_when=asyncio.FIRST_COMPLETED)
            faults = _faults(tasks, stopped=self.stop.is_set())
            self.stop.set()
            await self._wind_down(tasks)
            if not (faults or _faults(tasks, stopped=True)):
                await self._act_last()
        finally:
            stopping.cancel()
            for task in tasks:
                task.cancel()
        faults = faults or _faults(tasks, stopped=True)
        if faults:
            name, error = faults[0]
            for other, reason in faults[1:]:
                logger.error("loop {} failed too: {}", other, sentence(reason))
            raise LoopError(f"loop {name!r} failed: {sentence(error)}") from error

    async def _act_last(self) -> None:
        for name, act, seconds in self._last:
            if self._hurry.is_set():
                return
            try:
                async with asyncio.timeout(seconds):
                    await run_until(self._hurry, _awaited(act))
            except Exception as error:  # noqa: BLE001 - whoever is told of the end may be away, and the end comes all the same
                logger.warning("{}: {}", name, described(error))

    async def _wind_down(self, tasks: dict[asyncio.Task[None], str]) -> None:
        hurry = asyncio.ensure_future(self._hurry.wait())
        everything = asyncio.ensure_future(asyncio.wait(tasks))
        await asyncio.wait({everything, hurry}, timeout=self._grace, return_when=asyncio.FIRST_COMPLETED)
        hurry.cancel()
        everything.cancel()
        late = {task: name for task, name in tasks.items() if not task.done()}
        if not late:
            return
        logger.warning("cancelling what has not stopped: {}", ", ".join(late.values()))
        for task in late:
            task.cancel()
        _, deaf = await asyncio.wait(late, timeout=self._cancel_grace)
        if deaf:
            names = ", ".join(tasks[task] for task in deaf)
            raise LoopError(f"these loops ignored their cancellation: {names}")


async def _awaited(act: LastAct) -> None:
    await act()


async def _named(name: str, loop: Loop, stop: asyncio.Event) -> None:
    logger.debug("loop {} begins", name)
    await loop(stop)
    if not stop.is_set():
        raise LoopError(f"loop {name!r} ended though nobody asked it to")


def _faults(tasks: dict[asyncio.Task[None], str], *, stopped: bool) -> list[tuple[str, BaseException]]:
    faults: list[tuple[str, BaseException]] = []
    for task, name in tasks.items():
        if not task.done():
            continue
        if task.cancelled():
            if not stopped:
                faults.append((name, asyncio.CancelledError("cancelled from within")))
        elif (error := task.exception()) is not None:
            faults.append((name, error))
    return faults
