"""A threshold or members that change: each signed mint is looked at again, once."""

from functools import partial
from types import SimpleNamespace

import pytest
from bson import ObjectId

from reactor import validator
from reactor.documents.statuses import Collection, Status
from reactor.engine.keys import Cause
from reactor.flows.facts import Quorum

pytestmark = pytest.mark.unit

MINTS = [ObjectId() for _ in range(5)]


@pytest.fixture
def one(monkeypatch: pytest.MonkeyPatch):
    """As much of a validator as the question needs."""
    rung, asked = [], []

    async def open_ids(_store, role, statuses, _bridge, *, where):
        assert not where
        asked.append((role, list(statuses)))
        yield MINTS[:3]
        yield MINTS[3:]

    async def submit(wakeup):
        rung.append((wakeup.key.collection, wakeup.key.id, wakeup.cause))

    async def quorum():
        return fake.now, None

    monkeypatch.setattr(validator, "open_ids", open_ids)
    fake = SimpleNamespace(
        now=Quorum(2, frozenset({"a", "b", "c"})),
        context=SimpleNamespace(quorum=quorum),
        store=SimpleNamespace(names={Collection.MINT: "mints"}),
        dispatcher=SimpleNamespace(submit=submit),
        bridge=None,
        rung=rung,
        asked=asked,
        _quorum=None,
    )
    fake._look_at_signed_mints = partial(validator.Validator._look_at_signed_mints, fake)
    return fake


async def look(one) -> None:
    await validator.Validator._ring_if_members_changed(one)


async def test_the_first_look_and_one_without_a_change_ring_nothing(one) -> None:
    await look(one)
    await look(one)
    assert one.rung == []


@pytest.mark.parametrize("changed", [Quorum(3, frozenset({"a", "b", "c"})), Quorum(2, frozenset({"a", "b", "d"}))])
async def test_a_change_rings_every_signed_mint_once(one, changed: Quorum) -> None:
    await look(one)
    one.now = changed
    await look(one)
    await look(one)
    assert one.asked == [(Collection.MINT, [Status.SIGNED])]
    assert one.rung == [("mints", mint, Cause.SWEEP) for mint in MINTS]
