"""The watch over collections, indexes and schemas: when it looks, what it tells once, what it shows."""

from typing import Any

import pytest
from loguru import logger

from reactor.store import watch
from reactor.store.indexes import Problem
from reactor.store.watch import SchemaWatch

pytestmark = pytest.mark.unit

GONE = Problem("mint", "no index unique_key on transaction_hash", "run `reactor init-db`")
OPEN = Problem("burn", "no schema validator, or another one", "run `reactor init-db`")


class Bench:
    """A watch over a database that lacks what `missing` says, on a clock of its own."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now, self.looks = 0.0, 0
        self.missing: list[Problem] = []
        monkeypatch.setattr(watch, "verify", self.verify)
        store: Any = None
        self.watch = SchemaWatch(store, every=60.0, clock=lambda: self.now)

    async def verify(self, _store: object) -> list[Problem]:
        self.looks += 1
        return list(self.missing)

    async def look(self, after: float) -> list[str]:
        self.now += after
        await self.watch.look()
        return self.watch.problems


@pytest.fixture
def bench(monkeypatch: pytest.MonkeyPatch) -> Bench:
    return Bench(monkeypatch)


async def test_it_looks_now_and_then_and_at_once_after_an_alarm(bench: Bench) -> None:
    bench.missing = [GONE]
    assert await bench.look(59) == []
    assert await bench.look(1) == [f"database: {GONE}"]
    await bench.look(30)
    assert bench.looks == 1
    bench.missing = []
    bench.watch.alarm()
    assert await bench.look(0) == []
    assert bench.looks == 2


async def test_each_is_told_once_and_its_return_too(bench: Bench) -> None:
    lines: list[str] = []
    sink = logger.add(lambda text: lines.append(str(text)), level="INFO", format="{level} {message}")
    try:
        for missing in ([], [GONE], [GONE], [GONE, OPEN], [], []):
            bench.missing = missing
            await bench.look(60)
    finally:
        logger.remove(sink)
    assert [line.split()[0] for line in lines] == ["ERROR", "ERROR", "INFO"]
    assert "no index unique_key" in lines[0]
    assert "no schema validator" in lines[1]
    assert "as they should be again" in lines[2]


async def test_many_are_shown_short_and_the_schemas_first(bench: Bench) -> None:
    bench.missing = [Problem("mint", f"no index {number} on x", "run `reactor init-db`") for number in range(20)] + [OPEN]
    shown = await bench.look(60)
    assert len(shown) == 9
    assert shown[0] == f"database: {OPEN}"
    assert shown[-1] == "database: 13 more"
