"""A validator that must not start or must not sign says why and what to do; the others go on without it."""

import asyncio
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
import pytest_asyncio
from bridge_helpers.harness import BridgeUnderTest, Runner, running_bridge
from eth_account import Account

from infra.localnet.pocket.wallet import Wallet
from reactor.documents.bridge import Schedule
from reactor.documents.statuses import Collection, Status
from reactor.keys import KeyProblem
from reactor.preflight import failures, preflight
from reactor.state.problems import JournalMissing, StateLocked, StateProblem
from reactor.validator import Validator

pytestmark = [
    pytest.mark.integration,
    pytest.mark.xdist_group("bridge"),
    pytest.mark.asyncio(loop_scope="module"),
]

AMOUNT = 1_000_000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bridge(mongo_uri: str) -> AsyncIterator[BridgeUnderTest]:
    async with running_bridge(mongo_uri, pot=0) as running:
        yield running


@pytest_asyncio.fixture(loop_scope="module")
async def third(bridge: BridgeUnderTest) -> AsyncIterator[Runner]:
    """The third validator, stopped; it runs again afterwards, as it was."""
    runner = bridge.runners[2]
    config = runner.member.config.read_text()
    await runner.stop()
    yield runner
    await runner.stop()
    runner.member.config.write_text(config)
    runner.sections = {}
    await runner.start()


async def the_others_mint(bridge: BridgeUnderTest) -> str:
    """A mint by the two others; its deposit's key in the journals."""
    recipient = bridge.recipient()
    hash_ = await bridge.send(bridge.deposit_of(AMOUNT, bridge.memo(recipient))[0])
    await bridge.minted(hash_)
    assert await bridge.judge.balance(recipient) == AMOUNT
    return f"pocket:localnet:{bridge.net.bridge.vault}:{hash_}"


def rewrite(runner: Runner, old: str, new: str) -> None:
    text = runner.member.config.read_text()
    assert old in text
    runner.member.config.write_text(text.replace(old, new))


# --- what does not start ---------------------------------------------------------------------------------------------


async def test_without_a_journal_it_does_not_start(bridge: BridgeUnderTest, third: Runner) -> None:
    state = third.member.state
    kept = {path: path.read_bytes() for path in state.iterdir() if path.name.startswith("journal.sqlite")}
    for path in kept:
        path.unlink()
    with pytest.raises(JournalMissing, match="reactor journal new"):
        await third.start()
    await the_others_mint(bridge)
    for path, content in kept.items():
        path.write_bytes(content)


async def test_with_a_damaged_journal_it_does_not_start(bridge: BridgeUnderTest, third: Runner) -> None:
    path = third.member.state / "journal.sqlite"
    content = path.read_bytes()
    path.write_bytes(b"not a database at all, " * 100)
    with pytest.raises(StateProblem, match=r"journal\.sqlite"):
        await third.start()
    path.write_bytes(content)


async def test_a_vault_that_does_not_match_the_keys_is_refused(bridge: BridgeUnderTest, third: Runner) -> None:
    rewrite(third, bridge.net.bridge.vault, "11" * 20)
    failed = {one.name: one for one in failures(await preflight(third.settings(), observe=False, starting=True))}
    assert "the keys make " + bridge.net.bridge.vault in failed["vault"].detail
    assert "pocket.multisig_public_keys" in failed["vault"].remedy
    await the_others_mint(bridge)


async def test_a_key_file_that_holds_no_key_is_refused(third: Runner) -> None:
    path = third.member.directory / "keys" / "pocket.key"
    text = path.read_text()
    path.write_text("zz" * 64)
    with pytest.raises(KeyProblem) as refused:
        await third.start()
    assert "zz" not in str(refused.value)
    path.write_text(text)


async def test_a_second_process_on_the_same_state_is_refused(bridge: BridgeUnderTest) -> None:
    with pytest.raises(StateLocked):
        await Validator.open(bridge.runners[0].settings())


# --- what runs and does not sign -------------------------------------------------------------------------------------


async def test_a_key_that_is_no_member_s_signs_nothing(bridge: BridgeUnderTest, third: Runner) -> None:
    _put_key(third, "ethereum.key", bytes(Account.create().key).hex())
    _put_key(third, "pocket.key", Wallet.from_seed("nobody").private_hex)
    failed = {one.name for one in failures(await preflight(third.settings(), observe=False, starting=True))}
    assert "Pocket key" in failed, "an operator's `run` does not even start it"
    await third.start()
    refund = await bridge.send(bridge.deposit_of(AMOUNT, "no memo")[0])
    await the_others_mint(bridge)
    await bridge.eventually(
        lambda: any(row.outcome.reason == "not_a_member" for row in third.running.dispatcher.waiting()), "it to say so"
    )
    assert third.running.journal.signed(f"pocket:localnet:{bridge.net.bridge.vault}:{refund}") == []
    document = await bridge.until(Collection.INVALID_MINT, refund, Status.CONFIRMED)
    assert third.running.me.pocket_key not in document["signers"]
    await third.stop()
    _put_key(third, "ethereum.key", bytes(third.member.identity.ethereum.key).hex())
    _put_key(third, "pocket.key", third.member.identity.pocket.private_hex)
    await third.start()
    await bridge.paid(Collection.INVALID_MINT, refund)


