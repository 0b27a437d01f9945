"""Values of Ethereum's JSON-RPC, parsed once and strictly: a wrong type becomes an error that names the field."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from reactor.chains.errors import ChainError, MalformedAnswer, NotFound, RpcRefused, RpcUnavailable
from reactor.chains.ethereum.types import Head
from reactor.foreign import shown

__all__ = ["TooMuch", "address", "error_of", "flag", "hash32", "header", "own_address", "own_hash", "quantity"]

_QUANTITY = re.compile(r"0x0*[0-9a-fA-F]{1,16}", re.ASCII)
_LARGEST = 2**63 - 1
_HASH = re.compile(r"0x[0-9a-fA-F]{64}", re.ASCII)
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)

# Nodes agree on no code for these; the texts are those of geth, erigon, nethermind, reth, anvil, Infura, Alchemy, QuickNode.
_THROTTLED = re.compile(r"rate.?limit|too many requests|request count|quota|capacity|throughput|compute units", re.IGNORECASE)
_TOO_MUCH = re.compile(
    r"block range|range (is )?too|too (large|many|wide|big)|more than|query returned|limit exceeded|exceed|"
    r"\blimit(ed)?\b|response size|logs matched|query timeout|max(imum)? (block|range|results)|timed? ?out",
    re.IGNORECASE,
)
_UNKNOWN_BLOCK = re.compile(
    r"unknown block|(block|header|safe|finalized)( with hash| with number)?[^.]{0,80} not found|"
    r"beyond (current )?head|after last accepted|blockoutofrange|block ?out ?of ?range",
    re.IGNORECASE,
)
_REVERT = re.compile(r"revert", re.IGNORECASE)


class TooMuch(RpcRefused):
    """The node refuses the size of a query, not the query: ask for fewer blocks."""


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


def flag(fields: Mapping[str, Any], name: str) -> bool:
    """A JSON boolean; absent means false. Raises MalformedAnswer naming the field."""
    value = fields.get(name, False)
    if not isinstance(value, bool):
        raise MalformedAnswer(f"{name}: expected true or false, got {shown(value)}")
    return value


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
    message = fields.get("message")
    reason = message if isinstance(message, str) and message.strip() else f"error {shown(error)}"
    code = fields.get("code") if isinstance(fields.get("code"), int) else None
    data = fields.get("data")
    if method == "eth_call" and (code == 3 or _REVERT.search(reason)):
        return RpcRefused(
            reason, code=code, data=data if isinstance(data, str) else None, final=True, endpoint=endpoint, method=method
        )
    if _THROTTLED.search(reason):
        throttled = RpcUnavailable(reason, endpoint=endpoint, method=method)
        throttled.throttled = True
        return throttled
    if code == -39001 or _UNKNOWN_BLOCK.search(reason):
        return NotFound(reason, endpoint=endpoint, method=method)
    if method == "eth_getLogs" and (code == -32005 or _TOO_MUCH.search(reason)):
        return TooMuch(reason, code=code, endpoint=endpoint, method=method)
    return RpcRefused(reason, code=code, data=data if isinstance(data, str) else None, endpoint=endpoint, method=method)
