"""What the Ethereum package tells the rest of the program: frozen facts, no clients.

Addresses and hashes are lower case with `0x`, unless said otherwise. Amounts are upokt (wPOKT has the same 6 decimals).
Times are Unix seconds.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from reactor.chains.errors import ChainError
from reactor.chains.ethereum.eip712 import Domain

__all__ = [
    "BurnEvent",
    "CallTrial",
    "ContractFacts",
    "Domain",
    "Head",
    "HeadView",
    "MintedEvent",
    "ReceiptEvents",
    "Window",
]


@dataclass(frozen=True, slots=True)
class Head:
    """A block header: the newest block, or any other."""

    number: int
    hash: str
    parent_hash: str
    time: int


@dataclass(frozen=True, slots=True)
class HeadView:
    """One endpoint's view: its newest block, its newest final block (None while no block is deep enough), its unique name."""

    head: Head
    final: Head | None
    endpoint: str


@dataclass(frozen=True, slots=True)
class BurnEvent:
    """A `BurnAndBridge` event of WrappedPocket.

    `burn_index` is the position among this contract's `BurnAndBridge` events in the transaction's receipt (from 0), which
    stays the same when the transaction is mined again; `log_index` and the block do not. `recipient` is the Pocket address:
    40 lower-case hex digits **without** `0x`.
    """

    contract: str
    tx_hash: str
    burn_index: int
    log_index: int
    block_number: int
    block_hash: str
    block_time: int
    sender: str
    recipient: str
    amount: int


@dataclass(frozen=True, slots=True)
class MintedEvent:
    """A `Minted` event of WrappedPocket. `amount` is net: with the token's fee on, less than the deposit."""

    contract: str
    recipient: str
    amount: int
    nonce: int
    tx_hash: str
    log_index: int
    block_number: int
    block_hash: str
    block_time: int


@dataclass(frozen=True, slots=True)
class ReceiptEvents:
    """A mined transaction's outcome and our contract's events in it, as the `endpoint` of this name shows them. A failed
    transaction has none.
    """

    tx_hash: str
    succeeded: bool
    block_number: int
    block_hash: str
    block_time: int
    burns: tuple[BurnEvent, ...]
    minted: tuple[MintedEvent, ...]
    endpoint: str = field(default="", compare=False)


@dataclass(frozen=True, slots=True)
class Window:
    """All our events in the blocks `from_block` to `to_block`, both included, as one endpoint shows them.

    `to_block` may lie before what was asked for (the window adapts to the node's limits): go on at `to_block + 1`.
    `last_header` is the header of `to_block` at that endpoint, whose unique name is `endpoint`. `contracts_changed`: an event in
    it may have changed `ContractFacts`.
    """

    from_block: int
    to_block: int
    burns: tuple[BurnEvent, ...]
    minted: tuple[MintedEvent, ...]
    last_header: Head
    endpoint: str
    contracts_changed: bool = False


@dataclass(frozen=True, slots=True)
class CallTrial:
    """Which of the client's calls an endpoint does not answer, by name, and how many blocks of logs it gives at once."""

    endpoint: str
    lacks: Mapping[str, ChainError]
    blocks: int


@dataclass(frozen=True, slots=True)
class ContractFacts:
    """State of WrappedPocket and MintController at `block`, but `current_mint_limit`, which may be seconds newer.

    `validators` are those of the asked candidates (and of addresses that events named) that the contract knows, ascending;
    the contract cannot list them, so compare `len(validators)` with `validator_count`. Limits are upokt, `mint_per_second`
    upokt per second, `fee_basis` hundredths of a percent. `minter`: whether the controller holds the token's minter role.
    """

    block: Head
    threshold: int
    validators: tuple[str, ...]
    validator_count: int
    max_mint_limit: int
    current_mint_limit: int
    mint_per_second: int
    paused: bool
    fee_flag: bool
    fee_basis: int
    domain: Domain
    minter: bool
