"""A final event that is shown otherwise is told in words: which, and in what it differs. The hold that stops signing says it."""

from dataclasses import fields, replace

import pytest

from reactor.documents.events import Event
from reactor.foreign import register_secrets
from reactor.state.ledger import Ledger
from reactor.state.problems import FinalityViolated, differences, named
from reactor.state.rows import EventKind
from tests.unit.journal_helpers import BRIDGE
from tests.unit.test_state_ledger import block, burn, deposit, minted, returned

pytestmark = pytest.mark.unit

EVENTS = [deposit(1, 11), burn(1, 110), minted(8, 111), returned(1, 12)]
OTHER = {"block": block(99, "b"), "is_send": False}
MOST = 500
"""Characters that a hold keeps."""


def changed(value: object) -> object:
    return value + 1 if isinstance(value, int) else f"other {value}"


CASES = [(event, one.name) for event in EVENTS for one in fields(event)]


@pytest.mark.parametrize(("event", "name"), CASES, ids=[f"{type(event).__name__}.{name}" for event, name in CASES])
def test_every_field_that_differs_is_named_with_both_values(event: Event, name: str) -> None:
    before = getattr(event, name)
    after = OTHER.get(name, changed(before))
    found = differences(event, replace(event, **{name: after}))
    assert found.startswith(f"{name} ")
    assert found.count(" instead of ") == 1
    assert differences(event, event) == ""


def test_the_other_one_is_told_within_what_a_hold_keeps() -> None:
    """What is released by an operator must not stand for whatever is shown next."""
    long = replace(deposit(1, 11), tx_hash="d1" * 32, memo="\ud800\x00" + "m" * 300, memo_address="0x" + "ab" * 20)
    said = FinalityViolated(long, replace(long, amount=7, memo="n" * 300)).what
    how = "is now shown otherwise: amount 7 instead of 20000"
    assert said.startswith(f"the final deposit {long.tx_hash} in block 11 (a11) {how}")
    assert len(said) <= MOST
    assert "Deposit(" not in said
    assert said.isprintable()
    gone = FinalityViolated(long, None)
    assert gone.what == f"the final {named(long)} is no longer shown"
    assert "compare the node with others" in gone.remedy


def test_a_memo_is_cleaned_as_other_foreign_text() -> None:
    register_secrets("a-secret-of-ours-0123456789")
    before = deposit(1, 11)
    assert "a-secret-of-ours" not in differences(before, replace(before, memo="a-secret-of-ours-0123456789"))
    assert differences(before, replace(before, amount=None)) == "amount nothing instead of 20000"
    assert differences(before, burn(1, 110)) == "burn 0xb1 in block 110 (a110) instead"


def test_a_window_that_contradicts_itself_says_where(tmp_path) -> None:
    ledger = Ledger.open(tmp_path, BRIDGE)
    words = r"one window shows the deposit d1 in block 11 \(a11\) twice, once with amount 7 instead of 20000"
    with pytest.raises(ValueError, match=words):
        ledger.record_window(EventKind.DEPOSIT, 10, 20, [deposit(1, 11), replace(deposit(1, 11), amount=7)], 20)
    ledger.close()
