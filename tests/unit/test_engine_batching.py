"""Calls that are ready together leave together, and each gets its own answer."""

import asyncio
from collections.abc import Sequence

import pytest

from reactor.engine.batching import Batcher, BatchError

pytestmark = pytest.mark.unit


class Server:
    """Doubles numbers; refuses 13."""

    def __init__(self) -> None:
        self.batches: list[list[int]] = []
        self.gate = asyncio.Event()
        self.gate.set()

    async def flush(self, items: list[int]) -> Sequence[int | Exception]:
        self.batches.append(items)
        await self.gate.wait()
        return [ValueError("unlucky") if item == 13 else 2 * item for item in items]


async def test_what_is_ready_together_leaves_together() -> None:
    server = Server()
    batcher = Batcher(server.flush)
    assert await asyncio.gather(*(batcher.call(n) for n in range(5))) == [0, 2, 4, 6, 8]
    assert server.batches == [[0, 1, 2, 3, 4]]
    assert (batcher.counters.items, batcher.counters.batches) == (5, 1)


async def test_while_one_flush_runs_the_next_batch_collects() -> None:
    server = Server()
    server.gate.clear()
    batcher = Batcher(server.flush)
    calls = [asyncio.create_task(batcher.call(0))]
    await asyncio.sleep(0.01)
    for n in range(1, 5):
        calls.append(asyncio.create_task(batcher.call(n)))
        await asyncio.sleep(0)
    server.gate.set()
    await asyncio.wait_for(asyncio.gather(*calls), 60)
    assert server.batches == [[0], [1, 2, 3, 4]]


async def test_batches_are_bounded() -> None:
    server = Server()
    await asyncio.gather(*(Batcher(server.flush, max_size=2).call(n) for n in [1]))
    batcher = Batcher(server.flush, max_size=2)
    await asyncio.gather(*(batcher.call(n) for n in range(5)))
    assert [len(batch) for batch in server.batches[1:]] == [2, 2, 1]


async def test_parallel_flushes() -> None:
    server = Server()
    server.gate.clear()
    batcher = Batcher(server.flush, parallel=2, max_size=1)
    calls = [asyncio.create_task(batcher.call(n)) for n in range(3)]
    await asyncio.sleep(0.01)
    assert len(server.batches) == 2
    server.gate.set()
    assert await asyncio.wait_for(asyncio.gather(*calls), 60) == [0, 2, 4]


async def test_an_items_error_is_its_own() -> None:
    batcher = Batcher(Server().flush)
    good, bad = await asyncio.gather(batcher.call(1), batcher.call(13), return_exceptions=True)
    assert good == 2
    assert isinstance(bad, ValueError)


async def test_a_flush_that_fails_is_everyones_error_and_the_next_works() -> None:
    tries = 0

    async def flush(items: list[int]) -> list[int]:
        nonlocal tries
        tries += 1
        if tries == 1:
            raise ConnectionError("away")
        return items

    batcher: Batcher[int, int] = Batcher(flush)
    answers = await asyncio.gather(batcher.call(1), batcher.call(2), return_exceptions=True)
    assert [type(answer) for answer in answers] == [ConnectionError, ConnectionError]
    assert await batcher.call(3) == 3
    assert batcher.counters.failed == 1


async def test_a_flush_that_answers_too_few_is_refused() -> None:
    async def flush(items: list[int]) -> list[int]:
        return items[1:]

    batcher: Batcher[int, int] = Batcher(flush)
    with pytest.raises(BatchError, match="0 of 1"):
        await batcher.call(1)


async def test_a_flush_that_hangs_times_out() -> None:
    server = Server()
    server.gate.clear()
    batcher = Batcher(server.flush, timeout=0.02)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(batcher.call(1), 60)
    server.gate.set()
    assert await asyncio.wait_for(batcher.call(2), 60) == 4


async def test_who_is_cancelled_takes_his_item_back_and_disturbs_nobody() -> None:
    server = Server()
    server.gate.clear()
    batcher = Batcher(server.flush)
    first = asyncio.create_task(batcher.call(1))
    await asyncio.sleep(0.01)
    second, third = asyncio.create_task(batcher.call(2)), asyncio.create_task(batcher.call(3))
    await asyncio.sleep(0.01)
    first.cancel()
    second.cancel()
    await asyncio.sleep(0.01)
    server.gate.set()
    assert await asyncio.wait_for(third, 60) == 6
    assert server.batches == [[1], [3]]


async def test_calls_beyond_the_bound_stand_in_line() -> None:
    server = Server()
    server.gate.clear()
    batcher = Batcher(server.flush, max_pending=2)
    calls = [asyncio.create_task(batcher.call(n)) for n in range(5)]
    await asyncio.sleep(0.01)
    assert len(batcher._pending) + sum(map(len, server.batches)) == 2
    server.gate.set()
    assert await asyncio.wait_for(asyncio.gather(*calls), 60) == [0, 2, 4, 6, 8]


async def test_a_call_in_the_turn_in_which_a_flush_ends_is_not_forgotten() -> None:
    batcher = Batcher(Server().flush)

    async def chain() -> int:
        total = 0
        for n in range(200):
            total += await batcher.call(n if n != 13 else 0)
        return total

    assert len(await asyncio.wait_for(asyncio.gather(chain(), chain(), chain()), 60)) == 3


async def test_closing_answers_those_that_wait_and_refuses_new_ones() -> None:
    batcher = Batcher(Server().flush)
    call = asyncio.create_task(batcher.call(1))
    await asyncio.sleep(0)
    await asyncio.wait_for(batcher.aclose(), 60)
    assert await call == 2
    with pytest.raises(BatchError, match="closed"):
        await batcher.call(2)


@pytest.mark.parametrize("wrong", [{"max_size": 0}, {"parallel": 0}, {"timeout": 0}, {"linger": -1}, {"max_pending": 0}])
async def test_senseless_bounds_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(ValueError, match="batcher"):
        Batcher(Server().flush, **wrong)
