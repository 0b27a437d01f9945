"""Text that others sent (nodes, gateways, databases, key services), made fit to be shown: cleaned once, where it enters.

>>> register_secrets(*settings.secrets())
>>> one_line(answer["message"], limit=300)

SECURITY: a remote party may repeat what it was sent: the URL with its API key, a password, a header. Errors are shown in logs,
on terminals and in the shared database, which frontends read; so the constructor of each error that holds foreign text cleans
it, and no way out can forget to. Keys are never registered here: no part of the program but the signers holds one.
"""

from __future__ import annotations

import base64
import json
import re
import threading
from collections.abc import Iterable
from typing import Final
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit

__all__ = ["MASK", "clean", "masked_host", "one_line", "redact", "register_secrets", "shown", "url_secrets"]

MASK: Final = "********"
SHORTEST_SECRET: Final = 4
"""Characters. Shorter texts are not searched for: they would mask ordinary words and tell more than they hide."""
_READ: Final = 65_536
"""Characters of a foreign text that are looked at at all: more is never shown, and searching megabytes takes seconds."""
_USERINFO: Final = re.compile(r"(?P<scheme>\b[A-Za-z][A-Za-z0-9+.-]{0,20}://)[^\s/?#\"'<>]*@")
_SECRET_NAME: Final = re.compile(
    r"key|token|secret|pass|pwd|auth|sig|credential|session|project|app_?id|^(api|id|code|user|k|t)$", re.IGNORECASE
)
_HOST_KEY: Final = re.compile(
    r"(?=[0-9]*[a-z])(?=[a-z]*[0-9][a-z]*[0-9])[a-z0-9]{20,}|[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", re.IGNORECASE
)
"""A label of a host name that is no name: long and of letters and digits without order, or a UUID."""
_HOST_MASK: Final = "masked"
_LONG: Final = 16
_MIXED: Final = 8


class _Secrets:
    """The registered secrets and one pattern that finds any of them."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._texts: set[str] = set()
        self._pattern: re.Pattern[str] | None = None

    def add(self, texts: Iterable[str]) -> None:
        with self._lock:
            found = {spelling for text in texts if len(text.strip()) >= SHORTEST_SECRET for spelling in _spellings(text)}
            if found <= self._texts:
                return
            self._texts |= found
            longest_first = sorted(self._texts, key=lambda text: (-len(text), text))
            # In any case: percent-encoding has two, and some gateways write paths in lower case.
            self._pattern = re.compile("|".join(map(re.escape, longest_first)), re.IGNORECASE)

    def redact(self, text: str) -> str:
        if self._pattern is not None:
            text = self._pattern.sub(MASK, text)
        return _USERINFO.sub(rf"\g<scheme>{MASK}@", text) if "@" in text else text


def _spellings(text: str) -> set[str]:
    """URLs, JSON and Python's `repr` carry the same secret in another spelling."""
    quoted = quote(text, safe="", errors="replace"), quote_plus(text, errors="replace"), quote(text, errors="replace")
    return {text, *quoted, json.dumps(text)[1:-1], json.dumps(text, ensure_ascii=False)[1:-1], repr(text)[1:-1]}


_secrets = _Secrets()


def register_secrets(*texts: str) -> None:
    """Let these texts be masked in all foreign text and log lines from now on; those under four characters are passed over."""
    _secrets.add(texts)


def redact(text: str) -> str:
    """Mask registered secrets, and user and password in URLs."""
    return _secrets.redact(text)


def clean(value: object, limit: int) -> str:
    """The text without secrets and control characters, at most `limit` characters (and `…` where it was cut). None is empty.

    What is not printable (terminal controls, line breaks, marks that turn the direction of writing, lone surrogates) becomes
    U+FFFD: it could write over what an operator reads, or make one log line look like two, and a database refuses surrogates.
    """
    text = value if isinstance(value, str) else "" if value is None else str(value)
    # Before it is cut: half a secret would not be found any more.
    whole = redact(text[:_READ])
    kept = "".join(one if one.isprintable() else "\N{REPLACEMENT CHARACTER}" for one in whole[:limit])
    return kept + ("…" if len(whole) > limit or len(text) > _READ else "")


def one_line(text: str, limit: int) -> str:
    """As `clean`, with each run of spaces and line breaks as one space: for sentences."""
    return clean(" ".join(redact(text[:_READ]).split()) + ("…" if len(text) > _READ else ""), limit)


