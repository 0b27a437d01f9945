"""The client against a broken server: bad answers, other chains, fail-over, and settings that are refused."""

import json
from typing import Any

import pytest
from aiohttp import web
from pocket_client_helpers import FAST, VAULT, Entry, Node, client_of, client_of_node, refuse, reply, send, served_node, serving

from reactor.chains.pocket import (
    Endpoint,
    MalformedAnswer,
    NotFound,
    PocketChain,
    PocketConfigError,
    PocketRpcError,
    RpcRefused,
    RpcUnavailable,
    WrongChain,
    connect,
    tx_hash,
)

pytestmark = pytest.mark.integration

node, chain = served_node, client_of_node
HTML = "<html><body>Bad gateway</body></html>"


@pytest.mark.parametrize(
    ("answer", "error", "match"),
    [
        (web.Response(text=""), MalformedAnswer, "empty body"),
        (web.Response(text=HTML), MalformedAnswer, "Bad gateway"),
        (web.Response(text="[" * 100_000), MalformedAnswer, "not JSON"),
        (web.Response(status=502, text=HTML), RpcUnavailable, "HTTP 502"),
        (web.Response(status=503, text="timeout"), RpcUnavailable, "HTTP 503"),
        (web.Response(status=429, text=""), RpcUnavailable, "HTTP 429"),
        (web.Response(status=403, text=HTML), RpcUnavailable, "HTTP 403"),
        (web.Response(status=302, headers={"Location": "http://127.0.0.1:1/"}), RpcUnavailable, "HTTP 302"),
        (web.Response(status=404, text="404 page not found"), RpcRefused, "404 page not found"),
        (refuse("json: cannot unmarshal string"), RpcRefused, "cannot unmarshal"),
        (refuse("unauthorized", 401), RpcRefused, "unauthorized"),
        (reply({"code": 400, "message": "no"}), RpcRefused, "no"),
        (reply({"error": {"code": 7, "message": "relay failed"}}), RpcUnavailable, "gateway error 7: relay failed"),
        (reply(None), MalformedAnswer, "body: expected an object"),
        (reply([]), MalformedAnswer, "body: expected an object"),
        (reply({}), MalformedAnswer, "height: missing"),
        (reply({"height": "100"}), MalformedAnswer, "height: expected an integer from 0"),
        (reply({"height": True}), MalformedAnswer, "height"),
        (reply({"height": -1}), MalformedAnswer, "height"),
        (reply({"height": 1.5}), MalformedAnswer, "height"),
    ],
)
async def test_bad_answers_are_typed(
    node: Node, chain: PocketChain, answer: web.Response, error: type[PocketRpcError], match: str
) -> None:
    body, status, headers = answer.text, answer.status, dict(answer.headers)
    headers.pop("Content-Type", None)
    node.override["query/height"] = lambda _: web.Response(status=status, text=body, headers=headers)
    with pytest.raises(error, match=match) as caught:
        await chain.head()
    assert caught.value.endpoint == "node0"
    assert caught.value.call == "query/height"
    # Who is asked too much is not asked again at once.
    assert chain.calls["query/height"] == (FAST.rounds if error.retryable and status != 429 else 1)


@pytest.mark.parametrize("text", ['{"height":100}', '"{\\"height\\":100}"', '{"height":100.0}', '{"height":100,"x":1}'])
async def test_good_answers_in_odd_wrapping(node: Node, chain: PocketChain, text: str) -> None:
    node.override["query/height"] = lambda body: web.Response(text=text)
    assert (await chain.head()).height == 100


async def test_not_found_through_a_gateway(node: Node, chain: PocketChain) -> None:
    message = f"tx ({'AB' * 32}) not found"
    node.override["query/tx"] = lambda body: reply({"error": {"code": -1, "message": message}})
    with pytest.raises(NotFound):
        await chain.tx("ab" * 32)


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"hash": "zz"}, "hash"), ({"hash": "AB" * 32}, "tx"), ({"height": "5"}, "height"), ({"index": None}, "index"),
        ({"tx": "%%%"}, "tx"), ({"tx": 5}, "tx"), ({"tx_result": None}, "tx_result"), ({"tx_result": {}}, "code"),
        ({"tx_result": {"code": "0"}}, "code"), ({"tx_result": {"code": 0}}, "codespace"),
    ],
)  # fmt: skip
async def test_malformed_transactions_name_the_field(node: Node, chain: PocketChain, change: dict[str, Any], field: str) -> None:
    shown = Entry(send(1), 5, 0).shown() | change
    node.override["query/tx"] = lambda body: reply(shown)
    node.override["query/accounttxs"] = lambda body: reply({"page_count": 1, "total_txs": 1, "txs": [shown]})
    for work in (chain.tx(tx_hash(send(1))), chain.window(VAULT, 1, 50)):
        with pytest.raises(MalformedAnswer) as caught:
            await work
        assert caught.value.field in {field, "body"}


