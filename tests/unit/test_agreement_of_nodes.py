"""What too few agreeing endpoints do to a document, a block asked again before a signature, and the settings of it all."""

import asyncio
from types import SimpleNamespace
from typing import Any

import pytest
from pydantic import ValidationError

from reactor.adapters import EthereumNode, PocketNode
from reactor.chains.errors import NotAgreed, NotFound
from reactor.documents.build import burn_document, deposit_document
from reactor.documents.events import BlockRef
from reactor.documents.reasons import WaitReason
from reactor.documents.statuses import Collection
from reactor.endpoints import EndpointWatch, SameEvents
from reactor.flows.decisions import Wait
from reactor.handlers.agreement import agreed
from reactor.handlers.mint import MintHandler
from reactor.handlers.payout import PayoutHandler
from reactor.preflight.endpoints import compared
from reactor.settings import Settings
from reactor.state.rows import EventKind
from scanners.loop import Reading
from tests.unit.handler_world import NOW, World, block, burn, deposit
from tests.unit.test_settings_values import BASE

pytestmark = pytest.mark.unit

APART = NotAgreed("block 5", needed=2, agreeing=["http://a"], others={"http://b": "block 5 is 0x12"})


def ready(world: World) -> dict[str, Any]:
    """A final burn, confirmed and waiting for the own signature."""
    event = burn(5)
    for kind, events in ((EventKind.BURN, [event]), (EventKind.MINTED, []), (EventKind.DEPOSIT, []), (EventKind.RETURNED, [])):
        world.record(kind, *events)
    document = {**burn_document(world.bridge, event, NOW), "status": "confirmed"}
    world.requests.documents[document["_id"]] = document
    return document


def refuse(node: Any, call: str) -> None:
    async def apart(*_: object) -> None:
        raise APART

    setattr(node, call, apart)


# --- the document ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("node", "call"), [("ethereum", "same_block"), ("ethereum", "contract_facts"), ("pocket", "balance")])
async def test_a_payout_waits_and_names_the_endpoints_that_do_not_agree(world: World, node: str, call: str) -> None:
    document, handler = ready(world), PayoutHandler(Collection.BURN, world.context)
    refuse(getattr(world, node), call)
    result = await agreed(handler, document["_id"], handler.handle(document["_id"]))
    assert isinstance(result, Wait)
    assert result.reason is WaitReason.NOT_AGREED
    assert result.params["endpoints"] == "http://b: block 5 is 0x12"
    assert result.params["need"] == "2"
    assert result.wake.after is not None
    assert world.requests.updates == []
    assert world.journal.signed(f"{document['_id']}") == []


async def test_a_payout_is_signed_where_they_agree(world: World) -> None:
    document, handler = ready(world), PayoutHandler(Collection.BURN, world.context)
    result = await agreed(handler, document["_id"], handler.handle(document["_id"]))
    assert isinstance(result, Wait)
    assert result.reason is WaitReason.SIGNATURES
    assert len(world.requests.updates) == 1


async def test_a_mint_is_not_signed_ahead_of_agreement_either(world: World) -> None:
    event = deposit(5)
    for kind, events in ((EventKind.DEPOSIT, [event]), (EventKind.MINTED, []), (EventKind.BURN, []), (EventKind.RETURNED, [])):
        world.record(kind, *events)
    document = {**deposit_document(world.bridge, event, NOW)[1], "status": "confirmed"}
    world.requests.documents[document["_id"]] = document
    handler = MintHandler(world.context)
    there = world.pocket.same_block
    refuse(world.pocket, "same_block")
    for rung in (True, False):
        result = await agreed(handler, document["_id"], handler.handle(document["_id"], rung=rung))
        assert isinstance(result, Wait)
        assert result.reason is WaitReason.NOT_AGREED
    assert world.requests.updates == []
    world.pocket.same_block = there  # type: ignore[method-assign]
    await agreed(handler, document["_id"], handler.handle(document["_id"], rung=True))
    assert [update.kind for update in world.requests.updates] == ["append"]


