"""The exchange of heartbeats: the own one is written in time and whenever it would say something else, the others' are heard.

Only `validator` uses this.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from time import monotonic
from typing import Final

from bson import ObjectId
from loguru import logger

from reactor.engine.feed import Change
from reactor.engine.loops import Loops, pausing
from reactor.engine.tasks import wait_for_any, within
from reactor.handlers.heartbeat import Health, Hearts
from reactor.sentences import sentence
from reactor.state.problems import SecondProcess
from reactor.store.connection import Store
from reactor.store.heartbeats import beat, heartbeats_at, read_heartbeats

_TIMEOUT: Final = 20.0
_LISTEN_SECONDS: Final = 0.5
"""Heartbeats that ring are read together, and a question of another process is answered, at most so often."""
_LOOK_SECONDS: Final = 1.0
"""Between two looks at the own health, and at least between two heartbeats: what changes is told about so long after."""
_AGAIN_SECONDS: Final = 5.0
"""A heartbeat that could not be written is written again after so long, or with the next one where that comes before."""
_LAST_WORD_SECONDS: Final = 3.0
_MOST_RUNG: Final = 256
# Who tells of failures, in words for people.
HEARTBEAT: Final = "heartbeat"
_HEARING: Final = "reading the others' heartbeats"
_AROUND: Final = "comparing identities, oplog and indexes"


class HeartbeatExchange:
    """Writes the own heartbeat and hears those of `members`. `health`: the own, at this moment; `around`: what is looked at with
    each heartbeat; `tell`: is given the own health each second, for the log.
    """

    def __init__(
        self,
        store: Store,
        hearts: Hearts,
        members: Sequence[str],
        loops: Loops,
        health: Callable[[], Health],
        around: Callable[[], Awaitable[None]],
        tell: Callable[[Health], None],
    ) -> None:
        self._store = store
        self._hearts = hearts
        self._members = members
        self._loops = loops
        self._health = health
        self._around = around
        self._tell = tell
        self._rung = asyncio.Event()
        self._rung_ids: deque[ObjectId] = deque(maxlen=_MOST_RUNG)
        self._changed = asyncio.Event()
        self._told: object = None
        """What the heartbeat that lies in the database says of the health; None: it could not be written."""

    async def run(self, stop: asyncio.Event) -> None:
        """Heartbeats until `stop`. Raises SecondProcess where an older process runs with the same key."""
        await self._loops.repeat(stop, "exchange of heartbeats", self.once, self._pause)

    async def watch(self, stop: asyncio.Event) -> None:
        """Whatever changes the health, in this process or by an operator's command beside it, is told in a heartbeat at once."""

        async def look() -> None:
            health = self._health()
            if health.mark != self._told:
                self._changed.set()
            self._tell(health)

        await self._loops.repeat(stop, "looking at the own health", look, pausing(_LOOK_SECONDS))

    async def once(self) -> None:
        """Hear the others, and write the own heartbeat. Raises SecondProcess where an older one runs with the same key."""
        if not await self._loops.attempt(HEARTBEAT, self._hear_and_say, within=_TIMEOUT):
            self._told = None
        self._end_if_younger()
        # What was found before stands where Mongo or a node is away.
        await self._loops.attempt(_AROUND, self._around, within=_TIMEOUT)

    async def _hear_and_say(self) -> None:
        # Heard first: another process on a host of the same name writes into the same place.
        await self._listen()
        self._changed.clear()
        told = self._health().mark
        await self._write()
        self._told = told
        await self._listen()
        self._hearts.twins.said()

    async def say_stopped(self) -> None:
        """The last heartbeat of a process that ends as it was asked to: nobody has to wait until it counts as late."""
        try:
            async with within(_LAST_WORD_SECONDS):
                await self._write(stopped=True)
        except Exception as error:  # noqa: BLE001 - the process ends all the same
            logger.warning("the others were not told that this validator stops: {}", sentence(error))

    def rang(self, change: Change) -> None:
        """A heartbeat was written by somebody."""
        self._rung_ids.append(change.id)
        self._rung.set()

    async def _write(self, *, stopped: bool = False) -> None:
        now = self._hearts.context.now()
        await beat(self._store, {**await self._hearts.own(stopped=stopped), "created_at": now})

    async def _listen(self) -> None:
        """The heartbeats that claim to be of a validator, and first of all those whose places are known."""
        places = [*self._hearts.places.values(), *self._rung_ids]
        self._rung_ids.clear()
        rows = await heartbeats_at(self._store, places)
        own = self._hearts.context.me.address
        self._hearts.listen([*rows, *await read_heartbeats(self._store, [*self._members, own])], self._members)

    async def _pause(self, stop: asyncio.Event) -> None:
        """Until the next heartbeat; those that ring are heard in it. What ends it before its time: the own health changed, or a
        new process with this key was heard, which waits for the answer.
        """
        began = monotonic()
        until = began + self._hearts.instance.interval
        soonest = began + (_AGAIN_SECONDS if self._told is None else _LOOK_SECONDS)
        while not stop.is_set() and (left := until - monotonic()) > 0:
            if not self._changed.is_set():
                await wait_for_any(stop, self._rung, self._changed, seconds=left)
            elif (early := soonest - monotonic()) > 0:
                await wait_for_any(stop, self._rung, seconds=min(left, early))
            else:
                return
            if not self._rung.is_set():
                continue
            await wait_for_any(stop, seconds=min(left, _LISTEN_SECONDS))
            self._rung.clear()
            await self._hear_rung()
            if self._hearts.twins.asks:
                return

    async def _hear_rung(self) -> None:
        rung = [*self._rung_ids]
        self._rung_ids.clear()

        async def hear() -> None:
            self._hearts.listen(await heartbeats_at(self._store, rung), self._members)

        # What fails here is read with the next beat.
        await self._loops.attempt(_HEARING, hear, within=_TIMEOUT)
        self._end_if_younger()

    def _end_if_younger(self) -> None:
        if why := self._hearts.twins.stop:
            logger.error("this process ends and signs nothing more: {}", why)
            raise SecondProcess(why)
