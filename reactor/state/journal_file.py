"""The journal's file: its tables, and how it comes into being whole or not at all."""

import os
import sqlite3
from collections.abc import Mapping
from pathlib import Path
from uuid import uuid4

from reactor.documents.bridge import Bridge
from reactor.state.private import make_private
from reactor.state.problems import StateProblem

JOURNAL_FILE = "journal.sqlite"
JOURNAL_SCHEMA = 1
CORRUPT_REMEDY = (
    "this is not a readable signing journal: restore the newest copy of its disk; if there is none, move it away and"
    " make a new one with `reactor journal new`, which signs nothing older"
)

# SECURITY: TRUST.md, rule 3. The constraints repeat what `sign_batch` checks: no bug in the code above them can note a second
# digest or move a slot.
_TABLES = """
CREATE TABLE meta (name TEXT PRIMARY KEY, value TEXT NOT NULL) STRICT;
CREATE TABLE signatures (
  id INTEGER PRIMARY KEY, event TEXT NOT NULL, outcome TEXT NOT NULL, attempt INTEGER NOT NULL, digest BLOB NOT NULL,
  slot TEXT REFERENCES slots (slot), chain TEXT NOT NULL, height INTEGER NOT NULL, direction TEXT NOT NULL,
  recipient TEXT NOT NULL, at INTEGER NOT NULL, UNIQUE (event, attempt)
) STRICT;
CREATE TABLE slots (slot TEXT PRIMARY KEY, event TEXT NOT NULL) STRICT;
CREATE TABLE complete_sets (
  event TEXT NOT NULL, attempt INTEGER NOT NULL, raw BLOB NOT NULL, amount TEXT NOT NULL, fee TEXT NOT NULL,
  at INTEGER NOT NULL, submitted_at INTEGER, included_at INTEGER, PRIMARY KEY (event, attempt)
) STRICT;
CREATE INDEX in_flight ON complete_sets (submitted_at) WHERE submitted_at IS NOT NULL AND included_at IS NULL;
CREATE TABLE holds (
  id INTEGER PRIMARY KEY, scope TEXT NOT NULL, reason TEXT NOT NULL, subject TEXT NOT NULL, detail TEXT NOT NULL,
  by TEXT NOT NULL, at INTEGER NOT NULL, released_by TEXT, released_at INTEGER, released_why TEXT
) STRICT;
CREATE INDEX active_holds ON holds (scope) WHERE released_at IS NULL;
CREATE INDEX known_holds ON holds (scope, reason, subject);
CREATE TABLE releases (
  event TEXT NOT NULL, attempt INTEGER NOT NULL, by TEXT NOT NULL, at INTEGER NOT NULL, why TEXT NOT NULL,
  PRIMARY KEY (event, attempt)
) STRICT;
CREATE TRIGGER signatures_stay BEFORE DELETE ON signatures BEGIN SELECT raise(ABORT, 'the journal is append-only'); END;
CREATE TRIGGER signatures_rest BEFORE UPDATE ON signatures BEGIN SELECT raise(ABORT, 'the journal is append-only'); END;
CREATE TRIGGER slots_stay BEFORE DELETE ON slots BEGIN SELECT raise(ABORT, 'the journal is append-only'); END;
CREATE TRIGGER slots_rest BEFORE UPDATE ON slots BEGIN SELECT raise(ABORT, 'the journal is append-only'); END;
"""


def create_journal(path: Path, bridge: Bridge, heights: Mapping[str, int], *, allow_older: bool, at: int) -> None:
    """Write an empty journal to `path`. Raises StateProblem if there is one or the disk refuses; nothing is left behind."""
    meta = {
        "schema": str(JOURNAL_SCHEMA),
        "instance": uuid4().hex,
        "created_at": str(at),
        "pocket_scope": bridge.pocket_scope,
        "ethereum_scope": bridge.ethereum_scope,
        "pocket_height": str(int(heights["pocket"])),
        "ethereum_height": str(int(heights["ethereum"])),
        "allow_older": "1" if allow_older else "0",
    }
    draft = path.with_name(f".{path.name}.{meta['instance']}")
    try:
        make_private(path.parent)
        try:
            _write(draft, meta)
            # A hard link fails where a journal exists: two commands at once cannot replace each other's.
            os.link(draft, path)
        finally:
            draft.unlink(missing_ok=True)
        _sync_directory(path.parent)
    except FileExistsError as error:
        raise StateProblem(
            f"there is a signing journal at {path} already", "use it; move it away only if it is certainly not this validator's"
        ) from error
    except (OSError, sqlite3.Error) as error:
        raise StateProblem(
            f"cannot create {path}: {error}", "check that its directory is writable and its disk has space"
        ) from error


def _write(path: Path, meta: Mapping[str, str]) -> None:
    # Owner only: whom a validator signed for, and when, is nobody else's to change.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    connection = sqlite3.connect(path, isolation_level=None)
    try:
        connection.execute("PRAGMA synchronous=EXTRA")
        connection.executescript(f"BEGIN;{_TABLES}")
        connection.executemany("INSERT INTO meta VALUES (?, ?)", meta.items())
        connection.execute("COMMIT")
    finally:
        connection.close()


def _sync_directory(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
