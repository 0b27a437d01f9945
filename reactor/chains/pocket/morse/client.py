"""The Morse back end: one validator's view of the chain through its list of nodes."""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Any, Final, Self, TypeVar

from reactor.chains.agreement import Question, agree, at_least, checked_agreement
from reactor.chains.errors import RpcProblem
from reactor.chains.pocket.errors import (
    NoNodesAnswer,
    NotFound,
    PocketConfigError,
    PocketDecodeError,
    PocketRpcError,
    RpcRefused,
    WindowNotReady,
    WrongChain,
)
from reactor.chains.pocket.morse import answers
from reactor.chains.pocket.morse.answers import Asked
from reactor.chains.pocket.morse.codec import SendMsg, decode_tx, tx_hash
from reactor.chains.pocket.morse.history import DEFAULT_PAGE_SIZE, read_window
from reactor.chains.pocket.morse.questions import same_block, same_tx, same_window
from reactor.chains.pocket.morse.refusals import IN_CACHE, is_without_state
from reactor.chains.pocket.morse.transport import Endpoint as Configured
from reactor.chains.pocket.morse.transport import RetryPolicy, Transport
from reactor.chains.pocket.types import (
    EndpointStatus,
    PocketBlock,
    PocketHead,
    PocketTx,
    SubmitOutcome,
    SubmitResult,
    TxState,
    TxStatus,
    Window,
)
from reactor.chains.rpc import Endpoint
from reactor.chains.survey import survey

HEIGHT: Final = "query/height"
BLOCK: Final = "query/block"
TX: Final = "query/tx"
ACCOUNT_TXS: Final = "query/accounttxs"
BALANCE: Final = "query/balance"
PARAM: Final = "query/param"
UNCONFIRMED: Final = "query/unconfirmedtx"
RAW_TX: Final = "client/rawtx"

DEFAULT_TIMEOUT: Final = 10.0
"""Seconds per request: a node walks an address's whole history for one page."""

MAX_BLOCKS: Final = 64
"""Blocks that one window reads by block: each is a call, and may be megabytes."""

T = TypeVar("T")

_HASH: Final = re.compile(r"[0-9a-f]{64}")
_ADDRESS: Final = re.compile(r"[0-9a-f]{40}")


_NO_HASH: Final = "0" * 64
_MOST_BEHIND: Final = 8
"""Blocks that a node may show without having executed them, before it counts as not ready at all."""
_LAG_BLOCKS: Final = 1
"""How far a node may be behind the others: for so long as a new block takes to reach all of them."""


class _RejectedError(RpcRefused):
    """A node's verdict on a transaction is no; another node may take it."""

    verdict: SubmitResult

    @classmethod
    def of(cls, verdict: SubmitResult) -> Self:
        """The error for this verdict."""
        error = cls(verdict.endpoint, RAW_TX, f"{verdict.codespace} {verdict.code}: {verdict.text}", 200)
        error.verdict = verdict
        return error


