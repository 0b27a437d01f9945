"""A node that answers anything at all: no exception leaves the Ethereum client but its own, none waits, no secret is told.

`HYPOTHESIS_PROFILE=long`: 20,000 answers and more (`HOSTILE_ANSWERS`).
"""

from __future__ import annotations

import asyncio
import io
import os
import sys
from collections.abc import Awaitable, Callable, Iterator, Sequence
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
from aiohttp import ClientError
from hypothesis import given
from hypothesis import strategies as st
from loguru import logger

from reactor import foreign, logs
from reactor.chains import http
from reactor.chains.errors import ChainError
from reactor.chains.ethereum import EthereumChain, Finality, nodes, provider
from reactor.chains.ethereum.nodes import Transport, web3_transport
from reactor.chains.ethereum.span import Span
from reactor.chains.http import Http
from reactor.chains.rpc import Endpoints, Retries
from tests.property.hostile_peer import Answer, HostilePeer, Request, answers, json_answer, json_bodies, json_values
from tests.property.searching import LONG, search_settings
from tests.unit.ethereum_node import CHAIN_ID, CONTROLLER, WPOKT, Node, block_hash, burn_log, header, receipt

pytestmark = pytest.mark.property

ANSWERS = int(os.environ.get("HOSTILE_ANSWERS", "20000" if LONG else "250"))
KEY = "9f8e7d6c5b4aPROJECT1029384756ID"
PASSWORD = "what-a-node-asks-its-clients-for"
SECONDS = 0.2
"""Time-out of one call: each answer that never comes costs it."""
GUARD = 60.0
"""Seconds after which a call hangs, on whatever machine: a few time-outs at most are needed."""
LIMIT = 1024 * 1024

Call = Callable[[EthereumChain], Awaitable[Any]]
CALLS: dict[str, Call] = {
    "head": lambda chain: chain.head(),
    "view": lambda chain: chain.view(),
    "header by number": lambda chain: chain.header(5),
    "header by hash": lambda chain: chain.header(block_hash(5)),
    "canonical": lambda chain: chain.is_canonical(5, block_hash(5)),
    "agreeing": lambda chain: chain.agreeing(5, block_hash(5)),
    "window": lambda chain: chain.window(1, 90),
    "lookup": lambda chain: chain.minted_lookup(WPOKT, 1, 1, 90),
    "receipt": lambda chain: chain.receipt_events(burn_log(5)["transactionHash"]),
    "nonce": lambda chain: chain.user_nonce(WPOKT, 5),
    "facts": lambda chain: chain.facts([WPOKT]),
    "member": lambda chain: chain.is_validator(WPOKT),
    "simulation": lambda chain: chain.simulate("0x1234"),
    "check": lambda chain: chain.check_endpoints(),
    "survey": lambda chain: chain.survey(),
}

_LOG, _RECEIPT, _HEADER = burn_log(5), receipt([burn_log(5)]), header(5)
_SOUND = [None, "0x", "0x1", hex(CHAIN_ID), "0x" + "f" * 64, _HEADER, header(100), [_LOG], _RECEIPT]


