"""Carries faults out at their time. Faults of one subject follow one another; each leaves its subject whole."""

from __future__ import annotations

import asyncio
import secrets
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any, Final

from pymongo.errors import PyMongoError

from infra.localnet.member import ROOT, LocalValidator
from infra.localnet.pocket.misbehaviour import (
    DropConnection,
    EmptyAccountTxs,
    EmptyAnswer,
    GatewayError,
    Hang,
    HtmlPage,
    LoseMempool,
    Misbehaviour,
    RefuseUntilBlock,
    ServerError,
    Slow,
    StaleHeight,
    WrongChainId,
)
from infra.localnet.pocket.node import PocketNode
from reactor.state.journal_file import JOURNAL_FILE
from reactor.state.ledger_file import LEDGER_FILE
from reactor.store.oplog import oplog_times
from tests.chaos import kinds
from tests.chaos.ability import cursor_of
from tests.chaos.ethereum_node import DROPPED_BLOCKS
from tests.chaos.kinds import ALL, AnyFault, OnValidator
from tests.chaos.reorganise import reorganise, rollback
from tests.chaos.truth import signature_counts, waits
from tests.chaos.world import World

_AGAIN_SECONDS: Final = 1.0
_HELD_SECONDS: Final = 120.0
_IN_FLIGHT_SECONDS: Final = 3.0
"""What was noted in the journal before it went may be written to the database so long after."""
_GARBAGE = '{"height": \x00\ufffd'


