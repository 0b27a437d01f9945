"""Who signs at once and who looks later, by whom one hears: so many as are needed, and nobody waits for the dead."""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any

import pytest

from reactor.chains.ethereum.eip712 import mint_digest, typed_data
from reactor.documents.build import deposit_document
from reactor.documents.keys import deposit_key
from reactor.documents.reasons import WaitReason
from reactor.flows.decisions import Rest, Wait
from reactor.flows.turns import turn
from reactor.handlers.claims import Turns
from reactor.handlers.context import Context, Me
from reactor.handlers.mint import MintHandler
from reactor.handlers.peers import Peers
from reactor.handlers.request import completion
from reactor.handlers.twins import SILENT_BEATS
from reactor.state.rows import EventKind
from tests.unit.handler_world import NOW, USER, World, deposit, make_world

pytestmark = pytest.mark.unit

MEMBERS = [f"0x{i:040x}" for i in range(1, 6)]
BEAT = 30.0


@dataclass
class Listening:
    """One validator's ear, and its clock."""

    now: float = 1000.0
    beats: int = 0
    peers: Peers = field(init=False)

    def __post_init__(self) -> None:
        self.peers = Peers(MEMBERS[0], MEMBERS, BEAT, lambda: self.now)

    def beat(self, *alive: str, seconds: float = BEAT) -> None:
        self.now += seconds
        self.beats += 1
        for one in alive:
            self.peers.heard(one, ("instance", self.beats))


def test_all_count_as_up_until_one_has_listened_long_enough() -> None:
    one = Listening()
    one.beat(MEMBERS[1], seconds=SILENT_BEATS * BEAT)
    assert one.peers.up() == tuple(MEMBERS)
    one.beat(MEMBERS[1], seconds=1.5)
    assert one.peers.up() == tuple(MEMBERS[:2])


def test_an_old_heartbeat_that_lies_there_is_no_sign_of_life() -> None:
    one = Listening()
    for _ in range(4):
        one.now += BEAT
        one.peers.heard(MEMBERS[3], ("instance", 7))
    assert one.peers.up() == (MEMBERS[0],)


def test_who_falls_silent_is_down_and_up_again_when_heard() -> None:
    one = Listening()
    for _ in range(4):
        one.beat(*MEMBERS[1:])
    for _ in range(4):
        one.beat(*MEMBERS[1:4])
    assert one.peers.up() == tuple(MEMBERS[:4])
    one.beat(*MEMBERS[1:])
    assert one.peers.up() == tuple(MEMBERS)


def test_who_says_that_it_stops_is_down_at_once_and_up_again_when_heard() -> None:
    one = Listening()
    for _ in range(4):
        one.beat(*MEMBERS[1:])
    one.now += 1.5
    one.peers.left(MEMBERS[4])
    assert one.peers.up() == tuple(MEMBERS[:4])
    one.now += 1.5
    one.peers.left(MEMBERS[4])  # its last heartbeat lies there, and is read again and again
    assert one.peers.up() == tuple(MEMBERS[:4])
    one.beat(*MEMBERS[1:])
    assert one.peers.up() == tuple(MEMBERS)


def in_turn(members: list[str], subject: str) -> list[str]:
    return sorted(members, key=lambda one: turn(one, members, subject))


def test_who_audits_does_not_hang_on_who_seems_to_be_up() -> None:
    order = in_turn(MEMBERS, "x")
    for up in (MEMBERS, order[:1], order[3:]):
        audits = [Turns(one, lambda up=up: up, lambda: 0.0, MEMBERS).audits("x", 3) for one in order]
        assert audits == [True, True, True, False, False]
    assert [Turns(MEMBERS[0], lambda: MEMBERS, lambda: 0.0).spare(needed) for needed in (3, 5, 9)] == [2, 0, 0]


# ---------------------------------------------------------------------- five validators, three signatures


