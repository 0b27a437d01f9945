"""SQLite as the state needs it: one connection per thread, short transactions, errors that name the remedy."""

import sqlite3
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from reactor.state.locks import holders_of
from reactor.state.private import make_files_private
from reactor.state.problems import StateBusy, StateProblem, StateReplaced
from reactor.state.sameness import BESIDE, SameFile

# The operator's verbs write one row; a batch of signatures takes one disk sync. Ten seconds is a disk in trouble.
BUSY = 10.0
_PRIMARY_CODE = 0xFF
_PROBE_BYTES = 16_384
"""About what a batch of signatures or a window of events takes: a disk that has room for less has none."""
_REMEDIES = {
    sqlite3.SQLITE_FULL: "free some space on its disk; nothing was half-written",
    sqlite3.SQLITE_READONLY: "make the file and its directory writable for this user",
    sqlite3.SQLITE_CANTOPEN: "check that the directory exists and that this user may write to it",
    sqlite3.SQLITE_IOERR: "check the disk: the operating system reports an input/output error",
}

_BUSY_CODES = frozenset({sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED})

Synchronous = Literal["FULL", "NORMAL"]
Row = tuple[Any, ...]


class Database:
    """One SQLite file in WAL mode. Each thread that uses it gets a connection of its own, so one thread may commit while
    another reads; a reader sees the last committed state. `corrupt_remedy` is said where the file is damaged.

    Raises StateProblem, and only that, for whatever the disk does.
    """

    def __init__(self, path: Path, synchronous: Synchronous, corrupt_remedy: str, *, busy: float = BUSY) -> None:
        """`busy`: seconds to wait for another process that has the file locked."""
        self.path = path
        self._busy = busy
        self._synchronous = synchronous
        self._corrupt_remedy = corrupt_remedy
        self._local = threading.local()
        self._guard = threading.Lock()
        self._connections: list[sqlite3.Connection] = []
        self._closed = False
        self._same = SameFile(path, BESIDE)

    @property
    def replaced(self) -> str:
        """What happened to the file since it was opened, if it is not the same any more: then nothing is committed to it."""
        with suppress(StateReplaced, OSError):
            self._same.require()
        return self._same.changed

    def forsake(self, what: str) -> None:
        """Commit nothing more, for good: `what` shows that the file's content is not what this process wrote."""
        self._same.forsake(what)

    def read(self, sql: str, parameters: Sequence[object] = ()) -> list[Row]:
        """All rows of one query."""
        try:
            return self._connection().execute(sql, parameters).fetchall()
        except sqlite3.Error as error:
            raise self.problem(error) from error

    def read_one(self, sql: str, parameters: Sequence[object] = ()) -> Row | None:
        """The first row of one query."""
        try:
            row: Row | None = self._connection().execute(sql, parameters).fetchone()
        except sqlite3.Error as error:
            raise self.problem(error) from error
        return row

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """One write transaction: everything or nothing. It takes the write lock first, so what it reads cannot change under it.

        On return the transaction is committed (with synchronous=FULL: on disk), to the file that lies at its path. Raises
        StateReplaced where it does not lie there any more.
        """
        connection = self._connection()
        try:
            connection.execute("BEGIN IMMEDIATE")
            try:
                self._require_same()
                yield connection
                # SECURITY: before the commit and after it: what was noted counts only in a file that will be found again.
                self._require_same()
                connection.execute("COMMIT")
                self._require_same()
            except BaseException:
                if connection.in_transaction:
                    connection.execute("ROLLBACK")
                raise
        except sqlite3.Error as error:
            raise self.problem(error) from error

    def _require_same(self) -> None:
        try:
            self._same.require()
        except OSError as error:
            remedy = "check its disk and directory: without seeing the file nothing is committed to it"
            raise StateProblem(f"{self.path}: {error.strerror}", remedy) from error

    def probe(self) -> None:
        """Write some pages and commit them: whether the file takes new entries now, down to the disk.

        Raises StateProblem where it does not.
        """
        with self.transaction() as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS probe (id INTEGER PRIMARY KEY, filler BLOB NOT NULL) STRICT")
            # The new row before the old one goes: written over the old one's pages it would find room where an entry finds none.
            added = connection.execute("INSERT INTO probe (filler) VALUES (randomblob(?))", (_PROBE_BYTES,)).lastrowid
            connection.execute("DELETE FROM probe WHERE id <> ?", (added,))

    def changes(self) -> tuple[int, int]:
        """Differs from an earlier answer of this thread where anything was committed since, by any process: costs no read."""
        row = self.read_one("PRAGMA data_version")
        assert row is not None
        return int(row[0]), self._connection().total_changes

    def check(self) -> None:
        """Read the whole file for damage. Costs a pass over the file."""
        for (finding,) in self.read("PRAGMA quick_check(1)"):
            if finding != "ok":
                raise StateProblem(f"{self.path} is damaged ({finding})", self._corrupt_remedy)

    def close(self) -> None:
        """Close the connections of all threads. No other thread may be using them."""
        with self._guard:
            self._closed = True
            for connection in self._connections:
                connection.close()
            self._connections.clear()

    def problem(self, error: sqlite3.Error) -> StateProblem:
        """The error in the words of a person who has to mend it."""
        code = getattr(error, "sqlite_errorcode", 0) & _PRIMARY_CODE
        if code in _BUSY_CODES:
            remedy = f"another process holds the file for too long{_named(holders_of(self.path))}: find out which, and stop it"
            return StateBusy(f"{self.path}: {error}", remedy)
        return StateProblem(f"{self.path}: {error}", _REMEDIES.get(code, self._corrupt_remedy))

    def _connection(self) -> sqlite3.Connection:
        connection: sqlite3.Connection | None = getattr(self._local, "connection", None)
        if connection is None or self._closed:
            connection = self._local.connection = self._connect()
        return connection

    def _connect(self) -> sqlite3.Connection:
        with self._guard:
            if self._closed:
                raise StateProblem(f"{self.path} is closed", "open the state again")
            self._note_file(missing_ok=True)
            try:
                # `check_same_thread` is off for `close` alone: no connection is used by two threads.
                connection = sqlite3.connect(self.path, timeout=self._busy, isolation_level=None, check_same_thread=False)
            except sqlite3.Error as error:
                raise self.problem(error) from error
            try:
                connection.execute("PRAGMA journal_mode=WAL")
                connection.execute(f"PRAGMA synchronous={self._synchronous}")
                connection.execute("PRAGMA fullfsync=1")
                connection.execute("PRAGMA foreign_keys=1")
                # SECURITY: without it a REPLACE deletes past the triggers that forbid deleting.
                connection.execute("PRAGMA recursive_triggers=1")
            except sqlite3.Error as error:
                connection.close()
                raise self.problem(error) from error
            try:
                self._note_file(missing_ok=False)
            except BaseException:
                connection.close()
                raise
            make_files_private(self.path)
            self._connections.append(connection)
            return connection

    def _note_file(self, *, missing_ok: bool) -> None:
        try:
            self._same.note()
        except FileNotFoundError as error:
            if not missing_ok:  # SQLite makes a ledger that is not there yet
                raise StateReplaced(f"{self.path} was removed while it was opened") from error
        except OSError as error:
            raise StateProblem(f"{self.path}: {error.strerror}", "check its disk and directory") from error


def _named(holders: Sequence[int]) -> str:
    return f" (process {', '.join(str(one) for one in holders)})" if holders else ""


def meta_of(database: Database) -> dict[str, str]:
    """The `meta` table: schema version, instance, the bridge it belongs to."""
    return {str(name): str(value) for name, value in database.read("SELECT name, value FROM meta")}


def require_schema(database: Database, meta: dict[str, str], version: int) -> None:
    """Refuse a file that another version of this software wrote."""
    if meta.get("schema") != str(version):
        raise StateProblem(
            f"{database.path} has schema {meta.get('schema', 'none')}, this version reads {version}",
            "run the version that wrote it, or the one whose changelog says that it migrates it",
        )
