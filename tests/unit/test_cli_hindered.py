"""`explain` says what this machine's validator says of itself where that is why nothing moves: no node is asked for it."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from bson import ObjectId
from cli_unit_helpers import burn, deposit, make_journal, make_ledger

from reactor.cli import explain
from reactor.cli.common import Problem
from reactor.cli.dossier import compile_dossier, compile_local
from reactor.cli.explain import _own_person, _tell
from reactor.cli.health import _sentence
from reactor.cli.local import read_ledger, requests_in
from reactor.cli.people import Person, Stage
from reactor.documents.build import deposit_document
from reactor.documents.heartbeats import heartbeat_digest
from reactor.documents.statuses import Collection
from reactor.health import Code, standing_of
from reactor.parts import bridge_of
from reactor.state.ledger import Ledger
from reactor.state.rows import EventKind
from reactor.state.runs import note_run
from tests.unit.test_cli_dossier import ETHEREUM, NOW, POCKET, heartbeat, known, mint, payout, recoverable, signed_mint
from tests.unit.test_cli_dossier import settings as _settings

pytestmark = pytest.mark.unit

settings = _settings
AWAY = "Ethereum: not read to its head for 44 s: endpoint http://127.0.0.1:8545 does not answer"
BEAT = {"phase": "running", "interval_ms": 30_000, "instance": "own", "counter": 1}
NODE = {"code": "not_read", "about": "Ethereum", "costs": ["scan"]}
DEAD = {**BEAT, "healthy": False, "cannot": ["scan"], "signs": [], "problems": [AWAY], "hindrances": [NODE]}
HELD = {**BEAT, "healthy": False, "cannot": ["mint"], "signs": ["payout"], "problems": ["signs no mints: paused"]}
STILL = "Ethereum: block 90 stays its newest final one while its head moves on: no payouts for what came after it"
FINALITY = {"code": "not_finalizing", "about": "the finality of Ethereum", "costs": ["payout"]}
UNSURE = {**BEAT, "healthy": False, "cannot": ["payout"], "signs": ["mint"], "problems": [STILL], "hindrances": [FINALITY]}
WELL = {**BEAT, "healthy": True, "cannot": [], "signs": ["mint", "payout"], "problems": ["one endpoint of two is away"]}


def own(settings, said, *, age=0):
    """What is known where the validator of this machine says this of itself."""
    row = heartbeat(0, age=age, **said)
    found = known(settings, heartbeats=[row])
    (person,) = [one for one in found.people.persons if one.beat is not None]
    return replace(found, own=person)


def told(found, document, role=Collection.MINT):
    return [one.sentence for one in compile_dossier(found, role, document).reasons]


@pytest.mark.parametrize("status", ["pending", "confirmed", "signed", "submitted"])
@pytest.mark.parametrize(("role", "make"), [(Collection.MINT, mint), (Collection.BURN, payout)])
def test_a_dead_node_of_this_validator_is_a_reason_of_all_that_is_open(settings, status, role, make):
    document = make(settings, status=status)
    assert f"this validator cannot do its work: {AWAY}" in told(own(settings, DEAD), document, role)
    assert not any("this validator" in one for one in told(own(settings, WELL), document, role))
    assert not any("this validator" in one for one in told(known(settings), document, role))


@pytest.mark.parametrize("status", ["success", "failed"])
def test_of_what_is_done_nothing_hinders(settings, status):
    assert told(own(settings, DEAD), mint(settings, status=status)) == []


@pytest.mark.parametrize(
    ("role", "make", "status", "hinders"),
    [
        (Collection.MINT, mint, "confirmed", True),
        (Collection.MINT, mint, "signed", False),
        (Collection.BURN, payout, "confirmed", False),
    ],
)
def test_what_it_may_not_sign_hinders_what_it_would_sign_alone(settings, role, make, status, hinders):
    document = make(settings, status=status)
    assert any("signs no mints: paused" in one for one in told(own(settings, HELD), document, role)) is hinders


@pytest.mark.parametrize(
    ("said", "age", "words"),
    [
        (WELL, 100, "this validator is late: its last heartbeat is 100 s old"),
        (WELL, 9_000, "this validator is gone: its last heartbeat is 9000 s old"),
        ({**WELL, "phase": "stopped", "problems": []}, 0, "this validator is stopped: it was stopped"),
        (WELL, 0, ""),
    ],
)
def test_a_validator_that_does_not_run_is_a_reason(settings, said, age, words):
    found = [one for one in told(own(settings, said, age=age), mint(settings)) if "this validator" in one]
    assert found == ([words] if words else [])


def test_each_validator_that_cannot_work_says_why_and_not_that_nothing_is_left(settings):
    others = compile_dossier(own(settings, DEAD), Collection.MINT, mint(settings)).others
    assert [one["says"] for one in others if one["state"] == "up"] == [f"cannot do its work: {AWAY}"]
    others = compile_dossier(own(settings, WELL), Collection.MINT, mint(settings)).others
    assert [one["says"] for one in others if one["state"] == "up"] == ["nothing left to do"]


@pytest.mark.parametrize("silent", ["", "time-out"])
def test_while_the_database_is_away_the_own_node_that_did_not_answer_is_told(settings, silent):
    make_ledger(settings)
    ledger = read_ledger(settings)
    (seen,) = requests_in(ledger, deposit().tx_hash)
    found = replace(known(settings, ledger=ledger), database="no primary", ethereum=silent)
    said = [one.sentence for one in compile_local(found, seen).reasons]
    ledger.close()
    assert ("this machine's Ethereum node does not answer (time-out)" in said) is bool(silent)


def test_one_outage_is_not_told_twice(settings):
    found = replace(own(settings, DEAD), ethereum="time-out")
    assert sum("Ethereum" in one for one in told(found, mint(settings))) == 1


@pytest.mark.parametrize("word", ["the finality of Ethereum", "the key for mints, and Ethereum in its name"])
@pytest.mark.parametrize("code", [one.value for one in Code if one not in {Code.NO_HEAD, Code.NOT_READ}])
def test_what_is_no_outage_of_the_node_hides_none(settings, code, word):
    """By the problem's code, whatever words it is told in."""
    ill = {**DEAD, "problems": [word], "hindrances": [{"code": code, "about": word, "costs": ["scan"]}]}
    said = told(replace(own(settings, ill), ethereum="time-out"), mint(settings))
    assert said == [f"this validator cannot do its work: {word}", "this machine's Ethereum node does not answer (time-out)"]


