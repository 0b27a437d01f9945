"""The client's windows: complete whatever the node's order, filter and page size; refused where it lags or contradicts itself."""

import json
from typing import Any

import pytest
from aiohttp import web
from pocket_client_helpers import USER, VAULT, Entry, Node, client_of, client_of_node, refuse, reply, send, served_node, serving

from reactor.chains.pocket import (
    PocketChain,
    RpcUnavailable,
    WindowNotReady,
    WindowTooLarge,
    tx_hash,
)
from reactor.chains.pocket.morse import history
from reactor.chains.pocket.morse.client import MAX_BLOCKS

pytestmark = pytest.mark.integration

node, chain = served_node, client_of_node


def history_of(heights: range) -> list[Entry]:
    entries = [Entry(send(height), height, 1) for height in heights]
    entries += [Entry(send(-height), height, 0) for height in heights if height % 2]
    entries += [Entry(send(height, VAULT, USER), height, 2, VAULT, USER) for height in heights if height % 3 == 0]
    return entries


@pytest.mark.parametrize("honours_height", [True, False])
@pytest.mark.parametrize("order", ["oldest", "newest", "shuffled"])
@pytest.mark.parametrize(("page_size", "page_cap"), [(1, 1000), (3, 1000), (10, 4), (1000, 1000)])
async def test_windows_do_not_rely_on_order_filter_or_page_size(
    node: Node, honours_height: bool, order: str, page_size: int, page_cap: int
) -> None:
    if order == "shuffled":
        page_size = max(page_size, 3)  # disorder shows only within a page
    node.honours_height, node.page_cap = honours_height, page_cap
    node.newest_first, node.shuffled = order == "newest", order == "shuffled"
    node.entries = history_of(range(1, 41))
    async with client_of(node, page_size=page_size) as chain:
        for low, high in [(1, 40), (1, 1), (10, 20), (40, 99), (35, 36), (41, 50), (12, 12)]:
            window = await chain.window(VAULT, low, high)
            for found, key in ((window.received, "recipient"), (window.sent, "sender")):
                wanted = [e for e in node.entries if getattr(e, key) == VAULT and low <= e.height <= high]
                wanted.sort(key=lambda entry: (entry.height, entry.index))
                assert [tx.hash for tx in found] == [tx_hash(entry.raw) for entry in wanted]
            assert (window.from_height, window.to_height, window.last_block.height) == (low, high, high)
            assert (window.endpoint, window.last_block.endpoint, window.head) == ("node0", "node0", 100)


async def test_a_window_at_the_end_of_a_long_history_costs_few_calls(node: Node) -> None:
    node.entries = [Entry(send(height), height, 0) for height in range(1, 91)]
    async with client_of(node, page_size=3) as chain:
        await chain.window(VAULT, 88, 90)
        assert chain.calls == {"query/block": 2, "query/height": 1, "query/balance": 1, "query/accounttxs": 2}
        node.honours_height = False
        chain.calls.clear()
        assert len((await chain.window(VAULT, 88, 90)).received) == 3
        assert chain.calls["query/accounttxs"] <= 5
        chain.calls.clear()
        assert len((await chain.window(VAULT, 40, 41)).received) == 2
        assert chain.calls["query/accounttxs"] <= 10


@pytest.mark.parametrize("newest_first", [False, True])
async def test_transactions_that_arrive_while_reading_lose_none(node: Node, newest_first: bool) -> None:
    node.newest_first = newest_first
    node.entries = history_of(range(1, 21))
    wanted = [e for e in node.entries if e.recipient == VAULT]

    def grow(body: dict[str, Any]) -> None:
        node.entries.append(Entry(send(1000 + len(node.entries)), 60, len(node.entries)))

    node.override["query/accounttxs"] = grow
    async with client_of(node, page_size=3) as chain:
        window = await chain.window(VAULT, 1, 50)
    assert {tx.hash for tx in window.received} == {tx_hash(entry.raw) for entry in wanted}


