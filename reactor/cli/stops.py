"""`pause|resume|hold|release`: what this validator must not sign. Local state decides: no chain is asked.

Dry by default. Each that is applied is written to the audit collection: stops after they are in force, and in any case; what lets
go of something only once it is written.
"""

# ruff: noqa: PLC0415 - what is heavy is imported by the command that needs it

from __future__ import annotations

from collections.abc import Sequence
from contextlib import closing
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reactor.cli.audited import (
    Act,
    ApplyOption,
    Matches,
    WhyOption,
    audit_after,
    audit_first,
    entry_of,
    require_why,
    tell_dry,
)
from reactor.cli.common import (
    EXIT_USAGE,
    ConfigOption,
    JsonOption,
    Problem,
    clean,
    moment,
    operator,
    print_json,
    read_settings,
    say,
)
from reactor.cli.concerned import Concerned, concerned
from reactor.cli.local import open_journal
from reactor.cli.targets import resolve
from reactor.sentences import counted

if TYPE_CHECKING:
    from reactor.settings import Settings
    from reactor.state.holds import Hold
    from reactor.state.journal import Journal


Kept = tuple[int, dict[str, Any]]
"""An audit entry and its number among those that are kept until they are written."""


class Direction(StrEnum):
    """What is signed: mints on Ethereum, or payouts (refunds and returns) on Pocket."""

    MINT = "mint"
    PAYOUT = "payout"


