"""People of an end-to-end run: who deposits, mints and burns, and what they are owed by the end of it."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random

from pymongo.errors import PyMongoError

from infra.localnet.network import Localnet
from infra.localnet.pocket.genesis import SEND_FEE
from infra.localnet.user import User
from reactor.documents.statuses import Collection, Status

LEAST, MOST = 1_000_000, 5_000_000
"""uPOKT of a deposit."""
LEAST_BURN, MOST_BURN = 20_000, 400_000
BAD_MEMOS = (
    "",
    "no address at all",
    '{"address":"0x1234","chain_id":"31337"}',
    '{"address":"0x0000000000000000000000000000000000000000","chain_id":"31337"}',
    '{"address":"0x00000000000000000000000000000000000000aa","chain_id":"1"}',
    '{"address":"0x00000000000000000000000000000000000000aa","chain_id":31337}',
)


@dataclass(frozen=True, slots=True)
class Owed:
    """A payment on Pocket that must happen exactly once."""

    recipient: str
    amount: int
    memo: str


@dataclass
class Crowd:
    """All users together, and the record of what they did, kept apart from everything that the bridge writes."""

    net: Localnet
    rng: Random
    patient: bool = False
    """Whether deposits are handed to the chain itself, past a node that fails at the moment."""
    deposits: dict[str, int] = field(default_factory=dict)
    bad_deposits: dict[str, int] = field(default_factory=dict)
    burns: dict[str, list[tuple[int, str]]] = field(default_factory=dict)
    owed: Counter[Owed] = field(default_factory=Counter)
    minted: set[str] = field(default_factory=set)

    # --- deposits ------------------------------------------------------------------------------------------------

    async def deposit(self, sender: User, recipient: User) -> None:
        """One deposit to be minted."""
        amount = self.rng.randint(LEAST, MOST)
        sent = await self._pay(sender, amount, sender.memo(str(recipient.identity.ethereum.address)))
        self.deposits[sent] = amount

    async def bad_deposit(self, sender: User) -> None:
        """One deposit that must come back, less the fee."""
        amount, memo = self.rng.randint(LEAST, MOST), self.rng.choice(BAD_MEMOS)
        sent = await self._pay(sender, amount, memo)
        self.bad_deposits[sent] = amount
        self.owed[Owed(sender.pocket_address, amount - SEND_FEE, sent)] += 1

    async def _pay(self, sender: User, amount: int, memo: str) -> str:
        if not self.patient:
            return await sender.deposit(amount, memo=memo)
        raw = sender.identity.pocket.send(self.net.bridge.vault, amount, memo)
        submitted = self.net.pocket.chain.submit(raw)
        assert submitted.rejection is None
        return submitted.hash.lower()

    async def deposit_wave(self, recipients: Sequence[User], bad: int) -> None:
        """Deposits for these recipients, each from anybody, and some with bad memos, all at about the same time."""
        users = self.net.users
        work = [self.deposit(self.rng.choice(users), recipient) for recipient in recipients]
        work += [self.bad_deposit(self.rng.choice(users)) for _ in range(bad)]
        self.rng.shuffle(work)
        await asyncio.gather(*work)

    # --- minting -------------------------------------------------------------------------------------------------

    async def mint_signed(self) -> int:
        """Mint what is signed and nobody minted yet, each recipient by nonce and without gaps; how many."""
        ready: dict[str, list[dict[str, object]]] = {}
        query = {"status": Status.SIGNED.value}
        async for document in self.net.store.collection(Collection.MINT).find(query):
            if document["transaction_hash"] not in self.minted:
                ready.setdefault(document["recipient_address"], []).append(document)
        counts = await asyncio.gather(*(self._mint(user, ready.get(user.ethereum_address, [])) for user in self.net.users))
        return sum(counts)

    async def _mint(self, user: User, documents: list[dict[str, object]]) -> int:
        if not documents:
            return 0
        following = await user.nonce() + 1
        run: list[dict[str, object]] = []
        for document in sorted(documents, key=_nonce):
            if _nonce(document) != following + len(run):
                break
            run.append(document)
        await user.mint_all(run)
        self.minted |= {str(document["transaction_hash"]) for document in run}
        return len(run)

    async def keep_minting(self) -> None:
        """Mint as soon as the bridge allows it, until cancelled."""
        while True:
            with suppress(PyMongoError):  # the database fails over: a user looks again, too
                await self.mint_signed()
            await asyncio.sleep(0.5)

    # --- burns ---------------------------------------------------------------------------------------------------

    async def burn(self, user: User) -> None:
        """One burn in a transaction of its own."""
        amount = self.rng.randint(LEAST_BURN, MOST_BURN)
        self._burned(await user.burn_and_bridge(amount), [(amount, user.pocket_address)])

    async def burn_three(self, user: User, other: User) -> None:
        """Three burns in one transaction, two of them equal: same recipient, same amount."""
        twice, once = self.rng.randint(LEAST_BURN, MOST_BURN), self.rng.randint(LEAST_BURN, MOST_BURN)
        burns = [(twice, user.pocket_address), (once, other.pocket_address), (twice, user.pocket_address)]
        self._burned(await user.burn_many(burns), burns)

    def _burned(self, sent: str, burns: list[tuple[int, str]]) -> None:
        self.burns[sent] = burns
        for amount, recipient in burns:
            self.owed[Owed(recipient, amount - SEND_FEE, sent)] += 1

    # --- sums ----------------------------------------------------------------------------------------------------

    @property
    def burn_count(self) -> int:
        """Burns, of all transactions."""
        return sum(map(len, self.burns.values()))

    @property
    def supply(self) -> int:
        """What is minted and not burned, once everything is minted. The vault must hold exactly as much."""
        return sum(self.deposits.values()) - sum(amount for burns in self.burns.values() for amount, _ in burns)


def _nonce(document: dict[str, object]) -> int:
    return int(str(document["nonce"]))
