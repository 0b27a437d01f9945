"""From an exception to what an operator reads: message, remedy, exit code. Never a traceback for what is expected."""

import traceback
from collections.abc import Callable
from typing import Any, Final

import typer

from reactor.cli.common import EXIT_DUPLICATE, EXIT_PROBLEM, EXIT_USAGE, Problem, colours
from reactor.foreign import redact
from reactor.sentences import sentence

Told = tuple[str, str, int]

_NODE: Final = "check the endpoints of this chain in the configuration; `reactor check` names the faulty one"

# By name: a class whose module was never imported cannot have been raised, and importing it here would make `--help` slow.
_EXPECTED: Final[dict[str, Callable[[Any], Told]]] = {
    "reactor.cli.common.Problem": lambda e: (e.message, e.remedy, e.code),
    "reactor.settings.faults.SettingsError": lambda e: (str(e), "correct it and run `reactor config check`", EXIT_USAGE),
    "reactor.state.problems.StateLocked": lambda e: (e.what, e.remedy, EXIT_DUPLICATE),
    "reactor.state.problems.SecondProcess": lambda e: (e.what, e.remedy, EXIT_DUPLICATE),
    "reactor.state.problems.StateProblem": lambda e: (e.what, e.remedy, EXIT_PROBLEM),
    "reactor.store.problem.StoreProblem": lambda e: (f"{e.field}: {e.problem}", e.remedy, EXIT_PROBLEM),
    "reactor.keys.problem.KeyProblem": lambda e: (f"key {e.source}: {e.problem}", e.remedy, EXIT_PROBLEM),
    "reactor.chains.errors.ChainError": lambda e: (f"Ethereum: {e}", _NODE, EXIT_PROBLEM),
    "reactor.chains.pocket.errors.PocketRpcError": lambda e: (f"Pocket: {e}", _NODE, EXIT_PROBLEM),
    "reactor.chains.pocket.errors.PocketConfigError": lambda e: (str(e), "correct the configuration", EXIT_USAGE),
    "reactor.engine.supervisor.LoopError": lambda e: _own_words(e) or (str(e), "the log says why; start it again", EXIT_PROBLEM),
    "pymongo.errors.PyMongoError": lambda e: (
        sentence(e),
        "check the replica set with `reactor check`",
        EXIT_PROBLEM,
    ),
    "builtins.TimeoutError": lambda _: ("it took too long", "`reactor check` names what does not answer", EXIT_PROBLEM),
    "builtins.OSError": lambda e: (
        f"{e.filename or 'the operating system'}: {e.strerror or e}",
        "check that path and its permissions" if e.filename else "",
        EXIT_PROBLEM,
    ),
}


def _own_words(error: BaseException) -> Told | None:
    """What a loop that ended the process on purpose said: what is wrong and what to do."""
    cause = error.__cause__
    return told(cause) if cause is not None and f"{type(cause).__module__}".startswith("reactor.state.") else None


def told(error: BaseException) -> Told | None:
    """Message, remedy and exit code of an expected error, none for any other."""
    for kind in type(error).__mro__:
        tell = _EXPECTED.get(f"{kind.__module__}.{kind.__qualname__}")
        if tell is not None:
            return tell(error)
    if isinstance(error, BaseExceptionGroup):
        return told(error.exceptions[0])
    return None


def log(error: BaseException) -> int:
    """Tell an error as one line of the log, where a program reads it; the exit code."""
    from loguru import logger  # noqa: PLC0415 - commands that log nothing do not load it

    found = told(error)
    if found is None:
        logger.opt(exception=error).critical("this is a fault of the program: please report it with this line")
        return EXIT_PROBLEM
    message, remedy, code = found
    logger.error("{}", f"{message}; remedy: {remedy}" if remedy else message)
    return code


def report(error: BaseException) -> int:
    """Tell an error on standard error; the exit code."""
    found = told(error)
    if found is None:
        # SECURITY: no local variables, and registered secrets are masked.
        typer.echo(redact("".join(traceback.format_exception(error))), err=True)
        typer.secho(
            "This is a fault of the program: please report it with the lines above.",
            err=True,
            fg=typer.colors.RED,
            color=colours(),
        )
        return EXIT_PROBLEM
    message, remedy, code = found
    typer.secho(redact(f"error: {message}"), err=True, fg=typer.colors.RED, color=colours())
    if remedy:
        typer.echo(redact(f"remedy: {remedy}"), err=True)
    return code


__all__ = ["Problem", "log", "report", "told"]
