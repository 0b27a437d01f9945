"""The audit entries that could not be written when something was stopped: the running validator writes them later."""

import asyncio
from typing import Final

from pymongo.errors import PyMongoError

from reactor.engine.tasks import wait_for_any
from reactor.outages import Outages
from reactor.state.journal import Journal
from reactor.store.audit import write_audit
from reactor.store.connection import Store

LOOK_SECONDS: Final = 5.0
_REPORTER: Final = "audit entries of earlier stops"


class AuditSender:
    """Looks on the own disk now and then; the shared database is asked only where there is something to write."""

    def __init__(self, store: Store, journal: Journal, outages: Outages, pause: float = LOOK_SECONDS) -> None:
        self._store = store
        self._journal = journal
        self._outages = outages
        self._pause = pause

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`."""
        while not stop.is_set():
            try:
                await self.send()
            except (PyMongoError, TimeoutError) as error:
                self._outages.failed(_REPORTER, error)
            else:
                self._outages.worked(_REPORTER)
            await wait_for_any(stop, seconds=self._pause)

    async def send(self) -> None:
        """Write what is there. Each has its `_id` from the beginning: written twice it is one entry."""
        for one in self._journal.unsent_audits():
            await write_audit(self._store, one.entry)
            self._journal.audits_sent([one.number])
