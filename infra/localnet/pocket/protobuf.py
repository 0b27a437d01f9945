"""Protobuf as the chain's generated Go code reads it: unknown fields skipped, no check for the canonical form."""

from collections.abc import Iterator

VARINT, FIXED64, BYTES, GROUP, END_GROUP, FIXED32 = range(6)
_MASK64 = (1 << 64) - 1
_LONGEST_VARINT = 10


class WireError(ValueError):
    """Bytes that do not decode; the text is that of the node as far as it is known."""


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """The varint at `at`, as an unsigned 64-bit number, and the position behind it. Padding is accepted."""
    value = 0
    for count in range(_LONGEST_VARINT):
        if at + count >= len(data):
            raise WireError("unexpected EOF")
        byte = data[at + count]
        value |= (byte & 0x7F) << (7 * count)
        if byte < 0x80:
            return value & _MASK64, at + count + 1
    raise WireError("proto: integer overflow")


def write_varint(value: int) -> bytes:
    """`value` (0 and above) in the shortest form."""
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def signed64(value: int) -> int:
    """An unsigned 64-bit number read as two's complement."""
    return value - (1 << 64) if value >> 63 else value


def strip_length(data: bytes) -> bytes:
    """The body of a length-prefixed message; the prefix must count exactly the bytes that follow."""
    size, start = _read_prefix(data)
    got = len(data) - start
    if size > got:
        raise WireError(f"not enough bytes to read; want: {size}, got: {got}")
    if size < got:
        raise WireError(f"too many bytes to read; want: {size}, got: {got}")
    return data[start:]


def _read_prefix(data: bytes) -> tuple[int, int]:
    # encoding/binary: a truncated prefix reads as 0 in 0 bytes, an overlong one as an error.
    try:
        value, end = read_varint(data, 0)
    except WireError:
        if len(data) < _LONGEST_VARINT:
            return 0, 0
        raise WireError("invalid number of bytes read from length-encoded message: -11") from None
    if end == _LONGEST_VARINT and data[end - 1] > 1:
        raise WireError("invalid number of bytes read from length-encoded message: -10")
    return value, end


def read_fields(data: bytes) -> Iterator[tuple[int, int, int | bytes]]:
    """The fields of a message in their order: number, wire type, value (bytes of `BYTES`, else a number).

    Groups are skipped. Raises `WireError` at the first fault.
    """
    at = 0
    while at < len(data):
        tag, at = read_varint(data, at)
        number, kind = _field_number(tag), tag & 7
        if kind == END_GROUP:
            raise WireError("proto: wiretype end group for non-group")
        if number <= 0:
            raise WireError(f"proto: illegal tag {number} (wire type {tag})")
        if kind == GROUP:
            at = _skip_group(data, at)
            yield number, kind, 0
            continue
        value, at = _read_value(data, at, kind)
        yield number, kind, value


def _field_number(tag: int) -> int:
    # The generated code keeps 32 bits of it, signed.
    number = (tag >> 3) & 0xFFFFFFFF
    return number - (1 << 32) if number >> 31 else number


def _read_value(data: bytes, at: int, kind: int) -> tuple[int | bytes, int]:
    if kind == VARINT:
        return read_varint(data, at)
    if kind == BYTES:
        length, at = read_varint(data, at)
        if length >> 63:
            raise WireError("proto: negative length found during unmarshaling")
    elif kind in (FIXED32, FIXED64):
        length = 4 if kind == FIXED32 else 8
    else:
        raise WireError(f"proto: illegal wireType {kind}")
    if at + length > len(data):
        raise WireError("unexpected EOF")
    value = data[at : at + length]
    return (value if kind == BYTES else int.from_bytes(value, "little")), at + length


def _skip_group(data: bytes, at: int) -> int:
    depth = 1
    while depth:
        tag, at = read_varint(data, at)
        kind = tag & 7
        if kind == GROUP:
            depth += 1
        elif kind == END_GROUP:
            depth -= 1
        else:
            _, at = _read_value(data, at, kind)
    return at
