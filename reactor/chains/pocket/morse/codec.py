"""Transactions on the wire: `uvarint(length) ‖ body`, body = protobuf `x.auth.ProtoStdTx` (Pocket RC-0.9.2).

Decoding is as lenient as the node, so that nothing that moved funds goes unseen: unknown fields are skipped, varints
may be longer than needed, empty fields may be explicit. A foreign transaction is therefore never encoded again to get
its hash: hash the bytes as received. The amino envelope of blocks below the codec upgrade (30024) is read on request.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from hashlib import sha256
from typing import Final

from reactor.chains.pocket.errors import PocketDecodeError
from reactor.chains.pocket.morse import amino
from reactor.chains.pocket.morse.gotext import decode_utf8, parse_integer
from reactor.chains.pocket.morse.signbytes import sign_bytes
from reactor.chains.pocket.morse.wire import (
    BYTES,
    VARINT,
    encode_bytes_field,
    encode_int64,
    encode_uvarint,
    fields,
    read_uvarint,
    to_int64,
)

SEND_TYPE_URL: Final = "/x.nodes.MsgSend"
DENOM: Final = "upokt"
CODEC_UPGRADE_HEIGHT: Final = 30024
"""Mainnet blocks below it hold amino transactions."""

MAX_TX_BYTES: Final = 4 * 1024 * 1024
"""More than a block of the chain holds: bounds the work on hostile input."""


class Envelope(StrEnum):
    """How a transaction's bytes are laid out."""

    PROTOBUF = "protobuf"
    AMINO = "amino"


@dataclass(frozen=True, slots=True)
class Coin:
    """An amount in a denomination (uPOKT for `upokt`)."""

    amount: int
    denom: str = DENOM


@dataclass(frozen=True, slots=True)
class SendMsg:
    """`x.nodes.MsgSend`. Addresses in lower-case hex (20 bytes, but the chain does not insist for the recipient)."""

    from_address: str
    to_address: str
    amount: int


@dataclass(frozen=True, slots=True)
class OtherMsg:
    """Any other message: kept as it is, not interpreted."""

    type_url: str
    value: bytes


@dataclass(frozen=True, slots=True)
class StdTx:
    """A decoded transaction.

    `public_key` is raw (32 bytes) or an encoded multisig key, empty when absent; `signature` likewise. `memo` is text
    as the chain shows it (one U+FFFD per invalid byte).
    """

    msg: SendMsg | OtherMsg
    fee: tuple[Coin, ...]
    public_key: bytes
    signature: bytes
    memo: str
    entropy: int
    envelope: Envelope = Envelope.PROTOBUF

    @property
    def fee_upokt(self) -> int:
        """The fee in uPOKT."""
        return sum(coin.amount for coin in self.fee if coin.denom == DENOM)

    def sign_bytes(self, chain_id: str) -> bytes:
        """What the signers have signed. Raises ValueError for messages other than a send."""
        if not isinstance(self.msg, SendMsg):
            raise ValueError(f"sign bytes of {self.msg.type_url!r} are not supported: only sends are")  # noqa: TRY004
        return sign_bytes(
            chain_id=chain_id,
            from_address=self.msg.from_address,
            to_address=self.msg.to_address,
            amount=self.msg.amount,
            fee=[(coin.amount, coin.denom) for coin in self.fee],
            memo=self.memo,
            entropy=self.entropy,
        )


def tx_hash(raw: bytes) -> str:
    """The transaction's hash, lower-case hex: SHA-256 over the bytes with their length prefix."""
    return sha256(raw).hexdigest()


# --- encoding -----------------------------------------------------------------------------------------------------


def encode_send(msg: SendMsg) -> bytes:
    """The protobuf bytes of a MsgSend."""
    return (
        encode_bytes_field(1, bytes.fromhex(msg.from_address))
        + encode_bytes_field(2, bytes.fromhex(msg.to_address))
        + encode_bytes_field(3, str(msg.amount).encode())
    )


def encode_tx(tx: StdTx, *, explicit_empty_memo: bool = False) -> bytes:
    """The raw transaction, length prefix included, in the canonical form that Go writes.

    `explicit_empty_memo` writes an empty memo as `22 00`, as some clients do (Go leaves it out). Protobuf only: a new
    transaction is never amino.
    """
    if tx.envelope is not Envelope.PROTOBUF:
        raise ValueError("only protobuf transactions are encoded: amino ones exist in old blocks alone")
    if isinstance(tx.msg, SendMsg):
        type_url, value = SEND_TYPE_URL, encode_send(tx.msg)
    else:
        type_url, value = tx.msg.type_url, tx.msg.value
    body = encode_bytes_field(1, encode_bytes_field(1, type_url.encode()) + encode_bytes_field(2, value))
    for coin in tx.fee:
        body += encode_bytes_field(
            2, encode_bytes_field(1, coin.denom.encode()) + encode_bytes_field(2, str(coin.amount).encode())
        )
    key = encode_bytes_field(1, tx.public_key) if tx.public_key else b""
    signature = encode_bytes_field(2, tx.signature) if tx.signature else b""
    body += encode_bytes_field(3, key + signature)
    if tx.memo or explicit_empty_memo:
        body += encode_bytes_field(4, tx.memo.encode())
    if tx.entropy:
        body += encode_uvarint(5 << 3 | VARINT) + encode_int64(tx.entropy)
    return encode_uvarint(len(body)) + body


