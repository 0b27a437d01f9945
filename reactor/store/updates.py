"""The compare-and-set writes, as pure builders: each names the document, what it relies on, and the change.

An update that lost the race matches nothing and changes nothing. Guards compare exactly (type, array, order of fields), each
write but a quiet one sets `updated_at`, and a status change appends to `history` in the same write. Signatures: see `signatures`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Final

from bson import ObjectId

from reactor.documents.statuses import Collection, Status, may_move
from reactor.store.expressions import (
    MISSING,
    Expression,
    Pair,
    array,
    entries_are,
    guarded,
    history,
    is_exactly,
    literal,
    literals,
    moved,
)

NOTHING: Final[Mapping[str, Any]] = MappingProxyType({})

QUIET: Final[Mapping[str, Any]] = MappingProxyType(
    {
        "operationType": "update",
        # Two writers may come in one millisecond, and one writer twice in a row; never both.
        "$or": [{f"updateDescription.updatedFields.{name}": {"$exists": True}} for name in ("touched_at", "touched_by")],
        "updateDescription.updatedFields.updated_at": {"$exists": False},
        "updateDescription.updatedFields.status": {"$exists": False},
    }
)
"""The change events that need ring nobody: a validator's own note that this write gives nobody anything to do (a signature short
of the threshold, what is shown to the eye).

It protects nothing: a forger may make his writes quiet, and then it is the sweep that finds them.
"""


@dataclass(frozen=True, slots=True)
class Update:
    """One compare-and-set write. `guard`: a query on its state; `pipeline`: the change; `kind`: its name in metrics.

    With `whole` the document is replaced by it, and there is no pipeline.
    """

    kind: str
    collection: Collection
    id: ObjectId
    guard: Mapping[str, Any]
    pipeline: tuple[Mapping[str, Any], ...] = ()
    whole: Mapping[str, Any] | None = None

    @property
    def query(self) -> dict[str, Any]:
        """The whole query: the document and what the write relies on."""
        return {"_id": self.id, **self.guard}


def advance(
    collection: Collection,
    doc_id: ObjectId,
    *,
    frm: str,
    to: Status,
    by: str,
    reason: str,
    now: datetime,
    guard: Mapping[str, Any] = NOTHING,
    sets: Mapping[str, Any] = NOTHING,
) -> Update:
    """From status `frm` to `to`, forward or back, with `sets` in the same write. `guard`: further fields as they were read.

    Raises ValueError for a move that is not in the table of moves.
    """
    _in_table(frm, to)
    change = {**literals(sets), **moved(to, by, reason, now), "updated_at": literal(now)}
    return Update("advance", collection, doc_id, guarded([frm], fields=guard), ({"$set": change},))


def repair(
    collection: Collection,
    doc_id: ObjectId,
    *,
    fields: Mapping[str, Any],
    was: Mapping[str, Any],
    by: str,
    reason: str,
    now: datetime,
    status: Status | None = None,
    guard: Mapping[str, Any] = NOTHING,
) -> Update:
    """Restore `fields`. `was`: those fields and `status` as they were read (`as_read`); `status` goes into `history`.

    `status`: what the status becomes where it is none of ours. What was read but cannot be sent back unchanged (a broken string,
    a date out of range) is compared as "not what it should be". Raises ValueError where `was` lacks one of them, and for a change
    of status that is not in the table of moves.
    """
    if absent := ({*fields, "status"} - was.keys()):
        raise ValueError(f"was: {', '.join(sorted(absent))} missing; a repair is guarded by what it replaces")
    if status is not None and was["status"] != status:
        _in_table(was["status"], status)
    wanted = {**fields, **({} if status is None else {"status": status.value})}
    conditions = [_still(name, value, wanted) for name, value in {**guard, **was}.items()]
    stands = status.value if status is not None else was.get("status")
    named = stands if isinstance(stands, str) else ""
    # A history that is itself repaired begins anew: what was appended to one that nobody can read would stay unreadable.
    past = history(named, by, reason, now, begin="history" in fields)
    change = {**literals(wanted), "history": past, "waiting": literal(None), "updated_at": literal(now)}
    return Update("repair", collection, doc_id, {"$and": conditions}, ({"$set": change},))


def _in_table(frm: object, to: Status) -> None:
    """SECURITY: whatever decided it, a move that no flow knows (`signed` to `failed`, say) is written by nobody."""
    if not may_move(frm if isinstance(frm, str) else "", to):
        raise ValueError(f"no request moves from {frm!r:.40} to {to.value}: see `documents.statuses.TRANSITIONS`")


def as_read(raw: Mapping[str, Any], names: Sequence[str]) -> dict[str, Any]:
    """The guard "these fields and `status` are as I read them", absent ones included. `raw`: the document from `reading.read`."""
    return {name: raw.get(name, MISSING) for name in dict.fromkeys([*names, "status"])}


def _still(name: str, value: object, wanted: Mapping[str, Any]) -> Expression:
    if name in wanted and not _exact(value):
        return {"$expr": {"$ne": [f"${name}", literal(wanted[name])]}}
    return is_exactly(name, value)


def _exact(value: object) -> bool:
    """Whether `value`, read from the database, is the same when it is sent back."""
    if isinstance(value, str):
        return "\ufffd" not in value
    if isinstance(value, Mapping):
        return all(_exact(name) and _exact(item) for name, item in value.items())
    if isinstance(value, list):
        return all(_exact(item) for item in value)
    return value is None or value is MISSING or isinstance(value, bool | int | float | bytes | datetime | ObjectId)


def replace_unreadable(
    collection: Collection, doc_id: ObjectId, *, size: int, fresh: Mapping[str, Any], by: str, reason: str, now: datetime
) -> Update:
    """Put `fresh` (from `documents.build`) in the place of a document that is too large or broken, if it still has `size` bytes.

    Nothing of the old one is kept: whoever signed signs again, out of his journal.

    SECURITY: never by a pipeline. For its oplog entry MongoDB 6.0 computes the difference to the old document, and aborts the
    server where that has a field twice: one forged document would let every honest repair end the primary.
    """
    if fresh.get("_id", doc_id) != doc_id:
        fresh = {**fresh, "_id": doc_id}
    status = str(fresh.get("status", Status.PENDING.value))
    entry = {"status": status, "at": now, "by": by, "reason": reason}
    document = {**fresh, "_id": doc_id, "history": [entry], "updated_at": now}
    guard = {"$expr": {"$eq": [{"$bsonSize": "$$ROOT"}, size]}}
    return Update("replace", collection, doc_id, guard, whole=document)


def add_objection(
    collection: Collection,
    doc_id: ObjectId,
    *,
    frm: str,
    objection: Mapping[str, str],
    now: datetime,
    guard: Mapping[str, Any] = NOTHING,
) -> Update:
    """Add one's own objection `{signer, code, reason, signature}`, in the place of an earlier one; those of others stay."""
    own = literal(dict(objection))
    signer = literal(objection["signer"])
    mine = {"$filter": {"input": array("objections"), "as": "one", "cond": {"$eq": ["$$one.signer", signer]}}}
    others = {"$filter": {"input": array("objections"), "as": "one", "cond": {"$ne": ["$$one.signer", signer]}}}
    absent = {"$ne": [mine, [own]]}
    change = {"objections": {"$concatArrays": [others, [own]]}, "updated_at": literal(now)}
    return Update("object", collection, doc_id, guarded([frm], absent, fields=guard), ({"$set": change},))


