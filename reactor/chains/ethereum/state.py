"""The state of WrappedPocket and MintController, read rarely and shared by all that need it."""

from __future__ import annotations

import asyncio
import math
from collections import deque
from collections.abc import Callable, Iterable
from typing import TypeVar

from reactor.chains.agreement import Question
from reactor.chains.cache import SharedReads
from reactor.chains.ethereum import contracts, wire
from reactor.chains.ethereum.logs import Log
from reactor.chains.ethereum.nodes import Nodes, together
from reactor.chains.ethereum.types import ContractFacts, Domain, Head
from reactor.chains.rpc import Endpoint
from reactor.sentences import counted

__all__ = ["ContractState"]

T = TypeVar("T")

# Addresses learnt from events; more than the contract will ever have, few enough to ask for each.
_MEMBERS_KNOWN = 256
_AT_ONCE = 8
_OTHER_STATE = "shows another state of the contracts"
_State = tuple[Head, tuple[str, ...], dict[str, int]]


class ContractState:
    """Reads facts at one block of one endpoint; they stay until an event may have changed them or their time is over."""

    def __init__(
        self,
        nodes: Nodes,
        reads: SharedReads,
        *,
        wpokt: str,
        controller: str,
        facts_seconds: float,
        limit_seconds: float,
    ) -> None:
        self._nodes = nodes
        self._reads = reads
        self._wpokt = wpokt
        self._controller = controller
        self._facts_seconds = facts_seconds
        self._limit_seconds = limit_seconds
        self._named: set[str] = set()
        self._noted: deque[tuple[str, int]] = deque(maxlen=_MEMBERS_KNOWN)

    def note(self, changes: Iterable[Log]) -> None:
        """Events that may have changed the contracts' state were seen: read again when next asked.

        Each counts once: blocks that are not final yet are scanned again on every head.
        """
        changed = False
        for log in changes:
            if (log.block_hash, log.log_index) in self._noted:
                continue
            self._noted.append((log.block_hash, log.log_index))
            changed = True
            if log.topics[0] in contracts.MEMBER_TOPICS and len(log.topics) == 2 and len(self._named) < _MEMBERS_KNOWN:
                self._named.add("0x" + log.topics[1][26:])
        if changed:
            self.forget()

    def forget(self) -> None:
        """Forget all but what never changes (the EIP-712 domain)."""
        self._reads.drop(lambda key: isinstance(key, tuple) and key[0] in {"facts", "limit", "validator"})

    async def facts(self, candidates: Iterable[str], *, fresh: bool) -> ContractFacts:
        """See `EthereumChain.facts`."""
        if fresh:
            self.forget()
        asked = frozenset(wire.own_address(item, "candidate") for item in candidates) | self._named
        domain = await self._reads.get(("domain",), math.inf, self._read_domain)
        block, members, state = await self._reads.get(("facts", asked), self._facts_seconds, lambda: self._read_agreed(asked))
        limit = await self._reads.get(("limit",), self._limit_seconds, self._read_limit)
        return ContractFacts(
            block=block,
            threshold=state["signerThreshold"],
            validators=members,
            validator_count=state["validatorCount"],
            max_mint_limit=state["maxMintLimit"],
            current_mint_limit=limit,
            mint_per_second=state["mintPerSecond"],
            paused=bool(state["paused"]),
            fee_flag=bool(state["feeFlag"]),
            fee_basis=state["feeBasis"],
            domain=domain,
            minter=bool(state["minter"]),
        )

    async def is_validator(self, address: str) -> bool:
        """See `EthereumChain.is_validator`."""
        wanted = wire.own_address(address, "address")

        async def read() -> bool:
            question = Question[bool](f"whether {wanted} is a validator", "state", same=bool, accuse=_OTHER_STATE)
            return await self._nodes.agree(question, lambda endpoint: self._is_member(endpoint, wanted, "latest"))

        return await self._reads.get(("validator", wanted), self._facts_seconds, read)

    async def _read_agreed(self, asked: frozenset[str]) -> _State:
        """SECURITY: with agreement, threshold and members are what so many endpoints say of one block."""
        if self._nodes.agreement == 1:
            return await self._nodes.run(lambda endpoint: self._read(endpoint, asked, "latest"))
        block = await self._agreed_height()
        question = Question[_State](
            f"the contracts' state at block {block}",
            "state",
            same=lambda state: (state[0], state[1], tuple(state[2].items())),
            show=lambda state: f"{state[2]} with {counted(len(state[1]), 'member')} at {state[0].hash}",
            accuse=_OTHER_STATE,
        )
        return await self._nodes.agree(question, lambda endpoint: self._read(endpoint, asked, block))

    async def _agreed_height(self) -> int:
        """The newest block that as many endpoints as must agree can show."""
        heads = await self._nodes.some("heads", lambda endpoint: self._nodes.header(endpoint, "latest"))
        return min(head.number for head in heads)

    async def _read(self, endpoint: Endpoint, asked: frozenset[str], block: int | str) -> _State:
        head = await self._nodes.header(endpoint, block)
        at = hex(head.number)
        gate = asyncio.Semaphore(_AT_ONCE)

        async def number(to: str, name: str, data: str) -> int:
            def decode(answer: object) -> int:
                if name in {"paused", "feeFlag", "minter"}:
                    return int(contracts.decode_bool(answer, name))
                return contracts.decode_uint(answer, name)

            async with gate:
                return await self._call(endpoint, to, data, at, decode)

        async def member(address: str) -> bool:
            async with gate:
                return await self._is_member(endpoint, address, at)

        reads = [(self._controller, name, data) for name, data in contracts.CONTROLLER_READS.items()]
        reads += [(self._wpokt, name, data) for name, data in contracts.WPOKT_READS.items()]
        reads.append((self._wpokt, "minter", contracts.minter_call(self._controller)))
        ordered = sorted(asked)
        found = await together(*(number(*read) for read in reads), *(member(address) for address in ordered))
        state = {name: value for (_, name, _), value in zip(reads, found[: len(reads)], strict=True)}
        known = tuple(address for address, is_one in zip(ordered, found[len(reads) :], strict=True) if is_one)
        return head, known, state

    async def _is_member(self, endpoint: Endpoint, address: str, at: str) -> bool:
        data = contracts.address_call(contracts.VALIDATORS, address)
        return await self._call(endpoint, self._controller, data, at, lambda answer: contracts.decode_bool(answer, "validators"))

    async def _read_domain(self) -> Domain:
        question = Question[Domain]("the EIP-712 domain", "state", same=lambda domain: domain, show=repr, accuse=_OTHER_STATE)
        return await self._nodes.agree(
            question, lambda endpoint: self._call(endpoint, self._controller, contracts.DOMAIN, "latest", contracts.decode_domain)
        )

    async def _read_limit(self) -> int:
        # It grows from block to block: endpoints can agree on it only at one and the same.
        at = "latest" if self._nodes.agreement == 1 else hex(await self._agreed_height())
        question = Question[int](f"currentMintLimit at {at}", "state", same=int, accuse=_OTHER_STATE)
        return await self._nodes.agree(
            question,
            lambda endpoint: self._call(
                endpoint,
                self._controller,
                contracts.CURRENT_MINT_LIMIT,
                at,
                lambda answer: contracts.decode_uint(answer, "currentMintLimit"),
            ),
        )

    async def _call(self, endpoint: Endpoint, to: str, data: str, at: str, decode: Callable[[object], T]) -> T:
        return await self._nodes.parsed(endpoint, "eth_call", [{"to": to, "data": data}, at], decode)
