"""What can go wrong between this process and a Pocket node, one type per remedy.

Everything that a client raises is a `PocketRpcError`, or `NotAgreed` where several endpoints must agree; `means` says
what it tells of the endpoint, and whether it or others are asked again. An answer that is not understood means "not known":
neither success nor failure.
"""

from __future__ import annotations

from typing import Final

from reactor.chains.errors import Means, RpcProblem
from reactor.foreign import one_line

_TEXT_LIMIT: Final = 400


class PocketConfigError(ValueError):
    """The client cannot be built from these settings; the text names the setting and the remedy."""


class PocketDecodeError(ValueError):
    """Bytes that are not what they should be. `field` names the part (dotted path), `reason` what is wrong with it."""

    def __init__(self, field: str, reason: str) -> None:
        super().__init__(f"{field}: {reason}")
        self.field = field
        self.reason = reason


class PocketRpcError(RpcProblem):
    """A call failed. `endpoint` is the configured name of the endpoint that was asked, never its URL.

    `text` is one line, cleaned (`reactor.foreign`): a node's words are shown in logs, heartbeats and documents.
    """

    def __init__(self, endpoint: str, call: str, text: str) -> None:
        self.endpoint = endpoint
        self.call = self.about = call
        self.text = one_line(text, _TEXT_LIMIT)
        super().__init__(f"{endpoint}: {call}: {self.text}")

    @property
    def words(self) -> str:
        """See `RpcProblem`."""
        return self.text


class RpcUnavailable(PocketRpcError):  # noqa: N818 - the field's term, and the error's name in metrics
    """No usable answer: connection, time-out, 5xx, rate limit, gateway error. Ask again or elsewhere."""

    means = Means.FAULT


class NoNodesAnswer(RpcUnavailable):
    """An answer came, but none that a node gives: what answers is no node, or lets this call not through. Ask elsewhere."""

    means = Means.UNABLE
    from_node = False


class RpcRefused(PocketRpcError):  # noqa: N818
    """The node understood the call and said no, in the protocol's own form; `text` is its own. Another one may say yes."""

    means = Means.ELSEWHERE

    def __init__(self, endpoint: str, call: str, text: str, status: int = 400) -> None:
        super().__init__(endpoint, call, text)
        self.status = status


class NotFound(PocketRpcError):  # noqa: N818
    """This endpoint does not know the transaction or block (it may be pending, or the node may lag)."""

    means = Means.ELSEWHERE


class WrongChain(PocketRpcError):  # noqa: N818
    """The endpoint serves another chain than the configured one. Another endpoint may be right."""

    means = Means.WRONG

    def __init__(self, endpoint: str, call: str, expected: str, found: str) -> None:
        self.expected = expected
        self.found = one_line(found, 60)
        text = f"chain id is {self.found!r}, expected {expected!r}: correct the endpoint or the chain id"
        super().__init__(endpoint, call, text)


class MalformedAnswer(PocketRpcError):  # noqa: N818
    """An answer of the wrong shape. `field` is the path of the value that was missing, mistyped or contradictory."""

    means = Means.FAULT

    def __init__(self, endpoint: str, call: str, field: str, reason: str) -> None:
        super().__init__(endpoint, call, f"{field}: {reason}")
        self.field = field
        self.reason = one_line(reason, _TEXT_LIMIT)


class WindowNotReady(PocketRpcError):  # noqa: N818
    """The endpoint cannot show the whole window yet: it lags, or the last block is not indexed.

    `readable_to` is the highest height that it could have shown (below the window's start when it could show nothing).
    """

    means = Means.ELSEWHERE

    def __init__(self, endpoint: str, call: str, text: str, readable_to: int) -> None:
        super().__init__(endpoint, call, text)
        self.readable_to = readable_to


class WindowTooLarge(PocketRpcError):  # noqa: N818
    """The window holds more pages than allowed: ask for fewer blocks."""

    means = Means.ELSEWHERE
