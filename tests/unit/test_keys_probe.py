"""A probe exercises a key and signs nothing that anyone could use."""

import hashlib
import json
import time
from datetime import UTC, datetime

import pytest
from eth_account import Account

from reactor.documents.heartbeats import heartbeat_digest
from reactor.keys import KeyProblem, create_key, open_signer, probe
from reactor.keys.probe import PROBE_TEXT, probe_payload
from reactor.keys.signer import KeyDescription
from reactor.keys.stats import SignerStats

pytestmark = pytest.mark.unit

SCHEMES = ["secp256k1", "ed25519"]


@pytest.fixture
async def signers(tmp_path):
    return {s: await open_signer(create_key(s, tmp_path / s, "file").uri, s) for s in SCHEMES}


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_working_key_answers(signers, scheme):
    started = time.perf_counter()
    probed = await probe(signers[scheme])
    assert 0 < probed.seconds <= time.perf_counter() - started
    assert (probed.scheme, probed.address) == (scheme, signers[scheme].address)
    assert probed.source.startswith("file://")
    assert signers[scheme].stats.tallies["probe"].signed == 1


class Liar:
    """A signer that shows one key and answers with what it likes."""

    def __init__(self, shown, answer):
        self.scheme, self.public_key, self.address = shown.scheme, shown.public_key, shown.address
        self.answer, self.stats, self.asked = answer, SignerStats(), []

    def describe(self):
        return KeyDescription(self.scheme, "env://LIAR", self.address, self.public_key)

    async def sign(self, payload, purpose="other"):
        self.asked.append((payload, purpose))
        return self.answer

    async def close(self):
        pass


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_a_key_that_is_not_the_one_it_shows_is_found(signers, tmp_path, scheme):
    other = await open_signer(create_key(scheme, tmp_path / "other", "file").uri, scheme)
    payload = probe_payload(scheme)
    right = await signers[scheme].sign(payload)
    honest = Liar(signers[scheme], right)
    assert (await probe(honest)).source == "env://LIAR"
    assert honest.asked == [(payload, "probe")]
    wrongs = [await other.sign(payload), b"", right[:-1], right + b"\0", b"\0" * len(right), bytes(64) + b"\xff"]
    for wrong in wrongs:
        with pytest.raises(KeyProblem) as caught:
            await probe(Liar(signers[scheme], wrong))
        problem = "its signature does not verify for the public key it shows"
        assert str(caught.value) == f"key env://LIAR: {problem}. Open the key again"


def test_what_is_signed_is_fixed():
    # Whoever changes the text has to argue again why it means nothing.
    assert hashlib.sha256(PROBE_TEXT).hexdigest() == probe_payload("secp256k1").hex()
    assert probe_payload("ed25519") == PROBE_TEXT
    assert PROBE_TEXT.startswith(b"bridge-reactor key probe v1\n")


def test_it_is_no_transaction_of_pocket():
    with pytest.raises(ValueError, match="Expecting value"):
        json.loads(PROBE_TEXT)
    assert PROBE_TEXT[:1] not in {b"{", b"\x0a"}  # Morse sign bytes, Shannon sign document


def test_it_is_no_inner_hash_of_a_double_sha256():
    assert len(PROBE_TEXT) != 32


async def test_it_is_no_heartbeat_and_no_personal_message(signers):
    signature = await signers["secp256k1"].sign(probe_payload("secp256k1"))
    address = signers["secp256k1"].address
    assert Account._recover_hash(probe_payload("secp256k1"), signature=signature).lower() == address
    assert heartbeat_digest({"at": datetime.now(UTC)}) != probe_payload("secp256k1")
    for domain in (b"bridge-reactor heartbeat v1\n", b"bridge-reactor objection v1\n", b"\x19"):
        assert not PROBE_TEXT.startswith(domain)
