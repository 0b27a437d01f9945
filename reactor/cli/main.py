"""The `reactor` command. Commands import what they need when they run: `reactor --help` loads no chain library."""

# ruff: noqa: PLC0415 - what is heavy is imported by the command that needs it

import sys
from collections.abc import Sequence
from typing import Annotated

import typer

from reactor.cli import again, check, config, explain, health, journal, keys, run, status, stops, supply, tail
from reactor.cli.common import JsonOption, colours, print_json, say
from reactor.cli.faults import report
from reactor.hardening import forbid_core_dumps, keep_files_private
from reactor.signals import hear_sigterm

app = typer.Typer(
    name="reactor",
    help="One validator of a token bridge: runs it, checks it, shows and stops what it does.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for module in (run, check, status, health, tail, explain, supply, stops, again):
    module.register(app)
app.add_typer(journal.app, name="journal")
app.add_typer(config.app, name="config")
app.add_typer(keys.app, name="keys")


VersionOption = Annotated[bool, typer.Option("--version", help="Show version and commit, and do nothing else.", is_eager=True)]


@app.callback(invoke_without_command=True)
def options(show_version: VersionOption = False) -> None:
    """What stands before the command."""
    if show_version:
        version()
        raise typer.Exit


@app.command()
def version(as_json: JsonOption = False) -> None:
    """Show the version of this software, and the commit where it is known."""
    from reactor.commit import software_commit
    from reactor.parts import software_version

    number, commit = software_version(), software_commit()
    if as_json:
        print_json({"name": "bridge-reactor", "version": number, "commit": commit, "python": sys.version.split()[0]})
    else:
        say(f"bridge-reactor {number}" + (f" ({commit})" if commit else ""))


def main(arguments: Annotated[Sequence[str] | None, "for tests; else the process's own"] = None) -> int:
    """Run one command; the exit code: 0 well, 1 a problem with its remedy, 2 wrong usage or configuration, 3 not started,
    4 another process runs, 5 too few can sign (`status`), 6 not compared (`supply`); 130 and 143 where Ctrl-C and SIGTERM ended
    it.
    """
    try:
        if arguments is None:
            hear_sigterm()
            # Before any key is read, in every command: `keys new` and `check` hold keys too.
            forbid_core_dumps()
            keep_files_private()
        app(args=None if arguments is None else list(arguments), prog_name="reactor", color=colours())
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(end.code is not None)
    except KeyboardInterrupt:
        return 130
    except Exception as error:  # noqa: BLE001 - the last place where an error can be told instead of thrown at a person
        return report(error)
    return 0


if __name__ == "__main__":
    sys.exit(main())
