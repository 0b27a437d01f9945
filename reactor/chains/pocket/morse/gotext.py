"""How Go reads and writes text: UTF-8 with one replacement character per bad byte, JSON strings, integers."""

from __future__ import annotations

import codecs
import re
from typing import Final

_ERRORS: Final = "pocket-go-replace"


def _replace_one_byte(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeDecodeError):
        raise error
    return "\ufffd", error.start + 1


codecs.register_error(_ERRORS, _replace_one_byte)


def decode_utf8(data: bytes) -> str:
    """Text as Go sees it: each byte that is not part of valid UTF-8 becomes one U+FFFD (Python makes fewer)."""
    return data.decode("utf-8", _ERRORS)


_SHORT: Final = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}
_ESCAPED: Final = re.compile('[\x00-\x1f"\\\\<>&\u2028\u2029\ud800-\udfff]')


def _escape(match: re.Match[str]) -> str:
    char = match.group()
    if "\ud800" <= char <= "\udfff":
        return "\ufffd"  # no valid UTF-8 holds one
    return _SHORT.get(char) or f"\\u{ord(char):04x}"


def json_string(text: str) -> str:
    """A JSON string literal as Go's encoder with HTML escaping writes it (before Go 1.22: `\\u0008`, `\\u000c`)."""
    return f'"{_ESCAPED.sub(_escape, text)}"'


_INTEGER: Final = re.compile(
    rb"(?P<sign>[+-]?)(?:0[xX](?P<hex>(?:_?[0-9a-fA-F])+)|0[bB](?P<bin>(?:_?[01])+)|0[oO](?P<oct>(?:_?[0-7])+)"
    rb"|(?P<zero>0(?:_?[0-7])*)|(?P<dec>[1-9](?:_?[0-9])*))"
)
_BASES: Final = {"hex": 16, "bin": 2, "oct": 8, "zero": 8, "dec": 10}
_MAX_BITS: Final = 255
_MAX_DECIMALS: Final = 77
"""2**255 has 77 decimal digits; longer text is out of range and need not be converted."""


def parse_integer(text: bytes) -> int | None:
    """An amount as the chain reads it: Go's `big.Int` text with base prefixes and underscores, at most 255 bits.

    Empty text is 0. None: not a number for the chain. A transfer of `0x10` is a real transfer of 16.
    """
    if not text:
        return 0
    match = _INTEGER.fullmatch(text)
    if match is None or match.lastgroup is None:
        return None
    digits = match.group(match.lastgroup).replace(b"_", b"")
    if match.lastgroup == "dec" and len(digits) > _MAX_DECIMALS:
        return None
    value = int(digits, _BASES[match.lastgroup])
    if value.bit_length() > _MAX_BITS:
        return None
    return -value if match.group("sign") == b"-" else value
