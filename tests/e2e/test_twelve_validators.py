"""Twelve validators, nine signatures for a mint, all twelve for a return, while they die and come back at random."""

from __future__ import annotations

import asyncio
import time
from random import Random

import pytest

from infra.localnet.member import LocalValidator
from infra.localnet.network import Localnet
from reactor.documents.statuses import REQUESTS, Collection, Status
from tests.e2e.bridge_blows import strike
from tests.e2e.bridge_figures import figures
from tests.e2e.bridge_people import Crowd
from tests.e2e.bridge_truth import (
    all_statuses,
    assert_chains_exact,
    assert_documents_right,
    assert_no_errors_logged,
    heartbeats,
    inflows,
    mints_owed,
)

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("bridge"), pytest.mark.timeout(3600)]

VALIDATORS, THRESHOLD = 12, 9
RECIPIENTS, DEPOSITS_EACH, BAD_DEPOSITS, BURNS_EACH = 20, 10, 50, 5
WAVES = 10
SEED = 20_240_229
STUCK_SECONDS = 600.0
NEW_HOST = "the-new-machine"


async def start_in_threes(validators: list[LocalValidator]) -> None:
    """Twelve processes that import everything at once would only hinder one another."""
    for first in range(0, len(validators), 3):
        await asyncio.gather(*(one.start() for one in validators[first : first + 3]))


async def deposits(crowd: Crowd, rng: Random) -> None:
    """All deposits, in waves of about a block: some recipients are in a wave several times."""
    recipients = [user for user in crowd.net.users for _ in range(DEPOSITS_EACH)]
    rng.shuffle(recipients)
    size = len(recipients) // WAVES
    for wave in range(WAVES):
        await crowd.deposit_wave(recipients[wave * size : (wave + 1) * size], BAD_DEPOSITS // WAVES)
        await asyncio.sleep(1.0)


async def burns(crowd: Crowd) -> None:
    """Each user burns as soon as enough was minted for it: three burns in one transaction, then two single ones."""
    users = crowd.net.users

    async def burn(place: int) -> None:
        user = users[place]

        async def rich() -> bool:
            return await user.wpokt_balance() >= 3_000_000

        await crowd.net.wait_until(rich, seconds=STUCK_SECONDS, what=f"{user.name} to have something to burn")
        await crowd.burn_three(user, users[place - 1])
        for _ in range(BURNS_EACH - 3):
            await crowd.burn(user)

    async with asyncio.TaskGroup() as group:
        for place in range(len(users)):
            group.create_task(burn(place))


@pytest.fixture
async def net(tmp_path_factory):
    began = time.monotonic()
    async with Localnet(
        validators=VALIDATORS,
        threshold=THRESHOLD,
        users=RECIPIENTS,
        start=False,
        directory=tmp_path_factory.mktemp("twelve"),
        on_step=lambda step: print(f"{time.monotonic() - began:6.1f} s  {step}", flush=True),
    ) as running:
        yield running


async def test_every_request_reaches_its_right_end_once_while_validators_die(net: Localnet) -> None:
    began = time.monotonic()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began:6.1f} s  {text}", flush=True)

    say(f"seed {SEED}")
    rng = Random(SEED)
    crowd = Crowd(net, Random(SEED + 1))
    *others, late = net.validators
    await start_in_threes(net.validators)
    say("all run")

    # The twelfth takes part at first; then its machine is lost, and only the journal of it was saved.
    await crowd.deposit_wave(net.users[:2], 1)
    for sent in crowd.deposits:
        await net.wait_for(Collection.MINT, sent, Status.SIGNED, seconds=STUCK_SECONDS)
    crowd_before = len(crowd.deposits), len(crowd.bad_deposits)
    late.kill()
    late.lose_ledger()
    say(f"{late.name} lost its machine")

    over = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        minting = group.create_task(crowd.keep_minting())
        blows = [group.create_task(strike(others[place::2], SEED + place, 4, over, say)) for place in range(2)]
        burning = group.create_task(burns(crowd))
        await deposits(crowd, rng)
        say(f"{len(crowd.deposits)} deposits and {len(crowd.bad_deposits)} bad ones are sent")
        await burning
        say(f"{crowd.burn_count} burns in {len(crowd.burns)} transactions are sent")
        # Nothing is paid out without it: returns on Morse need every key.
        assert await all_statuses(net, Collection.BURN, Status.SUCCESS) == 0
        await late.restart(new_hostname=NEW_HOST)
        say(f"{late.name} is back as {NEW_HOST}")
        over.set()
        dealt = sum([await blow for blow in blows])
        say(f"{dealt} blows dealt, all run again")

        async def done() -> bool:
            return all([await all_statuses(net, role, Status.SUCCESS) == wanted[role] for role in REQUESTS])

        wanted = {
            Collection.MINT: len(crowd.deposits),
            Collection.INVALID_MINT: len(crowd.bad_deposits),
            Collection.BURN: crowd.burn_count,
        }
        await net.wait_until(done, seconds=STUCK_SECONDS, what=f"all of {wanted} to succeed")
        minting.cancel()
    say("everything is done")

    assert len(crowd.deposits) - crowd_before[0] == RECIPIENTS * DEPOSITS_EACH
    assert len(crowd.bad_deposits) - crowd_before[1] == BAD_DEPOSITS
    assert crowd.burn_count == RECIPIENTS * BURNS_EACH
    assert dealt >= 8
    assert_several_in_one_block(net, crowd)
    await assert_chains_exact(net, crowd)
    await assert_documents_right(net, crowd, THRESHOLD)
    assert_no_errors_logged(net)
    await assert_caught_up(net, late)
    for line in await figures(net):
        say(line)


def assert_several_in_one_block(net: Localnet, crowd: Crowd) -> None:
    """The run showed what it was to show: one recipient several times in one block of Pocket."""
    good = [tx for tx in inflows(net) if tx.hash.lower() in crowd.deposits]
    places = [(tx.height, mint.recipient) for tx, mint in zip(good, mints_owed(net, crowd.deposits), strict=True)]
    assert len(set(places)) < len(places)


async def assert_caught_up(net: Localnet, late: LocalValidator) -> None:
    """The one on the new machine stands where all others stand, and nobody holds, misses or fears anything."""

    async def level() -> bool:
        said = await heartbeats(net)
        highest = max(int(one["pocket_cursor"]) for one in said.values())
        near = late.name in said and int(said[late.name]["pocket_cursor"]) >= highest - 10
        return near and all(one["healthy"] and not one["open_count"] and not one["holds"] for one in said.values())

    await net.wait_until(level, seconds=STUCK_SECONDS, what="all validators to have nothing left to do")
    said = await heartbeats(net)
    assert set(said) == {one.name for one in net.validators}
    assert said[late.name]["hostname"] == NEW_HOST
    assert len({one["identity"] for one in said.values()}) == 1
