"""The signing journal: what this validator has signed. It cannot be rebuilt (TRUST.md, rules 3 and 14).

Every method is synchronous and safe to call from any thread: each thread has a connection of its own. `sign_batch` costs one
disk sync, so callers batch and run it in one worker thread, while the event loop reads.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from sqlite3 import Connection
from time import time
from typing import Any, Literal, Self

from reactor.documents.bridge import Bridge
from reactor.state.complete_sets import CompleteSets
from reactor.state.database import BUSY, Database, meta_of, require_schema
from reactor.state.holds import PAUSED, Clock, Direction, active_hold, event_scope
from reactor.state.journal_file import CORRUPT_REMEDY, JOURNAL_FILE, JOURNAL_SCHEMA, create_journal
from reactor.state.limits import Tally
from reactor.state.problems import JournalMissing, StateProblem, StateReplaced
from reactor.state.unsent import UnsentAudits
from reactor.state.verdicts import Allowed, Refusal, Refused, Verdict

Outcome = Literal["mint", "payout", "objection"]
Chain = Literal["pocket", "ethereum"]
_DIGEST_BYTES = 32


@dataclass(frozen=True, slots=True)
class JournalEntry:
    """What is about to be signed. `event`: the source event's key; `digest`: the 32 bytes hash of what is signed.

    `slot` is what must belong to one event only (see `documents.keys.nonce_slot`); `chain` and `height` are the source
    event's; `direction` is the one whose pause stops it; `recipient` the address whose hold stops it ("" for none).
    """

    event: str
    outcome: Outcome
    attempt: int
    digest: bytes
    slot: str | None
    chain: Chain
    height: int
    direction: Direction
    recipient: str = ""

    def __post_init__(self) -> None:
        if len(self.digest) != _DIGEST_BYTES:
            raise ValueError(f"digest: {len(self.digest)} bytes, must be the {_DIGEST_BYTES} bytes hash of what is signed")
        if self.attempt < 0 or not self.event:
            raise ValueError(f"attempt {self.attempt} of event {self.event!r}: need a key and an attempt from 0")


@dataclass(frozen=True, slots=True)
class JournalRow:
    """What was signed; `at` in seconds since the epoch. The other fields are the entry's."""

    event: str
    outcome: str
    attempt: int
    digest: bytes
    slot: str | None
    chain: str
    height: int
    direction: str
    recipient: str
    at: int


_OVER = {one.wait: one for one in Refusal if one.of_limits}
_COLUMNS = "event, outcome, attempt, digest, slot, chain, height, direction, recipient, at"


