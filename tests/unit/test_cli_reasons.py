"""Why a request is where it is: what stands in its document is told while it is true, else what is known here."""

from dataclasses import replace
from datetime import timedelta
from itertools import product
from typing import Any

import pytest
from cli_unit_helpers import RECIPIENT, TOML, burn, deposit, make_journal, make_ledger, settings_in, write_config

from reactor.chains.ethereum.types import ContractFacts, Domain, Head
from reactor.cli.dossier import compile_dossier, compile_local
from reactor.cli.explain import _print, _print_event
from reactor.cli.local import read_ledger, requests_in
from reactor.cli.main import main
from reactor.documents.events import BlockRef, Minted, Returned
from reactor.documents.keys import deposit_key, document_id
from reactor.documents.reasons import WaitReason
from reactor.documents.statuses import Collection, Status
from reactor.parts import bridge_of
from reactor.settings import Settings
from reactor.state.ledger import Ledger
from reactor.state.rows import EventKind
from tests.unit.test_cli_dossier import ETHEREUM, NOW, heartbeat, known, mint, payout, signed_mint
from tests.unit.test_cli_dossier import settings as _settings

pytestmark = pytest.mark.unit

settings = _settings
BEFORE, AFTER = NOW - timedelta(minutes=5), NOW + timedelta(minutes=5)
FACTS = ContractFacts(
    block=Head(1, "0x1", "0x0", 1),
    threshold=2,
    validators=(),
    validator_count=3,
    max_mint_limit=10**9,
    current_mint_limit=10**9,
    mint_per_second=1,
    paused=False,
    fee_flag=False,
    fee_basis=0,
    domain=Domain("MintController", "1", 31337, "0x" + "22" * 20),
    minter=True,
)


def moved(status: str, at: Any = NOW) -> list[dict[str, Any]]:
    return [{"status": status, "at": at, "by": "0xaa", "reason": "moved"}]


def waits(reason: str, at: Any, /, by: str = "0xaa", **params: str) -> dict[str, Any]:
    return {"reason": reason, "params": params, "by": by, "at": at}


def told(settings: Settings, document: dict[str, Any], role: Collection = Collection.MINT, **options: Any) -> list[str]:
    contract = options.pop("contract", None)
    return [
        one.sentence for one in compile_dossier(replace(known(settings, **options), contract=contract), role, document).reasons
    ]


FINAL, HELD = WaitReason.NOT_FINAL.sentence, WaitReason.HELD.sentence
STALE: dict[str, tuple[str, dict[str, Any], list[str]]] = {
    "a failed document is not said to wait for finality": ("failed", waits("not_final", BEFORE), []),
    "nor one that is done": ("success", waits("signatures", AFTER, have="2", need="3"), []),
    "a confirmed one that waited to be final": (
        "confirmed",
        waits("not_final", BEFORE),
        ["more validators must sign (have 0, need 2)"],
    ),
    "held since it was confirmed": (
        "confirmed",
        waits("held", AFTER, reason="operator"),
        [f"{HELD} (reason operator)", "more validators must sign (have 0, need 2)"],
    ),
    "what it counted earlier": (
        "confirmed",
        waits("signatures", AFTER, have="1", need="3"),
        ["more validators must sign (have 0, need 2)"],
    ),
    "pending, and says why": ("pending", waits("not_final", AFTER), [FINAL]),
    "a reason that nobody here knows": ("pending", waits("astrology", AFTER), ["astrology"]),
}


@pytest.mark.parametrize("case", STALE)
def test_a_reason_of_an_earlier_status_is_not_told(settings, case):
    status, waiting, expected = STALE[case]
    assert told(settings, mint(settings, status=status, waiting=waiting, history=moved(status))) == expected


