"""The connection string of the shared database: each of its options kept, set by us, or refused, for every client alike.

>>> parsed = parse_mongo_uri("mongodb://db-1/?replicaSet=rs0&minPoolSize=5")
>>> parsed.text
'mongodb://db-1/?replicaSet=rs0'
>>> parsed.notes
("minPoolSize is not heeded: the sizes of the connection pools are the validator's own",)

The driver's own judgement is part of it: what `parse_mongo_uri` takes, each client can be made of. Nothing is connected or
resolved, and no file is read; files that the string names are read when a client is made. `check_options` judges without the
driver, which it does not load.
"""

# ruff: noqa: PLC0415 - the driver is loaded where clients are made: a command that asks no database has no use for it

import difflib
import importlib.util
import re
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, NoReturn
from urllib.parse import unquote_plus

__all__ = ["FILES", "KEPT", "OURS", "REFUSED", "MongoUri", "MongoUriProblem", "check_options", "parse_mongo_uri"]

FORM: Final = "Write mongodb://user:password@host:port,…/?replicaSet=name, with special characters percent-encoded (@ is %40)"
_POOLS: Final = "the sizes of the connection pools are the validator's own"
_TIMES: Final = "time-outs follow from mongo.timeout_ms"
_WRITES: Final = "each write is acknowledged by a majority and repeated by our own rules"
_READS: Final = "reads go to the primary and see what a majority has"
_TYPES: Final = "documents are read in one way by all validators"

KEPT: Final = (
    "authMechanism", "authMechanismProperties", "authSource", "compressors", "directConnection", "enableOverloadRetargeting",
    "loadBalanced", "localThresholdMS", "maxAdaptiveRetries", "maxConnecting", "maxIdleTimeMS", "replicaSet",
    "serverMonitoringMode", "srvAllowedHostsSuffix", "srvMaxHosts", "srvServiceName", "ssl", "tls",
    "tlsAllowInvalidCertificates", "tlsAllowInvalidHostnames", "tlsCAFile", "tlsCertificateKeyFile",
    "tlsCertificateKeyFilePassword", "tlsCRLFile", "tlsDisableOCSPEndpointCheck", "tlsInsecure", "zlibCompressionLevel",
)  # fmt: skip
"""Options that reach the driver as they are written."""

FILES: Final = frozenset({"tlsCAFile", "tlsCertificateKeyFile", "tlsCRLFile"})
"""Options that name a file; it is read when a client is made."""

OURS: Final[Mapping[str, str]] = {
    "appName": "the validator's name for the server's log is bridge-reactor",
    "connect": "connections are made when they are needed",
    "connectTimeoutMS": _TIMES,
    "datetime_conversion": _TYPES,
    "fsync": _WRITES,
    "heartbeatFrequencyMS": _TIMES,
    "journal": _WRITES,
    "maxPoolSize": _POOLS,
    "maxStalenessSeconds": _READS,
    "minPoolSize": _POOLS,
    "readConcernLevel": _READS,
    "readPreference": _READS,
    "readPreferenceTags": _READS,
    "retryReads": _READS,
    "retryWrites": _WRITES,
    "serverSelectionTimeoutMS": _TIMES,
    "socketTimeoutMS": _TIMES,
    "timeoutMS": _TIMES,
    "tz_aware": _TYPES,
    "unicode_decode_error_handler": _TYPES,
    "uuidRepresentation": _TYPES,
    "w": _WRITES,
    "waitQueueMultiple": _POOLS,
    "waitQueueTimeoutMS": _TIMES,
    "wTimeoutMS": _WRITES,
}
"""Options that are left out before the driver sees them, and why."""

REFUSED: Final[Mapping[str, str]] = {
    "driver": "Remove it: it has no form in a connection string",
    "server_api": "Remove it: it has no form in a connection string",
}
"""Options that no connection string can hold, with the remedy."""

_SAME: Final[Mapping[str, str]] = {
    "journal": "true",
    "readConcernLevel": "majority",
    "readPreference": "primary",
    "retryReads": "true",
    "retryWrites": "true",
    "w": "majority",
}
"""What we do anyway: nothing to tell."""

_NAMES: Final[Mapping[str, str]] = {name.lower(): name for name in (*KEPT, *OURS, *REFUSED)}
_TRUE: Final = "true"
_COMPRESSORS: Final[Mapping[str, str]] = {"zlib": "", "snappy": "python-snappy", "zstd": "zstandard"}
"""What each needs besides Python."""
_LOGINS: Final[Mapping[str, tuple[tuple[str, ...], str]]] = {
    "GSSAPI": (("kerberos", "winkerberos"), "kerberos"),
    "MONGODB-AWS": (("pymongo_auth_aws",), "pymongo-auth-aws"),
}
"""Mechanisms that need a package, which the driver would only miss when it logs in: its modules, and its name."""
_INSECURE: Final = ("tlsInsecure", "tlsAllowInvalidCertificates", "tlsAllowInvalidHostnames")


