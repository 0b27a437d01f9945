"""The published vectors of the mint's EIP-712 data, and what `recover_signer` must refuse."""

from __future__ import annotations

import json

import pytest
from coincurve import PrivateKey
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_hash.auto import keccak

from reactor.chains.ethereum.eip712 import (
    DOMAIN_TYPE_HASH,
    MINT_TYPE_HASH,
    Domain,
    domain_separator,
    mint_digest,
    mint_struct_hash,
    recover_signer,
    typed_data,
)

pytestmark = pytest.mark.unit

ZERO = "0x" + "00" * 20
VECTOR_DOMAIN = Domain("Test", "1", 1, ZERO)
VECTOR_DIGEST = "61c0452ccc2f98461b3d46af9e58316915cd9f983f737ba54f42c89a3bc0ee8b"
VECTOR_SIGNER = "0x46f41fdb438ba6b9568dfe500c320a39e27abddc"
VECTOR_SIGNATURE = (
    "0x6b170e88743324cb571398f279d58a235e41d16efb7b4a90db7e86a6ddf5eb47"
    "2d5b791c00aaa59c7755305cc3fb20c407a8d1fbbeacdd7032d509ce7c48cebd1b"
)
ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141


def test_type_hashes() -> None:
    assert DOMAIN_TYPE_HASH.hex() == "8b73c3c69bb8fe3d512ecc4cf759cc79239f7b179b0ffacaa9a75d522b39400f"
    assert MINT_TYPE_HASH.hex() == "6721b4026585b4fadb77a5437a5afbb668cdaaefcd24e850f179a5e0c2eb1b9a"


@pytest.mark.parametrize(
    ("chain_id", "contract", "separator"),
    [
        (
            1,
            "0x0d006D9e862B362180eb602e5973Fd1fdb6f78dd",
            "d3cbed1570933c3ddaf0c88e98744e566973b3631ed2cad0e8d748d95c4e62e6",
        ),
        (
            31337,
            "0xe7f1725e7734ce288f8367e1bb143e90bb3f0512",
            "8e668941bfb661db63f1dd1eccab7e0cae822ab8a2dac8d5ed152a266830e4be",
        ),
    ],
)
def test_deployed_domain_separators(chain_id: int, contract: str, separator: str) -> None:
    domain = Domain("MintController", "1", chain_id, contract)
    assert domain_separator(domain).hex() == separator
    assert domain.verifying_contract == contract.lower()
    assert domain_separator(Domain("MintController", "2", chain_id, contract)).hex() != separator


def test_vector() -> None:
    assert domain_separator(VECTOR_DOMAIN).hex() == "1b23aee8f7c1b0e2d17b66b0d2a1a96d31deb41315b9a846e9803adae63431f4"
    assert mint_struct_hash(ZERO, 100, 1).hex() == "89516ffc8dab157a0958c00eda0b4e6c391201d881eb41a6efe44d1f907301c6"
    digest = mint_digest(VECTOR_DOMAIN, ZERO, 100, 1)
    assert digest.hex() == VECTOR_DIGEST
    assert recover_signer(digest, VECTOR_SIGNATURE) == VECTOR_SIGNER
    assert recover_signer(digest, bytes.fromhex(VECTOR_SIGNATURE[2:])) == VECTOR_SIGNER
    assert recover_signer(mint_digest(VECTOR_DOMAIN, ZERO, 100, 2), VECTOR_SIGNATURE) != VECTOR_SIGNER


def test_typed_data_is_canonical_and_signs_the_same_digest() -> None:
    domain = Domain("MintController", "1", 31337, "0xE7F1725E7734CE288F8367E1BB143E90BB3F0512")
    recipient = "0x" + "Ab" * 20
    text = typed_data(domain, recipient, 2**64 + 1, 7)
    assert text == typed_data(domain, recipient.lower(), 2**64 + 1, 7)
    assert text.startswith('{"types":{"EIP712Domain":[{"name":"name","type":"string"},')
    assert text.endswith('"message":{"recipient":"0x' + "ab" * 20 + '","amount":"18446744073709551617","nonce":"7"}}')
    account = Account.from_key(bytes([7]) * 32)
    signed = account.sign_message(encode_typed_data(full_message=json.loads(text)))
    digest = mint_digest(domain, recipient, 2**64 + 1, 7)
    assert signed.message_hash == digest
    assert recover_signer(digest, bytes(signed.signature)) == account.address.lower()


