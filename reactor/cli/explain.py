"""`explain`: everything that is known about one request, and why it is where it is."""

# ruff: noqa: PLC0415 - what is heavy is imported by the command that needs it

from __future__ import annotations

import asyncio
import re
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any, Final, NoReturn

import typer

from reactor.cli.common import (
    EXIT_USAGE,
    ConfigOption,
    JsonOption,
    Problem,
    ago,
    clean,
    moment,
    print_json,
    read_settings,
    say,
    warn,
)
from reactor.cli.local import open_journal, read_ledger, requests_in
from reactor.sentences import sentence

if TYPE_CHECKING:
    from reactor.chains.ethereum.types import ContractFacts
    from reactor.cli.dossier import Dossier, Known
    from reactor.cli.people import Person
    from reactor.documents.statuses import Collection
    from reactor.settings import Settings
    from reactor.state.journal import Journal
    from reactor.state.ledger import Ledger

Found = list[tuple["Collection", dict[str, Any]]]

_CHAIN_SECONDS: Final = 5.0
_HASH: Final = re.compile(r"(?<![0-9a-f])(?:0x)?[0-9a-f]{64}(?![0-9a-f])")
_ID: Final = re.compile(r"[0-9a-f]{24}")

WhatArgument = Annotated[
    str, typer.Argument(help="A transaction hash (deposit, burn, mint or return; any form), a document's _id, or an event key.")
]


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(explain)


