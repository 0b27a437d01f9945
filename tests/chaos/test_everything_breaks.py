"""A bridge whose validators, database and nodes break at random, at once, until they are whole again. Nobody loses anything."""

from __future__ import annotations

import asyncio
import os
import time
from random import Random

import pytest

from infra.localnet.network import Localnet
from infra.localnet.user import User
from reactor.documents.statuses import REQUESTS, Collection, Status
from tests.chaos.breakage import Breaker
from tests.e2e.bridge_figures import figures
from tests.e2e.bridge_people import Crowd
from tests.e2e.bridge_truth import all_statuses, assert_chains_exact, assert_documents_right, heartbeats

pytestmark = [pytest.mark.chaos, pytest.mark.xdist_group("bridge"), pytest.mark.timeout(1500)]

VALIDATORS, THRESHOLD, USERS = 5, 3, 8
BREAKAGES = 10
STUCK_SECONDS = 600.0
SEEDS = [int(seed) for seed in os.environ.get("CHAOS_SEEDS", "1").split(",")]
"""More than one for a night: `CHAOS_SEEDS=1,2,3`."""


@pytest.fixture
async def net(tmp_path_factory):
    directory = tmp_path_factory.mktemp("chaos")
    async with Localnet(
        validators=VALIDATORS, threshold=THRESHOLD, users=USERS, mongo_nodes=3, directory=directory, on_step=print
    ) as running:
        yield running


@pytest.mark.parametrize("seed", SEEDS)
async def test_nothing_is_lost_or_doubled_while_everything_breaks(net: Localnet, seed: int) -> None:
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {text}", flush=True)

    say(f"seed {seed}")
    rng = Random(seed)
    crowd = Crowd(net, Random(seed + 1), patient=True)
    async with asyncio.TaskGroup() as group:
        minting = group.create_task(crowd.keep_minting())
        breaking = group.create_task(Breaker(net, seed, say).run(BREAKAGES))
        while not breaking.done():
            await crowd.deposit_wave(rng.sample(net.users, 4), bad=1)
            for user in rng.sample(net.users, 2):
                await burn(crowd, user)
            await asyncio.sleep(rng.uniform(0.5, 5))
        await breaking
        say("everything is whole again")
        await settled(net, crowd)
        minting.cancel()
    say(f"done: {len(crowd.deposits)} deposits, {len(crowd.bad_deposits)} bad ones, {crowd.burn_count} burns")
    assert crowd.burn_count > USERS
    await assert_chains_exact(net, crowd)
    await assert_documents_right(net, crowd, THRESHOLD)
    await assert_nothing_held(net)
    for line in await figures(net):
        say(line)


async def burn(crowd: Crowd, user: User) -> None:
    """Three burns in one transaction and one of its own, if the user has enough by now."""
    if await user.wpokt_balance() >= 2_000_000:
        await crowd.burn_three(user, crowd.net.users[0])
        await crowd.burn(user)


async def settled(net: Localnet, crowd: Crowd) -> None:
    """Wait until every request succeeded."""
    wanted = dict(zip(REQUESTS, (len(crowd.deposits), len(crowd.bad_deposits), crowd.burn_count), strict=True))

    async def done() -> bool:
        return all([await all_statuses(net, role, Status.SUCCESS) == count for role, count in wanted.items()])

    await net.wait_until(done, seconds=STUCK_SECONDS, what=f"all of {wanted} to succeed")


async def assert_nothing_held(net: Localnet) -> None:
    """Nobody is left with open work, a problem or a hold: what broke was no reason to stop signing."""

    async def level() -> bool:
        said = await heartbeats(net)
        fresh = {name: one for name, one in said.items() if one["healthy"] and not one["open_count"] and not one["holds"]}
        return len(fresh) == VALIDATORS

    await net.wait_until(level, seconds=120, what="all validators to have nothing left to do and nothing held")
    assert await net.store.collection(Collection.HEARTBEAT).count_documents({}) >= VALIDATORS
