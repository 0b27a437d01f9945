"""What `explain` puts together: judged by the own ledger where there is one, by the document where not."""

from datetime import UTC, datetime, timedelta

import pytest
from bson import ObjectId
from cli_unit_helpers import RECIPIENT, SENDER, burn, deposit, make_journal, make_ledger, settings_in
from coincurve import PrivateKey

from reactor.chains.ethereum.eip712 import Domain, mint_digest
from reactor.chains.pocket import PocketTx, ReturnTx, return_entropy, vault_address
from reactor.cli.dossier import Known, compile_dossier
from reactor.cli.local import read_ledger
from reactor.cli.people import people
from reactor.documents.build import burn_document, deposit_document
from reactor.documents.events import BlockRef
from reactor.documents.heartbeats import heartbeat_digest
from reactor.documents.keys import burn_key, deposit_key
from reactor.documents.objections import objection_digest
from reactor.documents.statuses import Collection
from reactor.keys.local import signer_from_secret
from reactor.parts import bridge_of
from reactor.settings import Settings
from reactor.state.ledger import Ledger
from reactor.state.rows import EventKind
from scanners.deposits import deposit_of

pytestmark = pytest.mark.unit

NOW = datetime(2026, 1, 2, tzinfo=UTC)
SEEDS = [bytes([number]) * 32 for number in (1, 2, 3)]
ETHEREUM = [signer_from_secret(seed, "secp256k1", "test") for seed in SEEDS]
POCKET = [signer_from_secret(seed, "ed25519", "test") for seed in SEEDS]
MEMBERS = tuple(sorted(one.address for one in ETHEREUM))


@pytest.fixture
def settings(tmp_path) -> Settings:
    settings = settings_in(tmp_path)
    keys = tuple(one.public_key for one in POCKET)
    pocket = settings.pocket.model_copy(update={"multisig_public_keys": keys, "vault_address": vault_address(keys)})
    return settings.model_copy(update={"pocket": pocket})


def known(settings, *, heartbeats=(), ledger=None, journal=None, threshold=2):
    return Known(bridge_of(settings), people(heartbeats, MEMBERS, NOW), journal, ledger, threshold, MEMBERS)


def recoverable(digest: bytes, number: int) -> str:
    raw = PrivateKey(SEEDS[number]).sign_recoverable(digest, hasher=None)
    return f"0x{raw[:64].hex()}{raw[64] + 27:02x}"


def heartbeat(number, *, age=0, **fields):
    said = {
        "validator_id": f"v{number}",
        "hostname": "h",
        "pokt_public_key": POCKET[number].public_key,
        "eth_address": ETHEREUM[number].address,
        "updated_at": NOW - timedelta(seconds=age),
        "open_count": 0,
        "open": [],
        **fields,
    }
    return {**said, "signature": recoverable(heartbeat_digest(said), number)}


def mint(settings, **fields):
    return {**deposit_document(bridge_of(settings), deposit(), NOW)[1], **fields}


def payout(settings, **fields):
    return {**burn_document(bridge_of(settings), burn(), NOW), **fields}


def signed_mint(settings, *numbers, nonce=4, amount=5_000_000):
    bridge = bridge_of(settings)
    domain = Domain("MintController", "1", bridge.ethereum_chain_id, bridge.mint_controller)
    digest = mint_digest(domain, RECIPIENT, amount, nonce)
    return {
        "nonce": str(nonce),
        "signers": [ETHEREUM[number].address for number in numbers],
        "signatures": [recoverable(digest, number) for number in numbers],
    }


def verdicts(dossier):
    return [one.verifies for one in dossier.entries]


def test_signatures_of_a_mint_are_judged(settings):
    fields = signed_mint(settings, 0, 1)
    dossier = compile_dossier(known(settings), Collection.MINT, mint(settings, **fields))
    assert verdicts(dossier) == [True, True]
    assert dossier.needed == 2
    assert [one["signer"] for one in dossier.missing] == [ETHEREUM[2].address]


def test_a_signature_over_another_amount_or_of_another_does_not_verify(settings):
    fields = signed_mint(settings, 0, 1, amount=6_000_000)
    assert verdicts(compile_dossier(known(settings), Collection.MINT, mint(settings, **fields))) == [False, False]
    fields = signed_mint(settings, 0)
    fields["signers"] = [ETHEREUM[1].address]
    dossier = compile_dossier(known(settings), Collection.MINT, mint(settings, **fields))
    assert verdicts(dossier) == [False]
    assert len(dossier.missing) == 3


