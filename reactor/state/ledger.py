"""The ledger (TRUST.md, rule 0): what this validator's scanners saw on its own nodes. It can be rebuilt from the start blocks.

Every method is synchronous and safe to call from any thread (each has a connection of its own). Reads are single indexed
queries of tens of microseconds, fit for the event loop. Writes are one transaction each, without a disk sync of their own:
after a power cut the last ones may be missing, and the scanners read them again.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from sqlite3 import Connection
from typing import Generic, Self, TypeVar

from bson import ObjectId

from reactor.documents.bridge import Bridge
from reactor.documents.events import BlockRef, Burn, Deposit, Event, Minted, Returned
from reactor.documents.keys import burn_key, deposit_key, event_key
from reactor.state.created import EPOCH, header_milliseconds, moment
from reactor.state.database import BUSY, Database, Row
from reactor.state.ledger_file import open_ledger_file
from reactor.state.rows import EventKind, decode, encode, memo_bytes, mint_recipient
from reactor.state.second import SecondReadings, rewind_second
from reactor.state.windows import Cursor, Window, WindowResult, write_window
from reactor.state.wishes import Wishes

E = TypeVar("E", bound=Event)
E_co = TypeVar("E_co", bound=Event, covariant=True)


@dataclass(frozen=True, slots=True)
class Seen(Generic[E_co]):
    """An event of the ledger under its key. `final`: no later scan can take it back. `created`: see `state.created`."""

    event: E_co
    final: bool
    key: str
    created: datetime = EPOCH


_MOST_MARKS = 256
"""So many settled marks are written together. Those that a crash loses are looked at once more by a sweep."""
_MOST_BASES = 65_536


class Ledger(Wishes, SecondReadings):
    """The open ledger of one validator for one bridge. Only one process has it open for writing, as this class.

    What an operator asks of it (`Wishes`) comes from another.
    """

    def __init__(self, database: Database, bridge: Bridge) -> None:
        self._db = database
        self._bridge = bridge
        self._marks: dict[str, int] = {}
        self._cursors: dict[EventKind, Cursor | None] = {}
        self._bases: dict[str, int] = {}
        self.rewritten = 0
        """How often what was read for good was added to or taken back since this was opened: sums over it begin anew."""
        self.rewinds = 0
        """How often a chain was taken anew since this was opened: what was being read meanwhile may be of the old one."""

    @classmethod
    def open(cls, directory: Path, bridge: Bridge, *, busy: float = BUSY) -> Self:
        """Open the ledger in `directory`, made if missing. Raises StateProblem.

        With other start blocks than before it begins anew; with another schedule of fees or maximum all deposits are
        classified again.
        """
        return cls(open_ledger_file(directory, bridge, busy), bridge)

    def probe(self) -> None:
        """Whether events could be noted now: writes to the file as a window does. Raises StateProblem if not."""
        self._db.probe()

    @property
    def replaced(self) -> str:
        """What happened to the file since it was opened, if it is not the same any more: then nothing rests on it."""
        return self._db.replaced

    def close(self) -> None:
        """Close the connections of all threads; call when none is using the ledger any more."""
        try:
            self._write_marks()
        finally:
            self._db.close()

    # Windows

    def record_window(
        self, kind: EventKind, first: int, last: int, events: Sequence[Event], final: int, last_block: BlockRef | None = None
    ) -> WindowResult:
        """Bring the ledger to what the blocks `first` to `last` (both included) show of this kind, in one transaction.

        `events` is all of them, `final` the chain's final height. The cursor moves, forward only, to min(final, last); give the
        header of that block as `last_block` so that the cursor carries its hash. Events that are not final and no longer shown
        are dropped. Raises StateProblem if the window leaves a gap after the cursor (or the start block), FinalityViolated if
        a final event changed or is missing, ValueError for events of another kind or outside; then nothing was written.
        """
        window = Window(kind, first, last, events, final, last_block)
        # First, so that a change of the event undoes what was settled before it and not after.
        self._write_marks()
        self._cursors.pop(kind, None)
        with self._db.transaction() as connection:
            row = connection.execute("SELECT height, hash, time FROM cursors WHERE kind = ?", (kind.value,)).fetchone()
            before = Cursor(*row) if row else None
            result = write_window(connection, self._bridge, window, before)
            late = [event for event in (*result.new, *result.changed) if before is not None and event.height <= before.height]
            self._doubt(connection, late)
        if late:
            self.rewritten += 1
        return result

    def _doubt(self, connection: Connection, late: Sequence[Event]) -> None:
        """Forget what was concluded without these events, which are found only now.

        SECURITY: a base nonce that was reckoned without a `Minted` makes each nonce after it wrong. And what was taken for the
        source of a mint or return may be another's: its books are looked at again.
        """
        for event in late:
            match event:
                case Minted(recipient=recipient):
                    self._bases.pop(recipient, None)
                    connection.execute("DELETE FROM base_nonces WHERE recipient = ?", (recipient,))
                    self._doubt_mints(connection, recipient)
                case Deposit():
                    self._doubt_mints(connection, mint_recipient(self._bridge, event))
                case Returned(memo=memo):
                    connection.execute(
                        "UPDATE events SET explained = 0 WHERE kind = 'returned' AND memo = ?", (memo_bytes(memo),)
                    )

    def _doubt_mints(self, connection: Connection, recipient: str | None) -> None:
        connection.execute("UPDATE events SET explained = 0 WHERE kind = 'minted' AND address = ?", (recipient,))

    def rewind(self, kinds: Sequence[EventKind], to: BlockRef | None) -> None:
        """Forget that anything of these kinds above block `to` (None: at all) was final, and that it was read.

        For a chain that a person has accepted as it is now, after one deeper than finality: the blocks are read anew, what they
        show no more is dropped then, and what they show otherwise is replaced.
        """
        self._write_marks()
        self.rewritten += 1
        self.rewinds += 1
        with self._db.transaction() as connection:
            for kind in kinds:
                self._cursors.pop(kind, None)
                above = to.height if to else -1
                connection.execute(
                    "UPDATE events SET final = 0, settled = 0, explained = 0 WHERE kind = ? AND height > ?", (kind.value, above)
                )
                if to is None:
                    connection.execute("DELETE FROM cursors WHERE kind = ?", (kind.value,))
                else:
                    connection.execute(
                        "UPDATE cursors SET height = ?, hash = ?, time = ? WHERE kind = ? AND height > ?",
                        (to.height, to.hash, to.time, kind.value, to.height),
                    )
            for chain in {kind.chain for kind in kinds}:
                rewind_second(connection, chain, to.height if to else None)

    def cursor(self, kind: EventKind) -> Cursor | None:
        """Up to where this kind is read for good; None before the first final block was read."""
        if kind not in self._cursors:
            row = self._db.read_one("SELECT height, hash, time FROM cursors WHERE kind = ?", (kind.value,))
            self._cursors[kind] = Cursor(*row) if row else None
        return self._cursors[kind]

    # Events
    # A `+` in an order keeps the planner from reading a whole kind by height: it takes the index of what is searched.

    def newest_below(self, kinds: Sequence[EventKind], height: int) -> Seen[Event] | None:
        """The newest event of these kinds below this height."""
        query = "SELECT kind, body, final, key, created FROM events WHERE kind = ? AND height < ? ORDER BY height DESC LIMIT 1"
        rows = [row for kind in kinds if (row := self._db.read_one(query, (kind.value, height))) is not None]
        return max((_seen(row) for row in rows), key=lambda seen: seen.event.height, default=None)

    def deposit(self, tx_hash: str) -> Seen[Deposit] | None:
        """The deposit of this Pocket transaction."""
        return _first(self._events(Deposit, "key = ?", deposit_key(self._bridge, tx_hash)))

    def burn(self, tx_hash: str, burn_index: int) -> Seen[Burn] | None:
        """The `burn_index`-th burn of this Ethereum transaction."""
        return _first(self._events(Burn, "key = ?", burn_key(self._bridge, tx_hash, burn_index)))

    def by_key(self, key: str) -> Seen[Event] | None:
        """The event under this key."""
        return _first(self._any("key = ?", key))

    def burns_of_tx(self, tx_hash: str) -> list[Seen[Burn]]:
        """All burns of this transaction, in order."""
        return self._events(Burn, "tx_hash = ? AND kind = 'burn' ORDER BY position", tx_hash)

    def events_at(self, kind: EventKind, height: int) -> list[Seen[Event]]:
        """All events of this kind in this block."""
        return self._any("kind = ? AND height = ? ORDER BY position", kind.value, height)

    def created_at(self, event: Event) -> datetime:
        """When this event counts as created, by the chain (see `state.created`)."""
        row = self._db.read_one("SELECT created FROM events WHERE key = ?", (event_key(self._bridge, event),))
        # It may have vanished in the meantime.
        return moment(row[0] if row else header_milliseconds(event.block))

    def events_between(self, kind: EventKind, first: int, last: int) -> list[Seen[Event]]:
        """All events of this kind in the blocks `first` to `last`, both included."""
        return self._any("kind = ? AND height BETWEEN ? AND ? ORDER BY height, position", kind.value, first, last)

    def by_document(self, document: ObjectId) -> Seen[Event] | None:
        """The deposit or burn whose document has this `_id`."""
        row = self._db.read_one("SELECT kind, body, final, key, created FROM events WHERE document = ?", (str(document),))
        return _seen(row) if row else None

    def knows_document(self, document: ObjectId) -> bool:
        """Whether a deposit or burn that was seen has this `_id` for its document."""
        return self._db.read_one("SELECT 1 FROM events WHERE document = ?", (str(document),)) is not None

    def amount(self, key: str) -> int | None:
        """What moves for a deposit or burn, gross, in upokt; None where the ledger does not hold it as final."""
        row = self._db.read_one("SELECT kind, body, final, key, created FROM events WHERE key = ? AND final = 1", (key,))
        seen: Seen[Event] | None = _seen(row) if row else None
        return seen.event.amount if seen is not None else None

    def minted(self, recipient: str, nonce: int) -> list[Seen[Minted]]:
        """The `Minted` events with this nonce, final ones first: at most one is final, the others are of rival blocks."""
        return self._events(
            Minted, "kind = 'minted' AND address = ? AND number = ? ORDER BY +final DESC, +height, key", recipient, str(nonce)
        )

    def minted_in(self, tx_hash: str) -> list[Seen[Minted]]:
        """All `Minted` events of this transaction, final ones first."""
        return self._events(Minted, "tx_hash = ? AND kind = 'minted' ORDER BY +final DESC, +position, key", tx_hash)

    def minted_of(self, recipient: str) -> list[Seen[Minted]]:
        """All `Minted` events to this recipient, final ones first, in the chain's order."""
        return self._events(Minted, "kind = 'minted' AND address = ? ORDER BY final DESC, height, position", recipient)

    def first_minted(self, recipient: str) -> Seen[Minted] | None:
        """The first final `Minted` event to this recipient since the start block."""
        where = "kind = 'minted' AND address = ? AND final = 1 ORDER BY height, position LIMIT 1"
        return _first(self._events(Minted, where, recipient))

    def minted_count(self, recipient: str) -> int:
        """How many final `Minted` events to this recipient there are since the start block."""
        return self._count("SELECT count(*) FROM events WHERE kind = 'minted' AND address = ? AND final = 1", recipient)

    def returned(self, tx_hash: str) -> Seen[Returned] | None:
        """The transaction of this hash that the vault sent."""
        return _first(self._events(Returned, "tx_hash = ? AND kind = 'returned'", tx_hash))

    def returned_by_memo(self, memo: str) -> list[Seen[Returned]]:
        """All transactions that the vault sent with this memo, in the chain's order, failed ones too (see `code`)."""
        return self._events(Returned, "kind = 'returned' AND memo = ? ORDER BY +height, +position", memo_bytes(memo))

    def returned_matching(self, recipient: str, amount: int, memo: str) -> list[Seen[Returned]]:
        """Those of `returned_by_memo` that pay `amount` (upokt) to `recipient`. Compare `entropy` and `code` yourself."""
        return [s for s in self.returned_by_memo(memo) if s.event.recipient == recipient and s.event.amount == amount]

    # The order of mints

    def deposits_to_mint(self, recipient: str, limit: int = 1000, after: int = 0) -> list[Seen[Deposit]]:
        """Final deposits that are to be minted to `recipient`, in the order (height, index) that their nonces follow.

        Skips the first `after` of them.
        """
        return self._events(Deposit, f"{_TO_MINT} ORDER BY height, position LIMIT ? OFFSET ?", recipient, limit, after)

    def mint_rank(self, deposit: Deposit) -> int | None:
        """The deposit's place, from 1, among the final deposits to be minted to its recipient: its nonce less the base.

        None if the ledger does not hold exactly this deposit as final and to be minted.
        """
        known = self.deposit(deposit.tx_hash)
        if known is None or not known.final or known.event != deposit:
            return None
        row = self._db.read_one("SELECT address FROM events WHERE key = ?", (known.key,))
        if row is None or row[0] is None:
            return None
        query = f"SELECT count(*) FROM events WHERE {_TO_MINT} AND (height, position) <= (?, ?)"  # noqa: S608
        return self._count(query, row[0], deposit.height, deposit.index)

    def nonce_of(self, deposit: Deposit, recipient: str) -> int | None:
        """The nonce with which this deposit is minted: base plus rank. None where this ledger does not know one of them yet."""
        base, rank = self.base_nonce(recipient), self.mint_rank(deposit)
        return None if base is None or rank is None else base + rank

    def mint_by_rank(self, recipient: str, rank: int) -> Seen[Deposit] | None:
        """The deposit with this place, from 1; None if there are fewer."""
        return _first(self.deposits_to_mint(recipient, 1, rank - 1)) if rank > 0 else None

    def base_nonce(self, recipient: str) -> int | None:
        """The recipient's nonce in the contract at the start block, if it was noted."""
        if (known := self._bases.get(recipient)) is not None:
            return known
        row = self._db.read_one("SELECT nonce FROM base_nonces WHERE recipient = ?", (recipient,))
        if row is None:
            return None
        if len(self._bases) >= _MOST_BASES:
            self._bases.clear()
        return self._bases.setdefault(recipient, int(row[0]))

    def set_base_nonce(self, recipient: str, nonce: int) -> None:
        """Note it: the contract's nonce less the `Minted` events to the recipient since the start block."""
        self._bases.pop(recipient, None)
        with self._db.transaction() as connection:
            connection.execute("INSERT OR REPLACE INTO base_nonces VALUES (?, ?)", (recipient, str(nonce)))

    # Open work

    def settle(self, key: str) -> None:
        """The sweep need not look at this event any more. A change of the event undoes it."""
        self._settle(key, 1)

    def unsettle(self, key: str) -> None:
        """The sweep looks at this event again."""
        self._settle(key, 0)

    def unsettled(self, kind: EventKind, limit: int, after: Seen[Event] | None = None) -> list[Seen[Event]]:
        """A page of events that are not settled, by (height, key); `after`: the last of the page before."""
        self._write_marks()
        return self._page("settled = 0", kind, limit, after)

    def settled(self, kind: EventKind, limit: int, after: Seen[Event] | None = None) -> list[Seen[Event]]:
        """A page of settled deposits or burns, in the chain's order; `after`: the last of the page before."""
        self._write_marks()
        where = "settled = 1 AND kind = ? AND (height, position) > (?, ?) ORDER BY height, position LIMIT ?"
        return self._any(where, kind.value, *self._place(after), limit)

    def settled_from(self, kind: EventKind, height: int, limit: int) -> list[Seen[Event]]:
        """The first settled deposits or burns at or above a height."""
        self._write_marks()
        where = "settled = 1 AND kind = ? AND height >= ? ORDER BY height, position LIMIT ?"
        return self._any(where, kind.value, height, limit)

    def counts(self) -> dict[EventKind, int]:
        """How many events there are, by kind. Reads a whole index: for operators, not for the event loop."""
        rows = self._db.read("SELECT kind, count(*) FROM events GROUP BY kind")
        return dict.fromkeys(EventKind, 0) | {EventKind(kind): count for kind, count in rows}

    def unexplained(self, kind: EventKind, limit: int, after: Seen[Event] | None = None) -> list[Seen[Event]]:
        """A page of final `returned` or `minted` events for which no source was named yet, by (height, key)."""
        return self._page("explained = 0 AND final = 1", kind, limit, after)

    def final_page(self, kind: EventKind, limit: int, after: Seen[Event] | None = None) -> list[Seen[Event]]:
        """A page of final events up to the cursor, in the chain's order; `after`: the last of the page before."""
        cursor = self.cursor(kind)
        where = "final = 1 AND kind = ? AND (height, position) > (?, ?) AND height <= ? ORDER BY height, position LIMIT ?"
        return self._any(where, kind.value, *self._place(after), cursor.height if cursor else 0, limit)

    def not_final(self, kind: EventKind) -> list[Seen[Event]]:
        """All events above the final height that the last scans showed."""
        return self._any("final = 0 AND kind = ?", kind.value)

    def waits_for_finality(self, kind: EventKind, up_to: int) -> bool:
        """Whether an event of this kind in a block up to this one is known and not final."""
        query = "SELECT 1 FROM events WHERE kind = ? AND height <= ? AND final = 0 LIMIT 1"
        return self._db.read_one(query, (kind.value, up_to)) is not None

    def explain(self, key: str) -> None:
        """This vault outflow or mint has its source: it is not asked about again."""
        self._set("UPDATE events SET explained = 1 WHERE key = ? AND explained = 0", key)

    # Repairs and the stream's position

    def count_repair(self, document: str) -> int:
        """Count one repair of this document in Mongo; returns how many there were."""
        with self._db.transaction() as connection:
            connection.execute(
                "INSERT INTO repairs VALUES (?, 1) ON CONFLICT (document) DO UPDATE SET count = count + 1", (document,)
            )
            (count,) = connection.execute("SELECT count FROM repairs WHERE document = ?", (document,)).fetchone()
            return int(count)

    def repairs(self, document: str) -> int:
        """How often this validator repaired this document."""
        return self._count("SELECT count FROM repairs WHERE document = ?", document)

    def load_token(self) -> bytes | None:
        """The saved position of the change stream."""
        row = self._db.read_one("SELECT token FROM stream")
        return bytes(row[0]) if row else None

    def save_token(self, token: bytes) -> None:
        """Save the position of the change stream: only one behind which all work is finished."""
        self._set("INSERT OR REPLACE INTO stream (id, token) VALUES (1, ?)", token)

    def _events(self, _: type[E], where: str, *parameters: object) -> list[Seen[E]]:
        rows = self._db.read(f"SELECT kind, body, final, key, created FROM events WHERE {where}", parameters)  # noqa: S608
        return [_seen(row) for row in rows]

    def _any(self, where: str, *parameters: object) -> list[Seen[Event]]:
        """Events of a kind that the query names."""
        return self._events(Event, where, *parameters)  # type: ignore[arg-type]

    def _place(self, after: Seen[Event] | None) -> tuple[int, int]:
        """Height and position of an event in its chain's order; before all for None."""
        return (after.event.height, encode(self._bridge, after.event).position) if after else (-1, -1)

    def _page(self, where: str, kind: EventKind, limit: int, after: Seen[Event] | None) -> list[Seen[Event]]:
        height, key = (after.event.height, after.key) if after else (-1, "")
        query = f"{where} AND kind = ? AND (height, key) > (?, ?) ORDER BY height, key LIMIT ?"
        return self._any(query, kind.value, height, key, limit)

    def _count(self, sql: str, *parameters: object) -> int:
        row = self._db.read_one(sql, parameters)
        return int(row[0]) if row else 0

    def _settle(self, key: str, settled: int) -> None:
        self._marks[key] = settled
        if len(self._marks) >= _MOST_MARKS:
            self._write_marks()

    def _write_marks(self) -> None:
        if not self._marks:
            return
        rows = [(settled, key, settled) for key, settled in self._marks.items()]
        with self._db.transaction() as connection:
            connection.executemany("UPDATE events SET settled = ? WHERE key = ? AND settled <> ?", rows)
        # Only now: what a full disk refused is written later, or an event that is open would stay settled.
        self._marks.clear()

    def _set(self, sql: str, *parameters: object) -> None:
        with self._db.transaction() as connection:
            connection.execute(sql, parameters)


_TO_MINT = "kind = 'deposit' AND address = ? AND final = 1"


def _seen(row: Row) -> Seen[E]:
    kind, body, final, key, created = row
    event: E = decode(kind, body)  # type: ignore[assignment]  # each query above names its kind
    return Seen(event, bool(final), key, moment(created))


def _first(rows: list[Seen[E]]) -> Seen[E] | None:
    return rows[0] if rows else None
