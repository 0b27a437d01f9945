"""Two processes with one key: the younger ends by itself and has signed nothing, forged heartbeats end nobody."""

import asyncio
import shutil
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from bridge_helpers.harness import BridgeUnderTest, Runner, running_bridge
from eth_account import Account

from infra.localnet.member import LocalValidator
from infra.localnet.processes import ProcessError
from reactor.cli.common import EXIT_DUPLICATE
from reactor.cli.faults import told
from reactor.documents.statuses import Collection, Status
from reactor.engine.supervisor import LoopError
from reactor.handlers.heartbeat import verified_heartbeats
from reactor.handlers.twins import SILENT_BEATS, Twins

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


@pytest_asyncio.fixture(loop_scope="module")
async def copies(bridge: BridgeUnderTest, tmp_path: Path) -> AsyncIterator["Copies"]:
    made = Copies(bridge.runners[2], tmp_path)
    yield made
    for one in made.runners:
        with suppress(LoopError):
            await one.stop()


class Copies:
    """Copies of the third validator: the same keys and journal on other disks."""

    def __init__(self, original: Runner, directory: Path) -> None:
        self.original = original
        self.directory = directory
        self.runners: list[Runner] = []

    def make(self, name: str) -> LocalValidator:
        source, target = self.original.member.directory, self.directory / name
        shutil.copytree(source, target)
        member = LocalValidator(self.original.member.identity, target)
        member.config.write_text(member.config.read_text().replace(str(source), str(target)))
        assert member.settings().state.directory == target / "state"
        return member

    def runner(self, name: str, hostname: str = "") -> Runner:
        runner = Runner(self.make(name), hostname=hostname or f"host-{name}")
        self.runners.append(runner)
        return runner


async def ended(runner: Runner) -> LoopError:
    """Wait until the process ended by itself; the error that it ended with."""
    task = runner._task
    assert task is not None
    async with asyncio.timeout(120):
        with pytest.raises(LoopError) as raised:
            await asyncio.shield(task)
    return raised.value


async def refunded(bridge: BridgeUnderTest) -> str:
    """A refund needs every vault key: the third validator signs. Its hash."""
    hash_ = await bridge.send(bridge.deposit_of(AMOUNT, "no memo")[0])
    _, paid = await bridge.paid(REFUND, hash_)
    assert len(paid) == 1
    return hash_


@pytest.mark.parametrize("hostname", ["another-host", "host-of-validator-3"])
async def test_the_younger_ends_and_has_signed_nothing(bridge: BridgeUnderTest, copies: Copies, hostname: str) -> None:
    """Also where both names are the same, so that they write into one place of the database."""
    original = bridge.runners[2]
    younger = copies.runner("younger", hostname)
    waits = await bridge.send(bridge.deposit_of(AMOUNT, "no memo")[0])
    await younger.start()
    before = younger.running.journal.export()["signatures"]
    error = await ended(younger)
    assert younger.running.journal.export()["signatures"] == before
    found = told(error)
    assert found is not None
    message, remedy, code = found
    assert (code, "older" in message, "one process per key" in remedy) == (EXIT_DUPLICATE, True, True)
    assert f"instance {original.running._instance_id}" in message
    await bridge.eventually(lambda: bridge.said("this process ends and signs nothing more"), "the log to say so")
    await bridge.paid(REFUND, waits)
    await refunded(bridge)
    assert original.running.hearts.twins.stop == ""


async def test_of_two_that_run_already_the_stream_ends_the_younger(bridge: BridgeUnderTest, copies: Copies) -> None:
    """Somebody hid the older's heartbeats until the younger believed that it was alone."""
    younger = copies.runner("hidden")
    beats = bridge.net.store.collection(Collection.HEARTBEAT)
    seen: list[dict[str, Any]] = await beats.find({}).to_list()
    settings = younger.settings()
    younger.sections = {"engine": {"heartbeat_interval_s": 600.0}}
    assert settings.engine.heartbeat_interval_s < 600
    await beats.delete_many({})
    await younger.start()
    # Its own next beat would come in ten minutes: it is the stream that tells it.
    await ended(younger)
    assert seen
    await refunded(bridge)


async def test_the_command_ends_with_a_message_and_a_code(bridge: BridgeUnderTest, copies: Copies) -> None:
    member = copies.make("command")
    member.hostname = "a-laptop"
    with suppress(ProcessError):  # it may end before it counts as started
        await member.start()
    await bridge.eventually(lambda: not member.running, "it to end")
    assert member.process.exit_code == EXIT_DUPLICATE
    said = member.log.read_text()
    assert "runs with the same key and is older" in said
    assert "remedy: run one process per key" in said
    assert "Traceback" not in said
    await refunded(bridge)


