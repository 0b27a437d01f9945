"""The small parts of the handlers: turns, remembered claims, entries that verify, heartbeats."""

from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from itertools import combinations
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from reactor.documents.heartbeats import heartbeat_digest, milliseconds
from reactor.documents.models import OpenDocument
from reactor.documents.statuses import Collection
from reactor.flows.facts import SignatureView
from reactor.handlers.claims import TURN_SECONDS, Remembered, Turns
from reactor.handlers.heartbeat import Hearts, Instance, Pulse, verified_heartbeat
from reactor.handlers.peers import Peers
from reactor.handlers.reconcile import Reconciler
from reactor.handlers.signatures import Signatures
from reactor.health import FRESH_SECONDS, Ability, Facts
from reactor.state.rows import EventKind
from tests.unit.handler_world import NOW, World, burn, deposit

pytestmark = pytest.mark.unit

MEMBERS = [f"0x{i:040x}" for i in range(1, 6)]


def test_exactly_one_goes_first_and_the_others_one_after_the_other() -> None:
    places = sorted(Turns(one, lambda: MEMBERS, lambda: 0.0).place("x") for one in MEMBERS)
    assert places == [0, 1, 2, 3, 4]


def test_a_turn_comes_and_starts_anew_once_taken() -> None:
    now = [0.0]
    last = next(one for one in MEMBERS if Turns(one, lambda: MEMBERS, lambda: 0.0).place("x") == 4)
    turns = Turns(last, lambda: MEMBERS, lambda: now[0])
    assert turns.left("x") == pytest.approx(4 * TURN_SECONDS)
    now[0] = 4 * TURN_SECONDS
    assert turns.left("x") == 0.0
    turns.taken("x")
    assert turns.left("x") == pytest.approx(4 * TURN_SECONDS)


@pytest.mark.parametrize(("now", "waits"), [(10.0, 5.0), (11.0, 9.0), (14.9, 5.1), (15.0, 5.0)])
def test_what_is_not_urgent_is_looked_at_together(now: float, waits: float) -> None:
    assert Turns("me", lambda: MEMBERS, lambda: now).together(5.0) == pytest.approx(waits)


def test_what_is_remembered_is_bounded() -> None:
    remembered: Remembered[int, int] = Remembered(2)
    for key in range(3):
        remembered.set(key, key)
    assert [remembered.get(key) for key in range(3)] == [None, 1, 2]
    assert remembered.first(1, 9) == 1


def test_entries_count_once_in_order_and_only_those_of_members() -> None:
    asked: list[str] = []

    def verify(_message: bytes, signer: str, signature: str) -> bool:
        asked.append(signer)
        return signature == "good"

    signatures = Signatures(verify)
    pairs = [("a", "good"), ("b", "bad"), ("x", "good")]
    for _ in range(2):
        view = signatures.view(b"m", pairs, ["a", "b"])
        assert view == SignatureView((("a", "good"),), (("b", "bad"), ("x", "good")), ordered=True)
    assert asked == ["a", "b"]
    assert not signatures.view(b"m", [("a", "good"), ("a", "good")], ["a"]).ordered
    assert not signatures.view(b"m", [("b", "good"), ("a", "good")], ["a", "b"]).ordered


def hearts(world: World, place: int = 0) -> Hearts:
    instance = Instance(f"validator-{place}", "host", "one", "1", NOW, "aa" * 20)
    open_document = OpenDocument(collection="mint", key="k", status="confirmed", reason="signatures", since=NOW)
    return Hearts(world.context, instance, lambda: Pulse(1, [open_document], 5, []))


async def test_a_heartbeat_verifies_and_an_altered_or_unsigned_one_does_not(world: World) -> None:
    beat = await hearts(world).own()
    assert verified_heartbeat(beat) is not None
    assert verified_heartbeat({**beat, "_id": deposit(1).tx_hash}) is None
    assert verified_heartbeat({**beat, "healthy": not beat["healthy"]}) is None
    assert verified_heartbeat({**beat, "signature": ""}) is None
    assert verified_heartbeat({**beat, "counter": "1"}) is None


@pytest.fixture
def told() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lambda text: lines.append(str(text).rstrip()), format="{level} {message}")
    yield lines
    logger.remove(sink)


