"""What an operator or the validator itself has stopped: holds and pauses, with their history. Each validator's own."""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from sqlite3 import Connection
from typing import Literal

from reactor.documents.reasons import Ends, HoldReason
from reactor.state.database import Database, Row
from reactor.state.limits import LIMIT_REASONS, Limits, Over, Tally
from reactor.state.problems import StateProblem

Direction = Literal["mint", "payout"]
Clock = Callable[[], float]

SIGNING = "signing"
"""The scope that stops every signature of this validator."""

PAUSED = HoldReason.PAUSED.value
"""The reason of a pause. Every other reason is a hold."""

_COLUMNS = "id, scope, reason, subject, detail, by, at, released_by, released_at, released_why"


def direction_scope(direction: Direction) -> str:
    return f"direction:{direction}"


def recipient_scope(recipient: str) -> str:
    return f"recipient:{recipient}"


def event_scope(event: str) -> str:
    return f"event:{event}"


@dataclass(frozen=True, slots=True)
class Hold:
    """One hold or pause. Times are whole seconds since the epoch, UTC; the `released_*` are None while it is active."""

    id: int
    scope: str
    reason: str
    subject: str
    detail: str
    by: str
    at: int
    released_by: str | None
    released_at: int | None
    released_why: str | None

    @property
    def ends(self) -> Ends:
        """How it ends; what another version of this program held, by its release."""
        known = HoldReason.of_code(self.reason)
        return Ends.RELEASED if known is None else known.ends


def ending(hold: Hold) -> str:
    """The command that ends a hold or pause, as it is typed; of a lost journal, where it is written what comes before that.

    SECURITY: released because an old copy was put back, a lost journal would sign again what it does not remember.
    """
    if hold.ends is Ends.AFTER_READING:
        return 'see reactor/state/README.md, "A lost journal"'
    command = f"resume {hold.scope.removeprefix('direction:')}" if hold.ends is Ends.RESUMED else f"release {hold.scope}"
    return f"reactor {command} --apply --why '…'"


@dataclass(frozen=True, slots=True)
class Attempt:
    """A further attempt of a payout that an operator allowed. `number` grows with each; `at` as in `Hold`."""

    number: int
    event: str
    attempt: int
    by: str
    at: int
    why: str


def active_hold(
    read: Callable[[str, tuple[object, ...]], Row | None],
    event: str,
    direction: Direction,
    recipient: str,
    besides: tuple[str, ...] = (),
) -> Hold | None:
    """The oldest active hold that stops signing for this event, of another reason than `besides`.

    `read` runs the query, inside a transaction or outside.
    """
    scopes = (SIGNING, direction_scope(direction), event_scope(event), recipient_scope(recipient))
    left_out = f" AND reason NOT IN ({', '.join('?' * len(besides))})" if besides else ""
    query = f"SELECT {_COLUMNS} FROM holds WHERE released_at IS NULL AND scope IN (?, ?, ?, ?){left_out} ORDER BY id LIMIT 1"  # noqa: S608
    row = read(query, (*scopes, *besides))
    return Hold(*row) if row else None


