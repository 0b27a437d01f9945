"""A test user's wallet: one ed25519 key that sends POKT, and the keys of a multisig vault.

Builds transactions byte by byte and shares no code with the validator nor with the node's decoder.
"""

import json
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Self

import aiohttp
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

DEFAULT_FEE = 10_000
DEFAULT_CHAIN_ID = "localnet"
_TIMEOUT = aiohttp.ClientTimeout(total=60)


class SubmitError(RuntimeError):
    """The node did not take a transaction; the message is its answer."""


@dataclass(frozen=True, slots=True)
class Unsigned:
    """What a send says. `memo` is text, `entropy` any signed 64-bit number, `fee` 0 leaves the coin out."""

    sender: str
    recipient: str
    amount: int
    memo: str = ""
    entropy: int = 0
    fee: int = DEFAULT_FEE
    chain_id: str = DEFAULT_CHAIN_ID

    def sign_bytes(self) -> bytes:
        """What every signer signs."""
        fee = [{"amount": str(self.fee), "denom": "upokt"}] if self.fee else []
        value = {"amount": str(self.amount), "from_address": self.sender, "to_address": self.recipient}
        document = {
            "chain_id": self.chain_id,
            "entropy": str(self.entropy),
            "fee": fee,
            "memo": self.memo,
            "msg": {"type": "pos/Send", "value": value},
        }
        text = json.dumps(document, separators=(",", ":"), sort_keys=True, ensure_ascii=False)
        for character in "<>&\u2028\u2029":
            text = text.replace(character, f"\\u{ord(character):04x}")
        return text.encode()

    def encode(self, public_key: bytes, signature: bytes) -> bytes:
        """The raw transaction with a key and a signature (for a multisig their amino forms)."""
        send = (
            _field(1, bytes.fromhex(self.sender))
            + _field(2, bytes.fromhex(self.recipient))
            + _field(3, str(self.amount).encode())
        )
        body = _field(1, _field(1, b"/x.nodes.MsgSend") + _field(2, send))
        if self.fee:
            body += _field(2, _field(1, b"upokt") + _field(2, str(self.fee).encode()))
        body += _field(3, _field(1, public_key) + _field(2, signature))
        if self.memo:
            body += _field(4, self.memo.encode())
        if self.entropy:
            body += b"\x28" + _varint(self.entropy % (1 << 64))
        return _varint(len(body)) + body


@dataclass(frozen=True, slots=True)
class Wallet:
    """One key. Worthless by agreement: made from a short seed for development networks only."""

    _key: Ed25519PrivateKey = field(repr=False)
    chain_id: str = DEFAULT_CHAIN_ID

    @classmethod
    def from_seed(cls, seed: bytes | str | int, chain_id: str = DEFAULT_CHAIN_ID) -> Self:
        """A wallet of 32 seed bytes; text or a number is hashed to 32 bytes first."""
        if not isinstance(seed, bytes):
            seed = sha256(f"development wallet {seed}".encode()).digest()
        return cls(Ed25519PrivateKey.from_private_bytes(seed), chain_id)

    @classmethod
    def from_private_hex(cls, text: str, chain_id: str = DEFAULT_CHAIN_ID) -> Self:
        """A wallet of the 128 hex characters (seed, then public key) in which the chain's tools keep keys."""
        wallet = cls.from_seed(bytes.fromhex(text)[:32], chain_id)
        if text[64:].lower() != wallet.public_key:
            raise ValueError("private key: its second half is not the public key of the first")
        return wallet

    @property
    def private_hex(self) -> str:
        """Seed and public key, 128 hex characters: for the key files of development validators."""
        return self._key.private_bytes_raw().hex() + self.public_key

    @property
    def public_key(self) -> str:
        """64 hex characters."""
        return self._key.public_key().public_bytes_raw().hex()

    @property
    def address(self) -> str:
        """40 hex characters."""
        return sha256(bytes.fromhex(self.public_key)).hexdigest()[:40]

    def sign(self, message: bytes) -> bytes:
        """The 64-byte signature over `message`."""
        return self._key.sign(message)

    def send(self, to: str, amount: int, memo: str = "", *, entropy: int | None = None, fee: int = DEFAULT_FEE) -> bytes:
        """A signed raw transaction that sends `amount` uPOKT; random entropy by default."""
        unsigned = Unsigned(
            self.address, to.lower(), amount, memo, random_entropy() if entropy is None else entropy, fee, self.chain_id
        )
        return unsigned.encode(bytes.fromhex(self.public_key), self.sign(unsigned.sign_bytes()))

    async def pay(self, url: str, to: str, amount: int, memo: str = "", *, entropy: int | None = None) -> str:
        """Build a send and submit it to the node at `url`; its hash (lower case). Raises `SubmitError`."""
        return await submit(url, self.send(to, amount, memo, entropy=entropy), self.address)


