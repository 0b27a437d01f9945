"""The two chains as the scanning loop sees them: windows that adapt, nodes that are behind, where the cursor rests."""

from dataclasses import replace
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from reactor.chains.errors import NotFound
from reactor.chains.ethereum.types import BurnEvent, Head, HeadView, ReceiptEvents
from reactor.chains.ethereum.types import Window as EthereumWindow
from reactor.chains.pocket import NotFound as PocketNotFound
from reactor.chains.pocket import PocketBlock, Window, WindowNotReady, WindowTooLarge
from reactor.documents.events import BlockRef
from reactor.state.rows import EventKind
from scanners.burns import burn_of
from scanners.ethereum import WatchedEthereum
from scanners.loop import View
from scanners.pocket import BLOCKS_AT_ONCE, NEAR_BLOCKS, WatchedPocket
from tests.unit.test_documents_classification import BRIDGE, VAULT
from tests.unit.test_scanner_translations import TX

pytestmark = pytest.mark.unit


class FakePocketChain:
    """A Pocket node that refuses windows of more than `most` blocks and shows nothing above `indexed`."""

    def __init__(self) -> None:
        self.height, self.indexed, self.most = 100, 100, 10**6
        self.received: tuple[Any, ...] = ()
        self.asked: list[tuple[int, int]] = []
        self.second: list[tuple[str, bool]] = []
        self.blocks: list[int] = []
        self.wrong: dict[int, str] = {}

    async def head(self) -> Any:
        return SimpleNamespace(height=self.height)

    async def block(self, height: int) -> PocketBlock:
        self.blocks.append(height)
        return replace(header(height), hash=self.wrong.get(height, header(height).hash))

    async def tx(self, hash_: str) -> Any:
        found = [tx for tx in self.received if tx.hash == hash_]
        if not found:
            raise PocketNotFound("node", "query/tx", "not found")
        return found[0]

    async def tx_with_endpoint(self, hash_: str, *, apart_from: str = "") -> tuple[Any, str]:
        return await self.tx(hash_), "another" if apart_from == "node" else "node"

    async def window(self, address: str, first: int, last: int, *, apart_from: str = "", by_block: bool = False) -> Window:
        assert address == VAULT
        self.asked.append((first, last))
        self.second.append((apart_from, by_block))
        if last - first + 1 > self.most:
            raise WindowTooLarge("node", "accounttxs", "too many pages")
        if first > self.indexed:
            raise WindowNotReady("node", "accounttxs", "behind", self.indexed)
        last = min(last, self.indexed)
        inside = tuple(tx for tx in self.received if first <= tx.height <= last)
        return Window(address, first, last, inside, (), header(last), self.height, "node")


def header(height: int) -> PocketBlock:
    return PocketBlock(height, f"{height:064x}", datetime.fromtimestamp(60 * height, UTC), "localnet", "node")


def reference(height: int) -> BlockRef:
    return BlockRef(height, f"{height:064x}", 60 * height)


@pytest.fixture
def chain() -> FakePocketChain:
    return FakePocketChain()


def pocket(chain: Any) -> WatchedPocket:
    return WatchedPocket(chain, BRIDGE, confirmations=4)


async def test_pocket_finality_is_a_number_of_confirmations_and_never_negative(chain: FakePocketChain) -> None:
    assert await pocket(chain).view() == View(100, 96)
    chain.height = 3
    assert await pocket(chain).view() == View(3, 0)


async def test_pocket_window_holds_deposits_with_their_blocks_and_rests_at_the_final_one(chain: FakePocketChain) -> None:
    chain.received = (replace(TX, height=95), replace(TX, height=99, hash="cd" * 32), replace(TX, height=98, from_address=VAULT))
    reading = await pocket(chain).read(90, 100, 96)
    assert [event.block for event in reading.events[EventKind.DEPOSIT]] == [reference(95), reference(99)]
    assert reading.events[EventKind.RETURNED] == []
    assert (reading.last, reading.rest) == (100, reference(96))


