"""Each kind of value: what is taken, what is refused; identity and masking."""

import copy
import json
from hashlib import sha256

import pytest
from pydantic import ValidationError

from reactor.documents.bridge import Bridge
from reactor.documents.bridge import Schedule as BridgeSchedule
from reactor.settings import Settings
from reactor.settings.masking import mask_mongo_uri

pytestmark = pytest.mark.unit

A, B, C = ("0x" + digit * 40 for digit in "123")
PUBLIC = ["aa" * 32, "bb" * 32, "cc" * 32]
BASE = {
    "mongo": {"uri": "mongodb://user:hunter2@h1:1,h2:2/db?replicaSet=rs&tlsCertificateKeyFilePassword=pw"},
    "ethereum": {
        "rpc_urls": ["https://u:pa55word@rpc.example/v3/0123456789abcdef0123?key=abcdefabcdefabcdef"],
        "chain_id": 1,
        "wrapped_pocket_address": A,
        "mint_controller_address": B,
        "start_block": 1000,
        "burn_fee": 10_000,
        "validator_addresses": [C],
        "key": "keystore:///keys/ethereum.json",
        "key_passphrase": "correct horse",
    },
    "pocket": {
        "rpc_urls": ["http://127.0.0.1:8081"],
        "chain_id": "mainnet",
        "start_height": 100,
        "multisig_public_keys": PUBLIC,
        "vault_address": "dd" * 20,
        "tx_fee": 10_000,
        "max_mint": 10**12,
    },
    "state": {"directory": "/var/lib/reactor"},
}


def build(path=None, value=None, **more):
    raw = copy.deepcopy(BASE)
    for where, what in {**({path: value} if path else {}), **more}.items():
        section, name = where.split(".")
        raw.setdefault(section, {})[name] = what
    return Settings.model_validate(raw)


def value_of(settings, path):
    section, name = path.split(".")
    return getattr(getattr(settings, section), name)


def first_error(path, value):
    with pytest.raises(ValidationError) as caught:
        build(path, value)
    errors = caught.value.errors(include_input=False)
    assert all(".".join(p for p in error["loc"] if isinstance(p, str)) == path for error in errors), errors
    return errors[0]["msg"]


