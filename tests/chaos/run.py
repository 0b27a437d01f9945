"""One run: the world of a manifest, its people and its faults beside one another, and what must hold in the end."""

from __future__ import annotations

import asyncio
import re
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from random import Random

from pymongo.errors import PyMongoError

from infra.localnet.processes import ProcessError
from infra.localnet.stuck import StuckError
from tests.chaos.faults import Storms
from tests.chaos.health import Observer
from tests.chaos.manifest import Manifest
from tests.chaos.people import NODE_FAILED, People, cancelled
from tests.chaos.truth import (
    broken,
    burns_on_chain,
    documents_wrong,
    heartbeats,
    overpaid,
    unjustified,
    unsettled,
    waits_without_reason,
)
from tests.chaos.world import World

_LEVEL_SECONDS = 180.0
_SHOWN = 40
_AROUND_SECONDS = 600.0
"""For starting and ending everything on a busy machine."""
_LOOK_SECONDS = 0.5
_ASK_SECONDS = 5.0
_TELL_SECONDS = 30.0

Say = Callable[[str], None]
Then = Callable[[World, People], Awaitable[None]]


class InvariantError(AssertionError):
    """Something that must hold on the chains does not; the message has every one of them, the seed and the replay."""


@dataclass
class Outcome:
    """What a run did. `seconds`: all of it, with starting and ending."""

    name: str
    seed: int
    requests: Counter[str] = field(default_factory=Counter)
    faults: int = 0
    seconds: float = 0.0


async def run(name: str, manifest: Manifest, seed: int, directory: Path, say: Say = print, then: Then | None = None) -> Outcome:
    """Play a manifest. Raises `InvariantError`, or what could not be carried out, always with the way to replay it.

    `then` is done at the end, when all was found right and no validator runs any more.
    """
    began = time.monotonic()

    def told(text: str) -> None:
        say(f"{time.monotonic() - began:6.1f} s  {text}")

    outcome = Outcome(name, seed)
    timeline = manifest.timeline(seed)
    say(f"manifest {name}, seed {seed}: {manifest.about}")
    for fault in timeline:
        say(f"  at {fault.at:6.1f}  {fault.told}")
    outcome.faults = len(timeline)
    replay = f'replay: make chaos ARGS="--manifest {name} --seed {seed}"; logs in {directory}'
    try:
        longest = manifest.seconds + manifest.stuck_seconds + _LEVEL_SECONDS + _AROUND_SECONDS
        async with asyncio.timeout(longest), World(manifest, timeline, directory, told) as world:
            people = People(world.net, Random(f"{seed} people"), manifest.requests, told)
            await _live_through(world, people, Storms(world, Random(f"{seed} faults"), told), timeline, told)
            await _check(world, people, told, outcome)
            if then is not None:
                await then(world, people)
    except BaseExceptionGroup as group:
        raise InvariantError(f"{_first(group)!s}\n{replay}") from group
    except (AssertionError, StuckError, TimeoutError, ProcessError) as error:
        raise InvariantError(f"{error}\n{replay}") from error
    outcome.seconds = time.monotonic() - began
    told(f"all invariants hold: {dict(outcome.requests)}, {outcome.faults} faults; people had to try again: {people.failures}")
    return outcome


async def _live_through(world: World, people: People, storms: Storms, timeline: list, told: Say) -> None:
    """Requests and faults at once, then peace, until everything has reached its end on the chains."""
    manifest = world.manifest
    observer = Observer(world, told)
    async with asyncio.TaskGroup() as group:
        besides = (people.keep_minting(), _watch(world), _ask_why(world), _tell(world, people, told))
        besides += (_ask_thieves(world, people), observer.watch(), observer.ask())
        beside = [group.create_task(one) for one in besides]
        doing = [
            group.create_task(people.keep_depositing(manifest.seconds)),
            group.create_task(people.keep_burning(manifest.seconds)),
            group.create_task(storms.play(timeline)),
        ]
        await asyncio.gather(doing[0], doing[2])
        told("everything is whole again")
        await _settled(world, people, doing[1])
        for one in beside:
            one.cancel()
    told(observer.judgement.told)


