"""Checks of what is this validator's own: keys, journal, lock, disk. No network, but for a key service."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Final

from reactor.keys import Signer, probe
from reactor.parts import bridge_of, open_ethereum_key, open_pocket_key
from reactor.preflight.results import CheckResult, failed, passed
from reactor.settings import Settings
from reactor.state.free import BUSY_SECONDS, when_free
from reactor.state.holds import ending
from reactor.state.journal import Journal
from reactor.state.ledger_file import check_ledger_file
from reactor.state.lock import ProcessLock
from reactor.state.problems import StateLocked, StateProblem

_LEAST_FREE_BYTES: Final = 256 * 1024 * 1024
_TRIED_BYTES: Final = 64 * 1024
_SHOWN: Final = 10
"""Holds that are named; more are counted."""
FOREIGN: Final = "configure the key that belongs to this vault, or correct the list (its order makes the vault's address)"
"""The remedy of a Pocket key that opens and is not the vault's: by it `run` knows that failure from a key that does not open."""
_NO_KEY: Final = "set {field} to its URI (`reactor keys new` makes one), or run with --observe"


@dataclass(slots=True)
class Own:
    """What the checks learn about this validator for those that follow."""

    address: str = ""
    pocket_key: str = ""


async def check_ethereum_key(settings: Settings, own: Own) -> list[CheckResult]:
    """The key opens; its address is what the contract must know."""
    signer = await open_ethereum_key(settings)
    if signer is None:
        return [failed("Ethereum key", "none is configured", _NO_KEY.format(field="ethereum.key"))]
    own.address = signer.address
    took = await _probed(signer)
    results = [passed("Ethereum key", f"{signer.address}, signs in {took * 1000:.0f} ms")]
    if signer.address not in settings.ethereum.validator_addresses:
        # The contract decides who signs; but heartbeats and objections are looked for under the configured addresses.
        detail = f"{signer.address} is not among ethereum.validator_addresses"
        results.append(failed("Ethereum key", detail, "add it there, with all operators, or configure the right key", "warning"))
    return results


async def _probed(signer: Signer) -> float:
    """Seconds that one signature over a worthless text took. The signer is closed. Raises KeyProblem."""
    try:
        return (await probe(signer)).seconds
    finally:
        await signer.close()


async def check_pocket_key(settings: Settings, own: Own) -> list[CheckResult]:
    """The key opens and is one of the vault's."""
    signer = await open_pocket_key(settings)
    if signer is None:
        return [failed("Pocket key", "none is configured", _NO_KEY.format(field="pocket.key"))]
    own.pocket_key = signer.public_key
    took = await _probed(signer)
    # SECURITY: payouts need all keys of the vault: a foreign key would block each of them.
    if signer.public_key not in settings.pocket.multisig_public_keys:
        return [
            failed(
                "Pocket key",
                f"{signer.public_key} is not among pocket.multisig_public_keys",
                FOREIGN,
            )
        ]
    place = settings.pocket.multisig_public_keys.index(signer.public_key) + 1
    return [
        passed(
            "Pocket key",
            f"{signer.public_key}, key {place} of {len(settings.pocket.multisig_public_keys)}, signs in {took * 1000:.0f} ms",
        )
    ]


async def check_journal(settings: Settings) -> list[CheckResult]:
    """There is a readable journal of this bridge; what is held is told."""
    directory, bridge = settings.state.directory, bridge_of(settings)
    journal = await when_free(lambda: Journal.open(directory, bridge, busy=BUSY_SECONDS))
    try:
        holds = journal.holds()
        detail = (
            f"instance {journal.instance}, made at Pocket height {journal.heights['pocket']}"
            f" and Ethereum block {journal.heights['ethereum']}"
        )
    finally:
        journal.close()
    results = [passed("journal", detail)]
    if holds:
        shown = "; ".join(f"{hold.id}: {hold.scope} ({hold.reason} by {hold.by})" for hold in holds[:_SHOWN])
        # Each way once: a limit holds many events, whose own scopes stand in the detail.
        remedy = "once each is understood: " + "; ".join(dict.fromkeys(ending(hold) for hold in holds[:_SHOWN]))
        results.append(failed("holds", f"{len(holds)} active: {shown}", remedy, "warning"))
    return results


async def check_ledger(settings: Settings) -> list[CheckResult]:
    """The ledger, where there is one, can be read and is of this bridge. It is left as it is."""
    directory, bridge = settings.state.directory, bridge_of(settings)
    return [passed("ledger", await when_free(lambda: check_ledger_file(directory, bridge, busy=BUSY_SECONDS)))]


async def check_lock(settings: Settings, *, starting: bool) -> list[CheckResult]:
    """No other process runs on this state directory (before a start), or which one does (else).

    By its name "state lock" `run` knows that failure from every other: its exit code says not to start again.
    """
    if not settings.state.directory.is_dir():
        return []  # the journal's check says it
    try:
        with ProcessLock(settings.state.directory):
            return [passed("state lock", f"free, {settings.state.directory}")]
    except StateLocked as error:
        if starting:
            return [failed("state lock", error.what, error.remedy)]
        return [passed("state lock", error.what)]
    except StateProblem as error:
        # Not "state lock": that name says that another process runs.
        return [failed("state directory", error.what, error.remedy)]


async def check_disk(settings: Settings) -> list[CheckResult]:
    """There is room for journal and ledger: a file of the size of a signature's notes is written there, and removed."""
    folder = _existing(settings.state.directory)
    free = shutil.disk_usage(folder).free
    detail = f"{free // 2**20} MiB free for {settings.state.directory}"
    try:
        with TemporaryFile(dir=folder) as file:
            file.write(b"\0" * _TRIED_BYTES)
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        what = f"{detail}; it takes no write: {error.strerror}"
        return [failed("disk", what, "free some space and check the directory's rights: without it nothing is scanned or signed")]
    if free < _LEAST_FREE_BYTES:
        return [failed("disk", detail, "free some space: without it nothing can be signed", "warning")]
    return [passed("disk", detail)]


def _existing(folder: Path) -> Path:
    """The folder itself, or the nearest above it that is there."""
    return next((one for one in (folder, *folder.parents) if one.exists()), folder)
