"""What must hold at the end of a run, read from the chains' own nodes and never through the bridge's code or documents.

The documents are compared with it only afterwards: a user must have been told what happened.
"""

from __future__ import annotations

import json
import socket
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from typing import Any

from infra.localnet.deploy import wrapped_pocket
from infra.localnet.network import Localnet
from infra.localnet.pocket.genesis import SEND_FEE
from reactor.documents.reasons import WaitReason
from reactor.documents.statuses import REQUESTS, Collection, Status
from reactor.state.journal import Journal
from tests.e2e.bridge_truth import Mint, inflows, mints, outflows
from tests.integration.bridge_helpers.judge import Judge

Payment = tuple[str, int, str]
"""Recipient on Pocket, uPOKT, memo."""
_ENDED = {Status.SUCCESS.value, Status.FAILED.value}
_REASONS = {reason.value for reason in WaitReason}


async def burns_on_chain(net: Localnet) -> list[tuple[str, int, str]]:
    """(transaction, amount, recipient on Pocket) of every burn of the canonical chain, in its order."""
    token = wrapped_pocket(net.web3, net.deployment.wpokt)
    logs = await token.events.BurnAndBridge.get_logs(from_block=net.deployment.start_block)
    return [
        (log["transactionHash"].to_0x_hex(), int(log["args"]["amount"]), str(log["args"]["poktAddress"]).lower()[2:])
        for log in logs
    ]


async def owed(net: Localnet, bad_deposits: Mapping[str, tuple[int, str]]) -> Counter[Payment]:
    """What the vault must have paid: each refund and each return once, less the fee."""
    due: Counter[Payment] = Counter()
    for sent, (amount, sender) in bad_deposits.items():
        due[sender, amount - SEND_FEE, sent] += 1
    for sent, amount, recipient in await burns_on_chain(net):
        due[recipient, amount - SEND_FEE, sent] += 1
    return due


def paid(net: Localnet) -> Counter[Payment]:
    """What it has paid."""
    made: Counter[Payment] = Counter()
    for tx in outflows(net):
        assert tx.tx is not None
        made[tx.tx.msg.to_address.hex(), tx.tx.msg.amount, tx.tx.memo.decode()] += 1
    return made


async def overpaid(net: Localnet, bad_deposits: Mapping[str, tuple[int, str]]) -> list[str]:
    """What the vault has paid without owing it, at any moment of a run. The debts are read last: they only grow."""
    made = paid(net)
    return [f"{what} was paid {count} times too often" for what, count in (made - await owed(net, bad_deposits)).items()]


def mints_due(net: Localnet, deposits: Mapping[str, int]) -> list[Mint]:
    """The mints that the deposits justify, each recipient's numbered in the order of the Pocket chain."""
    due: list[Mint] = []
    rank: Counter[str] = Counter()
    for tx in inflows(net):
        assert tx.tx is not None
        if tx.hash.lower() in deposits:
            recipient = json.loads(tx.tx.memo)["address"].lower()
            rank[recipient] += 1
            due.append(Mint(recipient, tx.tx.msg.amount, rank[recipient]))
    return due


async def unsettled(net: Localnet, deposits: Mapping[str, int], bad_deposits: Mapping[str, tuple[int, str]]) -> list[str]:
    """What is still to be done, by the chains alone; empty: everything was paid and minted. For waiting."""
    missing = []
    due, made = await owed(net, bad_deposits), paid(net)
    if short := due - made:
        missing.append(f"{short.total()} of {due.total()} payments")
    wanted, happened = mints_due(net, deposits), await mints(net)
    if len(wanted) != len(deposits) or len(happened) != len(deposits):
        missing.append(f"{len(deposits) - len(happened)} of {len(deposits)} mints")
    return missing


