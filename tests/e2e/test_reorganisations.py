"""Ethereum takes blocks back that were not final: what was seen there is undone, what comes again is served once."""

from __future__ import annotations

from random import Random

import pytest
from eth_typing import HexStr
from eth_utils.address import to_checksum_address

from infra.localnet.network import Localnet
from infra.localnet.user import User
from reactor.documents.statuses import Collection, Status
from tests.e2e.bridge_people import Crowd
from tests.e2e.bridge_truth import assert_chains_exact, assert_documents_right, assert_no_errors_logged

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("bridge"), pytest.mark.timeout(1800)]

THRESHOLD, DEPTH = 2, 4
STUCK_SECONDS = 300.0


@pytest.fixture
async def net(tmp_path_factory):
    """Blocks of Ethereum are made by transactions and by hand, so that nothing becomes final unasked."""
    directory = tmp_path_factory.mktemp("reorganised")
    async with Localnet(
        validators=3, threshold=THRESHOLD, ethereum_block_time=None, ethereum_finality=f"latest-{DEPTH}", directory=directory
    ) as running:
        yield running


async def reorganise(net: Localnet) -> None:
    """The last block is gone with its transaction; two others are there instead, half a minute later: anvil's clock would
    stand still otherwise."""
    await net.anvil.reorg(1)
    await net.anvil.increase_time(30)


async def history(net: Localnet, role: Collection, sent: str) -> list[str]:
    """The statuses that a document went through."""
    document = await net.document(role, sent)
    assert document is not None
    return [one["status"] for one in document["history"]]


async def test_a_mint_that_vanishes_is_minted_again(net: Localnet) -> None:
    crowd, user = Crowd(net, Random(1)), net.users[0]
    await net.anvil.mine(DEPTH)
    await crowd.deposit(user, user)
    (sent,) = crowd.deposits
    document = await net.wait_for(Collection.MINT, sent, Status.SIGNED, seconds=STUCK_SECONDS)
    first = await user.mint(document)
    shown = await net.wait_for(Collection.MINT, sent, Status.SUBMITTED, seconds=STUCK_SECONDS)
    assert shown["mint_tx_hash"] == first

    await reorganise(net)
    # `submitted` is taken back once a block is final that is younger than the claim: before, it might still be proven.
    await net.anvil.mine(DEPTH)
    again = await net.wait_for(Collection.MINT, sent, Status.SIGNED, seconds=STUCK_SECONDS)
    assert await net.token_supply() == 0
    assert (again["data"], again["nonce"]) == (document["data"], document["nonce"])
    assert len(again["signatures"]) >= THRESHOLD

    second = await user.mint(again)
    await net.wait_for(Collection.MINT, sent, Status.SUBMITTED, seconds=STUCK_SECONDS)
    await net.anvil.mine(DEPTH)
    done = await net.wait_for(Collection.MINT, sent, Status.SUCCESS, seconds=STUCK_SECONDS)
    assert done["mint_tx_hash"] == second
    assert (await history(net, Collection.MINT, sent))[-5:] == ["signed", "submitted", "signed", "submitted", "success"]
    await assert_chains_exact(net, crowd)
    await assert_documents_right(net, crowd, THRESHOLD)
    assert_no_errors_logged(net)


async def test_a_burn_that_vanishes_is_not_paid_and_one_that_comes_back_is_paid_once(net: Localnet) -> None:
    crowd, user = Crowd(net, Random(2)), net.users[0]
    await net.anvil.mine(DEPTH)
    await crowd.deposit(user, user)
    (sent,) = crowd.deposits
    await user.mint(await net.wait_for(Collection.MINT, sent, Status.SIGNED, seconds=STUCK_SECONDS))
    await net.anvil.mine(DEPTH)
    await net.wait_for(Collection.MINT, sent, Status.SUCCESS, seconds=STUCK_SECONDS)

    supply, balance = await net.token_supply(), net.vault_balance()
    await crowd.burn(user)
    (burned,) = crowd.burns
    await net.wait_for(Collection.BURN, burned, Status.PENDING, seconds=STUCK_SECONDS)
    raw = await net.web3.eth.get_raw_transaction(HexStr(burned))
    await reorganise(net)
    await net.anvil.mine(DEPTH)
    await net.wait_for(Collection.BURN, burned, Status.FAILED, seconds=STUCK_SECONDS)
    assert await net.token_supply() == supply
    assert net.vault_balance() == balance

    # The very same transaction is mined after all.
    await net.web3.eth.send_raw_transaction(raw)
    await net.anvil.mine(DEPTH)
    await net.wait_for(Collection.BURN, burned, Status.SUCCESS, seconds=STUCK_SECONDS)
    # Whoever sees the return in a block before its sender has said `submitted` leaves that out.
    steps = [one for one in await history(net, Collection.BURN, burned) if one != Status.SUBMITTED]
    assert steps[-3:] == ["confirmed", "signed", "success"]
    await assert_chains_exact(net, crowd)
    await assert_documents_right(net, crowd, THRESHOLD)


