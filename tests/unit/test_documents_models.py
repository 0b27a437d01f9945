"""Reading never fails, and names what is malformed; the table of moves has no hole."""

from typing import Any

import pytest
from bson import Binary, Decimal128, Int64, ObjectId

from reactor.documents.build import burn_document, deposit_document
from reactor.documents.models import LONGEST_TEXT, MOST_ENTRIES, REQUEST_MODELS, read_request
from reactor.documents.statuses import REQUESTS, TRANSITIONS, Collection, Status, may_move
from reactor.flows import mint, payout
from tests.unit.handler_world import NOW, burn, deposit
from tests.unit.test_documents_classification import BRIDGE

pytestmark = pytest.mark.unit

FRESH = {
    Collection.MINT: deposit_document(BRIDGE, deposit(5), NOW)[1],
    Collection.INVALID_MINT: deposit_document(BRIDGE, deposit(5, to=None), NOW)[1],
    Collection.BURN: burn_document(BRIDGE, burn(5), NOW),
}
WRONG: list[Any] = [
    5,
    5.0,
    Int64(5),
    Decimal128("5"),
    True,
    Binary(b"5"),
    ObjectId(),
    [[]],
    {"reason": 5, "address": 5, "recipient": 5},
    "x" * 20_000,
]

DIAGRAM = """
pending   -> confirmed success failed
confirmed -> pending signed success failed
signed    -> confirmed submitted success
submitted -> confirmed signed success
success   -> pending confirmed signed submitted
failed    -> pending confirmed success
"""


@pytest.mark.parametrize("collection", REQUESTS)
def test_what_the_scanners_insert_reads_without_fault(collection: Collection) -> None:
    document = read_request(collection, FRESH[collection])
    assert document.malformed == ()
    assert document.id == FRESH[collection]["_id"]
    assert document.status == "pending"


@pytest.mark.parametrize(
    ("collection", "name"), [(one, name) for one in REQUESTS for name in REQUEST_MODELS[one].model_fields if name != "malformed"]
)
def test_a_field_of_a_wrong_type_is_named_and_the_others_are_read(collection: Collection, name: str) -> None:
    stored = "_id" if name == "id" else name
    for wrong in WRONG:
        if name == "id" and isinstance(wrong, ObjectId):
            continue
        document = read_request(collection, {**FRESH[collection], stored: wrong})
        default = type(document).model_fields[name].get_default(call_default_factory=True)
        assert document.malformed == (stored,), wrong
        assert getattr(document, name) == default
        other = "amount" if name != "amount" else "transaction_hash"
        assert getattr(document, other) == FRESH[collection][other]


@pytest.mark.parametrize("collection", REQUESTS)
def test_garbage_and_nothing_read_as_defaults(collection: Collection) -> None:
    assert read_request(collection, {}).malformed == ()
    everything = dict.fromkeys(FRESH[collection], 5)
    assert set(read_request(collection, everything).malformed) == set(FRESH[collection])
    assert read_request(collection, {**FRESH[collection], "malformed": ("status",), "strange": 1}).malformed == ()


@pytest.mark.parametrize(
    ("value", "good"),
    [("0", True), ("", True), ("9" * 78, True), ("9" * 79, False), ("-1", False), ("1.0", False), ("\u0661", False)],
)
def test_decimal_strings(value: str, good: bool) -> None:
    assert (read_request(Collection.BURN, {"amount": value}).malformed == ()) is good


def test_bounds_on_texts_and_lists() -> None:
    assert read_request(Collection.BURN, {"status": "x" * LONGEST_TEXT}).malformed == ()
    assert read_request(Collection.BURN, {"status": "x" * (LONGEST_TEXT + 1)}).malformed == ("status",)
    assert read_request(Collection.BURN, {"signers": ["x"] * MOST_ENTRIES}).malformed == ()
    assert read_request(Collection.BURN, {"signers": ["x"] * (MOST_ENTRIES + 1)}).malformed == ("signers",)


def test_entries_are_pairs_only_where_the_lists_run_parallel() -> None:
    assert read_request(Collection.BURN, {"signers": ["a", "b"], "signatures": ["1", "2"]}).pairs == (("a", "1"), ("b", "2"))
    assert read_request(Collection.BURN, {"signers": ["a", "b"], "signatures": ["1"]}).pairs == ()


def test_the_table_of_moves_is_the_diagram() -> None:
    drawn = {}
    for line in DIAGRAM.strip().splitlines():
        start, ends = line.split("->")
        drawn[Status(start.strip())] = frozenset(Status(end) for end in ends.split())
    assert drawn == TRANSITIONS


@pytest.mark.parametrize("start", Status)
@pytest.mark.parametrize("end", Status)
def test_a_move_is_legal_exactly_where_the_table_says(start: Status, end: Status) -> None:
    assert may_move(start.value, end) is (end in TRANSITIONS[start])


def test_nothing_moves_to_itself_all_reach_success_and_a_foreign_status_only_pending() -> None:
    assert all(status not in TRANSITIONS[status] for status in Status)
    assert all(Status.SUCCESS in TRANSITIONS[status] for status in set(Status) - {Status.SUCCESS})
    assert [end for end in Status if may_move("done", end)] == [Status.PENDING]
    assert [end for end in Status if may_move("", end)] == [Status.PENDING]


def test_both_flows_have_a_step_for_each_status() -> None:
    assert set(mint.STEPS) == set(payout.STEPS) == set(Status)
