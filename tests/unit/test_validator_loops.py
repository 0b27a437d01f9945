"""The loops of the real validator: whatever its database, nodes, keys and disk raise, each goes on and says so."""

import asyncio
import gc
from collections.abc import Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, Self
from unittest import mock

import pytest
from pymongo.errors import OperationFailure

from reactor import validator as module
from reactor.chains.errors import RpcProblem
from reactor.engine.backoff import Backoff
from reactor.engine.supervisor import LoopError, Stop
from reactor.settings import Settings, load_settings
from reactor.state.problems import SecondProcess, StateProblem
from reactor.store.connection import DEFAULT_NAMES
from reactor.validator import Chains, Validator
from tests.unit.cli_unit_helpers import API_KEY, NOBODY, TOML, make_journal, write_config

pytestmark = pytest.mark.unit

WITHOUT_STREAM = {
    "heads of pocket",
    "heads of ethereum",
    "books",
    "taking up what operators asked for",
    "heartbeat",
    "comparing identities, oplog and indexes",
    "comparing the Ethereum endpoints",
    "comparing the Pocket endpoints",
    "reading the others' heartbeats",
    "change stream",
    "reading what is held",
    "looking for what documents name on pocket",
    "looking for what documents name on ethereum",
    "reading pocket a second time",
    "reading ethereum a second time",
}
SELDOM = {
    "comparing the Ethereum endpoints",
    "comparing the Pocket endpoints",
    "reading pocket a second time",
    "reading ethereum a second time",
}
WITH_STREAM = {"scan of open documents", "saving the stream position"}
SWEEPS = {"sweep of mint", "sweep of invalid_mint", "sweep of burn"}
HARMLESS = {
    "comparing the endpoints",
    "exchange of heartbeats",
    "looking at the own health",
    "trying disk and keys",
    "looking for mints that the contracts refuse",
    "writing audit entries of earlier stops",
}
"""All that can fail in these is an attempt of its own; who has no key does not look for refused mints, and no entry waits."""

ANY: list[Callable[[], BaseException]] = [
    lambda: ValueError("year 9999999999 is out of range"),
    lambda: OverflowError("date value out of range"),
    lambda: KeyError("result"),
    lambda: RecursionError("maximum recursion depth exceeded"),
    lambda: UnicodeDecodeError("utf-8", b"\xff", 0, 1, "invalid start byte"),
    lambda: AttributeError("no such"),
    lambda: OperationFailure("not authorized", 13),
    lambda: RpcProblem("https://node.example", "no answer"),
    lambda: StateProblem("ledger.sqlite: disk full", "free some space"),
    lambda: asyncio.CancelledError("from within"),
]


class Broken:
    """Whatever is called of it raises; `close` alone works, as long as the process may end in order."""

    def __init__(self, error: Callable[[], BaseException]) -> None:
        self._error = error

    def __getattr__(self, name: str) -> "Broken":
        return self

    def __getitem__(self, name: str) -> "Broken":
        return self

    def __iter__(self) -> Any:
        raise self._error()

    def __call__(self, *args: object, **options: object) -> Any:
        raise self._error()

    async def close(self) -> None:
        """As the real ones."""


class LiveStream:
    """A change stream on which nothing happens."""

    alive = True

    def __init__(self) -> None:
        self.count = 0x82000000

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        """Nothing to close."""

    @property
    def resume_token(self) -> dict[str, str]:
        return {"_data": f"{self.count:08x}"}

    async def try_next(self) -> None:
        self.count += 1
        await asyncio.sleep(0.005)


class StreamClient:
    """A Mongo client whose change streams work, and nothing else."""

    def __getitem__(self, _: str) -> "StreamClient":
        return self

    async def watch(self, *_: object, **__: object) -> LiveStream:
        return LiveStream()

    async def close(self) -> None:
        """As the real one."""


def broken_store(error: Callable[[], BaseException], *, stream: bool) -> Any:
    broken = Broken(error)

    async def close() -> None:
        """As the real one."""

    return SimpleNamespace(
        names=dict(DEFAULT_NAMES),
        roles={name: role for role, name in DEFAULT_NAMES.items()},
        operations=broken,
        timeout_ms=100,
        client=broken,
        database=broken,
        collection=lambda _: broken,
        stream_client=StreamClient if stream else lambda: broken,
        close=close,
    )


class BrokenValidator(Validator):
    """The real one; only its nodes are away in the way that a test says."""

    error: Callable[[], BaseException]

    def _open_chains(self) -> Chains:
        broken: Any = Broken(self.error)
        return Chains(broken, broken)


@asynccontextmanager
async def running(folder: Path, error: Callable[[], BaseException], *, stream: bool = True):
    """The real validator with everything around it raising `error()`; how it ends is the caller's to look at."""
    text = TOML.replace(f'"http://{NOBODY}/v3/{API_KEY}"', f'"http://{NOBODY}/v3/{API_KEY}", "http://127.0.0.1:2"')
    text = text.replace(f'rpc_urls = ["http://{NOBODY}"]', f'rpc_urls = ["http://{NOBODY}", "http://127.0.0.1:2"]')
    write_config(folder, f"{text}\n[engine]\nsweep_interval_s = 0.1\nstop_timeout_s = 1\nheartbeat_interval_s = 0.1\n")
    settings = settings_of(folder)
    make_journal(settings).close()
    store, stop = broken_store(error, stream=stream), Stop()

    async def open_store(_: object) -> Any:
        return store

    with (
        mock.patch.object(module, "open_store", open_store),
        mock.patch.object(BrokenValidator, "error", staticmethod(error), create=True),
    ):
        one = await BrokenValidator.open(settings)
        one.loops._backoff = quick = Backoff(0.001, 0.01)
        feed = one.reactor.feed
        feed._options = replace(feed._options, save_every=0.01, idle_save_every=0.01, backoff=quick)
        task = asyncio.create_task(one.run(stop))
        try:
            yield one, task
        finally:
            stop.asked.set()
            await asyncio.wait({task}, timeout=60)
            await one.close()
            gc.unfreeze()
    assert task.done()