class MorseClient:
    """`PocketChain` over the `/v1` HTTP interface (Pocket RC-0.9.2).

    Every method raises a `PocketRpcError` when the chain cannot be asked or says no; see `pocket.errors`. An endpoint
    is used only after its latest header has shown the configured chain id, and again after each failure. With an `agreement`
    above 1 so many endpoints must say the same of blocks, windows and transactions, and stand behind a balance (`NotAgreed`).
    """

    def __init__(
        self,
        endpoints: Sequence[Configured],
        *,
        chain_id: str,
        timeout: float = DEFAULT_TIMEOUT,
        retry: RetryPolicy | None = None,
        page_size: int = DEFAULT_PAGE_SIZE,
        agreement: int = 1,
        rate: float | None = None,
    ) -> None:
        if not chain_id:
            raise PocketConfigError("Pocket chain id: must not be empty")
        if not 1 <= page_size <= 1000:
            raise PocketConfigError(f"Pocket page size: must be 1 to 1000, is {page_size}")
        self.chain_id = chain_id
        self._page_size = page_size
        self._http = Transport(endpoints, timeout=timeout, retry=retry or RetryPolicy(), rate=rate)
        self._pool = self._http.pool
        self.agreement = checked_agreement(agreement, len(endpoints))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    @property
    def several(self) -> bool:
        """Whether there is more than one endpoint."""
        return len(self._pool.all) > 1

    @property
    def calls(self) -> Counter[str]:
        """HTTP requests so far, by path below `/v1/`."""
        return self._http.calls

    @property
    def problems(self) -> list[str]:
        """What is wrong with which endpoint now, by what was asked so far; empty while all is well."""
        return self._pool.problems()

    @property
    def contradictions(self) -> list[str]:
        """The part of `problems` where an endpoint answers, but not what the others do."""
        return self._pool.contradictions()

    async def _agree(self, question: Question[T], work: Callable[[Endpoint], Awaitable[T]], *, last: str = "") -> T:
        return await agree(self._pool, self.agreement, question, work, last=last)

    # --- one endpoint -------------------------------------------------------------------------------------------

    async def _post(self, endpoint: Endpoint, call: str, body: dict[str, Any]) -> Any:  # noqa: ANN401 - JSON
        if not endpoint.verified:
            await self._block(endpoint, 0)
        return await self._http.post(endpoint, call, body)

    async def _block(self, endpoint: Endpoint, height: int) -> tuple[PocketBlock, tuple[bytes, ...]]:
        """Header and transactions of a block (0: latest), from the right chain and of the right height."""
        asked = Asked(endpoint.name, BLOCK)
        try:
            answer = await self._http.post(endpoint, BLOCK, {"height": height})
        except (NotFound, RpcRefused) as error:
            if height:
                raise
            # Every chain has a latest block.
            raise NoNodesAnswer(endpoint.name, BLOCK, f"refused, which no node does: {error.text}") from None
        block = answers.parse_block(asked, answer)
        # SECURITY: a node of another chain would show other deposits.
        if block.chain_id != self.chain_id:
            endpoint.verified = False
            raise WrongChain(endpoint.name, BLOCK, self.chain_id, block.chain_id)
        if height and block.height != height:
            raise asked.malformed("block.header.height", f"is {block.height}, asked for {height}")
        endpoint.verified = True
        return block, answers.parse_block_txs(asked, answer)

    async def _height(self, endpoint: Endpoint) -> int:
        answer = await self._post(endpoint, HEIGHT, {})
        return answers.integer(Asked(endpoint.name, HEIGHT), answer, "height")

    async def _history(self, endpoint: Endpoint, address: str, low: int, high: int, *, received: bool) -> tuple[PocketTx, ...]:
        asked = Asked(endpoint.name, ACCOUNT_TXS)

        async def fetch(page: int) -> tuple[tuple[PocketTx, ...], int]:
            body = {
                "address": address,
                "page": page,
                "per_page": self._page_size,
                "received": received,
                "prove": False,
                "order": "desc",  # oldest first on this version: appends do not shift the pages
                "height": low,  # "from this height on"; older nodes ignore it
            }
            return answers.parse_page(asked, await self._post(endpoint, ACCOUNT_TXS, body))

        return await read_window(asked, fetch, low, high)

    # --- heads and blocks ---------------------------------------------------------------------------------------

    async def head(self) -> PocketHead:
        """The newest height (one cheap call; no time). Its transactions may not be indexed yet.

        With agreement the newest height that so many endpoints have reached.
        """

        async def work(endpoint: Endpoint) -> PocketHead:
            return PocketHead(await self._height(endpoint), None, endpoint.name)

        heads = await at_least(self._pool, self.agreement, "heads", work) if self.agreement > 1 else None
        return await self._http.failover(work) if heads is None else min(heads, key=lambda head: head.height)

    async def block(self, height: int) -> PocketBlock:
        """The header of a block; 0 means the latest. Raises NotFound beyond the endpoint's head."""
        if height < 0:
            raise ValueError(f"height {height} must not be negative")

        async def work(endpoint: Endpoint) -> PocketBlock:
            return (await self._block(endpoint, height))[0]

        # The latest block differs from node to node by nature.
        return await (self._agree(same_block(height), work) if height else self._http.failover(work))

    async def check(self, address: str) -> tuple[EndpointStatus, ...]:
        """Ask every endpoint for its head, and for each call that is used, once; `address` is the vault's. Never raises."""
        _check(_ADDRESS, "address", address)

        async def work(endpoint: Endpoint) -> EndpointStatus:
            try:
                head = (await self._block(endpoint, 0))[0]
            except PocketRpcError as error:
                return EndpointStatus(endpoint.name, None, str(error))
            return EndpointStatus(endpoint.name, head, failing=await self._failing(endpoint, address, head.height))

        found = await self._pool.each(self._pool.all, work)
        # What a node does to the code that reads it must not leave it out of the list.
        return tuple(
            status if isinstance(status, EndpointStatus) else EndpointStatus(endpoint.name, None, str(status))
            for endpoint, status in found.items()
        )

    async def _failing(self, endpoint: Endpoint, address: str, height: int) -> tuple[str, ...]:
        """What is wrong with the calls that the endpoint does not answer as a node does."""
        calls: tuple[Callable[[], Awaitable[object]], ...] = (
            lambda: self._height(endpoint),
            lambda: self._balance_at(endpoint, address, max(1, height - 1)),
            lambda: self._history(endpoint, address, height, height, received=True),
            lambda: self._indexes(endpoint),
            lambda: self._param_at(endpoint, "auth/TxSigLimit"),
            lambda: self._takes_transactions(endpoint),
        )
        failing = []
        for call in calls:
            try:
                await call()
            except PocketRpcError as error:
                failing.append(str(error))
        return tuple(failing)

    async def _indexes(self, endpoint: Endpoint) -> None:
        with suppress(NotFound):
            await self._tx_at(endpoint, _NO_HASH)

    async def _takes_transactions(self, endpoint: Endpoint) -> None:
        """No bytes at all: a node refuses them with its verdict, and nothing is sent on."""
        answer = await self._post(endpoint, RAW_TX, {"address": "", "raw_hex_bytes": ""})
        answers.parse_submission(Asked(endpoint.name, RAW_TX), answer, tx_hash(b""))

    async def survey(self, depth: int) -> None:
        """Compare all endpoints, blocks at `depth` below the lowest head: who lags or shows another fork stands back."""

        async def height(endpoint: Endpoint) -> int:
            return (await self._block(endpoint, 0))[0].height

        async def block_hash(endpoint: Endpoint, number: int) -> str:
            return (await self._block(endpoint, max(1, number)))[0].hash

        await survey(self._pool, height, block_hash, lag=_LAG_BLOCKS, depth=depth)

    # --- transactions -------------------------------------------------------------------------------------------

    async def window(
        self, address: str, from_height: int, to_height: int, *, apart_from: str = "", by_block: bool = False
    ) -> Window:
        """What `address` received and sent in [from_height, to_height], all from one endpoint that has it.

        The head itself is readable when every send of its block that concerns the address is in the index; else the
        window ends one block earlier (see `Window.to_height`).

        For a second reading: `apart_from` names the endpoint (`Window.endpoint`) that is asked only where no other can
        answer; `by_block` reads the blocks themselves instead of the node's list of the address's transactions, which may
        lack one that its blocks hold. It costs a call for each block and one for each send of the address, so it ends after
        `MAX_BLOCKS` (see `Window.to_height`), and it shows sends only.

        SECURITY: with agreement it counts as read only when so many endpoints showed the same transactions: who hides a
        deposit or invents one is outvoted and named, and where that cannot be decided nothing is read.

        Raises:
            WindowNotReady: no endpoint has indexed the window (its head is lower, or `from_height` is the head).
            WindowTooLarge: ask for fewer blocks.
            PocketRpcError: see `pocket.errors`.
        """
        _check(_ADDRESS, "address", address)
        if not 1 <= from_height <= to_height:
            raise ValueError(f"window [{from_height}, {to_height}]: must start at 1 or later and not end before it")
        if by_block:
            to_height = min(to_height, from_height + MAX_BLOCKS - 1)
        read = self._window_by_block if by_block else self._window

        async def work(endpoint: Endpoint) -> Window:
            return await read(endpoint, address, from_height, to_height)

        return await self._agree(same_window(from_height, to_height), work, last=apart_from)

    async def _window(self, endpoint: Endpoint, address: str, low: int, high: int) -> Window:
        head = await self._head_above(endpoint, high)
        high = await self._executed(endpoint, address, low, high)
        received = await self._history(endpoint, address, low, high, received=True)
        sent = await self._history(endpoint, address, low, high, received=False)
        # SECURITY: a lagging node answers "nothing" instead of an error; only a node that shows the last block counts.
        block, raws = await self._last_block(endpoint, high)
        if high == head and not _all_indexed(raws, address, received, sent):
            high -= 1
            if high < low:
                raise WindowNotReady(endpoint.name, "window", f"block {head} is not indexed yet", high)
            block, _ = await self._last_block(endpoint, high)
            received = tuple(tx for tx in received if tx.height <= high)
            sent = tuple(tx for tx in sent if tx.height <= high)
        return Window(address, low, high, received, sent, block, head, endpoint.name)

    async def _window_by_block(self, endpoint: Endpoint, address: str, low: int, high: int) -> Window:
        head = await self._head_above(endpoint, high)
        high = await self._executed(endpoint, address, low, high)
        received: list[PocketTx] = []
        sent: list[PocketTx] = []
        for height in range(low, high + 1):
            block, raws = await self._last_block(endpoint, height)
            for index, raw in enumerate(raws):
                message = _send_of(raw)
                if message is None or address not in {message.from_address, message.to_address}:
                    continue
                tx = await self._tx_of_block(endpoint, raw, height, index)
                if tx is None:
                    continue
                if tx.to_address == address:
                    received.append(tx)
                if tx.from_address == address:
                    sent.append(tx)
        return Window(address, low, high, tuple(received), tuple(sent), block, head, endpoint.name)

    async def _tx_of_block(self, endpoint: Endpoint, raw: bytes, height: int, index: int) -> PocketTx | None:
        """A transaction of a block with what came of it; None where the node has not indexed it as of this place.

        One that fails its checks inside the block is not indexed: it has done nothing, and may stand in another block too.
        """
        try:
            tx = await self._tx_at(endpoint, tx_hash(raw))
        except NotFound:
            return None
        return tx if (tx.height, tx.index) == (height, index) else None

    async def _head_above(self, endpoint: Endpoint, height: int) -> int:
        head = await self._height(endpoint)
        if head < height:
            raise WindowNotReady(endpoint.name, "window", f"its head is {head}, {height} was asked for", head)
        return head

    async def _executed(self, endpoint: Endpoint, address: str, low: int, high: int) -> int:
        """The last height up to `high` whose state the node has: its history may be empty above, however many blocks it shows.

        SECURITY: a block is shown before its transactions are executed. A window read in between would lose deposits for good.
        """
        words = ""
        for height in range(high, max(low, high - _MOST_BEHIND) - 1, -1):
            try:
                await self._balance_at(endpoint, address, height)
            except RpcRefused as error:
                words = error.text
                continue
            return height
        if not is_without_state(words):
            raise NoNodesAnswer(endpoint.name, BALANCE, f"refused at every height: {words}")
        raise WindowNotReady(endpoint.name, "window", f"it shows block {high} but has not executed it", low - 1)

    async def _last_block(self, endpoint: Endpoint, height: int) -> tuple[PocketBlock, tuple[bytes, ...]]:
        try:
            return await self._block(endpoint, height)
        except NotFound as error:
            raise WindowNotReady(endpoint.name, "window", error.text, height - 1) from None

    async def tx(self, hash_: str) -> PocketTx:
        """One indexed transaction by its hash (lower case). Raises NotFound while it is not in the index."""
        return (await self.tx_with_endpoint(hash_))[0]

    async def tx_with_endpoint(self, hash_: str, *, apart_from: str = "") -> tuple[PocketTx, str]:
        """As `tx`, with the name of the endpoint that shows it; the one named `apart_from` is asked after all the others."""
        _check(_HASH, "hash", hash_)

        async def work(endpoint: Endpoint) -> tuple[PocketTx, str]:
            return await self._tx_at(endpoint, hash_), endpoint.name

        return await self._agree(same_tx(hash_), work, last=apart_from)

    async def _tx_at(self, endpoint: Endpoint, hash_: str) -> PocketTx:
        asked = Asked(endpoint.name, TX)
        try:
            tx = answers.parse_tx(asked, await self._post(endpoint, TX, {"hash": hash_, "prove": False}))
        except NotFound as error:
            # SECURITY: that there is no other transaction says nothing of this one.
            if hash_ not in error.text.lower():
                raise asked.malformed("message", f"not about the hash that was asked for: {error.text}") from None
            raise
        if tx.hash != hash_:
            raise asked.malformed("hash", f"is {tx.hash}, asked for {hash_}")
        return tx

    async def status(self, hash_: str) -> TxStatus:
        """Where a transaction is: in a block (with its code), in the mempool, or unknown to the endpoint asked."""
        try:
            tx, endpoint = await self.tx_with_endpoint(hash_)
        except NotFound as error:
            try:
                pending = await self.unconfirmed(hash_)
            except RpcRefused:  # older nodes lack the look-up: then it is simply not known
                pending = False
            return TxStatus(TxState.PENDING if pending else TxState.UNKNOWN, hash_, error.endpoint)
        return TxStatus(TxState.SUCCEEDED if tx.code == 0 else TxState.FAILED, hash_, endpoint, tx)

    async def unconfirmed(self, hash_: str) -> bool:
        """Is the transaction in the mempool of the endpoint asked? Raises RpcRefused on nodes without the look-up."""
        _check(_HASH, "hash", hash_)

        async def work(endpoint: Endpoint) -> bool:
            try:
                answer = await self._post(endpoint, UNCONFIRMED, {"hash": hash_})
            except NotFound:
                return False
            return answer is not None

        return await self._http.failover(work)

    async def submit(self, raw: bytes, *, everywhere: bool = False) -> SubmitResult:
        """Hand a signed transaction (length prefix included) to a node. Submitting the same bytes again is harmless.

        `everywhere`, and with agreement, it is handed to all nodes, so that none can keep it back; else to the next one while
        it is refused. The best verdict is told. A refusal is one node's word at this moment: from its start until its first
        new block a node refuses everything.

        Raises:
            PocketDecodeError: these bytes are no transaction; nothing was sent.
            PocketRpcError: no endpoint gave a verdict; the transaction may or may not have reached the chain.
        """
        message = decode_tx(raw).msg
        sender = message.from_address if isinstance(message, SendMsg) else ""
        hash_ = tx_hash(raw)

        async def work(endpoint: Endpoint) -> SubmitResult:
            try:
                answer = await self._post(endpoint, RAW_TX, {"address": sender, "raw_hex_bytes": raw.hex()})
            except RpcRefused as error:
                if IN_CACHE not in error.text:
                    raise
                return SubmitResult(SubmitOutcome.ALREADY_KNOWN, hash_, endpoint.name, text=error.text)
            return answers.parse_submission(Asked(endpoint.name, RAW_TX), answer, hash_)

        if self.agreement == 1 and not everywhere:
            return await self._first_to_take(work)
        outcomes = await self._pool.each(self._pool.all, work)
        verdicts = [outcome for outcome in outcomes.values() if not isinstance(outcome, RpcProblem)]
        if not verdicts:
            raise next(outcome for outcome in outcomes.values() if isinstance(outcome, RpcProblem))
        return min(verdicts, key=lambda verdict: list(SubmitOutcome).index(verdict.outcome))

    async def _first_to_take(self, work: Callable[[Endpoint], Awaitable[SubmitResult]]) -> SubmitResult:
        """The first verdict that is no rejection; where all reject, that of the preferred node."""

        async def one(endpoint: Endpoint) -> SubmitResult:
            verdict = await work(endpoint)
            if not verdict.on_its_way:
                raise _RejectedError.of(verdict)
            return verdict

        try:
            return await self._http.failover(one)
        except _RejectedError as rejected:
            return rejected.verdict

    # --- state --------------------------------------------------------------------------------------------------

    async def balance(self, address: str) -> int:
        """The balance in uPOKT at the endpoint's head; 0 for an account that does not exist.

        SECURITY: with agreement the largest amount that so many endpoints say is there at least.
        """
        _check(_ADDRESS, "address", address)

        async def work(endpoint: Endpoint) -> int:
            return await self._balance_at(endpoint, address, 0)

        if self.agreement == 1:
            return await self._http.failover(work)
        balances = await at_least(self._pool, self.agreement, f"the balance of {address}", work, everyone=True)
        return sorted(balances, reverse=True)[self.agreement - 1]

    async def _balance_at(self, endpoint: Endpoint, address: str, height: int) -> int:
        answer = await self._post(endpoint, BALANCE, {"address": address, "height": height})
        return answers.integer(Asked(endpoint.name, BALANCE), answer, "balance")

    async def param(self, key: str) -> str:
        """A chain parameter as text, for example `auth/TxSigLimit` or `auth/MaxMemoCharacters`."""

        async def work(endpoint: Endpoint) -> str:
            return await self._param_at(endpoint, key)

        return await self._http.failover(work)

    async def _param_at(self, endpoint: Endpoint, key: str) -> str:
        asked = Asked(endpoint.name, PARAM)
        value = answers.member(asked, await self._post(endpoint, PARAM, {"key": key}), "param_value")
        if not isinstance(value, str):
            return json.dumps(value)
        return value[1:-1] if len(value) > 1 and value[0] == value[-1] == '"' else value


def _check(pattern: re.Pattern[str], name: str, value: str) -> None:
    if not pattern.fullmatch(value):
        raise ValueError(f"{name} {value!r}: must be lower-case hex without 0x")


def _all_indexed(raws: Sequence[bytes], address: str, received: Sequence[PocketTx], sent: Sequence[PocketTx]) -> bool:
    """Is every send of the block that concerns the address among the indexed ones?

    A block can be visible before its transactions are indexed. A send that failed its checks inside the block is never
    indexed and looks the same: then the block is read with the next one.
    """
    incoming, outgoing = {tx.hash for tx in received}, {tx.hash for tx in sent}
    for raw in raws:
        message = _send_of(raw)
        if message is None:
            continue
        if message.to_address == address and tx_hash(raw) not in incoming:
            return False
        if message.from_address == address and tx_hash(raw) not in outgoing:
            return False
    return True


def _send_of(raw: bytes) -> SendMsg | None:
    """The send that these bytes of a block are; None where they are none, or none that the chain could execute."""
    try:
        message = decode_tx(raw, allow_amino=True).msg
    except PocketDecodeError:
        return None
    return message if isinstance(message, SendMsg) else None
