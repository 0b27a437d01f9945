#!/opt/reactor/bin/python
"""The `reactor` command of the image, as an installation would write it."""

# ruff: noqa: E402 - the handler comes before anything that takes time

import sys

from reactor.signals import hear_sigterm

# As process 1 of its container it would otherwise not hear a stop that comes while the command is loaded.
hear_sigterm()

from reactor.cli.main import main

sys.exit(main())
