"""What `check` says of the Pocket endpoints: each that does not serve what the bridge asks is named, with a remedy."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from reactor.chains.pocket import EndpointStatus, PocketBlock
from reactor.preflight.pocket import check_endpoints

pytestmark = pytest.mark.unit

NO = "{}: query/accounttxs: HTTP 403: plan does not include this method"


class Chain:
    """Endpoints in the state that a test gives them."""

    chain_id = "localnet"
    contradictions: list[str] = []  # noqa: RUF012 - never written to

    def __init__(self, *statuses: EndpointStatus) -> None:
        self.statuses = statuses
        self.asked: list[str] = []

    async def check(self, address: str) -> tuple[EndpointStatus, ...]:
        self.asked.append(address)
        return self.statuses

    async def survey(self, depth: int) -> None:
        """Nothing to compare."""


def status(name: str, *failing: str, error: str = "") -> EndpointStatus:
    head = PocketBlock(9, "ab" * 32, datetime(2025, 1, 1, tzinfo=UTC), "localnet", name)
    return EndpointStatus(name, None if error else head, error, failing)


async def results(*statuses: EndpointStatus) -> list[Any]:
    pocket = SimpleNamespace(vault_address="aa" * 20, confirmations=1, agreement=1)
    chain = Chain(*statuses)
    found, _ = await check_endpoints(chain, SimpleNamespace(pocket=pocket))  # type: ignore[arg-type]
    assert chain.asked == ["aa" * 20]
    return [(one.level, one.detail) for one in found if not one.ok]


async def test_endpoints_that_serve_everything_are_not_named() -> None:
    assert await results(status("a"), status("b")) == []


async def test_one_that_lets_a_call_not_through_is_named() -> None:
    assert await results(status("a", NO.format("a")), status("b")) == [("warning", NO.format("a"))]


async def test_where_none_serves_a_call_nothing_can_work() -> None:
    found = await results(status("a", NO.format("a")), status("b", error="b: query/block: HTTP 404: default backend"))
    assert [level for level, detail in found if detail == NO.format("a")] == ["error"]
    assert any("default backend" in detail for _, detail in found)
