"""`pause|resume|hold|release` and `journal show|export`: local state alone, in force for the next signature."""

import json
import sqlite3

import pytest
from cli_unit_helpers import KEYS, RECIPIENT, SENDER, TOML, OperatorDesk, burn, deposit, make_journal, make_ledger, write_config

from reactor.chains.pocket import vault_address
from reactor.cli import stops
from reactor.cli.audited import Matches
from reactor.documents.events import BlockRef, Minted
from reactor.documents.keys import burn_key, deposit_key, document_id
from reactor.documents.statuses import Collection
from reactor.state.database import Database
from reactor.state.journal import Journal, JournalEntry
from reactor.state.ledger import Ledger
from reactor.state.ledger_file import LEDGER_FILE
from reactor.state.rows import EventKind
from reactor.state.verdicts import Allowed, Refusal, Refused

pytestmark = pytest.mark.unit


class Desk(OperatorDesk):
    """An operator who stops signing, and looks at what the journal makes of it."""

    def act(self, *arguments, code=0):
        return self.do(*arguments, "--apply", code=code)

    def json(self, *arguments):
        return json.loads(self.do(*arguments, "--json"))

    def holds(self):
        journal = Journal.open(self.settings.state.directory, self.bridge)
        try:
            return [(one.scope, one.reason) for one in journal.holds()]
        finally:
            journal.close()

    def may_sign(self, *, mint=None, payout=None, attempt=0):
        """What the journal answers a running validator right now."""
        journal = Journal.open(self.settings.state.directory, self.bridge)
        try:
            digest = bytes(32)
            if mint is not None:
                key = deposit_key(self.bridge, mint.tx_hash)
                entry = JournalEntry(key, "mint", 0, digest, None, "pocket", mint.height, "mint", RECIPIENT)
            else:
                key = burn_key(self.bridge, payout.tx_hash, payout.burn_index)
                digest = bytes([attempt]) * 32
                entry = JournalEntry(key, "payout", attempt, digest, None, "ethereum", payout.height, "payout", SENDER)
            (verdict,) = journal.sign_batch([entry])
            return verdict
        finally:
            journal.close()


@pytest.fixture
def alone(tmp_path, capsys, monkeypatch):
    """An operator whose shared database is away."""
    monkeypatch.setenv("LOGNAME", "alice")
    desk = Desk(tmp_path, capsys)
    make_journal(desk.settings).close()
    return desk


@pytest.fixture
def desk(alone, written):
    return alone


def test_a_pause_stops_its_direction_alone_and_resume_ends_it(desk):
    assert "paused mint, hold 1" in desk.act("pause", "mint", "--why", "prices look odd")
    assert isinstance(verdict := desk.may_sign(mint=deposit()), Refused)
    assert verdict.reason is Refusal.PAUSED
    assert isinstance(desk.may_sign(payout=burn()), Allowed)
    assert "resumed mint" in desk.act("resume", "mint", "--why", "calm again")
    assert isinstance(desk.may_sign(mint=deposit()), Allowed)


def test_who_and_why_are_kept(desk):
    said = desk.json("pause", "payout", "--why", "the vault moves", "--apply")
    assert said["active"][0] | {"at": 0} == {
        "id": 1,
        "scope": "direction:payout",
        "reason": "paused",
        "detail": "the vault moves",
        "by": "alice",
        "at": 0,
    }


def test_the_one_behind_sudo_is_named(desk, monkeypatch):
    monkeypatch.setenv("SUDO_USER", "bob")
    assert "alice (sudo by bob)" in desk.act("pause", "mint", "--why", "x")


def test_pausing_twice_is_one_pause(desk):
    desk.act("pause", "mint", "--why", "x")
    assert "was paused already" in desk.act("pause", "mint", "--why", "y")
    desk.act("resume", "mint", "--why", "calm again")
    assert "mint was not paused" in desk.act("resume", "mint", "--why", "calm again")


@pytest.mark.parametrize("command", [["pause", "mint"], ["resume", "mint"], ["hold", "signing"], ["release", "1"]])
@pytest.mark.parametrize("why", [[], ["--why", "  "]], ids=["none", "blank"])
def test_what_is_applied_needs_its_reason(desk, written, command, why):
    assert "--why is missing" in desk.act(*command, *why, code=2)
    assert (desk.holds(), written) == ([], [])


