"""What `check` says of the shared database: a misspelt name of it is not told as a missing `init-db` alone."""

from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest

from reactor.documents.models import Heartbeat
from reactor.health import FRESH_SECONDS
from reactor.preflight import mongo
from reactor.store.indexes import Problem

pytestmark = pytest.mark.unit


def store(*names: str) -> Any:
    async def list_collection_names() -> list[str]:
        return [*names]

    return SimpleNamespace(database=SimpleNamespace(name="wpokd", list_collection_names=list_collection_names))


@pytest.mark.parametrize(("names", "misspelt"), [((), True), (("mint",), False)])
async def test_a_database_that_holds_nothing_may_be_misspelt(
    names: tuple[str, ...], misspelt: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def verify(_: object) -> list[Problem]:
        return [Problem("mint", "no index pokt_txs", "run init-db")]

    monkeypatch.setattr(mongo, "verify", verify)
    (found,) = await mongo.check_indexes(store(*names))
    assert found.ok is False
    assert ("correct mongo.database" in found.remedy) is misspelt
    assert "reactor init-db" in found.remedy
    assert ("wpokd holds nothing" in found.detail) is misspelt


@pytest.mark.parametrize(("ahead", "present"), [(0.0, True), (10 * FRESH_SECONDS, False), (-10 * FRESH_SECONDS, False)])
async def test_who_is_dated_far_ahead_is_not_taken_for_present(
    ahead: float, present: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    row = {"eth_address": "0x02", "updated_at": datetime.now(UTC) + timedelta(seconds=ahead), "identity": "another"}

    async def heartbeats(*_: object) -> tuple[list[Any], int]:
        return [row], 0

    monkeypatch.setattr(mongo, "verified_heartbeats", heartbeats)
    monkeypatch.setattr(mongo, "verified_heartbeat", Heartbeat.model_validate)
    monkeypatch.setattr(mongo, "bridge_of", lambda _: SimpleNamespace(identity_hash=lambda: "ours"))
    settings: Any = SimpleNamespace(ethereum=SimpleNamespace(validator_addresses=["0x01", "0x02"]))
    identities, presence = await mongo.check_others(store(), settings, "0x01", {"0x01", "0x02"}, 1)
    assert presence.ok is present
    assert ("ahead of the clock here" in presence.detail) is (ahead > 0)
    assert identities.ok is not present
