"""The lines of `tail`: one for each change, none for what did not change, and whatever a document holds."""

from datetime import UTC, datetime, timedelta

import pytest
from bson import ObjectId

from reactor.cli.changes import Changes, concerns, hold_sentence, objection_sentence, pokt, waiting_sentence
from reactor.documents.reasons import HoldReason, ObjectionCode, WaitReason
from reactor.documents.statuses import Collection

pytestmark = pytest.mark.unit

T0 = datetime(2026, 1, 2, 3, 4, 5, tzinfo=UTC)
ALICE, BOB = "0x" + "a1" * 20, "0x" + "b0" * 20
HASH = "12" * 32


def document(**fields):
    return {
        "_id": ObjectId("0" * 24),
        "transaction_hash": HASH,
        "sender_address": "cd" * 20,
        "recipient_address": "0x" + "ab" * 20,
        "amount": "5000000",
        "status": "pending",
        "confirmations": "0",
        "signers": [],
        "signatures": [],
        "history": [],
        "objections": [],
        "waiting": None,
        **fields,
    }


def entry(status, seconds=0, by=ALICE, reason=""):
    return {"status": status, "at": T0 + timedelta(seconds=seconds), "by": by, "reason": reason}


def waiting(reason, **params):
    return {"reason": reason, "params": params, "by": ALICE, "at": T0}


class Log:
    """Changes of one mint, as `tail` sees them."""

    def __init__(self, role=Collection.MINT, **options):
        self.role, self.changes = role, Changes(3, **options)
        self.changes.threshold = 2

    def see(self, inserted=False, status_changed=False, **fields):
        lines = self.changes.seen(self.role, document(**fields), inserted=inserted, status_changed=status_changed)
        return [(line.fields["change"], line.text) for line in lines]


def test_a_new_document_says_who_sent_what_to_whom():
    ((kind, text),) = Log().see(inserted=True)
    assert kind == "new"
    assert text.startswith("mint         1212121212…")
    assert "5 POKT from cdcdcdcdcd… to 0xababababab…" in text


def test_nothing_is_shortened_for_a_program():
    for role, fields in (
        (Collection.MINT, {}),
        (Collection.MINTED, {"nonce": "7"}),
        (Collection.HEARTBEAT, {"eth_address": ALICE}),
    ):
        (line,) = Changes(3, whole=True).seen(role, document(**fields), inserted=True, status_changed=False)
        assert "…" not in line.text
        assert (ALICE if role is Collection.HEARTBEAT else HASH) in line.text
    log = Log(whole=True)
    log.see(inserted=True)
    ((_, text),) = log.see(status="confirmed", history=[entry("confirmed")])
    assert f"by {ALICE}" in text


def test_a_status_change_names_both_statuses_the_signatures_and_the_writer():
    log = Log()
    log.see(inserted=True)
    ((kind, text),) = log.see(status="confirmed", history=[entry("confirmed", reason="the deposit is final")])
    assert kind == "status"
    assert "pending → confirmed  0/2 signatures  by 0xa1a1a1a1a1…  (the deposit is final)" in text


def test_changes_that_came_between_two_reads_are_each_told():
    log = Log()
    log.see(inserted=True)
    history = [entry("confirmed", 1), entry("signed", 2), entry("submitted", 3)]
    told = log.see(status="submitted", history=history)
    moves = ["pending → confirmed", "confirmed → signed", "signed → submitted"]
    assert [move in text for move, (_, text) in zip(moves, told, strict=True)] == [True] * 3
    assert log.see(status="submitted", history=history) == []


def test_changes_within_one_millisecond_are_told():
    log = Log()
    log.see(status="confirmed", history=[entry("confirmed", 1)])
    told = log.see(status="signed", history=[entry("confirmed", 1), entry("signed", 1)])
    assert len(told) == 1
    assert "confirmed → signed" in told[0][1]


