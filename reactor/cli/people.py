"""The validators as their signed heartbeats show them: for `status` and `explain`."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from reactor.documents.models import Heartbeat, Hindrance
from reactor.documents.statuses import Collection, Status
from reactor.handlers.heartbeat import verified_heartbeat
from reactor.health import NEEDED, Ability, Code, Phase, Standing, State, seconds_ahead, standing_of

_UNSIGNED: Final = frozenset({"", Status.PENDING, Status.CONFIRMED})
_NO_NODE: Final = frozenset({Code.NO_HEAD, Code.NOT_READ})
CLONE_SECONDS: Final = 120.0
"""Heartbeats of one key from two hosts within this time: it moved, or two processes run with it."""


@dataclass(frozen=True, slots=True)
class Stage:
    """How far a request is, as far as that decides whom it can wait for.

    `status` empty: not known. `final`: its event is final, so that no finality has to come any more. `signers`: the Ethereum
    addresses (mints) or vault keys (payouts) of those who have signed; `enough`: they are as many as must.
    """

    collection: Collection
    status: str = ""
    final: bool = False
    signers: frozenset[str] = frozenset()
    enough: bool = False

    @property
    def way(self) -> Ability:
        """What is signed for it."""
        return Ability.MINT if self.collection is Collection.MINT else Ability.PAYOUT

    def lost_by(self, hindrance: Hindrance) -> set[str]:
        """The abilities that a validator with this hindrance lacks for this request."""
        if hindrance.code == Code.NOT_FINALIZING and (self.final or self.collection is Collection.INVALID_MINT):
            return set()  # a refund rests on the finality of Pocket, whatever Ethereum does to the payouts of burns
        return set(hindrance.costs)


@dataclass(frozen=True, slots=True)
class Person:
    """One validator: its newest verified heartbeat, and how that stands at this moment."""

    address: str
    configured: bool
    standing: Standing
    beat: Heartbeat | None = None

    @property
    def state(self) -> str:
        """`up`, `starting`, `stopped` (by its own word), `late` (it wrote nothing when it should have), `gone`, `never` heard."""
        return self.standing.state.value

    @property
    def name(self) -> str:
        """What its operator calls it."""
        return self.beat.validator_id if self.beat is not None else ""

    def hindered(self, at: Stage) -> str:
        """Why it cannot go on with a request at this stage, in a sentence without its subject; empty: nothing that it says of
        itself hinders it, or nothing is left for it to do.
        """
        if self.has_done_its_part(at):
            return ""
        if self.beat is None or self.standing.state is State.NEVER:
            return "has told nothing of itself since its last start: that was just now, or it does not reach the shared database"
        if self.state not in {"up", "starting"}:
            return f"is {self.state}: {self.standing.why}"
        if self.standing.healthy or not self._lacks(self.beat, at):
            return ""
        return f"cannot do its work: {self.standing.why}"

    def has_done_its_part(self, at: Stage) -> bool:
        """Whether the request waits for the signatures of others alone."""
        own = {self.address, self.beat.pokt_public_key} if self.beat is not None else {self.address}
        return at.status == Status.CONFIRMED and not at.enough and bool(own & at.signers)

    def misses_node_of(self, chain: str) -> bool:
        """Whether it says itself that this chain's node shows it nothing."""
        hindrances = self.beat.hindrances if self.beat is not None else []
        return any(one.code in _NO_NODE and one.about == chain for one in hindrances)

    @staticmethod
    def _lacks(beat: Heartbeat, at: Stage) -> bool:
        """A heartbeat of an earlier version says what it cannot do, and not why."""
        lost = {ability for one in beat.hindrances for ability in at.lost_by(one)} if beat.hindrances else set(beat.cannot)
        return bool(lost & NEEDED) or (at.way in lost and at.status in _UNSIGNED)


@dataclass(slots=True)
class People:
    """All validators that are configured or heard, by address; `forged`: heartbeats that do not verify;
    `ahead`: those that are dated too far ahead to be of the present, in words."""

    persons: list[Person]
    forged: int = 0
    clones: list[str] = field(default_factory=list)
    ahead: list[str] = field(default_factory=list)

    def by_pocket_key(self) -> dict[str, Person]:
        """Who says that he holds which vault key."""
        return {one.beat.pokt_public_key: one for one in self.persons if one.beat is not None}


def people(rows: Iterable[Mapping[str, Any]], configured: Sequence[str], now: datetime, others: int = 0) -> People:
    """Read heartbeats, newest first. `others`: how many more lie there that are of nobody configured or do not verify.

    SECURITY: they are claims that anyone with write access can make; one that does not verify is counted, not shown.
    """
    beats: dict[str, Heartbeat] = {}
    clones: list[str] = []
    ahead: list[str] = []
    forged = others
    for row in rows:
        beat = verified_heartbeat(row)
        if beat is None:
            forged += 1
            continue
        if dated := seconds_ahead(beat, now):
            ahead.append(f"{beat.eth_address} on {beat.hostname} is dated {dated:.0f} s ahead")
        if beat.eth_address not in beats:
            beats[beat.eth_address] = beat
        elif beat.phase != Phase.STOPPED and abs((now - beat.updated_at).total_seconds()) <= CLONE_SECONDS:
            clones.append(f"{beat.eth_address} on {beats[beat.eth_address].hostname} and {beat.hostname}")
    addresses = [*configured, *sorted(set(beats) - set(configured))]
    persons = [Person(one, one in configured, standing_of(beats.get(one), now), beats.get(one)) for one in addresses]
    return People(persons, forged, clones, ahead)


@dataclass(frozen=True, slots=True)
class Strength:
    """How many of the configured validators can sign `what`, and whether that is enough. `needed` 0: not known."""

    what: str
    able: int
    needed: int
    of: int

    @property
    def enough(self) -> bool:
        """Where nobody has said how many a mint needs, nothing less than all is."""
        return self.able >= (self.needed or self.of)

    @property
    def told(self) -> str:
        """`2 of 3 can sign mints (2 needed)`."""
        return f"{self.able} of {self.of} can sign {self.what}s ({self.needed or 'all'} needed)"


def strengths(found: People, identity: str, vault_keys: Sequence[str]) -> list[Strength]:
    """Of mints and of payouts. A mint needs as many as the contract says, by the word of those who can sign; a payout on Morse
    needs every key of the vault. Who runs another bridge identity signs other bytes, and does not count.
    """
    members = [one for one in found.persons if one.configured]
    ours = [(one.beat, one.standing.signs) for one in members if one.beat is not None and one.beat.identity == identity]
    said = Counter(beat.threshold for beat, able in ours if beat.threshold and able)
    # SECURITY: of those told equally often the greatest: it is better to be alarmed for nothing.
    threshold = max(said, key=lambda told: (said[told], told), default=0)
    paying = {beat.pokt_public_key for beat, able in ours if "payout" in able}
    return [
        Strength("mint", sum("mint" in able for _, able in ours), threshold, len(members)),
        Strength("payout", len(paying & set(vault_keys)), len(vault_keys), len(vault_keys)),
    ]
