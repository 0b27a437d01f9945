"""A validator's configuration file in the development network: the TOML that a real one has, with local values."""

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from infra.localnet.deploy import Deployment
from infra.localnet.identities import KeyFiles

Sections = dict[str, dict[str, Any]]
Overrides = Mapping[str, Mapping[str, Any]]

_HEAD = "# Written by the development network, with keys that are worthless by agreement: never use it elsewhere.\n"


@dataclass(frozen=True, slots=True)
class BridgeShape:
    """What all validators' configurations have in common. Amounts in uPOKT, times in seconds.

    `ethereum_poll` and `pocket_poll`: how often a chain's head is asked for.
    """

    mongo_uri: str
    database: str
    ethereum_urls: tuple[str, ...]
    ethereum_finality: str
    ethereum_poll: float
    deployment: Deployment
    pocket_urls: tuple[str, ...]
    pocket_chain_id: str
    pocket_start: int
    pocket_confirmations: int
    pocket_poll: float
    vault: str
    vault_keys: tuple[str, ...]
    fee: int
    max_mint: int


def sections(shape: BridgeShape, name: str, keys: KeyFiles, overrides: Overrides | None = None) -> Sections:
    """The settings of one validator by section; `overrides` wins, section by section and field by field."""
    made: Sections = {
        "validator": {"name": name},
        "mongo": {"uri": shape.mongo_uri, "database": shape.database},
        "ethereum": {
            "rpc_urls": list(shape.ethereum_urls),
            "chain_id": shape.deployment.chain_id,
            "wrapped_pocket_address": shape.deployment.wpokt,
            "mint_controller_address": shape.deployment.mint_controller,
            "start_block": shape.deployment.start_block,
            "burn_fee": shape.fee,
            "finality": shape.ethereum_finality,
            "finality_floor": _floor(shape.ethereum_finality),
            "poll_interval_ms": _milliseconds(shape.ethereum_poll),
            "validator_addresses": list(shape.deployment.validators),
            "key": keys.ethereum,
        },
        "pocket": {
            "rpc_urls": list(shape.pocket_urls),
            "chain_id": shape.pocket_chain_id,
            "start_height": shape.pocket_start,
            "confirmations": shape.pocket_confirmations,
            "poll_interval_ms": _milliseconds(shape.pocket_poll),
            "multisig_public_keys": list(shape.vault_keys),
            "vault_address": shape.vault,
            "tx_fee": shape.fee,
            "max_mint": shape.max_mint,
            "key": keys.pocket,
        },
        "state": {"directory": "state"},
        # A local chain is a thousand times faster than a real one: so is everything that waits for it.
        "engine": {"sweep_interval_s": 5.0, "heartbeat_interval_s": 2.0, "stop_timeout_s": 3.0},
        "log": {"level": "INFO", "format": "human"},
    }
    for section, fields in (overrides or {}).items():
        made.setdefault(section, {}).update(deepcopy(dict(fields)))
    return made


def to_toml(made: Sections) -> str:
    """The sections as TOML. Values: text, numbers, booleans, lists of these, nested tables as dictionaries."""
    return _HEAD + "".join(f"\n{table}" for table in _tables("", made))


def write_configuration(path: Path, made: Sections) -> None:
    """Write the file, mode 0600: a Mongo URI may hold a password."""
    path.touch(mode=0o600)
    path.write_text(to_toml(made))


def _tables(prefix: str, tables: Mapping[str, Mapping[str, Any]]) -> Sequence[str]:
    shown: list[str] = []
    for name, fields in tables.items():
        plain = {key: value for key, value in fields.items() if not isinstance(value, Mapping)}
        lines = "".join(f"{key} = {_value(value)}\n" for key, value in plain.items())
        shown.append(f"[{prefix}{name}]\n{lines}")
        shown += _tables(f"{prefix}{name}.", {key: value for key, value in fields.items() if isinstance(value, Mapping)})
    return shown


def _value(value: object) -> str:
    if isinstance(value, list | tuple):
        return "[" + ", ".join(_value(item) for item in value) + "]"
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {_value(item)}" for key, item in value.items()) + " }"
    # JSON's texts, numbers and booleans are TOML's too.
    return json.dumps(value)


def _floor(finality: str) -> int:
    """The least depth of a final block: a local chain has no twelve blocks to wait for."""
    depth = finality.removeprefix("latest-")
    return int(depth) if depth.isdigit() else 1


def _milliseconds(seconds: float) -> int:
    return max(10, round(seconds * 1000))
