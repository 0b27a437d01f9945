"""What several modules of unit tests stand on."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from loguru import logger

from reactor.cli import audited
from reactor.state.journal import Journal
from tests.unit.handler_world import World, make_world
from tests.unit.journal_helpers import BRIDGE, HEIGHTS, NOW


@pytest.fixture
def world(tmp_path: Path) -> Iterator[World]:
    """One validator's world: three members, threshold two, an empty ledger and journal."""
    world = make_world(tmp_path)
    yield world
    world.close()


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    """An empty journal in `tmp_path`. Its clock stands still, a little before the next second."""
    opened = Journal.create(tmp_path, BRIDGE, HEIGHTS, clock=lambda: NOW + 0.9)
    yield opened
    opened.close()


@pytest.fixture
def lines() -> Iterator[list[str]]:
    """The log from INFO on, each line with its level."""
    said: list[str] = []
    number = logger.add(lambda line: said.append(str(line)), level="INFO", format="{level} {message}")
    yield said
    logger.remove(number)


@pytest.fixture
def written(monkeypatch: pytest.MonkeyPatch) -> list[tuple[Any, ...]]:
    """What an operator's acts leave in the audit collection; the real one is in tests/integration."""
    entries: list[tuple[Any, ...]] = []

    async def write(settings: Any, given: Any) -> None:
        entries.extend(tuple(one[name] for name in ("verb", "arguments", "why", "evaluated", "matched")) for one in given)

    monkeypatch.setattr(audited, "_write", write)
    return entries
