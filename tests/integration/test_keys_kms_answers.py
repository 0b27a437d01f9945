"""What the key service answers, byte by byte: which signatures become ours, which never leave, and how it is said."""

import base64

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import SECP256K1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.utils import encode_dss_signature
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from eth_account import Account

from reactor.keys import KeyProblem, open_signer
from reactor.keys.curves import SECP256K1_ORDER
from tests.integration.keys_aws_helpers import hasten, isolate, kms_stub

pytestmark = pytest.mark.integration

SECRET = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
DIGEST = bytes(range(32))
ED25519 = "ECC_NIST_EDWARDS25519"
FOREIGN = "the service's signature does not verify for the key it showed at start"
LOOK = "Check the endpoint and who may change this key; nothing was signed"

# (r, s, recovery id) -> the key that is recovered from it over DIGEST. R has the coordinate r, with 2 and 3 r + order.
RECOVERED = {
    (1, 1, 0): "02d5b4433e873f9af75bae274d1c6e459a1d724254286f35b0506dc6274f1c2995",
    (1, 1, 1): "02c714dd6fe92d5d8c8d806137053bb4408b3fb81a1786643b4be63d2f065eb086",
    (2, 1, 0): "033ff1ae0e81ce8ab24b05b735387c0f0530dddbd1075e04dfd12b81b0706ae577",
    (2, 1, 1): "03bc817b988838bffaa775e1fc332569cb9bce08ed17e62ea445c6308b7a0f44af",
    (2, 1, 2): "038ecdd21914265094ae6060253c048f91adf5c98f8bae3bb2fc134d28a577ffe6",
    (2, 1, 3): "02adf36b21447c432bf148ab92f0859206c4a4a6ce13318552edc6fc96c3120168",
}
kms = kms_stub


@pytest.fixture(autouse=True)
def _quick_and_alone(monkeypatch):
    isolate(monkeypatch)
    hasten(monkeypatch)


@pytest.fixture
def shows(kms, monkeypatch):
    """Let the service answer GetPublicKey with other members than its own; None takes one out."""
    honest = kms._get_public_key

    def shows(**members):
        def answer(body):
            return {name: value for name, value in (honest(body) | members).items() if value is not None}

        monkeypatch.setattr(kms, "_get_public_key", answer)

    return shows


@pytest.fixture
def answers(kms, monkeypatch):
    """Let the service answer Sign with these bytes, or with no signature at all."""

    def answers(signature):
        members = {} if signature is None else {"Signature": base64.b64encode(signature).decode()}
        monkeypatch.setattr(kms, "_sign", lambda body: members)

    return answers


