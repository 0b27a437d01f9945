"""The mint handler: nonce and digest from the chains alone, the order of signing, and what is refused."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from reactor.chains.ethereum.eip712 import mint_digest
from reactor.documents.build import deposit_document
from reactor.documents.keys import deposit_key
from reactor.documents.reasons import WaitReason
from reactor.flows.decisions import Rest, Wait
from reactor.handlers.claims import Turns
from reactor.handlers.mint import MintHandler
from reactor.state.rows import EventKind
from tests.unit.handler_world import NOW, USER, World, after_deciding, deposit, make_world, minted

pytestmark = pytest.mark.unit


def put(world: World, event: Any, **changes: Any) -> Any:
    """The event's document, as it lies in Mongo."""
    _, document = deposit_document(world.bridge, event, NOW)
    document |= changes
    world.requests.documents[document["_id"]] = document
    return document["_id"]


def ready(world: World, *deposits: Any) -> None:
    """Deposits final, nothing minted yet, both chains read up to 100."""
    world.record(EventKind.DEPOSIT, *deposits)
    world.record(EventKind.RETURNED)
    world.record(EventKind.MINTED)
    world.record(EventKind.BURN)


async def test_signs_the_digest_that_the_chains_decide(world: World) -> None:
    event = deposit(5)
    ready(world, event)
    world.ethereum.nonces[USER] = 0
    result = await MintHandler(world.context).handle(put(world, event, status="confirmed", nonce="77"))
    assert isinstance(result, Wait)
    assert result.reason is WaitReason.SIGNATURES
    digest = mint_digest(world.ethereum.facts.domain, USER, 1_000_000, 1)
    assert world.journal.knows(deposit_key(world.bridge, event.tx_hash), "mint", 0) == digest
    assert [update.kind for update in world.requests.updates] == ["append"]


async def test_the_nonce_is_base_plus_rank_in_chain_order(world: World) -> None:
    first, second, third = deposit(5, 1), deposit(5, 2), deposit(7)
    ready(world, third, second, first)
    world.ethereum.nonces[USER] = 4
    await MintHandler(world.context).handle(put(world, third, status="confirmed"))
    digest = mint_digest(world.ethereum.facts.domain, USER, 1_000_000, 7)
    assert world.journal.knows(deposit_key(world.bridge, third.tx_hash), "mint", 0) == digest
    assert world.ethereum.asked == [(USER, 100)]


async def test_what_was_minted_since_the_start_is_not_counted_twice(world: World) -> None:
    first, second = deposit(5), deposit(6)
    world.record(EventKind.DEPOSIT, first, second)
    world.record(EventKind.MINTED, minted(9, 5))
    world.ethereum.nonces[USER] = 5
    await MintHandler(world.context).handle(put(world, second, status="confirmed"))
    digest = mint_digest(world.ethereum.facts.domain, USER, 1_000_000, 6)
    assert world.journal.knows(deposit_key(world.bridge, second.tx_hash), "mint", 0) == digest


async def test_nothing_is_signed_for_a_deposit_that_is_not_final(world: World) -> None:
    event = deposit(99)
    world.record(EventKind.DEPOSIT, event, final=98)
    world.record(EventKind.MINTED)
    result = await MintHandler(world.context).handle(put(world, event, status="confirmed"))
    assert isinstance(result, Wait)
    assert result.reason is WaitReason.NOT_FINAL
    assert world.journal.signed(deposit_key(world.bridge, event.tx_hash)) == []


async def test_nothing_is_signed_when_the_block_is_gone_from_the_own_node(world: World) -> None:
    event = deposit(5)
    ready(world, event)
    world.pocket.gone.add(event.block.hash)
    result = await MintHandler(world.context).handle(put(world, event, status="confirmed"))
    assert isinstance(result, Wait)
    assert result.reason is WaitReason.NOT_SEEN
    assert world.journal.signed(deposit_key(world.bridge, event.tx_hash)) == []
    assert world.requests.updates == []


