"""A Pocket (Morse) development node for tests and the local network. See README.md."""

from infra.localnet.pocket.chain import Chain, Submission
from infra.localnet.pocket.genesis import Genesis
from infra.localnet.pocket.misbehaviour import (
    AbciLogging,
    DropConnection,
    EmptyAccountTxs,
    EmptyAnswer,
    GatewayError,
    Hang,
    HideTransactions,
    HtmlPage,
    IndexLag,
    LoseMempool,
    LoseSubmitted,
    Misbehaviour,
    OldNode,
    QuotedAnswer,
    RefuseUntilBlock,
    RejectSubmits,
    ServerError,
    Slow,
    StaleHeight,
    WrongChainId,
)
from infra.localnet.pocket.node import PocketNode
from infra.localnet.pocket.wallet import Vault, Wallet

__all__ = [
    "AbciLogging",
    "Chain",
    "DropConnection",
    "EmptyAccountTxs",
    "EmptyAnswer",
    "GatewayError",
    "Genesis",
    "Hang",
    "HideTransactions",
    "HtmlPage",
    "IndexLag",
    "LoseMempool",
    "LoseSubmitted",
    "Misbehaviour",
    "OldNode",
    "PocketNode",
    "QuotedAnswer",
    "RefuseUntilBlock",
    "RejectSubmits",
    "ServerError",
    "Slow",
    "StaleHeight",
    "Submission",
    "Vault",
    "Wallet",
    "WrongChainId",
]
