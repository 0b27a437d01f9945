"""Validators that die and come back: the schedule comes from a seed, so that a run can be had again."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from random import Random

from infra.localnet.member import LocalValidator


@dataclass(frozen=True, slots=True)
class Blow:
    """After `pause` seconds validator `victim` is killed (or stopped as an operator does), for `down` seconds."""

    pause: float
    victim: int
    kill: bool
    down: float


def schedule(seed: int, victims: int, blows: int) -> list[Blow]:
    """`blows` blows at `victims` validators."""
    rng = Random(seed)
    return [
        Blow(round(rng.uniform(0.2, 2), 2), rng.randrange(victims), rng.random() < 0.7, round(rng.uniform(0.1, 3), 2))
        for _ in range(blows)
    ]


async def strike(validators: list[LocalValidator], seed: int, blows: int, over: asyncio.Event, say: Callable[[str], None]) -> int:
    """Deal blows one after the other, at the least so many, until it is over; how many. All run again at the end."""
    dealt = 0
    for blow in schedule(seed, len(validators), 10_000):
        if over.is_set() and dealt >= blows:
            break
        await asyncio.sleep(blow.pause)
        victim = validators[blow.victim]
        if not victim.running:
            continue
        say(f"{victim.name} {'killed' if blow.kill else 'stopped'}")
        if blow.kill:
            victim.kill()
        else:
            assert await victim.stop() == 0, f"{victim.name} was stopped and ended badly:\n{victim.log_tail(40)}"
        await asyncio.sleep(blow.down)
        await victim.start()
        dealt += 1
    return dealt
