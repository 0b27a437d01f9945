"""Chain heads: block height never fires a change stream, so each chain's heads are followed beside it."""

import asyncio
import random
from collections.abc import AsyncIterator, Callable

from loguru import logger
from reactivex import Observable
from reactivex.subject import Subject

from reactor.engine.backoff import Backoff
from reactor.engine.clock import Clock
from reactor.engine.keys import Head
from reactor.engine.loops import Loops, described
from reactor.engine.tasks import run_until, within

Follow = Callable[[], AsyncIterator[int]]


class HeadSource:
    """Merges the heads of several chains. A chain whose source breaks or falls silent is asked again; it never
    stops the others. Heads may go backwards (fail-over to a lagging node): they are passed on as they are."""

    def __init__(
        self,
        clock: Clock,
        *,
        silence: float = 1800.0,
        backoff: Backoff | None = None,
        rng: random.Random | None = None,
        loops: Loops | None = None,
    ) -> None:
        """``silence``: seconds without a head after which a source is started anew. ``loops``: those of the whole process,
        which then bring their own ``backoff``."""
        self._clock = clock
        self._silence = silence
        self._loops = loops or Loops(clock, backoff=backoff, rng=rng)
        self._follow: dict[str, Follow] = {}
        self._heads: Subject[Head] = Subject()
        self._newest: dict[str, int] = {}

    @property
    def heads(self) -> Observable[Head]:
        """Each new head; a height that only repeats is not announced."""
        return self._heads

    def add(self, chain: str, follow: Follow) -> None:
        """Follows ``chain``: ``follow()`` makes an iterator of heights, anew after each failure."""
        if chain in self._follow:
            raise ValueError(f"chain {chain!r} has a source of heads already")
        self._follow[chain] = follow

    @property
    def failures(self) -> dict[str, int]:
        """How often the source of each chain has failed."""
        return {chain: self._loops.failures.get(heads_of(chain), 0) for chain in self._follow}

    def newest(self, chain: str) -> int | None:
        """The height reported last."""
        return self._newest.get(chain)

    def observe(self, chain: str, height: int) -> None:
        """Takes one head in; for sources that push."""
        if isinstance(height, bool) or not isinstance(height, int) or height < 0:
            raise ValueError(f"a head of {chain!r} must be a height of 0 or more, not {height!r}")
        if self._newest.get(chain) == height:
            return
        self._newest[chain] = height
        self._heads.on_next(Head(chain, height))

    def well(self, chain: str) -> None:
        """The source reads its chain, whether that has a new head or not: what was away is away no more."""
        self._loops.succeeded(heads_of(chain))

    async def run(self, stop: asyncio.Event) -> None:
        """Follows all chains until ``stop``."""
        async with asyncio.TaskGroup() as group:
            for chain, follow in self._follow.items():
                group.create_task(run_until(stop, self._run_chain(chain, follow)))
            await stop.wait()

    async def _run_chain(self, chain: str, follow: Follow) -> None:
        heights: AsyncIterator[int] | None = None

        async def next_head() -> None:
            nonlocal heights
            if heights is None:
                heights = aiter(follow())
            try:
                async with within(self._silence):
                    height = await anext(heights)
            except StopAsyncIteration:
                raise RuntimeError("its source of heads came to an end") from None
            self.observe(chain, height)

        while True:
            if not await self._loops.attempt(heads_of(chain), next_head):
                await _close(heights)
                heights = None
                await self._clock.sleep(self._loops.pause(heads_of(chain)))


def heads_of(chain: str) -> str:
    """The name of the loop that follows a chain."""
    return f"heads of {chain}"


async def _close(heights: AsyncIterator[int] | None) -> None:
    close = getattr(heights, "aclose", None)
    if close is None:
        return
    try:
        async with asyncio.timeout(5):
            await close()
    except Exception as error:  # noqa: BLE001 - it is broken already; its failure was reported
        logger.debug("closing a broken source of heads: {}", described(error))
