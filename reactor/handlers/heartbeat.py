"""The signed heartbeat: what this validator says of itself, and what it hears the others say.

It listens for two things: another bridge identity (TRUST.md, rule 8), and another process with its own key (`twins`).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from time import monotonic
from typing import Any, Final

from loguru import logger

from reactor.chains.ethereum.eip712 import recover_signer
from reactor.documents.heartbeats import heartbeat_digest, milliseconds
from reactor.documents.models import Heartbeat, OpenDocument
from reactor.handlers.context import Context
from reactor.handlers.evidence import heartbeat_known
from reactor.handlers.peers import Peers
from reactor.handlers.twins import SILENT_BEATS, Twins, scope_of
from reactor.health import (
    ENTRY,
    FRESH_SECONDS,
    Ability,
    Facts,
    HoldFacts,
    Phase,
    Problem,
    Trouble,
    cannot,
    dated_ahead,
    entries,
    phase_of,
    problems_of,
    rank,
    seconds_ahead,
    signs,
    stopped,
)
from reactor.health import SIGNING as BOTH
from reactor.sentences import counted, cut
from reactor.state.holds import PAUSED, SIGNING, Hold, direction_scope
from reactor.state.problems import StateProblem
from reactor.state.rows import EventKind
from reactor.store.connection import Store
from reactor.store.heartbeats import each_heartbeat

OLDEST_OPEN: Final = 50
"""How many open documents a heartbeat lists: the oldest ones."""
_SEARCH_SECONDS: Final = 30.0
_MOST_HONEST: Final = 1024
_MOST_STRANGERS: Final = 16


_STOPS: Final = {
    SIGNING: BOTH,
    direction_scope("mint"): frozenset({Ability.MINT}),
    direction_scope("payout"): frozenset({Ability.PAYOUT}),
}


@dataclass(frozen=True, slots=True)
class Pulse:
    """What the process knows of itself at this moment. `warnings`: what is wrong and costs it nothing that it can do.

    `facts`: what its health is computed from, but for what `Hearts` knows by itself: holds, other processes and identities.
    """

    open_count: int
    open: Sequence[OpenDocument]
    stream_age_ms: int
    warnings: Sequence[Trouble]
    facts: Facts = field(default_factory=Facts)


@dataclass(frozen=True, slots=True)
class Health:
    """What this validator can do at this moment. `holds`: what is held, the most far-reaching first; `held`: the ids of these."""

    phase: Phase
    problems: Sequence[Problem]
    holds: Sequence[str]
    held: Sequence[int] = ()

    @property
    def mark(self) -> tuple[object, ...]:
        """Differs where the others are to hear of it at once: by what is so, not by its words.

        A node that shows another chain each time makes other words of one hold, and each heartbeat costs a signature.
        """
        return self.phase, cannot(self.problems), signs(self.problems), [one.code for one in self.problems], [*self.held]


@dataclass(frozen=True, slots=True)
class Instance:
    """This process among all that ever ran with these keys. `interval`: seconds between its heartbeats; `dead`: instances that
    ran on this disk before it.
    """

    validator_id: str
    hostname: str
    instance: str
    version: str
    started_at: datetime
    pocket_address: str
    interval: float = 30.0
    dead: frozenset[str] = frozenset()


@dataclass(slots=True)
class Hearts:
    """Writes the own heartbeat and judges those of the others. `seen`: the newest verified one of each address that was asked
    for, `places` under which `_id` it lies, `heard_at` when it came, by the own monotonic clock. `threshold` (0: not known yet)
    and `member`: what the contract said last.
    """

    context: Context
    instance: Instance
    pulse: Callable[[], Pulse]
    peers: Peers | None = None
    counter: int = 0
    clash: str = ""
    threshold: int = 0
    member: bool | None = None
    seen: dict[str, Heartbeat] = field(default_factory=dict)
    places: dict[str, Any] = field(default_factory=dict)
    heard_at: dict[str, float] = field(default_factory=dict)
    monotonic: Callable[[], float] = monotonic
    twins: Twins = field(init=False)
    _holds: Sequence[Hold] = ()
    _holds_at: object = None

    def __post_init__(self) -> None:
        self.twins = Twins(
            self.context.bridge,
            self.context.me.address,
            self.instance.instance,
            milliseconds(self.instance.started_at),
            self.instance.interval * SILENT_BEATS,
            self.monotonic,
            self.instance.dead,
        )

    async def own(self, *, stopped: bool = False) -> dict[str, Any]:
        """The heartbeat as it is to lie in Mongo, signed. `stopped`: the last one of this process."""
        self.counter += 1
        fields = self._fields(self.pulse())
        if stopped:
            nothing: dict[str, Any] = {"healthy": False, "signs": [], "cannot": [one.value for one in Ability]}
            fields |= {**nothing, "phase": Phase.STOPPED.value, "problems": [], "hindrances": []}
        key = self.context.me.ethereum_signer
        signature = "0x" + (await key.sign(heartbeat_digest(fields), "heartbeat")).hex() if key else ""
        return {**fields, "signature": signature}

    def health(self, facts: Facts) -> Health:
        """What this validator can do, by these facts and by what is held. It costs next to nothing: ask as often as you like."""
        try:
            holds, unreadable = self._active_holds(), []
        except StateProblem as error:
            holds, unreadable = self._holds, [f"signing journal: {error}"]
        stopping = [(_STOPS[one.scope], one) for one in holds if one.scope in _STOPS]
        signing = replace(
            facts.signing,
            holds=[HoldFacts(stops, one.reason, one.detail, paused=one.reason == PAUSED) for stops, one in stopping],
            silenced=self.twins.silenced(),
            clash=self.clash,
            member=self.member,
        )
        whole = replace(facts, signing=signing, unwritable=[*facts.unwritable, *unreadable])
        shown = holds[:OLDEST_OPEN]
        told = [cut(f"{hold.scope}: {hold.reason} {hold.detail}".strip(), ENTRY) for hold in shown]
        return Health(phase_of(whole), problems_of(whole), told, [hold.id for hold in shown])

    def _active_holds(self) -> Sequence[Hold]:
        """The holds in force, read again where anybody has written to the journal since."""
        journal = self.context.journal
        now = journal.changes()
        if now != self._holds_at:
            # What stops many stands first: holds of single events, by the thousand, must not hide it.
            self._holds = sorted(journal.holds(), key=lambda hold: hold.scope.startswith("event:"))
            self._holds_at = now
        return self._holds

    def _fields(self, pulse: Pulse) -> dict[str, Any]:
        context, bridge = self.context, self.context.bridge
        deposits = context.ledger.cursor(EventKind.DEPOSIT)
        burns = context.ledger.cursor(EventKind.BURN)
        last = context.journal.last_signature_at()
        health = self.health(pulse.facts)
        problems = entries(health.problems, pulse.warnings)
        return {
            **scope_of(bridge),
            "validator_id": self.instance.validator_id,
            "hostname": self.instance.hostname,
            "pokt_public_key": context.me.pocket_key,
            "pokt_address": self.instance.pocket_address,
            "eth_address": context.me.address,
            "healthy": not health.problems,
            "updated_at": milliseconds(context.now()),
            "identity": bridge.identity_hash(),
            "instance": self.instance.instance,
            "started_at": milliseconds(self.instance.started_at),
            "counter": self.counter,
            "rivals": self.twins.named,
            "version": self.instance.version,
            "phase": health.phase.value,
            "interval_ms": int(self.instance.interval * 1000),
            "cannot": cannot(health.problems),
            "signs": signs(health.problems),
            "threshold": self.threshold,
            "pocket_height": str(context.heads.height("pocket")),
            "ethereum_height": str(context.heads.height("ethereum")),
            "pocket_cursor": str(deposits.height if deposits else 0),
            "ethereum_cursor": str(burns.height if burns else 0),
            "last_signature_at": milliseconds(datetime.fromtimestamp(last, context.now().tzinfo)) if last else None,
            "stream_age_ms": pulse.stream_age_ms,
            "open_count": pulse.open_count,
            "open": [one.model_dump() for one in pulse.open[:OLDEST_OPEN]],
            "holds": [*health.holds],
            "problems": _most(problems),
            "hindrances": [_hindrance(one) for one in health.problems[:OLDEST_OPEN]],
        }

    def listen(self, rows: Sequence[Mapping[str, Any]], addresses: Sequence[str]) -> None:
        """Take in heartbeats as they lie in Mongo: the verified ones of these addresses and of the own key."""
        wanted, now = {*addresses, self.context.me.address}, self.context.now()
        # What claims to be of nobody here costs no verification: heartbeats can be forged by the thousand.
        claimed = [row for row in rows if isinstance(who := row.get("eth_address"), str) and who in wanted]
        heard = [one for row in claimed if (one := verified_heartbeat(row)) is not None]
        self.twins.hear(heard, now)
        for one in heard:
            if self.twins.is_rival(one, dead_too=True):
                heartbeat_known(self.context, one)
        for one in heard:
            before = self.seen.get(one.eth_address)
            # SECURITY: one that was put back is older than what was heard already, and replaces nothing.
            if before is None or rank(one, now) >= rank(before, now):
                self._take_in(one, before, now)

    def _take_in(self, one: Heartbeat, before: Heartbeat | None, now: datetime) -> None:
        self.seen[one.eth_address] = one
        self.places[one.eth_address] = one.id
        if before is None or (before.instance, before.counter) != (one.instance, one.counter):
            self.heard_at[one.eth_address] = self.monotonic()
        ahead = seconds_ahead(one, now)
        if ahead and not (before and seconds_ahead(before, now)):
            logger.warning("the heartbeat of {} {}", one.eth_address, dated_ahead(ahead))

    @property
    def problems(self) -> list[str]:
        """Who is heard with a date far ahead of the clock here, in words."""
        now = self.context.now()
        return [
            f"the heartbeat of {one.eth_address} {dated_ahead(ahead)}"
            for one in self.others()
            if (ahead := seconds_ahead(one, now))
        ]

    def others(self) -> list[Heartbeat]:
        """The newest verified heartbeats of the others."""
        return [heard for address, heard in self.seen.items() if address != self.context.me.address]

    async def compare(self) -> None:
        """What the heard members say: `clash` tells if so many have another identity that this one must not sign."""
        quorum, _ = await self.context.quorum()
        self.threshold = quorum.threshold
        self._note_membership(member=self.context.me.address in quorum.members)
        now, own = self.context.now(), self.context.bridge.identity_hash()
        others: dict[str, str] = {}
        for address, heard in self.seen.items():
            if address not in quorum.members or address == self.context.me.address:
                continue
            if self.peers is not None and heard.phase == Phase.STOPPED:
                self.peers.left(address)
            elif self.peers is not None:
                self.peers.heard(address, (heard.instance, heard.counter))
            if heard.phase != Phase.STOPPED and self._speaks_now(heard, now):
                others[address] = heard.identity
        different = sorted(address for address, identity in others.items() if identity != own)
        # SECURITY: TRUST.md, rule 8. One that stands alone against M others is the one with the wrong configuration.
        clash = ""
        if len(different) >= quorum.threshold:
            who = counted(len(different), "validator runs", "validators run")
            clash = f"{who} another bridge identity than {own[:12]}: compare `reactor check`"
        if clash and not self.clash:
            logger.error("signing stops: {}", clash)
        if self.clash and not clash:
            logger.warning("signing goes on: too few others run another bridge identity than {}", own[:12])
        self.clash = clash

    def _speaks_now(self, heard: Heartbeat, now: datetime) -> bool:
        """Whether it says something about the present.

        SECURITY: by its date, and by when it came: one that is dated far ahead counts once, not for ever.
        """
        came = self.monotonic() - self.heard_at[heard.eth_address]
        return (now - heard.updated_at).total_seconds() <= FRESH_SECONDS and came <= FRESH_SECONDS

    def _note_membership(self, *, member: bool) -> None:
        before, self.member = self.member, member
        if not member and before is not False:
            logger.warning("{} is no validator of the contract: its signatures of mints do not count", self.context.me.address)
        if member and before is False:
            logger.warning("{} is a validator of the contract now: it signs mints", self.context.me.address)


def _hindrance(problem: Problem) -> dict[str, Any]:
    costs = [one.value for one in Ability if one in problem.costs]
    return {"code": problem.code.value, "about": problem.about[:200], "costs": costs}


def _most(problems: Sequence[str]) -> list[str]:
    left = len(problems) - OLDEST_OPEN + 1
    return [*problems] if left <= 1 else [*problems[: OLDEST_OPEN - 1], f"… and {left} more"]


def beyond_holds(problem: str, holds: Sequence[str]) -> str:
    """What a problem of a heartbeat says besides what its holds say already; empty: nothing."""
    told = []
    for hold in holds:
        scope, _, why = hold.partition(": ")
        if scope in _STOPS:
            told.append(cut(stopped(_STOPS[scope], why), ENTRY))
    while (said := next((one for one in told if problem == one or problem.startswith(f"{one}; ")), None)) is not None:
        problem = problem[len(said) + len("; ") :]
    return problem


def verified_heartbeat(row: Mapping[str, Any]) -> Heartbeat | None:
    """The heartbeat, if its signature is that of the address it names.

    SECURITY: anyone with write access can put a heartbeat into the collection; an unsigned or altered one says nothing.
    """
    heard = Heartbeat.read(row)
    if heard is None or recover_signer(heartbeat_digest(row), heard.signature) != heard.eth_address:
        return None
    return heard


async def verified_heartbeats(store: Store, addresses: Collection[str]) -> tuple[list[Mapping[str, Any]], int]:
    """Those that verify, newest first (see `rank`), of `addresses` and of a few others; how many more lie there.

    It reads them all, whatever their number, for half a minute at most: for people, not for a loop.
    """
    good: list[tuple[Heartbeat, Mapping[str, Any]]] = []
    strangers = more = 0
    until = monotonic() + _SEARCH_SECONDS
    async for row in each_heartbeat(store):
        if (beat := verified_heartbeat(row)) is None:
            more += 1
        elif beat.eth_address in addresses:
            good.append((beat, row))
        elif strangers < _MOST_STRANGERS:
            strangers += 1
            good.append((beat, row))
        else:
            more += 1
        if monotonic() > until or len(good) >= _MOST_HONEST:
            break
    now = datetime.now(UTC)
    return [row for _, row in sorted(good, key=lambda one: rank(one[0], now), reverse=True)], more
