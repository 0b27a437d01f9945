"""What joins the handlers' ports to the real parts: batched stores, chains with shared reads, the doorbells of the ledger.

Only `validator` uses these. They hold no rule of the bridge.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from bson import ObjectId
from loguru import logger

from reactor.chains.cache import SharedReads
from reactor.chains.errors import NotFound
from reactor.chains.ethereum.client import EthereumChain
from reactor.chains.ethereum.finality import Finality
from reactor.chains.ethereum.types import ContractFacts
from reactor.chains.pocket import NotFound as PocketNotFound
from reactor.chains.pocket import PocketChain, RpcRefused
from reactor.documents.bridge import Bridge
from reactor.documents.events import BlockRef, Burn, Deposit, Event, Minted, Returned
from reactor.documents.keys import document_id, event_key
from reactor.documents.statuses import Collection
from reactor.engine.batching import Batcher
from reactor.engine.heads import HeadSource
from reactor.handlers.claims import Remembered
from reactor.handlers.sources import home_of
from reactor.sentences import counted
from reactor.state.journal import Journal, JournalEntry
from reactor.state.ledger import Ledger
from reactor.state.problems import StateReplaced
from reactor.state.verdicts import Refusal, Refused, Verdict
from reactor.state.windows import WindowResult
from reactor.store import reading
from reactor.store.bulk import Written, bulk
from reactor.store.connection import Store
from reactor.store.insert import free_key, insert_missing
from reactor.store.reading import Found, Key, natural_key
from reactor.store.updates import Update

Ring = Callable[[Collection, ObjectId], None]
SameContent = Callable[[BlockRef], Awaitable[bool]]
"""Whether a block still holds what the own ledger holds of it: asked where several endpoints must agree."""

TAG_DEPTH: Final = 64
"""For display only: how far `safe` or `finalized` usually lie below the head of Ethereum (two epochs)."""
_BLOCK_SECONDS: Final = 10.0
"""How long "this block is still there" is believed: much shorter than a chain takes to make a block final. A burst of signatures
of one block costs one question so, not one each."""
_BALANCE_SECONDS: Final = 2.0


BURST_SECONDS: Final = 0.01
"""In a burst a batch waits so long for company: a command costs as much as several of its documents."""


_NAMED: Final = 10
"""So many documents are named in one line of the log."""


class WriteRefusedError(RuntimeError):
    """The server refused a write that no re-read can make right: the document's unique key or its schema forbids it."""


