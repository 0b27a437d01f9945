"""The KMS signers with an unmodified boto3 against the strict local stub."""

import asyncio
import base64
import hashlib
import json
from pathlib import Path

import boto3
import pytest
from botocore.exceptions import ClientError
from coincurve import PrivateKey
from eth_account import Account

from reactor.keys import KeyProblem, aws, open_signer, probe
from reactor.keys.curves import SECP256K1_ORDER, ethereum_address
from tests.integration.keys_aws_helpers import hasten, isolate, kms_stub

pytestmark = pytest.mark.integration

SECRET = 0xAC0974BEC39A17E36BA4A6B4D238FF944BACB478CBED5EFCAE784D7BF4F2FF80
ADDRESS = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"
DIGEST = bytes(range(32))
VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "pocket.json").read_text())["vectors"]
SIGNED = [
    (key["private_key"], vector["sign_bytes"], slot["signature"])
    for vector in VECTORS
    if vector["kind"] == "transaction"
    for key, slot in zip(vector["keys"], vector["signatures"], strict=False)
    if "private_key" in key and slot["valid"]
]
ED25519 = "ECC_NIST_EDWARDS25519"
kms = kms_stub


@pytest.fixture(autouse=True)
def _quick_and_alone(monkeypatch):
    isolate(monkeypatch)
    hasten(monkeypatch)


@pytest.fixture
async def signer(kms):
    opened = await open_signer(kms.uri(kms.create_key(SECRET)), "secp256k1")
    yield opened
    await opened.close()


@pytest.fixture
async def pocket(kms):
    seed = bytes.fromhex(SIGNED[0][0])[:32]
    opened = await open_signer(kms.uri(kms.create_key(seed, spec=ED25519)), "ed25519")
    yield opened
    await opened.close()


async def test_the_address_is_that_of_the_key(signer):
    assert signer.address == ADDRESS
    assert signer.public_key == PrivateKey(SECRET.to_bytes(32, "big")).public_key.format().hex()
    assert signer.describe().source.startswith("awskms://eu-west-1/")
    assert ADDRESS in repr(signer)


async def test_high_and_low_s_both_become_ethereum_signatures(kms, signer):
    signatures = await asyncio.gather(*(signer.sign(bytes([i]) * 32) for i in range(40)))
    assert (kms.high_s, kms.low_s) == (20, 20)
    assert {signature[64] for signature in signatures} == {27, 28}
    for i, signature in enumerate(signatures):
        assert len(signature) == 65
        assert int.from_bytes(signature[32:64], "big") <= SECP256K1_ORDER // 2
        assert Account._recover_hash(bytes([i]) * 32, signature=signature).lower() == ADDRESS


async def test_only_a_digest_is_sent(kms, signer):
    with pytest.raises(ValueError, match="32-byte digest"):
        await signer.sign(b"\1" * 31)
    assert "Sign" not in kms.calls


async def test_a_throttled_call_is_repeated(kms, signer):
    kms.throttle = 2
    assert len(await signer.sign(DIGEST)) == 65
    assert kms.calls["Sign"] == 3


async def test_throttling_that_stays_is_reported_as_passing(kms, signer):
    kms.throttle = 100
    with pytest.raises(KeyProblem, match="ThrottlingException") as caught:
        await signer.sign(DIGEST)
    assert caught.value.transient
    assert kms.calls["Sign"] == aws.ATTEMPTS
    kms.throttle = 0
    assert len(await signer.sign(DIGEST)) == 65


async def test_a_signature_of_another_key_never_leaves(kms, signer):
    kms.sign_with = kms.create_key()
    for _ in range(2):  # high and low s
        with pytest.raises(KeyProblem, match="does not verify") as caught:
            await signer.sign(DIGEST)
        assert not caught.value.transient
    kms.sign_with = None
    assert len(await signer.sign(DIGEST)) == 65


@pytest.mark.parametrize(("private_key", "message", "signature"), SIGNED)
async def test_a_pocket_signature_is_that_of_its_vector(kms, private_key, message, signature):
    key_id = kms.create_key(bytes.fromhex(private_key)[:32], spec=ED25519)
    signer = await open_signer(kms.uri(key_id), "ed25519")
    assert signer.public_key == private_key[64:]
    assert (await signer.sign(message.encode())).hex() == signature
    assert signer.describe().source == f"awskms://eu-west-1/{key_id}"
    await signer.close()


async def test_a_pocket_address_is_derived_from_the_key(pocket):
    assert pocket.address == hashlib.sha256(bytes.fromhex(pocket.public_key)).hexdigest()[:40]


