"""Both flows as tables: for each status and situation one decision, its twin beside it."""

from dataclasses import replace
from itertools import product
from typing import Any

import pytest

from reactor.documents.build import burn_chain_fields, burn_document, deposit_chain_fields, deposit_document
from reactor.documents.classification import NotPayable, ToMint, ToPay
from reactor.documents.models import AnyRequest, read_request
from reactor.documents.reasons import HoldReason, ObjectionCode, WaitReason
from reactor.documents.statuses import Collection, Status, may_move
from reactor.flows import mint, payout
from reactor.flows.common import MOST_REPAIRS
from reactor.flows.decisions import Complete, Decision, Hold, Move, Object, Repair, Rest, Sign, Submit, Wait
from reactor.flows.facts import Blocked, MintFacts, MintTerms, PayoutFacts, Quorum, SignatureView, Source
from tests.unit.handler_world import FEE, NOW, POCKET_USER, USER, burn, deposit, minted, returned
from tests.unit.test_documents_classification import BRIDGE

pytestmark = pytest.mark.unit

ME, OTHERS = "0xme", ("0xa", "0xb", "0xc", "0xd")
KEYS = ("k1", "k2", "k3")
DEPOSIT, BURN = deposit(5), burn(5)
COPIES = {"nonce": "1", "data": {"recipient": USER, "amount": "1000000", "nonce": "1"}, "typed_data": "{}"}
QUORUM = Quorum(3, frozenset({ME, *OTHERS}))
UNPAYABLE = NotPayable(ObjectionCode.NOT_ABOVE_FEE)
TO_PAY = ToPay(POCKET_USER, 1_000_000 - FEE, FEE, BURN.tx_hash)
TO_MINT = ToMint(USER, 1_000_000)


def entries(*signers: str) -> tuple[tuple[str, str], ...]:
    return tuple((signer, f"by {signer}") for signer in signers)


def mint_doc(status: Any, **changes: Any) -> AnyRequest:
    return read_request(Collection.MINT, {**deposit_document(BRIDGE, DEPOSIT, NOW)[1], **COPIES, "status": status, **changes})


def terms(**changes: Any) -> MintTerms:
    """Contracts that take everything, but for `changes`."""
    return replace(MintTerms(10**9, 10**9, 1, paused=False, fee=False, minter=True, now=1_800_000_000), **changes)


def mint_facts(**changes: Any) -> MintFacts:
    fields = deposit_chain_fields(BRIDGE, DEPOSIT)
    source = Source(TO_MINT, final=True, fields=fields, chain="pocket", final_at=7)
    known = {"bridge": BRIDGE, "me": ME, "own_key": ME, "source": source, "quorum": QUORUM, "copies": COPIES, "terms": terms()}
    return MintFacts(**{**known, **changes})


def burn_doc(status: Any, **changes: Any) -> AnyRequest:
    return read_request(Collection.BURN, {**burn_document(BRIDGE, BURN, NOW), "status": status, **changes})


def pay_facts(**changes: Any) -> PayoutFacts:
    source = Source(TO_PAY, final=True, fields=burn_chain_fields(BRIDGE, BURN), chain="ethereum", final_at=7)
    known = {"bridge": BRIDGE, "me": ME, "own_key": "k1", "source": source, "quorum": QUORUM, "keys": KEYS}
    return PayoutFacts(**{**known, **changes})


def source(facts: Any, **changes: Any) -> Any:
    return replace(facts.source, **changes)


def says(decision: Decision) -> str:
    """The decision in a word: what the tables below compare."""
    match decision:
        case Wait():
            return decision.reason.value
        case Rest():
            return "done" if decision.finished else "rest"
        case Move():
            return decision.to.value
        case Hold():
            return f"hold {decision.reason.value}"
        case Repair():
            return "repair"
        case Submit():
            return "submit again" if decision.again else "submit"
        case Object():
            return f"object {decision.code.value}"
        case Complete():
            return "complete"
        case Sign():
            return f"sign {decision.attempt}"


FULL = SignatureView(entries(ME, "0xa", "0xb"))
ENOUGH = SignatureView(entries("0xa", "0xb", "0xc"))
HELD = Blocked(WaitReason.HELD)
SEEN = {"minted": minted(9, 1), "minted_final_at": 11}
STATUSES = ("pending", "confirmed", "signed", "submitted", "success", "failed")

