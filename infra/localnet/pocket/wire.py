"""Transactions as bytes: decoded, hashed, and their signatures checked.

Written against the facts of Pocket RC-0.9.2 and on purpose not shared with the validator's codec: two readings that agree
on the published transactions are worth more than one.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from hashlib import sha256

from infra.localnet.pocket.gotext import encode_json, parse_integer, text_of
from infra.localnet.pocket.keys import PublicKey, read_public_key
from infra.localnet.pocket.protobuf import BYTES, VARINT, WireError, read_fields, signed64, strip_length


class NoMessageError(WireError):
    """A transaction that reads well and carries no message."""


SEND_URL = "/x.nodes.MsgSend"
CODEC_UPGRADE_HEIGHT = 30024
"""From this height on mainnet reads protobuf only; below it the amino envelope is tried first."""
_AMINO_TX = bytes.fromhex("db0b170d")
_AMINO_SEND = bytes.fromhex("a5e344a6")


@dataclass(frozen=True, slots=True)
class Coin:
    """An amount of one currency."""

    denom: str
    amount: int


@dataclass(frozen=True, slots=True)
class Send:
    """`pos/Send`: `amount` uPOKT from one address (raw bytes) to another."""

    from_address: bytes = b""
    to_address: bytes = b""
    amount: int = 0


@dataclass(frozen=True, slots=True)
class Transaction:
    """A decoded transaction. `public_key` is None when its field was absent."""

    raw: bytes
    msg: Send
    fee: tuple[Coin, ...]
    public_key: PublicKey | None
    signature: bytes
    memo: bytes
    entropy: int

    @property
    def hash(self) -> str:
        """SHA-256 of the bytes as received, length prefix included: 64 upper-case hex."""
        return hash_of(self.raw)


def hash_of(raw: bytes) -> str:
    """The hash of a raw transaction as the RPC shows it: 64 upper-case hex."""
    return sha256(raw).hexdigest().upper()


def decode(raw: bytes, height: int = 0) -> Transaction:
    """Read a transaction at a block height. Raises `WireError` with the node's words."""
    if not raw:
        raise WireError("txBytes are empty")
    try:
        body = strip_length(raw)
        if height < CODEC_UPGRADE_HEIGHT and body.startswith(_AMINO_TX):
            return _read_body(raw, body[len(_AMINO_TX) :], _read_amino_msg)
        return _read_body(raw, body, _read_any)
    except NoMessageError:
        raise
    except WireError as error:
        raise WireError(f"error decoding transaction: {error}") from None


def _read_body(raw: bytes, body: bytes, read_msg: Callable[[bytes], Send]) -> Transaction:
    msg, signature = b"", b""
    fee: list[Coin] = []
    memo, entropy = b"", 0
    for number, kind, value in read_fields(body):
        # A message field that occurs twice is merged, and merging equals reading the joined bytes.
        if number == 1:
            msg += _bytes(kind, value, "Msg")
        elif number == 2:
            fee.append(_read_coin(_bytes(kind, value, "Fee")))
        elif number == 3:
            signature += _bytes(kind, value, "Signature")
        elif number == 4:
            memo = _bytes(kind, value, "Memo")
        elif number == 5:
            entropy = _int64(kind, value, "Entropy")
    key, signed = _read_signature(signature)
    if not msg:
        raise NoMessageError("Tx.GetMsg() must return at least one message")
    return Transaction(raw, read_msg(msg), tuple(fee), key, signed, memo, entropy)


def _bytes(kind: int, value: int | bytes, name: str) -> bytes:
    if kind != BYTES or not isinstance(value, bytes):
        raise WireError(f"proto: wrong wireType = {kind} for field {name}")
    return value


def _int64(kind: int, value: int | bytes, name: str) -> int:
    if kind != VARINT or not isinstance(value, int):
        raise WireError(f"proto: wrong wireType = {kind} for field {name}")
    return signed64(value)


def _known(data: bytes, names: dict[int, str]) -> Iterator[tuple[int, bytes]]:
    """The fields of a message all of whose fields are bytes or text."""
    for number, kind, value in read_fields(data):
        if number in names:
            yield number, _bytes(kind, value, names[number])


def _read_any(data: bytes) -> Send:
    url, value = b"", b""
    for number, field in _known(data, {1: "TypeUrl", 2: "Value"}):
        if number == 1:
            url = field
        else:
            value = field
    if text_of(url) != SEND_URL:
        raise WireError(f"no concrete type registered for type URL {text_of(url)} against interface *types.ProtoMsg")
    return _read_send(value)


def _read_amino_msg(data: bytes) -> Send:
    if not data.startswith(_AMINO_SEND):
        raise WireError("unrecognized prefix bytes")
    return _read_send(data[len(_AMINO_SEND) :])


def _read_send(data: bytes) -> Send:
    send = Send()
    for number, field in _known(data, {1: "FromAddress", 2: "ToAddress", 3: "Amount"}):
        if number == 1:
            send = replace(send, from_address=field)
        elif number == 2:
            send = replace(send, to_address=field)
        elif field:
            send = replace(send, amount=_amount(field))
    return send


def _read_coin(data: bytes) -> Coin:
    coin = Coin("", 0)
    for number, field in _known(data, {1: "Denom", 2: "Amount"}):
        if number == 1:
            coin = replace(coin, denom=text_of(field))
        elif field:
            coin = replace(coin, amount=_amount(field))
    return coin


def _amount(data: bytes) -> int:
    try:
        return parse_integer(data)
    except ValueError as error:
        raise WireError(str(error)) from None


def _read_signature(data: bytes) -> tuple[PublicKey | None, bytes]:
    key: bytes | None = None
    signature = b""
    for number, field in _known(data, {1: "PublicKey", 2: "Signature"}):
        if number == 1:
            key = field
        else:
            signature = field
    return (None if key is None else read_public_key(key)), signature


def sign_bytes(tx: Transaction, chain_id: str) -> bytes:
    """What every signer of `tx` signs on the chain `chain_id`: sorted JSON, every number a string."""
    document = {
        "chain_id": chain_id,
        "entropy": str(tx.entropy),
        "fee": [{"amount": str(coin.amount), "denom": coin.denom} for coin in tx.fee],
        "memo": text_of(tx.memo),
        "msg": message_json(tx.msg),
    }
    return encode_json(document).encode()


def message_json(msg: Send) -> dict[str, object]:
    """A message as it stands in the sign bytes and in the RPC's `stdTx`."""
    value = {"amount": str(msg.amount), "from_address": msg.from_address.hex(), "to_address": msg.to_address.hex()}
    return {"type": "pos/Send", "value": value}
