"""The payout handlers: one return per event, the same bytes for everyone, and what keeps a second one from being made."""

from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from typing import Any

import pytest
from loguru import logger

from reactor.adapters import PocketNode
from reactor.chains.pocket import ReturnTx, RpcRefused, SubmitOutcome, SubmitResult, assemble, return_entropy, tx_hash
from reactor.documents.build import burn_document, deposit_document
from reactor.documents.keys import burn_key
from reactor.documents.objections import objection_digest
from reactor.documents.reasons import WaitReason
from reactor.documents.statuses import Collection
from reactor.flows.decisions import Rest, Wait
from reactor.handlers.payout import LOST_AFTER_HEADS, PayoutHandler
from reactor.state.journal import JournalEntry
from reactor.state.rows import EventKind
from tests.unit.handler_world import FEE, NOW, POCKET_USER, World, after_deciding, burn, deposit, returned

pytestmark = pytest.mark.unit


def ready(world: World, *burns: Any, deposits: Any = (), returns: Any = (), final: int = 100) -> None:
    world.record(EventKind.BURN, *burns)
    world.record(EventKind.MINTED)
    world.record(EventKind.DEPOSIT, *deposits)
    world.record(EventKind.RETURNED, *returns, final=final)


def put(world: World, event: Any, **changes: Any) -> Any:
    document = {**burn_document(world.bridge, event, NOW), **changes}
    world.requests.documents[document["_id"]] = document
    return document["_id"]


def transaction(world: World, event: Any, attempt: int = 0) -> ReturnTx:
    """The return that everyone builds, computed here from the source event alone."""
    entropy = return_entropy("1", event.tx_hash, event.burn_index, attempt)
    return ReturnTx(world.bridge.vault, event.recipient, event.amount - FEE, FEE, event.tx_hash, entropy, "localnet")


async def entries(world: World, event: Any, count: int, attempt: int = 0) -> dict[str, Any]:
    message = transaction(world, event, attempt).sign_bytes
    keys = world.pocket_keys[:count]
    return {"signers": [key.public_key for key in keys], "signatures": [(await key.sign(message)).hex() for key in keys]}


async def complete(world: World, event: Any, attempt: int = 0) -> tuple[bytes, dict[str, Any]]:
    """The complete raw transaction and the fields of a document that carries it, the own signature journaled."""
    digest = sha256(transaction(world, event, attempt).sign_bytes).digest()
    key = burn_key(world.bridge, event.tx_hash, event.burn_index)
    world.journal.sign_batch([JournalEntry(key, "payout", attempt, digest, None, "ethereum", event.height, "payout")])
    fields = await entries(world, event, len(world.pocket_keys), attempt)
    shares = {key: bytes.fromhex(text) for key, text in zip(fields["signers"], fields["signatures"], strict=True)}
    raw = assemble(transaction(world, event, attempt), world.bridge.pocket_keys, shares)
    return raw, {**fields, "return_tx": raw.hex(), "return_tx_hash": tx_hash(raw), "attempt": str(attempt)}


def handler(world: World) -> PayoutHandler:
    return PayoutHandler(Collection.BURN, world.context)


def kinds(world: World) -> list[str]:
    return [update.kind for update in world.requests.updates]


async def handled(world: World, event: Any, **changes: Any) -> Any:
    return await handler(world).handle(put(world, event, **changes))


async def test_signs_its_own_copy_of_the_return_whatever_the_document_holds(world: World) -> None:
    event = burn(5)
    ready(world, event)
    result = await handled(world, event, status="confirmed", return_tx="00ff", return_tx_hash="11" * 32)
    assert isinstance(result, Wait)
    assert result.reason is WaitReason.SIGNATURES
    own = (await world.pocket_keys[0].sign(transaction(world, event).sign_bytes)).hex()
    assert own in str(world.requests.updates[0].pipeline)


async def test_the_last_signature_completes_and_the_set_is_journaled_first(world: World) -> None:
    event = burn(5)
    ready(world, event)
    raw, fields = await complete(world, event)
    await handled(world, event, status="confirmed", signers=fields["signers"], signatures=fields["signatures"])
    assert kinds(world) == ["complete"]
    assert world.journal.complete(burn_key(world.bridge, event.tx_hash, 0), 0) == raw


async def test_submits_what_is_journaled_and_only_after_it_is(world: World) -> None:
    event = burn(5)
    ready(world, event)
    raw, fields = await complete(world, event)
    await handled(world, event, status="signed", **fields)
    assert world.pocket.submitted == [raw]
    assert kinds(world) == ["advance"]
    assert [one.event for one in world.journal.in_flight()] == [burn_key(world.bridge, event.tx_hash, 0)]


