"""What only a try can tell: the disk, the keys; and a node that lags, found out by what others say."""

import asyncio
from dataclasses import dataclass, field
from types import SimpleNamespace
from typing import Any, cast

import pytest
from coincurve import PrivateKey

from reactor.chains.ethereum.finality import Finality
from reactor.documents.events import BlockRef
from reactor.engine.keys import Key
from reactor.handlers.heartbeat import Hearts, Instance, Pulse
from reactor.health import Ability, Facts, Trouble, problems_of
from reactor.keys.base import BaseSigner
from reactor.keys.local import Secp256k1Signer
from reactor.keys.problem import KeyProblem
from reactor.sentences import sentence
from reactor.state.problems import StateProblem
from reactor.state.rows import EventKind
from reactor.vitals import _KEY_SECONDS, KeyWatch, OthersHeights, Trial, Vitals, stuck_documents
from scanners.loop import Scanned
from tests.unit.handler_world import NOW, World

pytestmark = pytest.mark.unit


@dataclass
class Now:
    at: float = 1000.0

    def __call__(self) -> float:
        return self.at


@dataclass
class Disk:
    """What a probe of a file meets."""

    error: Exception | None = None
    hangs: asyncio.Event | None = None
    tries: int = 0

    async def probe(self) -> None:
        self.tries += 1
        if self.hangs is not None:
            await self.hangs.wait()
        if self.error is not None:
            raise self.error


@pytest.mark.parametrize(
    "error",
    [
        StateProblem("/state/ledger.sqlite: database or disk is full", "free some space on its disk"),
        KeyProblem("awskms://x", "it refused", "look"),
        OSError(28, "No space left on device"),
        TimeoutError(),
    ],
)
async def test_a_try_that_fails_says_so_until_one_succeeds(error: Exception) -> None:
    disk = Disk(error)
    trial = Trial("ledger", disk.probe, 5.0)
    await trial()
    assert trial.trouble.startswith("ledger: ")
    assert trial.trouble.endswith(sentence(error))
    disk.error = None
    await trial()
    assert trial.trouble == ""


async def test_a_try_that_does_not_end_is_a_failure_and_no_second_one_begins() -> None:
    disk = Disk(hangs=asyncio.Event())
    trial = Trial("ledger", disk.probe, 0.01)
    await trial()
    assert "no end within" in trial.trouble
    await trial()
    assert disk.tries == 1
    disk.hangs.set()
    await trial()
    assert trial.trouble == ""
    await trial.close()


# ---------------------------------------------------------------------- keys


class Service(BaseSigner):
    """A key in a service that fails on demand."""

    scheme = "secp256k1"

    def __init__(self, *, remote: bool = True) -> None:
        self._inner = Secp256k1Signer(PrivateKey(bytes([7]) * 32), "test")
        super().__init__("awskms://eu/key", bytes.fromhex(self._inner.public_key), self._inner.address)
        self._remote = remote
        self.fails = False
        self.asked = 0

    async def _sign(self, payload: bytes) -> bytes:
        self.asked += 1
        if self._remote:
            self.stats.count_attempt()
        if self.fails:
            raise KeyProblem("awskms://eu/key", "the service throttles", "wait", transient=True)
        return await self._inner.sign(payload)


async def test_a_key_that_failed_is_probed_until_it_works() -> None:
    service, now = Service(), Now()
    watch = KeyWatch(service, Ability.PAYOUT, now)
    await watch.look()
    assert service.asked == 0
    service.fails = True
    with pytest.raises(KeyProblem):
        await service.sign(b"\1" * 32)
    assert watch.trouble == "the service throttles"
    for tries in (2, 3):
        await watch.look()
        assert service.asked == tries
        assert watch.trouble == "the service throttles"
    service.fails = False
    await watch.look()
    assert watch.trouble == ""
    await watch.look()
    assert service.asked == 4, "what works is not probed again at once"


async def test_a_service_that_nobody_asks_is_probed_now_and_then_and_a_local_key_never() -> None:
    now = Now()
    service, local = Service(), Service(remote=False)
    watches = [KeyWatch(one, Ability.MINT, now) for one in (service, local)]
    for one in (service, local):
        await one.sign(b"\1" * 32)
    for watch in watches:
        await watch.look()
    service.fails = local.fails = True
    now.at += _KEY_SECONDS
    for watch in watches:
        await watch.look()
    assert [service.asked, local.asked] == [2, 1]
    assert [watch.trouble for watch in watches] == ["the service throttles", ""]


# ---------------------------------------------------------------------- a node that lags


@dataclass
class Heard:
    """The other members' words on the height of a chain, over time."""

    now: Now = field(default_factory=Now)

    def __post_init__(self) -> None:
        self.others = OthersHeights(self.now)

    def say(self, *heights: int, threshold: int = 2) -> None:
        self.others.hear("ethereum", heights, threshold)

    def later(self, seconds: float) -> int:
        self.now.at += seconds
        return self.others.ahead("ethereum", 10.0)


def test_what_enough_others_have_read_a_while_ago_should_have_been_read() -> None:
    heard = Heard()
    heard.say(100, 101, 102)
    assert heard.later(9.9) == 0
    assert heard.later(0.2) == 101
    heard.say(110, 111)
    assert heard.later(0) == 101
    assert heard.later(10) == 110


