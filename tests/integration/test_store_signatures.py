"""Signatures in the shared database: nothing lost among many writers, nothing counted that was not verified."""

import asyncio
from typing import Any

import pytest
from bson import ObjectId
from store_helpers import LATER, NOW, burn, mint, now_is, put

from reactor.documents.statuses import Collection, Status
from reactor.engine.feed import pipeline
from reactor.store.bulk import Written, bulk
from reactor.store.connection import Store
from reactor.store.reading import read
from reactor.store.signatures import append_signature, complete_payout, mark_signed
from reactor.store.updates import MISSING, QUIET, Update, as_read, show_waiting

pytestmark = pytest.mark.integration

MINT = Collection.MINT
BURN = Collection.BURN
CONFIRMED = Status.CONFIRMED.value


def append(doc_id: ObjectId, signer: str, **options: Any) -> Update:
    given: dict[str, Any] = {
        "statuses": (Status.CONFIRMED, Status.SIGNED, Status.SUBMITTED),
        "guard": {},
        "signature": f"sig-{signer}",
        "by": signer,
        "reason": "enough signatures",
        "now": LATER,
        "threshold": 3,
        "rings_at": 3,
        **options,
    }
    return append_signature(MINT, doc_id, signer=signer, **given)


async def one(store: Store, update: Update) -> Written:
    return (await bulk(store, [update]))[0]


def entries(document: dict[str, Any]) -> list[tuple[Any, Any]]:
    return list(zip(document["signers"], document["signatures"], strict=True))


async def confirmed(store: Store, *pairs: tuple[Any, Any], **fields: Any) -> ObjectId:
    signers, signatures = [who for who, _ in pairs], [what for _, what in pairs]
    return await put(store, MINT, mint(1, **{"status": CONFIRMED, "signers": signers, "signatures": signatures, **fields}))


async def test_twelve_writers_lose_nothing_and_sign_once(store: Store) -> None:
    documents = [mint(number, status=CONFIRMED) for number in range(50)]
    await store.collection(MINT).insert_many(documents)
    names = [f"0x{number:02x}" for number in range(12)]

    async def writer(me: str) -> None:
        open_ids = [document["_id"] for document in documents]
        for _ in range(100):
            if not open_ids:
                return
            updates = []
            for doc_id, found in (await read(store, MINT, open_ids)).items():
                assert found.raw is not None
                pairs = entries(found.raw)
                assert all(what == f"sig-{who}" for who, what in pairs)
                if me not in found.raw["signers"]:
                    updates.append(append(doc_id, me, verified=pairs, threshold=9))
                elif found.raw["status"] == CONFIRMED and len(pairs) >= 9:
                    signing = {"threshold": 9, "by": me, "reason": "complete", "now": LATER}
                    updates.append(mark_signed(MINT, doc_id, guard={}, verified=pairs, invalid=[], **signing))
            await bulk(store, updates)
            rows = store.collection(MINT).find({"$or": [{"signers": {"$ne": me}}, {"status": CONFIRMED}]}, {"_id": 1})
            open_ids = [row["_id"] async for row in rows]
        pytest.fail(f"{me} did not come to an end")

    await asyncio.gather(*(writer(name) for name in names))
    for document in documents:
        raw = await now_is(store, MINT, document["_id"])
        assert entries(raw) == [(name, f"sig-{name}") for name in names]
        assert raw["status"] == "signed"
        assert [entry["status"] for entry in raw["history"]] == ["signed"]


