"""The ledger decides, the collections inform (TRUST.md, rule 0): each sweep compares the two.

A document that is missing is inserted again. One that is there is rung, so that its handler compares and repairs it. Of settled
events (done, or a mint that only waits for its user) one page per sweep is looked for, in turns: the change stream rings when
somebody touches such a document, but nobody is rung for each document of a collection that is dropped. And some, at random, are
rung: a forger may write so that the stream tells nobody.
"""

import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from typing import Any, Final

from bson import ObjectId

from reactor.documents.build import burn_document, deposit_document
from reactor.documents.events import Burn, Deposit
from reactor.documents.statuses import Collection
from reactor.handlers.context import Context
from reactor.handlers.sources import removed
from reactor.outages import Outages
from reactor.state.ledger import Seen
from reactor.state.rows import EventKind

PAGE: Final = 500
SAMPLE: Final = 64
"""So many settled documents are looked at closely in one sweep of one validator: a fraction of a per cent of a core."""

Documents = Sequence[Mapping[str, Any]]
InsertMissing = Callable[[Collection, Documents], Awaitable[Mapping[ObjectId, ObjectId]]]
"""Inserts what is missing; answers under which `_id` each document (by its own) lies now. Absent: it could not be placed."""


class Reconciler:
    """Compares the open events of the own ledger with Mongo."""

    def __init__(
        self,
        context: Context,
        insert_missing: InsertMissing,
        pick: Callable[[int], int] = secrets.randbelow,
        *,
        outages: Outages | None = None,
    ) -> None:
        self._context = context
        self._insert_missing = insert_missing
        self.pick = pick
        self._outages = outages or Outages()
        self._last_looked_for: dict[Collection, Seen[Any] | None] = {}

    async def open_ids(self, collection: Collection) -> AsyncIterator[ObjectId]:
        """Insert what is missing; yield the ids of all documents of this collection that are open to this validator."""
        kind = EventKind.BURN if collection is Collection.BURN else EventKind.DEPOSIT
        after: Seen[Any] | None = None
        while page := self._context.ledger.unsettled(kind, PAGE, after):
            after = page[-1]
            documents = [fresh for seen in page if (fresh := self._document(collection, seen)) is not None]
            if not documents:
                continue
            if self._context.me.observes:
                placed: Mapping[ObjectId, ObjectId] = {one["_id"]: one["_id"] for one in documents}
            else:
                placed = await self._insert_missing(collection, documents)
            self._tell_lost(collection, len(documents) - len(placed))
            for document_id in placed.values():
                yield document_id
        await self._look_for_settled(collection, kind)
        for document_id in self._sample(collection, kind):
            yield document_id

    def _tell_lost(self, collection: Collection, lost: int) -> None:
        name = f"inserting {collection.value} documents"
        if lost:
            self._outages.failed(name, f"{lost} could not be placed: foreign documents hold their keys", level="ERROR")
        else:
            self._outages.worked(name)

    def _sample(self, collection: Collection, kind: EventKind) -> Sequence[ObjectId]:
        """SECURITY: settled documents, from a place that nobody can foresee: what was forged quietly is found in the end."""
        cursor = self._context.ledger.cursor(kind)
        if cursor is None:
            return []
        first = self._context.bridge.ethereum_start if kind is EventKind.BURN else self._context.bridge.pocket_start
        start = first + self.pick(max(1, cursor.height - first + 1))
        page = self._context.ledger.settled_from(kind, start, SAMPLE)
        fresh = [one for seen in page if (one := self._document(collection, seen)) is not None]
        return [document["_id"] for document in fresh]

    async def _look_for_settled(self, collection: Collection, kind: EventKind) -> None:
        """What is inserted again rings by itself."""
        page = self._context.ledger.settled(kind, PAGE, self._last_looked_for.get(collection))
        self._last_looked_for[collection] = page[-1] if len(page) == PAGE else None
        fresh = [one for seen in page if (one := self._document(collection, seen)) is not None]
        if fresh and not self._context.me.observes:
            # What was settled was there.
            await self._insert_missing(collection, [removed(self._context, one) for one in fresh])

    def _document(self, collection: Collection, seen: Seen[Any]) -> dict[str, Any] | None:
        bridge, now = self._context.bridge, self._context.now()
        event = seen.event
        if isinstance(event, Burn):
            return burn_document(bridge, event, seen.created, now) if collection is Collection.BURN else None
        if isinstance(event, Deposit):
            home, document = deposit_document(bridge, event, seen.created, now)
            return document if home is collection else None
        return None