async def test_signing_stops_against_the_identity_of_m_others_and_not_of_fewer(
    world: World, tmp_path: Path, told: list[str]
) -> None:
    own = hearts(world)
    foreign = []
    for key in world.keys[1:]:
        me = type(world.context.me)(key.address, "ff" * 32, key, world.pocket_keys[1])
        fields = {name: getattr(world.context, name) for name in world.context.__slots__}
        other = Hearts(type(world.context)(**(fields | {"me": me})), own.instance, own.pulse)
        beat = {**other._fields(other.pulse()), "identity": "another"}
        foreign.append({**beat, "signature": "0x" + (await key.sign(heartbeat_digest(beat))).hex()})
    addresses = [key.address for key in world.keys]

    async def hear(rows) -> None:
        own.listen(rows, addresses)
        await own.compare()

    await hear([{**one, "identity": "a third"} for one in foreign])
    assert own.clash == "", "forged heartbeats stop nobody"
    await hear(foreign[:1])
    assert own.clash == ""
    await hear(foreign)
    assert "another bridge identity" in own.clash
    assert (await own.own())["healthy"] is False
    await hear([])
    assert own.clash, "that somebody removes the heartbeats does not unsay them"
    said = [line for line in told if "identity" in line]
    assert len(said) == 1
    assert said[0].startswith("ERROR signing stops: 2 validators run another bridge identity")
    own.seen.pop(world.keys[1].address)
    await own.compare()
    assert own.clash == ""
    said = [line for line in told if "identity" in line]
    assert len(said) == 2
    assert said[1].startswith("WARNING signing goes on: ")


async def test_that_it_is_no_validator_of_the_contract_is_told_once_and_that_it_is_one_again(
    world: World, told: list[str]
) -> None:
    own, facts = hearts(world), world.ethereum.facts
    for members in (facts.validators, facts.validators[:0], facts.validators[:0], facts.validators):
        world.ethereum.facts = replace(facts, validators=members)
        await own.compare()
    address = world.context.me.address
    assert told == [
        f"WARNING {address} is no validator of the contract: its signatures of mints do not count",
        f"WARNING {address} is a validator of the contract now: it signs mints",
    ]


async def test_the_last_heartbeat_says_that_it_stopped_and_takes_it_out_of_the_turns(world: World) -> None:
    own = hearts(world)
    assert (await own.own())["phase"] == "running"
    other = world.keys[1]
    fields = {**own._fields(own.pulse()), "eth_address": other.address, "instance": "other"}

    async def hear(counter: int, phase: str) -> None:
        beat = {**fields, "counter": counter, "phase": phase}
        signed = {**beat, "signature": "0x" + (await other.sign(heartbeat_digest(beat))).hex()}
        own.listen([signed], [key.address for key in world.keys])
        await own.compare()

    now = [0.0]
    own.peers = Peers(world.context.me.address, [key.address for key in world.keys[:2]], 1.0, lambda: now[0])
    for counter in (1, 2):
        now[0] += 4.0
        await hear(counter, "running")
    assert other.address in own.peers.up()
    now[0] += 1.5
    await hear(3, "stopped")
    assert other.address not in own.peers.up()
    last = await own.own(stopped=True)
    assert verified_heartbeat(last) is not None
    assert (last["phase"], last["healthy"], last["signs"]) == ("stopped", False, [])
    assert last["cannot"] == [one.value for one in Ability]


async def test_a_heartbeat_names_for_programs_what_costs_its_abilities(world: World) -> None:
    own = hearts(world)
    waiting = {"code": "other_process", "about": "another process", "costs": ["mint", "payout"]}
    assert (await own.own())["hindrances"] == [waiting], "it has just started"
    own.member = False
    beat = verified_heartbeat(await own.own())
    assert beat is not None
    member = {"code": "not_a_member", "about": "membership", "costs": ["mint"]}
    assert [one.model_dump() for one in beat.hindrances] == [waiting, member]
    assert (await own.own(stopped=True))["hindrances"] == []


class Others:
    """The other validators, as their heartbeats are heard; `at` is the own monotonic clock."""

    def __init__(self, world: World) -> None:
        self.at = 0.0
        self.world = world
        self.counter = 0
        self.own = hearts(world)
        self.own.monotonic = lambda: self.at

    async def say(self, *, seconds: float = 0.0, **said: Any) -> None:
        """A heartbeat of each, dated so many seconds ahead of the clock here."""
        rows = []
        for key in self.world.keys[1:]:
            self.counter += 1
            fields = self.own._fields(self.own.pulse()) | {"eth_address": key.address, "counter": self.counter}
            beat = {**fields, "updated_at": milliseconds(NOW + timedelta(seconds=seconds)), **said}
            rows.append({**beat, "signature": "0x" + (await key.sign(heartbeat_digest(beat))).hex()})
        self.own.listen(rows, [key.address for key in self.world.keys])
        await self.own.compare()

    @property
    def dates(self) -> set[float]:
        return {(one.updated_at - NOW).total_seconds() for one in self.own.others()}


