"""How many can sign, and whether that is enough: of those who are configured, by what their heartbeats say."""

from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from coincurve import PrivateKey

from reactor.cli.people import People, Person, people, strengths
from reactor.cli.status import Snapshot, _notes, _plain, _print_people
from reactor.documents.heartbeats import heartbeat_digest
from reactor.documents.models import Heartbeat
from reactor.health import FRESH_SECONDS, standing_of
from reactor.keys.local import Secp256k1Signer

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


async def signed(key: Secp256k1Signer, host: str, ahead: float, **said: Any) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "eth_address": key.address,
        "hostname": host,
        "instance": host,
        "healthy": True,
        "phase": "running",
        "updated_at": NOW + timedelta(seconds=ahead),
        "interval_ms": 30_000,
        "signs": ["mint", "payout"],
        **said,
    }
    return {**fields, "signature": "0x" + (await key.sign(heartbeat_digest(fields))).hex()}


async def test_a_date_far_ahead_is_told_and_hides_nothing() -> None:
    key = Secp256k1Signer(PrivateKey(b"\1" * 32), "test")
    rows = [await signed(key, "new", -10.0), await signed(key, "wrong", 10 * FRESH_SECONDS)]
    found = people(rows, [key.address], NOW)
    assert found.ahead == [f"{key.address} on wrong is dated 9000 s ahead"]
    assert found.clones == [], "it says nothing about the last two minutes"
    assert [one.state for one in found.persons] == ["up"]
    twins = people([rows[0], await signed(key, "twin", 20.0)], [key.address], NOW)
    assert (twins.ahead, len(twins.clones)) == ([], 1)


async def test_machines_and_people_read_whose_date_lies_far_ahead(capsys: pytest.CaptureFixture[str]) -> None:
    """Of one that has written nothing else, too: no newer heartbeat counts then."""
    key = Secp256k1Signer(PrivateKey(b"\1" * 32), "test")
    for seconds, said in ((10 * FRESH_SECONDS, [f"{key.address} on wrong is dated 9000 s ahead"]), (-1.0, [])):
        found = Snapshot({}, {}, people([await signed(key, "wrong", seconds)], [key.address], NOW), [], OURS, NOW)
        assert _plain(found)["ahead"] == said
        _print_people(found)
        warned = capsys.readouterr().err
        assert ("one with the right date replaces it" in warned) is bool(said)


def test_what_is_held_is_told_once() -> None:
    held = person(1, healthy=False, holds=["signing: deep_reorg why"], problems=["signs no mints and no payouts: deep_reorg why"])
    assert _notes(held, OURS) == ["held signing: deep_reorg why"]
    other = person(1, healthy=False, holds=["event:a: operator"], problems=["signs no mints: over_window", "Pocket: not read"])
    assert _notes(other, OURS) == ["held event:a: operator", "problem: signs no mints: over_window", "problem: Pocket: not read"]


@pytest.mark.parametrize(
    ("holds", "problems", "left"),
    [
        (
            ["signing: a why", "signing: b why"],
            ["signs no mints and no payouts: a why; signs no mints and no payouts: b why"],
            [],
        ),
        (
            ["signing: deep_reorg why"],
            ["signs no mints and no payouts: deep_reorg why; Ethereum: not read for 11 s: stopped"],
            ["problem: Ethereum: not read for 11 s: stopped"],
        ),
        (["signing: a why"], ["signs no mints and no payouts: a why not"], ["problem: signs no mints and no payouts: a why not"]),
        (["direction:mint: paused; now"], ["signs no mints: paused; now"], []),
        (["direction:mint: paused"], ["signs no payouts: paused"], ["problem: signs no payouts: paused"]),
        (["event:e: operator"], ["signs no mints: operator"], ["problem: signs no mints: operator"]),
    ],
)
def test_of_holds_that_stand_in_one_entry_only_what_is_more_is_told_again(
    holds: list[str], problems: list[str], left: list[str]
) -> None:
    held = person(1, healthy=False, holds=holds, problems=problems)
    assert _notes(held, OURS) == [*(f"held {hold}" for hold in holds), *left]


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
