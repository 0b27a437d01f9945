"""The ledger: windows, finality, the order of mints, open work."""

from dataclasses import replace
from pathlib import Path

import pytest

from reactor.documents.bridge import Schedule
from reactor.documents.events import BlockRef, Burn, Deposit, Minted, Returned
from reactor.documents.keys import event_key
from reactor.state.ledger import Ledger
from reactor.state.problems import FinalityViolated, StateProblem
from reactor.state.rows import EventKind, decode, encode
from tests.unit.journal_helpers import ALICE, BRIDGE

pytestmark = pytest.mark.unit

BOB = "0x" + "b0" * 20
HUGE = 2**255 + 1


def block(height: int, fork: str = "a") -> BlockRef:
    return BlockRef(height, f"{fork}{height}", 1_700_000_000 + height)


def deposit(number: int, height: int, index: int = 0, recipient: str | None = ALICE, fork: str = "a") -> Deposit:
    chain = "31337" if recipient else None
    return Deposit(f"d{number}", index, block(height, fork), "5e" * 20, 20_000, 0, True, "memo", recipient, chain)


def burn(number: int, height: int, burn_index: int = 0, fork: str = "a") -> Burn:
    return Burn(f"0xb{number}", burn_index, 3 + burn_index, block(height, fork), BOB, "5e" * 20, HUGE)


def minted(nonce: int, height: int, recipient: str = ALICE, fork: str = "a") -> Minted:
    return Minted(recipient, HUGE, nonce, f"0xe{nonce}", 0, block(height, fork))


def returned(number: int, height: int, memo: str = "0xb1", amount: int = 500) -> Returned:
    return Returned(f"r{number}", 0, block(height), "5e" * 20, amount, 10_000, memo, -(2**63), 0)


@pytest.fixture
def ledger(tmp_path: Path):
    opened = Ledger.open(tmp_path, BRIDGE)
    yield opened
    opened.close()


@pytest.mark.parametrize(
    "event",
    [
        deposit(1, 10),
        deposit(2, 11, recipient=None),
        replace(deposit(3, 12), amount=None, memo="\ud800\x00\U0001f600"),
        burn(1, 100),
        minted(HUGE, 100),
        replace(returned(1, 10), memo="\udfff\x00"),
    ],
)
def test_rows_keep_every_field(event, ledger):
    row = encode(BRIDGE, event)
    assert decode(row.kind, row.body) == event
    height = event.height
    result = ledger.record_window(EventKind(row.kind), BRIDGE.pocket_start if height < 100 else 100, height, [event], height)
    assert result.new == (event,)
    assert [seen.event for seen in ledger.unsettled(EventKind(row.kind), 10)] == [event]


def test_the_first_window_starts_at_the_start_block(ledger):
    with pytest.raises(StateProblem, match="scan from 10"):
        ledger.record_window(EventKind.DEPOSIT, 11, 20, [], 20)
    with pytest.raises(StateProblem, match="before the start block"):
        ledger.record_window(EventKind.DEPOSIT, 9, 20, [], 20)
    ledger.record_window(EventKind.DEPOSIT, 10, 20, [], 20, block(20))
    cursor = ledger.cursor(EventKind.DEPOSIT)
    assert (cursor.height, cursor.hash, cursor.time) == (20, "a20", 1_700_000_020)
    assert ledger.cursor(EventKind.RETURNED) is None


def test_a_gap_is_refused_and_an_overlap_is_not(ledger):
    ledger.record_window(EventKind.DEPOSIT, 10, 20, [], 15)
    assert ledger.cursor(EventKind.DEPOSIT).height == 15
    with pytest.raises(StateProblem, match="scan from 16"):
        ledger.record_window(EventKind.DEPOSIT, 17, 20, [], 20)
    assert ledger.cursor(EventKind.DEPOSIT).height == 15
    ledger.record_window(EventKind.DEPOSIT, 14, 20, [], 20)
    assert ledger.cursor(EventKind.DEPOSIT).height == 20


def test_a_cursor_never_goes_back_and_final_stays_final(ledger):
    ledger.record_window(EventKind.DEPOSIT, 10, 20, [deposit(1, 18)], 20, block(20))
    result = ledger.record_window(EventKind.DEPOSIT, 15, 21, [deposit(1, 18)], 12)
    assert result.touched == ()
    assert ledger.cursor(EventKind.DEPOSIT).height == 20
    assert ledger.deposit("d1").final


