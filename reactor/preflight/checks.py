"""All checks together: concurrent, each with its time-out, none able to hide another."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from typing import Final

from reactor.chains.ethereum.client import EthereumChain
from reactor.chains.ethereum.types import ContractFacts
from reactor.chains.pocket import PocketChain
from reactor.parts import ethereum_chain, open_store, pocket_chain
from reactor.preflight import ethereum, mongo, own, pocket
from reactor.preflight.offline import KEYS, offline_checks
from reactor.preflight.results import CheckResult, failed, isolated, passed
from reactor.settings import Settings
from reactor.store.connection import Store

_STATE_SECONDS: Final = 90.0
"""Longer than a file that another process has locked is waited for."""
_CHAIN_SECONDS: Final = 150.0
"""The checks of one chain follow each other, each with its own time-out."""
_MONGO: Final = "check mongo.uri and that a majority of the replica set runs"
_ETHEREUM: Final = "check ethereum.rpc_urls and the nodes behind them"
_CONTRACTS: Final = "check ethereum.mint_controller_address and ethereum.wrapped_pocket_address: is this their chain?"
_POCKET: Final = "check pocket.rpc_urls and the nodes behind them"
_FILES: Final = "check the state directory and its permissions"


async def preflight(settings: Settings, *, observe: bool, starting: bool) -> list[CheckResult]:
    """All results, in a fixed order of subjects. Never raises for what it checks.

    Args:
        settings: of the validator that is to run.
        observe: no keys are needed.
        starting: the validator is to start now, so one that runs on its state directory already is a fault.
    """
    async with AsyncExitStack() as stack:
        chain, pokt = ethereum_chain(settings), pocket_chain(settings)
        stack.push_async_callback(chain.close)
        stack.push_async_callback(pokt.close)
        run = _Run(settings, observe, starting, chain, pokt, stack)
        first = await asyncio.gather(*run.first())
        second = await asyncio.gather(*run.second())
        return [result for group in (*first, *second) for result in group]


async def lock_condition(settings: Settings, *, starting: bool) -> list[CheckResult]:
    """What is said of the lock. One that cannot be tried goes by another name: that is no other process."""
    return await isolated("state directory", own.check_lock(settings, starting=starting), _FILES)


@dataclass(slots=True)
class _Run:
    """One pre-flight: the clients, and what the first checks learn for the second."""

    settings: Settings
    observe: bool
    starting: bool
    chain: EthereumChain
    pokt: PocketChain
    stack: AsyncExitStack
    own: own.Own = field(default_factory=own.Own)
    store: Store | None = None
    facts: ContractFacts | None = None

    def first(self) -> list[Awaitable[list[CheckResult]]]:
        """What depends on nothing else."""
        settings = self.settings
        checks: list[Awaitable[list[CheckResult]]] = [
            *offline_checks(settings),
            isolated("journal", own.check_journal(settings), _FILES, seconds=_STATE_SECONDS),
            isolated("ledger", own.check_ledger(settings), _FILES, seconds=_STATE_SECONDS),
            isolated("disk", own.check_disk(settings), _FILES, "warning"),
            lock_condition(settings, starting=self.starting),
            isolated("database", self._mongo(), _MONGO),
            isolated("Ethereum", self._ethereum(), _ETHEREUM, seconds=_CHAIN_SECONDS),
            isolated("Pocket", self._pocket(), _POCKET, seconds=_CHAIN_SECONDS),
        ]
        if not self.observe:
            checks.insert(0, isolated("Ethereum key", own.check_ethereum_key(settings, self.own), KEYS))
            checks.insert(1, isolated("Pocket key", own.check_pocket_key(settings, self.own), KEYS))
        return checks

    def second(self) -> list[Awaitable[list[CheckResult]]]:
        """What compares the findings of several."""
        checks: list[Awaitable[list[CheckResult]]] = []
        if self.facts is not None:
            checks.append(isolated("members", self._members(self.facts), _CONTRACTS))
        if self.store is not None:
            checks.append(isolated("indexes", mongo.check_indexes(self.store), _MONGO))
            checks.append(isolated("clock", mongo.check_mongo_clock(self.store), _MONGO))
            checks.append(isolated("other validators", self._others(self.store), _MONGO, "warning"))
        return checks

    async def _mongo(self) -> list[CheckResult]:
        self.store = await open_store(self.settings)
        self.stack.push_async_callback(self.store.close)
        hello = await self.store.client.admin.command("hello")
        detail = f"replica set {hello['setName']} of {len(hello.get('hosts', []))}, database {self.settings.mongo.database}"
        return [passed("database", detail)]

    async def _ethereum(self) -> list[CheckResult]:
        results, head = await ethereum.check_endpoints(self.chain, self.settings)
        if head is None:
            return results  # whatever else is asked would fail for the same reason
        results += ethereum.check_head(self.settings, head)
        results += await isolated("Ethereum calls", ethereum.check_calls(self.chain, self.settings), _ETHEREUM)
        return results + await isolated("contracts", self._contracts(), _CONTRACTS)

    async def _contracts(self) -> list[CheckResult]:
        self.facts = await self.chain.facts(self.settings.ethereum.validator_addresses, fresh=True)
        results = ethereum.check_contracts(self.settings, self.facts) + await ethereum.check_token(self.chain)
        results += ethereum.check_minter(self.settings, self.facts)
        return results + ethereum.check_mints_open(self.facts)

    async def _pocket(self) -> list[CheckResult]:
        results, head = await pocket.check_endpoints(self.pokt, self.settings)
        if head is None:
            return results
        results += pocket.check_head(self.settings, head)
        results += await isolated("signature limit", pocket.check_signature_limit(self.pokt, self.settings), _POCKET)
        results += await isolated("memo", pocket.check_memo(self.pokt), _POCKET)
        return results + await isolated("vault balance", pocket.check_balance(self.pokt, self.settings), _POCKET)

    async def _members(self, facts: ContractFacts) -> list[CheckResult]:
        if self.own.address and self.own.address not in self.settings.ethereum.validator_addresses:
            # Then the facts were read without it.
            facts = await self.chain.facts([*self.settings.ethereum.validator_addresses, self.own.address])
        return ethereum.check_members(self.settings, facts, self.own.address, observe=self.observe)

    async def _others(self, store: Store) -> list[CheckResult]:
        if self.facts is None:
            return [failed("other validators", "not compared: the contract was not read", _CONTRACTS, "warning")]
        members = frozenset(self.facts.validators)
        return await mongo.check_others(store, self.settings, self.own.address, members, self.facts.threshold)
