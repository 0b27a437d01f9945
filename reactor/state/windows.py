"""One scanned window goes into the ledger: events come, change, become final, and vanish in a reorganisation."""

from collections.abc import Sequence
from dataclasses import dataclass
from sqlite3 import Connection

from loguru import logger

from reactor.documents.bridge import Bridge
from reactor.documents.events import BlockRef, Event
from reactor.state.created import Place, renumber
from reactor.state.problems import FinalityViolated, StateProblem, differences, named
from reactor.state.rows import EVENT_CLASSES, EventKind, EventRow, decode, encode


@dataclass(frozen=True, slots=True)
class Cursor:
    """Up to where a kind is read for good: the last final block. `hash` and `time` (seconds) where the scanner gave them."""

    height: int
    hash: str | None
    time: int | None


@dataclass(frozen=True, slots=True)
class WindowResult:
    """What a window changed: whom to wake. One event is in one of the first three at most; `vanished` are the old ones.

    `new`: not known before. `changed`: known, now with other facts (mined again). `final`: known, unchanged, now final.
    `vanished`: seen before, no longer on the chain.
    """

    new: tuple[Event, ...]
    changed: tuple[Event, ...]
    final: tuple[Event, ...]
    vanished: tuple[Event, ...]

    @property
    def touched(self) -> tuple[Event, ...]:
        """All of them."""
        return self.new + self.changed + self.final + self.vanished


@dataclass(frozen=True, slots=True)
class Window:
    """What a scanner read: the events of one kind in the blocks `first` to `last`, and the chain's final height then."""

    kind: EventKind
    first: int
    last: int
    events: Sequence[Event]
    final: int
    last_block: BlockRef | None

    def __post_init__(self) -> None:
        if not 0 <= self.first <= self.last:
            raise ValueError(f"window {self.first} to {self.last}: need 0 <= first <= last")
        for event in self.events:
            if not isinstance(event, EVENT_CLASSES[self.kind]):
                raise ValueError(f"the {named(event)} is no {self.kind.value}")  # noqa: TRY004 (a fault in the window, not in a type)
            if not self.first <= event.height <= self.last:
                raise ValueError(f"the {named(event)} lies outside the window {self.first} to {self.last}")


def write_window(connection: Connection, bridge: Bridge, window: Window, cursor: Cursor | None) -> WindowResult:
    """Bring the ledger to what the window shows, inside the caller's transaction."""
    start = bridge.pocket_start if window.kind.chain == "pocket" else bridge.ethereum_start
    _require_contiguous(window, cursor, start)
    # What was final stays final, whatever height a node that lags behind answers with.
    final = max(window.final, cursor.height if cursor else 0)
    shown = _rows_by_key(bridge, window.events)
    places: list[Place] = []
    vanished = _drop_vanished(connection, window, shown, places)
    new, changed, became_final = [], [], []
    for row, event in shown.values():
        known = connection.execute("SELECT body, final, height, position FROM events WHERE key = ?", (row.key,)).fetchone()
        if known is None or known[0] != row.body:
            places += [(row.height, row.position), *([known[2:]] if known else [])]
        is_final = row.height <= final
        if known is None:
            if window.kind is EventKind.MINTED:
                _refuse_second_final_mint(connection, row, event)
            if cursor and row.height <= cursor.height:
                what = f"{window.kind.value} {event.tx_hash} in block {event.height}"
                logger.warning("the first reading, up to block {}, missed the {}", cursor.height, what)
            _insert(connection, row, is_final=is_final)
            new.append(event)
        elif known[0] != row.body and (before := decode(row.kind, known[0])) != event:
            # SECURITY: signatures rest on final events: one that changes is never taken over silently.
            if known[1]:
                raise FinalityViolated(before, event)
            _replace(connection, row, is_final=is_final)
            changed.append(event)
        else:
            if known[0] != row.body and event.block.time > 0:
                # Only what follows from the block's hash differs: its time, which an earlier scan did not have or had wrong.
                connection.execute("UPDATE events SET body = ? WHERE key = ?", (row.body, row.key))
            if is_final and not known[1]:
                became_final.append(event)
    if places:
        renumber(connection, window.kind.value, min(places), max(places))
    _move_cursor(connection, window, cursor, final)
    return WindowResult(tuple(new), tuple(changed), tuple(became_final), tuple(vanished))


