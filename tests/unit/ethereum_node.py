"""An Ethereum node in memory for the client's own logic: a chain of numbered blocks, logs, and refusals as told."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

from eth_abi.abi import encode

from reactor.chains.errors import ChainError
from reactor.chains.ethereum import EthereumChain, Finality
from reactor.chains.ethereum.contracts import BURN_TOPIC, DOMAIN
from reactor.chains.ethereum.span import Span
from reactor.chains.rpc import Retries

WPOKT = "0x" + "aa" * 20
CONTROLLER = "0x" + "cc" * 20
CHAIN_ID = 7
QUICK = Retries(rounds=2, backoff=0.001, cool_down=0.001, probes=1000)
Refusal = Callable[[str, Sequence[Any]], "dict[str, Any] | ChainError | None"]
"""(method, parameters) → the `error` object of the answer, an error to be raised as a transport does, or None: it answers."""
_DOMAIN = (
    "0x"
    + encode(
        ["bytes1", "string", "string", "uint256", "address", "bytes32", "uint256[]"],
        [b"\x0f", "MintController", "1", CHAIN_ID, CONTROLLER, bytes(32), []],
    ).hex()
)


def block_hash(number: int) -> str:
    return "0x" + f"{number + 1:064x}"


def block_time(number: int) -> int:
    return 1_700_000_000 + 12 * number


def burn_log(number: int, index: int = 0, amount: int = 5, **more: Any) -> dict[str, Any]:
    """A raw `BurnAndBridge` log as nodes show it; `more` are fields changed or added."""
    return {
        "address": WPOKT,
        "topics": [BURN_TOPIC, "0x" + f"{amount:064x}", "0x" + "00" * 12 + "bb" * 20, "0x" + "00" * 12 + "dd" * 20],
        "data": "0x",
        "blockNumber": hex(number),
        "blockHash": block_hash(number),
        "transactionHash": "0x" + f"{(number << 16) + index + 1:064x}",
        "transactionIndex": hex(index),
        "logIndex": hex(index),
        **more,
    }


def header(number: int, **more: Any) -> dict[str, Any]:
    parent = block_hash(number - 1) if number else "0x" + "00" * 32
    return {"number": hex(number), "hash": block_hash(number), "parentHash": parent, "timestamp": hex(block_time(number)), **more}


class Node:
    """Answers the client's calls; `asked` are those that came, `calls` counts them by method."""

    def __init__(
        self, head: int = 100, logs: Sequence[dict[str, Any]] = (), refuse: Refusal = lambda method, params: None
    ) -> None:
        self.head = head
        self.logs = list(logs)
        self.refuse = refuse
        self.calls: Counter[str] = Counter()
        self.asked: list[tuple[str, Any]] = []
        self.results: dict[str, Any] = {}
        self.tags: dict[str, int] = {}

    async def ask(self, method: str, params: Sequence[Any]) -> dict[str, Any]:
        self.calls[method] += 1
        self.asked.append((method, params))
        refusal = self.refuse(method, params)
        if isinstance(refusal, ChainError):
            raise refusal
        if refusal is not None:
            return {"error": refusal}
        return {"result": self.results[method] if method in self.results else self._result(method, params)}

    async def close(self) -> None:
        pass

    def _result(self, method: str, params: Sequence[Any]) -> Any:
        if method == "eth_chainId":
            return hex(CHAIN_ID)
        if method == "eth_getBlockByHash":
            number = int(params[0], 16) - 1
            return header(number) if 0 <= number <= self.head else None
        if method == "eth_getBlockByNumber":
            tags = {"latest": self.head, "safe": self.head - 8, "finalized": self.head - 16, **self.tags}
            number = tags[params[0]] if params[0] in tags else int(params[0], 16)
            return header(number) if 0 <= number <= self.head else None
        if method == "eth_getLogs":
            start, end = int(params[0]["fromBlock"], 16), int(params[0]["toBlock"], 16)
            return [log for log in self.logs if start <= int(log["blockNumber"], 16) <= end]
        if method == "eth_getTransactionReceipt":
            logs = [log for log in self.logs if log["transactionHash"] == params[0]]
            return receipt(logs) if logs else None
        if params[0]["data"] == DOMAIN:
            return _DOMAIN
        return "0x" + "00" * 32


def receipt(logs: Sequence[dict[str, Any]], **more: Any) -> dict[str, Any]:
    """The receipt of the transaction that emitted these logs."""
    common = {name: logs[0][name] for name in ("transactionHash", "blockHash", "blockNumber")}
    return {**common, "status": "0x1", "logs": list(logs), **more}


def blocks_asked(params: Sequence[Any]) -> int:
    """The size of the window of an `eth_getLogs`."""
    return int(params[0]["toBlock"], 16) - int(params[0]["fromBlock"], 16) + 1


def chain_of(*nodes: Node, **options: Any) -> EthereumChain:
    """The client before these nodes, called `http://n0`, `http://n1` …"""
    places = {f"http://n{number}/v3/key-of-node-{number}": node for number, node in enumerate(nodes)}
    options.setdefault("retries", QUICK)
    options.setdefault("span", Span(blocks=2000))
    options.setdefault("rate", 1e6)
    return EthereumChain(
        list(places),
        chain_id=CHAIN_ID,
        wpokt=WPOKT,
        controller=CONTROLLER,
        finality=options.pop("finality", Finality("latest", 2)),
        transport=lambda url, seconds: places[url],
        **options,
    )


async def read_all(chain: EthereumChain, start: int, end: int) -> list[Any]:
    """All windows from `start` to `end`."""
    windows = []
    while start <= end:
        windows.append(await chain.window(start, end))
        start = windows[-1].to_block + 1
    return windows


__all__ = ["Node", "block_hash", "block_time", "blocks_asked", "burn_log", "chain_of", "header", "read_all", "receipt"]