CHECKSUMMED = "0xf39Fd6e51aad88F6F4ce6aB8827279cffFb92266"
TAKEN = [
    ("ethereum.wrapped_pocket_address", CHECKSUMMED, CHECKSUMMED.lower()),
    ("ethereum.wrapped_pocket_address", CHECKSUMMED.lower(), CHECKSUMMED.lower()),
    ("ethereum.wrapped_pocket_address", "0x" + CHECKSUMMED[2:].upper(), CHECKSUMMED.lower()),
    ("ethereum.chain_id", "31337", 31337),
    ("ethereum.start_block", 1, 1),
    ("ethereum.finality", "safe", "safe"),
    ("ethereum.finality", "finalized", "finalized"),
    ("ethereum.finality", "latest-12", "latest-12"),
    ("ethereum.key", "env://ETH_KEY", "env://ETH_KEY"),
    ("ethereum.key", "awskms://eu-west-1/abc?endpoint=https://x", "awskms://eu-west-1/abc?endpoint=https://x"),
    ("ethereum.rpc_urls", ["http://[::1]:8545/"], ("http://[::1]:8545/",)),
    ("ethereum.rpc_urls", ["HTTPS://User:Pa55@Node.Example:443/V3/K?a=B"], ("https://User:Pa55@node.example/V3/K?a=B",)),
    ("pocket.rpc_urls", ["HTTP://h/path?apikey=K"], ("http://h/path?apikey=K",)),
    ("pocket.vault_address", "DD" * 20, "dd" * 20),
    ("pocket.chain_id", "pocket-testet-playground", "pocket-testet-playground"),
    ("pocket.multisig_public_keys", ["BB" * 32, "aa" * 32], ("bb" * 32, "aa" * 32)),
    ("engine.sweep_interval_s", 0.25, 0.25),
    ("validator.name", "wpokt-validator-01", "wpokt-validator-01"),
]
REFUSED = [
    ("mongo.uri", "localhost", "MongoDB URI"),
    ("mongo.uri", 5, "string"),
    ("mongo.database", "a.b", "usable name"),
    ("mongo.database", "", "usable name"),
    ("mongo.timeout_ms", 0, "greater"),
    ("mongo.timeout_ms", True, "whole number"),
    ("mongo.timeout_ms", 1000.0, "whole number"),
    ("ethereum.wrapped_pocket_address", CHECKSUMMED.replace("39F", "39f"), "checksum"),
    ("ethereum.wrapped_pocket_address", CHECKSUMMED[2:], "not an Ethereum address"),
    ("ethereum.wrapped_pocket_address", CHECKSUMMED + "0", "not an Ethereum address"),
    ("ethereum.wrapped_pocket_address", 0x1234, "not an Ethereum address"),
    ("ethereum.wrapped_pocket_address", "0x" + "0" * 40, "zero address"),
    ("ethereum.mint_controller_address", A, "token's address"),
    ("ethereum.chain_id", 0, "greater"),
    ("ethereum.chain_id", -1, "whole number"),
    ("ethereum.chain_id", "0x1", "whole number"),
    ("ethereum.chain_id", "1e3", "whole number"),
    ("ethereum.start_block", 0, "greater"),
    ("ethereum.start_block", None, "whole number"),
    ("ethereum.finality", "latest", "finality rule"),
    ("ethereum.finality", "latest-", "finality rule"),
    ("ethereum.finality", "pending", "finality rule"),
    ("ethereum.finality_floor", -1, "whole number"),
    ("ethereum.key", "file:///a b", "key URI"),
    ("ethereum.key", "https://x", "key URI"),
    ("ethereum.key_passphrase", "", "at least 1"),
    ("ethereum.rpc_urls", [], "at least 1"),
    ("ethereum.rpc_urls", "http://a", "not a list"),
    ("ethereum.rpc_urls", ["http://"], "URL"),
    ("ethereum.rpc_urls", ["http://a:99999"], "URL"),
    ("ethereum.rpc_urls", ["http://a b"], "URL"),
    ("ethereum.rpc_urls", ["http://a", "http://b", "http://a"], "entries 1 and 3 are the same"),
    ("ethereum.rpc_urls", ["http://a", "HTTP://A:80/"], "entries 1 and 2 are the same"),
    ("pocket.rpc_urls", ["http://a/x", "http://a/x/"], "entries 1 and 2 are the same"),
    ("pocket.rpc_urls", ["http://a#b"], "fragment"),
    ("ethereum.validator_addresses", [], "at least 1"),
    ("ethereum.validator_addresses", [CHECKSUMMED, CHECKSUMMED.lower()], "entries 1 and 2 are the same"),
    ("pocket.generation", "shannon", "morse"),
    ("pocket.chain_id", "", "chain id"),
    ("pocket.chain_id", 'a"b', "chain id"),
    ("pocket.start_height", 0, "greater"),
    ("pocket.confirmations", 0, "greater"),
    ("pocket.vault_address", "0x" + "dd" * 20, "Pocket address"),
    ("pocket.vault_address", "dd" * 19, "Pocket address"),
    ("pocket.multisig_public_keys", ["aa" * 32], "at least 2"),
    ("pocket.multisig_public_keys", ["aa" * 32, "AA" * 32], "entries 1 and 2 are the same"),
    ("pocket.multisig_public_keys", ["aa" * 32, "02" + "aa" * 32], "public key"),
    ("state.directory", "", "not a path"),
    ("state.directory", 5, "not a path"),
    ("engine.concurrency", 0, "greater"),
    ("engine.sweep_interval_s", 0, "greater"),
    ("engine.sweep_interval_s", "nan", "greater"),
    ("engine.sweep_interval_s", "inf", "less"),
    ("engine.sweep_interval_s", "soon", "seconds"),
    ("log.level", "loud", "TRACE"),
    ("log.format", "xml", "json"),
    ("validator.name", "a b", "usable name"),
]


@pytest.mark.parametrize(("path", "value", "wanted"), TAKEN)
def test_a_good_value_is_taken_and_normalised(path, value, wanted):
    assert value_of(build(path, value), path) == wanted


@pytest.mark.parametrize(("path", "value", "problem"), REFUSED)
def test_a_bad_value_is_refused(path, value, problem):
    assert problem in first_error(path, value)


def test_collections_need_distinct_names():
    assert build("mongo.collections", {"mint": "mints"}).mongo.collections.mint == "mints"
    assert "are the same" in first_error("mongo.collections", {"mint": "burn"})


def test_finality_must_not_undercut_its_floor_not_even_the_default_one():
    with pytest.raises(ValidationError, match="is 12, but finality counts a block as final after 3"):
        build("ethereum.finality", "latest-3")
    settings = build("ethereum.finality", "latest-3", **{"ethereum.finality_floor": 3})
    assert (settings.ethereum.finality, settings.ethereum.finality_floor) == ("latest-3", 3)
    with pytest.raises(ValidationError, match="is 4"):
        build("ethereum.finality", "latest-3", **{"ethereum.finality_floor": 4})


