"""Request bodies, read as Go reads JSON into a struct."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from infra.localnet.pocket.gotext import encode_json

BODY_LIMIT = 1 << 20
"""Bytes of a request body that the node reads; the rest is cut off."""

Kind = Literal["int", "int64", "string", "bool"]
_INTEGERS: tuple[Kind, ...] = ("int", "int64")
_INT64 = range(-(1 << 63), 1 << 63)
_DEFAULTS: dict[Kind, int | str | bool] = {"int": 0, "int64": 0, "string": "", "bool": False}


class ParameterError(ValueError):
    """A request body that the node refuses, in the words of Go's decoder."""


@dataclass(frozen=True, slots=True)
class Shape:
    """A Go struct: its name and the kinds of its fields."""

    name: str
    fields: Mapping[str, Kind]


HEIGHT = Shape("HeightParams", {"height": "int64"})
HASH = Shape("HashAndProveParams", {"hash": "string", "prove": "bool"})
HEIGHT_AND_ADDRESS = Shape("HeightAndAddrParams", {"height": "int64", "address": "string"})
HEIGHT_AND_KEY = Shape("HeightAndKeyParams", {"height": "int64", "key": "string"})
ACCOUNT_TXS = Shape(
    "PaginateAddrParams",
    {
        "address": "string",
        "page": "int",
        "per_page": "int",
        "received": "bool",
        "prove": "bool",
        "order": "string",
        "height": "int64",
    },
)
BLOCK_TXS = Shape(
    "PaginatedHeightParams", {"height": "int64", "page": "int", "per_page": "int", "prove": "bool", "order": "string"}
)
PAGE = Shape("PaginatedParams", {"page": "int", "per_page": "int"})
RAW_TX = Shape("SendRawTxParams", {"address": "string", "raw_hex_bytes": "string"})


class Parameters:
    """The fields of a body; what it leaves out has the zero of its kind."""

    def __init__(self, values: Mapping[str, int | str | bool]) -> None:
        self._values = values

    def integer(self, name: str) -> int:
        """A number."""
        return int(self._values[name])

    def text(self, name: str) -> str:
        """A string."""
        return str(self._values[name])

    def flag(self, name: str) -> bool:
        """A boolean."""
        return bool(self._values[name])


def parse(body: bytes, shape: Shape) -> Parameters:
    """Read a body: empty means all defaults, unknown fields are ignored, names match in any case. Raises `ParameterError`."""
    values = {name: _DEFAULTS[kind] for name, kind in shape.fields.items()}
    body = body[:BODY_LIMIT]
    if not body:
        return Parameters(values)
    document = _load(body)
    if document is None:
        return Parameters(values)
    if not isinstance(document, _Object):
        raise ParameterError(f"json: cannot unmarshal {_kind_of(document)} into Go value of type rpc.{shape.name}")
    for key, value in document:
        name = key if key in shape.fields else key.lower()
        if name in shape.fields and value is not None:
            values[name] = _convert(value, shape, name)
    return Parameters(values)


class _Object(list[tuple[str, Any]]):
    """The pairs of a JSON object in their order."""


def _load(body: bytes) -> Any:  # noqa: ANN401 - JSON
    try:
        return _DECODER.decode(body.decode("utf-8", "replace"))
    except (json.JSONDecodeError, RecursionError) as error:
        raise ParameterError(_syntax_error(error)) from None


class _Number(str):
    """A JSON number as it was written."""

    __slots__ = ()


def _refuse(constant: str) -> None:
    raise json.JSONDecodeError("constant", constant, 0)


_DECODER = json.JSONDecoder(object_pairs_hook=_Object, parse_int=_Number, parse_float=_Number, parse_constant=_refuse)


def _syntax_error(error: json.JSONDecodeError | RecursionError) -> str:
    if isinstance(error, RecursionError):
        return "exceeded max depth"
    rest = error.doc[error.pos :].lstrip()
    if not rest:
        return "unexpected end of JSON input"
    if error.msg == "Extra data":
        return f"invalid character '{rest[0]}' after top-level value"
    return f"invalid character '{rest[0]}' looking for beginning of value"


def _convert(value: Any, shape: Shape, name: str) -> int | str | bool:  # noqa: ANN401 - JSON
    kind = shape.fields[name]
    found = _kind_of(value)
    if kind in _INTEGERS and found == "number":
        number = _int64(value)
        if number is not None:
            return number
        found = f"number {value}"
    elif kind == found:
        return bool(value) if kind == "bool" else str(value)
    raise ParameterError(f"json: cannot unmarshal {found} into Go struct field {shape.name}.{name} of type {kind}")


def _int64(text: str) -> int | None:
    try:
        number = int(text)
    except ValueError:
        return None
    return number if number in _INT64 else None


def _kind_of(value: Any) -> str:  # noqa: ANN401 - JSON
    if isinstance(value, bool):
        return "bool"
    if isinstance(value, _Number):
        return "number"
    if isinstance(value, str):
        return "string"
    return "object" if isinstance(value, _Object) else "array"


def error_body(code: int, message: str) -> str:
    """The body of an error: fields in the order of the struct."""
    return encode_json({"code": code, "message": message}, sort=False) + "\n"
