"""Requests to end a process, heard from its first moment on. Imports nothing but the standard library, and is imported first.

A process with the number 1, as in a container, is spared every signal that it has no handler for: without one, a SIGTERM that
comes while it starts is lost, and the process runs on.
"""

import signal
from types import FrameType
from typing import Final

TERMINATED: Final = 128 + signal.SIGTERM
"""The exit code of a command that SIGTERM ended, as a shell would report it."""


class Terminated(SystemExit):
    """SIGTERM came. As a SystemExit it ends the command through every clean-up that lies on the way."""


def hear_sigterm() -> None:
    """Let SIGTERM raise Terminated in the main thread, wherever it is. A command that runs for long puts its own in its place."""
    signal.signal(signal.SIGTERM, _raise)


def _raise(_number: int, _frame: FrameType | None) -> None:
    raise Terminated(TERMINATED)
