"""A ledger of the first schema is brought up to date when it is opened, once and wholly, and nothing of it is read anew."""

import sqlite3
from dataclasses import replace
from pathlib import Path

import pytest

from reactor.state import ledger_file
from reactor.state.created import moment
from reactor.state.ledger import Ledger
from reactor.state.ledger_file import check_ledger_file
from reactor.state.problems import StateProblem
from reactor.state.rows import EventKind
from reactor.state.second import Stretch
from tests.unit.journal_helpers import ALICE, BRIDGE
from tests.unit.test_state_ledger import block, burn, deposit, minted

pytestmark = pytest.mark.unit

UNDECODED = replace(deposit(3, 12), amount=None, is_send=False, memo="", memo_address=None, memo_chain_id=None)


def old_ledger(directory: Path) -> Path:
    """A file as version 0.1.0 wrote it at first: the same tables without what came later."""
    ledger = Ledger.open(directory, BRIDGE)
    ledger.record_window(EventKind.DEPOSIT, 10, 20, [deposit(1, 11), deposit(2, 11, 1), UNDECODED], 20, block(20))
    ledger.record_window(EventKind.BURN, 100, 120, [replace(burn(1, 110), block=replace(block(110), time=0))], 120, block(120))
    ledger.record_window(EventKind.MINTED, 100, 120, [minted(8, 111)], 120, block(120))
    ledger.set_base_nonce(ALICE, 7)
    ledger.save_token(b"token")
    ledger.close()
    path = directory / ledger_file.LEDGER_FILE
    with sqlite3.connect(path) as connection:
        connection.execute("ALTER TABLE events DROP COLUMN created")
        connection.execute("DROP TABLE second_readings")
        connection.execute("UPDATE meta SET value = '1' WHERE name = 'schema'")
        # Rows of that time: no milliseconds of the header.
        connection.execute("UPDATE events SET body = replace(body, ',0],', '],')")
    connection.close()
    return path


def test_it_is_brought_up_to_date_and_keeps_what_it_knew(tmp_path):
    old_ledger(tmp_path)
    for _ in range(2):  # the second time there is nothing to do
        ledger = Ledger.open(tmp_path, BRIDGE)
        times = [1_700_000_011_000, 1_700_000_011_001, 1_700_000_012_000]
        seen = ledger.unsettled(EventKind.DEPOSIT, 10)
        assert [one.event for one in seen] == [deposit(1, 11), deposit(2, 11, 1), replace(UNDECODED, sender="")]
        assert [one.created for one in seen] == [moment(one) for one in times]
        assert ledger.created_at(burn(1, 110)) == moment(0)
        assert [seen.event for seen in ledger.minted_of(ALICE)] == [minted(8, 111)]
        cursor = ledger.cursor(EventKind.DEPOSIT)
        assert cursor is not None
        assert (cursor.height, cursor.hash, ledger.base_nonce(ALICE), ledger.load_token()) == (20, "a20", 7, b"token")
        assert ledger.second_stretches("pocket") == []
        ledger.close()


def test_what_was_read_before_is_read_a_second_time_after_what_is_new(tmp_path):
    old_ledger(tmp_path)
    ledger = Ledger.open(tmp_path, BRIDGE)
    ledger.begin_second("pocket", 10, 20)
    ledger.begin_second("pocket", 10, 30)  # noted once
    assert ledger.second_stretches("pocket") == [Stretch(1, "pocket", 21, None), Stretch(2, "pocket", 10, 20)]
    assert ledger.second_stretches("ethereum") == []
    ledger.close()


def test_a_crash_in_between_leaves_the_old_one(tmp_path, monkeypatch):
    path = old_ledger(tmp_path)

    def crash(*_):
        raise StateProblem("the disk is full", "free some space")

    monkeypatch.setattr(ledger_file, "renumber", crash)
    with pytest.raises(StateProblem, match="the disk is full"):
        Ledger.open(tmp_path, BRIDGE)
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone() == ("1",)
        assert "created" not in {row[1] for row in connection.execute("PRAGMA table_info(events)")}
    connection.close()
    monkeypatch.undo()
    ledger = Ledger.open(tmp_path, BRIDGE)
    assert [one.created.year for one in ledger.unsettled(EventKind.DEPOSIT, 10)] == [2023] * 3
    ledger.close()


@pytest.mark.parametrize("schema", ["0", "3", "x"])
def test_another_versions_ledger_is_refused(tmp_path, schema):
    path = old_ledger(tmp_path)
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE meta SET value = ? WHERE name = 'schema'", (schema,))
    connection.close()
    with pytest.raises(StateProblem, match=f"has schema {schema}, this version reads 2"):
        Ledger.open(tmp_path, BRIDGE)