async def test_nothing_is_signed_when_the_block_goes_between_the_decision_and_the_signature(
    world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is there while the facts are gathered; the last look, right before the journal, finds another one in its place."""
    event = deposit(5)
    ready(world, event)
    handler = MintHandler(world.context)
    asked = after_deciding(monkeypatch, handler, lambda: world.pocket.gone.add(event.block.hash))
    document_id = put(world, event, status="confirmed")
    result = await handler.handle(document_id)
    assert asked == ["Sign"]
    assert isinstance(result, Wait)
    assert (result.reason, dict(result.params)) == (WaitReason.NOT_SEEN, {"block": event.block.hash})
    assert world.journal.export()["signatures"] == []
    assert world.requests.updates == []
    # The twin: the block is there after all.
    monkeypatch.undo()
    world.pocket.gone.clear()
    await handler.handle(document_id)
    assert [update.kind for update in world.requests.updates] == ["append"]


async def test_nothing_is_signed_while_the_minted_ledger_is_empty(world: World) -> None:
    event = deposit(5)
    world.record(EventKind.DEPOSIT, event)
    result = await MintHandler(world.context).handle(put(world, event, status="confirmed"))
    assert isinstance(result, Wait)
    assert result.reason is WaitReason.LEDGER_BEHIND


@pytest.mark.parametrize(
    ("scope", "reason"),
    [("signing", WaitReason.HELD), (f"recipient:{USER}", WaitReason.HELD), ("direction:mint", WaitReason.PAUSED)],
)
async def test_a_hold_or_pause_stops_the_signature(world: World, scope: str, reason: WaitReason) -> None:
    event = deposit(5)
    ready(world, event)
    world.journal.hold(scope, "paused" if reason is WaitReason.PAUSED else "operator", "", "test")
    result = await MintHandler(world.context).handle(put(world, event, status="confirmed"))
    assert isinstance(result, Wait)
    assert result.reason is reason
    assert world.requests.updates == []


async def test_a_pause_of_the_other_direction_does_not(world: World) -> None:
    event = deposit(5)
    ready(world, event)
    world.journal.pause("payout", "test")
    result = await MintHandler(world.context).handle(put(world, event, status="confirmed"))
    assert isinstance(result, Wait)
    assert result.reason is WaitReason.SIGNATURES


async def test_an_own_signature_that_the_journal_does_not_know_stops_everything(world: World) -> None:
    event = deposit(5)
    ready(world, event)
    digest = mint_digest(world.ethereum.facts.domain, USER, 1_000_000, 1)
    own = world.keys[0]
    entry = {"signers": [own.address], "signatures": ["0x" + (await own.sign(digest)).hex()]}
    await MintHandler(world.context).handle(put(world, event, status="confirmed", **entry))
    assert [hold.reason for hold in world.journal.holds()] == ["lost_journal"]


async def test_the_signature_that_completes_leaves_with_the_verified_ones_named(world: World) -> None:
    event = deposit(5)
    ready(world, event)
    digest = mint_digest(world.ethereum.facts.domain, USER, 1_000_000, 1)
    other = world.keys[1]
    good = (other.address, "0x" + (await other.sign(digest)).hex())
    bad = (world.keys[2].address, good[1])
    pairs = sorted([good, bad])
    document_id = put(
        world, event, status="confirmed", signers=[signer for signer, _ in pairs], signatures=[text for _, text in pairs]
    )
    result = await MintHandler(world.context).handle(document_id)
    assert not isinstance(result, Wait) or result.reason is WaitReason.SIGNATURES
    update = str(world.requests.updates[0].pipeline)
    assert good[1] in update


async def test_a_mint_is_success_once_its_minted_event_is_final(world: World) -> None:
    event = deposit(5)
    world.record(EventKind.DEPOSIT, event)
    world.record(EventKind.MINTED, minted(9, 1))
    world.ethereum.nonces[USER] = 1
    await MintHandler(world.context).handle(put(world, event, status="pending"))
    assert [update.kind for update in world.requests.updates] == ["advance"]
    assert "success" in str(world.requests.updates[0].pipeline)
    assert world.journal.signed(deposit_key(world.bridge, event.tx_hash)) == []


async def test_a_document_of_no_known_event_waits_and_one_that_is_refuted_is_objected_to(world: World) -> None:
    ready(world)
    forged = deposit(5)
    world.pocket.known[forged.tx_hash] = forged.height
    handler = MintHandler(world.context)
    document_id = put(world, forged, status="confirmed")
    result = await handler.handle(document_id)
    assert isinstance(result, Wait)
    assert result.reason is WaitReason.NOT_SEEN
    world.pocket.known.clear()
    await handler.handle(document_id)
    assert [update.kind for update in world.requests.updates] == ["object"]


async def test_a_mint_document_of_a_deposit_that_is_to_be_refunded_is_objected_to(world: World) -> None:
    event = deposit(5, to=None)
    ready(world, event)
    _, fresh = deposit_document(world.bridge, deposit(5), NOW)
    world.requests.documents[fresh["_id"]] = fresh
    await MintHandler(world.context).handle(fresh["_id"])
    assert [update.kind for update in world.requests.updates] == ["object"]
    # Its own event can still be signed for, in the right collection.
    assert world.journal.signed(deposit_key(world.bridge, event.tx_hash)) == []


async def test_a_deleted_document_is_inserted_again_and_a_foreign_one_is_not(world: World) -> None:
    event = deposit(5)
    ready(world, event)
    document_id = put(world, event)
    del world.requests.documents[document_id]
    await MintHandler(world.context).handle(document_id)
    assert [document["_id"] for document in world.requests.inserted] == [document_id]
    result = await MintHandler(world.context).handle(type(document_id)())
    assert isinstance(result, Rest)
    assert len(world.requests.inserted) == 1


async def test_a_document_whose_event_another_one_stands_for_is_nobodys(world: World) -> None:
    event = deposit(5)
    ready(world, event)
    document_id = put(world, event)
    del world.requests.documents[document_id]
    assert isinstance(await MintHandler(world.context).handle(document_id), Wait)
    world.requests.adopted = True
    assert isinstance(await MintHandler(world.context).handle(document_id), Rest)


async def test_an_observer_decides_and_writes_nothing(tmp_path: Path) -> None:
    world = make_world(tmp_path)
    try:
        event = deposit(5)
        ready(world, event)
        context = world.context
        me = type(context.me)(context.me.address, context.me.pocket_key)
        observing = type(context)(**{name: getattr(context, name) for name in context.__slots__} | {"me": me})
        for status in ("pending", "confirmed", "success", "nonsense"):
            await MintHandler(observing).handle(put(world, event, status=status))
        assert world.requests.updates == []
        assert world.journal.export()["signatures"] == []
    finally:
        world.close()


def observing(world: World) -> Any:
    """The same world, looked at by a process without keys."""
    return replace(world.context, me=type(world.context.me)("", ""))


@pytest.fixture
def told():
    lines: list[str] = []
    number = logger.add(lambda line: lines.append(str(line).strip()), level="INFO", format="{message}")
    yield lines
    logger.remove(number)


async def test_an_observer_tells_once_which_mint_it_would_sign_and_the_digest(world: World, told: list[str]) -> None:
    event = deposit(5)
    ready(world, event)
    handler = MintHandler(observing(world))
    for _ in range(3):
        result = await handler.handle(put(world, event, status="confirmed"))
        assert isinstance(result, Wait)
        assert (result.reason, result.params) == (WaitReason.OBSERVING, {"would": "sign"})
    digest = mint_digest(world.ethereum.facts.domain, USER, 1_000_000, 1)
    key = deposit_key(world.bridge, event.tx_hash)
    assert told == [f"would sign mint {key}: mint, attempt 0, digest {digest.hex()}"]
    # As a validator with keys does: the twin.
    await MintHandler(world.context).handle(put(world, event, status="confirmed"))
    assert world.journal.knows(key, "mint", 0) == digest


@pytest.mark.parametrize("why", ["held", "block gone", "not final", "older"])
async def test_an_observer_would_not_sign_what_a_validator_would_not(world: World, told: list[str], why: str) -> None:
    event = deposit(5)
    context = observing(world)
    if why == "not final":
        world.record(EventKind.DEPOSIT, event, final=4)
    else:
        ready(world, event)
    if why == "held":
        world.journal.hold("signing", "operator", "", "alice")
    if why == "block gone":
        world.pocket.gone.add(event.block.hash)
    if why == "older":
        world.journal.heights["pocket"] = 5
    await MintHandler(context).handle(put(world, event, status="confirmed"))
    assert not [line for line in told if line.startswith("would sign")]
    assert world.requests.updates == []


async def rung(world: World, event: Any, **changes: Any) -> Any:
    return await MintHandler(world.context).handle(put(world, event, **changes), rung=True)


async def test_a_mint_that_rings_is_signed_before_it_is_read(world: World) -> None:
    event = deposit(5)
    ready(world, event)
    await rung(world, event, status="confirmed")
    digest = mint_digest(world.ethereum.facts.domain, USER, 1_000_000, 1)
    assert world.journal.knows(deposit_key(world.bridge, event.tx_hash), "mint", 0) == digest
    update = world.requests.updates[0]
    assert update.kind == "append"
    # What is not read is compared in the write: who is paid, how much, and that it stands where signatures belong.
    assert all(text in str(update.guard) for text in (USER, "1000000", "confirmed"))


@pytest.mark.parametrize("why", ["not final", "held", "over the limit", "minted", "block gone", "refund", "not a member"])
async def test_nothing_is_signed_ahead_where_anything_speaks_against_it(world: World, why: str) -> None:
    event = deposit(5, to=None) if why == "refund" else deposit(5)
    world.record(EventKind.DEPOSIT, event, final=4 if why == "not final" else 100)
    world.record(EventKind.MINTED, *([minted(9, 1)] if why == "minted" else []))
    if why == "minted":
        world.ethereum.nonces[USER] = 1
    if why == "held":
        world.journal.hold("signing", "operator", "", "test")
    if why == "block gone":
        world.pocket.gone.add(event.block.hash)
    if why == "over the limit":
        world.ethereum.facts = replace(world.ethereum.facts, max_mint_limit=999_999)
    if why == "not a member":
        world.ethereum.facts = replace(world.ethereum.facts, validators=tuple(key.address for key in world.keys[1:]))
    _, fresh = deposit_document(world.bridge, deposit(5), NOW)
    world.requests.documents[fresh["_id"]] = {**fresh, "status": "confirmed"}
    await MintHandler(world.context).handle(fresh["_id"], rung=True)
    assert "append" not in [update.kind for update in world.requests.updates]
    assert "mint" not in [row["outcome"] for row in world.journal.export()["signatures"]]


async def test_a_write_ahead_that_does_not_match_leads_to_a_read_and_is_not_tried_twice(world: World) -> None:
    event = deposit(5)
    ready(world, event)
    world.requests.applies = False
    handler = MintHandler(world.context)
    document_id = put(world, event, status="pending")
    await handler.handle(document_id, rung=True)
    assert [update.kind for update in world.requests.updates] == ["append", "advance", "advance", "advance"]
    await handler.handle(document_id, rung=True)
    assert [update.kind for update in world.requests.updates][4:] == ["advance"] * 3


async def test_enough_validators_audit_a_signed_mint_and_all_do_when_it_is_not_just_rung(tmp_path: Path) -> None:
    world = make_world(tmp_path, members=5, threshold=3)
    try:
        event = deposit(5)
        ready(world, event)
        audits, looks = 0, 0
        everybody = [key.address for key in world.keys]
        subject = f"{deposit_key(world.bridge, event.tx_hash)}:Complete"
        for key in world.keys:
            me = type(world.context.me)(key.address, world.context.me.pocket_key, key, world.pocket_keys[0])
            turns = Turns(key.address, lambda: everybody, lambda: 1e9)
            fields = {name: getattr(world.context, name) for name in world.context.__slots__} | {"me": me, "turns": turns}
            handler = MintHandler(type(world.context)(**fields))
            digest = mint_digest(world.ethereum.facts.domain, USER, 1_000_000, 1)
            own = (key.address, "0x" + (await key.sign(digest)).hex())
            document_id = put(world, event, status="signed", signers=[own[0]], signatures=[own[1]])
            handler._own.set(document_id, (deposit_key(world.bridge, event.tx_hash), own[1]))
            handler._tried.set(document_id, True)
            handler._quorum, _ = await handler.context.quorum()
            # Signed by one of three: whoever looks closely wants it set back, in his turn.
            result = await handler.handle(document_id, rung=True)
            audits += isinstance(result, Wait)
            assert isinstance(result, Rest) == (turns.place(subject) >= 3)
            looks += isinstance(await handler.handle(document_id), Wait)
        assert (audits, looks) == (3, 5)
    finally:
        world.close()
