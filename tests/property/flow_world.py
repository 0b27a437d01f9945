"""A small world for the flows' state machine: chains, one shared store with compare-and-set, validators that decide and write.

It interprets decisions as the store's updates mean them, without Mongo. A signature is a text that only its signer can have
made: `made` knows all of them, whatever else stands in a document is garbage.
"""

from collections.abc import Callable, Iterator, Mapping
from copy import deepcopy
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from hashlib import sha256
from typing import Any

from bson import ObjectId

from reactor.documents.bridge import Bridge, Schedule
from reactor.documents.build import burn_document, deposit_document
from reactor.documents.classification import NotPayable, ToMint, ToPay, classify_burn, classify_deposit
from reactor.documents.events import BlockRef, Burn, Deposit, Minted, Returned
from reactor.documents.keys import event_key
from reactor.documents.statuses import REQUESTS, Collection
from reactor.flows.payments import Claim

FEE = 10
NOW = datetime(2026, 1, 1, tzinfo=UTC)
MEMBERS = 5
FINAL = 2
"""Blocks above an event that make it final."""
ATTEMPTS = 4

BRIDGE = Bridge(
    pocket_chain_id="localnet",
    vault="aa" * 20,
    pocket_keys=tuple(f"{9 - i:02x}" * 32 for i in range(MEMBERS)),
    pocket_start=1,
    deposit_fee=Schedule(((0, FEE),)),
    maximum=Schedule(((0, 1000),)),
    ethereum_chain_id=1,
    wpokt="0x" + "11" * 20,
    mint_controller="0x" + "22" * 20,
    ethereum_start=1,
    burn_fee=Schedule(((0, FEE),)),
)
ADDRESSES = tuple("0x" + f"{i + 1:02x}" * 20 for i in range(MEMBERS))

Source = Deposit | Burn
Event = Deposit | Burn | Minted | Returned
Raw = dict[str, Any]
Id = tuple[Collection, ObjectId]


def outcome_of(event: Source) -> ToMint | ToPay | NotPayable:
    return classify_deposit(BRIDGE, event) if isinstance(event, Deposit) else classify_burn(BRIDGE, event)


def chain_of(event: Event) -> str:
    return "pocket" if isinstance(event, Deposit | Returned) else "ethereum"


def fresh(event: Source) -> tuple[Collection, Raw]:
    if isinstance(event, Deposit):
        return deposit_document(BRIDGE, event, NOW)
    return Collection.BURN, burn_document(BRIDGE, event, NOW)


def home(event: Source) -> Id:
    collection, document = fresh(event)
    return collection, document["_id"]


def entropies(event: Source) -> list[int]:
    """As the chain package does it: a function of the event and the attempt alone."""
    seed = event_key(BRIDGE, event)
    return [int.from_bytes(sha256(f"{seed}:{attempt}".encode()).digest()[:7], "big") for attempt in range(ATTEMPTS)]


def mint_digest(recipient: str, amount: int, nonce: int) -> str:
    return f"mint:{recipient}:{amount}:{nonce}"


def pay_message(outcome: ToPay, entropy: int) -> str:
    return f"pay:{outcome.recipient}:{outcome.amount}:{outcome.fee}:{outcome.memo}:{entropy}"


def assembled(message: str, pairs: Mapping[str, str]) -> str:
    """The raw return transaction; empty where a key has no signature."""
    if any(key not in pairs for key in BRIDGE.pocket_keys):
        return ""
    return "\n".join([message, *(pairs[key] for key in BRIDGE.pocket_keys)])


def hash_of(raw: str) -> str:
    return sha256(raw.encode()).hexdigest()


@dataclass
class Chain:
    """A chain as it truly is: its events, and when each block was made. Only what is not final is ever taken back."""

    head: int = 1
    events: list[Event] = field(default_factory=list)
    times: list[int] = field(default_factory=lambda: [0, 0])

    def mine(self, clock: int) -> None:
        self.head += 1
        self.times.append(clock)


