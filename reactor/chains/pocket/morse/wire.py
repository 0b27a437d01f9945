"""Protobuf base-128 varints and field walking, as lenient and as strict as the node's generated decoder.

Non-minimal varints and unknown fields (groups too) are accepted; a known field of another wire type, a field number
of 0, lengths beyond the buffer and varints of more than ten bytes are not.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

from reactor.chains.pocket.errors import PocketDecodeError

VARINT: Final = 0
FIXED64: Final = 1
BYTES: Final = 2
GROUP_START: Final = 3
GROUP_END: Final = 4
FIXED32: Final = 5

_UINT64: Final = 1 << 64
_INT64_MIN: Final = -(1 << 63)
_INT64_MAX: Final = (1 << 63) - 1
_MAX_GROUP_DEPTH: Final = 10_000
"""More than any transaction can hold in groups that matter; bounds the work spent on a hostile one."""

Value = int | bytes


def encode_uvarint(value: int) -> bytes:
    """The minimal varint of an unsigned 64-bit integer. Raises ValueError outside of that range."""
    if not 0 <= value < _UINT64:
        raise ValueError(f"varint out of range: {value}")
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def encode_int64(value: int) -> bytes:
    """The protobuf int64 varint (two's complement, not zig-zag): ten bytes for negative numbers."""
    if not _INT64_MIN <= value <= _INT64_MAX:
        raise ValueError(f"int64 out of range: {value}")
    return encode_uvarint(value % _UINT64)


def encode_bytes_field(number: int, value: bytes) -> bytes:
    """Tag, length and value of a length-delimited field."""
    return encode_uvarint(number << 3 | BYTES) + encode_uvarint(len(value)) + value


def read_uvarint(data: bytes, at: int, field: str) -> tuple[int, int]:
    """The varint at `at` and the offset behind it; bits beyond 64 are dropped, as Go does."""
    value = 0
    for count in range(10):
        if at >= len(data):
            raise PocketDecodeError(field, "the varint is cut off")
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            return value % _UINT64, at
    raise PocketDecodeError(field, "the varint is longer than ten bytes")


def to_int64(value: int) -> int:
    """The signed reading of an unsigned 64-bit integer."""
    return value - _UINT64 if value > _INT64_MAX else value


def _to_int32(value: int) -> int:
    value &= 0xFFFF_FFFF
    return value - (1 << 32) if value >= 1 << 31 else value


def _take(data: bytes, at: int, length: int, field: str) -> int:
    if length > len(data) - at:
        raise PocketDecodeError(field, "the value ends beyond the message")
    return at + length


def _skip_group(data: bytes, at: int, field: str) -> int:
    """The offset behind a group whose start tag ends at `at`. Like the node, end tags are not matched by number."""
    depth = 1
    while depth:
        tag, at = read_uvarint(data, at, field)
        wire_type = tag & 7
        if wire_type == GROUP_START:
            depth += 1
            if depth > _MAX_GROUP_DEPTH:
                raise PocketDecodeError(field, "groups are nested too deep")
        elif wire_type == GROUP_END:
            depth -= 1
        else:
            _, at = _read_value(data, at, wire_type, field)
    return at


def _read_value(data: bytes, at: int, wire_type: int, field: str) -> tuple[Value, int]:
    if wire_type == VARINT:
        return read_uvarint(data, at, field)
    if wire_type == BYTES:
        length, at = read_uvarint(data, at, field)
        end = _take(data, at, length, field)
        return data[at:end], end
    if wire_type == FIXED64:
        return b"", _take(data, at, 8, field)
    if wire_type == FIXED32:
        return b"", _take(data, at, 4, field)
    if wire_type == GROUP_START:
        return b"", _skip_group(data, at, field)
    raise PocketDecodeError(field, f"wire type {wire_type} does not exist")


def fields(data: bytes, path: str, expected: dict[int, int]) -> Iterator[tuple[int, Value]]:
    """Each known field (number → wire type in `expected`) in order of appearance; unknown ones are skipped.

    Raises:
        PocketDecodeError: as the module says, with `path` as the field.
    """
    at = 0
    while at < len(data):
        tag, at = read_uvarint(data, at, path)
        number, wire_type = _to_int32(tag >> 3), tag & 7
        if wire_type == GROUP_END:
            raise PocketDecodeError(path, "a group ends that never began")
        if number <= 0:
            raise PocketDecodeError(path, f"illegal field number {number}")
        known = expected.get(number)
        if known is not None and known != wire_type:
            raise PocketDecodeError(f"{path}.{number}", f"wire type is {wire_type}, expected {known}")
        value, at = _read_value(data, at, wire_type, f"{path}.{number}")
        if known is not None:
            yield number, value
