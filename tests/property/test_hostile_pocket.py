"""A node that answers anything at all: no exception leaves the Pocket client but its own, none waits, no secret is told.

The honest answers are those that a real node gave (`tests/vectors/pocket_node.json`).
`HYPOTHESIS_PROFILE=long`: 20,000 answers and more (`HOSTILE_ANSWERS`).
"""

from __future__ import annotations

import asyncio
import io
import json
import os
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reactor import logs
from reactor.chains.pocket import PocketChain, PocketRpcError, RetryPolicy, connect
from reactor.chains.pocket.morse import transport
from tests.property.hostile_peer import Answer, HostilePeer, Request, answers, json_answer, json_bodies, json_values
from tests.property.searching import LONG, search_settings

pytestmark = pytest.mark.property

ANSWERS = int(os.environ.get("HOSTILE_ANSWERS", "20000" if LONG else "250"))
KEY = "9f8e7d6c5b4aPROJECT1029384756ID"
PASSWORD = "what-a-node-asks-its-clients-for"
SECONDS = 0.2
"""Time-out of one call: each answer that never comes costs it."""
PATIENCE = 10.0
"""Seconds in which an honest answer comes, however busy the machine is."""
GUARD = 120.0
"""Seconds after which a call hangs, on whatever machine: a few time-outs at most are needed."""
LIMIT = 1024 * 1024

STEPS = json.loads((Path(__file__).parents[1] / "vectors" / "pocket_node.json").read_text())["steps"]


def recorded(path: str, note: str = "") -> Any:
    """What a real node answered, as JSON."""
    found = (one for one in STEPS if one.get("path") == f"/v1/{path}" and one["status"] == 200 and note in one["note"])
    return json.loads(next(found)["answer"])


HEAD, ADDRESS = 7, "a0ea83bf39c2eae9f4406295fbb3a84364be4a6a"
BLOCK = json.loads(next(one for one in STEPS if one.get("path") == "/v1/query/block" and one["body"] == {"height": 0})["answer"])
TX = recorded("query/tx", "result of: plain send")
PAGE = recorded("query/accounttxs", "1000 a page")
ACCEPTED = recorded("client/rawtx", "plain send")
RAW = bytes.fromhex(next(one for one in STEPS if one["note"] == "plain send")["body"]["raw_hex_bytes"])
EMPTY = {"page_count": 0, "total_txs": 0, "txs": []}


def block_at(height: int) -> Any:
    """A block of this height; the fifth holds the transaction."""
    header = {**BLOCK["block"]["header"], "height": str(height or HEAD)}
    return {**BLOCK, "block": {**BLOCK["block"], "header": header, "data": {"txs": [TX["tx"]] if height == 5 else None}}}


def honest_answer(call: str, asked: Any) -> Any:
    """What the node behind the peer says."""
    match call:
        case "query/height":
            return {"height": HEAD}
        case "query/block":
            return block_at(asked["height"])
        case "query/tx":
            return TX
        case "query/accounttxs":
            return PAGE if asked["received"] else EMPTY
        case "query/balance":
            return {"balance": 9999989000}
        case "query/param":
            return {"param_key": asked["key"], "param_value": "8"}
        case "client/rawtx" if not asked["raw_hex_bytes"]:
            return recorded("client/rawtx", "nothing")
        case "client/rawtx":
            return ACCEPTED
    return None


Call = Callable[[PocketChain], Awaitable[Any]]
HASH = TX["hash"].lower()
CALLS: dict[str, Call] = {
    "head": lambda chain: chain.head(),
    "block": lambda chain: chain.block(5),
    "latest block": lambda chain: chain.block(0),
    "window": lambda chain: chain.window(ADDRESS, 1, 6),
    "window at the head": lambda chain: chain.window(ADDRESS, 5, HEAD),
    "window by block": lambda chain: chain.window(ADDRESS, 4, 6, by_block=True),
    "second reading": lambda chain: chain.window(ADDRESS, 4, 6, apart_from="honest"),
    "transaction": lambda chain: chain.tx(HASH),
    "status": lambda chain: chain.status(HASH),
    "unconfirmed": lambda chain: chain.unconfirmed(HASH),
    "submit": lambda chain: chain.submit(RAW),
    "balance": lambda chain: chain.balance(ADDRESS),
    "parameter": lambda chain: chain.param("auth/TxSigLimit"),
    "check": lambda chain: chain.check(ADDRESS),
    "survey": lambda chain: chain.survey(1),
}
PATHS = ("query/height", "query/block", "query/tx", "query/accounttxs", "query/balance", "query/param", "query/unconfirmedtx")
PATHS += ("client/rawtx",)


def _changed(value: Any, path: list[str], new: Any) -> Any:
    copy = json.loads(json.dumps(value))
    place = copy
    for part in path[:-1]:
        place = place[int(part) if isinstance(place, list) else part]
    place[path[-1]] = new
    return copy