async def test_only_a_message_that_the_service_takes_is_sent(kms, pocket):
    for length in (0, 4097):
        with pytest.raises(ValueError, match="1 to 4096 bytes"):
            await pocket.sign(b"m" * length)
    assert "Sign" not in kms.calls
    for length in (1, 32, 4096):
        assert len(await pocket.sign(b"m" * length)) == 64
    assert kms.calls["Sign"] == 3


async def test_a_pocket_signature_of_another_key_never_leaves(kms, pocket):
    kms.sign_with = kms.create_key(spec=ED25519)
    with pytest.raises(KeyProblem, match="does not verify") as caught:
        await pocket.sign(b"message")
    assert not caught.value.transient
    kms.sign_with = None
    assert len(await pocket.sign(b"message")) == 64


@pytest.mark.parametrize("answer", [b"", b"\0" * 64], ids=["nothing", "zeros"])
async def test_an_answer_that_is_no_signature_never_leaves(kms, signer, pocket, monkeypatch, answer):
    monkeypatch.setattr(kms, "_sign", lambda body: {"Signature": base64.b64encode(answer).decode()})
    for one in (signer, pocket):
        with pytest.raises(KeyProblem, match="does not verify"):
            await one.sign(DIGEST)


async def test_a_probe_exercises_each_key(kms, signer, pocket):
    for one in (signer, pocket):
        probed = await probe(one)
        assert (probed.address, probed.scheme) == (one.address, one.scheme)
        assert one.stats.tallies["probe"].signed == 1
    assert kms.calls["Sign"] == 2
    kms.throttle = 100
    with pytest.raises(KeyProblem, match="ThrottlingException"):
        await probe(pocket)


async def test_what_happened_is_counted(kms, signer):
    assert signer.stats.attempts == 1  # its public key
    kms.throttle = 2
    await signer.sign(DIGEST, "request")
    assert signer.stats.attempts == 4
    kms.throttle = 100
    with pytest.raises(KeyProblem):
        await signer.sign(DIGEST, "heartbeat")
    kms.throttle = 0
    kms.sign_with = kms.create_key()
    with pytest.raises(KeyProblem):
        await signer.sign(DIGEST, "request")
    assert set(signer.stats.tallies) == {"request", "heartbeat"}
    request, heartbeat = signer.stats.tallies["request"], signer.stats.tallies["heartbeat"]
    assert (request.signed, request.failed, request.passing) == (1, 1, 0)
    assert (heartbeat.signed, heartbeat.failed, heartbeat.passing) == (0, 0, 1)
    assert request.seconds >= request.slowest_s > 0


async def test_retries_are_adaptive_and_bounded(signer):
    config = signer._client.meta.config
    assert config.retries == {"mode": "adaptive", "total_max_attempts": aws.ATTEMPTS}
    assert (config.connect_timeout, config.read_timeout) == (aws.CONNECT_TIMEOUT_S, aws.READ_TIMEOUT_S)


async def test_an_alias_is_pinned_to_the_key_it_named_at_start(kms):
    kms.set_alias("alias/bridge", kms.create_key(SECRET))
    signer = await open_signer(kms.uri("alias/bridge"), "secp256k1")
    kms.set_alias("alias/bridge", kms.create_key())
    assert Account._recover_hash(DIGEST, signature=await signer.sign(DIGEST)).lower() == ADDRESS
    await signer.close()


async def test_a_hanging_service_is_given_up_and_hurts_no_later_call(kms, monkeypatch):
    monkeypatch.setattr(aws, "READ_TIMEOUT_S", 1.0)  # which an answer of the stub takes on no machine
    monkeypatch.setattr(aws, "ATTEMPTS", 2)
    signer = await open_signer(kms.uri(kms.create_key(SECRET)), "secp256k1")
    kms.hang = True
    with pytest.raises(KeyProblem, match="ReadTimeoutError") as caught:
        await signer.sign(DIGEST)
    assert caught.value.transient
    kms.hang = False
    assert len(await signer.sign(DIGEST)) == 65
    await signer.close()


async def test_the_deadline_of_a_call_holds_whatever_boto3_does(kms, signer, monkeypatch):
    monkeypatch.setattr(aws, "CALL_TIMEOUT_S", 0.2)
    kms.hang = True
    with pytest.raises(KeyProblem, match=r"no answer within 0\.2 s") as caught:
        await signer.sign(DIGEST)
    assert caught.value.transient


