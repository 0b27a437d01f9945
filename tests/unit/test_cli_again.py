"""`retry` and `rescan`: left in the own ledger for the running validator, dry by default, audited."""

import json
import sqlite3

import pytest
from cli_unit_helpers import RECIPIENT, OperatorDesk, burn, deposit, make_journal, make_ledger

from reactor.documents.keys import burn_key, deposit_key, document_id, event_key
from reactor.documents.statuses import Collection
from reactor.flows.common import MOST_REPAIRS
from reactor.state.ledger import Ledger
from reactor.state.ledger_file import LEDGER_FILE
from reactor.state.rows import EventKind

pytestmark = pytest.mark.unit

RESCAN = ["rescan", "--chain", "ethereum", "--from", "120", "--to", "200"]


class Desk(OperatorDesk):
    """An operator who has things done again; every act of his is applied, and says why."""

    def act(self, *arguments, code=0):
        return self.do(*arguments, "--apply", "--why", "mended", code=code)

    def ledger(self, work):
        ledger = Ledger.open(self.settings.state.directory, self.bridge)
        try:
            return work(ledger)
        finally:
            ledger.close()

    def dispute(self, *counters, times=MOST_REPAIRS):
        self.ledger(lambda ledger: [ledger.count_repair(one) for one in counters for _ in range(times)])

    def retries(self):
        return self.ledger(lambda ledger: ledger.take_retries())

    def rescans(self, chain="ethereum"):
        return self.ledger(lambda ledger: ledger.next_rescan(chain))


@pytest.fixture
def alone(tmp_path, capsys):
    """An operator whose shared database is away."""
    desk = Desk(tmp_path, capsys)
    make_journal(desk.settings).close()
    make_ledger(desk.settings)
    desk.ledger(lambda ledger: ledger.record_window(EventKind.MINTED, 100, 200, [], 200))
    return desk


@pytest.fixture
def desk(alone, written):
    return alone


# --- a ledger of an earlier version


def test_a_ledger_that_was_not_brought_up_to_date_yet_is_left_alone_and_the_remedy_is_named(alone):
    path = alone.settings.state.directory / LEDGER_FILE
    with sqlite3.connect(path) as connection:
        connection.execute("ALTER TABLE events DROP COLUMN created")
        connection.execute("UPDATE meta SET value = '1' WHERE name = 'schema'")
    connection.close()
    for verb in (["retry", "disputed"], RESCAN, ["supply"]):
        said = alone.do(*verb, code=1)
        assert "was not brought up to date yet" in said
        assert "remedy: start this version once, `reactor run` does it" in said
    with sqlite3.connect(path) as connection:
        assert connection.execute("SELECT value FROM meta WHERE name = 'schema'").fetchone() == ("1",)
    connection.close()


# --- retry


def test_a_disputed_document_is_taken_up_again_and_its_repairs_count_anew(desk, written):
    key = deposit_key(desk.bridge, deposit(1).tx_hash)
    desk.dispute(f"mint:{key}")
    assert f"mint:{key}: repaired 3 times" in desk.act("retry", deposit(1).tx_hash)
    assert desk.ledger(lambda ledger: ledger.repairs(f"mint:{key}")) == 0
    assert desk.retries() == [("mint", str(document_id(Collection.MINT, key)))]
    assert written == [("retry", [deposit(1).tx_hash], "mended", 1, 1)]


@pytest.mark.parametrize(
    ("event", "role"), [(deposit(1), "mint"), (deposit(2, memo=False), "invalid_mint"), (burn(1), "burn")], ids=["m", "r", "b"]
)
def test_only_documents_that_exist_are_counted(desk, event, role):
    """The one of the collection where the event belongs; that of another only where this validator has repaired it."""
    key = event_key(desk.bridge, event)
    said = json.loads(desk.do("retry", key, "--json"))
    assert (said["would"], said["matched"]) == ({"retry": [f"{role}:{key}"]}, 1)
    elsewhere = "mint" if role == "invalid_mint" else "invalid_mint"
    desk.dispute(f"{elsewhere}:{key}", times=1)
    said = json.loads(desk.do("retry", key, "--json"))
    assert sorted(said["would"]["retry"]) == sorted([f"{role}:{key}", f"{elsewhere}:{key}"])


@pytest.mark.parametrize("target", [deposit(77).tx_hash, f"0x{deposit(77).tx_hash}"])
def test_a_hash_that_nobody_saw_has_no_document_to_take_up(desk, written, target):
    said = desk.act("retry", target, code=1)
    assert "the own ledger knows no event" in said
    assert (desk.retries(), written) == ([], [])