# situation: facts, then the decision in each status: pending, confirmed, signed, submitted, success, failed
MINT_TABLE: dict[str, tuple[dict[str, Any], str]] = {
    "nobody signed": ({}, "confirmed | sign 0 | confirmed | claim_unproven | claim_unproven | pending"),
    "I alone": (
        {"signatures": SignatureView(entries(ME))},
        "confirmed | signatures | confirmed | claim_unproven | claim_unproven | pending",
    ),
    "others, enough": ({"signatures": ENOUGH}, "confirmed | sign 0 | sign 0 | claim_unproven | claim_unproven | pending"),
    "enough with me": ({"signatures": FULL}, "confirmed | complete | rest | claim_unproven | claim_unproven | pending"),
    "held, enough without me": (
        {"signatures": ENOUGH, "blocked": HELD},
        "confirmed | complete | rest | claim_unproven | claim_unproven | pending",
    ),
    "held, too few": (
        {"signatures": SignatureView(entries("0xa")), "blocked": HELD},
        "confirmed | held | confirmed | claim_unproven | claim_unproven | pending",
    ),
    "enough, one garbage": (
        {"signatures": replace(FULL, invalid=(("0xd", "garbage"),))},
        "confirmed | complete | confirmed | claim_unproven | claim_unproven | pending",
    ),
    "enough, out of order": (
        {"signatures": replace(FULL, ordered=False)},
        "confirmed | complete | confirmed | claim_unproven | claim_unproven | pending",
    ),
    "one signer three times": (
        {"signatures": SignatureView((*entries(ME), (ME, "again"), (ME, "and again")))},
        "confirmed | signatures | confirmed | claim_unproven | claim_unproven | pending",
    ),
    "nonce unknown": (
        {"copies": None},
        "confirmed | nonce_unknown | nonce_unknown | claim_unproven | claim_unproven | pending",
    ),
    "over the limit": (
        {"terms": terms(maximum=999_999)},
        "confirmed | over_limit | over_limit | claim_unproven | claim_unproven | pending",
    ),
    "at the limit": (
        {"terms": terms(maximum=1_000_000, limit=1_000_000)},
        "confirmed | sign 0 | confirmed | claim_unproven | claim_unproven | pending",
    ),
    "enough with me, the limit used up": (
        {"signatures": FULL, "terms": terms(limit=999_999)},
        "confirmed | complete | cooling_down | claim_unproven | claim_unproven | pending",
    ),
    "enough with me, the token paused": (
        {"signatures": FULL, "terms": terms(paused=True)},
        "confirmed | complete | rest | claim_unproven | claim_unproven | pending",
    ),
    "claim refuted": ({"claim_refuted": True}, "confirmed | sign 0 | confirmed | signed | confirmed | pending"),
    "minted": (
        {**SEEN, "signatures": FULL},
        "minted_not_final | minted_not_final | submitted | minted_not_final | minted_not_final | minted_not_final",
    ),
    "minted, refuted": (
        {**SEEN, "claim_refuted": True},
        " | ".join(["minted_not_final"] * 2 + ["submitted"] + ["minted_not_final"] * 3),
    ),
    "minted and final": ({**SEEN, "minted_final": True}, "success | success | success | success | repair | success"),
    "failed by quorum": (
        {"objectors": frozenset(OTHERS)},
        "confirmed | sign 0 | confirmed | claim_unproven | claim_unproven | repair",
    ),
    "failed by quorum, again and again": (
        {"objectors": frozenset(OTHERS), "repairs": MOST_REPAIRS},
        "confirmed | sign 0 | confirmed | claim_unproven | claim_unproven | disputed",
    ),
    "failed by two": (
        {"objectors": frozenset(OTHERS[:2])},
        "confirmed | sign 0 | confirmed | claim_unproven | claim_unproven | pending",
    ),
}

