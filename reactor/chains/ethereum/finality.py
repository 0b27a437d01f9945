"""When a block counts as final: configuration, parsed once."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

__all__ = ["YOUNG_BLOCKS", "Finality"]

YOUNG_BLOCKS: Final = 1024
"""32 epochs. A chain with more blocks has safe and finalized ones: a node that shows none was just started, or is no node."""
_TAG_BLOCKS: Final = 96
"""Three epochs: so many blocks at most lie between the head and the block of a tag, as long as the chain finalizes."""
_LATEST = re.compile(r"latest\s*-\s*([0-9]{1,9})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Finality:
    """`latest` with a `depth` in blocks, or the node's own tag `safe` or `finalized`; never above head - `floor`.

    The floor bounds what a node's tag may claim: a misconfigured or lying node that calls its head final is not believed.
    """

    kind: Literal["latest", "safe", "finalized"]
    depth: int = 0
    floor: int = 0

    def __post_init__(self) -> None:
        if self.kind not in {"latest", "safe", "finalized"}:
            raise ValueError(f"finality: expected latest-<blocks>, safe or finalized, got {self.kind!r}")
        if self.depth < 0 or self.floor < 0:
            raise ValueError("finality: depth and floor must not be negative")
        if self.kind != "latest" and self.depth:
            raise ValueError(f"finality: {self.kind} takes no depth; use the floor")

    @classmethod
    def parse(cls, text: str, floor: int = 0) -> Finality:
        """`latest-<blocks>`, `safe` or `finalized`. Raises ValueError with the remedy."""
        wanted = text.strip().lower()
        if (latest := _LATEST.fullmatch(wanted)) is not None:
            return cls("latest", int(latest[1]), floor)
        if wanted == "safe":
            return cls("safe", 0, floor)
        if wanted == "finalized":
            return cls("finalized", 0, floor)
        raise ValueError(f"finality: expected latest-<blocks>, safe or finalized, got {text!r}")

    @property
    def blocks(self) -> int:
        """The least number of blocks between the head and the newest final block."""
        return max(self.depth, self.floor)

    @property
    def usual(self) -> int:
        """The most blocks between the head and the newest final block of a chain that is well."""
        return self.blocks if self.kind == "latest" else max(self.blocks, _TAG_BLOCKS)
