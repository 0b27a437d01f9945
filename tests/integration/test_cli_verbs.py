"""The verbs beside a running validator: what it holds by its limits, takes up again, reads again, and what the books say."""

import json
import time

import pytest
from cli_helpers import end_processes, network, process
from test_cli_commands import RECIPIENT, Desk, Lines

from infra.localnet.pocket.wallet import Wallet
from reactor.cli.status import EXIT_TOO_FEW
from reactor.documents.statuses import Collection
from reactor.flows.common import MOST_REPAIRS
from reactor.store.audit import read_audit

pytestmark = pytest.mark.integration

AMOUNT = 5_000_000
BOUND = 120.0


@pytest.fixture(scope="module")
def net():
    with network() as running:
        yield running


@pytest.fixture
def desk(net, tmp_path, capsys):
    desk = Desk(net, tmp_path, capsys)
    desk.ready()
    yield desk
    end_processes()


def until(look, what):
    """The first answer that is not empty."""
    end = time.monotonic() + BOUND
    while time.monotonic() < end:
        if answer := look():
            return answer
        time.sleep(0.2)
    raise AssertionError(f"{what} did not happen in {BOUND} s")


def pay(desk, amount=AMOUNT):
    """A deposit to be minted; its hash."""
    user = Wallet.from_seed("user of verbs")
    desk.net.pocket.chain.fund(bytes.fromhex(user.address), 10**9)
    memo = json.dumps({"address": RECIPIENT, "chain_id": str(desk.bridge.ethereum_chain_id)}, separators=(",", ":"))
    return desk.net.loop.run(user.pay(desk.net.pocket.url, desk.net.vault, amount, memo))


def document(desk, tx):
    return desk.store(lambda store: store.collection(Collection.MINT).find_one({"transaction_hash": tx}))


def status(desk):
    """One of three runs here: its code says that they are too few."""
    return desk.do("status", code=EXIT_TOO_FEW)


def reasons(desk):
    return [one["reason"] for one in desk.json("journal", "show")["holds"]]


def test_a_deposit_above_the_limit_is_held_shown_released_and_signed(desk):
    limits = {"REACTOR_LIMITS__MINT__SINGLE_TRANSFER": str(AMOUNT - 1), "REACTOR_ENGINE__HEARTBEAT_INTERVAL_S": "0.5"}
    log = Lines(process("run", "-c", desk.config, **limits), "stderr")
    try:
        log.until("validator 0x")
        tx = pay(desk)
        until(lambda: reasons(desk) == ["over_threshold"], "the hold")
        assert "over_threshold" in until(
            lambda: "over_threshold" in (said := desk.do("explain", tx)) and said, "the reason in explain"
        )
        until(lambda: "over_threshold amount" in status(desk) or "over_threshold limit" in status(desk), "the heartbeat")
        assert document(desk, tx)["signers"] == []
        assert desk.json("supply")["mint"]["in_flight"] == str(AMOUNT)
        desk.do("release", tx, "--apply", "--why", "looked at")
        log.until(f"{tx}: signed")
        until(lambda: len(document(desk, tx)["signers"]) == 1, "the signature")
        assert reasons(desk) == []
        small = pay(desk, AMOUNT - 1)
        until(lambda: (found := document(desk, small)) and found["signers"], "the signature of what is within the limit")
        desk.do("pause", "mint", "--apply", "--why", "a look")
        until(lambda: "direction:mint: paused a look" in status(desk), "the pause in the heartbeat")
        desk.do("resume", "mint", "--apply", "--why", "looked")
        until(lambda: "direction:mint" not in status(desk), "the end of the pause in the heartbeat")
    finally:
        assert log.end() == 0
    entries = [(one["verb"], one["why"], one["matched"]) for one in reversed(desk.store(read_audit))]
    assert entries[0][:2] == ("release", "looked at")
    assert [verb for verb, *_ in entries] == ["release", "pause", "resume"]


def test_a_disputed_document_is_taken_up_again(desk):
    log = Lines(process("run", "-c", desk.config, REACTOR_ENGINE__SWEEP_INTERVAL_S="2"), "stderr")
    try:
        log.until("validator 0x")
        tx = pay(desk)
        log.until(f"{tx}: signed")
        found = until(lambda: document(desk, tx), "the document")
        for _ in range(MOST_REPAIRS):
            desk.update(Collection.MINT, found["_id"], {"$set": {"amount": "7"}})
            until(lambda: document(desk, tx)["amount"] == str(AMOUNT), "the repair")
        desk.update(Collection.MINT, found["_id"], {"$set": {"amount": "7"}})
        until(lambda: "repaired three times" in desk.do("explain", tx), "the dispute")
        assert document(desk, tx)["amount"] == "7"
        assert "1 matched" in desk.do("retry", "disputed")
        assert document(desk, tx)["amount"] == "7"
        assert "1 matched" in desk.do("retry", "disputed", "--apply", "--why", "the writer is gone")
        until(lambda: document(desk, tx)["amount"] == str(AMOUNT), "the repair after the retry")
        assert "0 matched" in desk.do("retry", "disputed")
    finally:
        assert log.end() == 0


def test_blocks_are_read_again_and_the_books_agree_with_the_chains(desk):
    log = Lines(process("run", "-c", desk.config), "stderr")
    try:
        log.until("validator 0x")
        tx = pay(desk)
        log.until(f"{tx}: signed")
        height = int(desk.json("explain", tx)["requests"][0]["ledger"]["height"]) - 1
        desk.do("rescan", "--chain", "pocket", "--from", "1", "--to", str(height), "--apply", "--why", "the node was replaced")
        assert f"pocket: blocks 1 to {height} read again" in log.until("read again")[-1]
        after = desk.json("supply")
        assert int(after["locked"]) >= AMOUNT
        assert after["vault"]["unaccounted"] == str(10**9)  # to the unit what the vault held from the genesis on
        assert after["token"] == {"total_supply": "0", "unaccounted": "0"}
        assert after["mint"]["over"] == after["payout"]["over"] == "0"
        assert "covers the supply" in desk.do("supply")
    finally:
        assert log.end() == 0
