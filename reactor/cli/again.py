"""`retry|rescan`: have the running validator take documents up again, or read blocks again. Own state alone is asked and told."""

# ruff: noqa: PLC0415 - what is heavy is imported by the command that needs it

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import closing
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from reactor.cli.audited import Act, ApplyOption, Matches, WhyOption, audit_first, require_why, tell_dry
from reactor.cli.common import EXIT_USAGE, ConfigOption, JsonOption, Problem, clean, print_json, read_settings, say
from reactor.cli.local import read_ledger
from reactor.cli.targets import resolve
from reactor.sentences import counted

if TYPE_CHECKING:
    from reactor.settings import Settings
    from reactor.state.ledger import Ledger

DISPUTED = "disputed"


class Chain(StrEnum):
    """Whose blocks."""

    POCKET = "pocket"
    ETHEREUM = "ethereum"


RetryArgument = Annotated[
    str, typer.Argument(help="A transaction hash, a document's _id, an event key, or `disputed` for all that wait as disputed.")
]
ChainOption = Annotated[Chain, typer.Option("--chain", help="pocket or ethereum.", show_default=False)]
FromOption = Annotated[int, typer.Option("--from", min=1, help="The first block.", show_default=False)]
ToOption = Annotated[int, typer.Option("--to", min=1, help="The last block, included.", show_default=False)]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (retry, rescan):
        app.command()(command)