async def test_another_transaction_than_asked_for(node: Node, chain: PocketChain) -> None:
    node.override["query/tx"] = lambda body: reply(Entry(send(2), 5, 0).shown())
    with pytest.raises(MalformedAnswer, match="asked for"):
        await chain.tx(tx_hash(send(1)))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("header.time", "yesterday"), ("header.time", "2020-03-10T00:04:35"), ("header.height", "x"),
        ("header.chain_id", 5), ("data.txs", "x"), ("data.txs", [5]), ("data.txs", ["%"]), ("header.height", "8"),
    ],
)  # fmt: skip
async def test_malformed_blocks_name_the_field(node: Node, chain: PocketChain, path: str, value: object) -> None:
    answer = json.loads(node.on_query_block({"height": 9}).text or "")
    parent, key = path.split(".")
    answer["block"][parent][key] = value
    node.override["query/block"] = lambda body: reply(answer)
    with pytest.raises(MalformedAnswer) as caught:
        await chain.block(9)
    assert key in caught.value.field


async def test_a_node_of_another_chain_is_never_asked_anything_else(node: Node) -> None:
    foreign = Node(chain_id="mainnet", height=5000)
    async with serving(foreign), client_of(foreign, node) as chain:
        assert (await chain.head()).endpoint == "node1"
        assert {call for call, _ in foreign.seen} == {"query/block"}
        statuses = await chain.check()
        assert [status.head is not None for status in statuses] == [False, True]
        assert "correct the endpoint or the chain id" in statuses[0].error
    async with serving(foreign), client_of(foreign) as chain:
        with pytest.raises(WrongChain) as caught:
            await chain.submit(send(1))
        assert (caught.value.expected, caught.value.found) == ("localnet", "mainnet")
        assert {call for call, _ in foreign.seen} == {"query/block"}


async def test_failover_is_sticky_and_reports_the_retryable_error(node: Node) -> None:
    down = Node(override={"query/height": lambda body: web.Response(status=500)})
    async with serving(down), client_of(down, node) as chain:
        assert (await chain.head()).endpoint == "node1"
        assert (await chain.head()).endpoint == "node1"
        assert [call for call, _ in down.seen].count("query/height") == 1
        node.override["query/height"] = lambda body: refuse("no")
        with pytest.raises(RpcRefused):
            await chain.head()


async def test_recovers_within_its_rounds(node: Node, chain: PocketChain) -> None:
    answers = iter([web.Response(status=500), None])
    node.override["query/height"] = lambda body: next(answers)
    assert (await chain.head()).height == 100


async def test_no_connection_and_no_answer_in_time(node: Node) -> None:
    async with connect(["http://127.0.0.1:1"], chain_id="localnet", retry=FAST) as chain:
        with pytest.raises(RpcUnavailable, match=r"127\.0\.0\.1:1: query/block: no answer"):
            await chain.head()
        assert "no answer" in (await chain.check())[0].error
    async with client_of(node, timeout=0.000001) as chain:
        with pytest.raises(RpcUnavailable, match="no answer"):
            await chain.head()


async def test_urls_with_secrets_stay_secret() -> None:
    endpoint = Endpoint.parse("http://user:hunter2@127.0.0.1:1/v1/hunter2/")
    assert "hunter2" not in repr(endpoint)
    async with connect([endpoint], chain_id="localnet", retry=FAST) as chain:
        with pytest.raises(RpcUnavailable) as caught:
            await chain.head()
    assert "hunter2" not in repr(caught.value) + str(caught.value)
    assert caught.value.__cause__ is None


@pytest.mark.parametrize(
    ("arguments", "match"),
    [
        ({"generation": "shannon"}, "not built yet"), ({"generation": "x"}, "unknown"), ({"chain_id": ""}, "chain id"),
        ({"endpoints": []}, "at least one"), ({"endpoints": ["ftp://x"]}, "http"), ({"endpoints": ["http://"]}, "host"),
        ({"endpoints": ["http://[x"]}, "host"), ({"page_size": 1001}, "page size"), ({"timeout": 0}, "time-out"),
    ],
)  # fmt: skip
def test_bad_settings_are_refused(arguments: dict[str, Any], match: str) -> None:
    settings: dict[str, Any] = {"endpoints": ["http://localhost:8081/v1/"], "chain_id": "localnet"}
    assert connect(**settings).chain_id == "localnet"
    with pytest.raises(PocketConfigError, match=match):
        connect(**(settings | arguments))
