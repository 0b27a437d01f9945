"""The compare-and-set writes on a real server: each does its work once, and nothing where what it relied on has changed."""

from datetime import UTC, datetime
from typing import Any

import bson
import pytest
from bson import DBRef, Decimal128, ObjectId
from bson.raw_bson import RawBSONDocument
from store_helpers import LATER, NOW, invalid_mint, mint, now_is, put

from reactor.documents.models import Mint, read_request
from reactor.documents.statuses import Collection, Status
from reactor.store.bulk import Written, bulk
from reactor.store.connection import Store
from reactor.store.indexes import init_db
from reactor.store.reading import read
from reactor.store.updates import Update, add_objection, advance, as_read, fail, repair, replace_unreadable, show_waiting

pytestmark = pytest.mark.integration

MINT = Collection.MINT
BY: dict[str, Any] = {"by": "0xme", "now": LATER}


async def one(store: Store, update: Update) -> Written:
    return (await bulk(store, [update]))[0]


async def changed(store: Store, doc_id: ObjectId, fields: dict[str, Any]) -> None:
    await store.collection(MINT).update_one({"_id": doc_id}, {"$set": fields})


async def test_advance_moves_once_and_says_why(store: Store) -> None:
    doc_id = await put(store, MINT, mint(1))
    update = advance(MINT, doc_id, frm="pending", to=Status.CONFIRMED, reason="final", sets={"memo": {"$set": "$x"}}, **BY)
    assert await one(store, update) is Written.APPLIED
    raw = await now_is(store, MINT, doc_id)
    assert (raw["status"], raw["updated_at"], raw["memo"]) == ("confirmed", LATER, {"$set": "$x"})
    assert raw["history"] == [{"status": "confirmed", "at": LATER, "by": "0xme", "reason": "final"}]
    assert await one(store, update) is Written.UNKNOWN
    assert (await now_is(store, MINT, doc_id)) == raw


@pytest.mark.parametrize("fields", [{"status": "failed"}, {"status": ["pending"]}, {"amount": "6"}, {"amount": None}])
async def test_advance_changes_nothing_if_something_changed(store: Store, fields: dict[str, Any]) -> None:
    document = mint(1)
    doc_id = await put(store, MINT, document)
    await changed(store, doc_id, fields)
    before = await now_is(store, MINT, doc_id)
    guard = as_read(document, ["amount"])
    assert (
        await one(store, advance(MINT, doc_id, frm="pending", to=Status.CONFIRMED, reason="", guard=guard, **BY))
        is Written.UNKNOWN
    )
    assert await now_is(store, MINT, doc_id) == before


async def test_history_keeps_the_last_entries(store: Store) -> None:
    old = [{"status": "pending", "at": NOW, "by": "", "reason": str(number)} for number in range(70)]
    doc_id = await put(store, MINT, mint(1, history=old))
    await one(store, advance(MINT, doc_id, frm="pending", to=Status.CONFIRMED, reason="last", **BY))
    history = (await now_is(store, MINT, doc_id))["history"]
    assert len(history) == 64
    assert [entry["reason"] for entry in history[-2:]] == ["69", "last"]


WRONG: dict[str, Any] = {
    "another text": "9",
    "an operator": {"$gt": ""},
    "a list": ["5000000"],
    "a number": 5_000_000,
    "a decimal": Decimal128("5"),
    "not a number": float("nan"),
    "null": None,
    "a reference": DBRef("a", "b", b=1),
    "binary": b"\xff",
    "an early date": datetime(1, 1, 1, tzinfo=UTC),
    "nested": {"a": [{"b": DBRef("x", 1)}]},
}


@pytest.mark.parametrize("wrong", WRONG.values(), ids=WRONG.keys())
async def test_repair_restores_whatever_stood_there(store: Store, wrong: object) -> None:
    good = mint(1)
    doc_id = await put(store, MINT, {**good, "amount": wrong})
    raw = await now_is(store, MINT, doc_id)
    fields = {"amount": good["amount"]}
    update = repair(MINT, doc_id, fields=fields, was=as_read(raw, [*fields, "status"]), reason="amount repaired", **BY)
    assert await one(store, update) is Written.APPLIED
    mended = await now_is(store, MINT, doc_id)
    assert mended["amount"] == good["amount"]
    assert mended["history"][-1] == {"status": "pending", "at": LATER, "by": "0xme", "reason": "amount repaired"}
    assert await one(store, update) is Written.UNKNOWN


async def test_repair_restores_an_absent_field_and_a_foreign_status(store: Store) -> None:
    good = mint(1)
    doc_id = await put(store, MINT, {name: value for name, value in good.items() if name != "amount"} | {"status": 5})
    raw = await now_is(store, MINT, doc_id)
    was = as_read(raw, ["amount", "status"])
    update = repair(MINT, doc_id, fields={"amount": "1"}, was=was, reason="", status=Status.PENDING, **BY)
    assert await one(store, update) is Written.APPLIED
    mended = await now_is(store, MINT, doc_id)
    assert (mended["amount"], mended["status"], mended["history"][-1]["status"]) == ("1", "pending", "pending")


