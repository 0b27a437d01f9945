"""Who takes part in a development network: keys made from a seed, the same on every run and worthless by agreement."""

import os
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

from eth_account import Account
from eth_account.signers.local import LocalAccount

from infra.localnet.anvil import development_account
from infra.localnet.pocket.wallet import Wallet

DEFAULT_SEED = "localnet"


@dataclass(frozen=True, slots=True)
class Identity:
    """One party with a key on each chain."""

    name: str
    pocket: Wallet
    ethereum: LocalAccount

    @property
    def ethereum_address(self) -> str:
        """Lower case with 0x."""
        return str(self.ethereum.address).lower()


@dataclass(frozen=True, slots=True)
class KeyFiles:
    """The URIs under which a validator's configuration names its keys."""

    ethereum: str
    pocket: str


def validator_identity(seed: str, number: int) -> Identity:
    """Validator `number` (from 1)."""
    name = f"validator-{number}"
    secret = sha256(f"development ethereum key {seed} {name}".encode()).digest()
    account: LocalAccount = Account.from_key(secret)
    return Identity(name, Wallet.from_seed(f"{seed} {name}"), account)


def user_identity(seed: str, number: int) -> Identity:
    """User `number` (from 1): on Ethereum an account that anvil funds; account 0 is the deployer."""
    name = f"user-{number}"
    return Identity(name, Wallet.from_seed(f"{seed} {name}"), development_account(number))


def write_keys(identity: Identity, directory: Path) -> KeyFiles:
    """Write both keys as the validator reads them, mode 0600; files that exist stay as they are."""
    directory.mkdir(parents=True, exist_ok=True)
    return KeyFiles(
        ethereum=_write(directory / "ethereum.key", bytes(identity.ethereum.key).hex()),
        pocket=_write(directory / "pocket.key", identity.pocket.private_hex),
    )


def _write(path: Path, text: str) -> str:
    path = path.absolute()
    if not path.exists():
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
            file.write(text + "\n")
    return f"file://{quote(str(path))}"