# ---------------------------------------------------------------------- dry by default, and audited


@pytest.mark.parametrize("command", [["pause", "mint"], ["hold", "signing"], ["hold", RECIPIENT]])
def test_without_apply_nothing_is_stopped(desk, written, command):
    make_ledger(desk.settings)
    said = desk.do(*command, "--why", "x")
    assert "dry run" in said
    assert "nothing was changed" in said
    assert (desk.holds(), written) == ([], [])
    assert desk.json(*command)["applied"] is False
    desk.act(*command, "--why", "x")
    assert len(desk.holds()) == 1


@pytest.mark.parametrize("command", [["resume", "mint"], ["release", "1"], ["release", "direction:mint"]])
def test_without_apply_nothing_is_let_go(desk, written, command):
    desk.act("pause", "mint", "--why", "x")
    assert "dry run" in desk.do(*command, "--why", "y")
    assert len(desk.holds()) == len(written) == 1
    desk.act(*command, "--why", "y")
    assert desk.holds() == []


def test_a_dry_attempt_allows_nothing(desk, written):
    make_ledger(desk.settings)
    key = burn_key(desk.bridge, burn().tx_hash, 1)
    desk.may_sign(payout=burn(1))
    assert f"allowed attempt 1 of {key}" in desk.do("release", "--attempt", key)
    assert isinstance(desk.may_sign(payout=burn(1), attempt=1), Refused)
    assert written == []


@pytest.mark.parametrize(
    ("target", "matched"),
    [
        ("signing", 4),
        (RECIPIENT, 1),
        (SENDER, 3),
        ("0x" + "77" * 20, 0),
        (deposit(1).tx_hash, 1),
        (burn().tx_hash, 2),
    ],
)
def test_it_says_how_many_documents_were_evaluated_and_matched(desk, written, target, matched):
    make_ledger(desk.settings)
    assert f"4 open documents evaluated, {matched} matched" in desk.do("hold", target)
    assert f"4 open documents evaluated, {matched} matched" in desk.act("hold", target, "--why", "x")
    assert written == [("hold", [target], "x", 4, matched)]


@pytest.mark.parametrize(("direction", "matched"), [("mint", 1), ("payout", 3)])
def test_a_pause_counts_the_documents_of_its_direction(desk, written, direction, matched):
    make_ledger(desk.settings)
    assert f"{matched} matched" in desk.do("pause", direction)
    said = desk.json("pause", direction, "--why", "x", "--apply")
    assert (said["applied"], said["evaluated"], said["matched"], said["audited"]) == (True, 4, matched, True)
    assert written == [("pause", [direction], "x", 4, matched)]


def test_what_is_settled_is_not_evaluated(desk):
    make_ledger(desk.settings)
    ledger = Ledger.open(desk.settings.state.directory, desk.bridge)
    ledger.settle(deposit_key(desk.bridge, deposit(1).tx_hash))
    ledger.close()
    assert "3 open documents evaluated, 0 matched" in desk.do("pause", "mint")


def a_signed_mint(desk, *, minted=False):
    """Deposit 1 is signed here and at rest: enough have signed it."""
    make_ledger(desk.settings)
    assert isinstance(desk.may_sign(mint=deposit(1)), Allowed)
    ledger = Ledger.open(desk.settings.state.directory, desk.bridge)
    ledger.settle(deposit_key(desk.bridge, deposit(1).tx_hash))
    ledger.set_base_nonce(RECIPIENT, 6)
    if minted:
        block = BlockRef(160, "0x" + "aa" * 32, 1_700_000_100)
        seen = Minted(RECIPIENT, 5_000_000, 7, "0x" + "cc" * 32, 0, block)
        ledger.record_window(EventKind.MINTED, 100, 200, [seen], final=200)
    ledger.close()


@pytest.mark.parametrize("target", [deposit(1).tx_hash, RECIPIENT])
def test_a_hold_of_a_signed_mint_says_that_it_takes_no_signature_back(desk, written, target):
    a_signed_mint(desk)
    for said in (desk.do("hold", target), desk.act("hold", target, "--why", "x"), desk.do("release", target)):
        assert "3 open documents evaluated, 0 matched" in said
        assert "1 document more: this validator has nothing left to sign there" in said
        assert "1 of these it has signed already: neither a hold nor its release takes that back" in said
        assert "completed" not in said
    assert written == [("hold", [target], "x", 3, 0)]
    told = desk.json("hold", target)
    assert (told["matched"], told["resting"], told["signed"], told["done"], told["unknown"]) == (0, 1, 1, 0, "")


