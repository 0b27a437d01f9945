"""The checks before a transaction runs, in the order and with the words of the node."""

import re
from dataclasses import dataclass
from itertools import pairwise
from typing import Protocol

from infra.localnet.pocket.genesis import UPOKT, Genesis
from infra.localnet.pocket.gotext import encode_json, quote
from infra.localnet.pocket.keys import MultisigKey, PublicKey
from infra.localnet.pocket.wire import Coin, Transaction, sign_bytes

SDK, AUTH, POS = "sdk", "auth", "pos"
_DENOM = re.compile(r"[a-z][a-z0-9]{2,15}", re.ASCII)
_UNINDEXED_BELOW = 10
_UNAUTHORIZED = "signature verification failed for the transaction"


@dataclass(frozen=True, slots=True)
class Rejection:
    """Why a transaction did not pass: where the code comes from, the code (not 0), and the text behind it."""

    codespace: str
    code: int
    message: str

    @property
    def log(self) -> str:
        """The node's log: JSON text."""
        shown = f"ERROR:\nCodespace: {self.codespace}\nCode: {self.code}\nMessage: {quote(self.message)}\n"
        parts = {"codespace": self.codespace, "code": self.code, "message": shown}
        return encode_json(parts, html=False, sort=False)

    @property
    def indexed(self) -> bool:
        """Whether a transaction that fails like this inside a block enters the index."""
        return not (self.codespace == AUTH and self.code < _UNINDEXED_BELOW)


class Accounts(Protocol):
    """What the checks ask the chain."""

    def balance(self, address: bytes) -> int | None:
        """uPOKT of an account, None if there is none."""
        ...

    def stored_key(self, address: bytes) -> PublicKey | None:
        """The public key kept with an account."""
        ...

    def is_indexed(self, hash_: str) -> bool:
        """Whether a transaction of this hash (upper case) is in the index."""
        ...


def undecodable(message: str) -> Rejection:
    """The rejection of bytes that are no transaction."""
    return Rejection(SDK, 2, message)


def without_message(message: str) -> Rejection:
    """The rejection of a transaction that carries no message."""
    return Rejection(SDK, 6, message)


def check(tx: Transaction, genesis: Genesis, accounts: Accounts, chain_id: str) -> Rejection | None:
    """The first check that `tx` fails, None if it passes all. The amount is not compared with the balance.

    `chain_id`: what a signature must cover.
    """
    return (
        _check_message(tx)
        or _check_form(tx)
        or _check_memo(tx, genesis)
        or _check_duplicate(tx, accounts)
        or _check_signer(tx, genesis, accounts, chain_id)
        or _check_fee_balance(tx, accounts)
    )


def _check_message(tx: Transaction) -> Rejection | None:
    if not tx.msg.from_address or not tx.msg.to_address:
        return Rejection(POS, 101, "validator does not exist for that address")
    if tx.msg.amount <= 0:
        return Rejection(POS, 109, "the amount to send must be positive")
    return None


def _check_form(tx: Transaction) -> Rejection | None:
    if not _coins_valid(tx.fee):
        return Rejection(SDK, 14, f"invalid fee {_coins_text(tx.fee)} amount provided")
    if not tx.signature:
        return Rejection(SDK, 4, "empty signature")
    return None


def _coins_valid(coins: tuple[Coin, ...]) -> bool:
    if any(_DENOM.fullmatch(coin.denom) is None or coin.amount <= 0 for coin in coins):
        return False
    return all(one.denom < next_.denom for one, next_ in pairwise(coins))


def _coins_text(coins: tuple[Coin, ...]) -> str:
    return ",".join(f"{coin.amount}{coin.denom}" for coin in coins)


def fee_of(tx: Transaction) -> int:
    """What a transaction offers as its fee, in uPOKT."""
    return sum(coin.amount for coin in tx.fee if coin.denom == UPOKT)


def _check_memo(tx: Transaction, genesis: Genesis) -> Rejection | None:
    if len(tx.memo) <= genesis.max_memo:
        return None
    inner = Rejection(SDK, 13, f"maximum number of characters is {genesis.max_memo} but received {len(tx.memo)} characters")
    shown = f"ERROR:\nCodespace: {inner.codespace}\nCode: {inner.code}\nMessage: {quote(inner.message)}\n"
    return Rejection(AUTH, 1, f"the transaction memo is invalid: {shown}")


def _check_duplicate(tx: Transaction, accounts: Accounts) -> Rejection | None:
    if not accounts.is_indexed(tx.hash):
        return None
    message = f"the transaction hash is already found, this is a duplicate transaction: {tx.hash.lower()}"
    return Rejection(AUTH, 6, message)


def _check_signer(tx: Transaction, genesis: Genesis, accounts: Accounts, chain_id: str) -> Rejection | None:
    signer = tx.msg.from_address
    key = tx.public_key
    if key is None:
        if accounts.balance(signer) is None:
            return Rejection(AUTH, 3, "the account cannot be found in the world state")
        key = accounts.stored_key(signer)
        if key is None:
            text = "the public key in the transaction is empty and the public key cannot be found in the world state"
            return Rejection(AUTH, 2, text)
    if key.address != signer:
        return Rejection(SDK, 4, _UNAUTHORIZED)
    limit = _check_keys(key, genesis) if isinstance(key, MultisigKey) else _check_minimum_fee(tx, genesis)
    if limit is not None:
        return limit
    if not key.verifies(sign_bytes(tx, chain_id), tx.signature):
        return Rejection(SDK, 4, _UNAUTHORIZED)
    return None


def _check_minimum_fee(tx: Transaction, genesis: Genesis) -> Rejection | None:
    if fee_of(tx) >= genesis.fee:
        return None
    expected, actual = f"{genesis.fee}{UPOKT}", _coins_text(tx.fee)
    return Rejection(AUTH, 4, f"the fee for the transaction was insufficient. \nExpected: {expected}\nActual: {actual}")


def _check_keys(key: MultisigKey, genesis: Genesis) -> Rejection | None:
    # The node's counter starts at 1: a limit of 8 means 7 keys.
    if 1 + key.count() <= genesis.sig_limit:
        return None
    return Rejection(AUTH, 5, f"the limit for signatures ({genesis.sig_limit}) is reached")


def _check_fee_balance(tx: Transaction, accounts: Accounts) -> Rejection | None:
    signer = tx.msg.from_address
    balance = accounts.balance(signer)
    if balance is None:
        return Rejection(SDK, 9, f"account {signer.hex()} does not exist")
    if any(coin.denom != UPOKT for coin in tx.fee) or balance < fee_of(tx):
        message = f"the signer account : {signer.hex()}, does not have enough coins for the tx. Need {_coins_text(tx.fee)}"
        return Rejection(AUTH, 6, message)
    return None
