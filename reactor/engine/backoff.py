"""Growing pauses between tries, with jitter so that many validators do not knock in step."""

import random
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """Seconds between tries: ``first`` doubles up to ``most``; each pause is drawn from its upper half."""

    first: float = 0.5
    most: float = 60.0

    def pause(self, tries: int, rng: random.Random) -> float:
        """The pause after ``tries`` (1, 2, …) failures in a row."""
        full = min(self.most, self.first * 2.0 ** min(tries - 1, 60))
        return full * rng.uniform(0.5, 1.0)
