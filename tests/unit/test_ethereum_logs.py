"""Raw logs into events: positions, foreign contracts, fields that nodes add, and every malformed field by name."""

from __future__ import annotations

from typing import Any

import pytest

from reactor.chains.errors import MalformedAnswer
from reactor.chains.ethereum.contracts import BURN_TOPIC, CHANGE_TOPICS, MINTED_TOPIC
from reactor.chains.ethereum.logs import burns_of, minted_of, parse_logs
from reactor.chains.ethereum.types import BurnEvent, MintedEvent

pytestmark = pytest.mark.unit

WPOKT = "0x" + "5f" * 20
OTHER = "0x" + "66" * 20
SENDER = "aa" * 20
POCKET = "bb" * 20
BLOCK = "0x" + "b1" * 32
TX = "0x" + "c1" * 32
TIMES = {BLOCK: 100}


def word(value: int | str) -> str:
    return "0x" + (f"{value:064x}" if isinstance(value, int) else value.rjust(64, "0"))


def raw(topics: list[str], **changes: Any) -> dict[str, Any]:
    log = {
        "address": WPOKT,
        "topics": topics,
        "data": "0x",
        "blockNumber": "0x10",
        "blockHash": BLOCK,
        "transactionHash": "0x" + "c1" * 32,
        "logIndex": "0x0",
        "removed": False,
    }
    return {**log, **changes}


def burn(amount: int = 5, **changes: Any) -> dict[str, Any]:
    return raw([BURN_TOPIC, word(amount), word(POCKET), word(SENDER)]) | changes


def mint(amount: int = 5, nonce: int = 1, **changes: Any) -> dict[str, Any]:
    return raw([MINTED_TOPIC, word(SENDER), word(amount), word(nonce)], **changes)


def test_topics_are_the_deployed_ones() -> None:
    assert BURN_TOPIC == "0xac314bfa2d21af3d3e0937c97bc805574e3b1abb58a457ef02280c6f5e3faa75"
    assert MINTED_TOPIC == "0x25b428dfde728ccfaddad7e29e4ac23c24ed7fd1a6e3e3f91894a9a073f5dfff"
    assert CHANGE_TOPICS[:5] == (
        "0x29b4645f23b856eccf12b3b38e036c3221ca1b5a9afa2a83aea7ead34e47987c",
        "0xb625c55cf7e37b54fcd18bc4edafdf3f4f9acd59a5ec824c77c795dcb2d65070",
        "0x030f8d880b0bf7b6311c00e028809570118cbccc8302e08c8776ad77d10f505e",
        "0x2c1471be9f5586272d41bc8d7d0ce89b3b10e4693755e30752510cb88d42fdf5",
        "0xd67a9beee624d9012cc270d0c9f894e26cc7f615c2762f9081862e653ea4c7b8",
    )
    granted, revoked = CHANGE_TOPICS[-2:]
    assert granted == "0x2f8788117e7eff1d82e926ec794901d17c78024a50270940304540a733656f0d"
    assert revoked == "0xf6391f5c32d9c69d2a47ea670b442974b53935d1edc7fd64eb21e047a839171b"


def test_a_burn() -> None:
    logs = parse_logs([burn(7, logIndex="0x3")])
    assert burns_of(logs, WPOKT, TIMES) == (
        BurnEvent(
            contract=WPOKT,
            tx_hash=TX,
            burn_index=0,
            log_index=3,
            block_number=16,
            block_hash=BLOCK,
            block_time=100,
            sender="0x" + SENDER,
            recipient=POCKET,
            amount=7,
        ),
    )
    assert minted_of(logs, WPOKT, TIMES) == ()


def test_a_mint() -> None:
    logs = parse_logs([mint(2**256 - 1, 9, logIndex="0x3")])
    assert minted_of(logs, WPOKT, TIMES) == (
        MintedEvent(
            contract=WPOKT,
            recipient="0x" + SENDER,
            amount=2**256 - 1,
            nonce=9,
            tx_hash=TX,
            log_index=3,
            block_number=16,
            block_hash=BLOCK,
            block_time=100,
        ),
    )
    assert burns_of(logs, WPOKT, TIMES) == ()


def test_burn_index_counts_our_burns_of_one_transaction_in_log_order() -> None:
    second_tx = "0x" + "c2" * 32
    answer = [
        burn(4, logIndex="0x9"),
        burn(1, logIndex="0x2"),
        mint(logIndex="0x3"),
        burn(99, logIndex="0x4", address=OTHER),
        burn(2, logIndex="0x6"),
        burn(3, logIndex="0xa", transactionHash=second_tx),
    ]
    logs = parse_logs(answer)
    events = burns_of(logs, WPOKT, TIMES)
    assert [(event.tx_hash[2:4], event.burn_index, event.log_index, event.amount) for event in events] == [
        ("c1", 0, 2, 1),
        ("c1", 1, 6, 2),
        ("c1", 2, 9, 4),
        ("c2", 0, 10, 3),
    ]


def test_mixed_case_becomes_canonical() -> None:
    logs = parse_logs([burn(address=WPOKT.upper().replace("0X", "0x"), blockHash="0x" + "B1" * 32)])
    (event,) = burns_of(logs, WPOKT, TIMES)
    assert (event.contract, event.block_hash) == (WPOKT, BLOCK)


def test_another_contracts_events_are_none_of_ours() -> None:
    logs = parse_logs([burn(address=OTHER), mint(address=OTHER, logIndex="0x1")])
    assert burns_of(logs, WPOKT, TIMES) == ()
    assert minted_of(logs, WPOKT, TIMES) == ()