# ---------------------------------------------------------------------- what hinders nothing


def refund(settings, **fields):
    role, document = deposit_document(bridge_of(settings), deposit(memo=False), NOW)
    assert role is Collection.INVALID_MINT
    return {**document, **fields}


@pytest.mark.parametrize(
    ("role", "make", "status", "hinders"),
    [
        (Collection.BURN, payout, "pending", True),
        (Collection.BURN, payout, "confirmed", False),
        (Collection.INVALID_MINT, refund, "pending", False),
        (Collection.INVALID_MINT, refund, "confirmed", False),
        (Collection.MINT, mint, "pending", False),
        (Collection.MINT, mint, "confirmed", False),
    ],
)
def test_an_ethereum_that_does_not_finalize_hinders_burns_alone_that_are_not_final(settings, role, make, status, hinders):
    document = make(settings, status=status)
    assert (f"this validator cannot do its work: {STILL}" in told(own(settings, UNSURE), document, role)) is hinders
    others = [one["says"] for one in compile_dossier(own(settings, UNSURE), role, document).others if one["state"] == "up"]
    assert any(STILL in one for one in others) is hinders
    held = {"code": "held", "about": "hold of payouts", "costs": ["payout"]}
    both = {**UNSURE, "hindrances": [FINALITY, held]}
    assert any("this validator" in one for one in told(own(settings, both), document, role)) is (role is not Collection.MINT)


@pytest.mark.parametrize(
    ("final", "status", "hinders"), [(200, "pending", False), (149, "pending", True), (149, "confirmed", True)]
)
def test_whether_a_burn_is_final_says_the_own_ledger_first(settings, final, status, hinders):
    ledger = Ledger.open(settings.state.directory, bridge_of(settings))
    ledger.record_window(EventKind.BURN, 100, 200, [burn(0)], final=final)
    said = told(replace(own(settings, UNSURE), ledger=ledger), payout(settings, status=status), Collection.BURN)
    ledger.close()
    assert any("this validator" in one for one in said) is hinders


