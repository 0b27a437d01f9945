"""Calls to a key service: bounded, given up in time, cancelled and closed without confusion, their errors told apart."""

import asyncio
import logging
import re
import threading
from urllib.parse import quote

import pytest
from botocore.exceptions import (
    ClientError,
    ConnectionClosedError,
    ConnectTimeoutError,
    EndpointConnectionError,
    NoCredentialsError,
    ReadTimeoutError,
)

from reactor.keys import KeyProblem, SignerStats, aws
from reactor.keys import threads as workers
from reactor.keys.aws import Calls, Place, parse_place

pytestmark = pytest.mark.unit

SOURCE = "awskms://eu-west-1/key"
AGAIN = "It is tried again; check the endpoint, the network and the quota if it stays"
LOOK = "Check region, name, credentials, kms:Sign, and that the key is enabled"
URL = "https://kms.example.com"
TALKATIVE = ("botocore.auth", "botocore.endpoint", "botocore.parsers")


@pytest.fixture
def gate():
    """What calls of a test wait for; opened at its end, so that no thread is left behind."""
    gate = threading.Event()
    yield gate
    gate.set()


@pytest.fixture
def calls():
    calls = Calls(SOURCE, "kms:Sign", SignerStats(), threads=1)
    yield calls
    calls.close()


@pytest.fixture
async def occupied(calls, gate):
    """The one thread is busy with a call until the gate opens."""
    started = threading.Event()

    def wait():
        started.set()
        gate.wait(60)
        return "done"

    task = asyncio.create_task(calls.run(wait))
    assert await asyncio.to_thread(started.wait, 60)
    yield task
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)


def said(problem: KeyProblem) -> tuple[str, str, str, bool]:
    return problem.source, problem.problem, problem.remedy, problem.transient


CLOSED = (SOURCE, "is closed", LOOK, False)


async def test_a_call_gives_what_it_returns(calls):
    assert await calls.run(lambda: 7) == 7


def refusal(**error: str) -> ClientError:
    return ClientError({"Error": error}, "Sign")


class OddError(Exception):
    """An error of a library whose response is none of ours."""

    def __init__(self, response: object) -> None:
        super().__init__("secret")
        self.response = response


@pytest.mark.parametrize(
    ("raised", "code", "transient"),
    [
        (refusal(Code="ThrottlingException"), "ThrottlingException", True),
        (refusal(Code="KMSInternalException"), "KMSInternalException", True),
        (refusal(Code="AccessDeniedException"), "AccessDeniedException", False),
        (refusal(Code="Kms.DisabledException"), "Kms.DisabledException", False),
        (refusal(Code="A" * 80), "A" * 80, False),
        (refusal(Code="A" * 81), "ClientError", False),
        (refusal(Code="a secret"), "ClientError", False),
        (refusal(Message="secret"), "ClientError", False),
        (OddError({}), "OddError", False),
        (OddError({"Error": {}}), "OddError", False),
        (OddError("secret"), "OddError", False),
        (OddError(None), "OddError", False),
        (ConnectionClosedError(endpoint_url=URL), "ConnectionClosedError", True),
        (ConnectTimeoutError(endpoint_url=URL), "ConnectTimeoutError", True),
        (EndpointConnectionError(endpoint_url=URL), "EndpointConnectionError", True),
        (ReadTimeoutError(endpoint_url=URL), "ReadTimeoutError", True),
        (NoCredentialsError(), "NoCredentialsError", False),
        (ValueError("secret"), "ValueError", False),
    ],
    ids=lambda value: value if isinstance(value, str) else None,
)
async def test_an_error_of_the_service_is_told_by_its_code_alone(calls, raised, code, transient):
    def fail():
        raise raised

    with pytest.raises(KeyProblem) as caught:
        await calls.run(fail)
    remedy = AGAIN if transient else LOOK
    assert said(caught.value) == (SOURCE, f"the key service refused or failed ({code})", remedy, transient)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


async def test_a_call_that_takes_too_long_is_given_up(calls, gate, monkeypatch):
    monkeypatch.setattr(aws, "CALL_TIMEOUT_S", 0.05)
    with pytest.raises(KeyProblem) as caught:
        await calls.run(lambda: gate.wait(60))
    assert said(caught.value) == (SOURCE, "no answer within 0.05 s", AGAIN, True)


