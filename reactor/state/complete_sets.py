"""Complete return transactions: the first complete set is kept, and only those bytes are ever submitted."""

from dataclasses import dataclass

from reactor.state.database import Database
from reactor.state.holds import Clock


@dataclass(frozen=True, slots=True)
class InFlight:
    """One submitted return that is in no block yet. `amount` and `fee` in upokt; `submitted_at` in seconds since the epoch."""

    event: str
    attempt: int
    amount: int
    fee: int
    submitted_at: int


class CompleteSets:
    """Part of the journal: what was completed and submitted."""

    _db: Database
    _clock: Clock

    def complete_set(self, event: str, attempt: int, raw: bytes, amount: int = 0, fee: int = 0) -> bytes:
        """Keep `raw`, the complete signed transaction, unless one is kept already; returns the one to submit.

        SECURITY: Ed25519 signatures can be re-made and a set re-wrapped under another hash; only the first set of an attempt
        is ever submitted, so that one attempt is one transaction hash.
        """
        with self._db.transaction() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO complete_sets (event, attempt, raw, amount, fee, at) VALUES (?, ?, ?, ?, ?, ?)",
                (event, attempt, raw, str(amount), str(fee), int(self._clock())),
            )
            row = connection.execute("SELECT raw FROM complete_sets WHERE event = ? AND attempt = ?", (event, attempt)).fetchone()
            return bytes(row[0])

    def complete(self, event: str, attempt: int) -> bytes | None:
        """The transaction kept for this attempt, if the set was ever complete here."""
        row = self._db.read_one("SELECT raw FROM complete_sets WHERE event = ? AND attempt = ?", (event, attempt))
        return bytes(row[0]) if row else None

    def submitted(self, event: str, attempt: int, at: int) -> None:
        """Note the first submission (`at`: seconds since the epoch). From now until `included` its amount is in flight."""
        with self._db.transaction() as connection:
            connection.execute(
                "UPDATE complete_sets SET submitted_at = ? WHERE event = ? AND attempt = ? AND submitted_at IS NULL",
                (at, event, attempt),
            )

    def included(self, event: str, attempt: int) -> None:
        """Note that the return is in a block, successful or not: the vault's balance shows it, it is no longer in flight."""
        with self._db.transaction() as connection:
            connection.execute(
                "UPDATE complete_sets SET included_at = ? WHERE event = ? AND attempt = ? AND included_at IS NULL",
                (int(self._clock()), event, attempt),
            )

    def in_flight(self) -> list[InFlight]:
        """The returns that were submitted and are in no block yet, oldest first."""
        rows = self._db.read(
            "SELECT event, attempt, amount, fee, submitted_at FROM complete_sets"
            " WHERE submitted_at IS NOT NULL AND included_at IS NULL ORDER BY submitted_at, event, attempt"
        )
        return [InFlight(event, attempt, int(amount), int(fee), at) for event, attempt, amount, fee, at in rows]

    def in_flight_total(self, besides: str | None = None) -> int:
        """What the returns in flight will take from the vault (amounts and fees, upokt), without those of event `besides`."""
        return sum(one.amount + one.fee for one in self.in_flight() if one.event != besides)
