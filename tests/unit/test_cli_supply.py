"""`supply`: the books to the unit, beside the chains' own totals, and what neither explains."""

import json
from dataclasses import replace

import pytest
from cli_unit_helpers import RECIPIENT, SENDER, burn, deposit, make_journal, settings_in

from reactor.cli import supply
from reactor.cli.local import open_journal
from reactor.cli.main import main
from reactor.documents.events import BlockRef, Minted, Returned
from reactor.parts import bridge_of
from reactor.state.ledger import Ledger
from reactor.state.rows import EventKind
from reactor.vitals import PROBE_SECONDS

pytestmark = pytest.mark.unit

ETHEREUM = BlockRef(160, "0x" + "aa" * 32, 1_700_000_100)
POCKET = BlockRef(60, "bb" * 32, 1_700_000_200)


def minted(amount=5_000_000):
    return Minted(RECIPIENT, amount, 1, "0x" + "cc" * 32, 0, ETHEREUM)


def returned(memo, amount, code=0, number=1):
    return Returned(f"{number:064x}", 0, POCKET, SENDER, amount, 10_000, memo, number, code)


class Desk:
    def __init__(self, folder, capsys, monkeypatch):
        self.settings = settings_in(folder)
        self.capsys, self.config = capsys, str(folder / "reactor.toml")
        self.monkeypatch = monkeypatch
        self.slept = []
        monkeypatch.setattr(supply, "sleep", self.sleep)
        self.runs(True)

    def sleep(self, seconds):
        self.slept.append(seconds)

    def runs(self, value):
        """Whether a validator runs on this state directory."""
        self.monkeypatch.setattr(supply, "_runs_here", lambda settings: value)

    def ledger(self, *, mints=(), returns=(), late=()):
        """A deposit to mint, one to refund, two burns, all of 5 and 7 POKT; `late` deposits are not final."""
        ledger = Ledger.open(self.settings.state.directory, bridge_of(self.settings))
        ledger.record_window(EventKind.DEPOSIT, 1, 100, [deposit(1), deposit(2, memo=False), *late], final=50)
        ledger.record_window(EventKind.BURN, 100, 200, [burn(0), burn(1)], final=200)
        ledger.record_window(EventKind.MINTED, 100, 200, list(mints), final=200)
        ledger.record_window(EventKind.RETURNED, 1, 100, list(returns), final=100)
        ledger.close()

    def chains(self, vault, token):
        async def answer(settings):
            return vault, token

        self.monkeypatch.setattr(supply, "_chains", answer)

    def in_turn(self, *answers):
        """What the chains say at each reading; the last answer stays. Each may be a function that is called first."""
        left = list(answers)

        async def answer(settings):
            said = left.pop(0) if len(left) > 1 else left[0]
            return said() if callable(said) else said

        self.monkeypatch.setattr(supply, "_chains", answer)

    def do(self, code=0):
        assert main(["supply", "--config", self.config]) == code
        said = self.capsys.readouterr()
        return said.out + said.err

    def json(self, code=0):
        assert main(["supply", "--json", "--config", self.config]) == code
        return json.loads(self.capsys.readouterr().out)


@pytest.fixture
def desk(tmp_path, capsys, monkeypatch):
    desk = Desk(tmp_path, capsys, monkeypatch)
    make_journal(desk.settings).close()
    return desk


def test_the_books_are_right_to_the_unit(desk):
    desk.ledger(
        mints=[minted()], returns=[returned(burn().tx_hash, 6_990_000), returned(deposit(2).tx_hash, 4_990_000, number=2)]
    )
    desk.chains(7_000_000, 0)
    said = desk.json()
    assert said["mint"] == {"deposited": "5000000", "minted": "5000000", "token_fees": "0", "in_flight": "0", "over": "0"}
    assert said["payout"] == {
        "burned": "14000000",
        "to_refund": "5000000",
        "returned": "7000000",
        "refunded": "5000000",
        "in_flight": "7000000",
        "submitted": "0",
        "over": "0",
    }
    assert (said["locked"], said["outstanding"]) == ("-2000000", "-9000000")


def test_what_the_chains_say_beyond_the_ledger_is_named(desk):
    desk.ledger(mints=[minted()], late=[deposit(60)])
    desk.chains(15_000_000 + 777, 5_000_000 - 14_000_000 + 20_000_000)
    said = desk.json(1)
    assert said["not_final"]["to_mint"] == "5000000"
    assert said["vault"] == {"balance": "15000777", "unaccounted": "777"}
    assert said["token"] == {"total_supply": "11000000", "unaccounted": "20000000"}


def test_it_says_whether_the_vault_covers_everything(desk):
    desk.ledger(mints=[minted()])
    owed = 5_000_000 + 14_000_000  # the refund and the burns
    desk.chains(30_000_000 + owed, 30_000_000)
    assert desk.json()["surplus"] == "0"
    assert "covers the supply and all that is in flight, with 0 POKT to spare" in desk.do()
    desk.chains(30_000_000 + owed - 1, 30_000_000)
    assert desk.json(1)["surplus"] == "-1"
    assert "the vault is short by 0.000001 POKT" in desk.do(1)


