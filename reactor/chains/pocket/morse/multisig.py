"""Keys, addresses and the strict N-of-N multisig of Morse.

The order of the keys is part of the address and is never sorted. Keys are 32 raw Ed25519 bytes here; their text form
is 64 hex characters.
"""

from __future__ import annotations

from collections.abc import Sequence
from hashlib import sha256
from typing import Final

from reactor.chains.pocket.errors import PocketDecodeError
from reactor.chains.pocket.morse import amino
from reactor.chains.pocket.morse.wire import BYTES, encode_bytes_field, fields

KEY_SIZE: Final = 32
SIGNATURE_SIZE: Final = 64
ADDRESS_SIZE: Final = 20
MIN_VAULT_KEYS: Final = 2

_KEY_HEAD: Final = amino.ED25519_PUBLIC_KEY + bytes([KEY_SIZE])


def address_of(key_bytes: bytes) -> str:
    """Lower-case hex address of a raw Ed25519 key (32 bytes) or of an encoded multisig key."""
    return sha256(key_bytes).digest()[:ADDRESS_SIZE].hex()


def parse_public_key(text: str) -> bytes:
    """The 32 bytes of a public key given as 64 hex characters. Raises ValueError naming the fault."""
    try:
        key = bytes.fromhex(text)
    except ValueError:
        raise ValueError("a public key must be 64 hex characters, and is not hex") from None
    if len(key) != KEY_SIZE or len(text) != 2 * KEY_SIZE:
        raise ValueError(f"a public key must be 64 hex characters, not {len(text)}")
    return key


def encode_multisig_key(keys: Sequence[bytes]) -> bytes:
    """The amino bytes of a multisig key over these raw keys, in this order."""
    for position, key in enumerate(keys):
        if len(key) != KEY_SIZE:
            raise ValueError(f"public key {position}: {len(key)} bytes instead of {KEY_SIZE}")
    return amino.MULTISIG_PUBLIC_KEY + b"".join(encode_bytes_field(1, _KEY_HEAD + key) for key in keys)


def decode_multisig_key(data: bytes) -> tuple[bytes, ...]:
    """The raw keys of a multisig key, in order.

    Keys of other kinds (secp256k1, a multisig inside) are legal on the chain and not used by a bridge; they are
    reported as not supported, not guessed at.

    Raises:
        PocketDecodeError: not a multisig key, or one with keys of another kind.
    """
    if data[:4] != amino.MULTISIG_PUBLIC_KEY:
        raise PocketDecodeError("publicKey", f"unsupported public key type, length of: {len(data)}")
    keys = []
    for position, (_, element) in enumerate(fields(data[4:], "publicKey", {1: BYTES})):
        assert isinstance(element, bytes)
        if element[:5] != _KEY_HEAD or len(element) != len(_KEY_HEAD) + KEY_SIZE:
            raise PocketDecodeError(f"publicKey.{position}", "not an Ed25519 key")
        keys.append(element[5:])
    if encode_multisig_key(keys) != data:
        raise PocketDecodeError("publicKey", "not in canonical form")
    return tuple(keys)


def encode_multisignature(slots: Sequence[bytes]) -> bytes:
    """The amino bytes of a multisignature; slot *i* belongs to key *i*. An empty slot is written as `0a 00`."""
    return amino.MULTISIGNATURE + b"".join(encode_bytes_field(1, slot) for slot in slots)


def decode_multisignature(data: bytes) -> tuple[bytes, ...]:
    """The slots of a multisignature. Raises PocketDecodeError when the bytes are not one in canonical form."""
    if data[:4] != amino.MULTISIGNATURE:
        raise PocketDecodeError("signature", "not a multisignature")
    slots = tuple(slot for _, slot in fields(data[4:], "signature", {1: BYTES}) if isinstance(slot, bytes))
    if encode_multisignature(slots) != data:
        raise PocketDecodeError("signature", "not in canonical form")
    return slots


def vault_key(public_keys: Sequence[str]) -> bytes:
    """The encoded multisig key of a vault from its public keys (64 hex characters each) in configured order.

    Raises:
        ValueError: fewer than two keys, a key twice, or a key that is none.
    """
    if len(public_keys) < MIN_VAULT_KEYS:
        raise ValueError(f"a vault needs at least {MIN_VAULT_KEYS} public keys, {len(public_keys)} given")
    keys = [parse_public_key(text) for text in public_keys]
    if len(set(keys)) != len(keys):
        raise ValueError("a vault's public keys must be distinct: one is given twice")
    return encode_multisig_key(keys)


def vault_address(public_keys: Sequence[str]) -> str:
    """The vault's address (40 lower-case hex characters): the key order matters. Raises ValueError as `vault_key`."""
    return address_of(vault_key(public_keys))