def test_nothing_final_moves_no_cursor(ledger):
    ledger.record_window(EventKind.DEPOSIT, 10, 20, [deposit(1, 18)], 9)
    assert ledger.cursor(EventKind.DEPOSIT) is None
    assert not ledger.deposit("d1").final


def test_events_become_final_once(ledger):
    event = deposit(1, 18)
    assert ledger.record_window(EventKind.DEPOSIT, 10, 20, [event], 15).new == (event,)
    result = ledger.record_window(EventKind.DEPOSIT, 16, 21, [event], 18)
    assert (result.new, result.changed, result.final) == ((), (), (event,))
    assert ledger.record_window(EventKind.DEPOSIT, 16, 22, [event], 19).touched == ()


def test_a_reorganisation_drops_and_moves_what_is_not_final(ledger):
    ledger.record_window(EventKind.BURN, 100, 110, [burn(1, 105), burn(2, 106), burn(3, 107)], 104)
    moved = burn(2, 108, fork="b")
    result = ledger.record_window(EventKind.BURN, 105, 110, [burn(1, 105), moved], 104)
    assert (result.new, result.changed, result.final, result.vanished) == ((), (moved,), (), (burn(3, 107),))
    assert ledger.burn("0xb2", 0).event == moved
    assert ledger.burn("0xb3", 0) is None


def test_a_reorganisation_reopens_what_was_settled(ledger):
    ledger.record_window(EventKind.BURN, 100, 110, [burn(1, 105), burn(2, 105)], 104)
    for number in (1, 2):
        ledger.settle(event_key(BRIDGE, burn(number, 105)))
    assert ledger.unsettled(EventKind.BURN, 10) == []
    ledger.record_window(EventKind.BURN, 105, 110, [burn(1, 106), burn(2, 105)], 104)
    assert [seen.event for seen in ledger.unsettled(EventKind.BURN, 10)] == [burn(1, 106)]


@pytest.mark.parametrize("shown", [[], [burn(1, 105, fork="b")], [replace(burn(1, 105), amount=1)]])
def test_a_final_event_never_changes(ledger, shown):
    known = burn(1, 105)
    ledger.record_window(EventKind.BURN, 100, 105, [known], 105)
    with pytest.raises(FinalityViolated) as caught:
        ledger.record_window(EventKind.BURN, 100, 110, [*shown, burn(2, 106)], 110)
    assert caught.value.known == known
    assert caught.value.shown == (shown[0] if shown else None)
    assert ledger.burn("0xb1", 0).event == known
    assert ledger.burn("0xb2", 0) is None, "nothing of a refused window is written"
    assert ledger.cursor(EventKind.BURN).height == 105


def test_a_final_event_that_is_shown_above_the_cursor_too_is_a_violation(ledger):
    ledger.record_window(EventKind.BURN, 100, 105, [burn(1, 105)], 105)
    with pytest.raises(FinalityViolated):
        ledger.record_window(EventKind.BURN, 106, 110, [burn(1, 107)], 105)


def test_a_nonce_is_minted_once(ledger):
    ledger.record_window(EventKind.MINTED, 100, 105, [minted(1, 105)], 104)
    ledger.record_window(EventKind.MINTED, 105, 106, [minted(1, 105, fork="b")], 104)
    assert [seen.event for seen in ledger.minted(ALICE, 1)] == [minted(1, 105, fork="b")]
    ledger.record_window(EventKind.MINTED, 105, 106, [minted(1, 105, fork="b")], 105)
    with pytest.raises(FinalityViolated):
        ledger.record_window(EventKind.MINTED, 106, 108, [minted(1, 107)], 105)
    ledger.record_window(EventKind.MINTED, 106, 108, [minted(1, 107, recipient=BOB), minted(2, 107)], 108)
    assert [seen.event.nonce for seen in ledger.minted_of(ALICE)] == [1, 2]
    assert (ledger.minted_count(ALICE), ledger.minted_count(BOB)) == (2, 1)
    assert ledger.minted(BOB, 2) == []


@pytest.mark.parametrize("lagging", [20, 11])
def test_an_event_that_an_earlier_scan_missed_is_taken(ledger, lagging):
    ledger.record_window(EventKind.DEPOSIT, 10, 20, [deposit(1, 18)], 20)
    late = deposit(2, 12)
    assert ledger.record_window(EventKind.DEPOSIT, 12, 20, [deposit(1, 18), late], lagging).new == (late,)
    assert ledger.deposit("d2").final


