"""The people of a run. They look at the chains and try again: what they sent may have been lost, refused or taken back."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from random import Random

from aiohttp import ClientError
from pymongo.errors import PyMongoError
from web3.exceptions import Web3Exception

from infra.localnet.deploy import DeployError
from infra.localnet.network import Localnet
from infra.localnet.pocket.mempool import AlreadyInCacheError
from infra.localnet.user import User
from reactor.documents.statuses import Collection, Status
from tests.chaos.manifest import Requests
from tests.chaos.truth import burns_on_chain
from tests.e2e.bridge_people import BAD_MEMOS, LEAST, LEAST_BURN, MOST, MOST_BURN

ENOUGH = 4 * MOST_BURN
"""uPOKT that a user keeps before he burns."""
PATIENCE_SECONDS = 12.0
"""Then a user looks at the chain again: his transaction may have been in a block that is gone."""
_AT_ONCE = 20
NODE_FAILED = (Web3Exception, DeployError, ClientError, OSError, TimeoutError, ValueError)


def cancelled() -> bool:
    """Whether this task was told to end: pymongo makes a cancellation an error of its own, which is taken for a failed read."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


@dataclass
class People:
    """All users; `deposits` and `bad_deposits` by hash, with amount and (bad ones) sender."""

    net: Localnet
    rng: Random
    wanted: Requests
    say: Callable[[str], None]
    deposits: dict[str, int] = field(default_factory=dict)
    bad_deposits: dict[str, tuple[int, str]] = field(default_factory=dict)
    failures: dict[str, int] = field(default_factory=dict)
    _sent: dict[str, bytes] = field(default_factory=dict)

    # --- deposits ------------------------------------------------------------------------------------------------

    def deposit(self) -> None:
        """One, handed to the chain itself, past nodes that fail at the moment."""
        sender, recipient = self.rng.choice(self.net.users), self.rng.choice(self.net.users)
        amount = self.rng.randint(LEAST, MOST)
        self.deposits[self._pay(sender, amount, sender.memo(str(recipient.identity.ethereum.address)))] = amount

    def bad_deposit(self) -> None:
        """One that must come back, less the fee."""
        sender, amount = self.rng.choice(self.net.users), self.rng.randint(LEAST, MOST)
        self.bad_deposits[self._pay(sender, amount, self.rng.choice(BAD_MEMOS))] = (amount, sender.pocket_address)

    def _pay(self, sender: User, amount: int, memo: str) -> str:
        raw = sender.identity.pocket.send(self.net.bridge.vault, amount, memo)
        submitted = self.net.pocket.chain.submit(raw)
        assert submitted.rejection is None, submitted.rejection
        self._sent[submitted.hash] = raw
        return submitted.hash.lower()

    def _send_again(self) -> int:
        """Whatever is in no block: a node may have lost it with its mempool. How many wait."""
        missing = {hash_: raw for hash_, raw in self._sent.items() if self.net.pocket.find(hash_) is None}
        for raw in missing.values():
            with suppress(AlreadyInCacheError):
                self.net.pocket.chain.submit(raw)
        return len(missing)

    async def keep_depositing(self, seconds: float) -> None:
        """All deposits, spread over the time."""
        order = [self.deposit] * (self.wanted.deposits - 1) + [self.bad_deposit] * self.wanted.bad_deposits
        self.rng.shuffle(order)
        pause = seconds / max(1, len(order))
        for send in [self.deposit, *order]:
            send()
            await asyncio.sleep(self.rng.uniform(0, 2 * pause))
        while self._send_again():  # noqa: ASYNC110 - blocks are made in no task of ours
            await asyncio.sleep(1)

    # --- Ethereum ------------------------------------------------------------------------------------------------

    async def keep_minting(self) -> None:
        """Mint whatever the bridge allows as soon as it does, until cancelled."""
        while not cancelled():
            await self._tried("read", self._mint_signed)
            await asyncio.sleep(0.5)

    async def _mint_signed(self) -> None:
        ready: dict[str, list[dict[str, object]]] = {}
        async for document in self.net.store.collection(Collection.MINT).find({"status": Status.SIGNED.value}):
            ready.setdefault(str(document["recipient_address"]), []).append(document)
        await asyncio.gather(
            *[
                self._tried("mint", partial(self._mint, user, ready[user.ethereum_address]))
                for user in self.net.users
                if user.ethereum_address in ready
            ]
        )

    async def _mint(self, user: User, documents: list[dict[str, object]]) -> None:
        """What follows on his nonce, as the chain has it now: a mint that was taken back is minted again."""
        following = await user.nonce() + 1
        by_nonce = {int(str(document["nonce"])): document for document in documents}
        run = []
        while following + len(run) in by_nonce and len(run) < _AT_ONCE:
            run.append(by_nonce[following + len(run)])
        if run:
            await user.mint_all(run)

    async def keep_burning(self, seconds: float) -> None:
        """Burns spread over the time, and then until as many are on the chain as were asked for."""
        began = asyncio.get_running_loop().time()
        while True:
            if cancelled():
                return
            passed = asyncio.get_running_loop().time() - began
            due = self.wanted.burns if passed >= seconds else int(self.wanted.burns * passed / seconds)
            for _ in range(0, due - await self._burn_count(), 3):
                await self._tried("burn", self._burn)
            if passed > seconds and await self._burn_count() >= self.wanted.burns:
                return
            await asyncio.sleep(1)

    async def _burn_count(self) -> int:
        with suppress(*NODE_FAILED):
            return len(await burns_on_chain(self.net))
        return self.wanted.burns

    async def _burn(self) -> None:
        """Three burns in one transaction, two of them equal, or one on its own; by someone who has enough."""
        user, other = self.rng.choice(self.net.users), self.rng.choice(self.net.users)
        twice, once = self.rng.randint(LEAST_BURN, MOST_BURN), self.rng.randint(LEAST_BURN, MOST_BURN)
        if await user.wpokt_balance() < ENOUGH:
            return
        if self.rng.random() < 0.4:
            await user.burn_and_bridge(once)
            return
        await user.burn_many([(twice, user.pocket_address), (once, other.pocket_address), (twice, user.pocket_address)])

    async def _tried(self, what: str, work: Callable[[], Awaitable[None]]) -> None:
        """Whatever a node, the database or the chain did meanwhile: the next look shows what became of it.

        `work` is begun here alone: who is cancelled before that leaves no coroutine behind that nobody awaits.
        """
        try:
            async with asyncio.timeout(PATIENCE_SECONDS):
                await work()
        except (*NODE_FAILED, PyMongoError) as error:
            name = f"{what}: {type(error).__name__}"
            self.failures[name] = self.failures.get(name, 0) + 1
