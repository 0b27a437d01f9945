"""No refusal by one node makes a return final: it is handed in again, later and elsewhere, until a block says what came of it."""

from typing import Any

import pytest
from bridge_helpers.harness import FEE, BridgeUnderTest, running_bridge

from infra.localnet.pocket.misbehaviour import LoseMempool, RefuseUntilBlock
from reactor.documents.statuses import Collection, Status

pytestmark = [pytest.mark.integration, pytest.mark.xdist_group("bridge")]

AMOUNT = 1_000_000


async def restarted(bridge: BridgeUnderTest) -> None:
    """The Pocket node is killed and started again, with the habits of a real one."""
    with bridge.net.pocket.misbehaving(LoseMempool()):
        await bridge.net.pocket.stop()
    await bridge.net.pocket.start()


def refused(bridge: BridgeUnderTest) -> list[str]:
    """What the validators say of submissions that failed."""
    return [row.error for one in bridge.validators for row in one.dispatcher.stuck() if "client/rawtx: sdk 4" in row.error]


async def test_a_node_that_was_just_restarted_delays_a_return_and_no_more(mongo_uri: str) -> None:
    async with running_bridge(mongo_uri, pot=0, pocket_block_time=None) as bridge:
        node = bridge.net.pocket
        raw, hash_ = bridge.deposit_of(AMOUNT, "names nobody")
        await bridge.send(raw)
        node.step(3)
        node.misbehave(RefuseUntilBlock())
        await restarted(bridge)
        document = await bridge.until(Collection.INVALID_MINT, hash_, Status.SIGNED)
        return_tx = document["return_tx"]
        await bridge.eventually(lambda: refused(bridge), "a submission to be refused with code 4")
        found: Any = await bridge.document(Collection.INVALID_MINT, hash_)
        assert (found["status"], found["return_tx"], found["objections"]) == (Status.SIGNED, return_tx, [])
        assert node.dump()["mempool"] == []

        node.step()  # its first new block: from now on it takes transactions
        await bridge.eventually(lambda: node.dump()["mempool"], "the return to be handed in again")
        await bridge.until(Collection.INVALID_MINT, hash_, Status.SUBMITTED)
        await restarted(bridge)
        assert node.dump()["mempool"] == [], "it was lost with the node"

        def handed_in_after_another_block() -> bool:
            node.step()
            return bool(bridge.judge.payments(hash_))

        await bridge.eventually(handed_in_after_another_block, "the return to be in a block")
        node.step(2)
        _, payments = await bridge.paid(Collection.INVALID_MINT, hash_)
        assert [(one.recipient, one.amount) for one in payments] == [(bridge.net.users[0].pocket_address, AMOUNT - FEE)]
        node.step(5)
        assert len(bridge.judge.payments(good=False)) == 1, "the vault paid once and nothing else"
