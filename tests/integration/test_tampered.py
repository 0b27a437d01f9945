"""Random fields of random documents change between the steps of a real run: nothing unjustified is signed, nothing is paid twice.

Once the tampering stops, each request reaches its right end by itself, or by `reactor retry disputed` where the tampering made
its validators give up repairing. `HYPOTHESIS_PROFILE=long`: ten thousand changes; `TAMPER_SEED` begins a run like another one.
"""

import asyncio
import os
import sys
from asyncio.subprocess import PIPE, STDOUT
from collections.abc import AsyncIterator, Iterator
from functools import partial
from hashlib import sha256
from random import Random, SystemRandom

import pytest
import pytest_asyncio
from bridge_helpers.harness import FEE, BridgeUnderTest, running_bridge
from bridge_helpers.tamper import Tamperer

from reactor.documents.build import burn_chain_fields, deposit_chain_fields
from reactor.documents.events import Burn
from reactor.documents.statuses import Collection, Status
from reactor.engine.tasks import end
from reactor.flows.common import MOST_REPAIRS
from reactor.keys.base import BaseSigner

pytestmark = [
    pytest.mark.integration,
    pytest.mark.xdist_group("bridge"),
    pytest.mark.asyncio(loop_scope="module"),
]

LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"
CHANGES = int(os.environ.get("TAMPER_CHANGES", "10000" if LONG else "60"))
A_ROUND = 250
"""Changes while one set of requests is on its way."""
SEED = int(os.environ.get("TAMPER_SEED", "0")) or SystemRandom().getrandbits(32)
AMOUNT = 1_000_000
POCKET_USER = "c7" * 20
MINT, REFUND, BURN = Collection.MINT, Collection.INVALID_MINT, Collection.BURN
Signed = list[bytes]


@pytest.fixture(scope="module")
def signed() -> Iterator[Signed]:
    """All that any validator's key was put to for a request, as its signer saw it: the digest, or the hash of the message."""
    seen: Signed = []
    original = BaseSigner.sign

    async def sign(self: BaseSigner, payload: bytes, purpose: str = "other") -> bytes:
        if purpose == "request":
            seen.append(payload if len(payload) == 32 else sha256(payload).digest())
        return await original(self, payload, purpose)  # type: ignore[arg-type]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(BaseSigner, "sign", sign)
        yield seen


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def bridge(mongo_uri: str, signed: Signed) -> AsyncIterator[BridgeUnderTest]:
    async with running_bridge(mongo_uri) as running:
        yield running


async def requests(bridge: BridgeUnderTest) -> dict[Collection, str]:
    """One of each kind, on its way."""
    mint, hash_ = bridge.deposit_of(AMOUNT, bridge.memo(bridge.recipient()))
    refund, other = bridge.deposit_of(AMOUNT, "no memo", user=1)
    await asyncio.gather(bridge.send(mint), bridge.send(refund))
    return {MINT: hash_, REFUND: other, BURN: await bridge.presigned_burn(AMOUNT, POCKET_USER)}


async def retry(bridge: BridgeUnderTest) -> None:
    """What the operator of each validator does about documents that wait as disputed."""
    for one in bridge.runners:
        if max(one.running.context.ledger.repaired().values(), default=0) < MOST_REPAIRS:
            continue
        why = ["--why", "the tampering has stopped", "--apply", "--config", str(one.member.config)]
        command = [sys.executable, "-m", "reactor.cli.main", "retry", "disputed", *why]
        process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=STDOUT)
        said, _ = await process.communicate()
        assert process.returncode == 0, said.decode()


async def says_what_the_chain_says(bridge: BridgeUnderTest, role: Collection, hash_: str) -> bool:
    ledger = bridge.validators[0].context.ledger
    seen = ledger.burn(hash_, 0) if role is BURN else ledger.deposit(hash_)
    document = await bridge.document(role, hash_) or {}
    assert seen is not None
    event = seen.event
    fields = (
        burn_chain_fields(bridge.net.bridge, event) if isinstance(event, Burn) else deposit_chain_fields(bridge.net.bridge, event)
    )
    return document.get("status") == Status.SUCCESS and fields.items() <= document.items()


async def the_right_end(bridge: BridgeUnderTest, wanted: dict[Collection, str]) -> None:
    """Each request in `success`, saying what its chain says; meanwhile the user mints, and operators retry what is disputed."""

    async def operators() -> None:
        while True:
            await retry(bridge)
            await asyncio.sleep(3)

    helping = asyncio.create_task(operators())
    try:
        await bridge.minted(wanted[MINT], bound=180)
        for role in (REFUND, BURN):
            document, paid = await bridge.paid(role, wanted[role], bound=180)
            assert [one.amount for one in paid] == [AMOUNT - FEE]
            assert document["return_tx_hash"] == paid[0].hash
        for role, hash_ in wanted.items():
            await bridge.eventually(partial(says_what_the_chain_says, bridge, role, hash_), f"{role} {hash_} to be right", 180)
    finally:
        await end(helping)
        if not helping.cancelled():
            helping.result()


@pytest.mark.timeout(4 * 3600 if LONG else 900)
async def test_nothing_unjustified_is_signed_whatever_is_tampered_with(
    bridge: BridgeUnderTest, signed: Signed, capsys: pytest.CaptureFixture[str]
) -> None:
    tamperer = Tamperer(bridge, Random(SEED))
    with capsys.disabled():
        print(f"\nTAMPER_SEED={SEED}", flush=True)
    requested = 0
    while tamperer.total < CHANGES:
        sending = asyncio.create_task(requests(bridge))
        await tamperer.tamper(min(A_ROUND, CHANGES - tamperer.total))
        wanted = await sending
        await the_right_end(bridge, wanted)
        requested += len(wanted)
        justified = {digest for owed in (await bridge.judge.owed()).values() for digest in owed.digests}
        assert set(signed) <= justified, f"seed {SEED}: signed what the chains do not justify"
        assert await bridge.judge.unjustified([one.journal for one in bridge.validators]) == [], SEED
        assert await bridge.judge.unpaid_or_doubled() == [], SEED
        if CHANGES > A_ROUND:
            with capsys.disabled():
                print(f"{tamperer.total:,} changes, {requested} requests at their right end", flush=True)
    with capsys.disabled():
        print(f"{tamperer.total:,} changes took effect: {dict(tamperer.done)}; {len(signed)} signatures, all justified")
    assert tamperer.total >= CHANGES
    assert signed
    assert [hold for one in bridge.validators for hold in one.journal.holds()] == []


async def test_the_record_of_signatures_sees_what_is_not_justified(bridge: BridgeUnderTest, signed: Signed) -> None:
    """The twin: a key that signs what nobody owes is found by the same comparison."""
    await bridge.validators[0].context.me.ethereum_signer.sign(b"\x07" * 32, "request")
    justified = {digest for owed in (await bridge.judge.owed()).values() for digest in owed.digests}
    assert set(signed) - justified == {b"\x07" * 32}
