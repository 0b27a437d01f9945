"""Ethereum for the scanning loop: burns and mints of one window, at one node."""

from collections.abc import Sequence
from typing import Final

from reactor.chains.errors import NotFound
from reactor.chains.ethereum.client import EthereumChain
from reactor.chains.ethereum.types import BurnEvent, Head, MintedEvent
from reactor.documents.bridge import Bridge
from reactor.documents.events import BlockRef, Event
from reactor.state.rows import EventKind
from scanners.burns import burn_of
from scanners.loop import Reading, View
from scanners.mints import minted_of
from scanners.second import Answered

MARGIN_BLOCKS: Final = 32
"""An epoch: in so many blocks a backend that was behind has caught up, and so many are read a second time at once."""


class WatchedEthereum:
    """Heads with the configured finality, and the windows of both contracts."""

    name = "ethereum"
    kinds = (EventKind.BURN, EventKind.MINTED)
    margin = MARGIN_BLOCKS
    batch = MARGIN_BLOCKS

    def __init__(self, chain: EthereumChain, bridge: Bridge) -> None:
        self._chain = chain
        self.start = bridge.ethereum_start
        self._final: Head | None = None
        self._answered = Answered()

    async def view(self) -> View:
        view = await self._chain.view()
        self._final = view.final
        return View(view.head.number, view.final.number if view.final else 0)

    async def read(self, first: int, last: int, final: int) -> Reading:
        try:
            window = await self._chain.window(first, last)
        except NotFound:
            return Reading(first - 1, {}, None)  # a node behind the one that told the head: the next head comes
        self._answered.note(window.to_block, window.endpoint)
        rest = min(final, window.to_block)
        return Reading(
            last=window.to_block,
            events=_events(window.burns, window.minted),
            rest=await self._rest(rest, window.last_header) if rest >= first else None,
            endpoint=window.endpoint,
        )

    async def read_again(self, first: int, last: int, final: int, naming: Sequence[str] = ()) -> Reading:
        del final
        before = self._answered.of(first)
        try:
            window = await self._chain.window(first, last, apart_from=before)
            events = _events(window.burns, window.minted)
            for tx_hash in naming:
                await self._add_receipt(tx_hash, window.from_block, window.to_block, events)
        except NotFound:
            return Reading(first - 1, {}, None)
        return Reading(window.to_block, events, None, window.endpoint, before)

    @property
    def believes_one_of_several(self) -> bool:
        return self._chain.agreement == 1 and self._chain.several

    async def shown_by(self, event: Event, apart_from: str) -> str | None:
        try:
            receipt = await self._chain.receipt_events(event.tx_hash, apart_from=apart_from)
        except NotFound:
            return None
        shown = _events(receipt.burns, receipt.minted)
        return receipt.endpoint if any(event in events for events in shown.values()) else None

    async def locate(self, tx_hash: str) -> int | None:
        try:
            return (await self._chain.receipt_events(tx_hash)).block_number
        except NotFound:
            return None

    async def _add_receipt(self, tx_hash: str, first: int, last: int, events: dict[EventKind, list[Event]]) -> None:
        """What a transaction's receipt shows, which the logs of its block may lack."""
        receipt = await self._chain.receipt_events(tx_hash)
        # SECURITY: a receipt of a block that another one has replaced shows nothing that stands.
        if not first <= receipt.block_number <= last or not await self._chain.is_canonical(
            receipt.block_number, receipt.block_hash
        ):
            return
        # Instead of the logs of this transaction: a burn's index is its place among all of them.
        for kind, shown in _events(receipt.burns, receipt.minted).items():
            events[kind] = [event for event in events[kind] if event.tx_hash != tx_hash] + shown

    async def hash_at(self, height: int) -> str | None:
        # SECURITY: never from a shared read, which may be older than the window that this answer is to prove.
        try:
            return (await self._chain.header(height, fresh=True)).hash
        except NotFound:
            return None  # a node behind

    def forget(self) -> None:
        self._final = None

    async def _rest(self, height: int, last: Head) -> BlockRef:
        if self._final is not None and self._final.number == height:
            return _reference(self._final)
        return _reference(last if last.number == height else await self._chain.header(height, fresh=True))


def _events(burns: Sequence[BurnEvent], minted: Sequence[MintedEvent]) -> dict[EventKind, list[Event]]:
    return {EventKind.BURN: [burn_of(one) for one in burns], EventKind.MINTED: [minted_of(one) for one in minted]}


def _reference(head: Head) -> BlockRef:
    return BlockRef(head.number, head.hash, head.time)
