"""Key services that answer anything: no exception but `KeyProblem`, no signature that does not verify, no secret in any text.

`HYPOTHESIS_PROFILE=long`: 20,000 answers (`make test`: a few hundred).
"""

import asyncio
import base64
import json
import logging
from random import Random

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.asymmetric.utils import Prehashed
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from reactor.keys import KeyProblem, Signer, aws, open_signer, probe
from tests.integration.keys_aws_helpers import hasten, isolate
from tests.property.fuzzing import JSON_VALUES, damaged_tree
from tests.property.hostile_peer import Answer, HostilePeer, Request, answers, json_answer
from tests.property.searching import LONG, search_settings

pytestmark = pytest.mark.property

EXAMPLES = 5_000 if LONG else 60
"""For each of the four tests."""
HUNG = 60.0
"""Far above what the time-outs below allow: only what waits without a reason takes longer."""
SCALAR = 0xAC0974BEC39A17E36BA4A6B4D238FF944BACB478CBED5EFCAE784D7BF4F2FF80
SEED = bytes.fromhex("9d61b19deffd5a60ba844af492ec2cc44449c5697b326919703bac031cae7f60")
PUBLIC = Ed25519PrivateKey.from_private_bytes(SEED).public_key().public_bytes_raw().hex()
PLAIN = {"secp256k1": f"{SCALAR:064x}", "ed25519": SEED.hex() + PUBLIC}
ARN = "arn:aws:kms:eu-west-1:000000000000:key/1234abcd"
SPECS = {"secp256k1": "ECC_SECG_P256K1", "ed25519": "ECC_NIST_EDWARDS25519"}
OTHER = ec.generate_private_key(ec.SECP256R1())
SECRETS = ("development-secret", f"{SCALAR:064x}", SEED.hex(), "Signature=")
"""The last one: the authentication of a request, which a peer may repeat."""
SCHEMES = ["secp256k1", "ed25519"]


def key_of(scheme):
    return ec.derive_private_key(SCALAR, ec.SECP256K1()) if scheme == "secp256k1" else Ed25519PrivateKey.from_private_bytes(SEED)


def der(key):
    return base64.b64encode(key.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).decode()


def opened(scheme):
    """What an honest service says of the key."""
    return {"KeyId": ARN, "PublicKey": der(key_of(scheme)), "KeySpec": SPECS[scheme], "KeyUsage": "SIGN_VERIFY"}


def signed(scheme, request: Request):
    """An honest signature over what was asked."""
    message = base64.b64decode(request.json["Message"])
    key = key_of(scheme)
    signature = key.sign(message, ec.ECDSA(Prehashed(SHA256()))) if scheme == "secp256k1" else key.sign(message)
    return {"KeyId": ARN, "Signature": base64.b64encode(signature).decode(), "SigningAlgorithm": "x"}


ERRORS = [
    {"__type": kind, "message": text, "code": text}
    for kind in ("ThrottlingException", "com.amazonaws.kms#DisabledException", "%AUTH%", "", "x" * 5000, None, 5, {})
    for text in ("no", "%AUTH% at %HOST%", None, ["x"])
]
OPENED = [opened("secp256k1"), opened("ed25519"), {**opened("secp256k1"), "PublicKey": der(OTHER)}, *ERRORS]
SIGNED = [
    {"KeyId": ARN, "Signature": base64.b64encode(raw).decode()}
    for raw in (
        b"",
        b"x" * 70_000,
        b"\x30",
        b"\x00" * 64,
        bytes(range(64)),
        b"\x30\x06\x02\x01\x01\x02\x01\x01",
        b"\x30\x84\xff\xff",
    )
] + [{"Signature": "===="}, {"Signature": 5}, {"Signature": None}, {}, *ERRORS]
STORED = [
    {"ARN": ARN, "Name": "n", "SecretString": text}
    for text in (
        *PLAIN.values(), "\ufeff" + PLAIN["secp256k1"], json.dumps({"key": PLAIN["secp256k1"]}), '{"key": 5}', "{", "[" * 50_000,
        '{"key":' * 5000, "", "0x", "00" * 32, "ff" * 32, "ff" * 64, "9" * 5000, "é" * 64, "\x00" * 64,
    )
]  # fmt: skip
STORED += [
    {"SecretBinary": "AAAA"},
    {"SecretString": None},
    {"SecretString": 5},
    {"SecretString": [PLAIN["ed25519"]]},
    {},
    *ERRORS,
]
VALUES = (*JSON_VALUES, *PLAIN.values(), "%AUTH%", "\x1b[2J", "x" * 3000)


def bodies(corpus):
    """These, whole and damaged."""
    return st.integers(0, 2**32).map(lambda seed: dumped(damaged_tree(Random(seed), corpus, VALUES)))


def dumped(value):
    return json.dumps(value).encode("utf-8", "surrogatepass")


@pytest.fixture(autouse=True)
def _quick_and_alone(monkeypatch):
    isolate(monkeypatch)
    hasten(monkeypatch)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRETS[0])
    monkeypatch.setattr(aws, "ATTEMPTS", 2)
    monkeypatch.setattr(aws, "READ_TIMEOUT_S", 0.1)


