"""One running validator per state directory."""

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from reactor.state.problems import StateLocked, StateProblem

LOCK_FILE = "reactor.lock"


class ProcessLock:
    """Keeps a second `run` off the same disk. Operator verbs (pause, hold, release, show) do not take it.

    SECURITY: two processes on one disk share the journal, so neither can sign twice; but both would scan, submit and save
    positions. The lock is the kernel's: it goes with the process, however it ends, and leaves no stale file to clean.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / LOCK_FILE
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock without waiting. Raises StateLocked where another process holds it."""
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StateProblem(
                f"cannot open {self._path}: {error.strerror}", "make the directory writable for this user"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise StateLocked(
                f"process {holder or 'unknown'} already runs on {self._path.parent}",
                "stop it, or give this validator a state directory of its own",
            ) from error
        os.ftruncate(descriptor, 0)
        os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        self._descriptor = descriptor

    def release(self) -> None:
        """Give the lock back; harmless when it is not held."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def __enter__(self) -> Self:
        self.acquire()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.release()