async def test_after_a_kill_another_host_takes_over_once_the_killed_one_was_silent(
    bridge: BridgeUnderTest, copies: Copies, monkeypatch: pytest.MonkeyPatch
) -> None:
    original = bridge.runners[2]
    await beating(bridge, original)
    await kill(original)
    heir = copies.runner("heir")
    hash_ = await bridge.send(bridge.deposit_of(AMOUNT, "no memo")[0])
    # What each was told whenever it asked: the wait may be over before anybody else looks.
    answers: list[tuple[Twins, str]] = []
    silenced = Twins.silenced

    def noted(one: Twins) -> str:
        answers.append((one, silenced(one)))
        return answers[-1][1]

    monkeypatch.setattr(Twins, "silenced", noted)
    await heir.start()
    began = heir.running.hearts.monotonic()
    twins = heir.running.hearts.twins
    await bridge.eventually(
        lambda: any(one is twins and "may run with this key" in answer for one, answer in answers),
        "it to wait: the dead one's heartbeat is fresh",
    )
    await bridge.paid(REFUND, hash_)
    assert heir.running.hearts.monotonic() - began >= (SILENT_BEATS - 1) * heir.settings().engine.heartbeat_interval_s
    assert heir.running.journal.signed(f"pocket:localnet:{bridge.net.bridge.vault}:{hash_}")
    # Now the first one comes back from its disk: it is the younger one.
    await original.start()
    await ended(original)
    with suppress(LoopError):
        await original.stop()
    await heir.stop()
    # The heir's journal is the one that knows everything: it is put back, as an operator would.
    for path in heir.member.state.glob("journal.sqlite*"):
        shutil.copy(path, original.member.state / path.name)
    await original.start()
    await refunded(bridge)


async def test_after_a_kill_on_the_same_disk_nothing_is_waited_for(bridge: BridgeUnderTest) -> None:
    original = bridge.runners[1]  # no other process had its key in this module
    await beating(bridge, original)
    await kill(original)
    await original.start()
    # From its first heartbeat on, which comes when it may: before, it says that it does not know yet.
    await beating(bridge, original)
    assert original.running.hearts.twins.silenced() == ""
    assert original.running.hearts.twins.named == []
    await refunded(bridge)


async def test_thousands_of_forged_heartbeats_end_nobody_and_hide_nobody(bridge: BridgeUnderTest, copies: Copies) -> None:
    beats = bridge.net.store.collection(Collection.HEARTBEAT)
    true = await beats.find({}).to_list()
    stranger = Account.create()
    forged = []
    for number in range(3000):
        one = {**true[number % len(true)], "hostname": f"forged-{number}", "instance": f"{number:032x}", "counter": 10**6}
        one["rivals"] = [runner.running._instance_id for runner in bridge.runners]
        one["updated_at"] = one["updated_at"].replace(year=2030 + number % 60)
        if number % 3 == 0:
            one["signature"] = stranger.unsafe_sign_hash(b"\2" * 32).signature.to_0x_hex()
        if number % 3 == 1:
            one |= {"problems": "x" * 3000, "rivals": {"a": 1}, "updated_at": "now"}
        del one["_id"]
        forged.append(one)
    await beats.insert_many(forged, ordered=False, bypass_document_validation=True)
    try:
        recipient = bridge.recipient()
        await bridge.minted(await bridge.send(bridge.deposit_of(AMOUNT, bridge.memo(recipient))[0]))
        counters = {one: one.hearts.counter for one in bridge.validators}
        await bridge.eventually(lambda: all(one.hearts.counter > counters[one] + 1 for one in bridge.validators), "more beats")
        assert [one.hearts.twins.stop for one in bridge.validators] == ["", "", ""]
        assert [one.hearts.twins.silenced() for one in bridge.validators] == ["", "", ""]
        # People find the true ones too, and are told how many are not.
        addresses = [one.me.address for one in bridge.validators]
        good, others = await verified_heartbeats(bridge.net.store, addresses)
        assert {row["eth_address"] for row in good} == set(addresses)
        assert others == 3000
        # A true one is still heard behind them: the younger process ends.
        await ended(await started(copies.runner("behind-forgeries")))
        for one in bridge.validators:
            assert len(one.hearts.seen) == 3
            # None that is dated in the years to come, as the forged ones are.
            assert all(beat.updated_at <= one.context.now() for beat in one.hearts.seen.values())
    finally:
        await beats.delete_many({"hostname": {"$regex": "^forged-"}})
    await refunded(bridge)


async def test_nothing_unjustified_was_signed(bridge: BridgeUnderTest) -> None:
    assert await bridge.judge.unjustified(one.journal for one in bridge.validators) == []
    assert await bridge.judge.unpaid_or_doubled() == []
    assert [hold for one in bridge.validators for hold in one.journal.holds()] == []
    rows = await bridge.net.store.collection(REFUND).find({"status": {"$ne": Status.SUCCESS}}).to_list()
    assert rows == []


async def started(runner: Runner) -> Runner:
    await runner.start()
    return runner


async def beating(bridge: BridgeUnderTest, runner: Runner) -> None:
    """Wait until its own heartbeat lies in the database."""
    await bridge.eventually(lambda: runner.running.hearts.twins._beaten_at is not None, "its first heartbeat")


async def kill(runner: Runner) -> None:
    """End it in the midst of its work: it says no last word."""
    task, validator = runner._task, runner.validator
    assert task is not None
    assert validator is not None
    task.cancel()
    with suppress(asyncio.CancelledError):
        await task
    await validator.close()
    runner._task = runner.validator = None