def test_a_full_history_that_drops_its_oldest_entry_still_tells_the_new_one():
    log = Log()
    log.see(history=[entry("confirmed", second) for second in range(64)])
    told = log.see(history=[entry("confirmed", second) for second in range(1, 65)])
    assert len(told) == 1


def test_a_document_met_on_its_way_tells_its_last_change_only_if_that_was_the_change():
    history = [entry("confirmed", 1), entry("signed", 2)]
    assert len(Log().see(status="signed", history=history, status_changed=True)) == 1
    assert Log().see(status="signed", history=history) == []


def test_a_repair_is_told_without_an_arrow():
    log = Log()
    log.see(inserted=True)
    ((_, text),) = log.see(history=[entry("pending", 1, reason="repaired: amount")])
    assert "→" not in text
    assert "(repaired: amount)" in text


def test_signatures_are_counted_and_their_signers_named():
    log = Log()
    log.see(inserted=True)
    ((kind, text),) = log.see(signers=[ALICE, BOB], signatures=["x", "y"])
    assert kind == "signature"
    assert "2/2 signatures  signed by 0xa1a1a1a1a1…, 0xb0b0b0b0b0…" in text
    assert log.see(signers=[ALICE, BOB], signatures=["x", "z"]) == []


@pytest.mark.parametrize(
    ("role", "needed"), [(Collection.MINT, "1/2"), (Collection.BURN, "1/3"), (Collection.INVALID_MINT, "1/3")]
)
def test_mints_need_the_threshold_and_payouts_all_keys(role, needed):
    log = Log(role)
    log.see(inserted=True)
    assert needed in log.see(signers=[ALICE], signatures=["x"])[0][1]


def test_an_unknown_threshold_is_left_out():
    log = Log()
    log.changes.threshold = 0
    log.see(inserted=True)
    assert " 1 signature  signed" in log.see(signers=[ALICE], signatures=["x"])[0][1]


def test_why_it_waits_is_told_when_the_reason_changes():
    log = Log()
    log.see(inserted=True)
    ((kind, text),) = log.see(waiting=waiting("not_final", final_at="12"))
    assert kind == "waiting"
    assert "waits: its source event is not final yet (final_at 12)" in text
    assert log.see(waiting=waiting("not_final", final_at="13")) == []
    assert len(log.see(waiting=waiting("held"))) == 1
    assert log.see(waiting=None) == []


def test_confirmations_are_told_only_on_request():
    quiet, loud = Log(), Log(display=True)
    for log in (quiet, loud):
        log.see(inserted=True)
    assert quiet.see(confirmations="3") == []
    assert "3 confirmations" in loud.see(confirmations="3")[0][1]


def test_objections_are_told():
    log = Log()
    log.see(inserted=True)
    objection = {"signer": BOB, "code": "not_above_fee", "reason": "", "signature": "x"}
    ((kind, text),) = log.see(objections=[objection])
    assert kind == "objection"
    assert "objection by 0xb0b0b0b0b0…: the amount is not above" in text


def test_removed_and_unreadable_documents_are_told():
    changes = Changes(3)
    assert "removed" in changes.removed(Collection.BURN, "x")[0].text
    assert "400000 bytes" in changes.oversized(Collection.BURN, "x", 400_000)[0].text


def test_a_document_that_comes_back_is_new():
    log = Log()
    log.see(inserted=True)
    log.changes.removed(Collection.MINT, document()["_id"])
    assert log.see(inserted=True)[0][0] == "new"


@pytest.mark.parametrize("role", [Collection.MINTED, Collection.RETURNED, Collection.HEARTBEAT])
def test_what_is_no_request_is_one_line(role):
    raw = {**document(), "nonce": "7", "eth_address": ALICE, "pocket_height": "1", "ethereum_height": "2"}
    (line,) = Changes(3).seen(role, raw, inserted=True, status_changed=False)
    assert "\n" not in line.text