def _spoiled(sound: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """It with one member that is anything."""
    return st.builds(lambda name, value: sound | {name: value}, st.sampled_from(sorted(sound)), json_values)


_results = st.one_of(
    json_values,
    st.sampled_from(_SOUND),
    _spoiled(_HEADER),
    _spoiled(_LOG).map(lambda log: [log]),
    _spoiled(_LOG).map(lambda log: _RECEIPT | {"logs": [log]}),
    _spoiled(_RECEIPT),
)
_errors = st.one_of(
    json_values,
    st.fixed_dictionaries(
        {
            "code": st.one_of(st.sampled_from([3, 15, 35, 429, -32000, -32005, -32007, -32012, -32601, -39001]), json_values),
            "message": st.one_of(
                st.sampled_from(
                    ["no project %TARGET% (%AUTH%)", "execution reverted", "header not found", "range of %TARGET% too large", ""]
                ),
                json_values,
            ),
        },
        optional={"data": json_values},
    ),
)
_ids = st.one_of(st.just("%ID%"), st.just("%ID%"), json_values)
_versions = st.one_of(st.just("2.0"), st.just("2.0"), json_values)
_rpc = st.one_of(
    st.fixed_dictionaries({"jsonrpc": _versions, "id": _ids, "result": _results}),
    st.fixed_dictionaries({"jsonrpc": _versions, "id": _ids, "error": _errors}),
    st.fixed_dictionaries({"jsonrpc": _versions, "id": _ids}, optional={"result": _results, "error": _errors}),
)
hostile = answers(json_bodies(st.one_of(_rpc, _rpc, json_values)))
methods = st.sampled_from(["*", "*", "eth_chainId", "eth_getBlockByNumber", "eth_getBlockByHash", "eth_getLogs", "eth_call"])


class Front:
    """An honest node behind a peer that spoils the answers to some method (`*`: to all), every time or the first."""

    def __init__(self, method: str, answer: Answer, times: int) -> None:
        self.node = Node(logs=[burn_log(5), burn_log(90)])
        self._method, self._answer, self._times = method, answer, times

    def __call__(self, request: Request) -> Answer:
        asked = request.json
        if self._times > 0 and self._method in {"*", asked["method"]}:
            self._times -= 1
            return self._answer
        return json_answer({"jsonrpc": "2.0", "id": asked["id"], "result": self.node._result(asked["method"], asked["params"])})


@pytest.fixture(scope="module")
def peer() -> Iterator[HostilePeer]:
    with HostilePeer() as running:
        yield running


@pytest.fixture(autouse=True)
def _bounded(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Answers may be as long as a bomb is not; the log is as before afterwards."""
    monkeypatch.setattr(provider, "ANSWER_LIMIT", LIMIT)
    yield
    logger.remove()
    logger.configure(patcher=lambda record: None)
    logger.add(sys.stderr)


def _chain(peer: HostilePeer, target: str, honest: Sequence[Node]) -> EthereumChain:
    places = {f"http://honest-{number}": node for number, node in enumerate(honest)}

    def transport(url: str, seconds: float) -> Transport:
        return places[url] if url in places else web3_transport(url, seconds)

    return EthereumChain(
        [peer.url(target, f"user:{PASSWORD}"), *places],
        chain_id=CHAIN_ID,
        wpokt=WPOKT,
        controller=CONTROLLER,
        finality=Finality("latest", 2),
        seconds=SECONDS,
        retries=Retries(rounds=1, cool_down=0.0),
        span=Span(blocks=64, most=64),
        transport=transport,
    )


async def _outcome(call: Call, chain: EthereumChain) -> tuple[Any, list[str]]:
    """What the call gives or raises, and what is told of it."""
    async with chain:
        async with asyncio.timeout(GUARD):
            try:
                found = await call(chain)
            except ChainError as error:
                found = error
        told = [*chain.problems, *chain.contradictions, repr(list(chain._nodes.endpoints.all))]
    if isinstance(found, dict):
        told += [str(one) for one in found.values() if isinstance(one, ChainError)]
    if isinstance(found, ChainError):
        told += [str(found), repr(found), *map(str, vars(found).values())]
    return found, told


def search(peer: HostilePeer, honest: int, examples: int, *, shrink: bool = True) -> dict[str, int]:
    """So many answers to calls of a client that has so many honest endpoints too: how many ended in a value, and in an error.

    Raises AssertionError for the first that breaks a promise.
    """
    lines = io.StringIO()
    logs.configure_logs("DEBUG", stream=lines)
    left_over: list[Any] = []
    outcomes = {"value": 0, "error": 0}

    with asyncio.Runner() as runner:
        runner.get_loop().set_exception_handler(lambda loop, context: left_over.append(context))

        # The twins below look at few answers: each run at the same ones.
        @search_settings(examples, shrink=shrink, same=not (LONG and shrink))
        @given(
            st.sampled_from(sorted(CALLS)),
            methods,
            hostile,
            st.sampled_from([1, 1000]),
            st.sampled_from([f"/v3/{KEY}", f"/rpc?apikey={KEY}"]),
        )
        def once(name: str, method: str, answer: Answer, times: int, target: str) -> None:
            peer.answer = Front(method, answer, times)
            others = [Node(logs=[burn_log(5), burn_log(90)]) for _ in range(honest)]
            found, told = runner.run(_outcome(CALLS[name], _chain(peer, target, others)))
            told.append(lines.getvalue())
            lines.seek(0)
            lines.truncate()
            for text in told:
                assert KEY not in text
                assert PASSWORD not in text
            assert left_over == []
            if honest:
                assert not isinstance(found, ChainError), "the honest endpoint was not asked"
            outcomes["error" if isinstance(found, ChainError) else "value"] += 1

        once()
    return outcomes


@pytest.mark.timeout(7200 if LONG else 900)
@pytest.mark.parametrize("honest", [0, 1], ids=["alone", "beside an honest one"])
def test_whatever_a_node_answers_the_call_ends_in_time_in_a_value_or_its_own_error(
    peer: HostilePeer, honest: int, capsys: pytest.CaptureFixture[str]
) -> None:
    outcomes = search(peer, honest, ANSWERS // 2)
    assert outcomes["value"] > 0
    assert (outcomes["error"] > 0) is not bool(honest)
    if LONG:
        with capsys.disabled():
            print(f"\n{outcomes}, {peer.requests:,} requests")


def _careless(header: str | None) -> float | None:
    """`Retry-After` as the standard library reads it, which raises OverflowError for a year of ten digits, and more."""
    return None if header is None else parsedate_to_datetime(header).timestamp()


async def _unguarded(self: Http, url: str, body: bytes) -> Any:
    async with asyncio.timeout(SECONDS):
        return await self._post(url, body)


@pytest.mark.parametrize("broken", ["a secret is told", "an exception leaves", "its fault is believed"])
def test_the_search_finds_a_client_that_breaks_a_promise(peer: HostilePeer, broken: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The twin: each promise is missed where what keeps it is taken away."""
    match broken:
        case "a secret is told":
            monkeypatch.setattr(foreign._Secrets, "redact", lambda secrets, text: text)
        case "an exception leaves":
            monkeypatch.setattr(http, "retry_after_seconds", _careless)
            monkeypatch.setattr(nodes, "_unusable", None)
            monkeypatch.setattr(Http, "post", _unguarded)
        case _:
            monkeypatch.setattr(Endpoints, "_first", lambda pool, operation, last: pool.on(pool.all[0], operation))
    own = {"an exception leaves": (ValueError, OverflowError, TypeError, OSError, ClientError, TimeoutError)}
    with pytest.raises(own.get(broken, (AssertionError,))):
        search(peer, 1, 300, shrink=False)
