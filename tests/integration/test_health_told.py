"""What a validator cannot do is told in its heartbeat at once, both ways, and its end as well; and is read there by all."""

from collections.abc import AsyncIterator, Mapping
from contextlib import closing
from datetime import UTC, datetime
from typing import Any

import pytest
import pytest_asyncio
from bridge_helpers.harness import BridgeUnderTest, Runner, running_bridge

from reactor.cli.people import people, strengths
from reactor.documents.statuses import Collection
from reactor.handlers.heartbeat import verified_heartbeats
from reactor.state.holds import SIGNING
from reactor.state.journal import Journal

pytestmark = [
    pytest.mark.integration,
    pytest.mark.xdist_group("bridge"),
    pytest.mark.asyncio(loop_scope="module"),
]

PAUSE = 600.0
"""Between two heartbeats: whatever is told within the bound of a test was told because it happened."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bridge(mongo_uri: str) -> AsyncIterator[BridgeUnderTest]:
    settings = {"engine": {"heartbeat_interval_s": PAUSE}}
    async with running_bridge(mongo_uri, pot=0, vault=0, settings=settings) as running:
        await running.eventually(lambda: able(running, 3, 3), "all to be able to sign")
        yield running


async def able(bridge: BridgeUnderTest, minting: int, paying: int) -> bool:
    """Whether `reactor status` counts so many that can sign mints and payouts."""
    members = [one.address for one in bridge.net.validators]
    rows, others = await verified_heartbeats(bridge.net.store, members)
    found = people(rows, members, datetime.now(UTC), others)
    assert found.forged == 0
    counted = strengths(found, bridge.net.bridge.identity_hash(), bridge.net.bridge.pocket_keys)
    return [one.able for one in counted] == [minting, paying]


async def told(bridge: BridgeUnderTest, runner: Runner) -> dict[str, Any]:
    found = await bridge.net.store.collection(Collection.HEARTBEAT).find_one({"eth_address": runner.member.address})
    assert found is not None
    return dict(found)


def beside(runner: Runner) -> Journal:
    """The journal as an operator's command opens it: in a connection of its own, while the validator runs."""
    return Journal.open(runner.member.state, runner.running.bridge)


async def test_a_pause_and_its_end_are_told_at_once(bridge: BridgeUnderTest) -> None:
    third = bridge.runners[2]
    with closing(beside(third)) as journal:
        journal.pause("payout", "operator", "just looking")
        await bridge.eventually(lambda: able(bridge, 3, 2), "its pause to be seen by all")
        paused = {
            "healthy": False,
            "cannot": ["payout"],
            "signs": ["mint"],
            "holds": ["direction:payout: paused just looking"],
        }
        await until_told(bridge, third, paused)
        journal.resume("payout", "operator", "seen enough")
        await bridge.eventually(lambda: able(bridge, 3, 3), "the end of the pause to be seen by all")
    await until_told(bridge, third, {"healthy": True, "problems": [], "holds": []})


async def until_told(bridge: BridgeUnderTest, runner: Runner, wanted: Mapping[str, Any]) -> None:
    """Wait for one heartbeat that says all of it: a busy machine may be late in between, and say so."""

    async def said() -> bool:
        found = await told(bridge, runner)
        return {name: found[name] for name in wanted} == dict(wanted)

    await bridge.eventually(said, f"the heartbeat of {runner.member.name} to say {dict(wanted)}")


@pytest.mark.parametrize(("scope", "minting"), [(SIGNING, 2), ("recipient:0x" + "ab" * 20, 3), ("event:x", 3)])
async def test_a_hold_and_its_release_are_told_at_once(bridge: BridgeUnderTest, scope: str, minting: int) -> None:
    """One that stops a single recipient or event is shown too, and costs nothing else."""
    third = bridge.runners[2]

    async def shown(wanted: bool) -> bool:
        return any(one.startswith(f"{scope}: ") for one in (await told(bridge, third))["holds"]) is wanted

    with closing(beside(third)) as journal:
        journal.hold(scope, "operator", "looking", "me")
        await bridge.eventually(lambda: shown(True), "the hold to be shown")
        await bridge.eventually(lambda: able(bridge, minting, minting), f"{minting} to be able to sign")
        journal.release(scope, "me", "looked")
        await bridge.eventually(lambda: shown(False), "the release to be shown")
        await bridge.eventually(lambda: able(bridge, 3, 3), "all to be able to sign again")


async def test_nobody_can_sign_while_the_ethereum_node_of_all_is_dead(bridge: BridgeUnderTest) -> None:
    node = bridge.net.anvil.process
    node.freeze()
    try:
        await bridge.eventually(lambda: able(bridge, 0, 0), "all to say that they cannot scan")
        for one in bridge.runners:
            await until_told(bridge, one, {"cannot": ["scan"]})
    finally:
        node.thaw()
    await bridge.eventually(lambda: able(bridge, 3, 3), "all to have scanned to the head again")


async def test_one_that_stops_says_so(bridge: BridgeUnderTest) -> None:
    third = bridge.runners[2]
    await third.stop()
    said = await told(bridge, third)
    assert (said["phase"], said["healthy"], said["signs"]) == ("stopped", False, [])
    await bridge.eventually(lambda: able(bridge, 2, 2), "the others to be able to sign")
    await third.start()
    await bridge.eventually(lambda: able(bridge, 3, 3), "it to be back")
    assert (await told(bridge, third))["phase"] == "running"
