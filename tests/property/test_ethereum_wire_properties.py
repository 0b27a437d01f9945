"""Whatever a node sends, parsing ends in a value or in a typed error; what is well formed comes back as it was sent."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from reactor.chains.errors import ChainError, MalformedAnswer, NotFound
from reactor.chains.ethereum import contracts, wire
from reactor.chains.ethereum.contracts import BURN_TOPIC, MINTED_TOPIC
from reactor.chains.ethereum.logs import burns_of, minted_of, parse_logs

pytestmark = pytest.mark.property

json_values = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=70)),
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(st.text(max_size=12), inner, max_size=4)),
    max_leaves=12,
)
addresses = st.binary(min_size=20, max_size=20).map(lambda raw: "0x" + raw.hex())
hashes = st.binary(min_size=32, max_size=32).map(lambda raw: "0x" + raw.hex())
uint256 = st.integers(min_value=0, max_value=2**256 - 1)
heights = st.integers(min_value=0, max_value=2**40)
topics = st.one_of(
    st.tuples(st.just(BURN_TOPIC), uint256, addresses, addresses),
    st.tuples(st.just(MINTED_TOPIC), addresses, uint256, uint256),
)
CONTRACT = "0x" + "5f" * 20


def _word(value: int | str) -> str:
    return f"0x{value:064x}" if isinstance(value, int) else "0x" + value[2:].rjust(64, "0")


@st.composite
def raw_logs(draw: st.DrawFn) -> list[dict[str, object]]:
    blocks = draw(st.lists(st.tuples(heights, hashes, heights), min_size=1, max_size=3, unique_by=lambda b: b[0]))
    logs = []
    for index in range(draw(st.integers(min_value=0, max_value=8))):
        number, block_hash, time = draw(st.sampled_from(blocks))
        logs.append(
            {
                "address": draw(st.sampled_from([CONTRACT, "0x" + "66" * 20])),
                "topics": [_word(item) for item in draw(topics)],
                "data": "0x",
                "blockNumber": hex(number),
                "blockHash": block_hash,
                "blockTimestamp": draw(st.none() | st.just(hex(time))),
                "transactionHash": _word(number + draw(st.integers(min_value=0, max_value=1))),
                "logIndex": hex(index),
                "removed": False,
            }
        )
    return logs


@settings(max_examples=200, deadline=None)
@given(raw_logs(), st.randoms(use_true_random=False))
def test_events_are_complete_ordered_and_indexed_whatever_the_order_of_the_answer(raw, shuffle) -> None:  # type: ignore[no-untyped-def]
    shuffled = list(raw)
    shuffle.shuffle(shuffled)
    logs = parse_logs(shuffled)
    times = dict.fromkeys((log.block_hash for log in logs), 0)
    burns, minted = burns_of(logs, CONTRACT, times), minted_of(logs, CONTRACT, times)
    ours = [log for log in raw if log["address"] == CONTRACT]
    assert {burn.log_index for burn in burns} | {mint.log_index for mint in minted} == {int(log["logIndex"], 16) for log in ours}
    per_transaction: dict[str, list[tuple[int, int]]] = {}
    for burn in burns:
        per_transaction.setdefault(burn.tx_hash, []).append((burn.log_index, burn.burn_index))
    for places in per_transaction.values():
        assert [index for _, index in sorted(places)] == list(range(len(places)))
    for event in [*burns, *minted]:
        source = next(log for log in raw if int(log["logIndex"], 16) == event.log_index)
        sent = source["topics"]
        if event in burns:
            assert [_word(event.amount), _word("0x" + event.recipient), _word(event.sender)] == sent[1:]
        else:
            assert [_word(event.recipient), _word(event.amount), _word(event.nonce)] == sent[1:]
        assert (hex(event.block_number), event.block_hash) == (source["blockNumber"], source["blockHash"])


@settings(max_examples=200, deadline=None)
@given(json_values)
def test_garbage_is_a_typed_error(answer: object) -> None:
    for parse in (
        parse_logs,
        wire.header,
        contracts.decode_domain,
        lambda value: contracts.decode_uint(value, "field"),
        lambda value: contracts.decode_bool(value, "field"),
    ):
        try:
            parse(answer)
        except (MalformedAnswer, NotFound):
            continue
        assert parse is parse_logs
        assert answer == []


@settings(max_examples=200, deadline=None)
@given(raw_logs(), st.data())
def test_one_garbled_field_is_an_error_or_harmless(raw, data) -> None:  # type: ignore[no-untyped-def]
    if not raw:
        return
    log = data.draw(st.sampled_from(raw))
    log[data.draw(st.sampled_from(sorted(log)))] = data.draw(json_values)
    try:
        logs = parse_logs(raw)
        times = dict.fromkeys((log.block_hash for log in logs), 0)
        events = burns_of(logs, CONTRACT, times) + minted_of(logs, CONTRACT, times)
    except MalformedAnswer:
        return
    assert all(event.contract == CONTRACT for event in events)


@settings(max_examples=300, deadline=None)
@given(json_values, st.sampled_from(["eth_call", "eth_getLogs", "eth_blockNumber"]))
def test_every_error_object_becomes_a_chain_error(error: object, method: str) -> None:
    found = wire.error_of(error, "http://host/key", method)
    assert isinstance(found, ChainError)
    assert found.endpoint == "http://host"


@settings(max_examples=300, deadline=None)
@given(st.one_of(st.text(max_size=80), st.binary(max_size=200).map(lambda raw: "0x" + raw.hex())))
def test_revert_data_never_raises(data: str) -> None:
    assert contracts.revert_reason(data) is None or data.startswith("0x")
