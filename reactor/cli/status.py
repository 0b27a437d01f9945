"""`status`: documents by status, the oldest of each, and the validators. Asks the shared database alone."""

# ruff: noqa: PLC0415 - what is heavy is imported by the command that needs it

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from reactor.cli.common import (
    ConfigOption,
    JsonOption,
    ago,
    clean,
    console,
    print_json,
    read_settings,
    say,
    warn,
)

if TYPE_CHECKING:
    from reactor.cli.people import People, Person, Strength
    from reactor.documents.statuses import Collection, Status
    from reactor.settings import Settings
    from reactor.store.tail import Counts, Row

OldestOption = Annotated[int, typer.Option("--oldest", min=0, max=100, help="How many of the oldest documents of each status.")]
_OLDEST: Final = 3
EXIT_TOO_FEW: Final = 5
"""Of `status`: fewer can sign than a mint or a payout needs."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(status)


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What the shared database says at one moment."""

    counts: dict[Collection, Counts]
    oldest: dict[Status, list[Row]]
    people: People
    strengths: list[Strength]
    identity: str
    at: datetime

    @property
    def enough(self) -> bool:
        """Whether mints and payouts get the signatures that they need."""
        return all(one.enough for one in self.strengths)


def status(config: ConfigOption = None, oldest: OldestOption = _OLDEST, as_json: JsonOption = False) -> None:
    """Show documents by status, the oldest of each, and the validators with their heights, holds and problems.

    Exit code 0: so many can sign at this moment that mints and payouts get what they need; 5: too few for one of them.
    """
    settings = read_settings(config)
    found = asyncio.run(_snapshot(settings, oldest))
    if as_json:
        print_json(_plain(found))
    else:
        _print_documents(found)
        _print_oldest(found)
        _print_people(found)
    if not found.enough:
        raise typer.Exit(EXIT_TOO_FEW)


async def _snapshot(settings: Settings, limit: int) -> Snapshot:
    from reactor.cli.people import people, strengths
    from reactor.handlers.heartbeat import verified_heartbeats
    from reactor.parts import bridge_of, open_store
    from reactor.store import tail
    from reactor.store.indexes import OPEN_STATUSES

    now = datetime.now(UTC)
    async with await open_store(settings) as store:
        counts = await tail.counts(store)
        rows, others = await verified_heartbeats(store, settings.ethereum.validator_addresses)
        oldest = {one: await tail.oldest(store, one, limit) for one in OPEN_STATUSES} if limit else {}
    everyone = people(rows, settings.ethereum.validator_addresses, now, others)
    identity = bridge_of(settings).identity_hash()
    strong = strengths(everyone, identity, settings.pocket.multisig_public_keys)
    return Snapshot(counts, oldest, everyone, strong, identity, now)


def _print_documents(found: Snapshot) -> None:
    from rich.table import Table

    statuses = list(next(iter(found.counts.values())).open)
    table = Table("documents", *(one.value for one in statuses), "closed", "total")
    for column in table.columns[1:]:
        column.justify = "right"
    for role, counts in found.counts.items():
        closed = max(0, counts.total - sum(counts.open.values()))
        table.add_row(role.value, *(str(counts.open[one]) for one in statuses), str(closed), str(counts.total))
    console().print(table)


def _print_oldest(found: Snapshot) -> None:
    from rich.table import Table

    rows = [row for rows in found.oldest.values() for row in rows]
    if not rows:
        return
    table = Table("oldest", "collection", "age", "signatures", "waits for", "transaction")
    for row in rows:
        taken = (row.collection.value, row.status) == ("mint", "signed")
        waits = clean(row.waiting, 40) or ("user" if taken else "-")
        age = ago(row.created_at, found.at)
        table.add_row(clean(row.status, 20), row.collection.value, age, str(row.signers), waits, clean(row.transaction_hash, 66))
    console().print(table)


