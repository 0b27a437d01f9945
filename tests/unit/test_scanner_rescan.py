"""Blocks that an operator wants read again: what is missing is added, what was final stays, the position stays."""

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from bson import ObjectId
from loguru import logger

from reactor.documents.events import Event
from reactor.documents.keys import document_id, event_key
from reactor.documents.statuses import Collection
from reactor.state.holds import SIGNING
from reactor.state.rows import EventKind
from scanners.loop import RESCAN_WINDOWS, View
from tests.unit.handler_world import World, block, burn, minted
from tests.unit.test_scanner_loop import Bench

pytestmark = pytest.mark.unit

VIEW = View(100, 100)


@pytest.fixture
def logged() -> Iterator[list[str]]:
    lines: list[str] = []
    sink = logger.add(lines.append, level="WARNING", format="{level} {message}")
    yield lines
    logger.remove(sink)


def row_of(world: World, event: Event, collection: Collection = Collection.BURN) -> tuple[Collection, ObjectId]:
    return collection, document_id(collection, event_key(world.bridge, event))


async def read_once(world: World, *events) -> Bench:
    bench = Bench(world, *events)
    assert await bench.scanner.scan(VIEW)
    bench.chain.windows.clear()
    bench.inserts.rows.clear()
    bench.rung.clear()
    return bench


async def test_an_event_that_the_first_scan_missed_is_found(world: World) -> None:
    bench = await read_once(world, burn(3))
    bench.chain.events.append(burn(9))
    world.ledger.ask_rescan("ethereum", 5, 20)
    await bench.scanner.rescan(VIEW)
    assert bench.chain.windows == [(5, 20)]
    assert bench.rings("new") == [burn(9)]
    assert world.ledger.burn(burn(9).tx_hash, 0).final  # type: ignore[union-attr]
    assert bench.cursor() == 100
    assert world.ledger.next_rescan("ethereum") is None


async def test_without_a_wish_nothing_is_read_again(world: World) -> None:
    bench = await read_once(world, burn(3))
    world.ledger.ask_rescan("pocket", 5, 20)
    await bench.scanner.rescan(VIEW)
    assert bench.chain.windows == []


async def test_documents_of_known_events_are_inserted_again(world: World) -> None:
    bench = await read_once(world, burn(3), minted(4, 1))
    world.ledger.ask_rescan("ethereum", 1, 100)
    await bench.scanner.rescan(VIEW)
    known = document_id(Collection.BURN, event_key(world.bridge, burn(3)))
    assert (Collection.BURN, known) in bench.inserts.rows
    assert bench.rings("new") == bench.rings("changed") == bench.rings("vanished") == []


async def test_a_final_event_that_is_gone_stops_signing_and_the_rest_is_read(world: World) -> None:
    bench = await read_once(world, burn(3), burn(60))
    bench.chain.events.pop(0)
    bench.chain.most = 50
    world.ledger.ask_rescan("ethereum", 1, 100)
    await bench.scanner.rescan(VIEW)
    assert bench.chain.windows == [(1, 50), (51, 100)]
    assert [hold.reason for hold in world.journal.holds()] == ["deep_reorg"]
    assert world.ledger.burn(burn(3).tx_hash, 0) is not None


async def test_a_window_that_is_held_for_is_read_again_once_that_is_released_and_nothing_of_it_is_lost(
    world: World, logged: list[str]
) -> None:
    bench = await read_once(world, burn(3), minted(7, 1), burn(60))
    bench.chain.events += [burn(5)]
    bench.chain.events.remove(burn(3))
    bench.chain.most = 50
    world.ledger.ask_rescan("ethereum", 1, 100)
    await bench.scanner.rescan(VIEW)
    assert "blocks 1 to 50 show otherwise what was final" in "".join(logged)
    assert row_of(world, burn(5)) not in bench.inserts.rows, "the ledger did not take it"
    # As long as it is held it costs nothing, and keeps no other request waiting.
    for _ in range(3):
        await bench.scanner.rescan(VIEW)
    world.ledger.ask_rescan("ethereum", 70, 80)
    await bench.scanner.rescan(VIEW)
    assert bench.chain.windows == [(1, 50), (51, 100), (70, 80)]
    # The node shows what is true again.
    bench.chain.events += [burn(3)]
    world.journal.release(SIGNING, "alice", "the node was wrong")
    await bench.scanner.rescan(VIEW)
    assert bench.chain.windows[3:] == [(1, 50)]
    assert bench.rings("new") == [burn(5)]
    assert row_of(world, burn(5)) in bench.inserts.rows
    assert world.ledger.next_rescan("ethereum") is None


async def test_where_a_person_has_released_it_what_was_final_stays_and_that_is_said(world: World, logged: list[str]) -> None:
    bench = await read_once(world, burn(3), minted(7, 1))
    bench.chain.events = [burn(5), minted(7, 1)]
    world.ledger.ask_rescan("ethereum", 1, 50)
    await bench.scanner.rescan(VIEW)
    world.journal.release(SIGNING, "alice", "understood")
    bench.inserts.rows.clear()
    await bench.scanner.rescan(VIEW)
    assert {*bench.inserts.rows} == {row_of(world, burn(3)), row_of(world, minted(7, 1), Collection.MINTED)}
    assert "which a person has released" in "".join(logged)
    assert (bench.rings("new"), world.ledger.next_rescan("ethereum"), world.journal.holds()) == ([], None, [])


