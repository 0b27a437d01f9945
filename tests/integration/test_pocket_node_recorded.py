"""The development node against a real one: what pocket-core answered to 228 requests, each asked of ours at the same height.

The file holds requests and answers in their order (`what` and `notes` in it say how they came about). Of blocks only what does
not derive from the real chain's times and keys is compared; all else is compared byte for byte.
"""

import asyncio
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from infra.localnet.pocket import Genesis, LoseMempool, PocketNode, RefuseUntilBlock

pytestmark = pytest.mark.integration

RECORDED = json.loads((Path(__file__).parents[1] / "vectors" / "pocket_node.json").read_text())
STEPS: list[dict[str, Any]] = RECORDED["steps"]
AFTER_THE_RESTART = next(number for number, step in enumerate(STEPS) if step["note"].startswith("after a restart"))
ASKED = [
    pytest.param(number, id=f"{number} {step['path']} {step['note']}")
    for number, step in enumerate(STEPS)
    if "path" in step
]  # fmt: skip
DERIVED = {
    *("app_hash", "consensus_hash", "hash", "last_commit_hash", "last_results_hash", "next_validators_hash"),
    *("proposer_address", "time", "validators_hash"),
}
"""Fields of a block that are another chain's in content and must be the same in form."""


@dataclass(frozen=True)
class Answer:
    status: int
    content_type: str | None
    text: str


@pytest.fixture(scope="module")
def ours() -> dict[int, Answer]:
    """All answers of the development node, by the number of the step."""
    return asyncio.run(_ask_all())


async def _ask_all() -> dict[int, Answer]:
    accounts = RECORDED["genesis_accounts"]
    genesis = Genesis(
        chain_id=RECORDED["chain_id"],
        balances={address: int(account["balance"]) for address, account in accounts.items()},
        public_keys={address: account["public_key"] for address, account in accounts.items()},
    )
    answers = {}
    async with PocketNode(genesis) as node, aiohttp.ClientSession() as http:
        node.step()  # the recording begins in block 2
        for number, step in enumerate(STEPS):
            if number == AFTER_THE_RESTART:
                node.misbehave(RefuseUntilBlock(), LoseMempool())
                await node.stop()
                await node.start()
            if "path" not in step:
                node.step(step["height"] - node.height)
                continue
            answers[number] = await _ask(http, node, step)
    return answers


async def _ask(http: aiohttp.ClientSession, node: PocketNode, step: dict[str, Any]) -> Answer:
    body = step.get("raw_body", json.dumps(step["body"]) if "body" in step else None)
    data = None if body is None else body.encode()
    async with http.request(step.get("method", "POST"), node.url + step["path"], data=data) as answer:
        return Answer(answer.status, answer.headers.get("Content-Type"), await answer.text())


@pytest.mark.parametrize("number", ASKED)
def test_our_node_answers_as_the_real_one(ours: dict[int, Answer], number: int) -> None:
    real, answer = STEPS[number], ours[number]
    assert (answer.status, answer.content_type) == (real["status"], real["content_type"])
    if real["path"] == "/v1/query/block" and real["status"] == 200:
        assert _without_derived(json.loads(answer.text)) == _without_derived(json.loads(real["answer"]))
    else:
        assert _without_store(answer.text) == _without_store(real["answer"])


def test_nothing_that_was_recorded_is_left_out() -> None:
    assert len(STEPS) == 228
    assert len(ASKED) + sum("path" not in step for step in STEPS) == 228


def _without_store(text: str) -> str:
    """A text that names one of the node's stores and its place in memory: another one each time it is asked."""
    return re.sub(r"KVStoreKey\{0x[0-9a-f]+, \w+\}", "KVStoreKey{}", text)


def _without_derived(value: Any, name: str = "") -> Any:
    if name == "precommits":
        return None  # our node has no validators who vote
    if name in DERIVED:
        return re.sub(r"[0-9A-F]", "0", value) if name != "time" else bool(re.fullmatch(r"[0-9T:.Z-]+", value))
    if isinstance(value, dict):
        return {key: _without_derived(one, key) for key, one in value.items()}
    return value


def test_the_comparison_of_blocks_sees_a_difference() -> None:
    block = json.loads(next(step["answer"] for step in STEPS if step.get("path") == "/v1/query/block"))
    for path, new in ((("height",), "2"), (("app_hash",), "00"), (("last_block_id", "hash"), "A"), (("time",), "soon")):
        other = json.loads(json.dumps(block))
        place = other["block"]["header"]
        for part in path[:-1]:
            place = place[part]
        place[path[-1]] = new
        assert _without_derived(other) != _without_derived(block)
