"""`pause|resume|hold|release` and `journal show|export`: local state alone, in force for the next signature."""

import json

import pytest
from cli_unit_helpers import KEYS, RECIPIENT, SENDER, TOML, burn, deposit, make_journal, make_ledger, settings_in, write_config

from reactor.chains.pocket import vault_address
from reactor.cli.main import main
from reactor.documents.keys import burn_key, deposit_key, document_id
from reactor.documents.statuses import Collection
from reactor.parts import bridge_of
from reactor.state.journal import Journal, JournalEntry
from reactor.state.verdicts import Allowed, Refusal, Refused

pytestmark = pytest.mark.unit


class Desk:
    """An operator before a validator's disk."""

    def __init__(self, folder, capsys):
        self.settings = settings_in(folder)
        self.bridge = bridge_of(self.settings)
        self.capsys = capsys
        self.config = str(folder / "reactor.toml")

    def do(self, *arguments, code=0):
        assert main([*arguments, "--config", self.config]) == code
        said = self.capsys.readouterr()
        return said.out + said.err

    def json(self, *arguments):
        return json.loads(self.do(*arguments, "--json"))

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
def desk(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("LOGNAME", "alice")
    desk = Desk(tmp_path, capsys)
    make_journal(desk.settings).close()
    return desk


def test_a_pause_stops_its_direction_alone_and_resume_ends_it(desk):
    assert "paused mint, hold 1" in desk.do("pause", "mint", "--why", "prices look odd")
    assert isinstance(verdict := desk.may_sign(mint=deposit()), Refused)
    assert verdict.reason is Refusal.PAUSED
    assert isinstance(desk.may_sign(payout=burn()), Allowed)
    assert "resumed mint" in desk.do("resume", "mint")
    assert isinstance(desk.may_sign(mint=deposit()), Allowed)


def test_who_and_why_are_kept(desk):
    said = desk.json("pause", "payout", "--why", "the vault moves")
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
    assert "alice (sudo by bob)" in desk.do("pause", "mint", "--why", "x")


def test_pausing_twice_is_one_pause(desk):
    desk.do("pause", "mint", "--why", "x")
    assert "was paused already" in desk.do("pause", "mint", "--why", "y")
    desk.do("resume", "mint")
    assert "mint was not paused" in desk.do("resume", "mint")


def test_a_hold_needs_its_reason(desk):
    assert "--why" in desk.do("hold", "signing", code=2)


def test_hold_signing_stops_everything(desk):
    desk.do("hold", "signing", "--why", "looking into it")
    assert isinstance(desk.may_sign(mint=deposit()), Refused)
    assert isinstance(desk.may_sign(payout=burn()), Refused)
    desk.do("release", "signing", "--why", "looked into it")
    assert isinstance(desk.may_sign(payout=burn()), Allowed)


@pytest.mark.parametrize("form", ["0x" + "ab" * 20, "0x" + "AB" * 20, "recipient:0x" + "ab" * 20])
def test_hold_a_recipient(desk, form):
    desk.do("hold", form, "--why", "x")
    assert isinstance(desk.may_sign(mint=deposit()), Refused)
    assert isinstance(desk.may_sign(payout=burn()), Allowed)


def test_hold_a_deposit_by_every_name_it_has(desk):
    make_ledger(desk.settings)
    event = deposit(1)
    key = deposit_key(desk.bridge, event.tx_hash)
    names = [event.tx_hash, event.tx_hash.upper(), key, f"event:{key}", str(document_id(Collection.MINT, key))]
    for name in names:
        desk.do("hold", name, "--why", "x")
        assert isinstance(desk.may_sign(mint=event), Refused), name
        assert "released 1 hold" in desk.do("release", name, "--why", "y")
        assert isinstance(desk.may_sign(mint=event), Allowed), name


@pytest.mark.parametrize("prefix", ["0x", ""])
def test_the_hash_of_a_burn_means_all_burns_of_the_transaction(desk, prefix):
    make_ledger(desk.settings)
    said = desk.do("hold", prefix + burn().tx_hash.removeprefix("0x"), "--why", "x")
    assert "2 events of this transaction are meant" in said
    assert isinstance(desk.may_sign(payout=burn(0)), Refused)
    assert isinstance(desk.may_sign(payout=burn(1)), Refused)
    assert "released 2 holds" in desk.do("release", burn().tx_hash, "--why", "y")


def test_a_deposit_can_be_held_before_it_was_seen(desk):
    assert "taken for a deposit" in desk.do("hold", deposit().tx_hash, "--why", "x")
    assert isinstance(desk.may_sign(mint=deposit()), Refused)


def test_a_burn_that_was_not_seen_cannot_be_held_by_its_hash(desk):
    said = desk.do("hold", burn().tx_hash, "--why", "x", code=1)
    assert "knows no event" in said
    assert "event key" in said


@pytest.mark.parametrize(
    "target", ["nonsense", "0x12", "direction:mint", "pocket:othernet:" + "aa" * 20 + ":" + "0" * 64, "'; --"]
)
def test_what_means_nothing_is_refused(desk, target):
    said = desk.do("hold", target, "--why", "x", code=1)
    assert "remedy: " in said
    assert desk.json("journal", "show")["holds"] == []


def test_release_by_number_and_by_scope(desk):
    desk.do("hold", "signing", "--why", "x")
    desk.do("hold", RECIPIENT, "--why", "x")
    assert desk.json("release", "1", "--why", "y")["released"] == 1
    assert desk.json("release", f"recipient:{RECIPIENT}", "--why", "y")["active"] == []


def test_release_of_what_is_not_held_is_refused_and_names_what_is(desk):
    desk.do("hold", "signing", "--why", "x")
    said = desk.do("release", "99", "--why", "y", code=1)
    assert "1 (signing)" in said
    assert "no active hold" in desk.do("release", RECIPIENT, "--why", "y", code=1)


def test_the_next_attempt_is_allowed_only_after_a_payout_was_signed_here(desk):
    make_ledger(desk.settings)
    key = burn_key(desk.bridge, burn().tx_hash, 1)
    assert "signed nothing" in desk.do("release", "--attempt", key, "--why", "x", code=1)
    assert isinstance(desk.may_sign(payout=burn(1)), Allowed)
    assert isinstance(desk.may_sign(payout=burn(1), attempt=1), Refused)
    said = desk.do("release", "--attempt", key, "--why", "it failed in block 7")
    assert "attempt 1 of" in said
    assert isinstance(desk.may_sign(payout=burn(1), attempt=1), Allowed)
    assert isinstance(desk.may_sign(payout=burn(1), attempt=2), Refused)


def test_an_attempt_of_a_mint_is_refused(desk):
    make_ledger(desk.settings)
    desk.may_sign(mint=deposit())
    assert "signed mint" in desk.do("release", "--attempt", deposit().tx_hash, "--why", "x", code=1)


def test_a_new_journal_may_be_told_the_attempt(desk):
    make_ledger(desk.settings)
    key = burn_key(desk.bridge, burn().tx_hash, 0)
    desk.do("release", "--attempt", key, "--number", "1", "--why", "the disk was lost")
    assert isinstance(desk.may_sign(payout=burn(0), attempt=1), Allowed)
    assert "--attempt" in desk.do("release", key, "--number", "1", "--why", "x", code=2)


def test_an_attempt_needs_one_event(desk):
    make_ledger(desk.settings)
    assert "names 2 events" in desk.do("release", "--attempt", burn().tx_hash, "--why", "x", code=1)
    assert "names no event" in desk.do("release", "--attempt", "signing", "--why", "x", code=1)


def test_releasing_an_attempt_ends_the_hold_of_the_failed_return(desk):
    make_ledger(desk.settings)
    desk.may_sign(payout=burn(0))
    key = burn_key(desk.bridge, burn().tx_hash, 0)
    journal = Journal.open(desk.settings.state.directory, desk.bridge)
    journal.hold(f"event:{key}", "return_failed", "code 10", "validator", subject="f" * 64)
    journal.close()
    assert desk.json("release", "--attempt", key, "--why", "funded")["released"] == 1
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
    assert "belongs to" in desk.do("pause", "mint", "--why", "x", code=1)


def test_a_ledger_of_other_start_blocks_is_not_begun_anew_by_a_question(desk, tmp_path):
    make_ledger(desk.settings)
    write_config(tmp_path, TOML.replace("start_height = 1", "start_height = 5"))
    desk.do("hold", deposit().tx_hash, "--why", "x")
    write_config(tmp_path)
    assert "taken for a deposit" not in desk.do("hold", deposit().tx_hash, "--why", "x")


def test_journal_show_and_export(desk, tmp_path):
    desk.may_sign(mint=deposit())
    desk.do("pause", "mint", "--why", "x")
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
