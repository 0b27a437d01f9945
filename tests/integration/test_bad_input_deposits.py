"""Deposits and burns of every malformed kind: each is minted, refunded or fails by quorum with its reason."""

from collections.abc import AsyncIterator
from dataclasses import replace
from functools import partial

import pytest
import pytest_asyncio
from bridge_helpers.harness import FEE, BridgeUnderTest, running_bridge
from bridge_helpers.scenarios import Scenarios

from infra.localnet.pocket.wallet import submit, tx_hash
from reactor.documents.statuses import Collection, Status

pytestmark = [
    pytest.mark.integration,
    pytest.mark.xdist_group("bridge"),
    pytest.mark.asyncio(loop_scope="module"),
]

AMOUNT = 1_000_000
MAXIMUM = 900_000_000
POCKET_USER = "da" * 20
SCENARIOS = Scenarios()
MINT, REFUND, BURN = Collection.MINT, Collection.INVALID_MINT, Collection.BURN


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def bridge(mongo_uri: str, request: pytest.FixtureRequest) -> AsyncIterator[BridgeUnderTest]:
    async with running_bridge(mongo_uri, max_mint=MAXIMUM) as running:
        # Some of the malformed memos are longer than mainnet's 75 bytes.
        running.net.pocket.chain.genesis = replace(running.net.pocket.chain.genesis, max_memo=256)
        async with SCENARIOS.begun(request, running):
            yield running


# --- memos -----------------------------------------------------------------------------------------------------------

A = "0x" + "Ab" * 20
# ruff: noqa: UP031 - JSON's braces would have to be doubled
MINTED_MEMOS = {
    "canonical": '{"address":"%s","chain_id":"31337"}' % A,
    "upper case": '{"ADDRESS":"0X%s","Chain_ID":"31337"}' % A[2:].upper(),
    "unknown key": '{"x":1,"address":"%s","chain_id":"31337"}' % A,
    "last one wins": '{"chain_id":"1","address":"%s","chain_id":"31337"}' % A,
    "zeros before": '{"address":"%s","chain_id":"031337"}' % A,
    "a plus": '{"address":"%s","chain_id":"+31337"}' % A,
}
REFUNDED_MEMOS = {
    "empty": "",
    "text": "hello",
    "null": "null",
    "list": "[]",
    "no address": '{"chain_id":"31337"}',
    "no chain": '{"address":"%s"}' % A,
    "chain as a number": '{"address":"%s","chain_id":31337}' % A,
    "other chain": '{"address":"%s","chain_id":"1"}' % A,
    "hexadecimal chain": '{"address":"%s","chain_id":"0x7a69"}' % A,
    "zero address": '{"address":"0x%s","chain_id":"31337"}' % ("0" * 40),
    "short address": '{"address":"%s","chain_id":"31337"}' % A[:-1],
    "long address": '{"address":"%s0","chain_id":"31337"}' % A,
    "no 0x": '{"address":"%s","chain_id":"31337"}' % A[2:],
    "not hexadecimal": '{"address":"%sg","chain_id":"31337"}' % A[:-1],
    "cut": '{"address":"%s","chain_id":"31337"' % A,
    "trailing text": '{"address":"%s","chain_id":"31337"} .' % A,
    "single quotes": "{'address':'%s','chain_id':'31337'}" % A,
    "control characters": "\x00\x01\x1b[31m",
    "markup": "<script>alert(1)</script>&\u2028",
    "astral": "\U0001f4b8" * 18,
    "a query": '{"$where":"sleep(9)"}',
}


async def minted(bridge: BridgeUnderTest, memo: str) -> None:
    recipient = bridge.recipient()
    # Each scenario has a recipient of its own.
    raw, hash_ = bridge.deposit_of(AMOUNT, memo.replace(A, recipient).replace(A[2:].upper(), recipient[2:].upper()))
    await bridge.send(raw)
    document = await bridge.minted(hash_)
    assert document["memo"] == {"address": recipient, "chain_id": "31337"}
    assert await bridge.judge.balance(recipient) == AMOUNT