@pytest.mark.parametrize("fields", [{"amount": "10"}, {"status": "confirmed"}, {"signers": ["0xb"]}])
async def test_repair_overwrites_only_what_it_read(store: Store, fields: dict[str, Any]) -> None:
    doc_id = await put(store, MINT, mint(1, amount="9", signers=["x"]))
    raw = await now_is(store, MINT, doc_id)
    wanted = {"amount": "5000000", "signers": []}
    update = repair(MINT, doc_id, fields=wanted, was=as_read(raw, [*wanted, "status"]), reason="", **BY)
    await changed(store, doc_id, fields)
    assert await one(store, update) is Written.UNKNOWN
    assert {name: (await now_is(store, MINT, doc_id))[name] for name in fields} == fields


async def test_repair_onto_the_key_of_another_document_is_refused_alone(store: Store) -> None:
    await init_db(store)
    taken, free = mint(1), mint(2)
    other = await put(store, MINT, mint(3))
    await put(store, MINT, taken)
    doc_id = await put(store, MINT, free)
    fields = {"transaction_hash": taken["transaction_hash"]}
    impossible = repair(MINT, doc_id, fields=fields, was=as_read(free, [*fields, "status"]), reason="", **BY)
    possible = advance(MINT, other, frm="pending", to=Status.CONFIRMED, reason="", **BY)
    assert await bulk(store, [impossible, possible]) == [Written.REFUSED, Written.APPLIED]
    lost = advance(MINT, other, frm="pending", to=Status.CONFIRMED, reason="", **BY)
    assert await bulk(store, [impossible, lost]) == [Written.REFUSED, Written.UNKNOWN]


async def test_a_huge_document_is_replaced_once(store: Store) -> None:
    fresh = mint(1)
    doc_id = await put(store, MINT, {**fresh, "amount": "x" * 15_000_000})
    found = (await read(store, MINT, [doc_id]))[doc_id]
    assert found.oversized
    assert found.size > 15_000_000
    update = replace_unreadable(MINT, doc_id, size=found.size, fresh=fresh, reason="too large", **BY)
    assert await one(store, update) is Written.APPLIED
    raw = await now_is(store, MINT, doc_id)
    assert raw == {
        **fresh,
        "history": [{"status": "pending", "at": LATER, "by": "0xme", "reason": "too large"}],
        "updated_at": LATER,
    }
    assert await one(store, update) is Written.UNKNOWN


BROKEN = {
    "a field twice": lambda good: _without_end(bson.encode(good)) + _without_length(bson.encode({"amount": "6"})),
    "a field twice, each time another": lambda good: (
        _without_end(bson.encode({**good, "amount": "9"})) + _without_length(bson.encode({"amount": "6"}))
    ),
    "a broken text": lambda good: bson.encode({**good, "amount": "?broken?"}).replace(b"?broken?", b"\xff\xfebroken"),
}


def _without_end(encoded: bytes) -> bytes:
    return encoded[4:-1]


def _without_length(encoded: bytes) -> bytes:
    return encoded[4:]


@pytest.mark.parametrize("broken", BROKEN.values(), ids=BROKEN.keys())
async def test_a_document_that_cannot_be_sent_back_is_replaced(store: Store, broken: Any) -> None:
    fresh = mint(1)
    encoded = broken(fresh)
    if encoded[:4] != len(encoded).to_bytes(4, "little"):
        encoded = (len(encoded) + 4).to_bytes(4, "little") + encoded
    await store.client[store.database.name].get_collection("mint").insert_one(RawBSONDocument(encoded))  # type: ignore[arg-type]
    doc_id = fresh["_id"]
    found = (await read(store, MINT, [doc_id]))[doc_id]
    assert found.oversized
    update = replace_unreadable(MINT, doc_id, size=found.size, fresh=fresh, reason="broken", **BY)
    assert await one(store, update) is Written.APPLIED
    assert (await now_is(store, MINT, doc_id))["amount"] == fresh["amount"]


def objecting(doc_id: ObjectId, signer: str, code: str = "not_on_chain", **options: Any) -> Update:
    objection = {"signer": signer, "code": code, "reason": "$none", "signature": f"sig-{signer}-{code}"}
    return add_objection(MINT, doc_id, frm="pending", objection=objection, now=LATER, **options)


async def test_everyone_objects_once(store: Store) -> None:
    doc_id = await put(store, MINT, mint(1))
    for signer in ("0xa", "0xb"):
        assert await one(store, objecting(doc_id, signer)) is Written.APPLIED
    assert await one(store, objecting(doc_id, "0xb")) is Written.UNKNOWN
    assert await one(store, objecting(doc_id, "0xa", "other_outcome")) is Written.APPLIED
    raw = await now_is(store, MINT, doc_id)
    assert [(one["signer"], one["code"]) for one in raw["objections"]] == [("0xb", "not_on_chain"), ("0xa", "other_outcome")]
    assert (raw["status"], raw["history"]) == ("pending", [])


