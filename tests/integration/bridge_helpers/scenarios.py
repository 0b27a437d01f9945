"""Many scenarios at once on one bridge: each is its own test, and none may keep another from its end."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from reactor.engine.tasks import end

Scenario = Callable[..., Awaitable[None]]
AT_ONCE = 32
"""More would measure this machine instead of the bridge."""


class Scenarios:
    """Named scenarios. `names` parametrizes the test; `begun` starts all of them at once; `result` waits for one."""

    def __init__(self) -> None:
        self._made: dict[str, Scenario] = {}
        self._tasks: dict[str, asyncio.Task[Any]] = {}

    @property
    def names(self) -> list[str]:
        return list(self._made)

    def add(self, name: str, scenario: Scenario) -> None:
        assert name not in self._made, name
        self._made[name] = scenario

    def __call__(self, scenario: Scenario) -> Scenario:
        self.add(scenario.__name__, scenario)
        return scenario

    @asynccontextmanager
    async def begun(self, request: pytest.FixtureRequest, *arguments: Any) -> AsyncIterator[None]:
        """Each scenario whose test this run of pytest selected is on its way; what still runs at the end is cancelled."""
        chosen = _chosen_names(request)
        room = asyncio.Semaphore(AT_ONCE)

        async def run(scenario: Scenario) -> None:
            async with room:
                await scenario(*arguments)

        self._tasks = {name: asyncio.ensure_future(run(scenario)) for name, scenario in self._made.items() if name in chosen}
        try:
            yield
        finally:
            await end(*self._tasks.values())
            await asyncio.gather(*self._tasks.values(), return_exceptions=True)
            self._tasks.clear()

    async def result(self, name: str) -> None:
        await self._tasks[name]


def _chosen_names(request: pytest.FixtureRequest) -> set[str]:
    """The scenarios that this run of pytest selected in the requesting module."""
    here = [item for item in request.session.items if isinstance(item, pytest.Function) and item.module is request.module]
    return {item.callspec.params["name"] for item in here if "name" in getattr(getattr(item, "callspec", None), "params", {})}
