"""Limits of what is signed without a person: one transfer, and all transfers of a rolling window, per direction.

The window holds what this validator signed, by the time at which its own journal noted it. Not by the source's block time: that
is told by a node, and one that lies could spread what it invents over years. The noted times are its own clock's, on its own
disk before a signature leaves, so a restart changes nothing and no writer to the database can. A clock that was set back counts
more, not less.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from sqlite3 import Connection
from typing import Final

from reactor.documents.reasons import Ends, HoldReason, WaitReason
from reactor.state.database import Row

LIMIT_REASONS: Final = tuple(one.value for one in HoldReason if one.ends is Ends.BY_ITSELF)
"""The holds that limits raise. They end by themselves: after the delay, or when the window has room again."""

Read = Callable[[str, tuple[object, ...]], Sequence[Row]]
AmountOf = Callable[[str], int | None]
"""The amount in upokt that moves for an event, by its key, from the own ledger; None where the ledger does not hold it final."""

Tally = dict[str, int]
"""What moved in the window, by direction, as far as it was summed up: one for each transaction, for many are judged in it."""

_TABLES: Final = (
    # What was signed under limits: an event's latest signature. Amounts are text, for a burn's may exceed 64 bits.
    """CREATE TABLE IF NOT EXISTS moved (
      event TEXT PRIMARY KEY, direction TEXT NOT NULL, amount TEXT NOT NULL, at INTEGER NOT NULL
    ) STRICT""",
    "CREATE INDEX IF NOT EXISTS moved_at ON moved (direction, at)",
)


@dataclass(frozen=True, slots=True)
class Limit:
    """What one direction may move without a person. Amounts in upokt, gross (what left the other side); None is no limit.

    `single`: a transfer above it is held. `window`: one that would bring the last `seconds` above it is held. `delay`: seconds
    after which a held one is signed all the same; None: never without an operator.
    """

    single: int | None = None
    window: int | None = None
    seconds: int = 86_400
    delay: int | None = None


@dataclass(frozen=True, slots=True)
class Over:
    """Why the limits hold an event now. `hold` is None where it is only unknown yet, which holds for the moment alone."""

    wait: WaitReason
    hold: HoldReason | None
    params: Mapping[str, str] = field(default_factory=dict)

    @property
    def detail(self) -> str:
        """The parameters for people."""
        return ", ".join(f"{name} {value}" for name, value in self.params.items())


class Limits:
    """The limits in force, by direction. `read` runs a query inside the journal's transaction, or outside of it to show."""

    def __init__(self, rules: Mapping[str, Limit], amount_of: AmountOf) -> None:
        self._rules = rules
        self._amount_of = amount_of

    @staticmethod
    def prepare(connection: Connection) -> None:
        """Make the tables where they are missing."""
        for statement in _TABLES:
            connection.execute(statement)

    def over(self, read: Read, event: str, direction: str, now: int, tally: Tally) -> Over | None:
        """Why this event must wait; None where it may be signed."""
        rule = self._rules.get(direction)
        if rule is None:
            return None
        amount = self._amount_of(event)
        if amount is None:
            # SECURITY: what is not known is not within a limit.
            return Over(WaitReason.LEDGER_BEHIND, None, {"detail": "its amount is not known here"})
        held = _held(read, event)
        if held is not None and (held.released or (rule.delay is not None and now - held.at >= rule.delay)):
            return None
        params = {"amount": str(amount), **_until(held, rule)}
        if rule.single is not None and amount > rule.single:
            return Over(WaitReason.OVER_THRESHOLD, HoldReason.OVER_THRESHOLD, {"limit": str(rule.single), **params})
        if rule.window is None:
            return None
        moved = tally[direction] if direction in tally else self.moved(read, direction, now)
        tally[direction] = moved
        if moved + amount <= rule.window:
            return None
        window = {"limit": str(rule.window), "moved": str(moved), "seconds": str(rule.seconds)}
        return Over(WaitReason.OVER_WINDOW, HoldReason.OVER_WINDOW, {**window, **params})

    def moved(self, read: Read, direction: str, now: int) -> int:
        """What was signed in the window that ends now, in upokt."""
        since = now - self._rules[direction].seconds
        # SECURITY: what was noted "in the future" (the clock was set back since) counts too.
        rows = read("SELECT amount FROM moved WHERE direction = ? AND at > ?", (direction, since))
        return sum(int(amount) for (amount,) in rows)

    def passed(self, connection: Connection, event: str, direction: str, now: int, tally: Tally) -> None:
        """The event is signed in this transaction: it counts, and what held it ends."""
        if direction not in self._rules:
            return
        amount = self._amount_of(event)
        if amount is not None:
            connection.execute("INSERT OR REPLACE INTO moved VALUES (?, ?, ?, ?)", (event, direction, str(amount), now))
            if direction in tally:
                tally[direction] += amount
        connection.execute(
            "UPDATE holds SET released_by = 'validator', released_at = ?, released_why = 'within limits, or the delay is over'"
            " WHERE scope = ? AND reason IN (?, ?) AND released_at IS NULL",
            (now, f"event:{event}", *LIMIT_REASONS),
        )


@dataclass(frozen=True, slots=True)
class _Held:
    at: int
    released: bool


def _held(read: Read, event: str) -> _Held | None:
    """The event's oldest hold that a limit raised. Its time does not move when the other limit holds it too."""
    rows = read(
        "SELECT min(at), max(released_at) FROM holds WHERE scope = ? AND reason IN (?, ?)", (f"event:{event}", *LIMIT_REASONS)
    )
    (at, released) = rows[0]
    return None if at is None else _Held(int(at), released is not None)


def _until(held: _Held | None, rule: Limit) -> dict[str, str]:
    if rule.delay is None:
        return {"until": "released"}
    if held is None:
        return {"delay": str(rule.delay)}
    return {"until": datetime.fromtimestamp(held.at + rule.delay, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")}
