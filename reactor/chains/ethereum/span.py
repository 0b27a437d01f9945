"""How many blocks one query for logs asks for: grows while the node is quick, shrinks when it is slow or refuses."""

from __future__ import annotations

from dataclasses import dataclass

__all__ = ["Span"]


# Quick answers at the ceiling before something larger is tried: a node with a fixed limit refuses one query in this many.
_PATIENCE = 20


@dataclass(slots=True)
class Span:
    """An adaptive number of blocks within `least` and `most`.

    Doubles after an answer within `quick` seconds that used the whole span, halves after one slower than `slow` seconds. After
    a refusal it goes back to the size that was known to be good, else to half, and stays: only after many quick answers is half
    as much again tried, so that a limit that was lifted is found again and a fixed one costs few refusals.
    """

    blocks: int = 1000
    least: int = 1
    most: int = 10_000
    quick: float = 1.0
    slow: float = 4.0
    ceiling: int = 0
    good: int = 0
    steady: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.least <= self.blocks <= self.most:
            raise ValueError("span: expected 1 <= least <= blocks <= most")
        self.ceiling = self.ceiling or self.most

    def answered(self, asked: int, seconds: float) -> None:
        """Note that a query for `asked` blocks took `seconds`."""
        if seconds > self.slow:
            self._set(min(self.blocks, asked) // 2)
            return
        self.good = max(self.good, asked)
        if seconds > self.quick or asked < self.blocks:
            return
        if self.blocks < self.ceiling:
            self._set(self.blocks * 2)
            return
        self.steady += 1
        if self.steady >= _PATIENCE and self.ceiling < self.most:
            self.ceiling = min(self.most, self.ceiling + max(1, self.ceiling // 2))
            self._set(self.ceiling)

    def failed(self, asked: int) -> None:
        """Note that a query for `asked` blocks had no answer, perhaps because it was too much work."""
        self._set(min(self.blocks, asked) // 2)

    def refused(self, asked: int) -> bool:
        """Note that a query for `asked` blocks was too much. False if there is nothing left to shrink."""
        if asked <= self.least:
            return False
        if self.good >= asked:
            self.good = 0  # it was good elsewhere: these blocks hold more
        self.ceiling = max(self.least, asked // 2, self.good)
        self._set(self.ceiling)
        return True

    def _set(self, blocks: int) -> None:
        self.steady = 0
        self.blocks = max(self.least, min(self.ceiling, blocks))
