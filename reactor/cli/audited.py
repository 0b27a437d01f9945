"""What the verbs that change something share: dry by default, how many documents were looked at, and the audit entry."""

# ruff: noqa: PLC0415 - what is heavy is imported by the command that needs it

from __future__ import annotations

import asyncio
import socket
from collections.abc import Iterable, Mapping, Sequence
from contextlib import ExitStack, closing
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reactor.cli.common import EXIT_USAGE, Problem, clean, operator, print_json, say, warn
from reactor.cli.local import open_journal
from reactor.sentences import counted, sentence

if TYPE_CHECKING:
    from reactor.settings import Settings

ApplyOption = Annotated[bool, typer.Option("--apply", help="Do it. Without it nothing changes: it only says what it would do.")]
WhyOption = Annotated[
    str, typer.Option("--why", help="The reason, needed with --apply; it is kept with your user name.", show_default=False)
]


@dataclass(frozen=True, slots=True)
class Matches:
    """Documents by the own ledger: how many were looked at (those open to this validator), and how many are concerned."""

    evaluated: int
    matched: int

    def text(self, one: str = "open document") -> str:
        """For people. `one`: what is evaluated, in the singular."""
        return f"{counted(self.evaluated, one)} evaluated, {self.matched} matched"

    def counts(self) -> dict[str, int]:
        """As the audit entry holds them."""
        return {"evaluated": self.evaluated, "matched": self.matched}


@dataclass(frozen=True, slots=True)
class Act:
    """One verb as it was given."""

    verb: str
    arguments: Sequence[str]
    why: str


def require_why(why: str, *, apply: bool) -> None:
    """Raises Problem where something is to be changed without a reason."""
    if apply and not why.strip():
        raise Problem("--why is missing", "say why, in a few words: it is kept with your user name", EXIT_USAGE)


def dry(done: str) -> None:
    """Say what would be done."""
    say(f"dry run: would have {done}; nothing was changed. To do it: --apply --why '…'")


def tell_dry(
    would: dict[str, object], lines: Iterable[str], done: str, matches: Matches, *, as_json: bool, **more: object
) -> None:
    """What the verb would do: `would` and `more` for machines, `lines` and `done` for people."""
    if as_json:
        print_json({"applied": False, "would": would, **asdict(matches), **more})
        return
    for line in lines:
        say(line)
    dry(done)


def audit_first(settings: Settings, act: Act, matches: Matches) -> None:
    """Write the entry before something is let go again. Raises Problem: nothing may be loosened unseen."""
    problem = _written(settings, entry_of(settings, act, matches))
    if problem:
        raise Problem(
            f"nothing was changed: the audit entry could not be written ({problem})",
            "bring the shared database back and give the command again; pause and hold work without it",
        )


def audit_after(settings: Settings) -> str:
    """Write the kept entries of what is stopped already; what went wrong, empty if nothing did.

    Stopping must always be possible: that nobody could be told of it yet is said, and is no reason to go on.
    """
    problem = _written(settings)
    if problem:
        warn(
            f"it is in force, but the audit entry could not be written ({problem}): it is kept on this disk, and the running"
            " validator or the next of these commands writes it once the shared database is back"
        )
    return problem


def entry_of(settings: Settings, act: Act, matches: Matches) -> dict[str, Any]:
    """The entry of this act, as it is to lie in the audit collection; its `_id` is new."""
    from bson import ObjectId

    from reactor.parts import bridge_of

    bridge = bridge_of(settings)
    return {
        "_id": str(ObjectId()),
        "at": datetime.now(UTC),
        "by": operator()[:200],
        "why": act.why.strip()[:2000],
        "verb": act.verb,
        "arguments": [one[:500] for one in act.arguments][:100],
        **matches.counts(),
        "host": socket.gethostname()[:200],
        "validator": settings.validator.name or "",
        "vault_address": bridge.vault,
        "wpokt_address": bridge.wpokt,
    }


def _written(settings: Settings, *entries: dict[str, Any]) -> str:
    """Write what was kept before, then these; why it did not succeed, empty if it did."""
    from pymongo.errors import PyMongoError

    from reactor.state.problems import JournalMissing
    from reactor.store.problem import StoreProblem

    with ExitStack() as stack:
        try:
            journal = stack.enter_context(closing(open_journal(settings)))
        except JournalMissing:
            journal = None
        kept = [] if journal is None else journal.unsent_audits()
        try:
            asyncio.run(_write(settings, [*(one.entry for one in kept), *entries]))
        except StoreProblem as problem:
            return clean(str(problem), 300)
        except (PyMongoError, TimeoutError, OSError) as error:
            return sentence(error)
        if journal is not None:
            journal.audits_sent([one.number for one in kept])
    return ""


async def _write(settings: Settings, entries: Sequence[Mapping[str, Any]]) -> None:
    from reactor.parts import open_store
    from reactor.store.audit import write_audit

    async with await open_store(settings) as store:
        for entry in entries:
            await write_audit(store, entry)