async def test_the_last_needed_signature_makes_it_signed_in_the_same_write(store: Store) -> None:
    doc_id = await confirmed(store, ("0xb", "sig-0xb"), ("0xd", "sig-0xd"))
    update = append(
        doc_id,
        "0xc",
        verified=[("0xb", "sig-0xb"), ("0xd", "sig-0xd")],
        sets={"nonce": "7", "data": {"recipient": "$recipient_address"}},
    )
    assert await one(store, update) is Written.APPLIED
    raw = await now_is(store, MINT, doc_id)
    assert raw["status"] == "signed"
    assert raw["signers"] == ["0xb", "0xc", "0xd"]
    assert (raw["nonce"], raw["data"]) == ("7", {"recipient": "$recipient_address"})
    assert raw["history"] == [{"status": "signed", "at": LATER, "by": "0xc", "reason": "enough signatures"}]
    assert raw["updated_at"] == LATER
    assert not [name for name in raw if name.startswith("_") and name != "_id"]
    assert await one(store, update) is Written.UNKNOWN


async def test_below_the_threshold_it_stays_confirmed(store: Store) -> None:
    doc_id = await confirmed(store, ("0xb", "sig-0xb"))
    update = append(doc_id, "0xa", verified=[("0xb", "sig-0xb")])
    assert await one(store, update) is Written.APPLIED
    raw = await now_is(store, MINT, doc_id)
    assert (raw["status"], raw["signers"], raw["history"]) == ("confirmed", ["0xa", "0xb"], [])


@pytest.mark.parametrize(
    ("pairs", "verified"),
    [
        ([("0xb", "bad"), ("0xc", "bad")], []),
        ([("0xb", "bad"), ("0xc", "bad")], [("0xb", "good"), ("0xc", "good")]),
        ([("0xb", "good"), ("0xb", "good")], [("0xb", "good"), ("0xb", "good")]),
        ([("0xa", "stolen"), ("0xb", "good")], [("0xa", "stolen"), ("0xb", "good")]),
        ([("0xb", "good")], [("0xb", "good"), ("0xc", "gone")]),
    ],
    ids=["unverified", "exchanged since", "twice the same", "another of mine", "dropped since"],
)
async def test_what_was_not_verified_does_not_count(
    store: Store, pairs: list[tuple[str, str]], verified: list[tuple[str, str]]
) -> None:
    doc_id = await confirmed(store, *pairs)
    assert await one(store, append(doc_id, "0xa", verified=verified)) is Written.APPLIED
    raw = await now_is(store, MINT, doc_id)
    assert raw["status"] == "confirmed"
    assert raw["signers"].count("0xa") == 1


async def test_only_the_write_that_signs_drops_what_is_invalid(store: Store) -> None:
    doc_id = await confirmed(store, ("0xb", "bad"), ("0xc", "sig-0xc"), ("0xc", "sig-0xc"), ("0xe", "unknown"))
    checked: dict[str, Any] = {"verified": [("0xc", "sig-0xc")], "invalid": [("0xb", "bad")]}
    assert await one(store, append(doc_id, "0xa", **checked)) is Written.APPLIED
    assert ("0xb", "bad") in entries(await now_is(store, MINT, doc_id))
    assert await one(store, append(doc_id, "0xd", **checked, threshold=2)) is Written.APPLIED
    raw = await now_is(store, MINT, doc_id)
    assert raw["status"] == "signed"
    # The unknown one came after this writer looked: the next reader judges it.
    assert entries(raw) == [("0xa", "sig-0xa"), ("0xc", "sig-0xc"), ("0xd", "sig-0xd"), ("0xe", "unknown")]


async def test_late_signatures_are_welcome_and_change_no_status(store: Store) -> None:
    doc_id = await confirmed(store, ("0xb", "bad"), status="submitted")
    update = append(doc_id, "0xa", threshold=1, invalid=[("0xb", "bad")])
    assert await one(store, update) is Written.APPLIED
    raw = await now_is(store, MINT, doc_id)
    assert (raw["status"], raw["signers"], raw["history"]) == ("submitted", ["0xa", "0xb"], [])
    other = await put(store, MINT, mint(2, status="success"))
    assert await one(store, append(other, "0xa")) is Written.UNKNOWN
    assert (await now_is(store, MINT, other))["signers"] == []


