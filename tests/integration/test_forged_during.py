"""Forgeries while a request is on its way, at each of its statuses and after its end: it still has its right end."""

from collections.abc import AsyncIterator
from functools import partial
from typing import Any

import pytest
import pytest_asyncio
from bridge_helpers.adversary import GARBAGE, ORDER, STRANGER, WRONG_TYPES, Act, Adversary, Document, adversary_of, forged
from bridge_helpers.harness import FEE, BridgeUnderTest, running_bridge
from bridge_helpers.scenarios import Scenarios

from reactor.documents.statuses import Collection, Status

pytestmark = [
    pytest.mark.integration,
    pytest.mark.xdist_group("bridge"),
    pytest.mark.asyncio(loop_scope="module"),
]

AMOUNT = 1_000_000
POCKET_USER = "cd" * 20
SCENARIOS = Scenarios()


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def bridge(mongo_uri: str, request: pytest.FixtureRequest) -> AsyncIterator[BridgeUnderTest]:
    async with (
        running_bridge(mongo_uri) as running,
        adversary_of(running) as adversary,
        SCENARIOS.begun(request, running, adversary),
    ):
        yield running


# --- the requests ----------------------------------------------------------------------------------------------------


async def mint_in_spite_of(bridge: BridgeUnderTest, adversary: Adversary, status: str, act: Act) -> None:
    recipient = bridge.recipient()
    raw, hash_ = bridge.deposit_of(AMOUNT, bridge.memo(recipient))
    done = adversary.once(Collection.MINT, bridge.id_of(Collection.MINT, hash_), status, act)
    await bridge.send(raw)
    await bridge.minted(hash_)
    await bridge.eventually(done.done, f"the forgery at {status} of {hash_}")
    assert done.result() in ORDER

    async def right() -> bool:
        document = await bridge.document(Collection.MINT, hash_) or {}
        return (
            document.get("status") == Status.SUCCESS
            and bool(document.get("mint_tx_hash"))
            and (document["recipient_address"], document["amount"], document["nonce"]) == (recipient, str(AMOUNT), "1")
        )

    await bridge.eventually(right, f"mint {hash_} to be right again")
    assert (await bridge.judge.balance(recipient), await bridge.judge.nonce(recipient)) == (AMOUNT, 1)


async def refund_in_spite_of(bridge: BridgeUnderTest, adversary: Adversary, status: str, act: Act) -> None:
    raw, hash_ = bridge.deposit_of(AMOUNT, "no memo")
    done = adversary.once(Collection.INVALID_MINT, bridge.id_of(Collection.INVALID_MINT, hash_), status, act)
    await bridge.send(raw)
    await _paid(bridge, Collection.INVALID_MINT, hash_, done, bridge.net.users[0].pocket_address, "sender_address")


async def payout_in_spite_of(bridge: BridgeUnderTest, adversary: Adversary, status: str, act: Act) -> None:
    traps = []

    async def before(hash_: str) -> None:
        traps.append(adversary.once(Collection.BURN, bridge.id_of(Collection.BURN, hash_), status, act))

    hash_ = await bridge.presigned_burn(AMOUNT, POCKET_USER, before)
    await _paid(bridge, Collection.BURN, hash_, traps[0], POCKET_USER, "recipient_address")


async def _paid(bridge: BridgeUnderTest, role: Collection, hash_: str, done: Any, recipient: str, named: str) -> None:
    _, paid = await bridge.paid(role, hash_)
    await bridge.eventually(done.done, f"the forgery in {role.value} {hash_}")
    assert done.result() in ORDER

    async def right() -> bool:
        document = await bridge.document(role, hash_) or {}
        return (document.get("status"), document.get(named), document.get("amount"), document.get("return_tx_hash")) == (
            Status.SUCCESS,
            recipient,
            str(AMOUNT),
            paid[0].hash,
        )

    await bridge.eventually(right, f"{role.value} {hash_} to be right again")
    assert [(one.recipient, one.amount) for one in bridge.judge.payments(hash_)] == [(recipient, AMOUNT - FEE)]


RUNS = {
    Collection.MINT: mint_in_spite_of,
    Collection.INVALID_MINT: refund_in_spite_of,
    Collection.BURN: payout_in_spite_of,
}

