"""What a real validator process writes to its log while something that it needs is away: a handful of lines, not one per try."""

import asyncio
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from infra.localnet.lines import Line
from infra.localnet.network import Localnet
from reactor.documents.statuses import Collection, Status

pytestmark = [
    pytest.mark.integration,
    pytest.mark.xdist_group("localnet"),
    pytest.mark.asyncio(loop_scope="module"),
]

SECONDS = float(os.environ.get("OUTAGE_SECONDS", "4"))
"""How long something is away: `OUTAGE_SECONDS=180` measures an outage of three minutes."""
AMOUNT = 1_000_000


@dataclass
class Watched:
    """One validator of two as a process of its own, with documents that wait, and its log."""

    net: Localnet
    ethereum: Line
    pocket: Line
    _read: int = field(default=0)

    @property
    def log(self) -> Path:
        return self.net.validators[0].log

    def lines(self) -> list[str]:
        """The lines since the last `forget`."""
        return self.log.read_text()[self._read :].splitlines()

    def forget(self) -> None:
        self._read = len(self.log.read_text())

    async def until(self, condition: Callable[[], Any], what: str) -> None:
        await self.net.wait_until(condition, what=what)

    async def until_said(self, *parts: str) -> None:
        await self.until(lambda: any(all(part in line for part in parts) for line in self.lines()), f"the log to say {parts}")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def watched() -> AsyncIterator[Watched]:
    async with Localnet(validators=2, threshold=2, start=False, settings={"pocket": {"rpc_timeout_ms": 1000}}) as net:
        ethereum, pocket = Line(net.anvil.port), Line(int(net.pocket.url.rpartition(":")[2]))
        await ethereum.open()
        await pocket.open()
        try:
            one = net.validators[0]
            text = one.config.read_text()
            text = text.replace(net.anvil.url, f"http://127.0.0.1:{ethereum.port}")
            one.config.write_text(text.replace(net.pocket.url, f"http://127.0.0.1:{pocket.port}"))
            user = net.users[0]
            minted = await user.deposit(AMOUNT)
            refunds = [await user.deposit(AMOUNT, memo="no memo") for _ in range(3)]
            await net.start_validators(one)
            await net.wait_for(Collection.MINT, minted, Status.CONFIRMED)
            for refund in refunds:
                await net.wait_for(Collection.INVALID_MINT, refund, Status.CONFIRMED)
            yield Watched(net, ethereum, pocket)
        finally:
            await net.stop_validators()
            await ethereum.close()
            await pocket.close()


def of_outages(lines: list[str]) -> list[str]:
    return [line for line in lines if "WARNING" in line or "ERROR" in line or " works again " in line]


async def away(watched: Watched, end: Callable[[], Awaitable[object]], begin: Callable[[], Awaitable[object]], what: str) -> None:
    watched.forget()
    await end()
    await watched.until_said(f"{what} fails")
    await asyncio.sleep(SECONDS)
    await begin()
    await watched.until_said(f"{what} works again")
    lines = of_outages(watched.lines())
    print(f"{what} away for {SECONDS:g} s: {len(lines)} lines", *lines, sep="\n")
    # One when it begins and one when it is over: of the endpoint, of the chain, and of a comparison that ran into a time-out.
    assert len(lines) <= 10, "\n".join(lines)


async def quietly(act: Callable[[], object]) -> None:
    act()


async def test_ethereum_refuses_connections(watched: Watched) -> None:
    await away(watched, watched.ethereum.close, watched.ethereum.open, "Ethereum")


async def test_pocket_hangs(watched: Watched) -> None:
    await away(watched, lambda: quietly(watched.pocket.cut), lambda: quietly(watched.pocket.mend), "Pocket")


async def test_mongo_is_down(watched: Watched) -> None:
    mongo = watched.net.mongo
    assert mongo is not None
    await away(watched, lambda: quietly(lambda: mongo.kill(0)), lambda: mongo.start(0), "MongoDB")


async def test_an_ethereum_node_is_restarted_empty(watched: Watched) -> None:
    watched.forget()
    await watched.net.anvil.stop()
    await watched.net.anvil.start()
    await watched.until_said("ERROR", "the Ethereum node fails: the head", "the node was reset or follows another chain")
    await asyncio.sleep(SECONDS)
    lines = of_outages(watched.lines())
    print(*lines, sep="\n")
    assert sum("is below block" in line for line in lines) == 1
    assert len(lines) <= 10, "\n".join(lines)
