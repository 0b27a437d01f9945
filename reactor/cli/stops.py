"""`pause|resume|hold|release`: what this validator must not sign. Local state only: no chain, no Mongo is asked."""

# ruff: noqa: PLC0415 - what is heavy is imported by the command that needs it

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer

from reactor.cli.common import (
    EXIT_USAGE,
    ConfigOption,
    JsonOption,
    Problem,
    WhyOption,
    clean,
    moment,
    operator,
    print_json,
    read_settings,
    say,
)
from reactor.cli.local import open_journal
from reactor.cli.targets import resolve

if TYPE_CHECKING:
    from reactor.state.holds import Hold
    from reactor.state.journal import Journal


class Direction(StrEnum):
    """What is signed: mints on Ethereum, or payouts (refunds and returns) on Pocket."""

    MINT = "mint"
    PAYOUT = "payout"


DirectionArgument = Annotated[Direction, typer.Argument(help="mint, or payout (refunds and returns).")]
LaterWhyOption = Annotated[str, typer.Option("--why", help="The reason; it is kept with your user name.")]
HoldArgument = Annotated[
    str,
    typer.Argument(
        help="A transaction hash or document id, an event key, a recipient's address, or `signing` for every signature.",
    ),
]
ReleaseArgument = Annotated[
    str, typer.Argument(help="A hold's number, a scope as `journal show` prints it, or what `hold` takes.")
]
AttemptOption = Annotated[
    bool,
    typer.Option("--attempt", help="Allow the next attempt of a payout whose return failed in a block. Takes a hash, id or key."),
]

NumberOption = Annotated[
    int | None,
    typer.Option(
        min=1,
        max=15,
        help="With --attempt: which one, where this validator's journal does not know the attempt before (a new journal).",
        show_default=False,
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    for command in (pause, resume, hold, release):
        app.command()(command)


def pause(direction: DirectionArgument, why: WhyOption, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Sign nothing of this direction until `resume`. In force before the next signature; survives restarts."""
    journal = open_journal(read_settings(config))
    try:
        was = any(one.scope == f"direction:{direction.value}" and one.reason == "paused" for one in journal.holds())
        number = journal.pause(direction.value, operator(), why)
        done = f"{direction.value} was paused already" if was else f"paused {direction.value}, hold {number}"
        _tell(journal, {"paused": direction.value, "hold": number, "already": was}, done, as_json=as_json)
    finally:
        journal.close()


def resume(
    direction: DirectionArgument, config: ConfigOption = None, why: LaterWhyOption = "", as_json: JsonOption = False
) -> None:
    """End the pause of this direction. Holds stay."""
    journal = open_journal(read_settings(config))
    try:
        ended = journal.resume(direction.value, operator(), why)
        done = f"resumed {direction.value}" if ended else f"{direction.value} was not paused"
        _tell(journal, {"resumed": direction.value, "ended": ended}, done, as_json=as_json)
    finally:
        journal.close()


def hold(target: HoldArgument, why: WhyOption, config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Sign nothing for one event, one recipient or at all, until `release`. In force before the next signature."""
    from reactor.documents.reasons import HoldReason

    settings = read_settings(config)
    journal = open_journal(settings)
    try:
        found = resolve(settings, target)
        made = {scope: journal.hold(scope, HoldReason.OPERATOR.value, why, operator()) for scope in found.scopes}
        lines = [f"hold {number} on {scope}" for scope, number in made.items()]
        _tell(journal, {"held": made, "note": found.note}, "\n".join([*lines, *found.notes]), as_json=as_json)
    finally:
        journal.close()


def release(
    target: ReleaseArgument,
    why: WhyOption,
    config: ConfigOption = None,
    attempt: AttemptOption = False,
    number: NumberOption = None,
    as_json: JsonOption = False,
) -> None:
    """End holds, or with --attempt allow a payout's next attempt. What caused a hold is not raised again once released."""
    settings = read_settings(config)
    journal = open_journal(settings)
    try:
        if attempt:
            _release_attempt(journal, resolve(settings, target).event(target), why, number, as_json=as_json)
            return
        if number is not None:
            raise Problem("--number is for --attempt", "give both, or neither", EXIT_USAGE)
        scopes: list[str | int]
        if target.isascii() and target.isdigit() and len(target) < 19:
            scopes = [int(target)]
        elif any(one.scope == target for one in journal.hold_history()):
            scopes = [target]
        else:
            scopes = list(resolve(settings, target).scopes)
        count = sum(journal.release(scope, operator(), why) for scope in scopes)
        if count == 0:
            active = ", ".join(f"{one.id} ({one.scope})" for one in journal.holds()) or "none"
            raise Problem(f"no active hold is meant by {clean(target)}", f"active are: {active}")
        _tell(journal, {"released": count}, f"released {count} {'hold' if count == 1 else 'holds'}", as_json=as_json)
    finally:
        journal.close()


def _release_attempt(journal: Journal, event: str, why: str, number: int | None, *, as_json: bool) -> None:
    rows = journal.signed(event)
    if number is None and not any(row.outcome == "payout" for row in rows):
        what = f"signed {rows[0].outcome}" if rows else "signed nothing"
        raise Problem(
            f"this validator has {what} for {event}: there is no attempt to follow",
            "release an attempt only for a payout whose return failed in a block (`reactor explain` shows it)",
        )
    allowed = journal.release_attempt(event, operator(), why, number)
    # The hold that the failed return raised would still stop it.
    scope = f"event:{event}"
    ended = sum(
        journal.release(one.id, operator(), why)
        for one in journal.holds()
        if one.scope == scope and one.reason == "return_failed"
    )
    done = f"attempt {allowed} of {event} may be signed" + (f"; {ended} hold released" if ended else "")
    _tell(journal, {"event": event, "attempt": allowed, "released": ended}, done, as_json=as_json)


def _tell(journal: Journal, changed: dict[str, object], done: str, *, as_json: bool) -> None:
    active = journal.holds()
    if as_json:
        print_json({**changed, "active": [_plain(one) for one in active]})
        return
    say(done)
    say(f"active now: {len(active) or 'nothing is held or paused'}")
    for one in active:
        who = f"{clean(one.reason)} by {clean(one.by)}, {moment(one.at)} UTC"
        say(f"  {one.id:>4}  {clean(one.scope)}  {who}: {clean(one.detail)}")


def _plain(one: Hold) -> dict[str, object]:
    return {"id": one.id, "scope": one.scope, "reason": one.reason, "detail": one.detail, "by": one.by, "at": one.at}
