"""Events, state, heads and finality, read from a real node with the development contracts."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
from ethereum_helpers import CHAIN_ID, USER, VALIDATORS, Bridge, read_all, running_bridge, until

from infra.localnet.anvil import development_account
from reactor.chains.errors import MalformedAnswer, NotFound, RpcRefused
from reactor.chains.ethereum import EthereumChain, Finality
from reactor.chains.ethereum.contracts import MINTER_ROLE, mint_call, revert_reason, selector
from reactor.chains.ethereum.span import Span

pytestmark = pytest.mark.integration

ADMIN = development_account(0).address.lower()
POCKET = "bb" * 20
POCKET_2 = "cc" * 20


@pytest.fixture
async def bridge() -> AsyncIterator[Bridge]:
    async with running_bridge() as running:
        yield running


async def test_mints_and_burns_in_a_window(bridge: Bridge) -> None:
    start = await bridge.anvil.block_number() + 1
    mint = await bridge.mint(USER, 1000, 1)
    burn = await bridge.burn(300, POCKET)
    failed = await bridge.burn(10**12, POCKET)
    assert (mint["status"], burn["status"], failed["status"]) == ("0x1", "0x1", "0x0")
    async with bridge.chain() as chain:
        window = await chain.window(start, await bridge.anvil.block_number())
        (minted,), (burned,) = window.minted, window.burns
        assert (minted.recipient, minted.amount, minted.nonce) == (USER, 1000, 1)
        assert (minted.tx_hash, minted.block_hash) == (mint["transactionHash"], mint["blockHash"])
        assert (burned.sender, burned.recipient, burned.amount, burned.burn_index) == (USER, POCKET, 300, 0)
        assert (burned.tx_hash, hex(burned.block_number)) == (burn["transactionHash"], burn["blockNumber"])
        assert burned.block_time == (await chain.header(burned.block_number)).time
        assert window.last_header == await chain.head()
        assert window.contracts_changed is False

        receipt = await chain.receipt_events(burned.tx_hash)
        assert receipt.succeeded is True
        assert (receipt.burns, receipt.minted) == ((burned,), ())
        assert (await chain.receipt_events(minted.tx_hash)).minted == (minted,)
        refused = await chain.receipt_events(failed["transactionHash"])
        assert (refused.succeeded, refused.burns) == (False, ())
        with pytest.raises(NotFound):
            await chain.receipt_events("0x" + "12" * 32)


async def test_several_burns_of_one_transaction_keep_their_index_when_mined_again(bridge: Bridge) -> None:
    await bridge.mint(USER, 1000, 1)
    # The user's account runs the code of a contract for a moment: three burns, two of them equal, in one transaction.
    code = bridge.burn_many_code([(5, POCKET), (5, POCKET), (7, POCKET_2)])
    await bridge.anvil.rpc("anvil_setCode", USER, code)
    receipt = await bridge.send(ADMIN, USER, "0x")
    assert receipt["status"] == "0x1"
    height = int(receipt["blockNumber"], 16)
    async with bridge.chain() as chain:
        window = await chain.window(height, height)
        assert [(burn.burn_index, burn.amount, burn.recipient) for burn in window.burns] == [
            (0, 5, POCKET),
            (1, 5, POCKET),
            (2, 7, POCKET_2),
        ]
        assert len({burn.log_index for burn in window.burns}) == 3
        assert (await chain.receipt_events(receipt["transactionHash"])).burns == window.burns


async def test_windows_follow_the_span_and_miss_nothing(bridge: Bridge) -> None:
    await bridge.mint(USER, 1000, 1)
    for amount in range(1, 6):
        await bridge.burn(amount, POCKET)
        await bridge.anvil.mine(7)
    head = await bridge.anvil.block_number()
    async with bridge.chain(span=Span(blocks=3, most=10, quick=60.0, slow=600.0)) as chain:
        windows = await read_all(chain, 0, head)
        assert [burn.amount for window in windows for burn in window.burns] == [1, 2, 3, 4, 5]
        assert windows[0].to_block == 2
        assert max(window.to_block - window.from_block + 1 for window in windows) == 10
        assert windows[-1].to_block == head
        assert all(window.last_header.number == window.to_block for window in windows)
        for from_block, to_block in ((5, 4), (-1, 4)):
            with pytest.raises(ValueError, match="window"):
                await chain.window(from_block, to_block)


async def test_a_window_beyond_the_head_was_not_read(bridge: Bridge) -> None:
    head = await bridge.anvil.block_number()
    async with bridge.chain() as chain:
        with pytest.raises(NotFound):
            await chain.window(head, head + 1)
        await bridge.anvil.mine(1)
        assert (await chain.window(head, head + 1)).to_block == head + 1


async def test_minted_lookup(bridge: Bridge) -> None:
    other = VALIDATORS[0]
    await bridge.mint(USER, 10, 1)
    second = await bridge.mint(USER, 20, 2)
    await bridge.mint(other, 30, 1)
    await bridge.anvil.mine(5)
    head = await bridge.anvil.block_number()
    async with bridge.chain(span=Span(blocks=2, most=4)) as chain:
        (found,) = await chain.minted_lookup(USER.upper().replace("0X", "0x"), 2, 0, head)
        assert (found.amount, found.tx_hash) == (20, second["transactionHash"])
        assert [event.amount for event in await chain.minted_lookup(other, 1, 0, head)] == [30]
        assert await chain.minted_lookup(USER, 3, 0, head) == ()
        assert await chain.minted_lookup(USER, 2, found.block_number + 1, head) == ()
        with pytest.raises(ValueError, match="recipient"):
            await chain.minted_lookup("0x12", 2, 0, head)


async def test_user_nonce_at_blocks(bridge: Bridge) -> None:
    before = await bridge.anvil.block_number()
    receipt = await bridge.mint(USER, 10, 1)
    height = int(receipt["blockNumber"], 16)
    async with bridge.chain() as chain:
        assert await chain.user_nonce(USER) == 1
        assert await chain.user_nonce(USER, before) == 0
        assert await chain.user_nonce(USER, height) == 1
        assert await chain.user_nonce(USER, receipt["blockHash"]) == 1
        assert await chain.user_nonce(VALIDATORS[0]) == 0
        calls = chain.calls["eth_call"]
        assert await asyncio.gather(*(chain.user_nonce(USER, receipt["blockHash"]) for _ in range(5))) == [1] * 5
        assert chain.calls["eth_call"] == calls


async def test_facts_are_read_once_and_again_after_an_event(bridge: Bridge) -> None:
    stranger = "0x" + "12" * 20
    start = await bridge.anvil.block_number() + 1
    async with bridge.chain() as chain:
        facts, again = await asyncio.gather(chain.facts([*VALIDATORS, stranger]), chain.facts([stranger, *VALIDATORS]))
        assert facts == again
        assert (facts.threshold, facts.validators, facts.validator_count) == (2, VALIDATORS, 3)
        assert (facts.paused, facts.fee_flag, facts.fee_basis) == (False, False, 0)
        assert (facts.max_mint_limit, facts.mint_per_second) == (335_000_000_000, 3_877_300)
        assert facts.current_mint_limit == facts.max_mint_limit
        assert facts.domain == bridge.domain
        read = chain.calls["eth_call"]
        assert facts.minter is True
        assert read == 14
        assert await chain.facts([*VALIDATORS, stranger]) == facts
        assert chain.calls["eth_call"] == read
        assert await chain.is_validator(VALIDATORS[1]) is True
        assert await chain.is_validator(stranger) is False

        newcomer = development_account(7).address.lower()
        await bridge.send(ADMIN, bridge.deployed.mint_controller, selector("addValidator(address)") + newcomer[2:].rjust(64, "0"))
        await bridge.send(ADMIN, bridge.deployed.mint_controller, selector("setSignerThreshold(uint256)") + f"{3:064x}")
        assert (await chain.facts([*VALIDATORS, stranger])).threshold == 2
        head = await bridge.anvil.block_number()
        assert (await chain.window(start, head)).contracts_changed is True
        facts = await chain.facts([*VALIDATORS, stranger])
        assert (facts.threshold, facts.validator_count) == (3, 4)
        assert facts.validators == tuple(sorted([*VALIDATORS, newcomer]))

        read = chain.calls["eth_call"]
        assert (await chain.window(start, head)).contracts_changed is True
        await chain.facts([*VALIDATORS, stranger])
        assert chain.calls["eth_call"] == read
        await bridge.send(ADMIN, bridge.deployed.wpokt, selector("pause()"))
        assert (await chain.facts(VALIDATORS, fresh=True)).paused is True
        start = await bridge.anvil.block_number() + 1
        revoked = selector("revokeRole(bytes32,address)") + MINTER_ROLE[2:] + bridge.deployed.mint_controller[2:].rjust(64, "0")
        await bridge.send(ADMIN, bridge.deployed.wpokt, revoked)
        assert (await chain.window(start, await bridge.anvil.block_number())).contracts_changed is True
        assert (await chain.facts(VALIDATORS)).minter is False


async def test_contracts_that_are_not_there_are_told(bridge: Bridge) -> None:
    nobody = "0x" + "99" * 20
    async with EthereumChain(
        [bridge.anvil.url],
        chain_id=CHAIN_ID,
        wpokt=nobody,
        controller=nobody,
        finality=Finality("latest", 1),
    ) as chain:
        with pytest.raises(MalformedAnswer, match="is the contract deployed"):
            await chain.facts()
        with pytest.raises(MalformedAnswer, match="getUserNonce"):
            await chain.user_nonce(USER)


async def test_simulation(bridge: Bridge) -> None:
    async with bridge.chain() as chain:
        assert await chain.simulate(bridge.mint_data(USER, 10, 1), sender=USER) == "0x"
        for data, reason in (
            (bridge.mint_data(USER, 10**18, 1), "OverMintLimit()"),
            (bridge.mint_data(USER, 10, 2), f"UserNonce({USER}, 2)"),
            (mint_call(USER, 11, 1, bridge.signatures(USER, 10, 1)), "InvalidSignatures()"),
            (mint_call(USER, 10, 1, bridge.signatures(USER, 10, 1)[::-1]), "InvalidSignatures()"),
        ):
            with pytest.raises(RpcRefused) as refused:
                await chain.simulate(data)
            assert refused.value.answered
            assert revert_reason(refused.value.data) == reason


async def test_headers_and_a_reorganisation(bridge: Bridge) -> None:
    await bridge.mint(USER, 1000, 1)
    burn = await bridge.burn(300, POCKET)
    height, block_hash = int(burn["blockNumber"], 16), burn["blockHash"]
    await bridge.anvil.mine(1)
    async with bridge.chain() as chain:
        assert (await chain.header(block_hash)).number == height
        assert (await chain.header(height)).hash == block_hash
        assert (await chain.header(height + 1)).parent_hash == block_hash
        assert await chain.is_canonical(height, block_hash) is True
        assert await chain.agreeing(height, block_hash) == 1
        assert await chain.is_canonical(height + 50, block_hash) is False
        with pytest.raises(NotFound):
            await chain.header("0x" + "12" * 32)
        assert len((await chain.window(height, height)).burns) == 1

        await bridge.anvil.reorg(2)
        head = await chain.head()
        assert head.number == height + 1
        assert await chain.is_canonical(height, block_hash) is False
        assert await chain.agreeing(height, block_hash) == 0
        assert (await chain.window(height, height)).burns == ()
        with pytest.raises(NotFound):
            await chain.receipt_events(burn["transactionHash"])


@pytest.mark.parametrize(
    ("finality", "floor", "behind"),
    [("latest-0", 0, 0), ("latest-3", 0, 3), ("latest-3", 5, 5), ("safe", 0, 2), ("finalized", 0, 4), ("safe", 7, 7)],
)
async def test_finality(finality: str, floor: int, behind: int) -> None:
    async with running_bridge(slots_in_an_epoch=2) as bridge:
        head = await bridge.anvil.mine(10)
        async with bridge.chain(finality=finality, floor=floor) as chain:
            view = await chain.view()
            assert view.final is not None
            assert (view.head.number, view.final.number) == (head, head - behind)
            assert view.final == await chain.header(head - behind)
            assert await chain.final() == view.final


async def test_nothing_is_final_on_a_short_chain(bridge: Bridge) -> None:
    head = await bridge.anvil.block_number()
    async with bridge.chain(finality=f"latest-{head + 1}") as chain:
        assert await chain.final() is None
        await bridge.anvil.mine(1)
        final = await chain.final()
        assert final is not None
        assert final.number == 0


async def test_heads_are_told_when_they_change(bridge: Bridge) -> None:
    async with bridge.chain() as chain, asyncio.timeout(60):
        heads = chain.heads(interval=0.01)
        first = await anext(heads)
        following = asyncio.ensure_future(anext(heads))
        polled = chain.calls["eth_getBlockByNumber"]
        await until(lambda: asyncio.sleep(0, chain.calls["eth_getBlockByNumber"] >= polled + 5))
        assert not following.done()
        await bridge.anvil.mine(2)
        second = await following
        assert second.head.number > first.head.number
        while second.head.number < first.head.number + 2:
            second = await anext(heads)
        assert second.final is not None
        assert second.final.number == second.head.number - 2
        await bridge.anvil.reorg(1)
        third = await anext(heads)
        assert (third.head.number, third.head.hash != second.head.hash) == (second.head.number, True)
        await bridge.anvil.rollback(2)
        while (view := await anext(heads)).head.number != first.head.number:
            pass
        assert view.head == first.head
        await heads.aclose()
