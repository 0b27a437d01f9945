"""A small disk for one validator's state, which can be filled to the last byte."""

from __future__ import annotations

import errno
import os
import resource
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Final

SIZE: Final = 32 << 20
_CHUNK: Final = 1 << 20


class SmallDisk:
    """A file system in memory, mounted on `directory`, with what lay there. `process`: who uses it, by id, while he runs.

    Where this user may not mount anything the process itself is forbidden to make any file longer, which is as final to it;
    then `mounted` is False.
    """

    def __init__(self, directory: Path, process: Callable[[], int | None]) -> None:
        self._directory = directory
        self._process = process
        self._filler = directory / "filler"
        self.mounted = False
        self.full = False

    def mount(self) -> None:
        """Make it; the state is moved onto it. Nobody may have a file of it open."""
        aside = self._directory.with_name(f"{self._directory.name}.moved")
        self._directory.rename(aside)
        self._directory.mkdir(mode=0o700)
        command = ["mount", "-t", "tmpfs", "-o", f"size={SIZE},mode=0700", "tmpfs", str(self._directory)]
        self.mounted = subprocess.run(command, capture_output=True, check=False).returncode == 0
        for path in aside.iterdir():
            shutil.move(path, self._directory / path.name)
        aside.rmdir()

    def fill(self) -> None:
        """Not one byte more fits."""
        self.full = True
        if self.mounted:
            with self._filler.open("ab", buffering=0) as file:
                size = _CHUNK
                while size:
                    size = size if _fits(file.fileno(), size) else size // 2
        else:
            self._forbid(0)

    def free(self) -> None:
        """There is room again."""
        self.full = False
        if self.mounted:
            self._filler.unlink(missing_ok=True)
        else:
            self._forbid(resource.RLIM_INFINITY)

    def unmount(self) -> None:
        """What lies there is kept for whoever looks at it afterwards. Nobody may use it any more."""
        if not self.mounted:
            return
        self.free()
        aside = self._directory.with_name(f"{self._directory.name}.moved")
        shutil.copytree(self._directory, aside)
        subprocess.run(["umount", str(self._directory)], capture_output=True, check=True)
        self.mounted = False
        self._directory.rmdir()
        aside.rename(self._directory)

    def _forbid(self, most: int) -> None:
        if (process := self._process()) is not None:
            resource.prlimit(process, resource.RLIMIT_FSIZE, (most, resource.RLIM_INFINITY))


def _fits(descriptor: int, size: int) -> bool:
    try:
        os.write(descriptor, b"\0" * size)
    except OSError as error:
        if error.errno != errno.ENOSPC:
            raise
        return False
    return True