async def test_final_headers_are_asked_for_once_and_others_again(chain: FakePocketChain) -> None:
    watched = pocket(chain)
    chain.received = (replace(TX, height=95), replace(TX, height=99, hash="cd" * 32))
    for _ in range(2):
        await watched.read(90, 100, 96)
    assert (chain.blocks.count(95), chain.blocks.count(96), chain.blocks.count(99)) == (1, 1, 2)


async def block_of_the_deposit(watched: WatchedPocket) -> str:
    ((deposit,), _) = (await watched.read(90, 100, 96)).events.values()
    return deposit.block.hash


async def test_a_header_that_a_node_showed_wrongly_once_is_forgotten_where_it_shows_another_one(chain: FakePocketChain) -> None:
    watched = pocket(chain)
    chain.received = (replace(TX, height=95),)
    chain.wrong = {95: "ee" * 32}
    assert await block_of_the_deposit(watched) == "ee" * 32
    assert await watched.hash_at(95) == "ee" * 32
    chain.wrong = {}
    assert await watched.hash_at(94) == reference(94).hash
    assert await block_of_the_deposit(watched) == "ee" * 32, "nothing says yet that it was wrong"
    assert await watched.hash_at(95) == reference(95).hash
    assert await block_of_the_deposit(watched) == reference(95).hash


@pytest.mark.parametrize("forgets", [True, False])
async def test_whoever_takes_the_chain_anew_has_all_headers_asked_for_again(chain: FakePocketChain, forgets: bool) -> None:
    watched = pocket(chain)
    chain.received = (replace(TX, height=95),)
    chain.wrong = {95: "ee" * 32}
    await block_of_the_deposit(watched)
    chain.wrong = {}
    if forgets:
        watched.forget()
    assert await block_of_the_deposit(watched) == (reference(95).hash if forgets else "ee" * 32)


async def test_where_nothing_of_the_window_is_final_the_cursor_does_not_move(chain: FakePocketChain) -> None:
    assert (await pocket(chain).read(97, 100, 96)).rest is None


async def test_a_node_that_is_not_ready_read_nothing(chain: FakePocketChain) -> None:
    chain.indexed = 96
    reading = await pocket(chain).read(97, 100, 96)
    assert (reading.last, reading.rest) == (96, None)


async def test_windows_shrink_to_what_the_node_bears_and_grow_again(chain: FakePocketChain) -> None:
    watched = pocket(chain)
    chain.most = 10
    reading = await watched.read(1, 100, 96)
    assert chain.asked == [(1, 100), (1, 50), (1, 25), (1, 12), (1, 6)]
    assert (reading.last, reading.rest) == (6, reference(6))
    chain.most = 10**6
    assert (await watched.read(7, 100, 96)).last == 18
    assert (await watched.read(19, 100, 96)).last == 42


async def test_a_single_block_that_is_too_large_is_an_error_not_a_loop(chain: FakePocketChain) -> None:
    chain.most = 0
    with pytest.raises(WindowTooLarge):
        await pocket(chain).read(1, 100, 96)


class FakeEthereumChain:
    """An Ethereum node: heads and empty windows."""

    def __init__(self, final: int | None) -> None:
        self.final = final
        self.behind = False
        self.asked: list[int] = []
        self.apart: list[str] = []
        self.receipts: dict[str, ReceiptEvents] = {}
        self.burns: tuple[BurnEvent, ...] = ()
        self.canonical = True

    async def view(self) -> HeadView:
        return HeadView(head(100), None if self.final is None else head(self.final), "node")

    async def window(self, first: int, last: int, *, apart_from: str = "") -> EthereumWindow:
        if self.behind:
            raise NotFound("no such block")
        self.apart.append(apart_from)
        return EthereumWindow(first, last, self.burns, (), head(last), "node")

    async def receipt_events(self, tx_hash: str, *, apart_from: str = "") -> ReceiptEvents:
        if tx_hash not in self.receipts:
            raise NotFound("no such transaction")
        return replace(self.receipts[tx_hash], endpoint="another" if apart_from == "node" else "node")

    async def is_canonical(self, number: int, block_hash: str) -> bool:
        return self.canonical

    async def header(self, number: int, *, fresh: bool) -> Head:
        assert fresh
        self.asked.append(number)
        return head(number)


