"""URLs as people may see them."""

import re
from typing import Final
from urllib.parse import urlsplit

from reactor.foreign import MASK, masked_host
from reactor.mongo_uri import KEPT, OURS

_KNOWN: Final = frozenset(name.lower() for name in (*KEPT, *OURS))
_SECRET_OPTION: Final = re.compile("password|token|properties", re.IGNORECASE)


def mask_mongo_uri(uri: str) -> str:
    """Hide user and password of a MongoDB URI, and the values of those options that may hold a password or a token."""
    scheme, _, rest = uri.partition("://")
    # The password may hold anything but "@" and "/" unescaped; a careless one holds those too, so the last "@" counts.
    before_options, question, options = rest.partition("?")
    _, at, hosts = before_options.rpartition("@")
    if "@" in options and not at:
        # SECURITY: a careless password holds a "?": what stands before it is the rest of the login.
        return f"{scheme}://{MASK}"
    shown = "&".join(_mask_option(one) for one in re.split("[&;]", options)) if options else ""
    return f"{scheme}://{MASK + '@' if at else ''}{hosts}{question if options else ''}{shown}"


def _mask_option(option: str) -> str:
    """SECURITY: shown as it is only where its name is known and its value can be no secret."""
    name = option.partition("=")[0]
    if name.lower() not in _KNOWN:
        return MASK
    return f"{name}={MASK}" if _SECRET_OPTION.search(name) else option


def mask_rpc_url(url: str) -> str:
    """Show scheme, host and port of an endpoint; what follows often is an API key."""
    parts = urlsplit(url)
    host = masked_host(parts.netloc.rpartition("@")[2])
    more = bool(parts.path.strip("/") or parts.query or parts.fragment)
    return f"{parts.scheme}://{MASK + '@' if '@' in parts.netloc else ''}{host}{'/' + MASK if more else ''}"
