"""When an event counts as created: computed from the chain alone, so that all validators say the same of it.

It is the time of the block's header in milliseconds, but at least one millisecond after the event of the same kind that comes
before it in the chain (by height and place in the block): it increases strictly in the chain's order. The order in which
events were found, and the windows in which they were read, make no difference.
"""

from datetime import UTC, datetime, timedelta
from json import loads
from sqlite3 import Connection
from typing import Final

from reactor.documents.events import BlockRef

Place = tuple[int, int]
"""Height, and position in the block."""

EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_LATEST: Final = 253_400_000_000_000
"""In the year 9999. A later time can only be a node's mistake, and no date could hold it and those that come after it."""
_PAGE: Final = 500


def moment(milliseconds: int) -> datetime:
    """Milliseconds since the epoch as a date, exactly."""
    return EPOCH + timedelta(milliseconds=milliseconds)


def header_milliseconds(block: BlockRef) -> int:
    """The header's time in milliseconds since the epoch; 0 where it is not known."""
    return _within_dates(block.time * 1000 + block.ms)


def header_moment(seconds: int) -> datetime:
    """A header's time, in seconds since the epoch as a node told it, as a date: what no date can hold is the nearest that can.

    Raises nothing: whoever shows such a time must not fail by what a node says.
    """
    return moment(_within_dates(seconds * 1000))


def _within_dates(milliseconds: int) -> int:
    return min(max(0, milliseconds), _LATEST)


def renumber(connection: Connection, kind: str, first: Place, last: Place) -> None:
    """Bring `events.created` of one kind up to date after changes from `first` to `last`, inside the caller's transaction.

    What comes after `last` is followed as far as it changes, which is nearly always nowhere.
    """
    row = connection.execute(
        "SELECT created FROM events WHERE kind = ? AND (height, position) < (?, ?) ORDER BY height DESC, position DESC LIMIT 1",
        (kind, *first),
    ).fetchone()
    before = int(row[0]) if row else -1
    # A place in a block is one event's, so the place alone says where to go on.
    after = (first[0], first[1] - 1)
    while page := connection.execute(
        "SELECT id, height, position, created, body FROM events WHERE kind = ? AND (height, position) > (?, ?)"
        " ORDER BY height, position LIMIT ?",
        (kind, *after, _PAGE),
    ).fetchall():
        for identifier, height, position, created, body in page:
            before = max(header_milliseconds(BlockRef(*loads(body)[0])), before + 1)
            if created != before:
                connection.execute("UPDATE events SET created = ? WHERE id = ?", (before, identifier))
            elif (height, position) > last:
                return
            after = (height, position)