async def test_a_burn_that_moves_to_another_block_and_log_index_is_corrected_and_paid_once(net: Localnet) -> None:
    crowd, (user, other) = Crowd(net, Random(3)), net.users[:2]
    await net.anvil.mine(DEPTH)
    for one in (user, other):
        await crowd.deposit(one, one)
    for sent, one in zip(list(crowd.deposits), (user, other), strict=True):
        await one.mint(await net.wait_for(Collection.MINT, sent, Status.SIGNED, seconds=STUCK_SECONDS))
    await net.anvil.mine(DEPTH)
    await crowd.burn(user)
    (burned,) = crowd.burns
    first = await net.wait_for(Collection.BURN, burned, Status.PENDING, seconds=STUCK_SECONDS)
    raw = await net.web3.eth.get_raw_transaction(HexStr(burned))
    await reorganise(net)

    # Into one block, behind another burn: other block, other log index.
    await net.anvil.set_automine(enabled=False)
    await dear_burn(net, crowd, other)
    await net.web3.eth.send_raw_transaction(raw)
    await net.wait_until(lambda: waiting(net, 2), seconds=STUCK_SECONDS, what="both burns to wait for a block")
    await net.anvil.mine(1)
    await net.anvil.set_automine(enabled=True)
    receipt = await net.web3.eth.get_transaction_receipt(HexStr(burned))
    assert str(receipt["logs"][-1]["logIndex"]) != first["log_index"], "the test did not move it"

    await net.anvil.mine(DEPTH)
    done = await net.wait_for(Collection.BURN, burned, Status.SUCCESS, seconds=STUCK_SECONDS)
    assert done["log_index"] == str(receipt["logs"][-1]["logIndex"])
    assert (done["block_number"], done["block_hash"]) == (str(receipt["blockNumber"]), receipt["blockHash"].to_0x_hex())
    assert (done["_id"], done["burn_index"]) == (first["_id"], first["burn_index"]), "it is the same request"
    reasons = [one["reason"] for one in done["history"]]
    assert "repaired from the chain: block_hash, block_number, log_index" in reasons
    for one in crowd.burns:
        await net.wait_for(Collection.BURN, one, Status.SUCCESS, seconds=STUCK_SECONDS)
    await assert_chains_exact(net, crowd)
    await assert_documents_right(net, crowd, THRESHOLD)
    assert_no_errors_logged(net)


async def dear_burn(net: Localnet, crowd: Crowd, user: User, amount: int = 50_000) -> None:
    """Send a burn that comes before all others of its block, and wait for nothing."""
    account, token = user.identity.ethereum, user._token
    transaction = await token.functions.burnAndBridge(amount, to_checksum_address("0x" + user.pocket_address)).build_transaction(
        {
            "from": account.address,
            "nonce": await net.web3.eth.get_transaction_count(account.address, "pending"),
            "chainId": 31337,
            "gas": 200_000,
            "maxFeePerGas": 10**12,
            "maxPriorityFeePerGas": 10**11,
        }
    )
    sent = await net.web3.eth.send_raw_transaction(account.sign_transaction(transaction).raw_transaction)
    crowd._burned(sent.to_0x_hex(), [(amount, user.pocket_address)])


async def waiting(net: Localnet, count: int) -> bool:
    """Whether so many transactions wait for a block."""
    return int((await net.anvil.rpc("txpool_status"))["pending"], 16) == count
