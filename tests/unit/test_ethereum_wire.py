"""Values of JSON-RPC: each kind at its edges, and an error that names the field."""

from collections.abc import Callable

import pytest

from reactor.chains.errors import MalformedAnswer, Means, NotFound, RpcRefused, RpcUnavailable
from reactor.chains.ethereum import wire
from reactor.foreign import shown

pytestmark = pytest.mark.unit

HASH, ADDRESS = "0x" + "Ab" * 32, "0x" + "Cd" * 20
HEADER = {"number": "0x64", "hash": HASH, "parentHash": "0x" + "cd" * 32, "timestamp": "0x5"}


@pytest.mark.parametrize(("text", "number"), [("0x0", 0), ("0xFf", 255), ("0x" + "0" * 60 + "1", 1), (hex(2**63 - 1), 2**63 - 1)])
def test_quantities(text: str, number: int) -> None:
    assert wire.quantity({"x": text}, "x") == number


@pytest.mark.parametrize("value", [None, 5, "", "0x", "5", "0xg", "0x1 ", hex(2**63), "0x" + "f" * 64, "0x\u0661", True])
def test_what_is_no_quantity_or_larger_than_any_height_is_malformed(value: object) -> None:
    with pytest.raises(MalformedAnswer, match=r"x: expected a 0x quantity below 2\^63"):
        wire.quantity({"x": value}, "x")


def test_hashes_and_addresses_come_out_in_lower_case() -> None:
    assert wire.hash32({"x": HASH}, "x") == wire.own_hash(HASH, "x") == HASH.lower()
    assert wire.address({"x": ADDRESS}, "x") == wire.own_address(ADDRESS, "x") == ADDRESS.lower()


@pytest.mark.parametrize("value", [None, 5, HASH[:-1], HASH + "0", HASH[2:], ADDRESS[:-1], ADDRESS + "0", ADDRESS + "\n"])
def test_what_is_none_is_named(value: object) -> None:
    for read in (wire.hash32, wire.address):
        with pytest.raises(MalformedAnswer, match="x: expected 0x and"):
            read({"x": value}, "x")
    for own in (wire.own_hash, wire.own_address):
        with pytest.raises(ValueError, match="x: expected 0x and"):
            own(value, "x")  # type: ignore[arg-type]


@pytest.mark.parametrize("read", [wire.quantity, wire.hash32, wire.address])
def test_an_error_shows_what_the_node_sent(read: Callable[[dict[str, object], str], object]) -> None:
    with pytest.raises(MalformedAnswer, match=r"^x: expected .+, got 'odd'$"):
        read({"x": "odd"}, "x")


@pytest.mark.parametrize("read", [wire.own_hash, wire.own_address])
def test_an_error_shows_what_was_given(read: Callable[[str, str], str]) -> None:
    with pytest.raises(ValueError, match=r"^x: expected .+, got 'odd'$"):
        read("odd", "x")


def test_headers() -> None:
    head = wire.header(HEADER)
    assert (head.number, head.hash, head.parent_hash, head.time) == (100, HASH.lower(), "0x" + "cd" * 32, 5)
    with pytest.raises(NotFound, match=r"^no such block$"):
        wire.header(None)
    with pytest.raises(MalformedAnswer, match=r"^block: expected an object, got \[\]$"):
        wire.header([])
    for name in HEADER:
        with pytest.raises(MalformedAnswer, match=f"^{name}: "):
            wire.header({**HEADER, name: "?"})


