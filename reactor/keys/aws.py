"""What the AWS signers share: URIs, clients that give up in time, and blocking calls on a few threads.

boto3 blocks, so its calls run in threads of their own, with a bounded queue and a deadline each.
"""

import asyncio
import logging
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, Literal, TypeVar
from urllib.parse import parse_qs, unquote, urlsplit

from reactor.keys.problem import KeyProblem
from reactor.keys.stats import SignerStats
from reactor.keys.threads import MOST_WRITTEN_OFF, Threads
from reactor.urls import UrlProblem, http_url, on_this_machine

THREADS = 8
"""Calls at once: at 10-20 ms each about 500 signatures a second, more than the service's own default quota for ECC keys."""
MAX_WAITING = 1024
"""Calls that may wait for a thread; more means that the service is down, and that is an error to report."""
CONNECT_TIMEOUT_S = 2.0
READ_TIMEOUT_S = 4.0
ATTEMPTS = 4
CALL_TIMEOUT_S = 30.0
"""One call with all its attempts and the wait for a thread: 4 x (2 + 4) s and the pauses of the adaptive mode."""
HELD_S = 60.0
"""Longer than any call with all its attempts: a thread that is with one for so long is held by whoever answers."""

_REGION = re.compile(r"[a-z]{2,4}(-[a-z0-9]+)+")
_HEX_KEY = re.compile(r"[0-9a-fA-F]{64}")
_ERROR_CODE = re.compile(r"[A-Za-z.]{1,80}")
_TRANSIENT: Final = frozenset(
    {
        "DependencyTimeoutException",
        "InternalFailure",
        "InternalServiceError",
        "KeyUnavailableException",
        "KMSInternalException",
        "LimitExceededException",
        "RequestTimeout",
        "ServiceUnavailable",
        "ServiceUnavailableException",
        "Throttling",
        "ThrottlingException",
        "TooManyRequestsException",
    }
)