def _require_contiguous(window: Window, cursor: Cursor | None, start: int) -> None:
    # SECURITY: nonces are ranks among all deposits: a gap in what was read would give a deposit another's nonce.
    if window.first < start:
        raise StateProblem(
            f"{window.kind.value}: the window starts at {window.first}, before the start block", f"scan from {start}"
        )
    reached = cursor.height if cursor else start - 1
    if window.first > reached + 1:
        raise StateProblem(
            f"{window.kind.value}: the window starts at {window.first}, read so far is up to {reached}",
            f"scan from {reached + 1}",
        )


def _rows_by_key(bridge: Bridge, events: Sequence[Event]) -> dict[str, tuple[EventRow, Event]]:
    shown: dict[str, tuple[EventRow, Event]] = {}
    for event in events:
        row = encode(bridge, event)
        twin = shown.setdefault(row.key, (row, event))
        if twin[1] != event:
            raise ValueError(f"one window shows the {named(twin[1])} twice, once with {differences(twin[1], event)}")
    return shown


def _drop_vanished(
    connection: Connection, window: Window, shown: dict[str, tuple[EventRow, Event]], places: list[Place]
) -> list[Event]:
    rows = connection.execute(
        "SELECT id, key, body, final, height, position FROM events WHERE kind = ? AND height BETWEEN ? AND ?",
        (window.kind.value, window.first, window.last),
    ).fetchall()
    gone = [(row[0], decode(window.kind, row[2]), row[3]) for row in rows if row[1] not in shown]
    places += [(row[4], row[5]) for row in rows if row[1] not in shown]
    for _, event, final in gone:
        # SECURITY: a final event that a node no longer shows is its lie or a deep reorganisation, never a routine.
        if final:
            raise FinalityViolated(event, None)
    connection.executemany("DELETE FROM events WHERE id = ?", [(identifier,) for identifier, _, _ in gone])
    return [event for _, event, _ in gone]


def _refuse_second_final_mint(connection: Connection, row: EventRow, event: Event) -> None:
    # `+`: by the index of nonces; by that of addresses each mint would be compared with all earlier ones of its recipient.
    query = "SELECT body FROM events WHERE kind = 'minted' AND address = ? AND number = ? AND +final = 1"
    twin = connection.execute(query, (row.address, row.number)).fetchone()
    # SECURITY: the contract uses each nonce of a recipient once: two blocks that both show it are two chains.
    if twin:
        raise FinalityViolated(decode(EventKind.MINTED, twin[0]), event)


def _insert(connection: Connection, row: EventRow, *, is_final: bool) -> None:
    connection.execute(
        "INSERT INTO events (key, kind, height, position, tx_hash, address, number, memo, document, body, final)"
        " VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (*(row.key, row.kind, row.height, row.position, row.tx_hash), *_searched(row), row.body, int(is_final)),
    )


def _replace(connection: Connection, row: EventRow, *, is_final: bool) -> None:
    connection.execute(
        "UPDATE events SET height = ?, position = ?, tx_hash = ?, address = ?, number = ?, memo = ?, document = ?, body = ?,"
        " final = ?, settled = 0, explained = 0 WHERE key = ?",
        (*(row.height, row.position, row.tx_hash), *_searched(row), row.body, int(is_final), row.key),
    )


def _searched(row: EventRow) -> tuple[str | None, str | None, bytes | None, str | None]:
    return row.address, row.number, row.memo, row.document


def _move_cursor(connection: Connection, window: Window, cursor: Cursor | None, final: int) -> None:
    rest = min(final, window.last)
    if rest < window.first and cursor is None:
        return
    connection.execute(
        "UPDATE events SET final = 1 WHERE kind = ? AND final = 0 AND height <= ? AND height >= ?",
        (window.kind.value, rest, window.first),
    )
    if cursor is None or rest > cursor.height:
        block = window.last_block if window.last_block and window.last_block.height == rest else None
        connection.execute(
            "INSERT OR REPLACE INTO cursors (kind, height, hash, time) VALUES (?, ?, ?, ?)",
            (window.kind.value, rest, block.hash if block else None, block.time if block else None),
        )
