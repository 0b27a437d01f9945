"""The memo of a deposit: who is to receive the wrapped tokens, and on which chain.

`{"address":"0x…40 hex…","chain_id":"1"}`, read as the bridge's earlier validator reads it, that is with the rules of
Go's `encoding/json` into two string fields: keys match case-insensitively, unknown ones are ignored, the last of
duplicates wins, `null` leaves a field as it is, a value of another type or any trailing text makes the memo invalid.
What is invalid decides between mint and refund, so two validators must never disagree: the scanner is our own, needs
no recursion, and never raises on a memo.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from eth_utils.address import to_checksum_address

from reactor.chains.pocket.morse.gotext import decode_utf8

MAX_DEPTH: Final = 10_000
"""Go's `encoding/json` refuses deeper nesting."""


class MemoFault(StrEnum):
    """Why a memo does not name a recipient."""

    NOT_JSON = "memo_not_json"
    TOO_DEEP = "memo_too_deep"
    WRONG_TYPE = "memo_wrong_type"
    ADDRESS = "memo_address"
    ZERO_ADDRESS = "memo_zero_address"
    CHAIN_ID = "memo_chain_id"
    OTHER_CHAIN = "memo_other_chain"


@dataclass(frozen=True, slots=True)
class Memo:
    """A valid memo: `address` in lower case, `address_checksum` in EIP-55, `chain_id` as configured."""

    address: str
    address_checksum: str
    chain_id: str


@dataclass(frozen=True, slots=True)
class MemoError:
    """An invalid memo: the reason, and a sentence for people."""

    fault: MemoFault
    text: str


_WHITESPACE: Final = re.compile(r"[ \t\r\n]*")
_STRING: Final = re.compile(r'"((?:[^"\\\x00-\x1f]|\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4}))*)"')
_SCALAR: Final = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?|true|false|null")
_ESCAPE: Final = re.compile(
    r"\\u([dD][89abAB][0-9a-fA-F]{2})\\u([dD][c-fC-F][0-9a-fA-F]{2})|\\u([0-9a-fA-F]{4})|\\(.)|([\ud800-\udfff])"
)
_PLAIN: Final = {"b": "\b", "f": "\f", "n": "\n", "r": "\r", "t": "\t"}

_ADDRESS: Final = re.compile(r"0[xX][0-9a-fA-F]{40}")
_DECIMAL: Final = re.compile(r"([+-]?)0*([0-9]+)")


class _SyntaxFault(Exception):  # noqa: N818 - never leaves this module
    def __init__(self, fault: MemoFault, at: int) -> None:
        super().__init__(fault)
        self.fault = fault
        self.at = at


def _unescape_one(match: re.Match[str]) -> str:
    high, low, single, plain, _raw = match.groups()
    if high is not None:
        return chr(0x10000 + ((int(high, 16) - 0xD800) << 10) + int(low, 16) - 0xDC00)
    if single is not None:
        code = int(single, 16)
        return "\ufffd" if 0xD800 <= code <= 0xDFFF else chr(code)
    if plain is not None:
        return _PLAIN.get(plain, plain)
    return "\ufffd"


def _unescape(text: str) -> str:
    return _ESCAPE.sub(_unescape_one, text)


_Member = tuple[str, str | None, str]
"""Key, text of a string value (else None), and the kind of value: string, null or other."""