def head(number: int) -> Head:
    return Head(number, f"0x{number:064x}", f"0x{number - 1:064x}", 12 * number)


@pytest.mark.parametrize(("final", "rest", "asked"), [(96, 96, []), (100, 100, []), (None, None, [])])
async def test_ethereum_rests_at_the_final_block_of_the_view(final: int | None, rest: int | None, asked: list[int]) -> None:
    chain = FakeEthereumChain(final)
    watched = WatchedEthereum(chain, BRIDGE)  # type: ignore[arg-type]
    view = await watched.view()
    assert view == View(100, final or 0)
    reading = await watched.read(90, 100, view.final)
    assert (reading.last, reading.rest) == (100, rest and BlockRef(rest, f"0x{rest:064x}", 12 * rest))
    assert chain.asked == asked


async def test_ethereum_asks_for_a_header_only_where_it_has_none() -> None:
    chain = FakeEthereumChain(96)
    watched = WatchedEthereum(chain, BRIDGE)  # type: ignore[arg-type]
    await watched.view()
    assert (await watched.read(50, 60, 96)).rest == BlockRef(60, f"0x{60:064x}", 720)
    assert chain.asked == []
    assert (await watched.read(50, 100, 95)).rest == BlockRef(95, f"0x{95:064x}", 1140)
    assert chain.asked == [95]


async def test_the_final_block_of_a_view_of_the_old_chain_is_asked_for_again() -> None:
    chain = FakeEthereumChain(96)
    watched = WatchedEthereum(chain, BRIDGE)  # type: ignore[arg-type]
    await watched.view()
    watched.forget()
    assert (await watched.read(90, 100, 96)).rest == BlockRef(96, f"0x{96:064x}", 1152)
    assert chain.asked == [96]


async def test_an_ethereum_node_behind_the_one_that_told_the_head_read_nothing() -> None:
    chain = FakeEthereumChain(96)
    chain.behind = True
    reading = await WatchedEthereum(chain, BRIDGE).read(90, 100, 96)  # type: ignore[arg-type]
    assert (reading.last, reading.rest) == (89, None)


# --- the second reading


async def test_pocket_is_read_again_by_block_near_the_head_and_from_a_list_farther_back(chain: FakePocketChain) -> None:
    chain.height = chain.indexed = 1000
    watched = pocket(chain)
    await watched.read(1, 1000, 996)
    chain.asked.clear()
    chain.second.clear()
    far, near = 996 - NEAR_BLOCKS, 997 - NEAR_BLOCKS
    assert (await watched.read_again(1, 996, 996)).last == 996
    assert (await watched.read_again(far, 996, 996)).last == 996
    assert (await watched.read_again(near, 996, 996)).last == near + BLOCKS_AT_ONCE - 1
    reading = await watched.read_again(5, 5, 996, ["ab" * 32])
    assert chain.second == [("node", False), ("node", False), ("node", True), ("node", True)]
    assert chain.asked == [(1, 996), (far, 996), (near, near + BLOCKS_AT_ONCE - 1), (5, 5)]
    assert (reading.last, reading.rest, reading.endpoint, reading.before, reading.sends_only) == (5, None, "node", "node", True)


async def test_pocket_shows_the_same_events_again_with_their_blocks(chain: FakePocketChain) -> None:
    chain.received = (replace(TX, height=95), replace(TX, height=96, hash="cd" * 32))
    watched = pocket(chain)
    first = await watched.read(90, 96, 96)
    again = await watched.read_again(90, 96, 96)
    assert again.events == first.events
    assert [one.block for one in again.events[EventKind.DEPOSIT]] == [reference(95), reference(96)]
    assert (await watched.locate(TX.hash), await watched.locate("ef" * 32)) == (95, None)


async def test_another_endpoint_shows_exactly_the_same_deposit_or_none(chain: FakePocketChain) -> None:
    chain.received = (replace(TX, height=95),)
    watched = pocket(chain)
    (deposit,) = (await watched.read(90, 96, 96)).events[EventKind.DEPOSIT]
    assert await watched.shown_by(deposit, "node") == "another"
    for changed in ({"amount": 7}, {"index": 9}, {"sender": "ee" * 20}, {"block": reference(96)}, {"tx_hash": "ef" * 32}):
        assert (changed, await watched.shown_by(replace(deposit, **changed), "node")) == (changed, None)


