"""URLs of endpoints, read in one way for every client: nodes of both chains and key services.

>>> http_url("HTTPS://User@Node.Example:443/path?key=1")
'https://User@node.example/path?key=1'

What comes out is what every HTTP client here understands alike: scheme and host in lower case, the host in ASCII, no default
port, no fragment. User, password, path and query stay as they were written.
"""

import ipaddress
import re
from typing import Final
from urllib.parse import SplitResult, urlsplit

import idna

__all__ = ["UrlProblem", "endpoint_key", "http_url", "on_this_machine"]

FORM: Final = "Give the endpoint's full URL, like https://host:port/path"
_DEFAULT_PORTS: Final = {"http": 80, "https": 443}
_LABEL: Final = re.compile(r"[a-z0-9_]([a-z0-9_-]{0,61}[a-z0-9_])?")
_PORT: Final = re.compile(r"[0-9]{1,5}")
_LONGEST_HOST: Final = 253
_LONGEST_URL: Final = 4096


class UrlProblem(ValueError):  # noqa: N818 - the word the operator reads
    """A text that is no URL of an endpoint.

    SECURITY: neither `problem` (what is wrong) nor `remedy` (what to do) holds a part of the URL: it may carry an API key.
    """

    def __init__(self, problem: str, remedy: str = FORM) -> None:
        super().__init__(f"{problem}. {remedy}")
        self.problem = problem
        self.remedy = remedy


def http_url(text: str) -> str:
    """Give an http(s) URL in the one form that is used. Raises `UrlProblem`."""
    if any(one.isspace() or not one.isprintable() for one in text):
        raise UrlProblem("the URL holds a space or a control character", "Remove it, or write it percent-encoded (%20)")
    if "\\" in text:
        raise UrlProblem("the URL holds a backslash", "Write / between the parts of a URL")
    if len(text) > _LONGEST_URL:
        raise UrlProblem(f"the URL is longer than {_LONGEST_URL} characters")
    try:
        parts = urlsplit(text)
        host, bracketed = parts.hostname or "", "[" in parts.netloc.rpartition("@")[2]
    except ValueError:  # a bracket that is never closed, or that holds no address
        raise UrlProblem("the URL has no host that could be asked") from None
    if parts.scheme not in _DEFAULT_PORTS:
        raise UrlProblem("is not an http:// or https:// URL")
    if "#" in text:
        raise UrlProblem("the URL has a fragment, which is never sent to a server", "Remove what begins with #, or write %23")
    port = _port(parts)
    shown = f"[{_ipv6(host)}]" if bracketed else _host(host)
    userinfo, at, _ = parts.netloc.rpartition("@")
    query = f"?{parts.query}" if "?" in text else ""
    return f"{parts.scheme}://{userinfo}{at}{shown}{'' if port is None else f':{port}'}{parts.path}{query}"


def endpoint_key(url: str) -> str:
    """Give what two spellings of one endpoint have in common. `url`: as `http_url` gives it."""
    base, mark, query = url.partition("?")
    return base.rstrip("/") + mark + query


def on_this_machine(url: str) -> bool:
    """Whether the URL's host is a loopback address or `localhost`: what is sent there is seen by nobody on the way.

    SECURITY: no other name is one, `a.localhost` neither: a resolver may ask the network for it.
    """
    host = urlsplit(url).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _port(parts: SplitResult) -> int | None:
    """The port; none where it is the scheme's own."""
    after = parts.netloc.rpartition("@")[2].rpartition("]")[2].partition(":")
    if not after[1] or not after[2]:
        return None
    # `int` would take digits of other scripts, signs and underscores too.
    if not _PORT.fullmatch(after[2]) or not 0 < int(after[2]) < 2**16:
        raise UrlProblem("the URL's port is not a number from 1 to 65535")
    port = int(after[2])
    return None if port == _DEFAULT_PORTS[parts.scheme] else port


def _ipv6(host: str) -> str:
    try:
        address = ipaddress.IPv6Address(host)
    except ValueError:
        raise UrlProblem("the URL's host is no IPv6 address", "Write it in brackets, like http://[::1]:8545") from None
    if address.scope_id is not None:
        raise UrlProblem("the URL's IPv6 address names a zone", "Use an address that needs no zone, or a host name")
    return str(address)


def _host(host: str) -> str:
    if not host:
        raise UrlProblem("the URL names no host")
    if not host.isascii():
        try:
            host = idna.encode(host, uts46=True).decode("ascii")
        except (idna.IDNAError, UnicodeError):
            raise UrlProblem("the URL's host is no name of the domain name system", "Check the host's spelling") from None
    host = host.lower()
    labels = host.removesuffix(".").split(".")
    if labels[-1].isdigit():
        return _ipv4(host)
    if len(host) > _LONGEST_HOST or not all(_LABEL.fullmatch(label) for label in labels):
        raise UrlProblem("the URL's host is neither a name nor an address", "Check the host; an IPv6 address stands in brackets")
    return host


def _ipv4(host: str) -> str:
    """A name that ends in a number is an address to every client, or to none."""
    try:
        return str(ipaddress.IPv4Address(host))
    except ValueError:
        raise UrlProblem("the URL's host is no IPv4 address", "Write four numbers from 0 to 255, like 127.0.0.1") from None
