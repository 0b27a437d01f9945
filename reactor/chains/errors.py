"""What can go wrong when a chain's node is asked: one class per thing that the caller may do about it.

`RpcUnavailable`: no usable answer (refused connection, time-out, 5xx, 429); try again, or another endpoint.
`RpcRefused`: the node answered with an error of its own; what helps depends on its `code`, the same call again does not.
`MalformedAnswer`: not what the protocol promises (HTML, empty, a field of the wrong type); try another endpoint.
`NotFound`: a well-formed "there is no such block or transaction"; wait, or ask another endpoint.
`WrongChain`: the endpoint serves another chain than the configured one; an operator must act.

Each names endpoint and method. Endpoints are named without path, query and credentials: providers put keys there.
"""

from __future__ import annotations

from urllib.parse import urlsplit

__all__ = [
    "ChainError",
    "MalformedAnswer",
    "NotFound",
    "RpcRefused",
    "RpcUnavailable",
    "WrongChain",
    "endpoint_label",
]

_MESSAGE_LIMIT = 300


def endpoint_label(url: str) -> str:
    """`scheme://host:port` of an endpoint: what may be logged and shown.

    SECURITY: user names, passwords, paths and queries are cut, since RPC providers carry their keys in them.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "unreadable endpoint"
    if not host:
        return "unreadable endpoint"
    shown = f"[{host}]" if ":" in host else host
    return f"{parts.scheme}://{shown}" + (f":{port}" if port else "")


class ChainError(Exception):
    """Base of all chain errors.

    `endpoint` is a label (see `endpoint_label`), `method` the call, `reason` one line of at most 300 characters.
    """

    def __init__(self, reason: str, *, endpoint: str = "", method: str = "") -> None:
        self.reason = " ".join(reason.split())[:_MESSAGE_LIMIT]
        self.endpoint = endpoint_label(endpoint) if endpoint else ""
        self.method = method
        where = " ".join(part for part in (self.method, f"at {self.endpoint}" if self.endpoint else "") if part)
        super().__init__(f"{where}: {self.reason}" if where else self.reason)


class RpcUnavailable(ChainError):  # noqa: N818 - named for what happened
    """No usable answer came: connection refused, time-out, too many requests, server fault. Worth another try."""


class RpcRefused(ChainError):  # noqa: N818 - named for what happened
    """The node understood and said no.

    `code` is its error code (JSON-RPC code or HTTP status) and `data` its error data (hex of a revert), if any. `final`: any
    other endpoint would say the same (a revert), so nobody else is asked.
    """

    def __init__(
        self,
        reason: str,
        *,
        endpoint: str = "",
        method: str = "",
        code: int | None = None,
        data: str | None = None,
        final: bool = False,
    ) -> None:
        super().__init__(reason if code is None else f"{reason} (code {code})", endpoint=endpoint, method=method)
        self.code = code
        self.data = data
        self.final = final


class MalformedAnswer(ChainError):  # noqa: N818 - named for what happened
    """Not what the protocol promises: not JSON, empty, a field missing or of the wrong type (`reason` names it)."""


class NotFound(ChainError):  # noqa: N818 - named for what happened
    """The node answered well, and it has no such block, transaction or account."""


class WrongChain(ChainError):  # noqa: N818 - named for what happened
    """The endpoint serves another chain than the configured one."""
