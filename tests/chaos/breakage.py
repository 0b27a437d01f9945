"""Everything around a bridge that can break for a while, and is whole again afterwards. Chosen and timed by a seed."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from random import Random

from pymongo.errors import PyMongoError

from infra.localnet.member import LocalValidator
from infra.localnet.network import Localnet
from infra.localnet.pocket.misbehaviour import (
    DropConnection,
    EmptyAnswer,
    GatewayError,
    Hang,
    HtmlPage,
    IndexLag,
    LoseSubmitted,
    Misbehaviour,
    QuotedAnswer,
    RejectSubmits,
    ServerError,
    Slow,
    StaleHeight,
    WrongChainId,
)

# A node that shows less than it should, beyond what is configured as final, is not among them: with a single node of one's
# own that is a lie which nobody can see through.
POCKET_FAULTS: tuple[Misbehaviour, ...] = (
    DropConnection(),
    DropConnection(paths=("client/rawtx",), after=True),
    EmptyAnswer(),
    GatewayError(),
    Hang(),
    Hang(paths=("client/rawtx",), after=True),
    HtmlPage(),
    IndexLag(blocks=1),
    LoseSubmitted(times=5),
    QuotedAnswer(),
    RejectSubmits(times=5),
    ServerError(),
    Slow(seconds=0.7),
    StaleHeight(behind=3),
    WrongChainId(),
)

Breakage = Callable[[], Awaitable[None]]


class Breaker:
    """Breaks one thing at a time of each kind: validators, the database, the Pocket node, the Ethereum node."""

    def __init__(self, net: Localnet, seed: int, say: Callable[[str], None]) -> None:
        self._net = net
        self._seed = seed
        self._say = say

    async def run(self, times: int) -> None:
        """So many breakages of each kind, the kinds beside one another; everything is whole afterwards."""
        kinds = (self._a_validator, self._the_database, self._the_pocket_node, self._the_ethereum_node)
        async with asyncio.TaskGroup() as group:
            for number, kind in enumerate(kinds):
                group.create_task(self._one_kind(kind, Random(self._seed * 10 + number), times))

    async def _one_kind(self, kind: Callable[[Random], Awaitable[None]], rng: Random, times: int) -> None:
        for _ in range(times):
            await asyncio.sleep(rng.uniform(0.5, 3))
            await kind(rng)

    # --- validators ----------------------------------------------------------------------------------------------

    async def _a_validator(self, rng: Random) -> None:
        victim = rng.choice(self._net.validators)
        how = rng.choice(("kill", "stop", "freeze", "move"))
        self._say(f"{victim.name}: {how}")
        if how == "freeze":
            victim.process.freeze()
            await asyncio.sleep(rng.uniform(0.5, 6))
            victim.process.thaw()
            return
        if how == "stop":
            assert await victim.stop() == 0, f"{victim.name} was stopped and ended badly:\n{victim.log_tail(40)}"
        else:
            victim.kill()
        if how == "move":
            victim.lose_ledger()
            victim.hostname = f"machine-{rng.randrange(1000)}"
        await asyncio.sleep(rng.uniform(0.1, 3))
        await self._start(victim)

    async def _start(self, victim: LocalValidator) -> None:
        """As a service manager does: again and again while what it needs is away."""
        while not victim.running:
            try:
                await victim.start()
            except RuntimeError as error:
                self._say(f"{victim.name} did not start: {_last_line(error)}")
                await asyncio.sleep(1)

    # --- the database --------------------------------------------------------------------------------------------

    async def _the_database(self, rng: Random) -> None:
        mongo = self._net.mongo
        assert mongo is not None
        how = rng.choice(("step down", "kill", "freeze", "stop"))
        primary = await mongo.primary()
        self._say(f"mongod {primary}, the primary: {how}")
        if how == "step down":
            with suppress(PyMongoError):
                await mongo.step_down(seconds=5)
        elif how == "freeze":
            mongo.freeze(primary)
            await asyncio.sleep(rng.uniform(0.5, 14))
            mongo.thaw(primary)
        else:
            await (mongo.stop(primary) if how == "stop" else asyncio.to_thread(mongo.kill, primary))
            await asyncio.sleep(rng.uniform(0.5, 5))
            await mongo.start(primary)
        await mongo.wait_writable(seconds=120)

    # --- the chains' nodes ---------------------------------------------------------------------------------------

    async def _the_pocket_node(self, rng: Random) -> None:
        fault, node = rng.choice(POCKET_FAULTS), self._net.pocket
        self._say(f"Pocket node: {fault}")
        with node.misbehaving(fault):
            await asyncio.sleep(rng.uniform(0.5, 5))

    async def _the_ethereum_node(self, rng: Random) -> None:
        self._say("anvil: freeze")
        self._net.anvil.process.freeze()
        await asyncio.sleep(rng.uniform(0.2, 5))
        self._net.anvil.process.thaw()


def _last_line(error: Exception) -> str:
    lines = [line for line in str(error).splitlines() if line.strip()]
    return lines[-1][-200:] if lines else repr(error)
