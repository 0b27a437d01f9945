"""What can go wrong when a chain's node is asked: one class per thing that the caller may do about it.

`RpcUnavailable`: no usable answer (refused connection, time-out, 5xx, 429); try again, or another endpoint.
`RpcRefused`: the node answered with an error of its own; asking another endpoint may help, the same one again soon does not.
`MalformedAnswer`: not what the protocol promises (HTML, empty, a field of the wrong type); try another endpoint.
`NotFound`: a well-formed "there is no such block or transaction"; wait, or ask another endpoint.
`WrongChain`: the endpoint serves another chain than the configured one; an operator must act.
`NotAgreed`: fewer endpoints than configured say the same; wait, and see which ones it names.

Each names endpoint and method. Endpoints are named without path, query and credentials: providers put keys there. What a node
said is cleaned by the error's constructor (`reactor.foreign`).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from enum import Enum
from typing import Final
from urllib.parse import urlsplit

from reactor.foreign import masked_host, one_line

__all__ = [
    "ChainError",
    "MalformedAnswer",
    "Means",
    "NotAgreed",
    "NotFound",
    "RpcProblem",
    "RpcRefused",
    "RpcUnavailable",
    "WrongChain",
    "endpoint_label",
    "retry_after_seconds",
]

_MESSAGE_LIMIT = 300
LONGEST_RETRY_AFTER: Final = 300.0
"""Seconds that an endpoint may ask us to stay away: a broken one must not be able to shut itself out for days."""


class Means(Enum):
    """What an error says about the endpoint that was asked, and so what to do next.

    `FAULT`: no usable answer; it stands back, the others are asked, another round may help. `WRONG`: as `FAULT`, but asking
    again cannot help. `ELSEWHERE`: an answer, but another endpoint may know better. `UNABLE`: it does not answer what others
    may (it lacks the method, old state, permission); the others are asked, it is named and stands back for a while.

    SECURITY: nothing that one node says is so final that nobody else is asked.
    """

    FAULT = "fault"
    WRONG = "wrong"
    ELSEWHERE = "elsewhere"
    UNABLE = "unable"


class RpcProblem(Exception):  # noqa: N818 - named for what it is
    """Base of the errors of all chain clients, as the list of endpoints needs to know them.

    `throttled`: the endpoint said that it is asked too much. `retry_after`: the seconds that it asked for, None if it did not.
    `asked` is False where the call never went out (our own rate limit), which says nothing against the endpoint. `about`: the
    call that failed. `from_node` is False where what answered is no node (a gateway's or a web server's own status).
    """

    throttled: bool = False
    retry_after: float | None = None
    asked: bool = True
    from_node: bool = True
    about: str = ""
    means: Means = Means.ELSEWHERE

    @property
    def words(self) -> str:
        """What went wrong, without who was asked what."""
        return str(self)


def retry_after_seconds(header: str | None) -> float | None:
    """The seconds of a `Retry-After` header (RFC 9110 10.2.3: whole seconds or a date), at most `LONGEST_RETRY_AFTER`.

    None where it says none that can be read.
    """
    if header is None:
        return None
    text = header.strip()
    if text.isascii() and text.isdigit() and len(text) <= 9:
        return min(float(text), LONGEST_RETRY_AFTER)
    try:
        moment = parsedate_to_datetime(text)
        if moment.tzinfo is None:
            moment = moment.replace(tzinfo=UTC)
        wait = (moment - datetime.now(UTC)).total_seconds()
    except Exception:  # noqa: BLE001 - the parser fails in more ways than it says (a year of ten digits: OverflowError)
        return None
    return min(max(0.0, wait), LONGEST_RETRY_AFTER)


def endpoint_label(url: str) -> str:
    """`scheme://host:port` of an endpoint: what may be logged and shown.

    SECURITY: user names, passwords, paths and queries are cut, since RPC providers carry their keys in them; a part of the host
    that looks like a key is `masked`.
    """
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        return "unreadable endpoint"
    if not host:
        return "unreadable endpoint"
    shown = f"[{host}]" if ":" in host else masked_host(host)
    return f"{parts.scheme}://{shown}" + (f":{port}" if port else "")


class ChainError(RpcProblem):
    """Base of all chain errors.

    `endpoint` is a label (see `endpoint_label`), `method` the call, `reason` one line of at most 300 characters.
    """

    def __init__(self, reason: str, *, endpoint: str = "", method: str = "") -> None:
        self.reason = one_line(reason, _MESSAGE_LIMIT)
        self.endpoint = endpoint_label(endpoint) if endpoint else ""
        self.method = self.about = method
        where = " ".join(part for part in (self.method, f"at {self.endpoint}" if self.endpoint else "") if part)
        super().__init__(f"{where}: {self.reason}" if where else self.reason)

    @property
    def words(self) -> str:
        """See `RpcProblem`."""
        return self.reason


class RpcUnavailable(ChainError):  # noqa: N818 - named for what happened
    """No usable answer came: connection refused, time-out, too many requests, server fault. Worth another try."""

    means = Means.FAULT


class RpcRefused(ChainError):  # noqa: N818 - named for what happened
    """The node understood and said no.

    `code` is its error code and `data` its error data (hex of a revert), if any. `answered`: that was the answer to the question
    (the contract reverted). Otherwise it is this endpoint that does not answer, and says nothing of the chain.
    """

    means = Means.UNABLE

    def __init__(
        self,
        reason: str,
        *,
        endpoint: str = "",
        method: str = "",
        code: int | None = None,
        data: str | None = None,
        answered: bool = False,
    ) -> None:
        super().__init__(reason if code is None else f"{reason} (code {code})", endpoint=endpoint, method=method)
        self.code = code
        self.data = data
        self.answered = answered
        if answered:
            self.means = Means.ELSEWHERE


class MalformedAnswer(ChainError):  # noqa: N818 - named for what happened
    """Not what the protocol promises: not JSON, empty, a field missing or of the wrong type (`reason` names it)."""

    means = Means.FAULT


class NotFound(ChainError):  # noqa: N818 - named for what happened
    """The node answered well, and it has no such block, transaction or account."""

    means = Means.ELSEWHERE


class WrongChain(ChainError):  # noqa: N818 - named for what happened
    """The endpoint serves another chain than the configured one."""

    means = Means.WRONG


class NotAgreed(ChainError):  # noqa: N818 - named for what happened
    """Fewer endpoints than configured say the same of `subject`.

    `needed`: how many must. `agreeing`: names of the largest group that does. `others`: what each of the rest said or why it
    said nothing, by name. `transient`: some only failed to answer, so that asking again soon may help. `chain`: whose they are.
    """

    def __init__(
        self,
        subject: str,
        *,
        needed: int,
        agreeing: Sequence[str],
        others: Mapping[str, str],
        transient: bool = False,
        chain: str = "",
    ) -> None:
        self.subject = subject
        self.chain = chain
        self.needed = needed
        self.agreeing = tuple(agreeing)
        self.others = {name: one_line(said, _MESSAGE_LIMIT) for name, said in others.items()}
        self.transient = transient
        have = f"{len(self.agreeing)} of {needed} endpoints needed agree on {subject}"
        super().__init__(f"{have}; {self.dissent}")

    @property
    def dissent(self) -> str:
        """Who says what, as one line."""
        return "; ".join(f"{name}: {said}" for name, said in self.others.items())

    @property
    def params(self) -> dict[str, str]:
        """The parameters of the wait reason: texts, as documents hold them."""
        return {
            "subject": self.subject,
            "have": str(len(self.agreeing)),
            "need": str(self.needed),
            "agreeing": ", ".join(self.agreeing),
            "endpoints": one_line(self.dissent, _MESSAGE_LIMIT),
        }
