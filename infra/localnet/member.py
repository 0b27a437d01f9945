"""One validator of the development network: its directory, and its process."""

import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from infra.localnet.identities import Identity
from infra.localnet.processes import ChildProcess
from reactor.settings import Settings, load_settings
from reactor.state.journal_file import JOURNAL_FILE

ROOT = Path(__file__).resolve().parent.parent.parent
"""The source tree, from which the processes run."""
CONFIGURATION = "reactor.toml"
READY_SECONDS = 120.0
"""Twelve processes that import everything at once on two busy cores."""
STOP_SECONDS = 60.0
_READY = " of vault "
"""From the first line that a validator logs once its parts are open."""


class LocalValidator:
    """A validator: `start`, `stop`, `kill` and `restart` its process; `log` is the file that it writes to.

    `environment` is added to that of its next process. `expected` says whether it should be running: a process that ended by
    itself is a fault of the network.
    """

    def __init__(self, identity: Identity, directory: Path) -> None:
        self.identity = identity
        self.directory = directory
        self.expected = False
        self.hostname: str | None = None
        self.environment: dict[str, str] = {}
        self._process = self._describe()

    @property
    def name(self) -> str:
        """`validator-1` and so on."""
        return self.identity.name

    @property
    def config(self) -> Path:
        """The configuration file, for `--config`."""
        return self.directory / CONFIGURATION

    @property
    def state(self) -> Path:
        """The directory of ledger and journal."""
        return self.directory / "state"

    @property
    def log(self) -> Path:
        """What the process writes, of all its lives."""
        return self.directory / "validator.log"

    @property
    def address(self) -> str:
        """The Ethereum address, lower case with 0x."""
        return self.identity.ethereum_address

    @property
    def public_key(self) -> str:
        """The Ed25519 public key, 64 hex characters."""
        return self.identity.pocket.public_key

    @property
    def process(self) -> ChildProcess:
        """The process, for `freeze`, `thaw`, `pid` and `exit_code`."""
        return self._process

    @property
    def running(self) -> bool:
        """Whether the process lives."""
        return self._process.running

    def settings(self) -> Settings:
        """The settings as the process reads them, for parts composed in this process. Raises `SettingsError`."""
        return load_settings(self.config, {})

    def log_tail(self, lines: int = 15) -> str:
        """The last lines of its log."""
        return "\n".join(self._process.log_tail().splitlines()[-lines:])

    async def start(self, *, arguments: Sequence[str] = ()) -> None:
        """Start the process and wait until it runs. Raises `ProcessError` with its last words."""
        self._process = self._describe(arguments)

        async def ready() -> bool:
            return self._process.said(_READY)

        await self._process.start(ready, seconds=READY_SECONDS)
        self.expected = True

    async def stop(self) -> int | None:
        """End it as an operator does (SIGTERM); the exit code."""
        self.expected = False
        return await self._process.stop(STOP_SECONDS)

    def kill(self) -> None:
        """End it as a power cut does."""
        self.expected = False
        self._process.kill()

    async def restart(self, *, new_hostname: str | None = None, keep_only_journal: bool = False) -> None:
        """Stop it if it runs, and start it again.

        `new_hostname`: on a machine of that name from now on. `keep_only_journal`: all else of its state is lost, as on a
        new machine that got nothing but the journal.
        """
        await self.stop()
        if new_hostname is not None:
            self.hostname = new_hostname
        if keep_only_journal:
            self.lose_ledger()
        await self.start()

    def lose_ledger(self) -> None:
        """Remove everything of its state but the journal (with the journal's own write-ahead files)."""
        for path in self.state.iterdir():
            if not path.name.startswith(JOURNAL_FILE):
                shutil.rmtree(path) if path.is_dir() else path.unlink()

    def _describe(self, arguments: Sequence[str] = ()) -> ChildProcess:
        command = ["run", "--config", str(self.config), *arguments]
        module = ["reactor.cli.main"] if self.hostname is None else ["infra.localnet.hosted", self.hostname]
        # Settings of the caller's own environment would win over the file; empty ones count as not set.
        foreign = [name for name in os.environ if name.startswith(("REACTOR_", "MONGODB_URI"))]
        return ChildProcess(
            self.name,
            [sys.executable, "-m", *module, *command],
            log=self.log,
            environment={**dict.fromkeys(foreign, ""), **self.environment},
            directory=ROOT,
        )
