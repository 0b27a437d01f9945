"""`journal new|allow-older|show|export`: the signing journal of this validator."""

# ruff: noqa: PLC0415 - what is heavy is imported by the command that needs it

from __future__ import annotations

import asyncio
import os
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from reactor.cli.audited import Act, ApplyOption, WhyOption, audit_first, dry, require_why
from reactor.cli.common import (
    ConfigOption,
    JsonOption,
    Problem,
    clean,
    console,
    for_people,
    moment,
    operator,
    print_json,
    read_settings,
    say,
    warn,
)
from reactor.cli.concerned import concerned
from reactor.cli.local import open_journal
from reactor.sentences import counted

if TYPE_CHECKING:
    from reactor.settings import Settings

app = typer.Typer(help="The signing journal: what this validator has signed. It cannot be rebuilt.", no_args_is_help=True)

OlderOption = Annotated[
    bool,
    typer.Option(
        "--allow-older",
        help="Sign for events older than the journal too. Only right where these keys have certainly never signed for this"
        " bridge: otherwise it may sign a second time what the lost journal had signed.",
    ),
]
LimitOption = Annotated[int, typer.Option("--limit", "-n", min=0, max=100_000, help="How many of the last entries.")]
OutputOption = Annotated[Path | None, typer.Option("--output", "-o", help="A new file instead of standard output.")]


@app.command("new")
def new(config: ConfigOption = None, allow_older: OlderOption = False, as_json: JsonOption = False) -> None:
    """Create the signing journal, at the chains' present heights. Refuses if there is one, and while the validator runs."""
    from reactor.state.journal_file import JOURNAL_FILE

    settings = read_settings(config)
    path = settings.state.directory / JOURNAL_FILE
    if path.exists():  # told before the chains are asked; `create` itself refuses too
        remedy = "use it; move it away only if it is certainly not this validator's"
        raise Problem(f"there is a signing journal at {path} already", remedy)
    asyncio.run(_new(settings, path, allow_older=allow_older, as_json=as_json))


async def _new(settings: Settings, path: Path, *, allow_older: bool, as_json: bool) -> None:
    from reactor.parts import bridge_of, ethereum_chain, pocket_chain
    from reactor.state.journal import Journal
    from reactor.state.lock import ProcessLock

    # A group: where one chain fails, the question to the other is ended before the clients close.
    async with ethereum_chain(settings) as ethereum, pocket_chain(settings) as pocket, asyncio.TaskGroup() as group:
        blocks, heads = group.create_task(ethereum.head()), group.create_task(pocket.head())
    heights = {"pocket": heads.result().height, "ethereum": blocks.result().number}
    # SECURITY: beside a running validator a new journal would know nothing of what that one still signs.
    with ProcessLock(settings.state.directory):
        journal = Journal.create(settings.state.directory, bridge_of(settings), heights, allow_older=allow_older)
        instance = journal.instance
        journal.close()
    if as_json:
        print_json({"path": str(path), "instance": instance, "heights": heights, "allow_older": allow_older})
        return
    say(f"created {path}, instance {instance}")
    if allow_older:
        warn(
            "it signs for events of any age. That is safe only if these keys have never signed for this bridge: what an earlier"
            " journal has signed may be signed a second time, with another nonce or amount"
        )
    else:
        say(f"signs for events above Pocket height {heights['pocket']} and Ethereum block {heights['ethereum']} only")
        warn("older events wait for the other validators; payouts need all of them: reactor/state/README.md, `A lost journal`")


@app.command("allow-older")
def allow_older(
    why: WhyOption = "", apply: ApplyOption = False, config: ConfigOption = None, as_json: JsonOption = False
) -> None:
    """Sign for events older than the journal too, from now on. Dry without --apply; needs the shared database, for the audit.

    For a journal that was made anew, once reactor/state/README.md's questions are answered: payouts that are older wait for
    this validator's signature until then.
    """
    from reactor.state.holds import SIGNING

    require_why(why, apply=apply)
    settings = read_settings(config)
    with closing(open_journal(settings)) as journal:
        already, heights = journal.allows_older, journal.heights
        matches = concerned(settings, journal, [SIGNING])
        if apply and not already:
            audit_first(settings, Act("journal allow-older", [journal.instance], why), matches)
            journal.allow_older(operator())
    if as_json:
        print_json({"applied": apply, "already": already, "heights": heights, **asdict(matches)})
        return
    for line in matches.lines():
        say(line)
    if already:
        say("this journal signs for older events already")
    elif apply:
        say("it signs for events of any age from now on; a running validator need not be started again")
    else:
        dry(f"allowed signatures below Pocket height {heights['pocket']} and Ethereum block {heights['ethereum']}")


@app.command("show")
def show(config: ConfigOption = None, limit: LimitOption = 20, as_json: JsonOption = False) -> None:
    """Show what the journal is, what is held, and the last signatures."""
    with closing(open_journal(read_settings(config))) as journal:
        everything = journal.export()
    last = everything["signatures"][-limit:] if limit else []
    active = [hold for hold in everything["holds"] if hold["released_at"] is None]
    if as_json:
        counts = {"signatures": len(everything["signatures"]), "complete_sets": len(everything["complete_sets"])}
        print_json({"meta": everything["meta"], "counts": counts, "holds": active, "signatures": last})
        return
    for name, value in sorted(everything["meta"].items()):
        shown = moment(int(value)) if name == "created_at" and value.isdigit() else clean(value)
        say(f"{name:<16} {shown}")
    say(f"{'signatures':<16} {len(everything['signatures'])}")
    say(f"{'complete sets':<16} {len(everything['complete_sets'])}")
    _print_holds(active)
    if last:
        _print_signatures(last)


@app.command("export")
def export(config: ConfigOption = None, output: OutputOption = None) -> None:
    """Write the whole journal as JSON: for comparing, never for restoring."""
    with closing(open_journal(read_settings(config))) as journal:
        everything = journal.export()
    if output is None:
        print_json(everything)
        return
    import json

    try:
        descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except FileExistsError:
        raise Problem(f"{output} exists already", "name a file that does not") from None
    except OSError as error:
        raise Problem(
            f"{output} cannot be written ({error.strerror})", "name a file in a directory that you may write to"
        ) from None
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        json.dump(everything, file, indent=2)
        file.write("\n")
    say(f"wrote {counted(len(everything['signatures']), 'signature')} to {output}")


def _print_holds(active: list[dict[str, Any]]) -> None:
    from reactor.cli.changes import hold_sentence

    say(f"{'held':<16} {len(active) or 'nothing'}")
    for hold in active:
        what = f"{clean(hold['scope'])}  {clean(hold['reason'])} by {clean(hold['by'])}: {clean(hold['detail'])}"
        say(f"  {hold['id']:>4}  {what} ({hold_sentence(hold['reason'])})")


def _print_signatures(rows: list[dict[str, Any]]) -> None:
    from rich.table import Table

    table = Table("at (UTC)", "what", "attempt", title=f"last {counted(len(rows), 'signature')}", title_justify="left")
    # Broken over lines where the terminal is narrow, never cut: keys are there to be copied.
    table.add_column("event", overflow="fold")
    table.add_column("digest", overflow="fold")
    for row in rows:
        digest = f"{row['digest'][:16]}…" if for_people() else row["digest"]
        table.add_row(moment(row["at"]), row["outcome"], str(row["attempt"]), clean(row["event"]), digest)
    console().print(table)