async def test_the_reason_is_written_where_people_look(world: World) -> None:
    document, handler = ready(world), PayoutHandler(Collection.BURN, world.context)
    refuse(world.ethereum, "same_block")
    await agreed(handler, document["_id"], handler.handle(document["_id"]), shown=True)
    (update,) = world.requests.updates
    assert (update.kind, "not_agreed" in str(update.pipeline), "http://b" in str(update.pipeline)) == ("waiting", True, True)
    assert "endpoints" in WaitReason.NOT_AGREED.sentence


async def test_other_errors_are_the_engines(world: World) -> None:
    document, handler = ready(world), PayoutHandler(Collection.BURN, world.context)

    async def broken() -> Any:
        raise NotFound("x")

    with pytest.raises(NotFound):
        await agreed(handler, document["_id"], broken())


# --- the block before a signature --------------------------------------------------------------------------------------


class Watched:
    """The chain as the scanners see it: what the block holds now."""

    name = "pocket"

    def __init__(self, *events: Any) -> None:
        self.events = events
        self.behind = False
        self.in_blocks: list[Any] | None = None
        self.asked: list[tuple[int, int, int]] = []
        self.remembers = False

    def forget(self) -> None:
        self.remembers = False

    async def read(self, first: int, last: int, final: int) -> Reading:
        self.asked.append((first, last, final))
        return Reading(first - 1 if self.behind else last, {EventKind.DEPOSIT: list(self.events)}, None)

    async def read_again(self, first: int, last: int, final: int) -> Reading:
        events = self.events if self.in_blocks is None or self.remembers else self.in_blocks
        return Reading(last, {EventKind.DEPOSIT: list(events)}, None)


@pytest.mark.parametrize(
    ("shown", "same"),
    [
        ([deposit(5), deposit(5, 1)], True),
        ([deposit(5, 1), deposit(5)], True),
        ([deposit(5)], False),
        ([], False),
        ([deposit(5), deposit(5, 1), deposit(5, 2)], False),
        ([deposit(5), deposit(5, 1, amount=2)], False),
        ([deposit(5), deposit(5, 1, to="0x" + "12" * 20)], False),
        ([deposit(5), deposit(5, 1, code=7)], False),
    ],
)
async def test_a_block_must_hold_exactly_what_the_ledger_holds(world: World, shown: list[Any], same: bool) -> None:
    world.record(EventKind.DEPOSIT, deposit(4), deposit(5), deposit(5, 1), deposit(6))
    watched = Watched(*shown)
    content = SameEvents(watched, world.ledger, EventKind.DEPOSIT)  # type: ignore[arg-type]
    assert await content(block(5)) is same
    assert watched.asked == [(5, 5, 5)]
    watched.behind = True
    assert await content(block(5)) is False


@pytest.mark.parametrize(("in_blocks", "same"), [([deposit(5), deposit(5, 1)], True), ([deposit(5)], False), ([], False)])
async def test_where_the_lists_lack_something_the_blocks_decide(world: World, in_blocks: list[Any], same: bool) -> None:
    world.record(EventKind.DEPOSIT, deposit(5), deposit(5, 1))
    watched = Watched(deposit(5))
    watched.in_blocks, watched.remembers = in_blocks, True
    assert await SameEvents(watched, world.ledger, EventKind.DEPOSIT)(block(5)) is same  # type: ignore[arg-type]


class Chain:
    """Both chains' clients, in what a look at a block asks of them."""

    def __init__(self) -> None:
        self.calls = 0

    async def is_canonical(self, height: int, block_hash: str) -> bool:
        return (await self.block(height)).hash == block_hash

    async def block(self, height: int) -> Any:
        self.calls += 1
        await asyncio.sleep(0)
        return SimpleNamespace(hash="there")


@pytest.mark.parametrize(
    "make", [lambda *args: EthereumNode(args[0], (), args[1]), lambda *args: PocketNode(args[0], "", args[1])]
)
async def test_the_content_is_asked_once_for_all_documents_of_a_block(make: Any) -> None:
    asked: list[BlockRef] = []
    answer = True

    async def content(one: BlockRef) -> bool:
        asked.append(one)
        await asyncio.sleep(0)
        return answer

    chain = Chain()
    node, there, gone = make(chain, content), BlockRef(5, "there", 0), BlockRef(6, "gone", 0)
    assert await asyncio.gather(*(node.same_block(there) for _ in range(50))) == [True] * 50
    assert (asked, chain.calls) == ([there], 1)
    assert await node.same_block(gone) is False
    assert asked == [there], "a block that is not there need not be read"
    answer = False
    assert await make(chain, content).same_block(there) is False


