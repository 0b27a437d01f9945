"""Tendermint's simple merkle tree over transaction hashes (RFC 6962 with SHA-256)."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256


@dataclass(frozen=True, slots=True)
class Proof:
    """That a leaf is part of a tree: its position, the number of leaves, its hash and those beside its path."""

    root: bytes
    index: int
    total: int
    leaf_hash: bytes
    aunts: tuple[bytes, ...]


def leaf_of(raw: bytes) -> bytes:
    """The leaf of a transaction."""
    return sha256(b"\x00" + sha256(raw).digest()).digest()


def root_of(leaves: Sequence[bytes]) -> bytes:
    """The root over leaves, empty over none."""
    if len(leaves) <= 1:
        return leaves[0] if leaves else b""
    split = _split(len(leaves))
    return _inner(root_of(leaves[:split]), root_of(leaves[split:]))


def prove(leaves: Sequence[bytes], index: int) -> Proof:
    """The proof of leaf `index`."""
    return Proof(root_of(leaves), index, len(leaves), leaves[index], tuple(_aunts(leaves, index)))


def _aunts(leaves: Sequence[bytes], index: int) -> list[bytes]:
    if len(leaves) <= 1:
        return []
    split = _split(len(leaves))
    if index < split:
        return [*_aunts(leaves[:split], index), root_of(leaves[split:])]
    return [*_aunts(leaves[split:], index - split), root_of(leaves[:split])]


def _inner(left: bytes, right: bytes) -> bytes:
    return sha256(b"\x01" + left + right).digest()


def _split(count: int) -> int:
    """The greatest power of two below `count`."""
    return 1 << ((count - 1).bit_length() - 1)