class BatchedRequests:
    """The shared documents: reads that are ready together leave as one aggregate, writes as one bulk."""

    def __init__(self, store: Store, ring: Ring, *, batch: int, timeout: float) -> None:
        self._store = store
        self._ring = ring
        self.adopted: Remembered[ObjectId, bool] = Remembered()
        """Foreign documents that hold the key of an event of ours."""
        self._writer: Batcher[Update, Written] = Batcher(self._write_all, max_size=batch, busy=BURST_SECONDS, timeout=timeout)
        self._readers: dict[Collection, Batcher[ObjectId, Found | None]] = {
            role: Batcher(self._reader(role), max_size=reading.BATCH, busy=BURST_SECONDS, timeout=timeout) for role in Collection
        }

    def _reader(self, role: Collection) -> Callable[[list[ObjectId]], Any]:
        async def read(ids: list[ObjectId]) -> list[Found | None]:
            found = await reading.read(self._store, role, ids)
            return [found.get(one) for one in ids]

        return read

    async def _write_all(self, updates: list[Update]) -> list[Written]:
        return await bulk(self._store, updates)

    async def read(self, collection: Collection, document_id: ObjectId) -> Found | None:
        return await self._readers[collection].call(document_id)

    async def write(self, update: Update) -> bool:
        written = await self._writer.call(update)
        if written is Written.REFUSED:
            raise WriteRefusedError(f"{update.collection.value} {update.id}: the server refused the write of kind {update.kind}")
        return written is Written.APPLIED

    async def insert(self, collection: Collection, document: Mapping[str, Any]) -> bool:
        lies = (await self.insert_missing(collection, [document])).get(document["_id"])
        if lies is not None and lies != document["_id"]:
            self._ring(collection, lies)
            return False
        return True

    async def insert_missing(self, collection: Collection, documents: Sequence[Mapping[str, Any]]) -> Mapping[ObjectId, ObjectId]:
        """Insert what is missing; under which `_id` each document lies now.

        A foreign document that holds an event's key is adopted: its handler repairs it. From one that cannot be adopted the key
        is taken, and the event's own document inserted: its `_id` is no ObjectId (no change stream of ours reports it), it
        cannot be read (too large, broken), or it does not say plainly which event it stands for (the key in a list).
        """
        report = await insert_missing(self._store, collection, documents)
        if report.inserted:
            logger.warning(
                "missing from the database, inserted again: {}: {}",
                *(
                    counted(len(report.inserted), f"{collection.value} document"),
                    ", ".join(str(one) for one in report.inserted[:_NAMED]),
                ),
            )
        placed = {one: one for one in (*report.inserted, *report.present)}
        if not report.occupied:
            return placed
        by_key = {natural_key(collection, document): document for document in documents}
        adopted = await self._adoptable(collection, report.occupied)
        placed |= {by_key[key]["_id"]: holder for key, holder in adopted.items()}
        for holder in adopted.values():
            self.adopted.set(holder, True)
        rest = [by_key[key] for key in report.occupied if key not in adopted]
        for document in rest:
            await self.free_key(collection, document, document["_id"])
        if rest:
            again = await insert_missing(self._store, collection, rest)
            placed |= {one: one for one in (*again.inserted, *again.present)}
        return placed

    async def _adoptable(self, collection: Collection, occupied: Mapping[Key, Any]) -> dict[Key, ObjectId]:
        """Those holders that a handler recognises as the event's document by what they say."""
        holders = {key: holder for key, holder in occupied.items() if isinstance(holder, ObjectId)}
        found = await reading.read(self._store, collection, holders.values())
        adopted = {}
        for key, holder in holders.items():
            there = found.get(holder)
            if there is not None and there.raw is not None and _says(collection, there.raw) == key:
                adopted[key] = holder
        return adopted

    async def free_key(self, collection: Collection, document: Mapping[str, Any], keep: ObjectId) -> None:
        await free_key(self._store, collection, document, keep)

    async def close(self) -> None:
        """Answer those that wait, and refuse more."""
        await self._writer.aclose()
        for reader in self._readers.values():
            await reader.aclose()


def _says(collection: Collection, raw: Mapping[str, Any]) -> Key | None:
    """The natural key as plain texts; None where a field of it is missing or of another type."""
    try:
        key = natural_key(collection, raw)
    except KeyError:
        return None
    return key if all(isinstance(value, str) for value in key) else None


class BatchedJournal:
    """The journal's question, asked from one thread: one disk sync for all entries that are ready together.

    `silenced` says why this process may sign nothing at all because of another one, or is empty; `state_replaced` the same
    because a file of the own state is not the one that was opened.
    """

    def __init__(
        self,
        journal: Journal,
        *,
        timeout: float,
        silenced: Callable[[], str] = lambda: "",
        state_replaced: Callable[[], str] = lambda: "",
    ) -> None:
        self._journal = journal
        self._silenced = silenced
        self._state_replaced = state_replaced
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="journal")
        self._batcher: Batcher[JournalEntry, Verdict] = Batcher(
            self._admit_all, max_size=500, busy=BURST_SECONDS, timeout=timeout
        )

    async def _admit_all(self, entries: list[JournalEntry]) -> Sequence[Verdict]:
        # SECURITY: the last gate before a signature, whatever was known when it was decided upon.
        if why := self._silenced():
            return [Refused(Refusal.OTHER_PROCESS, why)] * len(entries)
        if why := self._state_replaced():
            return [Refused(Refusal.STATE_REPLACED, why)] * len(entries)
        try:
            return await asyncio.get_running_loop().run_in_executor(self._thread, self._journal.sign_batch, entries)
        except StateReplaced as error:
            return [Refused(Refusal.STATE_REPLACED, error.what)] * len(entries)

    async def admit(self, entry: JournalEntry) -> Verdict:
        return await self._batcher.call(entry)

    async def probe(self) -> None:
        """Whether a signature could be noted now, asked where signatures are noted. Raises StateProblem if not."""
        await asyncio.get_running_loop().run_in_executor(self._thread, self._journal.probe)

    async def close(self) -> None:
        await self._batcher.aclose()
        self._thread.shutdown(wait=True)