def test_a_hold_of_what_is_minted_says_that_it_is_done(desk):
    a_signed_mint(desk, minted=True)
    said = desk.do("hold", deposit(1).tx_hash)
    assert "1 document more: completed or failed, nothing is signed there any more" in said
    assert "signed already" not in said


def test_of_an_open_payout_that_is_signed_here_it_says_so(desk):
    make_ledger(desk.settings)
    said = desk.do("hold", burn().tx_hash)
    assert "2 matched" in said
    assert "signed already" not in said
    desk.may_sign(payout=burn(1))
    said = desk.do("hold", burn().tx_hash)
    assert "2 matched" in said
    assert "1 of these it has signed already" in said
    assert "nothing left to sign" not in said


def test_without_a_ledger_no_number_is_told(desk, written):
    for said in (desk.do("hold", "signing"), desk.act("hold", "signing", "--why", "x")):
        assert "how many documents are concerned is not known: there is no ledger in" in said
        assert "evaluated" not in said
    assert desk.json("hold", "signing")["unknown"].startswith("there is no ledger in")


def test_each_verb_is_audited_with_its_reason(desk, written):
    desk.act("pause", "payout", "--why", "one")
    desk.act("resume", "payout", "--why", "two")
    desk.act("hold", "signing", "--why", "three")
    desk.act("release", "signing", "--why", "four")
    assert [(verb, why) for verb, _, why, *_ in written] == [
        ("pause", "one"), ("resume", "two"), ("hold", "three"), ("release", "four")
    ]  # fmt: skip
    assert written[-1][1] == ["signing", "hold 2 on signing"]


def test_a_resume_of_what_is_not_paused_changes_nothing_and_is_not_audited(desk, written):
    assert "was not paused" in desk.act("resume", "mint", "--why", "x")
    assert written == []


@pytest.mark.parametrize("command", [["pause", "mint"], ["hold", "signing"]])
def test_a_stop_is_in_force_though_the_database_is_away_and_says_so(alone, command):
    said = alone.act(*command, "--why", "x")
    assert "the audit entry could not be written" in said
    assert "it is in force" in said
    assert len(alone.holds()) == 1
    assert isinstance(alone.may_sign(mint=deposit()), Refused)


def test_what_could_not_be_told_is_told_by_the_next_verb_and_once(alone, request):
    alone.act("pause", "mint", "--why", "one")
    assert "it is kept on this disk" in alone.act("hold", "signing", "--why", "two")
    written = request.getfixturevalue("written")
    alone.act("release", "signing", "--why", "three")
    alone.act("resume", "mint", "--why", "four")
    verbs = [(verb, why) for verb, _, why, *_ in written]
    assert verbs == [("pause", "one"), ("hold", "two"), ("release", "three"), ("resume", "four")]


def test_what_lets_go_is_never_kept_for_later(alone, request):
    alone.act("pause", "mint", "--why", "one")
    alone.act("resume", "mint", "--why", "two", code=1)
    written = request.getfixturevalue("written")
    alone.act("resume", "mint", "--why", "three")
    assert [why for _, _, why, *_ in written] == ["one", "three"]


@pytest.mark.parametrize("command", [["resume", "mint"], ["release", "1"]])
def test_nothing_is_let_go_while_the_database_is_away(alone, command):
    alone.act("pause", "mint", "--why", "x")
    said = alone.act(*command, "--why", "y", code=1)
    assert "nothing was changed: the audit entry could not be written" in said
    assert "remedy: " in said
    assert alone.holds() == [("direction:mint", "paused")]


def test_a_dry_run_does_not_ask_the_database(alone):
    assert "audit" not in alone.do("hold", "signing")


# ---------------------------------------------------------------------- what each does


