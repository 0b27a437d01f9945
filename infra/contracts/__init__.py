"""The bridge's development contracts: Solidity sources, ABI-compatible with the deployed ones, and their artifacts."""

import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
WRAPPED_POCKET = "WrappedPocket"
MINT_CONTROLLER = "MintController"


@dataclass(frozen=True, slots=True)
class Artifact:
    """What the compiler made of one contract; `bytecode` and `deployed_bytecode` are hex with 0x."""

    name: str
    abi: list[dict[str, Any]]
    bytecode: str
    deployed_bytecode: str
    source: Path
    source_sha256: str
    compiler: dict[str, Any]


@cache
def load_artifact(name: str) -> Artifact:
    """The committed artifact of a contract; raises `LookupError` naming those there are."""
    file = FOLDER / "artifacts" / f"{name}.json"
    if not file.is_file():
        known = ", ".join(sorted(path.stem for path in file.parent.glob("*.json")))
        raise LookupError(f"no contract {name!r}; there are: {known}")
    content = json.loads(file.read_text())
    return Artifact(
        name=content["contractName"],
        abi=content["abi"],
        bytecode=content["bytecode"],
        deployed_bytecode=content["deployedBytecode"],
        source=FOLDER / content["source"],
        source_sha256=content["sourceSha256"],
        compiler=content["compiler"],
    )
