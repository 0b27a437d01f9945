"""Seven validators, five signatures for a mint: what goes on with five of them up, what waits with four, and who is named."""

from __future__ import annotations

import asyncio
import json
import sys
from asyncio.subprocess import PIPE
from datetime import datetime
from random import Random
from typing import Any

import pytest
from web3.exceptions import ContractLogicError

from infra.localnet.member import ROOT, LocalValidator
from infra.localnet.network import Localnet
from reactor.cli.status import EXIT_TOO_FEW
from reactor.documents.reasons import WaitReason
from reactor.documents.statuses import REQUESTS, Collection, Status
from tests.e2e.bridge_people import Crowd
from tests.e2e.bridge_truth import all_statuses, assert_chains_exact, assert_documents_right, assert_no_errors_logged, heartbeats

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("bridge"), pytest.mark.timeout(3600)]

VALIDATORS, THRESHOLD, USERS = 7, 5, 4
SEED = 57
STUCK_SECONDS = 600.0
SILENT_SECONDS = 4.0
"""Two heartbeats of the development network."""
BEATS = 3
"""Heartbeats that everybody sends before something is believed to wait: several sweeps and blocks lie between."""


@pytest.fixture
async def net(tmp_path_factory):
    directory = tmp_path_factory.mktemp("seven")
    async with Localnet(validators=VALIDATORS, threshold=THRESHOLD, users=USERS, directory=directory, on_step=print) as running:
        yield running


@pytest.fixture
def crowd(net: Localnet) -> Crowd:
    print(f"seed {SEED}")
    return Crowd(net, Random(SEED))


async def test_five_of_seven_sign_mints_and_all_seven_sign_returns(net: Localnet, crowd: Crowd) -> None:
    # All seven: everything goes through.
    await crowd.deposit_wave(net.users * 2, bad=3)
    await settled(net, crowd)
    for user in net.users:
        await crowd.burn_three(user, net.users[0])
    await settled(net, crowd)

    # Five: mints are signed by exactly them, returns wait for the other two.
    *up, sixth, seventh = net.validators
    await net.stop_validators(sixth, seventh)
    signed = await deposited(crowd)
    document = await net.wait_for(Collection.MINT, signed, Status.SIGNED, seconds=STUCK_SECONDS)
    assert signers(document) == names(up)
    await crowd.bad_deposit(net.users[0])
    refund = list(crowd.bad_deposits)[-1]
    await waits(net, Collection.INVALID_MINT, refund, up, have=5, need=7)
    assert await missing(net, refund) == {sixth.name, seventh.name}

    # Four: mints wait as well, everybody who is up says so, the other three are the ones whose signatures are missing.
    *up, fifth = up
    await net.stop_validators(fifth)
    short = await deposited(crowd)
    await waits(net, Collection.MINT, short, up, have=4, need=5)
    assert await missing(net, short) == {fifth.name, sixth.name, seventh.name}
    down = {fifth.name, sixth.name, seventh.name}

    async def only_they_are_silent() -> bool:
        return await silent(net) == down

    # One that is up may be late for once on a busy machine.
    await net.wait_until(only_they_are_silent, seconds=STUCK_SECONDS, what=f"status to show that {sorted(down)} alone are silent")
    document = await read(net, Collection.MINT, short)
    with pytest.raises(ContractLogicError):
        await net.users[0].mint(document)

    # One of them is back: the fifth signature is there, and the contract accepts it.
    await net.start_validators(sixth)
    document = await net.wait_for(Collection.MINT, short, Status.SIGNED, seconds=STUCK_SECONDS)
    assert signers(document) == names([*up, sixth])
    assert await all_statuses(net, Collection.INVALID_MINT, Status.CONFIRMED) == 1

    # All of them: the late ones sign what still waits for its user, too, and the refund leaves.
    await net.start_validators(fifth, seventh)
    await net.wait_for(Collection.INVALID_MINT, refund, Status.SUCCESS, seconds=STUCK_SECONDS)

    async def signed_by_all() -> bool:
        return len((await read(net, Collection.MINT, short))["signers"]) == VALIDATORS

    await net.wait_until(signed_by_all, seconds=STUCK_SECONDS, what=f"late signatures of mint {short}")
    await settled(net, crowd)
    await assert_chains_exact(net, crowd)
    await assert_documents_right(net, crowd, THRESHOLD)
    assert_no_errors_logged(net)


