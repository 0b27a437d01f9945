"""The client of the change stream: another one where it fails again and again, since a driver may have forgotten all servers."""

import asyncio
from typing import Any, Self

import pytest
from pymongo.errors import ServerSelectionTimeoutError

from reactor.engine.backoff import Backoff
from reactor.engine.feed import ChangeFeed, FeedOptions, ScanReason
from reactor.store.problem import StoreProblem
from tests.virtual_clock import settle

pytestmark = pytest.mark.unit

TOKEN = {"_data": "82" + "65000000" + "00000001" + "00"}
AWAY = ServerSelectionTimeoutError("no replica set members found yet")


class Stream:
    """Open for as long as nobody ends it; nothing happens in it."""

    alive, resume_token = True, TOKEN

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """As the driver's."""

    async def try_next(self) -> None:
        await asyncio.sleep(0)


class Client:
    """`parts`: what saying farewell raises. `after`: the token after which it was asked last."""

    def __init__(self, works: bool, parts: Exception | None = None) -> None:
        self.works, self.parts, self.asked, self.closed, self.after = works, parts, 0, False, None

    def __getitem__(self, name: str) -> Self:
        return self

    async def watch(self, *_: object, **options: object) -> Stream:
        assert not self.closed
        self.asked += 1
        self.after = options.get("start_after")
        if not self.works:
            raise AWAY
        return Stream()

    async def close(self) -> None:
        self.closed = True
        if self.parts is not None:
            raise self.parts


async def followed(*plan: bool | Exception | Client, token: object = None) -> tuple[list[Client], ChangeFeed]:
    """The clients of a feed that goes live: one after the other as planned, a fault where making one fails; and the feed.

    `token`: the saved position.
    """
    made: list[Client] = []
    left = list(plan)

    def make() -> Any:
        one = left.pop(0)
        if isinstance(one, Exception):
            raise one
        made.append(one if isinstance(one, Client) else Client(one))
        return made[-1]

    async def load() -> Any:
        return token

    async def save(_: object) -> None:
        """Nothing rests on it here."""

    async def scan(_: ScanReason) -> None:
        """Nothing is open."""

    options = FeedOptions(backoff=Backoff(first=0.0001, most=0.0001))
    feed = ChangeFeed(make, "bridge", ["mint"], load_token=load, save_token=save, options=options)
    stop = asyncio.Event()
    task = asyncio.create_task(feed.run(stop, scan=scan))
    try:
        async with asyncio.timeout(60):
            await feed.live.wait()
        await settle()
        assert feed._loops.problems() == []
    finally:
        stop.set()
        await asyncio.wait_for(task, 60)
    return made, feed


async def test_a_client_that_fails_again_and_again_is_replaced():
    (first, second), _ = await followed(False, True)
    assert (first.asked, first.closed, second.asked, second.closed) == (4, True, 1, True)


async def test_one_that_works_is_kept():
    """The twin."""
    (only,), _ = await followed(True)
    assert (only.asked, only.closed) == (1, True)


UNREADABLE = StoreProblem("MONGODB_URI", "the file ca.pem that it names cannot be read", "check tlsCAFile")


async def test_where_no_other_can_be_made_the_feed_goes_on_with_the_one_it_has():
    (first, second), _ = await followed(False, UNREADABLE, True)
    assert (first.asked, first.closed, second.asked) == (7, True, 1)


async def test_that_no_other_can_be_made_gives_no_position_up():
    """A certificate that is exchanged just then says nothing of what was read before."""
    (_, second), feed = await followed(False, UNREADABLE, True, token=TOKEN)
    assert second.after == TOKEN
    assert (feed.counters.faults, feed.counters.history_lost, feed.counters.scans) == (0, 0, 1)


@pytest.mark.parametrize("fault", [AWAY, RuntimeError("loop is closed"), ValueError("nonsense")], ids=repr)
async def test_the_other_one_is_used_and_ended_though_the_one_before_cannot_be_closed(fault: Exception):
    (first, second), feed = await followed(Client(False, parts=fault), True, token=TOKEN)
    assert (first.asked, second.asked, second.closed) == (4, 1, True)
    assert second.after == TOKEN
    assert (feed.counters.faults, feed.counters.history_lost, feed.counters.scans) == (0, 0, 1)
