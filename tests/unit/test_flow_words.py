"""What a decision says and when it is looked at again: shown to users and operators, and the bound of a lost wake-up.

The tables of `test_flow_tables.py` compare decisions by their kind; here each is compared whole.
"""

from dataclasses import replace
from typing import Any

import pytest

from reactor.documents.models import AnyRequest
from reactor.documents.reasons import HoldReason, ObjectionCode, WaitReason
from reactor.documents.statuses import Status
from reactor.flows import mint, payout
from reactor.flows.common import MOST_REPAIRS, default, differs
from reactor.flows.decisions import Complete, Decision, Hold, Move, Object, Repair, Rest, Sign, Submit, Wait, Wake
from reactor.flows.facts import Blocked, SignatureView
from reactor.flows.refusals import refusal
from reactor.flows.turns import turn
from tests.unit.handler_world import minted, returned
from tests.unit.test_flow_tables import (
    COPIES,
    ENOUGH,
    FULL,
    ME,
    TO_PAY,
    UNPAYABLE,
    burn_doc,
    entries,
    mint_doc,
    mint_facts,
    pay_facts,
    source,
    terms,
)

pytestmark = pytest.mark.unit

UNSEEN = Wake(after=30.0)
AGAIN = Wake(after=5.0)
HELD = Blocked(WaitReason.HELD, {"scope": "all"})
CLEARED = {"return_tx": "", "return_tx_hash": ""}


def mint_says(status: Any, changes: dict[str, Any] | None = None, **facts: Any) -> Decision:
    return mint.decide(mint_doc(status, **(changes or {})), mint_facts(**facts))


def pay_says(status: Any, changes: dict[str, Any] | None = None, **facts: Any) -> Decision:
    return payout.decide(burn_doc(status, **(changes or {})), pay_facts(**facts))


def no_event(facts: Any, *, refuted: bool) -> Any:
    return replace(facts.source, outcome=None, refuted=refuted, fields=None)


# --- no source --------------------------------------------------------------------------------------------------------


def test_a_document_without_a_source_says_where_it_should_be() -> None:
    unseen = no_event(mint_facts(), refuted=False)
    assert mint_says("pending", source=unseen) == Wait(WaitReason.NOT_SEEN, {"height": "5"}, UNSEEN)
    assert mint_says("pending", {"height": ""}, source=unseen) == Wait(WaitReason.NOT_SEEN, {"height": ""}, UNSEEN)
    unseen = no_event(pay_facts(), refuted=False)
    assert pay_says("pending", source=unseen) == Wait(WaitReason.NOT_SEEN, {"height": "5"}, UNSEEN)
    assert pay_says("pending", {"block_number": "7"}, source=unseen) == Wait(WaitReason.NOT_SEEN, {"height": "7"}, UNSEEN)


def test_what_is_refuted_counts_its_objections() -> None:
    gone = no_event(mint_facts(), refuted=True)
    code = ObjectionCode.NOT_ON_CHAIN
    assert mint_says("pending", source=gone) == Object(code)
    assert mint_says("pending", source=gone, blocked=HELD) == Wait(WaitReason.HELD, {"scope": "all"}, AGAIN)
    mine = {"source": gone, "own_objection": True}
    have = {"code": "not_on_chain", "have": "1", "need": "3"}
    assert mint_says("pending", **mine, objectors=frozenset({ME})) == Wait(WaitReason.OBJECTIONS, have, Wake(rings=2))
    all_three = frozenset({ME, "0xa", "0xb"})
    sentence = f"not_on_chain: {code.sentence}"
    assert mint_says("pending", **mine, objectors=all_three) == Move(Status.FAILED, sentence)
    claimed = Move(Status.CONFIRMED, "signed was claimed of what not_on_chain refutes")
    assert mint_says("signed", **mine, objectors=all_three) == claimed
    assert mint_says("failed", **mine, objectors=all_three) == Rest(finished=True)
    disputed = Wait(WaitReason.DISPUTED, {"code": "not_on_chain"})
    assert mint_says("pending", **mine, signed_before=True) == disputed
    assert mint_says("pending", **mine, signatures=SignatureView(entries("0xa"))) == disputed
    # Who is no member neither objects nor keeps the others from counting.
    assert mint_says("pending", source=gone, me="0xstranger") == Wait(
        WaitReason.OBJECTIONS, {"code": "not_on_chain", "have": "0", "need": "3"}, Wake(rings=3)
    )


