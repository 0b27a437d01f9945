"""What each validator can do, measured from outside: through its own nodes and lines, on its own disk, by its own files.

Nothing here asks the validator or runs its code; what it says of itself is held against this (`health`).
"""

from __future__ import annotations

import asyncio
import os
import sqlite3
import time
from collections import deque
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager, closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
from pymongo import AsyncMongoClient
from pymongo.errors import PyMongoError

from infra.localnet.member import LocalValidator
from infra.localnet.processes import ProcessError
from reactor.state.journal_file import JOURNAL_FILE
from reactor.state.ledger_file import LEDGER_FILE
from tests.chaos.world import World

SCAN_SECONDS: Final = 10.0
"""A chain is to be read to its head within this time, or within twice the poll where that is longer (it never is here)."""
STREAM_SECONDS: Final = 10.0
_PATIENCE: Final = {"scan": SCAN_SECONDS, "stream": STREAM_SECONDS}
_ASK_SECONDS: Final = 3.0
_SLACK_BLOCKS: Final = 1
_CURSORS: Final = {"pocket": "deposit", "ethereum": "burn"}
_SIGNING: Final = "signing"
_BOTH: Final = {_SIGNING, "direction:mint", "direction:payout"}


@dataclass
class Since:
    """Since when something is so without a break; None: it is not so."""

    at: float | None = None

    def note(self, now: float, *, so: bool) -> None:
        self.at = (now if self.at is None else self.at) if so else None

    def lasts(self, now: float) -> float:
        return 0.0 if self.at is None else now - self.at


@dataclass
class Heights:
    """The true heads of one chain over the last minute."""

    _seen: deque[tuple[float, int]] = field(default_factory=deque)

    def note(self, now: float, height: int) -> None:
        self._seen.append((now, height))
        while self._seen and now - self._seen[0][0] > 60:
            self._seen.popleft()

    def before(self, now: float, seconds: float) -> int:
        """A height that every node has had for so long, also where the chain became shorter since."""
        old = [height for at, height in self._seen if now - at >= seconds]
        young = [height for at, height in self._seen if now - at < seconds]
        return min([old[-1], *young]) if old else 0


class Looks:
    """Counts looks, one at a time, for who must know what is true after a moment and not what was found before it."""

    def __init__(self) -> None:
        self._begun = self._ended = 0
        self._over = asyncio.Condition()

    @asynccontextmanager
    async def one(self) -> AsyncIterator[None]:
        """A look lasts as long as this block."""
        self._begun += 1
        yield
        async with self._over:
            self._ended = self._begun
            self._over.notify_all()

    async def anew(self) -> None:
        """Wait until a look has ended that began after this call."""
        begun = self._begun
        async with self._over:
            await self._over.wait_for(lambda: self._ended > begun)