@pytest.mark.parametrize("said", [DEAD, HELD, {**WELL, "phase": "stopped"}], ids=["dead", "held", "stopped"])
@pytest.mark.parametrize(("signer", "left"), [(0, False), (1, True)])
def test_who_has_signed_keeps_nothing_from_going_on_that_waits_for_others(settings, said, signer, left):
    found = replace(own(settings, said), ethereum="time-out")
    document = mint(settings, status="confirmed", **signed_mint(settings, signer))
    assert any("this validator" in one or "this machine" in one for one in told(found, document)) is left
    others = {one["address"]: one["says"] for one in compile_dossier(found, Collection.MINT, document).others}
    ill = others[ETHEREUM[0].address]
    assert ("its signature is missing" in ill) is left
    assert ("cannot do its work" in ill) is (left and said["phase"] == "running")
    assert (ill == "nothing left to do") is (not left and said["phase"] == "running")


def test_who_has_signed_may_still_have_to_complete_what_enough_have_signed(settings):
    document = mint(settings, status="confirmed", **signed_mint(settings, 0, 1))
    assert any("this validator cannot" in one for one in told(own(settings, DEAD), document))


@pytest.mark.parametrize(
    ("signers", "status", "done"),
    [
        ({POCKET[0].public_key}, "confirmed", True),
        ({POCKET[1].public_key}, "confirmed", False),
        (set(), "confirmed", False),
        ({POCKET[0].public_key}, "signed", False),
    ],
)
def test_the_signer_of_a_payout_is_known_by_its_vault_key(settings, signers, status, done):
    person = own(settings, DEAD).own
    at = Stage(Collection.BURN, status, final=True, signers=frozenset(signers))
    assert person.has_done_its_part(at) is done
    assert bool(person.hindered(at)) is not done
    assert not person.has_done_its_part(replace(at, enough=True))


def test_whose_signature_does_not_verify_has_not_signed(settings):
    document = payout(settings, status="confirmed", signers=[POCKET[0].public_key], signatures=["00" * 64])
    assert any("this validator cannot" in one for one in told(own(settings, DEAD), document, Collection.BURN))


def test_one_that_has_just_started_is_told_in_words(settings):
    just = Person("", configured=True, standing=standing_of(None, NOW))
    (said,) = [one for one in told(replace(known(settings), own=just), mint(settings)) if "this validator" in one]
    assert said.startswith("this validator has told nothing of itself since its last start")
    assert _sentence(just.standing) == "this validator is not healthy: it has just started, or does not reach the shared database"


@pytest.mark.parametrize(("said", "hinders"), [(DEAD, True), (WELL, False)])
def test_what_nobody_knows_may_be_what_a_dead_node_has_not_shown(settings, said, hinders):
    with pytest.raises(Problem) as caught:
        _tell(own(settings, said), [], "9" * 64, as_json=False)
    assert "nothing is known of" in caught.value.message
    assert (AWAY in caught.value.message) is hinders


def test_machines_read_how_this_validator_is(settings, capsys):
    document = {**mint(settings), "_id": ObjectId()}
    for found, state in ((own(settings, DEAD), "up"), (known(settings), None)):
        _tell(found, [(Collection.MINT, document)], "9" * 64, as_json=True)
        said = json.loads(capsys.readouterr().out)["own"]
        assert said == (None if state is None else {"state": state, "healthy": False, "why": AWAY})


# ---------------------------------------------------------------------- which heartbeat is this validator's


def current(number, **said):
    """A heartbeat of this moment."""
    row = {**heartbeat(number, **DEAD), "updated_at": datetime.now(UTC).replace(microsecond=0), **said}
    return {**row, "signature": recoverable(heartbeat_digest(row), number)}


@pytest.fixture
def members(settings):
    ethereum = settings.ethereum.model_copy(update={"validator_addresses": tuple(one.address for one in ETHEREUM)})
    return settings.model_copy(update={"ethereum": ethereum})


def test_it_is_the_one_that_names_the_instance_of_this_state_directory(members):
    assert _own_person(members, [current(0)]) is None, "none ever ran here"
    make_journal(members).close()
    note_run(members.state.directory, "own")
    found = _own_person(members, [current(1, instance="another"), current(0)])
    assert isinstance(found, Person)
    assert (found.address, found.standing.why) == (ETHEREUM[0].address, AWAY)
    never = _own_person(members, [current(1, instance="another")])
    assert never is not None
    assert never.standing == standing_of(None, NOW)


def test_two_that_claim_to_be_it_are_told_and_neither_is_believed(members, monkeypatch):
    warned = []
    monkeypatch.setattr(explain, "warn", warned.append)
    make_journal(members).close()
    note_run(members.state.directory, "own")
    assert _own_person(members, [current(0), current(1)]) is None
    assert "claim to be the process of this state directory" in warned[0]
