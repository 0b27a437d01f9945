"""What a node can do wrong, one frozen switch each. README.md describes them for users."""

from dataclasses import dataclass
from typing import Annotated, ClassVar, Literal

from pydantic import ConfigDict, Field, NonNegativeFloat, NonNegativeInt, PositiveInt, TypeAdapter

_STRICT: ConfigDict = ConfigDict(extra="forbid")


@dataclass(frozen=True, slots=True)
class HttpFault:
    """A request is answered wrongly or not at all.

    `paths`: path ends that it concerns, for example `query/tx`; none means every `/v1` request. `times`: how many requests
    it spoils before it ends by itself; None means until it is cleared.
    """

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT

    paths: tuple[str, ...] = ()
    times: PositiveInt | None = None

    def concerns(self, path: str) -> bool:
        """Whether a request for `path` is spoilt."""
        return not self.paths or path.endswith(self.paths)


@dataclass(frozen=True, slots=True)
class ServerError(HttpFault):
    """An HTTP error with a text body."""

    kind: Literal["server_error"] = "server_error"
    status: int = 503
    body: str = "upstream request timeout\n"


@dataclass(frozen=True, slots=True)
class HtmlPage(HttpFault):
    """A page of some proxy, by default with HTTP 200."""

    kind: Literal["html_page"] = "html_page"
    status: int = 200


@dataclass(frozen=True, slots=True)
class EmptyAnswer(HttpFault):
    """HTTP 200 and no body."""

    kind: Literal["empty_answer"] = "empty_answer"


@dataclass(frozen=True, slots=True)
class Hang(HttpFault):
    """The request is taken and never answered, until the switch is cleared; then it is served. With `after`, a submitted
    transaction is carried out first and only the answer is withheld."""

    kind: Literal["hang"] = "hang"
    after: bool = False


@dataclass(frozen=True, slots=True)
class Slow(HttpFault):
    """The request is served after `seconds`."""

    kind: Literal["slow"] = "slow"
    seconds: NonNegativeFloat = 1.0


@dataclass(frozen=True, slots=True)
class DropConnection(HttpFault):
    """The connection is closed without an answer. With `after`, the request is carried out first."""

    kind: Literal["drop_connection"] = "drop_connection"
    after: bool = False


@dataclass(frozen=True, slots=True)
class GatewayError(HttpFault):
    """HTTP 200 with the JSON-RPC error of a gateway."""

    kind: Literal["gateway_error"] = "gateway_error"
    code: int = -32098
    message: str = "relay request failed: rate limit exceeded"


@dataclass(frozen=True, slots=True)
class QuotedAnswer(HttpFault):
    """The right answer as one quoted JSON string, as some gateways pass it on."""

    kind: Literal["quoted_answer"] = "quoted_answer"


@dataclass(frozen=True, slots=True)
class Switch:
    """Something other than the HTTP answer is wrong."""

    __pydantic_config__: ClassVar[ConfigDict] = _STRICT


@dataclass(frozen=True, slots=True)
class WrongChainId(Switch):
    """Block headers name another chain."""

    kind: Literal["wrong_chain_id"] = "wrong_chain_id"
    chain_id: str = "mainnet"


@dataclass(frozen=True, slots=True)
class StaleHeight(Switch):
    """The node has stopped following: it stands at `height`, or `behind` blocks below the tip if `height` is 0, with
    everything it shows. Submitting still works, as if it were passed on."""

    kind: Literal["stale_height"] = "stale_height"
    behind: NonNegativeInt = 1
    height: NonNegativeInt = 0


@dataclass(frozen=True, slots=True)
class IndexLag(Switch):
    """Blocks are visible before their transactions and balances: `blocks` behind the height, and not before `seconds`
    after the block."""

    kind: Literal["index_lag"] = "index_lag"
    blocks: NonNegativeInt = 0
    seconds: NonNegativeFloat = 0.0


@dataclass(frozen=True, slots=True)
class LoseSubmitted(Switch):
    """The next `times` good transactions (None: all) are answered with success and dropped. With `cached` the node
    remembers having seen them and refuses the same bytes."""

    kind: Literal["lose_submitted"] = "lose_submitted"
    times: PositiveInt | None = None
    cached: bool = False


@dataclass(frozen=True, slots=True)
class RejectSubmits(Switch):
    """The next `times` transactions (None: all) are refused with this code, whatever they are."""

    kind: Literal["reject_submits"] = "reject_submits"
    times: PositiveInt | None = None
    codespace: str = "sdk"
    code: PositiveInt = 4
    message: str = "signature verification failed for the transaction"


@dataclass(frozen=True, slots=True)
class AbciLogging(Switch):
    """Accepted transactions are answered with `raw_log` and parsed `logs`."""

    kind: Literal["abci_logging"] = "abci_logging"


@dataclass(frozen=True, slots=True)
class EmptyAccountTxs(Switch):
    """`accounttxs` shows no transactions of anybody."""

    kind: Literal["empty_accounttxs"] = "empty_accounttxs"


@dataclass(frozen=True, slots=True)
class HideTransactions(Switch):
    """`accounttxs` lacks the transactions with these hashes (any case), which `tx`, `block` and `blocktxs` show."""

    hashes: tuple[str, ...]
    kind: Literal["hide_transactions"] = "hide_transactions"

    def hides(self, hash_: str) -> bool:
        """Whether the transaction with this hash is left out."""
        return hash_.lower() in {one.lower() for one in self.hashes}


@dataclass(frozen=True, slots=True)
class RefuseUntilBlock(Switch):
    """A habit of the real node: from its start until its first new block no signature passes (`sdk` 4), for it does not know
    the chain's id yet. It is felt from the next start on."""

    kind: Literal["refuse_until_block"] = "refuse_until_block"


@dataclass(frozen=True, slots=True)
class LoseMempool(Switch):
    """Another habit: when the node ends, what waited for a block is gone, and forgotten to have been seen."""

    kind: Literal["lose_mempool"] = "lose_mempool"


@dataclass(frozen=True, slots=True)
class OldNode(Switch):
    """An earlier version: `accounttxs` ignores `height`, the mempool look-ups are missing, `rawtx` says `"height":"0"`."""

    kind: Literal["old_node"] = "old_node"


Fault = ServerError | HtmlPage | EmptyAnswer | Hang | Slow | DropConnection | GatewayError | QuotedAnswer
Misbehaviour = (
    Fault
    | WrongChainId
    | StaleHeight
    | IndexLag
    | LoseSubmitted
    | RejectSubmits
    | AbciLogging
    | EmptyAccountTxs
    | HideTransactions
    | RefuseUntilBlock
    | LoseMempool
    | OldNode
)
MISBEHAVIOUR: TypeAdapter[Misbehaviour] = TypeAdapter(Annotated[Misbehaviour, Field(discriminator="kind")])
"""Reads and writes switches as JSON; unknown fields are refused."""
