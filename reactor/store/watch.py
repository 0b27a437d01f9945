"""Collections, indexes and schemas while the bridge runs: whoever takes one away is noticed and told, and nothing stops.

No safety rests on them; without them things are slower, and honest mistakes are not refused by the server any more.
"""

from collections.abc import Callable
from time import monotonic
from typing import Final

from loguru import logger

from reactor.store.connection import Store
from reactor.store.indexes import verify

LOOK_SECONDS: Final = 60.0
"""Between two looks at what nobody is rung for: an index or a schema that goes."""
_SHOWN: Final = 8


class SchemaWatch:
    """`problems`: what is not as `init-db` makes it, as of the last look; empty when all is well."""

    def __init__(self, store: Store, *, every: float = LOOK_SECONDS, clock: Callable[[], float] = monotonic) -> None:
        self._store = store
        self._every = every
        self._clock = clock
        self._due = clock() + every  # `run` has verified them just before
        self._told: frozenset[str] = frozenset()
        self.problems: list[str] = []

    def alarm(self) -> None:
        """Something was dropped or renamed: look at once."""
        self._due = self._clock()

    async def look(self) -> None:
        """Look, if it is time. Raises a `PyMongoError` where the database does not answer."""
        if self._clock() < self._due:
            return
        # The shortest list first: of many indexes that are gone the first few say enough.
        problems = sorted(await verify(self._store), key=lambda one: one.problem.startswith("no index"))
        found = [f"database: {problem}" for problem in problems]
        self._due = self._clock() + self._every
        self._tell(found)
        more = [f"database: {len(found) - _SHOWN} more"] if len(found) > _SHOWN else []
        self.problems = found[:_SHOWN] + more

    def _tell(self, found: list[str]) -> None:
        for one in found:
            if one not in self._told:
                logger.error("taken away or changed while this validator runs: {}", one)
        if self._told and not found:
            logger.info("collections, indexes and schemas are as they should be again")
        self._told = frozenset(found)
