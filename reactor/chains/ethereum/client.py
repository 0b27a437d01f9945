"""Ethereum as this program needs it: heads and finality, our contracts' events in windows, their state, one receipt.

Reads only. The user sends mints; `simulate` runs one without sending it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from typing import Self

from reactor.chains.agreement import Question
from reactor.chains.cache import SharedReads
from reactor.chains.errors import ChainError, NotFound, RpcRefused
from reactor.chains.ethereum import contracts, wire
from reactor.chains.ethereum.events import BY_HASH_SECONDS, ContractEvents
from reactor.chains.ethereum.finality import YOUNG_BLOCKS, Finality
from reactor.chains.ethereum.nodes import Nodes, Transport, block_parameter, web3_transport
from reactor.chains.ethereum.span import Span
from reactor.chains.ethereum.state import ContractState
from reactor.chains.ethereum.trial import try_calls
from reactor.chains.ethereum.types import CallTrial, ContractFacts, Head, HeadView, MintedEvent, ReceiptEvents, Window
from reactor.chains.rpc import Endpoint, Retries
from reactor.chains.survey import DOUBT_SECONDS, survey

__all__ = ["EthereumChain"]

# A read at a moving block (a number, `latest`) is shared this long at most, and only until a new head is seen.
_SHARED_SECONDS = 2.0
# How far the preferred node may be behind the best one before the others go first.
_LAG_BLOCKS = 3


class EthereumChain:
    """One bridge's view of Ethereum through a list of endpoints, the first preferred.

    `endpoints`: http(s) URLs. `chain_id`: every endpoint must serve it. `wpokt`, `controller`: the contracts. `finality`:
    when a block is final. `seconds`: time-out of one call. `agreement`: how many endpoints must say the same before headers,
    events, receipts, state and nonces are believed. `rate`: calls per second to each endpoint. All methods raise the classes
    of `reactor.chains.errors`.
    Close it, or use it as an asynchronous context manager.
    """

    def __init__(
        self,
        endpoints: Sequence[str],
        *,
        chain_id: int,
        wpokt: str,
        controller: str,
        finality: Finality,
        seconds: float = 10.0,
        retries: Retries | None = None,
        agreement: int = 1,
        rate: float | None = None,
        span: Span | None = None,
        facts_seconds: float = 300.0,
        limit_seconds: float = 15.0,
        transport: Callable[[str, float], Transport] = web3_transport,
    ) -> None:
        self.chain_id = chain_id
        self.wpokt = wire.own_address(wpokt, "wpokt")
        self.controller = wire.own_address(controller, "controller")
        self.finality = finality
        self.agreement = agreement
        self._nodes = Nodes(
            endpoints, chain_id, seconds=seconds, retries=retries, agreement=agreement, rate=rate, transport=transport
        )
        self._reads = SharedReads()
        self._newest: Head | None = None
        self._state = ContractState(
            self._nodes,
            self._reads,
            wpokt=self.wpokt,
            controller=self.controller,
            facts_seconds=facts_seconds,
            limit_seconds=limit_seconds,
        )
        self._events = ContractEvents(
            self._nodes,
            self._reads,
            wpokt=self.wpokt,
            controller=self.controller,
            span=span or Span(),
            on_changes=self._state.note,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Cancel shared reads and close the connections."""
        await self._reads.close()
        await self._nodes.close()

    @property
    def calls(self) -> Counter[str]:
        """JSON-RPC calls sent so far, by method."""
        return self._nodes.endpoints.calls

    @property
    def failures(self) -> Counter[tuple[str, str]]:
        """Failed operations so far, by (endpoint label, error class)."""
        return self._nodes.endpoints.failures

    @property
    def window_blocks(self) -> int:
        """The number of blocks that the next window may hold."""
        return self._events.blocks

    @property
    def problems(self) -> list[str]:
        """What is wrong with which endpoint now, by what was asked so far; empty while all is well."""
        return self._nodes.endpoints.problems()

    @property
    def contradictions(self) -> list[str]:
        """The part of `problems` where an endpoint answers, but not what the others do."""
        return self._nodes.endpoints.contradictions()

    async def check_endpoints(self) -> dict[str, Head | ChainError]:
        """Each endpoint's newest block or its error, wrong chain included, by name (for `check` and start-up)."""
        outcomes = await self._nodes.ask_all(lambda endpoint: self._nodes.header(endpoint, "latest"))
        return {endpoint.name: outcome for endpoint, outcome in outcomes.items() if isinstance(outcome, Head | ChainError)}

    async def try_calls(self, start_block: int) -> dict[str, CallTrial | ChainError]:
        """Each endpoint asked for each call that this client makes, logs from `start_block` on and up to the head among them."""
        return await try_calls(self._nodes, self._events, self.finality, start_block)

    async def survey(self) -> None:
        """Compare all endpoints: those that lag or show another fork stand back, those that are well again return."""

        async def height(endpoint: Endpoint) -> int:
            return (await self._nodes.header(endpoint, "latest")).number

        async def block_hash(endpoint: Endpoint, number: int) -> str:
            return (await self._nodes.header(endpoint, number)).hash

        # Above finality forks are ordinary.
        await survey(self._nodes.endpoints, height, block_hash, lag=_LAG_BLOCKS, depth=max(1, self.finality.blocks))

    # Heads and headers

    async def head(self) -> Head:
        """The newest block, from the first endpoint that answers. It may be lower than the last one, on a fail-over.

        With agreement the newest one that so many endpoints have reached.
        """
        if self.agreement > 1:
            return (await self.view()).head
        return (await self._nodes.run(self._latest))[0]

    async def view(self) -> HeadView:
        """The newest and the newest final block at one and the same endpoint; with agreement, those that so many have reached."""
        if self.agreement > 1:
            return await self._agreed_view()

        async def read(endpoint: Endpoint) -> HeadView:
            head, name = await self._latest(endpoint)
            return HeadView(head, await self._final(endpoint, head), name)

        return await self._nodes.run(read)

    async def _agreed_view(self) -> HeadView:
        """The lowest of the heads, and the lowest of the final blocks: blocks that all of them can show and call final."""

        async def read(endpoint: Endpoint) -> HeadView:
            head = await self._nodes.header(endpoint, "latest")
            return HeadView(head, await self._final(endpoint, head), endpoint.name)

        views = await self._nodes.some("heads", read)
        lowest = min(views, key=lambda view: view.head.number)
        self._newest = lowest.head
        finals = [view.final.number for view in views if view.final is not None]
        if len(finals) < len(views):
            return HeadView(lowest.head, None, lowest.endpoint)
        # SECURITY: cursors rest at this block, so its hash must not be one endpoint's word.
        return HeadView(lowest.head, await self.header(min(finals)), lowest.endpoint)

    async def final(self) -> Head | None:
        """The newest final block; None while the chain is shorter than finality asks."""
        return (await self.view()).final

    async def header(self, block: int | str, *, fresh: bool = False) -> Head:
        """The header of a block, by number or by hash. NotFound if no endpoint has it; with agreement, if so many have none.

        By number it is shared for two seconds at most, and until a new head is seen; `fresh` asks now.
        """
        question = Question[Head](
            f"block {block}",
            "header",
            same=lambda head: head,
            show=lambda head: f"block {head.number} is {head.hash}",
            answers=(NotFound,),
            accuse="shows another block",
        )

        async def read() -> Head:
            return await self._nodes.agree(question, lambda endpoint: self._nodes.header(endpoint, block))

        if fresh:
            return await read()
        if isinstance(block, str):
            return await self._reads.get(("header", block), BY_HASH_SECONDS, read)
        return await self._reads.get(("header", block, self._newest), _SHARED_SECONDS, read)

    async def is_canonical(self, number: int, block_hash: str) -> bool:
        """Whether the block at `number` has this hash now. False too if there is no such block."""
        try:
            return (await self.header(number, fresh=True)).hash == block_hash
        except NotFound:
            return False

    async def agreeing(self, number: int, block_hash: str) -> int:
        """How many endpoints show this block at this height now."""
        found = await self._nodes.ask_all(lambda endpoint: self._nodes.header(endpoint, number))
        return sum(isinstance(header, Head) and header.hash == block_hash for header in found.values())

    async def heads(self, interval: float = 1.0, stall_seconds: float = 60.0) -> AsyncGenerator[HeadView, None]:
        """The view whenever it changes, polled every `interval` seconds, through errors, for ever.

        The head may go backwards (fail-over, reorganisation). When it stands still for `stall_seconds`, the endpoints are
        compared and those that lag stand back.
        """
        shown: HeadView | None = None
        changed = time.monotonic()
        failed = 0
        while True:
            pause = interval
            try:
                view = await self._next_view(shown)
                if time.monotonic() - changed > stall_seconds:
                    await self.survey()
                    changed = time.monotonic()
            except ChainError as error:
                failed += 1
                self._nodes.endpoints.outages.failed("heads of Ethereum", error)
                pause = random.uniform(interval, max(interval, min(60.0, interval * 2 ** min(failed, 10))))  # noqa: S311 - jitter
            else:
                failed = 0
                self._nodes.endpoints.outages.worked("heads of Ethereum")
                if shown is None or (view.head, view.final) != (shown.head, shown.final):
                    shown, changed = view, time.monotonic()
                    yield view
            await asyncio.sleep(pause)

    async def _next_view(self, shown: HeadView | None) -> HeadView:
        """The current view; one call as long as the head stands, since `safe` and `finalized` move with heads."""

        async def read(endpoint: Endpoint) -> HeadView:
            head, name = await self._latest(endpoint)
            if shown is not None and shown.head == head and shown.endpoint == name:
                return shown
            return HeadView(head, await self._final(endpoint, head), name)

        return await self._nodes.run(read)

    async def _latest(self, endpoint: Endpoint) -> tuple[Head, str]:
        head = await self._nodes.header(endpoint, "latest")
        self._newest = head
        return head, endpoint.name

    async def _final(self, endpoint: Endpoint, head: Head) -> Head | None:
        deepest = head.number - self.finality.blocks
        if deepest < 0:
            return None
        if self.finality.kind == "latest":
            return head if deepest == head.number else await self._nodes.header(endpoint, deepest)
        try:
            tagged = await self._nodes.header(endpoint, self.finality.kind)
        except NotFound as error:
            if head.number <= YOUNG_BLOCKS:
                return None
            # Not the chain's word: another endpoint may know it, and without it nothing would ever be final.
            said = f"it shows block {head.number}, but no {self.finality.kind} one: {error.reason}"
            raise RpcRefused(said, endpoint=endpoint.url, method="eth_getBlockByNumber") from None
        self._note_final(endpoint, head, tagged)
        # SECURITY: the floor holds whatever the node calls final.
        return tagged if tagged.number <= deepest else await self._nodes.header(endpoint, deepest)

    def _note_final(self, endpoint: Endpoint, head: Head, tagged: Head) -> None:
        """A tag that rests while the head moves (a cache, a broken consensus client) stops signing, and nothing else says so."""
        behind = head.number - tagged.number
        if behind > YOUNG_BLOCKS:
            text = f"its {self.finality.kind} block {tagged.number} lies {behind} blocks below its head"
            self._nodes.endpoints.doubt(endpoint, "final", text, DOUBT_SECONDS)
        else:
            self._nodes.endpoints.trust(endpoint, "final")

    # Events

    async def window(self, from_block: int, to_block: int, *, apart_from: str = "") -> Window:
        """Our contracts' events from `from_block` on, as far as the node's limits allow, at most to `to_block`.

        `apart_from`, for a second reading: the endpoint (`Window.endpoint`) that is asked only where no other can answer.
        NotFound means that no endpoint has come that far yet. See `ContractEvents.window`.
        """
        return await self._events.window(from_block, to_block, apart_from=apart_from)

    async def minted_lookup(self, recipient: str, nonce: int, from_block: int, to_block: int) -> tuple[MintedEvent, ...]:
        """The `Minted` events to `recipient` with `nonce` in the blocks `from_block` to `to_block`, both included."""
        return await self._events.minted_lookup(recipient, nonce, from_block, to_block)

    @property
    def several(self) -> bool:
        """Whether there is more than one endpoint."""
        return len(self._nodes.endpoints.all) > 1

    async def receipt_events(self, tx_hash: str, *, apart_from: str = "") -> ReceiptEvents:
        """Outcome and events of a mined transaction. NotFound if no endpoint knows it as mined.

        `apart_from`: the name of the endpoint that is asked after all the others.
        """
        return await self._events.receipt_events(tx_hash, apart_from=apart_from)

    # State of the contracts

    async def facts(self, candidates: Iterable[str] = (), *, fresh: bool = False) -> ContractFacts:
        """State of both contracts; `candidates` are the addresses whose membership is asked.

        Shared by all callers, read again after an event in a scanned window that may have changed it, and after a while in any
        case; `fresh` reads now.
        """
        return await self._state.facts(candidates, fresh=fresh)

    async def is_validator(self, address: str) -> bool:
        """Whether MintController counts signatures of this address (shared read, as `facts`)."""
        return await self._state.is_validator(address)

    async def user_nonce(self, recipient: str, block: int | str = "latest") -> int:
        """The last nonce that WrappedPocket minted to `recipient` (0: none), as of a block number, hash or tag."""
        data = contracts.address_call(contracts.GET_USER_NONCE, recipient)
        at = block_parameter(block)

        question = Question[int](f"the nonce of {recipient} at {block}", "state", same=int, accuse="shows another state")

        async def read() -> int:
            return await self._nodes.agree(
                question,
                lambda endpoint: self._nodes.parsed(
                    endpoint,
                    "eth_call",
                    [{"to": self.wpokt, "data": data}, at],
                    lambda answer: contracts.decode_uint(answer, "getUserNonce"),
                ),
            )

        if isinstance(at, dict):
            return await self._reads.get(("nonce", recipient.lower(), block), BY_HASH_SECONDS, read)
        return await self._reads.get(("nonce", recipient.lower(), block, self._newest), _SHARED_SECONDS, read)

    async def simulate(self, data: str, *, sender: str | None = None, to: str | None = None) -> str:
        """Run call data (of `contracts.mint_call`) on MintController, or `to`, without sending it; the returned data.

        Raises:
            RpcRefused: it would revert; `reason` and `contracts.revert_reason(error.data)` say why.
        """
        call = {"to": to or self.controller, "data": data}
        if sender is not None:
            call["from"] = sender
        return await self._nodes.run(
            lambda endpoint: self._nodes.parsed(endpoint, "eth_call", [call, "latest"], contracts.decode_data)
        )
