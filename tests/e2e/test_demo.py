"""The demonstration's flow through the library: a mint, a refund and a return, exact to the last uPOKT; then a move of house."""

from pathlib import Path

import pytest

from infra.localnet.demo import perform
from infra.localnet.network import Localnet
from infra.localnet.processes import ProcessError
from infra.localnet.watch import Change, LiveLog
from reactor.documents.statuses import REQUESTS, Collection, Status

pytestmark = [pytest.mark.e2e, pytest.mark.xdist_group("bridge"), pytest.mark.timeout(1800)]


async def test_the_whole_bridge(tmp_path: Path) -> None:
    async with Localnet(validators=3, threshold=2, directory=tmp_path) as net:
        await _demonstration(net)
        await _several_burns_in_one_transaction(net)
        await _moved_with_nothing_but_the_journal(net)
        await _a_validator_that_ends_by_itself_is_noticed(net)


async def _demonstration(net: Localnet) -> None:
    seen: list[Change] = []
    names = {one.address: one.name for one in net.validators}
    async with LiveLog(net.store, seen.append, names):
        outcome = await perform(net)
        await net.wait_until(lambda: all_told(net, seen), what="the live log to tell of every status")
    assert outcome.problem == ""
    assert outcome.statuses == {"mint": "success", "invalid_mint": "success", "burn": "success"}
    assert [one for one in outcome.balances if not one.exact] == []
    assert outcome.good


async def all_told(net: Localnet, seen: list[Change]) -> bool:
    """Whether there is a line of each status that any document went through; on a busy machine a log comes late."""
    for role in REQUESTS:
        texts = [change.text for change in seen if change.collection is role]
        # What is seen in a block before anybody said `submitted` leaves that out.
        statuses = {"pending", "confirmed", "signed", "success"}
        async for row in net.store.collection(role).find():
            statuses |= {one["status"] for one in row["history"]}
        if not all(any(text.startswith(f"{status}:") for text in texts) for status in statuses):
            return False
    return True


async def _several_burns_in_one_transaction(net: Localnet) -> None:
    """Two of them equal: each is paid."""
    user, supply, vault = net.users[0], await net.token_supply(), net.vault_balance()
    other = net.users[1].pocket_address
    before = await user.pocket_balance()
    burn = await user.burn_many([(1_000_000, None), (1_000_000, None), (2_000_000, other)])

    async def paid() -> bool:
        rows = await net.store.collection(Collection.BURN).find({"transaction_hash": burn}).to_list()
        return len(rows) == 3 and all(row["status"] == Status.SUCCESS.value for row in rows)

    await net.wait_until(paid, what="three burns of one transaction to be paid")
    assert await user.pocket_balance() == before + 2 * (1_000_000 - net.info.fee)
    assert await net.token_supply() == supply - 4_000_000
    assert net.vault_balance() == vault - 4_000_000


async def _moved_with_nothing_but_the_journal(net: Localnet) -> None:
    """A validator that comes back on another machine reads the chains anew and signs again."""
    moved = net.validators[0]
    await moved.restart(new_hostname="new-house", keep_only_journal=True)
    deposit = await net.users[1].deposit(3_000_000)

    async def signed_by_all() -> bool:
        document = await net.document(Collection.MINT, deposit)
        return document is not None and moved.address in document["signers"]

    await net.wait_until(signed_by_all, what="a mint to be signed by the validator that moved")
    hearts = await net.store.collection(Collection.HEARTBEAT).find({"eth_address": moved.address}).to_list()
    assert "new-house" in {heart["hostname"] for heart in hearts}
    document = await net.wait_for(Collection.MINT, deposit, Status.SIGNED)
    await net.users[1].mint(document)
    await net.wait_for(Collection.MINT, deposit, Status.SUCCESS)
    assert await net.users[1].wpokt_balance() == 3_000_000


async def _a_validator_that_ends_by_itself_is_noticed(net: Localnet) -> None:
    victim = net.validators[2]
    victim.process.kill()  # behind the network's back
    with pytest.raises(ProcessError, match="validator-3 ended by itself"):
        await net.wait_until(lambda: False, seconds=60)
    victim.kill()  # said so: nobody expects it any more
    await net.wait_until(lambda: True)
