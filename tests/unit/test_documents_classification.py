"""One deposit, one outcome; one burn, one outcome: at each edge, on both sides of it."""

import pytest

from reactor.documents.bridge import Bridge, Schedule
from reactor.documents.build import burn_document, deposit_document
from reactor.documents.classification import (
    ZERO_ETHEREUM,
    ZERO_POCKET,
    NotPayable,
    RefundCause,
    ToMint,
    ToPay,
    classify_burn,
    classify_deposit,
    deposit_collection,
    same_chain_id,
)
from reactor.documents.events import BlockRef, Burn, Deposit
from reactor.documents.keys import document_id, event_key
from reactor.documents.objections import objection_digest, objection_quorum
from reactor.documents.reasons import ObjectionCode
from reactor.documents.statuses import Collection
from tests.unit.handler_world import FEE, NOW, POCKET_USER, USER, block, burn, deposit, minted, returned

pytestmark = pytest.mark.unit

MAXIMUM = 10**9
VAULT = "aa" * 20


def make_bridge(fee: Schedule | None = None, maximum: Schedule | None = None, **changes: object) -> Bridge:
    fields = {
        "pocket_chain_id": "localnet",
        "vault": VAULT,
        "pocket_keys": ("11" * 32, "22" * 32),
        "pocket_start": 1,
        "deposit_fee": fee or Schedule(((0, FEE),)),
        "maximum": maximum or Schedule(((0, MAXIMUM),)),
        "ethereum_chain_id": 1,
        "wpokt": "0x" + "33" * 20,
        "mint_controller": "0x" + "44" * 20,
        "ethereum_start": 1,
        "burn_fee": fee or Schedule(((0, FEE),)),
        **changes,
    }
    return Bridge(**fields)  # type: ignore[arg-type]


BRIDGE = make_bridge()


@pytest.mark.parametrize(
    ("amount", "outcome"),
    [
        (FEE - 1, NotPayable(ObjectionCode.NOT_ABOVE_FEE)),
        (FEE, NotPayable(ObjectionCode.NOT_ABOVE_FEE)),
        (FEE + 1, ToMint(USER, FEE + 1)),
        (MAXIMUM, ToMint(USER, MAXIMUM)),
        (None, NotPayable(ObjectionCode.TRANSACTION_FAILED)),
    ],
)
def test_a_good_memo_is_minted_in_full_between_fee_and_maximum(amount: int | None, outcome: object) -> None:
    assert classify_deposit(BRIDGE, deposit(5, amount=amount)) == outcome


@pytest.mark.parametrize(
    ("changes", "cause"),
    [
        ({"to": None}, RefundCause.MEMO),
        ({"memo_chain_id": None}, RefundCause.MEMO),
        ({"to": ZERO_ETHEREUM}, RefundCause.MEMO_ADDRESS_ZERO),
        ({"memo_chain_id": "5"}, RefundCause.MEMO_CHAIN),
        ({"amount": MAXIMUM + 1}, RefundCause.ABOVE_MAXIMUM),
    ],
)
def test_what_cannot_be_minted_goes_back_less_the_fee(changes: dict[str, object], cause: RefundCause) -> None:
    event = deposit(5, **changes)  # type: ignore[arg-type]
    assert event.amount is not None
    assert classify_deposit(BRIDGE, event) == ToPay(POCKET_USER, event.amount - FEE, FEE, event.tx_hash, cause)


@pytest.mark.parametrize("to", [USER, None])
@pytest.mark.parametrize("changes", [{"code": 10}, {"is_send": False}, {"amount": None}])
def test_where_nothing_arrived_nothing_is_paid_whatever_the_memo(changes: dict[str, object], to: str | None) -> None:
    assert classify_deposit(BRIDGE, deposit(5, to=to, **changes)) == NotPayable(ObjectionCode.TRANSACTION_FAILED)  # type: ignore[arg-type]


def test_a_refund_of_one_above_the_fee_pays_one_and_of_the_fee_nothing() -> None:
    outcome = classify_deposit(BRIDGE, deposit(5, to=None, amount=FEE + 1))
    assert isinstance(outcome, ToPay)
    assert (outcome.amount, outcome.fee) == (1, FEE)
    assert classify_deposit(BRIDGE, deposit(5, to=None, amount=FEE)) == NotPayable(ObjectionCode.NOT_ABOVE_FEE)


@pytest.mark.parametrize("text", ["1", "+1", "0001", "+001"])
def test_chain_ids_are_the_same_as_numbers(text: str) -> None:
    assert same_chain_id(text, 1)


@pytest.mark.parametrize(
    "text", ["", "+", "-", "-1", "2", "10", "0x1", "1.0", " 1", "1 ", "1_0", "1e0", "\u0661", "++1", "0" * 41, "0" * 40 + "1"]
)
def test_other_texts_are_not(text: str) -> None:
    assert not same_chain_id(text, 1)