async def settled(net: Localnet, crowd: Crowd) -> None:
    """Mint what can be minted until every request so far has succeeded."""
    wanted = dict(zip(REQUESTS, (len(crowd.deposits), len(crowd.bad_deposits), crowd.burn_count), strict=True))

    async def done() -> bool:
        await crowd.mint_signed()
        return all([await all_statuses(net, role, Status.SUCCESS) == count for role, count in wanted.items()])

    await net.wait_until(done, seconds=STUCK_SECONDS, what=f"all of {wanted} to succeed")


async def deposited(crowd: Crowd) -> str:
    """One more deposit; its hash."""
    user = crowd.net.users[0]
    await crowd.deposit(user, user)
    return list(crowd.deposits)[-1]


async def waits(net: Localnet, role: Collection, sent: str, up: list[LocalValidator], *, have: int, need: int) -> None:
    """Wait until all that are up say that this document waits for signatures, and go on saying so."""
    wanted = {"have": str(have), "need": str(need)}
    since: dict[str, int] = {}

    async def said_by_all() -> bool:
        said = await heartbeats(net)
        for one in up:
            heart = said[one.name]
            if not any(_waits_for_signatures(row, role, sent, wanted) for row in heart["open"]):
                since.pop(one.name, None)
                return False
            since.setdefault(one.name, heart["counter"])
        return all(said[one.name]["counter"] >= since[one.name] + BEATS for one in up)

    await net.wait_until(said_by_all, seconds=STUCK_SECONDS, what=f"{role.value} {sent} to wait with {have} of {need}")

    async def shown() -> bool:
        waiting = (await read(net, role, sent)).get("waiting") or {}
        return waiting.get("reason") == WaitReason.SIGNATURES and waiting.get("params") == wanted

    await net.wait_until(shown, seconds=STUCK_SECONDS, what=f"{role.value} {sent} to say that it has {have} of {need}")
    document = await read(net, role, sent)
    assert document["status"] == Status.CONFIRMED
    assert signers(document) == names(up) if role is Collection.MINT else len(document["signers"]) == have


def _waits_for_signatures(row: dict[str, Any], role: Collection, sent: str, params: dict[str, str]) -> bool:
    known = row["collection"] == role.value and row["key"].endswith(sent)
    return known and row["reason"] == WaitReason.SIGNATURES and row["params"] == params


async def read(net: Localnet, role: Collection, sent: str) -> dict[str, Any]:
    """The document, which must be there."""
    document = await net.document(role, sent)
    assert document is not None
    return dict(document)


def signers(document: dict[str, Any]) -> set[str]:
    """Who signed a mint, by address."""
    return set(document["signers"])


def names(validators: list[LocalValidator]) -> set[str]:
    """Their Ethereum addresses."""
    return {one.address for one in validators}


async def missing(net: Localnet, sent: str) -> set[str]:
    """Whose signatures are missing, by name, as an operator is told by `reactor explain`."""
    (request,) = (await reactor(net, "explain", sent))["requests"]
    return {one["name"] for one in request["missing"]}


async def silent(net: Localnet) -> set[str]:
    """Who was not heard for longer than the others, by name, as an operator is told by `reactor status`."""
    hearts = [one["heartbeat"] for one in (await reactor(net, "status", code=EXIT_TOO_FEW))["validators"]]
    heard = {one["validator_id"]: datetime.fromisoformat(one["updated_at"]) for one in hearts}
    assert set(heard) == {one.name for one in net.validators}
    return {name for name, at in heard.items() if (max(heard.values()) - at).total_seconds() > SILENT_SECONDS}


async def reactor(net: Localnet, *arguments: str, code: int = 0) -> dict[str, Any]:
    """What a command of the first validator's machine prints with `--json`."""
    command = [sys.executable, "-m", "reactor.cli.main", *arguments, "--config", str(net.validators[0].config), "--json"]
    process = await asyncio.create_subprocess_exec(*command, stdout=PIPE, stderr=PIPE, cwd=ROOT)
    output, complaints = await asyncio.wait_for(process.communicate(), STUCK_SECONDS)
    assert process.returncode == code, complaints.decode()
    return dict(json.loads(output))
