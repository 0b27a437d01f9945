"""The health check of the container: `reactor health`, which says what this validator's own signed heartbeat says of it.

Exit code 0 if it is healthy, else 1 with the reason: the only two that a container's health check may have.
"""

import sys

from reactor.cli.main import main
from reactor.container import stays_down


def check() -> int:
    """Ask, and tell."""
    if stays_down():
        print("this container runs no validator: its log says why")
        return 1
    sys.argv = [sys.argv[0], "health"]
    return int(main() != 0)


if __name__ == "__main__":
    sys.exit(check())
