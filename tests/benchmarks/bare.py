"""What the bare floor and the baseline have in common: key, digest, signature, journal commit. Nothing of the bridge's code.

`python -m tests.benchmarks.floor <uri> <database> <journal> <key> <threshold>`, likewise `baseline`.
"""

import sqlite3
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from coincurve import PrivateKey
from eth_hash.auto import keccak
from pymongo import AsyncMongoClient

Document = dict[str, Any]

_MINT_TYPE = keccak(b"MintData(address recipient,uint256 amount,uint256 nonce)")
_DOMAIN_TYPE = keccak(b"EIP712Domain(string name,string version,uint256 chainId,address verifyingContract)")


@dataclass(frozen=True)
class Arguments:
    """How a bare validator is started."""

    uri: str
    database: str
    journal: Path
    key: bytes
    threshold: int

    @classmethod
    def read(cls) -> Self:
        uri, database, journal, key, threshold = sys.argv[1:]
        return cls(uri, database, Path(journal), bytes.fromhex(key), int(threshold))

    def client(self, **options: Any) -> AsyncMongoClient[Document]:
        return AsyncMongoClient(self.uri, w="majority", readConcernLevel="majority", **options)


class BareSigner:
    """EIP-712 with a cached domain separator, and libsecp256k1."""

    def __init__(self, key: bytes, chain_id: int, contract: str) -> None:
        self._key = PrivateKey(key)
        self.address = "0x" + keccak(self._key.public_key.format(compressed=False)[1:])[-20:].hex()
        self._separator = keccak(
            _DOMAIN_TYPE + keccak(b"MintController") + keccak(b"1") + _word(chain_id) + _word(int(contract, 16))
        )

    def digest(self, data: Document) -> bytes:
        """The 32 bytes that are signed for a document's `data`."""
        struct = keccak(_MINT_TYPE + _word(int(data["recipient"], 16)) + _word(int(data["amount"])) + _word(int(data["nonce"])))
        return keccak(b"\x19\x01" + self._separator + struct)

    def sign(self, digest: bytes) -> str:
        """The signature as the contract wants it."""
        signature = self._key.sign_recoverable(digest, hasher=None)
        return "0x" + signature[:64].hex() + f"{27 + signature[64]:02x}"


class BareJournal:
    """The same tables' worth of rows in one durable transaction: WAL, synchronous=FULL."""

    def __init__(self, path: Path) -> None:
        self._connection = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        self._connection.execute("PRAGMA journal_mode=WAL")
        self._connection.execute("PRAGMA synchronous=FULL")
        self._connection.execute("CREATE TABLE slots (slot TEXT PRIMARY KEY, event TEXT NOT NULL) STRICT")
        self._connection.execute(
            "CREATE TABLE signatures (id INTEGER PRIMARY KEY, event TEXT NOT NULL, outcome TEXT NOT NULL,"
            " attempt INTEGER NOT NULL, digest BLOB NOT NULL, slot TEXT, chain TEXT NOT NULL, height INTEGER NOT NULL,"
            " direction TEXT NOT NULL, recipient TEXT NOT NULL, at INTEGER NOT NULL, UNIQUE (event, attempt)) STRICT"
        )

    def commit(self, rows: list[tuple[Document, bytes]]) -> None:
        """Note the documents with their digests: on disk when this returns."""
        connection = self._connection
        connection.execute("BEGIN IMMEDIATE")
        for document, digest in rows:
            event, data = f"pocket:localnet:{document['vault_address']}:{document['transaction_hash']}", document["data"]
            slot = f"ethereum:{data['recipient']}:{data['nonce']}"
            connection.execute("INSERT OR IGNORE INTO slots VALUES (?, ?)", (slot, event))
            connection.execute(
                "INSERT INTO signatures (event, outcome, attempt, digest, slot, chain, height, direction, recipient, at)"
                " VALUES (?, 'mint', 0, ?, ?, 'pocket', ?, 'mint', ?, ?)",
                (event, digest, slot, int(document["height"]), data["recipient"], int(time.time())),
            )
        connection.execute("COMMIT")


def _word(number: int) -> bytes:
    return number.to_bytes(32, "big")
