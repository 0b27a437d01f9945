"""anvil, the local Ethereum node of the development network and the tests.

The binary comes from npm (`@foundry-rs/anvil`, whose platform package holds it), else from the PATH.
"""

import os
import platform
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp
from eth_account import Account
from eth_account.signers.local import LocalAccount

from infra.localnet.ports import HOST, free_port
from infra.localnet.processes import ChildProcess, ProcessError

# The mnemonic of all Ethereum development nodes: worthless by agreement.
DEVELOPMENT_MNEMONIC = "test test test test test test test test test test test junk"
DEFAULT_CHAIN_ID = 31337
_NODE_MODULES = Path(__file__).parent.parent / "contracts" / "node_modules"
_ARCHITECTURES = {"x86_64": "amd64", "amd64": "amd64", "aarch64": "arm64", "arm64": "arm64"}
_RPC_TIMEOUT = aiohttp.ClientTimeout(total=60)
_START_ATTEMPTS = 3


class AnvilNotFoundError(RuntimeError):
    """There is no anvil binary on this machine."""


class AnvilRpcError(RuntimeError):
    """anvil answered a call with an error."""


def find_anvil() -> Path:
    """The anvil binary: that of `infra/contracts/node_modules`, else that on the PATH.

    Raises `AnvilNotFoundError` with the remedy.
    """
    architecture = _ARCHITECTURES.get(platform.machine().lower(), platform.machine().lower())
    package = _NODE_MODULES / "@foundry-rs" / f"anvil-{sys.platform}-{architecture}" / "bin" / "anvil"
    if os.access(package, os.X_OK):
        return package
    on_path = shutil.which("anvil")
    if on_path is not None:
        return Path(on_path)
    raise AnvilNotFoundError(
        f"anvil is neither in infra/contracts/node_modules (for {sys.platform}-{architecture}) nor on the PATH: "
        "run `make setup` (or `npm ci` in infra/contracts)"
    )


def development_account(index: int) -> LocalAccount:
    """Account `index` of anvil's default mnemonic; each holds 10000 ETH on a fresh node (the first `accounts`)."""
    Account.enable_unaudited_hdwallet_features()
    account: LocalAccount = Account.from_mnemonic(DEVELOPMENT_MNEMONIC, account_path=f"m/44'/60'/0'/0/{index}")
    return account


