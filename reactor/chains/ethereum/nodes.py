"""The list of Ethereum nodes: one JSON-RPC call at one of them, checked, counted and bounded."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeVar

from reactor.chains.agreement import Question, agree, at_least, checked_agreement
from reactor.chains.errors import MalformedAnswer, NotFound, RpcProblem, RpcRefused, RpcUnavailable, WrongChain
from reactor.chains.ethereum import wire
from reactor.chains.ethereum.types import Head
from reactor.chains.rpc import Endpoint, Endpoints, Retries
from reactor.sentences import sentence

__all__ = ["Nodes", "Transport", "block_parameter", "together", "web3_transport"]

T = TypeVar("T")


class Transport(Protocol):
    """What carries one JSON-RPC call to one node."""

    async def ask(self, method: str, params: Sequence[Any]) -> dict[str, Any]:
        """The answer as an object, or a ChainError."""

    async def close(self) -> None:
        """Release the connections."""


def web3_transport(url: str, seconds: float) -> Transport:
    """The real thing: web3's HTTP provider to one node."""
    from reactor.chains.ethereum.provider import NodeProvider  # noqa: PLC0415 - importing web3 takes a second

    return NodeProvider(url, seconds)


def block_parameter(block: int | str) -> str | dict[str, str]:
    """A block number, `0x` hash (EIP-1898) or tag as JSON-RPC wants it."""
    if isinstance(block, int):
        if block < 0:
            raise ValueError(f"block: expected a number from 0, got {block}")
        return hex(block)
    return {"blockHash": block} if block.startswith("0x") and len(block) == 66 else block


async def together(*reads: Coroutine[Any, Any, T]) -> list[T]:
    """The results of all, in order; the first error ends the others."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(read) for read in reads]
    except BaseExceptionGroup as errors:
        # One of them says all: callers know chain errors, not groups of them.
        raise errors.exceptions[0] from None
    return [task.result() for task in tasks]


def _unusable(endpoint: Endpoint, error: Exception) -> MalformedAnswer:
    return MalformedAnswer(f"its answer cannot be used: {sentence(error)}", endpoint=endpoint.url)


class Nodes:
    """Ethereum nodes that must all serve `chain_id`; `run` gives an operation the node it should use.

    `agreement`: how many of them must say the same where `agree` is asked. `rate`: see `Endpoints`.
    """

    def __init__(
        self,
        urls: Sequence[str],
        chain_id: int,
        *,
        seconds: float = 10.0,
        retries: Retries | None = None,
        agreement: int = 1,
        rate: float | None = None,
        transport: Callable[[str, float], Transport] = web3_transport,
    ) -> None:
        self.chain_id = chain_id
        self.endpoints = Endpoints(
            urls, chain="Ethereum", retries=retries, verify=self._check_chain, rate=rate, own_error=_unusable
        )
        self.agreement = checked_agreement(agreement, len(self.endpoints.all))
        self._transports = {endpoint: transport(endpoint.url, seconds) for endpoint in self.endpoints.all}

    async def run(self, operation: Callable[[Endpoint], Awaitable[T]], *, last: str = "") -> T:
        """See `Endpoints.run`."""
        return await self.endpoints.run(operation, last=last)

    async def agree(self, question: Question[T], operation: Callable[[Endpoint], Awaitable[T]], *, last: str = "") -> T:
        """See `reactor.chains.agreement.agree`; with an agreement of 1 the same as `run`."""
        return await agree(self.endpoints, self.agreement, question, operation, last=last)

    async def some(self, subject: str, operation: Callable[[Endpoint], Awaitable[T]]) -> list[T]:
        """The results of as many nodes as must agree, whatever they say."""
        return await at_least(self.endpoints, self.agreement, subject, operation)

    async def ask(self, endpoint: Endpoint, method: str, params: Sequence[Any]) -> object:
        """The `result` of one call at this node.

        Raises:
            ChainError: any, with endpoint and method.
        """
        if not await self.endpoints.turn(endpoint):
            refused = RpcUnavailable("our own rate limit: too many calls wait", endpoint=endpoint.url, method=method)
            refused.asked = False
            raise refused
        self.endpoints.count(method)
        answer = await self._transports[endpoint].ask(method, params)
        if answer.get("error") is not None:
            raise wire.error_of(answer["error"], endpoint.url, method)
        if "result" not in answer:
            raise MalformedAnswer("neither result nor error", endpoint=endpoint.url, method=method)
        self.endpoints.answered(endpoint, method)
        return answer["result"]

    async def parsed(self, endpoint: Endpoint, method: str, params: Sequence[Any], parse: Callable[[object], T]) -> T:
        """Like `ask`, but parsed; an error of `parse` is given endpoint and method."""
        result = await self.ask(endpoint, method, params)
        try:
            return parse(result)
        except (MalformedAnswer, NotFound) as error:
            raise type(error)(error.reason, endpoint=endpoint.url, method=method) from None

    async def header(self, endpoint: Endpoint, block: int | str) -> Head:
        """A header by number, hash or tag at this node; NotFound if it has none.

        SECURITY: the answer must be the block that was asked for.
        """
        by_hash = isinstance(block, str) and len(block) == 66
        method = "eth_getBlockByHash" if by_hash else "eth_getBlockByNumber"
        wanted = block if isinstance(block, str) else hex(block)
        try:
            found = await self.parsed(endpoint, method, [wanted, False], wire.header)
        except NotFound as error:
            if block != "latest":
                raise
            said = f"it shows no latest block, which every chain has: {error.reason}"
            raise RpcRefused(said, endpoint=endpoint.url, method=method) from None
        if (isinstance(block, int) and found.number != block) or (by_hash and found.hash != block):
            raise MalformedAnswer(
                f"block: asked for {block}, got {found.number} {found.hash}", endpoint=endpoint.url, method=method
            )
        return found

    async def _check_chain(self, endpoint: Endpoint) -> None:
        method = "eth_chainId"
        served = await self.parsed(endpoint, method, [], lambda result: wire.quantity({"chainId": result}, "chainId"))
        # SECURITY: facts of another chain must never enter a decision.
        if served != self.chain_id:
            raise WrongChain(
                f"this endpoint serves chain {served}, the configured chain is {self.chain_id}: correct the URL",
                endpoint=endpoint.url,
                method=method,
            )

    async def ask_all(self, operation: Callable[[Endpoint], Awaitable[T]]) -> dict[Endpoint, T | RpcProblem]:
        """Each node's own outcome of `operation`, all asked at once, none asked twice."""
        return await self.endpoints.each(self.endpoints.all, operation)

    async def close(self) -> None:
        """Close all connections."""
        await self.endpoints.close()
        for transport in self._transports.values():
            await transport.close()