async def broken(net: Localnet, deposits: Mapping[str, int], bad_deposits: Mapping[str, tuple[int, str]]) -> list[str]:
    """Every invariant of the chains that does not hold."""
    wrong: list[str] = []

    def must(holds: bool, what: str) -> None:
        if not holds:
            wrong.append(what)

    for tx in outflows(net):
        must(tx.result.code == 0, f"return {tx.hash} failed in block {tx.height}: {tx.result}")
    due, made = await owed(net, bad_deposits), paid(net)
    wrong += [f"payment {what}: due {due[what]}, paid {made[what]}" for what in {*due, *made} if due[what] != made[what]]
    known = set(deposits) | set(bad_deposits)
    arrived = {tx.hash.lower() for tx in inflows(net)}
    must(known == arrived, f"deposits {known ^ arrived} are known to one side only")
    wanted, happened = Counter(mints_due(net, deposits)), Counter(await mints(net))
    wrong += [f"{one}: due {wanted[one]}, minted {happened[one]}" for one in {*wanted, *happened} if wanted[one] != happened[one]]
    burned = sum(amount for _, amount, _ in await burns_on_chain(net))
    supply, locked, books = await net.token_supply(), net.vault_balance(), sum(deposits.values()) - burned
    must(supply == books, f"supply is {supply}, minted less burned is {books}")
    must(locked == supply, f"the vault holds {locked}, the supply is {supply}")
    return wrong


async def documents_wrong(net: Localnet, deposits: Mapping[str, int], bad_deposits: Mapping[str, tuple[int, str]]) -> list[str]:
    """Requests whose document does not say what the chains say; a document of nothing must have failed."""
    wrong: list[str] = []
    places: Counter[str] = Counter()
    burns = []
    for sent, _, _ in await burns_on_chain(net):
        burns.append((sent, str(places[sent])))
        places[sent] += 1
    expected: dict[Collection, list[tuple[str, str]]] = {
        Collection.MINT: [(sent, "") for sent in deposits],
        Collection.INVALID_MINT: [(sent, "") for sent in bad_deposits],
        Collection.BURN: burns,
    }
    for role in REQUESTS:
        rows = {(row["transaction_hash"], row.get("burn_index", "")): row async for row in net.store.collection(role).find()}
        for key in expected[role]:
            row = rows.pop(key, None)
            if row is None or row["status"] != Status.SUCCESS.value:
                wrong.append(
                    f"{role.value} {key} is {row and row['status']}, the chains show it done; {row and row.get('waiting')}"
                )
        wrong += [
            f"{role.value} {key} is {row['status']}, the chains show no such event"
            for key, row in rows.items()
            if row["status"] != Status.FAILED.value
        ]
    return wrong


async def heartbeats(net: Localnet) -> dict[str, dict[str, Any]]:
    """What each validator says from the machine that it is on now, by its name. Not the newest: clocks jump."""
    machines = {one.name: one.hostname or socket.gethostname() for one in net.validators}
    rows = net.store.collection(Collection.HEARTBEAT).find()
    return {row["validator_id"]: dict(row) async for row in rows if machines.get(row["validator_id"]) == row["hostname"]}


async def waits_without_reason(net: Localnet) -> list[str]:
    """Open documents in the newest heartbeats, and documents that show what they wait for, without a typed reason."""
    wrong = []
    async for role, row in _waiting(net):
        if row["waiting"].get("reason") not in _REASONS:
            wrong.append(f"{role} {row['transaction_hash']} is {row['status']} and waits for {row['waiting']}")
    for name, heart in (await heartbeats(net)).items():
        wrong += [f"{name}: {one['key']} waits for {one['reason']!r}" for one in heart["open"] if one["reason"] not in _REASONS]
    return wrong


async def _waiting(net: Localnet) -> AsyncIterator[tuple[str, dict[str, Any]]]:
    """The documents that are not at their end and show what they wait for, with their collection."""
    for role in REQUESTS:
        async for row in net.store.collection(role).find({"status": {"$nin": list(_ENDED)}}):
            if row.get("waiting"):
                yield role.value, dict(row)


async def unjustified(net: Localnet) -> list[str]:
    """Signatures and objections in the validators' own journals that the chains do not justify. The validators must be down."""
    journals = [Journal.open(one.state, net.bridge) for one in net.validators]
    try:
        return await Judge(net).unjustified(journals)
    finally:
        for journal in journals:
            journal.close()


async def signature_counts(net: Localnet, addresses: list[str], public_keys: list[str]) -> dict[str, int]:
    """How many signatures of these validators stand in the documents, by collection."""
    mine = {*addresses, *public_keys}
    counts: dict[str, int] = {}
    for role in REQUESTS:
        counts[role.value] = 0
        async for row in net.store.collection(role).find():
            counts[role.value] += sum(signer in mine for signer in row.get("signers") or [])
    return counts


async def waits(net: Localnet) -> bool:
    """Whether a confirmed document is there that nobody signs."""
    return any([await net.store.collection(role).count_documents({"status": Status.CONFIRMED.value}) for role in REQUESTS])