def test_the_own_ledger_outweighs_the_document(settings):
    make_ledger(settings)
    ledger = read_ledger(settings)
    forged = mint(settings, amount="6000000", **signed_mint(settings, 0, amount=6_000_000))
    assert verdicts(compile_dossier(known(settings), Collection.MINT, forged)) == [True]
    dossier = compile_dossier(known(settings, ledger=ledger), Collection.MINT, forged)
    ledger.close()
    assert verdicts(dossier) == [False]
    assert dossier.ledger["differs"] == {"amount": {"document": "6000000", "ledger": "5000000"}}
    assert dossier.ledger["outcome"] == f"mint 5000000 upokt to {RECIPIENT}"


@pytest.mark.parametrize(
    ("memo", "why"),
    [
        ("thanks", "the memo is refused: the memo is not JSON (character 0)"),
        ('{"address": 7, "chain_id": "31337"}', "the memo is refused: address is not a JSON string"),
        ('{"address": "0x12", "chain_id": "31337"}', "the memo is refused: address '0x12' is not 0x and 40 hex characters"),
        (f'{{"address": "0x{"0" * 40}", "chain_id": "31337"}}', "the memo is refused: address is the zero address"),
        (f'{{"address": "{RECIPIENT}", "chain_id": "1"}}', "the memo is refused: chain_id is 1, this bridge serves 31337"),
    ],
)
def test_why_a_deposit_is_refunded_names_the_field(settings, memo, why):
    assert outcome(settings, amount=5_000_000, memo=memo) == f"pay 4990000 upokt to {SENDER}, fee 10000: {why}"


@pytest.mark.parametrize(
    ("above", "said"),
    [
        (0, f"mint 1000000000 upokt to {RECIPIENT}"),
        (1, f"pay 999990001 upokt to {SENDER}, fee 10000: the amount is above the maximum of 1000000000 upokt"),
    ],
)
def test_a_deposit_above_the_maximum_is_refunded_with_the_maximum(settings, above, said):
    most = bridge_of(settings).maximum.at(11)
    assert outcome(settings, amount=most + above, memo=f'{{"address": "{RECIPIENT}", "chain_id": "31337"}}') == said


def outcome(settings, *, amount: int, memo: str) -> str:
    """What the own ledger makes of a deposit with this memo, as `explain` says it."""
    bridge = bridge_of(settings)
    sent = {"from_address": SENDER, "to_address": bridge.vault, "amount": amount, "memo": memo}
    tx = PocketTx(f"{amount:064x}", 11, 0, b"", 0, "", decoded=True, is_send=True, **sent)
    seen = deposit_of(bridge, tx, BlockRef(11, "ee" * 32, 1_700_000_000))
    assert seen is not None
    ledger = Ledger.open(settings.state.directory, bridge)
    ledger.record_window(EventKind.DEPOSIT, 1, 100, [seen], final=100)
    collection, document = deposit_document(bridge, seen, NOW)
    dossier = compile_dossier(known(settings, ledger=ledger), collection, document)
    ledger.close()
    return dossier.ledger["outcome"]


def test_a_document_under_the_wrong_hash_is_found_by_its_id(settings):
    make_ledger(settings)
    ledger = read_ledger(settings)
    dossier = compile_dossier(known(settings, ledger=ledger), Collection.MINT, mint(settings, transaction_hash="f" * 64))
    ledger.close()
    assert dossier.ledger["differs"]["transaction_hash"]["ledger"] == deposit().tx_hash


def test_without_a_nonce_nothing_can_be_judged(settings):
    fields = {**signed_mint(settings, 0), "nonce": ""}
    assert verdicts(compile_dossier(known(settings), Collection.MINT, mint(settings, **fields))) == [None]


def test_lists_that_do_not_fit_are_not_judged_one_by_one(settings):
    fields = {**signed_mint(settings, 0, 1), "signatures": ["0x"]}
    assert verdicts(compile_dossier(known(settings), Collection.MINT, mint(settings, **fields))) == [False, False]


