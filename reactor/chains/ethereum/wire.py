"""Values of Ethereum's JSON-RPC, parsed once and strictly: a wrong type becomes an error that names the field."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Final, TypeGuard

from reactor.chains.errors import ChainError, MalformedAnswer, Means, NotFound, RpcRefused, RpcUnavailable
from reactor.chains.ethereum.types import Head
from reactor.foreign import shown

__all__ = ["LOGS", "TooMuch", "address", "error_of", "hash32", "header", "is_data", "own_address", "own_hash", "quantity"]

_QUANTITY = re.compile(r"0x0*[0-9a-fA-F]{1,16}", re.ASCII)
_LARGEST = 2**63 - 1
_HASH = re.compile(r"0x[0-9a-fA-F]{64}", re.ASCII)
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)
_DATA = re.compile(r"0x(?:[0-9a-fA-F]{2})*", re.ASCII)

LOGS: Final = "eth_getLogs"

# Nodes agree on no code for these; texts are those of geth, erigon, nethermind, reth, anvil, Infura, Alchemy, QuickNode and dRPC.
# SECURITY: no list is complete, so nothing may go wrong for good where a text is not known: see `ContractEvents`.
_THROTTLED: Final = re.compile(
    r"rate.?limit|too many requests?\b|request (count|limit)|requests? per |quota|capacity|throughput|compute units|credits?\b|"
    r"throttl|slow down|[0-9] ?/ ?(s|sec|second|min|minute|hour|day)\b",
    re.IGNORECASE,
)
_THROTTLED_CODES: Final = frozenset({429, 15, -32007, -32012, -32029})
_UNKNOWN_BLOCK = re.compile(
    r"unknown block|(block|header|safe|finalized)( with hash| with number)?[^.]{0,80} not found|"
    r"beyond (current )?head|after last accepted|blockoutofrange|block ?out ?of ?range",
    re.IGNORECASE,
)
_REVERT = re.compile(r"revert", re.IGNORECASE)


class TooMuch(RpcRefused):
    """The node refuses this query for logs; it may bear one for fewer blocks."""

    means = Means.ELSEWHERE


def quantity(fields: Mapping[str, Any], name: str) -> int:
    """A `0x` quantity up to 2^63 - 1: numbers of blocks and logs, seconds, a chain id. Raises MalformedAnswer naming the field.

    A larger one is no such thing, and would only fail where it is stored.
    """
    value = fields.get(name)
    if not isinstance(value, str) or _QUANTITY.fullmatch(value) is None or (number := int(value, 16)) > _LARGEST:
        raise MalformedAnswer(f"{name}: expected a 0x quantity below 2^63, got {shown(value)}")
    return number


def hash32(fields: Mapping[str, Any], name: str) -> str:
    """A 32-byte hash in lower case with `0x`. Raises MalformedAnswer naming the field."""
    value = fields.get(name)
    if not isinstance(value, str) or _HASH.fullmatch(value) is None:
        raise MalformedAnswer(f"{name}: expected 0x and 64 hex digits, got {shown(value)}")
    return value.lower()


def address(fields: Mapping[str, Any], name: str) -> str:
    """An address in lower case with `0x`. Raises MalformedAnswer naming the field."""
    value = fields.get(name)
    if not isinstance(value, str) or _ADDRESS.fullmatch(value) is None:
        raise MalformedAnswer(f"{name}: expected 0x and 40 hex digits, got {shown(value)}")
    return value.lower()


def is_data(value: object) -> TypeGuard[str]:
    """Whether this is how the protocol writes bytes: `0x` and pairs of hex digits, perhaps none."""
    return isinstance(value, str) and _DATA.fullmatch(value) is not None


def own_address(value: str, name: str) -> str:
    """An address that our own side gives, in lower case. Raises ValueError naming it."""
    if not isinstance(value, str) or _ADDRESS.fullmatch(value) is None:
        raise ValueError(f"{name}: expected 0x and 40 hex digits, got {shown(value)}")
    return value.lower()


def own_hash(value: str, name: str) -> str:
    """A 32-byte hash that our own side gives, in lower case. Raises ValueError naming it."""
    if not isinstance(value, str) or _HASH.fullmatch(value) is None:
        raise ValueError(f"{name}: expected 0x and 64 hex digits, got {shown(value)}")
    return value.lower()


def header(answer: object) -> Head:
    """A block header from `eth_getBlockBy…`. Raises NotFound for null, MalformedAnswer naming the field."""
    if answer is None:
        raise NotFound("no such block")
    if not isinstance(answer, dict):
        raise MalformedAnswer(f"block: expected an object, got {shown(answer)}")
    return Head(
        number=quantity(answer, "number"),
        hash=hash32(answer, "hash"),
        parent_hash=hash32(answer, "parentHash"),
        time=quantity(answer, "timestamp"),
    )


def error_of(error: object, endpoint: str, method: str) -> ChainError:
    """The typed error for the `error` object of a JSON-RPC answer."""
    fields = error if isinstance(error, dict) else {}
    message, code, data = fields.get("message"), fields.get("code"), fields.get("data")
    if not isinstance(message, str) or not isinstance(code, int):
        return MalformedAnswer(f"error: expected a code and a message, got {shown(error)}", endpoint=endpoint, method=method)
    reason = message if message.strip() else f"error {shown(error)}"
    if method == "eth_call" and (code == 3 or _REVERT.search(reason)):
        words = data if isinstance(data, str) else None
        return RpcRefused(reason, code=code, data=words, endpoint=endpoint, method=method, answered=True)
    if code in _THROTTLED_CODES or _THROTTLED.search(reason):
        throttled = RpcUnavailable(f"{reason} (code {code})", endpoint=endpoint, method=method)
        throttled.throttled = True
        return throttled
    if code == -39001 or _UNKNOWN_BLOCK.search(reason):
        return NotFound(reason, endpoint=endpoint, method=method)
    kind = TooMuch if method == LOGS else RpcRefused
    return kind(reason, code=code, endpoint=endpoint, method=method)
