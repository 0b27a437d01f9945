"""What stops signing and what lets it go on: holds, pauses, failed and lost returns, a short vault, late validators."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio
from bridge_helpers.adversary import Adversary, adversary_of, forged
from bridge_helpers.harness import FEE, BridgeUnderTest, running_bridge
from eth_account import Account

from infra.localnet.pocket.misbehaviour import LoseSubmitted
from infra.localnet.pocket.wallet import tx_hash
from reactor.documents.keys import deposit_key
from reactor.documents.statuses import REQUESTS, Collection, Status
from reactor.state.holds import SIGNING, event_scope
from reactor.state.rows import EventKind

pytestmark = [
    pytest.mark.integration,
    pytest.mark.xdist_group("bridge"),
    pytest.mark.asyncio(loop_scope="module"),
]

AMOUNT = 1_000_000
POCKET_USER = "ef" * 20
STOLEN: list[str] = []
"""What tests of this module made the vault pay beyond what it owes, as the judge says it."""
MINT, REFUND, BURN = Collection.MINT, Collection.INVALID_MINT, Collection.BURN


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bridge(mongo_uri: str) -> AsyncIterator[BridgeUnderTest]:
    async with running_bridge(mongo_uri) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module", autouse=True)
async def judged(bridge: BridgeUnderTest) -> AsyncIterator[None]:
    """Each test leaves a bridge in which nothing is held and nothing unjustified was signed."""
    bridge.net.pocket.behave()
    release(bridge)
    yield
    assert [hold for one in bridge.validators for hold in one.journal.holds()] == []
    assert await bridge.judge.unjustified(one.journal for one in bridge.validators) == []


def release(bridge: BridgeUnderTest) -> None:
    """What the operator of every validator does once he has understood."""
    for one in bridge.validators:
        for hold in one.journal.holds():
            one.journal.release(hold.id, "operator", "understood")


async def all_held(bridge: BridgeUnderTest, reason: str) -> None:
    await bridge.eventually(
        lambda: all(reason in {hold.reason for hold in one.journal.holds()} for one in bridge.validators),
        f"every validator to hold for {reason}",
    )


# --- returns ---------------------------------------------------------------------------------------------------------


async def test_equal_burns_of_one_transaction_are_each_paid_once(bridge: BridgeUnderTest) -> None:
    hash_ = await bridge.net.users[0].burn_many([(AMOUNT, POCKET_USER), (AMOUNT, POCKET_USER), (AMOUNT + 1, POCKET_USER)])
    for index in range(3):
        await bridge.until(BURN, hash_, Status.SUCCESS, burn_index=index)
    paid = bridge.judge.payments(hash_)
    assert sorted(one.amount for one in paid) == [AMOUNT - FEE, AMOUNT - FEE, AMOUNT + 1 - FEE]
    assert {one.recipient for one in paid} == {POCKET_USER}
    assert len({one.entropy for one in paid}) == 3


async def test_a_short_vault_waits_and_goes_on_once_it_is_funded(bridge: BridgeUnderTest) -> None:
    vault = bridge.net.bridge.vault
    taken = bridge.net.pocket.balance(vault)
    bridge.net.pocket.fund(vault, -taken)
    hash_ = await bridge.presigned_burn(AMOUNT, POCKET_USER)
    await bridge.until_waiting(BURN, hash_, "vault_short")
    # It keeps nothing else: a mint takes no coins from the vault.
    recipient = bridge.recipient()
    await bridge.minted(await bridge.send(bridge.deposit_of(FEE + 1, bridge.memo(recipient))[0]))
    assert bridge.judge.payments(hash_) == []
    bridge.net.pocket.fund(vault, taken)
    _, paid = await bridge.paid(BURN, hash_)
    assert len(paid) == 1


async def test_a_return_lost_from_the_mempool_is_posted_again(bridge: BridgeUnderTest) -> None:
    bridge.net.pocket.misbehave(LoseSubmitted(times=1))
    hash_ = await bridge.presigned_burn(AMOUNT, POCKET_USER)
    document, paid = await bridge.paid(BURN, hash_)
    assert bridge.net.pocket.behaviour.active() == ()
    assert [one.hash for one in paid] == [document["return_tx_hash"]]
    assert document["attempt"] == "0"


async def test_a_return_that_fails_in_a_block_is_held_and_tried_again_only_when_every_operator_says_so(
    bridge: BridgeUnderTest,
) -> None:
    node, vault = bridge.net.pocket, bridge.net.bridge.vault
    hash_ = await bridge.send(bridge.deposit_of(AMOUNT, "no memo")[0])
    node.misbehave(LoseSubmitted())  # the deposit is in the mempool by now; its return will be lost
    document = await bridge.until(REFUND, hash_, Status.SUBMITTED)
    taken = node.balance(vault) - FEE
    node.fund(vault, -taken)  # the fee can be paid, the amount can't
    node.inject(bytes.fromhex(document["return_tx"]))
    await bridge.eventually(lambda: bridge.judge.payments(hash_, good=False), "the return to fail in a block")
    await all_held(bridge, "return_failed")
    node.behave()
    node.fund(vault, taken)
    key = deposit_key(bridge.net.bridge, hash_)
    assert all({hold.scope for hold in one.journal.holds()} == {event_scope(key)} for one in bridge.validators)
    # Others go on; this one stays, also when all but one operator have released it.
    other = await bridge.send(bridge.deposit_of(AMOUNT, "no memo either")[0])
    for one in bridge.validators[:2]:
        one.journal.release_attempt(key, "operator", "funded")
        one.journal.release(event_scope(key), "operator", "funded")
    await bridge.paid(REFUND, other)
    await bridge.eventually(lambda: _signers(bridge, hash_, 2), "two of three to sign attempt 1")
    assert bridge.judge.payments(hash_) == []
    last = bridge.validators[2]
    assert all(row.attempt == 0 for row in last.journal.signed(key))
    last.journal.release_attempt(key, "operator", "funded")
    last.journal.release(event_scope(key), "operator", "funded")
    document, paid = await bridge.paid(REFUND, hash_)
    assert document["attempt"] == "1"
    assert len(paid) == 1
    assert [one.code for one in bridge.judge.payments(hash_, good=False)] == [10, 0]


async def _signers(bridge: BridgeUnderTest, hash_: str, count: int) -> bool:
    document = await bridge.document(REFUND, hash_)
    return document is not None and document["attempt"] == "1" and len(document["signers"]) == count


# --- holds -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("to", ["a thief", "the vault"])
async def test_an_unexplained_outflow_stops_all_signing_until_it_is_released(bridge: BridgeUnderTest, to: str) -> None:
    """What the vault sends to itself is one too, and never a deposit: refunded, it would go round until fees had eaten it."""
    vault = bridge.net.bridge.vault
    theft = bridge.net.vault.send(vault if to == "the vault" else "99" * 20, 12_345, f"by all the keys, for {to}")
    await bridge.send(theft)
    STOLEN.append("due 0, paid 1")
    await bridge.eventually(lambda: bridge.judge.payments(f"by all the keys, for {to}"), "the theft")
    await all_held(bridge, "unexplained_return")
    await bridge.eventually(
        lambda: bridge.said("signing is held", "unexplained_return", "Release it once it is explained"), "the log to say so"
    )
    recipient = bridge.recipient()
    hash_ = await bridge.send(bridge.deposit_of(AMOUNT, bridge.memo(recipient))[0])
    burn = await bridge.presigned_burn(AMOUNT, POCKET_USER)
    await bridge.until_waiting(MINT, hash_, "held")
    await bridge.until_waiting(BURN, burn, "held")
    for role, one in ((MINT, hash_), (BURN, burn)):
        assert (await bridge.document(role, one) or {})["signers"] == []
    release(bridge)
    await bridge.minted(hash_)
    await bridge.paid(BURN, burn)
    assert [await bridge.document(role, tx_hash(theft)) for role in (MINT, REFUND)] == [None, None]


async def test_a_return_wrapped_anew_and_paid_again_stops_all_signing(bridge: BridgeUnderTest) -> None:
    """The signatures of a published return never die: the same message under other bytes is a second payment."""
    hash_ = await bridge.send(bridge.deposit_of(AMOUNT, "pay me twice")[0])
    document, _ = await bridge.paid(REFUND, hash_)
    raw = bytes.fromhex(document["return_tx"])
    body = raw[2:] + b"\xa0\x06\x01"  # an unknown field: other bytes, the same message and signatures
    size = len(body)
    await bridge.send(bytes([size & 0x7F | 0x80, size >> 7]) + body)
    STOLEN.append("due 1, paid 2")
    await bridge.eventually(lambda: len(bridge.judge.payments(hash_)) == 2, "the second payment")
    await all_held(bridge, "unexplained_return")
    await bridge.eventually(lambda: bridge.said("pays what was paid already"), "the log to say so")
    release(bridge)


async def test_a_mint_without_a_deposit_stops_all_signing_until_it_is_released(bridge: BridgeUnderTest) -> None:
    stranger = bridge.recipient()
    digest = bridge.judge.mint_digest(stranger, 77, 1)
    signers = sorted(bridge.net.validators, key=lambda one: int(one.address, 16))
    signatures = [Account.unsafe_sign_hash(digest, one.identity.ethereum.key).signature.to_0x_hex() for one in signers]
    await bridge.net.users[1].mint({"data": {"recipient": stranger, "amount": "77", "nonce": "1"}, "signatures": signatures})
    await all_held(bridge, "unexplained_mint")
    recipient = bridge.recipient()
    hash_ = await bridge.send(bridge.deposit_of(AMOUNT, bridge.memo(recipient))[0])
    await bridge.until_waiting(MINT, hash_, "held")
    assert (await bridge.document(MINT, hash_) or {})["signers"] == []
    release(bridge)
    await bridge.minted(hash_)


async def test_a_pause_stops_one_direction_and_a_resume_starts_it_again(bridge: BridgeUnderTest) -> None:
    for one in bridge.validators:
        one.journal.pause("payout", "operator", "maintenance")
    refund = await bridge.send(bridge.deposit_of(AMOUNT, "no memo")[0])
    recipient = bridge.recipient()
    await bridge.minted(await bridge.send(bridge.deposit_of(AMOUNT, bridge.memo(recipient))[0]))
    await bridge.until_waiting(REFUND, refund, "paused")
    assert (await bridge.document(REFUND, refund) or {})["signers"] == []
    for one in bridge.validators:
        assert one.journal.resume("payout", "operator") == 1
    await bridge.paid(REFUND, refund)


# --- validators that come and go -------------------------------------------------------------------------------------


async def test_a_validator_with_a_new_hostname_and_nothing_but_its_journal_catches_up(bridge: BridgeUnderTest) -> None:
    late = bridge.runners[2]
    await late.stop()
    recipient = bridge.recipient()
    hash_ = await bridge.send(bridge.deposit_of(AMOUNT, bridge.memo(recipient))[0])
    refund = await bridge.send(bridge.deposit_of(AMOUNT, "no memo")[0])
    await bridge.minted(hash_)
    await bridge.eventually(lambda: _has(bridge, REFUND, refund, 2), "two of three to sign the refund")
    assert bridge.judge.payments(refund) == []
    late.member.lose_ledger()
    late.hostname = "another-machine"
    await late.start()
    await bridge.paid(REFUND, refund)
    counts = [one.ledger.counts() for one in bridge.validators]
    await bridge.eventually(lambda: len({str(one.ledger.counts()) for one in bridge.validators}) == 1, f"equal ledgers: {counts}")
    beats = [row["hostname"] async for row in bridge.net.store.collection(Collection.HEARTBEAT).find({})]
    assert "another-machine" in beats


async def _has(bridge: BridgeUnderTest, role: Collection, hash_: str, count: int) -> bool:
    return len((await bridge.document(role, hash_) or {"signers": []})["signers"]) == count


# --- the database ----------------------------------------------------------------------------------------------------


async def test_without_unique_indexes_nothing_is_paid_or_minted_twice(bridge: BridgeUnderTest) -> None:
    for role in REQUESTS:
        await bridge.net.store.collection(role).drop_indexes()
    async with adversary_of(bridge) as adversary:
        recipient = bridge.recipient()
        raw, hash_ = bridge.deposit_of(AMOUNT, bridge.memo(recipient))
        bad, refund = bridge.deposit_of(AMOUNT, "no memo")
        for _ in range(2):
            await adversary.insert(MINT, forged(MINT, hash_, bridge))
            await adversary.insert(REFUND, forged(REFUND, refund, bridge))
        await bridge.send(raw)
        await bridge.send(bad)
        burn = await bridge.presigned_burn(AMOUNT, POCKET_USER, lambda one: _twice(adversary, one))
        await bridge.minted(hash_)
        for role, one in ((REFUND, refund), (BURN, burn)):
            await bridge.paid(role, one)
        for role, one in ((REFUND, refund), (BURN, burn)):
            await bridge.eventually(lambda role=role, one=one: _all_done(bridge, role, one), f"all copies of {one} to end")
        # A copy of a mint may stand as signed: minting it again reverts, its nonce is used.
        copies = await bridge.net.store.collection(MINT).find({"transaction_hash": hash_}).to_list()
        assert len(copies) >= 2
        assert {(one["nonce"], one["recipient_address"]) for one in copies if one["signers"]} == {("1", recipient)}
    assert await bridge.judge.balance(recipient) == AMOUNT
    assert [len(bridge.judge.payments(one)) for one in (refund, burn)] == [1, 1]


async def _twice(adversary: Adversary, hash_: str) -> None:
    for _ in range(2):
        await adversary.insert(BURN, forged(BURN, hash_, adversary.bridge))


async def _all_done(bridge: BridgeUnderTest, role: Collection, hash_: str) -> bool:
    found = await bridge.net.store.collection(role).find({"transaction_hash": hash_}).to_list()
    # A copy that was refuted before the event came stays failed: the event has its own document.
    return len(found) >= 2 and {one["status"] for one in found} <= {"success", "failed"}


async def at_rest(bridge: BridgeUnderTest) -> None:
    """Nobody has work left: a signed mint waits for its user alone, and no sweep looks at it any more."""
    await bridge.eventually(
        lambda: not any(one.ledger.unsettled(EventKind.DEPOSIT, 1) for one in bridge.validators),
        "every deposit to be settled everywhere",
    )


async def test_dropped_collections_are_filled_again(bridge: BridgeUnderTest) -> None:
    recipient = bridge.recipient()
    hash_ = await bridge.send(bridge.deposit_of(AMOUNT, bridge.memo(recipient))[0])
    await bridge.until(MINT, hash_, Status.SIGNED)
    await at_rest(bridge)
    await asyncio.gather(*(bridge.net.store.collection(role).drop() for role in REQUESTS))
    await bridge.minted(hash_)
    assert await bridge.judge.balance(recipient) == AMOUNT


async def test_a_dropped_database_is_filled_again(bridge: BridgeUnderTest) -> None:
    recipient = bridge.recipient()
    hash_ = await bridge.send(bridge.deposit_of(AMOUNT, bridge.memo(recipient))[0])
    await bridge.until(MINT, hash_, Status.SIGNED)
    await at_rest(bridge)
    await bridge.net.store.client.drop_database(bridge.net.store.database.name)
    await bridge.minted(hash_)
    assert await bridge.judge.balance(recipient) == AMOUNT


async def test_every_payout_was_paid_once(bridge: BridgeUnderTest) -> None:
    """But for those that this module's tests stole from the vault with all its keys, or paid a second time."""
    wrong: list[Any] = await bridge.judge.unpaid_or_doubled()
    assert sorted(one.rpartition(": ")[2] for one in wrong) == sorted(STOLEN), wrong
    assert all(SIGNING not in {hold.scope for hold in one.journal.holds()} for one in bridge.validators)
