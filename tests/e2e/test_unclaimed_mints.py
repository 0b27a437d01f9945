"""A hundred thousand mints that their users never claim: they lie in the ledger and in the database, and cost nothing."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

import pytest
from coincurve import PrivateKey

from infra.localnet.network import Localnet
from reactor.chains.ethereum.eip712 import Domain, mint_digest, typed_data
from reactor.documents.build import deposit_document
from reactor.documents.events import BlockRef, Deposit
from reactor.documents.keys import deposit_key, nonce_slot
from reactor.documents.statuses import Collection, Status
from reactor.handlers.reconcile import SAMPLE
from reactor.parts import open_store
from reactor.state.journal import Journal, JournalEntry
from reactor.state.ledger import Ledger
from reactor.state.rows import EventKind
from reactor.state.verdicts import Refused
from reactor.validator import Validator

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("bridge"), pytest.mark.timeout(1800)]

FEW, UNCLAIMED, RECIPIENTS, BLOCKS = 5000, 100_000, 1000, 100
SWEEPS = 5
STUCK_SECONDS = 300.0


@pytest.fixture
async def net(tmp_path_factory) -> AsyncIterator[Localnet]:
    """A network that makes blocks by hand and in which nothing happens by the clock but sweeps."""
    async with Localnet(
        validators=2,
        threshold=1,
        users=1,
        start=False,
        pocket_block_time=None,
        ethereum_block_time=None,
        directory=tmp_path_factory.mktemp("unclaimed"),
        settings={"engine": {"sweep_interval_s": 0.5, "stop_timeout_s": 3.0}},
    ) as running:
        yield running


@dataclass(frozen=True, slots=True)
class Cost:
    """What so many sweeps took: commands to MongoDB by name, keys and documents that the server looked at, open entries."""

    sweeps: int
    commands: Counter[str]
    examined: int
    rung: int
    entries: int

    def each(self, total: int) -> float:
        """A share of one sweep: a busy machine may let more of them pass than were waited for."""
        return total / self.sweeps


@asynccontextmanager
async def running(net: Localnet) -> AsyncIterator[Validator]:
    """The first validator in this process: its scanners and its reactor. It sends one heartbeat, without which it signs nothing,
    and no more, for they come by the clock."""
    validator = await Validator.open(net.validators[0].settings())
    await validator.exchange_heartbeats()
    stop = asyncio.Event()
    task = asyncio.create_task(validator.reactor.run(stop))
    try:
        yield validator
        assert not task.done(), task.exception()
    finally:
        stop.set()
        await asyncio.wait_for(task, 60)
        await validator.close()


async def swept(net: Localnet, validator: Validator, sweeps: int) -> None:
    """Wait for so many more sweeps, nothing in work after them."""
    done = validator.reactor.counters.sweeps + sweeps
    await net.wait_until(lambda: validator.reactor.counters.sweeps >= done, seconds=STUCK_SECONDS, what=f"{sweeps} sweeps")
    await asyncio.wait_for(validator.reactor.idle(), STUCK_SECONDS)


async def cost_of_sweeps(net: Localnet, validator: Validator) -> Cost:
    """What some sweeps take on a bridge at rest."""
    await swept(net, validator, 1)
    database = net.store.database
    await database.command({"profile": 2})
    before, counters = Counter(validator.store.operations), validator.reactor.counters
    begun, rung = counters.sweeps, counters.rung
    await swept(net, validator, SWEEPS)
    commands, sweeps, rung = Counter(validator.store.operations) - before, counters.sweeps - begun, counters.rung - rung
    await database.command({"profile": 0})
    examined = 0
    async for row in database["system.profile"].find({"appName": "bridge-reactor", "op": {"$in": ["query", "command"]}}):
        examined += int(row.get("keysExamined", 0)) + int(row.get("docsExamined", 0))
    await database.drop_collection("system.profile")
    load = validator.dispatcher.load()
    return Cost(sweeps, commands, examined, rung, load.waiting + load.queued + load.stuck)


async def one_mint(net: Localnet, validator: Validator) -> tuple[int, int]:
    """One deposit until it is signed and this validator has finished with it; commands to MongoDB and sweeps meanwhile."""
    before, swept_before = validator.store.operations.total(), validator.reactor.counters.sweeps
    sent = await net.users[0].deposit(5_000_000)
    net.pocket.step(3)
    await net.wait_for(Collection.MINT, sent, Status.SIGNED, seconds=STUCK_SECONDS)

    def settled() -> bool:
        return not validator.ledger.unsettled(EventKind.DEPOSIT, 1)

    await net.wait_until(settled, seconds=STUCK_SECONDS, what="the signed mint to need nothing any more")
    await asyncio.wait_for(validator.reactor.idle(), STUCK_SECONDS)
    return validator.store.operations.total() - before, validator.reactor.counters.sweeps - swept_before


async def test_mints_that_nobody_claims_cost_nothing(net: Localnet) -> None:
    async with running(net) as validator:
        first_mint, _ = await one_mint(net, validator)
    await fill(net, range(FEW))
    async with running(net) as validator:
        few = await cost_of_sweeps(net, validator)
    assert few.commands, "sweeps that ask nothing would prove nothing"

    await fill(net, range(FEW, UNCLAIMED))
    assert await net.store.collection(Collection.MINT).count_documents({"status": "signed"}) == UNCLAIMED + 1

    async with running(net) as validator:
        full = await cost_of_sweeps(net, validator)
        # From the start on: the first look at all open documents sees no more of them than a sweep does.
        assert validator.reactor.counters.rung <= SAMPLE * (validator.reactor.counters.sweeps + 2)
        assert validator.dispatcher.counters.failed == 0
        last_mint, meanwhile = await one_mint(net, validator)
        after = await cost_of_sweeps(net, validator)
    print(f"{SWEEPS} sweeps: {dict(few.commands)} with {FEW} unclaimed mints, {dict(full.commands)} with {UNCLAIMED}")
    print(f"keys and documents examined: {few.examined} and {full.examined}; one mint: {first_mint} and {last_mint} commands")

    # Of what is settled each sweep looks for a page, for the case that somebody dropped the collection, and closely at some,
    # for the case that somebody changed them quietly: those and no more.
    # A sweep may begin or end at the edge of the count: one more or less, never one per mint.
    edge = (SWEEPS + 1) / (SWEEPS - 1)
    for later in (full, after):
        assert later.commands.keys() == few.commands.keys()
        few_each, later_each = few.each(few.commands.total()), later.each(later.commands.total())
        assert few_each / edge <= later_each <= few_each * edge
        # A sample drawn near the end of the chain is a short one.
        assert later.each(later.examined) <= few.each(few.examined) * edge + 2 * SAMPLE
        assert (later.entries, few.entries) == (0, 0)
        assert all(one.rung <= SAMPLE * (one.sweeps + 1) for one in (few, later))
        assert later.commands.keys().isdisjoint({"update", "bulkWrite", "insert"}), "all of them are right"
    assert last_mint <= first_mint + (10 + meanwhile) * few.each(few.commands.total())


async def fill(net: Localnet, numbers: range) -> None:
    """So many of them, as a validator that has signed them leaves them: settled in its ledger, `signed` in the database."""
    settings = net.validators[0].settings()
    net.pocket.step(BLOCKS + 2)
    with closing(Ledger.open(settings.state.directory, net.bridge)) as ledger:
        cursor = ledger.cursor(EventKind.DEPOSIT)
        assert cursor is not None
        first = cursor.height + 1
        heights = (first + place * BLOCKS // len(numbers) for place in range(len(numbers)))
        deposits = [_deposit(net, number, height) for number, height in zip(numbers, heights, strict=True)]
        last = first + BLOCKS - 1
        rest = _block(net, last)
        ledger.record_window(EventKind.DEPOSIT, first, last, deposits, last, rest)
        ledger.record_window(EventKind.RETURNED, first, last, [], last, rest)
        while page := ledger.unsettled(EventKind.DEPOSIT, 10_000):
            for seen in page:
                ledger.settle(seen.key)
        recorded = ledger.counts()[EventKind.DEPOSIT]
    assert recorded == numbers.stop + 1
    with closing(Journal.open(settings.state.directory, net.bridge)) as journal:
        assert not [one for one in journal.sign_batch([_journaled(net, one) for one in deposits]) if isinstance(one, Refused)]
    await _insert(net, deposits)
    # The change stream goes on behind those inserts, as it would years later; all open documents are read at the start.
    with closing(Ledger.open(settings.state.directory, net.bridge)) as ledger:
        ledger._set("DELETE FROM stream")


async def _insert(net: Localnet, deposits: list[Deposit]) -> None:
    now = datetime.now(UTC)
    rows: list[dict[str, Any]] = []
    for deposit in deposits:
        _, document = deposit_document(net.bridge, deposit, now)
        rows.append({**document, "status": Status.SIGNED.value, "confirmations": "1", **_signed(net, deposit)})
    store = await open_store(net.validators[0].settings())
    try:
        for start in range(0, len(rows), 10_000):
            await store.collection(Collection.MINT).insert_many(rows[start : start + 10_000], ordered=False)
    finally:
        await store.close()


def _signed(net: Localnet, deposit: Deposit) -> dict[str, Any]:
    """What signing adds: those that are looked at closely must be right."""
    domain, recipient, amount, nonce = _minted(net, deposit)
    key = PrivateKey(bytes(net.validators[0].identity.ethereum.key))
    signature = key.sign_recoverable(mint_digest(domain, recipient, amount, nonce), hasher=None)
    return {
        "signers": [net.validators[0].address],
        "signatures": [f"0x{signature[:64].hex()}{signature[64] + 27:02x}"],
        "nonce": str(nonce),
        "data": {"recipient": recipient, "amount": str(amount), "nonce": str(nonce)},
        "typed_data": typed_data(domain, recipient, amount, nonce),
    }


def _minted(net: Localnet, deposit: Deposit) -> tuple[Domain, str, int, int]:
    """What is signed for it: each recipient's deposits come one after the other."""
    domain = Domain("MintController", "1", net.bridge.ethereum_chain_id, net.bridge.mint_controller)
    return domain, str(deposit.memo_address), int(deposit.amount or 0), deposit.index // RECIPIENTS + 1


