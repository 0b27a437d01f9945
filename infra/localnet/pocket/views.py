"""What one node shows of the chain, its misbehaviours considered."""

from dataclasses import dataclass

from infra.localnet.pocket.behaviour import Behaviour
from infra.localnet.pocket.blocks import Block
from infra.localnet.pocket.chain import Chain, NotThereError
from infra.localnet.pocket.misbehaviour import IndexLag, StaleHeight, WrongChainId
from infra.localnet.pocket.txindex import IndexedTx

_STORE = "0xc000a256a0"
"""Where the store lies in the node's memory: its texts show it, and another one of its stores each time."""


@dataclass(frozen=True, slots=True)
class View:
    """A node's look at a chain at this moment."""

    chain: Chain
    behaviour: Behaviour

    @property
    def chain_id(self) -> str:
        """The chain id that headers show."""
        wrong = self.behaviour.find(WrongChainId)
        return wrong.chain_id if wrong else self.chain.genesis.chain_id

    @property
    def height(self) -> int:
        """The height that the node reports."""
        stale = self.behaviour.find(StaleHeight)
        if stale is None:
            return self.chain.height
        shown = stale.height or self.chain.height - stale.behind
        return max(min(shown, self.chain.height), self.chain.genesis.initial_height)

    @property
    def executed(self) -> int:
        """The height up to which transactions are indexed and balances known."""
        lag = self.behaviour.find(IndexLag)
        height = self.height
        if lag is None:
            return height
        height = max(height - lag.blocks, self.chain.genesis.initial_height - 1)
        while height >= self.chain.genesis.initial_height and self.chain.age(height) < lag.seconds:
            height -= 1
        return height

    def block(self, height: int) -> Block:
        """A block, 0 being the newest. Raises `NotThereError` with the node's words."""
        if height > self.height:
            raise NotThereError(f"height {height} must be less than or equal to the current blockchain height {self.height}")
        if height < 0:
            raise NotThereError(f"height must be greater than 0, but got {height}")
        return self.chain.block(height or self.height)

    def tx(self, hash_: bytes) -> IndexedTx:
        """An indexed transaction. Raises `NotThereError` with the node's words."""
        shown = hash_.hex().upper()
        if not hash_:
            raise NotThereError("transaction hash cannot be empty")
        found = self.chain.index.get(shown)
        if found is None or found.height > self.executed:
            raise NotThereError(f"tx ({shown}) not found")
        return found

    def state_height(self, height: int) -> int:
        """The height at which balances are asked for, 0 being the last. Raises `NotThereError`."""
        if height < 0:
            raise NotThereError("block at height not found")
        if height > self.executed:
            wanted = f"wanted to load target {height} but only found up to {self.executed}"
            raise NotThereError(f"error loading store: KVStoreKey{{{_STORE}, application}}, in LoadLazyVersion: {wanted}")
        return height or self.executed

    def balance(self, address: bytes, height: int) -> int | None:
        """An account's balance at a height, None without the account. Raises `NotThereError`."""
        return self.chain.ledger.balance(address, self.state_height(height))
