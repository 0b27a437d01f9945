"""The development node under control: the `/dev` interface, its timer, its process, a long history."""

import asyncio
import contextlib
import json
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from pocket_node_helpers import ALICE, BOB, RICH, ROOT, VAULT, ask, http_session, rawtx, rich_node, step_with

from infra.localnet.pocket import LoseMempool, PocketNode, RefuseUntilBlock, Submission
from infra.localnet.pocket.misbehaviour import MISBEHAVIOUR
from infra.localnet.pocket.wallet import tx_hash

pytestmark = pytest.mark.integration

node, http = rich_node, http_session


# --- control ---------------------------------------------------------------------------------------------------------


async def test_control_equals_the_methods(node: PocketNode, http: aiohttp.ClientSession) -> None:
    async def control(name: str, **body: Any) -> Any:
        answer = await ask(http, node, f"/dev/{name}", body)
        assert answer.status == 200, answer.text
        return answer.json

    assert await control("step") == {"height": 2}
    assert await control("step", blocks=3) == {"height": 5}
    assert await control("fund", address=BOB.address, amount=str(RICH)) == {"balance": str(RICH)}
    assert await control("fund", address=BOB.address, amount=1) == {"balance": str(RICH + 1)}
    raw = ALICE.send(BOB.address, 2 * RICH)
    assert await control("inject", raw_hex_bytes=raw.hex()) == {"hash": tx_hash(raw).upper()}
    await control("step")
    found = node.find(tx_hash(raw))
    assert found is not None
    assert found.result.code == 10
    waiting = [node.submit(ALICE.send(BOB.address, 1)).hash for _ in range(3)]
    assert await control("drop", hash=waiting[1].lower()) == {"dropped": [waiting[1]]}
    assert await control("drop", hash=waiting[1]) == {"dropped": []}
    assert await control("drop") == {"dropped": [waiting[0], waiting[2]]}
    shown = await control("misbehave", kind="stale_height", behind=4)
    assert shown["misbehaviours"] == [{"kind": "stale_height", "behind": 4, "height": 0}]
    await control("misbehave", kind="server_error", times=1, paths=["query/tx"])
    assert [switch.kind for switch in node.behaviour.active()] == ["stale_height", "server_error"]
    assert len((await control("behave", kinds=["stale_height"]))["misbehaviours"]) == 1
    assert await control("behave") == {"misbehaviours": []}
    state = (await ask(http, node, "/dev/state", method="GET")).json
    assert (state["height"], state["mempool"], state["balances"][BOB.address]) == (6, [], str(RICH + 1))
    assert state == node.dump()


@pytest.mark.parametrize(
    ("name", "body", "message"),
    [
        ("step", {"blocks": 0}, "blocks"),
        ("step", {"blocks": True}, "blocks"),
        ("step", [], "JSON object"),
        ("fund", {"address": "ab", "amount": 1}, "address"),
        ("fund", {"address": "ab" * 20}, "amount"),
        ("fund", {"address": "ab" * 20, "amount": -1}, "cannot pay"),
        ("inject", {"raw_hex_bytes": "xy"}, "hexadecimal"),
        ("misbehave", {"kind": "rude"}, "rude"),
        ("misbehave", {"kind": "slow", "second": 1}, "second"),
        ("misbehave", {"kind": "lose_submitted", "times": 0}, "greater than 0"),
        ("behave", {"kinds": "slow"}, "kinds"),
        ("restart", {"seconds": -1}, "seconds"),
        ("restart", {"seconds": "1"}, "seconds"),
    ],
)
async def test_control_refuses(node: PocketNode, http: aiohttp.ClientSession, name: str, body: Any, message: str) -> None:
    answer = await ask(http, node, f"/dev/{name}", body)
    assert answer.status == 400
    assert message in answer.json["error"]
    assert node.dump()["misbehaviours"] == []


def test_every_switch_is_in_the_readme() -> None:
    readme = (ROOT / "infra" / "localnet" / "pocket" / "README.md").read_text()
    kinds = MISBEHAVIOUR.json_schema()["discriminator"]["mapping"]
    assert len(kinds) == 19
    for kind in kinds:
        assert f"`{kind}`" in readme


# --- life ------------------------------------------------------------------------------------------------------------


async def test_the_timer_makes_blocks_in_real_time() -> None:
    began = time.time()
    async with PocketNode(block_time=0.02) as node:
        raw = ALICE.send(BOB.address, 1)
        node.fund(ALICE.address, RICH)
        node.submit(raw)
        await node.wait_for_height(4)
        assert node.find(tx_hash(raw)) is not None
        # Of a clock that the node rounds down to seconds, or runs ahead of by a block each.
        assert began - 1 <= node.chain.block(3).time.timestamp() <= time.time() + 3
    height = node.height
    with pytest.raises(TimeoutError):
        await node.wait_for_height(height + 1, seconds=0.1)


async def test_a_node_comes_back_at_its_port(http: aiohttp.ClientSession) -> None:
    node = PocketNode()
    with pytest.raises(RuntimeError, match="start it first"):
        _ = node.url
    await node.start()
    url = node.url
    node.step()
    await node.stop()
    assert not node.running
    with pytest.raises(aiohttp.ClientError):
        await ask(http, node, "query/height")
    await node.start()
    assert node.url == url
    assert (await ask(http, node, "query/height")).json == {"height": 2}
    await node.close()


