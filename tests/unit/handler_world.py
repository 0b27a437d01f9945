"""A small world for the handlers' unit tests: real ledger and journal on disk, chains and documents in memory."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from bson import ObjectId
from coincurve import PrivateKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from reactor.chains.ethereum.eip712 import Domain
from reactor.chains.ethereum.types import ContractFacts, Head
from reactor.chains.pocket import vault_address
from reactor.documents.bridge import Bridge, Schedule
from reactor.documents.events import BlockRef, Burn, Deposit, Minted, Returned
from reactor.documents.statuses import Collection
from reactor.handlers.claims import Turns
from reactor.handlers.context import Context, Me
from reactor.handlers.request import RequestHandler
from reactor.handlers.stops import Stops
from reactor.keys.local import Ed25519Signer, Secp256k1Signer
from reactor.state.journal import Journal, JournalEntry
from reactor.state.ledger import Ledger
from reactor.state.rows import EventKind
from reactor.state.verdicts import Verdict
from reactor.store.reading import Found
from reactor.store.updates import Update

WPOKT = "0x" + "11" * 20
CONTROLLER = "0x" + "22" * 20
USER = "0x" + "99" * 20
POCKET_USER = "bb" * 20
FEE = 10_000
NOW = datetime(2026, 1, 1, tzinfo=UTC)


def block(height: int, chain: str = "pocket") -> BlockRef:
    """A block with a hash of its own and one minute per block."""
    prefix = "0x" if chain == "ethereum" else ""
    return BlockRef(height, f"{prefix}{height:064x}", 1_000_000 + 60 * height)


def deposit(height: int, index: int = 0, *, amount: int | None = 1_000_000, to: str | None = USER, **changes: Any) -> Deposit:
    fields: dict[str, Any] = {
        "tx_hash": f"{height:032x}{index:032x}",
        "index": index,
        "block": block(height),
        "sender": POCKET_USER,
        "amount": amount,
        "code": 0,
        "is_send": True,
        "memo": "memo",
        "memo_address": to,
        "memo_chain_id": "1" if to else None,
    }
    return Deposit(**{**fields, **changes})


def burn(height: int, index: int = 0, *, amount: int = 1_000_000, to: str = POCKET_USER, tx: int | None = None) -> Burn:
    return Burn(f"0x{tx or height:064x}", index, index, block(height, "ethereum"), USER, to, amount)


def minted(height: int, nonce: int, *, amount: int = 1_000_000, to: str = USER) -> Minted:
    return Minted(to, amount, nonce, f"0x{height:064x}", 0, block(height, "ethereum"))


def returned(
    height: int, memo: str, *, amount: int = 990_000, to: str = POCKET_USER, entropy: int = 7, code: int = 0
) -> Returned:
    return Returned(f"{height:032x}{entropy & 0xFFFF:032x}", 0, block(height), to, amount, FEE, memo, entropy, code)


@dataclass
class FakeEthereum:
    """The own Ethereum node: facts and nonces as set by the test."""

    facts: ContractFacts
    nonces: dict[str, int] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    mined: dict[str, tuple[int, int]] = field(default_factory=dict)
    asked: list[tuple[str, int]] = field(default_factory=list)

    async def contract_facts(self) -> ContractFacts:
        return self.facts

    async def user_nonce(self, recipient: str, block: int) -> int:
        self.asked.append((recipient, block))
        return self.nonces.get(recipient, 0)

    async def same_block(self, block: BlockRef) -> bool:
        return block.hash not in self.gone

    async def mined_burns(self, tx_hash: str) -> tuple[int, int] | None:
        return self.mined.get(tx_hash)


@dataclass
class FakePocket:
    """The own Pocket node."""

    funds: int = 10**12
    gone: set[str] = field(default_factory=set)
    known: dict[str, int] = field(default_factory=dict)
    submitted: list[bytes] = field(default_factory=list)
    again: list[bool] = field(default_factory=list)
    refuses: Exception | None = None

    async def balance(self) -> int:
        return self.funds

    async def same_block(self, block: BlockRef) -> bool:
        return block.hash not in self.gone

    async def indexed(self, tx_hash: str) -> tuple[int, bool] | None:
        return (self.known[tx_hash], True) if tx_hash in self.known else None

    async def submit(self, raw: bytes, *, again: bool = False) -> str:
        self.submitted.append(raw)
        self.again.append(again)
        if self.refuses is not None:
            raise self.refuses
        return "accepted"


@dataclass
class FakeRequests:
    """The shared documents: reads what the test put there, keeps the updates that were asked for."""

    documents: dict[ObjectId, dict[str, Any]] = field(default_factory=dict)
    updates: list[Update] = field(default_factory=list)
    inserted: list[Mapping[str, Any]] = field(default_factory=list)
    freed: list[ObjectId] = field(default_factory=list)
    applies: bool = True
    adopted: bool = False
    reads: int = 0

    async def read(self, collection: Collection, document_id: ObjectId) -> Found | None:
        self.reads += 1
        raw = self.documents.get(document_id)
        return None if raw is None else Found(raw, 1)

    async def write(self, update: Update) -> bool:
        self.updates.append(update)
        return self.applies

    async def insert(self, collection: Collection, document: Mapping[str, object]) -> bool:
        self.inserted.append(document)
        return not self.adopted

    async def free_key(self, collection: Collection, document: Mapping[str, object], keep: ObjectId) -> None:
        self.freed.append(keep)


@dataclass
class FakeHeads:
    """Newest heads as set by the test."""

    heights: dict[str, int] = field(default_factory=lambda: {"pocket": 100, "ethereum": 100})

    def height(self, chain: str) -> int:
        return self.heights[chain]

    def final_at(self, chain: str, height: int) -> int:
        return height + 2


class DirectJournal:
    """Asks the journal at once, without a batch."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def admit(self, entry: JournalEntry) -> Verdict:
        return self._journal.sign_batch([entry])[0]


