"""What `check` says of the Pocket endpoints: each that does not serve what the bridge asks is named, with a remedy."""

from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest

from reactor.chains.pocket import EndpointStatus, PocketBlock, connect
from reactor.foreign import MASK, register_secrets
from reactor.preflight.pocket import check_endpoints, check_memo, check_signature_limit

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


async def test_a_node_that_breaks_the_code_that_reads_it_is_named_and_not_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    chain = connect(["http://a", "http://b"], chain_id="localnet")

    async def broken(*_: object) -> None:
        raise LookupError("whatever a library makes of an answer")

    monkeypatch.setattr(chain, "_block", broken)
    found = await chain.check("aa" * 20)
    await chain.close()
    assert [one.endpoint for one in found] == ["a", "b"]
    assert all(one.head is None and "cannot be used" in one.error for one in found)


HELD = SimpleNamespace(pocket=SimpleNamespace(multisig_public_keys=["11" * 32] * 3))


@pytest.mark.parametrize("said", ["", "x", "-1", "1.5", "\u00b2", "\u0664", "9" * 5000, "1\x1b[2J\u202e", '"', "k3y-of-the-plan"])
async def test_a_parameter_that_is_no_number_is_shown_cleaned(said: str) -> None:
    register_secrets("k3y-of-the-plan")

    class Node:
        async def param(self, _: str) -> str:
            return said

    limit = await check_signature_limit(Node(), HELD)  # type: ignore[arg-type]
    memo = await check_memo(Node())  # type: ignore[arg-type]
    for (result,), name in ((limit, "TxSigLimit"), (memo, "MaxMemoCharacters")):
        assert (result.ok, result.level) == (False, "warning")
        assert result.detail.startswith(f"auth/{name} is '")
        assert result.detail.isprintable()
        assert len(result.detail) < 120
        assert "k3y" not in result.detail
        assert (MASK in result.detail) is ("k3y" in said)


@pytest.mark.parametrize(("said", "ok"), [("100", True), ("4", True), ("3", False), ("0", False)])
async def test_a_limit_of_signatures_counts_the_multisignature_itself(said: str, ok: bool) -> None:
    class Node:
        async def param(self, _: str) -> str:
            return said

    (result,) = await check_signature_limit(Node(), HELD)  # type: ignore[arg-type]
    assert (result.ok, result.level) == (ok, "info" if ok else "error")
