"""Two processes with one key: only a heartbeat that names this process proves another, and the younger stops."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from reactor.adapters import BatchedJournal
from reactor.documents.heartbeats import heartbeat_digest
from reactor.documents.reasons import WaitReason
from reactor.handlers.heartbeat import Hearts, Instance, Pulse
from reactor.health import FRESH_SECONDS
from reactor.state.journal import JournalEntry
from reactor.state.lock import LOCK_FILE, ProcessLock
from reactor.state.runs import note_run
from reactor.state.verdicts import Allowed, Refused
from tests.unit.handler_world import NOW, World

pytestmark = pytest.mark.unit

SILENCE = 90.0
Rows = dict[str, dict[str, Any]]
"""The heartbeats in the database, by host."""


class Process:
    """One process with the validator's key; `at` is its monotonic clock."""

    def __init__(self, world: World, name: str, started: float, *, dead: frozenset[str] = frozenset(), **other: Any) -> None:
        self.at = 1000.0
        self.world = world
        context = replace(world.context, **other)
        self.address = context.me.address
        instance = Instance("v", name, name, "1", NOW + timedelta(seconds=started), "aa" * 20, 30.0, dead)
        self.hearts = Hearts(context, instance, lambda: Pulse(0, [], 0, []), monotonic=lambda: self.at)

    async def beat(self, rows: Rows) -> dict[str, Any]:
        """As the validator does it: hear, write, hear."""
        self.hearts.listen([*rows.values()], [self.address])
        rows[self.hearts.instance.hostname] = await self.hearts.own()
        self.hearts.listen([*rows.values()], [self.address])
        self.hearts.twins.said()
        return rows[self.hearts.instance.hostname]

    @property
    def stops(self) -> bool:
        return "is older" in self.hearts.twins.stop

    @property
    def silenced(self) -> str:
        return self.hearts.twins.silenced()


async def test_alone_it_signs_as_soon_as_it_was_heard(world: World) -> None:
    one = Process(world, "one", 0)
    assert "not known yet" in one.silenced
    await one.beat({})
    assert (one.silenced, one.stops) == ("", False)


async def test_a_younger_one_signs_nothing_and_stops_when_the_older_answers(world: World) -> None:
    rows: Rows = {}
    older, younger = Process(world, "older", 0), Process(world, "younger", 100)
    await older.beat(rows)
    await younger.beat(rows)
    assert "may run with this key" in younger.silenced
    assert not younger.stops, "the older's heartbeat may be of a process that died"
    older.hearts.listen([*rows.values()], [])
    assert older.hearts.twins.asks
    assert (await older.beat(rows))["rivals"] == ["younger"]
    younger.hearts.listen([*rows.values()], [])
    assert younger.stops
    assert "older, started 2026-01-01" in younger.silenced
    assert (older.stops, older.silenced) == (False, "")
    await younger.beat(rows)
    await older.beat(rows)
    assert not older.stops


async def test_of_two_that_run_already_the_younger_stops(world: World) -> None:
    older, younger = Process(world, "older", 0), Process(world, "younger", 100)
    await older.beat({})
    await younger.beat({})
    assert older.silenced == younger.silenced == ""
    rows: Rows = {}
    for _ in range(2):  # each now sees what the other wrote
        await older.beat(rows)
        await younger.beat(rows)
    assert (older.stops, younger.stops) == (False, True)


async def test_two_that_start_together_do_not_both_sign_and_one_goes_on(world: World) -> None:
    rows: Rows = {}
    both = [Process(world, name, 0) for name in ("a", "b")]
    for one in both:
        await one.beat(rows)
    assert sum(not one.silenced for one in both) == 1, "who wrote second saw the first"
    for _ in range(2):
        for one in both:
            await one.beat(rows)
    assert [one.stops for one in both] == [False, True], "the instance's name decides between equal starts"


