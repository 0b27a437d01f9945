"""The bridge under test: the development network with its validators as tasks of this process, and verbs to wait with."""

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any
from unittest import mock

from eth_account import Account
from eth_utils.address import to_checksum_address
from loguru import logger
from web3.exceptions import ContractLogicError

from bridge_helpers.judge import Judge, Payment
from infra.localnet.member import LocalValidator
from infra.localnet.network import Localnet
from infra.localnet.pocket.wallet import submit, tx_hash
from reactor.documents.keys import burn_key, deposit_key, document_id
from reactor.documents.statuses import REQUESTS, Collection, Status
from reactor.engine.supervisor import Stop
from reactor.engine.tasks import end
from reactor.settings import Settings, load_settings
from reactor.validator import Validator

FEE = 10_000
POT = 500_000_000
BOUND = 120.0
_MINE_SECONDS = 0.4
_LOOK_SECONDS = 0.1


class StuckError(AssertionError):
    """Something did not happen in time; the message says what the bridge was doing."""


@dataclass
class Runner:
    """One validator as a task of this process. `nodes`: URLs of its own nodes by section; `sections`: its other settings."""

    member: LocalValidator
    hostname: str = ""
    nodes: dict[str, str] = field(default_factory=dict)
    sections: dict[str, dict[str, Any]] = field(default_factory=dict)
    validator: Validator | None = None
    _task: asyncio.Task[None] | None = None
    _stop: Stop = field(default_factory=Stop)

    @property
    def running(self) -> Validator:
        assert self.validator is not None, f"{self.member.name} does not run"
        return self.validator

    def settings(self) -> Settings:
        settings = load_settings(self.member.config, {})
        other = {name: {"rpc_urls": (url,)} for name, url in self.nodes.items()} | self.sections
        return settings.model_copy(update={name: getattr(settings, name).model_copy(update=new) for name, new in other.items()})

    async def start(self) -> None:
        """Open it and run its loops, without the process's signal handlers."""
        self.validator = await Validator.open(self.settings())
        self._stop = Stop()
        hostname = self.hostname or f"host-of-{self.member.name}"
        with mock.patch("reactor.validator.socket.gethostname", return_value=hostname):
            self.validator.hearts.instance = self.validator._instance(self.validator.hearts.instance.pocket_address)
            self._task = asyncio.create_task(self.validator.run(self._stop))
            await asyncio.sleep(0)

    async def stop(self) -> None:
        """End it in order; raises what a loop of it raised."""
        task, validator, self._task, self.validator = self._task, self.validator, None, None
        self._stop.asked.set()
        try:
            if task is not None:
                async with asyncio.timeout(120):
                    await task
        finally:
            if validator is not None:
                await validator.close()

    def raise_if_broken(self) -> None:
        if self._task is not None and self._task.done():
            self._task.result()
            raise StuckError(f"{self.member.name} ended by itself")


