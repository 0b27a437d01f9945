"""Health under chaos: what everybody reads of a validator is held, each second, against what it can do (`ability`).

Who looks healthy for longer than two heartbeats while it cannot do its work fails the run. The other way round (able, and not
healthy) is told as a figure: it costs an operator's attention and nobody's money.
"""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from asyncio.subprocess import PIPE
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import cycle
from typing import Any, Final

from pymongo.errors import PyMongoError

from infra.localnet.member import ROOT, LocalValidator
from reactor.cli.health import own_heartbeat
from reactor.cli.people import people
from reactor.cli.status import EXIT_TOO_FEW
from reactor.handlers.heartbeat import verified_heartbeats
from reactor.health import State, standing_of
from reactor.state.runs import last_run
from reactor.store.heartbeats import instance_heartbeats
from tests.chaos.ability import Abilities
from tests.chaos.people import cancelled
from tests.chaos.world import World

LOOK_SECONDS: Final = 1.0
COMMAND_SECONDS: Final = 10.0
MEASURE_SECONDS: Final = 3.0
"""What two looks and the reading of a heartbeat may add to a duration."""
_ENDS_SECONDS: Final = 60.0
STATUS, CONTAINER = "status", "the container's health check"


class FalseHealthError(AssertionError):
    """A validator looked healthy for too long while it could not do its work."""


@dataclass
class Judgement:
    """Durations of false words. `allowed` seconds may a validator look healthy that is not."""

    allowed: float
    longest_healthy: float = 0.0
    longest_unhealthy: float = 0.0
    unhealthy: float = 0.0
    looks: int = 0
    ill: int = 0
    well: int = 0
    _healthy_since: dict[tuple[str, str], float] = field(default_factory=dict)
    _unhealthy_since: dict[tuple[str, str], float] = field(default_factory=dict)
    _last: dict[tuple[str, str], float] = field(default_factory=dict)

    def note(self, now: float, name: str, reader: str, *, healthy: bool, cannot: Mapping[str, str], can: bool) -> None:
        """One reader's view of one validator. Raises FalseHealthError."""
        key = name, reader
        self.looks, self.ill, self.well = self.looks + 1, self.ill + bool(cannot), self.well + can
        before = self._last.get(key, now)
        self._last[key] = now
        if healthy and cannot:
            lasts = now - self._healthy_since.setdefault(key, now)
            self.longest_healthy = max(self.longest_healthy, lasts)
            if lasts > self.allowed:
                what = "; ".join(f"{ability}: {why}" for ability, why in cannot.items())
                raise FalseHealthError(f"{name} looks healthy to {reader} for {lasts:.1f} s, and cannot do its work: {what}")
        else:
            self._healthy_since.pop(key, None)
        if not healthy and can:
            lasts = now - self._unhealthy_since.setdefault(key, now)
            self.longest_unhealthy = max(self.longest_unhealthy, lasts)
            self.unhealthy += min(now - before, lasts)
        else:
            self._unhealthy_since.pop(key, None)

    @property
    def told(self) -> str:
        """The figures of a run."""
        return (
            f"health: {self.looks} looks, {self.ill} at one who could not work, {self.well} at one who could; "
            f"wrongly healthy for {self.longest_healthy:.1f} s at most ({self.allowed:g} allowed), "
            f"wrongly unhealthy for {self.longest_unhealthy:.1f} s at most, {self.unhealthy:.0f} s in all"
        )