def test_what_cannot_carry_an_objection_is_made_legible() -> None:
    gone = no_event(mint_facts(), refuted=True)
    assert mint_says("done", source=gone) == Repair({}, "repaired: status", Status.PENDING)
    lists = {"objections": 5}
    assert mint_says("pending", lists, source=gone) == Repair({"objections": []}, "repaired: objections", None)
    assert mint_says("done", lists, source=gone) == Repair({"objections": []}, "repaired: objections", Status.PENDING)
    tired = {"source": gone, "repairs": MOST_REPAIRS}
    assert mint_says("done", **tired) == Wait(WaitReason.DISPUTED, {"fields": "status"}, UNSEEN)
    assert mint_says("pending", lists, **tired) == Wait(WaitReason.DISPUTED, {"fields": "objections"}, UNSEEN)
    assert mint_says("done", source=gone, repairs=MOST_REPAIRS - 1) == Repair({}, "repaired: status", Status.PENDING)


# --- finality and repair ----------------------------------------------------------------------------------------------


def test_waiting_for_finality_wakes_on_the_next_head_of_that_chain() -> None:
    early = source(mint_facts(), final=False)
    assert mint_says("pending", source=early, pocket_head=6, ethereum_head=50) == Wait(
        WaitReason.NOT_FINAL, {"chain": "pocket", "final_at": "7"}, Wake(heads=(("pocket", 7),))
    )
    early = source(pay_facts(), final=False)
    assert pay_says("pending", source=early, pocket_head=50, ethereum_head=6) == Wait(
        WaitReason.NOT_FINAL, {"chain": "ethereum", "final_at": "7"}, Wake(heads=(("ethereum", 7),))
    )


def test_repairs_name_their_fields_in_order() -> None:
    wrong = {"amount": "7", "height": "9"}
    right = {"amount": "1000000", "height": "5"}
    assert mint_says("signed", wrong) == Repair(right, "repaired from the chain: amount, height", None)
    assert mint_says("done") == Repair({}, "repaired from the chain: status", Status.PENDING)
    tired = {"repairs": MOST_REPAIRS}
    assert mint_says("signed", wrong, **tired) == Wait(WaitReason.DISPUTED, {"fields": "amount,height"}, UNSEEN)
    assert mint_says("done", **tired) == Wait(WaitReason.DISPUTED, {"fields": "status"}, UNSEEN)
    assert mint_says("pending", oversized=True) == Repair({}, "repaired from the chain: status", None)


@pytest.mark.parametrize(
    ("changes", "fields"),
    [
        ({"signers": 5}, {"signers": [], "signatures": []}),
        ({"signatures": 5}, {"signers": [], "signatures": []}),
        ({"signers": ["0xa"]}, {"signers": [], "signatures": []}),
        ({"history": 5}, {"history": []}),
        ({"waiting": 5}, {"waiting": None}),
        ({"nonce": -1}, {"nonce": ""}),
        ({"memo": 5}, {"memo": {"address": "0x" + "99" * 20, "chain_id": "1"}}),
    ],
)
def test_what_is_malformed_gets_what_the_chain_says_or_its_default(changes: dict[str, Any], fields: dict[str, Any]) -> None:
    decision = mint_says("pending", changes)
    assert isinstance(decision, Repair)
    assert decision.fields == fields


def test_a_broken_list_of_signatures_and_a_wrong_field_are_repaired_together() -> None:
    decision = mint_says("signed", {"amount": "7", "signatures": 5})
    fields = {"amount": "1000000", "signers": [], "signatures": []}
    assert decision == Repair(fields, "repaired from the chain: amount, signatures, signers", None)
    assert mint_says("signed", {"amount": "7"}) == Repair({"amount": "1000000"}, "repaired from the chain: amount", None)


def test_defaults_by_name() -> None:
    document: AnyRequest = mint_doc("pending")
    assert default(document, "id") is None
    assert default(document, "signers") == []
    assert default(document, "amount") == ""
    assert default(document, "no_such_field") is None
    assert differs(document, "no_such_field", "x")
    assert not differs(document, "amount", "1000000")


# --- claims and ends --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("status", "back"), [("submitted", Status.SIGNED), ("success", Status.CONFIRMED)])
def test_a_claim_without_evidence(status: str, back: Status) -> None:
    assert mint_says(status) == Wait(WaitReason.CLAIM_UNPROVEN, {"status": status}, AGAIN)
    assert mint_says(status, claim_refuted=True) == Move(back, f"{status} was claimed without evidence on chain")