class Anvil:
    """`async with Anvil() as anvil:` runs a node on a free port; `anvil.url` is its JSON-RPC address."""

    def __init__(
        self,
        *,
        block_time: float | None = None,
        manual: bool = False,
        chain_id: int = DEFAULT_CHAIN_ID,
        slots_in_an_epoch: int | None = None,
        accounts: int = 10,
        state: Path | None = None,
        port: int | None = None,
        log: Path | None = None,
        extra: Sequence[str] = (),
    ) -> None:
        """Describe the node; `start` runs it.

        `block_time`: seconds between blocks, fractions allowed; None mines each transaction at once. `manual`: mine
        only on `mine()`. `slots_in_an_epoch`: `safe` lags one epoch and `finalized` two (2 makes `finalized` lag 4
        blocks; None is anvil's 32). `accounts`: how many accounts of the development mnemonic are funded. `state`:
        file from which the chain is loaded and to which an orderly stop saves it. `port` None: a free one. `log`
        None: a temporary file. `extra`: further command-line options.
        """
        if manual and block_time is not None:
            raise ValueError("manual mining and block_time exclude each other: give one of them")
        self.chain_id = chain_id
        self._arguments = ["--chain-id", str(chain_id), "--accounts", str(accounts)]
        if block_time is not None:
            self._arguments += ["--block-time", f"{block_time:g}"]
        if manual:
            self._arguments += ["--no-mining"]
        if slots_in_an_epoch is not None:
            self._arguments += ["--slots-in-an-epoch", str(slots_in_an_epoch)]
        if state is not None:
            self._arguments += ["--state", str(state)]
        self._arguments += extra
        self._port = port
        self._log = log
        self._scratch: tempfile.TemporaryDirectory[str] | None = None
        self._process: ChildProcess | None = None

    @property
    def port(self) -> int:
        """The port; raises `ProcessError` before the first start."""
        if self._port is None:
            raise ProcessError("anvil was not started")
        return self._port

    @property
    def url(self) -> str:
        """JSON-RPC over HTTP."""
        return f"http://{HOST}:{self.port}"

    @property
    def ws_url(self) -> str:
        """JSON-RPC over WebSocket."""
        return f"ws://{HOST}:{self.port}"

    @property
    def process(self) -> ChildProcess:
        """The process, for `freeze`, `thaw` and `kill`; raises `ProcessError` before the first start."""
        if self._process is None:
            raise ProcessError("anvil was not started")
        return self._process

    async def start(self) -> None:
        """Start the node, after `stop` on the same port; raises `ProcessError` or `AnvilNotFoundError`."""
        binary = find_anvil()
        log = self._log_file()
        known_port = self._port
        for attempt in range(1, _START_ATTEMPTS + 1):
            self._port = known_port if known_port is not None else free_port()
            command: list[str | Path] = [binary, "--host", HOST, "--port", str(self._port), *self._arguments]
            self._process = ChildProcess("anvil", command, log=log)
            try:
                await self._process.start(self._answers)
            except ProcessError:
                # Somebody else may have taken the free port meanwhile: take another one.
                if known_port is not None or attempt == _START_ATTEMPTS:
                    raise
            else:
                return

    async def stop(self) -> None:
        """Stop the node in order (its state is saved if `state` is set)."""
        if self._process is not None:
            await self._process.stop()

    async def close(self) -> None:
        """Stop the node and remove what it left."""
        await self.stop()
        if self._scratch is not None:
            self._scratch.cleanup()
            self._scratch = None

    async def __aenter__(self) -> Self:
        """Start."""
        try:
            await self.start()
        except BaseException:  # nothing may be left behind, whatever the reason
            await self.close()
            raise
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Stop and clean up."""
        await self.close()

    async def rpc(self, method: str, *params: object) -> Any:  # noqa: ANN401 - JSON
        """One JSON-RPC call; raises `AnvilRpcError` for an error answer, aiohttp's errors for none."""
        request = {"jsonrpc": "2.0", "id": 1, "method": method, "params": list(params)}
        async with (
            aiohttp.ClientSession(timeout=_RPC_TIMEOUT) as session,
            session.post(self.url, json=request) as response,
        ):
            answer = await response.json()
        if "error" in answer:
            raise AnvilRpcError(f"{method}: {answer['error']}")
        return answer["result"]

    async def block_number(self) -> int:
        """Height of the newest block."""
        return int(await self.rpc("eth_blockNumber"), 16)

    async def mine(self, blocks: int = 1, *, seconds_apart: int | None = None) -> int:
        """Mine `blocks` blocks, `seconds_apart` in chain time, and return the new height."""
        interval = [] if seconds_apart is None else [hex(seconds_apart)]
        await self.rpc("anvil_mine", hex(blocks), *interval)
        return await self.block_number()

    async def reorg(self, depth: int) -> None:
        """Replace the last `depth` blocks by as many empty ones with other hashes: their transactions are gone."""
        await self.rpc("anvil_reorg", depth, [])

    async def rollback(self, depth: int = 1) -> int:
        """Remove the last `depth` blocks and return the new height."""
        await self.rpc("anvil_rollback", depth)
        return await self.block_number()

    async def snapshot(self) -> str:
        """Remember the chain as it is; the returned id is good for one `revert`."""
        return str(await self.rpc("evm_snapshot"))

    async def revert(self, snapshot: str) -> None:
        """Go back to a snapshot; raises `AnvilRpcError` if the id is unknown or used."""
        if await self.rpc("evm_revert", snapshot) is not True:
            raise AnvilRpcError(f"evm_revert: no snapshot {snapshot}")

    async def set_balance(self, address: str, wei: int) -> None:
        """Set an account's ether."""
        await self.rpc("anvil_setBalance", address, hex(wei))

    async def set_automine(self, *, enabled: bool) -> None:
        """Whether each transaction is mined at once."""
        await self.rpc("evm_setAutomine", enabled)

    async def increase_time(self, seconds: int) -> None:
        """Let chain time jump and mine one block."""
        await self.rpc("evm_increaseTime", seconds)
        await self.mine()

    async def _answers(self) -> bool:
        # Its own word first: on a port that was taken somebody else would answer.
        if not self.process.said("Listening on"):
            return False
        try:
            return int(await self.rpc("eth_chainId"), 16) == self.chain_id
        except (aiohttp.ClientError, OSError, ValueError, AnvilRpcError):
            return False

    def _log_file(self) -> Path:
        if self._log is not None:
            return self._log
        if self._scratch is None:
            self._scratch = tempfile.TemporaryDirectory(prefix="anvil-")
        return Path(self._scratch.name) / "anvil.log"
