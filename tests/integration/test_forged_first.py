"""Forged documents that are there before the honest ones: the request still reaches its right end, nothing else is signed."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest
import pytest_asyncio
from bridge_helpers.adversary import GARBAGE, STRANGER, WRONG_TYPES, Adversary, Document, adversary_of, forged
from bridge_helpers.harness import FEE, BridgeUnderTest, running_bridge
from bridge_helpers.scenarios import Scenarios

from reactor.documents.statuses import Collection

pytestmark = [
    pytest.mark.integration,
    pytest.mark.xdist_group("bridge"),
    pytest.mark.asyncio(loop_scope="module"),
]

AMOUNT = 1_000_000
POCKET_USER = "ab" * 20
Forge = Callable[[Adversary, Collection, str], Awaitable[object]]


@pytest_asyncio.fixture(scope="module", loop_scope="module", autouse=True)
async def bridge(mongo_uri: str, request: pytest.FixtureRequest) -> AsyncIterator[BridgeUnderTest]:
    async with (
        running_bridge(mongo_uri) as running,
        adversary_of(running) as adversary,
        SCENARIOS.begun(request, running, adversary),
    ):
        yield running


SCENARIOS = Scenarios()


# --- the three requests, from a forgery to the right end -------------------------------------------------------------


async def mint_in_spite_of(bridge: BridgeUnderTest, adversary: Adversary, forge: Forge | None, name: str) -> None:
    recipient = bridge.recipient()
    raw, hash_ = bridge.deposit_of(AMOUNT, bridge.memo(recipient))
    if forge is not None:
        await forge(adversary, Collection.MINT, hash_)
    await bridge.send(raw)
    document = await bridge.minted(hash_)
    assert await bridge.judge.balance(recipient) == AMOUNT
    assert await bridge.judge.nonce(recipient) == 1
    assert (document["recipient_address"], document["amount"], document["nonce"]) == (recipient, str(AMOUNT), "1")
    _assert_repaired(document, forge)


async def refund_in_spite_of(bridge: BridgeUnderTest, adversary: Adversary, forge: Forge | None, name: str) -> None:
    raw, hash_ = bridge.deposit_of(AMOUNT, f"no memo: {name}"[:70])
    if forge is not None:
        await forge(adversary, Collection.INVALID_MINT, hash_)
    await bridge.send(raw)
    document, paid = await bridge.paid(Collection.INVALID_MINT, hash_)
    sender = bridge.net.users[0].pocket_address
    assert [(one.recipient, one.amount) for one in paid] == [(sender, AMOUNT - FEE)]
    assert (document["sender_address"], document["amount"], document["return_tx_hash"]) == (sender, str(AMOUNT), paid[0].hash)
    _assert_repaired(document, forge)


async def payout_in_spite_of(bridge: BridgeUnderTest, adversary: Adversary, forge: Forge | None, name: str) -> None:
    async def before(hash_: str) -> None:
        if forge is not None:
            await forge(adversary, Collection.BURN, hash_)

    hash_ = await bridge.presigned_burn(AMOUNT, POCKET_USER, before)
    document, paid = await bridge.paid(Collection.BURN, hash_)
    assert [(one.recipient, one.amount) for one in paid] == [(POCKET_USER, AMOUNT - FEE)]
    assert (document["recipient_address"], document["amount"], document["return_tx_hash"]) == (
        POCKET_USER,
        str(AMOUNT),
        paid[0].hash,
    )
    _assert_repaired(document, forge)


def _assert_repaired(document: Document, forge: Forge | None) -> None:
    """The twin without an adversary has nothing but forward moves in its history."""
    reasons = [one["reason"] for one in document["history"]]
    assert all(isinstance(one["status"], str) for one in document["history"])
    if forge is None:
        assert not any("repaired" in reason or "claimed" in reason for reason in reasons), reasons
        steps = [one["status"] for one in document["history"] if one["status"] != "submitted"]
        assert steps == ["confirmed", "signed", "success"], reasons


RUNS = {
    Collection.MINT: mint_in_spite_of,
    Collection.INVALID_MINT: refund_in_spite_of,
    Collection.BURN: payout_in_spite_of,
}

# --- the forgeries ---------------------------------------------------------------------------------------------------


def _own(adversary: Adversary, role: Collection, hash_: str) -> Any:
    return adversary.bridge.id_of(role, hash_)


def _inserting(make: Callable[[Adversary, Collection, str], Document]) -> Forge:
    async def forge(adversary: Adversary, role: Collection, hash_: str) -> None:
        await adversary.insert(role, make(adversary, role, hash_))

    return forge


def _typed(document: Document) -> Document:
    """All of an honest writer's fields, of wrong types, and some that nobody knows."""
    return document | {name: value for name, value in WRONG_TYPES.items() if name in document or name.startswith(("$", "m"))}


def _other(hash_: str) -> str:
    return hash_[:-4] + ("0000" if hash_[-4:] != "0000" else "1111")


