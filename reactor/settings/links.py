"""Variables that Kubernetes puts into each container for each service: they are no settings, and no misspelt ones.

A service `reactor-mongo` on port 27017 gives `REACTOR_MONGO_SERVICE_HOST`, `REACTOR_MONGO_SERVICE_PORT`,
`REACTOR_MONGO_SERVICE_PORT_<NAME>`, `REACTOR_MONGO_PORT=tcp://10.0.0.7:27017`, and for each port
`REACTOR_MONGO_PORT_27017_TCP` with `_PROTO`, `_PORT` and `_ADDR`.
"""

import ipaddress
import re
from typing import Final

# No setting of ours looks like these: they have two underscores after the section.
_NAME: Final = re.compile(
    r"[A-Z][A-Z0-9]*(?:_[A-Z0-9]+)*?_(?:"
    r"(?P<host>SERVICE_HOST)|(?P<number>SERVICE_PORT(?:_[A-Z0-9]+)*)|(?P<url>PORT)|"
    r"PORT_(?P<port>[0-9]{1,5})_(?P<protocol>TCP|UDP|SCTP)(?P<part>_PROTO|_PORT|_ADDR)?)"
)
_URL: Final = re.compile(r"(tcp|udp|sctp)://(?P<host>\[[0-9A-Fa-f:.]+\]|[0-9A-Fa-f:.]+):(?P<port>[0-9]{1,5})")


def is_service_link(name: str, value: str) -> bool:
    """Whether a variable has the name and the value that such a link has: `REACTOR_MONGO_PORT=27017` is none."""
    match = _NAME.fullmatch(name)
    if match is None:
        return False
    if match["host"]:
        return _is_address(value)
    if match["number"]:
        return _is_port(value)
    if match["url"]:
        return _is_url(value)
    protocol = match["protocol"].lower()
    match match["part"]:
        case "_PROTO":
            return value == protocol
        case "_PORT":
            return value == match["port"]
        case "_ADDR":
            return _is_address(value)
    return value.startswith(f"{protocol}://") and value.endswith(f":{match['port']}") and _is_url(value)


def _is_url(value: str) -> bool:
    match = _URL.fullmatch(value)
    return match is not None and _is_address(match["host"].strip("[]")) and _is_port(match["port"])


def _is_port(value: str) -> bool:
    return value.isascii() and value.isdigit() and len(value) <= 5 and 0 < int(value) < 2**16


def _is_address(value: str) -> bool:
    try:
        ipaddress.ip_address(value)
    except ValueError:
        return False
    return True
