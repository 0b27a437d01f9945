"""A bounded retry of our own: the driver retries a write once, a fail-over takes longer.

Only for operations that may run twice: conditional updates and inserts of fixed ids.
"""

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, TypeVar

import stamina
from pymongo.errors import AutoReconnect, BulkWriteError, PyMongoError

T = TypeVar("T")

DUPLICATE_KEY: Final = 11000
ATTEMPTS: Final = 8
"""With the waits below about 12 s, more than an election takes with default settings (10 s)."""
_FIRST_WAIT: Final = 0.05
_LONGEST_WAIT: Final = 3.0

# What goes away by itself: no primary, node shutting down, network, interrupted, time limits, write conflicts.
_PASSING: Final = frozenset(
    {
        6,
        7,
        24,
        50,
        64,
        79,
        89,
        91,
        100,
        112,
        189,
        202,
        262,
        290,
        9001,
        10107,
        11600,
        11601,
        11602,
        13435,
        13436,
        13388,
        17507,
        237,
    }
)


def is_passing(error: BaseException) -> bool:
    """Whether the same operation may succeed a little later."""
    if isinstance(error, BulkWriteError):
        details: Mapping[str, Any] = error.details or {}
        faults = [fault.get("code") for fault in details.get("writeErrors", [])]
        passing = any(code in _PASSING for code in faults)
        return passing or bool(details.get("writeConcernErrors"))
    if isinstance(error, AutoReconnect):
        return True
    if not isinstance(error, PyMongoError):
        return False
    return error.timeout or getattr(error, "code", None) in _PASSING or error.has_error_label("RetryableWriteError")


async def retrying(operation: Callable[[], Awaitable[T]]) -> T:
    """Run `operation` until it succeeds, at most `ATTEMPTS` times; raises its last error.

    `operation` must be safe to run again after it was carried out without our learning of it.
    """
    try:
        # The first attempt stands outside the retry context, whose set-up costs as much as a small write.
        return await operation()
    except PyMongoError as error:
        if not is_passing(error):
            raise
    await asyncio.sleep(_FIRST_WAIT)
    async for attempt in stamina.retry_context(
        on=is_passing, attempts=ATTEMPTS - 1, timeout=60.0, wait_initial=_FIRST_WAIT, wait_max=_LONGEST_WAIT, wait_jitter=0.05
    ):
        with attempt:
            return await operation()
    raise AssertionError("the retry context ends by success or by raising")