def test_hold_signing_stops_everything(desk):
    desk.act("hold", "signing", "--why", "looking into it")
    assert isinstance(desk.may_sign(mint=deposit()), Refused)
    assert isinstance(desk.may_sign(payout=burn()), Refused)
    desk.act("release", "signing", "--why", "looked into it")
    assert isinstance(desk.may_sign(payout=burn()), Allowed)


@pytest.mark.parametrize("form", ["0x" + "ab" * 20, "0x" + "AB" * 20, "recipient:0x" + "ab" * 20])
def test_hold_a_recipient(desk, form):
    desk.act("hold", form, "--why", "x")
    assert isinstance(desk.may_sign(mint=deposit()), Refused)
    assert isinstance(desk.may_sign(payout=burn()), Allowed)


def test_hold_a_deposit_by_every_name_it_has(desk):
    make_ledger(desk.settings)
    event = deposit(1)
    key = deposit_key(desk.bridge, event.tx_hash)
    names = [event.tx_hash, event.tx_hash.upper(), key, f"event:{key}", str(document_id(Collection.MINT, key))]
    for name in names:
        desk.act("hold", name, "--why", "x")
        assert isinstance(desk.may_sign(mint=event), Refused), name
        assert "released 1 hold" in desk.act("release", name, "--why", "y")
        assert isinstance(desk.may_sign(mint=event), Allowed), name


@pytest.mark.parametrize("prefix", ["0x", ""])
def test_the_hash_of_a_burn_means_all_burns_of_the_transaction(desk, prefix):
    make_ledger(desk.settings)
    said = desk.act("hold", prefix + burn().tx_hash.removeprefix("0x"), "--why", "x")
    assert "2 events of this transaction are meant" in said
    assert isinstance(desk.may_sign(payout=burn(0)), Refused)
    assert isinstance(desk.may_sign(payout=burn(1)), Refused)
    assert "released 2 holds" in desk.act("release", burn().tx_hash, "--why", "y")


def test_a_deposit_can_be_held_before_it_was_seen(desk):
    assert "taken for a deposit" in desk.act("hold", deposit().tx_hash, "--why", "x")
    assert isinstance(desk.may_sign(mint=deposit()), Refused)


def test_a_burn_that_was_not_seen_cannot_be_held_by_its_hash(desk):
    said = desk.act("hold", burn().tx_hash, "--why", "x", code=1)
    assert "knows no event" in said
    assert "event key" in said


@pytest.mark.parametrize(
    "target", ["nonsense", "0x12", "direction:mint", "pocket:othernet:" + "aa" * 20 + ":" + "0" * 64, "'; --"]
)
def test_what_means_nothing_is_refused(desk, target):
    said = desk.act("hold", target, "--why", "x", code=2)
    assert "remedy: " in said
    assert desk.json("journal", "show")["holds"] == []


def test_release_by_number_and_by_scope(desk):
    desk.act("hold", "signing", "--why", "x")
    desk.act("hold", RECIPIENT, "--why", "x")
    assert desk.json("release", "1", "--why", "y", "--apply")["released"] == 1
    assert desk.json("release", f"recipient:{RECIPIENT}", "--why", "y", "--apply")["active"] == []


def test_all_that_a_limit_holds_is_released_at_once_and_nothing_else(desk, written):
    journal = Journal.open(desk.settings.state.directory, desk.bridge)
    for number in range(3):
        journal.hold(f"event:{number}", "over_window", "", "validator", subject=str(number))
    journal.hold("event:3", "over_threshold", "", "validator", subject="3")
    journal.hold("signing", "operator", "", "alice")
    journal.close()
    assert "dry run" in desk.do("release", "over_window")
    assert "released 3 holds" in desk.act("release", "over_window", "--why", "a known exchange")
    assert desk.holds() == [("event:3", "over_threshold"), ("signing", "operator")]
    assert "no active hold" in desk.act("release", "over_window", "--why", "x", code=1)
    assert written[0][1][0] == "over_window"


def replaced(desk, told):
    """The running validator's node shows another chain than final: one hold, which tells the newest."""
    journal = Journal.open(desk.settings.state.directory, desk.bridge)
    journal.hold("signing", "deep_reorg", told, "validator", subject=told, instead_of="Ethereum block ")
    journal.close()