async def refunded(bridge: BridgeUnderTest, memo: str) -> None:
    raw, hash_ = bridge.deposit_of(AMOUNT, memo)
    await bridge.send(raw)
    document, paid = await bridge.paid(REFUND, hash_)
    assert [(one.recipient, one.amount) for one in paid] == [(bridge.net.users[0].pocket_address, AMOUNT - FEE)]
    assert document["memo"] == memo
    assert await bridge.document(MINT, hash_) is None


def _long(memo: str) -> str:
    assert len(memo.encode()) <= 120
    return memo


for _name, _memo in MINTED_MEMOS.items():
    SCENARIOS.add(f"minted memo: {_name}", partial(minted, memo=_memo))
for _name, _memo in REFUNDED_MEMOS.items():
    SCENARIOS.add(f"refunded memo: {_name}", partial(refunded, memo=_memo))

# --- amounts ---------------------------------------------------------------------------------------------------------


async def fails(bridge: BridgeUnderTest, role: Collection, hash_: str, code: str) -> None:
    document = await bridge.until(role, hash_, Status.FAILED)
    assert document["history"][-1]["reason"].startswith(f"{code}: "), document["history"]
    assert len({one["signer"] for one in document["objections"]}) >= 2
    assert bridge.judge.payments(hash_) == []
    for one in bridge.validators:
        assert {row["outcome"] for row in one.journal.export()["signatures"] if hash_ in row["event"]} <= {"objection"}


async def deposit_fails(bridge: BridgeUnderTest, amount: int, *, good_memo: bool) -> None:
    raw, hash_ = bridge.deposit_of(amount, bridge.memo(bridge.recipient()) if good_memo else "no memo")
    await bridge.send(raw)
    await fails(bridge, REFUND, hash_, "not_above_fee")


for _good in (True, False):
    for _amount in (1, FEE - 1, FEE):
        SCENARIOS.add(f"a deposit of {_amount}, memo {_good}", partial(deposit_fails, amount=_amount, good_memo=_good))


@SCENARIOS
async def a_mint_of_the_least_amount(bridge: BridgeUnderTest) -> None:
    recipient = bridge.recipient()
    await bridge.minted(await bridge.send(bridge.deposit_of(FEE + 1, bridge.memo(recipient))[0]))
    assert await bridge.judge.balance(recipient) == FEE + 1


@SCENARIOS
async def a_refund_of_the_least_amount(bridge: BridgeUnderTest) -> None:
    hash_ = await bridge.send(bridge.deposit_of(FEE + 1, "no memo")[0])
    _, paid = await bridge.paid(REFUND, hash_)
    assert [one.amount for one in paid] == [1]


@SCENARIOS
async def a_mint_of_the_maximum(bridge: BridgeUnderTest) -> None:
    recipient = bridge.recipient()
    await bridge.minted(await bridge.send(bridge.deposit_of(MAXIMUM, bridge.memo(recipient))[0]))
    assert await bridge.judge.balance(recipient) == MAXIMUM


@SCENARIOS
async def a_deposit_above_the_maximum_is_refunded(bridge: BridgeUnderTest) -> None:
    recipient = bridge.recipient()
    hash_ = await bridge.send(bridge.deposit_of(MAXIMUM + 1, bridge.memo(recipient))[0])
    _, paid = await bridge.paid(REFUND, hash_)
    assert [one.amount for one in paid] == [MAXIMUM + 1 - FEE]
    assert await bridge.judge.balance(recipient) == 0


@SCENARIOS
async def burns_at_the_edges(bridge: BridgeUnderTest) -> None:
    await fails(bridge, BURN, await bridge.presigned_burn(FEE, POCKET_USER), "not_above_fee")
    _, paid = await bridge.paid(BURN, await bridge.presigned_burn(FEE + 1, POCKET_USER))
    assert [one.amount for one in paid] == [1]


