"""What a network is doing when something takes too long: counts, what waits and why, who is down, last words."""

from collections.abc import Sequence
from datetime import UTC, datetime

from pymongo.errors import PyMongoError

from infra.localnet.member import LocalValidator
from reactor.documents.models import Heartbeat
from reactor.documents.statuses import REQUESTS, Collection, Status
from reactor.sentences import sentence
from reactor.store.connection import Document, Store
from reactor.store.heartbeats import read_heartbeats

_SHOWN = 8
_LOG_LINES = 12


class StuckError(TimeoutError):
    """Something did not happen in time; the message says what the network was doing."""


async def report(store: Store, validators: Sequence[LocalValidator]) -> str:
    """Everything that helps to see why nothing moves. Never raises for a database that is away."""
    lines = [_processes(validators)]
    try:
        for role in REQUESTS:
            lines += await _collection(store, role)
        lines += await _heartbeats(store)
    except PyMongoError as error:
        lines.append(f"the database can't be read: {sentence(error)}")
    for validator in validators:
        lines += [f"--- end of {validator.log}:", validator.log_tail(_LOG_LINES)]
    return "\n".join(lines)


async def counts(store: Store, role: Collection) -> dict[str, int]:
    """Documents of a collection by status."""
    pipeline: list[Document] = [{"$group": {"_id": "$status", "count": {"$sum": 1}}}]
    rows = await (await store.collection(role).aggregate(pipeline)).to_list()
    return {str(row["_id"]): int(row["count"]) for row in rows}


def _processes(validators: Sequence[LocalValidator]) -> str:
    return "validators: " + ", ".join(
        f"{one.name} {'runs' if one.running else f'is down (code {one.process.exit_code})'}" for one in validators
    )


async def _collection(store: Store, role: Collection) -> list[str]:
    found = await counts(store, role)
    if not found:
        return [f"{role.value}: none"]
    lines = [f"{role.value}: " + ", ".join(f"{count} {status}" for status, count in sorted(found.items()))]
    unfinished = {"status": {"$nin": [Status.SUCCESS.value, Status.FAILED.value]}}
    async for row in store.collection(role).find(unfinished).sort("updated_at", 1).limit(_SHOWN):
        waiting = row.get("waiting") or {}
        lines.append(
            f"  {row.get('transaction_hash')} {row.get('status')}, signers {len(row.get('signers') or [])}, "
            f"confirmations {row.get('confirmations')}, waits: {waiting.get('reason')} {waiting.get('params')}"
        )
    return lines


async def _heartbeats(store: Store) -> list[str]:
    lines = []
    for row in await read_heartbeats(store):
        heart = Heartbeat.read(row)
        if heart is None:
            lines.append(f"heartbeat of {row.get('validator_id')}: malformed")
            continue
        age = (datetime.now(UTC) - heart.updated_at).total_seconds()
        lines.append(
            f"heartbeat of {heart.validator_id}@{heart.hostname}: {age:.0f} s ago, pocket {heart.pocket_cursor}/"
            f"{heart.pocket_height}, ethereum {heart.ethereum_cursor}/{heart.ethereum_height}, open {heart.open_count}"
        )
        lines += [f"    {one}" for one in [*heart.problems, *heart.holds]]
        lines += [f"    {one.collection} {one.key[-24:]} {one.status}: {one.reason} {one.params}" for one in heart.open[:_SHOWN]]
    return lines