@dataclass
class Storms:
    """Plays a timeline on a world. `rng` decides what can't be known before, such as which secondary."""

    world: World
    rng: Random
    say: Callable[[str], None]
    _locks: defaultdict[str, asyncio.Lock] = field(default_factory=lambda: defaultdict(asyncio.Lock))
    _deep: asyncio.Event = field(default_factory=asyncio.Event)
    _deceived: set[str] = field(default_factory=set)
    """Who had read blocks as final that the last deep reorganisation took away."""

    async def play(self, timeline: list[AnyFault]) -> None:
        """All of it; raises what a fault raises that could not be carried out or undone."""
        began = asyncio.get_running_loop().time()
        async with asyncio.TaskGroup() as group:
            for fault in timeline:
                for one in self._each(fault):
                    group.create_task(self._at_its_time(one, began))

    def _each(self, fault: AnyFault) -> Iterator[AnyFault]:
        if isinstance(fault, OnValidator) and fault.target == ALL and not isinstance(fault, kinds.Release):
            for name in self.world.manifest.names:
                yield fault.model_copy(update={"target": name})
        else:
            yield fault

    async def _at_its_time(self, fault: AnyFault, began: float) -> None:
        await asyncio.sleep(max(0.0, began + fault.at - asyncio.get_running_loop().time()))
        async with self._locks[fault.subject]:
            self.say(fault.told)
            await self._carry_out(fault)

    async def _carry_out(self, fault: AnyFault) -> None:
        world = self.world
        match fault:
            case kinds.Kill() | kinds.Stop() | kinds.LoseDisk() | kinds.OplogLost():
                await self._down(world.validator(fault.target), fault)
            case kinds.Freeze():
                await self._freeze(world.validator(fault.target), fault.seconds)
            case kinds.DiskFull():
                disk = world.disks[fault.target]
                disk.fill()
                await asyncio.sleep(fault.seconds)
                disk.free()
            case kinds.JournalRemoved():
                await self._remove_journal(world.validator(fault.target), fault.seconds)
            case kinds.Clock():
                world.clocks[fault.target].write_text(str(fault.by))
                await asyncio.sleep(fault.seconds)
                world.clocks[fault.target].write_text("0")
            case kinds.MongoCut():
                await self._line(fault)
            case kinds.Rpc():
                await self._rpc(fault)
            case kinds.KmsThrottle():
                await self._kms(fault)
            case kinds.MongoStepDown():
                with suppress(PyMongoError):
                    await world.mongo.step_down(seconds=fault.seconds)
                await world.mongo.wait_writable(seconds=120)
            case kinds.MongoGone() | kinds.MongoKill() | kinds.MongoStop() | kinds.MongoFreeze():
                await self._mongo(fault)
            case kinds.SharedPocket():
                with world.net.pocket.misbehaving(fault.misbehaviour):
                    await asyncio.sleep(fault.seconds)
            case kinds.PocketRestart():
                await self._restart_pocket(fault.seconds)
            case kinds.AnvilFreeze():
                world.net.anvil.process.freeze()
                await asyncio.sleep(fault.seconds)
                world.net.anvil.process.thaw()
            case kinds.Reorg():
                await self._reorganise(fault)
            case kinds.Rollback():
                self.say(await rollback(world.net.anvil, fault.depth))
            case kinds.Release():
                await self._release(fault)

    # --- validators ----------------------------------------------------------------------------------------------

    async def _down(self, victim: LocalValidator, fault: kinds.Kill | kinds.Stop | kinds.LoseDisk | kinds.OplogLost) -> None:
        if isinstance(fault, kinds.Stop):
            code = await victim.stop()
            if code != 0:
                raise AssertionError(f"{victim.name} was stopped and ended with {code}:\n{victim.log_tail(40)}")
        else:
            victim.kill()
        if isinstance(fault, kinds.LoseDisk):
            victim.lose_ledger()
            victim.hostname = f"machine-{secrets.token_hex(2)}"
        if isinstance(fault, kinds.OplogLost):
            await self._overwrite_oplog()
        else:
            await asyncio.sleep(fault.seconds)
        await self.bring_back(victim)

    async def bring_back(self, victim: LocalValidator) -> None:
        """Start it as a service manager does: again and again while what it needs is away."""
        while not victim.running:
            try:
                await victim.start()
            except RuntimeError as error:
                lines = [line for line in str(error).splitlines() if line.strip()]
                self.say(f"{victim.name} did not start: {lines[-1][-200:] if lines else error!r}")
                await asyncio.sleep(_AGAIN_SECONDS)

    async def _remove_journal(self, victim: LocalValidator, seconds: float) -> None:
        """SECURITY: from the moment on at which it is gone nothing more is signed."""
        path = victim.state / JOURNAL_FILE
        aside = path.rename(victim.directory / JOURNAL_FILE)
        net, mine = self.world.net, ([victim.address], [victim.public_key])
        await asyncio.sleep(_IN_FLIGHT_SECONDS)
        before = await signature_counts(net, *mine)
        await asyncio.sleep(seconds)
        after = await signature_counts(net, *mine)
        await victim.stop()
        aside.rename(path)
        if before != after:
            raise AssertionError(f"{victim.name} signed while its journal was away: {before} became {after}")
        await self.bring_back(victim)

    async def _freeze(self, victim: LocalValidator, seconds: float) -> None:
        victim.process.freeze()
        await asyncio.sleep(seconds)
        victim.process.thaw()

    async def _overwrite_oplog(self) -> None:
        """Write until nothing is left of the history that there is now."""
        store = self.world.net.store
        before = await oplog_times(store)
        assert before is not None
        # Not read from the oplog itself: such a read dies where its beginning is just being cut off (136).
        while (now := await oplog_times(store)) is None or now.oldest <= before.newest:
            for _ in range(10):
                await store.client["elsewhere"]["flood"].insert_many([{"blob": "x" * 100_000} for _ in range(5)])
        await store.client.drop_database("elsewhere")

    # --- between a validator and what it needs -------------------------------------------------------------------

    async def _line(self, fault: kinds.MongoCut) -> None:
        wire = self.world.wires[fault.target]
        match fault:
            case kinds.MongoDelay():
                wire.slow(fault.milliseconds / 1000)
            case kinds.MongoHalfOpen():
                wire.lose(fault.lost)
            case _:
                wire.cut()
        await asyncio.sleep(fault.seconds)
        wire.mend()

    async def _rpc(self, fault: kinds.Rpc) -> None:
        if fault.chain == "ethereum":
            node = self.world.ethereum[fault.target]
            await node.misbehave(fault.how)
            await asyncio.sleep(fault.seconds)
            await node.mend()
            return
        pocket = self.world.pocket[fault.target]
        if fault.how == "refused":
            await pocket.stop()
            await asyncio.sleep(fault.seconds)
            await pocket.start()
            return
        with pocket.misbehaving(_pocket_switch(fault.how, pocket)):
            await asyncio.sleep(fault.seconds)

    async def _restart_pocket(self, seconds: float) -> None:
        node = self.world.net.pocket
        with node.misbehaving(RefuseUntilBlock(), LoseMempool()):
            await node.stop()
            await asyncio.sleep(seconds)
            await node.start()
            await node.wait_for_height(node.height + 1, seconds=_HELD_SECONDS)

    async def _kms(self, fault: kinds.KmsThrottle) -> None:
        kms = self.world.kms[fault.target]
        with _until_over(kms, hang=isinstance(fault, kinds.KmsHang)):
            await asyncio.sleep(fault.seconds)

    # --- the database --------------------------------------------------------------------------------------------

    async def _mongo(self, fault: kinds.MongoGone | kinds.MongoKill | kinds.MongoStop | kinds.MongoFreeze) -> None:
        mongo = self.world.mongo
        primary = await mongo.primary(seconds=120)
        others = [index for index in range(3) if index != primary]
        choice = {"primary": [primary], "secondary": others, "any": [0, 1, 2]}[fault.target]
        chosen = [0, 1, 2] if isinstance(fault, kinds.MongoGone) else [self.rng.choice(choice)]
        self.say(f"  mongod {', '.join(map(str, chosen))}; primary is {primary}")
        for index in chosen:
            if isinstance(fault, kinds.MongoKill):
                await asyncio.to_thread(mongo.kill, index)
            elif isinstance(fault, kinds.MongoStop):
                await mongo.stop(index)
            else:
                mongo.freeze(index)
        await asyncio.sleep(fault.seconds)
        for index in chosen:
            if isinstance(fault, kinds.MongoKill | kinds.MongoStop):
                await mongo.start(index)
            else:
                mongo.thaw(index)
        await mongo.wait_writable(seconds=120)

    async def _reorganise(self, fault: kinds.Reorg) -> None:
        """Notes who had read blocks as final that are no more: these must stop signing."""
        read = {one.name: cursor_of(one.state / LEDGER_FILE, "burn") for one in self.world.net.validators}
        first, told = await reorganise(self.world.net.anvil, fault.depth, fault.keep)
        self.say(told)
        if fault.depth > self.world.manifest.ethereum_confirmations:
            self._deceived = {name for name, height in read.items() if height is not None and height >= first}
            self._deep.set()

    # --- what an operator does -----------------------------------------------------------------------------------

    async def _release(self, fault: kinds.Release) -> None:
        """SECURITY: nobody signs anything between the hold and its release."""
        net = self.world.net
        holding = await self._until_held(fault, await self._to_hold(fault))
        chosen = [one for one in net.validators if one.name in holding]
        self.say(f"  {', '.join(holding)} hold: {fault.reason}")
        # Somebody has to ask, or that nobody signs shows nothing.
        await net.wait_until(lambda: waits(net), seconds=_HELD_SECONDS, what="a confirmed request that waits")
        before = await signature_counts(net, [one.address for one in chosen], [one.public_key for one in chosen])
        await asyncio.sleep(fault.watch)
        after = await signature_counts(net, [one.address for one in chosen], [one.public_key for one in chosen])
        if before != after:
            raise AssertionError(f"signatures were made while all held: {before} became {after}")
        for one in chosen:
            for scope in sorted({hold["scope"] for hold in holding[one.name]}):
                await operator(one, "release", scope, "--why", "the chaos run goes on", "--apply")
        self.say(f"  nobody of them signed in {fault.watch:g} s; released")

    async def _to_hold(self, fault: kinds.Release) -> set[str]:
        """Who must hold. Raises `AssertionError` where that is nobody: then the fault showed nothing."""
        names = {one.name for one in self.world.net.validators if fault.target in {ALL, one.name}}
        if fault.reason == "deep_reorg":
            async with asyncio.timeout(_HELD_SECONDS):
                await self._deep.wait()
            names &= self._deceived
        if not names:
            raise AssertionError(f"{fault.told}: nobody has a reason to hold")
        return names

    async def _until_held(self, fault: kinds.Release, must: set[str]) -> dict[str, list[Any]]:
        """The holds of this reason by validator, once all that must hold do."""
        deadline = asyncio.get_running_loop().time() + _HELD_SECONDS
        while True:
            holding: dict[str, list[Any]] = {}
            for one in self.world.net.validators:
                holds = [hold for hold in await _active(one) if hold["reason"] == fault.reason]
                if holds and fault.target in {ALL, one.name}:
                    holding[one.name] = holds
            free = sorted(must - holding.keys())
            if not free:
                return holding
            if asyncio.get_running_loop().time() > deadline:
                raise AssertionError(f"{', '.join(free)} did not stop signing ({fault.reason}) in {_HELD_SECONDS:g} s")
            await asyncio.sleep(_AGAIN_SECONDS)


