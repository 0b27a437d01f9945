"""What the chains say at the end of a run, read from the development nodes themselves and not through the bridge's code."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass
from typing import Any

from infra.localnet.deploy import wrapped_pocket
from infra.localnet.network import Localnet
from infra.localnet.pocket.txindex import IndexedTx
from reactor.documents.statuses import REQUESTS, Collection, Status
from tests.e2e.bridge_people import Crowd, Owed

EVERYTHING = slice(0, 1_000_000)


@dataclass(frozen=True, slots=True)
class Mint:
    """One `Minted` event."""

    recipient: str
    amount: int
    nonce: int


def outflows(net: Localnet) -> list[IndexedTx]:
    """Everything that the vault sent, failed or not, in the order of the chain."""
    return _of_vault(net, received=False)


def inflows(net: Localnet) -> list[IndexedTx]:
    """Everything that the vault received, in the order of the chain."""
    return _of_vault(net, received=True)


def _of_vault(net: Localnet, *, received: bool) -> list[IndexedTx]:
    vault = bytes.fromhex(net.bridge.vault)
    found = net.pocket.chain.index.of_account(
        vault, received=received, low=0, high=net.pocket.height, page=EVERYTHING, newest_first=False
    )
    return sorted(found.txs, key=lambda tx: (tx.height, tx.index))


async def mints(net: Localnet) -> list[Mint]:
    """All `Minted` events, in the order of the chain."""
    token = wrapped_pocket(net.web3, net.deployment.wpokt)
    logs = await token.events.Minted.get_logs(from_block=net.deployment.start_block)
    return [Mint(log["args"]["recipient"].lower(), int(log["args"]["amount"]), int(log["args"]["nonce"])) for log in logs]


def mints_owed(net: Localnet, deposits: dict[str, int]) -> list[Mint]:
    """The mints that these deposits (by hash) justify: each recipient's numbered in the order of the Pocket chain."""
    owed: list[Mint] = []
    numbers: Counter[str] = Counter()
    for tx in inflows(net):
        if tx.hash.lower() not in deposits:
            continue
        assert tx.tx is not None
        recipient = json.loads(tx.tx.memo)["address"].lower()
        numbers[recipient] += 1
        owed.append(Mint(recipient, tx.tx.msg.amount, numbers[recipient]))
    return owed


async def assert_chains_exact(net: Localnet, crowd: Crowd) -> None:
    """Each request was settled on its chain exactly once, and not one unit is missing or too many on either side."""
    paid: Counter[Owed] = Counter()
    for tx in outflows(net):
        assert tx.tx is not None
        assert tx.result.code == 0, f"a return failed in block {tx.height}: {tx.result}"
        paid[Owed(tx.tx.msg.to_address.hex(), tx.tx.msg.amount, tx.tx.memo.decode())] += 1
    assert paid == crowd.owed
    assert set(crowd.deposits) | set(crowd.bad_deposits) == {tx.hash.lower() for tx in inflows(net)}

    owed, happened = mints_owed(net, crowd.deposits), await mints(net)
    assert sorted(map(repr, happened)) == sorted(map(repr, owed))
    for user in net.users:
        numbers = [one.nonce for one in happened if one.recipient == user.ethereum_address]
        assert numbers == list(range(1, len(numbers) + 1)), f"nonces of {user.name} on chain"
        assert await user.nonce() == len(numbers)
    assert await net.token_supply() == crowd.supply
    assert net.vault_balance() == crowd.supply


async def assert_documents_right(net: Localnet, crowd: Crowd, threshold: int) -> None:
    """One document per event, in the right collection, at its right end, with what a user is shown."""
    validators = {one.address for one in net.validators}
    found = {role: await net.store.collection(role).find().to_list() for role in REQUESTS}
    for rows in found.values():
        assert {row["status"] for row in rows} <= {Status.SUCCESS.value}
    assert sorted(row["transaction_hash"] for row in found[Collection.MINT]) == sorted(crowd.deposits)
    assert sorted(row["transaction_hash"] for row in found[Collection.INVALID_MINT]) == sorted(crowd.bad_deposits)
    burns = [(sent, str(place)) for sent, rows in crowd.burns.items() for place in range(len(rows))]
    assert sorted((row["transaction_hash"], row["burn_index"]) for row in found[Collection.BURN]) == sorted(burns)
    for row in found[Collection.MINT]:
        assert set(row["signers"]) <= validators
        assert threshold <= len(row["signers"]) == len(row["signatures"]) <= len(validators)
    for role in (Collection.INVALID_MINT, Collection.BURN):
        hashes = [row["return_tx_hash"] for row in found[role]]
        assert len(set(hashes)) == len(hashes)
        for row in found[role]:
            assert len(row["signatures"]) == len(validators)
            payment = net.pocket.find(row["return_tx_hash"])
            assert payment is not None
            assert payment.tx is not None
            assert payment.tx.memo.decode() == row["transaction_hash"]
            assert payment.raw.hex() == row["return_tx"]


async def heartbeats(net: Localnet) -> dict[str, dict[str, Any]]:
    """The newest heartbeat of each validator, by its name."""
    rows = await net.store.collection(Collection.HEARTBEAT).find().sort("updated_at", 1).to_list()
    return {row["validator_id"]: row for row in rows}


async def all_statuses(net: Localnet, role: Collection, status: Status) -> int:
    """How many documents of a collection stand there."""
    return int(await net.store.collection(role).count_documents({"status": status.value}))


def assert_no_errors_logged(net: Localnet) -> None:
    """To die and to come back is nothing that any validator has to call an error."""
    for one in net.validators:
        errors = [line for line in one.log.read_text().splitlines() if " ERROR " in line or " CRITICAL " in line]
        assert not errors, f"{one.name} logged {len(errors)} errors, the first: {errors[0]}"
