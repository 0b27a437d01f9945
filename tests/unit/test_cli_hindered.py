"""`explain` says what this machine's validator says of itself where that is why nothing moves: no node is asked for it."""

import json
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from bson import ObjectId
from cli_unit_helpers import deposit, make_journal, make_ledger

from reactor.cli import explain
from reactor.cli.common import Problem
from reactor.cli.dossier import compile_dossier, compile_local
from reactor.cli.explain import _own_person, _tell
from reactor.cli.local import read_ledger, requests_in
from reactor.cli.people import Person
from reactor.documents.heartbeats import heartbeat_digest
from reactor.documents.statuses import Collection
from reactor.health import standing_of
from reactor.state.runs import note_run
from tests.unit.test_cli_dossier import ETHEREUM, NOW, heartbeat, known, mint, payout, recoverable
from tests.unit.test_cli_dossier import settings as _settings

pytestmark = pytest.mark.unit

settings = _settings
AWAY = "Ethereum: not read to its head for 44 s: endpoint http://127.0.0.1:8545 does not answer"
BEAT = {"phase": "running", "interval_ms": 30_000, "instance": "own", "counter": 1}
DEAD = {**BEAT, "healthy": False, "cannot": ["scan"], "signs": [], "problems": [AWAY]}
HELD = {**BEAT, "healthy": False, "cannot": ["mint"], "signs": ["payout"], "problems": ["signs no mints: paused"]}
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