@pytest.mark.parametrize("with_ledger", [True, False])
@pytest.mark.parametrize("attempt", [0, 1])
async def test_signatures_of_a_payout_are_judged(settings, with_ledger, attempt):
    make_ledger(settings)
    bridge = bridge_of(settings)
    entropy = return_entropy(str(bridge.ethereum_chain_id), burn().tx_hash, 0, attempt)
    tx = ReturnTx(bridge.vault, SENDER, 7_000_000 - 10_000, 10_000, burn().tx_hash, entropy, "localnet")
    fields = {
        "attempt": str(attempt),
        "signers": [POCKET[0].public_key, POCKET[1].public_key],
        "signatures": [(await POCKET[0].sign(tx.sign_bytes)).hex(), "zz"],
    }
    ledger = read_ledger(settings) if with_ledger else None
    dossier = compile_dossier(known(settings, ledger=ledger), Collection.BURN, payout(settings, **fields))
    if ledger is not None:
        ledger.close()
    assert verdicts(dossier) == [True, False]
    assert dossier.needed == 3
    assert [one["signer"] for one in dossier.missing] == [POCKET[1].public_key, POCKET[2].public_key]


async def test_signatures_of_a_refund_are_judged(settings):
    bridge = bridge_of(settings)
    event = deposit(2, memo=False)
    tx = ReturnTx(
        bridge.vault, SENDER, 4_990_000, 10_000, event.tx_hash, return_entropy("localnet", event.tx_hash, 0, 0), "localnet"
    )
    raw = {
        **deposit_document(bridge, event, NOW)[1],
        "signers": [POCKET[2].public_key],
        "signatures": [(await POCKET[2].sign(tx.sign_bytes)).hex()],
    }
    assert verdicts(compile_dossier(known(settings), Collection.INVALID_MINT, raw)) == [True]


def test_the_missing_say_what_they_wait_for(settings):
    key = burn_key(bridge_of(settings), burn().tx_hash, 0)
    row = {"collection": "burn", "status": "confirmed", "reason": "held", "params": {}, "since": NOW}
    beats = [heartbeat(0, open=[{**row, "key": key}], open_count=1), heartbeat(1, age=3600)]
    dossier = compile_dossier(known(settings, heartbeats=beats), Collection.BURN, payout(settings, status="confirmed"))
    assert [(one["state"], one["why"]) for one in dossier.missing] == [
        ("up", "confirmed: it is held until an operator releases it"),
        ("gone", ""),
        ("never", "no verified heartbeat"),
    ]
    says = {one["state"]: one["says"] for one in dossier.others}
    assert says["up"] == "confirmed: it is held until an operator releases it; its signature is missing"
    assert says["gone"].startswith("its signature is missing; last heard ")
    assert says["never"] == "no verified heartbeat"


@pytest.mark.parametrize(
    ("status", "signed", "missing"),
    [
        ("pending", [], 0),
        ("confirmed", [], 3),
        ("confirmed", [0], 2),
        ("signed", [0, 1], 0),
        ("signed", [0], 2),
        ("success", [], 0),
    ],
)
@pytest.mark.parametrize("age", [0, 3600])
def test_a_validator_whose_signature_is_missing_has_something_left_to_do(settings, status, signed, missing, age):
    beats = [heartbeat(number, age=age) for number in range(3)]
    document = mint(settings, status=status, **signed_mint(settings, *signed))
    says = [one["says"] for one in compile_dossier(known(settings, heartbeats=beats), Collection.MINT, document).others]
    assert sum("its signature is missing" in one for one in says) == missing
    assert says.count("nothing left to do") == (0 if age else 3 - missing)


@pytest.mark.parametrize(
    ("status", "age", "says"),
    [
        ("pending", 1, "its next heartbeat will tell: the last is older than the document's last change"),
        ("submitted", 1, "its next heartbeat will tell: the last is older than the document's last change"),
        ("submitted", 0, "nothing left to do"),
        ("success", 1, "nothing left to do"),
    ],
)
def test_a_heartbeat_from_before_the_last_change_does_not_say_that_nothing_is_left(settings, status, age, says):
    document = mint(settings, status=status, updated_at=NOW)
    dossier = compile_dossier(known(settings, heartbeats=[heartbeat(0, age=age)]), Collection.MINT, document)
    assert [one["says"] for one in dossier.others if one["state"] == "up"] == [says]


