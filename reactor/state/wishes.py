"""What an operator asks of the running validator, left in its own ledger: documents to take up again, blocks to read again.

Any process on this disk may ask; the validator finds it within seconds, or at its next start. Both are harmless: a document that
is looked at again is judged as ever, and blocks that are read again change nothing that was final.
"""

from collections.abc import Collection
from dataclasses import dataclass
from sqlite3 import Connection

from reactor.state.database import Database

WISH_TABLES = (
    """CREATE TABLE IF NOT EXISTS retries (
      collection TEXT NOT NULL, document TEXT NOT NULL, PRIMARY KEY (collection, document)
    ) STRICT""",
    """CREATE TABLE IF NOT EXISTS rescans (
      id INTEGER PRIMARY KEY, chain TEXT NOT NULL, next INTEGER NOT NULL, last INTEGER NOT NULL
    ) STRICT""",
)
_MOST = 1000


@dataclass(frozen=True, slots=True)
class Rescan:
    """Blocks of one chain that are to be read again: from `next` to `last`, both included."""

    id: int
    chain: str
    next: int
    last: int


class Wishes:
    """Part of the ledger."""

    _db: Database

    def ask_retry(self, documents: list[tuple[str, str]], counters: list[str]) -> None:
        """Have documents (collection, `_id` as hex) looked at at once; `counters` of repairs start anew."""
        with self._db.transaction() as connection:
            for statement in WISH_TABLES:
                connection.execute(statement)
            connection.executemany("DELETE FROM repairs WHERE document = ?", [(one,) for one in counters])
            connection.executemany("INSERT OR IGNORE INTO retries VALUES (?, ?)", documents)

    def take_retries(self) -> list[tuple[str, str]]:
        """What was asked for, once: (collection, `_id` as hex)."""
        if self._db.read_one("SELECT 1 FROM retries LIMIT 1") is None:
            return []
        with self._db.transaction() as connection:
            rows = connection.execute("SELECT collection, document FROM retries LIMIT ?", (_MOST,)).fetchall()
            connection.executemany("DELETE FROM retries WHERE collection = ? AND document = ?", rows)
        return [(str(collection), str(document)) for collection, document in rows]

    def repaired(self) -> dict[str, int]:
        """How often this validator repaired which document (`collection:event`), all that it ever repaired."""
        return {str(document): int(count) for document, count in self._db.read("SELECT document, count FROM repairs")}

    def ask_rescan(self, chain: str, first: int, last: int) -> int:
        """Have the blocks `first` to `last` of `chain` read again; the request's number. Nothing is forgotten meanwhile."""
        if not 0 < first <= last:
            raise ValueError(f"blocks {first} to {last}: need 0 < first <= last")
        with self._db.transaction() as connection:
            for statement in WISH_TABLES:
                connection.execute(statement)
            cursor = connection.execute("INSERT INTO rescans (chain, next, last) VALUES (?, ?, ?)", (chain, first, last))
            return int(cursor.lastrowid or 0)

    def next_rescan(self, chain: str, apart_from: Collection[int] = ()) -> Rescan | None:
        """The oldest request that is not done and has none of these numbers."""
        rows = self._db.read("SELECT id, chain, next, last FROM rescans WHERE chain = ? ORDER BY id", (chain,))
        return next((Rescan(*row) for row in rows if row[0] not in apart_from), None)

    def rescanned(self, wish: Rescan, up_to: int) -> None:
        """Its blocks are read up to this one; done if that is the last."""
        with self._db.transaction() as connection:
            _advance(connection, wish, up_to)

    def put_off(self, wish: Rescan, up_to: int) -> int:
        """Its blocks up to this one are to be read later, as a request of their own; that one's number."""
        with self._db.transaction() as connection:
            values = (wish.chain, wish.next, min(up_to, wish.last))
            later = connection.execute("INSERT INTO rescans (chain, next, last) VALUES (?, ?, ?)", values).lastrowid
            _advance(connection, wish, up_to)
            return int(later or 0)

    def counts_between(self, first: int, last: int) -> dict[str, int]:
        """How many events of each kind lie in these blocks."""
        rows = self._db.read("SELECT kind, count(*) FROM events WHERE height BETWEEN ? AND ? GROUP BY kind", (first, last))
        return {str(kind): int(count) for kind, count in rows}


def _advance(connection: Connection, wish: Rescan, up_to: int) -> None:
    if up_to >= wish.last:
        connection.execute("DELETE FROM rescans WHERE id = ?", (wish.id,))
    else:
        connection.execute("UPDATE rescans SET next = ? WHERE id = ?", (up_to + 1, wish.id))