@dataclass
class World:
    """What all share: the chains, the documents, the signatures that were ever made."""

    chains: dict[str, Chain] = field(default_factory=lambda: {"pocket": Chain(), "ethereum": Chain()})
    store: dict[Id, Raw] = field(default_factory=dict)
    made: set[tuple[str, str, str]] = field(default_factory=set)
    sources: dict[str, Source] = field(default_factory=dict)
    mempool: dict[str, tuple[str, int]] = field(default_factory=dict)
    indexed: set[str] = field(default_factory=set)
    past: list[tuple[Id, Raw]] = field(default_factory=list)
    objected: set[tuple[str, str, str]] = field(default_factory=set)
    threshold: int = 3
    limit: int = 1000
    short: bool = False
    clock: int = 1
    writes: int = 0
    numbers: int = 0

    # ------------------------------------------------------------------ chains

    def tx_hash(self, chain: str) -> str:
        self.numbers += 1
        return ("" if chain == "pocket" else "0x") + f"{self.numbers:064x}"

    def block(self, chain: str, height: int) -> BlockRef:
        times = self.chains[chain].times
        return BlockRef(height, f"{height:064x}", times[height] if height < len(times) else self.clock)

    def appears(self, event: Event) -> Event:
        """In the next block of its chain."""
        chain = self.chains[chain_of(event)]
        chain.mine(self.clock)
        event = replace(event, block=self.block(chain_of(event), chain.head))
        chain.events.append(event)
        if isinstance(event, Deposit | Burn):
            self.sources[event_key(BRIDGE, event)] = event
        return event

    def reorganise(self, event: Event) -> bool:
        """Out of its chain, if it is not final there; it may come again."""
        chain = self.chains[chain_of(event)]
        if event not in chain.events or event.height + FINAL <= chain.head:
            return False
        chain.events.remove(event)
        if isinstance(event, Returned):
            self.indexed.discard(event.tx_hash)
        return True

    def on_chain(self, kind: type) -> list[Any]:
        return [event for chain in self.chains.values() for event in chain.events if isinstance(event, kind)]

    def nonce(self, recipient: str) -> int:
        return sum(1 for event in self.on_chain(Minted) if event.recipient == recipient)

    def user_mints(self, doc: Id) -> bool:
        """The user passes the document on, as it stands. The contract looks at nothing but the signatures."""
        raw = self.store.get(doc, {})
        data, signatures = raw.get("data"), raw.get("signatures")
        if raw.get("status") != "signed" or not isinstance(data, dict) or not isinstance(signatures, list):
            return False
        try:
            recipient, amount, nonce = data["recipient"], int(data["amount"]), int(data["nonce"])
        except (KeyError, TypeError, ValueError):
            return False
        digest = mint_digest(recipient, amount, nonce)
        who = [next((signer for signer, what, text in self.made if (what, text) == (digest, one)), "") for one in signatures]
        fits = all(who) and who == sorted(set(who)) and len(who) >= self.threshold and set(who) <= set(ADDRESSES)
        if not fits or nonce != self.nonce(recipient) + 1 or amount > self.limit:
            return False
        self.appears(Minted(recipient, amount, nonce, self.tx_hash("ethereum"), 0, self.block("ethereum", 0)))
        return True

    def submit(self, raw: str, fee: int) -> None:
        """The same bytes twice are one transaction; those that a block holds are refused."""
        if hash_of(raw) not in self.indexed:
            self.mempool[hash_of(raw)] = (raw, fee)

    def include(self, tx_hash: str, code: int = 0) -> None:
        raw, fee = self.mempool.pop(tx_hash)
        message, *signatures = raw.split("\n")
        _, to, amount, _, memo, entropy = _split_message(message)
        good = all((key, message, text) in self.made for key, text in zip(BRIDGE.pocket_keys, signatures, strict=True))
        assert good, "the chain takes nothing that is not signed by all"
        self.indexed.add(tx_hash)
        self.appears(Returned(tx_hash, 0, self.block("pocket", 0), to, int(amount), fee, memo, int(entropy), code))

    # ------------------------------------------------------------------ the store

    def insert(self, collection: Collection, document: Raw) -> None:
        """Unless its `_id` or its natural key is taken (the unique index)."""
        doc = (collection, document["_id"])
        if doc in self.store or any(
            one == collection and natural(raw) == natural(document) for (one, _), raw in self.store.items()
        ):
            return
        self.store[doc] = deepcopy(document)

    def sign(self, signer: str, what: str, *, variant: int = 0) -> str:
        text = sha256(f"{signer}:{what}:{variant}".encode()).hexdigest()
        self.made.add((signer, what, text))
        return text

    def keep(self, doc: Id) -> None:
        """Somebody notes how a document stands, to write it again later."""
        if doc in self.store and (doc, self.store[doc]) not in self.past[-8:]:
            self.past.append((doc, deepcopy(self.store[doc])))