async def test_pockets_second_windows_shrink_too_and_a_node_that_lags_read_nothing(chain: FakePocketChain) -> None:
    chain.height = chain.indexed = 1000
    watched = pocket(chain)
    chain.most = 10
    assert (await watched.read_again(1, 400, 1000)).last == 7
    chain.most = 0
    with pytest.raises(WindowTooLarge):
        await watched.read_again(1, 400, 1000)
    chain.indexed = 0
    chain.most = 10**6
    assert (await watched.read_again(1, 400, 1000)).last == 0


BURN = BurnEvent("0x" + "11" * 20, "0x" + "ab" * 32, 0, 3, 55, "0x" + f"{55:064x}", 660, "0x" + "99" * 20, "bb" * 20, 1_000_000)


def receipt(*burns: BurnEvent, number: int = 55) -> ReceiptEvents:
    return ReceiptEvents(BURN.tx_hash, True, number, f"0x{number:064x}", 12 * number, burns, ())


async def test_ethereum_is_read_again_apart_from_who_answered() -> None:
    chain = FakeEthereumChain(96)
    watched = WatchedEthereum(chain, BRIDGE)  # type: ignore[arg-type]
    await watched.read(50, 60, 96)
    reading = await watched.read_again(50, 60, 96)
    assert chain.apart == ["", "node"]
    assert (reading.last, reading.rest, reading.endpoint, reading.before, reading.sends_only) == (60, None, "node", "node", False)
    chain.behind = True
    assert (await watched.read_again(50, 60, 96)).last == 49


@pytest.mark.parametrize(
    ("logs", "shown", "canonical", "found"),
    [
        ((), receipt(BURN), True, [0]),
        ((BURN,), receipt(BURN), True, [0]),
        ((BURN,), receipt(BURN, replace(BURN, burn_index=1, log_index=4)), True, [0, 1]),
        # The logs lack the first one and so give the second its index.
        ((replace(BURN, log_index=4),), receipt(BURN, replace(BURN, burn_index=1, log_index=4)), True, [0, 1]),
        ((), receipt(BURN), False, []),
        ((), receipt(replace(BURN, block_number=56), number=56), True, []),
        ((), receipt(), True, []),
    ],
    ids=[
        "hidden",
        "in both",
        "one of two hidden",
        "the first of two hidden",
        "a block that is gone",
        "in another block",
        "none of ours",
    ],
)
async def test_a_receipt_shows_what_the_logs_lack(
    logs: tuple[BurnEvent, ...], shown: ReceiptEvents, canonical: bool, found: list[int]
) -> None:
    chain = FakeEthereumChain(96)
    chain.burns, chain.receipts, chain.canonical = logs, {BURN.tx_hash: shown}, canonical
    watched = WatchedEthereum(chain, BRIDGE)  # type: ignore[arg-type]
    reading = await watched.read_again(55, 55, 96, [BURN.tx_hash])
    assert [one.burn_index for one in reading.events[EventKind.BURN]] == found
    assert (await watched.locate(BURN.tx_hash), await watched.locate("0x" + "ee" * 32)) == (shown.block_number, None)


async def test_another_endpoint_shows_exactly_the_same_burn_or_none() -> None:
    chain = FakeEthereumChain(96)
    chain.receipts = {BURN.tx_hash: receipt(BURN)}
    watched = WatchedEthereum(chain, BRIDGE)  # type: ignore[arg-type]
    burn = burn_of(BURN)
    assert await watched.shown_by(burn, "node") == "another"
    elsewhere = BlockRef(55, "0x" + "cc" * 32, burn.block.time)
    for changed in (
        {"amount": 7},
        {"burn_index": 1},
        {"recipient": "ee" * 20},
        {"block": elsewhere},
        {"tx_hash": "0x" + "ef" * 32},
    ):
        assert (changed, await watched.shown_by(replace(burn, **changed), "node")) == (changed, None)