@SCENARIOS
async def a_burn_of_nothing(bridge: BridgeUnderTest) -> None:
    await fails(bridge, BURN, await bridge.presigned_burn(0, POCKET_USER), "not_above_fee")


@SCENARIOS
async def a_burn_to_the_vault(bridge: BridgeUnderTest) -> None:
    await fails(bridge, BURN, await bridge.presigned_burn(AMOUNT, bridge.net.bridge.vault), "recipient_is_vault")


@SCENARIOS
async def a_burn_to_the_zero_address(bridge: BridgeUnderTest) -> None:
    await fails(bridge, BURN, await bridge.presigned_burn(AMOUNT, "0" * 40), "recipient_is_zero")


# --- transactions ----------------------------------------------------------------------------------------------------


@SCENARIOS
async def a_deposit_that_failed_on_chain(bridge: BridgeUnderTest) -> None:
    """The sender's fee was there, the amount was not: indexed with code 10, nothing arrived."""
    poor = bridge.net.vault.wallets[0]
    bridge.net.pocket.fund(poor.address, 3 * FEE)
    raw = poor.send(bridge.net.bridge.vault, AMOUNT, bridge.memo(bridge.recipient()))
    await submit(bridge.net.pocket.url, raw)
    await bridge.eventually(lambda: bridge.net.pocket.find(tx_hash(raw)), "the transaction to be in a block")
    assert bridge.net.pocket.find(tx_hash(raw)).result.code == 10  # type: ignore[union-attr]
    await fails(bridge, REFUND, tx_hash(raw), "transaction_failed")


@SCENARIOS
async def a_transaction_that_does_not_decode(bridge: BridgeUnderTest) -> None:
    """Bytes in a block that nobody can read: no request, and what comes after them goes on."""
    for raw in (b"\x05\x01\x02\x03\x04\x05", b"", b"\xff" * 300):
        bridge.net.pocket.inject(raw)
    recipient = bridge.recipient()
    await bridge.minted(await bridge.send(bridge.deposit_of(AMOUNT, bridge.memo(recipient))[0]))


@SCENARIOS
async def a_deposit_with_explicit_unknown_fields(bridge: BridgeUnderTest) -> None:
    """Other bytes than the canonical ones: a deposit under the hash of its own bytes."""
    raw, _ = bridge.deposit_of(AMOUNT, bridge.memo(recipient := bridge.recipient()))
    body = raw[2:] + b"\xa0\x06\x01"
    wrapped = bytes([len(body) & 0x7F | 0x80, len(body) >> 7]) + body
    await submit(bridge.net.pocket.url, wrapped)
    await bridge.minted(tx_hash(wrapped))
    assert await bridge.judge.balance(recipient) == AMOUNT


@SCENARIOS
async def two_deposits_of_one_recipient_in_one_block(bridge: BridgeUnderTest) -> None:
    recipient = bridge.recipient()
    made = [bridge.deposit_of(AMOUNT + place, bridge.memo(recipient), user=place % 2) for place in range(4)]
    for raw, _ in made:
        await bridge.send(raw)
    found = [await bridge.until(MINT, hash_, Status.SIGNED) for _, hash_ in made]
    assert sorted(one["nonce"] for one in found) == ["1", "2", "3", "4"]
    for one in sorted(found, key=lambda one: int(one["nonce"])):
        await bridge.minted(one["transaction_hash"])
    assert await bridge.judge.nonce(recipient) == 4


@pytest.mark.parametrize("name", SCENARIOS.names)
async def test_bad_input(name: str) -> None:
    await SCENARIOS.result(name)


async def test_every_payout_was_paid_once_and_nothing_is_held(bridge: BridgeUnderTest) -> None:
    journals = [one.journal for one in bridge.validators]
    assert await bridge.judge.unpaid_or_doubled() == []
    assert [hold for one in journals for hold in one.holds()] == []
