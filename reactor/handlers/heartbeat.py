"""The signed heartbeat: what this validator says of itself, and what it hears the others say.

It listens for two things: another bridge identity (trust rule 8), and another process with its own key (`twins`).
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from time import monotonic
from typing import Any, Final

from loguru import logger

from reactor.chains.ethereum.eip712 import recover_signer
from reactor.documents.heartbeats import heartbeat_digest, milliseconds
from reactor.documents.models import Heartbeat, OpenDocument
from reactor.handlers.context import Context
from reactor.handlers.evidence import heartbeat_known
from reactor.handlers.peers import Peers
from reactor.handlers.twins import FRESH_SECONDS, SILENT_BEATS, Twins, scope_of
from reactor.state.rows import EventKind
from reactor.store.connection import Store
from reactor.store.heartbeats import each_heartbeat

OLDEST_OPEN: Final = 50
"""How many open documents a heartbeat lists: the oldest ones."""
_SEARCH_SECONDS: Final = 30.0
_MOST_HONEST: Final = 1024
_MOST_STRANGERS: Final = 16


@dataclass(frozen=True, slots=True)
class Pulse:
    """What the process knows of itself at this moment. `problems`: why it is not healthy, empty if it is."""

    open_count: int
    open: Sequence[OpenDocument]
    stream_age_ms: int
    problems: Sequence[str]


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
    for, `places` under which `_id` it lies.
    """

    context: Context
    instance: Instance
    pulse: Callable[[], Pulse]
    peers: Peers | None = None
    counter: int = 0
    clash: str = ""
    seen: dict[str, Heartbeat] = field(default_factory=dict)
    places: dict[str, Any] = field(default_factory=dict)
    monotonic: Callable[[], float] = monotonic
    twins: Twins = field(init=False)

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

    async def own(self) -> dict[str, Any]:
        """The heartbeat as it is to lie in Mongo, signed."""
        self.counter += 1
        fields = self._fields(self.pulse())
        key = self.context.me.ethereum_signer
        signature = "0x" + (await key.sign(heartbeat_digest(fields), "heartbeat")).hex() if key else ""
        return {**fields, "signature": signature}

    def _fields(self, pulse: Pulse) -> dict[str, Any]:
        context, bridge = self.context, self.context.bridge
        deposits = context.ledger.cursor(EventKind.DEPOSIT)
        burns = context.ledger.cursor(EventKind.BURN)
        last = context.journal.last_signature_at()
        problems = [*pulse.problems, *(why for why in (self.clash, self.twins.silenced()) if why)]
        # What stops many stands first: holds of single events, by the thousand, must not hide it.
        active = sorted(context.journal.holds(), key=lambda hold: hold.scope.startswith("event:"))
        holds = [f"{hold.scope}: {hold.reason} {hold.detail}".strip()[:500] for hold in active]
        return {
            **scope_of(bridge),
            "validator_id": self.instance.validator_id,
            "hostname": self.instance.hostname,
            "pokt_public_key": context.me.pocket_key,
            "pokt_address": self.instance.pocket_address,
            "eth_address": context.me.address,
            "healthy": not problems,
            "updated_at": milliseconds(context.now()),
            "identity": bridge.identity_hash(),
            "instance": self.instance.instance,
            "started_at": milliseconds(self.instance.started_at),
            "counter": self.counter,
            "rivals": self.twins.named,
            "version": self.instance.version,
            "pocket_height": str(context.heads.height("pocket")),
            "ethereum_height": str(context.heads.height("ethereum")),
            "pocket_cursor": str(deposits.height if deposits else 0),
            "ethereum_cursor": str(burns.height if burns else 0),
            "last_signature_at": milliseconds(datetime.fromtimestamp(last, context.now().tzinfo)) if last else None,
            "stream_age_ms": pulse.stream_age_ms,
            "open_count": pulse.open_count,
            "open": [one.model_dump() for one in pulse.open[:OLDEST_OPEN]],
            "holds": holds[:OLDEST_OPEN],
            "problems": [problem[:500] for problem in problems][:OLDEST_OPEN],
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
            if before is None or one.updated_at >= before.updated_at:
                self.seen[one.eth_address] = one
                self.places[one.eth_address] = one.id

    async def compare(self) -> None:
        """What the heard members say: `clash` tells if so many have another identity that this one must not sign."""
        quorum, _ = await self.context.quorum()
        now, own = self.context.now(), self.context.bridge.identity_hash()
        others: dict[str, str] = {}
        for address, heard in self.seen.items():
            if address not in quorum.members or address == self.context.me.address:
                continue
            if self.peers is not None:
                self.peers.heard(address, (heard.instance, heard.counter))
            if (now - heard.updated_at).total_seconds() <= FRESH_SECONDS:
                others[address] = heard.identity
        different = sorted(address for address, identity in others.items() if identity != own)
        # SECURITY: trust rule 8. One that stands alone against M others is the one with the wrong configuration.
        clash = ""
        if len(different) >= quorum.threshold:
            clash = f"{len(different)} validators run another bridge identity than {own[:12]}: compare `reactor check`"
        if clash and not self.clash:
            logger.error("signing stops: {}", clash)
        self.clash = clash


def verified_heartbeat(row: Mapping[str, Any]) -> Heartbeat | None:
    """The heartbeat, if its signature is that of the address it names.

    SECURITY: anyone with write access can put a heartbeat into the collection; an unsigned or altered one says nothing.
    """
    heard = Heartbeat.read(row)
    if heard is None or recover_signer(heartbeat_digest(row), heard.signature) != heard.eth_address:
        return None
    return heard


async def verified_heartbeats(store: Store, addresses: Collection[str]) -> tuple[list[Mapping[str, Any]], int]:
    """Those that verify, newest first, of `addresses` and of a few others; and how many more lie there, forged or foreign.

    It reads them all, whatever their number, for half a minute at most: for people, not for a loop.
    """
    good: list[Mapping[str, Any]] = []
    strangers = more = 0
    until = monotonic() + _SEARCH_SECONDS
    async for row in each_heartbeat(store):
        if verified_heartbeat(row) is None:
            more += 1
        elif row["eth_address"] in addresses:
            good.append(row)
        elif strangers < _MOST_STRANGERS:
            strangers += 1
            good.append(row)
        else:
            more += 1
        if monotonic() > until or len(good) >= _MOST_HONEST:
            break
    return sorted(good, key=lambda row: row["updated_at"], reverse=True), more
