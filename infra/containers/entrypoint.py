#!/opt/reactor/bin/python
"""The `reactor` command of the image, as an installation would write it."""

import sys

from reactor.cli.main import main

sys.exit(main())
