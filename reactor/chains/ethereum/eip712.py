"""EIP-712 data of a mint: digest, JSON text and signer recovery, by hand because it lies on the signing path.

Source: EIP-712, and the deployed MintController ("MintController", version "1"), whose primary type is
`MintData(address recipient,uint256 amount,uint256 nonce)`. Proven equal to eth-account in the tests.
Nothing here signs: keys live in `reactor.keys`.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from functools import lru_cache

from coincurve import PublicKey
from eth_hash.auto import keccak

__all__ = [
    "DOMAIN_TYPE",
    "DOMAIN_TYPE_HASH",
    "MINT_TYPE",
    "MINT_TYPE_HASH",
    "Domain",
    "domain_separator",
    "mint_digest",
    "mint_struct_hash",
    "recover_signer",
    "typed_data",
]

DOMAIN_TYPE = "EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)"
MINT_TYPE = "MintData(address recipient,uint256 amount,uint256 nonce)"
DOMAIN_TYPE_HASH: bytes = keccak(DOMAIN_TYPE.encode())
MINT_TYPE_HASH: bytes = keccak(MINT_TYPE.encode())

_UINT256_LIMIT = 1 << 256
# A mint is looked at a few times in a row: some thousands of them, in some MiB, are more than are on their way at once.
_REMEMBERED = 4096
# Order of the secp256k1 group: an s above its half has a twin, and OpenZeppelin's ECDSA reverts the whole mint on it.
_GROUP_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
_HALF_ORDER = _GROUP_ORDER // 2
_ADDRESS = re.compile(r"0x[0-9a-fA-F]{40}", re.ASCII)
_SIGNATURE_TEXT = re.compile(r"0x[0-9a-f]{130}", re.ASCII)


def _address_bytes(value: str, field: str) -> bytes:
    if not isinstance(value, str) or _ADDRESS.fullmatch(value) is None:
        raise ValueError(f"{field}: expected 0x and 40 hex digits, got {value!r}")
    return bytes.fromhex(value[2:])


def _uint256_bytes(value: int, field: str) -> bytes:
    if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value < _UINT256_LIMIT:
        raise ValueError(f"{field}: expected an integer from 0 to 2^256 - 1, got {value!r}")
    return value.to_bytes(32, "big")


@dataclass(frozen=True, slots=True)
class Domain:
    """EIP-712 domain, as `eip712Domain()` of the contract shows it. `verifying_contract` is kept in lower case."""

    name: str
    version: str
    chain_id: int
    verifying_contract: str

    def __post_init__(self) -> None:
        _uint256_bytes(self.chain_id, "chain_id")
        _address_bytes(self.verifying_contract, "verifying_contract")
        object.__setattr__(self, "verifying_contract", self.verifying_contract.lower())


@lru_cache(maxsize=32)
def domain_separator(domain: Domain) -> bytes:
    """The 32-byte domain separator, computed once per domain."""
    return keccak(
        DOMAIN_TYPE_HASH
        + keccak(domain.name.encode())
        + keccak(domain.version.encode())
        + _uint256_bytes(domain.chain_id, "chain_id")
        + _address_bytes(domain.verifying_contract, "verifying_contract").rjust(32, b"\0")
    )


def mint_struct_hash(recipient: str, amount: int, nonce: int) -> bytes:
    """The 32-byte struct hash of a `MintData`. `amount` is in upokt (wPOKT has the same 6 decimals)."""
    return keccak(
        MINT_TYPE_HASH
        + _address_bytes(recipient, "recipient").rjust(32, b"\0")
        + _uint256_bytes(amount, "amount")
        + _uint256_bytes(nonce, "nonce")
    )


@lru_cache(maxsize=_REMEMBERED, typed=True)
def mint_digest(domain: Domain, recipient: str, amount: int, nonce: int) -> bytes:
    """The 32 bytes that a validator signs for a mint.

    Raises:
        ValueError: a field is not what its Solidity type can hold; the message names it.
    """
    return keccak(b"\x19\x01" + domain_separator(domain) + mint_struct_hash(recipient, amount, nonce))


@lru_cache(maxsize=_REMEMBERED, typed=True)
def typed_data(domain: Domain, recipient: str, amount: int, nonce: int) -> str:
    """The same data as EIP-712 JSON text, for wallets and for people: equal bytes for all validators.

    No spaces, fixed key order, addresses in lower case, `amount` and `nonce` as decimal strings (JavaScript's numbers
    would round them), `chainId` as a number (wallets compare it with theirs).

    Raises:
        ValueError: as `mint_digest`.
    """
    mint_struct_hash(recipient, amount, nonce)  # refuses what could not be signed
    document = {
        "types": {
            "EIP712Domain": [
                {"name": "name", "type": "string"},
                {"name": "version", "type": "string"},
                {"name": "chainId", "type": "uint256"},
                {"name": "verifyingContract", "type": "address"},
            ],
            "MintData": [
                {"name": "recipient", "type": "address"},
                {"name": "amount", "type": "uint256"},
                {"name": "nonce", "type": "uint256"},
            ],
        },
        "primaryType": "MintData",
        "domain": {
            "name": domain.name,
            "version": domain.version,
            "chainId": domain.chain_id,
            "verifyingContract": domain.verifying_contract,
        },
        "message": {"recipient": recipient.lower(), "amount": str(amount), "nonce": str(nonce)},
    }
    return json.dumps(document, separators=(",", ":"), ensure_ascii=True)


def recover_signer(digest: bytes, signature: bytes | str) -> str | None:
    """The address (lower case, `0x`) that made `signature` over `digest`, or None if it is no valid signature.

    `signature` is r, s, v in 65 bytes, or `0x` and 130 lower-case hex digits (the one spelling that we write). Never raises.
    """
    if isinstance(signature, str):
        if _SIGNATURE_TEXT.fullmatch(signature) is None:
            return None
        signature = bytes.fromhex(signature[2:])
    # SECURITY: the contract knows v = 27 and 28 only, and reverts on a high s: such a signature must not count here.
    if not isinstance(signature, bytes) or len(signature) != 65 or signature[64] not in {27, 28}:
        return None
    if int.from_bytes(signature[32:64], "big") > _HALF_ORDER:
        return None
    try:
        key = PublicKey.from_signature_and_message(signature[:64] + bytes([signature[64] - 27]), digest, hasher=None)
    except Exception:  # noqa: BLE001 - libsecp256k1's wrapper raises bare Exception for points that are not on the curve
        return None
    return _address_of(key.format(compressed=False))


@lru_cache(maxsize=4096)
def _address_of(public_key: bytes) -> str:
    """The address of an uncompressed public key. Signers are few and sign often: the hash is made once for each."""
    return "0x" + keccak(public_key[1:])[-20:].hex()