@pytest.mark.parametrize(
    ("amount", "to", "outcome"),
    [
        (FEE, POCKET_USER, NotPayable(ObjectionCode.NOT_ABOVE_FEE)),
        (0, POCKET_USER, NotPayable(ObjectionCode.NOT_ABOVE_FEE)),
        (FEE + 1, VAULT, NotPayable(ObjectionCode.RECIPIENT_IS_VAULT)),
        (FEE + 1, ZERO_POCKET, NotPayable(ObjectionCode.RECIPIENT_IS_ZERO)),
        (FEE + 1, POCKET_USER, ToPay(POCKET_USER, 1, FEE, f"0x{5:064x}")),
        (10 * MAXIMUM, POCKET_USER, ToPay(POCKET_USER, 10 * MAXIMUM - FEE, FEE, f"0x{5:064x}")),
    ],
)
def test_burns(amount: int, to: str, outcome: object) -> None:
    assert classify_burn(BRIDGE, burn(5, amount=amount, to=to)) == outcome


def test_the_schedule_of_the_events_own_height_counts() -> None:
    bridge = make_bridge(Schedule(((0, 10), (100, 20))), Schedule(((0, 1000), (100, 500))))
    assert isinstance(classify_deposit(bridge, deposit(99, amount=15)), ToMint)
    assert classify_deposit(bridge, deposit(100, amount=15)) == NotPayable(ObjectionCode.NOT_ABOVE_FEE)
    assert isinstance(classify_deposit(bridge, deposit(99, amount=1000)), ToMint)
    assert isinstance(classify_deposit(bridge, deposit(100, amount=501)), ToPay)
    assert isinstance(classify_burn(bridge, burn(99, amount=15)), ToPay)
    assert classify_burn(bridge, burn(100, amount=15)) == NotPayable(ObjectionCode.NOT_ABOVE_FEE)


def test_schedules_step_up_at_their_heights_and_begin_with_the_first() -> None:
    schedule = Schedule(((10, 1), (20, 2), (30, 3)))
    assert [schedule.at(height) for height in (0, 9, 10, 19, 20, 29, 30, 10**9)] == [1, 1, 1, 1, 2, 2, 3, 3]


@pytest.mark.parametrize("steps", [(), ((10, 1), (10, 2)), ((20, 1), (10, 2))])
def test_a_schedule_that_is_none_is_refused(steps: tuple[tuple[int, int], ...]) -> None:
    with pytest.raises(ValueError, match="ascending"):
        Schedule(steps)


@pytest.mark.parametrize(
    ("event", "collection"),
    [
        (deposit(5), Collection.MINT),
        (deposit(5, to=None), Collection.INVALID_MINT),
        (deposit(5, code=1), Collection.INVALID_MINT),
        (deposit(5, amount=FEE), Collection.INVALID_MINT),
    ],
)
def test_each_deposit_has_its_collection_and_begins_pending(event: Deposit, collection: Collection) -> None:
    assert deposit_collection(classify_deposit(BRIDGE, event)) is collection
    where, document = deposit_document(BRIDGE, event, NOW)
    assert where is collection
    assert document["status"] == "pending"
    assert document["_id"] == document_id(collection, event_key(BRIDGE, event))
    assert ("memo" in document, isinstance(document["memo"], dict)) == (True, collection is Collection.MINT)


def test_ids_and_keys_tell_events_collections_and_bridges_apart() -> None:
    first, second = burn(5, 0), burn(5, 1)
    events = [first, second, burn(6, 0), deposit(5), deposit(6), minted(5, 1), minted(5, 2), returned(5, "m"), returned(6, "m")]
    keys = [event_key(bridge, event) for bridge in (BRIDGE, make_bridge(vault="bb" * 20, wpokt=USER)) for event in events]
    assert len(set(keys)) == len(keys)
    assert len({document_id(collection, keys[0]) for collection in Collection}) == len(Collection)
    assert burn_document(BRIDGE, first, NOW)["_id"] == burn_document(BRIDGE, first, NOW)["_id"]


def test_a_burn_that_is_mined_again_keeps_its_key_and_a_mint_in_another_block_does_not() -> None:
    event = burn(5)
    again = Burn(event.tx_hash, 0, 7, BlockRef(9, "0xother", 1), event.sender, event.recipient, event.amount)
    assert event_key(BRIDGE, event) == event_key(BRIDGE, again)
    assert event_key(BRIDGE, minted(5, 1)) != event_key(BRIDGE, minted(6, 1))
    assert block(5) != block(6)


def test_an_objection_is_bound_to_bridge_collection_event_and_code() -> None:
    base = objection_digest(BRIDGE, Collection.BURN, "key", "code")
    others = [
        objection_digest(make_bridge(pocket_start=2), Collection.BURN, "key", "code"),
        objection_digest(BRIDGE, Collection.MINT, "key", "code"),
        objection_digest(BRIDGE, Collection.BURN, "other", "code"),
        objection_digest(BRIDGE, Collection.BURN, "key", "other"),
    ]
    assert len(base) == 32
    assert base == objection_digest(BRIDGE, Collection.BURN, "key", "code")
    assert len({base, *others}) == 5


@pytest.mark.parametrize(("threshold", "members", "quorum"), [(9, 12, 9), (5, 7, 5), (2, 3, 2), (1, 3, 3), (2, 5, 4), (3, 3, 3)])
def test_as_many_object_as_could_sign_and_as_leave_too_few_to_sign(threshold: int, members: int, quorum: int) -> None:
    assert objection_quorum(threshold, members) == quorum
    assert members - quorum < threshold
    assert quorum >= threshold
