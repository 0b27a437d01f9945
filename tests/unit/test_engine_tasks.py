"""Ending tasks for certain, and waiting for one of several events."""

import asyncio

import pytest

from reactor.engine.tasks import end, run_until, wait_for_any, within

pytestmark = pytest.mark.unit

LONG = 900.0
"""Longer than any test may last."""


async def swallow_one() -> str:
    """As a driver does whose answer comes together with the cancellation."""
    try:
        await asyncio.Event().wait()
    except asyncio.CancelledError:
        await asyncio.Event().wait()
    return "never"


async def started(work: asyncio.Task[str]) -> asyncio.Task[str]:
    await asyncio.sleep(0)
    return work


async def test_a_task_that_swallows_its_cancellation_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reactor.engine.tasks._CANCEL_AGAIN", 0.01)
    task = await started(asyncio.create_task(swallow_one()))
    await end(task)
    assert task.cancelled()


async def test_what_an_ended_task_raises_stays_in_it() -> None:
    async def fail() -> str:
        try:
            await asyncio.Event().wait()
        finally:
            raise ValueError("while it was cleaned up")

    task = await started(asyncio.create_task(fail()))
    await end(task)
    with pytest.raises(ValueError, match="cleaned up"):
        task.result()


async def test_work_is_ended_by_stop_though_it_swallows_its_cancellation(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("reactor.engine.tasks._CANCEL_AGAIN", 0.01)
    stop = asyncio.Event()
    ended: list[bool] = []

    async def work() -> None:
        try:
            await swallow_one()
        finally:
            ended.append(True)

    running = asyncio.create_task(run_until(stop, work()))
    await asyncio.sleep(0)
    stop.set()
    await running
    assert ended == [True]


@pytest.mark.parametrize("which", [0, 1])
async def test_the_first_of_several_events_ends_the_wait(which: int) -> None:
    events = [asyncio.Event(), asyncio.Event()]
    waiting = asyncio.create_task(wait_for_any(*events, seconds=LONG))
    await asyncio.sleep(0)
    assert not waiting.done()
    events[which].set()
    await waiting


async def test_the_time_ends_the_wait_and_leaves_nobody_waiting() -> None:
    event = asyncio.Event()
    await wait_for_any(event, seconds=0.001)
    await asyncio.sleep(0)
    assert not event.is_set()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_wait_that_is_cancelled_leaves_nobody_waiting() -> None:
    waiting = asyncio.create_task(wait_for_any(asyncio.Event(), seconds=LONG))
    await asyncio.sleep(0)
    waiting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await waiting
    await asyncio.sleep(0)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_time_out_says_how_long_it_was_waited() -> None:
    with pytest.raises(TimeoutError, match=r"^no answer within 0\.01 s$"):
        async with within(0.01):
            await asyncio.sleep(60)


async def test_a_time_out_from_further_below_keeps_its_own_words() -> None:
    with pytest.raises(TimeoutError, match=r"^of the driver$"):
        async with within(60):
            raise TimeoutError("of the driver")


async def test_what_ends_in_time_is_left_alone() -> None:
    async with within(60):
        await asyncio.sleep(0)
    with pytest.raises(ValueError, match="x"):
        async with within(60):
            raise ValueError("x")
