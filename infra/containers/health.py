"""The health check of the container: `reactor health`, which says what this validator's own signed heartbeat says of it.

Exit code 0 if it is healthy, else 1 with the reason: the only two that a container's health check may have.
"""

import sys

from reactor.cli.main import main


def check() -> int:
    """Ask, and tell."""
    sys.argv = [sys.argv[0], "health"]
    return int(main() != 0)


if __name__ == "__main__":
    sys.exit(check())