def shown(value: object, limit: int = 80) -> str:
    """What a remote party sent, as Python writes it, for the "got …" of a message: cleaned, and never an error itself."""
    try:
        # Of a long text only the beginning is written out.
        text = repr(redact(value[:_READ])[: 4 * limit]) if isinstance(value, str) else repr(value)
    except (RecursionError, ValueError, MemoryError):  # nested too deep, or a number of too many digits
        text = f"a {type(value).__name__}"
    cleaned = clean(text, limit)
    return cleaned.removesuffix("…")


def url_secrets(url: str) -> tuple[str, ...]:
    """What may be secret in the URL of an endpoint or a database: credentials, and parts of path and query that look like keys.

    Trivial parts (`v1`, `mainnet`) are left out, since masking them would spoil every message; the path with its query is
    given as a whole too, wherever one of its parts is given.
    """
    if url.startswith(("mongodb://", "mongodb+srv://")):
        return _mongo_secrets(url)
    try:
        parts = urlsplit(url)
    except ValueError:
        return (url,)
    userinfo, _, host = parts.netloc.rpartition("@")
    found = [*_credentials(userinfo), *_host_keys(host)]
    pieces = [piece for piece in parts.path.split("/") if _is_key_like(piece)]
    pieces += _values(parts.query) + _values(parts.fragment)
    if pieces:
        target = parts.path + (f"?{parts.query}" if parts.query else "")
        pieces += [target, parts.query, *(unquote(piece) for piece in pieces)]
    return tuple(dict.fromkeys(text for text in [*found, *pieces] if len(text.strip()) >= SHORTEST_SECRET))


def masked_host(host: str) -> str:
    """A host name, with or without its port, as it may be shown: some providers put the key into its first part."""
    keys = _host_keys(host)
    return ".".join(_HOST_MASK if label in keys else label for label in host.split(".")) if keys else host


def _host_keys(host: str) -> list[str]:
    # The last two parts are a provider's own name, or the only ones that a machine in one's own network has.
    return [label for label in host.split(".")[:-2] if _HOST_KEY.fullmatch(label)]


def _mongo_secrets(uri: str) -> tuple[str, ...]:
    rest = uri.partition("://")[2]
    before_options, _, options = rest.partition("?")
    # The password may hold anything but "@" and "/" unescaped; a careless one holds those too, so the last "@" counts.
    userinfo = before_options.rpartition("@")[0]
    password = userinfo.partition(":")[2]
    secret = [value for name, value in parse_qsl(options) if re.search(r"password|token", name, re.IGNORECASE)]
    # `authMechanismProperties` lists several, of which AWS_SESSION_TOKEN is secret and SERVICE_NAME is an ordinary word.
    listed = [value for name, value in parse_qsl(options) if "properties" in name.lower()]
    secret += [one for value in listed for pair in value.split(",") if _is_key_like(one := pair.partition(":")[2])]
    found = [uri] if userinfo or secret else []
    found += [password, unquote(password), *secret]
    return tuple(dict.fromkeys(text for text in found if len(text.strip()) >= SHORTEST_SECRET))


def _credentials(userinfo: str) -> list[str]:
    if not userinfo:
        return []
    user, _, password = userinfo.partition(":")
    plain = unquote(userinfo)
    # As the header of basic authentication repeats them.
    found = [userinfo, plain, password, unquote(password), base64.b64encode(plain.encode("utf-8", "replace")).decode()]
    # A user without a password is the credential itself, and one that looks like a key may be a project's.
    return found + [one for one in (user, unquote(user)) if not password or _is_key_like(one)]


def _values(query: str) -> list[str]:
    """The values of a query whose name or look says that they are secret."""
    found = []
    for pair in re.split("[&;]", query):
        name, equals, value = pair.partition("=")
        if _SECRET_NAME.search(name) or _is_key_like(value):
            found.append(value)
        if not equals and _is_key_like(name):
            found.append(name)
    return [value for value in found if len(value) >= SHORTEST_SECRET]


def _is_key_like(piece: str) -> bool:
    """Long, or of a length that names seldom have with digits among its letters."""
    if len(piece) < _MIXED:
        return False
    digits = sum(one.isdigit() for one in piece)
    return len(piece) >= _LONG or (digits >= 2 and any(one.isalpha() for one in piece))