async def test_an_entry_without_its_counterpart_is_none(store: Store) -> None:
    doc_id = await confirmed(store, signers=["0xb", "0xc"], signatures=["sig-0xb"])
    assert await one(store, append(doc_id, "0xa")) is Written.APPLIED
    assert entries(await now_is(store, MINT, doc_id)) == [("0xa", "sig-0xa"), ("0xb", "sig-0xb")]


async def test_my_entry_is_replaced_and_then_left_alone(store: Store) -> None:
    doc_id = await confirmed(store, ("0xa", "forged"), ("0xa", "forged too"), ("0xb", "sig-0xb"))
    assert await one(store, append(doc_id, "0xa")) is Written.APPLIED
    assert entries(await now_is(store, MINT, doc_id)) == [("0xa", "sig-0xa"), ("0xb", "sig-0xb")]
    assert await one(store, append(doc_id, "0xa")) is Written.UNKNOWN


async def test_a_forged_entry_beside_mine_goes_when_it_is_signed(store: Store) -> None:
    doc_id = await confirmed(store, ("0xa", "forged"), ("0xa", "sig-0xa"), ("0xb", "sig-0xb"))
    assert await one(store, append(doc_id, "0xa")) is Written.UNKNOWN
    checked: dict[str, Any] = {"verified": [("0xa", "sig-0xa"), ("0xb", "sig-0xb")], "invalid": [("0xa", "forged")]}
    assert await one(store, append(doc_id, "0xc", **checked)) is Written.APPLIED
    raw = await now_is(store, MINT, doc_id)
    assert (raw["signers"], raw["status"]) == (["0xa", "0xb", "0xc"], "signed")


@pytest.mark.parametrize(
    "fields",
    [
        {"signers": ["0xb", "0xc"], "signatures": []},
        {"signers": "0xb", "signatures": "sig-0xb"},
        {"signers": None, "signatures": []},
        {"signers": {"0": "0xa"}, "signatures": 5, "history": "none"},
    ],
    ids=["not parallel", "texts", "null", "other types"],
)
async def test_lists_that_are_none_are_begun_anew(store: Store, fields: dict[str, Any]) -> None:
    doc_id = await confirmed(store, **fields)
    assert await one(store, append(doc_id, "0xa", threshold=1)) is Written.APPLIED
    raw = await now_is(store, MINT, doc_id)
    assert entries(raw) == [("0xa", "sig-0xa")]
    assert [entry["status"] for entry in raw["history"]] == ["signed"]


async def test_garbage_inside_the_lists_hinders_nobody(store: Store) -> None:
    garbage: list[tuple[Any, Any]] = [(None, 1), ({"$gt": ""}, ["x"]), (["0xa"], "y"), ("$status", "$$ROOT"), (5, None)]
    doc_id = await confirmed(store, *garbage)
    assert await one(store, append(doc_id, "0xa")) is Written.APPLIED
    raw = await now_is(store, MINT, doc_id)
    assert len(entries(raw)) == 6
    assert ("0xa", "sig-0xa") in entries(raw)
    assert ("$status", "$$ROOT") in entries(raw)


@pytest.mark.parametrize(
    "fields", [{"attempt": "1"}, {"nonce": "8"}, {"amount": ["5000000"]}, {"status": ["confirmed"]}, {"nonce": 7}]
)
async def test_a_field_that_the_bytes_depend_on_has_changed(store: Store, fields: dict[str, Any]) -> None:
    document = mint(1, status=CONFIRMED, attempt="0", nonce="7")
    doc_id = await put(store, MINT, document)
    guard = as_read(document, ["attempt", "nonce", "amount", "data", "absent"])
    assert guard["absent"] is MISSING
    await store.collection(MINT).update_one({"_id": doc_id}, {"$set": fields})
    assert await one(store, append(doc_id, "0xa", guard=guard)) is Written.UNKNOWN
    assert (await now_is(store, MINT, doc_id))["signers"] == []
    await store.collection(MINT).update_one({"_id": doc_id}, {"$set": {name: document[name] for name in fields}})
    assert await one(store, append(doc_id, "0xa", guard=guard)) is Written.APPLIED