@pytest.mark.parametrize("field", ["return_tx", "return_tx_hash", "signatures", "signers"])
async def test_a_signed_claim_without_the_complete_transaction_is_set_back(world: World, field: str) -> None:
    event = burn(5)
    ready(world, event)
    _, fields = await complete(world, event)
    fields[field] = fields[field][1:] if isinstance(fields[field], list) else fields[field][:-2] + "00"
    if field in {"signers", "signatures"}:
        fields["signers"], fields["signatures"] = fields["signers"][:2], fields["signatures"][:2]
    await handled(world, event, status="signed", **fields)
    assert world.pocket.submitted == []
    assert kinds(world) == ["advance"]
    assert "confirmed" in str(world.requests.updates[0].pipeline)


async def test_a_second_complete_set_of_one_attempt_is_held_not_submitted(world: World) -> None:
    event = burn(5)
    ready(world, event)
    _, fields = await complete(world, event)
    key = burn_key(world.bridge, event.tx_hash, 0)
    world.journal.complete_set(key, 0, b"another set")
    result = await handled(world, event, status="signed", **fields)
    assert isinstance(result, Wait)
    assert result.reason is WaitReason.HELD
    assert world.pocket.submitted == []


async def test_a_vault_that_is_short_waits_and_goes_on_when_it_is_funded(world: World) -> None:
    event = burn(5)
    ready(world, event)
    _, fields = await complete(world, event)
    world.pocket.funds = event.amount - 1
    result = await handled(world, event, status="signed", **fields)
    assert isinstance(result, Wait)
    assert (result.reason, dict(result.params)) == (WaitReason.VAULT_SHORT, {"short": "1"})
    world.pocket.funds = event.amount
    await handled(world, event, status="signed", **fields)
    assert len(world.pocket.submitted) == 1


async def test_returns_under_way_count_against_the_balance(world: World) -> None:
    first, second = burn(5), burn(6)
    ready(world, first, second)
    _, fields = await complete(world, first)
    await handled(world, first, status="signed", **fields)
    world.pocket.funds = first.amount + second.amount - 1
    _, fields = await complete(world, second)
    result = await handled(world, second, status="signed", **fields)
    assert isinstance(result, Wait)
    assert result.reason is WaitReason.VAULT_SHORT


async def test_what_the_vault_has_paid_is_success_from_any_status_without_a_signature(world: World) -> None:
    event = burn(5)
    paid = returned(9, event.tx_hash, entropy=transaction(world, event).entropy)
    ready(world, event, returns=[paid])
    for status in ("pending", "confirmed", "signed", "submitted", "failed"):
        world.requests.updates.clear()
        await handled(world, event, status=status)
        assert kinds(world) == ["advance"], status
        assert "success" in str(world.requests.updates[0].pipeline)
    assert world.journal.export()["signatures"] == []
    assert isinstance(await handled(world, event, status="success", return_tx_hash=paid.tx_hash), Rest)


async def test_a_payment_by_an_earlier_validator_counts_and_one_of_another_burn_does_not(world: World) -> None:
    event, other = burn(5), burn(6)
    ready(world, event, other, returns=[returned(9, event.tx_hash, entropy=123)])
    await handled(world, event, status="confirmed")
    assert "success" in str(world.requests.updates[0].pipeline)
    await handled(world, other, status="confirmed")
    assert kinds(world) == ["advance", "append"]


async def test_of_two_equal_burns_each_has_its_own_entropy_and_its_own_payment(world: World) -> None:
    first, second = burn(5, 0), burn(5, 1)
    ready(world, first, second, returns=[returned(9, first.tx_hash, entropy=transaction(world, second).entropy)])
    await handled(world, second, status="confirmed")
    await handled(world, first, status="confirmed")
    assert kinds(world) == ["advance", "append"]


async def test_a_return_that_failed_in_a_block_waits_for_the_operator_and_then_for_a_new_attempt(world: World) -> None:
    event = burn(5)
    failed = returned(9, event.tx_hash, entropy=transaction(world, event).entropy, code=10)
    ready(world, event, returns=[failed])
    _, fields = await complete(world, event)
    result = await handled(world, event, status="submitted", **fields)
    assert isinstance(result, Wait)
    assert result.reason is WaitReason.HELD
    assert world.requests.updates == []
    key = burn_key(world.bridge, event.tx_hash, 0)
    world.journal.release_attempt(key, "operator", attempt=1)
    world.journal.release(f"event:{key}", "operator", "it is spent")
    await handled(world, event, status="submitted", **fields)
    assert "'attempt': {'$literal': '1'}" in str(world.requests.updates[0].pipeline)
    cleared = {"status": "confirmed", "attempt": "1"}
    await handled(world, event, **cleared)
    own = (await world.pocket_keys[0].sign(transaction(world, event, 1).sign_bytes)).hex()
    assert own in str(world.requests.updates[-1].pipeline)


