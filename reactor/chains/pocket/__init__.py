"""Pocket Network behind one seam: which generation of the chain runs is decided here and known nowhere else.

`connect` gives a `PocketChain` to read and submit with. The functions around return transactions (`return_entropy`,
`ReturnTx`, `assemble`, `verify_share`, `vault_address`) and `parse_memo` are pure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import Literal, Protocol, Self

from reactor.chains.pocket.errors import (
    MalformedAnswer,
    NotFound,
    PocketConfigError,
    PocketDecodeError,
    PocketRpcError,
    RpcRefused,
    RpcUnavailable,
    WindowNotReady,
    WindowTooLarge,
    WrongChain,
)
from reactor.chains.pocket.memo import Memo, MemoError, MemoFault, parse_memo
from reactor.chains.pocket.morse.client import DEFAULT_TIMEOUT, MorseClient
from reactor.chains.pocket.morse.codec import tx_hash
from reactor.chains.pocket.morse.history import DEFAULT_PAGE_SIZE
from reactor.chains.pocket.morse.multisig import vault_address
from reactor.chains.pocket.morse.returns import AssembleError, ReturnTx, assemble, return_entropy, verify_share
from reactor.chains.pocket.morse.transport import Endpoint, RetryPolicy
from reactor.chains.pocket.types import (
    EndpointStatus,
    PocketBlock,
    PocketHead,
    PocketTx,
    SubmitOutcome,
    SubmitResult,
    TxState,
    TxStatus,
    Window,
)

__all__ = [
    "AssembleError",
    "Endpoint",
    "EndpointStatus",
    "MalformedAnswer",
    "Memo",
    "MemoError",
    "MemoFault",
    "NotFound",
    "PocketBlock",
    "PocketChain",
    "PocketConfigError",
    "PocketDecodeError",
    "PocketHead",
    "PocketRpcError",
    "PocketTx",
    "RetryPolicy",
    "ReturnTx",
    "RpcRefused",
    "RpcUnavailable",
    "SubmitOutcome",
    "SubmitResult",
    "TxState",
    "TxStatus",
    "Window",
    "WindowNotReady",
    "WindowTooLarge",
    "WrongChain",
    "assemble",
    "connect",
    "parse_memo",
    "return_entropy",
    "tx_hash",
    "vault_address",
    "verify_share",
]

Generation = Literal["morse", "shannon"]


class PocketChain(Protocol):
    """One validator's view of Pocket Network. Methods raise `PocketRpcError` or `NotAgreed`; facts name who answered."""

    chain_id: str
    agreement: int

    @property
    def several(self) -> bool:
        """Whether there is more than one endpoint."""
        ...

    @property
    def calls(self) -> Counter[str]:
        """Requests so far by kind, for benchmarks and metrics."""
        ...

    @property
    def problems(self) -> list[str]:
        """What is wrong with which endpoint now; empty while all is well."""
        ...

    @property
    def contradictions(self) -> list[str]:
        """Those of `problems` where an endpoint answers, but not what the others do."""
        ...

    async def survey(self, depth: int) -> None:
        """Compare all endpoints; those that lag or show another fork stand back, those that are well again return."""
        ...

    async def head(self) -> PocketHead:
        """The newest height."""
        ...

    async def block(self, height: int) -> PocketBlock:
        """A block's header (0: the latest). Raises NotFound beyond the head."""
        ...

    async def check(self, address: str) -> tuple[EndpointStatus, ...]:
        """Every endpoint's head and chain, and whether it serves each call that is used, or its fault. Never raises."""
        ...

    async def window(
        self, address: str, from_height: int, to_height: int, *, apart_from: str = "", by_block: bool = False
    ) -> Window:
        """Everything the address received and sent in the window, from one endpoint. Raises WindowNotReady.

        A second reading asks others than the endpoint `apart_from` first, or looks `by_block`, where no list can hide anything.
        """
        ...

    async def tx(self, hash_: str) -> PocketTx:
        """One indexed transaction. Raises NotFound."""
        ...

    async def tx_with_endpoint(self, hash_: str, *, apart_from: str = "") -> tuple[PocketTx, str]:
        """As `tx`, with the name of the endpoint that shows it; the one named `apart_from` is asked after all the others."""
        ...

    async def status(self, hash_: str) -> TxStatus:
        """Succeeded, failed, pending or unknown."""
        ...

    async def unconfirmed(self, hash_: str) -> bool:
        """Is it in the mempool?"""
        ...

    async def submit(self, raw: bytes, *, everywhere: bool = False) -> SubmitResult:
        """Hand in a signed transaction, to every endpoint if asked to; the same bytes may be handed in again."""
        ...

    async def balance(self, address: str) -> int:
        """Balance in uPOKT."""
        ...

    async def param(self, key: str) -> str:
        """A chain parameter as text."""
        ...

    async def close(self) -> None:
        """Close the connections."""
        ...

    async def __aenter__(self) -> Self:
        """For `async with`."""
        ...

    async def __aexit__(self, *_: object) -> None:
        """Closes."""
        ...


def connect(
    endpoints: Sequence[str | Endpoint],
    *,
    chain_id: str,
    generation: str = "morse",
    timeout: float = DEFAULT_TIMEOUT,
    retry: RetryPolicy | None = None,
    page_size: int = DEFAULT_PAGE_SIZE,
    agreement: int = 1,
    rate: float | None = None,
) -> PocketChain:
    """A client for the chain; no request is made yet, and it may be called outside of an event loop.

    Args:
        endpoints: base URLs (`http://host:8081`) or named endpoints, in order of preference.
        chain_id: what every endpoint must show (`mainnet`, `testnet`, `localnet`).
        generation: `morse`; `shannon` is not built yet.
        timeout: seconds per request.
        retry: bounds on asking again.
        page_size: transactions per page, 1 to 1000.
        agreement: how many endpoints must say the same of what a signature rests on.
        rate: calls per second to each endpoint; without one 100, and no limit on this machine.

    Raises:
        PocketConfigError: a setting is wrong; the text says which and what to do.
    """
    if generation == "shannon":
        raise PocketConfigError("Pocket generation 'shannon' is not built yet: set the generation to 'morse'")
    if generation != "morse":
        raise PocketConfigError(f"Pocket generation {generation!r} is unknown: set it to 'morse'")
    parsed = [Endpoint.parse(entry) if isinstance(entry, str) else entry for entry in endpoints]
    return MorseClient(
        parsed, chain_id=chain_id, timeout=timeout, retry=retry, page_size=page_size, agreement=agreement, rate=rate
    )