def test_settings_are_frozen():
    with pytest.raises(ValidationError, match="frozen"):
        build().ethereum.chain_id = 2


SCHEDULES = [
    (10_000, ((100, 10_000),)),
    ("10000", ((100, 10_000),)),
    ([{"from_height": 100, "amount": 10_000}], ((100, 10_000),)),
    ([{"from_height": 1, "amount": "10000"}], ((100, 10_000),)),
    ([{"from_height": 1, "amount": 5}, {"from_height": 200, "amount": 6}], ((100, 5), (200, 6))),
]
BAD_SCHEDULES = [
    (0, "from 1 to"),
    (-5, "from 1 to"),
    (2**63, "from 1 to"),
    (True, "from 1 to"),
    (1.5, "from 1 to"),
    ("", "from 1 to"),
    ({}, "from 1 to"),
    ([], "no step"),
    ([5], "step 1 has not exactly"),
    ([{"from_height": 1}], "step 1 has not exactly"),
    ([{"from_block": 1, "amount": 5}], "step 1 has not exactly"),
    ([{"from_height": 1, "amount": 5, "x": 1}], "step 1 has not exactly"),
    ([{"from_height": 0, "amount": 5}], "from_height of step 1"),
    ([{"from_height": 101, "amount": 5}], r"first step \(101\) lies above the start \(100\)"),
    ([{"from_height": 1, "amount": 5}, {"from_height": 100, "amount": 6}], "ends before the start"),
    ([{"from_height": 1, "amount": 5}, {"from_height": 1, "amount": 6}], "not ascending"),
    ([{"from_height": 50, "amount": 5}, {"from_height": 1, "amount": 6}], "not ascending"),
]


@pytest.mark.parametrize(("value", "steps"), SCHEDULES)
def test_a_schedule_is_one_amount_or_steps(value, steps):
    settings = build("pocket.tx_fee", value)
    assert settings.pocket.tx_fee.steps == steps


@pytest.mark.parametrize(("value", "problem"), BAD_SCHEDULES)
def test_a_bad_schedule_is_refused(value, problem):
    with pytest.raises(ValidationError, match=problem):
        build("pocket.tx_fee", value)


def test_burn_fees_go_by_ethereum_block():
    steps = [{"from_block": 1000, "amount": 5}, {"from_block": 2000, "amount": 6}]
    fee = build("ethereum.burn_fee", steps).ethereum.burn_fee
    assert [fee.at(block) for block in (1, 1000, 1999, 2000, 10**9)] == [5, 5, 5, 6, 6]
    with pytest.raises(ValidationError, match="from_block"):
        build("ethereum.burn_fee", [{"from_height": 1000, "amount": 5}])


def test_the_maximum_is_above_the_fee_at_every_height():
    fees = [{"from_height": 100, "amount": 10}, {"from_height": 300, "amount": 50}]
    assert build("pocket.tx_fee", fees, **{"pocket.max_mint": 51}).pocket.max_mint.at(300) == 51
    with pytest.raises(ValidationError, match="not above the fee from height 300"):
        build("pocket.tx_fee", fees, **{"pocket.max_mint": 50})
    falling = [{"from_height": 100, "amount": 99}, {"from_height": 200, "amount": 10}]
    with pytest.raises(ValidationError, match="not above the fee from height 200"):
        build("pocket.tx_fee", fees, **{"pocket.max_mint": falling})


def bridge_of(settings):
    ethereum, pocket = settings.ethereum, settings.pocket
    return Bridge(
        pocket_chain_id=pocket.chain_id,
        vault=pocket.vault_address,
        pocket_keys=pocket.multisig_public_keys,
        pocket_start=pocket.start_height,
        deposit_fee=BridgeSchedule(pocket.tx_fee.steps),
        maximum=BridgeSchedule(pocket.max_mint.steps),
        ethereum_chain_id=ethereum.chain_id,
        wpokt=ethereum.wrapped_pocket_address,
        mint_controller=ethereum.mint_controller_address,
        ethereum_start=ethereum.start_block,
        burn_fee=BridgeSchedule(ethereum.burn_fee.steps),
    )


