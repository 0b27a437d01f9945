"""A whole bridge on one machine: MongoDB, both chains, the contracts, the vault and N validators.

>>> async with Localnet(validators=3, threshold=2) as net:
...     deposit = await net.users[0].deposit(5_000_000)
...     await net.wait_for(Collection.MINT, deposit, Status.SIGNED)
"""

import asyncio
import contextlib
import inspect
import os
import secrets
import tempfile
import time
from collections.abc import Awaitable, Callable, Iterable
from contextlib import AsyncExitStack
from pathlib import Path
from types import TracebackType
from typing import Any, Final, Self

from pymongo.errors import PyMongoError
from web3 import AsyncHTTPProvider, AsyncWeb3

from infra.localnet.anvil import Anvil
from infra.localnet.configuration import BridgeShape, Overrides, sections, write_configuration
from infra.localnet.deploy import DEFAULT_MINT_LIMIT, DEFAULT_MINT_PER_SECOND, UNIT, deploy_bridge
from infra.localnet.identities import DEFAULT_SEED, user_identity, validator_identity, write_keys
from infra.localnet.info import NetworkInfo
from infra.localnet.member import LocalValidator
from infra.localnet.mongod import MongoReplicaSet
from infra.localnet.pocket.genesis import SEND_FEE, Genesis
from infra.localnet.pocket.node import PocketNode
from infra.localnet.pocket.wallet import Vault
from infra.localnet.processes import ProcessError
from infra.localnet.stuck import StuckError, report
from infra.localnet.user import User
from reactor.documents.bridge import Bridge
from reactor.documents.statuses import Collection, Status
from reactor.state.journal import Journal
from reactor.store.connection import Document, Store
from reactor.store.indexes import init_db

DEFAULT_USER_BALANCE: Final = 1_000_000 * UNIT
WAIT_SECONDS: Final = 180.0
"""Generous: a full suite runs beside it on the same two cores."""
_POLL_SECONDS: Final = 0.1
_POLLS_PER_BLOCK: Final = 4
_FASTEST_POLL: Final = 0.1

Condition = Callable[[], bool | Awaitable[bool]]
OnStep = Callable[[str], None]