def test_a_mint_that_the_user_made() -> None:
    seen = minted(9, 1)
    trace = {"mint_tx_hash": seen.tx_hash}
    until = Wait(WaitReason.MINTED_NOT_FINAL, {"final_at": "11"}, Wake(heads=(("ethereum", 11),)))
    early = {"minted": seen, "minted_final_at": 11}
    assert mint_says("signed", **early) == Move(Status.SUBMITTED, "the user minted", trace)
    assert mint_says("submitted", **early) == until
    assert mint_says("confirmed", **early) == until
    done = {**early, "minted_final": True}
    assert mint_says("confirmed", **done) == Move(Status.SUCCESS, "the Minted event is final", {**COPIES, **trace})
    assert mint_says("success", **done) == Repair(trace, "repaired from the chain: mint_tx_hash")
    assert mint_says("success", {"nonce": "9"}, **done) == Repair(
        {"nonce": COPIES["nonce"], **trace}, "repaired from the chain: mint_tx_hash, nonce"
    )
    assert mint_says("success", trace, **done) == Rest(finished=True)


def test_a_return_that_is_in_a_block() -> None:
    seen = returned(9, "memo")
    trace = {"return_tx_hash": seen.tx_hash}
    until = Wait(WaitReason.RETURN_NOT_FINAL, {"final_at": "11"}, Wake(heads=(("pocket", 11),)))
    early = {"paid": seen, "paid_final_at": 11}
    assert pay_says("signed", **early) == Move(Status.SUBMITTED, "the return transaction is in a block", trace)
    assert pay_says("submitted", **early) == until
    done = {**early, "paid_final": True}
    assert pay_says("submitted", **done) == Move(Status.SUCCESS, "the return transaction is final", trace)
    assert pay_says("success", trace, **done) == Rest(finished=True)


def test_failed_without_a_quorum_and_against_the_chain() -> None:
    nobody = Move(Status.PENDING, "failed was claimed without a quorum of objections", {"objections": []})
    assert mint_says("failed") == nobody
    quorum = frozenset({"0xa", "0xb", "0xc"})
    assert mint_says("failed", objectors=frozenset({"0xa", "0xb"})) == nobody
    reopened = Repair({"objections": []}, "the chain holds what was objected to", Status.PENDING)
    assert mint_says("failed", objectors=quorum) == reopened
    assert mint_says("failed", objectors=quorum, repairs=MOST_REPAIRS - 1) == reopened
    tired = Wait(WaitReason.DISPUTED, {"status": "failed"}, UNSEEN)
    assert mint_says("failed", objectors=quorum, repairs=MOST_REPAIRS) == tired


# --- mint -------------------------------------------------------------------------------------------------------------


def test_the_steps_of_a_mint_in_words() -> None:
    assert mint_says("pending") == Move(Status.CONFIRMED, "the deposit is final")
    assert mint_says("confirmed") == Sign("mint")
    few = SignatureView(entries(ME, "0xa"))
    said = mint_says("confirmed", signatures=few)
    assert isinstance(said, Wait)
    assert (said.reason, said.params) == (WaitReason.SIGNATURES, {"have": "2", "need": "3"})
    assert mint_says("confirmed", signatures=FULL) == Complete("3 signatures, 3 needed")
    assert mint_says("signed", signatures=few) == Move(Status.CONFIRMED, "signed with 2 of 3 valid signatures")
    assert mint_says("signed", signatures=FULL) == Rest(finished=False, reason=WaitReason.USER)
    assert mint_says("signed", signatures=ENOUGH) == Sign("mint")
    assert mint_says("confirmed", blocked=HELD) == Wait(WaitReason.HELD, {"scope": "all"}, AGAIN)
    for status in ("confirmed", "signed"):
        wrong = mint_says(status, {"nonce": "9", "typed_data": "x"}, signatures=FULL)
        fields = {"nonce": "1", "typed_data": "{}"}
        assert wrong == Repair(fields, "computed from the chain: nonce, typed_data")


