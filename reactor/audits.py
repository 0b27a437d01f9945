"""The audit entries that could not be written when something was stopped: the running validator writes them later."""

import asyncio
from typing import Final

from reactor.engine.loops import Loops, pausing
from reactor.state.journal import Journal
from reactor.store.audit import write_audit
from reactor.store.connection import Store

LOOK_SECONDS: Final = 5.0
_WITHIN: Final = 60.0
_NAME: Final = "writing audit entries of earlier stops"


class AuditSender:
    """Looks on the own disk now and then; the shared database is asked only where there is something to write."""

    def __init__(self, store: Store, journal: Journal, loops: Loops, pause: float = LOOK_SECONDS) -> None:
        self._store = store
        self._journal = journal
        self._loops = loops
        self._pause = pause

    async def run(self, stop: asyncio.Event) -> None:
        """Until `stop`."""
        await self._loops.repeat(stop, _NAME, self.send, pausing(self._pause), within=_WITHIN)

    async def send(self) -> None:
        """Write what is there. Each has its `_id` from the beginning: written twice it is one entry."""
        for one in self._journal.unsent_audits():
            await write_audit(self._store, one.entry)
            self._journal.audits_sent([one.number])
