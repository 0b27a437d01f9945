"""Whether a path still leads to the very file that was opened: an open file lives on without its name, until the process ends."""

import os
from pathlib import Path
from typing import Final

from reactor.state.problems import StateReplaced

Place = tuple[int, int]
"""Device and inode: what stays while a file stays the same, and differs from that of every copy."""

BESIDE: Final = ("-wal", "-shm")
"""Suffixes of the files that SQLite keeps beside its own."""
_GONE = (FileNotFoundError, NotADirectoryError)


class SameFile:
    """Watches one file by its path, and those beside it that belong to it. What was found to be changed stays so.

    SECURITY: what is noted in a file that has no name any more is forgotten when the process ends. A validator that goes on
    signing would leave signatures that no journal knows. The files are looked at and never opened: to close another descriptor
    of a file gives up all locks of the process on it.
    """

    def __init__(self, path: Path, beside: tuple[str, ...] = ()) -> None:
        """`beside`: suffixes of files that belong to it ("-wal"); each is known from when it is first seen."""
        self._path = path
        self._beside = tuple(path.with_name(path.name + suffix) for suffix in beside)
        self._known: dict[Path, Place] = {}
        self._size = 0
        self.changed = ""
        """What happened to it, in a sentence; empty while it is the same."""

    def note(self) -> None:
        """Take the file that is there now for the one to watch. Call it before and after opening it. Raises StateReplaced."""
        if self._path in self._known:
            self.require()
            return
        found = self._path.stat()
        self._known[self._path] = (found.st_dev, found.st_ino)
        self._size = found.st_size

    def require(self) -> None:
        """Raise StateReplaced where it is not the same file any more, now or at any time before; OSError where that cannot be
        told.
        """
        if not self.changed and self._known:
            self.changed = self._look()
        if self.changed:
            raise StateReplaced(self.changed)

    def forsake(self, what: str) -> None:
        """Take it for changed, whatever its place says."""
        self.changed = self.changed or f"{self._path} {what}"

    def _look(self) -> str:
        # Before it is measured: another thread may see the file grow in between, and what was measured then is no cut.
        least = self._size
        for path in (self._path, *self._beside):
            known = self._known.get(path)
            try:
                found = path.stat()
            except _GONE:
                if known is not None:
                    return f"{path} was removed or moved away while this process had it open"
                continue
            place = (found.st_dev, found.st_ino)
            if self._known.setdefault(path, place) != place:
                return f"{path} was replaced by another file while this process had it open"
            if path == self._path:
                if found.st_size < least:
                    return f"{path} was cut from {least} to {found.st_size} bytes while this process had it open"
                self._size = max(self._size, found.st_size)
        return ""


def files_of(path: Path) -> tuple[Path, ...]:
    """Where a SQLite file and those beside it lie, whether they are there or not."""
    return (path, *(path.with_name(path.name + suffix) for suffix in BESIDE))


def descriptor_is(path: Path, descriptor: int) -> bool:
    """Whether the path leads to the file of this open descriptor."""
    held = os.fstat(descriptor)
    try:
        found = path.stat()
    except _GONE:
        return False
    return (held.st_dev, held.st_ino) == (found.st_dev, found.st_ino)