async def test_the_queue_has_a_size(kms, signer, monkeypatch):
    monkeypatch.setattr(aws, "MAX_WAITING", 0)
    kms.hang = True
    waiting = [asyncio.create_task(signer.sign(DIGEST)) for _ in range(aws.THREADS)]
    await asyncio.sleep(0)  # each task runs up to its place in the queue
    with pytest.raises(KeyProblem, match="too many calls") as caught:
        await signer.sign(DIGEST)
    assert caught.value.transient
    for task in waiting:
        task.cancel()
    results = await asyncio.gather(*waiting, return_exceptions=True)
    assert all(isinstance(result, asyncio.CancelledError) for result in results)


async def _asked(kms, times):
    async with asyncio.timeout(60):
        while kms.calls.get("Sign", 0) < times:  # noqa: ASYNC110 - the stub counts, it does not signal
            await asyncio.sleep(0.01)


async def test_closing_ends_what_waits_with_a_clear_error(kms):
    signer = await open_signer(kms.uri(kms.create_key(SECRET)), "secp256k1")
    kms.hang = True
    tasks = [asyncio.create_task(signer.sign(DIGEST)) for _ in range(aws.THREADS + 3)]
    await _asked(kms, aws.THREADS)
    await signer.close()
    async with asyncio.timeout(60):
        for queued in tasks[aws.THREADS :]:
            with pytest.raises(KeyProblem, match="is closed"):
                await queued
    for task in tasks[: aws.THREADS]:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


async def test_a_call_under_way_is_not_repeated_once_the_signer_is_closed(kms, monkeypatch):
    monkeypatch.setattr(aws, "READ_TIMEOUT_S", 1.0)
    signer = await open_signer(kms.uri(kms.create_key(SECRET)), "secp256k1")
    kms.hang = True
    task = asyncio.create_task(signer.sign(DIGEST))
    await _asked(kms, 1)
    await signer.close()
    async with asyncio.timeout(60):
        with pytest.raises(KeyProblem, match="is closed"):
            await task
    assert kms.calls["Sign"] == 1


async def test_a_closed_signer_signs_no_more(kms):
    signer = await open_signer(kms.uri(kms.create_key(SECRET)), "secp256k1")
    await signer.close()
    with pytest.raises(KeyProblem, match="is closed"):
        await signer.sign(DIGEST)


@pytest.mark.parametrize(
    ("spec", "scheme", "wanted"),
    [
        ("ECC_NIST_P256", "secp256k1", "ECC_SECG_P256K1"),
        (ED25519, "secp256k1", "ECC_SECG_P256K1"),
        ("ECC_SECG_P256K1", "ed25519", ED25519),
    ],
)
async def test_a_key_of_another_curve_is_refused(kms, spec, scheme, wanted):
    with pytest.raises(KeyProblem, match=f"the key is {spec} .*spec {wanted}"):
        await open_signer(kms.uri(kms.create_key(spec=spec)), scheme)


@pytest.mark.parametrize("scheme", ["secp256k1", "ed25519"])
@pytest.mark.parametrize("lie", [b"no key", "a key of another curve"])
async def test_an_endpoint_that_shows_no_key_of_the_curve_is_refused(kms, monkeypatch, scheme, lie):
    specs = {"secp256k1": "ECC_SECG_P256K1", "ed25519": ED25519}
    asked = kms.create_key(spec=specs[scheme])
    if isinstance(lie, str):
        other = kms.create_key(spec=specs["ed25519" if scheme == "secp256k1" else "secp256k1"])
        lie = base64.b64decode(kms._get_public_key({"KeyId": other})["PublicKey"])
    honest = kms._get_public_key
    monkeypatch.setattr(kms, "_get_public_key", lambda body: honest(body) | {"PublicKey": base64.b64encode(lie).decode()})
    with pytest.raises(KeyProblem, match=f"no {scheme} public key"):
        await open_signer(kms.uri(asked), scheme)


async def test_an_unknown_key_is_refused(kms):
    with pytest.raises(KeyProblem, match="NotFoundException") as caught:
        await open_signer(kms.uri("no-such-key"), "secp256k1")
    assert not caught.value.transient


async def test_a_disabled_key_is_refused_and_named(kms):
    key_id = kms.create_key()
    signer = await open_signer(kms.uri(key_id), "secp256k1")
    kms.disable(key_id)
    with pytest.raises(KeyProblem, match="DisabledException") as caught:
        await signer.sign(DIGEST)
    assert not caught.value.transient
    await signer.close()