def full(desk):
    """The books of a bridge that owes 19 POKT, over a supply of 30."""
    desk.ledger(mints=[minted()])
    return 30_000_000 + 19_000_000, 30_000_000


def test_a_vault_that_covers_all_is_looked_at_once(desk):
    desk.chains(*full(desk))
    assert "read again" not in desk.do()
    assert desk.slept == []


@pytest.mark.parametrize(("readings", "code"), [(1, 0), (2, 0), (3, 1), (4, 1)])
def test_a_vault_is_short_for_certain_only_in_three_readings_in_a_row(desk, readings, code):
    """The chains are asked after the ledger: a mint between the two is none that is missing."""
    vault, token = full(desk)
    desk.in_turn(*[(vault, token + 1)] * readings, (vault, token))
    said = desk.do(code)
    assert "all is read again, to be certain" in said
    assert desk.slept == [10.0] * min(readings, 2), "as long as the own validator needs to read what is new"
    assert ("the vault is short by 0.000001 POKT" in said) is bool(code)
    assert ("covers the supply" in said) is not code


def test_a_return_that_the_ledger_notes_between_two_readings_is_no_shortage(desk):
    vault, token = full(desk)
    paid = returned(burn().tx_hash, 6_990_000)

    def noted():
        ledger = Ledger.open(desk.settings.state.directory, bridge_of(desk.settings))
        ledger.record_window(EventKind.RETURNED, 1, 101, [paid], final=101)
        ledger.close()
        return vault - 7_000_000, token

    desk.in_turn(noted, (vault - 7_000_000, token))
    assert desk.json()["surplus"] == "0"
    assert len(desk.slept) == 1


def test_where_no_validator_reads_on_what_is_owed_may_be_paid_already(desk):
    vault, token = full(desk)
    desk.runs(False)
    desk.chains(vault - 19_000_000, token)
    said = desk.do(6)
    assert "the vault may be short by 19" in said
    assert "not compared: no validator runs here" in said
    assert desk.json(6)["doubt"].startswith("no validator runs here")
    desk.chains(vault - 19_000_001, token)
    said = desk.json(1)
    assert (said["doubt"], said["surplus"]) == ("", "-19000001"), "more is missing than could have been paid"


@pytest.mark.parametrize(("blocks", "short", "code"), [(128, 1, 1), (129, 1, 6), (129, 19_000_001, 1)])
def test_a_ledger_that_is_still_being_read_up_to_the_head_makes_nothing_certain(desk, blocks, short, code):
    vault, token = full(desk)

    def read_on():
        ledger = Ledger.open(desk.settings.state.directory, bridge_of(desk.settings))
        ledger.record_window(EventKind.MINTED, 201, 200 + blocks, [], final=200 + blocks)
        ledger.close()
        return vault - short, token

    desk.in_turn(read_on, (vault - short, token))
    assert bool(desk.json(code)["doubt"]) is (code == 6)


def test_a_chain_that_falls_silent_meanwhile_leaves_nothing_to_compare(desk):
    vault, token = full(desk)
    desk.in_turn((vault - 1, token), (None, token))
    assert desk.json(6)["not_compared"] == ["Pocket"]


@pytest.mark.parametrize("writes", [True, False])
def test_a_validator_that_runs_here_is_known_by_what_it_writes(desk, monkeypatch, writes):
    monkeypatch.undo()
    at = [0.0]
    monkeypatch.setattr(supply, "monotonic", lambda: at[0])

    def passes(seconds):
        at[0] += seconds
        if writes and at[0] > PROBE_SECONDS:
            journal = open_journal(desk.settings)
            journal.probe()
            journal.close()

    monkeypatch.setattr(supply, "sleep", passes)
    assert supply._runs_here(desk.settings) is writes
    assert (at[0] < PROBE_SECONDS + 2.0) is writes


@pytest.mark.parametrize(("amount", "code"), [(5_000_000, 0), (5_000_001, 1)])
def test_more_minted_than_deposited_is_said_and_is_1(desk, amount, code):
    desk.ledger(mints=[minted(amount)])
    desk.chains(19_000_000, 0)
    assert desk.json(code)["mint"]["over"] == str(code)
    assert ("1 upokt more were minted" in desk.do(code)) == bool(code)


def test_more_paid_out_than_burned_is_said_and_is_1(desk):
    desk.ledger(returns=[returned("0x" + "77" * 32, 19_000_001)])
    desk.chains(0, 0)
    assert desk.json(1)["payout"]["over"] == "10001"
    assert "10,001 upokt more left the vault" in desk.do(1)


