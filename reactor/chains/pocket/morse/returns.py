"""Return transactions: the vault pays a user back. Every validator builds the same bytes by itself.

A published Morse signature never dies, so nothing here is drawn at random: the entropy is a hash of the source event
and the attempt, and the assembled bytes depend on nothing but the message, the vault's keys and their signatures.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Final

from reactor.chains.pocket.morse import multisig
from reactor.chains.pocket.morse.codec import Coin, SendMsg, StdTx, encode_tx
from reactor.chains.pocket.morse.signbytes import sign_bytes
from reactor.chains.pocket.morse.verify import verify_ed25519, verify_transaction

ENTROPY_DOMAIN: Final = "bridge-reactor/pocket-return-entropy/1"
_ADDRESS: Final = re.compile(r"[0-9a-f]{40}")
_MEMO: Final = re.compile(r"[ -~]*")
_INT64: Final = 1 << 63


class AssembleError(ValueError):
    """The signatures at hand do not make the vault's transaction; the text names the key and the fault."""


def return_entropy(chain_id: str, source_id: str, index: int, attempt: int) -> int:
    """The entropy (int64) of the return for one source event and attempt: the same for every validator.

    It is the first eight bytes, big-endian and signed, of SHA-256 over the UTF-8 text of the compact JSON array
    `["bridge-reactor/pocket-return-entropy/1","<chain id>","<source id>",<index>,<attempt>]` (non-ASCII escaped).
    `chain_id` is the chain of the *source event*, `source_id` its canonical hash (lower case), `index` its position
    in it (0 for a deposit), `attempt` counts from 0.

    Raises:
        ValueError: `source_id` empty or not in lower case, or a negative index or attempt.
    """
    if not source_id or source_id != source_id.lower():
        raise ValueError(f"source id {source_id!r}: must be a canonical hash in lower case")
    if index < 0 or attempt < 0:
        raise ValueError(f"index {index} and attempt {attempt} must not be negative")
    text = json.dumps([ENTROPY_DOMAIN, chain_id, source_id, index, attempt], separators=(",", ":"))
    return int.from_bytes(sha256(text.encode()).digest()[:8], "big", signed=True)


@dataclass(frozen=True, slots=True)
class ReturnTx:
    """What the vault is to sign. Amount and fee in uPOKT (the vault spends their sum); addresses 40 lower-case hex.

    Raises:
        ValueError: a field that would make other bytes on another machine, or no valid send.
    """

    from_address: str
    to_address: str
    amount: int
    fee: int
    memo: str
    entropy: int
    chain_id: str

    def __post_init__(self) -> None:
        """Refuse what the chain or another build of Go would read differently."""
        for name in ("from_address", "to_address"):
            if not _ADDRESS.fullmatch(getattr(self, name)):
                raise ValueError(f"{name}: must be 40 lower-case hex characters, is {getattr(self, name)!r}")
        if self.amount <= 0:
            raise ValueError(f"amount: must be positive, is {self.amount}")
        if self.fee < 0:
            raise ValueError(f"fee: must not be negative, is {self.fee}")
        if not _MEMO.fullmatch(self.memo):
            raise ValueError("memo: must be printable ASCII")  # other controls are escaped differently by Go versions
        if not -_INT64 <= self.entropy < _INT64:
            raise ValueError("entropy: must be an int64")
        if not self.chain_id:
            raise ValueError("chain_id: must not be empty")

    @property
    def sign_bytes(self) -> bytes:
        """The bytes that every vault key signs with plain Ed25519."""
        return sign_bytes(
            chain_id=self.chain_id,
            from_address=self.from_address,
            to_address=self.to_address,
            amount=self.amount,
            fee=[(coin.amount, coin.denom) for coin in self._coins()],
            memo=self.memo,
            entropy=self.entropy,
        )

    def _coins(self) -> tuple[Coin, ...]:
        return (Coin(self.fee),) if self.fee else ()

    def std_tx(self, public_key: bytes, signature: bytes) -> StdTx:
        """The transaction with an encoded key and signature."""
        msg = SendMsg(self.from_address, self.to_address, self.amount)
        return StdTx(msg, self._coins(), public_key, signature, self.memo, self.entropy)


def verify_share(public_key_hex: str, message: bytes, signature: bytes) -> bool:
    """Does one signer's signature verify over the sign bytes? Never raises: malformed keys and signatures are False."""
    try:
        key = multisig.parse_public_key(public_key_hex)
    except ValueError:
        return False
    return verify_ed25519(key, message, signature)


def assemble(return_tx: ReturnTx, public_keys: Sequence[str], signatures: Mapping[str, bytes]) -> bytes:
    """The complete raw transaction, length prefix included: the same bytes on every machine.

    `public_keys` in vault order, `signatures` by lower-case public key. Signatures of keys outside the vault are an error.

    Raises:
        AssembleError: the keys are not the sending vault's, a signature is missing, foreign or does not verify, or what was
            encoded would not pass on the chain.
        ValueError: a public key that is none.
    """
    encoded_key = multisig.vault_key(public_keys)
    address = multisig.address_of(encoded_key)
    # SECURITY: the vault named in the message must be the one that these keys, in this order, control.
    if address != return_tx.from_address:
        raise AssembleError(f"the keys make vault {address}, the transaction is from {return_tx.from_address}")
    by_key = {key.lower(): signature for key, signature in signatures.items()}
    ordered = [key.lower() for key in public_keys]
    foreign = sorted(set(by_key) - set(ordered))
    if foreign or len(by_key) != len(signatures):
        raise AssembleError(f"signatures of keys that are not the vault's, or given twice: {foreign}")
    message = return_tx.sign_bytes
    slots = []
    for key in ordered:
        signature = by_key.get(key)
        if signature is None:
            raise AssembleError(f"the signature of {key} is missing")
        # SECURITY: one bad slot makes the whole transaction invalid; never publish such a set.
        if not verify_share(key, message, signature):
            raise AssembleError(f"the signature of {key} does not verify")
        slots.append(signature)
    raw = encode_tx(return_tx.std_tx(encoded_key, multisig.encode_multisignature(slots)))
    # SECURITY: read back as the chain reads it. The slots stand under the message that the bytes say, not the one that was meant.
    verdict = verify_transaction(raw, return_tx.chain_id)
    if not verdict.valid:
        raise AssembleError(f"the transaction would not pass on the chain: {verdict.text}")
    return raw