def test_what_a_hold_tells_stands_in_the_dry_run_the_result_and_the_audit_entry(desk, written):
    replaced(desk, "Ethereum block 7 is 0xb now")
    assert "deep_reorg by validator" in (said := desk.do("release", "signing"))
    assert "Ethereum block 7 is 0xb now" in said
    assert desk.json("release", "1")["would"]["holds"][0]["detail"] == "Ethereum block 7 is 0xb now"
    said = desk.json("release", "signing", "--why", "the exchange says so too", "--apply")
    assert (said["released"], said["holds"][0]["detail"], said["active"]) == (1, "Ethereum block 7 is 0xb now", [])
    assert [arguments for _, arguments, *_ in written] == [["signing", "hold 1 on signing: Ethereum block 7 is 0xb now"]]
    replaced(desk, "Ethereum block 7 is 0xc now")
    said = desk.act("release", "signing", "--why", "the exchange says so too")
    assert "released 1 hold\n" in said
    assert "Ethereum block 7 is 0xc now" in said


def test_a_hold_that_tells_something_else_meanwhile_is_not_released(desk, monkeypatch):
    """SECURITY: the audit entry takes seconds, a node that lies says something else each second: nobody has seen that."""
    replaced(desk, "Ethereum block 7 is 0xb now")
    desk.act("hold", RECIPIENT, "--why", "x")
    audit = stops.audit_first

    def late(*arguments):
        audit(*arguments)
        replaced(desk, "Ethereum block 7 is 0xc now")

    monkeypatch.setattr(stops, "audit_first", late)
    said = desk.act("release", "signing", "--why", "the exchange says so too", code=1)
    assert "nothing was released: hold 1 on signing tells something else now" in said
    assert "remedy: look again" in said
    assert desk.holds() == [("signing", "deep_reorg"), (f"recipient:{RECIPIENT}", "operator")]
    assert isinstance(desk.may_sign(payout=burn()), Refused)
    # Looked at again it tells the same as before the entry, and is released.
    assert "released 1 hold" in desk.act("release", "signing", "--why", "the exchange says so too")


def test_release_of_what_is_not_held_is_refused_and_names_what_is(desk):
    desk.act("hold", "signing", "--why", "x")
    said = desk.act("release", "99", "--why", "y", code=1)
    assert "1 (signing)" in said
    assert "no active hold" in desk.act("release", RECIPIENT, "--why", "y", code=1)


def test_the_next_attempt_is_allowed_only_after_a_payout_was_signed_here(desk):
    make_ledger(desk.settings)
    key = burn_key(desk.bridge, burn().tx_hash, 1)
    assert "signed nothing" in desk.act("release", "--attempt", key, "--why", "x", code=1)
    assert isinstance(desk.may_sign(payout=burn(1)), Allowed)
    assert isinstance(desk.may_sign(payout=burn(1), attempt=1), Refused)
    said = desk.act("release", "--attempt", key, "--why", "it failed in block 7")
    assert "attempt 1 of" in said
    assert isinstance(desk.may_sign(payout=burn(1), attempt=1), Allowed)
    assert isinstance(desk.may_sign(payout=burn(1), attempt=2), Refused)


def test_an_attempt_of_a_mint_is_refused(desk):
    make_ledger(desk.settings)
    desk.may_sign(mint=deposit())
    assert "signed mint" in desk.act("release", "--attempt", deposit().tx_hash, "--why", "x", code=1)


def test_a_new_journal_may_be_told_the_attempt(desk):
    make_ledger(desk.settings)
    key = burn_key(desk.bridge, burn().tx_hash, 0)
    desk.act("release", "--attempt", key, "--number", "1", "--why", "the disk was lost")
    assert isinstance(desk.may_sign(payout=burn(0), attempt=1), Allowed)
    assert "--attempt" in desk.act("release", key, "--number", "1", "--why", "x", code=2)


def test_an_attempt_needs_one_event(desk):
    make_ledger(desk.settings)
    assert "names 2 events" in desk.act("release", "--attempt", burn().tx_hash, "--why", "x", code=1)
    assert "names no event" in desk.act("release", "--attempt", "signing", "--why", "x", code=2)