@pytest.mark.parametrize(("heights", "threshold"), [((1000,), 2), ((1000, 0), 2), ((), 1), ((5,), 0)])
def test_fewer_others_than_could_sign_say_nothing(heights: tuple[int, ...], threshold: int) -> None:
    heard = Heard()
    heard.say(*heights, threshold=threshold)
    assert heard.later(60) == 0


def test_a_chain_that_became_shorter_is_ahead_of_nobody() -> None:
    heard = Heard()
    heard.say(100, 100)
    heard.later(20)
    heard.say(97, 97)
    assert heard.later(0) == 97


def test_a_chain_without_new_blocks_stays_told() -> None:
    heard = Heard()
    for _ in range(5000):
        heard.say(100, 100)
        assert heard.later(0.5) in {0, 100}
    assert heard.later(0) == 100


# ---------------------------------------------------------------------- finality


def finality_of(world: World, scanned: Scanned, finality: str) -> list[str]:
    """What health says of Ethereum after this look at it; the next head, far above it, was heard of and is not read yet."""
    return [one.sentence for one in problems_of(facts_of(world, scanned, finality))]


def facts_of(world: World, scanned: Scanned = Scanned(999.0, 1000, final=400), finality: str = "latest-5") -> Facts:  # noqa: B008
    if world.ledger.cursor(EventKind.BURN) is None:
        world.record(EventKind.BURN, last=500, final=400)
    heads = SimpleNamespace(newest=lambda _: 5000)
    me, journal = SimpleNamespace(ethereum_signer=None, pocket_signer=None), SimpleNamespace(probe=None)
    usual = {"ethereum": Finality.parse(finality, 12).usual}
    scanners = {"ethereum": SimpleNamespace(scanned=scanned)}
    vitals = Vitals(
        *cast("Any", (me, world.ledger, journal, None, heads, scanners, {"ethereum": 1.0})),
        usual=usual,
        silent=lambda: False,
        clock=lambda: 1000.0,
    )
    return Facts(chains=[vitals._chain("ethereum", 1.0)])


@pytest.mark.parametrize(("finality", "most"), [("latest-64", 128), ("latest-5", 24), ("safe", 192), ("finalized", 192)])
def test_a_chain_that_stops_to_finalize_is_told_with_the_block_and_since_when(world: World, finality: str, most: int) -> None:
    assert finality_of(world, Scanned(999.0, 400 + most, final=400), finality) == []
    (told,) = finality_of(world, Scanned(999.0, 401 + most, final=400), finality)
    assert told == (
        "Ethereum: block 400 (of 1970-01-12 20:26:40 UTC) stays its newest final one while its head moves on:"
        " no payouts for what came after it"
    )
    (other,) = finality_of(world, Scanned(999.0, 401 + most, final=399), finality)
    assert other.startswith("Ethereum: block 399 stays"), "the ledger knows the time of another block"


FAR = [(2**63 - 1, "9999-12-05"), (1_700_000_000_000, "9999-12-05"), (253_399_000_000, "9999-11-23"), (1, "1970-01-01")]


@pytest.mark.parametrize(("seconds", "day"), FAR)
async def test_whatever_time_a_header_tells_health_and_heartbeat_say_what_is_wrong(world: World, seconds: int, day: str) -> None:
    rest = BlockRef(400, "0x" + "ab" * 32, seconds)
    for kind in (EventKind.BURN, EventKind.MINTED):
        world.ledger.record_window(kind, 1, 500, [], 400, rest)
    (told,) = finality_of(world, Scanned(999.0, 1000, final=400), "latest-5")
    assert f"(of {day} " in told
    instance = Instance("v", "host", "one", "1", NOW, "aa" * 20)
    beat = await Hearts(world.context, instance, lambda: Pulse(0, [], 0, [], facts_of(world))).own()
    assert [day in problem for problem in beat["problems"] if "newest final one" in problem] == [True]


def test_before_a_chain_was_read_to_its_head_nothing_is_said_of_its_finality(world: World) -> None:
    (told,) = finality_of(world, Scanned(), "finalized")
    assert "read up to block 400 of 5000" in told


# ---------------------------------------------------------------------- documents that fail


def test_documents_that_fail_are_named_as_outages_know_them_and_of_many_some() -> None:
    rows = [SimpleNamespace(key=Key("mints", number), error="no") for number in range(100)]
    about = {f"mints {number}": "MongoDB" for number in range(50)} | {"mints 50": "mints 50"}
    told = stuck_documents(cast("Any", SimpleNamespace(stuck=lambda: rows)), lambda who: about.get(who, ""))
    assert told[:51] == [Trouble(f"mints {number}: no", about[f"mints {number}"], f"mints {number}") for number in range(51)]
    assert told[51:-1] == [Trouble(f"mints {number}: no", "", f"mints {number}") for number in range(51, 70)]
    assert told[-1] == Trouble("30 more documents fail")
    asked = stuck_documents(cast("Any", SimpleNamespace(stuck=lambda: rows)), lambda _: "a question to Ethereum")
    assert (len(asked), asked[-1].text) == (21, "80 more documents fail")
    assert len(stuck_documents(cast("Any", SimpleNamespace(stuck=lambda: rows[50:70])), lambda _: "")) == 20