@dataclass
class BridgeUnderTest:
    """The network, its validators, and what users and operators do."""

    net: Localnet
    runners: list[Runner]
    judge: Judge
    lines: list[str] = field(default_factory=list)
    _burning: asyncio.Lock = field(default_factory=asyncio.Lock)

    # --- looking ---------------------------------------------------------------------------------------------

    @property
    def validators(self) -> list[Validator]:
        return [one.validator for one in self.runners if one.validator is not None]

    async def eventually(self, condition: Callable[[], Any | Awaitable[Any]], what: str, bound: float = BOUND) -> Any:
        """The first true answer of `condition`; after `bound` seconds an error that says what is stuck and why."""
        deadline = time.monotonic() + bound
        while True:
            for one in self.runners:
                one.raise_if_broken()
            answer = condition()
            if isinstance(answer, Awaitable):
                answer = await answer
            if answer:
                return answer
            if time.monotonic() > deadline:
                raise StuckError(f"waited {bound:g} s in vain for {what}\n{await self.report()}")
            await asyncio.sleep(_LOOK_SECONDS)

    async def report(self) -> str:
        """What is stuck and why: documents, what each validator waits for, its errors and holds, the last warnings."""
        lines = [f"pocket height {self.net.pocket.height}, mempool {len(self.net.pocket.chain.mempool)}"]
        for role in REQUESTS:
            async for row in self._open(role):
                shown = {name: row.get(name) for name in ("_id", "transaction_hash", "status", "waiting", "signers", "attempt")}
                past = [f"{one.get('status')}: {one.get('reason')}" for one in row.get("history") or [] if isinstance(one, dict)]
                lines.append(f"{role.value} {str(shown)[:700]}\n    {past[-8:]}")
        for one in self.runners:
            if one.validator is None:
                lines.append(f"{one.member.name}: down")
                continue
            dispatcher = one.validator.dispatcher
            lines += [f"{one.member.name} stuck: {row.key} {row.error}" for row in dispatcher.stuck()[:9]]
            lines += [
                f"{one.member.name} waits: {row.key} {row.outcome.reason} {dict(row.outcome.params)} {row.due_in}"
                for row in dispatcher.waiting()[:9]
            ]
            lines += [
                f"{one.member.name} holds: {hold.scope} {hold.reason} {hold.detail}" for hold in one.validator.journal.holds()
            ]
        return "\n".join([*lines, "last lines of the log:", *self.lines[-25:]])

    async def _open(self, role: Collection) -> AsyncIterator[dict[str, Any]]:
        size = {"$bsonSize": "$$ROOT"}
        pipeline = [{"$match": {"status": {"$ne": "success"}, "$expr": {"$lt": [size, 200_000]}}}, {"$limit": 12}]
        for row in await (await self.net.store.collection(role).aggregate(pipeline)).to_list():
            yield row

    def said(self, *parts: str) -> bool:
        """Whether one line of the log (INFO and above) holds all these parts."""
        return any(all(part in line for part in parts) for line in self.lines)

    def id_of(self, collection: Collection, hash_: str, burn_index: int = 0) -> Any:
        """The `_id` that every validator gives the document of this event."""
        bridge = self.net.bridge
        key = burn_key(bridge, hash_, burn_index) if collection is Collection.BURN else deposit_key(bridge, hash_)
        return document_id(collection, key)

    async def document(self, collection: Collection, hash_: str, burn_index: int = 0) -> dict[str, Any] | None:
        """The document of an event, under whatever `_id`."""
        query: dict[str, Any] = {"transaction_hash": hash_}
        if collection is Collection.BURN:
            query["burn_index"] = str(burn_index)
        own = await self.net.store.collection(collection).find_one({"_id": self.id_of(collection, hash_, burn_index), **query})
        return own or await self.net.store.collection(collection).find_one(query)

    async def until(
        self, collection: Collection, hash_: str, *statuses: Status, burn_index: int = 0, bound: float = BOUND
    ) -> dict[str, Any]:
        """Wait until the event's document stands in one of `statuses`."""

        async def there() -> dict[str, Any] | None:
            found = await self.document(collection, hash_, burn_index)
            return found if found is not None and found.get("status") in statuses else None

        names = " or ".join(statuses)
        found: dict[str, Any] = await self.eventually(there, f"{collection.value} {hash_} to be {names}", bound)
        return found

    async def until_waiting(self, collection: Collection, hash_: str, reason: str, bound: float = BOUND) -> None:
        """Wait until some validator says that the event's document waits for `reason`."""
        name, wanted = self.net.store.names[collection], {}

        async def there() -> bool:
            document = await self.document(collection, hash_)
            wanted["_id"] = document["_id"] if document else None
            return any(
                row.key.collection == name and row.key.id == wanted["_id"] and row.outcome.reason == reason
                for one in self.validators
                for row in one.dispatcher.waiting()
            )

        await self.eventually(there, f"{collection.value} {hash_} to wait for {reason}", bound)

    # --- users -----------------------------------------------------------------------------------------------

    def deposit_of(self, amount: int, memo: str, *, user: int = 0) -> tuple[bytes, str]:
        """A signed deposit that is not sent yet, and its hash: whoever watches the mempool knows it as early."""
        raw = self.net.users[user].identity.pocket.send(self.net.bridge.vault, amount, memo)
        return raw, tx_hash(raw)

    async def send(self, raw: bytes) -> str:
        return await submit(self.net.pocket.url, raw)

    def memo(self, recipient: str, chain_id: int | str = 31337) -> str:
        return json.dumps({"address": recipient, "chain_id": str(chain_id)}, separators=(",", ":"))

    async def presigned_burn(self, amount: int, recipient: str, before: Callable[[str], Awaitable[object]] | None = None) -> str:
        """Burn out of the pot; `before(hash)` runs once the hash is known and before anything is sent."""
        user = self.net.users[0]
        async with user._turn:
            account, web3 = user.identity.ethereum, self.net.web3
            call = user._token.functions.burnAndBridge(amount, to_checksum_address("0x" + recipient))
            price = 3 * await web3.eth.gas_price + 10**9
            transaction = await call.build_transaction(
                {
                    "from": account.address,
                    "nonce": await web3.eth.get_transaction_count(account.address, "pending"),
                    "chainId": 31337,
                    "gas": 200_000,
                    "maxFeePerGas": price,
                    "maxPriorityFeePerGas": 10**9,
                }
            )
            signed = account.sign_transaction(transaction)
            if before is not None:
                await before(signed.hash.to_0x_hex())
            await web3.eth.send_raw_transaction(signed.raw_transaction)
            receipt = await web3.eth.wait_for_transaction_receipt(signed.hash, timeout=60, poll_latency=0.05)
            assert receipt["status"] == 1
            return str(signed.hash.to_0x_hex())

    async def minted(self, hash_: str, bound: float = BOUND) -> dict[str, Any]:
        """The user mints as soon as the contract accepts what stands in the document; then it reaches `success`."""

        async def accepted() -> bool:
            document = await self.document(Collection.MINT, hash_)
            if document is None or document.get("status") != Status.SIGNED:
                return False
            try:
                await self.net.users[1].mint(document)
            except (ContractLogicError, ValueError, TypeError, KeyError, AttributeError) as refused:
                logger.info("the contract refuses {}: {!r}", hash_, refused)
                return False
            return True

        await self.eventually(accepted, f"the contract to accept mint {hash_}", bound)
        return await self.until(Collection.MINT, hash_, Status.SUCCESS, bound=bound)

    async def paid(self, collection: Collection, hash_: str, bound: float = BOUND) -> tuple[dict[str, Any], list[Payment]]:
        """Wait until the vault has paid for this transaction and its document is in `success`; both."""
        await self.eventually(lambda: self.judge.payments(hash_), f"a payment for {collection.value} {hash_}", bound)
        document = await self.until(collection, hash_, Status.SUCCESS, bound=bound)
        return document, self.judge.payments(hash_)

    def recipient(self) -> str:
        """An Ethereum address that nobody used before, lower case."""
        return str(Account.create().address).lower()


