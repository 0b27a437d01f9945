"""How many can sign, and whether that is enough: of those who are configured, by what their heartbeats say."""

from datetime import UTC, datetime
from typing import Any

import pytest

from reactor.cli.people import People, Person, strengths
from reactor.documents.models import Heartbeat
from reactor.health import standing_of

pytestmark = pytest.mark.unit

NOW = datetime(2026, 1, 2, tzinfo=UTC)
OURS = "1d" * 32


def person(number: int, *, configured: bool = True, **said: Any) -> Person:
    fields: dict[str, Any] = {
        "eth_address": f"0x{number}",
        "pokt_public_key": f"key {number}",
        "identity": OURS,
        "healthy": True,
        "updated_at": NOW,
        "phase": "running",
        "interval_ms": 30_000,
        "signs": ["mint", "payout"],
        "threshold": 2,
        **said,
    }
    beat = Heartbeat.model_validate(fields)
    return Person(f"0x{number}", configured, standing_of(beat, NOW), beat)


def counted(*persons: Person, keys: int = 3) -> list[tuple[int, int, int, bool]]:
    found = strengths(People(list(persons)), OURS, [f"key {number}" for number in range(1, keys + 1)])
    assert [one.what for one in found] == ["mint", "payout"]
    return [(one.able, one.needed, one.of, one.enough) for one in found]


def never(number: int) -> Person:
    return Person(f"0x{number}", True, standing_of(None, NOW))


ALL = [person(1), person(2), person(3)]


@pytest.mark.parametrize(
    ("persons", "expected"),
    [
        (ALL, [(3, 2, 3, True), (3, 3, 3, True)]),
        ([*ALL[:2], never(3)], [(2, 2, 3, True), (2, 3, 3, False)]),
        ([ALL[0], never(2), never(3)], [(1, 2, 3, False), (1, 3, 3, False)]),
        ([never(1), never(2), never(3)], [(0, 0, 3, False), (0, 3, 3, False)]),
        # whoever is nobody of ours, signs other bytes, or holds no key of the vault
        ([*ALL[:2], person(3, configured=False)], [(2, 2, 2, True), (2, 3, 3, False)]),
        ([*ALL[:2], person(3, identity="00")], [(2, 2, 3, True), (2, 3, 3, False)]),
        ([*ALL[:2], person(3, pokt_public_key="another")], [(3, 2, 3, True), (2, 3, 3, False)]),
        # two with one key of the vault are one
        ([*ALL[:2], person(3, pokt_public_key="key 2")], [(3, 2, 3, True), (2, 3, 3, False)]),
        # a pause of one direction
        ([*ALL[:2], person(3, healthy=False, signs=["mint"])], [(3, 2, 3, True), (2, 3, 3, False)]),
        ([*ALL[:2], person(3, healthy=False, signs=["payout"])], [(2, 2, 3, True), (3, 3, 3, True)]),
        # what a mint needs is said by most of those who can sign, and by none who cannot
        ([*ALL[:2], person(3, threshold=3)], [(3, 2, 3, True), (3, 3, 3, True)]),
        ([person(1, threshold=1), person(2, threshold=3), never(3)], [(2, 3, 3, False), (2, 3, 3, False)]),
        ([ALL[0], person(2, healthy=False, signs=[], threshold=1), never(3)], [(1, 2, 3, False), (1, 3, 3, False)]),
        # nobody says it: all are needed
        ([person(1, threshold=0), person(2, threshold=0), never(3)], [(2, 0, 3, False), (2, 3, 3, False)]),
        ([person(number, threshold=0) for number in (1, 2, 3)], [(3, 0, 3, True), (3, 3, 3, True)]),
    ],
)
def test_who_can_sign_is_counted(persons: list[Person], expected: list[tuple[int, int, int, bool]]) -> None:
    assert counted(*persons) == expected
