"""Run as a module: `python -m infra.localnet.hosted HOSTNAME ARGUMENT...` is the `reactor` command on a machine called HOSTNAME.

For a validator that comes back on another machine: only what the process sees as its host's name is changed.
"""

import runpy
import socket
import sys


def main() -> None:
    """Take another host's name, then become the command."""
    hostname, arguments = sys.argv[1], sys.argv[2:]
    socket.gethostname = lambda: hostname
    sys.argv = ["reactor", *arguments]
    runpy.run_module("reactor.cli.main", run_name="__main__", alter_sys=False)


if __name__ == "__main__":
    main()
