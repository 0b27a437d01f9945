"""What the chains say: the events a validator writes to its own ledger. Frozen, no client, no database.

Units: amounts are integers of upokt (6 decimals, the same on both sides); times are whole seconds since the epoch, UTC.
Hashes and addresses are canonical: lower case, Pocket without `0x`, Ethereum with.
"""

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class BlockRef:
    """A block as its chain names it: two are the same where height and hash are.

    `time`: the header's own time in whole seconds, and `ms` the milliseconds beyond it (Ethereum has none). 0: not known. Both
    follow from the hash, so a node that tells another time, or none, shows no other block.
    """

    height: int
    hash: str
    time: int = field(compare=False)
    ms: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Deposit:
    """One Pocket transaction received by the vault, successful or not. The memo is kept raw and as parsed.

    `amount` is None where the transaction does not decode. `code` is the block's result (0 = the money arrived).
    `memo_address` and `memo_chain_id` are None where the memo is malformed; the chain id is compared by `classify_deposit`.
    """

    tx_hash: str
    index: int
    block: BlockRef
    sender: str
    amount: int | None
    code: int
    is_send: bool
    memo: str
    memo_address: str | None
    memo_chain_id: str | None

    @property
    def height(self) -> int:
        return self.block.height


@dataclass(frozen=True, slots=True)
class Burn:
    """One `BurnAndBridge` event. `burn_index`: its position among the contract's burn events in its receipt."""

    tx_hash: str
    burn_index: int
    log_index: int
    block: BlockRef
    sender: str
    recipient: str
    amount: int

    @property
    def height(self) -> int:
        return self.block.height


@dataclass(frozen=True, slots=True)
class Minted:
    """One `Minted` event. With the token's fee on, `amount` is the net amount: never match by it."""

    recipient: str
    amount: int
    nonce: int
    tx_hash: str
    log_index: int
    block: BlockRef

    @property
    def height(self) -> int:
        return self.block.height


@dataclass(frozen=True, slots=True)
class Returned:
    """One Pocket transaction that the vault sent. `entropy` is decoded from the raw bytes (the RPC rounds it)."""

    tx_hash: str
    index: int
    block: BlockRef
    recipient: str
    amount: int
    fee: int
    memo: str
    entropy: int
    code: int

    @property
    def height(self) -> int:
        return self.block.height


Event = Deposit | Burn | Minted | Returned
