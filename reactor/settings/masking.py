"""URLs as people may see them."""

from urllib.parse import urlsplit

from reactor.foreign import MASK, masked_host


def mask_mongo_uri(uri: str) -> str:
    """Hide user and password of a MongoDB URI, and its options, which may hold certificates' passwords and tokens."""
    scheme, _, rest = uri.partition("://")
    # The password may hold anything but "@" and "/" unescaped; a careless one holds those too, so the last "@" counts.
    before_options, _, _ = rest.partition("?")
    _, at, hosts = before_options.rpartition("@")
    return f"{scheme}://{MASK + '@' if at else ''}{hosts}"


def mask_rpc_url(url: str) -> str:
    """Show scheme, host and port of an endpoint; what follows often is an API key."""
    parts = urlsplit(url)
    host = masked_host(parts.netloc.rpartition("@")[2])
    more = bool(parts.path.strip("/") or parts.query or parts.fragment)
    return f"{parts.scheme}://{MASK + '@' if '@' in parts.netloc else ''}{host}{'/' + MASK if more else ''}"
