"""The misbehaviours of one node that are on, and their counting down."""

import asyncio
from dataclasses import replace
from typing import TypeVar

from infra.localnet.pocket.misbehaviour import Fault, HttpFault, LoseSubmitted, Misbehaviour, RejectSubmits

S = TypeVar("S", bound=Misbehaviour)


class Behaviour:
    """At most one switch of each kind is on; a new one replaces the old one of its kind."""

    def __init__(self) -> None:
        self._on: dict[str, Misbehaviour] = {}
        self._hang_cleared = asyncio.Event()

    def turn_on(self, *switches: Misbehaviour) -> None:
        """Turn switches on."""
        for switch in switches:
            self._on[switch.kind] = switch

    def turn_off(self, *kinds: str) -> None:
        """Turn off the switches of these kinds, all without any."""
        for kind in kinds or tuple(self._on):
            self._on.pop(kind, None)
        if not kinds or "hang" in kinds:
            self._hang_cleared.set()
            self._hang_cleared = asyncio.Event()

    def active(self) -> tuple[Misbehaviour, ...]:
        """All switches that are on."""
        return tuple(self._on.values())

    def find(self, kind: type[S]) -> S | None:
        """The switch of this class, if it is on."""
        return next((switch for switch in self._on.values() if isinstance(switch, kind)), None)

    def take(self, kind: "type[LoseSubmitted | RejectSubmits]") -> LoseSubmitted | RejectSubmits | None:
        """The switch of this class, if it is on, with one of its times used up."""
        found = self.find(kind)
        if found is not None:
            self._count_down(found)
        return found

    def take_fault(self, path: str) -> Fault | None:
        """The first HTTP fault that concerns a request, with one of its times used up."""
        for switch in self._on.values():
            if isinstance(switch, HttpFault) and switch.concerns(path):
                self._count_down(switch)
                return switch
        return None

    def _count_down(self, switch: "Fault | LoseSubmitted | RejectSubmits") -> None:
        if switch.times is None:
            return
        if switch.times == 1:
            del self._on[switch.kind]
        else:
            self._on[switch.kind] = replace(switch, times=switch.times - 1)

    async def hang(self) -> None:
        """Wait until hanging is turned off."""
        await self._hang_cleared.wait()