def explain(what: WhatArgument, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Explain one request: facts, history, who signed and who is missing, why it waits, what this validator did.

    While the shared database is away it tells what this machine's own ledger, journal and node say.
    """
    settings = read_settings(config)
    text = _wanted(what)
    with ExitStack() as stack:
        journal, ledger = _own(settings, stack)
        found, known = asyncio.run(_ask(settings, text, journal, ledger))
        _tell(known, found, text, as_json=as_json)


def _wanted(what: str) -> str:
    """The hash or id in what was given. Raises Problem."""
    text = what.strip().lower()
    if _ID.fullmatch(text):
        return text
    found = _HASH.findall(text)
    if len(found) != 1:
        remedy = "give 64 hex digits, with or without 0x, or 24 of an _id"
        raise Problem(f"{clean(what)} is no transaction hash and no _id", remedy, EXIT_USAGE)
    return str(found[0])


def _own(settings: Settings, stack: ExitStack) -> tuple[Journal | None, Ledger | None]:
    """This machine's journal and ledger, if it has any: the command works on an operator's laptop too."""
    from reactor.state.problems import JournalMissing, StateProblem

    journal: Journal | None = None
    ledger: Ledger | None = None
    try:
        journal = open_journal(settings)
        stack.callback(journal.close)
    except JournalMissing:
        journal = None  # not a validator's machine, or one that has lost it
    except StateProblem as error:
        warn(str(error))
    try:
        ledger = read_ledger(settings)
        if ledger is not None:
            stack.callback(ledger.close)
    except StateProblem as error:
        warn(str(error))
    return journal, ledger


async def _ask(settings: Settings, text: str, journal: Journal | None, ledger: Ledger | None) -> tuple[Found, Known]:
    from reactor.cli.dossier import Known
    from reactor.cli.people import people
    from reactor.parts import bridge_of

    configured = settings.ethereum.validator_addresses
    async with asyncio.TaskGroup() as group:
        asked, facts = group.create_task(_database(settings, text)), group.create_task(_contract(settings))
    found, rows, others, problem = asked.result()
    everyone = people(rows, configured, datetime.now(UTC), others)
    own = None if problem else _own_person(settings, rows)
    contract, silent = facts.result()
    threshold, members = (0, configured) if contract is None else (contract.threshold, contract.validators)
    return found, Known(bridge_of(settings), everyone, journal, ledger, threshold, members, contract, problem, own, silent)


def _own_person(settings: Settings, rows: list[Mapping[str, Any]]) -> Person | None:
    """The validator whose state lies on this machine, by its newest heartbeat; None where none ever ran here."""
    from reactor.cli.health import own_heartbeat
    from reactor.cli.people import Person
    from reactor.health import standing_of
    from reactor.state.runs import last_run

    instance = last_run(settings.state.directory)
    if not instance:
        return None
    try:
        beat = own_heartbeat(rows, instance, settings.ethereum.validator_addresses)
    except Problem as problem:
        warn(f"how this validator is cannot be told: {problem.message}")
        return None
    standing = standing_of(beat, datetime.now(UTC))
    return Person(beat.eth_address if beat is not None else "", configured=True, standing=standing, beat=beat)


async def _database(settings: Settings, text: str) -> tuple[Found, list[Mapping[str, Any]], int, str]:
    """Documents, heartbeats and how many more of those; why it could not be asked, empty if it was."""
    from pymongo.errors import PyMongoError

    from reactor.handlers.heartbeat import verified_heartbeats
    from reactor.parts import open_store
    from reactor.store import tail
    from reactor.store.problem import StoreProblem

    try:
        async with await open_store(settings) as store:
            found = await tail.find(store, text)
            rows, others = await verified_heartbeats(store, settings.ethereum.validator_addresses)
    except (StoreProblem, PyMongoError, TimeoutError, OSError) as error:
        problem = sentence(error)
        warn(f"the shared database could not be asked ({problem}): this machine's own state and node alone are told")
        return [], [], 0, problem
    return found, rows, others, ""


async def _contract(settings: Settings) -> tuple[ContractFacts | None, str]:
    """Threshold, members and what is minted at present by the contract's word; or why the node does not answer."""
    from reactor.chains.errors import ChainError
    from reactor.parts import ethereum_chain

    try:
        async with asyncio.timeout(_CHAIN_SECONDS), ethereum_chain(settings) as chain:
            return await chain.facts(settings.ethereum.validator_addresses), ""
    except (ChainError, TimeoutError) as error:
        why = clean(str(error)) or "time-out"
        warn(f"Ethereum does not answer ({why}): threshold and members are not known")
        return None, why


def _tell(known: Known, found: Found, text: str, *, as_json: bool) -> None:
    from reactor.cli.dossier import compile_dossier, compile_local
    from reactor.documents.statuses import REQUESTS

    dossiers = [compile_dossier(known, role, raw) for role, raw in found if role in REQUESTS]
    events = [(role, raw) for role, raw in found if role not in REQUESTS]
    if not found:
        seen = requests_in(known.ledger, text) if known.ledger is not None else []
        if not (known.database and seen):
            _tell_unknown(known, [one.key for one in seen], text)
        dossiers = [compile_local(known, one) for one in seen]
    if as_json:
        shown = [{"collection": role.value, **raw} for role, raw in events]
        asked = {"asked": not known.database, "problem": known.database}
        own = _plain_own(known)
        print_json({"database": asked, "own": own, "requests": [_plain(one) for one in dossiers], "seen": shown})
        return
    for dossier in dossiers:
        _print(dossier)
    for role, raw in events:
        _print_event(role, raw)


def _plain_own(known: Known) -> dict[str, Any] | None:
    if known.own is None:
        return None
    standing = known.own.standing
    return {"state": standing.state.value, "healthy": standing.healthy, "why": standing.why}


def _tell_unknown(known: Known, keys: list[str], text: str) -> NoReturn:
    """No document: perhaps the own ledger knows the event, or cannot, as its validator does not scan."""
    from reactor.cli.people import Stage
    from reactor.documents.statuses import Collection

    hindrances = "".join(f"; {one}" for one in known.hindrances(Stage(Collection.MINT)))
    if keys:
        raise Problem(
            f"no document, but this validator's own ledger knows {', '.join(keys)}{hindrances}",
            "a running validator inserts it again on its next sweep",
        )
    if known.database:
        where = "there is no ledger on this machine" if known.ledger is None else "this validator's own ledger does not know it"
        raise Problem(
            f"nothing can be told of {text}: {where}, and the shared database could not be asked ({known.database})",
            "bring the shared database back, or give the command on a validator's own machine",
        )
    raise Problem(
        f"nothing is known of {text}{hindrances}",
        "if it is on chain: wait for its finality and compare the scanners' positions in `reactor status`",
    )


def _plain(one: Dossier) -> dict[str, Any]:
    document = one.document
    return {
        "collection": one.collection.value,
        "id": one.id,
        "key": one.key,
        "status": document.status if one.read else None,
        "document": document.model_dump(mode="json", exclude={"id"}) if one.read else None,
        "malformed": list(document.malformed),
        "signatures": {"have": len(one.entries), "needed": one.needed, "entries": [asdict(entry) for entry in one.entries]},
        "missing": one.missing,
        "waiting": "; ".join(reason.sentence for reason in one.reasons),
        "reasons": [asdict(reason) for reason in one.reasons],
        "objections": one.objections,
        "ledger": one.ledger,
        "here": one.here,
        "validators": one.others,
    }


# ---------------------------------------------------------------------- for people


def _row(name: str, text: str) -> None:
    # SECURITY: whatever a row holds: keys and names are made of what strangers wrote, too.
    say(f"  {name:<11} {clean(text)}")


def _print(one: Dossier) -> None:
    from reactor.cli.changes import pokt

    document = one.document
    say(f"{one.collection.value} {clean(document.transaction_hash) or '(no hash)'}, document {clean(one.id, 200)}")
    recipient = clean(getattr(document, "recipient_address", "")) or f"{clean(document.sender_address)} (back)"
    _row("request", f"{pokt(document.amount)} POKT from {clean(document.sender_address) or '?'} to {recipient}")
    _row("event", one.key)
    if one.read:
        since = f", changed {ago(document.updated_at)} ago" if document.updated_at.year > 1970 else ""
        _row("status", f"{clean(document.status) or '?'}{since}, made {ago(document.created_at)} ago")
    else:
        _row("status", "not known: the shared database could not be asked")
    if document.malformed:
        _row("malformed", ", ".join(clean(name) for name in document.malformed))
    for reason in one.reasons:
        by = f" (says {clean(reason.by)}, {ago(reason.at)} ago)" if reason.at is not None else ""
        _row("waits", reason.sentence + by)
    if one.read:
        _print_document(one)
    _print_ledger(one.ledger)
    _print_here(one.here)
    if one.read:
        _print_history(one)
    for other in one.others:
        _row("validator", f"{clean(other['address'])} {clean(other['name'])} ({other['state']}): {other['says']}")


def _print_document(one: Dossier) -> None:
    _print_signatures(one)
    for objection in one.objections:
        _row("objection", f"{clean(objection['signer'])}: {clean(objection['sentence'])} ({objection['verdict']})")
    for name in ("mint_tx_hash", "return_tx_hash"):
        if text := getattr(one.document, name, ""):
            _row("completed", f"{name} {clean(text)}")


def _print_signatures(one: Dossier) -> None:
    good = sum(entry.verifies is True for entry in one.entries)
    of = f" of {one.needed}" if one.needed else ""
    _row("signatures", f"{len(one.entries)}{of}, {good} verify")
    words = {True: "verifies", False: "DOES NOT VERIFY", None: "could not be judged"}
    for entry in one.entries:
        _row("", f"{clean(entry.signer)} {clean(entry.name)} {words[entry.verifies]}")
    enough = one.enough or not one.open
    for missing in one.missing:
        why = f": {clean(missing['why'])}" if missing["why"] else ""
        mark = "not needed" if enough else "MISSING"
        _row("", f"{clean(missing['signer'])} {clean(missing['name'])} {mark} ({missing['state']}){why}")


def _print_ledger(ledger: dict[str, Any] | None) -> None:
    if ledger is None:
        _row("ledger", "none on this machine")
        return
    if not ledger["seen"]:
        _row("ledger", "this validator's own scanners have not seen the event")
        return
    final = "final" if ledger["final"] else "not final yet"
    _row("ledger", f"height {ledger['height']}, {moment(ledger['time'])} UTC, {final}: {clean(ledger['outcome'], 300)}")
    for name, pair in ledger["differs"].items():
        _row("", f"{name} DIFFERS: the document says {clean(pair['document'])}, the chain {clean(pair['ledger'])}")
    for line in ledger["completion"]:
        _row("", line)


def _print_here(here: dict[str, Any] | None) -> None:
    from reactor.cli.changes import hold_sentence

    if here is None:
        _row("journal", "none on this machine")
        return
    if not here["signed"]:
        _row("journal", "this validator has signed nothing for it")
    for row in here["signed"]:
        _row("journal", f"signed {row['outcome']}, attempt {row['attempt']}, {moment(row['at'])} UTC, digest {row['digest']}")
    for hold in here["holds"]:
        detail = f"{clean(hold['reason'])} by {clean(hold['by'])}: {clean(hold['detail'])}"
        _row("held", f"{hold['id']} {clean(hold['scope'])} {detail} ({hold_sentence(hold['reason'])})")


def _print_history(one: Dossier) -> None:
    for entry in one.document.history:
        why = f": {clean(entry.reason)}" if entry.reason else ""
        _row("history", f"{entry.at:%Y-%m-%d %H:%M:%S} UTC {clean(entry.status):<10} by {clean(entry.by) or '?'}{why}")
    if not one.document.history:
        _row("history", "empty: as it was inserted")


def _print_event(role: Collection, raw: dict[str, Any]) -> None:
    document = clean(raw.get("_id"), 200)
    say(f"{role.value} {clean(raw.get('transaction_hash'))}, document {document} (what a validator saw, for display)")
    for name in ("recipient_address", "amount", "nonce", "memo", "code", "height", "block_number"):
        if name in raw:
            _row(name, clean(raw[name], 200))
