"""Which processes hold a lock on a file, as far as the kernel tells: for messages to people, never for a decision."""

import os
from pathlib import Path
from typing import Final

from reactor.state.sameness import files_of

_LOCKS: Final = Path("/proc/locks")
_PID, _PLACE, _FIELDS = 4, 5, 8
"""In a line of /proc/locks: `1: POSIX  ADVISORY  WRITE 1234 08:02:131074 128 128`; see proc(5)."""


def holders_of(path: Path) -> list[int]:
    """The other processes that hold a lock on a SQLite file or those beside it; empty where the kernel does not tell."""
    try:
        lines = _LOCKS.read_text("ascii", "replace").splitlines()
    except OSError:
        return []
    places = {place for one in files_of(path) if (place := _place(one))}
    rows = (line.split() for line in lines)
    found = {row[_PID] for row in rows if len(row) == _FIELDS and row[_PLACE] in places}
    return sorted(int(pid) for pid in found if pid.isdigit() and int(pid) not in {0, os.getpid()})


def _place(path: Path) -> str:
    try:
        found = path.stat()
    except OSError:
        return ""
    return f"{os.major(found.st_dev):02x}:{os.minor(found.st_dev):02x}:{found.st_ino}"