class Abilities:
    """Looked at once a second. `cannot` says what each validator certainly cannot do, since when, and why; `can` whether it
    certainly can do everything. In between, while something has just begun or ended, neither is said.
    """

    def __init__(self, world: World) -> None:
        self._world = world
        self._heights = {"pocket": Heights(), "ethereum": Heights()}
        self._bad: dict[tuple[str, str], Since] = {}
        self._good: dict[str, Since] = {}
        self._why: dict[str, dict[str, str]] = {}
        self._clients: dict[str, AsyncMongoClient[dict[str, Any]]] = {}
        self._session: aiohttp.ClientSession | None = None
        self._settings = {one.name: one.settings() for one in world.net.validators}
        self.looks = Looks()

    async def close(self) -> None:
        """Let go of all connections."""
        if self._session is not None:
            await self._session.close()
        await asyncio.gather(*(client.close() for client in self._clients.values()))

    def cannot(self, name: str) -> dict[str, str]:
        """What it cannot do now, for longer than it may take to be noticed, and why."""
        now, patience = time.monotonic(), {"scan": SCAN_SECONDS, "stream": STREAM_SECONDS}
        return {
            what: why
            for what, why in self._why.get(name, {}).items()
            if self._bad[name, what].lasts(now) >= patience.get(what, 0.0)
        }

    def longest(self, name: str) -> float:
        """Seconds for which it has certainly not been able to do something of its work."""
        now = time.monotonic()
        lasts = [self._bad[name, what].lasts(now) - _PATIENCE.get(what, 0.0) for what in self.cannot(name)]
        return max(lasts, default=0.0)

    def since(self, name: str) -> dict[str, float]:
        """What it cannot do now, and since which moment (`time.monotonic`) without a break."""
        at = {what: self._bad[name, what].at for what in self.cannot(name)}
        return {what: moment for what, moment in at.items() if moment is not None}

    def can(self, name: str) -> bool:
        """Whether nothing has kept it from anything for so long that it must know."""
        good = self._good.get(name)
        return good is not None and good.lasts(time.monotonic()) >= SCAN_SECONDS

    async def look(self) -> None:
        """Measure everything once. One look at a time."""
        async with self.looks.one():
            await self._measure()

    async def _measure(self) -> None:
        if self._session is None:
            self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_ASK_SECONDS))
        await self._note_heads()
        urls = {url for one in self._settings.values() for url in (*one.ethereum.rpc_urls, *one.pocket.rpc_urls)}
        answers = await _together({str(url): self._answers(str(url)) for url in urls})
        lines = {self._uri(one.name) for one in self._world.net.validators}
        reached = await _together({uri: self._reaches(uri) for uri in lines})
        now = time.monotonic()
        for one in self._world.net.validators:
            found = {
                **self._process(one),
                **self._scan(one, answers, now),
                **({} if reached[self._uri(one.name)] else {"stream": "the database does not answer through its line"}),
                **await asyncio.to_thread(self._disk, one),
                **await asyncio.to_thread(self._signing, one),
            }
            self._note(one.name, found, now)

    def _note(self, name: str, found: dict[str, str], now: float) -> None:
        self._why[name] = found
        for what in ("process", "scan", "stream", "state", "sign"):
            self._bad.setdefault((name, what), Since()).note(now, so=what in found)
        self._good.setdefault(name, Since()).note(now, so=not found)

    # --- process -------------------------------------------------------------------------------------------------

    @staticmethod
    def _process(one: LocalValidator) -> dict[str, str]:
        try:
            state = Path(f"/proc/{one.process.pid}/stat").read_text().rpartition(")")[2].split()[0] if one.running else "X"
        except (OSError, ProcessError):
            state = "X"
        return {"process": f"its process is in state {state}"} if state in {"T", "t", "X", "Z"} else {}

    # --- chains --------------------------------------------------------------------------------------------------

    async def _note_heads(self) -> None:
        now, net = time.monotonic(), self._world.net
        self._heights["pocket"].note(now, net.pocket.chain.height)
        head = await self._ask(net.anvil.url, "eth_blockNumber", [])
        if isinstance(head, str):
            self._heights["ethereum"].note(now, int(head, 16))

    def _scan(self, one: LocalValidator, answers: dict[str, bool], now: float) -> dict[str, str]:
        """Not enough of its nodes answer, or it has not read what was final long enough ago."""
        settings, manifest = self._settings[one.name], self._world.manifest
        depths = {"pocket": manifest.pocket_confirmations, "ethereum": manifest.ethereum_confirmations}
        for chain, depth in depths.items():
            section = getattr(settings, chain)
            well = sum(answers[str(url)] for url in section.rpc_urls)
            if well < section.agreement:
                return {"scan": f"{well} of its {chain} nodes answer, it needs {section.agreement}"}
            due = self._heights[chain].before(now, SCAN_SECONDS) - depth - _SLACK_BLOCKS
            read = cursor_of(one.state / LEDGER_FILE, _CURSORS[chain])
            if read is not None and read < due:
                # What it had to read is ten seconds old already.
                since = self._bad.setdefault((one.name, "scan"), Since())
                since.at = min(now - SCAN_SECONDS, now if since.at is None else since.at)
                return {"scan": f"it has read {chain} up to {read}, and {due} was final {SCAN_SECONDS:g} s ago"}
        return {}

    async def _answers(self, url: str) -> bool:
        """Whether a node answers as one needs it to scan: its chain, a head that is not old, its blocks."""
        net, now = self._world.net, time.monotonic()
        ethereum = {node.url for node in self._world.ethereum.values()} | {net.anvil.url}
        if url in ethereum:
            chain, head = await asyncio.gather(self._ask(url, "eth_chainId", []), self._ask(url, "eth_blockNumber", []))
            if chain != hex(net.deployment.chain_id) or not isinstance(head, str):
                return False
            logs = await self._ask(url, "eth_getLogs", [{"fromBlock": head, "toBlock": head, "address": net.deployment.wpokt}])
            return isinstance(logs, list) and int(head, 16) >= self._heights["ethereum"].before(now, SCAN_SECONDS)
        head = await self._post(f"{url}/v1/query/height", {})
        height = head.get("height") if isinstance(head, dict) else None
        if not isinstance(height, int) or height < self._heights["pocket"].before(now, SCAN_SECONDS):
            return False
        block = await self._post(f"{url}/v1/query/block", {"height": height})
        try:
            return bool(block["block"]["header"]["chain_id"] == net.pocket.chain.genesis.chain_id)
        except (KeyError, TypeError):
            return False

    async def _ask(self, url: str, method: str, params: list[Any]) -> Any:
        answer = await self._post(url, {"jsonrpc": "2.0", "id": 1, "method": method, "params": params})
        return answer.get("result") if isinstance(answer, dict) else None

    async def _post(self, url: str, body: dict[str, Any]) -> Any:
        assert self._session is not None
        try:
            async with self._session.post(url, json=body) as answer:
                return await answer.json(content_type=None) if answer.status == 200 else None
        except (aiohttp.ClientError, OSError, TimeoutError, ValueError):
            return None

    # --- database ------------------------------------------------------------------------------------------------

    def _uri(self, name: str) -> str:
        return self._settings[name].mongo.uri.get_secret_value()

    async def _reaches(self, uri: str) -> bool:
        if uri not in self._clients:
            patience = int(_ASK_SECONDS * 1000)
            self._clients[uri] = AsyncMongoClient(uri, serverSelectionTimeoutMS=patience, connectTimeoutMS=patience)
        try:
            async with asyncio.timeout(_ASK_SECONDS):
                await self._clients[uri].get_database("admin").command("ping")
        except (PyMongoError, TimeoutError):
            return False
        return True

    # --- its own disk --------------------------------------------------------------------------------------------

    def _disk(self, one: LocalValidator) -> dict[str, str]:
        """A real write into its real files, as another process of its operator would make it."""
        disk = self._world.disks.get(one.name)
        if disk is None:
            return {}
        if disk.full and not disk.mounted:
            return {"state": "its process may not make any file longer"}
        for name in (JOURNAL_FILE, LEDGER_FILE):
            if (one.state / name).exists() and (why := _write(one.state / name)):
                return {"state": f"{name}: {why}"}
        return {}

    def _signing(self, one: LocalValidator) -> dict[str, str]:
        path = one.state / JOURNAL_FILE
        if not path.exists():
            return {"sign": "it has no signing journal"}
        kms = self._world.kms.get(one.name)
        if kms is not None and (kms.hang or kms.throttle):
            return {"sign": "its key service refuses"}
        rows = _read(path, "SELECT scope, reason FROM holds WHERE released_at IS NULL") or []
        held = [f"{scope}: {reason}" for scope, reason in rows if scope in _BOTH]
        return {"sign": f"held: {held[0]}"} if held else {}


