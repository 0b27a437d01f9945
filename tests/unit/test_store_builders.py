"""The store without a server: what enters a pipeline, what is retried, what an error may say."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

import pytest
from bson import ObjectId
from pymongo.errors import AutoReconnect, BulkWriteError, DuplicateKeyError, NetworkTimeout, NotPrimaryError, OperationFailure

from reactor.documents.statuses import REQUESTS, TRANSITIONS, Collection, Status
from reactor.store import retrying
from reactor.store.connection import Store
from reactor.store.indexes import OPEN_STATUSES, plan
from reactor.store.problem import StoreProblem
from reactor.store.reading import KEY_FIELDS
from reactor.store.retrying import is_passing
from reactor.store.signatures import append_signature, complete_payout, mark_signed
from reactor.store.updates import MISSING, Update, add_objection, advance, as_read, fail, repair, replace_unreadable, show_waiting

pytestmark = pytest.mark.unit

NOW = datetime(2026, 1, 2, tzinfo=UTC)
EVIL = "$$ROOT"
ID = ObjectId("1" * 24)
BY: dict[str, Any] = {"by": EVIL, "now": NOW}
WHY: dict[str, Any] = {**BY, "reason": EVIL}
PAIRS = [(EVIL, EVIL), ("0xb", EVIL)]
GUARD = {"amount": EVIL, "memo": {"$gt": EVIL}}


def builders() -> Iterator[Update]:
    """Each builder, with what could be taken for an expression wherever a value comes from outside."""
    mint = Collection.MINT
    yield advance(mint, ID, frm=EVIL, to=Status.PENDING, guard=GUARD, sets={"memo": {"$add": EVIL}}, **WHY)
    yield repair(mint, ID, fields={"memo": EVIL}, was={"memo": EVIL, "status": EVIL}, guard=GUARD, **WHY)
    yield repair(mint, ID, fields={"memo": EVIL}, was={"memo": "\ufffd", "status": 5}, status=Status.PENDING, **WHY)
    yield replace_unreadable(mint, ID, size=5, fresh={"_id": ID, "memo": EVIL, "status": "pending"}, **WHY)
    objection = dict.fromkeys(("signer", "code", "reason", "signature"), EVIL)
    yield add_objection(mint, ID, frm=EVIL, objection=objection, now=NOW, guard=GUARD)
    yield fail(mint, ID, frm=Status.CONFIRMED, objections=PAIRS, signers=[EVIL], signatures=[EVIL], guard=GUARD, **WHY)
    yield show_waiting(mint, ID, frm=EVIL, confirmations=1, waiting=(EVIL, {"a": EVIL}), **BY)
    checked: dict[str, Any] = {"verified": PAIRS, "invalid": PAIRS, "order": [EVIL], "threshold": 2, "guard": GUARD, **WHY}
    yield append_signature(
        *(mint, ID),
        statuses=[EVIL],
        signer=EVIL,
        signature=EVIL,
        rings_at=1,
        sets={"x": EVIL},
        **checked,
    )
    yield mark_signed(mint, ID, sets={"x": EVIL}, **checked)
    yield complete_payout(
        Collection.BURN,
        ID,
        signers=[EVIL],
        signatures=[EVIL],
        pairs=PAIRS,
        return_tx=EVIL,
        return_tx_hash=EVIL,
        guard=GUARD,
        **WHY,
    )


def expressions(query: object) -> list[object]:
    """The expressions in a query; its plain comparisons take a text as it is, and anything else is no plain comparison."""
    assert isinstance(query, Mapping)
    found: list[object] = []
    for name, value in query.items():
        if name == "$expr":
            found.append(value)
        elif name in {"$and", "$or"}:
            found += [one for part in value for one in expressions(part)]
        else:
            assert set(value) <= {"$eq", "$in", "$not", "$exists"}, name
            assert isinstance(value.get("$eq", ""), str)
            assert all(one is None or isinstance(one, str) for one in value.get("$in", []))
    return found


def outside_literals(expression: object) -> Iterator[str]:
    """All texts of an expression that the server would interpret."""
    if isinstance(expression, str):
        yield expression
    elif isinstance(expression, Mapping):
        for name, value in expression.items():
            if name != "$literal":
                yield from outside_literals(value)
    elif isinstance(expression, Sequence):
        for item in expression:
            yield from outside_literals(item)


@pytest.mark.parametrize("update", list(builders()), ids=lambda update: update.kind)
def test_nothing_from_outside_is_interpreted(update: Update) -> None:
    assert EVIL in str(update.pipeline or update.whole)
    interpreted = [*outside_literals(expressions(update.guard)), *outside_literals(update.pipeline)]
    assert interpreted.count(EVIL) == (1 if update.kind == "replace" else 0)  # its guard measures the whole document
    assert update.query["_id"] == ID


@pytest.mark.parametrize("update", list(builders()), ids=lambda update: update.kind)
def test_every_write_is_guarded_and_dates_the_document(update: Update) -> None:
    text = str(update.pipeline or update.whole)
    assert ("touched_at" if update.kind == "waiting" else "updated_at") in text
    if update.kind not in {"waiting", "object"}:
        assert "history" in text
        if update.kind != "replace":
            assert "{'status': " in str(update.guard) or "'$status'" in str(update.guard)


@pytest.mark.parametrize(
    "update", [one for one in builders() if one.kind not in {"waiting", "object", "replace"}], ids=lambda u: u.kind
)
def test_every_write_of_a_status_takes_away_what_the_one_before_waited_for(update: Update) -> None:
    """Of the other three: `waiting` writes it, an objection leaves the status, and what replaces a document has none."""
    sets = update.pipeline[-1]["$set"]
    assert "history" in sets
    cleared = sets["waiting"]
    assert cleared == {"$literal": None} or cleared["$cond"][1] == {"$literal": None}


def test_the_search_for_texts_finds_one() -> None:
    assert list(outside_literals({"$eq": ["$a", {"$literal": EVIL}, EVIL]})) == ["$a", EVIL]


def test_a_repair_names_what_it_replaces() -> None:
    with pytest.raises(ValueError, match="was: amount, status missing"):
        repair(Collection.MINT, ID, fields={"amount": "1"}, was={}, **WHY)


def test_nobody_fails_a_document_alone() -> None:
    with pytest.raises(ValueError, match="objections: none given"):
        fail(Collection.MINT, ID, frm="pending", objections=[], signers=[], signatures=[], **WHY)


STARTS: list[Any] = [*Status, EVIL, "", 5, None]


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("end", Status)
def test_a_move_that_is_not_in_the_table_is_no_write(start: Any, end: Status) -> None:
    """A status that is none of ours may only be reset to `pending`; a repair may leave the status as it is."""
    legal = end in TRANSITIONS[start] if start in set(Status) else end is Status.PENDING
    writes: list[Callable[[], Update]] = [
        lambda: advance(Collection.MINT, ID, frm=start, to=end, **WHY),
        lambda: repair(Collection.MINT, ID, fields={}, was={"status": start}, status=end, **WHY),
    ]
    if end is Status.FAILED:
        writes.append(lambda: fail(Collection.MINT, ID, frm=start, objections=PAIRS, signers=[], signatures=[], **WHY))
    for number, write in enumerate(writes):
        if legal or (number == 1 and start == end):
            assert write().pipeline[0]["$set"]["status"] == {"$literal": end.value}
        else:
            with pytest.raises(ValueError, match=f"no request moves from .* to {end.value}"):
                write()


@pytest.mark.parametrize("threshold", [0, -1])
def test_a_document_is_never_signed_by_nobody(threshold: int) -> None:
    checked: dict[str, Any] = {"guard": {}, "verified": [], "invalid": [], "threshold": threshold, **WHY}
    with pytest.raises(ValueError, match="threshold is"):
        mark_signed(Collection.MINT, ID, **checked)
    with pytest.raises(ValueError, match="threshold is"):
        append_signature(Collection.MINT, ID, statuses=[], signer="a", signature="b", rings_at=1, **checked)


def test_as_read_tells_absent_from_null() -> None:
    assert as_read({"a": None, "status": "x", "more": 1}, ["a", "b"]) == {"a": None, "b": MISSING, "status": "x"}
    assert repr(MISSING) == "MISSING"


def bulk_error(*codes: int, concern: int = 0) -> BulkWriteError:
    faults = [{"index": index, "code": code} for index, code in enumerate(codes)]
    return BulkWriteError({"writeErrors": faults, "writeConcernErrors": [{"code": concern}] if concern else []})


PASSING = [
    AutoReconnect(""),
    NotPrimaryError(""),
    NetworkTimeout(""),
    OperationFailure("", 11602),
    bulk_error(10107),
    bulk_error(concern=64),
]
LASTING = [
    OperationFailure("", 13),
    DuplicateKeyError("", 11000),
    bulk_error(11000),
    bulk_error(121),
    bulk_error(),
    ValueError(""),
    TimeoutError(),
]


@pytest.mark.parametrize("error", PASSING, ids=repr)
def test_what_passes_is_tried_again(error: Exception) -> None:
    assert is_passing(error)


@pytest.mark.parametrize("error", LASTING, ids=repr)
def test_what_lasts_is_not(error: Exception) -> None:
    assert not is_passing(error)


async def test_retries_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(retrying, "ATTEMPTS", 3)
    monkeypatch.setattr(retrying, "_FIRST_WAIT", 0.001)
    calls = 0

    async def always() -> None:
        nonlocal calls
        calls += 1
        raise AutoReconnect("gone")

    with pytest.raises(AutoReconnect, match="gone"):
        await retrying.retrying(always)
    assert calls == 3


@pytest.mark.parametrize(
    ("uri", "problem"),
    [
        ("mongodb://user:pass:w0rd@host/", "holds a character that is not percent-encoded"),
        ("mongodb://user:w0rd@h/rd@host/", "holds a character that is not percent-encoded"),
        ("http://user:w0rd@host", "is not a MongoDB URI"),
        ("mongodb://user:w0rd@host:99999/", "a port in it"),
        ("w0rd", "is not a MongoDB URI"),
        ("mongodb://u:w0rd@h/?w=x&w0rd=1&tls=w0rd", "its option 2 is not one that exists"),
        ("mongodb://u:w0rd?w0rd@h/?w=x", "its option 1 is not one that exists"),
        ("mongodb://u:w0rd@h/?tls=w0rd", "its option tls has a value that it cannot have"),
    ],
)
def test_a_malformed_uri_is_refused_without_its_password(uri: str, problem: str) -> None:
    with pytest.raises(StoreProblem, match=f"mongo.uri: .*{problem}") as refused:
        Store(uri, "bridge", {}, 1000)
    assert "w0rd" not in str(refused.value)
    assert refused.value.__suppress_context__


async def test_a_store_never_shows_its_uri() -> None:
    store = Store("mongodb://user:w0rd@127.0.0.1:1/?replicaSet=rs0", "bridge", {Collection.MINT: "mints"}, 1000)
    assert repr(store) == "Store('bridge')"
    assert (store.names[Collection.MINT], store.names[Collection.BURN]) == ("mints", "burn")
    assert store.roles["mints"] is Collection.MINT
    await store.close()


def test_two_collections_of_one_name_are_refused() -> None:
    with pytest.raises(StoreProblem, match="two collections have the same name"):
        Store("mongodb://127.0.0.1:1/", "bridge", {Collection.MINT: "x", Collection.BURN: "x"}, 1000)


def test_the_plan_has_a_unique_key_each_and_an_index_over_what_is_open() -> None:
    unique = {index.collection: tuple(name for name, _ in index.keys) for index in plan() if index.unique}
    assert unique == dict(KEY_FIELDS)
    partial = {index.collection: index.partial for index in plan() if index.partial}
    assert list(partial) == list(REQUESTS)
    assert all(found == {"status": {"$in": ["pending", "confirmed", "signed", "submitted"]}} for found in partial.values())
    assert OPEN_STATUSES == ("pending", "confirmed", "signed", "submitted")
    assert len({(index.collection, index.name) for index in plan()}) == len(plan())
