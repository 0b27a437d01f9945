"""Every setting by name: for the loader, for faults and for the documentation."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel
from pydantic.fields import FieldInfo as ModelField

from reactor.settings.model import Settings

PREFIX = "REACTOR_"
SEPARATOR = "__"
MONGODB_URI = "MONGODB_URI"


@dataclass(frozen=True, slots=True)
class FieldInfo:
    """One setting.

    Attributes:
        path: its place in the TOML file, e.g. `ethereum.start_block`.
        env: the environment variable, e.g. `REACTOR_ETHEREUM__START_BLOCK`.
        required: it has no default.
        default: as shown to people; empty for none.
        description: one line.
        secret: it may also be given as a file (`<env>_FILE`, `<path>_file`) and is masked when shown.
        is_list: in the environment its entries are separated by commas or white space.
    """

    path: str
    env: str
    required: bool
    default: str
    description: str
    secret: bool
    is_list: bool


def env_name(path: str) -> str:
    """Give the environment variable of a TOML path."""
    return PREFIX + path.upper().replace(".", SEPARATOR)


def settings_fields() -> tuple[FieldInfo, ...]:
    """List every setting in the order of the model, for the loader and for documentation."""
    return tuple(_walk(Settings, ""))


def _walk(model: type[BaseModel], prefix: str) -> Iterator[FieldInfo]:
    for name, field in model.model_fields.items():
        annotation: Any = field.annotation
        if isinstance(annotation, type) and issubclass(annotation, BaseModel):
            yield from _walk(annotation, f"{prefix}{name}.")
        else:
            yield _info(prefix + name, field)


def _info(path: str, field: ModelField) -> FieldInfo:
    extra = field.json_schema_extra
    required = field.is_required()
    return FieldInfo(
        path=path,
        env=env_name(path),
        required=required,
        default="" if required or field.default is None else str(field.default),
        description=field.description or "",
        secret=isinstance(extra, dict) and bool(extra.get("secret")),
        is_list=path.rpartition(".")[2] in {"rpc_urls", "validator_addresses", "multisig_public_keys"},
    )
