"""Values of JSON-RPC: each kind at its edges, and an error that names the field."""

from collections.abc import Callable

import pytest

from reactor.chains.errors import MalformedAnswer, NotFound, RpcRefused, RpcUnavailable
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


@pytest.mark.parametrize("read", [wire.quantity, wire.hash32, wire.address, wire.flag])
def test_an_error_shows_what_the_node_sent(read: Callable[[dict[str, object], str], object]) -> None:
    with pytest.raises(MalformedAnswer, match=r"^x: expected .+, got 'odd'$"):
        read({"x": "odd"}, "x")


@pytest.mark.parametrize("read", [wire.own_hash, wire.own_address])
def test_an_error_shows_what_was_given(read: Callable[[str, str], str]) -> None:
    with pytest.raises(ValueError, match=r"^x: expected .+, got 'odd'$"):
        read("odd", "x")


def test_flags() -> None:
    assert wire.flag({"x": True}, "x")
    assert not wire.flag({"x": False}, "x")
    assert not wire.flag({}, "x")
    for value in (None, 0, "true"):
        with pytest.raises(MalformedAnswer, match="x: expected true or false"):
            wire.flag({"x": value}, "x")


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
        ({"code": 3, "message": "execution reverted"}, "eth_getLogs", RpcRefused, "execution reverted (code 3)"),
        (
            {"code": -32005, "message": "daily request count exceeded"},
            "eth_getLogs",
            RpcUnavailable,
            "daily request count exceeded",
        ),
        ({"code": 429, "message": "Too Many Requests"}, "eth_call", RpcUnavailable, "Too Many Requests"),
        ({"code": -39001, "message": "?"}, "eth_getBlockByNumber", NotFound, "?"),
        ({"code": -32000, "message": "header not found"}, "eth_call", NotFound, "header not found"),
        ({"code": -32005, "message": "?"}, "eth_getLogs", wire.TooMuch, "? (code -32005)"),
        ({"code": -32602, "message": "range too wide"}, "eth_getLogs", wire.TooMuch, "range too wide (code -32602)"),
        ({"code": -32602, "message": "range too wide"}, "eth_call", RpcRefused, "range too wide (code -32602)"),
        ({"code": "5", "message": "  "}, "eth_call", RpcRefused, "error {'code': '5', 'message': ' '}"),
        ("gone", "eth_call", RpcRefused, "error 'gone'"),
    ],
)
def test_error_objects(error: object, method: str, kind: type[Exception], reason: str) -> None:
    found = wire.error_of(error, "http://user:secret@host:8545/key", method)
    assert type(found) is kind
    assert (found.reason, found.endpoint, found.method) == (reason, "http://host:8545", method)
    assert "secret" not in str(found)


@pytest.mark.parametrize(
    ("error", "method", "final", "code", "data"),
    [
        pytest.param(
            {"code": 3, "message": "execution reverted", "data": "0x08c379a0"}, "eth_call", True, 3, "0x08c379a0", id="revert"
        ),
        pytest.param({"code": 3, "message": "execution reverted", "data": 5}, "eth_call", True, 3, None, id="data of no text"),
        pytest.param({"code": 3, "message": "no"}, "eth_call", True, 3, None, id="by its code alone"),
        pytest.param({"code": -32000, "message": "REVERT"}, "eth_call", True, -32000, None, id="by its words alone"),
        pytest.param({"code": 4, "message": "no", "data": "0x01"}, "eth_call", False, 4, "0x01", id="neither"),
        pytest.param({"code": 7, "message": "no", "data": {"x": 1}}, "eth_call", False, 7, None, id="neither, with other data"),
        pytest.param({"code": "3", "message": "no"}, "eth_call", False, None, None, id="a code of no number"),
        pytest.param({"code": 3, "message": "execution reverted"}, "eth_getLogs", False, 3, None, id="not a call"),
    ],
)
def test_a_reverted_call_is_final_and_nothing_else_is(
    error: object, method: str, final: bool, code: int | None, data: str | None
) -> None:
    found = wire.error_of(error, "http://h", method)
    assert type(found) is RpcRefused
    assert (found.final, found.code, found.data) == (final, code, data)


def test_a_query_that_is_too_large_keeps_its_code() -> None:
    found = wire.error_of({"code": -32005, "message": "?"}, "http://h", "eth_getLogs")
    assert isinstance(found, wire.TooMuch)
    assert (found.code, found.final) == (-32005, False)


@pytest.mark.parametrize(("message", "throttled"), [("rate limit exceeded", True), ("no such method", False)])
def test_a_node_that_is_asked_too_much_says_so(message: str, throttled: bool) -> None:
    assert wire.error_of({"code": -1, "message": message}, "http://h", "eth_getLogs").throttled is throttled


def test_what_a_node_sent_is_shown_short() -> None:
    assert shown("x" * 500) == repr("x" * 500)[:80]