async def operator(one: LocalValidator, *arguments: str) -> str:
    """What a command prints on a validator's machine. Raises `AssertionError` if it fails."""
    command = [sys.executable, "-m", "reactor.cli.main", *arguments, "--config", str(one.config)]
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=STDOUT, cwd=ROOT)
    output, _ = await asyncio.wait_for(process.communicate(), 120)
    if process.returncode != 0:
        raise AssertionError(f"{one.name}: reactor {' '.join(arguments)} ended with {process.returncode}: {output.decode()}")
    return output.decode()


async def _active(one: LocalValidator) -> list[dict[str, Any]]:
    from reactor.state.journal import Journal  # noqa: PLC0415 - only where holds are looked at

    journal = await asyncio.to_thread(Journal.open, one.state, _bridge(one))
    try:
        return [{"scope": hold.scope, "reason": hold.reason} for hold in journal.holds()]
    finally:
        journal.close()


def _bridge(one: LocalValidator) -> Any:
    from reactor.parts import bridge_of  # noqa: PLC0415 - imports everything

    return bridge_of(one.settings())


@contextmanager
def _until_over(kms: Any, *, hang: bool) -> Iterator[None]:
    if hang:
        kms.hang = True
    else:
        kms.throttle = 10**9
    try:
        yield
    finally:
        kms.hang, kms.throttle = False, 0


def _pocket_switch(how: str, node: PocketNode) -> Misbehaviour:
    switches: dict[str, Misbehaviour] = {
        "timeout": Hang(),
        "slow": Slow(seconds=1.0),
        "429": ServerError(status=429, body="Too Many Requests\n"),
        "503": ServerError(),
        "reset": DropConnection(),
        "empty": EmptyAnswer(),
        "html": HtmlPage(),
        "garbage": ServerError(status=200, body=_GARBAGE),
        "wrong_chain": WrongChainId(),
        "stale": StaleHeight(height=node.height),
        "dropped_blocks": StaleHeight(behind=DROPPED_BLOCKS),
        "hidden_events": EmptyAccountTxs(),
        "401": ServerError(status=401, body='{"error":"invalid api key"}'),
        "403": HtmlPage(status=403),
        "404": ServerError(status=404, body="default backend - 404"),
        "limit": GatewayError(code=-32007, message="50/second request limit reached - reduce calls per second"),
    }
    return switches[how]