async def test_after_a_kill_elsewhere_it_signs_once_the_other_was_silent(world: World) -> None:
    lines: list[str] = []
    sink = logger.add(lines.append, format="{message}")
    rows: Rows = {}
    await Process(world, "killed", 0).beat(rows)
    fresh = Process(world, "fresh", 60)
    await fresh.beat(rows)
    fresh.at += SILENCE - 1
    await fresh.beat(rows)
    assert "may run with this key" in fresh.silenced
    fresh.at += 2
    assert fresh.silenced == ""
    # Once it may sign, a heartbeat that is put back takes nothing from it.
    await fresh.beat(rows)
    assert (fresh.silenced, fresh.stops) == ("", False)
    logger.remove(sink)
    assert sum("this one signs from now on" in line for line in lines) == 1


async def test_after_a_kill_on_the_same_disk_it_signs_at_once(world: World) -> None:
    rows: Rows = {}
    await Process(world, "killed", 0).beat(rows)
    fresh = Process(world, "fresh", 60, dead=frozenset({"killed"}))
    await fresh.beat(rows)
    assert fresh.silenced == ""


async def test_a_start_with_a_clock_behind_waits_until_the_other_has_stopped(world: World) -> None:
    rows: Rows = {}
    running, fresh = Process(world, "running", 0), Process(world, "fresh", -600)
    await running.beat(rows)
    await fresh.beat(rows)
    await running.beat(rows)
    await fresh.beat(rows)
    assert fresh.silenced, "by its clock it is the older one: the other stops, and until it has, nothing is signed"
    await running.beat(rows)
    assert running.stops
    fresh.at += SILENCE + 1
    assert (fresh.silenced, fresh.stops) == ("", False)


# --- what stops nobody -----------------------------------------------------------------------------------------------


async def answers(world: World) -> tuple[Process, dict[str, Any]]:
    """A younger process that waits, and the answer of the older one that would stop it."""
    rows: Rows = {}
    older, younger = Process(world, "older", 0), Process(world, "younger", 100)
    await older.beat(rows)
    await younger.beat(rows)
    return younger, await older.beat(rows)


async def signed(world: World, beat: dict[str, Any], **changes: Any) -> dict[str, Any]:
    """The heartbeat with changes, under a signature that is good for them."""
    fields = {**beat, **changes}
    key = world.context.me.ethereum_signer
    assert key is not None
    return {**fields, "signature": "0x" + (await key.sign(heartbeat_digest(fields), "heartbeat")).hex()}


async def test_the_answer_itself_stops(world: World) -> None:
    younger, answer = await answers(world)
    younger.hearts.listen([await signed(world, answer)], [])
    assert younger.stops


@pytest.mark.parametrize(
    "spoil",
    [
        {"signature": ""},
        {"signature": "0x" + "11" * 65},
        {"counter": 99},
        {"hostname": "elsewhere"},
        {"updated_at": NOW + timedelta(days=1)},
        {"rivals": ["younger", "more"]},
        {"signature": None},
        {"rivals": "younger"},
    ],
)
async def test_an_unsigned_or_altered_answer_stops_nobody(world: World, spoil: dict[str, Any]) -> None:
    younger, answer = await answers(world)
    younger.hearts.listen([{**answer, **spoil}], [])
    assert not younger.stops


@pytest.mark.parametrize(
    "other",
    [
        {"pokt_vault_address": "11" * 20},
        {"wpokt_address": "0x" + "77" * 20},
        {"pocket_chain_id": "testnet"},
        {"ethereum_chain_id": "11155111"},
    ],
)
async def test_an_answer_of_another_bridge_stops_nobody(world: World, other: dict[str, Any]) -> None:
    younger, answer = await answers(world)
    younger.hearts.listen([await signed(world, answer, **other)], [])
    assert not younger.stops


async def test_a_heartbeat_of_another_key_stops_nobody(world: World) -> None:
    """Another validator names this instance as often as he likes: it is this key's process that is asked for."""
    younger, answer = await answers(world)
    key = world.keys[1]
    beat = {**answer, "eth_address": key.address}
    beat["signature"] = "0x" + (await key.sign(heartbeat_digest(beat), "heartbeat")).hex()
    younger.hearts.listen([beat], [key.address])
    assert younger.hearts.seen[key.address].rivals == ["younger"], "it was heard"
    assert not younger.stops


