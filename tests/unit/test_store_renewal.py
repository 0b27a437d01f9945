"""A new client where the driver would never reach the database again, and none where it is merely away for a moment."""

import asyncio
from datetime import UTC, datetime
from types import SimpleNamespace
from typing import Any

import pytest
from pymongo.errors import AutoReconnect

from reactor.documents.statuses import Collection
from reactor.outages import Outages
from reactor.store.connection import Store
from reactor.store.heartbeats import beat
from reactor.store.problem import StoreProblem
from reactor.store.renewal import AWAY_SECONDS, FORGOTTEN_SECONDS, Renewed

pytestmark = pytest.mark.unit


class Client:
    """What it knows of the servers is set by the test; it is its own description."""

    def __init__(self) -> None:
        self.primary, self.servers, self.closed = False, {"db-1": "unknown"}, False

    @property
    def topology_description(self) -> "Client":
        return self

    def has_writable_server(self) -> bool:
        return self.primary

    def server_descriptions(self) -> dict[str, str]:
        return dict(self.servers)

    async def close(self) -> None:
        self.closed = True


class World:
    """The clock, and the clients made so far. `fault`: what making one raises."""

    def __init__(self, grace: float = 600.0) -> None:
        self.now, self.made, self.fault = 0.0, [], None
        self.outages = Outages(lambda: self.now)
        self.renewed = Renewed(self.make, grace, lambda: self.outages, lambda: self.now)

    def make(self) -> Client:
        if self.fault is not None:
            raise self.fault
        self.made.append(Client())
        return self.made[-1]

    def after(self, seconds: float) -> int:
        """The number of the client that is used so many seconds later."""
        self.now += seconds
        return self.made.index(self.renewed.current())


@pytest.fixture
def world() -> World:
    return World()


async def test_another_client_takes_the_place_of_one_that_has_no_server_left(world, lines):
    world.made[0].servers = {}
    assert world.after(0.0) == 0
    assert world.after(FORGOTTEN_SECONDS) == 0, "no storm of clients"
    assert world.after(0.1) == 1
    await world.renewed.close()
    assert [one.closed for one in world.made] == [True, True]
    assert len(lines) == 1


async def test_it_is_told_once_however_often_it_is_asked_in_vain_and_again_the_next_time(world, lines):
    for _ in range(5):
        world.made[-1].servers = {}
        world.after(0.0)
        world.after(FORGOTTEN_SECONDS + 0.1)
    assert (len(world.made), len(lines)) == (6, 1)
    world.made[-1].primary = True
    assert world.after(0.0) == 5
    world.made[-1].primary, world.made[-1].servers = False, {}
    world.after(0.0)
    world.after(FORGOTTEN_SECONDS + 0.1)
    assert (len(world.made), len(lines)) == (7, 2)
    await world.renewed.close()


async def test_another_takes_the_place_of_one_that_finds_no_primary_for_long(world, lines):
    """It may have been sent to where nobody is. In an outage it says nothing: the outage is told already."""
    assert world.after(0.0) == 0
    assert world.after(AWAY_SECONDS) == 0
    assert world.after(0.1) == 1
    assert world.after(AWAY_SECONDS) == 1, "the new one gets its time"
    await world.renewed.close()
    assert lines == []


async def test_a_client_that_has_seen_a_primary_meanwhile_stays(world):
    world.after(0.0)
    world.made[0].primary = True
    world.after(AWAY_SECONDS - 1)
    world.made[0].primary = False
    assert world.after(2.0) == 0
    assert world.after(AWAY_SECONDS) == 0
    world.made[0].primary = True
    assert world.after(10 * AWAY_SECONDS) == 0
    assert world.made[0].closed is False
    await world.renewed.close()


