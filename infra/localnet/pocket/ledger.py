"""Balances of the accounts, now and at every earlier height."""

from bisect import bisect_right
from dataclasses import dataclass, field
from hashlib import sha256

from infra.localnet.pocket.genesis import Genesis
from infra.localnet.pocket.keys import PublicKey, SingleKey

FEE_COLLECTOR = sha256(b"fee_collector").digest()[:20]
"""The account that fees go to."""


@dataclass(slots=True)
class _History:
    heights: list[int] = field(default_factory=list)
    balances: list[int] = field(default_factory=list)


@dataclass(slots=True)
class Ledger:
    """uPOKT by address (raw bytes). An account exists from the first coins it gets."""

    _accounts: dict[bytes, _History] = field(default_factory=dict)
    _keys: dict[bytes, PublicKey] = field(default_factory=dict)

    @classmethod
    def of(cls, genesis: Genesis) -> "Ledger":
        """The accounts of a genesis."""
        ledger = cls()
        for address, amount in genesis.balances.items():
            ledger.credit(bytes.fromhex(address), amount, genesis.initial_height)
        for address, key in genesis.public_keys.items():
            ledger._keys[bytes.fromhex(address)] = SingleKey(bytes.fromhex(key))
        return ledger

    def balance(self, address: bytes, height: int | None = None) -> int | None:
        """The balance after the block at `height` (default: now); None if there was no such account."""
        history = self._accounts.get(address)
        if history is None:
            return None
        if height is None:
            return history.balances[-1]
        at = bisect_right(history.heights, height)
        return history.balances[at - 1] if at else None

    def stored_key(self, address: bytes) -> PublicKey | None:
        """The key kept with an account: only a genesis gives one."""
        return self._keys.get(address)

    def credit(self, address: bytes, amount: int, height: int) -> None:
        """Add coins (a negative amount takes them) at a height."""
        balance = (self.balance(address) or 0) + amount
        if balance < 0:
            raise ValueError(f"account {address.hex()} cannot pay {-amount} uPOKT: it would be left with {balance}")
        history = self._accounts.setdefault(address, _History())
        if history.heights and history.heights[-1] == height:
            history.balances[-1] = balance
        else:
            history.heights.append(height)
            history.balances.append(balance)

    def move(self, sender: bytes, recipient: bytes, amount: int, height: int) -> None:
        """Move coins between accounts."""
        self.credit(sender, -amount, height)
        self.credit(recipient, amount, height)

    def balances(self) -> dict[str, int]:
        """All balances by lower-case hex address."""
        return {address.hex(): history.balances[-1] for address, history in self._accounts.items()}

    @property
    def supply(self) -> int:
        """All coins there are."""
        return sum(history.balances[-1] for history in self._accounts.values())