def _put_key(runner: Runner, name: str, text: str) -> None:
    path = runner.member.directory / "keys" / name
    path.unlink()
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT, 0o600), "w") as file:
        file.write(text)


async def test_an_identity_that_differs_from_the_others_signs_nothing(bridge: BridgeUnderTest, third: Runner) -> None:
    # Another maximum: deposits would be classified otherwise.
    settings = third.settings()
    other = Schedule(((0, 123_456),))
    third.sections = {"pocket": {"max_mint": type(settings.pocket.max_mint)(other.steps)}}
    await third.start()
    await bridge.eventually(lambda: third.running.hearts.clash, "it to notice")
    await bridge.eventually(lambda: bridge.said("signing stops", "another bridge identity"), "the log to say so")
    key = await the_others_mint(bridge)
    assert third.running.journal.signed(key) == []
    beats = bridge.net.store.collection(Collection.HEARTBEAT)

    async def told() -> bool:
        found = await beats.find_one({"eth_address": third.member.address, "healthy": False})
        return found is not None and any("another bridge identity" in problem for problem in found["problems"])

    await bridge.eventually(told, "its heartbeat to say so")
    assert [one.hearts.clash for one in bridge.validators[:2]] == ["", ""]


async def test_a_full_disk_stops_signing_and_nothing_else(bridge: BridgeUnderTest) -> None:
    third = bridge.runners[2].running
    # With another identity it may have found more out than in. That is past, and its operator says so.
    for hold in third.journal.holds():
        third.journal.release(hold.id, "operator", "it ran with a wrong configuration")
    database = third.journal._db

    def fill() -> None:
        """SQLite's own limit on the file stands for the disk; then every page that is left is used up."""
        connection = database._connection()
        (pages,) = connection.execute("PRAGMA page_count").fetchone()
        connection.execute("CREATE TABLE IF NOT EXISTS filler (content BLOB)")
        connection.execute(f"PRAGMA max_page_count = {pages + 8}")
        with suppress(sqlite3.OperationalError):
            while True:
                connection.execute("INSERT INTO filler VALUES (zeroblob(3000))")

    def free() -> None:
        database._connection().execute("PRAGMA max_page_count = 1000000")

    worker = third.context.admissions._thread  # type: ignore[attr-defined]
    worker.submit(fill).result()

    def full() -> bool:
        return any("free some space" in row.error for row in third.dispatcher.stuck())

    def unsigned() -> list[str]:
        return [key for key in keys if not third.journal.signed(key)]

    # Pages that are half used take some more signatures: which one finds no room is known only once it is tried.
    keys: list[str] = []
    for _ in range(12):
        keys = await asyncio.gather(*(_deposit(bridge) for _ in range(8)))
        # Between two tries it may wait for something else: its turn, say.
        await bridge.eventually(lambda: full() or not unsigned(), "all to be signed, or the reason to be shown why one is not")
        if unsigned():
            break
    await bridge.eventually(lambda: bridge.said("full", "free some space"), "the log to say so")
    await the_others_mint(bridge)
    assert unsigned()
    await bridge.eventually(full, "the reason to be shown")

    async def healthy(wanted: bool) -> bool:
        found = await bridge.net.store.collection(Collection.HEARTBEAT).find_one({"instance": third._instance_id})
        return found is not None and found["healthy"] is wanted and ("state" in found["cannot"]) is not wanted

    await bridge.eventually(lambda: healthy(False), "its heartbeat to say so")
    worker.submit(free).result()
    await bridge.eventually(lambda: not unsigned(), "it to sign once there is space")
    await bridge.eventually(lambda: healthy(True), "its heartbeat to say that it is over")


async def _deposit(bridge: BridgeUnderTest) -> str:
    """Signed by the two others; its user has not minted yet. Its key in the journals."""
    hash_ = await bridge.send(bridge.deposit_of(AMOUNT, bridge.memo(bridge.recipient()))[0])
    await bridge.until(Collection.MINT, hash_, Status.SIGNED)
    return f"pocket:localnet:{bridge.net.bridge.vault}:{hash_}"