async def start_process(*arguments: str) -> tuple[asyncio.subprocess.Process, dict[str, Any]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "infra.localnet.pocket", "--port", "0", *arguments, cwd=ROOT, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdout is not None
    async with asyncio.timeout(60):
        return process, json.loads(await process.stdout.readline())


async def test_the_process_survives_a_kill(tmp_path: Path) -> None:
    genesis = tmp_path / "genesis.json"
    genesis.write_text(json.dumps({"chain_id": "other", "balances": {ALICE.address: RICH}}))
    arguments = ("--chain-id", "localnet", "--block-time", "0.02", "--genesis", str(genesis), "--state", str(tmp_path / "state"))
    process, hello = await start_process(*arguments)
    try:
        assert hello["chain_id"] == "localnet"
        hash_ = await ALICE.pay(hello["url"], BOB.address, 5)
        async with aiohttp.ClientSession() as session, asyncio.timeout(60):
            while True:
                async with session.post(hello["url"] + "/v1/query/tx", json={"hash": hash_}) as answer:
                    if answer.status == 200:
                        break
    finally:
        process.kill()
        await process.wait()
    process, hello = await start_process(*arguments)
    try:
        async with (
            aiohttp.ClientSession() as session,
            session.post(hello["url"] + "/v1/query/tx", json={"hash": hash_}) as answer,
        ):
            assert answer.status == 200
    finally:
        process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(60):
            assert await process.wait() == 0


async def test_a_bad_genesis_ends_the_process(tmp_path: Path) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        *("-m", "infra.localnet.pocket", "--port", "0", "--genesis", str(tmp_path / "none.json")),
        cwd=ROOT,
        stderr=asyncio.subprocess.PIPE,
    )
    async with asyncio.timeout(60):
        _, errors = await process.communicate()
    assert process.returncode == 1
    assert b"none.json" in errors
    assert b"Traceback" not in errors


class Counted(list[Any]):
    """A list that counts how many of its items were asked for."""

    touched = 0

    def __getitem__(self, where: Any) -> Any:
        found = super().__getitem__(where)
        self.touched += len(found) if isinstance(where, slice) else 1
        return found

    def __iter__(self) -> Iterator[Any]:
        for one in super().__iter__():
            self.touched += 1
            yield one


async def test_ten_thousand_transactions_page_quickly(node: PocketNode, http: aiohttp.ClientSession) -> None:
    """A page late in a long history costs its own length, and may be large."""
    raw = ALICE.send(VAULT.address, 1, entropy=1)
    step_with(node, raw)
    found = node.find(tx_hash(raw))
    assert found is not None
    for number in range(10_000):
        # Straight into the index: ten thousand signatures would be the test's time, not the page's.
        node.chain.index.add(type(found)(found.raw, f"{number:064X}", 2, number + 1, found.tx, found.result))
    (received,) = node.chain.index._by_recipient.values()
    txs, heights = Counted(received.txs), Counted(received.heights)
    node.chain.index._by_recipient = dict.fromkeys(node.chain.index._by_recipient, type(received)(txs, heights))
    body = {"address": VAULT.address, "received": True, "page": 10, "per_page": 1000}
    answer = await ask(http, node, "query/accounttxs", body)
    assert (answer.json["page_count"], answer.json["total_txs"]) == (1000, 10_001)
    assert txs.touched == 1000
    assert 0 < heights.touched < 100, "found by bisection"


# --- the habits of a real node at its start -------------------------------------------------------------------------


def code_of(answer: Submission) -> int:
    return 0 if answer.rejection is None else answer.rejection.code


async def test_from_its_start_until_its_first_block_it_refuses_every_transaction_with_code_4(node: PocketNode) -> None:
    early, done = ALICE.send(BOB.address, 1), ALICE.send(BOB.address, 2)
    step_with(node, done)
    node.misbehave(RefuseUntilBlock(), LoseMempool())
    assert code_of(node.submit(early)) == 0, "the habit is felt from the next start on"
    await node.stop()
    await node.start()
    assert node.dump()["mempool"] == [], "what waited is lost"
    for _ in range(2):
        refused = node.submit(early).rejection
        assert refused is not None
        assert (refused.codespace, refused.code) == ("sdk", 4)
        assert refused.message == "signature verification failed for the transaction"
    assert code_of(node.submit(done)) == 6, "what stands in the index is known all the same"
    node.step()
    assert code_of(node.submit(early)) == 0
    node.step()
    assert node.find(tx_hash(early)) is not None


async def test_without_the_habits_nothing_is_lost_or_refused_at_a_start(node: PocketNode) -> None:
    raw = ALICE.send(BOB.address, 1)
    node.submit(raw)
    await node.stop()
    await node.start()
    assert node.dump()["mempool"] == [tx_hash(raw).upper()]
    assert code_of(node.submit(ALICE.send(BOB.address, 2))) == 0


async def test_the_control_interface_restarts_the_node(node: PocketNode, http: aiohttp.ClientSession) -> None:
    for kind in ("refuse_until_block", "lose_mempool"):
        assert (await ask(http, node, "/dev/misbehave", {"kind": kind})).status == 200
    node.submit(ALICE.send(BOB.address, 1))
    assert (await ask(http, node, "/dev/restart", {"seconds": 0.05})).json == {"seconds": 0.05}
    with pytest.raises(RuntimeError, match="already"):
        node.restart()
    raw = ALICE.send(BOB.address, 2)
    async with asyncio.timeout(60):
        while True:
            with contextlib.suppress(aiohttp.ClientError):
                answer = await rawtx(http, node, raw)
                if answer.json.get("code") == 4:
                    break
            await asyncio.sleep(0.01)
    assert (await ask(http, node, "/dev/state", method="GET")).json["mempool"] == []
