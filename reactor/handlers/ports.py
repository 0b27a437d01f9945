"""What the handlers need from outside, as small protocols. The composition root passes batched stores and real chains.

Every call here has its time limit inside (the store's, the chain clients'), and raises what those packages document.
"""

from collections.abc import Mapping
from typing import Protocol

from bson import ObjectId

from reactor.chains.ethereum.types import ContractFacts
from reactor.documents.events import BlockRef
from reactor.documents.statuses import Collection
from reactor.state.journal import JournalEntry
from reactor.state.verdicts import Verdict
from reactor.store.reading import Found
from reactor.store.updates import Update


class Requests(Protocol):
    """The shared documents. Calls that are ready together leave as one find or one bulk."""

    async def read(self, collection: Collection, document_id: ObjectId) -> Found | None:
        """The document as it is now, majority-committed; None where there is none."""

    async def write(self, update: Update) -> bool:
        """Whether the guarded write certainly applied. False: read again."""

    async def insert(self, collection: Collection, document: Mapping[str, object]) -> bool:
        """Insert unless it is there. False: another document stands for its event, and was rung."""

    async def free_key(self, collection: Collection, document: Mapping[str, object], keep: ObjectId) -> None:
        """Take the natural key of `document` from all documents but `keep`."""


class SigningJournal(Protocol):
    """The journal's one question, asked in batches: one disk sync for all that are ready together."""

    async def admit(self, entry: JournalEntry) -> Verdict:
        """May this be signed? If so it is durable when this returns."""


class EthereumReads(Protocol):
    """Reads of the own Ethereum node."""

    async def contract_facts(self) -> ContractFacts:
        """Threshold, members, limits: one cached read for all documents."""

    async def user_nonce(self, recipient: str, block: int) -> int:
        """`getUserNonce(recipient)` at `block`."""

    async def same_block(self, block: BlockRef) -> bool:
        """Whether the own node still has this block at its height."""

    async def mined_burns(self, tx_hash: str) -> tuple[int, int] | None:
        """The block of the mined transaction of this hash and how many burns it holds; None if the own node knows none."""


class PocketReads(Protocol):
    """Reads of and submissions to the own Pocket node."""

    async def balance(self) -> int:
        """The vault's balance in upokt: one read per head for all documents."""

    async def same_block(self, block: BlockRef) -> bool:
        """Whether the own node still has this block at its height."""

    async def indexed(self, tx_hash: str) -> tuple[int, bool] | None:
        """The block of the transaction of this hash, and whether it may be a deposit; None if the own node has indexed none."""

    async def submit(self, raw: bytes, *, again: bool = False) -> str:
        """Post raw bytes; returns what the node said, for the log. Raises RpcProblem where all refuse or do not answer.

        `again`: they were posted before and got lost, so they go to every node. A refusal is final for nobody.
        """


class Heads(Protocol):
    """The newest heads seen, and how far a source event must lie below."""

    def height(self, chain: str) -> int:
        """The newest height seen of `pocket` or `ethereum`; 0 before the first."""

    def final_at(self, chain: str, height: int) -> int:
        """The head at which an event at `height` is final (for display where finality is a tag)."""
