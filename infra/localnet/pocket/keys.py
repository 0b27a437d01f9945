"""Public keys and multisig blobs of the chain, read and verified the way its nodes do."""

from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from infra.localnet.pocket.protobuf import BYTES, WireError, read_fields, read_varint, write_varint

ED25519_PREFIX = bytes.fromhex("9d544774")
SECP256K1_PREFIX = bytes.fromhex("fb5cd03c")
MULTISIG_KEY_PREFIX = bytes.fromhex("f325b8ad")
MULTISIGNATURE_PREFIX = bytes.fromhex("b2f515f9")
ED25519_SIZE = 32
SECP256K1_SIZE = 33
_DEEPEST = 16


@dataclass(frozen=True, slots=True)
class SingleKey:
    """An ed25519 key of 32 bytes, or a secp256k1 key of 33, which this node reads but never accepts a signature of."""

    raw: bytes

    @property
    def address(self) -> bytes:
        """The first 20 bytes of SHA-256 over the raw key."""
        return sha256(self.raw).digest()[:20]

    @property
    def amino(self) -> bytes:
        """The key as an element of a multisig key."""
        prefix = ED25519_PREFIX if len(self.raw) == ED25519_SIZE else SECP256K1_PREFIX
        return prefix + write_varint(len(self.raw)) + self.raw

    def verifies(self, message: bytes, signature: bytes) -> bool:
        """Whether `signature` (64 bytes) is this key's over `message`."""
        if len(self.raw) != ED25519_SIZE or len(signature) != 64:
            return False
        try:
            Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, message)
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass(frozen=True, slots=True)
class MultisigKey:
    """All of these keys have to sign; their order is part of the address."""

    keys: "tuple[SingleKey | MultisigKey, ...]"

    @property
    def raw(self) -> bytes:
        """The canonical encoding: a foreign one that decodes to the same keys has the same address."""
        elements = (key.amino for key in self.keys)
        return MULTISIG_KEY_PREFIX + b"".join(b"\x0a" + write_varint(len(element)) + element for element in elements)

    @property
    def amino(self) -> bytes:
        """The key as an element of a multisig key."""
        return self.raw

    @property
    def address(self) -> bytes:
        """The first 20 bytes of SHA-256 over the canonical encoding."""
        return sha256(self.raw).digest()[:20]

    def verifies(self, message: bytes, signature: bytes) -> bool:
        """Whether every slot verifies under the key at its position and there are as many slots as keys."""
        try:
            slots = read_multisignature(signature)
        except WireError:
            return False
        if len(slots) != len(self.keys):
            return False
        return all(key.verifies(message, slot) for key, slot in zip(self.keys, slots, strict=True))

    def count(self) -> int:
        """Keys in it, nested ones and their holders included, as the signature limit counts them."""
        return sum(1 + (key.count() if isinstance(key, MultisigKey) else 0) for key in self.keys)


PublicKey = SingleKey | MultisigKey


def read_public_key(data: bytes) -> PublicKey:
    """The `publicKey` bytes of a transaction. Raises `WireError` if they are no key."""
    if len(data) in (ED25519_SIZE, SECP256K1_SIZE):
        return SingleKey(data)
    try:
        return _read_multisig_key(data, 0)
    except WireError:
        raise WireError(f"unsupported public key type, length of: {len(data)}") from None


def _read_multisig_key(data: bytes, depth: int) -> MultisigKey:
    if depth > _DEEPEST:
        raise WireError("public keys nested too deep")
    return MultisigKey(tuple(_read_element(element, depth) for element in _read_list(data, MULTISIG_KEY_PREFIX)))


def _read_element(data: bytes, depth: int) -> PublicKey:
    if data.startswith(MULTISIG_KEY_PREFIX):
        return _read_multisig_key(data, depth + 1)
    for prefix, size in ((ED25519_PREFIX, ED25519_SIZE), (SECP256K1_PREFIX, SECP256K1_SIZE)):
        if data.startswith(prefix):
            length, start = read_varint(data, len(prefix))
            if length != size or len(data) != start + size:
                raise WireError("wrong length of a public key")
            return SingleKey(data[start:])
    raise WireError("unrecognized prefix bytes")


def read_multisignature(data: bytes) -> tuple[bytes, ...]:
    """The slots of a multisignature. Raises `WireError` if it is none."""
    return tuple(_read_list(data, MULTISIGNATURE_PREFIX))


def _read_list(data: bytes, prefix: bytes) -> Iterator[bytes]:
    """The elements of an amino structure whose only field is a list of bytes; later fields are skipped."""
    if not data.startswith(prefix):
        raise WireError("unrecognized prefix bytes")
    last = 1
    for number, kind, value in read_fields(data[len(prefix) :]):
        if number == 1 and last == 1:
            if kind != BYTES or not isinstance(value, bytes):
                raise WireError(f"expected field type {BYTES}, got {kind}")
            yield value
        elif number <= last:
            raise WireError("fields out of order")
        last = number