def retry(
    target: RetryArgument,
    why: WhyOption = "",
    apply: ApplyOption = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take documents up again: disputed ones (their repairs count anew), failed and backed-off ones are looked at at once.

    Dry without --apply. The running validator does it within seconds, else the next start; what it then decides, it decides as
    ever, on its own chains.
    """
    require_why(why, apply=apply)
    settings = read_settings(config)
    with closing(_ledger(settings, "without a ledger the next start looks at all documents anyway")) as ledger:
        repaired = ledger.repaired()
        if target.strip() == DISPUTED:
            counters, evaluated = _disputed(repaired), len(repaired)
        else:
            keys = resolve(settings, target).events
            if not keys:
                remedy = "give a hash, an _id, an event key, or `disputed`"
                raise Problem(f"{clean(target)} names no document", remedy, EXIT_USAGE)
            counters = [counter for key in keys for counter in _existing(settings, ledger, repaired, key)]
            if not counters:
                raise Problem(
                    f"the own ledger knows no event {', '.join(keys)}: it has no document that could be taken up again",
                    "wait until it was scanned (`reactor status` shows how far), or correct the hash",
                )
            evaluated = len(counters)
        matches = Matches(evaluated, len(counters))
        lines = _told((f"{one}: repaired {repaired[one]} times" if one in repaired else one for one in counters), matches)
        documents = counted(len(counters), "document")
        if not apply:
            tell_dry({"retry": counters}, lines, f"retried {documents}", matches, as_json=as_json)
            return
        if counters:
            audit_first(settings, Act("retry", [target], why), matches)
            ledger.ask_retry([_document(one) for one in counters], counters)
            for one in counters:
                ledger.unsettle(one.partition(":")[2])
        if as_json:
            print_json({"applied": True, "retry": counters, **asdict(matches)})
            return
        for line in lines:
            say(line)
        say(f"{documents} to be taken up again: by the running validator within seconds, else by the next start")


def rescan(
    chain: ChainOption,
    first: FromOption,
    last: ToOption,
    why: WhyOption = "",
    apply: ApplyOption = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Have the own scanners read blocks again that they read before. Dry without --apply.

    It only adds: events that an earlier scan missed, and documents that are gone. A final event that is now shown otherwise stops
    signing, as ever, and its blocks are read again after the release. The position up to which the chain is read stays where it
    is, for nonces rest on it.
    """
    require_why(why, apply=apply)
    settings = read_settings(config)
    with closing(_ledger(settings, "without a ledger all is read anyway")) as ledger:
        _require_read(settings, ledger, chain, first, last)
        known = {kind: count for kind, count in ledger.counts_between(first, last).items() if kind in _kinds(chain)}
        total = sum(count for kind, count in ledger.counts().items() if kind in _kinds(chain))
        matches = Matches(total, sum(known.values()))
        counts = [counted(count, f"{kind} event is", f"{kind} events are") for kind, count in sorted(known.items())]
        lines = _told((f"{one} known in these blocks" for one in counts), matches)
        asked = {"chain": chain.value, "from": str(first), "to": str(last)}
        if not apply:
            done = f"had {chain.value} blocks {first} to {last} read again"
            tell_dry({"rescan": asked, "known": known}, lines, done, matches, as_json=as_json)
            return
        audit_first(settings, Act("rescan", [f"--{name} {value}" for name, value in asked.items()], why), matches)
        number = ledger.ask_rescan(chain.value, first, last)
        if as_json:
            print_json({"applied": True, "rescan": asked, "known": known, "number": number, **asdict(matches)})
            return
        for line in lines:
            say(line)
        say(f"{chain.value} blocks {first} to {last} will be read again: by the running validator, else by the next start")


def _ledger(settings: Settings, anyway: str) -> Ledger:
    """The ledger. Raises Problem where there is none; `anyway`: what happens without one."""
    ledger = read_ledger(settings)
    if ledger is None:
        raise Problem(
            f"there is no ledger in {settings.state.directory}",
            f"give the command on the validator's own machine, with its configuration; {anyway}",
        )
    return ledger


def _disputed(repaired: dict[str, int]) -> list[str]:
    from reactor.flows.common import MOST_REPAIRS

    return sorted(one for one, count in repaired.items() if count >= MOST_REPAIRS)


def _existing(settings: Settings, ledger: Ledger, repaired: Mapping[str, int], key: str) -> list[str]:
    """The documents that an event has: that of the collection where it belongs, and those that were repaired elsewhere."""
    from reactor.documents.statuses import REQUESTS
    from reactor.handlers.sources import home_of
    from reactor.parts import bridge_of

    seen = ledger.by_key(key)
    home = home_of(bridge_of(settings), seen.event) if seen is not None else None
    return [f"{role.value}:{key}" for role in REQUESTS if role is home or f"{role.value}:{key}" in repaired]


def _document(counter: str) -> tuple[str, str]:
    """Collection and `_id` of the document with this counter of repairs (`collection:event`)."""
    from reactor.documents.keys import document_id
    from reactor.documents.statuses import Collection

    role, _, key = counter.partition(":")
    return role, str(document_id(Collection(role), key))


def _kinds(chain: Chain) -> frozenset[str]:
    from reactor.state.rows import EventKind

    return frozenset(kind.value for kind in EventKind if kind.chain == chain.value)


def _require_read(settings: Settings, ledger: Ledger, chain: Chain, first: int, last: int) -> None:
    """Raises Problem unless the blocks lie between the start block and what was read for good."""
    from reactor.state.rows import EventKind

    if first > last:
        raise Problem(f"--from {first} lies above --to {last}", "give the lower block first", EXIT_USAGE)
    start = settings.pocket.start_height if chain is Chain.POCKET else settings.ethereum.start_block
    if first < start:
        raise Problem(f"--from {first} lies below the bridge's start block", f"begin at {start}", EXIT_USAGE)
    cursors = [ledger.cursor(kind) for kind in EventKind if kind.chain == chain.value]
    read = min(0 if cursor is None else cursor.height for cursor in cursors)
    if last > read:
        raise Problem(
            f"--to {last} lies above what was read for good, {read or 'nothing'}",
            "blocks above are read anyway, again with each new head",
            EXIT_USAGE,
        )


def _told(lines: Iterable[str], matches: Matches) -> list[str]:
    return [*(clean(line) for line in lines), matches.text("document")]