async def test_a_dead_endpoint_is_a_passing_problem(kms, monkeypatch):
    monkeypatch.setattr(aws, "ATTEMPTS", 1)
    uri = kms.uri(kms.create_key())
    await kms.stop()
    with pytest.raises(KeyProblem, match="EndpointConnectionError") as caught:
        await open_signer(uri, "secp256k1")
    assert caught.value.transient


async def test_without_credentials_the_remedy_names_them(kms, monkeypatch):
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.delenv(name)
    with pytest.raises(KeyProblem, match=r"NoCredentialsError.*credentials"):
        await open_signer(kms.uri(kms.create_key()), "secp256k1")


# The stub itself: what it refuses is what keeps the tests above honest.


def _client(kms, region="eu-west-1"):
    return boto3.session.Session(region_name=region).client("kms", endpoint_url=kms.url)


@pytest.mark.parametrize(("spec", "scheme"), [("ECC_SECG_P256K1", "secp256k1"), (ED25519, "ed25519")])
async def test_the_stub_makes_and_describes_keys(kms, spec, scheme):
    client = _client(kms)
    made = await asyncio.to_thread(client.create_key, KeySpec=spec, KeyUsage="SIGN_VERIFY")
    key_id = made["KeyMetadata"]["KeyId"]
    described = await asyncio.to_thread(client.describe_key, KeyId=key_id)
    assert described["KeyMetadata"]["KeySpec"] == spec
    assert described["KeyMetadata"]["Arn"].endswith(key_id)
    opened = await open_signer(kms.uri(key_id), scheme)
    assert opened.scheme == scheme
    await opened.close()


REQUESTS = {
    "ECC_SECG_P256K1": {"Message": DIGEST, "MessageType": "DIGEST", "SigningAlgorithm": "ECDSA_SHA_256"},
    ED25519: {"Message": b"m" * 4096, "MessageType": "RAW", "SigningAlgorithm": "ED25519_SHA_512"},
}


@pytest.mark.parametrize(
    ("spec", "change", "code"),
    [
        ("ECC_SECG_P256K1", {"MessageType": "RAW"}, "ValidationException"),
        ("ECC_SECG_P256K1", {"Message": b"\1" * 31}, "ValidationException"),
        ("ECC_SECG_P256K1", {"Message": b"\1" * 33}, "ValidationException"),
        ("ECC_SECG_P256K1", {"SigningAlgorithm": "ECDSA_SHA_512"}, "InvalidKeyUsageException"),
        ("ECC_SECG_P256K1", {"SigningAlgorithm": "ED25519_SHA_512"}, "InvalidKeyUsageException"),
        ("ECC_SECG_P256K1", {"KeyId": "unknown"}, "NotFoundException"),
        (ED25519, {"MessageType": "DIGEST"}, "ValidationException"),
        (ED25519, {"MessageType": "DIGEST", "Message": b"\1" * 64}, "ValidationException"),
        (ED25519, {"Message": b"m" * 4097}, "ValidationException"),
        (ED25519, {"SigningAlgorithm": "ED25519_PH_SHA_512"}, "ValidationException"),
        (ED25519, {"SigningAlgorithm": "ECDSA_SHA_256"}, "InvalidKeyUsageException"),
    ],
)
async def test_the_stub_refuses_what_the_service_would(kms, spec, change, code):
    client = _client(kms)
    request = {"KeyId": kms.create_key(spec=spec), **REQUESTS[spec]}
    assert (await asyncio.to_thread(lambda: client.sign(**request)))["Signature"]
    with pytest.raises(ClientError) as caught:
        await asyncio.to_thread(lambda: client.sign(**{**request, **change}))
    assert caught.value.response["Error"]["Code"] == code


async def test_the_stub_refuses_unknown_operations_and_other_regions(kms):
    with pytest.raises(ClientError) as caught:
        await asyncio.to_thread(_client(kms).list_keys)
    assert caught.value.response["Error"]["Code"] == "UnknownOperationException"
    with pytest.raises(ClientError) as caught:
        await asyncio.to_thread(lambda: _client(kms, "us-east-1").describe_key(KeyId="x"))
    assert caught.value.response["Error"]["Code"] == "IncompleteSignatureException"


async def test_the_stub_answers_at_once(kms, signer):
    # With Nagle's algorithm each call takes 44 ms, without it one that this machine is not too busy for takes some.
    loop = asyncio.get_running_loop()
    took = 1.0
    async with asyncio.timeout(60):
        while took >= 0.04:
            started = loop.time()
            await signer.sign(DIGEST)
            took = loop.time() - started


def test_the_address_helper_agrees_with_eth_account():
    assert ethereum_address(PrivateKey(SECRET.to_bytes(32, "big")).public_key) == ADDRESS