def test_releasing_an_attempt_ends_the_hold_of_the_failed_return(desk):
    make_ledger(desk.settings)
    desk.may_sign(payout=burn(0))
    key = burn_key(desk.bridge, burn().tx_hash, 0)
    journal = Journal.open(desk.settings.state.directory, desk.bridge)
    journal.hold(f"event:{key}", "return_failed", "code 10", "validator", subject="f" * 64)
    journal.close()
    assert desk.json("release", "--attempt", key, "--why", "funded", "--apply")["released"] == 1
    assert isinstance(desk.may_sign(payout=burn(0), attempt=1), Allowed)


@pytest.mark.parametrize(
    "command",
    [["pause", "mint", "--why", "x"], ["resume", "mint"], ["hold", "signing", "--why", "x"], ["release", "1", "--why", "x"]],
    ids=lambda one: one[0],
)
def test_without_a_journal_it_says_so(tmp_path, capsys, command):
    said = Desk(tmp_path, capsys).do(*command, code=1)
    assert "no signing journal" in said
    assert "reactor journal new" in said


def test_the_journal_of_another_bridge_is_refused(desk, tmp_path):
    keys = list(reversed(KEYS))
    text = TOML.replace(desk.settings.pocket.vault_address, vault_address(keys))
    write_config(tmp_path, text)
    assert "belongs to" in desk.act("pause", "mint", "--why", "x", code=1)


def test_a_ledger_of_other_start_blocks_is_not_begun_anew_by_a_question(desk, tmp_path):
    make_ledger(desk.settings)
    write_config(tmp_path, TOML.replace("start_height = 1", "start_height = 5"))
    desk.act("hold", deposit().tx_hash, "--why", "x")
    write_config(tmp_path)
    assert "taken for a deposit" not in desk.act("hold", deposit().tx_hash, "--why", "x")


def test_journal_show_and_export(desk, tmp_path):
    desk.may_sign(mint=deposit())
    desk.act("pause", "mint", "--why", "x")
    shown = desk.do("journal", "show")
    assert "direction:mint" in shown
    assert "signatures       1" in shown
    said = desk.json("journal", "show", "--limit", "0")
    assert said["counts"]["signatures"] == 1
    assert said["signatures"] == []
    exported = json.loads(desk.do("journal", "export"))
    target = tmp_path / "export.json"
    desk.do("journal", "export", "--output", str(target))
    assert json.loads(target.read_text()) == exported
    assert target.stat().st_mode & 0o077 == 0
    assert exported["signatures"][0]["event"] == deposit_key(desk.bridge, deposit().tx_hash)
    assert "exists already" in desk.do("journal", "export", "--output", str(target), code=1)


def test_journal_new_refuses_where_there_is_one_before_it_asks_a_chain(desk):
    said = desk.do("journal", "new", code=1)
    assert "already" in said
    assert "Ethereum" not in said


@pytest.mark.parametrize("damage", ["of an earlier version", "no database", "locked"])
def test_a_ledger_that_cannot_be_read_keeps_nobody_from_stopping_and_releasing(desk, damage, monkeypatch):
    make_ledger(desk.settings)
    monkeypatch.setitem(Database.__init__.__kwdefaults__, "busy", 0.05)
    path = desk.settings.state.directory / LEDGER_FILE
    holder = sqlite3.connect(path, isolation_level=None)
    if damage == "of an earlier version":
        holder.execute("UPDATE meta SET value = '1' WHERE name = 'schema'")
    elif damage == "no database":
        holder.close()
        path.write_bytes(b"no database at all" * 100)
    else:
        holder.execute("PRAGMA journal_mode=DELETE")
        holder.execute("BEGIN EXCLUSIVE")
    try:
        said = desk.act("pause", "mint", "--why", "prices look odd")
        assert "how many documents are concerned is not known" in said
        assert ("direction:mint", "paused") in desk.holds()
        assert "not known" in desk.act("hold", "signing", "--why", "prices look odd")
        assert desk.holds() == [("direction:mint", "paused"), ("signing", "operator")]
        assert "not known" in desk.do("release", "signing")
        desk.act("release", "signing", "--why", "calm")
        desk.act("resume", "mint", "--why", "calm")
        assert desk.holds() == []
    finally:
        holder.close()


@pytest.mark.parametrize(("number", "told"), [(0, "0 open documents"), (1, "1 open document"), (2, "2 open documents")])
def test_one_document_is_not_told_as_several(number, told):
    assert Matches(number, 0).text() == f"{told} evaluated, 0 matched"
