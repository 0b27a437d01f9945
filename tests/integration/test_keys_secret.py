"""Keys in a secret store: moto plays Secrets Manager, the KMS stub plays one that throttles, hangs or is gone."""

import logging

import boto3
import pytest
from moto import mock_aws

from infra.localnet.kms import KmsStub
from reactor.keys import KeyProblem, aws, open_signer, probe
from tests.integration.keys_aws_helpers import hasten, isolate

pytestmark = pytest.mark.integration

# Anvil's first account, and RFC 8032's first test key: published ones.
ETHEREUM_KEY = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
ETHEREUM_ADDRESS = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"
POCKET_SEED = "9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60"
POCKET_PUBLIC = "d75a980182b10ab7d54bfed3c964073a0ee172f3daa62325af021a68f707511a"
KEYS = {"secp256k1": ETHEREUM_KEY, "ed25519": POCKET_SEED + POCKET_PUBLIC}
BOTH = f'{{"ethereum": "0x{ETHEREUM_KEY}", "pocket": "{POCKET_SEED + POCKET_PUBLIC}", "port": 1}}'
URI = "awssecret://eu-west-1/bridge/validator-1"


@pytest.fixture(autouse=True)
def _quick_and_alone(monkeypatch):
    isolate(monkeypatch)
    hasten(monkeypatch)


@pytest.fixture
def store():
    with mock_aws():
        yield boto3.session.Session(region_name="eu-west-1").client("secretsmanager")


@pytest.fixture
def keep(store):
    def keep(text: str, name: str = "bridge/validator-1") -> str:
        return store.create_secret(Name=name, SecretString=text)["ARN"]

    return keep


@pytest.mark.parametrize("scheme", ["secp256k1", "ed25519"])
async def test_a_secret_that_is_a_key_signs(keep, scheme):
    keep(KEYS[scheme] + "\n")
    signer = await open_signer(URI, scheme)
    assert signer.describe().source == URI
    assert (await probe(signer)).address == signer.address
    assert signer.address == (ETHEREUM_ADDRESS if scheme == "secp256k1" else signer.address)
    assert signer.stats.attempts == 1
    await signer.close()


async def test_one_secret_may_hold_both_keys(keep):
    keep(BOTH)
    ethereum = await open_signer(f"{URI}?field=ethereum", "secp256k1")
    pocket = await open_signer(f"{URI}?field=pocket", "ed25519")
    assert ethereum.address == ETHEREUM_ADDRESS
    assert pocket.public_key == POCKET_PUBLIC
    assert pocket.describe().source == f"{URI}?field=pocket"
    with pytest.raises(KeyProblem, match="64 bytes, not 32"):
        await open_signer(f"{URI}?field=pocket", "secp256k1")


@pytest.mark.parametrize(("text", "query"), [(ETHEREUM_KEY, ""), (BOTH, "?field=ethereum")])
async def test_a_secret_may_begin_with_the_mark_of_the_file_it_was_uploaded_from(keep, text, query):
    keep("\ufeff" + text + "\r\n")
    assert (await open_signer(URI + query, "secp256k1")).address == ETHEREUM_ADDRESS


async def test_a_secret_is_found_by_its_arn(keep):
    arn = keep(ETHEREUM_KEY)
    assert (await open_signer(f"awssecret://eu-west-1/{arn}", "secp256k1")).address == ETHEREUM_ADDRESS


async def test_a_changed_secret_counts_from_the_next_start(keep, store):
    keep("11" * 32)
    old = await open_signer(URI, "secp256k1")
    store.put_secret_value(SecretId="bridge/validator-1", SecretString=ETHEREUM_KEY)
    assert old.address != ETHEREUM_ADDRESS
    await probe(old)
    assert (await open_signer(URI, "secp256k1")).address == ETHEREUM_ADDRESS


@pytest.mark.parametrize(
    ("text", "query", "problem"),
    [
        (BOTH, "", "Name the key's field"),
        (BOTH, "?field=hathor", "under 'hathor'"),
        (BOTH, "?field=port", "under 'port'"),
        (ETHEREUM_KEY, "?field=ethereum", "under 'ethereum'"),
        ('"' + ETHEREUM_KEY + '"', "?field=ethereum", "under 'ethereum'"),
        pytest.param("[" * 50_000, "?field=ethereum", "under 'ethereum'", id="nested too deep to read"),
        (ETHEREUM_KEY[:-2], "", "31 bytes"),
        ("0x" + ETHEREUM_KEY[:-1] + "g", "", "not hexadecimal"),
        (" ", "", "0 bytes"),
    ],
)
async def test_a_secret_that_holds_no_key_is_refused_and_never_shown(keep, text, query, problem):
    keep(text)
    with pytest.raises(KeyProblem, match=problem) as caught:
        await open_signer(URI + query, "secp256k1")
    assert ETHEREUM_KEY[:16] not in repr(caught.value) + str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None
    assert not caught.value.transient