def information(compressed: str) -> str:
    """The DER SubjectPublicKeyInfo of a secp256k1 key, as the service encodes it."""
    key = EllipticCurvePublicKey.from_encoded_point(SECP256K1(), bytes.fromhex(compressed))
    return base64.b64encode(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()


async def opened(kms, secret=None, scheme="secp256k1"):
    spec = {"secp256k1": "ECC_SECG_P256K1", "ed25519": ED25519}[scheme]
    return await open_signer(kms.uri(kms.create_key(secret, spec=spec)), scheme)


def said(caught) -> tuple[str, str, bool]:
    return caught.value.problem, caught.value.remedy, caught.value.transient


@pytest.mark.parametrize("high", [False, True])
async def test_a_der_signature_becomes_the_ethereum_one(kms, answers, high):
    signer = await opened(kms, int(SECRET, 16))
    expected = Account.unsafe_sign_hash(DIGEST, SECRET)
    answers(encode_dss_signature(expected.r, SECP256K1_ORDER - expected.s if high else expected.s))
    assert await signer.sign(DIGEST) == bytes(expected.signature)
    await signer.close()


@pytest.mark.parametrize(("signature", "public"), RECOVERED.items())
@pytest.mark.parametrize("high", [False, True])
async def test_only_what_the_contract_can_recover_leaves(kms, shows, answers, signature, public, high):
    r, s, recovery_id = signature
    shows(PublicKey=information(public))
    answers(encode_dss_signature(r, SECP256K1_ORDER - s if high else s))
    signer = await opened(kms)
    assert signer.public_key == public
    if recovery_id < 2:
        assert await signer.sign(DIGEST) == r.to_bytes(32, "big") + s.to_bytes(32, "big") + bytes([27 + recovery_id])
    else:  # ecrecover knows no such v
        with pytest.raises(KeyProblem) as caught:
            await signer.sign(DIGEST)
        assert said(caught) == (FOREIGN, LOOK, False)
    await signer.close()


N = SECP256K1_ORDER


@pytest.mark.parametrize(
    "der",
    [
        *(encode_dss_signature(r, s) for r, s in [(0, 1), (1, 0), (N, 1), (1, N), (2**256, 1), (1, 2**256)]),
        bytes.fromhex("30060201ff020101"),  # r is -1
        bytes.fromhex("30060201010201ff"),  # s is -1
        encode_dss_signature(1, 1) + b"\0",
        encode_dss_signature(1, 1)[:-1],
        (1).to_bytes(32, "big") + (1).to_bytes(32, "big"),
        b"",
        None,
    ],
)
async def test_numbers_outside_the_curve_and_what_is_no_der_never_leave(kms, shows, answers, der):
    public = RECOVERED[1, 1, 0]
    shows(PublicKey=information(public))
    signer = await opened(kms)
    answers(encode_dss_signature(1, 1))
    assert len(await signer.sign(DIGEST)) == 65
    answers(der)
    with pytest.raises(KeyProblem) as caught:
        await signer.sign(DIGEST)
    assert said(caught) == (FOREIGN, LOOK, False)
    assert caught.value.source == signer.describe().source
    await signer.close()


@pytest.mark.parametrize("scheme", ["secp256k1", "ed25519"])
async def test_an_answer_without_a_signature_is_none_of_ours(kms, answers, scheme):
    signer = await opened(kms, scheme=scheme)
    answers(None)
    with pytest.raises(KeyProblem) as caught:
        await signer.sign(DIGEST)
    assert said(caught) == (FOREIGN, LOOK, False)
    await signer.close()


@pytest.mark.parametrize(
    ("scheme", "members", "problem", "remedy"),
    [
        (
            "secp256k1",
            {"KeySpec": "ECC_NIST_P256"},
            "the key is ECC_NIST_P256 for SIGN_VERIFY",
            "Create a key with spec ECC_SECG_P256K1 and usage SIGN_VERIFY",
        ),
        (
            "secp256k1",
            {"KeyUsage": "KEY_AGREEMENT"},
            "the key is ECC_SECG_P256K1 for KEY_AGREEMENT",
            "Create a key with spec ECC_SECG_P256K1 and usage SIGN_VERIFY",
        ),
        (
            "ed25519",
            {"KeySpec": None, "KeyUsage": None},
            "the key is None for None",
            f"Create a key with spec {ED25519} and usage SIGN_VERIFY",
        ),
        ("secp256k1", {"PublicKey": None}, "the service answered with no secp256k1 public key", "Check the endpoint"),
        ("ed25519", {"PublicKey": None}, "the service answered with no ed25519 public key", "Check the endpoint"),
        (
            "ed25519",
            {"PublicKey": information(RECOVERED[1, 1, 0])},
            "the service answered with no ed25519 public key",
            "Check the endpoint",
        ),
    ],
)
async def test_a_key_that_is_not_the_wanted_one_is_named_with_its_remedy(kms, shows, scheme, members, problem, remedy):
    await (await opened(kms, scheme=scheme)).close()
    shows(**members)
    with pytest.raises(KeyProblem) as caught:
        await opened(kms, scheme=scheme)
    assert said(caught) == (problem, remedy, False)
    assert caught.value.source.startswith("awskms://eu-west-1/")
    assert "endpoint" not in caught.value.source


async def test_a_refusal_names_the_key_and_what_its_user_must_be_allowed(kms):
    with pytest.raises(KeyProblem) as caught:
        await open_signer(kms.uri("no-such-key"), "secp256k1")
    assert str(caught.value) == (
        "key awskms://eu-west-1/no-such-key: the key service refused or failed (NotFoundException). "
        "Check region, name, credentials, kms:GetPublicKey and kms:Sign, and that the key is enabled"
    )


async def test_a_key_of_another_elliptic_curve_is_not_taken_by_its_name_alone(kms, shows):
    p256 = kms._get_public_key({"KeyId": kms.create_key(spec="ECC_NIST_P256")})["PublicKey"]
    shows(PublicKey=p256)
    with pytest.raises(KeyProblem, match="no secp256k1 public key"):
        await opened(kms)


@pytest.mark.parametrize("scheme", ["secp256k1", "ed25519"])
async def test_each_request_is_counted_from_the_opening_on(kms, scheme):
    signer = await opened(kms, scheme=scheme)
    assert signer.stats.attempts == 1
    await signer.sign(DIGEST)
    assert signer.stats.attempts == 2
    await signer.close()


@pytest.mark.parametrize(
    ("scheme", "payload", "words"),
    [
        ("secp256k1", b"\1" * 33, "a secp256k1 signer takes a 32-byte digest, not 33 bytes"),
        ("ed25519", b"", "the key service signs messages of 1 to 4096 bytes, not 0"),
        ("ed25519", b"\1" * 4097, "the key service signs messages of 1 to 4096 bytes, not 4097"),
    ],
)
async def test_a_payload_of_another_length_is_not_sent(kms, scheme, payload, words):
    signer = await opened(kms, scheme=scheme)
    with pytest.raises(ValueError, match=f"^{words}$"):
        await signer.sign(payload)
    assert "Sign" not in kms.calls
    await signer.close()


async def test_the_service_signs_what_it_is_given_for_the_key_it_named(kms, monkeypatch):
    asked = []
    honest = kms._sign

    def record(body):
        asked.append(body)
        return honest(body)

    monkeypatch.setattr(kms, "_sign", record)
    key_id = kms.create_key(int(SECRET, 16))
    kms.set_alias("alias/bridge", key_id)
    ethereum = await open_signer(kms.uri("alias/bridge"), "secp256k1")
    pocket = await opened(kms, scheme="ed25519")
    await ethereum.sign(DIGEST)
    await pocket.sign(b"message")
    assert asked[0] == {
        "KeyId": f"arn:aws:kms:eu-west-1:000000000000:key/{key_id}",
        "Message": base64.b64encode(DIGEST).decode(),
        "MessageType": "DIGEST",
        "SigningAlgorithm": "ECDSA_SHA_256",
    }
    assert {name: asked[1][name] for name in ("Message", "MessageType", "SigningAlgorithm")} == {
        "Message": base64.b64encode(b"message").decode(),
        "MessageType": "RAW",
        "SigningAlgorithm": "ED25519_SHA_512",
    }
    await ethereum.close()
    await pocket.close()


async def test_a_service_that_does_not_name_the_key_is_refused(kms, monkeypatch):
    honest = kms._get_public_key
    monkeypatch.setattr(kms, "_get_public_key", lambda body: {**honest(body), "KeyId": None})
    with pytest.raises(KeyProblem, match="without the name of the key"):
        await opened(kms, scheme="ed25519")
