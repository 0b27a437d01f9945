"""Blocks: headers whose hashes are a function of their content and chain to each other."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from infra.localnet.pocket.gotext import encode_json
from infra.localnet.pocket.merkle import leaf_of, root_of

_NO_BLOCK: dict[str, Any] = {"hash": "", "parts": {"hash": "", "total": "0"}}


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest().upper()


_CONSENSUS_HASH = _digest("consensus parameters of the development node")
_VALIDATORS_HASH = _digest("validators of the development node")
_PROPOSER = _VALIDATORS_HASH[:40]


@dataclass(frozen=True, slots=True)
class Block:
    """One block. `header` is what the RPC shows, `hash` 64 upper-case hex, `txs` the raw transactions in their order."""

    height: int
    time: datetime
    header: dict[str, Any]
    hash: str
    txs: tuple[bytes, ...]

    @property
    def block_id(self) -> dict[str, Any]:
        """How the next block refers to this one."""
        return {"hash": self.hash, "parts": {"hash": _digest(f"parts {self.hash}"), "total": "1"}}

    @property
    def last_block_id(self) -> dict[str, Any]:
        """How this block refers to the one before."""
        shown: dict[str, Any] = self.header["last_block_id"]
        return shown


def build_block(
    *, chain_id: str, height: int, time: datetime, txs: Sequence[bytes], previous: Block | None, app_hash: str, results_hash: str
) -> Block:
    """The block after `previous`. `app_hash` and `results_hash` are those left by the previous block."""
    total = len(txs) + (int(previous.header["total_txs"]) if previous else 0)
    last_block_id = previous.block_id if previous else _NO_BLOCK
    header = {
        "app_hash": app_hash if previous else "",
        "chain_id": chain_id,
        "consensus_hash": _CONSENSUS_HASH,
        "data_hash": root_of([leaf_of(raw) for raw in txs]).hex().upper(),
        "evidence_hash": "",
        "height": str(height),
        "last_block_id": last_block_id,
        "last_commit_hash": _digest(f"commit of {last_block_id['hash']}") if previous else "",
        "last_results_hash": results_hash,
        "next_validators_hash": _VALIDATORS_HASH,
        "num_txs": str(len(txs)),
        "proposer_address": _PROPOSER,
        "time": show_time(time),
        "total_txs": str(total),
        "validators_hash": _VALIDATORS_HASH,
        "version": {"app": "0", "block": "10"},
    }
    return Block(height, time, header, _digest(encode_json(header)), tuple(txs))


def show_time(time: datetime) -> str:
    """UTC as Go shows it: trailing zeros of the fraction left out."""
    text = time.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")
    return text.rstrip("0").rstrip(".") + "Z"