ALL = SignatureView(entries(*KEYS))
STORED = {"stored_valid": True, "stored_hash": "h"}
PAID = {"paid": returned(9, BURN.tx_hash), "paid_final_at": 11}
PAYOUT_TABLE: dict[str, tuple[dict[str, Any], str]] = {
    "nobody signed": ({}, "confirmed | sign 0 | confirmed | confirmed | claim_unproven | pending"),
    "I alone": (
        {"signatures": SignatureView(entries("k1"))},
        "confirmed | signatures | confirmed | confirmed | claim_unproven | pending",
    ),
    "all but me": (
        {"signatures": SignatureView(entries("k2", "k3"))},
        "confirmed | sign 0 | confirmed | confirmed | claim_unproven | pending",
    ),
    "all": ({"signatures": ALL}, "confirmed | complete | confirmed | confirmed | claim_unproven | pending"),
    "all but one, mine twice": (
        {"signatures": SignatureView((*entries("k1", "k2"), ("k1", "again")))},
        "confirmed | signatures | confirmed | confirmed | claim_unproven | pending",
    ),
    "complete": ({"signatures": ALL, **STORED}, "confirmed | complete | submit | return_pending | claim_unproven | pending"),
    "complete, as journaled": (
        {"signatures": ALL, **STORED, "complete_hash": "h"},
        "confirmed | complete | submit | return_pending | claim_unproven | pending",
    ),
    "complete, another journaled": (
        {"signatures": ALL, **STORED, "complete_hash": "other"},
        "confirmed | complete | hold return_failed | hold return_failed | claim_unproven | pending",
    ),
    "lost": (
        {"signatures": ALL, **STORED, "lost": True},
        "confirmed | complete | submit | submit again | claim_unproven | pending",
    ),
    "lost, vault short": (
        {"signatures": ALL, **STORED, "lost": True, "shortfall": 1},
        "confirmed | complete | vault_short | vault_short | claim_unproven | pending",
    ),
    "lost, held": (
        {"signatures": ALL, **STORED, "lost": True, "blocked": HELD},
        "confirmed | complete | held | held | claim_unproven | pending",
    ),
    "vault short": ({"shortfall": 1}, "confirmed | vault_short | confirmed | confirmed | claim_unproven | pending"),
    "held": ({"blocked": HELD}, "confirmed | held | confirmed | confirmed | claim_unproven | pending"),
    "claim refuted": ({"claim_refuted": True}, "confirmed | sign 0 | confirmed | confirmed | confirmed | pending"),
    "claim refuted, complete": (
        {"claim_refuted": True, "signatures": ALL, **STORED},
        "confirmed | complete | submit | return_pending | submitted | pending",
    ),
    "paid": (
        {**PAID, "signatures": ALL, **STORED},
        "return_not_final | return_not_final | submitted | return_not_final | return_not_final | return_not_final",
    ),
    "paid and final": ({**PAID, "paid_final": True}, "success | success | success | success | repair | success"),
    "paid and final, held": (
        {**PAID, "paid_final": True, "blocked": HELD, "shortfall": 1},
        "success | success | success | success | repair | success",
    ),
    "failed in a block": ({"attempt": 1}, " | ".join(["hold return_failed"] * 6)),
    "failed in a block, released": (
        {"attempt": 1, "released": 1, "signatures": ALL, **STORED},
        "repair | repair | confirmed | confirmed | confirmed | repair",
    ),
    "failed by quorum": (
        {"objectors": frozenset(OTHERS)},
        "confirmed | sign 0 | confirmed | confirmed | claim_unproven | repair",
    ),
}


def rows(table: dict[str, tuple[dict[str, Any], str]]) -> list[Any]:
    return [
        pytest.param(status, facts, said, id=f"{situation}, {status}")
        for situation, (facts, decisions) in table.items()
        for status, said in zip(STATUSES, decisions.split(" | "), strict=True)
    ]


@pytest.mark.parametrize(("status", "facts", "said"), rows(MINT_TABLE))
def test_mint(status: str, facts: dict[str, Any], said: str) -> None:
    assert says(mint.decide(mint_doc(status), mint_facts(**facts))) == said


@pytest.mark.parametrize(("status", "facts", "said"), rows(PAYOUT_TABLE))
def test_payout(status: str, facts: dict[str, Any], said: str) -> None:
    assert says(payout.decide(burn_doc(status), pay_facts(**facts))) == said