class MongoUriProblem(ValueError):  # noqa: N818 - the word the operator reads
    """A connection string that no client can be made of.

    SECURITY: neither `problem` (what is wrong) nor `remedy` (what to do) holds a part of it: it may carry a password.
    """

    def __init__(self, problem: str, remedy: str = FORM) -> None:
        super().__init__(f"{problem}. {remedy}")
        self.problem = problem
        self.remedy = remedy


@dataclass(frozen=True, slots=True)
class MongoUri:
    """A connection string that was judged.

    Attributes:
        text: what the driver gets.
        database: what follows the hosts: only where the user is kept, never where the documents are; empty if nothing does.
        notes: one sentence for each option that is not heeded.
        warnings: one sentence for each option that is heeded and dangerous, or cannot be heeded as it was meant.
    """

    text: str = field(repr=False)
    database: str = field(repr=False)
    notes: tuple[str, ...]
    warnings: tuple[str, ...]


def check_options(uri: str) -> None:
    """Refuse a connection string whose form or options are wrong whatever their values. Raises `MongoUriProblem`."""
    _parts(uri)


def parse_mongo_uri(uri: str) -> MongoUri:
    """Judge a connection string, with the driver's help. Raises `MongoUriProblem`."""
    before, pairs = _parts(uri)
    told: list[str] = []
    kept = [one for pair in pairs if pair[0] not in OURS and (one := _judged(pair, told)) is not None]
    if "replicaSet" in dict(kept) and dict(kept).get("srvMaxHosts", "0") != "0":
        # The driver would only see it once the name is resolved.
        raise MongoUriProblem("its options srvMaxHosts and replicaSet exclude each other", "Remove srvMaxHosts")
    _ask_driver(_joined(before, [(name, value) for name, value in kept if name not in FILES]), before)
    notes = (f"{name} is not heeded: {OURS[name]}" for name, value in pairs if name in OURS and value != _SAME.get(name))
    database = before.partition("://")[2].partition("/")[2]
    return MongoUri(_joined(before, kept), database, tuple(dict.fromkeys(notes)), tuple(told))


def _parts(uri: str) -> tuple[str, list[tuple[str, str]]]:
    """What stands before the question mark, and the options."""
    if not uri.startswith(("mongodb://", "mongodb+srv://")):
        # The driver would take a text without a scheme for the name of a host.
        raise MongoUriProblem("is not a MongoDB URI", "Give mongodb://… or mongodb+srv://… with the replica set")
    if any(one.isspace() or not one.isprintable() for one in uri):
        raise MongoUriProblem("holds a space or a control character", "Remove it, or write it percent-encoded (a space is %20)")
    before, _, options = uri.partition("?")
    return before, _pairs(options)


def _pairs(options: str) -> list[tuple[str, str]]:
    """The options in order, names as the documentation spells them, values as they were written."""
    if not options:
        return []
    if "&" in options and ";" in options:
        raise MongoUriProblem("its options are separated by both & and ;", "Separate them by &")
    found: list[tuple[str, str]] = []
    for place, pair in enumerate(re.split("[&;]", options), 1):
        name, equals, value = pair.partition("=")
        if not equals or not name or not value or "=" in value:
            raise MongoUriProblem(f"its option {place} is not name=value", "Write name=value, with = in a value as %3D")
        known = _NAMES.get(name.lower())
        if known is None:
            # SECURITY: not shown: it may be the rest of a password that holds a question mark.
            raise MongoUriProblem(f"its option {place} is not one that exists", _nearest(name))
        if known in REFUSED:
            raise MongoUriProblem(f"its option {known} cannot be given here", REFUSED[known])
        if known in KEPT and known in dict(found):
            raise MongoUriProblem(f"its option {known} stands there twice", "Remove one")
        found.append((known, value))
    return found


def _nearest(name: str) -> str:
    close = difflib.get_close_matches(name.lower(), list(_NAMES), n=1, cutoff=0.75)
    return f"Did you mean {_NAMES[close[0]]}?" if close else "Remove it; a question mark in a password is written %3F"


def _judged(pair: tuple[str, str], told: list[str]) -> tuple[str, str] | None:
    """An option as the driver gets it, or none where nothing of it is left; what is to be told is appended to `told`."""
    name, value = pair
    if name == "compressors":
        return _compressors(value, told)
    if name in FILES:
        return pair
    _must_be_valid(name, value)
    plain = unquote_plus(value)
    lower = plain.lower()
    if name == "loadBalanced" and lower == _TRUE:
        raise MongoUriProblem("its option loadBalanced is on", "Name the members of the replica set, not a load balancer")
    if name == "directConnection" and lower == _TRUE:
        told.append("directConnection is on: when another member becomes the primary, it is not found")
    if name in _INSECURE and lower == _TRUE:
        told.append(f"{name} is on: whoever is on the way to the server can read and change everything")
    if name == "authMechanism" and plain in _LOGINS:
        modules, package = _LOGINS[plain]
        if not any(importlib.util.find_spec(module) for module in modules):
            raise MongoUriProblem(f"its option authMechanism={plain} needs a package", f"Install the package {package}")
    return pair