@pytest.mark.parametrize(("events", "first"), [([deposit(1, 21)], 10), ([burn(1, 12)], 10), ([deposit(1, 10)], 11)])
def test_a_window_holds_only_its_own_events(ledger, events, first):
    with pytest.raises(ValueError, match=r"outside|is no deposit"):
        ledger.record_window(EventKind.DEPOSIT, first, 20, events, 20)
    assert ledger.counts()[EventKind.DEPOSIT] == 0


def test_a_window_that_contradicts_itself_is_refused(ledger):
    with pytest.raises(ValueError, match="twice"):
        ledger.record_window(EventKind.DEPOSIT, 10, 20, [deposit(1, 12), deposit(1, 13)], 20)
    assert ledger.record_window(EventKind.DEPOSIT, 10, 20, [deposit(1, 12)] * 2, 20).new == (deposit(1, 12),)


def test_mint_ranks_follow_height_and_index_of_final_deposits(ledger):
    events = [
        deposit(3, 12, 5),
        deposit(1, 11, 9),
        deposit(2, 12, 2),
        deposit(4, 12, 3, BOB),
        deposit(5, 12, 4, None),
        deposit(6, 19),
    ]
    ledger.record_window(EventKind.DEPOSIT, 10, 20, events, 15)
    assert [ledger.mint_rank(event) for event in events] == [3, 1, 2, 1, None, None]
    assert [seen.event.tx_hash for seen in ledger.deposits_to_mint(ALICE)] == ["d1", "d2", "d3"]
    assert ledger.mint_by_rank(ALICE, 2).event == deposit(2, 12, 2)
    assert ledger.mint_by_rank(ALICE, 4) is None
    assert ledger.mint_by_rank(ALICE, 0) is None
    assert ledger.mint_rank(deposit(1, 13)) is None, "not the deposit that the ledger holds"


def test_returns_are_found_by_memo(ledger):
    events = [returned(1, 12), returned(2, 13, amount=501), returned(3, 11, memo="other")]
    ledger.record_window(EventKind.RETURNED, 10, 20, events, 20)
    assert [seen.event.tx_hash for seen in ledger.returned_by_memo("0xb1")] == ["r1", "r2"]
    assert [seen.event.tx_hash for seen in ledger.returned_matching("5e" * 20, 501, "0xb1")] == ["r2"]
    assert ledger.returned_matching("00" * 20, 501, "0xb1") == []
    assert ledger.returned("r3").event == events[2]
    assert ledger.returned("r4") is None


def test_burns_of_a_transaction_come_in_order(ledger):
    events = [burn(1, 101, 1), burn(1, 101, 0), burn(2, 101)]
    ledger.record_window(EventKind.BURN, 100, 101, events, 101)
    assert [seen.event.burn_index for seen in ledger.burns_of_tx("0xb1")] == [0, 1]
    assert ledger.burns_of_tx("0xb9") == []


