"""Two chains inside the validator's process: they answer at once and count what they are asked. No node, no HTTP."""

from collections import Counter
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import Any

from reactor.chains.errors import NotFound
from reactor.chains.ethereum.types import ContractFacts, Head, HeadView
from reactor.chains.ethereum.types import Window as EthereumWindow
from reactor.chains.pocket import PocketBlock, PocketHead
from reactor.chains.pocket import Window as PocketWindow
from tests.benchmarks.bridge import (
    DOMAIN,
    GENESIS,
    MAXIMUM,
    POCKET_CHAIN,
    RECIPIENTS,
    START,
    SWEPT,
    ethereum_hash,
    pocket_block,
)

_ETHEREUM_HEAD = START + 100


class InstantEthereum:
    """An Ethereum chain on which the old deposits were minted and nothing happens any more.

    `calls`: reads by kind, those that the real client caches left out.
    """

    def __init__(self, members: Iterable[str], threshold: int) -> None:
        self.calls: Counter[str] = Counter()
        self.problems: list[str] = []
        self._facts = ContractFacts(
            block=self._header(_ETHEREUM_HEAD),
            threshold=threshold,
            validators=tuple(sorted(members, key=lambda one: int(one, 16))),
            validator_count=len(tuple(members)),
            max_mint_limit=MAXIMUM,
            current_mint_limit=MAXIMUM,
            mint_per_second=MAXIMUM,
            paused=False,
            fee_flag=False,
            fee_basis=0,
            domain=DOMAIN,
            minter=True,
        )

    @staticmethod
    def _header(number: int) -> Head:
        return Head(number, ethereum_hash(number), ethereum_hash(number - 1), GENESIS + 12 * number)

    async def view(self) -> HeadView:
        return HeadView(self._header(_ETHEREUM_HEAD), self._header(_ETHEREUM_HEAD - 1), "instant")

    async def window(self, first: int, last: int, *, apart_from: str = "") -> EthereumWindow:
        del apart_from
        return EthereumWindow(first, last, (), (), self._header(last), "instant")

    async def header(self, number: int, *, fresh: bool = False) -> Head:
        del fresh
        return self._header(number)

    async def facts(self, candidates: Iterable[str] = (), *, fresh: bool = False) -> ContractFacts:
        """The real client reads these once in five minutes for all documents: not counted."""
        del candidates, fresh
        return self._facts

    async def user_nonce(self, recipient: str, block: int | str = "latest") -> int:
        del recipient, block
        self.calls["eth_call getUserNonce"] += 1
        return SWEPT // RECIPIENTS

    async def is_canonical(self, number: int, block_hash: str) -> bool:
        self.calls["eth_getBlockByNumber"] += 1
        return block_hash == ethereum_hash(number)

    async def receipt_events(self, tx_hash: str) -> Any:
        self.calls["eth_getTransactionReceipt"] += 1
        raise NotFound(tx_hash)

    async def close(self) -> None:
        """Nothing to close."""


class InstantPocket:
    """A Pocket chain whose deposits the ledger knows already."""

    def __init__(self, head: int) -> None:
        self.chain_id = POCKET_CHAIN
        self.calls: Counter[str] = Counter()
        self.problems: list[str] = []
        self._head = head

    @staticmethod
    def _block(height: int) -> PocketBlock:
        block = pocket_block(height)
        return PocketBlock(height, block.hash, datetime.fromtimestamp(block.time, UTC), POCKET_CHAIN, "instant")

    async def head(self) -> PocketHead:
        return PocketHead(self._head, None, "instant")

    async def block(self, height: int) -> PocketBlock:
        self.calls["query/block"] += 1
        return self._block(height)

    async def window(self, address: str, first: int, last: int, *, apart_from: str = "", by_block: bool = False) -> PocketWindow:
        del apart_from, by_block
        return PocketWindow(address, first, last, (), (), self._block(last), self._head, "instant")

    async def balance(self, address: str) -> int:
        del address
        self.calls["query/balance"] += 1
        return 0

    async def close(self) -> None:
        """Nothing to close."""
