"""A node's own "no": its form, the words that are known, and what they mean. All else is not the chain's word.

A node refuses with HTTP 400 and `{"code":400,"message":"…"}`, and says in words what it refuses. Words that are not known are a
refusal and nothing more: neither "there is none" nor "not yet".
"""

from __future__ import annotations

import re
from typing import Any, Final

from reactor.chains.pocket.errors import NoNodesAnswer, NotFound, PocketRpcError, RpcRefused

CODE: Final = 400
"""Status and code of every error of a node's own."""
IN_CACHE: Final = "tx already exists in cache"
_NOT_FOUND: Final = re.compile(r"tx \([0-9a-f]{64}\) not found", re.IGNORECASE)
_BEYOND_TIP: Final = "must be less than or equal to the current blockchain height"
_NO_STATE: Final = ("wanted to load target", "version does not exist", "failed to load state", "block at height not found")
_NEVER_REFUSED: Final = frozenset({"query/height", "query/accounttxs", "query/param"})
"""No node refuses these as they are asked here: one that does has something else in front of it, or is broken."""
_NEWER_CALLS: Final = frozenset({"query/unconfirmedtx"})
"""Calls that older nodes lack."""
_ROUTER: Final = {404: b"404 page not found", 405: b"Method Not Allowed"}
"""What a node says of a route that it does not have. Some proxies say the same, so it counts for newer calls only."""


def text_of(value: Any) -> str | None:  # noqa: ANN401 - JSON
    """The words of a refusal in a node's form; None if it is in another."""
    if not isinstance(value, dict) or set(value) != {"code", "message"}:
        return None
    code, message = value["code"], value["message"]
    if not isinstance(message, str):
        return None
    return message if (type(code) is int and code == CODE) or is_known(message) else None


def is_known(text: str) -> bool:
    """Whether these are words of a node, however they came here."""
    return bool(_NOT_FOUND.search(text)) or _BEYOND_TIP in text or IN_CACHE in text or is_without_state(text)


def is_without_state(text: str) -> bool:
    """Whether a node says that it has not executed the block (yet), or has forgotten its state."""
    return any(words in text for words in _NO_STATE)


def refusal(endpoint: str, call: str, text: str, *, status: int = 400) -> PocketRpcError:
    """The error for a node's own words."""
    if _NOT_FOUND.search(text) or _BEYOND_TIP in text:
        return NotFound(endpoint, call, text)
    if call in _NEVER_REFUSED:
        return NoNodesAnswer(endpoint, call, f"refused, which no node does: {text}")
    return RpcRefused(endpoint, call, text, status)


def is_missing_route(call: str, status: int, body: bytes) -> bool:
    """Whether an older node says that it does not know this call."""
    return call in _NEWER_CALLS and status in _ROUTER and body.strip() == _ROUTER[status]
