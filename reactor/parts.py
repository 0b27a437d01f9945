"""From the settings to the parts: bridge, store, chains, keys. Each is imported only when it is asked for.

So that an operator's `pause` does not load the libraries of two chains first.
"""

# ruff: noqa: PLC0415 - what is heavy is imported by the command that needs it

from __future__ import annotations

from typing import TYPE_CHECKING

from pydantic import SecretStr

from reactor.documents.bridge import Bridge, Schedule
from reactor.settings import Settings

SOURCE_VERSION = "0.1.0"

if TYPE_CHECKING:
    from reactor.chains.ethereum.client import EthereumChain
    from reactor.chains.pocket import PocketChain
    from reactor.documents.statuses import Collection
    from reactor.keys.signer import Signer
    from reactor.mongo_uri import MongoUri
    from reactor.state.limits import AmountOf, Limits
    from reactor.store.connection import Store


def software_version() -> str:
    """The installed version, or that of the source tree."""
    from importlib.metadata import PackageNotFoundError, version

    try:
        return version("bridge-reactor")
    except PackageNotFoundError:
        return f"{SOURCE_VERSION}+source"


def bridge_of(settings: Settings) -> Bridge:
    """The bridge's identity."""
    pocket, ethereum = settings.pocket, settings.ethereum
    return Bridge(
        pocket_chain_id=pocket.chain_id,
        vault=pocket.vault_address,
        pocket_keys=tuple(pocket.multisig_public_keys),
        pocket_start=pocket.start_height,
        deposit_fee=Schedule(tuple(pocket.tx_fee.steps)),
        maximum=Schedule(tuple(pocket.max_mint.steps)),
        ethereum_chain_id=ethereum.chain_id,
        wpokt=ethereum.wrapped_pocket_address,
        mint_controller=ethereum.mint_controller_address,
        ethereum_start=ethereum.start_block,
        burn_fee=Schedule(tuple(ethereum.burn_fee.steps)),
    )


def limits_of(settings: Settings, amount_of: AmountOf) -> Limits | None:
    """The configured limits, over the amounts of the own ledger; none if there are none."""
    from reactor.state.limits import Limit, Limits

    ways = {"mint": settings.limits.mint, "payout": settings.limits.payout}
    rules = {
        way: Limit(one.single_transfer, one.window_amount, one.window_s, one.delay_s)
        for way, one in ways.items()
        if one.single_transfer is not None or one.window_amount is not None
    }
    return Limits(rules, amount_of) if rules else None


async def open_store(settings: Settings) -> Store:
    """The shared database, under the configured collection names. Raises StoreProblem."""
    from reactor.store.connection import Store

    mongo = settings.mongo
    return await Store.connect(mongo.uri.get_secret_value(), mongo.database, _names(settings), timeout_ms=mongo.timeout_ms)


async def try_store(settings: Settings) -> MongoUri:
    """Make every client of the shared database and end it, asking nothing; how its URI is understood. Raises StoreProblem."""
    from reactor.store.connection import try_clients

    mongo = settings.mongo
    return await try_clients(mongo.uri.get_secret_value(), mongo.database, _names(settings), mongo.timeout_ms)


def _names(settings: Settings) -> dict[Collection, str]:
    from reactor.documents.statuses import Collection

    return {role: getattr(settings.mongo.collections, role.value) for role in Collection}


def ethereum_chain(settings: Settings) -> EthereumChain:
    """The client of the own Ethereum nodes. The caller closes it."""
    from reactor.chains.ethereum.client import EthereumChain
    from reactor.chains.ethereum.finality import Finality
    from reactor.chains.ethereum.span import Span

    ethereum = settings.ethereum
    return EthereumChain(
        ethereum.rpc_urls,
        chain_id=ethereum.chain_id,
        wpokt=ethereum.wrapped_pocket_address,
        controller=ethereum.mint_controller_address,
        finality=Finality.parse(ethereum.finality, ethereum.finality_floor),
        seconds=ethereum.rpc_timeout_ms / 1000,
        agreement=ethereum.agreement,
        rate=ethereum.requests_per_second,
        span=Span(blocks=min(1000, ethereum.max_window), most=ethereum.max_window),
    )


def pocket_chain(settings: Settings) -> PocketChain:
    """The client of the own Pocket nodes. The caller closes it."""
    from reactor.chains.pocket import connect

    pocket = settings.pocket
    return connect(
        pocket.rpc_urls,
        chain_id=pocket.chain_id,
        generation=pocket.generation,
        timeout=pocket.rpc_timeout_ms / 1000,
        agreement=pocket.agreement,
        rate=pocket.requests_per_second,
    )


async def open_ethereum_key(settings: Settings) -> Signer | None:
    """The configured secp256k1 key, none if there is none. Raises KeyProblem."""
    from reactor.keys import open_signer

    uri = settings.ethereum.key
    return None if uri is None else await open_signer(uri, "secp256k1", passphrase=_revealed(settings.ethereum.key_passphrase))


async def open_pocket_key(settings: Settings) -> Signer | None:
    """The configured Ed25519 key, none if there is none. Raises KeyProblem."""
    from reactor.keys import open_signer

    uri = settings.pocket.key
    return None if uri is None else await open_signer(uri, "ed25519", passphrase=_revealed(settings.pocket.key_passphrase))


def _revealed(secret: SecretStr | None) -> str | None:
    return None if secret is None else secret.get_secret_value()
