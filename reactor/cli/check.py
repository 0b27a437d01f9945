"""`check`: the pre-flight for people and monitors; `init-db`: collections, indexes, schema validators, roles."""

# ruff: noqa: PLC0415 - what is heavy is imported by the command that needs it

from __future__ import annotations

import asyncio
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from reactor.cli.common import EXIT_PROBLEM, EXIT_USAGE, ConfigOption, JsonOption, Problem, clean, print_json, read_settings, say
from reactor.sentences import counted

if TYPE_CHECKING:
    from reactor.preflight import CheckResult
    from reactor.settings import Settings
    from reactor.store.indexes import Report
    from reactor.store.roles import RolesReport, UserSpec

_MARKS = {"error": ("FAIL", typer.colors.RED), "warning": ("warn", typer.colors.YELLOW), "info": ("note", typer.colors.BLUE)}

ObserveOption = Annotated[bool, typer.Option("--observe", help="Check for `run --observe`: no keys are needed.")]

RolesOption = Annotated[
    bool, typer.Option("--roles", help="Make the roles for validators, frontends and operators too; run it as an administrator.")
]
UserOption = Annotated[
    list[str] | None,
    typer.Option(
        metavar="<role:name>",
        help="With --roles: make a user too, such as validator:alice; several times. A name like CN=alice,O=bridge is the subject"
        " of the certificate with which it logs in (x.509).",
        show_default=False,
    ),
]


def register(app: typer.Typer) -> None:
    """Add the commands."""
    app.command()(check)
    app.command("init-db")(init_db)


def check(config: ConfigOption = None, observe: ObserveOption = False, as_json: JsonOption = False) -> None:
    """Check every dependency, with a remedy for each failure. Exit code 1 if something forbids a start; warnings do not.

    `run` asks the same before it starts, and starts only where nothing fails.
    """
    from reactor.preflight import failures, preflight

    settings = read_settings(config)
    results = asyncio.run(preflight(settings, observe=observe, starting=False))
    failed = failures(results)
    if as_json:
        print_json({"ok": not failed, "results": [asdict(result) for result in results]})
    else:
        _print(results)
    if failed:
        raise typer.Exit(EXIT_PROBLEM)


def _print(results: list[CheckResult]) -> None:
    width = max((len(result.name) for result in results), default=0)
    for result in results:
        mark, colour = ("ok  ", typer.colors.GREEN) if result.ok else _MARKS[result.level]
        typer.echo(f"{typer.style(mark, fg=colour)}  {result.name:<{width}}  {clean(result.detail)}")
        if result.remedy and not result.ok:
            say(f"      {'':<{width}}  → {clean(result.remedy)}")
    bad = sum(not result.ok and result.level == "error" for result in results)
    warned = sum(not result.ok and result.level == "warning" for result in results)
    say(f"{counted(len(results), 'check')}, {bad} failed, {counted(warned, 'warning')}")


def init_db(
    config: ConfigOption = None, roles: RolesOption = False, user: UserOption = None, as_json: JsonOption = False
) -> None:
    """Make collections, indexes and schema validators. Lists conflicts first, and then changes nothing. May be run again."""
    from reactor.store.problem import StoreProblem
    from reactor.store.roles import UserSpec

    if user and not roles:
        raise Problem("--user needs --roles", "add --roles", EXIT_USAGE)
    try:
        users = [UserSpec.parse(one) for one in user or ()]
    except StoreProblem as wrong:
        raise Problem(f"{wrong.field}: {wrong.problem}", wrong.remedy, EXIT_USAGE) from None
    report, access = asyncio.run(_init_db(read_settings(config), users if roles else None))
    if as_json:
        conflicts = [asdict(one) for one in report.conflicts]
        said = {} if access is None else {"roles": asdict(access)}
        print_json({"ok": not conflicts, "conflicts": conflicts, "made": report.made, "present": report.present, **said})
        if conflicts:
            raise typer.Exit(EXIT_PROBLEM)
        return
    for made in report.made:
        say(f"made     {made}")
    for present in report.present:
        say(f"present  {present}")
    if report.conflicts:
        listed = "\n".join(f"  - {clean(str(one))}" for one in report.conflicts)
        raise Problem(
            f"nothing was changed, {counted(len(report.conflicts), 'conflict')}:\n{listed}", "resolve them and run it again"
        )
    say(f"done: {len(report.made)} made, {len(report.present)} present already")
    if access is not None:
        _print_access(access)


def _print_access(access: RolesReport) -> None:
    for word, lines in (("made", access.made), ("updated", access.updated), ("present", access.present)):
        for line in lines:
            say(f"{word:<9}{clean(line)}")
    if access.passwords:
        say("passwords, shown this once and stored nowhere:")
    for name, password in access.passwords.items():
        say(f"  {clean(name)}  {password}")


async def _init_db(settings: Settings, users: list[UserSpec] | None) -> tuple[Report, RolesReport | None]:
    from reactor.parts import open_store
    from reactor.store.indexes import init_db as make
    from reactor.store.roles import create_roles

    async with await open_store(settings) as store:
        report = await make(store)
        if users is None or report.conflicts:
            return report, None
        return report, await create_roles(store, users)
