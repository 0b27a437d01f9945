"""The ledger's file: its tables, and whether what it holds was read for this bridge."""

from json import dumps, loads
from pathlib import Path
from sqlite3 import Connection

from loguru import logger

from reactor.documents.bridge import Bridge
from reactor.documents.events import Deposit
from reactor.state.created import renumber
from reactor.state.database import BUSY, Database, meta_of, require_schema
from reactor.state.private import make_private
from reactor.state.problems import StateProblem
from reactor.state.rows import EventKind, decode, mint_recipient, request_id
from reactor.state.second import SECOND_TABLES
from reactor.state.wishes import WISH_TABLES

LEDGER_FILE = "ledger.sqlite"
LEDGER_SCHEMA = 2
_FIRST_SCHEMA = "1"
"""Without `created` and second readings; it is brought up to date when it is opened."""
CORRUPT_REMEDY = "delete it (with its -wal and -shm): it is read again from the start blocks"

_TABLES = (
    "CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT",
    """CREATE TABLE IF NOT EXISTS events (
      id INTEGER PRIMARY KEY, key TEXT NOT NULL UNIQUE, kind TEXT NOT NULL, height INTEGER NOT NULL, position INTEGER NOT NULL,
      tx_hash TEXT NOT NULL, address TEXT, number TEXT, memo BLOB, document TEXT, body TEXT NOT NULL,
      final INTEGER NOT NULL, settled INTEGER NOT NULL DEFAULT 0, explained INTEGER NOT NULL DEFAULT 0,
      created INTEGER NOT NULL DEFAULT 0
    ) STRICT""",
    "CREATE INDEX IF NOT EXISTS by_transaction ON events (tx_hash, kind)",
    "CREATE INDEX IF NOT EXISTS by_height ON events (kind, height, position)",
    "CREATE INDEX IF NOT EXISTS not_final ON events (kind, height) WHERE final = 0",
    "CREATE INDEX IF NOT EXISTS by_address ON events (kind, address, final, height, position) WHERE address IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS by_nonce ON events (address, number) WHERE kind = 'minted'",
    "CREATE INDEX IF NOT EXISTS by_document ON events (document) WHERE document IS NOT NULL",
    "CREATE INDEX IF NOT EXISTS by_memo ON events (memo) WHERE kind = 'returned'",
    "CREATE INDEX IF NOT EXISTS open_work ON events (kind, height, key) WHERE settled = 0",
    "CREATE INDEX IF NOT EXISTS not_explained ON events (kind, height, key) WHERE explained = 0 AND final = 1",
    "CREATE TABLE IF NOT EXISTS cursors (kind TEXT PRIMARY KEY, height INTEGER NOT NULL, hash TEXT, time INTEGER) STRICT",
    "CREATE TABLE IF NOT EXISTS base_nonces (recipient TEXT PRIMARY KEY, nonce TEXT NOT NULL) STRICT",
    "CREATE TABLE IF NOT EXISTS repairs (document TEXT PRIMARY KEY, count INTEGER NOT NULL) STRICT",
    "CREATE TABLE IF NOT EXISTS stream (id INTEGER PRIMARY KEY CHECK (id = 1), token BLOB NOT NULL) STRICT",
    *WISH_TABLES,
    *SECOND_TABLES,
)
MOST = 2**62
_DEPOSIT_SENDER, _DEPOSIT_AMOUNT = 3, 4
"""Where a deposit's row of the first schema has them."""
_READ_FROM_CHAINS = ("events", "cursors", "base_nonces", "repairs", "stream", "retries", "rescans", "second_readings")


def open_ledger_file(directory: Path, bridge: Bridge, busy: float = BUSY) -> Database:
    """Open the file, made if it is missing. Raises StateProblem (damaged, unwritable, of another bridge)."""
    make_private(directory)
    database = Database(directory / LEDGER_FILE, "NORMAL", CORRUPT_REMEDY, busy=busy)
    try:
        _prepare(database, bridge)
    except BaseException:
        database.close()
        raise
    return database


def require_up_to_date(database: Database, meta: dict[str, str]) -> None:
    """Refuse a file of the first schema to who only reads it. Raises StateProblem."""
    if meta.get("schema") == _FIRST_SCHEMA:
        raise StateProblem(
            f"{database.path} is of an earlier version and was not brought up to date yet",
            "start this version once, `reactor run` does it; until then use the version that runs here",
        )


