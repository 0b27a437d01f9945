"""Random damage to good inputs, by a seed: bytes, texts, JSON trees and Mongo documents. What one seed makes, it makes again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from copy import deepcopy
from datetime import UTC, datetime
from random import Random
from typing import Any

from bson import Decimal128, Int64, ObjectId, Regex

MOST_ROUNDS = 4
"""How often one input is damaged. More only makes everything garbage at the first byte."""

BYTES = (
    b"\x00",
    b"\x7f",
    b"\x80",
    b"\xff",
    b"\xff" * 9 + b"\x01",
    b"\xff" * 10,
    b"\x0a\x00",
    b"\x0b",
    b"\x0c",
    b"0x",
    b"-",
    b'"',
    b"\\u",
)
TEXTS = (
    "", " ", "\x00", "\ufffd", "\u2028", "\u0661", "İ", "\u017f", "😀", "0", "-1", "+1", "00", "0x", "0X1f", "1e3", "1_000",
    "1.0", "NaN", "Infinity", "true", "null", "~", "~nobody-of-that-name/x", "../x", "'", '"', '"""', "{", "}", "[", "]", "\\",
    "\n", "#", "9" * 19, "9" * 400, "9" * 5000, "0x" + "f" * 64, "0x" + "f" * 65, "0x" + "0" * 40, "[" * 3000, '{"a":' * 3000,
    "x" * 10_000, "2020-03-10T00:04:35Z", "0001-01-01T00:00:00+14:00", "9999-12-31T23:59:59-14:00", "address", "chain_id",
    "http://[", "file:///",
)  # fmt: skip
NUMBERS = (
    0, 1, -1, 2, 255, 2**31, 2**53 + 1, 2**63 - 1, 2**63, 2**64, 2**255, 2**256, 10**30, 10**400, -(2**63) - 1, 0.5, -0.0,
    1e15, 1e300, 1.5e308, float("inf"), float("-inf"), float("nan"),
)  # fmt: skip
_DEEP: Any = None
for _ in range(60):
    _DEEP = [_DEEP]
JSON_VALUES = (None, True, False, *NUMBERS, *TEXTS, [], {}, [None], {"": None}, _DEEP)
BSON_VALUES = (
    *JSON_VALUES[:-1], Decimal128("NaN"), Decimal128("1"), Int64(2**62), ObjectId(b"\x01" * 12), Regex("."), b"\xff",
    datetime(1, 1, 1, tzinfo=UTC), datetime(2026, 1, 1), ["x"] * 300, [{"signer": 5}], {"$gt": ""}, "signed", "success", "failed",  # noqa: DTZ001
)  # fmt: skip


def damaged_bytes(rng: Random, corpus: Sequence[bytes]) -> bytes:
    """One of the corpus with a few bytes changed, cut, doubled, moved or taken from another."""
    data = bytearray(rng.choice(corpus))
    for _ in range(rng.randint(0, MOST_ROUNDS)):
        at = rng.randint(0, len(data))
        end = min(len(data), at + rng.choice((1, 1, 2, 4, 8, 32, 256)))
        match rng.randrange(8):
            case 0 if at < len(data):
                data[at] ^= 1 << rng.randrange(8)
            case 1 if at < len(data):
                data[at] = rng.randrange(256)
            case 2:
                del data[at:end]
            case 3:
                data[at:at] = data[at:end]
            case 4:
                data[at:at] = rng.choice(BYTES)
            case 5:
                other = rng.choice(corpus)
                start = rng.randint(0, len(other))
                data[at:end] = other[start : start + rng.randint(0, 64)]
            case 6:
                del data[at:]
            case _:
                data[at:at] = rng.randbytes(rng.randint(1, 8))
    return bytes(data)


def damaged_text(rng: Random, corpus: Sequence[str]) -> str:
    """The same for text."""
    text = rng.choice(corpus)
    for _ in range(rng.randint(0, MOST_ROUNDS)):
        at = rng.randint(0, len(text))
        end = min(len(text), at + rng.choice((1, 1, 2, 4, 8, 32, 256)))
        match rng.randrange(6):
            case 0:
                text = text[:at] + text[end:]
            case 1:
                text = text[:at] + text[at:end] + text[at:]
            case 2:
                text = text[:at] + rng.choice(TEXTS) + text[at:]
            case 3:
                text = text[:at] + rng.choice(TEXTS) + text[end:]
            case 4:
                text = (
                    text[:at]
                    + chr(rng.choice((rng.randrange(32, 127), rng.randrange(0xD800), rng.randrange(0xE000, 0x110000))))
                    + text[at:]
                )
            case _:
                other = rng.choice(corpus)
                start = rng.randint(0, len(other))
                text = text[:at] + other[start : start + rng.randint(0, 64)] + text[end:]
    return text


def _places(value: Any, found: list[tuple[Any, Any]]) -> None:
    names: Any = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    for name in names:
        found.append((value, name))
        _places(value[name], found)


def damaged_tree(rng: Random, corpus: Sequence[Any], values: Sequence[Any] = JSON_VALUES) -> Any:
    """One of the corpus (dictionaries and lists) with some members exchanged, removed, renamed, added or swapped."""
    root = [deepcopy(rng.choice(corpus))]
    for _ in range(rng.randint(0, MOST_ROUNDS)):
        places: list[tuple[Any, Any]] = []
        _places(root, places)
        holder, name = rng.choice(places)
        match rng.randrange(7):
            case 0 | 1:
                holder[name] = deepcopy(rng.choice(values))
            case 2 if holder is not root:
                del holder[name]
            case 3 if isinstance(holder, dict):
                holder[rng.choice(TEXTS)] = holder.pop(name)
            case 4 if isinstance(holder, list) and holder is not root:
                holder.insert(rng.randint(0, len(holder)), deepcopy(rng.choice((holder[name], rng.choice(values)))))
            case 5 if isinstance(holder[name], str):
                holder[name] = damaged_text(rng, [holder[name]])
            case _:
                other, its = rng.choice(places)
                holder[name] = deepcopy(other[its])
    return root[0]


def damaged_json(rng: Random, corpus: Sequence[Any]) -> bytes:
    """JSON as a node or a gateway might send it: mostly well-formed with wrong members, sometimes broken."""
    text = json.dumps(damaged_tree(rng, corpus), ensure_ascii=rng.random() < 0.5).encode("utf-8", "surrogatepass")
    return damaged_bytes(rng, [text]) if rng.random() < 0.2 else text
