"""Two processes with one key: told apart by their signed heartbeats, the younger stops.

A heartbeat that merely lies in the database proves nothing about the present: anyone with write access can put an old one back.
So each process names in its own heartbeat the other processes of its key that it has heard of, by their random instance. Only a
process that lives after mine was born can name mine: that heartbeat is the answer that stops the younger of the two. Dates and
counters are never enough to stop anybody.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Final

from loguru import logger

from reactor.documents.bridge import Bridge
from reactor.documents.models import Heartbeat
from reactor.health import FRESH_SECONDS

SILENT_BEATS: Final = 3
"""So many heartbeats may be left out by one that lives: another validator counts as down after them, and after so many own pauses
in which another process leaves its question unanswered a new one signs."""
_MOST: Final = 16
"""Other processes that are asked at once; more starts within a quarter of an hour have other troubles."""

_UNHEARD: Final = "it is not known yet whether another process runs with this key: no heartbeat was exchanged with the database"


def scope_of(bridge: Bridge) -> dict[str, str]:
    """The fields of a heartbeat that say which bridge it is of; a difference in fees or maxima is still the same bridge."""
    return {
        "pocket_chain_id": bridge.pocket_chain_id,
        "pokt_vault_address": bridge.vault,
        "ethereum_chain_id": str(bridge.ethereum_chain_id),
        "wpokt_address": bridge.wpokt,
    }


@dataclass(slots=True)
class Twins:
    """What this process knows of others with its key. `silence` in seconds; `dead`: instances that certainly run no more.

    `stop`: why this process must end, or empty. `asks`: another process was heard for the first time and waits for the answer.
    """

    bridge: Bridge
    address: str
    instance: str
    started_at: datetime
    silence: float
    monotonic: Callable[[], float]
    dead: frozenset[str] = frozenset()
    stop: str = ""
    asks: bool = False
    _rivals: dict[str, Heartbeat] = field(default_factory=dict)
    _counters: dict[str, int] = field(default_factory=dict)
    _alarmed: set[str] = field(default_factory=set)
    _beaten_at: float | None = None
    _alive_at: float = 0.0
    _open: bool = False

    @property
    def named(self) -> list[str]:
        """The instances to name in the next own heartbeat."""
        return sorted(self._rivals)

    def said(self) -> None:
        """The own heartbeat lies in the database, and what lay there before was heard."""
        self.asks = False
        if self._beaten_at is None:
            self._beaten_at = self.monotonic()
        self.silenced()

    def hear(self, beats: Iterable[Heartbeat], now: datetime) -> None:
        """Take in heartbeats whose signatures were verified."""
        for beat in beats:
            if self.is_rival(beat):
                self._hear_rival(beat, now)
        self._rivals = {name: one for name, one in self._rivals.items() if _fresh(one, now)}

    def is_rival(self, beat: Heartbeat, *, dead_too: bool = False) -> bool:
        """Whether it is of another process with this key on this bridge; `dead_too`: one that ended on this disk as well."""
        # SECURITY: one of another bridge (a test network with the same key and contracts, say) stops nobody here.
        here = all(getattr(beat, name) == value for name, value in scope_of(self.bridge).items())
        known = {"", self.instance} if dead_too else {"", self.instance, *self.dead}
        return here and beat.eth_address == self.address and beat.instance not in known

    def _hear_rival(self, beat: Heartbeat, now: datetime) -> None:
        if self.instance in beat.rivals:
            self._answered(beat)
        if beat.instance not in self._rivals and len(self._rivals) < _MOST and _fresh(beat, now):
            self.asks = True
            logger.warning("a heartbeat of another process with this key: {}", _described(beat))
            self._rivals[beat.instance] = beat

    def _answered(self, beat: Heartbeat) -> None:
        """SECURITY: it names this process, so it was made after this one began: proof of a second process with this key."""
        if beat.counter <= self._counters.get(beat.instance, -1):
            return  # the same one, put back
        self._counters[beat.instance] = beat.counter
        self._alive_at = self.monotonic()
        if (beat.started_at, beat.instance) < (self.started_at, self.instance):
            self.stop = f"{_described(beat)} runs with the same key and is older"
        elif beat.instance not in self._alarmed:
            self._alarmed.add(beat.instance)
            logger.error("{} runs with the same key and is younger: it has to stop", _described(beat))

    def silenced(self) -> str:
        """Why nothing may be signed because of another process, or empty. Once this process may sign, only `stop` ends it.

        SECURITY: two processes with one key have two journals: each could sign another digest for one event.
        """
        if self.stop:
            return self.stop
        if self._open:
            return ""
        if self._beaten_at is None:
            return _UNHEARD
        left = max(self._beaten_at, self._alive_at) + self.silence - self.monotonic()
        if self._rivals and left > 0:
            others = ", ".join(_described(one) for one in self._rivals.values())
            return f"another process may run with this key, it is waited {left:.0f} s more for its answer: {others}"[:500]
        self._open = True
        if self._rivals:
            logger.warning("no other process with this key has answered for {:.0f} s: this one signs from now on", self.silence)
        return ""


def _fresh(beat: Heartbeat, now: datetime) -> bool:
    return abs((now - beat.updated_at).total_seconds()) <= FRESH_SECONDS


def _described(beat: Heartbeat) -> str:
    return f"instance {beat.instance[:32]} on {beat.hostname[:80]}, started {beat.started_at:%Y-%m-%d %H:%M:%S} UTC"
