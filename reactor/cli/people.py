"""The validators as their signed heartbeats show them: for `status` and `explain`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from reactor.documents.models import Heartbeat
from reactor.handlers.heartbeat import verified_heartbeat
from reactor.handlers.twins import FRESH_SECONDS

UP_SECONDS: Final = 120.0
"""Four heartbeats of the default pause."""


@dataclass(frozen=True, slots=True)
class Person:
    """One validator. `state`: `up`, `late` (older than two minutes), `gone` (older than 15), `never` heard."""

    address: str
    configured: bool
    state: str
    beat: Heartbeat | None = None

    @property
    def name(self) -> str:
        """What its operator calls it."""
        return self.beat.validator_id if self.beat is not None else ""


@dataclass(slots=True)
class People:
    """All validators that are configured or heard, by address; `forged`: heartbeats that do not verify."""

    persons: list[Person]
    forged: int = 0
    clones: list[str] = field(default_factory=list)

    def by_pocket_key(self) -> dict[str, Person]:
        """Who says that he holds which vault key."""
        return {one.beat.pokt_public_key: one for one in self.persons if one.beat is not None}


def people(rows: Iterable[Mapping[str, Any]], configured: Sequence[str], now: datetime, others: int = 0) -> People:
    """Read heartbeats, newest first. `others`: how many more lie there that are of nobody configured or do not verify.

    SECURITY: they are claims that anyone with write access can make; one that does not verify is counted, not shown.
    """
    beats: dict[str, Heartbeat] = {}
    clones: list[str] = []
    forged = others
    for row in rows:
        beat = verified_heartbeat(row)
        if beat is None:
            forged += 1
        elif beat.eth_address not in beats:
            beats[beat.eth_address] = beat
        elif (now - beat.updated_at).total_seconds() <= UP_SECONDS:
            clones.append(f"{beat.eth_address} on {beats[beat.eth_address].hostname} and {beat.hostname}")
    addresses = [*configured, *sorted(set(beats) - set(configured))]
    persons = [Person(one, one in configured, _state(beats.get(one), now), beats.get(one)) for one in addresses]
    return People(persons, forged, clones)


def _state(beat: Heartbeat | None, now: datetime) -> str:
    if beat is None:
        return "never"
    age = (now - beat.updated_at).total_seconds()
    return "up" if age <= UP_SECONDS else "late" if age <= FRESH_SECONDS else "gone"
