"""How far the oplog reaches back, and whether the stream's position is still safely inside it.

A stream whose position has left the oplog has lost its history (code 286); everything open must then be read again. That is to
be said before it happens. All times are the cluster's own, so that no clock of this machine matters; an idle cluster writes a
no-op every 10 s, so the time of a stream that is read never rests.
"""

from dataclasses import dataclass
from typing import Any, Final

from bson import Timestamp
from loguru import logger
from pymongo.errors import OperationFailure

from reactor.store.connection import Document, Store
from reactor.store.retrying import is_passing, retrying

SHORT_SECONDS: Final = 24 * 3600.0
"""An oplog shorter than this is told to operators, once it rolls."""
_SILENT_SECONDS: Final = 30.0
"""Cluster time that may pass without any of it arriving before a stream counts as silent: three no-ops of an idle cluster."""
_HEALTHY_SECONDS: Final = 5.0
"""A lag that is nothing, however short the oplog."""
_SECTIONS: Final = (
    "asserts",
    "catalogStats",
    "connections",
    "electionMetrics",
    "extra_info",
    "flowControl",
    "globalLock",
    "indexBulkBuilder",
    "indexStats",
    "locks",
    "logicalSessionRecordCache",
    "mem",
    "metrics",
    "network",
    "opLatencies",
    "opcounters",
    "opcountersRepl",
    "readConcernCounters",
    "repl",
    "scramCache",
    "security",
    "storageEngine",
    "tcmalloc",
    "tenantMigrations",
    "trafficRecording",
    "transactions",
    "transportSecurity",
    "twoPhaseCommitCoordinator",
    "wiredTiger",
)
"""What of `serverStatus` nobody needs here: without it the command costs the server next to nothing."""


@dataclass(frozen=True, slots=True)
class OplogTimes:
    """The oldest and the newest entry of the primary's oplog, Unix seconds of cluster time.

    `server`: which one said so. `cut`: whether that server has dropped old entries since it was started.
    """

    oldest: int
    newest: int
    server: str = ""
    cut: bool = False

    @property
    def seconds(self) -> float:
        """The window: how long a stream may be away without losing history."""
        return float(self.newest - self.oldest)


async def oplog_times(store: Store) -> OplogTimes | None:
    """The times of the primary's oplog; None where the own user may not ask for them (`roles` allows it) or the server
    (a hosted one) does not say. Raises a `PyMongoError` after bounded retries.
    """
    command: Document = {"serverStatus": 1, **dict.fromkeys(_SECTIONS, 0), "oplog": 1}

    async def run() -> Document:
        return dict(await store.client.admin.command(command))

    try:
        status = await retrying(run)
    except OperationFailure as error:
        if is_passing(error):
            raise
        return None
    said: Any = status.get("oplog")
    oldest, newest = (said.get("earliestOptime"), said.get("latestOptime")) if isinstance(said, dict) else (None, None)
    if not isinstance(oldest, Timestamp) or not isinstance(newest, Timestamp):
        return None
    truncation: Any = status.get("oplogTruncation")
    count = truncation.get("truncateCount") if isinstance(truncation, dict) else 0
    cut = isinstance(count, int | float) and count > 0
    return OplogTimes(oldest.time, newest.time, str(status.get("host", ""))[:200], cut)


class OplogWatch:
    """Compares a stream with the oplog, and remembers what is wrong until the next look.

    `problems`: for heartbeats, empty when all is well. `window`: seconds at the last look.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._oldest: dict[str, int] = {}
        self._moved: tuple[int, int] | None = None
        self._told = False
        self.window: float | None = None
        self.problems: tuple[str, ...] = ()
        self.silent = False
        """Whether the cluster writes and nothing of it arrives on the stream, as of the last look."""

    async def look(self, *, read_until: int | None, safe_until: int | None) -> None:
        """Look once. `read_until`: cluster time up to which the stream was read (None: it is not being read, as in a scan);
        `safe_until`: that of the position that is saved, behind which all work is finished (Unix seconds; None: no position
        yet). Raises a `PyMongoError`.
        """
        times = await oplog_times(self._store)
        if times is None:
            self.window, self.problems, self.silent = None, (), False
            return
        still_since = self._still_since(read_until, times)
        self.silent = still_since is not None and times.newest - still_since > _SILENT_SECONDS
        found = tuple(judge(times, still_since, safe_until, rolls=self._rolls(times)))
        if len(found) > len(self.problems):
            logger.error("change stream: {}", "; ".join(found))
        self._tell_short(times)
        self.window, self.problems = times.seconds, found

    def _still_since(self, read_until: int | None, times: OplogTimes) -> int | None:
        """Cluster time at which the stream was last seen to move: who comes back after an hour is behind, and no fault is it."""
        if read_until is None:
            self._moved = None
        elif self._moved is None or self._moved[0] != read_until:
            self._moved = read_until, times.newest
        return None if self._moved is None else self._moved[1]

    def _rolls(self, times: OplogTimes) -> bool:
        """Whether it drops its oldest entries: the server says so, or it was seen.

        One that was never cut loses nothing, however short it still is. Each server has its own oplog: another primary's may
        begin elsewhere.
        """
        return times.cut or times.oldest > self._oldest.setdefault(times.server, times.oldest)

    def _tell_short(self, times: OplogTimes) -> None:
        """Once: an oplog whose oldest entries go is as long as it will be."""
        if self._rolls(times) and times.seconds < SHORT_SECONDS and not self._told:
            self._told = True
            logger.warning(
                "the oplog holds {:.1f} h: a validator that is away for longer reads everything open again; "
                "enlarge it (replSetResizeOplog)",
                times.seconds / 3600,
            )


def judge(times: OplogTimes, still_since: int | None, safe_until: int | None, *, rolls: bool) -> list[str]:
    """What is wrong, in words that name the remedy. `still_since`: cluster time at which the stream last moved; `rolls`:
    whether the oplog is known to drop its oldest entries.
    """
    found = []
    harmless = max(_HEALTHY_SECONDS, times.seconds / 2)
    if still_since is not None and (lag := times.newest - still_since) > _SILENT_SECONDS:
        found.append(
            f"the stream is silent: the cluster has written for {lag} s and nothing of it arrived; "
            "check that a majority of the data-bearing nodes replicates"
        )
    if rolls and safe_until is not None and (age := float(times.newest - safe_until)) > harmless:
        left = max(0.0, times.seconds - age)
        found.append(
            f"history will be lost: the position is {age:.0f} s old and the oplog holds {times.seconds:.0f} s, {left:.0f} s "
            "are left; enlarge it (replSetResizeOplog) or find what holds the position back"
        )
    return found