@dataclass
class Five:
    """The same deposit seen by one of five, whichever."""

    world: World

    def __post_init__(self) -> None:
        self.world.record(EventKind.DEPOSIT, deposit(5))
        for kind in (EventKind.RETURNED, EventKind.MINTED, EventKind.BURN):
            self.world.record(kind)
        self.everybody = [key.address for key in self.world.keys]
        self.key = deposit_key(self.world.bridge, deposit(5).tx_hash)
        self.order = in_turn(self.everybody, completion(self.key))
        _, document = deposit_document(self.world.bridge, deposit(5), NOW)
        self.document: dict[str, Any] = {**document, "status": "confirmed"}
        self.world.requests.documents[document["_id"]] = self.document

    def handler(self, place: int) -> MintHandler:
        signer = next(key for key in self.world.keys if key.address == self.order[place])
        given: dict[str, Any] = {one.name: getattr(self.world.context, one.name) for one in fields(Context)}
        given["me"] = Me(signer.address, self.world.context.me.pocket_key, signer, self.world.pocket_keys[0])
        given["turns"] = Turns(signer.address, lambda: self.everybody, lambda: 0.0)
        return MintHandler(Context(**given))

    async def rung(self, handler: MintHandler, *, written: bool = True) -> Any:
        return await handler.handle(self.document["_id"], rung=True, written=written)

    async def sign(self, *places: int) -> None:
        """As if those had signed."""
        digest = mint_digest(self.world.ethereum.facts.domain, USER, 1_000_000, 1)
        signers = {key.address: key for key in self.world.keys}
        pairs = sorted([(who, "0x" + (await signers[who].sign(digest)).hex()) for who in (self.order[one] for one in places)])
        self.document["signers"], self.document["signatures"] = [who for who, _ in pairs], [what for _, what in pairs]

    @property
    def kinds(self) -> list[str]:
        return [update.kind for update in self.world.requests.updates]


@pytest.fixture
def five(tmp_path: Path) -> Iterator[Five]:
    world = make_world(tmp_path, members=5, threshold=3)
    world.ethereum.facts = replace(world.ethereum.facts, validators=tuple(sorted(key.address for key in world.keys)))
    yield Five(world)
    world.close()


@pytest.mark.parametrize(("place", "at_once"), [(0, True), (1, False), (2, False), (3, True), (4, True)])
async def test_so_many_as_are_needed_sign_at_once(five: Five, place: int, *, at_once: bool) -> None:
    result = await five.rung(five.handler(place))
    assert isinstance(result, Wait)
    assert result.reason is WaitReason.SIGNATURES
    assert five.kinds == (["append"] if at_once else [])


async def test_all_sign_at_once_where_nobody_can_be_spared(five: Five) -> None:
    five.everybody = five.order[:3]
    for place in range(3):
        await five.rung(five.handler(place))
    assert five.kinds[0] == "append"
    assert five.world.journal.knows(five.key, "mint", 0) is not None


async def test_who_was_spared_signs_when_it_is_not_signed(five: Five) -> None:
    handler = five.handler(1)
    await five.rung(handler)
    await five.sign(0, 4)
    await five.rung(handler, written=False)
    assert five.kinds == ["append"]


async def test_who_was_spared_adds_his_when_it_is_signed(five: Five) -> None:
    handler = five.handler(1)
    await five.rung(handler)
    await five.sign(0, 3, 4)
    five.document |= {"status": "signed", **_copies(five)}
    await five.rung(handler)
    assert five.kinds == ["append"]


async def test_who_signed_at_once_leaves_it_to_the_auditors_once_it_goes_on(five: Five) -> None:
    handler = five.handler(4)
    await five.rung(handler)
    reads = five.world.requests.reads
    result = await five.rung(handler, written=True)
    assert isinstance(result, Rest)
    assert five.world.requests.reads == reads
    await five.rung(handler, written=True)
    assert five.world.requests.reads > reads, "what rings later is read"


async def test_who_signed_at_once_looks_where_nothing_was_written_since(five: Five) -> None:
    handler = five.handler(4)
    await five.rung(handler)
    reads = five.world.requests.reads
    await five.rung(handler, written=False)
    assert five.world.requests.reads > reads


async def test_who_is_first_completes_it_when_enough_stand_in_it(five: Five) -> None:
    handler = five.handler(0)
    await five.rung(handler)
    await five.sign(0, 3, 4)
    five.document |= _copies(five)
    await five.rung(handler)
    assert five.kinds == ["append", "sign"]


def _copies(five: Five) -> dict[str, Any]:
    """What travels with a signature, as every validator computes it."""
    domain = five.world.ethereum.facts.domain
    data = {"recipient": USER, "amount": "1000000", "nonce": "1"}
    return {"nonce": "1", "data": data, "typed_data": typed_data(domain, USER, 1_000_000, 1)}
