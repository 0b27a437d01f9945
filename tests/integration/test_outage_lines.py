"""What a real validator process writes to its log while something that it needs is away: a handful of lines, not one per try."""

import asyncio
import json
import os
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from infra.localnet.lines import Line
from infra.localnet.network import Localnet
from reactor.commit import software_commit
from reactor.documents.keys import deposit_key
from reactor.documents.statuses import Collection, Status
from reactor.parts import software_version
from reactor.state.journal import Journal

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


async def test_what_an_operator_does_from_another_process_is_told_by_the_running_validator(watched: Watched) -> None:
    watched.forget()
    with closing(Journal.open(watched.net.validators[0].state, watched.net.bridge)) as verb:
        verb.pause("mint", "alice@ops", "maintenance")
        await watched.until_said("ERROR", "signing of mints is paused by alice@ops: maintenance")
        verb.resume("mint", "alice@ops", "done")
        await watched.until_said("WARNING", "signing of mints is resumed by alice@ops: done")
        verb.hold("signing", "operator", "looks odd", "bob@ops")
        await watched.until_said("ERROR", "signing is held, operator: looks odd (by bob@ops)")
        verb.release("signing", "bob@ops", "it was well")
        await watched.until_said("WARNING", "signing is released by bob@ops: it was well")


async def test_each_line_of_a_run_is_an_object_with_fields(watched: Watched) -> None:
    one = watched.net.validators[0]
    await one.stop()
    one.config.write_text(one.config.read_text().replace('format = "human"', 'format = "json"'))
    watched.forget()
    await one.start()
    refund = await watched.net.users[1].deposit(AMOUNT, memo="no memo either")
    key = deposit_key(watched.net.bridge, refund)

    def entries() -> list[dict[str, Any]]:
        return [json.loads(line) for line in watched.lines()]

    await watched.until(lambda: any(entry.get("key") == key for entry in entries()), "a line about the refund")
    await one.stop()
    one.config.write_text(one.config.read_text().replace('format = "json"', 'format = "human"'))
    bridge = watched.net.bridge.identity_hash()[:12]
    lines = entries()
    assert {(line["bridge"], line["validator"]) for line in lines} == {(bridge, one.name)}
    assert all({"time", "level", "logger", "message"} <= set(line) for line in lines)
    asking, first = [line["message"] for line in lines if line["message"].startswith("bridge-reactor ")]
    assert asking.endswith("asking for all that a start needs")
    identity = watched.net.bridge
    told = [one.name, bridge, identity.vault, identity.pocket_chain_id, identity.wpokt, str(identity.ethereum_chain_id)]
    for part in (*told, one.address, one.public_key, str(one.config), software_version(), software_commit()):
        assert part in first
    of_document = [line for line in lines if line.get("key") == key]
    assert {line["collection"] for line in of_document} == {"invalid_mint"}
    assert any(line.get("reason") for line in of_document)


async def test_an_ethereum_node_is_restarted_empty(watched: Watched) -> None:
    """The last test of this module: the contracts are gone with it."""
    await watched.net.start_validators(watched.net.validators[0])
    watched.forget()
    await watched.net.anvil.stop()
    (watched.net.directory / "anvil.state").unlink()
    await watched.net.anvil.start()
    await watched.until_said("ERROR", "the Ethereum node fails: the head", "the node was reset or follows another chain")
    await asyncio.sleep(SECONDS)
    lines = of_outages(watched.lines())
    print(*lines, sep="\n")
    assert sum("is below block" in line for line in lines) == 1
    assert len(lines) <= 10, "\n".join(lines)
