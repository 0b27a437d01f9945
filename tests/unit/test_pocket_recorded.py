"""The client against a real node: it reads what pocket-core answered, wherever the validator asks.

The expected facts are taken from the recording itself by a second, simple reading of its JSON view.
"""

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from reactor.chains.pocket.errors import NoNodesAnswer, NotFound, PocketRpcError, RpcRefused
from reactor.chains.pocket.morse import answers
from reactor.chains.pocket.morse.answers import Asked
from reactor.chains.pocket.morse.refusals import IN_CACHE
from reactor.chains.pocket.types import PocketTx, SubmitOutcome

pytestmark = pytest.mark.unit

STEPS: list[dict[str, Any]] = json.loads((Path(__file__).parents[1] / "vectors" / "pocket_node.json").read_text())["steps"]
CALLS = ("query/height", "query/block", "query/tx", "query/accounttxs", "query/blocktxs", "query/balance")
CALLS += ("query/param", "query/unconfirmedtx", "client/rawtx")


def steps(*calls: str, status: int | None = None) -> list[Any]:
    """The recorded POST requests of these calls; with `status` those that were answered so."""
    found = []
    for number, step in enumerate(STEPS):
        call = step.get("path", "").removeprefix("/v1/")
        if call in calls and "method" not in step and status in {None, step["status"]}:
            found.append(pytest.param(call, step, id=f"{number} {call} {step['note']}"))
    return found


def read(call: str, step: dict[str, Any]) -> Any:
    return answers.read_body(Asked("node0", call), step["status"], step["answer"].encode())


@pytest.mark.parametrize(("call", "step"), steps(*CALLS, status=400))
def test_a_refusal_is_the_nodes_own_word(call: str, step: dict[str, Any]) -> None:
    message = json.loads(step["answer"])["message"]
    with pytest.raises(PocketRpcError) as caught:
        read(call, step)
    assert caught.value.text.endswith(message)
    missing = message.startswith("tx (") or "must be less than or equal to" in message
    # A hash of less than 64 characters is never asked for.
    if call == "query/accounttxs":
        assert type(caught.value) is NoNodesAnswer, "asked as the client asks, no node refuses it"
    elif missing and "tx (6016B1777F)" not in message:
        assert type(caught.value) is NotFound
    else:
        assert type(caught.value) is RpcRefused


@pytest.mark.parametrize(("call", "step"), steps("query/height", "query/balance", status=200))
def test_heights_and_balances(call: str, step: dict[str, Any]) -> None:
    name = call.removeprefix("query/")
    assert answers.integer(Asked("node0", call), read(call, step), name) == json.loads(step["answer"])[name]


@pytest.mark.parametrize(("call", "step"), steps("query/block", status=200))
def test_blocks(call: str, step: dict[str, Any]) -> None:
    shown = json.loads(step["answer"])
    header = shown["block"]["header"]
    block = answers.parse_block(Asked("node0", call), read(call, step))
    assert (block.height, block.chain_id) == (int(header["height"]), "localnet")
    assert block.hash == shown["block_id"]["hash"].lower()
    # Nanoseconds are cut.
    written = header["time"].rstrip("Z")[:26]
    assert block.time == datetime.strptime(written, "%Y-%m-%dT%H:%M:%S.%f").replace(tzinfo=UTC)
    assert answers.parse_block_txs(Asked("node0", call), read(call, step)) == ()


def same(tx: PocketTx, shown: dict[str, Any]) -> None:
    message, result = shown["stdTx"]["msg"]["value"], shown["tx_result"]
    assert (tx.hash, tx.height, tx.index) == (shown["hash"].lower(), shown["height"], shown["index"])
    assert (tx.code, tx.codespace) == (result["code"], result["codespace"])
    assert (tx.decoded, tx.is_send) == (True, True)
    assert (tx.from_address, tx.to_address) == (message["from_address"], message["to_address"])
    assert (tx.from_address, tx.to_address) == (result["signer"].lower(), result["recipient"].lower())
    assert (tx.amount, tx.memo) == (int(message["amount"]), shown["stdTx"]["memo"])
    assert tx.fee == sum(int(coin["amount"]) for coin in shown["stdTx"]["fee"])
    assert tx.entropy is not None
    assert float(tx.entropy) == float(shown["stdTx"]["entropy"]), "the node rounds it"


@pytest.mark.parametrize(("call", "step"), steps("query/tx", status=200))
def test_transactions(call: str, step: dict[str, Any]) -> None:
    same(answers.parse_tx(Asked("node0", call), read(call, step)), json.loads(step["answer"]))


@pytest.mark.parametrize(("call", "step"), steps("query/accounttxs", "query/blocktxs", status=200))
def test_pages(call: str, step: dict[str, Any]) -> None:
    shown = json.loads(step["answer"])
    txs, total = answers.parse_page(Asked("node0", call), read(call, step))
    assert (len(txs), total) == (shown["page_count"], shown["total_txs"])
    for tx, one in zip(txs, shown["txs"], strict=True):
        same(tx, one)


@pytest.mark.parametrize(("call", "step"), steps("query/unconfirmedtx", "query/param", status=200))
def test_what_is_nothing_is_read_as_nothing(call: str, step: dict[str, Any]) -> None:
    found = read(call, step)
    if call == "query/unconfirmedtx":
        assert found is None
    else:
        assert answers.member(Asked("node0", call), found, "param_value") == json.loads(step["answer"])["param_value"]


@pytest.mark.parametrize(("call", "step"), steps("client/rawtx", status=200))
def test_submissions(call: str, step: dict[str, Any]) -> None:
    shown = json.loads(step["answer"])
    result = answers.parse_submission(Asked("node0", call), read(call, step), shown["txhash"].lower())
    code = shown.get("code", 0)
    assert (result.code, result.text) == (code, shown.get("raw_log", ""))
    if code == 0:
        assert result.outcome is SubmitOutcome.ACCEPTED
    elif "duplicate transaction" in shown["raw_log"]:
        assert (result.outcome, result.codespace) == (SubmitOutcome.DUPLICATE_INDEXED, "auth")
    else:
        assert result.outcome is SubmitOutcome.REJECTED
        assert result.codespace == json.loads(shown["raw_log"])["codespace"]


CACHED = [one for one in steps("client/rawtx", status=400) if IN_CACHE in one.values[1]["answer"]]


@pytest.mark.parametrize(("call", "step"), CACHED)
def test_what_was_seen_already_is_told_by_the_text_that_the_client_knows(call: str, step: dict[str, Any]) -> None:
    with pytest.raises(RpcRefused, match=IN_CACHE):
        read(call, step)


def test_every_recorded_call_of_the_validator_is_read() -> None:
    posted = [step for step in STEPS if "path" in step and "method" not in step]
    unread = {step["path"].removeprefix("/v1/") for step in posted} - set(CALLS)
    assert CACHED
    assert unread == {"query/account", "query/nothing", "query/unconfirmedtxs"}, "these the validator never asks"
