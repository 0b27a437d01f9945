"""What all layers need: quiet logs, one worker for whatever starts a bridge, and no network for unit tests."""

from __future__ import annotations

import socket
import sys

import pytest
from hypothesis import HealthCheck, settings
from loguru import logger

_LAYERS = {"unit", "property"}
_INTERNET = {socket.AF_INET, socket.AF_INET6}
_OWN = {"127.0.0.1", "::1", "localhost"}

# No test asserts an absolute time, an example of Hypothesis no more than any other: the machine may be busy.
settings.register_profile("bridge", settings(), deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("bridge")

# What runs in the tests' own process says only what goes wrong; to whatever stderr is at that moment.
logger.remove()
logger.add(lambda line: sys.stderr.write(line), level="WARNING", diagnose=False, backtrace=False)  # noqa: PLW0108 - as it is then


class NetworkUsedError(AssertionError):
    """A test that says it is pure connected to another machine."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Tests of a whole bridge share one xdist worker: two bridges at once would only be slower."""
    for item in items:
        if (item.get_closest_marker("e2e") or item.get_closest_marker("chaos")) and not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group("bridge"))


def pytest_collection_finish() -> None:
    """The recursion limit as a validator has it: test modules import eth_account, which lifts it (see `ethereum/provider.py`)."""
    sys.setrecursionlimit(min(1000, sys.getrecursionlimit()))


@pytest.fixture(autouse=True)
def _no_network(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Unit and property tests reach nothing outside this machine (a closed port on it is how they see a node that is down)."""
    if request.path.parent.name not in _LAYERS:
        return
    original = socket.socket.connect

    def connect(self: socket.socket, address: object) -> None:
        if self.family in _INTERNET and isinstance(address, tuple) and address[0] not in _OWN:
            raise NetworkUsedError(f"{request.node.nodeid} connects to {address}: mark it integration")
        original(self, address)

    monkeypatch.setattr(socket.socket, "connect", connect)
