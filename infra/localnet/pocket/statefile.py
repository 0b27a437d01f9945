"""The chain on disk: one JSON line per block and per minting, replayed at the start.

Execution is a function of genesis and records, so nothing else is kept. The mempool is lost with the process, as it is
on a real node.
"""

import json
import os
from base64 import b64decode, b64encode
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from io import BufferedWriter
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from infra.localnet.pocket.genesis import Genesis


class StateFileError(RuntimeError):
    """The state file cannot be used; the message says what to do."""


@dataclass(frozen=True, slots=True)
class BlockRecord:
    """A block: height, time, raw transactions."""

    height: int
    time: datetime
    txs: tuple[bytes, ...]


@dataclass(frozen=True, slots=True)
class FundRecord:
    """Coins minted for an address (40 hex), in uPOKT."""

    address: str
    amount: int


Record = BlockRecord | FundRecord


class StateFile:
    """Appended to while the chain runs; its first line is the genesis."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BufferedWriter | None = None
        self._lines: list[bytes] = []

    def open(self, genesis: Genesis) -> Genesis:
        """Read or create the file; the genesis it was made with.

        Raises `StateFileError` if that one is of another chain or the file is damaged.
        """
        data = self._path.read_bytes() if self._path.exists() else b""
        *lines, torn = data.split(b"\n")
        if torn:
            # A crash in the middle of a write leaves a last line without its end: nobody has seen that block.
            os.truncate(self._path, len(data) - len(torn))
        if not lines:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            self._write(genesis.dump())
            return genesis
        try:
            found: Genesis = TypeAdapter(Genesis).validate_json(lines[0])
        except ValidationError as error:
            raise StateFileError(f"{self._path}, line 1: {error}: delete the file to start anew") from error
        if found.chain_id != genesis.chain_id:
            raise StateFileError(f"{self._path} holds the chain {found.chain_id!r}, not {genesis.chain_id!r}: name another file")
        self._lines = lines[1:]
        return found

    def records(self) -> Iterator[Record]:
        """What the file held when it was opened; to be read once."""
        lines, self._lines = self._lines, []
        for number, line in enumerate(lines, start=2):
            try:
                yield _parse(json.loads(line))
            except (ValueError, KeyError) as error:
                raise StateFileError(f"{self._path}, line {number}: {error}: delete the file to start anew") from error

    def append(self, record: Record) -> None:
        """Write a record behind the others."""
        if isinstance(record, FundRecord):
            self._write({"fund": record.address, "amount": record.amount})
        else:
            txs = [b64encode(raw).decode() for raw in record.txs]
            self._write({"block": record.height, "time": record.time.isoformat(), "txs": txs})

    def _write(self, line: dict[str, Any]) -> None:
        if self._file is None:
            self._file = self._path.open("ab")
        self._file.write(json.dumps(line).encode() + b"\n")
        self._file.flush()

    def close(self) -> None:
        """Close the file."""
        if self._file is not None:
            self._file.close()
            self._file = None


def _parse(line: dict[str, Any]) -> Record:
    if "fund" in line:
        return FundRecord(line["fund"], line["amount"])
    return BlockRecord(line["block"], datetime.fromisoformat(line["time"]), tuple(b64decode(raw) for raw in line["txs"]))
