"""A journal that is lost, or an old copy of it put back: signing stops before anything is signed, and operators can go on."""

import asyncio
import shutil
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from bridge_helpers.harness import BridgeUnderTest, Runner, running_bridge

from infra.localnet.member import ROOT
from reactor.cli.common import EXIT_DUPLICATE
from reactor.cli.status import EXIT_TOO_FEW
from reactor.documents.keys import deposit_key
from reactor.documents.statuses import Collection, Status
from reactor.state.holds import SIGNING

pytestmark = [
    pytest.mark.integration,
    pytest.mark.xdist_group("bridge"),
    pytest.mark.asyncio(loop_scope="module"),
]

AMOUNT = 1_000_000
REFUND = Collection.INVALID_MINT


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bridge(mongo_uri: str) -> AsyncIterator[BridgeUnderTest]:
    async with running_bridge(mongo_uri, pot=0) as running:
        yield running


async def reactor(runner: Runner, *arguments: str, code: int = 0) -> str:
    """What an operator's command says."""
    command = [sys.executable, "-m", "reactor.cli.main", *arguments, "--config", str(runner.member.config)]
    pipe, both = asyncio.subprocess.PIPE, asyncio.subprocess.STDOUT
    process = await asyncio.create_subprocess_exec(*command, stdout=pipe, stderr=both, cwd=ROOT)
    async with asyncio.timeout(120):
        said, _ = await process.communicate()
    assert process.returncode == code, said.decode()
    return said.decode()


def journal_files(runner: Runner) -> list[Path]:
    return sorted(runner.member.state.glob("journal.sqlite*"))


async def copied(runner: Runner, target: Path) -> None:
    """A copy of the journal as it is now; the validator runs on."""
    await runner.stop()
    keep(runner, target)
    await runner.start()


def moved_back(runner: Runner, source: Path) -> None:
    """The very files, not copies of them."""
    for path in source.glob("journal.sqlite*"):
        path.rename(runner.member.state / path.name)


def keep(runner: Runner, target: Path) -> None:
    target.mkdir()
    for path in journal_files(runner):
        shutil.copy(path, target / path.name)


def put_back(runner: Runner, source: Path) -> None:
    for path in journal_files(runner):
        path.unlink()
    for path in source.iterdir():
        shutil.copy(path, runner.member.state / path.name)


async def refund(bridge: BridgeUnderTest) -> str:
    return await bridge.send(bridge.deposit_of(AMOUNT, "no memo")[0])


async def signed_by(bridge: BridgeUnderTest, hash_: str, *runners: Runner) -> dict[str, Any]:
    """Wait until the refund carries the signatures of these validators and of nobody else."""
    wanted = {one.member.public_key for one in runners}

    async def there() -> dict[str, Any] | None:
        document = await bridge.document(REFUND, hash_)
        return document if document is not None and set(document["signers"]) == wanted else None

    found: dict[str, Any] = await bridge.eventually(there, f"the signatures of {sorted(wanted)} on {hash_}")
    return found


async def heard_of_signing(bridge: BridgeUnderTest, runner: Runner, after: int) -> None:
    """Wait until its heartbeat tells of a signature after this second."""
    beats = bridge.net.store.collection(Collection.HEARTBEAT)

    async def told() -> bool:
        rows = await beats.find({"eth_address": runner.member.address}).to_list()
        return any(row["last_signature_at"] and row["last_signature_at"].timestamp() > after for row in rows)

    await bridge.eventually(told, "its heartbeat to tell of the signature")


def lost(runner: Runner) -> list[str]:
    return [hold.detail for hold in runner.running.journal.holds() if (hold.scope, hold.reason) == (SIGNING, "lost_journal")]


