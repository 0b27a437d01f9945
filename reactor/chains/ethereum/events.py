"""Our contracts' events: by window of blocks, by recipient and nonce, by transaction."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from reactor.chains.agreement import Question
from reactor.chains.cache import SharedReads
from reactor.chains.errors import MalformedAnswer, NotAgreed, NotFound, RpcUnavailable
from reactor.chains.ethereum import contracts, logs, wire
from reactor.chains.ethereum.nodes import Nodes
from reactor.chains.ethereum.span import Span
from reactor.chains.ethereum.types import Head, MintedEvent, ReceiptEvents, Window
from reactor.chains.rpc import Endpoint
from reactor.foreign import shown

__all__ = ["BY_HASH_SECONDS", "ContractEvents"]

# What a block hash names never changes.
BY_HASH_SECONDS = 3600.0
# A reorganisation in the middle of a window: read it again this often before another node is asked.
_WINDOW_TRIES = 3
# Halvings of the window in one read; 2^20 blocks is more than any span.
_SHRINKS = 20
_Shown = tuple[Window, tuple[logs.Log, ...]]
_EVENT_TOPICS = [contracts.BURN_TOPIC, contracts.MINTED_TOPIC, *contracts.CHANGE_TOPICS]


class ContractEvents:
    """Reads events at one endpoint at a time. `on_changes` is told of events that may have changed the contracts' state."""

    def __init__(
        self,
        nodes: Nodes,
        reads: SharedReads,
        *,
        wpokt: str,
        controller: str,
        span: Span,
        on_changes: Callable[[Iterable[logs.Log]], None],
    ) -> None:
        self.span = span
        self.wpokt = wpokt
        self.controller = controller
        self._nodes = nodes
        self._reads = reads
        self._on_changes = on_changes
        # Lookups by recipient and nonce match next to nothing, so nodes allow them more blocks.
        self._lookup_span = Span(blocks=span.most, most=max(span.most, 100_000))

    async def window(self, from_block: int, to_block: int, *, apart_from: str = "") -> Window:
        """Our contracts' events from `from_block` on, as far as the node's limits allow, at most to `to_block`.

        The window counts as read only at an endpoint that shows the header of its last block before and after: a lagging node
        answers "nothing" instead of an error. NotFound means that no endpoint has come that far yet. `apart_from`: the name
        of the endpoint that is asked only where no other can answer, since it answered the first time.

        SECURITY: with agreement it counts as read only when so many endpoints showed the same events up to the same last block:
        who hides a burn or invents one is outvoted and named, and where that cannot be decided nothing is read.
        """
        _check_range(from_block, to_block)
        if self._nodes.agreement > 1:
            return await self._agreed_window(from_block, to_block, apart_from)
        window, changes = await self._nodes.run(
            lambda endpoint: self._window(endpoint, from_block, to_block, self.span), last=apart_from
        )
        self._on_changes(changes)
        return window

    async def _agreed_window(self, from_block: int, to_block: int, last: str) -> Window:
        """All endpoints are asked for the same blocks; a size that one of those needed refuses is halved for all."""
        for _ in range(_SHRINKS):
            blocks = min(self.span.blocks, to_block - from_block + 1)
            began = time.monotonic()
            try:
                window, changes = await self._agreed(from_block, from_block + blocks - 1, last)
            except wire.TooMuch:
                if not self.span.refused(blocks):
                    raise
                continue
            except (NotAgreed, RpcUnavailable):
                self.span.failed(blocks)
                raise
            self.span.answered(blocks, time.monotonic() - began)
            self._on_changes(changes)
            return window
        raise wire.TooMuch("no size of window is small enough", method="eth_getLogs")

    async def _agreed(self, from_block: int, to_block: int, last: str) -> _Shown:
        question = Question[_Shown](
            f"the events of blocks {from_block} to {to_block}",
            "events",
            same=lambda shown: (shown[0].burns, shown[0].minted, shown[0].last_header, shown[1]),
            show=lambda shown: f"{len(shown[0].burns)} burns, {len(shown[0].minted)} mints up to {shown[0].last_header.hash}",
            soft=(wire.TooMuch, NotFound),
            accuse="shows other events",
        )
        return await self._nodes.agree(question, lambda endpoint: self._window(endpoint, from_block, to_block, None), last=last)

    async def _window(self, endpoint: Endpoint, from_block: int, to_block: int, span: Span | None) -> _Shown:
        """One endpoint's, and its events that may have changed the contracts' state; without a span all of it or an error."""
        found, last = await self._logs(
            endpoint, from_block, to_block, addresses=[self.wpokt, self.controller], topics=[_EVENT_TOPICS], span=span
        )
        times = await self._times(endpoint, found)
        changes = tuple(log for log in found if log.topics and log.topics[0] in contracts.CHANGE_TOPICS)
        window = Window(
            from_block=from_block,
            to_block=last.number,
            burns=logs.burns_of(found, self.wpokt, times),
            minted=logs.minted_of(found, self.wpokt, times),
            last_header=last,
            endpoint=endpoint.name,
            contracts_changed=bool(changes),
        )
        return window, changes

    async def minted_lookup(self, recipient: str, nonce: int, from_block: int, to_block: int) -> tuple[MintedEvent, ...]:
        """The `Minted` events to `recipient` with `nonce` in the blocks `from_block` to `to_block`, both included."""
        _check_range(from_block, to_block)
        wanted = "0x" + wire.own_address(recipient, "recipient")[2:].rjust(64, "0")
        topics = [contracts.MINTED_TOPIC, wanted, None, "0x" + nonce.to_bytes(32, "big").hex()]
        events: list[MintedEvent] = []
        start = from_block

        async def read(endpoint: Endpoint) -> Head:
            found, last = await self._logs(
                endpoint, start, to_block, addresses=[self.wpokt], topics=topics, span=self._lookup_span
            )
            minted = logs.minted_of(found, self.wpokt, await self._times(endpoint, found))
            if any(event.recipient != recipient.lower() or event.nonce != nonce for event in minted):
                raise MalformedAnswer("logs: not those that were asked for", endpoint=endpoint.url, method="eth_getLogs")
            events.extend(minted)
            return last

        while start <= to_block:
            start = (await self._nodes.run(read)).number + 1
        return tuple(events)

    async def receipt_events(self, tx_hash: str) -> ReceiptEvents:
        """Outcome and events of a mined transaction. NotFound if no endpoint knows it; with agreement, if so many do not."""
        wanted = wire.own_hash(tx_hash, "tx_hash")
        method = "eth_getTransactionReceipt"
        question = Question[ReceiptEvents](
            f"the receipt of {wanted}",
            "receipt",
            same=lambda one: one,
            show=_outcome,
            answers=(NotFound,),
            accuse="shows another receipt",
        )

        async def read(endpoint: Endpoint) -> ReceiptEvents:
            receipt = await self._nodes.ask(endpoint, method, [wanted])
            try:
                succeeded, found, number, block_hash = _receipt(receipt, wanted)
                times = await self._times(endpoint, found, block_hash)
                return ReceiptEvents(
                    tx_hash=wanted,
                    succeeded=succeeded,
                    block_number=number,
                    block_hash=block_hash,
                    block_time=times[block_hash],
                    burns=logs.burns_of(found, self.wpokt, times),
                    minted=logs.minted_of(found, self.wpokt, times),
                )
            except (MalformedAnswer, NotFound) as error:
                raise type(error)(error.reason, endpoint=endpoint.url, method=error.method or method) from None

        return await self._nodes.agree(question, read)

    async def _logs(
        self, endpoint: Endpoint, start: int, stop: int, *, addresses: list[str], topics: list[Any], span: Span | None
    ) -> tuple[list[logs.Log], Head]:
        """Logs from `start` to the returned header's block at this endpoint: as many blocks as it bears; without a span all."""
        torn = shrinks = 0
        while torn < _WINDOW_TRIES:
            end = stop if span is None else min(stop, start + span.blocks - 1)
            # Before the logs: a node that has this block now knows all logs up to it.
            before = await self._nodes.header(endpoint, end)
            query = {"address": addresses, "topics": topics, "fromBlock": hex(start), "toBlock": hex(end)}
            began = time.monotonic()
            try:
                found = await self._nodes.parsed(endpoint, "eth_getLogs", [query], logs.parse_logs)
            except wire.TooMuch:
                shrinks += 1
                if span is None or shrinks > _SHRINKS or not span.refused(end - start + 1):
                    raise
                continue
            except RpcUnavailable:
                if span is not None:
                    span.failed(end - start + 1)
                raise
            if span is not None:
                span.answered(end - start + 1, time.monotonic() - began)
            _check_logs(found, start, end, addresses, endpoint)
            # After the logs: the same chain still stands, so no reorganisation mixed two chains in the answer.
            after = await self._nodes.header(endpoint, end)
            if after == before and all(log.block_hash == after.hash for log in found if log.block_number == end):
                return found, after
            torn += 1
        raise RpcUnavailable("the chain changes under the window", endpoint=endpoint.url, method="eth_getLogs")

    async def _times(self, endpoint: Endpoint, found: Iterable[logs.Log], *more: str) -> dict[str, int]:
        """Times of the logs' blocks, and of `more` block hashes; one read for each that the logs do not carry.

        SECURITY: where endpoints must agree, each is asked itself: a shared answer would be one endpoint's word.
        """
        found = list(found)
        times = logs.times_of(found)
        whose = endpoint.index if self._nodes.agreement > 1 else None
        for block_hash in {log.block_hash for log in found}.union(more) - times.keys():
            header = await self._reads.get(
                ("header", block_hash) if whose is None else ("header of", whose, block_hash),
                BY_HASH_SECONDS,
                lambda wanted=block_hash: self._nodes.header(endpoint, wanted),  # type: ignore[misc]
            )
            times[block_hash] = header.time
        return times