class EthereumNode:
    """Reads of the own Ethereum node, shared by all documents that need them."""

    def __init__(self, chain: EthereumChain, candidates: Sequence[str], content: SameContent | None = None) -> None:
        self._chain = chain
        self._content = content
        self._candidates = tuple(candidates)
        self._shared = SharedReads()

    async def contract_facts(self) -> ContractFacts:
        return await self._chain.facts(self._candidates)

    async def user_nonce(self, recipient: str, block: int) -> int:
        return await self._chain.user_nonce(recipient, block)

    async def same_block(self, block: BlockRef) -> bool:
        async def ask() -> bool:
            same = await self._chain.is_canonical(block.height, block.hash)
            return same and (self._content is None or await self._content(block))

        return await self._shared.get(block, _BLOCK_SECONDS, ask)

    async def mined_burns(self, tx_hash: str) -> tuple[int, int] | None:
        # SECURITY: with agreement `NotFound` is the word of so many endpoints: one alone must not make us object.
        try:
            receipt = await self._shared.get(("receipt", tx_hash), 0, lambda: self._chain.receipt_events(tx_hash))
        except NotFound:
            return None
        return receipt.block_number, len(receipt.burns)


class PocketNode:
    """Reads of and submissions to the own Pocket node."""

    def __init__(self, chain: PocketChain, vault: str, content: SameContent | None = None) -> None:
        self._chain = chain
        self._content = content
        self._vault = vault
        self._shared = SharedReads()

    async def balance(self) -> int:
        return await self._shared.get("balance", _BALANCE_SECONDS, lambda: self._chain.balance(self._vault))

    async def same_block(self, block: BlockRef) -> bool:
        async def ask() -> bool:
            same = (await self._chain.block(block.height)).hash == block.hash
            return same and (self._content is None or await self._content(block))

        return await self._shared.get(block, _BLOCK_SECONDS, ask)

    async def indexed(self, tx_hash: str) -> tuple[int, bool] | None:
        # SECURITY: as for Ethereum.
        try:
            tx = await self._shared.get(("tx", tx_hash), 0, lambda: self._chain.tx(tx_hash))
        except PocketNotFound:
            return None
        return tx.height, not tx.decoded or tx.to_address == self._vault

    async def submit(self, raw: bytes, *, again: bool = False) -> str:
        result = await self._chain.submit(raw, everywhere=again)
        if not result.on_its_way:
            raise RpcRefused(result.endpoint, "client/rawtx", f"{result.codespace} {result.code}: {result.text}")
        return f"{result.outcome.value} as {result.hash}"


class ChainHeads:
    """The heads that the scanners announced, and the configured depths."""

    def __init__(self, source: HeadSource, confirmations: int, finality: Finality) -> None:
        self._source = source
        self._depths = {"pocket": confirmations, "ethereum": finality.blocks if finality.kind == "latest" else TAG_DEPTH}

    def height(self, chain: str) -> int:
        return self._source.newest(chain) or 0

    def final_at(self, chain: str, height: int) -> int:
        return height + self._depths[chain]


class Bells:
    """What a change of the own ledger rings: the document of the event itself, or those that it completes."""

    def __init__(self, bridge: Bridge, ledger: Ledger, ring: Ring, changed: asyncio.Event) -> None:
        self._bridge = bridge
        self._ledger = ledger
        self._ring = ring
        self._changed = changed

    def __call__(self, result: WindowResult) -> None:
        for event in result.touched:
            for collection, key in self._keys(event):
                self._ring(collection, document_id(collection, key))
        if result.touched:
            self._changed.set()

    def _keys(self, event: Event) -> list[tuple[Collection, str]]:
        match event:
            case Deposit() | Burn():
                home = home_of(self._bridge, event)
                return [(home, event_key(self._bridge, event))] if home else []
            case Minted():
                return self._minted(event)
            case Returned():
                return self._returned(event)

    def _minted(self, event: Minted) -> list[tuple[Collection, str]]:
        base = self._ledger.base_nonce(event.recipient)
        deposit = self._ledger.mint_by_rank(event.recipient, event.nonce - base) if base is not None else None
        return [(Collection.MINT, deposit.key)] if deposit else []

    def _returned(self, event: Returned) -> list[tuple[Collection, str]]:
        deposit = self._ledger.deposit(event.memo)
        burns = [(Collection.BURN, seen.key) for seen in self._ledger.burns_of_tx(event.memo)]
        return burns + ([(Collection.INVALID_MINT, deposit.key)] if deposit else [])
