"""Free TCP ports of this machine, chosen at run time."""

import random
import socket
from pathlib import Path

HOST = "127.0.0.1"

# Below the kernel's range for outgoing connections: a port picked here can't become the source port of somebody's
# client between the choice and the server's bind.
_LOWEST = 10_240
_HIGHEST = 32_767
_EPHEMERAL_RANGE = Path("/proc/sys/net/ipv4/ip_local_port_range")
_ATTEMPTS = 500

_handed_out: set[int] = set()
_random = random.SystemRandom()


def free_port(host: str = HOST) -> int:
    """A TCP port that nobody listens on now and that this process was not handed before.

    Raises `RuntimeError` if none is found.
    """
    highest = _highest()
    for _ in range(_ATTEMPTS):
        port = _random.randint(_LOWEST, highest)
        if port not in _handed_out and is_free(port, host):
            _handed_out.add(port)
            return port
    raise RuntimeError(f"no free TCP port between {_LOWEST} and {highest} on {host}: stop some servers")


def free_ports(count: int, host: str = HOST) -> tuple[int, ...]:
    """`count` different free ports."""
    return tuple(free_port(host) for _ in range(count))


def is_free(port: int, host: str = HOST) -> bool:
    """Whether a server could listen on `port` now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
        # As servers do: connections of a server that just ended (TIME_WAIT) don't block the port.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True


def _highest() -> int:
    try:
        lowest_ephemeral = int(_EPHEMERAL_RANGE.read_text().split()[0])
    except (OSError, ValueError, IndexError):
        return _HIGHEST
    return max(min(lowest_ephemeral - 1, _HIGHEST), _LOWEST + 1000)
