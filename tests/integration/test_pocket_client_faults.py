"""The client against a broken server: bad answers, other chains, fail-over, and settings that are refused."""

import json
from base64 import b64encode
from collections.abc import Callable
from typing import Any

import pytest
from aiohttp import web
from aiohttp.test_utils import TestServer
from pocket_client_helpers import FAST, VAULT, Entry, Node, client_of, client_of_node, refuse, reply, send, served_node, serving

from reactor.chains.errors import Means
from reactor.chains.pocket import (
    Endpoint,
    MalformedAnswer,
    NotFound,
    PocketChain,
    PocketConfigError,
    PocketRpcError,
    RpcUnavailable,
    SubmitOutcome,
    WindowNotReady,
    WrongChain,
    connect,
    tx_hash,
)
from reactor.chains.pocket.morse.transport import Transport

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
        (web.Response(status=404, text="404 page not found"), RpcUnavailable, "404 page not found"),
        (refuse("json: cannot unmarshal string"), RpcUnavailable, "cannot unmarshal"),
        (refuse("unauthorized", 401), RpcUnavailable, "unauthorized"),
        (reply({"code": 400, "message": "no"}), RpcUnavailable, "no"),
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
    assert chain.calls["query/height"] == (FAST.rounds if caught.value.means is Means.FAULT and status != 429 else 1)


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
        ({"tx_result": {"code": "0"}}, "code"),
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
        statuses = await chain.check(VAULT)
        assert [status.head is not None for status in statuses] == [False, True]
        assert "correct the endpoint or the chain id" in statuses[0].error
    async with serving(foreign), client_of(foreign) as chain:
        with pytest.raises(WrongChain) as caught:
            await chain.submit(send(1))
        assert (caught.value.expected, caught.value.found) == ("localnet", "mainnet")
        assert {call for call, _ in foreign.seen} == {"query/block"}


async def test_a_date_that_no_calendar_has_is_ignored_and_the_next_endpoint_used(node: Node) -> None:
    absurd = {"Retry-After": "Mon, 01 Jan 9999999999 00:00:00 GMT"}
    tired = Node(override={"query/height": lambda body: web.Response(status=503, headers=absurd)})
    async with serving(tired), client_of(tired, node) as chain:
        assert (await chain.head()).endpoint == "node1"
        assert any("node0" in problem and "HTTP 503" in problem for problem in chain.problems)


async def test_failover_is_sticky_and_reports_the_retryable_error(node: Node) -> None:
    down = Node(override={"query/height": lambda body: web.Response(status=500)})
    async with serving(down), client_of(down, node) as chain:
        assert (await chain.head()).endpoint == "node1"
        assert (await chain.head()).endpoint == "node1"
        assert [call for call, _ in down.seen].count("query/height") == 1
        node.override["query/height"] = lambda body: refuse("no")
        with pytest.raises(RpcUnavailable):
            await chain.head()
        assert "node1: query/height: refused, which no node does: no" in "\n".join(chain.problems)


async def test_recovers_within_its_rounds(node: Node, chain: PocketChain) -> None:
    answers = iter([web.Response(status=500), None])
    node.override["query/height"] = lambda body: next(answers)
    assert (await chain.head()).height == 100


async def test_no_connection_and_no_answer_in_time(node: Node) -> None:
    async with connect(["http://127.0.0.1:1"], chain_id="localnet", retry=FAST) as chain:
        with pytest.raises(RpcUnavailable, match=r"127\.0\.0\.1:1: query/block: no answer"):
            await chain.head()
        assert "no answer" in (await chain.check(VAULT))[0].error
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


# --- what is in front of a node --------------------------------------------------------------------------------------

CALLS = ["query/height", "query/block", "query/tx", "query/accounttxs", "query/balance", "query/param", "client/rawtx"]
RAW = send(1)


def default_backend(_: dict[str, Any]) -> web.Response:
    return web.Response(status=404, text="default backend - 404")


async def everything(chain: PocketChain) -> None:
    """Each query that the validator makes."""
    assert (await chain.head()).height == 100
    assert (await chain.block(7)).height == 7
    assert (await chain.tx(tx_hash(RAW))).height == 50
    assert len((await chain.window(VAULT, 40, 60)).received) == 1
    assert await chain.balance(VAULT) == 577231840000
    assert await chain.param("auth/TxSigLimit") == "8"
    assert (await chain.submit(RAW)).on_its_way


