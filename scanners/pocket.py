"""Pocket for the scanning loop: what the vault received and sent in one window, at one node."""

from collections import OrderedDict
from collections.abc import Sequence
from typing import Final

from reactor.chains.pocket import NotFound, PocketBlock, PocketChain, PocketTx, Window, WindowNotReady, WindowTooLarge
from reactor.documents.bridge import Bridge
from reactor.documents.events import BlockRef, Deposit, Event
from reactor.state.rows import EventKind
from scanners.deposits import deposit_of
from scanners.loop import Reading, View
from scanners.returns import returned_of
from scanners.second import Answered

LARGEST_WINDOW: Final = 4096
"""Blocks per window at most. The node pages through the vault's history by transaction, so blocks cost it little."""
NEAR_BLOCKS: Final = 96
"""A day. Blocks so close to the newest final one are read a second time by themselves; farther back, from a list again."""
BLOCKS_AT_ONCE: Final = 16
"""Of those: each is a call, and may be megabytes."""
_BLOCKS_KEPT: Final = 4096


class WatchedPocket:
    """Heads with the configured number of confirmations, and the windows of the vault."""

    name = "pocket"
    kinds = (EventKind.DEPOSIT, EventKind.RETURNED)
    margin = 1
    batch = 1

    def __init__(self, chain: PocketChain, bridge: Bridge, confirmations: int) -> None:
        self._chain = chain
        self._bridge = bridge
        self._confirmations = confirmations
        self._span = LARGEST_WINDOW
        self._blocks: OrderedDict[int, BlockRef] = OrderedDict()
        self._answered = Answered()
        self.start = bridge.pocket_start

    async def view(self) -> View:
        head = await self._chain.head()
        return View(head.height, max(0, head.height - self._confirmations))

    async def read(self, first: int, last: int, final: int) -> Reading:
        asked = min(last, first + self._span - 1)
        try:
            window = await self._chain.window(self._bridge.vault, first, asked)
        except WindowNotReady:
            return Reading(first - 1, {}, None)  # the head is not indexed yet: it is read with the next one
        except WindowTooLarge:
            if asked == first:
                raise
            self._span = (asked - first + 1) // 2
            return await self.read(first, last, final)
        self._span = min(LARGEST_WINDOW, self._span * 2)
        self._answered.note(window.to_height, window.endpoint)
        rest = min(final, window.to_height)
        return Reading(
            last=window.to_height,
            events=await self._events(window, final),
            rest=_reference(window.last_block) if rest == window.to_height else await self._rest(first, rest),
            endpoint=window.endpoint,
        )

    async def read_again(self, first: int, last: int, final: int, naming: Sequence[str] = ()) -> Reading:
        """From the blocks themselves where they are near or a transaction is named, else from the list again; of another endpoint
        where there is one.
        """
        before = self._answered.of(first)
        by_block = bool(naming) or final - first < NEAR_BLOCKS
        asked = min(last, first + (BLOCKS_AT_ONCE if by_block else self._span) - 1)
        try:
            window = await self._chain.window(self._bridge.vault, first, asked, apart_from=before, by_block=by_block)
        except WindowNotReady:
            return Reading(first - 1, {}, None)
        except WindowTooLarge:
            if asked == first:
                raise
            return await self.read_again(first, (first + asked) // 2, final, naming)
        events = await self._events(window, final)
        return Reading(window.to_height, events, None, window.endpoint, before, sends_only=by_block)

    @property
    def believes_one_of_several(self) -> bool:
        return self._chain.agreement == 1 and self._chain.several

    async def shown_by(self, event: Event, apart_from: str) -> str | None:
        try:
            tx, endpoint = await self._chain.tx_with_endpoint(event.tx_hash, apart_from=apart_from)
        except NotFound:
            return None
        shown = (deposit_of(self._bridge, tx, event.block), returned_of(tx, event.block))
        return endpoint if tx.height == event.height and event in shown else None

    async def locate(self, tx_hash: str) -> int | None:
        try:
            return (await self._chain.tx(tx_hash)).height
        except NotFound:
            return None

    async def _events(self, window: Window, final: int) -> dict[EventKind, Sequence[Event]]:
        return {
            EventKind.DEPOSIT: await self._deposits(window.received, final),
            EventKind.RETURNED: [returned_of(tx, await self._block(tx.height, final)) for tx in window.sent],
        }

    async def hash_at(self, height: int) -> str | None:
        try:
            shown = (await self._chain.block(height)).hash
        except NotFound:
            return None  # a node behind
        # SECURITY: what a node showed otherwise once must not come back from memory when the blocks are read anew.
        if (known := self._blocks.get(height)) is not None and known.hash != shown:
            self.forget()
        return shown

    def forget(self) -> None:
        self._blocks.clear()

    async def _deposits(self, received: tuple[PocketTx, ...], final: int) -> list[Deposit]:
        found = [deposit_of(self._bridge, tx, await self._block(tx.height, final)) for tx in received]
        return [deposit for deposit in found if deposit is not None]

    async def _rest(self, first: int, height: int) -> BlockRef | None:
        return await self._block(height, height) if height >= first else None

    async def _block(self, height: int, final: int) -> BlockRef:
        """The block's header; final ones are asked for once, until they are to be forgotten."""
        known = self._blocks.get(height)
        if known is not None:
            return known
        block = _reference(await self._chain.block(height))
        if height <= final:
            self._blocks[height] = block
            if len(self._blocks) > _BLOCKS_KEPT:
                self._blocks.popitem(last=False)
        return block


def _reference(block: PocketBlock) -> BlockRef:
    return BlockRef(block.height, block.hash, int(block.time.timestamp()), block.time.microsecond // 1000)