def natural(raw: Raw) -> tuple[Any, Any]:
    return raw.get("transaction_hash"), raw.get("burn_index")


def _split_message(message: str) -> list[str]:
    """`memo` of ours holds no colon."""
    parts = message.split(":")
    assert len(parts) == 6
    return parts


@dataclass
class Ledger:
    """One validator's own chains: what it saw, and up to where it is final to it (that never goes back)."""

    world: World
    heads: dict[str, int] = field(default_factory=lambda: {"pocket": 0, "ethereum": 0})
    cursors: dict[str, int] = field(default_factory=lambda: {"pocket": 0, "ethereum": 0})

    def look(self, chain: str, height: int) -> None:
        self.heads[chain] = max(0, min(height, self.world.chains[chain].head))
        self.cursors[chain] = max(self.cursors[chain], self.heads[chain] - FINAL)

    def seen(self, chain: str) -> Iterator[Event]:
        reach = max(self.heads[chain], self.cursors[chain])
        return (event for event in self.world.chains[chain].events if event.height <= reach)

    def final(self, event: Event) -> bool:
        return event.height <= self.cursors[chain_of(event)]

    def final_time(self, chain: str) -> int | None:
        return self.world.chains[chain].times[self.cursors[chain]] if self.cursors[chain] else None

    def sources(self) -> list[Source]:
        return [event for chain in self.heads for event in self.seen(chain) if isinstance(event, Deposit | Burn)]

    def by_document(self, doc: ObjectId) -> Source | None:
        return next((event for event in self.sources() if home(event)[1] == doc), None)

    def by_content(self, collection: Collection, tx_hash: str, burn_index: str) -> Source | None:
        for event in self.sources():
            burn = isinstance(event, Burn)
            if burn != (collection is Collection.BURN) or event.tx_hash != tx_hash:
                continue
            if not isinstance(event, Burn) or str(event.burn_index) == burn_index:
                return event
        return None

    def nonce(self, deposit: Deposit, recipient: str) -> int:
        """The contract's nonce at the start block is 0 in this world: the nonce is the rank."""
        mine = [
            (one.height, one.index)
            for one in self.sources()
            if isinstance(one, Deposit) and self.final(one) and _mints_to(one) == recipient
        ]
        return sorted(mine).index((deposit.height, deposit.index)) + 1

    def minted(self, recipient: str, nonce: int) -> Minted | None:
        found = [e for e in self.seen("ethereum") if isinstance(e, Minted) and (e.recipient, e.nonce) == (recipient, nonce)]
        return max(found, key=lambda one: (self.final(one), one.height)) if found else None

    def returns(self, outcome: ToPay) -> list[Returned]:
        wanted = (outcome.recipient, outcome.amount, outcome.memo)
        return [e for e in self.seen("pocket") if isinstance(e, Returned) and (e.recipient, e.amount, e.memo) == wanted]

    def claims(self, event: Source, outcome: ToPay) -> list[Claim]:
        if isinstance(event, Deposit):
            return [Claim(event_key(BRIDGE, event), frozenset(entropies(event)))]
        twins = [one for one in self.sources() if isinstance(one, Burn) and one.tx_hash == event.tx_hash]
        return [
            Claim(event_key(BRIDGE, one), frozenset(entropies(one)))
            for one in sorted(twins, key=lambda one: one.burn_index)
            if isinstance(paid := outcome_of(one), ToPay) and (paid.recipient, paid.amount) == (outcome.recipient, outcome.amount)
        ]


def _mints_to(deposit: Deposit) -> str | None:
    outcome = outcome_of(deposit)
    return outcome.recipient if isinstance(outcome, ToMint) else None


Write = Callable[[], bool]
"""A guarded write under way. Whether it applied."""


def everywhere(world: World) -> list[Id]:
    """All documents of requests, in an order that does not depend on the run."""
    return sorted(world.store, key=lambda doc: (REQUESTS.index(doc[0]), doc[1]))