def settings_of(folder: Path) -> Settings:
    settings = load_settings(folder / "reactor.toml", {})
    return settings.model_copy(update={"state": settings.state.model_copy(update={"directory": folder / "state"})})


async def until(condition: Callable[[], bool], task: asyncio.Task[None], what: Callable[[], object]) -> None:
    async def look() -> None:
        while not condition():
            if task.done():
                task.result()
                raise AssertionError("the validator ended")
            await asyncio.sleep(0.01)

    try:
        await asyncio.wait_for(look(), 60)
    except TimeoutError:
        raise AssertionError(f"not in time: {what()}") from None


def ring_heartbeat(one: Validator) -> None:
    one.exchange.rang(SimpleNamespace(id="0" * 24))  # type: ignore[arg-type]


def failing(one: Validator) -> set[str]:
    return {row.name for row in one.loops.failing}


@pytest.mark.parametrize("error", ANY, ids=lambda one: type(one()).__name__)
async def test_no_loop_ends_whatever_its_rounds_raise(tmp_path: Path, error: Callable[[], BaseException]) -> None:
    async with running(tmp_path, error, stream=False) as (one, task):
        one.ledger.take_retries = Broken(error)  # type: ignore[method-assign, assignment]
        one.journal.newest_hold = Broken(error)  # type: ignore[method-assign, assignment]
        for reader in one.second.values():
            reader._ledger = Broken(error)  # type: ignore[assignment]

        def all_fail() -> bool:
            ring_heartbeat(one)
            return failing(one) >= WITHOUT_STREAM

        await until(all_fail, task, lambda: WITHOUT_STREAM - failing(one))
        before = dict(one.loops.failures)

        def all_tried_again() -> bool:
            ring_heartbeat(one)
            for reader in one.second.values():
                reader.rung.set()
            return all(one.loops.failures[name] > before[name] for name in WITHOUT_STREAM - SELDOM)

        await until(all_tried_again, task, lambda: one.loops.failures)
        told = "\n".join(one.loops.problems())
        assert all(f"{name} failing since" in told for name in WITHOUT_STREAM)
    task.result()


@pytest.mark.parametrize("error", ANY, ids=lambda one: type(one()).__name__)
async def test_scans_and_sweeps_that_fail_are_tried_again_and_go_on(
    tmp_path: Path, error: Callable[[], BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = True

    async def open_page(*_: object, **__: object) -> list[object]:
        if broken:
            raise error()
        return []

    monkeypatch.setattr(module, "open_page", open_page)
    async with running(tmp_path, error) as (one, task):
        real = one.ledger.save_token
        one.ledger.save_token = Broken(error)  # type: ignore[method-assign, assignment]
        await until(lambda: failing(one) >= WITH_STREAM, task, lambda: WITH_STREAM - failing(one))
        assert not one.reactor.feed.live.is_set(), "nothing goes live before all open documents were read"
        broken = False
        one.ledger.save_token = real  # type: ignore[method-assign]
        await until(one.reactor.feed.live.is_set, task, one.loops.problems)
        await until(lambda: not failing(one) & WITH_STREAM, task, one.loops.problems)
        broken = True
        await until(lambda: failing(one) >= SWEEPS, task, lambda: SWEEPS - failing(one))
        broken = False
        await until(lambda: not failing(one) & SWEEPS, task, one.loops.problems)
        assert {*one.loops.failures} <= WITHOUT_STREAM | WITH_STREAM | SWEEPS | {
            name + rest for name in HARMLESS for rest in ("", " (between two rounds)")
        } | {"books (between two rounds)", "reading what is held (between two rounds)"}, "a loop that no test makes fail"
    task.result()


async def test_only_an_older_process_with_the_same_key_ends_it(tmp_path: Path) -> None:
    """The twin: what must end it does, with its own words as the cause."""
    async with running(tmp_path, ANY[0]) as (one, task):
        await until(lambda: "heartbeat" in failing(one), task, one.loops.problems)
        one.hearts.twins.stop = "instance 7 on otherhost runs with the same key and is older"
        await asyncio.wait({task}, timeout=60)
        with pytest.raises(LoopError) as caught:
            task.result()
        assert isinstance(caught.value.__cause__, SecondProcess)


async def test_the_last_heartbeat_finds_everything_still_open(tmp_path: Path) -> None:
    said: list[object] = []
    async with running(tmp_path, ANY[0]) as (one, task):

        async def say_stopped() -> None:
            said.append(one.journal.holds())
            said.append(one.ledger.load_token())

        one.exchange.say_stopped = say_stopped  # type: ignore[method-assign]
        await until(lambda: "books" in failing(one), task, one.loops.problems)
    task.result()
    assert len(said) == 2


async def test_a_database_whose_list_of_mints_never_ends_keeps_nobody_from_the_books(tmp_path: Path) -> None:
    """Whoever writes to it can put any number of documents there, and the books stop signing after a theft."""
    asked: list[None] = []
    looked: list[None] = []

    async def endless() -> None:
        asked.append(None)
        await asyncio.Event().wait()

    async def check() -> None:
        looked.append(None)

    with (
        mock.patch.object(module.RefusalWatch, "look", side_effect=endless),
        mock.patch.object(module.Books, "check", side_effect=check),
    ):
        async with running(tmp_path, ANY[0]) as (_, task):
            await until(lambda: bool(asked) and len(looked) > 1, task, lambda: (asked, looked))
    task.result()