@pytest.mark.parametrize("grace", [0.0, 600.0])
async def test_what_is_under_way_on_the_old_client_may_end_first(grace):
    world = World(grace)
    world.made[0].servers = {}
    world.after(0.0)
    assert world.after(FORGOTTEN_SECONDS + 0.1) == 1
    if grace:
        await asyncio.sleep(0)
        assert (world.made[0].closed, len(world.renewed._closing)) == (False, 1)
    else:
        await asyncio.gather(*world.renewed._closing)
        assert (world.made[0].closed, world.renewed._closing) == (True, set())
    assert world.made[1].closed is False
    await world.renewed.close()
    assert world.made[0].closed, "at the end nobody waits for the grace"


async def test_where_no_client_can_be_made_the_old_one_stays_and_it_is_tried_again(world, lines):
    world.made[0].servers = {}
    world.after(0.0)
    world.fault = StoreProblem("MONGODB_URI", "the file ca.pem that it names cannot be read", "check tlsCAFile")
    assert world.after(FORGOTTEN_SECONDS + 0.1) == 0
    assert any("ca.pem" in line for line in lines)
    assert world.made[0].closed is False
    world.fault = None
    world.after(0.0)
    assert world.after(FORGOTTEN_SECONDS + 0.1) == 1
    await world.renewed.close()


@pytest.mark.parametrize("back", ["a new one", "the old one"])
async def test_that_none_can_be_made_is_one_line_and_that_one_can_again_another(world, lines, back):
    world.fault = StoreProblem("MONGODB_URI", "the file ca.pem that it names cannot be read", "check tlsCAFile")
    for _ in range(20):
        world.after(AWAY_SECONDS / 2)
    told = [line for line in lines if "WARNING" in line and " fails: " in line]
    assert (len(told), "ca.pem" in told[0]) == (1, True)
    if back == "a new one":
        world.fault = None
        while len(world.made) == 1:
            world.after(AWAY_SECONDS / 2)
    else:
        world.made[0].primary = True
        world.after(1.0)
    assert "works again" in lines[-1]
    assert world.outages.away() == {}
    await world.renewed.close()


async def test_collections_are_of_the_client_that_is_used_now():
    store = Store("mongodb://127.0.0.1:1/?replicaSet=rs0", "bridge", {Collection.MINT: "mints"}, 100)
    try:
        first = store.collection(Collection.MINT)
        assert (first.name, first.database.name) == ("mints", "bridge")
        assert store.collection(Collection.MINT) is first
        store._renewed._renew(forgotten=True)
        second = store.collection(Collection.MINT)
        assert second.database.client is store.client is store.database.client
        assert (second.name, second.database.client is first.database.client) == ("mints", False)
    finally:
        await store.close()


async def test_a_heartbeat_is_tried_again_by_the_client_that_is_used_then():
    """The twin of the test above: one collection kept for all tries would stay that of a client that was given up."""
    away, written = AutoReconnect("no replica set members found yet"), []

    class Heartbeats:
        def __init__(self, fault: Exception | None) -> None:
            self.fault = fault

        async def find_one(self, *_: object) -> None:
            if self.fault is not None:
                raise self.fault

        async def replace_one(self, _: object, document: dict[str, Any], *, upsert: bool = False) -> Any:
            written.append((document["counter"], upsert))
            return SimpleNamespace(matched_count=0)

    clients = [Heartbeats(away), Heartbeats(away), Heartbeats(None)]
    store: Any = SimpleNamespace(collection=lambda _: clients.pop(0))
    await beat(store, {"validator_id": "validator-0", "hostname": "host", "counter": 7, "created_at": datetime.now(UTC)})
    assert (written, clients) == ([(7, False), (7, True)], [])


async def test_a_stream_looks_for_a_primary_for_less_long_than_the_driver_would():
    """With the driver's own 30 s, a stream whose primary was stopped would be silent for as long."""
    store = Store("mongodb://127.0.0.1:1/?replicaSet=rs0", "bridge", {}, 10_000)
    client = store.stream_client()
    try:
        options = client.options
        assert options.server_selection_timeout < store.client.options.server_selection_timeout < 30
        assert options.pool_options.connect_timeout < options.pool_options.socket_timeout < 30
    finally:
        await client.close()
        await store.close()