@pytest.mark.parametrize("make", [lambda chain: EthereumNode(chain, ()), lambda chain: PocketNode(chain, "")])
async def test_with_an_agreement_of_one_a_block_costs_one_call(make: Any) -> None:
    chain = Chain()
    assert await make(chain).same_block(BlockRef(5, "there", 0)) is True
    assert chain.calls == 1


# --- settings, check, watch --------------------------------------------------------------------------------------------


def settings(**sections: dict[str, Any]) -> Settings:
    return Settings.model_validate({name: {**BASE.get(name, {}), **sections.get(name, {})} for name in {*BASE, *sections}})


@pytest.mark.parametrize("section", ["ethereum", "pocket"])
def test_an_agreement_of_more_endpoints_than_there_are_is_refused(section: str) -> None:
    urls = ["http://a", "http://b"]
    assert getattr(settings(**{section: {"rpc_urls": urls, "agreement": 2}}), section).agreement == 2
    assert getattr(settings(), section).agreement == 1
    with pytest.raises(ValidationError) as caught:
        settings(**{section: {"rpc_urls": urls, "agreement": 3}})
    (error,) = caught.value.errors(include_input=False)
    assert (error["loc"], error["msg"]) == ((section, "agreement"), "is 3, but there are 2 endpoints")
    assert error["ctx"]["remedy"] == "Lower agreement to at most 2, or add endpoints to rpc_urls"


@pytest.mark.parametrize("value", [0, -1, "1.5", True])
def test_an_agreement_or_a_rate_of_nothing_is_refused(value: Any) -> None:
    for field in ("agreement", "requests_per_second"):
        with pytest.raises(ValidationError):
            settings(pocket={field: value})
    assert settings(pocket={"requests_per_second": "5"}).pocket.requests_per_second == 5


def test_check_says_whether_enough_can_agree() -> None:
    two = settings(ethereum={"rpc_urls": ["http://a/1", "http://b/2", "http://a/3"], "agreement": 2}).ethereum
    assert [result.ok for result in compared("Ethereum", [], two, 3)] == [True]
    (short,) = compared("Ethereum", [], two, 1)
    assert (short.level, "nothing is read or signed" in short.detail) == ("error", True)
    (lagging, _) = compared("Ethereum", ["http://a: lags"], two, 3)
    assert (lagging.ok, lagging.level, lagging.detail) == (False, "warning", "http://a: lags")
    three = settings(ethereum={"rpc_urls": ["http://a/1", "http://b/2", "http://a/3"], "agreement": 3}).ethereum
    (same,) = compared("Ethereum", [], three, 3)
    assert (same.level, "different providers" in same.remedy) == ("warning", True)
    assert compared("Ethereum", [], settings().ethereum, 1) == []


async def test_the_watch_compares_only_where_there_is_something_to_compare() -> None:
    asked: list[str] = []
    stop = asyncio.Event()

    async def ethereum() -> None:
        asked.append("ethereum")
        if len(asked) >= 3:
            stop.set()

    async def pocket(depth: int) -> None:
        asked.append(f"pocket {depth}")

    chains = (SimpleNamespace(survey=ethereum, problems=["http://a: lags"]), SimpleNamespace(survey=pocket, problems=["b: no"]))
    several = settings(ethereum={"rpc_urls": ["http://a", "http://b"]})
    watch = EndpointWatch(*chains, several, every=0.001)  # type: ignore[arg-type]
    await asyncio.wait_for(watch.run(stop), 60)
    assert asked == ["ethereum"] * 3
    assert watch.problems == ["Ethereum endpoint http://a: lags", "Pocket endpoint b: no"]
    both = settings(pocket={"rpc_urls": ["http://a", "http://b"], "confirmations": 4})
    await EndpointWatch(*chains, both).look()  # type: ignore[arg-type]
    assert asked[3:] == ["pocket 4"]