async def test_a_window_that_is_held_for_is_read_again_after_a_restart_too(world: World) -> None:
    bench = await read_once(world, burn(3))
    bench.chain.events.clear()
    world.ledger.ask_rescan("ethereum", 1, 50)
    await bench.scanner.rescan(VIEW)
    again = Bench(world)
    for _ in range(2):
        await again.scanner.rescan(VIEW)
    assert again.chain.windows == [(1, 50)]
    wish = world.ledger.next_rescan("ethereum")
    assert wish is not None
    assert (wish.next, wish.last) == (1, 50)


async def test_an_operator_has_headers_asked_for_again_too(world: World) -> None:
    bench = await read_once(world, burn(3))
    await bench.scanner.rescan(VIEW)
    assert bench.chain.forgotten == 0
    world.ledger.ask_rescan("ethereum", 1, 50)
    await bench.scanner.rescan(VIEW)
    assert bench.chain.forgotten == 1


async def test_a_long_range_leaves_room_for_new_heads_and_goes_on_where_it_was(world: World) -> None:
    bench = await read_once(world)
    bench.chain.most = 5
    world.ledger.ask_rescan("ethereum", 1, 100)
    await bench.scanner.rescan(VIEW)
    assert len(bench.chain.windows) == RESCAN_WINDOWS
    wish = world.ledger.next_rescan("ethereum")
    assert wish is not None
    assert (wish.next, wish.last) == (51, 100)
    await bench.scanner.rescan(VIEW)
    assert bench.chain.windows[-1] == (96, 100)
    assert world.ledger.next_rescan("ethereum") is None


async def test_above_what_is_read_it_waits(world: World) -> None:
    bench = await read_once(world, burn(3))
    world.ledger.ask_rescan("ethereum", 40, 100)
    world.ledger.rewind([EventKind.BURN, EventKind.MINTED], block(30, "ethereum"))
    await bench.scanner.rescan(VIEW)
    assert bench.chain.windows == []
    assert world.ledger.next_rescan("ethereum") is not None


async def test_a_node_that_lags_is_asked_again_later(world: World) -> None:
    bench = await read_once(world, burn(3))
    bench.chain.shown = 2
    world.ledger.ask_rescan("ethereum", 5, 20)
    await bench.scanner.rescan(VIEW)
    assert world.ledger.next_rescan("ethereum") is not None


async def test_it_is_taken_up_with_the_next_look_at_the_head(world: World) -> None:
    bench = await read_once(world, burn(3))
    bench.chain.heads = [VIEW, View(101, 100), View(102, 100)]
    heads = bench.scanner.heads()
    assert await anext(heads) == 100
    world.ledger.ask_rescan("ethereum", 5, 20)
    assert await anext(heads) == 101
    assert (5, 20) in bench.chain.windows
    await heads.aclose()  # type: ignore[attr-defined]


@pytest.mark.parametrize(("first", "last"), [(0, 5), (6, 5), (-1, 5)])
def test_a_range_that_is_none_is_refused(world: World, first: int, last: int) -> None:
    with pytest.raises(ValueError, match="need 0 < first <= last"):
        world.ledger.ask_rescan("ethereum", first, last)


@pytest.mark.parametrize("time", [0, 1, 1_000_000 + 60 * 3, 2**40])
async def test_another_time_of_the_same_block_is_no_reorganisation_and_a_known_one_is_taken(world: World, time: int) -> None:
    stored = replace(burn(3), block=replace(block(3, "ethereum"), time=0))
    bench = await read_once(world, stored)
    bench.chain.events = [replace(burn(3), block=replace(block(3, "ethereum"), time=time))]
    world.ledger.ask_rescan("ethereum", 1, 100)
    await bench.scanner.rescan(VIEW)
    assert world.journal.holds() == []
    assert bench.rings("changed") == bench.rings("new") == []
    assert world.ledger.burn(burn(3).tx_hash, 0).event.block.time == time  # type: ignore[union-attr]


async def test_a_node_without_the_time_takes_none_away(world: World) -> None:
    bench = await read_once(world, burn(3))
    bench.chain.events = [replace(burn(3), block=replace(block(3, "ethereum"), time=0))]
    world.ledger.ask_rescan("ethereum", 1, 100)
    await bench.scanner.rescan(VIEW)
    assert world.journal.holds() == []
    assert world.ledger.burn(burn(3).tx_hash, 0).event.block.time == 1_000_000 + 60 * 3  # type: ignore[union-attr]


@pytest.mark.parametrize(
    "changes",
    [
        {"amount": 5},
        {"sender": "0x" + "77" * 20},
        {"recipient": "77" * 20},
        {"log_index": 9},
        {"block": replace(block(3, "ethereum"), hash="0x" + "ab" * 32)},
    ],
    ids=lambda one: next(iter(one)),
)
async def test_each_field_that_the_protocol_defines_is_final(world: World, changes: dict[str, Any]) -> None:
    bench = await read_once(world, burn(3))
    bench.chain.events = [replace(burn(3), **changes)]
    world.ledger.ask_rescan("ethereum", 1, 100)
    await bench.scanner.rescan(VIEW)
    assert [hold.reason for hold in world.journal.holds()] == ["deep_reorg"]
    assert world.ledger.burn(burn(3).tx_hash, 0).event == burn(3)  # type: ignore[union-attr]