def fail(
    collection: Collection,
    doc_id: ObjectId,
    *,
    frm: str,
    objections: Sequence[Pair],
    signers: Sequence[Any],
    signatures: Sequence[Any],
    by: str,
    reason: str,
    now: datetime,
    guard: Mapping[str, Any] = NOTHING,
) -> Update:
    """To `failed`, while each of the verified `objections` (signer, signature) still stands in the document.

    SECURITY: `signers` and `signatures` as read are guarded too: a document that somebody signed meanwhile does not fail. Raises
    ValueError without objections, and for a status that nothing fails from.
    """
    _in_table(frm, Status.FAILED)
    if not objections:
        raise ValueError("objections: none given; nobody fails a document alone")
    standing = {"$map": {"input": array("objections"), "as": "one", "in": ["$$one.signer", "$$one.signature"]}}
    quorum = {"$setIsSubset": [literal([list(pair) for pair in objections]), standing]}
    change = {**moved(Status.FAILED, by, reason, now), "updated_at": literal(now)}
    conditions = (quorum, entries_are(signers, signatures))
    return Update("fail", collection, doc_id, guarded([frm], *conditions, fields=guard), ({"$set": change},))


def show_waiting(
    collection: Collection,
    doc_id: ObjectId,
    *,
    frm: str,
    confirmations: int | None,
    waiting: tuple[str, Mapping[str, str]] | None,
    by: str,
    now: datetime,
) -> Update:
    """For the eye: `confirmations` (None: leave it) and `waiting` as (reason, params). No write where both stand already.

    It rings nobody (`QUIET`): `updated_at` stays.
    """
    shown: dict[str, Any] | None = None
    changes: list[Expression] = []
    if waiting is None:
        changes.append({"$ne": ["$waiting", literal(None)]})
    else:
        shown = {"reason": str(waiting[0]), "params": dict(sorted(waiting[1].items())), "by": by, "at": now}
        changes += [{"$ne": [f"$waiting.{name}", literal(shown[name])]} for name in ("reason", "params")]
    sets: dict[str, Any] = {"waiting": shown, "touched_at": now, "touched_by": by}
    if confirmations is not None:
        sets["confirmations"] = str(confirmations)
        changes.append({"$ne": ["$confirmations", literal(str(confirmations))]})
    guard = guarded([frm], {"$or": changes}, fields=NOTHING)
    return Update("waiting", collection, doc_id, guard, ({"$set": literals(sets)},))
