"""The development node misbehaving on demand, and only then."""

import asyncio
import json
import time

import aiohttp
import pytest
from pocket_node_helpers import ALICE, BOB, ask, entropies, http_session, rawtx, rich_node, step_with

from infra.localnet.pocket import (
    AbciLogging,
    DropConnection,
    EmptyAccountTxs,
    EmptyAnswer,
    GatewayError,
    Genesis,
    Hang,
    HideTransactions,
    HtmlPage,
    IndexLag,
    LoseSubmitted,
    Misbehaviour,
    OldNode,
    PocketNode,
    QuotedAnswer,
    RejectSubmits,
    ServerError,
    Slow,
    StaleHeight,
    WrongChainId,
)
from infra.localnet.pocket.wallet import tx_hash

pytestmark = pytest.mark.integration

node, http = rich_node, http_session
SPOILT = [
    pytest.param(ServerError(), 503, "upstream request timeout\n", id="5xx"),
    pytest.param(ServerError(status=500, body="boom"), 500, "boom", id="500"),
    pytest.param(HtmlPage(), 200, "<!DOCTYPE html>", id="html"),
    pytest.param(HtmlPage(status=502), 502, "<!DOCTYPE html>", id="html 502"),
    pytest.param(EmptyAnswer(), 200, "", id="empty"),
    pytest.param(GatewayError(), 200, '{"error":{"code":-32098,"message":"relay', id="gateway"),
    pytest.param(QuotedAnswer(), 200, '"{\\"height\\":1}\\n"', id="quoted"),
]


@pytest.mark.parametrize(("switch", "status", "text"), SPOILT)
async def test_spoilt_answers(
    node: PocketNode, http: aiohttp.ClientSession, switch: Misbehaviour, status: int, text: str
) -> None:
    with node.misbehaving(switch):
        answer = await ask(http, node, "query/height")
        assert answer.status == status
        assert answer.text.startswith(text)
        assert bool(answer.text) == bool(text)
        # Control is never spoilt.
        assert (await ask(http, node, "/dev/state", method="GET")).status == 200
    assert (await ask(http, node, "query/height")).json == {"height": 1}


async def test_faults_count_down_and_choose_their_paths(node: PocketNode, http: aiohttp.ClientSession) -> None:
    node.misbehave(ServerError(paths=("query/tx", "query/block"), times=2))
    assert (await ask(http, node, "query/height")).status == 200
    assert [(await ask(http, node, "query/block")).status for _ in range(3)] == [503, 503, 200]


async def test_hanging_ends_with_the_client_or_the_switch(node: PocketNode, http: aiohttp.ClientSession) -> None:
    node.misbehave(Hang())
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.1):
            await ask(http, node, "query/height")
    waiting = asyncio.create_task(ask(http, node, "query/height"))
    node.step()
    done, _ = await asyncio.wait([waiting], timeout=0.1)
    assert not done
    node.behave("hang")
    assert (await waiting).json == {"height": 2}


async def test_an_answer_can_be_lost_after_the_deed(node: PocketNode, http: aiohttp.ClientSession) -> None:
    for switch in (Hang(after=True), DropConnection(after=True)):
        raw = ALICE.send(BOB.address, 1)
        with node.misbehaving(switch):
            asking = asyncio.create_task(rawtx(http, node, raw))
            async with asyncio.timeout(60):
                while tx_hash(raw).upper() not in node.dump()["mempool"]:  # noqa: ASYNC110 - the node does not signal
                    await asyncio.sleep(0.01)
            if isinstance(switch, Hang):
                assert not (await asyncio.wait([asking], timeout=0.1))[0]
                asking.cancel()
            with pytest.raises((asyncio.CancelledError, aiohttp.ClientError)):
                await asking
        node.step()
    raw = ALICE.send(BOB.address, 1)
    with node.misbehaving(DropConnection()), pytest.raises(aiohttp.ClientError):
        await rawtx(http, node, raw)
    assert node.dump()["mempool"] == []


async def test_slow_answers_come(node: PocketNode, http: aiohttp.ClientSession) -> None:
    node.misbehave(Slow(seconds=0.05, times=1))
    started = time.monotonic()
    assert (await ask(http, node, "query/height")).json == {"height": 1}
    assert time.monotonic() - started >= 0.05


async def test_a_wrong_chain_id_is_shown(node: PocketNode, http: aiohttp.ClientSession) -> None:
    with node.misbehaving(WrongChainId("mainnet")):
        assert (await ask(http, node, "query/block")).json["block"]["header"]["chain_id"] == "mainnet"
    assert (await ask(http, node, "query/block")).json["block"]["header"]["chain_id"] == "localnet"


async def test_a_stale_node_stands_still_with_all_it_shows(node: PocketNode, http: aiohttp.ClientSession) -> None:
    (hash_,) = step_with(node, ALICE.send(BOB.address, 5))
    node.step()
    for switch in (StaleHeight(behind=2), StaleHeight(height=1)):
        with node.misbehaving(switch):
            assert (await ask(http, node, "query/height")).json == {"height": 1}
            assert (await ask(http, node, "query/block")).json["block"]["header"]["height"] == "1"
            assert (await ask(http, node, "query/block", {"height": 2})).status == 400
            assert (await ask(http, node, "query/tx", {"hash": hash_})).status == 400
            assert await entropies(http, node, address=BOB.address, received=True) == []
            assert (await ask(http, node, "query/balance", {"address": BOB.address})).json == {"balance": 0}
    assert (await ask(http, node, "query/tx", {"hash": hash_})).status == 200
    with node.misbehaving(StaleHeight(behind=99)):
        assert (await ask(http, node, "query/height")).json == {"height": 1}