async def test_the_attempt_in_the_document_is_never_believed(world: World) -> None:
    event = burn(5)
    ready(world, event)
    await handled(world, event, status="confirmed", attempt="3")
    assert kinds(world) == ["repair"]
    assert world.journal.export()["signatures"] == []


@pytest.mark.parametrize(("amount", "to", "code"), [(FEE, POCKET_USER, "not_above_fee"), (10**6, "0" * 40, "recipient_is_zero")])
async def test_what_cannot_be_paid_is_objected_to_and_never_signed(world: World, amount: int, to: str, code: str) -> None:
    event = burn(5, amount=amount, to=to)
    ready(world, event)
    await handled(world, event, status="confirmed")
    assert kinds(world) == ["object"]
    assert code in str(world.requests.updates[0].pipeline)
    assert [row["outcome"] for row in world.journal.export()["signatures"]] == ["objection"]


async def test_a_burn_just_above_the_fee_is_paid(world: World) -> None:
    event = burn(5, amount=FEE + 1)
    ready(world, event)
    await handled(world, event, status="confirmed")
    assert kinds(world) == ["append"]


async def test_a_bad_deposit_goes_back_to_its_sender(world: World) -> None:
    event = deposit(5, to=None)
    ready(world, deposits=[event])
    _, document = deposit_document(world.bridge, event, NOW)
    world.requests.documents[document["_id"]] = {**document, "status": "confirmed"}
    await PayoutHandler(Collection.INVALID_MINT, world.context).handle(document["_id"])
    entropy = return_entropy("localnet", event.tx_hash, 0, 0)
    wanted = ReturnTx(world.bridge.vault, POCKET_USER, 1_000_000 - FEE, FEE, event.tx_hash, entropy, "localnet")
    own = (await world.pocket_keys[0].sign(wanted.sign_bytes)).hex()
    assert own in str(world.requests.updates[0].pipeline)


async def test_a_submitted_return_is_posted_again_the_same_bytes_once_two_heads_went_by(world: World) -> None:
    event = burn(5)
    ready(world, event)
    raw, fields = await complete(world, event)
    one = handler(world)
    document_id = put(world, event, status="submitted", **fields)
    result = await one.handle(document_id)
    assert isinstance(result, Wait)
    assert result.reason is WaitReason.RETURN_PENDING
    assert world.pocket.submitted == []
    world.heads.heights["pocket"] += 2
    await one.handle(document_id)
    assert world.pocket.submitted == [raw]
    assert world.requests.updates == []


@pytest.mark.parametrize(
    ("mined", "refuted"),
    [(None, True), ((5, 1), True), ((5, 2), False), ((100, 1), True), ((101, 1), False)],
    ids=["no such transaction", "fewer burns", "the scan missed it", "final", "not final yet"],
)
async def test_a_burn_beyond_those_of_its_transaction_is_objected_to(
    world: World, mined: tuple[int, int] | None, refuted: bool
) -> None:
    real, copy = burn(5), replace(burn(5), burn_index=1)
    ready(world, real)
    if mined is not None:
        world.ethereum.mined[real.tx_hash] = mined
    result = await handler(world).handle(put(world, copy, status="pending"))
    assert kinds(world) == (["object"] if refuted else [])
    assert refuted or (isinstance(result, Wait) and result.reason is WaitReason.NOT_SEEN)


async def test_who_objected_while_its_node_did_not_know_the_burn_withdraws_that_and_signs_once_it_is_found(world: World) -> None:
    event = burn(5)
    ready(world)
    await handled(world, event, status="pending")
    assert kinds(world) == ["object"]
    key = burn_key(world.bridge, event.tx_hash, 0)
    digest = objection_digest(world.bridge, Collection.BURN, key, "not_on_chain")
    said = [
        {"signer": one.address, "code": "not_on_chain", "reason": "", "signature": "0x" + (await one.sign(digest)).hex()}
        for one in world.keys
    ]
    await handled(world, event, status="pending", objections=said)
    assert kinds(world) == ["object", "fail"], "while nobody sees it, it fails"
    world.record(EventKind.BURN, event)  # the second reading
    await handled(world, event, status="failed", objections=said)
    assert kinds(world)[2:] == ["advance"]
    assert "failed was claimed without a quorum of objections" in str(world.requests.updates[-1].pipeline)
    await handled(world, event, status="confirmed", objections=said[:1])
    assert [row.outcome for row in world.journal.signed(key)] == ["payout"]