async def test_an_absent_field_that_appears_is_a_change(store: Store) -> None:
    document = mint(1, status=CONFIRMED)
    doc_id = await put(store, MINT, document)
    await store.collection(MINT).update_one({"_id": doc_id}, {"$set": {"attempt": None}})
    assert await one(store, append(doc_id, "0xa", guard=as_read(document, ["attempt"]))) is Written.UNKNOWN


async def test_a_removed_field_counts_as_what_the_models_read_it_as(store: Store) -> None:
    document = burn(1, status=CONFIRMED)
    doc_id = await put(store, BURN, {name: value for name, value in document.items() if name not in {"attempt", "return_tx"}})
    options: dict[str, Any] = {"statuses": [CONFIRMED], "signer": "k", "signature": "s", "by": "k", "reason": "", "now": NOW}
    options["rings_at"] = 1
    for guard in ({"attempt": "1"}, {"attempt": ""}, {"return_tx": "c0"}, {"absent": ""}):
        assert await one(store, append_signature(BURN, doc_id, guard=guard, **options)) is Written.UNKNOWN
    update = append_signature(BURN, doc_id, guard={"attempt": "0", "return_tx": ""}, **options)
    assert await one(store, update) is Written.APPLIED


async def test_a_signature_rings_only_where_somebody_has_something_to_do(store: Store) -> None:
    """By a real change stream: what is short of the threshold, late, or shown to the eye is quiet; all else rings."""
    many = pipeline([store.names[MINT]], QUIET)
    async with store.stream_client() as client, await client[store.database.name].watch(many, max_await_time_ms=100) as stream:
        quiet, loud, late, garbage = [await put(store, MINT, mint(number, status=CONFIRMED)) for number in range(4)]
        for signer in ("0xa", "0xb"):
            await one(store, append(quiet, signer))
            await one(store, append(loud, signer))
        shown = {"frm": CONFIRMED, "confirmations": 3, "waiting": ("signatures", {}), "by": "0xa", "now": LATER}
        await one(store, show_waiting(MINT, quiet, **shown))
        await one(store, append(loud, "0xc"))
        await store.collection(MINT).update_one({"_id": late}, {"$set": {"status": "signed"}})
        await one(store, append(late, "0xa", rings_at=1))
        # Enough entries, whoever made them: whether they are valid is for him to judge who is rung.
        stuffed = {"signers": ["0x1", "0x2", "0x3"], "signatures": ["-"] * 3, "updated_at": NOW}
        await store.collection(MINT).update_one({"_id": garbage}, {"$set": stuffed})
        await one(store, append(garbage, "0xa"))
        await store.collection(MINT).update_one({"_id": quiet}, {"$set": {"amount": "1"}})
        await store.collection(MINT).delete_one({"_id": quiet})
        rung = []
        while not rung or rung[-1] != (quiet, "delete"):
            if (event := await stream.try_next()) is not None:
                rung.append((event["documentKey"]["_id"], event["operationType"]))
    updates = [who for who, operation in rung if operation == "update"]
    assert updates == [loud, late, garbage, garbage, quiet]


async def test_payout_signatures_stand_in_vault_order(store: Store) -> None:
    doc_id = await put(store, BURN, burn(1, status=CONFIRMED))
    vault = ["k9", "k1", "k5"]
    for signer in ("k5", "zz", "k9", "k1"):
        update = append_signature(
            BURN,
            doc_id,
            statuses=[CONFIRMED],
            guard={"attempt": "0"},
            signer=signer,
            signature=f"sig-{signer}",
            by="me",
            reason="",
            now=NOW,
            rings_at=3,
            order=vault,
        )
        assert await one(store, update) is Written.APPLIED
    raw = await now_is(store, BURN, doc_id)
    assert (raw["signers"], raw["status"]) == ([*vault, "zz"], "confirmed")