@pytest.mark.parametrize("status", [*Status, "nonsense"])
@pytest.mark.parametrize("role", [Collection.MINT, Collection.BURN])
def test_whatever_stands_there_an_old_reason_is_never_the_present_one(settings, status, role):
    """Every reason, in every status: written before the last change of status it is not told as the document's own word."""
    base = mint(settings) if role is Collection.MINT else payout(settings)
    document = {**base, "status": str(status), "history": moved(str(status))}
    for reason, (at, shown) in product(WaitReason, ((BEFORE, False), (AFTER, True))):
        dossier = compile_dossier(known(settings), role, {**document, "waiting": waits(reason.value, at)})
        by = [one for one in dossier.reasons if one.by]
        assert len(by) <= 1
        assert not by or (shown and status not in {"success", "failed"})


def test_a_signed_mint_says_that_its_user_can_take_it(settings):
    document = mint(settings, status="signed", waiting=waits("signatures", BEFORE, have="2", need="3"), history=moved("signed"))
    document |= signed_mint(settings, 0, 1)
    assert told(settings, document) == [WaitReason.USER.sentence]
    assert told(settings, document, contract=FACTS) == [WaitReason.USER.sentence]


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"paused": True}, WaitReason.MINTING_PAUSED),
        ({"minter": False}, WaitReason.NO_MINTER_ROLE),
        ({"current_mint_limit": 4_999_999}, WaitReason.COOLING_DOWN),
        ({"max_mint_limit": 4_999_999}, WaitReason.OVER_LIMIT),
    ],
)
def test_what_the_contracts_refuse_is_asked_of_the_own_node(settings, changes, reason):
    document = mint(settings, status="signed", history=moved("signed"), **signed_mint(settings, 0, 1))
    (one,) = told(settings, document, contract=replace(FACTS, **changes))
    assert one.startswith(reason.sentence)
    stands = {**document, "waiting": waits(reason.value, AFTER)}
    assert len(told(settings, stands, contract=replace(FACTS, **changes))) == 1, "told once"


def test_the_hold_of_a_validator_that_has_signed_since_is_over(settings):
    document = mint(settings, status="confirmed", history=moved("confirmed"), **signed_mint(settings, 0))
    for number, shown in ((0, False), (1, True)):
        held = {**document, "waiting": waits("held", AFTER, by=ETHEREUM[number].address)}
        assert (HELD in told(settings, held)) is shown


def ledger_of(settings: Settings) -> Ledger:
    """Two deposits of one recipient that are to be minted, final, and a burn that was paid."""
    ledger = Ledger.open(settings.state.directory, bridge_of(settings))
    ledger.record_window(EventKind.DEPOSIT, 1, 100, [deposit(1), deposit(2)], final=100)
    ledger.record_window(EventKind.BURN, 100, 200, [burn(0)], final=200)
    block = BlockRef(160, "0x" + "dd" * 32, 1_700_000_100)
    ledger.record_window(EventKind.MINTED, 100, 200, [Minted(RECIPIENT, 5_000_000, 4, "0x" + "7" * 64, 0, block)], final=200)
    paid = Returned("8" * 64, 0, BlockRef(50, "dd" * 32, 1_700_000_100), "cd" * 20, 6_990_000, 10_000, burn().tx_hash, 1, 0)
    ledger.record_window(EventKind.RETURNED, 1, 100, [paid], final=40)
    ledger.set_base_nonce(RECIPIENT, 3)
    return ledger


def test_a_mint_behind_one_that_was_not_taken_says_so(settings):
    make_ledger(settings)
    ledger = Ledger.open(settings.state.directory, bridge_of(settings))
    ledger.record_window(EventKind.DEPOSIT, 100, 110, [replace(deposit(3), block=BlockRef(105, "ee" * 32, 1))], final=110)
    ledger.set_base_nonce(RECIPIENT, 3)
    later = {**mint(settings), "transaction_hash": deposit(3).tx_hash, "_id": "x", "status": "signed"}
    later |= {"nonce": "5", "signers": [], "signatures": []}
    said = told(settings, later, ledger=ledger, contract=FACTS)
    assert said == [f"the recipient's mint before it must be taken first (deposit {deposit(1).tx_hash}, nonce 4)"]
    ledger.close()