@pytest.mark.parametrize(
    ("recipient", "amount", "nonce", "field"),
    [
        ("0x" + "ab" * 19, 1, 1, "recipient"),
        ("ab" * 20, 1, 1, "recipient"),
        ("0x" + "zz" * 20, 1, 1, "recipient"),
        ("0x" + "ab" * 20 + "\n", 1, 1, "recipient"),
        (ZERO, -1, 1, "amount"),
        (ZERO, 2**256, 1, "amount"),
        (ZERO, 1, -1, "nonce"),
        (ZERO, 1, True, "nonce"),
    ],
)
def test_fields_that_solidity_cannot_hold_are_named(recipient: str, amount: int, nonce: int, field: str) -> None:
    with pytest.raises(ValueError, match=f"^{field}:"):
        mint_digest(VECTOR_DOMAIN, recipient, amount, nonce)
    with pytest.raises(ValueError, match=f"^{field}:"):
        typed_data(VECTOR_DOMAIN, recipient, amount, nonce)


@pytest.mark.parametrize("field", ["chain_id", "verifying_contract"])
def test_a_domain_is_checked(field: str) -> None:
    values = {"name": "n", "version": "1", "chain_id": 1, "verifying_contract": ZERO}
    values[field] = -1 if field == "chain_id" else "0x12"
    with pytest.raises(ValueError, match=f"^{field}:"):
        Domain(**values)


def _variants() -> list[tuple[str, bytes | str]]:
    raw = bytes.fromhex(VECTOR_SIGNATURE[2:])
    r, s, v = raw[:32], int.from_bytes(raw[32:64], "big"), raw[64]
    return [
        ("high s, flipped v", r + (ORDER - s).to_bytes(32, "big") + bytes([55 - v])),
        ("high s", r + (ORDER - s).to_bytes(32, "big") + bytes([v])),
        ("v of 0", raw[:64] + b"\x00"),
        ("v of 1", raw[:64] + b"\x01"),
        ("v of 29", raw[:64] + b"\x1d"),
        ("short", raw[:64]),
        ("long", raw + b"\x00"),
        ("empty", b""),
        ("r of zero", bytes(32) + raw[32:]),
        ("s of zero", r + bytes(32) + raw[64:]),
        ("r above the order", b"\xff" * 32 + raw[32:]),
        ("text without 0x", VECTOR_SIGNATURE[2:]),
        ("upper-case text", "0x" + VECTOR_SIGNATURE[2:].upper()),
        ("short text", VECTOR_SIGNATURE[:-2]),
        ("text with a line end", VECTOR_SIGNATURE + "\n"),
        ("no hex", "0x" + "z" * 130),
        ("empty text", ""),
        ("compact EIP-2098", raw[:64].hex()),
    ]


@pytest.mark.parametrize(("name", "signature"), _variants(), ids=[name for name, _ in _variants()])
def test_bad_signatures_recover_nobody(name: str, signature: bytes | str) -> None:
    assert recover_signer(bytes.fromhex(VECTOR_DIGEST), signature) is None


@pytest.mark.parametrize("digest", [b"", bytes(31), bytes(33)])
def test_a_digest_of_the_wrong_length_recovers_nobody(digest: bytes) -> None:
    assert recover_signer(digest, VECTOR_SIGNATURE) is None


@pytest.mark.parametrize("signature", [None, 5, ["0x"], {}])
def test_what_is_no_text_and_no_bytes_recovers_nobody(signature: object) -> None:
    assert recover_signer(bytes.fromhex(VECTOR_DIGEST), signature) is None  # type: ignore[arg-type]


def test_coincurve_and_eth_account_sign_alike() -> None:
    key = bytes(range(1, 33))
    digest = mint_digest(VECTOR_DOMAIN, ZERO, 100, 1)
    signature = PrivateKey(key).sign_recoverable(digest, hasher=None)
    signature = signature[:64] + bytes([signature[64] + 27])
    assert signature == bytes(Account.unsafe_sign_hash(digest, key).signature)
    assert recover_signer(digest, signature) == Account.from_key(key).address.lower()


def test_half_the_order_is_the_largest_s() -> None:
    half = ORDER // 2

    def recovered(s: int) -> list[str | None]:
        """By the first points of the curve: most numbers are the first coordinate of one."""
        return [recover_signer(b"\x01" * 32, r.to_bytes(32, "big") + s.to_bytes(32, "big") + b"\x1b") for r in range(1, 20)]

    assert any(recovered(half))
    assert not any(recovered(half + 1))


def test_zero_is_an_amount_and_a_nonce_and_addresses_stand_to_the_right() -> None:
    word = keccak(MINT_TYPE_HASH + bytes(12) + b"\xab" * 20 + bytes(64))
    assert mint_struct_hash("0x" + "ab" * 20, 0, 0) == word


def test_the_largest_amount_and_nonce_fill_their_words() -> None:
    word = keccak(MINT_TYPE_HASH + bytes(12) + b"\xab" * 20 + b"\xff" * 64)
    assert mint_struct_hash("0x" + "ab" * 20, 2**256 - 1, 2**256 - 1) == word
