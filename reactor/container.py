"""A container that stays although `run` has ended in it: Docker starts one again whatever its exit code, where it is to come back
after a reboot too. So it stays after an exit code that no start mends, says why, and is not healthy.
"""

import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from reactor.signals import Terminated, hear_sigterm

CODES: Final = "STAY_DOWN_AFTER"
"""The variable that names those exit codes of `run`, separated by spaces."""
_EVERY: Final = 600.0
"""Seconds between two lines of a container that stays down."""


def stays_down() -> bool:
    """Whether this container runs no validator, and stays until a person has mended why. For its health check."""
    return _marker().exists()


def begin_container(arguments: Sequence[str]) -> None:
    """Forget what an earlier start of this container left. `arguments`: those of the command."""
    if _is_service(arguments):
        _marker().unlink(missing_ok=True)


def stay_down(arguments: Sequence[str], code: int) -> None:
    """Return at once, or stay until SIGTERM where `run` ended with a code that is named: nothing but a person can mend it."""
    if not _is_service(arguments) or str(code) not in os.environ.get(CODES, "").split():
        return
    try:
        hear_sigterm()
        # The health check would find the heartbeat of the process that has the state, and take it for this container's.
        _mark(code)
        while True:
            _say(
                f"this container runs no validator: it ended with exit code {code} (see above and README.md); "
                "mend that, then restart the container"
            )
            time.sleep(_EVERY)
    except (Terminated, KeyboardInterrupt):
        return
    finally:
        _marker().unlink(missing_ok=True)


def _is_service(arguments: Sequence[str]) -> bool:
    """Whether this is the container's own validator: no other command, no observer, nothing that `exec` started beside it."""
    called_from_outside = os.getppid() == 0 and os.getpid() != 1
    return list(arguments[:1]) == ["run"] and "--observe" not in arguments and not called_from_outside


def _mark(code: int) -> None:
    try:
        _marker().write_text(f"{code}\n", "ascii")
    except OSError as error:
        _say(f"the health check of this container cannot know that: cannot write {_marker()}: {error.strerror}")


def _marker() -> Path:
    """In a directory that no other container has: the state's is shared with the process that was there first."""
    return Path(os.environ.get("TMPDIR") or "/tmp") / "reactor-stays-down"  # noqa: S108 - a container's own, and it says nothing


def _say(text: str) -> None:
    print(text, file=sys.stderr, flush=True)  # noqa: T201 - the log belongs to `run`, which has ended