# --- the forgeries ---------------------------------------------------------------------------------------------------


async def _nothing(adversary: Adversary, document_id: Any) -> None:
    """The twin."""


async def _delete(role: Collection, adversary: Adversary, document_id: Any) -> None:
    assert await adversary.delete(role, {"_id": document_id}) == 1


async def _set(role: Collection, fields: Document, adversary: Adversary, document_id: Any) -> None:
    assert await adversary.change(role, {"_id": document_id}, {"$set": fields}) == 1


async def _empty(role: Collection, adversary: Adversary, document_id: Any) -> None:
    assert await adversary.replace(role, document_id, {"transaction_hash": str(document_id)}) == 1


async def _garbage(role: Collection, adversary: Adversary, document_id: Any) -> None:
    """Up to the threshold and beyond, in the members' names; and the status that so many would earn."""
    validators = adversary.bridge.net.validators
    members = [one.address if role is Collection.MINT else one.public_key for one in validators]
    signers = sorted([*members, STRANGER.address.lower()])
    text = GARBAGE if role is Collection.MINT else GARBAGE[4:]
    fields = {"signers": signers, "signatures": [text] * len(signers), "status": "signed"}
    await _set(role, fields, adversary, document_id)


async def _foreign_entries(role: Collection, adversary: Adversary, document_id: Any) -> None:
    """Entries of strangers among the good ones, and a good one twice."""
    change = [
        {
            "$set": {
                "signers": {"$concatArrays": [["!"], "$signers", "$signers", [STRANGER.address.lower()]]},
                "signatures": {"$concatArrays": [[GARBAGE], "$signatures", "$signatures", [GARBAGE]]},
            }
        }
    ]
    assert await adversary.change(role, {"_id": document_id}, change) == 1


async def _objections(role: Collection, adversary: Adversary, document_id: Any) -> None:
    """In the members' names: unsigned, signed by a stranger, and replayed from a document that really failed."""
    strange = STRANGER.unsafe_sign_hash(b"\1" * 32).signature.to_0x_hex()
    members = [one.address for one in adversary.bridge.net.validators]
    said = [
        {"signer": who, "code": "other_outcome", "reason": "", "signature": what} for who in members for what in ("", strange)
    ]
    said.append({"signer": STRANGER.address.lower(), "code": "other_outcome", "reason": "", "signature": strange})
    async for failed in adversary.collection(Collection.INVALID_MINT).find({"status": "failed"}).limit(3):
        said += failed["objections"]
    await _set(role, {"objections": said, "status": "failed"}, adversary, document_id)


async def _quietly(role: Collection, adversary: Adversary, document_id: Any) -> None:
    """The theft of `_stolen`, marked as a write that gives nobody anything to do: the stream rings nobody."""
    await _stolen(role, adversary, document_id, touched_by="0x" + "66" * 20)


async def _stolen(role: Collection, adversary: Adversary, document_id: Any, **also: Any) -> None:
    """Another recipient and amount, everywhere; a return transaction that a stranger wants paid."""
    thief = STRANGER.address.lower()
    fields: Document = {"amount": "77", "sender_address": "66" * 20, "history": [], **also}
    if role is not Collection.INVALID_MINT:
        fields["recipient_address"] = thief if role is Collection.MINT else "66" * 20
    if role is Collection.MINT:
        fields |= {"data": {"recipient": thief, "amount": "77", "nonce": "2"}, "nonce": "2", "typed_data": "{}", "memo": None}
    else:
        raw = adversary.bridge.net.vault.send("66" * 20, 77, "theft", entropy=5)[:-1]
        fields |= {"return_tx": raw.hex(), "return_tx_hash": "77" * 32, "attempt": "4"}
    await _set(role, fields, adversary, document_id)