class Observer:
    """Looks at all validators as long as the run lasts."""

    def __init__(self, world: World, say: Callable[[str], None]) -> None:
        self._world = world
        self._say = say
        self._abilities = Abilities(world)
        interval = max(one.settings().engine.heartbeat_interval_s for one in world.net.validators)
        self.judgement = Judgement(2 * interval + MEASURE_SECONDS)

    async def watch(self) -> None:
        """Each second, until cancelled. Raises FalseHealthError."""
        try:
            while not cancelled():
                began = time.monotonic()
                await self._abilities.look()
                await self._compare()
                await asyncio.sleep(max(0.0, began + LOOK_SECONDS - time.monotonic()))
        finally:
            await self._abilities.close()

    async def _compare(self) -> None:
        for one, reader, healthy, starting in await self._read():
            cannot = self._abilities.cannot(one.name)
            can = self._abilities.can(one.name) and not starting
            self.judgement.note(time.monotonic(), one.name, reader, healthy=healthy, cannot=cannot, can=can)

    async def _read(self) -> list[tuple[LocalValidator, str, bool, bool]]:
        """What each reader makes of each validator now, by the functions behind the commands: healthy, and whether it starts."""
        net, now = self._world.net, datetime.now(UTC)
        members = [one.address for one in net.validators]
        seen = []
        try:
            async with asyncio.timeout(5):
                rows, others = await verified_heartbeats(net.store, members)
                own = {one.name: await self._own(one, members) for one in net.validators}
        except (PyMongoError, TimeoutError):
            # Both commands end with an error then: nobody looks healthy to them.
            return [(one, reader, False, True) for one in net.validators for reader in (STATUS, CONTAINER)]
        for one, person in zip(net.validators, people(rows, members, now, others).persons, strict=False):
            assert person.address == one.address
            seen.append((one, STATUS, person.standing.healthy, person.standing.state is State.STARTING))
            standing = standing_of(own[one.name], now)
            seen.append((one, CONTAINER, standing.healthy, standing.state is State.STARTING))
        return seen

    async def _own(self, one: LocalValidator, members: list[str]) -> Any:
        instance = last_run(one.state)
        rows = await instance_heartbeats(self._world.net.store, instance) if instance else []
        return own_heartbeat(rows, instance, members)

    async def ask(self) -> None:
        """The real commands, one at a time, each on the machine of another validator. Raises FalseHealthError."""
        for number, one in enumerate(cycle(self._world.net.validators)):
            if cancelled():
                return
            await asyncio.sleep(COMMAND_SECONDS)
            await (self._ask_status(one) if number % 2 == 0 else self._ask_container(one))

    async def _ask_status(self, one: LocalValidator) -> None:
        ill = self._known_ill()
        code, output = await _command(one, "-m", "reactor.cli.main", "status", "--json", "--oldest", "0")
        if code not in {0, EXIT_TOO_FEW}:
            return  # the database was away
        validators = {row["address"]: row for row in json.loads(output)["validators"]}
        await self._abilities.looks.anew()
        for other in self._world.net.validators:
            self._hold_against(other, "`reactor status`", ill, healthy=validators[other.address]["healthy"])

    async def _ask_container(self, one: LocalValidator) -> None:
        ill = self._known_ill()
        code, _ = await _command(one, "-m", "infra.containers.health")
        await self._abilities.looks.anew()
        self._hold_against(one, "infra/containers/health.py", ill, healthy=code == 0)

    def _known_ill(self) -> dict[str, dict[str, float]]:
        """Who cannot do what as a command begins, since when, and for so long that everybody must know."""
        return {
            one.name: since
            for one in self._world.net.validators
            if (since := self._abilities.since(one.name)) and self._abilities.longest(one.name) > self.judgement.allowed
        }

    def _hold_against(self, one: LocalValidator, what: str, ill: Mapping[str, Mapping[str, float]], *, healthy: bool) -> None:
        """A command takes seconds and shows what was true at some moment of them: only what was so all the while counts."""
        now, before = self._abilities.since(one.name), ill.get(one.name, {})
        if healthy and any(now.get(ability, time.monotonic()) <= began for ability, began in before.items()):
            raise FalseHealthError(f"{one.name} is healthy to {what}, and cannot do its work: {self._abilities.cannot(one.name)}")


async def _command(one: LocalValidator, *arguments: str) -> tuple[int, str]:
    """Run it with this validator's configuration; its code and standard output. Raises `AssertionError` at a traceback."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("REACTOR_", "MONGODB_URI"))}
    environment |= {"REACTOR_CONFIG": str(one.config)}
    process = await asyncio.create_subprocess_exec(
        sys.executable, *arguments, stdout=PIPE, stderr=PIPE, cwd=ROOT, env=environment
    )
    try:
        output, complaints = await asyncio.wait_for(process.communicate(), _ENDS_SECONDS)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert b"Traceback" not in complaints, complaints.decode()
    assert process.returncode is not None
    return process.returncode, output.decode()