class Holds:
    """Holds, pauses and releases; a part of the journal. Any process on this disk may write them, while the validator runs."""

    _db: Database
    _clock: Clock
    _limits: Limits | None = None
    _shown: tuple[int, Tally] = (0, {})

    def limit(self, limits: Limits) -> None:
        """Put limits in force for what is signed from now on. Without any, what an earlier limit holds stays held."""
        with self._db.transaction() as connection:
            limits.prepare(connection)
        self._limits = limits

    def hold(self, scope: str, reason: str, detail: str, by: str, subject: str = "", instead_of: str = "") -> int:
        """Hold `scope` ("signing", "recipient:<address>", "event:<key>"); returns the hold's id.

        `subject` names what gave rise to it (say the hash of an unexplained transaction). The same (scope, reason, subject) is
        one hold: raised again it stays as it is, and once released by a person it is not raised again. Without a subject
        (an operator's own hold) only an active one is the same.

        `instead_of`: how the subjects begin of which one hold at a time is enough: an active one takes this subject and detail
        over. Without it whoever invents subjects could have a hold made of each. What was released before stays released.
        """
        with self._db.transaction() as connection:
            if instead_of:
                self._retell_hold(connection, scope, reason, detail, subject, instead_of)
            return self._note_hold(connection, scope, reason, detail, by, subject)

    @staticmethod
    def _retell_hold(connection: Connection, scope: str, reason: str, detail: str, subject: str, instead_of: str) -> None:
        same = (scope, reason)
        if connection.execute("SELECT 1 FROM holds WHERE scope = ? AND reason = ? AND subject = ?", (*same, subject)).fetchone():
            return
        connection.execute(
            "UPDATE holds SET subject = ?, detail = ? WHERE id = (SELECT max(id) FROM holds WHERE scope = ? AND reason = ?"
            " AND released_at IS NULL AND substr(subject, 1, length(?)) = ?)",
            (subject, detail, *same, instead_of, instead_of),
        )

    def _note_hold(self, connection: Connection, scope: str, reason: str, detail: str, by: str, subject: str) -> int:
        row = connection.execute(
            "SELECT id FROM holds WHERE scope = ? AND reason = ? AND subject = ? AND (released_at IS NULL OR subject <> '')",
            (scope, reason, subject),
        ).fetchone()
        if row:
            return int(row[0])
        cursor = connection.execute(
            "INSERT INTO holds (scope, reason, subject, detail, by, at) VALUES (?, ?, ?, ?, ?, ?)",
            (scope, reason, subject, detail, by, self._now()),
        )
        return int(cursor.lastrowid or 0)

    def release(self, scope: str | int, by: str, why: str) -> int:
        """Release one hold by its id, or all active ones of a scope. Returns how many were active."""
        column: Literal["id", "scope"] = "id" if isinstance(scope, int) else "scope"
        with self._db.transaction() as connection:
            return self._end_holds(connection, column, scope, by, why)

    def release_shown(self, shown: Sequence[Hold], by: str, why: str) -> int:
        """Release holds that a person has seen as `shown`, all or none. Returns how many were active still.

        SECURITY: another text may have taken the place of the one that was seen (`hold`, `instead_of`), and what is released is
        accepted for good: what nobody has seen is not. Raises StateProblem where one tells something else now.
        """
        with self._db.transaction() as connection:
            for one in shown:
                query = "SELECT subject, detail FROM holds WHERE id = ? AND released_at IS NULL"
                row = connection.execute(query, (one.id,)).fetchone()
                if row is not None and row != (one.subject, one.detail):
                    raise StateProblem(
                        f"nothing was released: hold {one.id} on {one.scope} tells something else now than when it was looked at",
                        "look again what it tells (`reactor journal show`), and release it once that is understood",
                    )
            return sum(self._end_holds(connection, "id", one.id, by, why) for one in shown)

    def _end_holds(self, connection: Connection, column: Literal["id", "scope"], value: str | int, by: str, why: str) -> int:
        return connection.execute(
            "UPDATE holds SET released_by = ?, released_at = ?, released_why = ?"  # noqa: S608 (a column name of ours)
            f" WHERE {column} = ? AND released_at IS NULL",
            (by, self._now(), why, value),
        ).rowcount

    def pause(self, direction: Direction, by: str, why: str = "") -> int:
        """Sign nothing of this direction until `resume`. Returns the id."""
        return self.hold(direction_scope(direction), PAUSED, why, by)

    def resume(self, direction: Direction, by: str, why: str = "") -> int:
        """End the pause of this direction; holds stay. Returns how many pauses ended."""
        active = [hold.id for hold in self.holds() if hold.scope == direction_scope(direction) and hold.reason == PAUSED]
        return sum(self.release(identifier, by, why) for identifier in active)

    def changes(self) -> object:
        """Differs from an earlier answer where anything was written since, by any process: a look that costs next to nothing."""
        return self._db.changes()

    def holds(self) -> list[Hold]:
        """The active holds and pauses, oldest first."""
        return [Hold(*row) for row in self._db.read(f"SELECT {_COLUMNS} FROM holds WHERE released_at IS NULL ORDER BY id")]  # noqa: S608

    def hold_history(self) -> list[Hold]:
        """All holds and pauses there ever were, oldest first."""
        return [Hold(*row) for row in self._db.read(f"SELECT {_COLUMNS} FROM holds ORDER BY id")]  # noqa: S608

    def holds_after(self, number: int) -> list[Hold]:
        """The holds and pauses with a greater id, active or not, oldest first."""
        return [Hold(*row) for row in self._db.read(f"SELECT {_COLUMNS} FROM holds WHERE id > ? ORDER BY id", (number,))]  # noqa: S608

    def holds_of(self, numbers: Sequence[int]) -> list[Hold]:
        """The holds and pauses with these ids, active or not, oldest first."""
        query = f"SELECT {_COLUMNS} FROM holds WHERE id IN (SELECT value FROM json_each(?)) ORDER BY id"  # noqa: S608
        return [Hold(*row) for row in self._db.read(query, (json.dumps(list(numbers)),))] if numbers else []

    def newest_hold(self) -> int:
        """The id of the newest hold or pause, active or not; 0 if there never was one."""
        row = self._db.read_one("SELECT max(id) FROM holds")
        return int(row[0] or 0) if row else 0

    def attempts_after(self, number: int) -> list[Attempt]:
        """The attempts that operators allowed after the one with this number, oldest first."""
        rows = self._db.read("SELECT rowid, event, attempt, by, at, why FROM releases WHERE rowid > ? ORDER BY rowid", (number,))
        return [Attempt(*row) for row in rows]

    def held(self, event: str, direction: Direction, recipient: str = "") -> Hold | None:
        """The oldest active hold that would refuse a signature for this event: for showing; `sign_batch` asks again itself.

        What the limits hold is told by `over_limit`.
        """
        return active_hold(self._db.read_one, event, direction, recipient, self._judged_anew)

    def over_limit(self, event: str, direction: Direction) -> Over | None:
        """Why the limits hold this event, once they did: for showing; `sign_batch` judges by itself."""
        if self._limits is None:
            return None
        query = "SELECT 1 FROM holds WHERE scope = ? AND released_at IS NULL AND reason IN (?, ?) LIMIT 1"
        if self._db.read_one(query, (event_scope(event), *LIMIT_REASONS)) is None:
            return None
        now = self._now()
        if self._shown[0] != now:  # many documents are shown in one second: the window is summed up once for all
            self._shown = (now, {})
        return self._limits.over(self._db.read, event, direction, now, self._shown[1])

    @property
    def _judged_anew(self) -> tuple[str, ...]:
        """The holds that do not count by being there: their limits are asked each time."""
        return LIMIT_REASONS if self._limits is not None else ()

    def release_attempt(self, event: str, by: str, why: str = "", attempt: int | None = None) -> int:
        """Allow signing attempt `attempt` of a payout whose earlier return failed in a block. Returns the attempt allowed.

        Without a number: the one after the last that was signed here; so a verb given twice allows no more than once.
        """
        with self._db.transaction() as connection:
            if attempt is None:
                (last,) = connection.execute("SELECT max(attempt) FROM signatures WHERE event = ?", (event,)).fetchone()
                attempt = (last or 0) + 1
            connection.execute(
                "INSERT OR IGNORE INTO releases (event, attempt, by, at, why) VALUES (?, ?, ?, ?, ?)",
                (event, attempt, by, self._now(), why),
            )
            return attempt

    def releases(self, event: str) -> int:
        """The highest attempt of this event that an operator allowed; 0 if none was released."""
        row = self._db.read_one("SELECT max(attempt) FROM releases WHERE event = ?", (event,))
        return int(row[0] or 0) if row else 0

    def _now(self) -> int:
        return int(self._clock())