def _acts(role: Collection) -> dict[str, Act]:
    types = {name: value for name, value in WRONG_TYPES.items() if not name.startswith("$")}
    everywhere = {
        "deleted": partial(_delete, role),
        "garbage signatures": partial(_garbage, role),
        "success by hand": partial(_set, role, {"status": "success", "waiting": None}),
        "failed by hand": partial(_set, role, {"status": "failed"}),
        "pending by hand": partial(_set, role, {"status": "pending"}),
    }
    somewhere = {
        "untouched": _nothing,
        "signed by hand": partial(_set, role, {"status": "signed", "signers": [], "signatures": []}),
        "submitted by hand": partial(_set, role, {"status": "submitted"}),
        "emptied": partial(_empty, role),
        "foreign entries": partial(_foreign_entries, role),
        "forged objections": partial(_objections, role),
        "stolen": partial(_stolen, role),
        "stolen quietly": partial(_quietly, role),
        "wrong types": partial(_set, role, types),
        "huge": partial(_set, role, {"junk": "x" * 1_500_000}),
        "a long history": partial(_set, role, {"history": [{"status": "x"}] * 2000}),
    }
    return {"everywhere": everywhere, "somewhere": somewhere}  # type: ignore[return-value]


for _role, _run in RUNS.items():
    _chosen = _acts(_role)
    for _name, _act in _chosen["everywhere"].items():  # type: ignore[attr-defined]
        for _status in ORDER:
            SCENARIOS.add(f"{_role.value}: {_name} at {_status}", partial(_run, status=_status, act=_act))
    for _place, (_name, _act) in enumerate(_chosen["somewhere"].items()):  # type: ignore[attr-defined]
        for _status in (ORDER[_place % 5], ORDER[(_place + 2) % 5]):
            SCENARIOS.add(f"{_role.value}: {_name} at {_status}", partial(_run, status=_status, act=_act))


@SCENARIOS
async def swapped_nonces(bridge: BridgeUnderTest, adversary: Adversary) -> None:
    """Two deposits of one recipient, each document with the other's nonce, data and signatures."""
    recipient = bridge.recipient()
    hashes = [await bridge.send(bridge.deposit_of(AMOUNT + place, bridge.memo(recipient))[0]) for place in (0, 1)]
    found = [await bridge.until(Collection.MINT, hash_, Status.SIGNED) for hash_ in hashes]
    for one, other in (found, found[::-1]):
        fields = {name: other[name] for name in ("nonce", "data", "typed_data", "signers", "signatures")}
        await _set(Collection.MINT, fields, adversary, one["_id"])
    in_order = sorted(found, key=lambda one: int(one["nonce"]))
    for one in in_order:
        await bridge.minted(one["transaction_hash"])
    assert await bridge.judge.balance(recipient) == 2 * AMOUNT + 1
    assert await bridge.judge.nonce(recipient) == 2


@SCENARIOS
async def swapped_hashes(bridge: BridgeUnderTest, adversary: Adversary) -> None:
    """Two documents that each hold the other's unique key: neither repair could go first."""
    recipients = [bridge.recipient(), bridge.recipient()]
    hashes = [await bridge.send(bridge.deposit_of(AMOUNT, bridge.memo(recipient))[0]) for recipient in recipients]
    first, second = [await bridge.until(Collection.MINT, hash_, Status.SIGNED) for hash_ in hashes]
    await adversary.replace(Collection.MINT, first["_id"], {**first, "transaction_hash": "0" * 64})
    await adversary.replace(Collection.MINT, second["_id"], {**second, "transaction_hash": hashes[0]})
    await adversary.change(Collection.MINT, {"_id": first["_id"]}, {"$set": {"transaction_hash": hashes[1]}})

    async def right_again() -> bool:
        found = [await adversary.collection(Collection.MINT).find_one({"_id": one["_id"]}) or {} for one in (first, second)]
        return [(one.get("transaction_hash"), one.get("status")) for one in found] == [(hash_, "signed") for hash_ in hashes]

    await bridge.eventually(right_again, "both documents to be signed under their own hashes")
    for recipient, hash_ in zip(recipients, hashes, strict=True):
        await bridge.minted(hash_)
        assert await bridge.judge.balance(recipient) == AMOUNT