# --- what a start would make of it, asked without changing it


def test_a_ledger_is_judged_before_the_start_and_left_as_it_is(tmp_path):
    assert "none yet" in check_ledger_file(tmp_path, BRIDGE)
    assert not list(tmp_path.iterdir())
    path = tmp_path / ledger_file.LEDGER_FILE
    path.touch()  # a start that was killed before it had made its tables
    assert "none yet" in check_ledger_file(tmp_path, BRIDGE)
    Ledger.open(tmp_path, BRIDGE).close()
    assert check_ledger_file(tmp_path, BRIDGE) == "of this bridge"
    assert "read again" in check_ledger_file(tmp_path, replace(BRIDGE, pocket_start=11))


def test_one_that_a_start_would_refuse_is_refused_with_the_same_words(tmp_path):
    path = old_ledger(tmp_path)
    assert "brought up to date at the start" in check_ledger_file(tmp_path, BRIDGE)
    other = replace(BRIDGE, wpokt="0x" + "77" * 20)

    def words(opening, bridge):
        with pytest.raises(StateProblem) as refused:
            opening(tmp_path, bridge)
        return refused.value.what, refused.value.remedy

    assert words(check_ledger_file, other) == words(Ledger.open, other)
    assert "belongs to the bridge" in words(check_ledger_file, other)[0]
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE meta SET value = '3' WHERE name = 'schema'")
    connection.close()
    assert words(check_ledger_file, BRIDGE) == words(Ledger.open, BRIDGE)
    path.write_bytes(b"no database at all" * 100)
    assert words(check_ledger_file, BRIDGE) == words(Ledger.open, BRIDGE)
    assert words(check_ledger_file, BRIDGE)[1] == ledger_file.CORRUPT_REMEDY


# --- the second readings' place


def stretches(ledger: Ledger) -> list[tuple[int, int | None]]:
    return [(one.next, one.last) for one in ledger.second_stretches("pocket")]


def test_each_stretch_goes_on_where_it_was_and_the_past_ends(tmp_path):
    ledger = Ledger.open(tmp_path, BRIDGE)
    ledger.begin_second("pocket", 10, 20)
    newest, past = ledger.second_stretches("pocket")
    ledger.read_twice(newest, 25)
    ledger.read_twice(past, 14)
    ledger.close()
    ledger = Ledger.open(tmp_path, BRIDGE)
    assert stretches(ledger) == [(26, None), (15, 20)]
    ledger.read_twice(ledger.second_stretches("pocket")[1], 20)
    assert stretches(ledger) == [(26, None)]
    ledger.close()


def test_nothing_of_the_past_is_read_where_nothing_was(tmp_path):
    ledger = Ledger.open(tmp_path, BRIDGE)
    ledger.begin_second("pocket", 10, 9)
    assert stretches(ledger) == [(10, None)]
    ledger.close()


@pytest.mark.parametrize(
    ("to", "left"),
    [(30, [(26, None), (15, 20)]), (22, [(23, None), (15, 20)]), (17, [(18, None), (15, 17)]), (12, [(13, None)]), (None, [])],
)
def test_a_chain_that_is_taken_anew_is_read_twice_anew_too(tmp_path, to, left):
    ledger = Ledger.open(tmp_path, BRIDGE)
    ledger.begin_second("pocket", 10, 20)
    newest, past = ledger.second_stretches("pocket")
    ledger.read_twice(newest, 25)
    ledger.read_twice(past, 14)
    ledger.rewind([EventKind.DEPOSIT, EventKind.RETURNED], block(to) if to else None)
    assert stretches(ledger) == left
    ledger.close()


# --- a base nonce that was reckoned without an event


@pytest.mark.parametrize(("late", "base"), [(minted(8, 105), None), (minted(8, 105, recipient="0x" + "b0" * 20), 7)])
def test_a_mint_that_is_found_late_makes_its_recipients_base_be_reckoned_again(tmp_path, late, base):
    ledger = Ledger.open(tmp_path, BRIDGE)
    ledger.record_window(EventKind.MINTED, 100, 120, [minted(9, 111)], 120)
    ledger.set_base_nonce(ALICE, 7)
    ledger.record_window(EventKind.MINTED, 121, 130, [minted(10, 125)], 130)
    assert ledger.base_nonce(ALICE) == 7
    ledger.record_window(EventKind.MINTED, 105, 105, [late], 130)
    assert ledger.base_nonce(ALICE) == base
    ledger.close()