@pytest.mark.parametrize("switch", [IndexLag(blocks=1), IndexLag(seconds=3600)])
async def test_the_height_runs_ahead_of_the_index(node: PocketNode, http: aiohttp.ClientSession, switch: IndexLag) -> None:
    node.misbehave(switch)
    (hash_,) = step_with(node, ALICE.send(BOB.address, 5))
    assert (await ask(http, node, "query/height")).json == {"height": 2}
    assert len((await ask(http, node, "query/block")).json["block"]["data"]["txs"]) == 1
    assert (await ask(http, node, "query/tx", {"hash": hash_})).status == 400
    assert await entropies(http, node, address=BOB.address, received=True) == []
    if switch.blocks:
        node.step()
    else:
        node.misbehave(IndexLag(seconds=0))
    assert (await ask(http, node, "query/tx", {"hash": hash_})).status == 200


@pytest.mark.parametrize("cached", [False, True])
async def test_a_submitted_transaction_is_lost(node: PocketNode, http: aiohttp.ClientSession, cached: bool) -> None:
    node.misbehave(LoseSubmitted(times=1, cached=cached))
    raw = ALICE.send(BOB.address, 1)
    assert (await rawtx(http, node, raw)).json == {"logs": None, "txhash": tx_hash(raw).upper()}
    node.step()
    assert node.find(tx_hash(raw)) is None
    again = await rawtx(http, node, raw)
    assert again.status == (400 if cached else 200)
    node.step()
    assert (node.find(tx_hash(raw)) is None) is cached


async def test_the_next_submissions_are_refused(node: PocketNode, http: aiohttp.ClientSession) -> None:
    node.misbehave(RejectSubmits(times=2, codespace="auth", code=4, message="no"))
    raw = ALICE.send(BOB.address, 1)
    codes = [(await rawtx(http, node, raw)).json.get("code") for _ in range(3)]
    assert codes == [4, 4, None]


async def test_abci_logging(node: PocketNode, http: aiohttp.ClientSession) -> None:
    node.misbehave(AbciLogging())
    answer = (await rawtx(http, node, ALICE.send(BOB.address, 1))).json
    event = '{"type":"message","attributes":[{"key":"action","value":"send"}]}'
    assert answer["raw_log"] == f'[{{"msg_index":0,"success":true,"log":"","events":[{event}]}}]'
    assert answer["logs"] == json.loads(answer["raw_log"])
    refused = (await rawtx(http, node, ALICE.send(BOB.address, 0))).json
    assert refused["logs"] is None


async def test_an_empty_history_and_an_old_node(node: PocketNode, http: aiohttp.ClientSession) -> None:
    step_with(node, ALICE.send(BOB.address, 1, entropy=1))
    with node.misbehaving(EmptyAccountTxs()):
        assert await entropies(http, node, address=BOB.address, received=True) == []
    assert await entropies(http, node, address=BOB.address, received=True, height=9) == []
    with node.misbehaving(OldNode()):
        assert await entropies(http, node, address=BOB.address, received=True, height=9) == [1]
        missing = await ask(http, node, "query/unconfirmedtxs")
        assert (missing.status, missing.text) == (404, "404 page not found\n")
        assert (await rawtx(http, node, ALICE.send(BOB.address, 1))).json["height"] == "0"


async def test_two_nodes_on_one_chain_misbehave_apart(node: PocketNode, http: aiohttp.ClientSession) -> None:
    async with PocketNode(chain=node.chain) as other:
        other.misbehave(StaleHeight(behind=1))
        raw = ALICE.send(BOB.address, 1)
        assert (await rawtx(http, other, raw)).json["txhash"] == tx_hash(raw).upper()
        node.step()
        heights = [(await ask(http, one, "query/height")).json["height"] for one in (node, other)]
        assert heights == [2, 1]
    assert (await ask(http, node, "query/tx", {"hash": tx_hash(raw)})).status == 200
    with pytest.raises(ValueError, match="shared chain"):
        PocketNode(Genesis(), chain=node.chain)


async def test_a_hidden_transaction_is_missing_in_the_history_alone(node: PocketNode, http: aiohttp.ClientSession) -> None:
    raws = [ALICE.send(BOB.address, 10, entropy=number) for number in (1, 2, 3)]
    hashes = step_with(node, *raws)
    lists = [{"address": ALICE.address, "received": False}, {"address": BOB.address, "received": True}]
    with node.misbehaving(HideTransactions((hashes[1].lower(),))):
        for body in lists:
            assert await entropies(http, node, **body) == [1, 3]
            assert await entropies(http, node, **body, page=2, per_page=1) == [3], "pages are cut from what is shown"
        assert await entropies(http, node, "query/blocktxs", height=2) == [1, 2, 3]
        assert (await ask(http, node, "query/tx", {"hash": hashes[1]})).json["height"] == 2
        assert len((await ask(http, node, "query/block", {"height": 2})).json["block"]["data"]["txs"]) == 3
    for body in lists:
        assert await entropies(http, node, **body) == [1, 2, 3]
