"""The short manifest: a bridge of seven on a replica set of three, with a little of everything going wrong in half a minute."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.chaos.manifest import load
from tests.chaos.people import People
from tests.chaos.run import run
from tests.chaos.truth import broken, documents_wrong, unjustified
from tests.chaos.world import World

pytestmark = [pytest.mark.chaos, pytest.mark.xdist_group("bridge"), pytest.mark.timeout(1800)]


async def test_nothing_is_lost_or_doubled_while_a_little_of_everything_breaks(tmp_path: Path) -> None:
    """`CHAOS_SEED=7` plays it with another seed; `make chaos` plays the long ones."""
    manifest = load("short")
    seed = int(os.environ.get("CHAOS_SEED", manifest.seed))
    done = await run("short", manifest, seed, tmp_path, then=the_judge_is_not_blind)
    assert done.faults >= 10
    assert done.requests["deposits"] == manifest.requests.deposits
    assert done.requests["bad_deposits"] == manifest.requests.bad_deposits
    assert done.requests["burns"] >= manifest.requests.burns


async def the_judge_is_not_blind(world: World, people: People) -> None:
    """What the run was found free of is found where it is: on the same chains, with one thing wrong each."""
    net, deposits, bad = world.net, people.deposits, people.bad_deposits
    (first, amount), *_ = deposits.items()
    unknown = {sent: one for sent, one in deposits.items() if sent != first}
    said = await broken(net, unknown, bad)
    assert any("known to one side only" in one for one in said)
    assert any("due 0, minted 1" in one for one in said)
    assert any("supply is" in one for one in said)
    never = {**bad, "00" * 32: (amount, net.users[0].pocket_address)}
    assert any("due 1, paid 0" in one for one in await broken(net, deposits, never))
    assert any("00" * 32 in one for one in await documents_wrong(net, deposits, never))
    (journaled, _), *_ = bad.items()
    assert await unjustified(net) == []

    # A thief with all keys: a refund is paid a second time.
    paid = bad[journaled][0] - world.net.info.fee
    net.pocket.submit(net.vault.send(bad[journaled][1], paid, memo=journaled))
    net.pocket.step()
    said = await broken(net, deposits, bad)
    assert any("due 1, paid 2" in one for one in said)
    assert any("the vault holds" in one for one in said)