FORGERIES: dict[str, Forge] = {
    "foreign id": _inserting(lambda a, c, h: forged(c, h, a.bridge)),
    "text id": _inserting(lambda a, c, h: forged(c, h, a.bridge, _id=f"id of {h}")),
    "document id": _inserting(lambda a, c, h: forged(c, h, a.bridge, _id={"a": h})),
    "own id, wrong hash": _inserting(lambda a, c, h: forged(c, _other(h), a.bridge, _id=_own(a, c, h))),
    "own id, other bridge": _inserting(
        lambda a, c, h: forged(c, h, a.bridge, _id=_own(a, c, h), vault_address="11" * 20, wpokt_address="0x" + "11" * 20)
    ),
    "foreign id, other bridge": _inserting(
        lambda a, c, h: forged(c, h, a.bridge, vault_address="11" * 20, wpokt_address="0x" + "11" * 20)
    ),
    "own id, wrong types": _inserting(lambda a, c, h: _typed(forged(c, h, a.bridge, _id=_own(a, c, h)))),
    "foreign id, wrong types": _inserting(lambda a, c, h: _typed(forged(c, h, a.bridge))),
    "own id, nothing else": _inserting(lambda a, c, h: {"_id": _own(a, c, h)}),
    "own id, hash in a list": _inserting(lambda a, c, h: forged(c, h, a.bridge, _id=_own(a, c, h), transaction_hash=[h])),
    "foreign id, hash in a list": _inserting(lambda a, c, h: forged(c, h, a.bridge, transaction_hash=[h, "x"])),
    "own id, huge": _inserting(lambda a, c, h: forged(c, h, a.bridge, _id=_own(a, c, h), junk="x" * 2_000_000)),
    "foreign id, huge": _inserting(lambda a, c, h: forged(c, h, a.bridge, junk="x" * 2_000_000)),
    "own id, 300 signers": _inserting(
        lambda a, c, h: forged(c, h, a.bridge, _id=_own(a, c, h), signers=["x"] * 300, signatures=["y"] * 300)
    ),
    "own id, list lengths differ": _inserting(
        lambda a, c, h: forged(c, h, a.bridge, _id=_own(a, c, h), signers=["x"] * 3, signatures=["y"])
    ),
    "claims success": _inserting(lambda a, c, h: forged(c, h, a.bridge, status="success")),
    "claims failed": _inserting(lambda a, c, h: forged(c, h, a.bridge, status="failed", _id=_own(a, c, h))),
    "claims a status of its own": _inserting(lambda a, c, h: forged(c, h, a.bridge, status="paid", _id=_own(a, c, h))),
    "claims signed with garbage": _inserting(
        lambda a, c, h: forged(c, h, a.bridge, _id=_own(a, c, h), status="signed", **_garbage(a, c))
    ),
    "claims submitted": _inserting(
        lambda a, c, h: forged(c, h, a.bridge, status="submitted", return_tx="00" * 300, return_tx_hash="11" * 32)
    ),
    "attempt 9": _inserting(lambda a, c, h: forged(c, h, a.bridge, attempt="9")),
    "objections nobody signed": _inserting(
        lambda a, c, h: forged(c, h, a.bridge, _id=_own(a, c, h), status="failed", objections=_objections(a))
    ),
}


def _garbage(adversary: Adversary, role: Collection) -> Document:
    """Entries in the names of the members, and one of a stranger."""
    members = [one.address for one in adversary.bridge.net.validators]
    if role is not Collection.MINT:
        members = [one.public_key for one in adversary.bridge.net.validators]
    signers = sorted([*members, STRANGER.address.lower()])
    return {"signers": signers, "signatures": [GARBAGE] * len(signers)}


def _objections(adversary: Adversary) -> list[Document]:
    signed = STRANGER.unsafe_sign_hash(b"\1" * 32).signature.to_0x_hex()
    return [
        {"signer": one.address, "code": "not_on_chain", "reason": "forged", "signature": signed}
        for one in adversary.bridge.net.validators
    ]


for _role, _run in RUNS.items():
    for _name, _forge in {"honest": None, **FORGERIES}.items():
        SCENARIOS.add(
            f"{_role.value}: {_name}",
            lambda bridge, adversary, run=_run, forge=_forge, name=_name: run(bridge, adversary, forge, name),
        )


@pytest.mark.parametrize("name", SCENARIOS.names)
async def test_a_forged_document_was_there_first(name: str) -> None:
    await SCENARIOS.result(name)


async def test_nothing_unjustified_was_signed_and_everything_was_paid_once(bridge: BridgeUnderTest) -> None:
    journals = [one.journal for one in bridge.validators]
    assert sum(len(one.export()["signatures"]) for one in journals) > 0
    assert await bridge.judge.unjustified(journals) == []
    assert await bridge.judge.unpaid_or_doubled() == []
    assert [hold for one in journals for hold in one.holds()] == []
