"""The connection string: each option of the driver is kept, set by us or refused, in settings and for each client alike."""

import importlib.util
import re

import pytest
from pydantic import ValidationError
from pymongo import common

from reactor.mongo_uri import FILES, KEPT, OURS, REFUSED, MongoUriProblem, check_options, parse_mongo_uri
from reactor.store.connection import Store, try_clients
from reactor.store.problem import StoreProblem
from tests.unit.test_settings_values import build

pytestmark = pytest.mark.unit

GOOD = {
    "appName": "x", "authMechanism": "MONGODB-X509", "authMechanismProperties": "SERVICE_NAME:mongodb", "authSource": "admin",
    "compressors": "zlib", "connect": "false", "connectTimeoutMS": "1", "datetime_conversion": "datetime_ms",
    "directConnection": "true", "enableOverloadRetargeting": "true", "fsync": "true", "heartbeatFrequencyMS": "600000",
    "journal": "false", "loadBalanced": "false", "localThresholdMS": "5", "maxAdaptiveRetries": "1", "maxConnecting": "1",
    "maxIdleTimeMS": "5000", "maxPoolSize": "1", "maxStalenessSeconds": "90", "minPoolSize": "5", "readConcernLevel": "available",
    "readPreference": "secondary", "readPreferenceTags": "dc:ny", "replicaSet": "rs0", "retryReads": "false",
    "retryWrites": "false", "serverMonitoringMode": "poll", "serverSelectionTimeoutMS": "1", "socketTimeoutMS": "1",
    "ssl": "true", "srvAllowedHostsSuffix": "example.com", "srvMaxHosts": "2", "srvServiceName": "bridge", "timeoutMS": "1",
    "tls": "true",
    "tlsAllowInvalidCertificates": "true", "tlsAllowInvalidHostnames": "true", "tlsCertificateKeyFilePassword": "p",
    "tlsDisableOCSPEndpointCheck": "true", "tlsInsecure": "true", "tz_aware": "false", "unicode_decode_error_handler": "ignore",
    "uuidRepresentation": "standard", "w": "0", "waitQueueMultiple": "1", "waitQueueTimeoutMS": "1", "wTimeoutMS": "1",
    "zlibCompressionLevel": "9",
}  # fmt: skip
"""A value for each option but for files that the driver takes; of those that are ours, one that would do harm."""
NEEDS = {"authMechanismProperties": "authMechanism=MONGODB-X509", "zlibCompressionLevel": "compressors=zlib"}
NEEDS |= dict.fromkeys(
    ["tlsAllowInvalidCertificates", "tlsAllowInvalidHostnames", "tlsCertificateKeyFilePassword", "tlsDisableOCSPEndpointCheck"],
    "tls=true",
)
DANGEROUS = {"directConnection", "tlsAllowInvalidCertificates", "tlsAllowInvalidHostnames", "tlsInsecure"}


def with_option(name, value):
    scheme = "mongodb+srv://db.bridge.example" if name.startswith("srv") else "mongodb://db-1:27017"
    return f"{scheme}/?" + "&".join(filter(None, [NEEDS.get(name), f"{name}={value}"]))


def test_every_option_of_the_driver_has_its_place():
    names = [*KEPT, *OURS, *REFUSED]
    assert len(names) == len(set(names))
    assert {name.lower() for name in names} >= set(common.URI_OPTIONS_VALIDATOR_MAP)
    assert set(GOOD) == {*KEPT, *OURS} - FILES


@pytest.mark.parametrize("name", sorted({*KEPT, *OURS} - FILES))
async def test_an_option_is_kept_or_left_out_and_every_client_can_be_made(name):
    uri = with_option(name, GOOD[name])
    parsed = await try_clients(uri, "bridge", {}, 10_000)
    assert (f"{name}=" in parsed.text) is (name in KEPT)
    assert [note.split(" ")[0] for note in parsed.notes] == ([name] if name in OURS else [])
    assert any(warning.startswith(name) for warning in parsed.warnings) is (name in DANGEROUS)
    assert build("mongo.uri", uri).mongo.uri.get_secret_value() == uri
    store = Store(uri, "bridge", {}, 10_000)
    if not name.startswith("srv"):
        assert store.client.options.pool_options.max_pool_size == 24
        assert (store.client.write_concern.document, store.client.read_concern.level) == ({"w": "majority"}, "majority")
        assert (store.client.options.timeout, store.client.codec_options.tz_aware) == (10.0, True)
    await store.close()


@pytest.mark.parametrize("name", sorted({*KEPT, *OURS} - FILES))
def test_the_names_of_options_have_no_case(name):
    uri = with_option(name, GOOD[name])
    plain = parse_mongo_uri(uri)
    for spelt in (name.lower(), name.upper()):
        other = parse_mongo_uri(re.sub(f"([?&]){name}=", rf"\1{spelt}=", uri))
        assert (other.notes, other.warnings, other.text) == (plain.notes, plain.warnings, plain.text)


