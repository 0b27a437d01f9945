"""A validator's own endpoints while it runs: compared now and then, and asked once more before a signature.

Only `validator` uses these.
"""

import asyncio
from functools import partial
from typing import Final

from loguru import logger

from reactor.chains.ethereum.client import EthereumChain
from reactor.chains.pocket import PocketChain
from reactor.documents.events import BlockRef, Event
from reactor.engine.clock import SystemClock
from reactor.engine.loops import Loops, pausing
from reactor.health import Trouble
from reactor.settings import Settings
from reactor.state.ledger import Ledger
from reactor.state.rows import EventKind
from scanners.second import WatchedTwice

SURVEY_SECONDS: Final = 30.0
"""Pause between two comparisons of all endpoints: two or three calls to each. What is worse than a lag is noticed by asking."""
_SURVEY_TIMEOUT: Final = 60.0
_COMPARING: Final = "comparing the endpoints"


class EndpointWatch:
    """Compares the endpoints of both chains for as long as the validator runs; `problems` says what is wrong with which."""

    def __init__(
        self,
        ethereum: EthereumChain,
        pocket: PocketChain,
        settings: Settings,
        loops: Loops | None = None,
        *,
        every: float = SURVEY_SECONDS,
    ) -> None:
        self._ethereum = ethereum
        self._pocket = pocket
        self._settings = settings
        self._every = every
        self._loops = loops or Loops(SystemClock())

    @property
    def problems(self) -> list[str]:
        """For the heartbeat: each names the chain and the endpoint."""
        return [one.text for one in self.troubles]

    @property
    def troubles(self) -> list[Trouble]:
        """The same, each of its chain."""
        found = []
        for chain, problems in (("Ethereum", self._ethereum.problems), ("Pocket", self._pocket.problems)):
            found += [Trouble(f"{chain} endpoint {problem}", chain) for problem in problems]
        return found

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`. A chain with one endpoint is not asked: there is nothing to compare."""
        await self._loops.repeat(stop, _COMPARING, self.look, pausing(self._every))

    async def look(self) -> None:
        """One comparison of each chain's endpoints. One that fails does not keep the other from its turn."""
        ethereum, pocket = self._settings.ethereum, self._settings.pocket
        if len(ethereum.rpc_urls) > 1:
            await self._loops.attempt("comparing the Ethereum endpoints", self._ethereum.survey, within=_SURVEY_TIMEOUT)
        if len(pocket.rpc_urls) > 1:
            survey = partial(self._pocket.survey, pocket.confirmations)
            await self._loops.attempt("comparing the Pocket endpoints", survey, within=_SURVEY_TIMEOUT)


class SameEvents:
    """Whether a block holds, by as many endpoints as must agree, exactly the events that the own ledger holds of it.

    SECURITY: what is signed rests on the ledger, which may have been filled when fewer endpoints had to agree.
    """

    def __init__(self, watched: WatchedTwice, ledger: Ledger, kind: EventKind) -> None:
        self._watched = watched
        self._ledger = ledger
        self._kind = kind

    async def __call__(self, block: BlockRef) -> bool:
        known = {seen.event for seen in self._ledger.events_at(self._kind, block.height)}
        shown: set[Event] = set()
        # A list may lack what the blocks hold: then the blocks are asked, by as many endpoints.
        for read in (self._watched.read, self._watched.read_again):
            reading = await read(block.height, block.height, block.height)
            if reading.last < block.height:
                return False
            shown = set(reading.events[self._kind])
            if shown == known:
                return True
            # A header that was remembered may be what differs.
            self._watched.forget()
        names = sorted({event.tx_hash for event in shown ^ known})
        logger.error(
            "{} block {}: the endpoints show other {}s than the ledger: {}; nothing of this block is signed",
            *(self._watched.name, block.height, self._kind.value, ", ".join(names[:10])),
        )
        return False
