"""The hand-made EIP-712 digest equals eth-account's, for every domain and every mint."""

from __future__ import annotations

import json

import pytest
from coincurve import PrivateKey
from eth_account import Account
from eth_account.messages import _hash_eip191_message, encode_typed_data
from hypothesis import given, settings
from hypothesis import strategies as st

from reactor.chains.ethereum.eip712 import Domain, mint_digest, recover_signer, typed_data

pytestmark = pytest.mark.property

uint256 = st.integers(min_value=0, max_value=2**256 - 1)
addresses = st.binary(min_size=20, max_size=20).map(lambda raw: "0x" + raw.hex())
domains = st.builds(Domain, st.text(max_size=40), st.text(max_size=10), uint256, addresses)
keys = st.integers(min_value=1, max_value=2**255).map(lambda number: number.to_bytes(32, "big"))


@settings(max_examples=200, deadline=None)
@given(domains, addresses, uint256, uint256)
def test_digest_equals_eth_account(domain: Domain, recipient: str, amount: int, nonce: int) -> None:
    message = encode_typed_data(full_message=json.loads(typed_data(domain, recipient, amount, nonce)))
    assert _hash_eip191_message(message) == mint_digest(domain, recipient, amount, nonce)


@settings(max_examples=100, deadline=None)
@given(keys, st.binary(min_size=32, max_size=32))
def test_every_signature_is_recovered(key: bytes, digest: bytes) -> None:
    raw = PrivateKey(key).sign_recoverable(digest, hasher=None)
    signer = recover_signer(digest, raw[:64] + bytes([raw[64] + 27]))
    assert signer == Account.from_key(key).address.lower()
    assert recover_signer(digest, raw[:64] + bytes([28 - raw[64]])) != signer


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=70), st.one_of(st.binary(max_size=70), st.text(max_size=140)))
def test_recovery_never_raises(digest: bytes, signature: bytes | str) -> None:
    signer = recover_signer(digest, signature)
    assert signer is None or len(signer) == 42