@pytest.mark.parametrize("status", [*STATUSES, "done", 5])
@pytest.mark.parametrize("flow", ["mint", "payout"])
class TestBeforeAnyStep:
    """What both flows ask first, whatever the status claims."""

    def decide(self, flow: str, status: Any, **changes: Any) -> Decision:
        if flow == "mint":
            return mint.decide(mint_doc(status, **changes.pop("document", {})), replace(mint_facts(), **changes))
        return payout.decide(burn_doc(status, **changes.pop("document", {})), replace(pay_facts(), **changes))

    def test_an_event_that_is_not_final_waits(self, flow: str, status: Any) -> None:
        facts = mint_facts() if flow == "mint" else pay_facts()
        assert says(self.decide(flow, status, source=source(facts, final=False))) == "not_final"

    def test_an_event_that_is_not_seen_waits_and_is_objected_to_once_refuted(self, flow: str, status: Any) -> None:
        assert says(self.decide(flow, status, source=Source())) == "not_seen"
        said = says(self.decide(flow, status, source=Source(refuted=True)))
        assert said == ("object not_on_chain" if status in STATUSES else "repair")

    def test_a_wrong_chain_field_is_repaired_three_times(self, flow: str, status: Any) -> None:
        document = {"amount": "7"}
        assert says(self.decide(flow, status, document=document, repairs=MOST_REPAIRS - 1)) == "repair"
        assert says(self.decide(flow, status, document=document, repairs=MOST_REPAIRS)) == "disputed"

    def test_lists_that_do_not_run_parallel_begin_anew(self, flow: str, status: Any) -> None:
        decision = self.decide(flow, status, document={"signers": ["a", "b"], "signatures": ["1"]})
        assert isinstance(decision, Repair)
        assert decision.fields == {"signers": [], "signatures": []}
        assert decision.status == (None if status in STATUSES else Status.PENDING)

    def test_what_cannot_be_paid_is_objected_to_never_signed(self, flow: str, status: Any) -> None:
        facts = mint_facts() if flow == "mint" else pay_facts()
        changes: dict[str, Any] = {"source": source(facts, outcome=UNPAYABLE)}
        ours = status in STATUSES
        assert says(self.decide(flow, status, **changes)) == ("object not_above_fee" if ours else "repair")
        held = says(self.decide(flow, status, **changes, blocked=HELD))
        assert held == ("held" if ours else "repair")
        assert says(self.decide(flow, status, **changes, signed_before=True)) == "disputed"
        assert says(self.decide(flow, status, **changes, repairs=MOST_REPAIRS)) == (
            "object not_above_fee" if ours else "disputed"
        )

    def test_a_quorum_of_objections_fails_it_and_one_less_does_not(self, flow: str, status: Any) -> None:
        facts = mint_facts() if flow == "mint" else pay_facts()
        changes: dict[str, Any] = {"source": source(facts, outcome=UNPAYABLE), "own_objection": True}
        few, quorum = frozenset({ME, "0xa"}), frozenset({ME, "0xa", "0xb"})
        back = {"pending": "failed", "confirmed": "failed", "failed": "done"}
        ours = status in STATUSES
        assert says(self.decide(flow, status, **changes, objectors=few)) == ("objections" if ours else "repair")
        said = says(self.decide(flow, status, **changes, objectors=quorum))
        assert said == (back.get(status, "confirmed") if ours else "repair")

    def test_objections_that_cannot_be_read_are_cleared_where_they_would_keep_it_from_failing(
        self, flow: str, status: Any
    ) -> None:
        facts = mint_facts() if flow == "mint" else pay_facts()
        decision = self.decide(flow, status, source=source(facts, outcome=UNPAYABLE), document={"objections": 5})
        assert isinstance(decision, Repair)
        assert decision.fields == {"objections": []}


def test_a_deposit_of_the_other_outcome_is_objected_to_in_the_wrong_collection() -> None:
    refund = source(mint_facts(), outcome=TO_PAY)
    assert says(mint.decide(mint_doc("confirmed"), mint_facts(source=refund))) == "object other_outcome"
    to_mint = source(pay_facts(), outcome=TO_MINT)
    assert says(payout.decide(burn_doc("confirmed"), pay_facts(source=to_mint))) == "object other_outcome"


def test_no_objection_by_who_is_no_member() -> None:
    facts = mint_facts(source=source(mint_facts(), outcome=UNPAYABLE), me="0xstranger")
    assert says(mint.decide(mint_doc("pending"), facts)) == "objections"


@pytest.mark.parametrize(
    ("stands", "attempt", "known", "said"),
    [
        ("0", 0, {}, "sign 0"),
        ("1", 0, {}, "repair"),
        ("", 0, {}, "repair"),
        ("00", 0, {}, "repair"),
        ("1", 0, {"repairs": MOST_REPAIRS}, "claim_unproven"),
        ("1", 0, {"repairs": MOST_REPAIRS, "claim_refuted": True}, "repair"),
        ("0", 1, {"repairs": MOST_REPAIRS, "released": 1}, "repair"),
        ("1", 1, {"released": 1}, "sign 1"),
        ("1", 2, {"released": 1}, "hold return_failed"),
    ],
)
def test_the_attempt_is_the_chains(stands: str, attempt: int, known: dict[str, Any], said: str) -> None:
    decision = payout.decide(burn_doc("confirmed", attempt=stands), pay_facts(attempt=attempt, **known))
    assert says(decision) == said


def test_a_new_attempt_clears_what_belongs_to_the_old_one() -> None:
    facts = pay_facts(attempt=1, released=1)
    for status in ("confirmed", "submitted"):
        decision = payout.decide(burn_doc(status), facts)
        fields = decision.sets if isinstance(decision, Move) else decision.fields
        assert fields == {"attempt": "1", "return_tx": "", "return_tx_hash": "", "signers": [], "signatures": []}


