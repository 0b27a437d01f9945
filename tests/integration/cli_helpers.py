"""A whole network for the command line: mongod, anvil with the contracts, a Pocket node, and validators' configurations."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, TypeVar
from uuid import uuid4

from coincurve import PrivateKey
from web3 import AsyncHTTPProvider, AsyncWeb3

from infra.localnet.anvil import Anvil, development_account
from infra.localnet.deploy import Deployment, deploy_bridge
from infra.localnet.mongod import MongoReplicaSet
from infra.localnet.pocket.genesis import Genesis
from infra.localnet.pocket.node import PocketNode
from reactor.chains.pocket import vault_address
from reactor.documents.heartbeats import heartbeat_digest, milliseconds
from reactor.keys.local import signer_from_secret
from reactor.settings import Settings

T = TypeVar("T")

ROOT = Path(__file__).parents[2]
VALIDATORS = 3
THRESHOLD = 2


class LoopThread:
    """An event loop beside the test's own: the commands run loops of their own, as in real life."""

    def __init__(self) -> None:
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()

    def run(self, work: Coroutine[Any, Any, T], seconds: float = 90) -> T:
        return asyncio.run_coroutine_threadsafe(work, self._loop).result(seconds)

    def close(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(60)
        self._loop.close()


@dataclass
class Keys:
    """The keys of one validator, worthless by agreement."""

    ethereum: str
    ethereum_address: str
    pocket: str
    pocket_key: str


def keys_of(number: int) -> Keys:
    account = development_account(number)
    seed = bytes([number + 1]) * 32
    pocket = signer_from_secret(seed, "ed25519", "test")
    return Keys(bytes(account.key).hex(), account.address.lower(), seed.hex() + pocket.public_key, pocket.public_key)


@dataclass
class Network:
    """What one module's tests share. `toml` makes one validator's configuration on a database of its own."""

    loop: LoopThread
    mongo: MongoReplicaSet
    anvil: Anvil
    pocket: PocketNode
    deployed: Deployment
    validators: list[Keys]
    database: str = field(default_factory=lambda: f"t{uuid4().hex[:12]}")

    @property
    def pocket_keys(self) -> list[str]:
        return [one.pocket_key for one in self.validators]

    @property
    def vault(self) -> str:
        return vault_address(self.pocket_keys)

    def tree(self, folder: Path, number: int = 0) -> dict[str, dict[str, Any]]:
        """The settings as nested values, for tests that change some."""
        keys = self.validators[number]
        for name, text in (("ethereum.key", keys.ethereum), ("pocket.key", keys.pocket)):
            path = folder / name
            path.touch(mode=0o600)
            path.write_text(text)
        return {
            "mongo": {"uri": self.mongo.uri, "database": self.database, "timeout_ms": 5000},
            "ethereum": {
                "rpc_urls": [self.anvil.url],
                "chain_id": self.anvil.chain_id,
                "wrapped_pocket_address": self.deployed.wpokt,
                "mint_controller_address": self.deployed.mint_controller,
                "start_block": self.deployed.start_block,
                "burn_fee": 10_000,
                "finality": "latest-1",
                "finality_floor": 1,
                "validator_addresses": [one.ethereum_address for one in self.validators],
                "key": f"file://{folder / 'ethereum.key'}",
                "poll_interval_ms": 200,
                "rpc_timeout_ms": 3000,
            },
            "pocket": {
                "rpc_urls": [self.pocket.url],
                "chain_id": "localnet",
                "start_height": 1,
                "confirmations": 1,
                "multisig_public_keys": self.pocket_keys,
                "vault_address": self.vault,
                "tx_fee": 10_000,
                "max_mint": 10**12,
                "key": f"file://{folder / 'pocket.key'}",
                "poll_interval_ms": 200,
                "rpc_timeout_ms": 3000,
            },
            "state": {"directory": "state"},
            "engine": {"heartbeat_interval_s": 1, "stop_timeout_s": 2},
        }

    def config(self, folder: Path, number: int = 0, **changes: Any) -> Path:
        """Write a validator's file; `changes` are `section__name=value`, None removes."""
        tree = self.tree(folder, number)
        for name, value in changes.items():
            section, _, key = name.partition("__")
            if value is None:
                tree[section].pop(key, None)
            else:
                tree[section][key] = value
        return write_toml(folder / "reactor.toml", tree)


def write_toml(path: Path, tree: dict[str, dict[str, Any]]) -> Path:
    lines = []
    for section, values in tree.items():
        # JSON's strings, numbers and lists are TOML's.
        lines += [f"[{section}]", *(f"{name} = {json.dumps(value)}" for name, value in values.items()), ""]
    path.write_text("\n".join(lines))
    return path


@contextlib.contextmanager
def network(keys: Callable[[int], Keys] = keys_of) -> Iterator[Network]:
    """Everything up; everything ended afterwards. `keys` makes those of each validator."""
    loop = LoopThread()
    validators = [keys(number) for number in range(VALIDATORS)]
    vault = vault_address([one.pocket_key for one in validators])
    mongo, anvil = MongoReplicaSet(), Anvil(block_time=0.5)
    pocket = PocketNode(Genesis(balances={vault: 10**9}), block_time=0.5)

    async def up() -> Deployment:
        await asyncio.gather(mongo.open(), anvil.start(), pocket.start())
        return await deploy(anvil, validators)

    async def down() -> None:
        await asyncio.gather(mongo.close(), anvil.close(), pocket.close())

    try:
        deployed = loop.run(up())
        yield Network(loop, mongo, anvil, pocket, deployed, validators)
    finally:
        loop.run(down())
        loop.close()


async def deploy(anvil: Anvil, validators: list[Keys]) -> Deployment:
    web3 = AsyncWeb3(AsyncHTTPProvider(anvil.url))
    try:
        return await deploy_bridge(web3, [one.ethereum_address for one in validators], THRESHOLD)
    finally:
        await web3.provider.disconnect()


def new_contracts(net: Network) -> Deployment:
    """A second bridge's contracts on the same chain."""
    return net.loop.run(deploy(net.anvil, net.validators))


_started: list[subprocess.Popen[str]] = []


def process(*arguments: str | Path, **environment: str) -> subprocess.Popen[str]:
    """The command as a process of its own; `end_processes` ends it and closes its pipes."""
    running = subprocess.Popen(
        [sys.executable, "-m", "reactor.cli.main", *map(str, arguments)],
        cwd=ROOT,
        env={**os.environ, "PYTHONUNBUFFERED": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    _started.append(running)
    return running


def end_processes() -> None:
    """What a test started and did not end, because it failed: else its pipes are blamed on a later test."""
    while _started:
        running = _started.pop()
        running.kill()
        running.wait(60)
        for pipe in (running.stdout, running.stderr):
            if pipe is not None:
                pipe.close()


def heartbeat(settings: Settings, keys: Keys, **fields: Any) -> dict[str, Any]:
    """A heartbeat as a validator writes it, signed with its key."""
    now = milliseconds(datetime.now(UTC))
    said = {
        "validator_id": f"validator {keys.ethereum_address[:6]}",
        "hostname": "somewhere",
        "pokt_vault_address": settings.pocket.vault_address,
        "pokt_public_key": keys.pocket_key,
        "pokt_address": "",
        "eth_address": keys.ethereum_address,
        "wpokt_address": settings.ethereum.wrapped_pocket_address,
        "healthy": True,
        "updated_at": now,
        "identity": settings.identity_hash(),
        "instance": "1",
        "started_at": now,
        "counter": 1,
        "version": "0",
        "pocket_height": "12",
        "ethereum_height": "34",
        "pocket_cursor": "11",
        "ethereum_cursor": "33",
        "last_signature_at": None,
        "stream_age_ms": 0,
        "open_count": len(fields.get("open", [])),
        "open": [],
        "holds": [],
        "problems": [],
        **fields,
    }
    signature = PrivateKey(bytes.fromhex(keys.ethereum)).sign_recoverable(heartbeat_digest(said), hasher=None)
    return {**said, "signature": f"0x{signature[:64].hex()}{signature[64] + 27:02x}", "created_at": now}
