"""The `/v1` interface of the node (Pocket RC-0.12.0)."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial

from aiohttp import web

from infra.localnet.pocket import parameters, shapes
from infra.localnet.pocket.ante import Rejection
from infra.localnet.pocket.behaviour import Behaviour
from infra.localnet.pocket.chain import Chain, NotThereError, Submission
from infra.localnet.pocket.gotext import HexError, decode_hex, encode_json
from infra.localnet.pocket.mempool import AlreadyInCacheError
from infra.localnet.pocket.misbehaviour import (
    AbciLogging,
    EmptyAccountTxs,
    HideTransactions,
    LoseSubmitted,
    OldNode,
    RefuseUntilBlock,
    RejectSubmits,
)
from infra.localnet.pocket.parameters import ParameterError, Parameters, Shape
from infra.localnet.pocket.txindex import Found, IndexedTx
from infra.localnet.pocket.views import View
from infra.localnet.pocket.wire import decode, hash_of

VERSION = "RC-0.12.0"
MAX_PER_PAGE = 10_000
DEFAULT_PER_PAGE = 30
JSON_TYPE = "application/json; charset=utf-8"
OTHER_JSON_TYPE = "application/json; charset=UTF-8"
"""What errors and the version carry: the node writes them in another way."""
_IN_CACHE = "broadcast_tx_sync: RPC error -32603 - Internal error: tx already exists in cache"
_ADDRESS_SIZE = 20

Call = Callable[[Parameters], object]


class BadRequestError(Exception):
    """Answered with HTTP 400 and this text."""


def json_response(text: str, status: int = 200, content_type: str = JSON_TYPE) -> web.Response:
    """JSON with the header that the node sends."""
    return web.Response(body=text.encode(), status=status, headers={"Content-Type": content_type})


def error_response(message: str, status: int = 400) -> web.Response:
    """An error as the node shows it."""
    return json_response(parameters.error_body(status, message), status, OTHER_JSON_TYPE)


class Rpc:
    """The calls of one node on a chain."""

    def __init__(self, chain: Chain, behaviour: Behaviour) -> None:
        self._chain = chain
        self._behaviour = behaviour
        self._view = View(chain, behaviour)
        # Rendering dominates a page of old transactions, and they never change.
        self._rendered: dict[str, str] = {}
        self._began_at = 0

    def begin(self) -> None:
        """The node starts at the height that the chain has now."""
        self._began_at = self._chain.height

    def routes(self) -> list[web.RouteDef]:
        """The routes of the interface."""
        calls: list[tuple[str, Shape, Call]] = [
            ("query/block", parameters.HEIGHT, self._block),
            ("query/tx", parameters.HASH, self._tx),
            ("query/accounttxs", parameters.ACCOUNT_TXS, self._account_txs),
            ("query/blocktxs", parameters.BLOCK_TXS, self._block_txs),
            ("query/balance", parameters.HEIGHT_AND_ADDRESS, self._balance),
            ("query/account", parameters.HEIGHT_AND_ADDRESS, self._account),
            ("query/param", parameters.HEIGHT_AND_KEY, self._param),
            ("query/unconfirmedtx", parameters.HASH, self._unconfirmed_tx),
            ("query/unconfirmedtxs", parameters.PAGE, self._unconfirmed_txs),
            ("client/rawtx", parameters.RAW_TX, self._raw_tx),
        ]
        posts = [web.post(f"/v1/{path}", self._handler(shape, call)) for path, shape, call in calls]
        # Its body is not even read.
        routes = [web.get("/v1", self._version, allow_head=False), web.post("/v1/query/height", self._height), *posts]
        return [*routes, *(web.options(path, _nothing) for path in sorted({route.path for route in routes}))]

    @staticmethod
    def _handler(shape: Shape, call: Call) -> Callable[[web.Request], Awaitable[web.Response]]:
        return partial(_serve, shape, call)

    async def _version(self, _: web.Request) -> web.Response:
        return json_response(encode_json(VERSION), content_type=OTHER_JSON_TYPE)

    # --- blocks --------------------------------------------------------------------------------------------------

    async def _height(self, _: web.Request) -> web.Response:
        return json_response(shapes.answer_text({"height": self._view.height}))

    def _block(self, asked: Parameters) -> object:
        return shapes.block(self._view.block(asked.integer("height")), self._view.chain_id)

    def _block_txs(self, asked: Parameters) -> object:
        height = asked.integer("height") or self._view.executed
        page, newest_first = _page(asked), asked.text("order") == "asc"
        found = Found((), 0)
        if height <= self._view.executed:
            found = self._chain.index.of_block(height, page=page, newest_first=newest_first)
        return self._page_text(found, prove=asked.flag("prove"))

    # --- transactions --------------------------------------------------------------------------------------------

    def _tx(self, asked: Parameters) -> object:
        return self._tx_text(self._view.tx(decode_hex(asked.text("hash"))), prove=asked.flag("prove")) + "\n"

    def _account_txs(self, asked: Parameters) -> object:
        address = decode_hex(asked.text("address"))
        if self._behaviour.find(EmptyAccountTxs):
            return self._page_text(Found((), 0), prove=False)
        hidden = self._behaviour.find(HideTransactions)
        found = self._chain.index.of_account(
            address,
            received=asked.flag("received"),
            low=0 if self._behaviour.find(OldNode) else asked.integer("height"),
            high=self._view.executed,
            page=_page(asked) if hidden is None else slice(0, len(self._chain.index)),
            # Inverted in the node: "asc" shows the newest first.
            newest_first=asked.text("order") == "asc",
        )
        if hidden is not None:
            shown = tuple(tx for tx in found.txs if not hidden.hides(tx.hash))
            found = Found(shown[_page(asked)], len(shown))
        return self._page_text(found, prove=asked.flag("prove"))

    def _page_text(self, found: Found, *, prove: bool) -> str:
        txs = ",".join(self._tx_text(tx, prove=prove) for tx in found.txs)
        return f'{{"page_count":{len(found.txs)},"total_txs":{found.total},"txs":[{txs}]}}\n'

    def _tx_text(self, tx: IndexedTx, *, prove: bool) -> str:
        if prove:
            return shapes.answer_text(shapes.transaction(tx, self._chain.block(tx.height))).rstrip("\n")
        text = self._rendered.get(tx.hash)
        if text is None:
            text = self._rendered[tx.hash] = shapes.answer_text(shapes.transaction(tx)).rstrip("\n")
        return text

    def _unconfirmed_tx(self, asked: Parameters) -> object:
        self._not_on_old_nodes()
        hash_ = decode_hex(asked.text("hash")).hex().upper()
        raw = self._chain.mempool.get(hash_)
        return None if raw is None else shapes.pending(hash_, decode(raw, self._chain.height))

    def _unconfirmed_txs(self, asked: Parameters) -> object:
        self._not_on_old_nodes()
        waiting: Sequence[bytes] = self._chain.mempool.waiting()
        shown = [shapes.pending(hash_of(raw), decode(raw, self._chain.height)) for raw in waiting[_page(asked)]]
        return {"page_count": len(shown), "total_txs": len(waiting), "txs": shown}

    def _not_on_old_nodes(self) -> None:
        if self._behaviour.find(OldNode):
            raise web.HTTPNotFound

    # --- accounts ------------------------------------------------------------------------------------------------

    def _balance(self, asked: Parameters) -> object:
        balance = self._view.balance(_address(asked.text("address")), asked.integer("height"))
        return {"balance": balance or 0}

    def _account(self, asked: Parameters) -> object:
        address = _address(asked.text("address"))
        balance = self._view.balance(address, asked.integer("height"))
        if balance is None:
            return None
        key = self._chain.stored_key(address)
        return shapes.account(address, balance, key.raw.hex() if key else None)

    def _param(self, asked: Parameters) -> object:
        self._view.state_height(asked.integer("height"))
        genesis = self._chain.genesis
        values = {
            "auth/TxSigLimit": str(genesis.sig_limit),
            "auth/MaxMemoCharacters": str(genesis.max_memo),
            "auth/FeeMultipliers": encode_json({"fee_multiplier": None, "default": "1"}, sort=False),
        }
        key = asked.text("key")
        return {"param_key": key if key in values else "", "param_value": values.get(key, "")}

    # --- submitting ----------------------------------------------------------------------------------------------

    def _raw_tx(self, asked: Parameters) -> object:
        raw = decode_hex(asked.text("raw_hex_bytes"))
        _address(asked.text("address"))
        answer = self.submit(raw)
        abci_logging = self._behaviour.find(AbciLogging) is not None
        return shapes.submission(answer, abci_logging=abci_logging, old_node=self._behaviour.find(OldNode) is not None)

    def submit(self, raw: bytes) -> Submission:
        """Submit through this node, its misbehaviours considered. Raises `AlreadyInCacheError`."""
        refuse = self._behaviour.take(RejectSubmits)
        if isinstance(refuse, RejectSubmits):
            return Submission(hash_of(raw), Rejection(refuse.codespace, refuse.code, refuse.message))
        fresh = self._behaviour.find(RefuseUntilBlock) is not None and self._chain.height <= self._began_at
        answer = self._chain.submit(raw, nameless=fresh)
        if answer.rejection is None:
            lose = self._behaviour.take(LoseSubmitted)
            if isinstance(lose, LoseSubmitted):
                forget = self._chain.mempool.lose if lose.cached else self._chain.mempool.forget
                forget(answer.hash)
        return answer


async def _nothing(_: web.Request) -> web.Response:
    return web.Response()


async def _serve(shape: Shape, call: Call, request: web.Request) -> web.Response:
    try:
        answer = call(parameters.parse(await request.read(), shape))
    except (ParameterError, HexError, BadRequestError, NotThereError) as error:
        return error_response(str(error))
    except AlreadyInCacheError:
        return error_response(_IN_CACHE)
    return json_response(answer if isinstance(answer, str) else shapes.answer_text(answer))


def _page(asked: Parameters) -> slice:
    page, size = asked.integer("page"), asked.integer("per_page")
    page = max(page, 1)
    size = min(size, MAX_PER_PAGE) if size > 0 else DEFAULT_PER_PAGE
    return slice((page - 1) * size, page * size)


def _address(text: str) -> bytes:
    address = decode_hex(text)
    if address and len(address) != _ADDRESS_SIZE:
        raise BadRequestError("Incorrect address length")
    return address


def plain(text: str, status: int) -> web.Response:
    """A text answer of Go's HTTP server."""
    return web.Response(text=text, status=status, headers={"X-Content-Type-Options": "nosniff"})
