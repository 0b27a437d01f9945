"""The chain itself: checks transactions, makes blocks of them and keeps what came of it. Knows nothing of HTTP."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

from infra.localnet.pocket.ante import Rejection, check, fee_of, undecodable, without_message
from infra.localnet.pocket.blocks import Block, build_block
from infra.localnet.pocket.genesis import Genesis
from infra.localnet.pocket.gotext import encode_json
from infra.localnet.pocket.keys import PublicKey
from infra.localnet.pocket.ledger import FEE_COLLECTOR, Ledger
from infra.localnet.pocket.mempool import Mempool
from infra.localnet.pocket.protobuf import WireError
from infra.localnet.pocket.statefile import BlockRecord, FundRecord, StateFile
from infra.localnet.pocket.txindex import IndexedTx, TxIndex, TxResult
from infra.localnet.pocket.wire import NoMessageError, Transaction, decode, hash_of

Clock = Callable[[], datetime]
MANUAL_BLOCK_TIME = timedelta(minutes=15)
"""Between the times of blocks made by hand: mainnet's interval."""
_INSUFFICIENT_COINS = TxResult(10, "sdk", "")


class NotThereError(LookupError):
    """The node does not have what was asked for; the text is the node's."""


@dataclass(frozen=True, slots=True)
class Submission:
    """The answer to a submitted transaction: its hash (upper case) and why it was refused, if it was."""

    hash: str
    rejection: Rejection | None