async def test_what_a_quorum_objects_to_fails_although_this_validator_objected_itself(world: World) -> None:
    event = burn(5, amount=FEE)
    ready(world, event)
    key = burn_key(world.bridge, event.tx_hash, 0)
    digest = objection_digest(world.bridge, Collection.BURN, key, "not_above_fee")
    said = [
        {"signer": one.address, "code": "not_above_fee", "reason": "", "signature": "0x" + (await one.sign(digest)).hex()}
        for one in world.keys
    ]
    await handled(world, event, status="confirmed")
    await handled(world, event, status="confirmed", objections=said[:1])
    assert kinds(world) == ["object"], "one objection is not enough"
    await handled(world, event, status="confirmed", objections=said)
    assert kinds(world) == ["object", "fail"]


async def test_a_repair_that_lost_the_race_is_not_counted(world: World) -> None:
    event = burn(5)
    ready(world, event)
    world.requests.applies = False
    await handled(world, event, amount="7")
    assert world.ledger.repairs(f"burn:{burn_key(world.bridge, event.tx_hash, 0)}") == 0
    world.requests.applies = True
    await handled(world, event, amount="7")
    assert world.ledger.repairs(f"burn:{burn_key(world.bridge, event.tx_hash, 0)}") == 1


async def test_an_own_write_that_succeeded_is_no_lost_race(world: World) -> None:
    event = burn(5)
    ready(world, event)
    payouts = handler(world)
    document_id = put(world, event, status="pending")
    world.requests.applies = False
    lost = await payouts.handle(document_id, shown=True)
    world.requests.applies = True
    made = await payouts.handle(document_id, shown=True)
    assert [update.kind for update in world.requests.updates] == ["advance"] * 4, "three lost, one made, and none shown"
    del world.requests.documents[document_id]
    inserted = await payouts.handle(document_id, shown=True)
    assert isinstance(lost, Wait)
    assert (lost.reason, lost.params) == (WaitReason.LOST_RACE, {})
    assert isinstance(made, Wait)
    assert (made.reason, made.params) == (WaitReason.WRITTEN, {"wrote": "move"})
    assert isinstance(inserted, Wait)
    assert (inserted.reason, inserted.params) == (WaitReason.WRITTEN, {"wrote": "insert"})