@pytest.mark.parametrize(("waiting", "room"), [(0, False), (1, True)])
async def test_as_many_calls_as_threads_and_places_are_taken(calls, occupied, gate, monkeypatch, waiting, room):
    monkeypatch.setattr(aws, "MAX_WAITING", waiting)
    if room:
        queued = asyncio.create_task(calls.run(lambda: 1))
        await asyncio.sleep(0)
    with pytest.raises(KeyProblem) as caught:
        await calls.run(lambda: 2)
    assert said(caught.value) == (SOURCE, "too many calls wait for the key service", AGAIN, True)
    gate.set()
    assert await occupied == "done"
    if room:
        assert await queued == 1
    assert await calls.run(lambda: 3) == 3  # who has ended takes no place


async def test_a_call_given_up_keeps_its_place_while_its_thread_works(calls, gate, monkeypatch):
    monkeypatch.setattr(aws, "CALL_TIMEOUT_S", 0.05)
    monkeypatch.setattr(aws, "MAX_WAITING", 0)
    with pytest.raises(KeyProblem, match="no answer"):
        await calls.run(lambda: gate.wait(60))
    with pytest.raises(KeyProblem, match="too many"):
        await calls.run(lambda: 1)


async def test_a_service_that_holds_every_thread_for_ever_does_not_end_signing(calls, occupied, monkeypatch):
    """One byte now and then passes each time-out of the library, and holds a call for as long as the sender likes."""
    monkeypatch.setattr(aws, "CALL_TIMEOUT_S", 0.05)
    with pytest.raises(KeyProblem, match="no answer"):
        await calls.run(lambda: 1)
    monkeypatch.setattr(aws, "CALL_TIMEOUT_S", 60.0)
    monkeypatch.setattr(aws, "HELD_S", 0.0)
    assert await calls.run(lambda: 2) == 2


async def test_a_service_that_holds_more_calls_than_can_be_replaced_is_told_at_once_and_with_the_remedy(
    calls, occupied, gate, monkeypatch
):
    monkeypatch.setattr(workers, "MOST_WRITTEN_OFF", 0)
    monkeypatch.setattr(aws, "HELD_S", 0.0)
    with pytest.raises(KeyProblem, match=r"ends none of \d+ calls: .* the validator is started again") as caught:
        await calls.run(lambda: 1)
    assert caught.value.transient
    gate.set()
    await occupied
    assert await calls.run(lambda: 2) == 2, "tried again, it works once the service lets go"


async def test_a_waiting_caller_that_is_cancelled_is_cancelled(calls, occupied):
    task = asyncio.create_task(calls.run(lambda: 1))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert task.cancelled()


async def test_a_cancelled_caller_stays_cancelled_when_the_signer_closes_too(calls, occupied):
    task = asyncio.create_task(calls.run(lambda: 1))
    await asyncio.sleep(0)
    calls.close()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_a_waiting_caller_is_told_that_the_signer_was_closed(calls, occupied):
    task = asyncio.create_task(calls.run(lambda: 1))
    await asyncio.sleep(0)
    calls.close()
    with pytest.raises(KeyProblem) as caught:
        await task
    assert said(caught.value) == CLOSED
    assert task.cancelling() == 0


async def test_a_call_under_way_when_the_signer_closes_ends_as_closed(calls, gate):
    started = threading.Event()

    def fail():
        started.set()
        gate.wait(60)
        raise refusal(Code="ThrottlingException")

    task = asyncio.create_task(calls.run(fail))
    assert await asyncio.to_thread(started.wait, 60)
    calls.close()
    gate.set()
    with pytest.raises(KeyProblem) as caught:
        await task
    assert said(caught.value) == CLOSED


async def test_a_call_under_way_when_the_signer_closes_may_still_succeed(calls, occupied, gate):
    calls.close()
    gate.set()
    assert await occupied == "done"


async def test_a_closed_signer_takes_no_call(calls):
    calls.close()
    with pytest.raises(KeyProblem) as caught:
        await calls.run(lambda: 1)
    assert said(caught.value) == CLOSED


@pytest.mark.parametrize("threads", [1, 2])
async def test_no_more_calls_run_at_once_than_there_are_threads(gate, threads):
    calls = Calls(SOURCE, "kms:Sign", SignerStats(), threads)
    running, arrived = [], threading.Semaphore(0)

    def wait():
        running.append(1)
        arrived.release()
        gate.wait(60)

    tasks = [asyncio.create_task(calls.run(wait)) for _ in range(threads + 2)]
    for _ in range(threads):
        assert await asyncio.to_thread(arrived.acquire, timeout=60)
    await asyncio.sleep(0)
    assert len(running) == threads
    gate.set()
    await asyncio.gather(*tasks)
    assert len(running) == threads + 2
    calls.close()