@pytest.mark.parametrize("before", [{"address": OTHER}, {"topics": []}, {"topics": [word(1), word(SENDER), word(8), word(8)]}])
def test_what_is_not_ours_hides_nothing_that_comes_after(before: dict[str, Any]) -> None:
    logs = parse_logs([mint(8) | before, burn(8, logIndex="0x1") | before, mint(5, logIndex="0x2"), burn(6, logIndex="0x3")])
    assert [event.amount for event in minted_of(logs, WPOKT, TIMES)] == [5]
    assert [event.amount for event in burns_of(logs, WPOKT, TIMES)] == [6]


@pytest.mark.parametrize(
    "added",
    [
        {"blockTimestamp": "0x0"},
        {"blockTimestamp": "0xffffffffffffffffffff"},
        {"blockTimestamp": None},
        {"removed": None},
        {"removed": "false"},
        {"removed": ...},
        {"logType": "0x1", "transactionLogIndex": "soon", "l1BatchNumber": []},
    ],
)
def test_what_a_node_adds_or_leaves_out_changes_nothing(added: dict[str, Any]) -> None:
    plain = parse_logs([burn()])
    assert parse_logs([{name: value for name, value in (burn() | added).items() if value is not ...}]) == plain
    assert [event.block_time for event in burns_of(plain, WPOKT, TIMES)] == [100]


@pytest.mark.parametrize(
    ("changes", "field"),
    [
        ({"address": "0x12"}, "address"),
        ({"address": None}, "address"),
        ({"topics": None}, "topics"),
        ({"topics": ["0x1"]}, "topic"),
        ({"topics": [BURN_TOPIC] * 5}, "topics"),
        ({"data": None}, "data"),
        ({"data": "0x0"}, "data"),
        ({"blockNumber": None}, "blockNumber"),
        ({"blockNumber": 16}, "blockNumber"),
        ({"blockNumber": "0x"}, "blockNumber"),
        ({"blockHash": "b1" * 32}, "blockHash"),
        ({"transactionHash": "0x" + "c1" * 31}, "transactionHash"),
        ({"logIndex": "-0x1"}, "logIndex"),
        ({"removed": True}, "removed"),
    ],
)
def test_malformed_fields_are_named(changes: dict[str, Any], field: str) -> None:
    with pytest.raises(MalformedAnswer, match=rf"logs\[1\]\.{field}"):
        parse_logs([burn(), burn(**changes)])


@pytest.mark.parametrize(
    ("answer", "told"),
    [
        (None, "logs: expected a list, got None"),
        ({}, "logs: expected a list, got {}"),
        ("0x", "logs: expected a list, got '0x'"),
        (5, "logs: expected a list, got 5"),
        ([None], "logs[0].log: expected an object, got None"),
        (["0x"], "logs[0].log: expected an object, got '0x'"),
        ([burn(), []], "logs[1].log: expected an object, got []"),
        ([burn(topics=7)], "logs[0].topics: expected a list of at most 4, got 7"),
        ([burn(data="00")], "logs[0].data: expected 0x text, got '00'"),
    ],
)
def test_what_is_no_list_of_logs_is_refused_and_shown(answer: object, told: str) -> None:
    with pytest.raises(MalformedAnswer) as caught:
        parse_logs(answer)
    assert caught.value.reason == told


def in_log(event: str) -> str:
    """How the reason begins: a person must be able to look the log up."""
    return f"{event} in {TX} log 2: "


@pytest.mark.parametrize(
    ("log", "told"),
    [
        (raw([BURN_TOPIC, word(1), word(POCKET)]), in_log("BurnAndBridge") + "topics: expected 4, got 3"),
        (raw([BURN_TOPIC, word(1), word(POCKET), word(SENDER)], data="0x00"), in_log("BurnAndBridge") + "data: expected none"),
        (raw([BURN_TOPIC, word(1), word("1" + POCKET), word(SENDER)]), "poktAddress: expected an address padded with zeros"),
        (raw([BURN_TOPIC, word(1), word(POCKET), word("1" + SENDER)]), "from: expected an address padded with zeros"),
        (raw([BURN_TOPIC, word(1), word(POCKET), word("1" + "0" * 23 + SENDER)]), "from: expected an address padded"),
        (raw([MINTED_TOPIC, word("1" + SENDER), word(1), word(1)]), "recipient: expected an address padded with zeros"),
        (raw([MINTED_TOPIC, word(SENDER)]), in_log("Minted") + "topics: expected 4, got 2"),
        (raw([MINTED_TOPIC, word(SENDER), word(1), word(1)], data="0x00"), in_log("Minted") + "data: expected none, got '0x00'"),
    ],
)
def test_events_of_another_shape_are_refused(log: dict[str, Any], told: str) -> None:
    logs = parse_logs([log | {"logIndex": "0x2"}])
    with pytest.raises(MalformedAnswer) as caught:
        assert not (burns_of(logs, WPOKT, TIMES) + minted_of(logs, WPOKT, TIMES))
    assert caught.value.reason.startswith(told)


def test_a_log_that_a_node_shows_twice_is_one_burn() -> None:
    """Two would be two payments: burns of a transaction are told apart by their place among its logs."""
    first, second = burn(5, logIndex="0x0"), burn(6, logIndex="0x1")
    shown = parse_logs([first, second, first, dict(second)])
    assert [(one.burn_index, one.amount) for one in burns_of(shown, WPOKT, TIMES)] == [(0, 5), (1, 6)]


@pytest.mark.parametrize(
    "change", [{"topics": [BURN_TOPIC, word(9), word(POCKET), word(SENDER)]}, {"blockHash": "0x" + "b2" * 32}]
)
def test_two_different_logs_in_one_place_are_refused(change: dict[str, Any]) -> None:
    with pytest.raises(MalformedAnswer, match="two different ones with index 0 in block 16"):
        parse_logs([burn(5), burn(5) | change])
