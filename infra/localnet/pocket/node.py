"""The development node: a chain, its HTTP interface, a block timer and the misbehaviours, in one object."""

import asyncio
import contextlib
from collections.abc import Iterable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from aiohttp import web
from loguru import logger

from infra.localnet.pocket import control
from infra.localnet.pocket.behaviour import Behaviour
from infra.localnet.pocket.chain import Chain, Clock, Submission
from infra.localnet.pocket.faults import fault_middleware
from infra.localnet.pocket.genesis import Genesis
from infra.localnet.pocket.misbehaviour import MISBEHAVIOUR, LoseMempool, Misbehaviour
from infra.localnet.pocket.rpc import Rpc
from infra.localnet.pocket.txindex import IndexedTx
from infra.localnet.ports import HOST, free_port

_CLIENT_MAX_SIZE = 8 << 20
_SHUTDOWN_SECONDS = 0.5
_POLL_SECONDS = 0.01
_ADDRESS_SIZE = 20


def utc_now() -> datetime:
    """The time of this machine."""
    return datetime.now(UTC)


class PocketNode:
    """A node on a chain of its own, or on that of another node (`chain=other.chain`).

    `block_time`: seconds between blocks; None makes blocks by `step` only. `port` 0 takes a free one, which is kept over
    `stop` and `start`. `clock`: times of blocks; by default those of this machine with a block timer, else steps from the
    genesis time. `state`: a file in which the chain survives. `misbehaviours`: switches that are on from the start.

    Its methods are the control interface: what `/dev` offers, without HTTP. They may be called before the start and from
    the thread of its event loop only.
    """

    def __init__(
        self,
        genesis: Genesis | None = None,
        *,
        chain: Chain | None = None,
        host: str = HOST,
        port: int = 0,
        block_time: float | None = None,
        clock: Clock | None = None,
        state: Path | None = None,
        misbehaviours: Iterable[Misbehaviour] = (),
    ) -> None:
        if chain is not None and (genesis is not None or state is not None or clock is not None):
            raise ValueError("PocketNode: a shared chain has its own genesis, clock and state file")
        if block_time is not None and block_time <= 0:
            raise ValueError(f"PocketNode: block_time must be positive, is {block_time}; None makes blocks by hand")
        if clock is None and block_time is not None:
            clock = utc_now
        self._owns_chain = chain is None
        self.chain = Chain(genesis, clock=clock, state=state) if chain is None else chain
        self.behaviour = Behaviour()
        self.behaviour.turn_on(*misbehaviours)
        self._rpc = Rpc(self.chain, self.behaviour)
        self._host, self._port, self._block_time = host, port, block_time
        self._runner: web.AppRunner | None = None
        self._timer: asyncio.Task[None] | None = None
        self._restarting: asyncio.Task[None] | None = None

    # --- life ----------------------------------------------------------------------------------------------------

    @property
    def url(self) -> str:
        """The base URL, without `/v1`. Raises `RuntimeError` before the first start."""
        if not self._port:
            raise RuntimeError("PocketNode: start it first, the port is not chosen yet")
        return f"http://{self._host}:{self._port}"

    @property
    def running(self) -> bool:
        """Whether the node answers."""
        return self._runner is not None

    async def start(self) -> None:
        """Listen, and start the block timer. Raises `OSError` if the port is taken."""
        if self._runner is not None:
            return
        self._port = self._port or free_port(self._host)
        app = web.Application(middlewares=[fault_middleware(self.behaviour)], client_max_size=_CLIENT_MAX_SIZE)
        app.add_routes([*self._rpc.routes(), *control.routes(self)])
        # Hanging requests end with their clients.
        runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=_SHUTDOWN_SECONDS)
        await runner.setup()
        try:
            await web.TCPSite(runner, self._host, self._port).start()
        except OSError:
            await runner.cleanup()
            raise
        self._rpc.begin()
        self._runner = runner
        if self._block_time is not None:
            self._timer = asyncio.create_task(self._make_blocks(self._block_time))
        logger.debug("Pocket node of chain {} at {}", self.chain.genesis.chain_id, self.url)

    async def stop(self) -> None:
        """Stop listening and making blocks; mempool (unless it is to be lost) and chain stay in memory for the next `start`.

        Raises what ended the block timer, if something did.
        """
        timer, self._timer = self._timer, None
        runner, self._runner = self._runner, None
        if timer is not None:
            timer.cancel()
        if runner is not None:
            await runner.cleanup()
            if self.behaviour.find(LoseMempool) is not None:
                self.chain.mempool.clear()
        if timer is not None:
            with contextlib.suppress(asyncio.CancelledError):  # cancelled above; what else ended it is raised
                await timer

    def restart(self, seconds: float = 0.0) -> None:
        """Go away at once, as with a kill, and come back after so many seconds. Raises `RuntimeError` if it is away already."""
        if self._restarting is not None and not self._restarting.done():
            raise RuntimeError("restart: the node is being restarted already")
        self._restarting = asyncio.create_task(self._restart(seconds))

    async def _restart(self, seconds: float) -> None:
        await self.stop()
        await asyncio.sleep(seconds)
        await self.start()

    async def close(self) -> None:
        """Stop for good and close the state file."""
        try:
            restarting, self._restarting = self._restarting, None
            if restarting is not None:
                await restarting
            await self.stop()
        finally:
            if self._owns_chain:
                self.chain.close()

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        await self.close()

    async def _make_blocks(self, seconds: float) -> None:
        loop = asyncio.get_running_loop()
        due = loop.time()
        while True:
            due = max(due + seconds, loop.time())
            await asyncio.sleep(due - loop.time())
            try:
                self.chain.step()
            except OSError:
                # `stop` raises it again; until then somebody waits for blocks and should know why there are none.
                logger.exception("Pocket node: cannot write the block, no more blocks are made")
                raise

    async def wait_for_height(self, height: int, *, seconds: float = 60.0) -> int:
        """Wait until the chain has that height; its height. Raises `TimeoutError`."""
        async with asyncio.timeout(seconds):
            while self.chain.height < height:  # noqa: ASYNC110 - blocks are also made by hand, in no task of ours
                await asyncio.sleep(_POLL_SECONDS)
        return self.chain.height

    # --- control -------------------------------------------------------------------------------------------------

    @property
    def height(self) -> int:
        """The height of the chain, whatever the node shows."""
        return self.chain.height

    def step(self, blocks: int = 1) -> int:
        """Make blocks, the first of all that waits; the new height."""
        for _ in range(blocks):
            self.chain.step()
        return self.chain.height

    def fund(self, address: str, amount: int) -> int:
        """Mint uPOKT for an address (40 hex), at once and without a transaction; its balance.

        A negative amount burns them. Raises `ValueError` for a malformed address or if there are not so many.
        """
        raw = bytes.fromhex(address)
        if len(raw) != _ADDRESS_SIZE:
            raise ValueError(f"address: must be {2 * _ADDRESS_SIZE} hex characters without 0x, is {address!r}")
        return self.chain.fund(raw, amount)

    def balance(self, address: str) -> int:
        """uPOKT of an address now, 0 without an account."""
        return self.chain.balance(bytes.fromhex(address)) or 0

    def submit(self, raw: bytes) -> Submission:
        """Submit a transaction as `rawtx` does. Raises `AlreadyInCacheError`."""
        return self._rpc.submit(raw)

    def inject(self, raw: bytes) -> str:
        """Put bytes into the next block without CheckTx; their hash (upper case). They are executed like all others."""
        return self.chain.inject(raw)

    def drop(self, hash_: str | None = None) -> tuple[str, ...]:
        """Take a transaction (default: all) out of mempool and cache, as after a restart; their hashes (upper case)."""
        hashes = self.chain.mempool.hashes() if hash_ is None else (hash_.upper(),)
        return tuple(one for one in hashes if self.chain.mempool.forget(one))

    def find(self, hash_: str) -> IndexedTx | None:
        """A transaction of the index by its hash in any case, whatever the node shows."""
        return self.chain.index.get(hash_.upper())

    def misbehave(self, *switches: Misbehaviour) -> None:
        """Turn misbehaviours on; one replaces another of its kind."""
        self.behaviour.turn_on(*switches)

    def behave(self, *kinds: str) -> None:
        """Turn the misbehaviours of these kinds off, all without any. Hanging requests are served then."""
        self.behaviour.turn_off(*kinds)

    @contextlib.contextmanager
    def misbehaving(self, *switches: Misbehaviour) -> Iterator[None]:
        """Misbehave inside a `with` block."""
        self.misbehave(*switches)
        try:
            yield
        finally:
            self.behave(*(switch.kind for switch in switches))

    def dump(self) -> dict[str, Any]:
        """The state as JSON: height, balances, mempool, misbehaviours; amounts as decimal strings."""
        chain = self.chain
        return {
            "chain_id": chain.genesis.chain_id,
            "height": chain.height,
            "hash": chain.block(chain.height).hash,
            "transactions": len(chain.index),
            "balances": {address: str(amount) for address, amount in chain.ledger.balances().items()},
            "supply": str(chain.ledger.supply),
            "mempool": list(chain.mempool.hashes()),
            "misbehaviours": [MISBEHAVIOUR.dump_python(switch, mode="json") for switch in self.behaviour.active()],
            "genesis": chain.genesis.dump(),
        }
