"""The live log: one readable line per change of a document, while the validators move it.

For people who watch a development network. It looks the whole document up with each change, which a validator never does.
"""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

from pymongo import AsyncMongoClient
from pymongo.asynchronous.change_stream import AsyncDatabaseChangeStream

from infra.localnet.deploy import UNIT
from reactor.documents.reasons import WaitReason
from reactor.documents.statuses import Collection
from reactor.engine.tasks import end
from reactor.store.connection import Document, Store

WATCHED: Final = (Collection.MINT, Collection.INVALID_MINT, Collection.BURN, Collection.MINTED, Collection.RETURNED)
_SHORT: Final = 10
_SENTENCES: Final[Mapping[str, str]] = {reason.value: reason.sentence for reason in WaitReason}
# What passes within a moment would only drown the rest.
_QUIET: Final = frozenset({WaitReason.SIGNATURES.value})


@dataclass(frozen=True, slots=True)
class Change:
    """One line: which document, what happened to it."""

    collection: Collection
    transaction: str
    text: str


Show = Callable[[Change], None]


class LiveLog:
    """`async with LiveLog(store, show, names):` calls `show` for each change until the end of the block.

    `names`: what to call the validators, by address and by public key.
    """

    def __init__(self, store: Store, show: Show, names: Mapping[str, str]) -> None:
        self._store = store
        self._show = show
        self._names = names
        self._known: dict[Any, Document] = {}
        self._client: AsyncMongoClient[Document] | None = None
        self._task: asyncio.Task[None] | None = None

    async def __aenter__(self) -> Self:
        """Open the change stream: nothing that happens from now on is missed."""
        self._client = self._store.stream_client()
        collections = [self._store.names[role] for role in WATCHED]
        pipeline = [{"$match": {"ns.coll": {"$in": collections}, "operationType": {"$in": ["insert", "update", "replace"]}}}]
        database = self._client[self._store.database.name]
        stream = await database.watch(pipeline, full_document="updateLookup", max_await_time_ms=500)
        self._task = asyncio.create_task(self._follow(stream))
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop."""
        if self._task is not None:
            await end(self._task)
            if not self._task.cancelled():
                self._task.result()
        if self._client is not None:
            await self._client.close()

    async def _follow(self, stream: AsyncDatabaseChangeStream[Document]) -> None:
        async with stream:
            async for event in stream:
                document = event.get("fullDocument")
                if document is None:  # it is gone again
                    continue
                role = self._store.roles[event["ns"]["coll"]]
                before = self._known.get(document["_id"])
                self._known[document["_id"]] = document
                transaction = str(document.get("transaction_hash", ""))
                for text in describe(role, before, document, self._names):
                    self._show(Change(role, transaction, text))


def describe(role: Collection, before: Document | None, after: Document, names: Mapping[str, str]) -> Iterator[str]:
    """What happened between two states of a document, a sentence each."""
    if before is None:
        yield _born(role, after)
    old = before or {}
    known = set(old.get("signers") or [])
    fresh = [signer for signer in after.get("signers") or [] if signer not in known]
    for place, signer in enumerate(fresh, start=len(known) + 1):
        yield f"signature {place}, of {names.get(signer, shorten(signer))}"
    for entry in (after.get("history") or [])[len(old.get("history") or []) :]:
        yield f"{entry['status']}: {entry['reason']} ({names.get(entry['by'], shorten(entry['by']))})"
    waiting = after.get("waiting") or {}
    reason = waiting.get("reason")
    if reason and reason not in _QUIET and reason != (old.get("waiting") or {}).get("reason"):
        yield f"waits: {_SENTENCES.get(reason, reason)}"


def _born(role: Collection, document: Document) -> str:
    amount = coins(int(document.get("amount") or 0))
    match role:
        case Collection.MINT:
            return f"pending: deposit of {amount} POKT for {shorten(document['recipient_address'])}"
        case Collection.INVALID_MINT:
            return f"pending: deposit of {amount} POKT that can't be minted, from {shorten(document['sender_address'])}"
        case Collection.BURN:
            return f"pending: burn of {amount} wPOKT for {shorten(document['recipient_address'])}"
        case Collection.MINTED:
            return f"on Ethereum: {amount} wPOKT minted for {shorten(document['recipient_address'])}, nonce {document['nonce']}"
        case _:
            return f"on Pocket: the vault paid {amount} POKT to {shorten(document['recipient_address'])}"


def coins(amount: int) -> str:
    """An amount in uPOKT as POKT, all six decimals."""
    sign, amount = ("-" if amount < 0 else ""), abs(amount)
    return f"{sign}{amount // UNIT:,}.{amount % UNIT:06d}"


def shorten(text: str) -> str:
    """The beginning of a hash or address."""
    return text if len(text) <= _SHORT + 1 else text[:_SHORT] + "…"