@pytest.fixture
def peer():
    with HostilePeer() as running:
        yield running


class Lines(logging.Handler):
    """What libraries log, at whatever level, once it is a text."""

    def __init__(self):
        super().__init__(logging.DEBUG)
        self.texts = []

    def emit(self, record):
        self.texts.append(record.getMessage())


@pytest.fixture
def log():
    """The log of this process at its most talkative. It must be read (and emptied) after each example."""
    root, handler = logging.getLogger(), Lines()
    before = root.level
    root.addHandler(handler)
    root.setLevel(logging.INFO)
    yield handler
    root.setLevel(before)
    root.removeHandler(handler)


def fuzzed(strategy):
    def decorate(test):
        return search_settings(EXAMPLES)(given(strategy)(test))

    return decorate


def in_clear(texts):
    return [secret for secret in SECRETS for text in texts if secret in text]


async def refused_or_right(uri, scheme, *, message=None, signer: Signer | None = None) -> bool:
    """Open the key (or take `signer`) and sign, whatever comes. Whether it went well; a problem says nothing that is secret."""
    own = signer is None
    try:
        async with asyncio.timeout(HUNG):
            signer = signer or await open_signer(uri, scheme)
            try:
                await probe(signer)
            finally:
                if own:
                    await signer.close()
    except KeyProblem as problem:
        must_keep_quiet(problem)
        return False
    return True


def must_keep_quiet(problem):
    said = [str(problem), repr(problem), problem.problem, problem.remedy, problem.source]
    assert in_clear(said) == []
    assert all(text.isprintable() and len(text) < 2000 for text in said)
    assert problem.__cause__ is None
    assert problem.__context__ is None or problem.__suppress_context__


def served(peer, scheme, hostile: Answer, operation: str):
    """The peer answers this operation badly and others as it should."""

    def answer(request: Request) -> Answer:
        asked = request.header("X-Amz-Target").partition(".")[2]
        if asked == operation:
            return hostile
        return json_answer(opened(scheme) if asked == "GetPublicKey" else signed(scheme, request))

    peer.answer = answer


@pytest.mark.timeout(7200 if LONG else 900)
def test_whatever_a_key_service_says_of_its_key(peer, log):
    @fuzzed(st.tuples(st.sampled_from(SCHEMES), answers(bodies(OPENED))))
    def one(drawn):
        scheme, hostile = drawn
        served(peer, scheme, hostile, "GetPublicKey")
        asyncio.run(refused_or_right(f"awskms://eu-west-1/key?endpoint={peer.url()}", scheme))
        assert in_clear(log.texts) == []
        log.texts.clear()

    one()
    assert peer.requests >= EXAMPLES


@pytest.mark.timeout(7200 if LONG else 900)
@pytest.mark.parametrize("scheme", SCHEMES)
def test_whatever_a_key_service_gives_for_a_signature(peer, log, scheme):
    """One signer for all: what came before must not spoil what comes after."""
    loop = asyncio.new_event_loop()
    try:
        peer.answer = lambda request: json_answer(opened(scheme))
        signer = loop.run_until_complete(open_signer(f"awskms://eu-west-1/key?endpoint={peer.url()}", scheme))

        @fuzzed(answers(bodies(SIGNED)))
        def one(hostile):
            served(peer, scheme, hostile, "Sign")
            loop.run_until_complete(refused_or_right("", scheme, signer=signer))
            assert in_clear(log.texts) == []
            log.texts.clear()

        one()
        peer.answer = lambda request: json_answer(signed(scheme, request))
        assert loop.run_until_complete(refused_or_right("", scheme, signer=signer)), "an honest service is used again"
        loop.run_until_complete(signer.close())
    finally:
        loop.close()


@pytest.mark.timeout(7200 if LONG else 900)
def test_whatever_a_secret_store_holds(peer, log):
    @fuzzed(st.tuples(st.sampled_from(SCHEMES), st.sampled_from(["", "&field=key"]), answers(bodies(STORED))))
    def one(drawn):
        scheme, field, hostile = drawn
        peer.answer = lambda request: hostile
        asyncio.run(refused_or_right(f"awssecret://eu-west-1/name?endpoint={peer.url()}{field}", scheme))
        assert in_clear(log.texts) == []
        log.texts.clear()

    one()
    assert peer.requests >= EXAMPLES


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_an_honest_service_passes_the_same_test(peer, scheme):
    """The twin: the harness does not refuse everything."""
    served(peer, scheme, json_answer(opened(scheme)), "GetPublicKey")
    assert await refused_or_right(f"awskms://eu-west-1/key?endpoint={peer.url()}", scheme)
    peer.answer = lambda request: json_answer({"Name": "n", "SecretString": PLAIN[scheme]})
    assert await refused_or_right(f"awssecret://eu-west-1/name?endpoint={peer.url()}", scheme)


def test_the_search_for_secrets_finds_them(log):
    logging.getLogger("botocore").warning("the answer was %s", PLAIN["ed25519"])
    assert in_clear(log.texts) == [SEED.hex()]
