"""`tail`: the live change log, one readable line per change."""

# ruff: noqa: PLC0415 - what is heavy is imported by the command that needs it

from __future__ import annotations

import asyncio
import json
import re
import signal
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from reactor.cli.common import EXIT_USAGE, ConfigOption, JsonOption, Problem, clean, for_people, plain, read_settings, say, warn
from reactor.sentences import meaning

if TYPE_CHECKING:
    from pymongo import AsyncMongoClient

    from reactor.cli.changes import Changes, Line
    from reactor.documents.statuses import Collection
    from reactor.settings import Settings
    from reactor.store.connection import Store

_ADDRESS: Final = re.compile(r"[0-9a-f]{40}|[0-9a-f]{64}")
_HASH: Final = re.compile(r"[0-9a-f]{64}|[0-9a-f]{24}")
_AWAIT_MS: Final = 500
_POLL_SECONDS: Final = 15.0
_PAUSE_SECONDS: Final = 1.0
_THRESHOLD_SECONDS: Final = 3.0
"""The first line waits so long at most for the number of signatures that a mint needs."""

CollectionOption = Annotated[
    list[str] | None,
    typer.Option(
        "--collection",
        help="mint, invalid_mint, burn, minted, returned, heartbeat or audit; several times. By default all but heartbeat.",
    ),
]
StatusOption = Annotated[list[str] | None, typer.Option("--status", help="Documents that stand in it now; several times.")]
AddressOption = Annotated[list[str] | None, typer.Option("--address", help="Sender, recipient or signer; several times.")]
HashOption = Annotated[list[str] | None, typer.Option("--hash", help="Transaction hash in any form, or _id; several times.")]
LimitOption = Annotated[int, typer.Option("--limit", "-n", min=0, help="End after so many lines; 0: never.")]
AllOption = Annotated[
    bool, typer.Option("--all", help="Tell also how the number of confirmations changes, which is for display.")
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(tail)


@dataclass(slots=True)
class Wanted:
    """The filters, and how much is told."""

    roles: tuple[Collection, ...]
    statuses: tuple[str, ...] = ()
    addresses: tuple[str, ...] = ()
    hashes: tuple[str, ...] = ()
    limit: int = 0
    as_json: bool = False
    told: int = field(default=0)

    @property
    def enough(self) -> bool:
        """Whether the limit is reached."""
        return bool(self.limit) and self.told >= self.limit


def tail(
    config: ConfigOption = None,
    collection: CollectionOption = None,
    status: StatusOption = None,
    address: AddressOption = None,
    hash_: HashOption = None,
    limit: LimitOption = 0,
    everything: AllOption = False,
    as_json: JsonOption = False,
) -> None:
    """Follow the changes live until Ctrl-C. Filters of different kinds must all fit, of one kind any."""
    from reactor.cli.changes import Changes

    settings = read_settings(config)
    wanted = Wanted(
        roles=_roles(collection or []),
        statuses=_statuses(status or []),
        addresses=_addresses(address or []),
        hashes=_hashes(hash_ or []),
        limit=limit,
        as_json=as_json,
    )
    changes = Changes(len(settings.pocket.multisig_public_keys), display=everything, whole=not for_people())
    asyncio.run(_tail(settings, wanted, changes))


def _roles(names: Sequence[str]) -> tuple[Collection, ...]:
    from reactor.documents.statuses import Collection

    if not names:
        return tuple(one for one in Collection if one is not Collection.HEARTBEAT)
    return tuple(Collection(name) for name in _among("--collection", names, [one.value for one in Collection]))


def _statuses(names: Sequence[str]) -> tuple[str, ...]:
    from reactor.documents.statuses import Status

    return _among("--status", names, [one.value for one in Status])


def _among(option: str, names: Sequence[str], known: Sequence[str]) -> tuple[str, ...]:
    """What was given, in lower case, each once. Raises Problem where one is none of `known`."""
    given = tuple(dict.fromkeys(name.strip().lower() for name in names))
    for name in given:
        if name not in known:
            raise Problem(
                f"{option}: {clean(name, 80) or 'nothing'} is no {option.strip('-')}",
                "give one of " + ", ".join(known),
                EXIT_USAGE,
            )
    return given


def _addresses(texts: Sequence[str]) -> tuple[str, ...]:
    """Each with and without `0x`: documents write Ethereum's with it, and Pocket's and public keys without."""
    found: list[str] = []
    for text in texts:
        bare = text.strip().lower().removeprefix("0x")
        if not _ADDRESS.fullmatch(bare):
            remedy = "give the 40 hex digits of an address, with or without 0x, or the 64 of a public key"
            raise Problem(f"--address: {clean(text, 80) or 'nothing'} is no address", remedy, EXIT_USAGE)
        found += [bare, f"0x{bare}"]
    return tuple(found)


def _hashes(texts: Sequence[str]) -> tuple[str, ...]:
    """Without `0x`."""
    found = [text.strip().lower().removeprefix("0x") for text in texts]
    for text, bare in zip(texts, found, strict=True):
        if not _HASH.fullmatch(bare):
            remedy = "give the 64 hex digits of a transaction, with or without 0x, or the 24 of a document's _id"
            raise Problem(f"--hash: {clean(text, 80) or 'nothing'} is no hash", remedy, EXIT_USAGE)
    return tuple(found)


async def _tail(settings: Settings, wanted: Wanted, changes: Changes) -> None:
    from reactor.engine.tasks import end
    from reactor.parts import open_store

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, stop.set)
    async with await open_store(settings) as store:
        asking = asyncio.create_task(_learn_threshold(settings, changes))
        work = asyncio.create_task(_follow(store, wanted, changes, asking))
        ending = asyncio.create_task(stop.wait())
        try:
            await asyncio.wait({work, ending}, return_when=asyncio.FIRST_COMPLETED)
            if work.done():
                work.result()
        finally:
            await end(work, asking, ending)