async def test_a_binary_secret_is_refused(store):
    store.create_secret(Name="bridge/validator-1", SecretBinary=bytes.fromhex(ETHEREUM_KEY))
    with pytest.raises(KeyProblem) as caught:
        await open_signer(URI, "secp256k1")
    assert str(caught.value) == f"key {URI}: holds binary data, not text. Store the key as a secret string"


@pytest.mark.parametrize(
    ("text", "query", "problem"),
    [
        (f" \n{BOTH}", "", "holds a JSON object. Name the key's field: ?field=name"),
        (BOTH, "?field=port", "holds no JSON object with a text under 'port'. Check the secret and the field's name"),
        ("0x", "", "holds 0 bytes, not 32. A secp256k1 key is 64 hex characters; `reactor keys new` makes one"),
    ],
)
async def test_what_is_wrong_with_a_secret_is_said_with_its_remedy(keep, text, query, problem):
    keep(text)
    with pytest.raises(KeyProblem) as caught:
        await open_signer(URI + query, "secp256k1")
    assert str(caught.value) == f"key {URI}{query}: {problem}"


@pytest.mark.parametrize("uri", ["awssecret://eu-west-1/bridge/validator-2", "awssecret://us-east-1/bridge/validator-1"])
async def test_a_secret_that_is_not_there_is_named_with_its_permissions(keep, uri):
    keep(ETHEREUM_KEY)
    with pytest.raises(KeyProblem, match=r"ResourceNotFoundException.*secretsmanager:GetSecretValue") as caught:
        await open_signer(uri, "secp256k1")
    assert not caught.value.transient
    assert caught.value.source == uri


def everything(caplog):
    """All that the libraries have to say, whatever levels the process set before."""
    for name in ("", "boto3", "botocore", "urllib3", *aws._TALKATIVE):
        caplog.set_level(logging.DEBUG, logger=name)


async def test_a_secret_never_reaches_a_log_however_talkative(keep, caplog, monkeypatch):
    keep(ETHEREUM_KEY)
    for name in aws._TALKATIVE:  # another test may have made a client in this process
        monkeypatch.setattr(logging.getLogger(name), "filters", [])
    everything(caplog)
    await open_signer(URI, "secp256k1")
    assert any(record.name.startswith("botocore") and record.levelno == logging.DEBUG for record in caplog.records)
    assert ETHEREUM_KEY not in caplog.text


async def test_without_the_filter_the_library_would_print_it(keep, caplog, monkeypatch):
    keep(ETHEREUM_KEY)
    for name in aws._TALKATIVE:
        monkeypatch.setattr(logging.getLogger(name), "filters", [])
    everything(caplog)
    monkeypatch.setattr(aws, "_TALKATIVE", ())
    await open_signer(URI, "secp256k1")
    assert ETHEREUM_KEY in caplog.text


@pytest.fixture
async def faulty():
    async with KmsStub() as stub:
        yield stub


async def test_throttling_that_stays_is_reported_as_passing(faulty):
    faulty.throttle = 100
    with pytest.raises(KeyProblem, match="ThrottlingException") as caught:
        await open_signer(f"{URI}?endpoint={faulty.url}", "secp256k1")
    assert caught.value.transient
    assert 100 - faulty.throttle == aws.ATTEMPTS


async def test_a_hanging_store_is_given_up(faulty, monkeypatch):
    monkeypatch.setattr(aws, "READ_TIMEOUT_S", 0.2)
    monkeypatch.setattr(aws, "ATTEMPTS", 2)
    faulty.hang = True
    with pytest.raises(KeyProblem, match="ReadTimeoutError") as caught:
        await open_signer(f"{URI}?endpoint={faulty.url}", "secp256k1")
    assert caught.value.transient


async def test_a_store_that_is_gone_is_a_passing_problem(faulty):
    url = faulty.url
    await faulty.stop()
    with pytest.raises(KeyProblem, match="EndpointConnectionError") as caught:
        await open_signer(f"{URI}?endpoint={url}", "secp256k1")
    assert caught.value.transient


async def test_another_service_at_the_endpoint_is_no_store(faulty):
    with pytest.raises(KeyProblem, match="UnknownOperationException") as caught:
        await open_signer(f"{URI}?endpoint={faulty.url}", "secp256k1")
    assert not caught.value.transient
