"""Aggregation expressions that the update builders share. What comes from outside stands in `$literal` only."""

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Final

from reactor.documents.models import HISTORY_LIMIT, REQUEST_MODELS

Expression = dict[str, Any]
Pair = tuple[str, str]


class Missing:
    """The type of `MISSING`."""

    def __repr__(self) -> str:
        return "MISSING"


MISSING: Final = Missing()
"""In a guard: the document has no such field."""


_DEFAULTS: Final = [
    (name, field.get_default(call_default_factory=True))
    for model in REQUEST_MODELS.values()
    for name, field in model.model_fields.items()
]


_NO_ARRAY: Final[Expression] = {"$not": {"$type": "array"}}


def literal(value: object) -> Expression:
    """`value` as it is: a text that begins with `$` stays a text."""
    return {"$literal": value}


def guarded(statuses: Sequence[str], *conditions: Expression, fields: Mapping[str, Any]) -> Expression:
    """A query that holds where the status is one of these, all conditions hold and each of `fields` has exactly that value."""
    among = {"status": {"$in": [str(status) for status in statuses], **_NO_ARRAY}}
    return {
        "$and": [among, *(is_exactly(name, value) for name, value in fields.items()), *({"$expr": one} for one in conditions)]
    }


def is_exactly(field: str, value: object) -> Expression:
    """The query for an exact comparison: it does not look inside arrays, and `value` is never an operator.

    The models read an absent field as its default, so a guard for the default holds where the field is absent: otherwise whoever
    removes a field would keep all writes out.
    """
    if isinstance(value, Missing):
        return {field: {"$exists": False}}
    default = (field, value) in _DEFAULTS
    if isinstance(value, str):
        # A query's own comparisons cost a third of an expression's.
        return {field: {"$in": [value, None], "$not": {"$type": ["array", "null"]}} if default else {"$eq": value, **_NO_ARRAY}}
    same = {"$expr": {"$eq": [f"${field}", literal(value)]}}
    return {"$or": [same, {field: {"$exists": False}}]} if default else same


def array(field: str) -> Expression:
    """The field if it is an array, else an empty one: whatever lies there must not fail the write."""
    return {"$cond": [{"$isArray": [f"${field}"]}, f"${field}", []]}


PAIRS: Final[Expression] = {"$zip": {"inputs": [array("signers"), array("signatures")]}}
"""The entries as [signer, signature]. Where one list is longer, what has no counterpart is no entry."""


def entries_are(signers: Sequence[Any], signatures: Sequence[Any]) -> Expression:
    """Whether the two lists are exactly these; a list that is absent or no array counts as empty, as the models read it."""
    return {
        "$and": [
            {"$eq": [array("signers"), literal(list(signers))]},
            {"$eq": [array("signatures"), literal(list(signatures))]},
        ]
    }


def first(pair: str) -> Expression:
    return {"$arrayElemAt": [pair, 0]}


def without_signer(pairs: object, signer: str) -> Expression:
    return {"$filter": {"input": pairs, "as": "pair", "cond": {"$ne": [first("$$pair"), literal(signer)]}}}


def without_pairs(pairs: object, dropped: Sequence[Pair]) -> Expression:
    unwanted = literal([list(pair) for pair in dropped])
    return {"$filter": {"input": pairs, "as": "pair", "cond": {"$not": [{"$in": ["$$pair", unwanted]}]}}}


def distinct(pairs: object) -> Expression:
    return {"$setUnion": [pairs, []]}


def count_among(pairs: object, verified: Sequence[Pair]) -> Expression:
    """How many signers of `verified` have their verified entry among `pairs`; duplicates count once."""
    once = [[signer, signature] for signer, signature in dict(verified).items()]
    return {"$size": {"$setIntersection": [pairs, literal(once)]}}


def in_order(pairs: object, order: Sequence[str] | None) -> Expression:
    """The entries sorted by signer: ascending, or by their place in `order` with strangers last."""
    if order is None:
        return {"$sortArray": {"input": pairs, "sortBy": 1}}
    place = {"$indexOfArray": [literal(list(order)), first("$$pair")]}
    ranked = {
        "$map": {
            "input": pairs,
            "as": "pair",
            "in": {"place": {"$cond": [{"$lt": [place, 0]}, len(order), place]}, "pair": "$$pair"},
        }
    }
    return {
        "$map": {"input": {"$sortArray": {"input": ranked, "sortBy": {"place": 1}}}, "as": "ranked", "in": "$$ranked.pair"},
    }


def column(pairs: object, index: int) -> Expression:
    """All signers (0) or all signatures (1) of the entries."""
    return {"$map": {"input": pairs, "as": "pair", "in": {"$arrayElemAt": ["$$pair", index]}}}


def history(status: str, by: str, reason: str, now: datetime, *, begin: bool = False) -> Expression:
    """The history with one entry more, the last ones kept. `begin`: nothing but that entry."""
    entry = literal([{"status": str(status), "at": now, "by": by, "reason": reason}])
    if begin:
        return entry
    return {"$slice": [{"$concatArrays": [array("history"), entry]}, -HISTORY_LIMIT]}


def moved(status: str, by: str, reason: str, now: datetime) -> Expression:
    """What each write of a status sets: the status, its history entry, and that nothing is waited for any more.

    What a document waits for belongs to the status it stands in: left behind it would be read as the reason of the next one.
    """
    return {"status": literal(str(status)), "history": history(status, by, reason, now), "waiting": literal(None)}


def literals(sets: Mapping[str, Any]) -> Expression:
    return {name: literal(value) for name, value in sets.items()}