@pytest.mark.parametrize(
    ("error", "method", "kind", "reason"),
    [
        (
            {"code": 3, "message": "execution reverted", "data": "0x08c379a0"},
            "eth_call",
            RpcRefused,
            "execution reverted (code 3)",
        ),
        ({"code": -32000, "message": "VM Exception: revert"}, "eth_call", RpcRefused, "VM Exception: revert (code -32000)"),
        ({"code": 3, "message": "execution reverted"}, "eth_getLogs", wire.TooMuch, "execution reverted (code 3)"),
        (
            {"code": -32005, "message": "daily request count exceeded"},
            "eth_getLogs",
            RpcUnavailable,
            "daily request count exceeded (code -32005)",
        ),
        ({"code": 429, "message": "Too Many Requests"}, "eth_call", RpcUnavailable, "Too Many Requests (code 429)"),
        ({"code": -39001, "message": "?"}, "eth_getBlockByNumber", NotFound, "?"),
        ({"code": -32000, "message": "header not found"}, "eth_call", NotFound, "header not found"),
        ({"code": -32005, "message": "?"}, "eth_getLogs", wire.TooMuch, "? (code -32005)"),
        ({"code": -32602, "message": "range too wide"}, "eth_getLogs", wire.TooMuch, "range too wide (code -32602)"),
        ({"code": -32602, "message": "range too wide"}, "eth_call", RpcRefused, "range too wide (code -32602)"),
        ({"code": 5, "message": "  "}, "eth_call", RpcRefused, "error {'code': 5, 'message': ' '} (code 5)"),
        (
            {"code": "5", "message": "no"},
            "eth_call",
            MalformedAnswer,
            "error: expected a code and a message, got {'code': '5', 'message': 'no'}",
        ),
        (
            {"code": 35, "message": "ranges over 10000 blocks are not supported on freetier"},
            "eth_getLogs",
            wire.TooMuch,
            "ranges over 10000 blocks are not supported on freetier (code 35)",
        ),
        (
            {"code": -32601, "message": "the method eth_getLogs does not exist"},
            "eth_getLogs",
            wire.TooMuch,
            "the method eth_getLogs does not exist (code -32601)",
        ),
        ("gone", "eth_call", MalformedAnswer, "error: expected a code and a message, got 'gone'"),
    ],
)
def test_error_objects(error: object, method: str, kind: type[Exception], reason: str) -> None:
    found = wire.error_of(error, "http://user:secret@host:8545/key", method)
    assert type(found) is kind
    assert (found.reason, found.endpoint, found.method) == (reason, "http://host:8545", method)
    assert "secret" not in str(found)


@pytest.mark.parametrize(
    ("error", "method", "means", "data"),
    [
        pytest.param({"code": 3, "message": "x", "data": "0x08c379a0"}, "eth_call", Means.ELSEWHERE, "0x08c379a0", id="by code"),
        pytest.param({"code": 3, "message": "reverted", "data": 5}, "eth_call", Means.ELSEWHERE, None, id="data of no text"),
        pytest.param({"code": -32000, "message": "REVERT"}, "eth_call", Means.ELSEWHERE, None, id="by its words alone"),
        pytest.param({"code": 4, "message": "no", "data": "0x01"}, "eth_call", Means.UNABLE, None, id="neither"),
        pytest.param({"code": -32601, "message": "no such method"}, "eth_chainId", Means.UNABLE, None, id="lacks the method"),
        pytest.param({"code": -32600, "message": "invalid request"}, "eth_call", Means.UNABLE, None, id="invalid request"),
        pytest.param({"code": -32602, "message": "invalid params"}, "eth_call", Means.UNABLE, None, id="invalid params"),
        pytest.param({"code": 3, "message": "reverted"}, "eth_getBlockByHash", Means.UNABLE, None, id="a block does not revert"),
    ],
)
def test_a_reverted_call_is_an_answer_and_any_other_refusal_is_the_endpoints_own(
    error: object, method: str, means: Means, data: str | None
) -> None:
    found = wire.error_of(error, "http://h", method)
    assert type(found) is RpcRefused
    assert (found.means, found.data, found.about) == (means, data, method)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        (-1, "rate limit exceeded"),
        (-32007, "50/second request limit reached"),
        (-32012, "credits limited to 6000/min"),
        (15, "Too many request, try again later"),
        (-32005, "daily request count exceeded, request rate limited"),
        (429, "Your app has exceeded its compute units per second capacity"),
        (-32029, "x"),
    ],
)
@pytest.mark.parametrize("method", ["eth_getLogs", "eth_call"])
def test_a_node_that_is_asked_too_much_says_so(code: int, message: str, method: str) -> None:
    found = wire.error_of({"code": code, "message": message}, "http://h", method)
    assert (type(found), found.throttled, found.means) == (RpcUnavailable, True, Means.FAULT)


@pytest.mark.parametrize(
    "message",
    [
        "no such method",
        "query returned more than 10000 results",
        "ranges over 10000 blocks are not supported on freetier",
        "You can make eth_getLogs requests with up to a 10 block range. Log response size exceeded.",
        "eth_getLogs is limited to a 10,000 range",
        "exceed maximum block range: 50000",
        "query timeout exceeded",
        "Block range limit exceeded. See more details at https://docs.example/limits",
    ],
)
def test_a_refused_size_is_no_throttling(message: str) -> None:
    found = wire.error_of({"code": -32000, "message": message}, "http://h", "eth_getLogs")
    assert (type(found), found.throttled) == (wire.TooMuch, False)


def test_what_a_node_sent_is_shown_short() -> None:
    assert shown("x" * 500) == repr("x" * 500)[:80]