def completing(document: dict[str, Any], **options: Any) -> Update:
    given: dict[str, Any] = {
        "signers": document["signers"],
        "signatures": document["signatures"],
        "pairs": [("k9", "s9"), ("k1", "s1")],
        "return_tx": "c0ffee",
        "return_tx_hash": "ab" * 32,
        "guard": {"attempt": "0"},
        "by": "0xa",
        "reason": "2 of 2",
        "now": LATER,
        **options,
    }
    return complete_payout(BURN, document["_id"], **given)


async def test_a_complete_payout_is_written_over_exactly_what_was_read(store: Store) -> None:
    document = burn(1, status=CONFIRMED, signers=["k9", "zz", "k1"], signatures=["s9", "bad", "s1"])
    doc_id = await put(store, BURN, document)
    for changed in (
        {"signers": ["k9", "k1"]},
        {"signatures": ["s9", "bad", "other"]},
        {"guard": {"attempt": "1"}},
        {"frm": "signed"},
    ):
        assert await one(store, completing(document, **changed)) is Written.UNKNOWN
    assert (await now_is(store, BURN, doc_id))["return_tx"] == ""
    assert await one(store, completing(document)) is Written.APPLIED
    raw = await now_is(store, BURN, doc_id)
    assert (raw["status"], raw["return_tx"], raw["return_tx_hash"]) == ("signed", "c0ffee", "ab" * 32)
    assert entries(raw) == [("k9", "s9"), ("k1", "s1")]
    assert raw["history"][-1] == {"status": "signed", "at": LATER, "by": "0xa", "reason": "2 of 2"}


def marking(doc_id: ObjectId, **options: Any) -> Update:
    given: dict[str, Any] = {
        "guard": {"nonce": ""},
        "verified": [("0xa", "sa"), ("0xb", "sb")],
        "invalid": [("0xc", "bad")],
        "threshold": 2,
        "by": "0xa",
        "reason": "2 of 2",
        "now": LATER,
        **options,
    }
    return mark_signed(MINT, doc_id, **given)


async def test_mark_signed_sorts_and_cleans(store: Store) -> None:
    doc_id = await confirmed(store, ("0xc", "bad"), ("0xb", "sb"), ("0xa", "sa"), ("0xb", "sb"))
    assert await one(store, marking(doc_id, sets={"nonce": "7"})) is Written.APPLIED
    raw = await now_is(store, MINT, doc_id)
    assert (raw["status"], entries(raw), raw["nonce"]) == ("signed", [("0xa", "sa"), ("0xb", "sb")], "7")
    assert [entry["reason"] for entry in raw["history"]] == ["2 of 2"]


@pytest.mark.parametrize(
    "options",
    [
        {"threshold": 3},
        {"guard": {"nonce": "1"}},
        {"verified": [("0xa", "sa")]},
        {"verified": [("0xa", "sa"), ("0xb", "other")]},
        {"verified": [("0xa", "sa"), ("0xa", "sa"), ("0xd", "sd")]},
    ],
)
async def test_mark_signed_needs_enough_that_still_stand(store: Store, options: dict[str, Any]) -> None:
    doc_id = await confirmed(store, ("0xc", "bad"), ("0xb", "sb"), ("0xa", "sa"))
    assert await one(store, marking(doc_id, **options)) is Written.UNKNOWN
    assert (await now_is(store, MINT, doc_id))["status"] == "confirmed"


async def test_mark_signed_starts_from_confirmed_only(store: Store) -> None:
    doc_id = await confirmed(store, ("0xb", "sb"), ("0xa", "sa"), status="pending")
    assert await one(store, marking(doc_id)) is Written.UNKNOWN
