"""Amounts that change at known heights."""

from collections.abc import Callable
from dataclasses import dataclass

from pydantic_core import PydanticCustomError

from reactor.settings.values import parse_whole

MAX_AMOUNT = 2**63 - 1
"""Amounts on Pocket are signed 64-bit integers of upokt."""


@dataclass(frozen=True, slots=True)
class Schedule:
    """Amounts in upokt by source height: `steps` are (from height, amount), ascending."""

    steps: tuple[tuple[int, int], ...]

    def at(self, height: int) -> int:
        """Give the amount in force at `height`; below the first step the first amount holds."""
        amount = self.steps[0][1]
        for start, value in self.steps:
            if start > height:
                break
            amount = value
        return amount

    def heights(self) -> tuple[int, ...]:
        """Give the heights at which the amount changes."""
        return tuple(start for start, _ in self.steps)

    def canonical(self) -> list[list[str]]:
        """Give the form that enters the identity: `[["height", "amount"], …]`."""
        return [[str(start), str(amount)] for start, amount in self.steps]


def schedule_fault(problem: str, start_name: str, **context: object) -> PydanticCustomError:
    """Make the error of a schedule field, with the two forms that are understood as its remedy."""
    remedy = f"Give one amount in upokt, or a list like [{{{start_name} = 1000, amount = 10000}}, …]"
    return PydanticCustomError("schedule", problem, {**context, "start_name": start_name, "remedy": remedy})


def parse_schedule(value: object, start: int | None, start_name: str) -> Schedule:
    """Read a schedule: one amount (in force from `start`), or a list of `{<start_name>, amount}`.

    Args:
        value: what the file or the environment holds.
        start: the configured start of that chain; none if it is itself at fault (then it is not compared).
        start_name: `from_height` or `from_block`.

    Raises:
        PydanticCustomError: with the remedy.
    """
    if isinstance(value, Schedule):
        return value

    def fault(problem: str, **context: object) -> PydanticCustomError:
        return schedule_fault(problem, start_name, **context)

    if not isinstance(value, list | tuple):
        return Schedule(((start or 1, _amount(value, fault)),))
    if not value:
        raise fault("holds no step")
    steps = tuple(_step(item, number, start_name, fault) for number, item in enumerate(value, 1))
    heights = [height for height, _ in steps]
    if heights != sorted(set(heights)):
        raise fault("its steps are not ascending and distinct")
    # SECURITY: an event before the first step would be classified by an amount that nobody configured for it.
    if start is not None and heights[0] > start:
        raise fault("its first step ({first}) lies above the start ({start})", first=heights[0], start=start)
    if start is not None and len(heights) > 1 and heights[1] <= start:
        raise fault("its first step ends before the start ({start})", start=start)
    # What lies below the start never counts, so that two ways to write one schedule are one identity.
    return Schedule(((start or heights[0], steps[0][1]), *steps[1:]))


_Fault = Callable[..., PydanticCustomError]


def _step(item: object, number: int, start_name: str, fault: _Fault) -> tuple[int, int]:
    if not isinstance(item, dict) or set(item) != {start_name, "amount"}:
        raise fault("its step {number} has not exactly {start_name} and amount", number=number)
    height = parse_whole(item[start_name])
    if height is None or height < 1:
        raise fault("the {start_name} of step {number} is not a positive whole number", number=number)
    return height, _amount(item["amount"], fault)


def _amount(value: object, fault: _Fault) -> int:
    amount = parse_whole(value)
    if amount is None or not 1 <= amount <= MAX_AMOUNT:
        raise fault("an amount is not a whole number of upokt from 1 to {most}", most=MAX_AMOUNT)
    return amount