_shapes = {
    "height": ({"height": HEAD}, ["height"]),
    "block": (
        block_at(5),
        ["block", "block.header", "block.header.height", "block.header.time", "block.data.txs", "block_id.hash"],
    ),
    "tx": (TX, ["hash", "height", "index", "tx", "tx_result", "tx_result.code", "tx_result.signer", "stdTx", "proof"]),
    "page": (
        PAGE,
        ["txs", "total_txs", "page_count", "txs.0.hash", "txs.0.height", "txs.0.tx", "txs.1.index", "txs.2.tx_result"],
    ),
    "balance": ({"balance": 5}, ["balance"]),
    "param": ({"param_key": "a", "param_value": "8"}, ["param_value"]),
    "verdict": ({"code": 4, "raw_log": "no", **ACCEPTED}, ["code", "raw_log", "txhash"]),
    "refusal": ({"code": 400, "message": f"tx ({TX['hash']}) not found"}, ["code", "message"]),
    "gateway": ({"error": {"code": -32000, "message": "no relay"}}, ["error", "error.code", "error.message"]),
}
_words = st.sampled_from(
    [
        "tx already exists in cache", "height 9 must be less than or equal to the current blockchain height 7",
        "error loading store: wanted to load target 9 but only found up to 7", "no project %TARGET% (%AUTH%)", "\x1b[2J%TARGET%",
        "",
    ]
)  # fmt: skip
_changes = st.sampled_from([(value, path.split(".")) for value, paths in _shapes.values() for path in paths])
_bodies = st.one_of(
    st.builds(lambda change, new: _changed(*change, new), _changes, json_values),
    st.sampled_from([value for value, _ in _shapes.values()] + [EMPTY, None]),
    st.builds(lambda text: {"code": 400, "message": text}, _words),
    st.builds(lambda text: {"error": {"code": 7, "message": text}}, _words),
    st.builds(lambda code, text: {"code": code, "raw_log": text, "txhash": TX["hash"]}, st.integers(0, 110), _words),
    # A gateway's quoting of the whole.
    st.builds(lambda change, new: json.dumps(_changed(*change, new)), _changes, st.integers()),
    json_values,
)
hostile = answers(json_bodies(_bodies))


class Front:
    """An honest node behind a peer that spoils the answers to some call (`*`: to all), every time or the first."""

    def __init__(self, path: str, answer: Answer, times: int) -> None:
        self._path, self._answer, self._times = path, answer, times

    def __call__(self, request: Request) -> Answer:
        call = request.target.partition("?")[0].partition("/v1/")[2]
        if self._times > 0 and self._path in {"*", call}:
            self._times -= 1
            return self._answer
        return json_answer(honest_answer(call, request.json))


@pytest.fixture(scope="module")
def peers() -> Iterator[tuple[HostilePeer, HostilePeer]]:
    """A hostile one, and one that is honest."""
    with HostilePeer() as hostile_one, HostilePeer() as honest_one:
        honest_one.answer = Front("", Answer(), 0)
        yield hostile_one, honest_one


def _chain(peers: tuple[HostilePeer, HostilePeer], target: str, honest: int, seconds: float) -> PocketChain:
    urls = [peers[0].url(target, f"user:{PASSWORD}"), peers[1].url("/honest")][: 1 + honest]
    retry = RetryPolicy(rounds=1, cool_down=0.0)
    return connect(urls, chain_id="localnet", timeout=seconds, retry=retry, page_size=1000)


async def _outcome(call: Call, chain: PocketChain) -> tuple[Any, list[str]]:
    """What the call gives or raises, and what is told of it."""
    found: Any
    async with chain:
        async with asyncio.timeout(GUARD):
            try:
                found = await call(chain)
            except PocketRpcError as error:
                found = error
        told = [*chain.problems, *chain.contradictions, repr(chain._pool.all)]  # type: ignore[attr-defined]
    told.append(repr(found))
    if isinstance(found, PocketRpcError):
        told += [str(found), *map(str, vars(found).values())]
    return found, told


@pytest.mark.timeout(7200 if LONG else 900)
@pytest.mark.parametrize("honest", [0, 1], ids=["alone", "beside an honest one"])
def test_whatever_a_node_answers_the_call_ends_in_time_in_a_value_or_its_own_error(
    peers: tuple[HostilePeer, HostilePeer], honest: int, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(transport, "MAX_BODY", LIMIT)
    lines = io.StringIO()
    logs.configure_logs("DEBUG", stream=lines)
    left_over: list[Any] = []
    outcomes = {"value": 0, "error": 0}

    with asyncio.Runner() as runner:
        runner.get_loop().set_exception_handler(lambda loop, context: left_over.append(context))

        @search_settings(ANSWERS // 2, shrink=True)
        @given(
            st.sampled_from(sorted(CALLS)),
            st.sampled_from(["*", "*", *PATHS]),
            hostile,
            st.sampled_from([1, 1000]),
            st.sampled_from([f"/v1/{KEY}", f"/rpc?apikey={KEY}"]),
        )
        def once(name: str, path: str, answer: Answer, times: int, target: str) -> None:
            found: Any = None
            told: list[str] = []
            # On a busy machine the honest one may be late as well: then both are asked once more, with time enough for it.
            for seconds in (SECONDS, PATIENCE):
                peers[0].answer = Front(path, answer, times)
                found, more = runner.run(_outcome(CALLS[name], _chain(peers, target, honest, seconds)))
                told += more
                if not honest or not isinstance(found, PocketRpcError):
                    break
            told.append(lines.getvalue())
            lines.seek(0)
            lines.truncate()
            for text in told:
                assert KEY not in text
                assert PASSWORD not in text
            assert left_over == []
            if honest:
                assert not isinstance(found, PocketRpcError), "the honest one was not asked"
            outcomes["error" if isinstance(found, PocketRpcError) else "value"] += 1

        once()
    assert outcomes["value"] > 0
    assert honest or outcomes["error"] > 0
    if LONG:
        with capsys.disabled():
            print(f"\n{outcomes}, {peers[0].requests:,} requests")
