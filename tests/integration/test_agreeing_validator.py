"""A whole validator behind several endpoints of which one lies: with agreement it signs what is true, and says who lies."""

from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from bridge_helpers.harness import BridgeUnderTest, running_bridge
from ethereum_helpers import Proxy, running_proxy
from liars import POCKET_LIES, PocketProxy, pocket_proxy, tampering

from reactor.chains.ethereum import contracts
from reactor.documents.statuses import Collection, Status
from reactor.validator import Validator

pytestmark = [
    pytest.mark.integration,
    pytest.mark.xdist_group("bridge"),
    pytest.mark.asyncio(loop_scope="module"),
]

AMOUNT = 1_000_000
POCKET_USER = "fa" * 20


@dataclass
class Behind:
    """The bridge whose third validator reads through two endpoints per chain that must agree, and the first ones' faults."""

    bridge: BridgeUnderTest
    pocket: list[PocketProxy]
    ethereum: list[Proxy]

    @property
    def third(self) -> Validator:
        return self.bridge.runners[2].running

    async def restart(self, count: int) -> None:
        """The third validator with so many endpoints of each chain, two of which must agree; the first may lie."""
        runner = self.bridge.runners[2]
        await runner.stop()
        runner.sections = {
            "pocket": {"rpc_urls": tuple(one.url for one in self.pocket[:count]), "agreement": 2},
            "ethereum": {"rpc_urls": tuple(one.url for one in self.ethereum[:count]), "agreement": 2},
        }
        await runner.start()

    async def deposit(self) -> str:
        raw, _ = self.bridge.deposit_of(AMOUNT, self.bridge.memo(self.bridge.recipient()))
        return await self.bridge.send(raw)

    def signed(self, hash_: str) -> bool:
        return bool(self.third.journal.signed(f"pocket:localnet:{self.bridge.net.bridge.vault}:{hash_}"))

    def problem(self, *words: str) -> Any:
        """A problem of the third validator's heartbeat that holds all these words."""
        return [one.text for one in self.third._pulse().warnings if all(word in one.text for word in words)]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def behind(mongo_uri: str) -> AsyncIterator[Behind]:
    async with AsyncExitStack() as stack:
        bridge = await stack.enter_async_context(running_bridge(mongo_uri, pot=0))
        pocket = [await stack.enter_async_context(pocket_proxy(bridge.net.pocket.url)) for _ in range(3)]
        ethereum = [await stack.enter_async_context(running_proxy(bridge.net.anvil.url)) for _ in range(3)]
        yield Behind(bridge, pocket, ethereum)


@pytest.fixture(autouse=True)
def honest(behind: Behind) -> Iterator[None]:
    yield
    behind.pocket[0].change = None
    behind.ethereum[0].fault = None


async def test_honest_endpoints_are_agreed_with_and_both_directions_go_through(behind: Behind) -> None:
    await behind.restart(2)
    bridge = behind.bridge
    hash_ = await behind.deposit()
    refund = await bridge.send(bridge.deposit_of(AMOUNT, "no memo")[0])
    # Two of three signatures are enough: once the user has minted nobody signs any more.
    await bridge.eventually(lambda: behind.signed(hash_), "the third validator to sign")
    await bridge.minted(hash_)
    await bridge.paid(Collection.INVALID_MINT, refund)
    await bridge.eventually(lambda: behind.problem("endpoint") == [], "every endpoint to be well")


@pytest.mark.parametrize("lie", ["hidden deposits", "a tampered outcome"])
async def test_of_three_pocket_nodes_one_lies_and_the_deposit_is_signed(behind: Behind, lie: str) -> None:
    behind.pocket[0].change = POCKET_LIES[lie]
    await behind.restart(3)
    hash_ = await behind.deposit()
    await behind.bridge.eventually(lambda: behind.signed(hash_), "the third validator to sign")
    await behind.bridge.eventually(
        lambda: behind.problem("Pocket endpoint", str(behind.pocket[0].port)), "the third validator to name the liar"
    )
    await behind.bridge.eventually(lambda: behind.problem(str(behind.pocket[1].port)) == [], "the honest one not to be named")
    await behind.bridge.minted(hash_)


async def test_of_two_pocket_nodes_one_hides_a_deposit_which_is_not_lost_but_read_later(behind: Behind) -> None:
    behind.pocket[0].change = POCKET_LIES["hidden deposits"]
    await behind.restart(2)
    hash_ = await behind.deposit()
    await behind.bridge.until(Collection.MINT, hash_, Status.SIGNED)
    await behind.bridge.eventually(
        lambda: behind.problem("contradict each other", str(behind.pocket[0].port)), "the third validator to name the liar"
    )
    assert not behind.signed(hash_)
    behind.pocket[0].change = None
    await behind.bridge.eventually(lambda: behind.signed(hash_), "the third validator to sign once both show the deposit")
    await behind.bridge.minted(hash_)


async def test_of_two_ethereum_nodes_one_lies_of_the_threshold_and_documents_say_what_they_wait_for(behind: Behind) -> None:
    threshold = contracts.CONTROLLER_READS["signerThreshold"]

    def one(method: str, params: Any, answer: Any) -> Any:
        return f"0x{1:064x}" if method == "eth_call" and params[0]["data"] == threshold else answer

    liar = behind.ethereum[0]
    liar.fault = tampering(liar, one)
    await behind.restart(2)
    refund = await behind.bridge.send(behind.bridge.deposit_of(AMOUNT, "no memo")[0])
    await behind.bridge.until_waiting(Collection.INVALID_MINT, refund, "not_agreed")
    # Whoever looks at it again just now is not waiting: each look ends in the same wait.
    row = await behind.bridge.eventually(
        lambda: next((one for one in behind.third.dispatcher.waiting() if one.outcome.reason == "not_agreed"), None),
        "the third validator to wait for agreement",
    )
    shown = f"{row.outcome.params['agreeing']} {row.outcome.params['endpoints']}"
    assert all(str(proxy.port) in shown for proxy in behind.ethereum[:2])
    assert "secret-key" not in shown
    assert not behind.signed(refund)
    assert behind.bridge.judge.payments(refund) == []
    liar.fault = None
    _, payments = await behind.bridge.paid(Collection.INVALID_MINT, refund)
    assert len(payments) == 1
