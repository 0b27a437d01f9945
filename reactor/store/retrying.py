"""A bounded retry of our own: the driver retries a write once, a fail-over takes longer.

Only for operations that may run twice: conditional updates and inserts of fixed ids. What comes back is judged here too: an
answer that makes no sense is a `PyMongoError` like every other failure of the database.
"""

import asyncio
import struct
import zlib
from collections.abc import Awaitable, Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, Final, TypeVar

import stamina
from bson.errors import BSONError, InvalidDocument
from pymongo.errors import AutoReconnect, BulkWriteError, PyMongoError

from reactor.sentences import meaning

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


_NONSENSE: Final = (
    BSONError, struct.error, zlib.error, ValueError, LookupError, TypeError, AttributeError, AssertionError, RecursionError,
)  # fmt: skip
"""What the driver, and we, raise over an answer that no server should give; the driver lets them all through."""


class UnreadableAnswer(PyMongoError):  # noqa: N818 - the word the operator reads
    """The database answered something that makes no sense: it is damaged, or it is no MongoDB. Says only the kind of error."""


@contextmanager
def answers() -> Iterator[None]:
    """Around asking the database and taking its answer apart: what makes no sense is an `UnreadableAnswer`.

    SECURITY: the database is not trusted; what it sends may end a call, never a loop that expects a `PyMongoError`.
    """
    try:
        yield
    except (InvalidDocument, OverflowError):  # what we send cannot be written: our own fault
        raise
    except _NONSENSE as error:
        raise UnreadableAnswer(f"the answer of the database makes no sense ({meaning(error)})") from error


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
        with answers():
            return await operation()
    except PyMongoError as error:
        if not is_passing(error):
            raise
    await asyncio.sleep(_FIRST_WAIT)
    async for attempt in stamina.retry_context(
        on=is_passing, attempts=ATTEMPTS - 1, timeout=60.0, wait_initial=_FIRST_WAIT, wait_max=_LONGEST_WAIT, wait_jitter=0.05
    ):
        with attempt, answers():
            return await operation()
    raise AssertionError("the retry context ends by success or by raising")