@pytest.mark.parametrize(
    ("uri", "note"),
    [
        ("mongodb+srv://u:p@c.example.net/?retryWrites=true&w=majority", ()),
        ("mongodb://h/?readPreference=primary&readConcernLevel=majority&journal=true&retryReads=true", ()),
        ("mongodb://h/?w=1", ("w is not heeded: each write is acknowledged by a majority and repeated by our own rules",)),
        (
            "mongodb://h/?minPoolSize=5&minPoolSize=6",
            ("minPoolSize is not heeded: the sizes of the connection pools are the validator's own",),
        ),
    ],
)
def test_what_we_do_anyway_is_not_told(uri, note):
    assert parse_mongo_uri(uri).notes == note


REFUSED_URIS = [
    ("localhost", "is not a MongoDB URI", "mongodb://"),
    ("mongodb:/h", "is not a MongoDB URI", "mongodb://"),
    ("MONGODB://h", "is not a MongoDB URI", "mongodb://"),
    ("mongodb://", "names no host", "mongodb://user"),
    ("mongodb://h,", "names no host", "mongodb://user"),
    ("mongodb://user:p@ss@h", "not percent-encoded", "%40"),
    ("mongodb://user:p/ss@h", "not percent-encoded", "%40"),
    ("mongodb://user:p:ss@h", "not percent-encoded", "%40"),
    ("mongodb://user:p%ss@h", "not percent-encoded", "%40"),
    ("mongodb://h:0", "port", "host:port"),
    ("mongodb://h:99999", "port", "host:port"),
    ("mongodb://h:x", "port", "host:port"),
    ("mongodb://::1", "port", "host:port"),
    ("mongodb://a b", "space", "%20"),
    ("mongodb://h/?tls=true&tlsCAFile=/a b", "space", "%20"),
    ("mongodb://h/a$b", "database", "Leave it out"),
    ("mongodb://h/?replicaSet", "option 1 is not name=value", "%3D"),
    ("mongodb://h/?replicaSet=", "option 1 is not name=value", "%3D"),
    ("mongodb://h/?replicaSet=a&&tls=true", "option 2 is not name=value", "%3D"),
    ("mongodb://h/?authMechanismProperties=A=B", "option 1 is not name=value", "%3D"),
    ("mongodb://h/?replicaSet=a;tls=true&tls=true", "both & and ;", "by &"),
    ("mongodb://h/?replicaset=a&replicaSet=a", "replicaSet stands there twice", "Remove one"),
    ("mongodb://h/?replicSet=a", "option 1 is not one that exists", "Did you mean replicaSet"),
    ("mongodb://h/?w=1&whatever=a", "option 2 is not one that exists", "Remove it"),
    ("mongodb://h/?driver=x", "driver cannot be given here", "Remove it"),
    ("mongodb://h/?server_api=1", "server_api cannot be given here", "Remove it"),
    ("mongodb://h/?maxIdleTimeMS=soon", "maxIdleTimeMS has a value", "documentation"),
    ("mongodb://h/?tls=yes", "tls has a value", "documentation"),
    ("mongodb://h/?authMechanism=MONGODB-CR", "authMechanism has a value", "documentation"),
    ("mongodb://h/?zlibCompressionLevel=99", "zlibCompressionLevel has a value", "documentation"),
    ("mongodb://h/?serverMonitoringMode=loud", "serverMonitoringMode has a value", "documentation"),
    ("mongodb://h/?loadBalanced=true", "loadBalanced is on", "members of the replica set"),
    ("mongodb://a,b/?directConnection=true", "several hosts and directConnection", "Remove directConnection"),
    ("mongodb+srv://h.example.com/?directConnection=true", "its options", "Remove directConnection"),
    ("mongodb+srv://h.example.com:27017", "port", "host:port"),
    ("mongodb+srv://a.example.com,b.example.com", "host", "mongodb://"),
    ("mongodb+srv://h.example.com/?replicaSet=r&srvMaxHosts=1", "exclude each other", "srvMaxHosts"),
    ("mongodb://h/?srvServiceName=x", "belongs to mongodb\\+srv", "srv"),
    ("mongodb://h/?ssl=true&tls=false", "contradict", "Remove ssl"),
    ("mongodb://h/?tls=true&tlsInsecure=true&tlsAllowInvalidHostnames=true", "exclude each other", "Remove one"),
    ("mongodb://user@h", "login is incomplete", "password"),
    ("mongodb://h/?authMechanism=SCRAM-SHA-256", "login is incomplete", "user"),
    ("mongodb://h/?authMechanism=MONGODB-OIDC", "login is incomplete", "properties"),
]


