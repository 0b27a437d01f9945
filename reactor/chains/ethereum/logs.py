"""Raw logs into events, by hand: web3's event processing takes a quarter of a millisecond per log.

Source: the deployed WrappedPocket, whose `BurnAndBridge(uint256 indexed amount,address indexed poktAddress,address indexed
from)` and `Minted(address indexed recipient,uint256 indexed amount,uint256 indexed nonce)` carry all arguments as topics.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from reactor.chains.errors import MalformedAnswer
from reactor.chains.ethereum import wire
from reactor.chains.ethereum.contracts import BURN_TOPIC, MINTED_TOPIC
from reactor.chains.ethereum.types import BurnEvent, MintedEvent
from reactor.foreign import shown

__all__ = ["Log", "burns_of", "minted_of", "parse_logs"]

_ADDRESS_PADDING = "0" * 24


@dataclass(frozen=True, slots=True)
class Log:
    """One raw log: the fields that the protocol defines and this program uses, checked.

    SECURITY: logs of several nodes are compared by these. What some nodes add of their own (`blockTimestamp`) may be wrong or
    missing, so it is not looked at: a block's time is that of its header.
    """

    contract: str
    topics: tuple[str, ...]
    block_number: int
    block_hash: str
    tx_hash: str
    log_index: int
    data: str


def parse_logs(answer: object) -> list[Log]:
    """The logs of an `eth_getLogs` answer or of a receipt, in chain order.

    Raises:
        MalformedAnswer: names the log's position and the field.
    """
    if not isinstance(answer, list):
        raise MalformedAnswer(f"logs: expected a list, got {shown(answer)}")
    logs = []
    for position, raw in enumerate(answer):
        try:
            logs.append(_parse(raw))
        except MalformedAnswer as error:
            raise MalformedAnswer(f"logs[{position}].{error.reason}") from None
    return _each_once(logs)


def _each_once(logs: Iterable[Log]) -> list[Log]:
    """In chain order, without copies.

    SECURITY: burns are told apart by their place among those of their transaction: a node that shows a log twice would make
    two of one, and both would be paid.
    """
    places: dict[tuple[int, int], Log] = {}
    for log in logs:
        if places.setdefault((log.block_number, log.log_index), log) != log:
            raise MalformedAnswer(f"logs: two different ones with index {log.log_index} in block {log.block_number}")
    return [places[place] for place in sorted(places)]


def _parse(raw: object) -> Log:
    if not isinstance(raw, dict):
        raise MalformedAnswer(f"log: expected an object, got {shown(raw)}")
    # SECURITY: neither a query nor a receipt holds logs that no longer count; left out, this one would be hidden for good.
    if raw.get("removed") is True:
        raise MalformedAnswer("removed: a log that was asked for by its blocks cannot be removed")
    topics = raw.get("topics")
    if not isinstance(topics, list) or len(topics) > 4:
        raise MalformedAnswer(f"topics: expected a list of at most 4, got {shown(topics)}")
    data = raw.get("data")
    if not wire.is_data(data):
        raise MalformedAnswer(f"data: expected 0x text, got {shown(data)}")
    return Log(
        contract=wire.address(raw, "address"),
        topics=tuple(wire.hash32({"topic": topic}, "topic") for topic in topics),
        block_number=wire.quantity(raw, "blockNumber"),
        block_hash=wire.hash32(raw, "blockHash"),
        tx_hash=wire.hash32(raw, "transactionHash"),
        log_index=wire.quantity(raw, "logIndex"),
        data=data.lower(),
    )


def burns_of(logs: Iterable[Log], contract: str, times: Mapping[str, int]) -> tuple[BurnEvent, ...]:
    """The `BurnAndBridge` events of `contract` among `logs`, which hold all of it that their transactions emitted.

    `logs` come in chain order; `times` maps block hashes to Unix seconds.

    Raises:
        MalformedAnswer: a topic is not what its Solidity type can hold, or the event carries data.
    """
    found: list[BurnEvent] = []
    seen: Counter[str] = Counter()
    for log in logs:
        # SECURITY: any contract can emit this topic; only WrappedPocket's own events are burns.
        if log.contract != contract or not log.topics or log.topics[0] != BURN_TOPIC:
            continue
        _expect_three_arguments(log, "BurnAndBridge")
        found.append(
            BurnEvent(
                contract=log.contract,
                tx_hash=log.tx_hash,
                burn_index=seen[log.tx_hash],
                log_index=log.log_index,
                block_number=log.block_number,
                block_hash=log.block_hash,
                block_time=times[log.block_hash],
                sender=_address_topic(log.topics[3], "from"),
                recipient=_address_topic(log.topics[2], "poktAddress")[2:],
                amount=int(log.topics[1], 16),
            )
        )
        seen[log.tx_hash] += 1
    return tuple(found)


def minted_of(logs: Iterable[Log], contract: str, times: Mapping[str, int]) -> tuple[MintedEvent, ...]:
    """The `Minted` events of `contract` among `logs`; `times` maps block hashes to Unix seconds.

    Raises:
        MalformedAnswer: as `burns_of`.
    """
    found: list[MintedEvent] = []
    for log in logs:
        # SECURITY: any contract can emit this topic; only WrappedPocket's own events are mints.
        if log.contract != contract or not log.topics or log.topics[0] != MINTED_TOPIC:
            continue
        _expect_three_arguments(log, "Minted")
        found.append(
            MintedEvent(
                contract=log.contract,
                recipient=_address_topic(log.topics[1], "recipient"),
                amount=int(log.topics[2], 16),
                nonce=int(log.topics[3], 16),
                tx_hash=log.tx_hash,
                log_index=log.log_index,
                block_number=log.block_number,
                block_hash=log.block_hash,
                block_time=times[log.block_hash],
            )
        )
    return tuple(found)


def _expect_three_arguments(log: Log, event: str) -> None:
    where = f"{event} in {log.tx_hash} log {log.log_index}"
    if len(log.topics) != 4:
        raise MalformedAnswer(f"{where}: topics: expected 4, got {len(log.topics)}")
    if log.data != "0x":
        raise MalformedAnswer(f"{where}: data: expected none, got {shown(log.data)}")


def _address_topic(topic: str, field: str) -> str:
    if not topic.startswith("0x" + _ADDRESS_PADDING):
        raise MalformedAnswer(f"{field}: expected an address padded with zeros, got {topic}")
    return "0x" + topic[26:]
