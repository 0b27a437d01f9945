"""The bridge that is measured: who validates, which deposits there are, and what lies in the database about them."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

from infra.localnet.configuration import BridgeShape, sections, write_configuration
from infra.localnet.deploy import Deployment
from infra.localnet.identities import Identity, validator_identity, write_keys
from infra.localnet.pocket.wallet import Vault
from reactor.chains.ethereum.eip712 import Domain, typed_data
from reactor.documents.bridge import Bridge, Schedule
from reactor.documents.build import deposit_document
from reactor.documents.events import BlockRef, Deposit, Minted
from reactor.documents.statuses import Status
from reactor.state.database import Database
from reactor.state.journal import Journal
from reactor.state.ledger import Ledger
from reactor.state.ledger_file import LEDGER_FILE
from reactor.state.rows import EventKind

WPOKT = "0x" + "11" * 20
CONTROLLER = "0x" + "22" * 20
POCKET_CHAIN = "localnet"
ETHEREUM_CHAIN = 31337
START = 10
FEE = 10_000
MAXIMUM = 10**15
RECIPIENTS = 1000
SWEPT = 6000
"""So many deposits lie before the measured ones, with documents: what the sweeps look for (500 in half a minute) meanwhile."""
DOMAIN = Domain("MintController", "1", ETHEREUM_CHAIN, CONTROLLER)
GENESIS = 1_700_000_000
_OLD_BLOCKS = 50
"""So many blocks hold the mints of the deposits before."""


@dataclass(frozen=True)
class MeasuredBridge:
    """`validators` with `threshold`; `deposits` final deposits to measure with, after `SWEPT` old ones.

    One per Pocket block, to `RECIPIENTS` recipients in turn.
    """

    validators: int
    threshold: int
    deposits: int

    @cached_property
    def identities(self) -> tuple[Identity, ...]:
        return tuple(validator_identity("benchmark", number) for number in range(1, self.validators + 1))

    @cached_property
    def vault(self) -> Vault:
        return Vault(tuple(one.pocket for one in self.identities))

    @cached_property
    def bridge(self) -> Bridge:
        fee = Schedule(((START, FEE),))
        return Bridge(
            *(POCKET_CHAIN, self.vault.address, self.vault.public_keys, START, fee, Schedule(((START, MAXIMUM),))),
            *(ETHEREUM_CHAIN, WPOKT, CONTROLLER, START, fee),
        )

    @property
    def head(self) -> int:
        """The Pocket block above the last deposit's."""
        return START + SWEPT + self.deposits

    def deposit(self, number: int) -> Deposit:
        """The deposit in block START + number."""
        recipient = "0x" + sha256(f"recipient {number % RECIPIENTS}".encode()).hexdigest()[:40]
        return Deposit(
            tx_hash=sha256(f"deposit {number}".encode()).hexdigest(),
            index=0,
            block=pocket_block(START + number),
            sender="bb" * 20,
            amount=1_000_000 + number,
            code=0,
            is_send=True,
            memo="",
            memo_address=recipient,
            memo_chain_id=str(ETHEREUM_CHAIN),
        )

    def confirmed(self, number: int) -> dict[str, Any]:
        """The mint document of a deposit as it stands when it has just become `confirmed`."""
        now = datetime.now(UTC)
        _, document = deposit_document(self.bridge, self.deposit(number), now)
        entry = {"status": Status.CONFIRMED.value, "at": now, "by": self.identities[0].ethereum_address, "reason": "final"}
        return {**document, "status": Status.CONFIRMED.value, "history": [entry]}

    def prepared(self, number: int) -> dict[str, Any]:
        """The same with the data that is signed in it: what the bare floor and the baseline start from, of the final size."""
        document = self.confirmed(number)
        recipient, amount, nonce = document["recipient_address"], int(document["amount"]), number // RECIPIENTS + 1
        data = {"recipient": recipient, "amount": str(amount), "nonce": str(nonce)}
        return {**document, "nonce": str(nonce), "data": data, "typed_data": typed_data(DOMAIN, recipient, amount, nonce)}

    def old(self) -> list[dict[str, Any]]:
        """The documents of the deposits before: minted long ago; a sweep looks at some of them by chance."""
        done = {"status": Status.SUCCESS.value}
        return [{**self.prepared(number), **done, "mint_tx_hash": self.minted(number).tx_hash} for number in range(SWEPT)]

    def minted(self, number: int) -> Minted:
        """The user's mint of an old deposit."""
        height = START + number * _OLD_BLOCKS // SWEPT
        deposit = self.deposit(number)
        return Minted(
            recipient=str(deposit.memo_address),
            amount=int(deposit.amount or 0),
            nonce=number // RECIPIENTS + 1,
            tx_hash="0x" + sha256(f"mint {number}".encode()).hexdigest(),
            log_index=number,
            block=ethereum_block(height),
        )

    def fill_ledger(self, directory: Path) -> Path:
        """One ledger that holds all deposits as final and asks no sweep to insert them; to be copied."""
        directory.mkdir(parents=True, exist_ok=True)
        ledger = Ledger.open(directory, self.bridge)
        last = self.head - 1
        deposits = [self.deposit(number) for number in range(SWEPT + self.deposits)]
        ledger.record_window(EventKind.DEPOSIT, START, last, deposits, last, pocket_block(last))
        # Nothing was returned: without a cursor for that, the scanner would read the whole chain again.
        ledger.record_window(EventKind.RETURNED, START, last, [], last, pocket_block(last))
        read = START + _OLD_BLOCKS
        mints = [self.minted(number) for number in range(SWEPT)]
        ledger.record_window(EventKind.MINTED, START, read, mints, read, ethereum_block(read))
        ledger.record_window(EventKind.BURN, START, read, [], read, ethereum_block(read))
        # The chains show the old deposits no more: nothing of the past is to be read a second time.
        ledger.begin_second("pocket", last + 1, last)
        ledger.begin_second("ethereum", read + 1, read)
        ledger.close()
        path = directory / LEDGER_FILE
        database = Database(path, "NORMAL", "")
        with database.transaction() as connection:
            # The documents are the driver's to insert, when it wants them.
            connection.execute("UPDATE events SET settled = 1, explained = 1")
        database.read("PRAGMA wal_checkpoint(TRUNCATE)")
        database.close()
        return path

    def place_validator(self, directory: Path, ledger: Path, number: int, uri: str, database: str) -> Path:
        """A validator's directory: configuration, keys, an empty journal and a copy of the ledger. Its configuration file."""
        state = directory / "state"
        state.mkdir(parents=True)
        shutil.copy(ledger, state / LEDGER_FILE)
        Journal.create(state, self.bridge, {"pocket": 0, "ethereum": 0}).close()
        made = sections(self._shape(uri, database), f"validator-{number}", write_keys(self.identities[number - 1], directory))
        made["state"]["directory"] = str(state)
        made["engine"] = {}  # the defaults of a real validator
        path = directory / "reactor.toml"
        write_configuration(path, made)
        return path

    def _shape(self, uri: str, database: str) -> BridgeShape:
        members = tuple(one.ethereum_address for one in self.identities)
        return BridgeShape(
            mongo_uri=uri,
            database=database,
            ethereum_urls=("http://127.0.0.1:1",),
            ethereum_finality="latest-1",
            ethereum_poll=2.0,
            deployment=Deployment(ETHEREUM_CHAIN, WPOKT, CONTROLLER, members, self.threshold, START),
            pocket_urls=("http://127.0.0.1:1",),
            pocket_chain_id=POCKET_CHAIN,
            pocket_start=START,
            pocket_confirmations=1,
            pocket_poll=5.0,
            vault=self.vault.address,
            vault_keys=self.vault.public_keys,
            fee=FEE,
            max_mint=MAXIMUM,
        )

    def numbers(self) -> Iterator[int]:
        """Each deposit that is to be measured, once."""
        return iter(range(SWEPT, SWEPT + self.deposits))


def pocket_block(height: int) -> BlockRef:
    return BlockRef(height, sha256(f"pocket {height}".encode()).hexdigest(), GENESIS + 60 * height)


def ethereum_block(height: int) -> BlockRef:
    return BlockRef(height, ethereum_hash(height), GENESIS + 12 * height)


def ethereum_hash(height: int) -> str:
    return "0x" + sha256(f"ethereum {height}".encode()).hexdigest()
