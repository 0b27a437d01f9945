"""What a handler remembers between two looks at a document: since when it claims its status, since when a move is wanted.

Bounded and in memory only: losing it costs a delay, never a decision.
"""

import math
from collections import OrderedDict
from collections.abc import Callable, Hashable, Iterable
from typing import Final, Generic, TypeVar

from reactor.flows.turns import turn

TURN_SECONDS: Final = 0.15
"""One turn: long enough for a majority write and its change event to reach everybody, short enough that a dead first validator
is not felt."""
_MOST: Final = 65_536

K = TypeVar("K", bound=Hashable)
V = TypeVar("V")


class Remembered(Generic[K, V]):
    """A dictionary that forgets its oldest entries beyond a bound."""

    def __init__(self, most: int = _MOST) -> None:
        self._items: OrderedDict[K, V] = OrderedDict()
        self._most = most

    def get(self, key: K) -> V | None:
        return self._items.get(key)

    def set(self, key: K, value: V) -> V:
        self._items[key] = value
        self._items.move_to_end(key)
        if len(self._items) > self._most:
            self._items.popitem(last=False)
        return value

    def first(self, key: K, value: V) -> V:
        """The value first remembered under `key`, which is `value` now if there was none."""
        known = self._items.get(key)
        return self.set(key, value) if known is None else known

    def forget(self, key: K) -> None:
        self._items.pop(key, None)


class Turns:
    """Whose turn it is to make a write that any validator could make, and when what is not urgent is looked at.

    `members`: those who are up, as far as one knows; `everybody`: all of them, up or not.
    """

    def __init__(
        self,
        me: str,
        members: Callable[[], Iterable[str]],
        monotonic: Callable[[], float],
        everybody: Iterable[str] | None = None,
    ) -> None:
        self._me = me
        self._members = members
        self._everybody = None if everybody is None else tuple(everybody)
        self._monotonic = monotonic
        self._wanted: Remembered[str, float] = Remembered()

    def place(self, subject: str) -> int:
        """The own place in the order for `subject`, from 0."""
        return turn(self._me, self._members(), subject)

    def spare(self, needed: int) -> int:
        """How many of those who are up are not needed where `needed` act."""
        return max(0, len(set(self._members())) - needed)

    def audits(self, subject: str, needed: int) -> bool:
        """Whether one is among so many of everybody that one of them is honest and up whenever `needed` are.

        SECURITY: not by who seems to be up: validators who hear differently could each leave it to another.
        """
        everybody = set(self._everybody or self._members())
        return turn(self._me, everybody, subject) <= max(0, len(everybody) - needed)

    def left(self, subject: str, order: str = "") -> float:
        """Seconds until it is the own turn, 0 if it is now. The clock starts when the move is first wanted.

        `order`: the subject whose order counts, where it is another's.
        """
        place = self.place(order or subject)
        if place == 0:
            return 0.0
        since = self._wanted.first(subject, self._monotonic())
        return max(0.0, since + place * TURN_SECONDS - self._monotonic())

    def together(self, seconds: float) -> float:
        """At least so many seconds, until a moment that others wait for too: looked at together, read in one command."""
        now = self._monotonic()
        return math.ceil((now + seconds) / seconds) * seconds - now

    def taken(self, subject: str) -> None:
        """The move was made: should it be wanted again, the clock starts anew."""
        self._wanted.forget(subject)
