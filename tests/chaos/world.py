"""The network of a run: a replica set of three, and each validator with what its faults need around it."""

from __future__ import annotations

import asyncio
import os
import tomllib
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from infra.localnet.configuration import write_configuration
from infra.localnet.kms import KmsStub
from infra.localnet.member import LocalValidator
from infra.localnet.mongod import MongoReplicaSet
from infra.localnet.network import Localnet
from infra.localnet.pocket.node import PocketNode
from tests.chaos.disks import SmallDisk
from tests.chaos.ethereum_node import EthereumNode
from tests.chaos.kinds import AnyFault
from tests.chaos.manifest import Manifest
from tests.chaos.provider import PatientProvider
from tests.chaos.wire import Wire

_SHIFTED = Path(__file__).with_name("shifted")
_RPC_TIMEOUT_MS = 3000
"""Shorter than the faults, so that a node that does not answer is noticed within them."""


class World:
    """Entered means: everything runs. `net` is the bridge; the others are by validator's name, where faults need them."""

    net: Localnet
    mongo: MongoReplicaSet

    def __init__(self, manifest: Manifest, timeline: list[AnyFault], directory: Path, say: Callable[[str], None]) -> None:
        self.manifest = manifest
        self._timeline = timeline
        self._directory = directory
        self._say = say
        self._stack = AsyncExitStack()
        self._around: list[Callable[[], Awaitable[None]]] = []
        self.wires: dict[str, Wire] = {}
        self.ethereum: dict[str, EthereumNode] = {}
        self.pocket: dict[str, PocketNode] = {}
        self.kms: dict[str, KmsStub] = {}
        self.clocks: dict[str, Path] = {}
        self.disks: dict[str, SmallDisk] = {}

    async def __aenter__(self) -> Self:
        try:
            await self._open()
        except BaseException:  # nothing may be left behind, whatever the reason
            await self._close()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self._close()

    async def _close(self) -> None:
        """The validators end before what they are connected to."""
        try:
            if hasattr(self, "net"):
                await self.net.stop_validators()
            await asyncio.gather(*(close() for close in self._around))
            for disk in self.disks.values():
                disk.unmount()
        finally:
            await self._stack.aclose()

    def validator(self, name: str) -> LocalValidator:
        """By its name."""
        return next(one for one in self.net.validators if one.name == name)

    async def _open(self) -> None:
        manifest = self.manifest
        self._say("starting MongoDB, 3 nodes")
        self.mongo = await self._stack.enter_async_context(MongoReplicaSet(3, oplog_size_mb=manifest.oplog_mb))
        self.net = await self._stack.enter_async_context(
            Localnet(
                validators=manifest.validators,
                threshold=manifest.threshold,
                users=manifest.users,
                mongo_uri=self.mongo.uri,
                database="bridge",
                directory=self._directory,
                ethereum_finality=f"latest-{manifest.ethereum_confirmations}",
                pocket_confirmations=manifest.pocket_confirmations,
                start=False,
                on_step=self._say,
            )
        )
        provider = PatientProvider(self.net.anvil.url)
        self._around.append(provider.close)
        self.net.web3.provider = provider
        await asyncio.gather(*(self._surround(one) for one in self.net.validators))
        self._say(f"starting {manifest.validators} validators")
        await self.net.start_validators()

    async def _surround(self, one: LocalValidator) -> None:
        made: dict[str, dict[str, Any]] = tomllib.loads(one.config.read_text())
        for section, fields in self.manifest.settings.items():
            made.setdefault(section, {}).update(fields)
        made["ethereum"]["rpc_timeout_ms"] = made["pocket"]["rpc_timeout_ms"] = _RPC_TIMEOUT_MS
        if one.name in self.manifest.lined(self._timeline):
            await self._lay_lines(one.name, made)
        if one.name in self.manifest.with_own_nodes(self._timeline):
            await self._give_nodes(one.name, made)
        if one.name in self.manifest.with_key_service(self._timeline):
            await self._keep_keys(one, made)
        if one.name in self.manifest.with_own_disk(self._timeline):
            disk = self.disks[one.name] = SmallDisk(one.state, lambda: one.process.pid if one.running else None)
            disk.mount()
        if one.name in self.manifest.with_shifted_clock(self._timeline):
            self._give_clock(one)
        write_configuration(one.config, made)

    async def _lay_lines(self, name: str, made: dict[str, dict[str, Any]]) -> None:
        wire = self.wires[name] = await Wire.lay(self.mongo.ports)
        self._around.append(wire.close)
        made["mongo"]["uri"] = f"mongodb://{wire.hosts}/?replicaSet={self.mongo.name}"

    async def _give_nodes(self, name: str, made: dict[str, dict[str, Any]]) -> None:
        ethereum = self.ethereum[name] = EthereumNode(self.net.anvil.url, self.net.deployment.wpokt)
        pocket = self.pocket[name] = PocketNode(chain=self.net.pocket.chain)
        await ethereum.start()
        await pocket.start()
        self._around += [ethereum.close, pocket.close]
        shared = self.manifest.rpc_endpoints == 2
        made["ethereum"]["rpc_urls"] = [ethereum.url, *made["ethereum"]["rpc_urls"]] if shared else [ethereum.url]
        made["ethereum"]["agreement"] = made["pocket"]["agreement"] = self.manifest.agreement
        made["pocket"]["rpc_urls"] = [pocket.url, *made["pocket"]["rpc_urls"]] if shared else [pocket.url]

    async def _keep_keys(self, one: LocalValidator, made: dict[str, dict[str, Any]]) -> None:
        kms = self.kms[one.name] = KmsStub()
        await kms.start()
        self._around.append(kms.stop)
        ethereum = kms.create_key(int.from_bytes(bytes(one.identity.ethereum.key), "big"))
        pocket = kms.create_key(bytes.fromhex(one.identity.pocket.private_hex)[:32], spec="ECC_NIST_EDWARDS25519")
        made["ethereum"]["key"], made["pocket"]["key"] = kms.uri(ethereum), kms.uri(pocket)
        one.environment |= {"AWS_ACCESS_KEY_ID": "chaos", "AWS_SECRET_ACCESS_KEY": "chaos", "AWS_EC2_METADATA_DISABLED": "true"}

    def _give_clock(self, one: LocalValidator) -> None:
        clock = self.clocks[one.name] = one.directory / "clock"
        clock.write_text("0")
        path = os.pathsep.join([str(_SHIFTED), *filter(None, [os.environ.get("PYTHONPATH")])])
        one.environment |= {"CHAOS_CLOCK": str(clock), "PYTHONPATH": path}
