"""Text as Go writes it: JSON of `encoding/json`, quoted strings of `fmt`, hex errors, integers of `math/big`."""

import json
import re
from decimal import Decimal
from typing import Any

# Go's encoder escapes these in strings although JSON need not; none of them occurs outside of a string.
_HTML = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026", "\u2028": "\\u2028", "\u2029": "\\u2029"}
_HTML_PATTERN = re.compile("[<>&\u2028\u2029]")
# Python writes the short forms of backspace and form feed, Go before 1.22 the long ones.
_SHORT = re.compile(r"\\(?:\\|[bf])")
_LONG = {"\\b": "\\u0008", "\\f": "\\u000c"}
_LONE_BYTES = re.compile("[\udc80-\udcff]")
_QUOTED = {"\a": "\\a", "\b": "\\b", "\f": "\\f", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\v": "\\v", '"': '\\"', "\\": "\\\\"}

_INTEGER = re.compile(r"([+-]?)(0[xX]|0[bB]|0[oO]|0(?=[0-9_]))?(_?[0-9a-fA-F]+(?:_[0-9a-fA-F]+)*)")
_BASES = {"": 10, "0x": 16, "0b": 2, "0o": 8, "0": 8}
MAX_BITS = 255
"""Amounts of the chain have at most this many bits."""


class HexError(ValueError):
    """Not hexadecimal; the text is that of Go's `encoding/hex`."""


def text_of(data: bytes) -> str:
    """UTF-8 as Go reads it: each byte that does not fit becomes U+FFFD of its own."""
    return _LONE_BYTES.sub("\ufffd", data.decode("utf-8", "surrogateescape"))


def encode_json(value: Any, *, html: bool = True, sort: bool = True) -> str:  # noqa: ANN401 - JSON
    """JSON as Go's encoder writes it: no spaces, keys in alphabetical order, `<`, `>`, `&` escaped."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=sort, allow_nan=False)
    text = _SHORT.sub(lambda found: _LONG.get(found[0], found[0]), text)
    return _HTML_PATTERN.sub(lambda found: _HTML[found[0]], text) if html else text


def through_float64(value: Any) -> Any:  # noqa: ANN401 - JSON
    """`value` after a trip through Go's generic map: every integer beyond 2^53 comes back rounded.

    The shortest digits that identify the double are kept and filled up with zeros, as Go shows doubles below 1e21.
    """
    if isinstance(value, dict):
        return {key: through_float64(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [through_float64(item) for item in value]
    if isinstance(value, int) and not isinstance(value, bool):
        return int(Decimal(repr(float(value))))
    return value


def quote(text: str) -> str:
    """`text` as Go's `%q` shows it."""
    return '"' + "".join(_quote_rune(rune) for rune in text) + '"'


def _quote_rune(rune: str) -> str:
    if rune in _QUOTED:
        return _QUOTED[rune]
    if rune.isprintable():
        return rune
    code = ord(rune)
    if code < 0x80:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def decode_hex(text: str) -> bytes:
    """Bytes of hex text in any case. Raises `HexError` with Go's words."""
    for byte in text.encode("utf-8", "replace"):
        if byte not in b"0123456789abcdefABCDEF":
            shown = f" '{chr(byte)}'" if chr(byte).isprintable() else ""
            raise HexError(f"encoding/hex: invalid byte: U+{byte:04X}{shown}")
    if len(text) % 2:
        raise HexError("encoding/hex: odd length hex string")
    return bytes.fromhex(text)


def parse_integer(data: bytes) -> int:
    """The text form of Go's `big.Int`: a sign, then decimal digits or a literal with a base prefix (`0x`, `0`, …).

    Raises `ValueError` with Go's words.
    """
    text = text_of(data)
    found = _INTEGER.fullmatch(text)
    try:
        value = _digits(found) if found else None
    except ValueError:
        value = None
    if value is None:
        raise ValueError(f"math/big: cannot unmarshal {quote(text)} into a *big.Int")
    if value.bit_length() > MAX_BITS:
        raise ValueError(f"integer out of range; got: {value.bit_length()}, max: {MAX_BITS}")
    return value


def _digits(found: re.Match[str]) -> int | None:
    sign, prefix, digits = found[1], (found[2] or "").lower(), found[3]
    if digits.startswith("_") and not prefix:
        return None
    value = int(digits.replace("_", ""), _BASES[prefix])
    return -value if sign == "-" else value
