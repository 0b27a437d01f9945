"""Our contracts' events: by window of blocks, by recipient and nonce, by transaction."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from reactor.chains.agreement import Question
from reactor.chains.cache import SharedReads
from reactor.chains.errors import ChainError, MalformedAnswer, NotAgreed, NotFound, RpcRefused, RpcUnavailable
from reactor.chains.ethereum import contracts, logs, wire
from reactor.chains.ethereum.nodes import Nodes, together
from reactor.chains.ethereum.span import Span
from reactor.chains.ethereum.types import Head, MintedEvent, ReceiptEvents, Window
from reactor.chains.rpc import Endpoint
from reactor.foreign import shown
from reactor.sentences import counted

__all__ = ["BY_HASH_SECONDS", "ContractEvents"]

# What a block hash names never changes.
BY_HASH_SECONDS = 3600.0
# A reorganisation in the middle of a window: read it again this often before another node is asked.
_WINDOW_TRIES = 3
# Who says this often in a row that it is asked too much, of logs only, may mean the size of the window.
_THROTTLES = 3
_HEADERS_AT_ONCE = 8
_Shown = tuple[Window, tuple[logs.Log, ...]]
_TIMED_TOPICS = (contracts.BURN_TOPIC, contracts.MINTED_TOPIC)
_EVENT_TOPICS = [contracts.BURN_TOPIC, contracts.MINTED_TOPIC, *contracts.CHANGE_TOPICS]


@dataclass(frozen=True, slots=True)
class _Query:
    """Which logs are asked for, and how many blocks at a time each endpoint bears; without spans all blocks or an error."""

    addresses: Sequence[str]
    topics: Sequence[Any]
    spans: Mapping[Endpoint, Span] | None = None


class ContractEvents:
    """Reads events at one endpoint at a time, in windows of the size that it bears.

    A refusal of a window says little by its words: each provider has its own. So whoever refuses one is asked for a single block
    at once. Where it refuses that too, the fault is its own (it lacks the method, it is asked too much), and the size of windows
    stays; else smaller windows are tried until one passes, and that size is remembered for this endpoint.

    `on_changes` is told of events that may have changed the contracts' state."""

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
        self._nodes = nodes
        # What all that must agree bear, and what each bears by itself.
        self._common = span
        self._spans = {endpoint: replace(span) for endpoint in nodes.endpoints.all}
        # Lookups by recipient and nonce match next to nothing, so nodes allow them more blocks.
        lookups = Span(blocks=span.most, most=max(span.most, 100_000))
        self._lookup_spans = {endpoint: replace(lookups) for endpoint in nodes.endpoints.all}
        self._throttled: Counter[Endpoint] = Counter()
        self.wpokt = wpokt
        self.controller = controller
        self._reads = reads
        self._on_changes = on_changes

    @property
    def blocks(self) -> int:
        """How many blocks the next window may hold."""
        return (self._common if self._nodes.agreement > 1 else self._spans[self._nodes.endpoints.order()[0]]).blocks

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
            lambda endpoint: self._window(endpoint, from_block, to_block, self._spans), last=apart_from
        )
        self._on_changes(changes)
        return window

    @property
    def most(self) -> int:
        """How many blocks a window holds at most."""
        return self._common.most

    async def try_window(self, endpoint: Endpoint, from_block: int, to_block: int) -> Window:
        """As `window`, at this endpoint alone, beginning with the largest size; changes nothing."""
        span = Span(blocks=self.most, most=self.most)
        return (await self._window(endpoint, from_block, to_block, {endpoint: span}))[0]

    async def _agreed_window(self, from_block: int, to_block: int, last: str) -> Window:
        """All endpoints are asked for the same blocks; a size that one of those needed refuses is halved for all."""
        blocks, refused = min(self._common.blocks, to_block - from_block + 1), 0
        while True:
            began = time.monotonic()
            try:
                window, changes = await self._agreed(from_block, from_block + blocks - 1, last)
            except wire.TooMuch:
                # Never of a single block, see `_refused`.
                refused, blocks = blocks, blocks // 2
                continue
            except (NotAgreed, RpcUnavailable) as error:
                if not error.throttled:
                    self._common.failed(blocks)
                raise
            if refused:
                self._common.refused(refused)
            self._common.answered(blocks, time.monotonic() - began)
            self._on_changes(changes)
            return window

    async def _agreed(self, from_block: int, to_block: int, last: str) -> _Shown:
        question = Question[_Shown](
            f"the events of blocks {from_block} to {to_block}",
            "events",
            same=lambda shown: (shown[0].burns, shown[0].minted, shown[0].last_header, shown[1]),
            show=lambda shown: f"{_amount(shown[0], ', ')} up to {shown[0].last_header.hash}",
            soft=(wire.TooMuch, NotFound),
            accuse="shows other events",
        )
        return await self._nodes.agree(question, lambda endpoint: self._window(endpoint, from_block, to_block, None), last=last)

    async def _window(self, endpoint: Endpoint, from_block: int, to_block: int, spans: Mapping[Endpoint, Span] | None) -> _Shown:
        """One endpoint's, and its events that may have changed the contracts' state; without spans all of it or an error."""
        query = _Query([self.wpokt, self.controller], [_EVENT_TOPICS], spans)
        found, last = await self._logs(endpoint, from_block, to_block, query)
        times = await self._times(endpoint, (log for log in found if log.topics and log.topics[0] in _TIMED_TOPICS), last)
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
            found, last = await self._logs(endpoint, start, to_block, _Query([self.wpokt], topics, self._lookup_spans))
            minted = logs.minted_of(found, self.wpokt, await self._times(endpoint, found, last))
            if any(event.recipient != recipient.lower() or event.nonce != nonce for event in minted):
                raise MalformedAnswer("logs: not those that were asked for", endpoint=endpoint.url, method="eth_getLogs")
            events.extend(minted)
            return last

        while start <= to_block:
            start = (await self._nodes.run(read)).number + 1
        return tuple(events)

    async def receipt_events(self, tx_hash: str, *, apart_from: str = "") -> ReceiptEvents:
        """Outcome and events of a mined transaction. NotFound if no endpoint knows it; with agreement, if so many do not.

        `apart_from`: the name of the endpoint that is asked after all the others.
        """
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
                header = await self._header(endpoint, block_hash, number)
                times = {block_hash: header.time}
                return ReceiptEvents(
                    tx_hash=wanted,
                    succeeded=succeeded,
                    block_number=number,
                    block_hash=block_hash,
                    block_time=header.time,
                    burns=logs.burns_of(found, self.wpokt, times),
                    minted=logs.minted_of(found, self.wpokt, times),
                    endpoint=endpoint.name,
                )
            except (MalformedAnswer, NotFound) as error:
                raise type(error)(error.reason, endpoint=endpoint.url, method=error.method or method) from None

        return await self._nodes.agree(question, read, last=apart_from)

    async def _logs(self, endpoint: Endpoint, start: int, stop: int, query: _Query) -> tuple[list[logs.Log], Head]:
        """Logs from `start` to the returned header's block at this endpoint: as many blocks as it bears; without spans all."""
        span = query.spans[endpoint] if query.spans is not None else None
        blocks = stop - start + 1 if span is None else min(span.blocks, stop - start + 1)
        refused = doubted = torn = 0
        while torn < _WINDOW_TRIES:
            end = start + blocks - 1
            # Before the logs: a node that has this block now knows all logs up to it.
            before = await self._nodes.header(endpoint, end)
            began = time.monotonic()
            try:
                found = await self._ask_logs(endpoint, start, end, query)
            except NotFound as error:
                # Misread words, or a backend that is behind: fewer blocks may pass.
                if blocks == 1:
                    raise
                # Only who has the last of the blocks by itself has refused the size.
                has_last = bool(refused) or doubted == blocks or await self._has_logs(endpoint, end, query)
                if has_last and not refused and doubted != blocks:
                    # Of several backends behind one address another one may have said so: once more.
                    doubted = blocks
                    continue
                if span is None:
                    raise wire.TooMuch(error.reason, endpoint=endpoint.url, method=wire.LOGS) from None
                refused = blocks if has_last else refused
                blocks //= 2
                continue
            except (wire.TooMuch, RpcUnavailable) as error:
                await self._refused(endpoint, start, blocks, query, error, tried_one=bool(refused))
                if span is None:
                    raise wire.TooMuch(error.reason, endpoint=endpoint.url, method=wire.LOGS) from None
                refused, blocks = blocks, blocks // 2
                continue
            if span is not None:
                if refused:
                    span.refused(refused)
                    refused = 0
                span.answered(blocks, time.monotonic() - began)
            # After the logs: the same chain still stands, so no reorganisation mixed two chains in the answer.
            after = await self._nodes.header(endpoint, end)
            if after == before and all(log.block_hash == after.hash for log in found if log.block_number == end):
                return found, after
            torn += 1
        raise RpcUnavailable("the chain changes under the window", endpoint=endpoint.url, method=wire.LOGS)

    async def _ask_logs(self, endpoint: Endpoint, start: int, end: int, query: _Query) -> list[logs.Log]:
        asked = {"address": query.addresses, "topics": query.topics, "fromBlock": hex(start), "toBlock": hex(end)}
        found = await self._nodes.parsed(endpoint, wire.LOGS, [asked], logs.parse_logs)
        self._throttled[endpoint] = 0
        _check_logs(found, start, end, query.addresses, endpoint)
        return found

    async def _has_logs(self, endpoint: Endpoint, block: int, query: _Query) -> bool:
        try:
            await self._ask_logs(endpoint, block, block, query)
        except (NotFound, wire.TooMuch, RpcUnavailable):
            return False
        return True

    async def _refused(
        self, endpoint: Endpoint, start: int, blocks: int, query: _Query, error: ChainError, *, tried_one: bool
    ) -> None:
        """Returns where fewer blocks than these may pass, which this endpoint did not answer with logs; else raises why not."""
        if blocks > 1 and tried_one and (error.throttled or isinstance(error, wire.TooMuch)):
            return
        if isinstance(error, RpcUnavailable):
            self._throttled[endpoint] += error.throttled
            # Words may be misread: "the limit of 10 blocks/request" is no throttling. Its calls for headers do pass.
            if self._throttled[endpoint] < _THROTTLES or blocks == 1:
                if query.spans is not None and not error.throttled:
                    query.spans[endpoint].failed(blocks)  # perhaps it was too much work
                raise error
        try:
            if blocks > 1:
                await self._ask_logs(endpoint, start, start, query)
                return
        except (wire.TooMuch, RpcUnavailable) as of_one:
            error = of_one
        if isinstance(error, RpcUnavailable):
            raise error
        raise RpcRefused(f"refuses the logs of a single block: {error.reason}", endpoint=endpoint.url, method=wire.LOGS)

    async def _header(self, endpoint: Endpoint, block_hash: str, number: int) -> Head:
        """The header with this hash, which must be that of block `number`; read once.

        SECURITY: where endpoints must agree, each is asked itself: a shared answer would be one endpoint's word.
        """
        key = ("header of", endpoint.index, block_hash) if self._nodes.agreement > 1 else ("header", block_hash)
        try:
            found = await self._reads.get(key, BY_HASH_SECONDS, lambda: self._nodes.header(endpoint, block_hash))
        except NotFound:
            said = f"it shows an event of block {number} {block_hash}, but not the block"
            raise RpcUnavailable(said, endpoint=endpoint.url, method="eth_getBlockByHash") from None
        if found.number != number:
            said = f"block {block_hash} is said to be {number}, by its header it is {found.number}"
            raise MalformedAnswer(said, endpoint=endpoint.url, method="eth_getBlockByHash")
        return found

    async def _times(self, endpoint: Endpoint, found: Iterable[logs.Log], known: Head) -> dict[str, int]:
        """Times of the logs' blocks, by hash, from their headers: one read for each block, none for the `known` one.

        SECURITY: a time that a node tells with a log is not part of what the block's hash stands for, and may be anything.
        """
        numbers = {log.block_hash: log.block_number for log in found}
        times = {}
        if numbers.get(known.hash) == known.number:
            times[known.hash] = known.time
            del numbers[known.hash]
        gate = asyncio.Semaphore(_HEADERS_AT_ONCE)

        async def read(block_hash: str, number: int) -> None:
            async with gate:
                times[block_hash] = (await self._header(endpoint, block_hash, number)).time

        await together(*(read(*item) for item in numbers.items()))
        return times


def _outcome(receipt: ReceiptEvents) -> str:
    what = "succeeded" if receipt.succeeded else "failed"
    return f"{what} in block {receipt.block_number} with {_amount(receipt, ' and ')}"


def _amount(shown: Window | ReceiptEvents, between: str) -> str:
    return between.join((counted(len(shown.burns), "burn"), counted(len(shown.minted), "mint")))


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
    status, number = wire.quantity(receipt, "status"), wire.quantity(receipt, "blockNumber")
    block_hash = wire.hash32(receipt, "blockHash")
    found = logs.parse_logs(receipt.get("logs"))
    # SECURITY: the receipt of another transaction, or one pieced together, proves nothing.
    if wire.hash32(receipt, "transactionHash") != tx_hash or status not in {0, 1}:
        raise MalformedAnswer(f"receipt: not one of {tx_hash}")
    where = {(log.tx_hash, log.block_hash, log.block_number) for log in found}
    if where - {(tx_hash, block_hash, number)} or (found and not status):
        raise MalformedAnswer(f"receipt of {tx_hash}: its logs belong to another transaction or block")
    return status == 1, found, number, block_hash
