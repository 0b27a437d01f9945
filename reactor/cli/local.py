"""This validator's own disk, as operators' commands open it: beside a running validator, without chains and Mongo."""

# ruff: noqa: PLC0415 - what is heavy is imported by the command that needs it

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Final

from reactor.cli.common import Problem

if TYPE_CHECKING:
    from reactor.documents.events import Burn, Deposit
    from reactor.settings import Settings
    from reactor.state.journal import Journal
    from reactor.state.ledger import Ledger, Seen

_ID: Final = re.compile(r"[0-9a-f]{24}")


def open_journal(settings: Settings) -> Journal:
    """The signing journal. Raises JournalMissing or StateProblem."""
    from reactor.parts import bridge_of
    from reactor.state.journal import Journal

    return Journal.open(settings.state.directory, bridge_of(settings))


def read_ledger(settings: Settings) -> Ledger | None:
    """The ledger for looking things up; none where none was made yet.

    Never `Ledger.open`: with another configuration than the running validator's that would begin the ledger anew.
    """
    from reactor.parts import bridge_of
    from reactor.state.database import Database, meta_of, require_schema
    from reactor.state.ledger import Ledger
    from reactor.state.ledger_file import CORRUPT_REMEDY, LEDGER_FILE, LEDGER_SCHEMA, require_up_to_date

    path = settings.state.directory / LEDGER_FILE
    if not path.exists():
        return None
    bridge = bridge_of(settings)
    scopes = (bridge.pocket_scope, bridge.ethereum_scope)
    database = Database(path, "NORMAL", CORRUPT_REMEDY)
    try:
        meta = meta_of(database)
        require_up_to_date(database, meta)
        require_schema(database, meta, LEDGER_SCHEMA)
        _require_scope(meta.get("scope", ""), scopes, path)
    except BaseException:
        database.close()
        raise
    return Ledger(database, bridge)


def requests_in(ledger: Ledger, text: str) -> list[Seen[Deposit] | Seen[Burn]]:
    """The deposits and burns that a canonical hash or `_id` names, by their own transaction or by the one that completes them."""
    from bson import ObjectId

    from reactor.documents.events import Burn, Deposit

    if _ID.fullmatch(text):
        seen = ledger.by_document(ObjectId(text))
        return [seen] if seen is not None and isinstance(seen.event, Deposit | Burn) else []  # type: ignore[list-item]
    bare = text.removeprefix("0x")
    sources = of_transaction(ledger, bare)
    if sources:
        return sources
    if (paid := ledger.returned(bare)) is not None:
        return of_transaction(ledger, paid.event.memo.removeprefix("0x"))
    found: list[Seen[Deposit] | Seen[Burn]] = []
    for one in ledger.minted_in(f"0x{bare}"):
        base = ledger.base_nonce(one.event.recipient)
        source = None if base is None else ledger.mint_by_rank(one.event.recipient, one.event.nonce - base)
        found += [] if source is None else [source]
    return found


def of_transaction(ledger: Ledger, bare: str) -> list[Seen[Deposit] | Seen[Burn]]:
    """The deposit and the burns of one transaction; `bare`: its hash without `0x`."""
    deposit = ledger.deposit(bare)
    return [*([deposit] if deposit is not None else []), *ledger.burns_of_tx(f"0x{bare}")]


def _require_scope(noted: str, scopes: tuple[str, str], path: Path) -> None:
    if not all(scope in noted for scope in scopes):
        raise Problem(f"{path} belongs to the bridge {noted}", "name that bridge's configuration with --config")
