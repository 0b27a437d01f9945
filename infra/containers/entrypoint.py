#!/opt/reactor/bin/python
"""The `reactor` command of the image, as an installation would write it.

Docker starts a container again whatever its exit code, where it is to come back after a reboot too. So where `STAY_DOWN_AFTER`
names exit codes of `run` that a start does not mend (`compose.yaml`), the container stays after one of them, and says why.
"""

# ruff: noqa: E402 - the handler comes before anything that takes time

import sys

from reactor.signals import hear_sigterm

# As process 1 of its container it would otherwise not hear a stop that comes while the command is loaded.
hear_sigterm()

import os
import time

from reactor.cli.main import main
from reactor.signals import Terminated

_EVERY = 600.0
"""Seconds between two lines of a container that stays down."""


def stay_down(code: int) -> None:
    """Return at once, or stay until SIGTERM where `run` ended with a code that is named: nothing but a person can mend it."""
    if sys.argv[1:2] != ["run"] or str(code) not in os.environ.get("STAY_DOWN_AFTER", "").split():
        return
    try:
        hear_sigterm()
        while True:
            print(
                f"this container runs no validator: it ended with exit code {code} (see above and README.md); "
                "mend that, then restart the container",
                file=sys.stderr,
                flush=True,
            )
            time.sleep(_EVERY)
    except (Terminated, KeyboardInterrupt):
        return


if __name__ == "__main__":
    ended = main()
    stay_down(ended)
    sys.exit(ended)
