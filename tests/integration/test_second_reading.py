"""Lists that lack an event which the chain holds: it is not missed for good, nobody restarts anything, the endpoint is named."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack
from typing import Any

import pytest
import pytest_asyncio
from bridge_helpers.harness import BridgeUnderTest, running_bridge
from ethereum_helpers import running_proxy
from liars import pocket_proxy, tampering

from infra.localnet.pocket import HideTransactions
from reactor.documents.statuses import Collection, Status
from reactor.state.rows import EventKind

pytestmark = [
    pytest.mark.integration,
    pytest.mark.xdist_group("bridge"),
    pytest.mark.asyncio(loop_scope="module"),
]

AMOUNT = 1_000_000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bridge(mongo_uri: str) -> AsyncIterator[BridgeUnderTest]:
    async with running_bridge(mongo_uri) as bridge:
        yield bridge


def named(bridge: BridgeUnderTest, number: int, hash_: str) -> list[str]:
    """What the heartbeat of this validator says of this transaction."""
    return [one.text for one in bridge.validators[number]._pulse().warnings if hash_ in one.text]


def held(bridge: BridgeUnderTest) -> list[str]:
    return [hold.reason for one in bridge.validators for hold in one.journal.holds()]


async def test_a_deposit_that_every_list_lacks_is_minted_all_the_same(bridge: BridgeUnderTest) -> None:
    raw, hash_ = bridge.deposit_of(AMOUNT, bridge.memo(bridge.recipient()))
    with bridge.net.pocket.misbehaving(HideTransactions((hash_,))):
        await bridge.send(raw)
        await bridge.until(Collection.MINT, hash_, Status.SIGNED)
        await bridge.eventually(lambda: named(bridge, 0, hash_), "the heartbeat to name the transaction")
        await bridge.minted(hash_)
    assert held(bridge) == []


async def test_what_one_validators_node_leaves_out_of_its_lists_is_signed_by_it_too(bridge: BridgeUnderTest) -> None:
    hidden: set[str] = set()

    def without(call: str, body: Any, answer: Any) -> Any:
        if call != "query/accounttxs":
            return answer
        return {"page_count": 0, "total_txs": 0, "txs": []}

    def no_logs(method: str, params: Any, answer: Any) -> Any:
        return [log for log in answer if log["transactionHash"] not in hidden] if method == "eth_getLogs" else answer

    runner = bridge.runners[2]
    async with AsyncExitStack() as stack:
        pocket = await stack.enter_async_context(pocket_proxy(bridge.net.pocket.url))
        ethereum = await stack.enter_async_context(running_proxy(bridge.net.anvil.url))
        ethereum.fault = tampering(ethereum, no_logs)
        await runner.stop()
        runner.sections = {"pocket": {"rpc_urls": (pocket.url,)}, "ethereum": {"rpc_urls": (ethereum.url,)}}
        await runner.start()
        third = runner.running
        pocket.change = without

        async def hide(tx_hash: str) -> None:
            hidden.add(tx_hash)

        raw, deposit = bridge.deposit_of(AMOUNT, bridge.memo(bridge.recipient()))
        await bridge.send(raw)
        burn = await bridge.presigned_burn(AMOUNT, "fa" * 20, hide)
        # All must sign a return: it is paid only because the third one found the burn that its logs lack.
        _, payments = await bridge.paid(Collection.BURN, burn)
        assert len(payments) == 1
        await bridge.eventually(lambda: third.ledger.deposit(deposit), "the third validator to find the deposit")
        key = f"pocket:localnet:{bridge.net.bridge.vault}:{deposit}"
        await bridge.eventually(lambda: third.journal.signed(key), "the third validator to sign the mint")
        for what in (deposit, burn):
            await bridge.eventually(lambda what=what: named(bridge, 2, what), "the third validator to name what was left out")
        assert third.ledger.cursor(EventKind.BURN) is not None
        await bridge.minted(deposit)
        assert held(bridge) == []
        await runner.stop()
        runner.sections = {}
        await runner.start()
