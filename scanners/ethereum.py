"""Ethereum for the scanning loop: burns and mints of one window, at one node."""

from reactor.chains.errors import NotFound
from reactor.chains.ethereum.client import EthereumChain
from reactor.chains.ethereum.types import Head
from reactor.documents.bridge import Bridge
from reactor.documents.events import BlockRef
from reactor.state.rows import EventKind
from scanners.burns import burn_of
from scanners.loop import Reading, View
from scanners.mints import minted_of


class WatchedEthereum:
    """Heads with the configured finality, and the windows of both contracts."""

    name = "ethereum"
    kinds = (EventKind.BURN, EventKind.MINTED)

    def __init__(self, chain: EthereumChain, bridge: Bridge) -> None:
        self._chain = chain
        self.start = bridge.ethereum_start
        self._final: Head | None = None

    async def view(self) -> View:
        view = await self._chain.view()
        self._final = view.final
        return View(view.head.number, view.final.number if view.final else 0)

    async def read(self, first: int, last: int, final: int) -> Reading:
        try:
            window = await self._chain.window(first, last)
        except NotFound:
            return Reading(first - 1, {}, None)  # a node behind the one that told the head: the next head comes
        rest = min(final, window.to_block)
        return Reading(
            last=window.to_block,
            events={
                EventKind.BURN: [burn_of(event) for event in window.burns],
                EventKind.MINTED: [minted_of(event) for event in window.minted],
            },
            rest=await self._rest(rest, window.last_header) if rest >= first else None,
        )

    async def hash_at(self, height: int) -> str | None:
        try:
            return (await self._chain.header(height)).hash
        except NotFound:
            return None  # a node behind

    async def _rest(self, height: int, last: Head) -> BlockRef:
        if self._final is not None and self._final.number == height:
            return _reference(self._final)
        return _reference(last if last.number == height else await self._chain.header(height))


def _reference(head: Head) -> BlockRef:
    return BlockRef(head.number, head.hash, head.time)
