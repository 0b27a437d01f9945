"""Reading and writing key files: owner-only, never overwritten, on disk before they count."""

import os
import stat
from pathlib import Path

from reactor.keys.problem import KeyProblem
from reactor.textfile import NotTextError, decode_text

MAX_KEY_FILE_BYTES = 64 * 1024
"""A key or a keystore has a few hundred bytes; whatever is larger is not one."""


def read_key_file(path: Path, source: str, *, private: bool) -> str:
    """Read a key file.

    Args:
        path: absolute.
        source: the URI, for errors.
        private: refuse a file that others than its owner may read or write (a plain key).

    Raises:
        KeyProblem: missing, not readable, not a regular file, too large, not text, or readable by others.
    """
    try:
        # Judged by the open file, not by its name, which could be exchanged in between.
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError as error:
        remedy = "Check the path and its permissions"
        if isinstance(error, FileNotFoundError):
            remedy += ", or make a key there with `reactor keys new`"
        raise KeyProblem(source, f"cannot be opened ({error.strerror})", remedy) from None
    except ValueError:
        raise KeyProblem(source, "holds a character that no path has", "Check the path") from None
    # Not a file object, which would refuse a directory before it can be named as one.
    try:
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise KeyProblem(source, "is not a regular file", "Give the path of a key file")
        # SECURITY: a plain key that other users of the machine can read or replace is not ours alone.
        if private and status.st_mode & 0o077:
            raise KeyProblem(
                source,
                f"may be read by others than its owner (mode {stat.S_IMODE(status.st_mode):04o})",
                f"Run: chmod 600 {path}",
            )
        raw = os.read(descriptor, MAX_KEY_FILE_BYTES + 1)
    finally:
        os.close(descriptor)
    if len(raw) > MAX_KEY_FILE_BYTES:
        raise KeyProblem(source, "is too large for a key", "Give the path of a key file")
    try:
        return decode_text(raw)
    except NotTextError:
        raise KeyProblem(source, "is not text", "Give the path of a key file") from None


def write_key_file(path: Path, text: str, source: str) -> None:
    """Write a new file of mode 0600, synced with its directory. An existing file is never touched.

    Raises:
        KeyProblem: the file exists, or cannot be written.
    """
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError:
        raise KeyProblem(source, "exists already", "Choose another path; a key is never overwritten") from None
    except OSError as error:
        raise KeyProblem(source, f"cannot be created ({error.strerror})", "Check the folder") from None
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
    except OSError as error:
        path.unlink(missing_ok=True)  # half a key must not look like one
        raise KeyProblem(source, f"cannot be written ({error.strerror})", "Check the disk") from None