def test_open_work_is_paged_and_settled(ledger):
    events = [deposit(number, 10 + number // 3) for number in range(9)]
    ledger.record_window(EventKind.DEPOSIT, 10, 20, events, 11)
    pages, after = [], None
    while page := ledger.unsettled(EventKind.DEPOSIT, 4, after):
        pages.append([seen.event.tx_hash for seen in page])
        after = page[-1]
    assert pages == [["d0", "d1", "d2", "d3"], ["d4", "d5", "d6", "d7"], ["d8"]]
    key = event_key(BRIDGE, events[0])
    ledger.settle(key)
    assert [seen.event for seen in ledger.unsettled(EventKind.DEPOSIT, 10)] == events[1:]
    ledger.unsettle(key)
    assert ledger.unsettled(EventKind.DEPOSIT, 1)[0].key == key


@pytest.mark.parametrize("settled", [True, False])
def test_a_mark_that_the_disk_refused_is_written_later(ledger, monkeypatch, settled):
    ledger.record_window(EventKind.DEPOSIT, 10, 20, [deposit(1, 10)], 11)
    key = event_key(BRIDGE, deposit(1, 10))
    if not settled:
        ledger.settle(key)
        assert ledger.unsettled(EventKind.DEPOSIT, 1) == []
    (ledger.settle if settled else ledger.unsettle)(key)
    with monkeypatch.context() as full:

        def refuse():
            raise StateProblem("the disk is full", "free some space")

        full.setattr(ledger._db, "transaction", refuse)
        with pytest.raises(StateProblem):
            ledger.unsettled(EventKind.DEPOSIT, 1)
    assert [seen.key for seen in ledger.unsettled(EventKind.DEPOSIT, 1)] == ([] if settled else [key])


def test_unexplained_are_final_and_not_yet_explained(ledger):
    ledger.record_window(EventKind.RETURNED, 10, 20, [returned(1, 12), returned(2, 13), returned(3, 19)], 15)
    assert [seen.event.tx_hash for seen in ledger.unexplained(EventKind.RETURNED, 10)] == ["r1", "r2"]
    ledger.explain(event_key(BRIDGE, returned(1, 12)))
    assert [seen.event.tx_hash for seen in ledger.unexplained(EventKind.RETURNED, 10)] == ["r2"]


def test_small_things_are_kept(tmp_path):
    ledger = Ledger.open(tmp_path, BRIDGE)
    assert (ledger.base_nonce(ALICE), ledger.load_token(), ledger.repairs("doc")) == (None, None, 0)
    ledger.set_base_nonce(ALICE, HUGE)
    ledger.save_token(b"one")
    ledger.save_token(b"two")
    assert [ledger.count_repair("doc"), ledger.count_repair("doc")] == [1, 2]
    ledger.close()
    again = Ledger.open(tmp_path, BRIDGE)
    assert (again.base_nonce(ALICE), again.load_token(), again.repairs("doc"), again.repairs("x")) == (HUGE, b"two", 2, 0)
    again.close()


def test_another_schedule_classifies_again(tmp_path):
    ledger = Ledger.open(tmp_path, BRIDGE)
    ledger.record_window(EventKind.DEPOSIT, 10, 20, [deposit(1, 12), deposit(2, 18)], 20)
    ledger.settle(event_key(BRIDGE, deposit(1, 12)))
    ledger.settle(event_key(BRIDGE, deposit(2, 18)))
    ledger.close()
    other = replace(BRIDGE, maximum=Schedule(((0, 10**12), (15, 15_000))))
    ledger = Ledger.open(tmp_path, other)
    assert [seen.event.tx_hash for seen in ledger.deposits_to_mint(ALICE)] == ["d1"]
    assert [seen.event.tx_hash for seen in ledger.unsettled(EventKind.DEPOSIT, 5)] == ["d2"]
    assert ledger.cursor(EventKind.DEPOSIT).height == 20
    ledger.close()


def test_other_start_blocks_begin_anew(tmp_path):
    ledger = Ledger.open(tmp_path, BRIDGE)
    ledger.record_window(EventKind.DEPOSIT, 10, 20, [deposit(1, 12)], 20)
    ledger.close()
    ledger = Ledger.open(tmp_path, replace(BRIDGE, pocket_start=5))
    assert ledger.cursor(EventKind.DEPOSIT) is None
    assert ledger.counts()[EventKind.DEPOSIT] == 0
    ledger.close()


def test_the_ledger_of_another_bridge_is_refused(tmp_path):
    Ledger.open(tmp_path, BRIDGE).close()
    with pytest.raises(StateProblem, match="belongs to the bridge"):
        Ledger.open(tmp_path, replace(BRIDGE, vault="ff" * 20))


def test_a_damaged_ledger_names_its_remedy(tmp_path):
    (tmp_path / "ledger.sqlite").write_bytes(b"not a database at all" * 500)
    with pytest.raises(StateProblem, match="delete it"):
        Ledger.open(tmp_path, BRIDGE)


@pytest.mark.parametrize(
    ("read", "index"),
    [
        (lambda ledger: ledger.deposit("d1"), "sqlite_autoindex_events_1"),
        (lambda ledger: ledger.minted(ALICE, 1), "by_nonce"),
        (lambda ledger: ledger.minted_of(ALICE), "by_address"),
        (lambda ledger: ledger.minted_count(ALICE), "by_address"),
        (lambda ledger: ledger.returned_by_memo("memo"), "by_memo"),
        (lambda ledger: ledger.returned("r1"), "by_transaction"),
        (lambda ledger: ledger.burns_of_tx("0xb1"), "by_transaction"),
        (lambda ledger: ledger.deposits_to_mint(ALICE), "by_address"),
        (lambda ledger: ledger.unsettled(EventKind.BURN, 5), "open_work"),
        (lambda ledger: ledger.unexplained(EventKind.MINTED, 5), "not_explained"),
    ],
)
def test_reads_use_their_index(ledger, read, index):
    """Cost per request stays flat as history grows: a scan of a kind would not."""
    connection, queries = ledger._db._connection(), []
    connection.set_trace_callback(queries.append)
    read(ledger)
    connection.set_trace_callback(None)
    (plan, *_) = [row[3] for row in connection.execute(f"EXPLAIN QUERY PLAN {queries[0]}")]
    assert plan.startswith("SEARCH")
    assert f"INDEX {index} " in plan