async def test_an_old_copy_is_found_out_before_it_signs_and_a_new_journal_goes_on(
    bridge: BridgeUnderTest, tmp_path: Path
) -> None:
    third = bridge.runners[2]
    await bridge.paid(REFUND, await refund(bridge))
    await copied(third, tmp_path / "copy")
    last = third.running.journal.last_signature_at()
    assert last is not None
    assert lost(third) == [], "the twin: the journal that signed last is no old copy"
    # Whole seconds count: sign until one is newer.
    while (third.running.journal.last_signature_at() or 0) <= last:
        await bridge.paid(REFUND, await refund(bridge))
    await heard_of_signing(bridge, third, last)
    await third.stop()
    put_back(third, tmp_path / "copy")
    await third.start()
    await bridge.eventually(lambda: lost(third), "it to find out")
    assert "it is an old copy" in lost(third)[0]
    before = third.running.journal.export()["signatures"]

    # It signs nothing; the others mint without it; everybody can read why.
    recipient = bridge.recipient()
    await bridge.minted(await bridge.send(bridge.deposit_of(AMOUNT, bridge.memo(recipient))[0]))
    waits = await refund(bridge)
    await signed_by(bridge, waits, *bridge.runners[:2])
    await bridge.until_waiting(REFUND, waits, "held")
    assert third.running.journal.export()["signatures"] == before
    beats = bridge.net.store.collection(Collection.HEARTBEAT)

    async def shown() -> bool:
        row = await beats.find_one({"eth_address": third.member.address}, sort=[("updated_at", -1)])
        return row is not None and any("signing: lost_journal" in hold for hold in row["holds"])

    await bridge.eventually(shown, "its heartbeat to say so")
    assert "signing: lost_journal" in await reactor(bridge.runners[0], "status", code=EXIT_TOO_FEW), (
        "on another operator's machine"
    )

    # The operator moves the copy away and makes a journal that signs nothing older.
    await third.stop()
    for path in journal_files(third):
        path.rename(tmp_path / path.name)
    said = await reactor(third, "journal", "new")
    assert "reactor/state/README.md" in said
    await third.start()
    await bridge.until_waiting(REFUND, waits, "older_than_journal")
    assert lost(third) == []
    recipient = bridge.recipient()
    key = deposit_key(bridge.net.bridge, await bridge.send(bridge.deposit_of(AMOUNT, bridge.memo(recipient))[0]))
    await bridge.eventually(lambda: third.running.journal.signed(key), "it to sign what is newer")
    assert (await bridge.document(REFUND, waits) or {})["status"] == Status.CONFIRMED
    dry = await reactor(third, "journal", "allow-older")
    assert "dry run" in dry
    assert not third.running.journal.allows_older
    await reactor(third, "journal", "allow-older", "--apply", code=2)  # no reason given
    assert not third.running.journal.allows_older
    await reactor(third, "journal", "allow-older", "--apply", "--why", "the old journal's disk is gone")
    _, paid = await bridge.paid(REFUND, waits)
    assert len(paid) == 1
    assert "already" in await reactor(third, "journal", "allow-older")


async def test_an_unknown_own_signature_in_a_document_stops_signing_until_it_is_released(
    bridge: BridgeUnderTest, tmp_path: Path
) -> None:
    """Somebody removed the heartbeats that would have told of it."""
    second, third = bridge.runners[1:]
    await copied(third, tmp_path / "copy")
    await second.stop()
    hash_ = await refund(bridge)
    await signed_by(bridge, hash_, bridge.runners[0], third)
    await third.stop()
    await bridge.net.store.collection(Collection.HEARTBEAT).delete_many({"eth_address": third.member.address})
    put_back(third, tmp_path / "copy")
    await third.start()
    await bridge.eventually(lambda: lost(third), "it to find out")
    key = deposit_key(bridge.net.bridge, hash_)
    assert lost(third) == [f"a valid own signature over {key} is not in the signing journal"]
    other = await refund(bridge)
    await second.start()
    await signed_by(bridge, other, bridge.runners[0], second)
    assert third.running.journal.signed(deposit_key(bridge.net.bridge, other)) == []
    await reactor(third, "release", "signing", "--apply", "--why", "the copy was two minutes old and nobody else has the key")
    await bridge.paid(REFUND, hash_)
    await bridge.paid(REFUND, other)
    assert third.running.journal.signed(key) == [], "its signature stands in the document: it did not sign again"


async def test_a_journal_that_is_taken_away_while_it_runs_stops_signing_at_once(bridge: BridgeUnderTest, tmp_path: Path) -> None:
    """It knows what it signed only as long as it runs: so it signs nothing more, whatever is put in the journal's place."""
    third = bridge.runners[2]
    await bridge.paid(REFUND, await refund(bridge))
    before = third.running.journal.export()["signatures"]
    for path in journal_files(third):
        path.rename(tmp_path / path.name)
    waits = await refund(bridge)
    await signed_by(bridge, waits, *bridge.runners[:2])
    await bridge.until_waiting(REFUND, waits, "state_replaced")
    beats = bridge.net.store.collection(Collection.HEARTBEAT)

    async def told() -> bool:
        row = await beats.find_one({"eth_address": third.member.address}, sort=[("updated_at", -1)])
        return row is not None and not row["healthy"] and any("journal.sqlite was removed" in one for one in row["problems"])

    await bridge.eventually(told, "its heartbeat to say so")
    await bridge.eventually(
        lambda: bridge.said("ERROR", "nothing more is signed until this process was started again"), "the log to say so"
    )
    # Nobody makes a second journal beside it, and what is put back does not make it sign either.
    assert "already runs" in await reactor(third, "journal", "new", code=EXIT_DUPLICATE)
    moved_back(third, tmp_path)
    await bridge.until_waiting(REFUND, waits, "state_replaced")
    assert third.running.journal.export()["signatures"] == before
    # With the very file back and started again it goes on where it was.
    await third.stop()
    await third.start()
    _, paid = await bridge.paid(REFUND, waits)
    assert len(paid) == 1
    assert third.running.journal.export()["signatures"][: len(before)] == before


async def test_nothing_unjustified_was_signed_and_nothing_is_held(bridge: BridgeUnderTest) -> None:
    journals = [one.journal for one in bridge.validators]
    assert await bridge.judge.unjustified(journals) == []
    assert await bridge.judge.unpaid_or_doubled() == []
    assert [hold for one in journals for hold in one.holds()] == []
