"""The state is its owner's alone: files 0600, directories 0700, whatever the umask was when they were made.

SECURITY: who can read the ledger and the journal learns whom a validator signs for; who can write them can make it sign.
"""

import os
import stat
from pathlib import Path
from typing import Final

from loguru import logger

from reactor.state.problems import StateProblem
from reactor.state.sameness import files_of

FILE_MODE: Final = 0o600
DIRECTORY_MODE: Final = 0o700


def make_private(path: Path) -> None:
    """Take all rights of group and others from a file or directory of the state; a directory that is missing is made.

    What belongs to another user is left as it is and told, and so is a directory that everybody uses (`/tmp`, say). Raises
    StateProblem where the operating system refuses.
    """
    try:
        if not path.exists():
            path.mkdir(parents=True, mode=DIRECTORY_MODE)
        found = path.stat()
        if not found.st_mode & (stat.S_IRWXG | stat.S_IRWXO):
            return
        if found.st_uid != os.geteuid() or found.st_mode & stat.S_ISVTX:
            logger.warning("{} can be used by other accounts: give the state a directory of its own", path)
            return
        path.chmod(DIRECTORY_MODE if path.is_dir() else FILE_MODE)
    except OSError as error:
        raise StateProblem(
            f"{path}: {error.strerror}", "make its parent writable for this user, and the state directory this user's own"
        ) from error


def make_files_private(path: Path) -> None:
    """The same for a SQLite file and those beside it, as far as they are there."""
    for one in files_of(path):
        if one.exists():
            make_private(one)
