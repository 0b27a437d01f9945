"""What a look at a document costs when nothing has changed since the last one: no signature verified twice, no write."""

from hashlib import sha256
from typing import Any

import pytest

from reactor.chains.pocket import ReturnTx, assemble, return_entropy, tx_hash
from reactor.chains.pocket.morse import returns
from reactor.documents.build import burn_document
from reactor.documents.keys import burn_key
from reactor.documents.statuses import Collection
from reactor.flows.decisions import Wait
from reactor.handlers.payout import PayoutHandler
from reactor.state.database import Database
from reactor.state.journal import JournalEntry
from reactor.state.rows import EventKind
from tests.unit.handler_world import FEE, NOW, World, burn

pytestmark = pytest.mark.unit


@pytest.fixture
def verified(monkeypatch: pytest.MonkeyPatch) -> list[bytes]:
    """The signatures that were verified."""
    done: list[bytes] = []
    really = returns.verify_ed25519

    def verify(key: Any, message: bytes, signature: bytes) -> bool:
        done.append(signature)
        return really(key, message, signature)

    monkeypatch.setattr(returns, "verify_ed25519", verify)
    return done


async def submitted(world: World) -> dict[str, Any]:
    """A burn whose return all have signed and somebody has submitted, journaled here."""
    event = burn(5)
    for kind, events in ((EventKind.BURN, [event]), (EventKind.MINTED, []), (EventKind.DEPOSIT, []), (EventKind.RETURNED, [])):
        world.record(kind, *events)
    entropy = return_entropy("1", event.tx_hash, event.burn_index, 0)
    transaction = ReturnTx(world.bridge.vault, event.recipient, event.amount - FEE, FEE, event.tx_hash, entropy, "localnet")
    digest, key = sha256(transaction.sign_bytes).digest(), burn_key(world.bridge, event.tx_hash, 0)
    world.journal.sign_batch([JournalEntry(key, "payout", 0, digest, None, "ethereum", event.height, "payout")])
    shares = {key.public_key: await key.sign(transaction.sign_bytes) for key in world.pocket_keys}
    raw = assemble(transaction, world.bridge.pocket_keys, shares)
    document = burn_document(world.bridge, event, NOW)
    document |= {"status": "submitted", "return_tx": raw.hex(), "return_tx_hash": tx_hash(raw)}
    document |= {"signers": list(shares), "signatures": [share.hex() for share in shares.values()]}
    world.requests.documents[document["_id"]] = document
    return document


async def test_a_return_is_verified_once_however_often_it_is_looked_at(world: World, verified: list[bytes]) -> None:
    handler, document = PayoutHandler(Collection.BURN, world.context), await submitted(world)
    verified.clear()
    await handler.handle(document["_id"])
    once = len(verified)
    assert set(verified) == {bytes.fromhex(text) for text in document["signatures"]}
    for _ in range(5):
        result = await handler.handle(document["_id"])
    assert isinstance(result, Wait)
    assert len(verified) == once
    assert world.requests.updates == []


@pytest.mark.parametrize("field", ["return_tx", "return_tx_hash", "signatures"])
async def test_what_was_found_good_is_judged_anew_once_it_says_something_else(world: World, field: str) -> None:
    handler, document = PayoutHandler(Collection.BURN, world.context), await submitted(world)
    await handler.handle(document["_id"])
    assert world.requests.updates == []
    changed = document[field][::-1] if isinstance(document[field], list) else document[field][:-2] + "00"
    world.requests.documents[document["_id"]] = {**document, field: changed}
    await handler.handle(document["_id"])
    assert [update.kind for update in world.requests.updates] == ["advance"]
    assert "confirmed" in str(world.requests.updates[0].pipeline)


async def test_events_settled_and_reopened_are_written_together(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    document = await submitted(world)
    event = world.ledger.by_document(document["_id"])
    assert event is not None
    begun: list[object] = []
    really = Database.transaction

    def transaction(self: Database) -> Any:
        begun.append(self)
        return really(self)

    monkeypatch.setattr(Database, "transaction", transaction)
    for _ in range(100):
        world.ledger.unsettle(event.key)
        world.ledger.settle(event.key)
    assert begun == []
    assert (world.ledger.unsettled(EventKind.BURN, 1), len(begun)) == ([], 1), "all marks are written together"
    world.ledger.unsettle(event.key)
    assert ([seen.key for seen in world.ledger.unsettled(EventKind.BURN, 2)], len(begun)) == ([event.key], 2)