# --- decoding -----------------------------------------------------------------------------------------------------


def decode_tx(raw: bytes, *, allow_amino: bool = False) -> StdTx:
    """The transaction in `raw` (length prefix included).

    `allow_amino`: also read the legacy amino envelope, as nodes do below the codec upgrade. The public key and the
    signature are not looked into (see `verify_transaction`).

    Raises:
        PocketDecodeError: always this, whatever the bytes.
    """
    if len(raw) > MAX_TX_BYTES:
        raise PocketDecodeError("raw", f"{len(raw)} bytes are more than any transaction has")
    length, at = read_uvarint(raw, 0, "length")
    body = raw[at:]
    if len(body) != length:
        raise PocketDecodeError("length", f"the prefix says {length} bytes, {len(body)} follow")
    if body[:4] == amino.STD_TX:
        if not allow_amino:
            raise PocketDecodeError("body", "amino envelope, not accepted at this height")
        return _decode_body(body[4:], Envelope.AMINO)
    return _decode_body(body, Envelope.PROTOBUF)


def _decode_body(body: bytes, envelope: Envelope) -> StdTx:
    messages: list[bytes] = []
    signatures: list[bytes] = []
    fee: list[Coin] = []
    memo, entropy = b"", 0
    for number, value in fields(body, "tx", {1: BYTES, 2: BYTES, 3: BYTES, 4: BYTES, 5: VARINT}):
        if isinstance(value, int):
            entropy = to_int64(value)
        elif number == 1:
            messages.append(value)
        elif number == 2:
            fee.append(_decode_coin(value, len(fee)))
        elif number == 3:
            signatures.append(value)
        else:
            memo = value
    key, signature = _two_bytes(signatures, "signature")
    msg = _decode_amino_msg(messages) if envelope is Envelope.AMINO else _decode_any(messages)
    return StdTx(msg, tuple(fee), key, signature, decode_utf8(memo), entropy, envelope)


def _two_bytes(parts: Iterable[bytes], path: str) -> tuple[bytes, bytes]:
    """Fields 1 and 2 (both bytes) of an embedded message; of repeated ones the last wins, as protobuf merges."""
    found = {1: b"", 2: b""}
    for part in parts:
        for number, value in fields(part, path, {1: BYTES, 2: BYTES}):
            assert isinstance(value, bytes)
            found[number] = value
    return found[1], found[2]


def _decode_any(messages: list[bytes]) -> SendMsg | OtherMsg:
    type_url, value = _two_bytes(messages, "msg")
    if type_url != SEND_TYPE_URL.encode():
        return OtherMsg(decode_utf8(type_url), value)
    return _decode_send(fields(value, "msg.value", {1: BYTES, 2: BYTES, 3: BYTES}))


def _decode_amino_msg(messages: list[bytes]) -> SendMsg | OtherMsg:
    if len(messages) != 1:
        raise PocketDecodeError("msg", f"{len(messages)} messages instead of one")
    prefix, value = messages[0][:4], messages[0][4:]
    if prefix != amino.SEND:
        return OtherMsg(f"amino:{prefix.hex()}", value)
    return _decode_send(fields(value, "msg.value", {1: BYTES, 2: BYTES, 3: BYTES}))


def _decode_send(walk: Iterator[tuple[int, int | bytes]]) -> SendMsg:
    found = {1: b"", 2: b""}
    amount = 0
    for number, value in walk:
        assert isinstance(value, bytes)
        if number in found:
            found[number] = value
        elif value:  # an empty occurrence leaves the amount as it is
            amount = _amount(value, "msg.value.amount")
    return SendMsg(found[1].hex(), found[2].hex(), amount)


def _decode_coin(data: bytes, position: int) -> Coin:
    denom, amount = b"", 0
    path = f"fee.{position}"
    for number, value in fields(data, path, {1: BYTES, 2: BYTES}):
        assert isinstance(value, bytes)
        if number == 1:
            denom = value
        elif value:
            amount = _amount(value, f"{path}.amount")
    return Coin(amount, decode_utf8(denom))


def _amount(text: bytes, path: str) -> int:
    amount = parse_integer(text)
    if amount is None:
        raise PocketDecodeError(path, "not an integer of at most 255 bits")
    return amount