@pytest.mark.parametrize(("uri", "problem", "remedy"), REFUSED_URIS)
async def test_what_no_client_can_be_made_of_is_refused_in_the_same_words_everywhere(uri, problem, remedy):
    with pytest.raises(MongoUriProblem, match=problem) as caught:
        parse_mongo_uri(uri)
    assert remedy in caught.value.remedy
    # By `config check`, by `check` and `run`, and, where the driver is not needed for it, by the settings.
    for attempt in (try_clients(uri, "bridge", {}, 100), Store.connect(uri, "bridge", timeout_ms=100)):
        with pytest.raises(StoreProblem, match=problem):
            await attempt
    if refused_by_form(uri):
        with pytest.raises(ValidationError, match=problem):
            build("mongo.uri", uri)
    else:
        assert build("mongo.uri", uri).mongo.uri.get_secret_value() == uri


def refused_by_form(uri):
    try:
        check_options(uri)
    except MongoUriProblem:
        return True
    return False


def test_names_and_form_are_judged_without_the_driver():
    found = [problem for uri, problem, _ in REFUSED_URIS if refused_by_form(uri)]
    for words in ("not a MongoDB URI", "space", "not name=value", "not one that exists", "stands there twice", "cannot be given"):
        assert any(words in problem for problem in found), words
    assert len(found) < len(REFUSED_URIS)


@pytest.mark.parametrize(
    ("mechanism", "modules", "package"),
    [("GSSAPI", {"kerberos", "winkerberos"}, "kerberos"), ("MONGODB-AWS", {"pymongo_auth_aws"}, "pymongo-auth-aws")],
)
def test_a_login_that_needs_a_package_is_refused_without_it_and_taken_with_it(monkeypatch, mechanism, modules, package):
    uri = f"mongodb://user@h/?authMechanism={mechanism}&authSource=$external"
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MongoUriProblem, match="needs a package") as caught:
        parse_mongo_uri(uri)
    assert package in caught.value.remedy
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: name in modules or None)
    assert mechanism in parse_mongo_uri(uri.replace("user@", "user:p@" if mechanism == "MONGODB-AWS" else "user@")).text


@pytest.mark.parametrize(
    ("available", "asked", "used", "told"),
    [
        (
            {"zlib"},
            "zstd,snappy,zlib",
            "zlib",
            "zstd needs the package zstandard, snappy needs the package python-snappy; zlib is used",
        ),
        ({"zlib"}, "zlib", "zlib", None),
        ({"zlib"}, "zlib,zstd", "zlib", "zstandard; zlib is used"),
        ({"zlib"}, "zstd", None, "zstandard; nothing is compressed"),
        ({"zlib", "snappy", "zstd"}, "zstd%2Csnappy", "zstd,snappy", None),
        ({"zlib", "snappy", "zstd"}, "snappy,zip", "snappy", "entry 2 is none of zlib, snappy, zstd and is passed over"),
        ({"zlib"}, "zip", None, "entry 1 is none of"),
    ],
)
def test_of_the_compressors_those_are_used_that_can_be(monkeypatch, available, asked, used, told):
    monkeypatch.setattr("pymongo.compression_support._have_snappy", lambda: "snappy" in available)
    monkeypatch.setattr("pymongo.compression_support._have_zstd", lambda: "zstd" in available)
    parsed = parse_mongo_uri(f"mongodb://h/?replicaSet=rs0&compressors={asked}")
    assert parsed.text == "mongodb://h/?replicaSet=rs0" + (f"&compressors={used}" if used else "")
    assert (parsed.warnings == ()) if told is None else (told in " ".join(parsed.warnings))


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        ("tls=true&tlsCAFile={}/none", "none that it names cannot be read"),
        ("tls=true&tlsCAFile={}", "cannot be read"),
        ("tls=true&tlsCAFile={}/text", "holds no certificate"),
        ("tls=true&tlsCertificateKeyFile={}/text", "do not fit"),
        ("tls=true&tlsCRLFile={}/none", "none that it names cannot be read"),
        ("tls=false&tlsCAFile={}/text", "do not fit"),
        ("tls=true&tlsAllowInvalidCertificates=true&tlsCRLFile={}/text", "do not fit"),
    ],
)
async def test_files_that_it_names_are_judged_where_clients_are_made_and_not_by_the_settings(tmp_path, options, problem):
    (tmp_path / "text").write_text("no certificate")
    uri = f"mongodb://h/?{options.format(tmp_path)}"
    assert build("mongo.uri", uri).mongo.uri.get_secret_value() == uri
    for attempt in (try_clients(uri, "bridge", {}, 100), Store.connect(uri, "bridge", timeout_ms=100)):
        with pytest.raises(StoreProblem, match=problem):
            await attempt


def test_white_space_around_it_is_no_part_of_it():
    assert build("mongo.uri", " mongodb://h\r\n").mongo.uri.get_secret_value() == "mongodb://h"
