"""How far each chain was read a second time: a safety net beside the cursors, on which nothing waits and no nonce rests.

A chain has one stretch that goes on with its head, and at first another one: all that was read before. Both are worked off in
turns, so that what is new is read again soon, however long the past is.
"""

from dataclasses import dataclass
from sqlite3 import Connection

from reactor.state.database import Database

SECOND_TABLES = (
    """CREATE TABLE IF NOT EXISTS second_readings (
      id INTEGER PRIMARY KEY, chain TEXT NOT NULL, next INTEGER NOT NULL, last INTEGER
    ) STRICT""",
)


@dataclass(frozen=True, slots=True)
class Stretch:
    """Blocks of one chain that are to be read a second time, from `next` on; to `last`, or (None) with the chain's head."""

    id: int
    chain: str
    next: int
    last: int | None


class SecondReadings:
    """Part of the ledger."""

    _db: Database

    def begin_second(self, chain: str, start: int, reached: int) -> None:
        """Note what is to be read a second time where nothing is noted: all after block `reached`, and `start` to `reached`."""
        if self.second_stretches(chain):
            return
        with self._db.transaction() as connection:
            connection.execute("INSERT INTO second_readings (chain, next) VALUES (?, ?)", (chain, reached + 1))
            if start <= reached:
                connection.execute("INSERT INTO second_readings (chain, next, last) VALUES (?, ?, ?)", (chain, start, reached))

    def second_stretches(self, chain: str) -> list[Stretch]:
        """What is to be read a second time; the stretch that goes on with the head first."""
        query = "SELECT id, chain, next, last FROM second_readings WHERE chain = ? ORDER BY last IS NOT NULL, id"
        return [Stretch(*row) for row in self._db.read(query, (chain,))]

    def read_twice(self, stretch: Stretch, up_to: int) -> None:
        """This stretch is read up to this block; done if that is its last."""
        with self._db.transaction() as connection:
            if stretch.last is not None and up_to >= stretch.last:
                connection.execute("DELETE FROM second_readings WHERE id = ?", (stretch.id,))
            else:
                connection.execute("UPDATE second_readings SET next = ? WHERE id = ?", (up_to + 1, stretch.id))


def rewind_second(connection: Connection, chain: str, to: int | None) -> None:
    """What lies above block `to` (None: all) was not read a second time: it will be another chain's."""
    if to is None:
        connection.execute("DELETE FROM second_readings WHERE chain = ?", (chain,))
        return
    connection.execute("UPDATE second_readings SET next = ? WHERE chain = ? AND last IS NULL AND next > ?", (to + 1, chain, to))
    connection.execute("DELETE FROM second_readings WHERE chain = ? AND last IS NOT NULL AND next > ?", (chain, to))
    connection.execute("UPDATE second_readings SET last = ? WHERE chain = ? AND last > ?", (to, chain, to))