@pytest.mark.parametrize("answer", [default_backend, lambda body: refuse("no API key", 401)], ids=["404", "401"])
async def test_what_is_no_node_stands_back_and_is_named(node: Node, answer: Callable[..., web.Response]) -> None:
    """The first endpoint leads nowhere: everything is asked of the second, and the first is named."""
    nowhere = Node(override=dict.fromkeys([*CALLS, "query/unconfirmedtx"], answer))
    node.entries = [Entry(RAW, 50, 0)]
    async with serving(nowhere), client_of(nowhere, node) as chain:
        await everything(chain)
        await chain.survey(1)
        assert len(chain.problems) == 1
        assert chain.problems[0].startswith("node0 refuses a call: node0: query/block: HTTP 40")
        first, second = await chain.check(VAULT)
        assert first.head is None
        assert first.error.startswith("node0: query/block: HTTP 40")
        assert (second.head is not None, second.failing) == (True, ())


@pytest.mark.parametrize("call", CALLS)
async def test_an_endpoint_that_does_not_serve_one_call_stands_back_and_is_named(node: Node, call: str) -> None:
    """It answers all others well, which must neither clear it nor put it first again."""
    partly = Node(entries=[Entry(RAW, 50, 0)], override={call: default_backend})
    node.entries = [Entry(RAW, 50, 0)]
    async with serving(partly), client_of(partly, node) as chain:
        await everything(chain)
        asked = [name for name, _ in partly.seen].count(call)
        await everything(chain)
        assert [name for name, _ in partly.seen].count(call) == asked, "it stands back"
        assert [problem for problem in chain.problems if f"{call}: HTTP 404: default backend" in problem]
        first, second = await chain.check(VAULT)
        assert second.failing == ()
        shown = [first.error] if first.head is None else list(first.failing)
        assert len(shown) == 1
        assert f"{call}: HTTP 404: default backend" in shown[0]
        partly.override.clear()
        await chain.check(VAULT)
        assert chain.problems == [], "what works again is forgiven at once"


async def test_an_only_endpoint_that_does_not_serve_a_call_is_named(node: Node, chain: PocketChain) -> None:
    node.override["query/accounttxs"] = default_backend
    with pytest.raises(RpcUnavailable, match="default backend"):
        await chain.window(VAULT, 1, 10)
    await chain.head()
    assert len(chain.problems) == 1
    assert "query/accounttxs: HTTP 404: default backend" in chain.problems[0]


async def test_a_word_about_another_transaction_says_nothing_of_this_one(node: Node, chain: PocketChain) -> None:
    node.override["query/tx"] = lambda body: refuse(f"tx ({'CD' * 32}) not found")
    with pytest.raises(MalformedAnswer, match="not about the hash"):
        await chain.tx("ab" * 32)


async def test_a_node_that_refuses_every_balance_is_named(node: Node, chain: PocketChain) -> None:
    """Unknown words are not "not executed yet", for which one would wait without a word."""
    node.override["query/balance"] = lambda body: refuse("account keeper: out of order")
    with pytest.raises(RpcUnavailable, match="out of order"):
        await chain.window(VAULT, 1, 10)
    assert "out of order" in "".join(chain.problems)
    node.override["query/balance"] = lambda body: refuse("error loading store: wanted to load target 9")
    with pytest.raises(WindowNotReady):
        await chain.window(VAULT, 1, 10)