async def test_a_node_that_lags_does_not_count(node: Node) -> None:
    node.entries = [Entry(send(1), 100, 0)]
    behind = Node(height=98)
    async with serving(behind), client_of(behind, node) as chain:
        window = await chain.window(VAULT, 90, 99)
        assert window.endpoint == "node1"
    async with serving(behind), client_of(behind) as chain:
        with pytest.raises(WindowNotReady) as caught:
            await chain.window(VAULT, 90, 99)
        assert caught.value.readable_to == 98
        node_block = behind.on_query_block
        behind.height = 99
        behind.override["query/block"] = lambda body: (
            refuse("height 99 must be less than or equal to the current blockchain height 98")
            if body["height"] == 99
            else node_block(body)
        )
        with pytest.raises(WindowNotReady, match="current blockchain height"):
            await chain.window(VAULT, 90, 99)


async def test_the_head_is_read_when_it_is_indexed(node: Node, chain: PocketChain) -> None:
    node.entries = [Entry(send(1), 100, 0), Entry(send(2, VAULT, USER), 100, 1, VAULT, USER)]
    window = await chain.window(VAULT, 100, 100)
    assert (window.to_height, len(window.received), len(window.sent)) == (100, 1, 1)


@pytest.mark.parametrize("raw", [send(7), send(7, VAULT, USER)])
async def test_a_head_that_is_not_indexed_is_left_out(node: Node, chain: PocketChain, raw: bytes) -> None:
    node.entries = [Entry(send(1), 99, 0), Entry(send(2), 100, 0)]
    node.unindexed = [raw]
    window = await chain.window(VAULT, 90, 100)
    assert (window.to_height, window.last_block.height) == (99, 99)
    assert [tx.height for tx in window.received] == [99]
    with pytest.raises(WindowNotReady) as caught:
        await chain.window(VAULT, 100, 100)
    assert caught.value.readable_to == 99
    node.height = 101
    node.unindexed = []
    assert (await chain.window(VAULT, 90, 100)).to_height == 100


async def test_foreign_transactions_in_the_head_do_not_hold_it_up(node: Node, chain: PocketChain) -> None:
    node.unindexed = [send(7, USER, "cc" * 20), b"\x03abc", b""]
    assert (await chain.window(VAULT, 90, 100)).to_height == 100


async def test_pages_that_contradict_each_other_are_not_believed(node: Node) -> None:
    node.entries = history_of(range(1, 21))
    original = node.on_query_accounttxs

    def lossy(body: dict[str, Any]) -> web.Response | None:
        answer = json.loads(original(body).text or "")
        if body["page"] == 2:
            answer["txs"] = answer["txs"][:-1]
        return reply(answer)

    def shrinking(body: dict[str, Any]) -> web.Response | None:
        answer = json.loads(original(body).text or "")
        answer["total_txs"] -= body["page"]
        return reply(answer)

    def hollow(body: dict[str, Any]) -> web.Response | None:
        return reply({"page_count": 0, "total_txs": 5, "txs": []})

    for trick in (lossy, shrinking, hollow):
        node.override["query/accounttxs"] = trick
        async with client_of(node) as chain:
            with pytest.raises(RpcUnavailable, match="do not add up"):
                await chain.window(VAULT, 1, 50)