def test_what_was_settled_is_open_again(desk):
    key = deposit_key(desk.bridge, deposit(1).tx_hash)
    desk.ledger(lambda ledger: ledger.settle(key))
    desk.act("retry", key)
    assert key in desk.ledger(lambda ledger: [seen.key for seen in ledger.unsettled(EventKind.DEPOSIT, 10)])


def test_all_disputed_ones_at_once_and_no_others(desk, written):
    disputed = f"burn:{burn_key(desk.bridge, burn().tx_hash, 1)}"
    other = f"burn:{burn_key(desk.bridge, burn().tx_hash, 0)}"
    desk.dispute(disputed)
    desk.dispute(other, times=MOST_REPAIRS - 1)
    assert "2 documents evaluated, 1 matched" in desk.act("retry", "disputed")
    assert desk.ledger(lambda ledger: ledger.repaired()) == {other: MOST_REPAIRS - 1}
    assert len(desk.retries()) == 1
    assert written == [("retry", ["disputed"], "mended", 2, 1)]


def test_where_nothing_is_disputed_nothing_is_asked_or_audited(desk, written):
    assert "0 documents evaluated, 0 matched" in desk.act("retry", "disputed")
    assert (desk.retries(), written) == ([], [])


def test_a_dry_retry_changes_nothing(desk, written):
    key = deposit_key(desk.bridge, deposit(1).tx_hash)
    desk.dispute(f"mint:{key}")
    assert "dry run" in desk.do("retry", "disputed")
    said = json.loads(desk.do("retry", key, "--json"))
    assert (said["applied"], said["evaluated"], said["matched"]) == (False, 1, 1)
    assert desk.ledger(lambda ledger: ledger.repairs(f"mint:{key}")) == MOST_REPAIRS
    assert (desk.retries(), written) == ([], [])


@pytest.mark.parametrize(("target", "code"), [("signing", 2), (RECIPIENT, 2), ("nonsense", 2), (burn(number=77).tx_hash, 1)])
def test_what_is_no_document_cannot_be_retried(desk, written, target, code):
    """What can be no document is wrong usage; what nobody has seen yet is none."""
    assert "remedy: " in desk.act("retry", target, code=code)
    assert (desk.retries(), written) == ([], [])


def test_retries_are_handed_out_once(desk):
    desk.act("retry", deposit(1).tx_hash)
    desk.act("retry", deposit(1).tx_hash)
    assert len(desk.retries()) == 1
    assert desk.retries() == []


# --- rescan


def test_blocks_are_asked_for_and_the_position_stays(desk, written):
    said = desk.act(*RESCAN)
    assert "2 burn events are known in these blocks" in said
    wish = desk.rescans()
    assert (wish.chain, wish.next, wish.last) == ("ethereum", 120, 200)
    assert desk.rescans("pocket") is None
    assert desk.ledger(lambda ledger: ledger.cursor(EventKind.BURN).height) == 200
    assert written == [("rescan", ["--chain ethereum", "--from 120", "--to 200"], "mended", 2, 2)]


def test_a_dry_rescan_asks_for_nothing(desk, written):
    assert "would have had ethereum blocks 120 to 200 read again" in desk.do(*RESCAN)
    assert json.loads(desk.do(*RESCAN, "--json"))["would"]["known"] == {"burn": 2}
    assert (desk.rescans(), written) == (None, [])


@pytest.mark.parametrize(
    ("first", "last", "problem"),
    [("99", "120", "below the bridge's start block"), ("150", "120", "above --to"), ("150", "201", "above what was read")],
)
def test_blocks_that_were_not_read_are_refused(desk, written, first, last, problem):
    assert problem in desk.act("rescan", "--chain", "ethereum", "--from", first, "--to", last, code=2)
    assert (desk.rescans(), written) == (None, [])


@pytest.mark.parametrize("command", [["rescan"], ["rescan", "--chain", "hathor", "--from", "1", "--to", "2"], ["retry"]])
def test_wrong_usage(desk, command):
    desk.do(*command, code=2)


# --- both


@pytest.mark.parametrize("command", [["retry", "disputed"], RESCAN], ids=lambda one: one[0])
def test_a_reason_is_needed_to_apply(desk, written, command):
    assert "--why is missing" in desk.do(*command, "--apply", code=2)


@pytest.mark.parametrize("command", [["retry", deposit(1).tx_hash], RESCAN], ids=lambda one: one[0])
def test_nothing_is_asked_for_while_the_database_is_away(alone, command):
    assert "nothing was changed: the audit entry could not be written" in alone.act(*command, code=1)
    assert (alone.retries(), alone.rescans()) == ([], None)


@pytest.mark.parametrize("command", [["retry", "disputed"], RESCAN], ids=lambda one: one[0])
def test_without_a_ledger_it_says_so(tmp_path, capsys, command):
    assert "there is no ledger" in Desk(tmp_path, capsys).do(*command, code=1)
