"""A configuration and a state directory for commands that need no network."""

import json
from pathlib import Path

import pytest

from reactor.chains.pocket import vault_address
from reactor.cli.main import main
from reactor.documents.events import BlockRef, Burn, Deposit
from reactor.parts import bridge_of
from reactor.settings import Settings, load_settings
from reactor.state.journal import Journal
from reactor.state.ledger import Ledger
from reactor.state.rows import EventKind

KEYS = [f"{number:02x}" * 32 for number in range(1, 4)]
VAULT = vault_address(KEYS)
MEMBERS = ["0x" + f"{number:02x}" * 20 for number in range(1, 4)]
RECIPIENT = "0x" + "ab" * 20
SENDER = "cd" * 20
PASSWORD = "hunter2-hunter2"
API_KEY = "0123456789abcdef0123456789abcdef"
NOBODY = "127.0.0.1:1"
"""Nothing listens there."""

TOML = f"""
[mongo]
uri = "mongodb://reactor:{PASSWORD}@{NOBODY}/?replicaSet=rs0"
timeout_ms = 200

[ethereum]
rpc_urls = ["http://{NOBODY}/v3/{API_KEY}"]
chain_id = 31337
wrapped_pocket_address = "0x67f4c72a50f8df6487720261e188f2abe83f57d7"
mint_controller_address = "0x0d006d9e862b362180eb602e5973fd1fdb6f78dd"
start_block = 100
burn_fee = 10000
validator_addresses = {json.dumps(MEMBERS)}
rpc_timeout_ms = 200

[pocket]
rpc_urls = ["http://{NOBODY}"]
chain_id = "localnet"
start_height = 1
multisig_public_keys = {json.dumps(KEYS)}
vault_address = "{VAULT}"
tx_fee = 10000
max_mint = 1000000000
rpc_timeout_ms = 200

[state]
directory = "state"
"""


def write_config(folder: Path, text: str = TOML) -> Path:
    path = folder / "reactor.toml"
    path.write_text(text)
    return path


def settings_in(folder: Path) -> Settings:
    return load_settings(write_config(folder), {})


def make_journal(settings: Settings) -> Journal:
    return Journal.create(settings.state.directory, bridge_of(settings), {"pocket": 0, "ethereum": 0})


def deposit(number: int = 1, *, memo: bool = True) -> Deposit:
    block = BlockRef(10 + number, "ee" * 32, 1_700_000_000)
    parsed = (RECIPIENT, "31337") if memo else (None, None)
    return Deposit(f"{number:064x}", 0, block, SENDER, 5_000_000, 0, True, "memo", *parsed)


def burn(index: int = 0, number: int = 9) -> Burn:
    block = BlockRef(150, "0x" + "ff" * 32, 1_700_000_000)
    return Burn("0x" + f"{number:064x}", index, index + 3, block, RECIPIENT, SENDER, 7_000_000)


def make_ledger(settings: Settings) -> None:
    """Two deposits and a transaction of two burns, final."""
    ledger = Ledger.open(settings.state.directory, bridge_of(settings))
    ledger.record_window(EventKind.DEPOSIT, 1, 100, [deposit(1), deposit(2, memo=False)], final=100)
    ledger.record_window(EventKind.BURN, 100, 200, [burn(0), burn(1)], final=200)
    ledger.close()


class OperatorDesk:
    """An operator before a validator's disk."""

    def __init__(self, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
        self.settings = settings_in(folder)
        self.bridge = bridge_of(self.settings)
        self.capsys = capsys
        self.config = str(folder / "reactor.toml")

    def do(self, *arguments: str, code: int = 0) -> str:
        """All that the command says; it must end with this code."""
        assert main([*arguments, "--config", self.config]) == code
        said = self.capsys.readouterr()
        return said.out + said.err