@pytest.fixture
def client(calls, monkeypatch):
    for name, value in {"AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x", "AWS_CONFIG_FILE": "/nonexistent"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("AWS_PROFILE", raising=False)
    # SECURITY: neither may be what the client asks in the end.
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://elsewhere.example")
    monkeypatch.setenv("AWS_ENDPOINT_URL_KMS", "http://elsewhere.example")
    for name in TALKATIVE:  # another test may have made a client in this process
        monkeypatch.setattr(logging.getLogger(name), "filters", [])
    made = calls.connect(Place(SOURCE, "eu-west-1", "key", URL, {}), "kms")
    yield made
    made.close()


def test_a_client_gives_up_in_time_and_has_a_connection_for_each_thread(client):
    config = client.meta.config
    assert (config.connect_timeout, config.read_timeout) == (2.0, 4.0)
    assert config.retries == {"mode": "adaptive", "total_max_attempts": 4}
    assert config.max_pool_connections == 1
    assert config.tcp_keepalive is True
    assert (client.meta.region_name, client.meta.endpoint_url) == ("eu-west-1", URL)
    assert client.meta.service_model.service_name == "kms"


@pytest.mark.parametrize("name", TALKATIVE)
@pytest.mark.parametrize(("level", "passes"), [(logging.DEBUG, False), (logging.INFO - 1, False), (logging.INFO, True)])
def test_details_of_requests_are_logged_at_no_level_set_by_anyone(client, caplog, name, level, passes):
    caplog.set_level(logging.DEBUG, logger=name)
    logging.getLogger(name).log(level, "the answer")
    assert ("the answer" in caplog.text) is passes


PROXIED = {"http": "http://proxy.example:3128", "https": "http://proxy.example:3128"}


@pytest.mark.parametrize(
    ("endpoint", "asked", "proxies"),
    [
        (None, "https://kms.eu-west-1.amazonaws.com", PROXIED),
        ("https://vpce.example", "https://vpce.example", PROXIED),
        # What may go in clear because it stays on this machine must not leave it.
        ("http://127.0.0.1:1", "http://127.0.0.1:1", {}),
        ("http://localhost:1", "http://localhost:1", {}),
        ("http://[::1]:1", "http://[::1]:1", {}),
    ],
)
def test_a_proxy_is_used_but_for_endpoints_on_this_machine(calls, client, monkeypatch, endpoint, asked, proxies):
    monkeypatch.setenv("HTTP_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", "")
    made = calls.connect(Place(SOURCE, "eu-west-1", "key", endpoint, {}), "kms")
    try:
        assert made.meta.endpoint_url == asked
        assert made._endpoint.http_session._proxy_config.proxy_url_for(asked) == proxies.get(asked.partition(":")[0])
    finally:
        made.close()


def test_no_proxy_is_heeded(calls, client, monkeypatch):
    monkeypatch.setenv("HTTPS_PROXY", "http://proxy.example:3128")
    monkeypatch.setenv("NO_PROXY", ".amazonaws.com")
    made = calls.connect(Place(SOURCE, "eu-west-1", "key", None, {}), "kms")
    try:
        assert made._endpoint.http_session._proxy_config.proxy_url_for(made.meta.endpoint_url) is None
    finally:
        made.close()


@pytest.mark.parametrize("kind", ["awskms", "awssecret"])
@pytest.mark.parametrize(
    ("endpoint", "asked"),
    [
        ("HTTPS://Vpce.Example:443/", "https://vpce.example/"),
        ("HTTP://LocalHost:1", "http://localhost:1"),
        ("http://vpce.example", None),
        ("http://localhost.example", None),
        ("https://user@vpce.example", None),
        ("https://vpce.example/#x", None),
        ("https://", None),
        ("vpce.example", None),
    ],
)
def test_an_endpoint_is_read_as_all_urls_are_and_must_be_safe(kind, endpoint, asked):
    uri = f"{kind}://eu-west-1/name?endpoint={quote(endpoint, safe='')}"
    if asked is not None:
        assert parse_place(uri, re.compile("[a-z]+"), "form").endpoint == asked
        return
    with pytest.raises(KeyProblem, match="endpoint"):
        parse_place(uri, re.compile("[a-z]+"), "form")