def test_copies_of_the_nonce_are_corrected_and_travel_with_success() -> None:
    wrong = mint_doc("confirmed", nonce="7")
    decision = mint.decide(wrong, mint_facts(signatures=FULL))
    assert isinstance(decision, Repair)
    assert decision.fields == {"nonce": "1"}
    done = mint.decide(wrong, mint_facts(**SEEN, minted_final=True))
    assert isinstance(done, Move)
    assert done.sets == {**COPIES, "mint_tx_hash": SEEN["minted"].tx_hash}
    changed_since = mint_doc("success", nonce="7", mint_tx_hash=SEEN["minted"].tx_hash)
    decision = mint.decide(changed_since, mint_facts(**SEEN, minted_final=True))
    assert isinstance(decision, Repair)
    assert decision.fields == {"nonce": "1"}


def test_success_rests_once_its_trace_is_right() -> None:
    assert (
        says(mint.decide(mint_doc("success", mint_tx_hash=SEEN["minted"].tx_hash), mint_facts(**SEEN, minted_final=True)))
        == "done"
    )
    trace = PAID["paid"].tx_hash
    assert says(payout.decide(burn_doc("success", return_tx_hash=trace), pay_facts(**PAID, paid_final=True))) == "done"


def test_an_oversized_document_is_replaced() -> None:
    assert says(mint.decide(mint_doc("signed"), mint_facts(oversized=True))) == "repair"


def test_each_signer_counts_once_with_his_first_entry() -> None:
    view = SignatureView((("a", "1"), ("b", "2"), ("a", "3"), ("a", "1")), (("c", "x"),))
    assert view == SignatureView((("a", "1"), ("b", "2")), (("c", "x"), ("a", "3")), ordered=False)
    assert SignatureView((("a", "1"), ("b", "2"))).ordered


def test_every_move_that_is_ever_decided_is_in_the_table() -> None:
    """All combinations of the facts that a flow looks at, in each status."""
    flags = (False, True)
    views = (SignatureView(), FULL, ENOUGH, replace(FULL, ordered=False))
    quorums = (frozenset[str](), frozenset({ME, *OTHERS}))
    decided: set[tuple[str, str]] = set()
    outcomes = (None, UNPAYABLE, TO_MINT)
    for status, outcome, final, view, seen, done, refuted, objectors in product(
        STATUSES, outcomes, flags, views, flags, flags, flags, quorums
    ):
        known: dict[str, Any] = {"signatures": view if outcome is TO_MINT else SignatureView(), "objectors": objectors}
        known |= {"own_objection": ME in objectors, "claim_refuted": refuted, "minted_final": done}
        where = source(mint_facts(), outcome=outcome, final=final, refuted=refuted)
        facts = mint_facts(source=where, minted=minted(9, 1) if seen else None, **known)
        decision = mint.decide(mint_doc(status), facts)
        decided |= {(status, decision.to.value)} if isinstance(decision, Move) else set()
    views = (SignatureView(), ALL)
    for status, outcome, final, view, seen, done, refuted, objectors, attempt, stored in product(
        STATUSES, (None, UNPAYABLE, TO_PAY), flags, views, flags, flags, flags, quorums, (0, 1), flags
    ):
        known = {"signatures": view if outcome is TO_PAY else SignatureView(), "objectors": objectors, "attempt": attempt}
        known |= {"own_objection": ME in objectors, "claim_refuted": refuted, "paid_final": done, "released": 1}
        where = source(pay_facts(), outcome=outcome, final=final, refuted=refuted)
        paid = returned(9, BURN.tx_hash) if seen else None
        facts_ = pay_facts(source=where, paid=paid, stored_valid=stored, **known)
        decision = payout.decide(burn_doc(status), facts_)
        decided |= {(status, decision.to.value)} if isinstance(decision, Move) else set()
    assert all(may_move(start, Status(end)) for start, end in decided)
    assert {("pending", "confirmed"), ("confirmed", "failed"), ("signed", "submitted"), ("submitted", "success")} <= decided
    assert {("success", "signed"), ("success", "pending"), ("confirmed", "pending"), ("failed", "confirmed")}.isdisjoint(decided)


def test_reasons_that_stop_the_operator_are_named() -> None:
    decision = payout.decide(burn_doc("confirmed"), pay_facts(attempt=1))
    assert isinstance(decision, Hold)
    assert decision.reason is HoldReason.RETURN_FAILED