def test_what_a_heartbeat_said_of_an_earlier_status_is_not_told_as_if_it_were_so_now(settings):
    key = deposit_key(bridge_of(settings), deposit().tx_hash)
    row = {"collection": "mint", "key": key, "status": "pending", "reason": "not_final", "params": {}, "since": NOW}
    beats = [heartbeat(0, open=[row], open_count=1)]
    told = {
        status: compile_dossier(known(settings, heartbeats=beats), Collection.MINT, mint(settings, status=status)).others
        for status in ("pending", "confirmed")
    }
    assert any("is not final yet" in one["says"] for one in told["pending"])
    assert not any("is not final yet" in one["says"] for one in told["confirmed"])


def test_a_validator_with_more_open_than_it_lists_is_not_said_to_be_done(settings):
    dossier = compile_dossier(known(settings, heartbeats=[heartbeat(0, open_count=99)]), Collection.BURN, payout(settings))
    assert "not among its oldest open documents" in [one["says"] for one in dossier.others]


def test_a_forged_heartbeat_is_counted_and_not_believed(settings):
    found = people([{**heartbeat(0), "hostname": "elsewhere"}], MEMBERS, NOW)
    assert found.forged == 1
    assert {one.state for one in found.persons} == {"never"}


def test_one_key_on_two_hosts_is_told_only_while_both_are_fresh():
    assert len(people([heartbeat(0), heartbeat(0, hostname="b")], MEMBERS, NOW).clones) == 1
    assert people([heartbeat(0), heartbeat(0, hostname="b", age=3600)], MEMBERS, NOW).clones == []


def test_objections_are_judged(settings):
    bridge, document = bridge_of(settings), payout(settings)
    key = burn_key(bridge, burn().tx_hash, 0)
    digest = objection_digest(bridge, Collection.BURN, key, "not_above_fee")
    good = {"signer": ETHEREUM[0].address, "code": "not_above_fee", "reason": "", "signature": recoverable(digest, 0)}
    forged = {**good, "signer": ETHEREUM[1].address}
    dossier = compile_dossier(known(settings), Collection.BURN, {**document, "objections": [good, forged]})
    assert [one["verdict"] for one in dossier.objections] == ["verifies", "does not verify"]


def test_own_signatures_and_the_holds_that_concern_it(settings):
    journal = make_journal(settings)
    key = deposit_key(bridge_of(settings), deposit().tx_hash)
    scopes = ["signing", f"event:{key}", f"recipient:{RECIPIENT}", "recipient:0x" + "99" * 20, "event:other"]
    for scope in scopes:
        journal.hold(scope, "operator", "", "alice")
    journal.pause("mint", "alice")
    journal.pause("payout", "alice")
    dossier = compile_dossier(known(settings, journal=journal), Collection.MINT, mint(settings))
    journal.close()
    assert {one["scope"] for one in dossier.here["holds"]} == {*scopes[:3], "direction:mint"}
    assert dossier.here["signed"] == []


BROKEN = [
    {},
    {"_id": "not an id"},
    {"transaction_hash": 7, "burn_index": -1},
    {"amount": "9" * 78, "nonce": "9" * 78, "attempt": "9" * 78, "burn_index": "9" * 78, "signers": ["a"], "signatures": ["b"]},
    {"signers": ["a"], "signatures": ["\x1b"], "objections": [{"signer": "", "signature": ""}]},
    {"recipient_address": "x", "sender_address": "", "signers": [""], "signatures": [""]},
    {"transaction_hash": "UPPER", "signers": ["a"], "signatures": ["b"], "height": "", "block_number": ""},
]


@pytest.mark.parametrize("role", [Collection.MINT, Collection.INVALID_MINT, Collection.BURN])
@pytest.mark.parametrize("fields", BROKEN, ids=range(len(BROKEN)))
def test_a_broken_document_is_explained_as_far_as_it_goes(settings, role, fields):
    make_ledger(settings)
    ledger, journal = read_ledger(settings), make_journal(settings)
    base = mint(settings) if role is Collection.MINT else payout(settings)
    for raw in (fields, {**base, **fields}, {"_id": ObjectId(), **fields}):
        dossier = compile_dossier(known(settings, ledger=ledger, journal=journal), role, raw)
        assert True not in verdicts(dossier)
    ledger.close()
    journal.close()
