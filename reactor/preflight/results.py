"""What a check says, and how a check that breaks is kept from breaking the others."""

import asyncio
from collections.abc import Awaitable, Sequence
from dataclasses import dataclass
from typing import Final, Literal

from reactor.chains.errors import ChainError
from reactor.chains.pocket.errors import PocketRpcError
from reactor.foreign import redact
from reactor.keys.problem import KeyProblem
from reactor.sentences import sentence
from reactor.state.problems import StateProblem
from reactor.store.problem import StoreProblem

Level = Literal["error", "warning", "info"]
TIMEOUT_SECONDS: Final = 30.0
"""A check that takes longer has failed: no operator waits longer for an answer."""


@dataclass(frozen=True, slots=True)
class CheckResult:
    """One check. `detail`: what was found; `remedy`: what to do, empty if `ok`. `level`: what it means that it is not ok."""

    name: str
    ok: bool
    detail: str
    remedy: str = ""
    level: Level = "error"


def passed(name: str, detail: str) -> CheckResult:
    """A check that found what it wants."""
    return CheckResult(name, True, detail, "", "info")


def failed(name: str, detail: str, remedy: str, level: Level = "error") -> CheckResult:
    """A check that did not."""
    return CheckResult(name, False, redact(detail), redact(remedy), level)


def failures(results: Sequence[CheckResult]) -> list[CheckResult]:
    """The results that forbid a start."""
    return [result for result in results if not result.ok and result.level == "error"]


async def isolated(
    name: str, check: Awaitable[list[CheckResult]], remedy: str, level: Level = "error", seconds: float = TIMEOUT_SECONDS
) -> list[CheckResult]:
    """The check's results; whatever it raises, and its time-out, is one failing result with `remedy`."""
    try:
        async with asyncio.timeout(seconds):
            return await check
    except TimeoutError:
        return [failed(name, f"no answer within {seconds:g} s", remedy, level)]
    except StoreProblem as error:
        return [failed(name, f"{error.field}: {error.problem}", error.remedy, level)]
    except StateProblem as error:
        return [failed(name, error.what, error.remedy, level)]
    except KeyProblem as error:
        return [failed(name, f"key {error.source}: {error.problem}", error.remedy, level)]
    except (ChainError, PocketRpcError) as error:
        return [failed(name, str(error), remedy, level)]
    except Exception as error:  # noqa: BLE001 - one broken check must not hide what the others found
        return [failed(name, sentence(error), remedy, level)]