@pytest.mark.parametrize("age", [-10 * FRESH_SECONDS, 0.0, 10 * FRESH_SECONDS])
async def test_a_replayed_stale_or_future_heartbeat_stops_nobody_and_delays_for_a_while_at_most(world: World, age: float) -> None:
    """They are validly signed, by an earlier process with this key, and name other processes than this one."""
    rows: Rows = {}
    dead = Process(world, "dead", -5)
    beat = await signed(world, await dead.beat({}), updated_at=NOW + timedelta(seconds=age), rivals=["another"])
    one = Process(world, "one", 0)
    for counter in range(1, 5):
        rows["dead"] = await signed(world, beat, counter=counter)
        await one.beat(rows)
        one.at += SILENCE / 3
    assert (one.silenced, one.stops) == ("", False)


async def test_an_answer_that_is_put_back_delays_nobody_for_ever(world: World) -> None:
    rows: Rows = {}
    other, fresh = Process(world, "other", 0), Process(world, "fresh", -600)
    await fresh.beat(rows)
    answer = await other.beat(rows)
    fresh.hearts.listen([answer], [])
    # `other` is younger by its date and has stopped; somebody puts its last word back, again and again.
    for _ in range(4):
        fresh.at += SILENCE / 3
        rows["other"] = answer
        await fresh.beat(rows)
    assert fresh.silenced == ""


async def test_no_more_than_a_few_are_named_however_many_lie_there(world: World) -> None:
    rows = {}
    beat = await Process(world, "x", 0).beat({})
    for number in range(100):
        rows[f"{number}"] = await signed(world, beat, instance=f"{number:032x}")
    one = Process(world, "one", 5)
    await one.beat(rows)
    assert len(one.hearts.twins.named) == 16


# --- the gates, and what ran on this disk ----------------------------------------------------------------------------


async def test_nothing_passes_the_journal_while_another_process_may_run(world: World) -> None:
    entry = JournalEntry("event", "mint", 0, b"\1" * 32, None, "pocket", 5, "mint")
    why = ["another process"]
    gate = BatchedJournal(world.journal, timeout=10, silenced=lambda: why[0])
    verdict = await gate.admit(entry)
    assert isinstance(verdict, Refused)
    assert (verdict.reason.wait, verdict.detail) == (WaitReason.OTHER_PROCESS, "another process")
    assert world.journal.signed("event") == []
    why[0] = ""
    assert await gate.admit(entry) == Allowed()
    await gate.close()


def test_a_document_says_that_another_process_may_run(world: World) -> None:
    context = replace(world.context, silenced=lambda: "another")
    blocked = context.blocked("event", "mint", "", member=True)
    assert blocked is not None
    assert blocked.reason is WaitReason.OTHER_PROCESS
    assert world.context.blocked("event", "mint", "", member=True) is None


