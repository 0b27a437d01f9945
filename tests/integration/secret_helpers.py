"""Secrets of recognisable text, and a search for them in every spelling in which they could get out."""

import base64
import contextlib
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any
from urllib.parse import quote, quote_plus

import bson
import psutil
from cli_helpers import ROOT, Keys
from coincurve import PrivateKey
from pymongo import MongoClient

from reactor.keys.curves import ethereum_address
from reactor.keys.local import signer_from_secret

SHORTEST_PIECE = 12


@dataclass(frozen=True)
class Secrets:
    """What a validator must keep to itself. Keys are 32 bytes that happen to be text, so that a raw copy is seen as well."""

    ethereum_key: bytes = b"The-Ethereum-key-of-a-validator!"
    pocket_seed: bytes = b"Seed:never-seen-by-anybody-else."
    passphrase: bytes = b"open sesame: the keystore's passphrase"
    mongo_password: bytes = b"pass/word@of#this:user in MongoDB"
    rpc_password: bytes = b"what-a-node-asks-its-clients-for"
    api_key: bytes = b"9f8e7d6c5b4aPROJECT1029384756ID"

    def items(self) -> Iterator[tuple[str, bytes]]:
        return ((one.name, getattr(self, one.name)) for one in fields(self))


def keys_of(number: int) -> Keys:
    """The secrets' keys are validator 0's; the others' differ in the first byte."""
    known = Secrets()
    ethereum = bytes([known.ethereum_key[0] + number]) + known.ethereum_key[1:]
    pocket = bytes([known.pocket_seed[0] + number]) + known.pocket_seed[1:]
    public = signer_from_secret(pocket, "ed25519", "test").public_key
    return Keys(ethereum.hex(), ethereum_address(PrivateKey(ethereum).public_key), pocket.hex() + public, public)


def spellings(secret: bytes) -> set[bytes]:
    """Raw, hex, Base64, in a URL, as Python and as JSON show it, as a number; and the halves of each, if it is cut."""
    text = secret.decode()
    whole = {
        *(secret.hex(), secret.hex().upper(), text, repr(text)[1:-1], quote(text, safe=""), quote_plus(text)),
        *(base64.b64encode(secret).decode(), base64.urlsafe_b64encode(secret).decode()),
        *(str(int.from_bytes(secret, order)) for order in ("big", "little")),
    }
    pieces = {part for one in whole for part in (one, one[: len(one) // 2], one[len(one) // 2 :])}
    return {piece.encode() for piece in pieces if len(piece) >= SHORTEST_PIECE}


NEEDLES = {name: spellings(secret) for name, secret in Secrets().items()}


def secrets_in(place: str, content: bytes | str) -> list[str]:
    """Which secrets stand there, in any spelling."""
    raw = content.encode() if isinstance(content, str) else content
    return [f"{name} in {place}" for name, needles in NEEDLES.items() if any(needle in raw for needle in needles)]


def secrets_in_files(paths: Iterable[Path]) -> list[str]:
    return [found for path in paths if path.is_file() for found in secrets_in(str(path), path.read_bytes())]


def secrets_in_database(uri: str, name: str) -> tuple[int, list[str]]:
    """How many documents there are, and the secrets in any of them, whatever the collection."""
    documents: list[tuple[str, dict[str, Any]]] = []
    with MongoClient[dict[str, Any]](uri) as client:
        for collection in client[name].list_collection_names():
            documents += [(collection, one) for one in client[name][collection].find()]
    return len(documents), [found for place, one in documents for found in secrets_in(place, bson.encode(one))]


def secrets_in_process_list(pid: int) -> list[str]:
    """The command lines of a process and its children, as every user of the machine sees them."""
    family = [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    return [found for one in family for found in secrets_in(f"/proc/{one}/cmdline", Path(f"/proc/{one}/cmdline").read_bytes())]


def core_limit(pid: int) -> tuple[str, str]:
    """Soft and hard limit of core files, as the kernel shows them."""
    line = next(one for one in Path(f"/proc/{pid}/limits").read_text().splitlines() if one.startswith("Max core file size"))
    soft, hard = line.split()[4:6]
    return soft, hard


def owner_below_proc(pid: int) -> int:
    """Whose the process's private files below /proc are: root's when it is not dumpable, else its own user's (proc(5))."""
    return Path(f"/proc/{pid}/environ").stat().st_uid


@contextlib.contextmanager
def running(folder: Path, program: Sequence[str | Path], **environment: str) -> Iterator["Running"]:
    """A process whose outputs go to files in `folder`; killed at the end if it still runs."""
    with (folder / "stdout").open("wb") as out, (folder / "stderr").open("wb") as err:
        process = subprocess.Popen(
            [*map(str, program)], cwd=folder, env={**os.environ, "PYTHONPATH": str(ROOT), **environment}, stdout=out, stderr=err
        )
        try:
            yield Running(process, folder)
        finally:
            if process.poll() is None:
                process.kill()
            process.wait(60)


@dataclass
class Running:
    """What `running` started."""

    process: subprocess.Popen[bytes]
    folder: Path

    @property
    def outputs(self) -> list[Path]:
        return [self.folder / "stdout", self.folder / "stderr"]

    def said(self) -> str:
        return "".join(path.read_text(errors="replace") for path in self.outputs)

    def until(self, text: str, seconds: float = 90.0) -> None:
        """Wait until it has said this; an AssertionError with all that it said if it ends before."""
        end = time.monotonic() + seconds
        while text not in self.said():
            assert self.process.poll() is None, f"it ended with {self.process.returncode}:\n{self.said()}"
            assert time.monotonic() < end, f"it never said {text!r}:\n{self.said()}"
            time.sleep(0.05)

    def stop(self) -> int:
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(60)
