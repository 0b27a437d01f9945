"""Which processes ran on this state directory before: they are dead for certain, so nobody need wait for their silence."""

from pathlib import Path
from typing import Final

from reactor.state.lock import LOCK_FILE
from reactor.state.private import make_private
from reactor.state.problems import StateProblem

RUNS_FILE: Final = "runs"
_BOOT: Final = Path("/proc/sys/kernel/random/boot_id")
_MOST: Final = 16


def note_run(directory: Path, instance: str) -> frozenset[str]:
    """Note that the process `instance` runs here now; the instances that ran here before it and have ended.

    Call it with the `ProcessLock` of `directory` held. SECURITY: an earlier instance counts as ended only if it held the very
    lock file that is held now (same device and inode) since the machine's last start. A copied directory has another lock
    file, and a copied disk another machine: from their originals an answer is waited for.
    """
    path, place = directory / RUNS_FILE, _place(directory / LOCK_FILE)
    try:
        rows = [line.split() for line in path.read_text("ascii").splitlines()] if path.exists() else []
        before = [row[0] for row in rows if len(row) == 2 and row[1] == place and place]
        kept = [f"{one} {place}" for one in [*before, instance][-_MOST:]]
        fresh = path.with_suffix(".new")
        fresh.write_text("".join(f"{line}\n" for line in kept), "ascii")
        make_private(fresh)
        fresh.replace(path)
    except UnicodeError:
        path.unlink(missing_ok=True)  # not ours; the next start begins anew
        return frozenset()
    except OSError as error:
        raise StateProblem(f"cannot write {path}: {error.strerror}", "make the directory writable for this user") from error
    return frozenset(before)


def last_run(directory: Path) -> str:
    """The instance that runs here or ran here last; empty where none ever did or the file cannot be read as one."""
    try:
        rows = [line.split() for line in (directory / RUNS_FILE).read_text("ascii").splitlines()]
    except (OSError, UnicodeError):
        return ""
    return rows[-1][0] if rows and rows[-1] else ""


def _place(lock: Path) -> str:
    """This lock file since this start of the machine; empty where that cannot be told."""
    try:
        held, boot = lock.stat(), _BOOT.read_text("ascii").strip()
    except (OSError, UnicodeError):
        return ""
    return f"{boot}:{held.st_dev}:{held.st_ino}"
