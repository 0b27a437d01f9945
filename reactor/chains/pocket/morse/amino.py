"""Amino type prefixes: the four bytes that name a registered type in Tendermint's legacy encoding."""

from __future__ import annotations

from hashlib import sha256
from typing import Final


def amino_prefix(name: str) -> bytes:
    """SHA-256 of the registered name; drop leading zero bytes, skip three bytes, drop leading zero bytes, take four."""
    rest = sha256(name.encode()).digest().lstrip(b"\0")[3:].lstrip(b"\0")
    return rest[:4]


ED25519_PUBLIC_KEY: Final = amino_prefix("crypto/ed25519_public_key")
SECP256K1_PUBLIC_KEY: Final = amino_prefix("crypto/secp256k1_public_key")
MULTISIG_PUBLIC_KEY: Final = amino_prefix("crypto/public_key_multi_signature")
MULTISIGNATURE: Final = amino_prefix("crypto/multi_signature")
STD_TX: Final = amino_prefix("posmint/StdTx")
SEND: Final = amino_prefix("pos/Send")