async def test_objections_of_a_wrong_type_are_begun_anew(store: Store) -> None:
    doc_id = await put(store, MINT, mint(1, objections="none"))
    assert await one(store, objecting(doc_id, "0xa", guard={"status": "confirmed"})) is Written.UNKNOWN
    assert await one(store, objecting(doc_id, "0xa")) is Written.APPLIED
    assert len((await now_is(store, MINT, doc_id))["objections"]) == 1


def failing(doc_id: ObjectId, **options: Any) -> Update:
    given: dict[str, Any] = {
        "frm": "pending",
        "objections": [(name, f"sig-{name}-not_on_chain") for name in ("0xa", "0xb")],
        "signers": [],
        "signatures": [],
        "reason": "no such event",
        **BY,
        **options,
    }
    return fail(MINT, doc_id, **given)


async def test_a_quorum_fails_a_document(store: Store) -> None:
    doc_id = await put(store, MINT, mint(1))
    await one(store, objecting(doc_id, "0xa"))
    assert await one(store, failing(doc_id)) is Written.UNKNOWN
    await one(store, objecting(doc_id, "0xb"))
    for options in ({"signers": ["0xc"]}, {"signatures": ["s"]}, {"frm": "confirmed"}, {"guard": {"amount": "1"}}):
        assert await one(store, failing(doc_id, **options)) is Written.UNKNOWN
    assert await one(store, failing(doc_id)) is Written.APPLIED
    raw = await now_is(store, MINT, doc_id)
    assert (raw["status"], raw["history"][-1]["reason"]) == ("failed", "no such event")


async def test_a_document_signed_meanwhile_does_not_fail(store: Store) -> None:
    doc_id = await put(store, MINT, mint(1))
    for signer in ("0xa", "0xb"):
        await one(store, objecting(doc_id, signer))
    await changed(store, doc_id, {"signers": ["0xc"], "signatures": ["good"]})
    assert await one(store, failing(doc_id)) is Written.UNKNOWN
    assert (await now_is(store, MINT, doc_id))["status"] == "pending"


async def test_absent_lists_do_not_keep_a_document_from_failing(store: Store) -> None:
    document = {name: value for name, value in mint(1).items() if name not in {"signers", "signatures"}}
    doc_id = await put(store, MINT, document)
    for signer in ("0xa", "0xb"):
        await one(store, objecting(doc_id, signer))
    read_as = read_request(MINT, document)
    assert await one(store, failing(doc_id, signers=read_as.signers, signatures=read_as.signatures)) is Written.APPLIED


async def test_waiting_is_shown_and_not_written_twice(store: Store) -> None:
    doc_id = await put(store, MINT, mint(1))

    def shown(confirmations: int | None, have: str, by: str = "0xme") -> Update:
        waiting = ("signatures", {"need": "3", "have": have})
        return show_waiting(MINT, doc_id, frm="pending", confirmations=confirmations, waiting=waiting, by=by, now=LATER)

    assert await one(store, shown(5, "1")) is Written.APPLIED
    raw = await now_is(store, MINT, doc_id)
    assert raw["confirmations"] == "5"
    assert raw["waiting"] == {"reason": "signatures", "params": {"have": "1", "need": "3"}, "by": "0xme", "at": LATER}
    assert raw["history"] == []
    assert Mint.read(raw).malformed == ()
    assert await one(store, shown(5, "1", by="0xother")) is Written.UNKNOWN
    assert await one(store, shown(None, "1")) is Written.UNKNOWN
    assert await one(store, shown(6, "1")) is Written.APPLIED
    assert await one(store, shown(None, "2")) is Written.APPLIED
    nothing = show_waiting(MINT, doc_id, frm="pending", confirmations=None, waiting=None, by="0xme", now=LATER)
    assert await one(store, nothing) is Written.APPLIED
    assert await one(store, nothing) is Written.UNKNOWN
    raw = await now_is(store, MINT, doc_id)
    assert (raw["waiting"], raw["confirmations"]) == (None, "6")


async def test_waiting_is_not_shown_in_another_status(store: Store) -> None:
    doc_id = await put(store, MINT, mint(1, waiting="garbage"))
    options: dict[str, Any] = {"confirmations": 1, "waiting": ("user", {}), **BY}
    assert await one(store, show_waiting(MINT, doc_id, frm="signed", **options)) is Written.UNKNOWN
    assert await one(store, show_waiting(MINT, doc_id, frm="pending", **options)) is Written.APPLIED


async def test_one_bulk_writes_to_several_collections(store: Store) -> None:
    mints = [await put(store, MINT, mint(number)) for number in range(3)]
    other = await put(store, Collection.INVALID_MINT, invalid_mint(9))
    updates = [advance(MINT, doc_id, frm="pending", to=Status.CONFIRMED, reason="", **BY) for doc_id in mints]
    late = advance(Collection.INVALID_MINT, other, frm="signed", to=Status.CONFIRMED, reason="", **BY)
    before = store.operations["update"]
    assert await bulk(store, [updates[0], late, *updates[1:]]) == [
        Written.APPLIED,
        Written.UNKNOWN,
        Written.APPLIED,
        Written.APPLIED,
    ]
    assert store.operations["update"] - before == 2
    assert await bulk(store, []) == []
