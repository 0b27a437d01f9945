#!/opt/reactor/bin/python
"""The `reactor` command of the image, as an installation would write it.

Where `STAY_DOWN_AFTER` names exit codes of `run` that a start does not mend (`compose.yaml`), the container stays after one of
them, and says why.
"""

# ruff: noqa: E402 - the handler comes before anything that takes time

import sys

from reactor.signals import hear_sigterm

# As process 1 of its container it would otherwise not hear a stop that comes while the command is loaded.
hear_sigterm()

from reactor.cli.main import main
from reactor.container import begin_container, stay_down

if __name__ == "__main__":
    begin_container(sys.argv[1:])
    ended = main()
    stay_down(sys.argv[1:], ended)
    sys.exit(ended)