def test_the_fee_of_a_failed_return_is_lost_and_no_payment(desk):
    desk.ledger(returns=[returned(burn().tx_hash, 6_990_000, code=10)])
    desk.chains(None, None)
    said = desk.json(6)
    assert (said["final"]["lost_fees"], said["payout"]["returned"], said["locked"]) == ("10000", "0", "9990000")


def test_chains_that_do_not_answer_leave_the_books_standing(desk):
    desk.ledger(mints=[minted()])
    said = desk.do(6)
    assert "Pocket does not answer" in said
    assert "Ethereum does not answer" in said
    assert "10,000,000 upokt" in said
    assert "not known" in said
    assert "not compared: Pocket and Ethereum did not answer" in said
    assert "whether the vault covers the supply is not known" in said


@pytest.mark.parametrize(
    ("vault", "token", "silent", "code"),
    [(19_000_001, 1, [], 0), (None, 1, ["Pocket"], 6), (1, None, ["Ethereum"], 6), (None, None, ["Pocket", "Ethereum"], 6)],
)
def test_a_chain_that_is_away_ends_it_with_6_as_nothing_was_compared(desk, vault, token, silent, code):
    desk.ledger(mints=[minted()])
    desk.chains(vault, token)
    assert desk.json(code)["not_compared"] == silent
    assert (f"{' and '.join(silent)} did not answer" in desk.do(code)) is bool(silent)


@pytest.mark.parametrize("token", [0, None])
def test_more_out_than_in_is_1_whether_the_chains_answer_or_not(desk, token):
    desk.ledger(mints=[minted(5_000_001)])
    desk.chains(0, token)
    desk.json(1)


def test_without_a_ledger_it_says_so(desk):
    said = desk.do(1)
    assert "there is no ledger" in said
    assert "remedy: " in said


def fee_on(desk, *rounds):
    """Mints to one recipient, each (deposit, amount that the event carries), after a mint from before the start block."""
    ledger = Ledger.open(desk.settings.state.directory, bridge_of(desk.settings))
    deposits = [replace(deposit(number + 1), amount=amount) for number, (amount, _) in enumerate(rounds)]
    nets = [
        replace(minted(net), nonce=7 + number, log_index=number, tx_hash=f"0x{number:064x}")
        for number, (_, net) in enumerate(rounds)
        if net is not None
    ]
    ledger.record_window(EventKind.DEPOSIT, 1, 100, deposits, final=100)
    for kind in (EventKind.BURN, EventKind.MINTED):
        ledger.record_window(kind, 100, 200, nets if kind is EventKind.MINTED else [], final=200)
    ledger.record_window(EventKind.RETURNED, 1, 100, [], final=100)
    ledger.close()


@pytest.mark.parametrize(
    ("rounds", "fees", "in_flight"),
    [
        ([(20_000_000, 19_500_000)], 500_000, 0),
        ([(20_000_000, 20_000_000), (20_000_000, 19_500_000), (10_000_000, 9_700_000), (5_000_000, 5_000_000)], 800_000, 0),
        ([(20_000_000, 19_500_000), (20_000_000, None)], 500_000, 20_000_000),
    ],
    ids=["one mint", "a fee that changes and ends", "one that is not minted yet"],
)
def test_the_tokens_fee_is_no_shortage(desk, rounds, fees, in_flight):
    fee_on(desk, *rounds)
    deposited = sum(amount for amount, _ in rounds)
    desk.chains(deposited, deposited - in_flight)
    said = desk.json()
    assert said["mint"]["token_fees"] == str(fees)
    assert (said["mint"]["in_flight"], said["mint"]["over"], said["surplus"]) == (str(in_flight), "0", "0")
    assert (said["outstanding"], said["token"]["unaccounted"]) == (str(deposited - in_flight), "0")


@pytest.mark.parametrize(("net", "fees", "short"), [(19_400_000, 600_000, 0), (19_399_999, 0, 600_001)])
def test_no_more_than_the_contracts_highest_fee_is_taken_for_one(desk, net, fees, short):
    fee_on(desk, (20_000_000, net))
    desk.chains(20_000_000, 20_000_000)
    said = desk.json(int(short > 0))
    assert (said["mint"]["token_fees"], said["surplus"]) == (str(fees), str(-short))


def test_a_history_of_fees_leaves_no_room_for_a_mint_without_a_deposit(desk):
    fee_on(desk, *[(20_000_000, 19_500_000)] * 4)
    ledger = Ledger.open(desk.settings.state.directory, bridge_of(desk.settings))
    known = [seen.event for seen in ledger.minted_of(RECIPIENT)]
    forged = replace(minted(1), nonce=11, log_index=9, tx_hash="0x" + "ee" * 32)
    ledger.record_window(EventKind.MINTED, 100, 200, [*known, forged], final=200)
    ledger.close()
    desk.chains(None, None)
    assert desk.json(1)["mint"]["over"] == "1"