class Localnet:
    """The network. Entered means: every part runs and each validator has said so.

    Attributes once entered: `store` (the shared database), `mongo` (the replica set; None if it is the user's), `anvil`,
    `web3`, `pocket` (the development node, in this process), `deployment`, `bridge` (the identity), `vault` (all keys of
    it), `validators`, `users`, `info`. Amounts are in uPOKT.
    """

    mongo: MongoReplicaSet | None
    mongo_uri: str
    store: Store
    anvil: Anvil
    web3: AsyncWeb3[Any]
    pocket: PocketNode
    vault: Vault
    bridge: Bridge
    info: NetworkInfo

    def __init__(
        self,
        *,
        validators: int = 3,
        threshold: int = 2,
        mongo_nodes: int = 1,
        mongo_uri: str | None = None,
        database: str | None = None,
        directory: Path | None = None,
        users: int = 2,
        user_balance: int = DEFAULT_USER_BALANCE,
        pocket_block_time: float | None = 1.0,
        ethereum_block_time: float | None = 1.0,
        pocket_confirmations: int = 1,
        ethereum_finality: str = "latest-2",
        mint_limit: int = DEFAULT_MINT_LIMIT,
        mint_per_second: int = DEFAULT_MINT_PER_SECOND,
        max_mint: int | None = None,
        settings: Overrides | None = None,
        seed: str = DEFAULT_SEED,
        start: bool = True,
        on_step: OnStep | None = None,
    ) -> None:
        """Describe the network.

        `validators` sign returns all together and mints by `threshold`. `mongo_uri`: a replica set to use instead of an
        embedded one of `mongo_nodes`; then `database` defaults to a name of its own, dropped at the end. `directory` None:
        a temporary one. Block times in seconds; None: Pocket makes blocks by `pocket.step()` only, Ethereum one per
        transaction. `mint_limit` and `mint_per_second` are the contract's, `max_mint` (default: the limit) the largest
        deposit that is minted. `settings`: what the validators' configuration has otherwise, by section. `start` False:
        everything is there but no validator process runs. `on_step` is told what is being done.
        """
        if validators < 2:
            raise ValueError(f"validators is {validators}: a vault needs at least 2")
        if not 1 <= threshold <= validators:
            raise ValueError(f"threshold is {threshold}: give 1 to {validators}")
        if mongo_nodes not in {1, 3}:
            raise ValueError(f"mongo_nodes is {mongo_nodes}: a replica set here has 1 or 3")
        if users < 1:
            raise ValueError(f"users is {users}: give at least 1")
        self._count, self._threshold, self._user_count = validators, threshold, users
        self._mongo_nodes, self._given_uri, self._database = mongo_nodes, mongo_uri, database
        self._keep = directory
        self._balance = user_balance
        self._pocket_block_time, self._ethereum_block_time = pocket_block_time, ethereum_block_time
        self._confirmations, self._finality = pocket_confirmations, ethereum_finality
        self._limits = (mint_limit, mint_per_second)
        self._max_mint = max_mint if max_mint is not None else mint_limit
        self._settings, self._seed = settings, seed
        self._start = start
        self._on_step = on_step or (lambda _: None)
        self._stack = AsyncExitStack()
        self.mongo = None
        self.validators: list[LocalValidator] = []
        self.users: list[User] = []

    async def __aenter__(self) -> Self:
        """Bring everything up. Raises what a part raises, with nothing left behind."""
        try:
            await self._open()
        except BaseException:  # nothing may be left behind, whatever the reason
            await self._stack.aclose()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """End every process, in order."""
        await self._stack.aclose()

    # --- what tests and people ask -------------------------------------------------------------------------------

    async def start_validators(self, *chosen: LocalValidator) -> None:
        """Start these validators, or all that do not run, at once. Raises `ProcessError`."""
        waiting = chosen or tuple(one for one in self.validators if not one.running)
        await _all(one.start() for one in waiting)

    async def stop_validators(self, *chosen: LocalValidator) -> None:
        """Stop these validators, or all, at once."""
        await _all(one.stop() for one in chosen or tuple(self.validators))

    async def document(self, collection: Collection, transaction_hash: str) -> Document | None:
        """A document by the hash of its source transaction; the first of several burns."""
        query = {"transaction_hash": transaction_hash.lower()}
        return await self.store.collection(collection).find_one(query, sort=[("burn_index", 1)])

    async def wait_for(
        self, collection: Collection, transaction_hash: str, *statuses: Status, seconds: float = WAIT_SECONDS
    ) -> Document:
        """Wait until a document is there and, if any are named, in one of `statuses`. Raises `StuckError`."""
        found: list[Document] = []

        async def there() -> bool:
            document = await self.document(collection, transaction_hash)
            if document is None or (statuses and document.get("status") not in {one.value for one in statuses}):
                return False
            found[:] = [document]
            return True

        wanted = " or ".join(one.value for one in statuses) or "there"
        await self.wait_until(there, seconds=seconds, what=f"{collection.value} {transaction_hash} to be {wanted}")
        return found[0]

    async def wait_until(self, condition: Condition, *, seconds: float = WAIT_SECONDS, what: str = "the condition") -> None:
        """Wait until `condition()` is true.

        Raises `StuckError`, saying what the network is doing, after `seconds`; `ProcessError` as soon as a validator that
        nobody stopped has ended. While a database fails over, a condition that reads it counts as not yet true.
        """
        deadline = time.monotonic() + seconds
        while True:
            self.check_processes()
            if await _true(condition):
                return
            if time.monotonic() > deadline:
                raise StuckError(f"waited {seconds:g} s in vain for {what}\n{await self.report()}")
            await asyncio.sleep(_POLL_SECONDS)

    def check_processes(self) -> None:
        """Raise `ProcessError` if a validator ended that nobody stopped."""
        for one in self.validators:
            if one.expected and not one.running:
                raise ProcessError(
                    f"{one.name} ended by itself, code {one.process.exit_code}; end of {one.log}:\n{one.log_tail(40)}"
                )

    async def report(self) -> str:
        """What the network is doing: counts, heartbeats, what waits and why, ends of logs."""
        return await report(self.store, self.validators)

    def vault_balance(self) -> int:
        """uPOKT in the vault."""
        return self.pocket.balance(self.bridge.vault)

    async def token_supply(self) -> int:
        """wPOKT in existence, in units of uPOKT."""
        return await self.users[0].token_supply()

    # --- bringing it up ------------------------------------------------------------------------------------------

    async def _open(self) -> None:
        self.directory = self._directory()
        await _all([self._open_mongo(), self._open_chains()])
        # Behind the others on the stack: the validators end first, while all they need still answers.
        self._stack.push_async_callback(self._end_validators)
        keys = [write_keys(one.identity, one.directory / "keys") for one in self.validators]
        self._on_step("writing the validators' configuration")
        shape = self._shape()
        for one, files in zip(self.validators, keys, strict=True):
            write_configuration(one.config, sections(shape, one.name, files, self._settings))
        self._on_step("creating collections, indexes and signing journals")
        # The composition root imports everything: only here, so that `--help` is quick.
        from reactor.parts import bridge_of  # noqa: PLC0415

        self.bridge = bridge_of(self.validators[0].settings())
        heights = {"pocket": self.pocket.height, "ethereum": await self.web3.eth.block_number}
        for one in self.validators:
            if not (one.state / "journal.sqlite").exists():
                Journal.create(one.state, self.bridge, heights).close()
        conflicts = (await init_db(self.store)).conflicts
        if conflicts:
            raise ProcessError(f"the database {self.store.database.name} can't be used: {conflicts[0]}")
        self._make_users(shape)
        if self._start:
            self._on_step(f"starting {self._count} validators")
            await self.start_validators()

    def _directory(self) -> Path:
        if self._keep is not None:
            self._keep.mkdir(parents=True, exist_ok=True)
            return self._keep.resolve()
        return Path(self._stack.enter_context(tempfile.TemporaryDirectory(prefix="localnet-"))).resolve()

    async def _open_mongo(self) -> None:
        if self._given_uri is None:
            self._on_step(f"starting MongoDB, {self._mongo_nodes} node{'s' if self._mongo_nodes > 1 else ''}")
            self.mongo = await self._stack.enter_async_context(
                MongoReplicaSet(self._mongo_nodes, directory=self.directory / "mongo" if self._keep is not None else None)
            )
        self.mongo_uri = self.mongo.uri if self.mongo is not None else str(self._given_uri)
        # On somebody's own server: a name that nobody else has, and gone afterwards.
        own = self._database is None and self.mongo is None
        name = self._database or (f"localnet_{secrets.token_hex(4)}" if own else "bridge")
        self.store = await self._stack.enter_async_context(await Store.connect(self.mongo_uri, name))
        if own:
            self._stack.push_async_callback(self._drop_database)

    async def _drop_database(self) -> None:
        with contextlib.suppress(PyMongoError):  # the server may be gone; its name harms nobody
            await self.store.client.drop_database(self.store.database.name)

    async def _open_chains(self) -> None:
        self._on_step("starting anvil and the Pocket node")
        state = self.directory / "anvil.state"  # so that it can be stopped and started again, within the life of this network
        state.unlink(missing_ok=True)
        accounts, log = self._user_count + 1, self.directory / "anvil.log"
        self.anvil = await self._stack.enter_async_context(
            Anvil(block_time=self._ethereum_block_time, accounts=accounts, log=log, state=state)
        )
        self.web3 = AsyncWeb3(AsyncHTTPProvider(self.anvil.url))
        self._stack.push_async_callback(self.web3.provider.disconnect)
        identities = [validator_identity(self._seed, number) for number in range(1, self._count + 1)]
        self.validators = [LocalValidator(one, self.directory / one.name) for one in identities]
        self.vault = Vault(tuple(one.pocket for one in identities))
        await self._open_pocket()
        self._on_step("deploying the contracts")
        limit, rate = self._limits
        self.deployment = await deploy_bridge(
            self.web3, [one.address for one in self.validators], self._threshold, mint_limit=limit, mint_per_second=rate
        )

    async def _open_pocket(self) -> None:
        users = [user_identity(self._seed, number) for number in range(1, self._user_count + 1)]
        # A multisig holds one key less than the limit.
        genesis = Genesis(balances={user.pocket.address: self._balance for user in users}, sig_limit=max(8, self._count + 1))
        self.pocket = await self._stack.enter_async_context(PocketNode(genesis, block_time=self._pocket_block_time))

    def _shape(self) -> BridgeShape:
        return BridgeShape(
            mongo_uri=self.mongo_uri,
            database=self.store.database.name,
            ethereum_urls=(self.anvil.url,),
            ethereum_finality=self._finality,
            ethereum_poll=_poll(self._ethereum_block_time),
            deployment=self.deployment,
            pocket_urls=(self.pocket.url,),
            pocket_chain_id=self.pocket.chain.genesis.chain_id,
            pocket_start=1,
            pocket_confirmations=self._confirmations,
            pocket_poll=_poll(self._pocket_block_time),
            vault=self.vault.address,
            vault_keys=self.vault.public_keys,
            fee=SEND_FEE,
            max_mint=self._max_mint,
        )

    def _make_users(self, shape: BridgeShape) -> None:
        self.info = NetworkInfo(
            directory=self.directory,
            mongo_uri=shape.mongo_uri,
            database=shape.database,
            ethereum_url=self.anvil.url,
            deployment=self.deployment,
            pocket_url=self.pocket.url,
            pocket_chain_id=shape.pocket_chain_id,
            vault=shape.vault,
            fee=shape.fee,
            seed=self._seed,
            users=self._user_count,
        )
        # Whoever looks for a network here shall not find one that has ended.
        self._stack.callback(self.info.save().unlink, missing_ok=True)
        numbers = range(1, self._user_count + 1)
        self.users = [User(self.info, user_identity(self._seed, number), self.web3) for number in numbers]

    async def _end_validators(self) -> None:
        await _all(one.stop() for one in self.validators)


def given_mongo() -> str | None:
    """The replica set that the user names in the environment, if any."""
    return os.environ.get("MONGODB_URI") or None


def _poll(block_time: float | None) -> float:
    return max(_FASTEST_POLL, (block_time or 0.0) / _POLLS_PER_BLOCK)


async def _true(condition: Condition) -> bool:
    try:
        answer = condition()
        return bool(await answer) if inspect.isawaitable(answer) else bool(answer)
    except PyMongoError:
        return False


async def _all(work: Iterable[Awaitable[object]]) -> None:
    """Do all of it, also if a part fails; then raise the first failure."""
    results = await asyncio.gather(*work, return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result