def test_the_identity_is_that_of_the_bridge_it_configures():
    settings = build("pocket.tx_fee", [{"from_height": 1, "amount": 5}, {"from_height": 200, "amount": 6}])
    assert settings.identity() == bridge_of(settings).identity()
    assert settings.identity_hash() == bridge_of(settings).identity_hash()
    text = json.dumps(settings.identity(), sort_keys=True, separators=(",", ":"))
    assert settings.identity_hash() == sha256(text.encode()).hexdigest()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("ethereum.chain_id", 5),
        ("ethereum.wrapped_pocket_address", C),
        ("ethereum.mint_controller_address", C),
        ("ethereum.start_block", 1001),
        ("ethereum.burn_fee", 10_001),
        ("ethereum.burn_fee", [{"from_block": 1, "amount": 10_000}, {"from_block": 9999, "amount": 1}]),
        ("pocket.chain_id", "testnet"),
        ("pocket.start_height", 101),
        ("pocket.multisig_public_keys", PUBLIC[::-1]),
        ("pocket.vault_address", "de" * 20),
        ("pocket.tx_fee", 10_001),
        ("pocket.max_mint", 10**12 + 1),
    ],
)
def test_what_enters_signed_bytes_or_classification_changes_the_identity(path, value):
    assert build(path, value).identity_hash() != build().identity_hash()


@pytest.mark.parametrize(
    ("path", "value"),
    [
        ("mongo.database", "other"),
        ("ethereum.rpc_urls", ["http://other"]),
        ("ethereum.finality", "latest-64"),
        ("ethereum.validator_addresses", [A]),
        ("ethereum.key", "env://OTHER"),
        ("pocket.confirmations", 3),
        ("pocket.tx_fee", [{"from_height": 100, "amount": 10_000}]),
        ("pocket.vault_address", "DD" * 20),
        ("ethereum.burn_fee", "10000"),
        ("validator.name", "x"),
    ],
)
def test_what_is_a_validators_own_choice_or_only_another_spelling_does_not(path, value):
    assert build(path, value).identity_hash() == build().identity_hash()


SECRETS = [
    "hunter2",
    "tlsCertificateKeyFilePassword=pw",
    "pa55word",
    "0123456789abcdef0123",
    "abcdefabcdefabcdef",
    "correct horse",
]


def test_masked_settings_show_no_secret_and_the_rest():
    settings = build()
    masked = settings.masked()
    shown = json.dumps(masked)
    for secret in SECRETS:
        assert secret not in shown
        assert secret not in repr(settings)
        assert secret not in str(settings)
    assert masked["mongo"]["uri"] == "mongodb://********@h1:1,h2:2/db?replicaSet=rs&tlsCertificateKeyFilePassword=********"
    assert masked["ethereum"]["rpc_urls"] == ["https://********@rpc.example/********"]
    assert masked["pocket"]["rpc_urls"] == ["http://127.0.0.1:8081"]
    assert masked["ethereum"]["key"] == "keystore:///keys/ethereum.json"
    assert masked["ethereum"]["key_passphrase"] == "********"
    assert masked["pocket"]["tx_fee"] == [["100", "10000"]]
    assert masked["mongo"]["collections"]["burn"] == "burn"
    assert "key" not in masked["pocket"]


@pytest.mark.parametrize(
    ("uri", "shown"),
    [
        ("mongodb://db/?replicaSet=rs0", "mongodb://db/?replicaSet=rs0"),
        ("mongodb://u:pw@db/?", "mongodb://********@db/"),
        ("mongodb://db/?replicaset=rs0;TLS=true", "mongodb://db/?replicaset=rs0&TLS=true"),
        ("mongodb://db/?tlsCAFile=/ca.pem&minPoolSize=5", "mongodb://db/?tlsCAFile=/ca.pem&minPoolSize=5"),
        ("mongodb://db/?authMechanismProperties=AWS_SESSION_TOKEN:abc", "mongodb://db/?authMechanismProperties=********"),
        ("mongodb://db/?secret", "mongodb://db/?********"),
        ("mongodb://u:p?replicaSet=w@db/", "mongodb://********"),
    ],
)
def test_of_the_options_of_the_database_those_are_shown_that_are_no_secrets(uri, shown):
    assert mask_mongo_uri(uri) == shown


def test_the_secrets_for_the_log_are_all_named_and_ordinary_parts_are_not():
    secrets = build().secrets()
    for secret in ("hunter2", "pa55word", "0123456789abcdef0123", "abcdefabcdefabcdef", "correct horse"):
        assert secret in secrets
    assert not {"rpc.example", "v3", "127.0.0.1:8081", "user", "u", ""} & set(secrets)
