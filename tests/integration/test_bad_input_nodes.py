"""One validator's own node is bad in every way: the others go on without it, it says what is wrong, and catches up afterwards."""

from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import web
from bridge_helpers.harness import BridgeUnderTest, running_bridge
from ethereum_helpers import Proxy, error, result, running_proxy

from infra.localnet.pocket.misbehaviour import (
    DropConnection,
    EmptyAnswer,
    GatewayError,
    Hang,
    HtmlPage,
    IndexLag,
    Misbehaviour,
    ServerError,
    StaleHeight,
    WrongChainId,
)
from infra.localnet.pocket.node import PocketNode
from reactor.documents.statuses import Collection, Status

pytestmark = [
    pytest.mark.integration,
    pytest.mark.xdist_group("bridge"),
    pytest.mark.asyncio(loop_scope="module"),
]

AMOUNT = 1_000_000
POCKET_USER = "fa" * 20


@dataclass
class Lame:
    """The bridge whose third validator reads through nodes of its own."""

    bridge: BridgeUnderTest
    pocket: PocketNode
    ethereum: Proxy


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def lame(mongo_uri: str) -> AsyncIterator[Lame]:
    async with AsyncExitStack() as stack:
        bridge = await stack.enter_async_context(running_bridge(mongo_uri, start=False, pot=0))
        pocket = await stack.enter_async_context(PocketNode(chain=bridge.net.pocket.chain))
        ethereum = await stack.enter_async_context(running_proxy(bridge.net.anvil.url))
        bridge.runners[2].nodes = {"pocket": pocket.url, "ethereum": ethereum.url}
        for one in bridge.runners:
            await one.start()
        await bridge.minted(await bridge.net.users[0].deposit(100 * AMOUNT))
        yield Lame(bridge, pocket, ethereum)


async def the_others_go_on(lame: Lame, wrong: Callable[[], bool]) -> None:
    """While its node is bad: a mint by the two others. Then, with a good node: its own late signature, and returns again."""
    bridge, third = lame.bridge, lame.bridge.validators[2]
    recipient = bridge.recipient()
    hash_ = await bridge.send(bridge.deposit_of(AMOUNT, bridge.memo(recipient))[0])
    refund = await bridge.send(bridge.deposit_of(AMOUNT, "no memo")[0])
    burn = await bridge.presigned_burn(AMOUNT, POCKET_USER)
    await bridge.minted(hash_)
    assert await bridge.judge.balance(recipient) == AMOUNT
    await bridge.eventually(wrong, "the third validator to say what is wrong")
    lame.pocket.behave()
    lame.ethereum.fault = None
    await bridge.paid(Collection.INVALID_MINT, refund)
    await bridge.paid(Collection.BURN, burn)
    again = await bridge.send(bridge.deposit_of(AMOUNT, bridge.memo(recipient))[0])
    key = f"pocket:localnet:{bridge.net.bridge.vault}:{again}"
    await bridge.eventually(lambda: third.journal.signed(key), "the third validator to sign again")
    await bridge.until(Collection.MINT, again, Status.SIGNED)
    assert [hold for one in bridge.validators for hold in one.journal.holds()] == []
    assert await bridge.judge.unjustified(one.journal for one in bridge.validators) == []


POCKET_FAULTS: dict[str, tuple[Misbehaviour, str]] = {
    "errors": (ServerError(), "503"),
    "HTML": (HtmlPage(), "not JSON"),
    "a gateway's error": (GatewayError(), "rate limit exceeded"),
    "empty answers": (EmptyAnswer(), "empty body"),
    "closed connections": (DropConnection(), "no answer"),
    "no answer": (Hang(), "no answer"),
    "the wrong chain": (WrongChainId(), "mainnet"),
}


@pytest.mark.parametrize("name", POCKET_FAULTS)
async def test_a_pocket_node_that_answers_with(lame: Lame, name: str) -> None:
    fault, word = POCKET_FAULTS[name]
    lame.bridge.lines.clear()
    lame.pocket.misbehave(fault)
    third = lame.bridge.validators[2]
    await the_others_go_on(lame, lambda: any("Pocket" in what and word in why for what, why in third.outages.away().items()))


@pytest.mark.parametrize("fault", [StaleHeight(behind=0, height=1), StaleHeight(behind=5), IndexLag(blocks=4)])
async def test_a_pocket_node_that_is_behind(lame: Lame, fault: Misbehaviour) -> None:
    third = lame.bridge.validators[2]
    if isinstance(fault, StaleHeight) and fault.height:
        fault = StaleHeight(height=lame.pocket.height)
    lame.pocket.misbehave(fault)
    await the_others_go_on(lame, lambda: third.context.heads.height("pocket") < lame.pocket.height or isinstance(fault, IndexLag))


def _bad(answer: Callable[[], web.Response], *methods: str) -> Callable[[str, list[Any]], web.Response | None]:
    return lambda method, _: answer() if not methods or method in methods else None


ETHEREUM_FAULTS: dict[str, Any] = {
    "errors": _bad(lambda: error(-32000, "execution aborted")),
    "HTTP 503": _bad(lambda: web.Response(status=503, text="busy")),
    "HTML": _bad(lambda: web.Response(text="<html>hello</html>", content_type="text/html")),
    "nothing": _bad(lambda: web.Response(text="")),
    "null": _bad(lambda: result(None)),
    "another chain": _bad(lambda: result("0x1"), "eth_chainId"),
    "logs that are none": _bad(lambda: result([{"data": "0x"}]), "eth_getLogs"),
    "no logs at all": _bad(lambda: error(-32005, "query returned more than 10000 results"), "eth_getLogs"),
}


@pytest.mark.parametrize("name", ETHEREUM_FAULTS)
async def test_an_ethereum_node_that_answers_with(lame: Lame, name: str) -> None:
    lame.bridge.lines.clear()
    lame.ethereum.fault = ETHEREUM_FAULTS[name]
    if name == "another chain":
        # The chain is asked for when a connection is made: as at a start, or after an outage.
        await lame.bridge.runners[2].stop()
        await lame.bridge.runners[2].start()
    third = lame.bridge.validators[2]
    await the_others_go_on(lame, lambda: any("Ethereum" in what for what in third.outages.away()))
    assert not lame.bridge.said("secret-key")
