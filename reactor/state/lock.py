"""One running validator per state directory."""

import fcntl
import os
from pathlib import Path
from types import TracebackType
from typing import Self

from reactor.state.private import make_private
from reactor.state.problems import StateLocked, StateProblem
from reactor.state.sameness import descriptor_is

LOCK_FILE = "reactor.lock"
_TRIES = 10
_REMEDY = "stop it first; one key never runs twice, nor with a second journal (an observer may have a directory of its own)"


class ProcessLock:
    """Keeps a second `run`, and whatever makes or replaces files of the state, off a directory that is in use. Operator verbs
    (pause, hold, release, show) do not take it.

    SECURITY: two processes on one disk share the journal, so neither can sign twice; but both would scan, submit and save
    positions. The lock is the kernel's: it goes with the process, however it ends, and leaves no stale file to clean.
    """

    def __init__(self, directory: Path) -> None:
        self._path = directory / LOCK_FILE
        self._descriptor: int | None = None

    def acquire(self) -> None:
        """Take the lock without waiting. Raises StateLocked where another process holds it."""
        for _ in range(_TRIES):
            descriptor = self._open()
            if self._locked(descriptor):
                self._sign(descriptor)
                self._descriptor = descriptor
                return
            os.close(descriptor)
        raise StateProblem(f"{self._path} is replaced again and again", "find out what removes it")

    def _open(self) -> int:
        try:
            make_private(self._path.parent)
            descriptor = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise StateProblem(
                f"cannot open {self._path}: {error.strerror}", "make the directory writable for this user"
            ) from error
        make_private(self._path)
        return descriptor

    def _sign(self, descriptor: int) -> None:
        """Note whose lock it is, for who is refused. Raises StateProblem where the disk takes no write; then it is not held."""
        try:
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, str(os.getpid()).encode(), 0)
        except OSError as error:
            os.close(descriptor)
            raise StateProblem(
                f"cannot write {self._path}: {error.strerror}", "free some space and check the directory's rights"
            ) from error

    def _locked(self, descriptor: int) -> bool:
        """Whether the lock is held now; not where the file was removed meanwhile. Raises StateLocked."""
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            holder = os.pread(descriptor, 32, 0).decode("ascii", "replace").strip()
            os.close(descriptor)
            raise StateLocked(
                f"process {holder or 'unknown'} already runs on {self._path.parent}",
                _REMEDY,
            ) from error
        return descriptor_is(self._path, descriptor)

    @property
    def replaced(self) -> str:
        """What happened to the lock's file while it was held; empty where nothing did.

        SECURITY: where it was removed, another process can take a lock of the same name, and make a new journal beside this one.
        """
        if self._descriptor is None or descriptor_is(self._path, self._descriptor):
            return ""
        return f"{self._path} was removed or replaced while this process had it locked"

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