class Journal(UnsentAudits, CompleteSets):
    """The open journal of one validator for one bridge."""

    def __init__(self, database: Database, bridge: Bridge, clock: Clock) -> None:
        self._db = database
        self._clock = clock
        meta = meta_of(database)
        require_schema(database, meta, JOURNAL_SCHEMA)
        # SECURITY: the journal of another bridge knows nothing of this one's signatures.
        for field, own in (("pocket_scope", bridge.pocket_scope), ("ethereum_scope", bridge.ethereum_scope)):
            if meta.get(field) != own:
                raise StateProblem(
                    f"{database.path} belongs to {meta.get(field)}, not to {own}",
                    "point the state directory to this bridge's journal",
                )
        self._newest: tuple[int, bytes] | None = None
        self.instance: str = meta["instance"]
        """Random name of this journal, made with it."""
        self.created_at = int(meta["created_at"])
        """When it was made, in seconds since the epoch."""
        self.heights: dict[str, int] = {"pocket": int(meta["pocket_height"]), "ethereum": int(meta["ethereum_height"])}
        """The heads when the journal was made: events up to here may have been signed by a journal before it."""

    @classmethod
    def open(cls, directory: Path, bridge: Bridge, clock: Clock = time, *, busy: float = BUSY) -> Self:
        """Open the journal in `directory`. Raises JournalMissing, StateBusy where another process has it locked for longer than
        `busy` seconds, or StateProblem (damaged, of another bridge, read-only).
        """
        path = directory / JOURNAL_FILE
        if not path.exists():
            raise JournalMissing(path)
        database = Database(path, "FULL", CORRUPT_REMEDY, busy=busy)
        try:
            database.check()
            return cls(database, bridge, clock)
        except BaseException:
            database.close()
            raise

    @classmethod
    def create(
        cls, directory: Path, bridge: Bridge, heights: Mapping[str, int], *, allow_older: bool = False, clock: Clock = time
    ) -> Self:
        """Make a new journal. `heights`: the heads of "pocket" and "ethereum" at this moment. Raises StateProblem if one exists.

        It signs nothing for events at or below these heights, unless `allow_older`: say so only if this validator has
        certainly never signed for this bridge.
        """
        create_journal(directory / JOURNAL_FILE, bridge, heights, allow_older=allow_older, at=int(clock()))
        return cls.open(directory, bridge, clock)

    def sign_batch(self, entries: Sequence[JournalEntry]) -> list[Verdict]:
        """Ask for each entry, in order, whether it may be signed, and note those that may: one transaction, one disk sync.

        Only after this returned may a signature be made or leave the process. Raises StateProblem (then nothing was noted
        and nothing may be signed).
        """
        if not entries:
            return []
        with self._db.transaction() as connection:
            self._require_going_on(connection)
            allow_older = self._allows_older(connection)
            tally: Tally = {}
            self._shown = (0, {})
            verdicts = [self._judge(connection, entry, tally, allow_older=allow_older) for entry in entries]
            newest = connection.execute("SELECT id, digest FROM signatures ORDER BY id DESC LIMIT 1").fetchone()
        self._newest = (int(newest[0]), bytes(newest[1])) if newest else self._newest
        return verdicts

    def _require_going_on(self, connection: Connection) -> None:
        """SECURITY: the file may be the same and its content another's: an older copy written into it knows less than was signed.

        Raises StateReplaced, from then on always.
        """
        row = connection.execute("SELECT value FROM meta WHERE name = 'instance'").fetchone()
        if row is None or row[0] != self.instance:
            self._db.forsake("holds another journal than the one that this process opened")
        elif self._newest is not None:
            number, digest = self._newest
            known = connection.execute("SELECT digest FROM signatures WHERE id = ?", (number,)).fetchone()
            if known is None or bytes(known[0]) != digest:
                self._db.forsake("no longer holds the last signature that this process noted: an older copy was written into it")
        if why := self._db.replaced:
            raise StateReplaced(why)

    @property
    def replaced(self) -> str:
        """What happened to the file since it was opened, if it is not the same any more: then this process signs nothing."""
        return self._db.replaced

    def _judge(self, connection: Connection, entry: JournalEntry, tally: Tally, *, allow_older: bool) -> Verdict:
        refused = self._stopped(connection, entry, allow_older=allow_older)
        if refused:
            return refused
        bound = connection.execute("SELECT outcome, attempt, digest FROM signatures WHERE event = ?", (entry.event,)).fetchall()
        for outcome, attempt, digest in bound:
            # SECURITY: one event, one outcome: who signed a mint never signs a refund, who objected never signs.
            if outcome != entry.outcome:
                return Refused(Refusal.CONFLICT, f"{entry.event}: {outcome} was signed, {entry.outcome} is asked")
            # SECURITY: one attempt, one digest: a second one could be paid or minted beside the first.
            if attempt == entry.attempt and bytes(digest) != entry.digest:
                return Refused(Refusal.CONFLICT, f"{entry.event}: attempt {attempt} was signed as {bytes(digest).hex()}")
            if attempt == entry.attempt:
                return Allowed(again=True)
        return self._bind(connection, entry, tally)

    def _bind(self, connection: Connection, entry: JournalEntry, tally: Tally) -> Verdict:
        # SECURITY: TRUST.md, rule 12. An earlier attempt's signature stays valid for ever; only a person knows that it is spent.
        (released,) = connection.execute("SELECT max(attempt) FROM releases WHERE event = ?", (entry.event,)).fetchone()
        if entry.attempt > (released or 0):
            return Refused(Refusal.UNRELEASED, f"{entry.event}: attempt {entry.attempt} waits for an operator's release")
        if over := self._beyond_limits(connection, entry, tally):
            return over
        if entry.slot is not None:
            # SECURITY: one nonce of a recipient mints one deposit: a slot never moves to another event.
            owner = connection.execute("SELECT event FROM slots WHERE slot = ?", (entry.slot,)).fetchone()
            if owner and owner[0] != entry.event:
                return Refused(Refusal.SLOT_TAKEN, f"{entry.slot} belongs to {owner[0]}")
            connection.execute("INSERT OR IGNORE INTO slots (slot, event) VALUES (?, ?)", (entry.slot, entry.event))
        values = (entry.event, entry.outcome, entry.attempt, entry.digest, entry.slot, entry.chain, entry.height)
        connection.execute(
            f"INSERT INTO signatures ({_COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",  # noqa: S608
            (*values, entry.direction, entry.recipient, self._now()),
        )
        if self._limits is not None and entry.outcome != "objection":
            self._limits.passed(connection, entry.event, entry.direction, self._now(), tally)
        return Allowed()

    def _beyond_limits(self, connection: Connection, entry: JournalEntry, tally: Tally) -> Refused | None:
        """A first signature that the limits hold. An objection moves nothing; a later attempt was released by a person."""
        if self._limits is None or entry.outcome == "objection" or entry.attempt > 0:
            return None

        def read(sql: str, parameters: tuple[object, ...]) -> list[tuple[Any, ...]]:
            return connection.execute(sql, parameters).fetchall()

        # SECURITY: judged in the transaction that notes the signature, so that many at once cannot pass the window together.
        over = self._limits.over(read, entry.event, entry.direction, self._now(), tally)
        if over is None:
            return None
        if over.hold is not None:
            self._note_hold(connection, event_scope(entry.event), over.hold.value, over.detail, "validator", entry.event)
        return Refused(_OVER[over.wait], f"{entry.event}: {over.detail}")

    def _stopped(self, connection: Connection, entry: JournalEntry, *, allow_older: bool) -> Refused | None:
        def read(sql: str, parameters: tuple[object, ...]) -> tuple[Any, ...] | None:
            row: tuple[Any, ...] | None = connection.execute(sql, parameters).fetchone()
            return row

        # SECURITY: read inside the transaction that notes the signature: a hold written before it stops it, from any process.
        hold = active_hold(read, entry.event, entry.direction, entry.recipient, self._judged_anew)
        if hold:
            reason = Refusal.PAUSED if hold.reason == PAUSED else Refusal.HELD
            return Refused(reason, f"{hold.scope}: {hold.reason} by {hold.by} {hold.detail}".rstrip())
        # SECURITY: what this journal's predecessor signed is unknown, so nothing is signed for events of its time.
        if not allow_older and not self.covers(entry.chain, entry.height):
            noted = self.heights[entry.chain]
            return Refused(Refusal.OLDER_THAN_JOURNAL, f"{entry.chain} height {entry.height} is not above the journal's {noted}")
        return None

    def covers(self, chain: str, height: int) -> bool:
        """Whether the event is newer than the journal, so that every own signature over it must be known here.

        SECURITY: a valid signature of one's own for a covered event that `signed` does not show means a lost journal or a
        second process with the same key.
        """
        return height > self.heights[chain]

    def allow_older(self, by: str) -> None:
        """Sign for events older than the journal too, from now on. Only right where this validator has never signed before."""
        with self._db.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO meta VALUES ('allow_older', '1'), ('allow_older_by', ?)", (by,))

    def knows(self, event: str, outcome: Outcome, attempt: int) -> bytes | None:
        """The digest noted for this attempt, if it was signed with this outcome."""
        query = "SELECT digest FROM signatures WHERE event = ? AND attempt = ? AND outcome = ?"
        row = self._db.read_one(query, (event, attempt, outcome))
        return bytes(row[0]) if row else None

    def signed(self, event: str) -> list[JournalRow]:
        """All that was signed for this event, by attempt."""
        query = f"SELECT {_COLUMNS} FROM signatures WHERE event = ? ORDER BY attempt"  # noqa: S608
        return [JournalRow(*row) for row in self._db.read(query, (event,))]

    def last_signature_at(self) -> int | None:
        """When the newest entry was noted, in seconds since the epoch, by the clock of that time."""
        row = self._db.read_one("SELECT at FROM signatures ORDER BY id DESC LIMIT 1")
        return int(row[0]) if row else None

    def signed_at(self, second: int) -> bool:
        """Whether an entry was noted in this second since the epoch. Reads the whole table."""
        return self._db.read_one("SELECT 1 FROM signatures WHERE at = ?", (second,)) is not None

    def export(self) -> dict[str, Any]:
        """Everything as JSON values: for operators and for comparing journals. Heights and amounts as decimal strings."""
        rows = self._db.read(f"SELECT {_COLUMNS} FROM signatures ORDER BY id")  # noqa: S608
        sets = self._db.read(
            "SELECT event, attempt, raw, amount, fee, at, submitted_at, included_at FROM complete_sets ORDER BY at"
        )
        names = ("event", "attempt", "raw", "amount", "fee", "at", "submitted_at", "included_at")
        return {
            "meta": meta_of(self._db),
            "signatures": [
                {**asdict(row), "digest": row.digest.hex(), "height": str(row.height)} for row in (JournalRow(*r) for r in rows)
            ],
            "complete_sets": [{**dict(zip(names, row, strict=True)), "raw": bytes(row[2]).hex()} for row in sets],
            "holds": [asdict(hold) for hold in self.hold_history()],
            "releases": [
                dict(zip(("event", "attempt", "by", "at", "why"), row, strict=True))
                for row in self._db.read("SELECT event, attempt, by, at, why FROM releases ORDER BY at, event, attempt")
            ],
        }

    def probe(self) -> None:
        """Whether a signature could be noted now: writes to the file as `sign_batch` does. Raises StateProblem if not."""
        self._db.probe()

    def close(self) -> None:
        """Close the connections of all threads; call when none is using the journal any more."""
        self._db.close()

    @property
    def allows_older(self) -> bool:
        """Whether it signs for events older than itself."""
        return meta_of(self._db).get("allow_older") == "1"

    @staticmethod
    def _allows_older(connection: Connection) -> bool:
        row = connection.execute("SELECT value FROM meta WHERE name = 'allow_older'").fetchone()
        return bool(row) and row[0] == "1"
