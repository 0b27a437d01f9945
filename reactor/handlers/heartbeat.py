"""The signed heartbeat: what this validator says of itself, and what it hears the others say of the bridge's identity."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from loguru import logger

from reactor.chains.ethereum.eip712 import recover_signer
from reactor.documents.heartbeats import heartbeat_digest, milliseconds
from reactor.documents.models import Heartbeat, OpenDocument
from reactor.handlers.context import Context
from reactor.state.rows import EventKind

OLDEST_OPEN: Final = 50
"""How many open documents a heartbeat lists: the oldest ones."""
FRESH_SECONDS: Final = 900.0
"""A heartbeat older than this says nothing about the present."""


@dataclass(frozen=True, slots=True)
class Pulse:
    """What the process knows of itself at this moment. `problems`: why it is not healthy, empty if it is."""

    open_count: int
    open: Sequence[OpenDocument]
    stream_age_ms: int
    problems: Sequence[str]


@dataclass(frozen=True, slots=True)
class Instance:
    """This process among all that ever ran with these keys."""

    validator_id: str
    hostname: str
    instance: str
    version: str
    started_at: datetime
    pocket_address: str


@dataclass(slots=True)
class Hearts:
    """Writes the own heartbeat and judges those of the others."""

    context: Context
    instance: Instance
    pulse: Callable[[], Pulse]
    counter: int = 0
    clash: str = ""
    seen: dict[str, Heartbeat] = field(default_factory=dict)

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
        problems = [*pulse.problems, *([self.clash] if self.clash else [])]
        holds = [f"{hold.scope}: {hold.reason} {hold.detail}".strip()[:500] for hold in context.journal.holds()]
        return {
            "validator_id": self.instance.validator_id,
            "hostname": self.instance.hostname,
            "pokt_vault_address": bridge.vault,
            "pokt_public_key": context.me.pocket_key,
            "pokt_address": self.instance.pocket_address,
            "eth_address": context.me.address,
            "wpokt_address": bridge.wpokt,
            "healthy": not problems,
            "updated_at": milliseconds(context.now()),
            "identity": bridge.identity_hash(),
            "instance": self.instance.instance,
            "started_at": milliseconds(self.instance.started_at),
            "counter": self.counter,
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

    async def hear(self, rows: Sequence[Mapping[str, Any]]) -> None:
        """Take in the others' heartbeats; `clash` says whether so many have another identity that this one must not sign."""
        quorum, _ = await self.context.quorum()
        now, own = self.context.now(), self.context.bridge.identity_hash()
        others: dict[str, str] = {}
        for row in rows:
            heard = verified_heartbeat(row)
            if heard is None or heard.eth_address not in quorum.members or heard.eth_address == self.context.me.address:
                continue
            self.seen[heard.eth_address] = heard
            if (now - heard.updated_at).total_seconds() <= FRESH_SECONDS:
                others[heard.eth_address] = heard.identity
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
