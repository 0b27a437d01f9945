"""What a signer did since it was opened: counts and latencies, by purpose."""

import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final, Literal, get_args

from reactor.keys.problem import KeyProblem
from reactor.sentences import meaning

Purpose = Literal["request", "objection", "heartbeat", "probe", "other"]
"""What a signature is for: a mint or payout, an objection, a heartbeat, a test of the key."""
_PATIENCE_SECONDS: Final = 5.0
"""Who gives up after so long does so because the key does not answer."""
PURPOSES: Final[tuple[Purpose, ...]] = get_args(Purpose)


@dataclass(frozen=True, slots=True)
class Tally:
    """The calls for one purpose.

    Attributes:
        signed: a verified signature was given out.
        passing: failed in a way that may pass (throttled, unreachable).
        failed: failed for another reason; the first one deserves a look.
        abandoned: the caller was cancelled while he waited.
        seconds: all calls together, queueing and failed ones too.
        slowest_s: the longest call.
    """

    signed: int = 0
    passing: int = 0
    failed: int = 0
    abandoned: int = 0
    seconds: float = 0.0
    slowest_s: float = 0.0

    @property
    def calls(self) -> int:
        """Calls that ended, however."""
        return self.signed + self.passing + self.failed + self.abandoned

    @property
    def mean_s(self) -> float:
        """The mean duration of a call, zero before the first."""
        return self.seconds / self.calls if self.calls else 0.0


class SignerStats:
    """Counters of one signer, kept in this process.

    Attributes are read at any time, from any task; the clock gives seconds and only its differences count.
    """

    __slots__ = ("_attempts", "_clock", "_lock", "_tallies", "_trouble")

    def __init__(self, clock: Callable[[], float] = time.perf_counter) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._attempts = 0
        self._tallies: dict[Purpose, Tally] = {}
        self._trouble = ""

    @property
    def trouble(self) -> str:
        """Why the last call gave no signature, empty if it gave one. Who was cancelled soon after he asked says nothing."""
        return self._trouble

    @property
    def attempts(self) -> int:
        """Requests sent to a key service, first ones and repeated ones, the opening too; zero for a key of this process."""
        return self._attempts

    @property
    def tallies(self) -> Mapping[Purpose, Tally]:
        """One tally for each purpose that occurred."""
        return MappingProxyType(self._tallies)

    @property
    def total(self) -> Tally:
        """All purposes together."""
        every = self._tallies.values()
        return Tally(
            signed=sum(one.signed for one in every),
            passing=sum(one.passing for one in every),
            failed=sum(one.failed for one in every),
            abandoned=sum(one.abandoned for one in every),
            seconds=sum(one.seconds for one in every),
            slowest_s=max((one.slowest_s for one in every), default=0.0),
        )

    def count_attempt(self) -> None:
        """Count one request to the key service; called from its threads."""
        with self._lock:
            self._attempts += 1

    @contextmanager
    def measured(self, purpose: Purpose) -> Iterator[None]:
        """Time one call and count how it ends."""
        if purpose not in PURPOSES:  # each purpose is a label: whatever is counted without bound grows without bound
            raise ValueError(f"unknown purpose {purpose!r}: one of {', '.join(PURPOSES)}")
        started = self._clock()
        try:
            yield
        except KeyProblem as problem:
            self._trouble = problem.problem
            self._count(purpose, started, "passing" if problem.transient else "failed")
            raise
        except Exception as error:
            # SECURITY: the class alone, since what a library says may quote its input.
            self._trouble = f"it failed: {meaning(error)}"
            self._count(purpose, started, "failed")
            raise
        except BaseException:
            if self._count(purpose, started, "abandoned") >= _PATIENCE_SECONDS:
                self._trouble = "it gave no answer before it was given up"
            raise
        self._trouble = ""
        self._count(purpose, started, "signed")

    def _count(self, purpose: Purpose, started: float, outcome: Literal["signed", "passing", "failed", "abandoned"]) -> float:
        """Count a call that ended; the seconds that it took."""
        took = self._clock() - started
        old = self._tallies.get(purpose, Tally())
        added = {outcome: getattr(old, outcome) + 1, "seconds": old.seconds + took, "slowest_s": max(old.slowest_s, took)}
        self._tallies[purpose] = replace(old, **added)
        return took

    def __repr__(self) -> str:
        total = self.total
        return (
            f"<SignerStats {total.signed} signed, {total.passing} passing and {total.failed} other failures, "
            f"mean {total.mean_s * 1000:.1f} ms, {self._attempts} requests sent>"
        )