async def _learn_threshold(settings: Settings, changes: Changes) -> None:
    """How many sign a mint, for display: asked until a node answers; before that the number is left out."""
    from reactor.chains.errors import ChainError
    from reactor.parts import ethereum_chain

    while not changes.threshold:
        try:
            async with asyncio.timeout(_THRESHOLD_SECONDS), ethereum_chain(settings) as chain:
                changes.threshold = (await chain.facts()).threshold
        except (ChainError, TimeoutError):
            await asyncio.sleep(_THRESHOLD_SECONDS)


async def _follow(store: Store, wanted: Wanted, changes: Changes, first: asyncio.Task[None]) -> None:
    """Print until enough. The keys-only stream survives failures by its token; where its history is lost, that is said."""
    from pymongo.errors import OperationFailure, PyMongoError

    from reactor.store.retrying import answers

    token: Mapping[str, Any] | None = None
    broken = False
    client = store.stream_client()
    try:
        while not wanted.enough:
            try:
                async with asyncio.timeout(_POLL_SECONDS):
                    with answers():
                        stream = await client[store.database.name].watch(
                            _pipeline(store, wanted), max_await_time_ms=_AWAIT_MS, start_after=token
                        )
                async with stream:
                    if token is None:
                        typer.echo(f"following {', '.join(store.names[role] for role in wanted.roles)}", err=True)
                    async for event in _events(stream):
                        token = stream.resume_token
                        if broken:
                            broken = False
                            warn("the change stream goes on")
                        if event is not None:
                            await asyncio.wait({first}, timeout=_THRESHOLD_SECONDS if not wanted.told else 0)
                            await _tell(store, wanted, changes, event)
                        if wanted.enough:
                            return
            except (PyMongoError, TimeoutError) as error:
                if isinstance(error, OperationFailure) and error.code in _LOST:
                    token = None
                    warn("the history of the change stream is lost: changes since the last line are not told")
                elif not broken:  # once for an outage, however often it is tried
                    warn(f"the change stream broke ({meaning(error)}): it is resumed as soon as the database answers")
                broken = True
                await asyncio.sleep(_PAUSE_SECONDS)
                before, client = client, _another(store, client)
                if client is not before:
                    await before.close()
    finally:
        await client.close()


def _another(store: Store, client: AsyncMongoClient[dict[str, Any]]) -> AsyncMongoClient[dict[str, Any]]:
    """A driver that has forgotten the set's servers would never find them again. Where no other can be made `client` stays."""
    from reactor.store.problem import StoreProblem

    try:
        return store.stream_client()
    except StoreProblem:  # a file that the URI names is away for a moment: that the stream broke is said
        return client


_LOST: Final = frozenset({286, 280, 260})


async def _events(stream: Any) -> AsyncIterator[Mapping[str, Any] | None]:  # noqa: ANN401 - the driver's stream
    from reactor.store.retrying import answers

    while stream.alive:
        async with asyncio.timeout(_POLL_SECONDS):
            with answers():
                event = await stream.try_next()
        yield event


def _pipeline(store: Store, wanted: Wanted) -> list[dict[str, Any]]:
    """Keys only, so that no document, however large, ends the stream; whether the status changed comes as a type's name."""
    return [
        {
            "$match": {
                "operationType": {"$in": ["insert", "update", "replace", "delete"]},
                "ns.coll": {"$in": [store.names[role] for role in wanted.roles]},
                "documentKey._id": {"$type": "objectId"},
            }
        },
        {
            "$project": {
                "_id": 1,
                "ns": 1,
                "documentKey": 1,
                "operationType": 1,
                "clusterTime": 1,
                "status": {"$type": "$updateDescription.updatedFields.status"},
            }
        },
    ]


async def _tell(store: Store, wanted: Wanted, changes: Changes, event: Mapping[str, Any]) -> None:
    from reactor.cli.changes import concerns
    from reactor.store.reading import read
    from reactor.store.retrying import answers

    with answers():
        role, document_id, operation = store.roles[event["ns"]["coll"]], event["documentKey"]["_id"], event["operationType"]
        at = event["clusterTime"].as_datetime() if "clusterTime" in event else datetime.now(UTC)
    plain_tail = not (wanted.statuses or wanted.addresses or wanted.hashes)
    found = None if operation == "delete" else (await read(store, role, [document_id])).get(document_id)
    if found is None:
        lines = changes.removed(role, document_id) if plain_tail or str(document_id) in wanted.hashes else []
    elif found.raw is None:
        lines = changes.oversized(role, document_id, found.size) if plain_tail or str(document_id) in wanted.hashes else []
    elif not concerns(found.raw, wanted.statuses, wanted.addresses, wanted.hashes):
        return
    else:
        changed = operation == "replace" or event.get("status") == "string"
        lines = changes.seen(role, found.raw, inserted=operation == "insert", status_changed=changed)
    for line in lines:
        _print(line, at, wanted)


def _print(line: Line, at: datetime, wanted: Wanted) -> None:
    if wanted.enough:
        return
    wanted.told += 1
    if wanted.as_json:
        say(json.dumps({"time": at, **line.fields}, default=plain))
    else:
        say(f"{at.astimezone():%H:%M:%S} {line.text}")