@pytest.mark.parametrize(
    "name", [deposit(1).tx_hash, f"0x{deposit(1).tx_hash}", "0x" + "7" * 64], ids=["deposit", "0x", "the mint that took it"]
)
def test_the_own_ledger_tells_without_the_database(settings, name):
    with_ledger = ledger_of(settings)
    with_ledger.close()
    ledger = read_ledger(settings)
    (seen,) = requests_in(ledger, name)
    dossier = compile_local(replace(known(settings, ledger=ledger), contract=FACTS, database="away"), seen)
    ledger.close()
    assert (dossier.key, dossier.read) == (deposit_key(bridge_of(settings), deposit(1).tx_hash), False)
    assert dossier.ledger["completion"] == [f"minted in 0x{'7' * 64}, block 160, final"]
    assert dossier.reasons == []


def test_the_own_ledger_names_requests_by_id_and_by_their_return(settings):
    ledger_of(settings).close()
    ledger = read_ledger(settings)
    key = deposit_key(bridge_of(settings), deposit(2).tx_hash)
    assert [one.key for one in requests_in(ledger, str(document_id(Collection.MINT, key)))] == [key]
    assert [one.event for one in requests_in(ledger, "8" * 64)] == [burn(0)]
    assert requests_in(ledger, "9" * 64) == requests_in(ledger, "9" * 24) == []
    ledger.close()


# ---------------------------------------------------------------------- the command, with nobody to ask


# A connection that is being made when its client is closed is left to the collector by asyncio.
UNCLOSED = "ignore:Exception ignored in. <socket:pytest.PytestUnraisableExceptionWarning"


@pytest.mark.filterwarnings(UNCLOSED)
def test_explain_tells_what_is_on_this_disk_while_nothing_else_answers(tmp_path, capsys):
    settings = settings_in(tmp_path)
    ledger_of(settings).close()
    journal = make_journal(settings)
    journal.hold("signing", "operator", "prices look odd", "alice")
    journal.close()
    assert main(["explain", deposit(2).tx_hash, "-c", str(tmp_path / "reactor.toml")]) == 0
    said = capsys.readouterr()
    assert "the shared database could not be asked" in said.err
    assert "status      not known: the shared database could not be asked" in said.out
    assert f"mint 5000000 upokt to {RECIPIENT}" in said.out
    assert "this validator has signed nothing for it" in said.out
    assert "prices look odd" in said.out
    assert "MISSING" not in said.out


@pytest.mark.filterwarnings(UNCLOSED)
def test_explain_says_that_nobody_could_be_asked(tmp_path, capsys):
    write_config(tmp_path, TOML)
    assert main(["explain", "9" * 64, "-c", str(tmp_path / "reactor.toml")]) == 1
    said = capsys.readouterr().err
    assert "there is no ledger on this machine, and the shared database could not be asked" in said


HOSTILE = "\x1b[2J\x1b]0;x\x07\u202e\n"


@pytest.mark.parametrize("role", [Collection.MINT, Collection.BURN])
def test_nothing_in_a_document_or_a_heartbeat_steers_the_terminal(settings, role, capsys):
    base = mint(settings) if role is Collection.MINT else payout(settings)
    for name, value in {**base, "_id": "", "waiting": None, "mint_tx_hash": "", "return_tx_hash": ""}.items():
        said: Any = HOSTILE if isinstance(value, str) else [HOSTILE] if isinstance(value, list) else value
        if name == "waiting":
            said = waits(HOSTILE, AFTER, by=HOSTILE, a=HOSTILE)
        _print(compile_dossier(known(settings), role, {**base, name: said}))
        _print_event(Collection.MINTED, {**base, name: said})
    row = {"collection": "mint", "key": str(base["_id"]), "status": "", "reason": HOSTILE, "params": {}, "since": NOW}
    beats = [heartbeat(0, validator_id=HOSTILE, open=[row], open_count=1)]
    _print(compile_dossier(known(settings, heartbeats=beats), role, base))
    shown = capsys.readouterr().out
    assert "\N{REPLACEMENT CHARACTER}" in shown
    assert all(one.isprintable() for one in shown.replace("\n", ""))