class Chain:
    """One chain, shared by any number of nodes.

    `clock` gives the times of blocks; without one they follow the genesis time in steps of mainnet's interval, so that the
    same transactions make the same hashes. With `state`, everything but the mempool survives a restart in that file.
    """

    def __init__(self, genesis: Genesis | None = None, *, clock: Clock | None = None, state: Path | None = None) -> None:
        self.clock = clock
        self._file = StateFile(state) if state is not None else None
        self.genesis = self._file.open(genesis or Genesis()) if self._file else genesis or Genesis()
        self.ledger = Ledger.of(self.genesis)
        self.index = TxIndex()
        self.mempool = Mempool()
        self._blocks: list[Block] = []
        self._made_at: list[float] = []
        self._injected: list[bytes] = []
        self._app_hash = sha256(encode_json(self.genesis.dump()).encode()).hexdigest().upper()
        self._results_hash = ""
        if self._file:
            self._replay(self._file)
        if not self._blocks:
            self._make_block((), self._next_time())

    # --- blocks --------------------------------------------------------------------------------------------------

    @property
    def height(self) -> int:
        """The height of the newest block."""
        return self._blocks[-1].height

    def block(self, height: int) -> Block:
        """A block by its height. Raises `NotThereError` with the node's words."""
        if height > self.height:
            raise NotThereError(f"height {height} must be less than or equal to the current blockchain height {self.height}")
        if height < self.genesis.initial_height:
            raise NotThereError(f"height {height} is not available, lowest height is {self.genesis.initial_height}")
        return self._blocks[height - self.genesis.initial_height]

    def age(self, height: int) -> float:
        """Seconds since this process made the block; infinite if an earlier one did."""
        return time.monotonic() - self._made_at[height - self.genesis.initial_height]

    def step(self) -> Block:
        """Make a block of all that waits."""
        txs = (*self.mempool.waiting(), *self._injected)
        self._injected.clear()
        return self._make_block(txs, self._next_time())

    def _next_time(self) -> datetime:
        if self.clock is None:
            return self.genesis.time + MANUAL_BLOCK_TIME * len(self._blocks)
        now = self.clock()
        return max(now, self._blocks[-1].time + timedelta(milliseconds=1)) if self._blocks else now

    def _make_block(self, txs: Sequence[bytes], at: datetime, *, replayed: bool = False) -> Block:
        height = self._blocks[-1].height + 1 if self._blocks else self.genesis.initial_height
        block = build_block(
            chain_id=self.genesis.chain_id,
            height=height,
            time=at.astimezone(UTC),
            txs=txs,
            previous=self._blocks[-1] if self._blocks else None,
            app_hash=self._app_hash,
            results_hash=self._results_hash,
        )
        # Before anything is visible: what a client saw must survive.
        if self._file and not replayed:
            self._file.append(BlockRecord(height, block.time, block.txs))
        results = [self._deliver(raw, height, position) for position, raw in enumerate(block.txs)]
        self._results_hash = _digest(str([(result.code, result.codespace) for result in results])) if results else ""
        self._app_hash = _digest(f"{self._app_hash} {block.hash} {self._results_hash}")
        self._blocks.append(block)
        self._made_at.append(float("-inf") if replayed else time.monotonic())
        return block

    def _deliver(self, raw: bytes, height: int, position: int) -> TxResult:
        hash_ = hash_of(raw)
        tx, rejection = self._checked(raw, height, self.genesis.chain_id)
        if rejection is None and tx is not None:
            result = self._execute(tx, height)
        else:
            assert rejection is not None
            result = TxResult(rejection.code, rejection.codespace, rejection.log)
        if rejection is None or rejection.indexed:
            self.index.add(IndexedTx(raw, hash_, height, position, tx, result))
        self.mempool.settle(hash_, success=result.code == 0)
        return result

    def _execute(self, tx: Transaction, height: int) -> TxResult:
        sender, amount = tx.msg.from_address, tx.msg.amount
        self.ledger.move(sender, FEE_COLLECTOR, fee_of(tx), height)
        # The fee is gone by now, also if the send fails.
        if (self.ledger.balance(sender) or 0) < amount:
            return _INSUFFICIENT_COINS
        self.ledger.move(sender, tx.msg.to_address, amount, height)
        return TxResult()

    # --- transactions --------------------------------------------------------------------------------------------

    def submit(self, raw: bytes, *, nameless: bool = False) -> Submission:
        """Check a transaction and let it wait for a block. Raises `AlreadyInCacheError`.

        `nameless`: the node does not know the chain's id yet, so no signature passes.
        """
        hash_ = hash_of(raw)
        self.mempool.remember(hash_)
        _, rejection = self._checked(raw, self.height, "" if nameless else self.genesis.chain_id)
        if rejection is None:
            self.mempool.add(hash_, raw)
        else:
            self.mempool.forget(hash_)
        return Submission(hash_, rejection)

    def inject(self, raw: bytes) -> str:
        """Put bytes into the next block without checking them first; their hash (upper case)."""
        self._injected.append(raw)
        return hash_of(raw)

    def fund(self, address: bytes, amount: int) -> int:
        """Mint uPOKT for an account (a negative amount burns them); its balance."""
        self.ledger.credit(address, amount, self.height)
        if self._file:
            self._file.append(FundRecord(address.hex(), amount))
        return self.ledger.balance(address) or 0

    def _checked(self, raw: bytes, height: int, chain_id: str) -> tuple[Transaction | None, Rejection | None]:
        try:
            tx = decode(raw, height)
        except NoMessageError as error:
            return None, without_message(str(error))
        except WireError as error:
            return None, undecodable(str(error))
        return tx, check(tx, self.genesis, self, chain_id)

    # --- what the checks ask -------------------------------------------------------------------------------------

    def balance(self, address: bytes) -> int | None:
        """uPOKT of an account now, None if there is none."""
        return self.ledger.balance(address)

    def stored_key(self, address: bytes) -> PublicKey | None:
        """The public key kept with an account."""
        return self.ledger.stored_key(address)

    def is_indexed(self, hash_: str) -> bool:
        """Whether a transaction of this hash (upper case) is in the index."""
        return self.index.get(hash_) is not None

    # --- the state file ------------------------------------------------------------------------------------------

    def _replay(self, file: StateFile) -> None:
        for record in file.records():
            if isinstance(record, FundRecord):
                self.ledger.credit(bytes.fromhex(record.address), record.amount, self.height)
            else:
                self._make_block(record.txs, record.time, replayed=True)

    def close(self) -> None:
        """Close the state file."""
        if self._file:
            self._file.close()


def _digest(text: str) -> str:
    return sha256(text.encode()).hexdigest().upper()