def test_a_mint_that_nobody_can_sign_yet_says_why() -> None:
    soon = Wake(after=2.0)
    assert mint_says("confirmed", copies=None) == Wait(WaitReason.NONCE_UNKNOWN, {}, soon)
    why = Blocked(WaitReason.NONCE_UNKNOWN, {"upto": "9"})
    assert mint_says("signed", copies=None, nonce_wait=why) == Wait(WaitReason.NONCE_UNKNOWN, {"upto": "9"}, soon)
    limit = {"amount": "1000000", "limit": "999999"}
    assert mint_says("confirmed", terms=terms(maximum=999_999)) == Wait(WaitReason.OVER_LIMIT, limit, Wake(after=60.0))
    assert mint_says("confirmed", terms=terms(maximum=1_000_000)) == Sign("mint")


NOON = 1_800_000_000 - 1_800_000_000 % 86_400 + 43_200
REFUSED: dict[str, tuple[dict[str, Any], Decision]] = {
    "nothing": ({}, Rest(finished=False, reason=WaitReason.USER)),
    "the limit is just enough": ({"limit": 1_000_000}, Rest(finished=False, reason=WaitReason.USER)),
    "the limit is used up": (
        {"limit": 400_000, "per_second": 1_000, "now": NOON},
        Wait(
            WaitReason.COOLING_DOWN,
            {"amount": "1000000", "per_second": "1000", "enough_at": "2027-01-15 12:10 UTC"},
            Wake(after=601.0),
        ),
    ),
    "a second later it says the same": (
        {"limit": 401_000, "per_second": 1_000, "now": NOON + 1},
        Wait(
            WaitReason.COOLING_DOWN,
            {"amount": "1000000", "per_second": "1000", "enough_at": "2027-01-15 12:10 UTC"},
            Wake(after=600.0),
        ),
    ),
    "it never refills": (
        {"limit": 0, "per_second": 0},
        Wait(
            WaitReason.COOLING_DOWN,
            {"amount": "1000000", "per_second": "0", "enough_at": "never, unless the contract's admin sets a rate"},
            Wake(after=3600.0),
        ),
    ),
    "it refills in a million years": (
        {"limit": -(10**20), "per_second": 1},
        Wait(
            WaitReason.COOLING_DOWN,
            {"amount": "1000000", "per_second": "1", "enough_at": "never, at this rate"},
            Wake(after=3600.0),
        ),
    ),
    "paused": ({"paused": True, "limit": 0}, Rest(finished=False, reason=WaitReason.MINTING_PAUSED)),
    "no minter": ({"minter": False, "paused": True}, Rest(finished=False, reason=WaitReason.NO_MINTER_ROLE)),
    "the fee is on and divides it": ({"fee": True}, Rest(finished=False, reason=WaitReason.USER)),
}


@pytest.mark.parametrize("case", REFUSED)
def test_a_signed_mint_that_the_contracts_refuse_says_which_and_when_it_passes(case: str) -> None:
    changes, decision = REFUSED[case]
    assert mint_says("signed", signatures=FULL, terms=terms(**changes)) == decision


def test_an_amount_above_what_the_contract_ever_mints_at_once() -> None:
    most = terms().maximum
    assert refusal(most + 1, terms()) == Blocked(WaitReason.OVER_LIMIT, {"amount": str(most + 1), "limit": str(most)})
    assert refusal(most, terms(limit=most)) is None


@pytest.mark.parametrize(("amount", "divides"), [(990_000, True), (990_001, False), (9_999, False), (10_000, True)])
def test_an_amount_that_the_fee_makes_indivisible(amount: int, divides: bool) -> None:
    expected = None if divides else Blocked(WaitReason.FEE_INDIVISIBLE, {"amount": str(amount), "unit": "10000"})
    assert refusal(amount, terms(fee=True)) == expected
    assert refusal(amount, terms(fee=False)) is None


# --- payout -----------------------------------------------------------------------------------------------------------


def test_the_steps_of_a_payout_in_words() -> None:
    assert pay_says("pending") == Move(Status.CONFIRMED, "the burn is final")
    refund = replace(pay_facts().source, chain="pocket")
    assert pay_says("pending", source=refund) == Move(Status.CONFIRMED, "the deposit is final")
    assert pay_says("confirmed") == Sign("payout", 0)
    assert pay_says("confirmed", blocked=HELD) == Wait(WaitReason.HELD, {"scope": "all"}, AGAIN)
    assert pay_says("confirmed", shortfall=5) == Wait(WaitReason.VAULT_SHORT, {"short": "5"}, Wake(after=10.0))
    mine = SignatureView(entries("k1"))
    said = pay_says("confirmed", signatures=mine)
    assert isinstance(said, Wait)
    assert (said.reason, said.params) == (WaitReason.SIGNATURES, {"have": "1", "need": "3"})
    assert pay_says("confirmed", signatures=SignatureView(entries("k1", "k2", "k3"))) == Complete("3 of 3 signatures")
    assert pay_says("confirmed", source=source(pay_facts(), outcome=UNPAYABLE)) == Object(ObjectionCode.NOT_ABOVE_FEE)
    assert mint_says("confirmed", source=source(mint_facts(), outcome=TO_PAY)) == Object(ObjectionCode.OTHER_OUTCOME)