async def test_windows_are_bounded(node: Node, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(history, "MAX_PAGES", 3)
    node.entries = history_of(range(1, 21))
    async with client_of(node) as chain:
        with pytest.raises(WindowTooLarge):
            await chain.window(VAULT, 1, 50)
        assert len((await chain.window(VAULT, 19, 50)).received) == 3
        for low, high in [(0, 5), (6, 5)]:
            with pytest.raises(ValueError, match="window"):
                await chain.window(VAULT, low, high)


# --- the second reading -----------------------------------------------------------------------------------------------


async def test_a_second_reading_asks_another_endpoint_where_there_is_one(node: Node) -> None:
    """The first hides a deposit; asked apart from it, the second shows it, and alone it must answer itself."""
    other = Node(entries=[Entry(send(1), 7, 0)])
    async with serving(other), client_of(node, other) as chain:
        first = await chain.window(VAULT, 1, 10)
        assert (first.endpoint, first.received) == ("node0", ())
        second = await chain.window(VAULT, 1, 10, apart_from=first.endpoint)
        assert (second.endpoint, [tx.hash for tx in second.received]) == ("node1", [tx_hash(send(1))])
        other.height = 5
        again = await chain.window(VAULT, 1, 10, apart_from=first.endpoint)
        assert again.endpoint == "node0", "the other has not come so far"
    async with client_of(node) as alone:
        assert (await alone.window(VAULT, 1, 10, apart_from="node0")).endpoint == "node0"


async def test_read_by_block_a_window_is_what_the_list_shows(node: Node, chain: PocketChain) -> None:
    for height in range(1, 21):
        node.entries += [Entry(send(height), height, 0), Entry(send(100 + height, USER, USER), height, 1, USER, USER)]
        node.entries += [Entry(send(height, VAULT, USER), height, 2, VAULT, USER), Entry(send(-height), height, 3)]
    node.entries.append(Entry(b"\x05junk", 8, 4))
    by_list = await chain.window(VAULT, 5, 15)
    by_block = await chain.window(VAULT, 5, 15, by_block=True)
    junk = tx_hash(b"\x05junk")
    assert by_block.received == tuple(tx for tx in by_list.received if tx.hash != junk)
    assert by_block.sent == by_list.sent
    assert (len(by_block.received), len(by_block.sent)) == (22, 11)
    assert (by_block.last_block, by_block.from_height, by_block.to_height) == (by_list.last_block, 5, 15)


async def test_read_by_block_nothing_that_the_list_lacks_is_missed(node: Node, chain: PocketChain) -> None:
    node.entries = [Entry(send(1), 7, 0), Entry(send(2, VAULT, USER), 8, 0, VAULT, USER)]
    node.override["query/accounttxs"] = lambda body: reply({"page_count": 0, "total_txs": 0, "txs": []})
    assert (await chain.window(VAULT, 1, 10)).received == ()
    window = await chain.window(VAULT, 1, 10, by_block=True)
    assert [tx.hash for tx in window.received] == [tx_hash(send(1))]
    assert [tx.hash for tx in window.sent] == [tx_hash(send(2, VAULT, USER))]


async def test_read_by_block_a_transaction_that_is_not_indexed_has_done_nothing(node: Node, chain: PocketChain) -> None:
    node.unindexed = [send(1)]
    window = await chain.window(VAULT, 100, 100, by_block=True)
    assert (window.received, window.to_height) == ((), 100)


async def test_read_by_block_a_window_ends_after_so_many_blocks(node: Node, chain: PocketChain) -> None:
    window = await chain.window(VAULT, 1, 100, by_block=True)
    assert (window.to_height, window.last_block.height) == (MAX_BLOCKS, MAX_BLOCKS)
    assert chain.calls["query/block"] == MAX_BLOCKS + 1, "the check of the chain beside them"


async def test_read_by_block_bytes_in_several_places_count_where_they_were_executed(node: Node, chain: PocketChain) -> None:
    """They failed in block 5, took effect in block 7, and were refused as a duplicate later in that block and in block 9."""
    done = Entry(send(1), 7, 0)
    node.entries = [Entry(send(1), 5, 0), done, Entry(send(1), 7, 1), Entry(send(1), 9, 0)]
    node.override["query/tx"] = lambda body: reply(done.shown())
    window = await chain.window(VAULT, 1, 10, by_block=True)
    assert [(tx.height, tx.index) for tx in window.received] == [(7, 0)]


async def test_a_window_that_the_node_cannot_show_is_not_ready_by_block_either(node: Node, chain: PocketChain) -> None:
    with pytest.raises(WindowNotReady) as caught:
        await chain.window(VAULT, 90, 101, by_block=True)
    assert caught.value.readable_to == 100
    node.override["query/balance"] = lambda body: refuse("wanted to load target 100") if body["height"] == 100 else None
    assert (await chain.window(VAULT, 90, 100, by_block=True)).to_height == 99