@pytest.mark.parametrize(("phase", "stops"), [("running", True), ("starting", True), ("stopped", False)])
async def test_who_has_stopped_runs_no_other_identity(world: World, phase: str, stops: bool) -> None:
    others = Others(world)
    await others.say(identity="another", phase=phase)
    assert bool(others.own.clash) is stops


async def test_a_date_far_ahead_does_not_count_for_ever(world: World, told: list[str]) -> None:
    others = Others(world)
    await others.say(seconds=10 * FRESH_SECONDS, identity="another")
    assert others.own.clash, "it was said just now, whatever its date"
    assert len([one for one in others.own.problems if "is dated 9000 s ahead" in one]) == 2
    assert len([line for line in told if "is dated 9000 s ahead" in line]) == 2
    others.at += FRESH_SECONDS + 1
    await others.own.compare()
    assert others.own.clash == "", "nothing was heard since"
    await others.say()
    assert others.dates == {0.0}
    assert others.own.problems == []


async def test_a_date_far_ahead_replaces_none_of_the_present(world: World) -> None:
    others = Others(world)
    await others.say()
    await others.say(seconds=10 * FRESH_SECONDS, identity="another")
    assert (others.dates, others.own.clash, others.own.problems) == ({0.0}, "", [])
    await others.say(seconds=2.0)
    assert others.dates == {2.0}, "a small difference of clocks is none"
    await others.say(seconds=1.0)
    assert others.dates == {2.0}, "one that was put back replaces nothing"


async def test_old_heartbeats_say_nothing_about_the_present(world: World) -> None:
    own = hearts(world)
    beat = await own.own()
    assert verified_heartbeat(beat) is not None
    assert NOW - beat["updated_at"] < timedelta(seconds=1)


async def test_the_sweep_inserts_what_is_missing_and_rings_what_is_open(world: World) -> None:
    mint, refund, event = deposit(5), deposit(6, to=None), burn(7)
    world.record(EventKind.DEPOSIT, mint, refund)
    world.record(EventKind.BURN, event)
    inserted = []

    async def insert_missing(collection, documents):
        inserted.extend((collection, document["transaction_hash"]) for document in documents)
        return {document["_id"]: document["_id"] for document in documents}

    picked = [0]
    reconciler = Reconciler(world.context, insert_missing, lambda most: min(picked[0], most - 1))
    ids = {
        collection: [one async for one in reconciler.open_ids(collection)]
        for collection in (Collection.MINT, Collection.INVALID_MINT, Collection.BURN)
    }
    assert {collection: len(found) for collection, found in ids.items()} == {
        Collection.MINT: 1,
        Collection.INVALID_MINT: 1,
        Collection.BURN: 1,
    }
    assert dict(inserted) == {
        Collection.MINT: mint.tx_hash,
        Collection.INVALID_MINT: refund.tx_hash,
        Collection.BURN: event.tx_hash,
    }
    for seen in world.ledger.unsettled(EventKind.DEPOSIT, 10):
        world.ledger.settle(seen.key)
    # Settled: nothing is to be done, but some are looked at all the same, from a place that is drawn.
    assert [one async for one in reconciler.open_ids(Collection.MINT)] == ids[Collection.MINT]
    picked[0] = 50
    assert [one async for one in reconciler.open_ids(Collection.MINT)] == []


def test_other_words_of_one_hold_are_in_the_next_heartbeat_and_cause_none(world: World) -> None:
    """Each costs a signature and wakes all others: a node that shows another chain each second must not cause one each second."""

    def replaced(told: str) -> None:
        world.journal.hold("signing", "deep_reorg", told, "validator", subject=told, instead_of="block ")

    own = hearts(world)
    well = own.health(Facts())
    replaced("block 7 is 0xb now")
    first = own.health(Facts())
    replaced("block 7 is 0xc now")
    second = own.health(Facts())
    assert (first.holds, second.holds) == (["signing: deep_reorg block 7 is 0xb now"], ["signing: deep_reorg block 7 is 0xc now"])
    assert any("0xc" in one.sentence for one in second.problems)
    assert first.mark == second.mark != well.mark


@pytest.mark.parametrize("scope", ["signing", "recipient:0xab", "event:a"])
def test_each_hold_and_its_release_cause_a_heartbeat(world: World, scope: str) -> None:
    own = hearts(world)
    marks = [own.health(Facts()).mark]
    for subject in "ab":
        world.journal.hold(scope, "unexplained_return", "it", "validator", subject=subject)
        marks.append(own.health(Facts()).mark)
    world.journal.release(1, "alice", "")
    marks.append(own.health(Facts()).mark)
    assert all(one != other for one, other in combinations(marks, 2))