DirectionArgument = Annotated[Direction, typer.Argument(help="mint, or payout (refunds and returns).")]
HoldArgument = Annotated[
    str,
    typer.Argument(
        help="A transaction hash or document id, an event key, a recipient's address, or `signing` for every signature.",
    ),
]
ReleaseArgument = Annotated[
    str,
    typer.Argument(
        help="A hold's number, a scope as `journal show` prints it, what `hold` takes, or `over_threshold` or `over_window` for"
        " all that the limits hold."
    ),
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


def pause(
    direction: DirectionArgument,
    why: WhyOption = "",
    apply: ApplyOption = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Sign nothing of this direction until `resume`. Dry without --apply; then in force before the next signature."""
    from reactor.state.holds import PAUSED, direction_scope

    require_why(why, apply=apply)
    settings = read_settings(config)
    scope = direction_scope(direction.value)
    with closing(open_journal(settings)) as journal:
        was = any(one.scope == scope and one.reason == "paused" for one in journal.holds())
        changed: dict[str, object] = {"paused": direction.value, "already": was}
        if not apply:
            done = f"left {direction.value} paused, as it is" if was else f"paused {direction.value}"
            _dry(settings, journal, changed, done, [scope], as_json=as_json)
            return
        act = Act("pause", [direction.value], why)
        made, kept = _stop(settings, journal, [scope], PAUSED, act)
        done = f"{direction.value} was paused already" if was else f"paused {direction.value}, hold {made[scope]}"
        _stopped(settings, journal, kept, {**changed, "hold": made[scope]}, [done], [scope], as_json=as_json)


def resume(
    direction: DirectionArgument,
    why: WhyOption = "",
    apply: ApplyOption = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """End the pause of this direction; holds stay. Dry without --apply; needs the shared database, for the audit entry."""
    from reactor.state.holds import direction_scope

    require_why(why, apply=apply)
    settings = read_settings(config)
    scope = direction_scope(direction.value)
    with closing(open_journal(settings)) as journal:
        paused = [one for one in journal.holds() if one.scope == scope and one.reason == "paused"]
        if not apply:
            done = f"resumed {direction.value}" if paused else f"found that {direction.value} is not paused"
            _dry(settings, journal, {"resumed": direction.value, "ended": len(paused)}, done, [scope], as_json=as_json)
            return
        matches = concerned(settings, journal, [scope])
        if paused:
            audit_first(settings, Act("resume", [direction.value], why), matches)
        ended = journal.resume(direction.value, operator(), why)
        done = f"resumed {direction.value}" if ended else f"{direction.value} was not paused"
        _tell(journal, {"resumed": direction.value, "ended": ended}, done, matches, as_json=as_json)


def hold(
    target: HoldArgument,
    why: WhyOption = "",
    apply: ApplyOption = False,
    config: ConfigOption = None,
    as_json: JsonOption = False,
) -> None:
    """Sign nothing for one event, one recipient or at all, until `release`. Dry without --apply."""
    from reactor.documents.reasons import HoldReason

    require_why(why, apply=apply)
    settings = read_settings(config)
    with closing(open_journal(settings)) as journal:
        found = resolve(settings, target)
        if not apply:
            what = f"held {', '.join(found.scopes)}"
            note = found.note
            _dry(settings, journal, {"held": dict.fromkeys(found.scopes), "note": note}, what, found.scopes, as_json=as_json)
            return
        act = Act("hold", [target], why)
        made, kept = _stop(settings, journal, found.scopes, HoldReason.OPERATOR.value, act)
        lines = [*(f"hold {number} on {scope}" for scope, number in made.items()), *found.notes]
        _stopped(settings, journal, kept, {"held": made, "note": found.note}, lines, found.scopes, as_json=as_json)


def release(
    target: ReleaseArgument,
    why: WhyOption = "",
    apply: ApplyOption = False,
    config: ConfigOption = None,
    attempt: AttemptOption = False,
    number: NumberOption = None,
    as_json: JsonOption = False,
) -> None:
    """End holds, or with --attempt allow a payout's next attempt. Dry without --apply; needs the shared database then.

    What caused a hold is not raised again once released.
    """
    require_why(why, apply=apply)
    settings = read_settings(config)
    with closing(open_journal(settings)) as journal:
        if attempt:
            _release_attempt(settings, journal, target, why, number, apply=apply, as_json=as_json)
            return
        if number is not None:
            raise Problem("--number is for --attempt", "give both, or neither", EXIT_USAGE)
        active = _meant(settings, journal, target)
        scopes = sorted({one.scope for one in active})
        if not apply:
            done = f"released {counted(len(active), 'hold')}: " + ", ".join(f"{one.id} ({one.scope})" for one in active)
            _dry(settings, journal, {"released": len(active)}, done, scopes, active, as_json=as_json)
            return
        matches = concerned(settings, journal, scopes)
        audit_first(settings, Act("release", [target, *map(_audited, active)], why), matches)
        count = journal.release_shown(active, operator(), why)
        _tell(journal, {"released": count}, f"released {counted(count, 'hold')}", matches, active, as_json=as_json)


def _meant(settings: Settings, journal: Journal, target: str) -> list[Hold]:
    """The active holds that the target names. Raises Problem where there is none."""
    from reactor.state.limits import LIMIT_REASONS

    holds = journal.holds()
    if target in LIMIT_REASONS:
        active = [one for one in holds if one.reason == target]
    elif target.isascii() and target.isdigit() and len(target) < 19:
        active = [one for one in holds if one.id == int(target)]
    elif any(one.scope == target for one in journal.hold_history()):
        active = [one for one in holds if one.scope == target]
    else:
        scopes = resolve(settings, target).scopes
        active = [one for one in holds if one.scope in scopes]
    if not active:
        named = ", ".join(f"{one.id} ({one.scope})" for one in holds) or "none"
        raise Problem(f"no active hold is meant by {clean(target)}", f"active are: {named}")
    return active


def _release_attempt(
    settings: Settings, journal: Journal, target: str, why: str, number: int | None, *, apply: bool, as_json: bool
) -> None:
    event = resolve(settings, target).event(target)
    rows = journal.signed(event)
    if number is None and not any(row.outcome == "payout" for row in rows):
        what = f"signed {rows[0].outcome}" if rows else "signed nothing"
        raise Problem(
            f"this validator has {what} for {event}: there is no attempt to follow",
            "release an attempt only for a payout whose return failed in a block (`reactor explain` shows it)",
        )
    # The hold that the failed return raised would still stop it.
    scope = f"event:{event}"
    stopping = [one for one in journal.holds() if one.scope == scope and one.reason == "return_failed"]
    if not apply:
        wanted = number if number is not None else max(row.attempt for row in rows) + 1
        done = f"allowed attempt {wanted} of {event}" + (f" and released {counted(len(stopping), 'hold')}" if stopping else "")
        would: dict[str, object] = {"event": event, "attempt": wanted, "released": len(stopping)}
        _dry(settings, journal, would, done, [scope], stopping, as_json=as_json)
        return
    matches = concerned(settings, journal, [scope])
    asked = [target, "--attempt", *(["--number", str(number)] if number is not None else [])]
    audit_first(settings, Act("release", [*asked, *map(_audited, stopping)], why), matches)
    ended = journal.release_shown(stopping, operator(), why)
    allowed = journal.release_attempt(event, operator(), why, number)
    done = f"attempt {allowed} of {event} may be signed" + (f"; {counted(ended, 'hold')} released" if ended else "")
    _tell(journal, {"event": event, "attempt": allowed, "released": ended}, done, matches, stopping, as_json=as_json)


def _audited(one: Hold) -> str:
    """A hold that is released, for the audit entry: with what it tells where the validator found it by itself.

    What an operator gave as his reason stands in the entry of his own verb.
    """
    return f"hold {one.id} on {one.scope}" + (f": {one.detail}" if one.subject and one.detail else "")


def _dry(
    settings: Settings,
    journal: Journal,
    would: dict[str, object],
    done: str,
    scopes: Sequence[str],
    ending: Sequence[Hold] = (),
    *,
    as_json: bool,
) -> None:
    """What the verb would do, and nothing else. `ending`: the holds that it would release."""
    matches = concerned(settings, journal, scopes)
    active = [_plain(one) for one in journal.holds()]
    more = {"holds": [_plain(one) for one in ending]} if ending else {}
    lines = [*map(_line, ending), *matches.lines()]
    tell_dry({**would, **more}, lines, done, matches, as_json=as_json, active=active)


def _stop(settings: Settings, journal: Journal, scopes: Sequence[str], reason: str, act: Act) -> tuple[dict[str, int], Kept]:
    """In force from here on, with the entry that tells of it; how many documents it concerns is found out afterwards."""
    entry = entry_of(settings, act, Matches(0, 0))
    made, number = journal.stop(scopes, reason, operator(), act.why, entry)
    return made, (number, entry)


def _stopped(
    settings: Settings,
    journal: Journal,
    kept: Kept,
    changed: dict[str, object],
    lines: Sequence[str],
    scopes: Sequence[str],
    *,
    as_json: bool,
) -> None:
    """Tell what is in force already, then those who read the audit collection: the database may be away for long."""
    if not as_json:
        for line in lines:
            say(line)
    matches = concerned(settings, journal, scopes)
    number, entry = kept
    journal.amend_audit(number, {**entry, **matches.counts()})
    problem = audit_after(settings)
    _tell(journal, {**changed, "audited": not problem, "audit_problem": problem}, "", matches, as_json=as_json)


def _tell(
    journal: Journal, changed: dict[str, object], done: str, matches: Concerned, ended: Sequence[Hold] = (), *, as_json: bool
) -> None:
    """What was done, and what is in force now. `ended`: the holds that were released."""
    active = journal.holds()
    if as_json:
        more = {"holds": [_plain(one) for one in ended]} if ended else {}
        print_json({"applied": True, **changed, **more, **asdict(matches), "active": [_plain(one) for one in active]})
        return
    if done:
        say(done)
    for line in [*map(_line, ended), *matches.lines()]:
        say(line)
    say(f"active now: {len(active) or 'nothing is held or paused'}")
    for one in active:
        say(_line(one))


def _line(one: Hold) -> str:
    """A hold with what it tells, for people."""
    who = f"{clean(one.reason)} by {clean(one.by)}, {moment(one.at)} UTC"
    return f"  {one.id:>4}  {clean(one.scope)}  {who}: {clean(one.detail)}"


def _plain(one: Hold) -> dict[str, object]:
    return {"id": one.id, "scope": one.scope, "reason": one.reason, "detail": one.detail, "by": one.by, "at": one.at}
