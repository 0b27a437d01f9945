"""A reorganisation deeper than finality: everybody stops signing, each says so to all, and goes on once released."""

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from bridge_helpers.harness import BridgeUnderTest, running_bridge

from infra.localnet.member import ROOT
from reactor.cli.common import EXIT_PROBLEM
from reactor.cli.status import EXIT_TOO_FEW
from reactor.documents.statuses import Collection, Status
from reactor.state.rows import EventKind

pytestmark = [
    pytest.mark.integration,
    pytest.mark.xdist_group("bridge"),
    pytest.mark.asyncio(loop_scope="module"),
]

MINT = Collection.MINT
AMOUNT = 1_000_000
DEEP, SHALLOW = 30, 1
DEPTH = 3


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bridge(mongo_uri: str) -> AsyncIterator[BridgeUnderTest]:
    async with running_bridge(mongo_uri, pot=0, ethereum_finality=f"latest-{DEPTH}") as running:
        yield running


async def status_on_another_machine(bridge: BridgeUnderTest) -> tuple[int, str]:
    """With which code `reactor status` ends and what it shows to the first operator: it asks the shared database alone."""
    config = str(bridge.runners[0].member.config)
    pipe = asyncio.subprocess.PIPE
    command = [sys.executable, "-m", "reactor.cli.main", "status", "--config", config]
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=asyncio.subprocess.STDOUT, cwd=ROOT)
    async with asyncio.timeout(120):
        said, _ = await process.communicate()
    assert process.returncode is not None
    return process.returncode, said.decode()


async def take_back(bridge: BridgeUnderTest, depth: int) -> None:
    """The last blocks are replaced by others; before, everybody has read up to the head."""
    await bridge.net.anvil.mine(depth + 2 * DEPTH)

    async def read() -> bool:
        # The newest head at each look: blocks are mined all the while, and who is too far behind them loses nothing final.
        head = await bridge.net.anvil.block_number()
        cursors = [one.ledger.cursor(EventKind.BURN) for one in bridge.validators]
        return all(cursor is not None and cursor.height >= head - 2 * DEPTH for cursor in cursors)

    await bridge.eventually(read, "everybody to have read up to the head")
    await bridge.net.anvil.reorg(depth)
    # Anvil's clock would stand still otherwise.
    await bridge.net.anvil.increase_time(60)


def held(bridge: BridgeUnderTest) -> list[int]:
    return [sum(hold.reason == "deep_reorg" for hold in one.journal.holds()) for one in bridge.validators]


async def a_mint(bridge: BridgeUnderTest) -> str:
    return await bridge.send(bridge.deposit_of(AMOUNT, bridge.memo(bridge.recipient()))[0])


async def test_a_shallow_one_stops_nobody(bridge: BridgeUnderTest) -> None:
    await take_back(bridge, SHALLOW)
    await bridge.minted(await a_mint(bridge))
    assert held(bridge) == [0, 0, 0]

    async def all_can_sign() -> bool:
        code, said = await status_on_another_machine(bridge)
        return code == 0 and "held" not in said

    # A heartbeat may be late on a busy machine, and then its validator counts as one that cannot sign.
    await bridge.eventually(all_can_sign, "status on another machine to count everybody")


async def test_a_deep_one_stops_everybody_until_released_and_everybody_can_read_why(bridge: BridgeUnderTest) -> None:
    await take_back(bridge, DEEP)
    await bridge.eventually(lambda: min(held(bridge)) > 0, "everybody to hold")
    waits = await a_mint(bridge)
    await bridge.until_waiting(MINT, waits, "held")
    beats = bridge.net.store.collection(Collection.HEARTBEAT)

    async def told() -> bool:
        rows = await beats.find({}).to_list()
        return len(rows) == 3 and all(any("signing: deep_reorg" in hold for hold in row["holds"]) for row in rows)

    await bridge.eventually(told, "every heartbeat to say so")

    async def shown() -> bool:
        code, said = await status_on_another_machine(bridge)
        # A database that answers late on a busy machine is a problem of that one look.
        assert code in {EXIT_TOO_FEW, EXIT_PROBLEM}, said
        if code != EXIT_TOO_FEW:
            return False
        lines = said.splitlines()
        wanted = [f"{one.me.address}: held signing: deep_reorg" for one in bridge.validators]
        return all(any(line.startswith(text) for line in lines) for text in wanted)

    await bridge.eventually(shown, "status on another machine to show it of each")

    # Its own document says it to the user and to the frontend.
    async def read() -> dict[str, Any] | None:
        found = await bridge.document(MINT, waits) or {}
        waiting = found.get("waiting") or {}
        held_so = waiting.get("reason") == "held" and waiting.get("params", {}).get("reason") == "deep_reorg"
        return found if held_so else None

    document = await bridge.eventually(read, "the document to say why it waits")
    assert (document["status"], document["signers"]) == (Status.CONFIRMED, [])

    # One operator's release lets his validator go on, and no other: with a threshold of two nothing is signed yet.
    release(bridge, 1)
    await bridge.eventually(lambda: held(bridge)[0] == 0, "the first to go on")

    async def one_signed() -> bool:
        return len((await bridge.document(MINT, waits) or {})["signers"]) == 1

    await bridge.eventually(one_signed, "the first to sign")
    assert held(bridge)[1:] == [1, 1]
    release(bridge, 3)
    await bridge.minted(waits)
    assert held(bridge) == [0, 0, 0]

    async def told_no_more() -> bool:
        return all(not row["holds"] for row in await beats.find({}).to_list())

    await bridge.eventually(told_no_more, "the heartbeats to say nothing of it any more")


def release(bridge: BridgeUnderTest, count: int) -> None:
    for one in bridge.validators[:count]:
        for hold in one.journal.holds():
            one.journal.release(hold.id, "operator", "understood")


async def test_nothing_unjustified_was_signed(bridge: BridgeUnderTest) -> None:
    assert await bridge.judge.unjustified(one.journal for one in bridge.validators) == []
    assert await bridge.judge.unpaid_or_doubled() == []