def _outcome(receipt: ReceiptEvents) -> str:
    what = "succeeded" if receipt.succeeded else "failed"
    return f"{what} in block {receipt.block_number} with {len(receipt.burns)} burns and {len(receipt.minted)} mints"


def _check_range(from_block: int, to_block: int) -> None:
    if not 0 <= from_block <= to_block:
        raise ValueError(f"window: expected 0 <= from_block <= to_block, got {from_block} and {to_block}")


def _check_logs(found: Iterable[logs.Log], start: int, end: int, addresses: Sequence[str], endpoint: Endpoint) -> None:
    """SECURITY: an answer to another question than ours must not be taken for our events."""
    for log in found:
        if log.contract not in addresses or not start <= log.block_number <= end:
            raise MalformedAnswer(
                f"logs: asked for blocks {start} to {end}, got one of {log.contract} in block {log.block_number}",
                endpoint=endpoint.url,
                method="eth_getLogs",
            )


def _receipt(receipt: object, tx_hash: str) -> tuple[bool, list[logs.Log], int, str]:
    """(succeeded, logs, block number, block hash) of a receipt, checked against the hash that was asked for."""
    if receipt is None:
        raise NotFound(f"no mined transaction {tx_hash}")
    if not isinstance(receipt, dict):
        raise MalformedAnswer(f"receipt: expected an object, got {shown(receipt)}")
    if receipt.get("blockNumber") is None:
        raise NotFound(f"transaction {tx_hash} is not mined yet")
    status = wire.quantity(receipt, "status")
    block_hash = wire.hash32(receipt, "blockHash")
    found = logs.parse_logs(receipt.get("logs"))
    # SECURITY: the receipt of another transaction, or one pieced together, proves nothing.
    if wire.hash32(receipt, "transactionHash") != tx_hash or status not in {0, 1}:
        raise MalformedAnswer(f"receipt: not one of {tx_hash}")
    if any(log.tx_hash != tx_hash or log.block_hash != block_hash for log in found) or (found and not status):
        raise MalformedAnswer(f"receipt of {tx_hash}: its logs belong to another transaction or block")
    return status == 1, found, wire.quantity(receipt, "blockNumber"), block_hash