async def _watch(world: World) -> None:
    """Nobody ends by himself. Raises `ProcessError`."""
    while not cancelled():
        world.net.check_processes()
        await asyncio.sleep(_LOOK_SECONDS)


async def _ask_why(world: World) -> None:
    """Whatever waits says why, all the time."""
    while not cancelled():
        with suppress(PyMongoError):
            silent = await waits_without_reason(world.net)
            if silent:
                raise AssertionError(f"{len(silent)} documents wait without a reason: {'; '.join(silent[:5])}")
        await asyncio.sleep(_ASK_SECONDS)


async def _ask_thieves(world: World, people: People) -> None:
    """The vault pays nothing that it does not owe, not for a moment."""
    while not cancelled():
        with suppress(*NODE_FAILED):
            thefts = await overpaid(world.net, people.bad_deposits)
            if thefts:
                raise AssertionError(f"{len(thefts)} payments that nobody is owed: {'; '.join(thefts[:5])}")
        await asyncio.sleep(_ASK_SECONDS)


async def _tell(world: World, people: People, told: Say) -> None:
    """How far everything is, now and then."""
    while not cancelled():
        await asyncio.sleep(_TELL_SECONDS)
        with suppress(*NODE_FAILED):
            left = await unsettled(world.net, people.deposits, people.bad_deposits)
            told(f"so far {len(people.deposits) + len(people.bad_deposits)} deposits; open: {', '.join(left) or 'nothing'}")


async def _settled(world: World, people: People, burning: asyncio.Task[None]) -> None:
    async def done() -> bool:
        return burning.done() and not await unsettled(world.net, people.deposits, people.bad_deposits)

    try:
        await world.net.wait_until(done, seconds=world.manifest.stuck_seconds, what="every request to be settled on its chain")
    except StuckError as error:
        left = await unsettled(world.net, people.deposits, people.bad_deposits)
        burned = f"{len(await burns_on_chain(world.net))} of {world.manifest.requests.burns} burns are on the chain"
        raise StuckError(f"open: {', '.join(left) or 'nothing'}; {burned}; tried again: {people.failures}\n{error}") from error


async def _check(world: World, people: People, told: Say, outcome: Outcome) -> None:
    net = world.net
    told("settled on the chains; the validators have to know it")
    stolen = await broken(net, people.deposits, people.bad_deposits)
    if stolen:
        raise AssertionError(f"{len(stolen)} invariants do not hold:\n" + "\n".join(stolen[:_SHOWN]))
    await net.wait_until(lambda: _level(world, people), seconds=_LEVEL_SECONDS, what="all validators to have nothing left to do")
    wrong = await broken(net, people.deposits, people.bad_deposits)
    wrong += await documents_wrong(net, people.deposits, people.bad_deposits)
    wrong += await waits_without_reason(net)
    for one in net.validators:
        code = await one.stop()
        wrong += [f"{one.name} ended with code {code}"] if code != 0 else []
    wrong += await unjustified(net)
    # A fault that nobody feels shows nothing.
    for name, pattern in world.manifest.felt.items():
        if not re.search(pattern, world.validator(name).log.read_text()):
            wrong.append(f"{name} felt nothing: its log does not say {pattern!r}")
    burns = len(await burns_on_chain(net))
    outcome.requests.update(deposits=len(people.deposits), bad_deposits=len(people.bad_deposits), burns=burns)
    if wrong:
        raise AssertionError(f"{len(wrong)} invariants do not hold:\n" + "\n".join(wrong[:_SHOWN]))


async def _level(world: World, people: People) -> bool:
    """Everybody is healthy, has nothing open and holds nothing, and every document tells the end of its request."""
    said = await heartbeats(world.net)
    well = [heart for heart in said.values() if heart["healthy"] and not heart["open_count"] and not heart["holds"]]
    return len(well) == world.manifest.validators and not await documents_wrong(world.net, people.deposits, people.bad_deposits)


def _first(group: BaseExceptionGroup) -> BaseException:
    inner = group.exceptions[0]
    return _first(inner) if isinstance(inner, BaseExceptionGroup) else inner