@asynccontextmanager
async def running_bridge(
    mongo_uri: str,
    *,
    count: int = 3,
    start: bool = True,
    pot: int = POT,
    vault: int = 10**9,
    settings: Mapping[str, Mapping[str, Any]] | None = None,
    **options: Any,
) -> AsyncIterator[BridgeUnderTest]:
    """A fresh bridge (contracts, vault, database of its own) whose `count` validators run in this process, threshold 2.

    `pot`: wPOKT that user 1 has minted through the bridge before anything else, to burn from; 0: none. `vault`: uPOKT that
    the vault holds besides.
    """
    fast = {
        "engine": {"sweep_interval_s": 2.0, "heartbeat_interval_s": 1.0, "stop_timeout_s": 2.0, "handling_timeout_s": 20.0},
        "ethereum": {"poll_interval_ms": 150, "rpc_timeout_ms": 3000},
        "pocket": {"poll_interval_ms": 100, "rpc_timeout_ms": 3000},
    }
    for section, fields in (settings or {}).items():
        fast.setdefault(section, {}).update(fields)
    options = {"pocket_block_time": 0.3, "ethereum_block_time": None, **options}
    lines: list[str] = []
    logger.remove()
    sink = logger.add(lambda text: lines.append(str(text).rstrip()), level="INFO", diagnose=False, backtrace=False)
    try:
        async with Localnet(validators=count, threshold=2, mongo_uri=mongo_uri, settings=fast, start=False, **options) as net:
            if vault:
                net.pocket.fund(net.bridge.vault, vault)
            bridge = BridgeUnderTest(net, [Runner(one) for one in net.validators], Judge(net), lines)
            miner = asyncio.create_task(_mine(net))
            try:
                if start:
                    await start_all(bridge.runners)
                if pot:
                    await bridge.minted(await net.users[0].deposit(pot))
                yield bridge
            finally:
                await asyncio.gather(*(one.stop() for one in bridge.runners))
                await end(miner)
                if not miner.cancelled():
                    miner.result()
    finally:
        logger.remove(sink)


async def start_all(runners: Sequence[Runner]) -> None:
    for one in runners:
        await one.start()


async def _mine(net: Localnet) -> None:
    while True:
        await net.anvil.mine(1)
        await asyncio.sleep(_MINE_SECONDS)