@SCENARIOS
async def adopted_then_deleted(bridge: BridgeUnderTest, adversary: Adversary) -> None:
    """A foreign document was there first, was repaired and signed, and is then removed: its `_id` tells nobody whose it was."""
    recipient = bridge.recipient()
    raw, hash_ = bridge.deposit_of(AMOUNT, bridge.memo(recipient))
    identity = bridge.net.bridge
    foreign = await adversary.insert(
        Collection.MINT,
        {"transaction_hash": hash_, "wpokt_address": identity.wpokt, "vault_address": identity.vault, "status": "pending"},
    )
    await bridge.send(raw)
    signed = await bridge.until(Collection.MINT, hash_, Status.SIGNED)
    assert signed["_id"] == foreign
    await bridge.eventually(
        lambda: all(not one.dispatcher.load().working for one in bridge.validators), "everybody to be done with it"
    )
    await _delete(Collection.MINT, adversary, foreign)
    await bridge.minted(hash_)
    assert await bridge.judge.balance(recipient) == AMOUNT


@SCENARIOS
async def fake_minted_and_returned(bridge: BridgeUnderTest, adversary: Adversary) -> None:
    """What scanners see of completion is a doorbell: forged it completes nothing."""
    recipient = bridge.recipient()
    hash_ = await bridge.send(bridge.deposit_of(AMOUNT, bridge.memo(recipient))[0])
    await bridge.until(Collection.MINT, hash_, Status.SIGNED)
    minted = {
        "wpokt_address": bridge.net.bridge.wpokt,
        "recipient_address": recipient,
        "nonce": "1",
        "amount": str(AMOUNT),
        "block_hash": "0x" + "11" * 32,
        "transaction_hash": "0x" + "22" * 32,
    }
    await adversary.insert(Collection.MINTED, {**minted, "_id": 1})
    await adversary.insert(Collection.RETURNED, {"_id": 1, "transaction_hash": "33" * 32, "memo": hash_, "code": "0"})
    document = await bridge.minted(hash_)
    assert document["mint_tx_hash"] not in {"", minted["transaction_hash"]}
    assert "submitted" not in [one["status"] for one in document["history"][:2]]
    assert await bridge.judge.balance(recipient) == AMOUNT


@SCENARIOS
async def events_that_never_were(bridge: BridgeUnderTest, adversary: Adversary) -> None:
    """They fail by quorum with the reason in their history, and nobody ever signs for them."""
    for role, hash_ in (
        (Collection.MINT, "ab" * 32),
        (Collection.INVALID_MINT, "ac" * 32),
        (Collection.BURN, "0x" + "ad" * 32),
    ):
        for status in ("pending", "success"):
            name = hash_[:-1] + ("1" if status == "success" else "2")
            await adversary.insert(role, forged(role, name, bridge, status=status))
            document = await bridge.until(role, name, Status.FAILED)
            assert document["history"][-1]["reason"].startswith("not_on_chain: "), document["history"]
            assert len({one["signer"] for one in document["objections"]}) >= 2
            assert document["signers"] == []
    # In a block that nobody has seen yet it might still come true.
    later = await adversary.insert(Collection.MINT, forged(Collection.MINT, "ae" * 32, bridge, height="99999999"))
    await bridge.until_waiting(Collection.MINT, "ae" * 32, "not_seen")
    await adversary.delete(Collection.MINT, {"_id": later})


@SCENARIOS
async def in_the_wrong_collection(bridge: BridgeUnderTest, adversary: Adversary) -> None:
    """A refund under `mint` fails there; in its own collection it is paid."""
    raw, hash_ = bridge.deposit_of(AMOUNT, "no memo")
    await adversary.insert(Collection.MINT, forged(Collection.MINT, hash_, bridge))
    await bridge.send(raw)
    _, paid = await bridge.paid(Collection.INVALID_MINT, hash_)
    assert len(paid) == 1
    failed = await bridge.until(Collection.MINT, hash_, Status.FAILED)
    assert failed["signers"] == []


@pytest.mark.parametrize("name", SCENARIOS.names)
async def test_a_request_reaches_its_end_in_spite_of(name: str) -> None:
    await SCENARIOS.result(name)


async def test_nothing_unjustified_was_signed_and_everything_was_paid_once(bridge: BridgeUnderTest) -> None:
    journals = [one.journal for one in bridge.validators]
    assert sum(len(one.export()["signatures"]) for one in journals) > 0
    assert await bridge.judge.unjustified(journals) == []
    assert await bridge.judge.unpaid_or_doubled() == []
    assert [hold for one in journals for hold in one.holds()] == []