async def _together(asked: dict[str, Awaitable[bool]]) -> dict[str, bool]:
    return dict(zip(asked, await asyncio.gather(*asked.values()), strict=True))


def cursor_of(path: Path, kind: str) -> int | None:
    """Up to which height this ledger has read events of one kind; None: none, or it cannot be read just now."""
    rows = _read(path, "SELECT height FROM cursors WHERE kind = ?", (kind,))
    return int(rows[0][0]) if rows else None


def _read(path: Path, sql: str, parameters: tuple[object, ...] = ()) -> list[tuple[Any, ...]] | None:
    """What the file says; None where it cannot be read just now."""
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=0.5)) as connection:
            return connection.execute(sql, parameters).fetchall()
    except sqlite3.Error:
        return None


def _write(path: Path) -> str:
    """Why some pages cannot be written to the file; empty where they were, or where another one just writes."""
    try:
        with closing(sqlite3.connect(path, timeout=2.0, isolation_level=None)) as connection:
            connection.execute("CREATE TABLE IF NOT EXISTS observer (id INTEGER PRIMARY KEY, filler BLOB)")
            connection.execute("INSERT OR REPLACE INTO observer VALUES (1, ?)", (os.urandom(16_384),))
    except sqlite3.OperationalError as error:
        return "" if "locked" in str(error) else str(error)
    return ""
