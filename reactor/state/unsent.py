"""Audit entries of what was stopped, kept until they lie in the shared database: a stop must be possible while that is away.

An entry comes into being in the transaction of its stop, so that no stop goes untold, whatever ends the process.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from reactor.state.holds import Holds

MOST: int = 100
"""So many are handed out at once, the oldest first."""
_TABLE = "CREATE TABLE IF NOT EXISTS unsent_audits (id INTEGER PRIMARY KEY, entry TEXT NOT NULL) STRICT"
_THERE = "SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = 'unsent_audits'"


@dataclass(frozen=True, slots=True)
class Unsent:
    """One entry, as it is to lie in the audit collection, but for `_id`, which is 24 hex digits here."""

    number: int
    entry: dict[str, Any]


class UnsentAudits(Holds):
    """Part of the journal."""

    def stop(self, scopes: Sequence[str], reason: str, by: str, why: str, entry: Mapping[str, Any]) -> tuple[dict[str, int], int]:
        """Hold these scopes and keep the audit entry that tells of it; the holds' ids, and the number of the entry.

        `reason`: of the holds, or `PAUSED`. `entry`: texts, numbers and lists of texts, `at` a datetime.
        """
        with self._db.transaction() as connection:
            made = {scope: self._note_hold(connection, scope, reason, why, by, "") for scope in scopes}
            connection.execute(_TABLE)
            cursor = connection.execute("INSERT INTO unsent_audits (entry) VALUES (?)", (_text(entry),))
            return made, int(cursor.lastrowid or 0)

    def amend_audit(self, number: int, entry: Mapping[str, Any]) -> None:
        """Put the entry in the place of the one that was kept, unless that was sent."""
        with self._db.transaction() as connection:
            connection.execute("UPDATE unsent_audits SET entry = ? WHERE id = ?", (_text(entry), number))

    def unsent_audits(self) -> list[Unsent]:
        """What is still to be written, in the order of the stops."""
        if self._db.read_one(_THERE) is None:
            return []
        rows = self._db.read("SELECT id, entry FROM unsent_audits ORDER BY id LIMIT ?", (MOST,))
        return [Unsent(int(number), _entry(text)) for number, text in rows]

    def audits_sent(self, numbers: Sequence[int]) -> None:
        """These lie in the shared database."""
        if not numbers:
            return
        with self._db.transaction() as connection:
            connection.executemany("DELETE FROM unsent_audits WHERE id = ?", [(number,) for number in numbers])


def _text(entry: Mapping[str, Any]) -> str:
    return json.dumps({name: value.isoformat() if isinstance(value, datetime) else value for name, value in entry.items()})


def _entry(text: str) -> dict[str, Any]:
    entry: dict[str, Any] = json.loads(text)
    return {**entry, "at": datetime.fromisoformat(entry["at"])}
