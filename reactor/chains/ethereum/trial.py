"""Each call that the client makes, tried at one endpoint: what providers leave out of a plan is found before it is needed."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Final

from reactor.chains.errors import ChainError, MalformedAnswer, NotFound, RpcProblem
from reactor.chains.ethereum import contracts, wire
from reactor.chains.ethereum.events import ContractEvents
from reactor.chains.ethereum.finality import YOUNG_BLOCKS, Finality
from reactor.chains.ethereum.nodes import Nodes
from reactor.chains.ethereum.types import CallTrial, Window
from reactor.chains.rpc import Endpoint
from reactor.sentences import sentence

__all__ = ["try_calls"]

_RECEIPT: Final = "eth_getTransactionReceipt"
_NOBODY: Final = "0x" + "00" * 32


async def try_calls(nodes: Nodes, events: ContractEvents, finality: Finality, start: int) -> dict[str, CallTrial | ChainError]:
    """For each endpoint by its unique name: which calls it lacks, or why it shows no head, which all else needs.

    Logs are asked for in windows of the largest size, from the block `start` on and up to the head.
    """

    async def one(endpoint: Endpoint) -> CallTrial:
        return await _Trial(nodes, events, finality, endpoint).run(start)

    found = await nodes.ask_all(one)
    return {endpoint.name: outcome for endpoint, outcome in found.items() if not isinstance(outcome, RpcProblem)} | {
        endpoint.name: outcome for endpoint, outcome in found.items() if isinstance(outcome, ChainError)
    }


class _Trial:
    """One endpoint's."""

    def __init__(self, nodes: Nodes, events: ContractEvents, finality: Finality, endpoint: Endpoint) -> None:
        self._nodes = nodes
        self._events = events
        self._finality = finality
        self._endpoint = endpoint
        self._lacks: dict[str, ChainError] = {}
        self._windows: list[Window] = []

    async def run(self, start: int) -> CallTrial:
        head = await self._nodes.header(self._endpoint, "latest")
        deep = max(0, head.number - self._finality.blocks)
        await self._try("eth_getBlockByNumber", lambda: self._nodes.header(self._endpoint, deep))
        if self._finality.kind != "latest":
            tag = self._finality.kind
            old = head.number > YOUNG_BLOCKS
            await self._try(f"eth_getBlockByNumber of `{tag}`", lambda: self._nodes.header(self._endpoint, tag), strict=old)
        await self._try("eth_getBlockByHash", lambda: self._nodes.header(self._endpoint, head.hash), strict=True)
        first = min(start, head.number)
        for low in {first, max(first, head.number - self._events.most + 1)}:
            await self._try(wire.LOGS, lambda low=low: self._logs(low, head.number), strict=True)  # type: ignore[misc]
        await self._try(_RECEIPT, self._receipt)
        for block in (hex(deep), "latest"):
            await self._try(f"eth_call at {block}", lambda block=block: self._call(block), strict=True)  # type: ignore[misc]
        return CallTrial(
            endpoint=self._endpoint.name,
            lacks=dict(self._lacks),
            blocks=min((window.to_block - window.from_block + 1 for window in self._windows), default=0),
        )

    async def _try(self, name: str, call: Callable[[], Awaitable[object]], *, strict: bool = False) -> None:
        """`strict`: "there is none" is no answer to this call, since there is one."""
        try:
            await call()
        except ChainError as error:
            if strict or not isinstance(error, NotFound):
                # Reading events needs headers too: it is the call that failed that is named.
                self._lacks.setdefault(name if name.startswith(error.method) else error.method, error)
        except Exception as error:  # noqa: BLE001 - whatever an answer does to what reads it, the other calls are tried too
            self._lacks[name] = MalformedAnswer(f"its answer cannot be used: {sentence(error)}")

    async def _logs(self, low: int, high: int) -> None:
        self._windows.append(await self._events.try_window(self._endpoint, low, high))

    async def _receipt(self) -> None:
        burns = [burn.tx_hash for window in self._windows for burn in window.burns]
        wanted = next(iter(burns), _NOBODY)
        found = await self._nodes.ask(self._endpoint, _RECEIPT, [wanted])
        if found is None and wanted != _NOBODY:
            raise MalformedAnswer(f"it shows an event of {wanted}, but no receipt", endpoint=self._endpoint.url, method=_RECEIPT)

    async def _call(self, block: str) -> None:
        data = contracts.address_call(contracts.GET_USER_NONCE, self._events.controller)
        asked = {"to": self._events.wpokt, "data": data}
        await self._nodes.parsed(
            self._endpoint, "eth_call", [asked, block], lambda answer: contracts.decode_uint(answer, "getUserNonce")
        )