def _journaled(net: Localnet, deposit: Deposit) -> JournalEntry:
    domain, recipient, amount, nonce = _minted(net, deposit)
    return JournalEntry(
        event=deposit_key(net.bridge, deposit.tx_hash),
        outcome="mint",
        attempt=0,
        digest=mint_digest(domain, recipient, amount, nonce),
        slot=nonce_slot(net.bridge, recipient, nonce),
        chain="pocket",
        height=deposit.height,
        direction="mint",
        recipient=recipient,
    )


def _deposit(net: Localnet, number: int, height: int) -> Deposit:
    recipient = "0x" + sha256(f"recipient {number % RECIPIENTS}".encode()).hexdigest()[:40]
    memo = net.users[0].memo(recipient)
    return Deposit(
        tx_hash=sha256(f"deposit {number}".encode()).hexdigest(),
        index=number,
        block=_block(net, height),
        sender=net.users[0].pocket_address,
        amount=1_000_000 + number,
        code=0,
        is_send=True,
        memo=memo,
        memo_address=recipient,
        memo_chain_id=str(net.bridge.ethereum_chain_id),
    )


def _block(net: Localnet, height: int) -> BlockRef:
    block = net.pocket.chain.block(height)
    return BlockRef(height, block.hash.lower(), int(block.time.timestamp()))