def test_a_complete_return_is_submitted_again_only_where_it_is_lost() -> None:
    stored = {"stored_valid": True, "stored_hash": "aa"}
    assert pay_says("signed", **stored) == Submit()
    assert pay_says("signed", **stored, complete_hash="aa") == Submit()
    other = Hold(HoldReason.RETURN_FAILED, "a second complete transaction aa for one attempt")
    waits = Wait(WaitReason.RETURN_PENDING, {"return_tx_hash": "aa"}, Wake(heads=(("pocket", 51),)))
    for status in ("signed", "submitted"):
        assert pay_says(status, **stored, complete_hash="bb") == other
        assert pay_says(status) == Move(Status.CONFIRMED, f"{status} without a complete return transaction", CLEARED)
    assert pay_says("submitted", **stored, pocket_head=50) == waits
    assert pay_says("submitted", **stored, pocket_head=50, complete_hash="aa") == waits
    lost = {**stored, "lost": True}
    assert pay_says("submitted", **lost) == Submit(again=True)
    for status, facts in (("signed", stored), ("submitted", lost)):
        assert pay_says(status, **facts, blocked=HELD) == Wait(WaitReason.HELD, {"scope": "all"}, AGAIN)
        assert pay_says(status, **facts, shortfall=1) == Wait(WaitReason.VAULT_SHORT, {"short": "1"}, Wake(after=10.0))
    back = "success was claimed without evidence on chain"
    assert pay_says("success", **stored, claim_refuted=True) == Move(Status.SUBMITTED, back)
    assert pay_says("success", claim_refuted=True) == Move(Status.CONFIRMED, back)


def test_attempts_in_words() -> None:
    assert pay_says("confirmed", attempt=1) == Hold(HoldReason.RETURN_FAILED, "attempt 0 failed in a block")
    cleared = {"attempt": "1", **CLEARED, "signers": [], "signatures": []}
    second = {"attempt": 1, "released": 1}
    for status in ("pending", "confirmed"):
        assert pay_says(status, **second) == Repair(cleared, "attempt 1 by the chain")
    for status in ("signed", "submitted", "success"):
        assert pay_says(status, **second) == Move(Status.CONFIRMED, "attempt 1: the one before failed in a block", cleared)
    assert pay_says("confirmed", {"attempt": "1"}, **second) == Sign("payout", 1)
    ahead = {"attempt": "2"}
    waits = Wait(WaitReason.CLAIM_UNPROVEN, {"attempt": "2"}, AGAIN)
    assert pay_says("confirmed", ahead, repairs=MOST_REPAIRS) == waits
    back = {**cleared, "attempt": "0"}
    assert pay_says("confirmed", ahead, repairs=MOST_REPAIRS - 1) == Repair(back, "attempt 0 by the chain")
    assert pay_says("confirmed", ahead, repairs=MOST_REPAIRS, claim_refuted=True) == Repair(back, "attempt 0 by the chain")
    behind = pay_says("confirmed", {"attempt": "0"}, **second, repairs=MOST_REPAIRS)
    assert behind == Repair(cleared, "attempt 1 by the chain")
    unread = pay_says("confirmed", {"attempt": ""}, **second, repairs=MOST_REPAIRS)
    assert unread == Repair(cleared, "attempt 1 by the chain")


# --- turns ------------------------------------------------------------------------------------------------------------


def test_the_order_and_the_place_in_it_agree_and_stay() -> None:
    members = ["0xa", "0xb", "0xc"]
    places = {tuple(turn(one, members, f"doc{number}") for one in members) for number in range(60)}
    assert {tuple(sorted(one)) for one in places} == {(0, 1, 2)}
    assert len(places) > 1
    for one in members:
        assert turn(one, [*members[::-1], "0xa"], "doc") == turn(one, members, "doc")
    # Validators of different versions share one order: it must never change.
    assert [turn(one, members, "5f0c1d2e3a4b5c6d7e8f9a0b") for one in members] == [1, 2, 0]