@dataclass
class World:
    """One validator's world. `keys[0]` is its own Ethereum key, the others are the other members'."""

    bridge: Bridge
    context: Context
    requests: FakeRequests
    ethereum: FakeEthereum
    pocket: FakePocket
    heads: FakeHeads
    ledger: Ledger
    journal: Journal
    keys: list[Secp256k1Signer]
    pocket_keys: list[Ed25519Signer]

    def record(self, kind: EventKind, *events: Any, last: int = 100, final: int = 100, first: int = 1) -> None:
        """The whole chain so far, read in one window."""
        self.ledger.record_window(kind, first, last, list(events), final, block(min(last, final), kind.chain))

    def close(self) -> None:
        self.ledger.close()
        self.journal.close()


def make_world(directory: Path, *, members: int = 3, threshold: int = 2) -> World:
    keys = [Secp256k1Signer(PrivateKey((i + 1).to_bytes(32, "big")), "test") for i in range(members)]
    pocket_keys = [
        Ed25519Signer(Ed25519PrivateKey.from_private_bytes((i + 1).to_bytes(32, "big")), "test") for i in range(members)
    ]
    every = Schedule(((1, FEE),))
    bridge = Bridge(
        pocket_chain_id="localnet",
        vault=vault_address([key.public_key for key in pocket_keys]),
        pocket_keys=tuple(key.public_key for key in pocket_keys),
        pocket_start=1,
        deposit_fee=every,
        maximum=Schedule(((1, 10**9),)),
        ethereum_chain_id=1,
        wpokt=WPOKT,
        mint_controller=CONTROLLER,
        ethereum_start=1,
        burn_fee=every,
    )
    addresses = tuple(sorted(key.address for key in keys))
    head = Head(100, f"0x{100:064x}", f"0x{99:064x}", 1)
    domain = Domain("MintController", "1", 1, CONTROLLER)
    facts = ContractFacts(head, threshold, addresses, members, 10**9, 10**9, 1, False, False, 0, domain, minter=True)
    ethereum, pocket, requests, heads = FakeEthereum(facts), FakePocket(), FakeRequests(), FakeHeads()
    ledger = Ledger.open(directory, bridge)
    journal = Journal.create(directory, bridge, {"pocket": 0, "ethereum": 0})
    me = Me(keys[0].address, pocket_keys[0].public_key, keys[0], pocket_keys[0])
    stops = Stops(journal)
    stops.look()
    context = Context(
        bridge=bridge,
        me=me,
        requests=requests,
        ledger=ledger,
        journal=journal,
        admissions=DirectJournal(journal),
        ethereum=ethereum,
        pocket=pocket,
        heads=heads,
        turns=Turns(me.address, lambda: [me.address], lambda: 0.0),
        now=lambda: NOW,
        tell_stops=stops.look,
    )
    return World(bridge, context, requests, ethereum, pocket, heads, ledger, journal, keys, pocket_keys)


def after_deciding(monkeypatch: pytest.MonkeyPatch, handler: RequestHandler[Any, Any], act: Callable[[], object]) -> list[str]:
    """From now on `act` happens right after each decision of this handler; the kinds of decisions it came to."""
    asked: list[str] = []
    decide = handler.decide

    def decided(*arguments: Any) -> Any:
        decision = decide(*arguments)
        asked.append(type(decision).__name__)
        act()
        return decision

    monkeypatch.setattr(handler, "decide", decided)
    return asked