def test_an_update_of_what_is_no_request_says_nothing_but_a_heartbeat_beats():
    assert Changes(3).seen(Collection.MINTED, document(), inserted=False, status_changed=False) == []
    assert len(Changes(3).seen(Collection.HEARTBEAT, document(), inserted=False, status_changed=False)) == 1


HOSTILE = [
    {"status": "\x1b[2J"},
    {"status": 7},
    {"amount": "-5"},
    {"amount": {"$gt": ""}},
    {"signers": "x"},
    {"signers": ["\x1b[2J"], "signatures": ["x"]},
    {"history": [{"status": "\x1b[2J", "at": T0, "by": "\r\n", "reason": "\x1b]0;x\x07"}]},
    {"history": ["x", 7, None]},
    {"history": None},
    {"waiting": {"reason": "\x1b[2J", "params": {"\x1b": "\x1b"}, "by": "", "at": T0}},
    {"waiting": []},
    {"objections": [{"code": "\x1b[2J", "signer": "\x07"}]},
    {"transaction_hash": "\x1b[2J"},
    {"transaction_hash": None},
    {"sender_address": "\x1b[2J", "recipient_address": 4},
]


@pytest.mark.parametrize("role", Collection)
@pytest.mark.parametrize("fields", HOSTILE, ids=str)
def test_whatever_a_document_holds_the_lines_are_lines(role, fields):
    changes = Changes(3, display=True)
    lines = changes.seen(role, document(**fields), inserted=True, status_changed=True)
    lines += changes.seen(role, document(), inserted=False, status_changed=True)
    lines += changes.seen(role, document(**fields), inserted=False, status_changed=True)
    assert all(line.text.isprintable() for line in lines)
    assert lines


def test_every_reason_has_its_sentence_and_unknown_ones_stand_as_they_are():
    for reason in WaitReason:
        assert waiting_sentence(reason.value, {}) == reason.sentence
    for code in ObjectionCode:
        assert objection_sentence(code.value) == code.sentence
    for hold in HoldReason:
        assert hold_sentence(hold.value) == hold.sentence
    assert waiting_sentence("moon", {"phase": "full"}) == "moon (phase full)"
    assert objection_sentence("moon") == "moon"
    assert hold_sentence("moon") == "moon"


@pytest.mark.parametrize(
    ("statuses", "addresses", "hashes", "passes"),
    [
        ((), (), (), True),
        (("pending", "signed"), (), (), True),
        (("signed",), (), (), False),
        ((), ("0x" + "ab" * 20,), (), True),
        ((), (ALICE,), (), True),
        ((), (BOB,), (), False),
        ((), (), (HASH,), True),
        ((), (), ("34" * 32,), True),
        ((), (), ("0" * 24,), True),
        ((), (), ("56" * 32,), False),
        (("pending",), (BOB,), (HASH,), False),
        (("pending",), (ALICE, BOB), (HASH, "56" * 32), True),
    ],
)
def test_filters(statuses, addresses, hashes, passes):
    raw = document(signers=[ALICE.upper().replace("0X", "0x"), 7], return_tx_hash="0x" + "34" * 32)
    assert concerns(raw, statuses, addresses, hashes) is passes


def test_filters_pass_over_wrong_types():
    raw = document(status=["pending"], signers={"a": 1}, transaction_hash=7, sender_address=None)
    assert not concerns(raw, ("pending",), (), ())
    assert not concerns(raw, (), (), (HASH,))
    assert not concerns(raw, (), (ALICE,), ())


@pytest.mark.parametrize(
    ("amount", "shown"),
    [
        ("5000000", "5"),
        ("1", "0.000001"),
        ("1234567890", "1,234.56789"),
        ("9007199254740993000001", "9,007,199,254,740,993.000001"),
        ("", "?"),
        ("0", "0"),
    ],
)
def test_amounts(amount, shown):
    assert pokt(amount) == shown