def check_ledger_file(directory: Path, bridge: Bridge, busy: float = BUSY) -> str:
    """Whether `open_ledger_file` can use the file that is there, which is left as it is; in words what a start makes of it.

    Raises StateProblem where it cannot.
    """
    path = directory / LEDGER_FILE
    meta = _meta_in(path, bridge, busy) if path.exists() else {}
    if not meta:
        return "none yet: it is made at the start and read from the start blocks"
    if meta["schema"] == _FIRST_SCHEMA:
        return "of an earlier version: it is brought up to date at the start"
    return (
        "of this bridge" if meta.get("start") == _start(bridge) else "of other start blocks: it is read again from the new ones"
    )


def _meta_in(path: Path, bridge: Bridge, busy: float) -> dict[str, str]:
    """Empty where a start ended before it had made the file."""
    database = Database(path, "NORMAL", CORRUPT_REMEDY, busy=busy)
    try:
        made = database.read_one("SELECT 1 FROM sqlite_master WHERE name = 'meta'")
        meta = meta_of(database) if made else {}
        if meta:
            _require_ours(database, meta, bridge)
    finally:
        database.close()
    return meta


def _require_ours(database: Database, meta: dict[str, str], bridge: Bridge) -> None:
    if meta.get("schema") != _FIRST_SCHEMA:
        require_schema(database, meta, LEDGER_SCHEMA)
    if meta.get("scope") != _scope(bridge):
        raise StateProblem(
            f"{database.path} belongs to the bridge {meta.get('scope', 'none')}, not to {_scope(bridge)}",
            "point the state directory to this bridge's ledger",
        )


def _prepare(database: Database, bridge: Bridge) -> None:
    with database.transaction() as connection:
        for statement in _TABLES[:1]:
            connection.execute(statement)
    meta = meta_of(database)
    own = {"schema": str(LEDGER_SCHEMA), "scope": _scope(bridge), "start": _start(bridge), "identity": bridge.identity_hash()}
    if meta:
        _require_ours(database, meta, bridge)
    with database.transaction() as connection:
        if meta and meta["schema"] == _FIRST_SCHEMA:
            _migrate(connection)
        for statement in _TABLES:
            connection.execute(statement)
        if meta and meta["start"] != own["start"]:
            logger.warning("the start blocks changed: the ledger is read again from the new ones")
            for table in _READ_FROM_CHAINS:
                connection.execute(f"DELETE FROM {table}")  # noqa: S608 (names of ours)
        elif meta and meta["identity"] != own["identity"]:
            logger.warning(
                "the bridge's identity changed: {} deposits are classified otherwise", _classify_again(connection, bridge)
            )
        connection.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", own.items())


def _migrate(connection: Connection) -> None:
    """From the first schema. In the same transaction that notes the new one: whoever finds it half done finds it not begun."""
    connection.execute("ALTER TABLE events ADD COLUMN created INTEGER NOT NULL DEFAULT 0")
    for identifier, body in connection.execute("SELECT id, body FROM events WHERE kind = 'deposit'").fetchall():
        fields = loads(body)
        if fields[_DEPOSIT_AMOUNT] is None and fields[_DEPOSIT_SENDER]:
            # What does not decode has no sender any more: it was the node's word, and another node's would be another deposit.
            fields[_DEPOSIT_SENDER] = ""
            connection.execute("UPDATE events SET body = ? WHERE id = ?", (dumps(fields, separators=(",", ":")), identifier))
    for kind in EventKind:
        renumber(connection, kind.value, (-1, 0), (MOST, MOST))
    logger.info("the ledger was brought from schema {} to {}", _FIRST_SCHEMA, LEDGER_SCHEMA)


def _classify_again(connection: Connection, bridge: Bridge) -> int:
    """Fees and maximum decide what a deposit becomes: with other schedules, other deposits count for the nonces."""
    moved: list[tuple[str | None, str | None, int]] = []
    for identifier, address, body in connection.execute("SELECT id, address, body FROM events WHERE kind = 'deposit'"):
        deposit = decode(EventKind.DEPOSIT, body)
        assert isinstance(deposit, Deposit)
        recipient = mint_recipient(bridge, deposit)
        if recipient != address:
            moved.append((recipient, request_id(bridge, deposit), identifier))
    connection.executemany("UPDATE events SET address = ?, document = ?, settled = 0 WHERE id = ?", moved)
    return len(moved)


def _scope(bridge: Bridge) -> str:
    return dumps([bridge.pocket_scope, bridge.ethereum_scope])


def _start(bridge: Bridge) -> str:
    return dumps([bridge.pocket_start, bridge.ethereum_start])