@pytest.mark.parametrize(
    ("base", "path"),
    [
        ("/", "/v1/query/height"),
        ("/v1", "/v1/query/height"),
        ("/v1/", "/v1/query/height"),
        ("/path", "/path/v1/query/height"),
        ("/path/", "/path/v1/query/height"),
        ("/path/v1/", "/path/v1/query/height"),
        ("/a%2Fb/c", "/a%2Fb/c/v1/query/height"),
        ("/path?apikey=K", "/path/v1/query/height?apikey=K"),
        ("/path/?apikey=K&x=%20y", "/path/v1/query/height?apikey=K&x=%20y"),
        ("/path/v1?apikey=K", "/path/v1/query/height?apikey=K"),
        ("?apikey=K", "/v1/query/height?apikey=K"),
    ],
)
async def test_a_call_stands_between_path_and_query_of_the_url(base: str, path: str) -> None:
    seen: list[tuple[str, str | None]] = []

    async def handle(request: web.Request) -> web.Response:
        seen.append((request.raw_path, request.headers.get("Authorization")))
        return reply({"height": 5})

    app = web.Application()
    app.router.add_post("/{tail:.*}", handle)
    async with TestServer(app) as server:
        url = f"HTTP://user:pass%40word@{server.host}:{server.port}{base}"
        transport = Transport([Endpoint.parse(url)], timeout=10, retry=FAST)
        try:
            await transport.post(transport.pool.all[0], "query/height", {})
        finally:
            await transport.close()
    credentials = b64encode(b"user:pass@word").decode()
    assert seen == [(path, f"Basic {credentials}")]


def test_a_url_with_a_fragment_is_refused_without_showing_it() -> None:
    with pytest.raises(PocketConfigError, match="fragment") as caught:
        Endpoint.parse("http://h/path#hunter2")
    assert "hunter2" not in str(caught.value)


# --- submitting ------------------------------------------------------------------------------------------------------

REFUSALS = [("sdk", 2), ("sdk", 4), ("sdk", 9), ("sdk", 10), ("sdk", 14), ("pos", 101), ("pos", 109)]
REFUSALS += [("auth", 1), ("auth", 4), ("auth", 5), ("auth", 6), ("", 99)]


def rejecting(codespace: str, code: int) -> Callable[[dict[str, Any]], web.Response]:
    def answer(body: dict[str, Any]) -> web.Response:
        hash_ = tx_hash(bytes.fromhex(body["raw_hex_bytes"])).upper()
        log = json.dumps({"codespace": codespace, "code": code, "message": "no"})
        return reply({"code": code, "logs": None, "raw_log": log, "txhash": hash_})

    return answer


@pytest.mark.parametrize(("codespace", "code"), REFUSALS)
@pytest.mark.parametrize("other", ["accepts", "knows", "indexed", "refuses", "fails", "none"])
async def test_what_one_node_refuses_is_handed_to_the_next(node: Node, codespace: str, code: int, other: str) -> None:
    refusing = Node(override={"client/rawtx": rejecting(codespace, code)})
    duplicate = {"codespace": "auth", "code": 6, "message": "this is a duplicate transaction"}
    answers: dict[str, Callable[[dict[str, Any]], web.Response]] = {
        "knows": lambda body: refuse("tx already exists in cache"),
        "indexed": lambda body: reply({"code": 6, "raw_log": json.dumps(duplicate), "txhash": tx_hash(RAW).upper()}),
        "refuses": rejecting("sdk", 14),
        "fails": lambda body: web.Response(status=503),
    }
    if other in answers:
        node.override["client/rawtx"] = answers[other]
    nodes = [refusing] if other == "none" else [refusing, node]
    async with serving(refusing), client_of(*nodes) as chain:
        result = await chain.submit(RAW)
        assert result.on_its_way == (other in {"accepts", "knows", "indexed"})
        assert result.endpoint == ("node1" if result.on_its_way else "node0")
        if not result.on_its_way:
            assert (result.outcome, result.codespace, result.code) == (SubmitOutcome.REJECTED, codespace, code)
        assert not [problem for problem in chain.problems if "node0" in problem], "a verdict is no fault of the node"
        refusing.override.clear()
        assert (await chain.submit(RAW)).endpoint == "node0", "it is asked first the next time"


async def test_what_got_lost_is_handed_to_every_node(node: Node) -> None:
    """The first node takes it and passes it on to nobody; submitted everywhere, the other one has it too."""
    keeps, refuses = Node(), Node(override={"client/rawtx": rejecting("sdk", 4)})
    async with serving(keeps, refuses), client_of(keeps, refuses, node) as chain:
        assert (await chain.submit(RAW)).endpoint == "node0"
        assert "client/rawtx" not in {call for call, _ in node.seen}
        assert (await chain.submit(RAW, everywhere=True)).on_its_way
        for one in (keeps, refuses, node):
            assert "client/rawtx" in {call for call, _ in one.seen}