def _print_people(found: Snapshot) -> None:
    from rich.table import Table

    table = Table("validator", "state", "can sign", "seen", "Pocket read", "Ethereum read", "open", "last signature", "name")
    for one in found.people.persons:
        table.add_row(*_row(one, found.at))
    console().print(table)
    for one in found.people.persons:
        for note in _notes(one, found.identity):
            say(f"{one.address}: {note}")
    for clone in found.people.clones:
        warn(f"one key on two hosts within two minutes: {clean(clone)}; unless it just moved, stop one of them")
    for dated in found.people.ahead:
        warn(f"the heartbeat of {clean(dated)}: its clock or the clock here was wrong; one with the right date replaces it")
    if found.people.forged:
        warn(f"heartbeats that do not verify: {found.people.forged}; somebody else wrote them")
    for strength in found.strengths:
        if not strength.enough:
            warn(f"too few can sign {strength.what}s: they wait")
    say(", ".join(one.told for one in found.strengths))


def _row(one: Person, now: datetime) -> list[str]:
    beat = one.beat
    if beat is None:
        return [one.address, one.state, "-", "-", "-", "-", "-", "-", ""]
    return [
        one.address,
        one.state if one.configured else f"{one.state}, not configured",
        " and ".join(f"{what}s" for what in ("mint", "payout") if what in one.standing.signs) or "nothing",
        f"{ago(beat.updated_at, now)} ago",
        _read(beat.pocket_cursor, beat.pocket_height),
        _read(beat.ethereum_cursor, beat.ethereum_height),
        str(beat.open_count),
        f"{ago(beat.last_signature_at, now)} ago" if beat.last_signature_at else "-",
        clean(beat.validator_id, 40),
    ]


def _read(cursor: str, height: str) -> str:
    """How far a chain was read; before its node has shown a head nobody knows of how much."""
    return f"{cursor} of {height}" if height.strip("0") else "not read yet"


def _notes(one: Person, identity: str) -> list[str]:
    from reactor.handlers.heartbeat import beyond_holds

    beat = one.beat
    if beat is None:
        return []
    other = (
        [f"runs another bridge identity: {beat.identity[:12]} instead of {identity[:12]}"] if beat.identity != identity else []
    )
    if not one.standing.healthy and one.state not in {"up", "starting"}:
        other.append(clean(one.standing.why))
    # What is held of many events stands among the problems too, and is told once.
    problems = [rest for problem in beat.problems if (rest := beyond_holds(problem, beat.holds))]
    return other + [f"held {clean(hold)}" for hold in beat.holds] + [f"problem: {clean(problem)}" for problem in problems]


def _plain(found: Snapshot) -> dict[str, Any]:
    return {
        "at": found.at,
        "identity": found.identity,
        "documents": {
            role.value: {"open": {one.value: count for one, count in counts.open.items()}, "total": counts.total}
            for role, counts in found.counts.items()
        },
        "oldest": {
            one.value: [
                {
                    "collection": row.collection.value,
                    "id": str(row.id),
                    "transaction_hash": row.transaction_hash,
                    "created_at": row.created_at,
                    "updated_at": row.updated_at,
                    "signers": row.signers,
                    "waiting": row.waiting,
                }
                for row in rows
            ]
            for one, rows in found.oldest.items()
        },
        "validators": [
            {
                "address": one.address,
                "configured": one.configured,
                "state": one.state,
                "healthy": one.standing.healthy,
                "can_sign": sorted(one.standing.signs),
                "why": one.standing.why,
                "heartbeat": one.beat.model_dump(mode="json", exclude={"id", "signature"}) if one.beat else None,
            }
            for one in found.people.persons
        ],
        "can_sign": {
            one.what: {"able": one.able, "needed": one.needed, "of": one.of, "enough": one.enough} for one in found.strengths
        },
        "clones": found.people.clones,
        "ahead": found.people.ahead,
        "forged_heartbeats": found.people.forged,
    }
