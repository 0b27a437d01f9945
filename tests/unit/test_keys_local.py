"""Signers that hold their key: vectors, forms, payloads, and that nothing shows the key."""

import copy
import json
import pickle
from pathlib import Path

import coincurve
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from eth_account import Account
from hypothesis import given, settings
from hypothesis import strategies as st

from reactor.keys import KeyProblem, open_signer
from reactor.keys import local as local_module
from reactor.keys.curves import SECP256K1_ORDER, ethereum_address, recovers_to

pytestmark = pytest.mark.unit

# Anvil's first account: a published development key.
ETHEREUM_KEY = "ac0974bec39a17e36ba4a6b4d238ff944bacb478cbed5efcae784d7bf4f2ff80"
ETHEREUM_ADDRESS = "0xf39fd6e51aad88f6f4ce6ab8827279cfffb92266"
VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "pocket.json").read_text())["vectors"]
POCKET_KEYS = {
    key["private_key"]: key
    for vector in VECTORS
    if vector["kind"] == "transaction"
    for key in vector["keys"]
    if "private_key" in key
}
POCKET_KEY = next(iter(POCKET_KEYS))


async def open_text(text: str, scheme: str):
    return await open_signer("env://KEY", scheme, environ={"KEY": text})


async def test_the_published_ethereum_key_has_its_published_address():
    signer = await open_text("0x" + ETHEREUM_KEY, "secp256k1")
    assert signer.address == ETHEREUM_ADDRESS
    assert signer.scheme == "secp256k1"
    assert len(bytes.fromhex(signer.public_key)) == 33


async def test_an_ethereum_signature_is_what_eth_account_makes():
    digest = bytes.fromhex("61c0452ccc2f98461b3d46af9e58316915cd9f983f737ba54f42c89a3bc0ee8b")
    signature = await (await open_text(ETHEREUM_KEY, "secp256k1")).sign(digest)
    assert signature == bytes(Account.unsafe_sign_hash(digest, "0x" + ETHEREUM_KEY).signature)
    assert Account._recover_hash(digest, signature=signature).lower() == ETHEREUM_ADDRESS


@settings(max_examples=60, deadline=None)
@given(digest=st.binary(min_size=32, max_size=32))
async def test_every_ethereum_signature_has_low_s_and_recovers(digest):
    signer = await open_text(ETHEREUM_KEY, "secp256k1")
    signature = await signer.sign(digest)
    assert len(signature) == 65
    assert signature[64] in {27, 28}
    assert 0 < int.from_bytes(signature[32:64], "big") <= SECP256K1_ORDER // 2
    recovered = coincurve.PublicKey.from_signature_and_message(signature[:64] + bytes([signature[64] - 27]), digest, hasher=None)
    assert ethereum_address(recovered) == signer.address
    assert await signer.sign(digest) == signature  # RFC 6979


@pytest.mark.parametrize("length", [0, 31, 33, 64])
async def test_only_a_digest_is_signed_for_ethereum(length):
    signer = await open_text(ETHEREUM_KEY, "secp256k1")
    with pytest.raises(ValueError, match="32-byte digest"):
        await signer.sign(b"\1" * length)


@pytest.mark.parametrize("private_key", POCKET_KEYS)
async def test_a_pocket_key_has_the_address_of_its_vector(private_key):
    signer = await open_text(private_key, "ed25519")
    key = POCKET_KEYS[private_key]
    assert signer.public_key == key["public_key"]
    assert signer.address == key.get("address", signer.address)
    assert len(signer.address) == 40


SIGNED = [
    (key["private_key"], vector["sign_bytes"], slot["signature"])
    for vector in VECTORS
    if vector["kind"] == "transaction"
    for key, slot in zip(vector["keys"], vector["signatures"], strict=False)
    if "private_key" in key and slot["valid"]
]


def test_there_are_vectors_to_sign():
    assert POCKET_KEYS
    assert SIGNED


@pytest.mark.parametrize(("private_key", "message", "signature"), SIGNED)
async def test_a_pocket_signature_is_that_of_its_vector(private_key, message, signature):
    signer = await open_text(private_key, "ed25519")
    assert (await signer.sign(message.encode())).hex() == signature
    assert (await signer.sign(message.encode() + b" ")).hex() != signature


async def test_nothing_is_no_message():
    signer = await open_text(POCKET_KEY, "ed25519")
    with pytest.raises(ValueError, match="message"):
        await signer.sign(b"")


