"""Ethereum: events and state of the wPOKT contracts, heads, finality, the data of mints. A client alone imports web3."""

from reactor.chains.ethereum.client import EthereumChain
from reactor.chains.ethereum.eip712 import Domain, mint_digest, recover_signer, typed_data
from reactor.chains.ethereum.finality import Finality
from reactor.chains.ethereum.types import (
    BurnEvent,
    ContractFacts,
    Head,
    HeadView,
    MintedEvent,
    ReceiptEvents,
    Window,
)

__all__ = [
    "BurnEvent",
    "ContractFacts",
    "Domain",
    "EthereumChain",
    "Finality",
    "Head",
    "HeadView",
    "MintedEvent",
    "ReceiptEvents",
    "Window",
    "mint_digest",
    "recover_signer",
    "typed_data",
]