def _must_be_valid(name: str, value: str) -> None:
    from pymongo.errors import PyMongoError
    from pymongo.uri_parser import split_options

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            split_options(f"{name}={value}", warn=False)
    except (PyMongoError, ValueError, TypeError, UserWarning):
        # SECURITY: the driver's own words may quote the value.
        raise MongoUriProblem(f"its option {name} has a value that it cannot have", "See the driver's documentation") from None


def _compressors(value: str, told: list[str]) -> tuple[str, str] | None:
    names = [name.strip() for name in value.replace("%2C", ",").replace("%2c", ",").split(",") if name.strip()]
    if strange := [place for place, name in enumerate(names, 1) if name not in _COMPRESSORS]:
        told.append(f"compressors: entry {strange[0]} is none of {', '.join(_COMPRESSORS)} and is passed over")
    usable = [name for name in names if name in _COMPRESSORS and _works(name)]
    missing = [name for name in names if name in _COMPRESSORS and name not in usable]
    if missing:
        packages = ", ".join(f"{name} needs the package {_COMPRESSORS[name]}" for name in missing if _COMPRESSORS[name])
        told.append(f"compressors: {packages}; {f'{usable[0]} is used' if usable else 'nothing is compressed'}")
    return ("compressors", ",".join(usable)) if usable else None


def _works(compressor: str) -> bool:
    from pymongo.uri_parser import split_options

    with warnings.catch_warnings(record=True) as said:
        warnings.simplefilter("always")
        split_options(f"compressors={compressor}", warn=False)
    return not said


def _joined(before: str, options: Sequence[tuple[str, str]]) -> str:
    if not options:
        return before
    # The driver wants a slash between hosts and options from its earlier versions.
    slash = "" if "/" in before.partition("://")[2] else "/"
    return f"{before}{slash}?" + "&".join(f"{name}={value}" for name, value in options)


def _ask_driver(text: str, before: str) -> None:
    """Let the driver read it all together: hosts, user, and which options fit each other."""
    from pymongo import AsyncMongoClient
    from pymongo.errors import PyMongoError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error", UserWarning)
            warnings.simplefilter("ignore", DeprecationWarning)
            AsyncMongoClient[dict[str, object]](text, connect=False)
    except (PyMongoError, ValueError, TypeError, UserWarning) as error:
        _refuse(error, before)


def _refuse(error: Exception, before: str) -> NoReturn:
    rest = before.partition("://")[2]
    said = str(error)
    # SECURITY: of the driver's words only what they are about is passed on; they may quote user, password and hosts.
    if rest.count("@") > 1 or "@" in rest.partition("/")[2] or ("@" in rest and "escaped" in said):
        raise MongoUriProblem("its user or password holds a character that is not percent-encoded") from None
    for words, problem, remedy in _DRIVER_WORDS:
        if words in said:
            raise MongoUriProblem(problem, remedy) from None
    raise MongoUriProblem("is not a valid MongoDB URI, or its options do not fit each other") from None


_LOGIN: Final = ("its login is incomplete", "Give what authMechanism needs: user, password, authSource or properties")
_DRIVER_WORDS: Final = (
    ("multiple hosts with directConnection", "names several hosts and directConnection", "Remove directConnection"),
    ("only allowed with 'mongodb+srv", "has an option that belongs to mongodb+srv://", "Remove options that begin with srv"),
    ("directConnection=true with", "its options do not fit mongodb+srv://", "Remove directConnection, or write mongodb://"),
    ("escaped", "a port in it is not a number, or an IPv6 address stands without brackets", FORM),
    ("Port", "a port in it is not a number from 1 to 65535", FORM),
    ("port", "a port in it is not a number from 1 to 65535", FORM),
    ("specified simultaneously", "has two TLS options that exclude each other", "Remove one of them"),
    ("conflicting values", "its options ssl and tls contradict each other", "Remove ssl"),
    ("hostname", "names no host, or one that cannot be", FORM),
    ("host", "names no host, or one that cannot be", FORM),
    ("database name", "the database in it has no usable name", "Leave it out, or correct it"),
    ("mechanism", *_LOGIN),
    ("MONGODB-", *_LOGIN),
    ("username", *_LOGIN),
    ("password", *_LOGIN),
)