FLIPPED = POCKET_KEY[:-1] + ("0" if POCKET_KEY[-1] != "0" else "1")
BAD_TEXTS = [
    ("secp256k1", "zz" * 32, "not hexadecimal"),
    ("secp256k1", ETHEREUM_KEY[:-2], "31 bytes"),
    ("secp256k1", POCKET_KEY, "64 bytes"),
    ("secp256k1", "00" * 32, "zero or above"),
    ("secp256k1", f"{SECP256K1_ORDER:064x}", "zero or above"),
    ("ed25519", ETHEREUM_KEY, "32 bytes"),  # on Pocket 32 bytes mean secp256k1
    ("ed25519", FLIPPED, "does not belong to its seed"),
    ("ed25519", POCKET_KEY + "00", "65 bytes"),
]


@pytest.mark.parametrize(("scheme", "text", "problem"), BAD_TEXTS)
async def test_a_bad_key_text_is_refused_and_never_shown(scheme, text, problem):
    with pytest.raises(KeyProblem, match=problem) as caught:
        await open_text(text, scheme)
    assert text not in str(caught.value)
    assert text[:16] not in repr(caught.value)
    assert caught.value.source == "env://KEY"
    assert caught.value.remedy
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


@pytest.mark.parametrize(("scheme", "text"), [("secp256k1", ETHEREUM_KEY), ("ed25519", POCKET_KEY)])
async def test_no_form_of_a_signer_shows_its_key(scheme, text):
    signer = await open_text(text, scheme)
    shown = " ".join([repr(signer), str(signer), f"{signer}", repr(signer.describe()), repr([signer])])
    assert text[:64] not in shown
    assert text[:16] not in shown
    assert signer.address in shown
    assert "env://KEY" in shown
    assert not hasattr(signer, "__dict__")
    for carry in (pickle.dumps, copy.copy, copy.deepcopy):
        with pytest.raises(TypeError, match="open it again"):
            carry(signer)


async def test_a_faulty_ethereum_signature_never_leaves(monkeypatch):
    signer = await open_text(ETHEREUM_KEY, "secp256k1")
    monkeypatch.setattr(local_module, "recovers_to", lambda *_: False)
    with pytest.raises(KeyProblem, match="does not verify"):
        await signer.sign(b"\1" * 32)


@pytest.mark.parametrize(
    ("recovery_id", "public"),
    [
        (0, "033ff1ae0e81ce8ab24b05b735387c0f0530dddbd1075e04dfd12b81b0706ae577"),
        (1, "03bc817b988838bffaa775e1fc332569cb9bce08ed17e62ea445c6308b7a0f44af"),
        (2, "038ecdd21914265094ae6060253c048f91adf5c98f8bae3bb2fc134d28a577ffe6"),
        (3, "02adf36b21447c432bf148ab92f0859206c4a4a6ce13318552edc6fc96c3120168"),
    ],
)
async def test_only_what_the_contract_can_recover_leaves(monkeypatch, recovery_id, public):
    """r 2 and s 1 are valid for four keys; those of R above the order have a v that ecrecover does not know."""
    compact = (2).to_bytes(32, "big") + (1).to_bytes(32, "big")

    class LuckyKey:
        def sign_recoverable(self, digest, hasher):
            return compact + bytes([recovery_id])

    signer = await open_text(ETHEREUM_KEY, "secp256k1")
    monkeypatch.setattr(signer, "_key", LuckyKey())
    monkeypatch.setattr(signer, "_public", coincurve.PublicKey(bytes.fromhex(public)))
    assert recovers_to(signer._public, bytes(range(32)), compact, recovery_id)
    if recovery_id < 2:
        assert await signer.sign(bytes(range(32))) == compact + bytes([27 + recovery_id])
    else:
        with pytest.raises(KeyProblem, match="does not verify"):
            await signer.sign(bytes(range(32)))


async def test_a_faulty_pocket_signature_never_leaves(monkeypatch):
    signer = await open_text(POCKET_KEY, "ed25519")

    class BrokenKey:
        def sign(self, message):
            return b"\1" * 64

    monkeypatch.setattr(signer, "_key", BrokenKey())
    assert isinstance(signer._public, Ed25519PublicKey)
    with pytest.raises(KeyProblem, match="does not verify"):
        await signer.sign(b"message")


def test_what_is_no_point_of_the_curve_is_nobodys_signature():
    public = coincurve.PrivateKey(bytes.fromhex(ETHEREUM_KEY)).public_key
    for compact in (b"\xff" * 64, b"\0" * 64, b"\0" * 31 + b"\5" + b"\0" * 31 + b"\1"):
        assert not recovers_to(public, b"\1" * 32, compact, 0)
