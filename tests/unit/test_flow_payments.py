"""Which payment pays which event, what pays nothing, and whose turn it is."""

import random
from itertools import permutations

import pytest

from reactor.flows.payments import Claim, failed_attempts, payments_by_claim, surplus
from reactor.flows.turns import turn
from tests.unit.handler_world import returned

pytestmark = pytest.mark.unit

MEMO = "0x" + "1" * 64
FIRST, SECOND = Claim("first", frozenset({10, 11})), Claim("second", frozenset({20, 21}))


def paid(height: int, entropy: int, code: int = 0):
    return returned(height, MEMO, entropy=entropy, code=code)


def test_an_own_entropy_of_any_attempt_pays_its_own_claim_whatever_the_order() -> None:
    late, early = paid(5, 11), paid(4, 20)
    for payments in permutations([late, early]):
        assert payments_by_claim([FIRST, SECOND], payments) == {"first": late, "second": early}


def test_a_foreign_entropy_pays_the_first_unpaid_claim() -> None:
    foreign, own = paid(4, 99), paid(5, 10)
    assert payments_by_claim([FIRST, SECOND], [foreign]) == {"first": foreign}
    assert payments_by_claim([FIRST, SECOND], [own, foreign]) == {"first": own, "second": foreign}


def test_foreign_payments_count_in_the_chains_order_and_never_beyond_the_claims() -> None:
    payments = [paid(6, 97), paid(4, 99), paid(5, 98)]
    assert payments_by_claim([FIRST, SECOND], payments) == {"first": paid(4, 99), "second": paid(5, 98)}
    assert payments_by_claim([], payments) == {}


def test_a_failed_payment_pays_nothing() -> None:
    assert payments_by_claim([FIRST], [paid(4, 10, code=10), paid(5, 99, code=10)]) == {}
    assert payments_by_claim([FIRST], [paid(4, 10, code=10), paid(5, 11)]) == {"first": paid(5, 11)}


def test_of_two_payments_of_one_claim_the_first_is_its_payment_and_the_other_pays_no_twin() -> None:
    assert payments_by_claim([FIRST, SECOND], [paid(7, 10), paid(4, 11)]) == {"first": paid(4, 11)}


def test_what_goes_beyond_the_claims_is_surplus_and_failed_ones_are_not() -> None:
    payments = [paid(6, 97), paid(4, 99), paid(5, 98, code=10)]
    assert surplus(1, payments) == (paid(6, 97),)
    assert surplus(2, payments) == ()
    assert surplus(0, payments) == (paid(4, 99), paid(6, 97))


@pytest.mark.parametrize(
    ("payments", "due"),
    [
        ([], 0),
        ([paid(4, 10, code=10)], 1),
        ([paid(4, 10, code=10), paid(5, 11, code=10)], 2),
        ([paid(5, 11, code=10)], 0),
        ([paid(4, 10)], 0),
        ([paid(4, 99, code=10)], 0),
    ],
)
def test_the_attempt_that_is_due_follows_on_those_that_failed(payments, due: int) -> None:
    assert failed_attempts([10, 11, 12], payments) == due


@pytest.mark.parametrize("members", [1, 2, 5, 12])
def test_turns_are_a_permutation_and_the_same_for_all(members: int) -> None:
    names = [f"0x{number:040x}" for number in range(members)]
    for subject in ("one", "two", "three"):
        places = [turn(name, names, subject) for name in names]
        assert sorted(places) == list(range(members))
        shuffled = random.Random(1).sample(names, members)
        assert [turn(name, [*shuffled, *shuffled], subject) for name in names] == places


def test_the_first_differs_from_subject_to_subject() -> None:
    names = [f"0x{number:040x}" for number in range(12)]
    assert len({min(names, key=lambda name: turn(name, names, str(subject))) for subject in range(50)}) > 6


def test_who_is_no_member_has_a_place_too() -> None:
    assert 0 <= turn("stranger", ["a", "b"], "one") <= 2
    assert turn("stranger", [], "one") == 0


def test_when_every_attempt_failed_the_next_one_is_due() -> None:
    failed = [paid(4, 10, code=10), paid(5, 11, code=10)]
    assert failed_attempts([10, 11], failed) == 2
    assert failed_attempts([10, 11], failed[1:]) == 0