class _Scanner:
    """One pass over a JSON text with a stack of its own; keeps the members of the outermost object."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._open: list[str] = []
        self._key = ""
        self.top = ""
        self.members: list[_Member] = []

    def scan(self) -> None:
        """Read the whole text. Raises _SyntaxFault where Go would report a syntax error."""
        self._value()
        while self._open:
            self._space()
            closing = "}" if self._open[-1] == "{" else "]"
            if self._next(closing):
                self._open.pop()
            elif self._next(","):
                self._element()
            else:
                raise self._fault()
        self._space()
        if self._at != len(self._text):
            raise self._fault()

    def _fault(self) -> _SyntaxFault:
        return _SyntaxFault(MemoFault.NOT_JSON, self._at)

    def _space(self) -> None:
        match = _WHITESPACE.match(self._text, self._at)
        assert match is not None
        self._at = match.end()

    def _next(self, char: str) -> bool:
        found = self._text.startswith(char, self._at)
        self._at += found
        return found

    def _element(self) -> None:
        """One element of the innermost array, or key and value of the innermost object."""
        if self._open[-1] == "{":
            self._space()
            self._name()
        self._value()

    def _name(self) -> None:
        """A key and its colon."""
        match = _STRING.match(self._text, self._at)
        if match is None:
            raise self._fault()
        self._at = match.end()
        if len(self._open) == 1:
            self._key = _unescape(match.group(1))
        self._space()
        if not self._next(":"):
            raise self._fault()

    def _value(self) -> None:
        """One value; of containers what opens them, down to the first scalar or empty container."""
        while True:
            self._space()
            if match := _STRING.match(self._text, self._at):
                self._at = match.end()
                self._keep("string", match.group(1))
                return
            if match := _SCALAR.match(self._text, self._at):
                self._at = match.end()
                self._keep("null" if match.group() == "null" else "other")
                return
            if not self._enter():
                return

    def _enter(self) -> bool:
        """Open a container; False when it was empty and is closed again. An object's first key is read."""
        opener = self._text[self._at : self._at + 1]
        if opener not in {"{", "["}:
            raise self._fault()
        self._keep(opener)
        self._at += 1
        self._open.append(opener)
        if len(self._open) > MAX_DEPTH:
            raise _SyntaxFault(MemoFault.TOO_DEEP, self._at)
        self._space()
        if self._next("}" if opener == "{" else "]"):
            self._open.pop()
            return False
        if opener == "{":
            self._name()
        return True

    def _keep(self, kind: str, raw: str = "") -> None:
        if not self._open:
            self.top = kind
        elif len(self._open) == 1 and self._open[0] == "{":
            self.members.append((self._key, _unescape(raw) if kind == "string" else None, kind))


def _folds_to(key: str) -> str | None:
    """The field that a key names: ASCII case is ignored, and U+017F (long s) is an s, as Go folds."""
    if len(key) > len("chain_id"):
        return None
    folded = "".join(chr(ord(char) | 0x20) if "A" <= char <= "Z" else char for char in key)
    if folded.replace("\u017f", "s") == "address":
        return "address"
    return "chain_id" if folded == "chain_id" else None


def _read_fields(text: str) -> dict[str, str] | MemoError:
    scanner = _Scanner(text)
    try:
        scanner.scan()
    except _SyntaxFault as fault:
        if fault.fault is MemoFault.TOO_DEEP:
            return MemoError(fault.fault, f"the memo nests deeper than {MAX_DEPTH} levels")
        return MemoError(fault.fault, f"the memo is not JSON (character {fault.at})")
    values = {"address": "", "chain_id": ""}
    if scanner.top == "null":
        return values
    if scanner.top != "{":
        return MemoError(MemoFault.WRONG_TYPE, "the memo is not a JSON object")
    for key, value, kind in scanner.members:
        name = _folds_to(key)
        if name is None or kind == "null":
            continue
        if value is None:
            return MemoError(MemoFault.WRONG_TYPE, f"{name} is not a JSON string")
        values[name] = value
    return values


def _decimal(text: str) -> str | None:
    """A signed decimal integer in one spelling (no leading zeros, no plus); None: it is none."""
    match = _DECIMAL.fullmatch(text)
    if match is None:
        return None
    sign, digits = match.groups()
    return digits if digits == "0" or sign != "-" else f"-{digits}"


def parse_memo(memo: str | bytes, chain_id: str) -> Memo | MemoError:
    """The recipient that a deposit's memo names on the chain `chain_id` (decimal), or why it names none.

    Any case of the address is accepted, its checksum is not checked; `0001` and `+1` are chain 1.

    Raises:
        ValueError: `chain_id` itself is not decimal (a configuration fault, never the memo's).
    """
    wanted = _decimal(chain_id)
    if wanted is None:
        raise ValueError(f"the configured chain id {chain_id!r} is not a decimal number")
    values = _read_fields(decode_utf8(memo) if isinstance(memo, bytes) else memo)
    if isinstance(values, MemoError):
        return values
    address = values["address"]
    if not _ADDRESS.fullmatch(address):
        return MemoError(MemoFault.ADDRESS, f"address {address[:60]!r} is not 0x and 40 hex characters")
    address = address.lower()
    if int(address, 16) == 0:
        return MemoError(MemoFault.ZERO_ADDRESS, "address is the zero address")
    named = _decimal(values["chain_id"])
    if named is None:
        return MemoError(MemoFault.CHAIN_ID, f"chain_id {values['chain_id'][:60]!r} is not a decimal number")
    if named != wanted:
        return MemoError(MemoFault.OTHER_CHAIN, f"chain_id is {named[:60]}, this bridge serves {wanted}")
    return Memo(address, to_checksum_address(address), chain_id)