_TALKATIVE: Final = ("botocore.auth", "botocore.endpoint", "botocore.parsers")
"""At debug level they print session tokens and what the service answered: a secret store answers with the key."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Place:
    """A parsed URI: which thing in which region.

    Attributes:
        source: the URI without its endpoint, for errors and descriptions.
        options: what follows the question mark, but the endpoint.
    """

    source: str
    region: str
    name: str
    endpoint: str | None
    options: Mapping[str, str]


def parse_place(uri: str, name: re.Pattern[str], form: str, options: frozenset[str] = frozenset()) -> Place:
    """Parse `kind://region/name[?endpoint=https://…]`.

    Args:
        uri: whose kind has been recognised already.
        name: what the part after the region must look like, once unquoted.
        form: how the URI should look, for the remedy.
        options: what may follow the question mark besides `endpoint`.

    Raises:
        KeyProblem: malformed; of the URI only its kind is shown.
    """
    kind = f"{uri.partition('://')[0]}://"
    remedy = f"Write {form}, if need be with ?endpoint=https://host"
    try:
        parts = urlsplit(uri)
        query = parse_qs(parts.query, keep_blank_values=True, strict_parsing=bool(parts.query))
    except ValueError:
        raise KeyProblem(kind, "is not a well-formed URI", remedy) from None
    named = unquote(parts.path.removeprefix("/"))
    # SECURITY: a key put where its name belongs is neither sent anywhere nor shown.
    if not _REGION.fullmatch(parts.netloc) or not name.fullmatch(named) or _HEX_KEY.search(named) or parts.fragment:
        raise KeyProblem(kind, "region or name is missing or malformed", remedy)
    known = {"endpoint", *options}
    if set(query) - known or any(len(values) > 1 for values in query.values()):
        words = " and ".join(f"`{word}`" for word in sorted(known))
        raise KeyProblem(kind, f"only {words} may follow the question mark, once", remedy)
    single = {word: values[0] for word, values in query.items()}
    endpoint = single.pop("endpoint", None)
    if endpoint is not None:
        endpoint = _safe_endpoint(endpoint, kind, remedy)
    return Place(f"{kind}{parts.netloc}/{named}", parts.netloc, named, endpoint, single)


def _safe_endpoint(endpoint: str, kind: str, remedy: str) -> str:
    try:
        url = http_url(endpoint)
    except UrlProblem:
        url = ""
    # SECURITY: over plain HTTP anyone on the way could hand out his own public key, or read the secret one.
    if "@" in urlsplit(url).netloc or not (url.startswith("https://") or on_this_machine(url)):
        raise KeyProblem(kind, "the endpoint is neither https nor on this machine", remedy)
    return url


class Calls:
    """Blocking calls on a few threads, with a bounded queue and a deadline each.

    Args:
        source: the URI, for errors.
        permissions: what the caller's role must allow, for the remedy.
        stats: where requests are counted.
        threads: calls at once.
    """

    __slots__ = ("_closed", "_permissions", "_source", "_stats", "_threads", "_workers")

    def __init__(self, source: str, permissions: str, stats: SignerStats, threads: int = THREADS) -> None:
        self._source = source
        self._permissions = permissions
        self._stats = stats
        self._threads = threads
        self._closed = False
        self._workers = Threads(threads, "aws-key")

    def connect(self, place: Place, service: Literal["kms", "secretsmanager"]) -> Any:  # noqa: ANN401 - boto3 makes its classes at run time
        """Make a client whose time-outs and retries are bounded and whose requests are counted. Blocks: `run` it."""
        import boto3  # noqa: PLC0415 - a third of a second that only users of AWS pay
        from botocore.config import Config  # noqa: PLC0415

        config = Config(
            connect_timeout=CONNECT_TIMEOUT_S,
            read_timeout=READ_TIMEOUT_S,
            retries={"mode": "adaptive", "total_max_attempts": ATTEMPTS},
            max_pool_connections=self._threads,
            tcp_keepalive=True,
            # SECURITY: AWS_ENDPOINT_URL and the shared configuration could name an endpoint that was not judged above.
            ignore_configured_endpoint_urls=True,  # type: ignore[call-arg] # the stubs do not know it
            # SECURITY: what may go in clear because it stays on this machine must not leave it by HTTP_PROXY.
            proxies={} if place.endpoint is not None and on_this_machine(place.endpoint) else None,
        )
        # SECURITY: a filter, because a level can be set back by whoever configures the log next.
        for name in _TALKATIVE:
            logging.getLogger(name).addFilter(_is_no_detail)
        # A session of its own: boto3's default session is shared, and not safe across threads.
        session = boto3.session.Session(region_name=place.region)
        client = session.client(service, endpoint_url=place.endpoint, config=config)
        client.meta.events.register("before-send", self._before_attempt)
        return client

    def _before_attempt(self, **_: object) -> None:
        # A process that stops must not wait for the attempts that a call under way has left.
        if self._closed:
            raise RuntimeError("closed")
        self._stats.count_attempt()

    async def run(self, call: Callable[[], _T]) -> _T:
        """Run one call.

        Raises:
            KeyProblem: it failed, took too long, or too many wait already.
        """
        if not self._workers.write_off(HELD_S):
            # Told at once and with what helps: who waits for a thread would only learn that there was no answer.
            held = self._threads + MOST_WRITTEN_OFF
            problem = f"the service ends none of {held} calls: it signs again once one ends or the validator is started again"
            raise KeyProblem(self._source, problem, "Check the endpoint and what lies before it", transient=True)
        # Counted by what the threads still hold, not by who still waits for it: a call given up occupies its thread.
        if self._workers.unfinished >= self._threads + MAX_WAITING:
            raise self._problem("too many calls wait for the key service", transient=True)
        try:
            future = self._workers.submit(call)
        except RuntimeError:
            raise self._problem("is closed", transient=False) from None
        try:
            async with asyncio.timeout(CALL_TIMEOUT_S):
                return await asyncio.wrap_future(future)
        except TimeoutError:
            raise self._problem(f"no answer within {CALL_TIMEOUT_S:g} s", transient=True) from None
        except asyncio.CancelledError:
            if future.cancelled() and not _being_cancelled():
                raise self._problem("is closed", transient=False) from None
            raise
        except Exception as error:  # noqa: BLE001 - botocore makes its exception classes at run time
            raise self._translate(error) from None

    def close(self) -> None:
        """Drop what waits; a call under way ends with the attempt it is in."""
        self._closed = True
        self._workers.close()

    def _translate(self, error: Exception) -> KeyProblem:
        if self._closed:
            return self._problem("is closed", transient=False)
        # SECURITY: a library's own text may quote the request; only the service's error code is passed on.
        code = _error_code(error) or type(error).__name__
        transient = code in _TRANSIENT or code.endswith(("TimeoutError", "ConnectionError", "ConnectionClosedError"))
        return self._problem(f"the key service refused or failed ({code})", transient=transient)

    def _problem(self, problem: str, *, transient: bool) -> KeyProblem:
        remedy = (
            "It is tried again; check the endpoint, the network and the quota if it stays"
            if transient
            else f"Check region, name, credentials, {self._permissions}, and that the key is enabled"
        )
        return KeyProblem(self._source, problem, remedy, transient=transient)


def _error_code(error: Exception) -> str:
    """What the service calls its error, if it is a word that can be one; else empty."""
    response = getattr(error, "response", None)
    named = response.get("Error") if isinstance(response, dict) else None
    code = named.get("Code") if isinstance(named, dict) else None
    return code if isinstance(code, str) and _ERROR_CODE.fullmatch(code) else ""


def _is_no_detail(record: logging.LogRecord) -> bool:
    return record.levelno >= logging.INFO


def _being_cancelled() -> bool:
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0
