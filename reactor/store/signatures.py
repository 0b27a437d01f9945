"""The writes that carry signatures: append one's own, make a document `signed`. Pure builders, one atomic pipeline each.

Everyone replaces his own entry; the entries of others stay, in the order that the contract or the vault wants. An entry of
another is dropped only in the write that makes the document `signed`, and only if the writer found that it does not verify.
"""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from bson import ObjectId

from reactor.documents.statuses import Collection, Status
from reactor.store.expressions import (
    PAIRS,
    Expression,
    Pair,
    column,
    count_among,
    distinct,
    entries_are,
    guarded,
    in_order,
    literal,
    literals,
    moved,
    without_pairs,
    without_signer,
)
from reactor.store.updates import NOTHING, Update

_PAIRS: Final = "_pairs"
_FLIP: Final = "_flip"


def append_signature(
    collection: Collection,
    doc_id: ObjectId,
    *,
    statuses: Sequence[str],
    guard: Mapping[str, Any],
    signer: str,
    signature: str,
    by: str,
    reason: str,
    now: datetime,
    rings_at: int,
    order: Sequence[str] | None = None,
    threshold: int | None = None,
    verified: Sequence[Pair] = (),
    invalid: Sequence[Pair] = (),
    sets: Mapping[str, Any] = NOTHING,
) -> Update:
    """Add the own (signer, signature), unless it is there already, once and alike.

    `rings_at`: with so many entries or more in a `confirmed` document everybody is rung; before, and once it is signed, nobody
    has anything to do for one signature more, and the write is a quiet one (`updates.QUIET`): `updated_at` stays.

    `guard`: the fields that enter the signed bytes, and `attempt`, as read. `order`: the signers in vault order (payouts); None:
    ascending (mints). `threshold` (mints): with so many entries of `verified` and one's own in a `confirmed` document it becomes
    `signed` in this write, `invalid` is dropped and `history` appended; None (payouts): never, see `complete_payout`.
    `verified`, `invalid`: pairs (signer, signature) as read and checked. Lists that are none are begun anew.
    """
    own = [signer, signature]
    absent = {"$not": [{"$in": [literal(own), PAIRS]}]}
    pairs = {"$concatArrays": [without_signer(PAIRS, signer), literal([own])]}
    outputs = {**_entries(), **literals(sets), **_touched(rings_at, by, now), _PAIRS: "$$REMOVE"}
    # SECURITY: only what this writer has verified itself, and its own entry, count towards `signed`.
    counted = [*((who, what) for who, what in verified if who != signer), (signer, signature)]
    if threshold is None or len(dict(counted)) < _at_least_one(threshold):
        pipeline: tuple[Expression, ...] = ({"$set": {_PAIRS: in_order(pairs, order)}}, {"$set": outputs})
    else:
        enough = {"$gte": [count_among(f"${_PAIRS}", counted), threshold]}
        flip = {"$and": [{"$eq": ["$status", literal(Status.CONFIRMED.value)]}, enough]}
        flipped = {**_when_flipped(by, reason, now), _FLIP: "$$REMOVE"}
        pipeline = (
            {"$set": {_PAIRS: pairs}},
            {"$set": {_FLIP: flip}},
            {"$set": {_PAIRS: in_order({"$cond": [f"${_FLIP}", _clean(invalid), f"${_PAIRS}"]}, order)}},
            {"$set": {**outputs, **flipped}},
        )
    return Update("append", collection, doc_id, guarded(statuses, absent, fields=guard), pipeline)


def mark_signed(
    collection: Collection,
    doc_id: ObjectId,
    *,
    guard: Mapping[str, Any],
    verified: Sequence[Pair],
    invalid: Sequence[Pair],
    threshold: int,
    by: str,
    reason: str,
    now: datetime,
    order: Sequence[str] | None = None,
    sets: Mapping[str, Any] = NOTHING,
) -> Update:
    """From `confirmed` to `signed` while `threshold` entries of `verified` stand in it; `invalid` and duplicates are dropped."""
    # SECURITY: only what this writer has verified itself counts.
    enough = {"$gte": [count_among(PAIRS, verified), _at_least_one(threshold)]}
    change = {
        **_entries(),
        **literals(sets),
        **moved(Status.SIGNED, by, reason, now),
        "updated_at": literal(now),
        _PAIRS: "$$REMOVE",
    }
    pipeline = ({"$set": {_PAIRS: PAIRS}}, {"$set": {_PAIRS: in_order(_clean(invalid), order)}}, {"$set": change})
    query = guarded([Status.CONFIRMED], enough, fields=guard)
    return Update("sign", collection, doc_id, query, pipeline)


def complete_payout(
    collection: Collection,
    doc_id: ObjectId,
    *,
    signers: Sequence[Any],
    signatures: Sequence[Any],
    pairs: Sequence[Pair],
    return_tx: str,
    return_tx_hash: str,
    guard: Mapping[str, Any],
    by: str,
    reason: str,
    now: datetime,
    frm: str = Status.CONFIRMED,
) -> Update:
    """To `signed`, with the return transaction that was assembled from exactly these entries.

    `signers`, `signatures`: the two lists as read; a change of either since then lets the write match nothing. `pairs`: the
    verified entries, in vault order, that stand afterwards. `return_tx`: raw hex; `guard`: `attempt` and what else was relied on.
    """
    change = {
        "signers": literal([signer for signer, _ in pairs]),
        "signatures": literal([signature for _, signature in pairs]),
        "return_tx": literal(return_tx),
        "return_tx_hash": literal(return_tx_hash),
        **moved(Status.SIGNED, by, reason, now),
        "updated_at": literal(now),
    }
    query = guarded([frm], entries_are(signers, signatures), fields=guard)
    return Update("complete", collection, doc_id, query, ({"$set": change},))


def _clean(invalid: Sequence[Pair]) -> Expression:
    """The entries without those that do not verify, each once: the contract refuses a whole list for one bad or double entry."""
    return distinct(without_pairs(f"${_PAIRS}", invalid))


def _touched(rings_at: int, by: str, now: datetime) -> Expression:
    """`updated_at` moves only where the write is to ring; how many entries stand counts, not whether they are valid."""
    rings = {"$and": [{"$eq": ["$status", literal(Status.CONFIRMED.value)]}, {"$gte": [{"$size": f"${_PAIRS}"}, rings_at]}]}
    touched = {"touched_at": literal(now), "touched_by": literal(by)}
    return {**touched, "updated_at": {"$cond": [rings, literal(now), "$updated_at"]}}


def _entries() -> Expression:
    return {"signers": column(f"${_PAIRS}", 0), "signatures": column(f"${_PAIRS}", 1)}


def _when_flipped(by: str, reason: str, now: datetime) -> Expression:
    changes = moved(Status.SIGNED, by, reason, now)
    return {name: {"$cond": [f"${_FLIP}", value, f"${name}"]} for name, value in changes.items()}


def _at_least_one(threshold: int) -> int:
    if threshold < 1:
        raise ValueError(f"threshold is {threshold}: at least one signature makes a document signed")
    return threshold