@dataclass(frozen=True, slots=True)
class Vault:
    """A multisig of wallets in the order that makes its address."""

    wallets: tuple[Wallet, ...]

    @classmethod
    def from_seeds(cls, count: int, name: str = "validator", chain_id: str = DEFAULT_CHAIN_ID) -> Self:
        """`count` wallets named `name` 0, 1, …."""
        return cls(tuple(Wallet.from_seed(f"{name} {number}", chain_id) for number in range(count)))

    @property
    def public_keys(self) -> tuple[str, ...]:
        """The keys in their order, 64 hex characters each."""
        return tuple(wallet.public_key for wallet in self.wallets)

    @property
    def address(self) -> str:
        """40 hex characters."""
        return vault_address(self.public_keys)

    def send(self, to: str, amount: int, memo: str = "", *, entropy: int | None = None, fee: int = DEFAULT_FEE) -> bytes:
        """A raw transaction signed by all."""
        chosen = random_entropy() if entropy is None else entropy
        unsigned = Unsigned(self.address, to.lower(), amount, memo, chosen, fee, self.wallets[0].chain_id)
        return self.complete(unsigned, [wallet.sign(unsigned.sign_bytes()) for wallet in self.wallets])

    def complete(self, unsigned: Unsigned, slots: Sequence[bytes]) -> bytes:
        """A raw transaction with these signature slots, right or wrong."""
        return unsigned.encode(multisig_key(self.public_keys), multisignature(slots))


def multisig_key(public_keys: Sequence[str]) -> bytes:
    """The amino form of a multisig key; the order of the keys is part of it."""
    elements = (bytes.fromhex("0a259d54477420" + key) for key in public_keys)
    return bytes.fromhex("f325b8ad") + b"".join(elements)


def multisignature(slots: Sequence[bytes]) -> bytes:
    """The amino form of a multisignature, one slot for each key."""
    return bytes.fromhex("b2f515f9") + b"".join(_field(1, slot) for slot in slots)


def vault_address(public_keys: Sequence[str]) -> str:
    """The address of a multisig: 40 hex characters."""
    return sha256(multisig_key(public_keys)).hexdigest()[:40]


def tx_hash(raw: bytes) -> str:
    """The hash of a raw transaction, lower case."""
    return sha256(raw).hexdigest()


def random_entropy() -> int:
    """Any signed 64-bit number."""
    return secrets.randbits(64) - (1 << 63)


async def post(url: str, path: str, body: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON
    """Ask a node (`path` like `/v1/query/height` or `/dev/step`). Raises `SubmitError` on any HTTP error."""
    async with aiohttp.ClientSession(timeout=_TIMEOUT) as session, session.post(url.rstrip("/") + path, json=body) as answer:
        text = await answer.text()
        if answer.status != 200:
            raise SubmitError(f"{path} answered {answer.status}: {text.strip()}")
        return json.loads(text)


async def submit(url: str, raw: bytes, address: str = "") -> str:
    """Submit a raw transaction; its hash (lower case). Raises `SubmitError` if the node refuses it in any way."""
    answer = await post(url, "/v1/client/rawtx", {"address": address, "raw_hex_bytes": raw.hex()})
    if answer.get("code", 0):
        raise SubmitError(answer["raw_log"])
    hash_: str = answer["txhash"].lower()
    if hash_ != tx_hash(raw):
        raise SubmitError(f"the node names the hash {hash_}, it is {tx_hash(raw)}")
    return hash_


def _field(number: int, value: bytes) -> bytes:
    return _varint(number << 3 | 2) + _varint(len(value)) + value


def _varint(value: int) -> bytes:
    groups = []
    while value > 0x7F:
        groups.append(0x80 | value & 0x7F)
        value >>= 7
    return bytes([*groups, value])
