"""What the chain says, as facts: the same for both generations of Pocket Network.

Hashes and addresses are lower-case hex without `0x`; amounts are uPOKT; times are UTC.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum


@dataclass(frozen=True, slots=True)
class PocketHead:
    """The newest block of the endpoint that answered. Its transactions may not be indexed yet."""

    height: int
    time: datetime | None
    endpoint: str


@dataclass(frozen=True, slots=True)
class PocketBlock:
    """A block's header."""

    height: int
    hash: str
    time: datetime
    chain_id: str
    endpoint: str


@dataclass(frozen=True, slots=True)
class PocketTx:
    """One indexed transaction.

    `height`, `index`, `code` and `codespace` are the node's words (`codespace` is for people only); `hash` was checked
    against `raw`; the rest comes from decoding `raw`, never from what the node says of it (its entropy is rounded, and
    versions differ in what they show). What cannot be decoded is kept with `decoded=False` and `reason`; its message
    fields are then empty.
    A transaction that failed in its block is here too: check `code`.
    """

    hash: str
    height: int
    index: int
    raw: bytes
    code: int
    codespace: str
    decoded: bool
    is_send: bool = False
    from_address: str = ""
    to_address: str = ""
    amount: int | None = None
    memo: str = ""
    entropy: int | None = None
    fee: int = 0
    reason: str = ""


class SubmitOutcome(StrEnum):
    """What a node did with a submitted transaction."""

    ACCEPTED = "accepted"
    ALREADY_KNOWN = "already_known"
    DUPLICATE_INDEXED = "duplicate_indexed"
    REJECTED = "rejected"


@dataclass(frozen=True, slots=True)
class SubmitResult:
    """The node's verdict on a submission; `code`, `codespace` and `text` are filled when it refused.

    accepted: in the mempool. already_known: seen lately (pending, or included). duplicate_indexed: these very bytes
    are in a block. rejected: this node will not take these bytes now; keep them, they may still be valid elsewhere.
    """

    outcome: SubmitOutcome
    hash: str
    endpoint: str
    code: int = 0
    codespace: str = ""
    text: str = ""

    @property
    def on_its_way(self) -> bool:
        """Go on to confirm: everything but rejected."""
        return self.outcome is not SubmitOutcome.REJECTED


class TxState(StrEnum):
    """Where a transaction is, as one endpoint sees it. Unknown is neither success nor failure."""

    SUCCEEDED = "succeeded"
    FAILED = "failed"
    PENDING = "pending"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class TxStatus:
    """State of a transaction; `tx` is there once it is in a block (succeeded or failed)."""

    state: TxState
    hash: str
    endpoint: str
    tx: PocketTx | None = None


@dataclass(frozen=True, slots=True)
class Window:
    """All indexed transactions that one address received and sent in [from_height, to_height], by one endpoint.

    Sorted by (height, index), failed ones and every message type included. `to_height` may be one below the height
    asked for, when that was the head and not yet indexed. `last_block` is the header of `to_height`; `head` the
    endpoint's height before the reading.
    """

    address: str
    from_height: int
    to_height: int
    received: tuple[PocketTx, ...]
    sent: tuple[PocketTx, ...]
    last_block: PocketBlock
    head: int
    endpoint: str


@dataclass(frozen=True, slots=True)
class EndpointStatus:
    """One endpoint at a check: its head, or what is wrong with it. `failing`: what is wrong with calls, though it has a head."""

    endpoint: str
    head: PocketBlock | None
    error: str = ""
    failing: tuple[str, ...] = ()