def test_what_held_this_very_lock_is_dead_and_what_held_a_copy_is_not(tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    with ProcessLock(first):
        assert note_run(first, "a") == frozenset()
    with ProcessLock(first):
        assert note_run(first, "b") == {"a"}
    second.mkdir()
    for path in first.iterdir():
        (second / path.name).write_bytes(path.read_bytes())
    assert (second / LOCK_FILE).exists()
    with ProcessLock(second):
        assert note_run(second, "c") == frozenset(), "the original may run"
    with ProcessLock(first):
        assert note_run(first, "d") == {"a", "b"}


def test_a_list_of_runs_that_is_none_is_ignored(tmp_path: Path) -> None:
    with ProcessLock(tmp_path):
        (tmp_path / "runs").write_bytes(b"\xff\xfe one two three\n")
        assert note_run(tmp_path, "a") == frozenset()
        assert note_run(tmp_path, "b") == frozenset()
        assert note_run(tmp_path, "c") == {"b"}


# --- an old copy of the journal --------------------------------------------------------------------------------------


def sign_something(world: World, event: str = "event") -> int:
    """Journal one signature; its second."""
    world.journal.sign_batch([JournalEntry(event, "mint", 0, b"\1" * 32, None, "pocket", 5, "mint")])
    last = world.journal.last_signature_at()
    assert last is not None
    return last


def second(number: float) -> datetime:
    return datetime.fromtimestamp(number, UTC)


async def told(world: World, **said: Any) -> list[str]:
    """The holds after an earlier process's heartbeat was heard, which says `said`, validly signed."""
    beat = await Process(world, "earlier", -60).beat({})
    Process(world, "now", 0).hearts.listen([await signed(world, beat, **said)], [])
    return [hold.reason for hold in world.journal.holds()]


async def test_a_journal_that_knows_less_than_the_own_last_heartbeat_stops_signing(world: World) -> None:
    last = sign_something(world)
    assert await told(world, last_signature_at=second(last + 1)) == ["lost_journal"]
    assert "it is an old copy" in world.journal.holds()[0].detail
    blocked = world.context.blocked("event", "mint", "", member=True)
    assert blocked is not None
    assert blocked.reason is WaitReason.HELD


async def test_one_that_ended_on_this_disk_tells_of_it_too(world: World) -> None:
    last = sign_something(world)
    beat = await Process(world, "earlier", -60).beat({})
    now = Process(world, "now", 0, dead=frozenset({"earlier"}))
    now.hearts.listen([await signed(world, beat, last_signature_at=second(last + 1))], [])
    assert [hold.reason for hold in world.journal.holds()] == ["lost_journal"]


@pytest.mark.parametrize(
    "said",
    [
        {"last_signature_at": None},
        {"pokt_vault_address": "11" * 20, "last_signature_at": second(2**33)},
        {"ethereum_chain_id": "5", "last_signature_at": second(2**33)},
        {"instance": "now", "last_signature_at": second(2**33)},
    ],
)
async def test_what_says_nothing_of_this_journal_stops_nobody(world: World, said: dict[str, Any]) -> None:
    sign_something(world)
    assert await told(world, **said) == []


@pytest.mark.parametrize("later", [0, -1, -(10**6)])
async def test_a_signature_that_the_journal_may_know_stops_nobody(world: World, later: int) -> None:
    assert await told(world, last_signature_at=second(sign_something(world) + later)) == []


@pytest.fixture
def set_forward(world: World, monkeypatch: pytest.MonkeyPatch) -> tuple[int, int]:
    """The host's clock was an hour ahead for one signature, and is right again for the next: their seconds."""
    really = world.journal._now
    monkeypatch.setattr(world.journal, "_now", lambda: really() + 3600)
    ahead = sign_something(world)
    monkeypatch.setattr(world.journal, "_now", really)
    return ahead, sign_something(world, "another")


async def test_a_clock_that_was_set_forward_for_a_while_makes_no_old_copy(world: World, set_forward: tuple[int, int]) -> None:
    ahead, right = set_forward
    assert right < ahead
    assert await told(world, last_signature_at=second(ahead)) == []


async def test_an_old_copy_is_found_out_though_the_clock_was_set_forward_once(world: World, set_forward: tuple[int, int]) -> None:
    _, right = set_forward
    assert await told(world, last_signature_at=second(right + 60)) == ["lost_journal"]


async def test_a_journal_made_after_the_signature_is_no_old_copy(world: World) -> None:
    assert await told(world, last_signature_at=second(world.journal.created_at)) == []
    assert await told(world, last_signature_at=second(world.journal.created_at + 1)) == ["lost_journal"]


async def test_a_forged_word_about_a_signature_stops_nobody(world: World) -> None:
    sign_something(world)
    beat = await Process(world, "earlier", -60).beat({})
    Process(world, "now", 0).hearts.listen([{**beat, "last_signature_at": second(2**33)}], [])
    assert world.journal.holds() == []


async def test_what_an_operator_has_released_is_not_held_again_and_not_told_again(world: World) -> None:
    last = sign_something(world)
    lines: list[str] = []
    sink = logger.add(lambda text: lines.append(str(text)), level="ERROR")
    try:
        assert await told(world, last_signature_at=second(last + 1)) == ["lost_journal"]
        world.journal.release("signing", "operator", "understood")
        assert await told(world, last_signature_at=second(last + 1)) == []
    finally:
        logger.remove(sink)
    assert sum("it is an old copy" in line for line in lines) == 1
    assert await told(world, last_signature_at=second(last + 1), instance="another") == ["lost_journal"]