async def test_nothing_is_signed_when_the_block_goes_between_the_decision_and_the_signature(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    event = burn(5)
    ready(world, event)
    payouts = handler(world)
    asked = after_deciding(monkeypatch, payouts, lambda: world.ethereum.gone.add(event.block.hash))
    document_id = put(world, event, status="confirmed")
    result = await payouts.handle(document_id)
    assert asked == ["Sign"]
    assert isinstance(result, Wait)
    assert result.reason is WaitReason.NOT_SEEN
    assert world.journal.export()["signatures"] == []
    assert kinds(world) == []
    monkeypatch.undo()
    world.ethereum.gone.clear()
    await payouts.handle(document_id)
    assert kinds(world) == ["append"]


async def test_an_own_signature_that_the_journal_does_not_know_stops_everything(world: World) -> None:
    event, other = burn(5), burn(6)
    ready(world, event, other)
    own = await entries(world, event, 1)
    await handled(world, event, status="confirmed", **own)
    (hold,) = world.journal.holds()
    assert (hold.scope, hold.reason) == ("signing", "lost_journal")
    result = await handled(world, other, status="confirmed")
    assert isinstance(result, Wait)
    assert result.reason is WaitReason.HELD
    assert world.journal.export()["signatures"] == []


async def test_an_own_entry_that_does_not_verify_stops_nothing(world: World) -> None:
    event = burn(5)
    ready(world, event)
    forged = {"signers": [world.pocket_keys[0].public_key], "signatures": ["11" * 64]}
    await handled(world, event, status="confirmed", **forged)
    assert world.journal.holds() == []
    assert kinds(world) == ["append"]


# --- refused submissions: no node's word is final, only a block's ----------------------------------------------------

VERDICTS = [
    *(("sdk", code) for code in (1, 2, 4, 5, 6, 9, 10, 14)),
    *(("auth", code) for code in (1, 2, 3, 4, 5, 6)),
    *(("pos", code) for code in (101, 109)),
    ("", 99),
]
SAYS = {"only": 1, "first": 2, "both": 2}
"""Who refuses, and of how many endpoints: where one of two refuses, the other takes it."""


class Endpoints:
    """A list of Pocket nodes, each with its verdict on submissions, as a chain's client sums them up."""

    def __init__(self, codespace: str, code: int, who: str) -> None:
        self.calls: list[bool] = []
        no = SubmitResult(SubmitOutcome.REJECTED, "", "node0", code, codespace, "no")
        self.verdict = SubmitResult(SubmitOutcome.ACCEPTED, "", "node1") if who == "first" else no

    async def submit(self, raw: bytes, *, everywhere: bool = False) -> SubmitResult:
        self.calls.append(everywhere)
        return replace(self.verdict, hash=tx_hash(raw))


@pytest.mark.parametrize(("codespace", "code"), VERDICTS)
@pytest.mark.parametrize("who", SAYS)
@pytest.mark.parametrize("status", ["signed", "submitted"])
async def test_a_refused_submission_is_handed_in_again_and_decides_nothing(
    world: World, codespace: str, code: int, who: str, status: str
) -> None:
    event = burn(5)
    ready(world, event)
    raw, fields = await complete(world, event)
    endpoints = Endpoints(codespace, code, who)
    node = PocketNode(endpoints, world.bridge.vault)  # type: ignore[arg-type]
    world.pocket.submit = node.submit  # type: ignore[method-assign]
    payouts, document_id = handler(world), put(world, event, status=status, **fields)
    tries = 3
    for number in range(tries):
        world.heads.heights["pocket"] = 100 + 2 * number * LOST_AFTER_HEADS
        if who == "first" and status == "signed":
            await payouts.handle(document_id)
            break
        with suppress(RpcRefused):
            await payouts.handle(document_id)
    written = [update for update in world.requests.updates if update.kind != "wait"]
    if who == "first" and status == "signed":
        assert [update.kind for update in written] == ["advance"]
        assert "submitted" in str(written[0].pipeline)
    else:
        assert written == [], "it stays where it is, whatever a node says"
        # In `submitted` the first look only starts to count the blocks that it is not in.
        assert endpoints.calls == ([False] * tries if status == "signed" else [True] * (tries - 1))
    assert world.journal.holds() == []
    assert world.journal.complete(burn_key(world.bridge, event.tx_hash, 0), 0) == raw, "the same bytes for ever"
    assert [row.outcome for row in world.journal.signed(burn_key(world.bridge, event.tx_hash, 0))] == ["payout"], "no objection"


@pytest.mark.parametrize(("code", "ends"), [(0, "success"), (10, "held")])
async def test_the_block_decides_whatever_was_said_before(world: World, code: int, ends: str) -> None:
    event = burn(5)
    ready(world, event)
    _, fields = await complete(world, event)
    world.pocket.refuses = RpcRefused("node0", "client/rawtx", "sdk 4: signature verification failed")
    with pytest.raises(RpcRefused):
        await handled(world, event, status="signed", **fields)
    entropy = return_entropy("1", event.tx_hash, event.burn_index, 0)
    seen = returned(50, event.tx_hash, amount=event.amount - FEE, to=event.recipient, entropy=entropy, code=code)
    world.record(EventKind.RETURNED, seen)
    result = await handled(world, event, status="signed", **fields)
    if ends == "success":
        assert "success" in str(world.requests.updates[-1].pipeline)
    else:
        assert isinstance(result, Wait)
        assert result.reason is WaitReason.HELD


async def test_an_observer_tells_which_return_it_would_sign_and_the_digest(world: World) -> None:
    event = burn(5)
    ready(world, event)
    observing = replace(world.context, me=type(world.context.me)("", ""))
    lines: list[str] = []
    number = logger.add(lambda line: lines.append(str(line).strip()), level="INFO", format="{message}")
    try:
        result = await PayoutHandler(Collection.BURN, observing).handle(put(world, event, status="confirmed"))
    finally:
        logger.remove(number)
    assert isinstance(result, Wait)
    assert result.reason is WaitReason.OBSERVING
    await handled(world, event, status="confirmed")
    key = burn_key(world.bridge, event.tx_hash, 0)
    digest = world.journal.knows(key, "payout", 0)
    assert digest is not None
    assert lines == [f"would sign burn {key}: payout, attempt 0, digest {digest.hex()}"]
