"""No person reads the `repr()` or the class name of an exception: `sentence` and `meaning` say it in words.

A test of the kind: it reads the source of everything that an operator runs.
"""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[2]
SOURCES = sorted(
    path
    for folder in ("reactor", "scanners", "infra/containers", "infra/localnet")
    for path in (ROOT / folder).rglob("*.py")
    if path.relative_to(ROOT).as_posix() != "reactor/sentences.py"
)
CALLED = frozenset({"error", "exc", "exception", "err", "fault", "reason", "problem", "cause", "e"})
"""Names under which exceptions are handed on, besides those that an `except … as` binds."""
ALLOWED = {
    ("reactor/chains/rpc.py", "_note"): "a counter's label for metrics and tests",
    ("reactor/keys/aws.py", "_translate"): "stands for the code that a service would give, in the vocabulary of its errors",
    ("reactor/engine/loops.py", "described"): "the last resort where the error's own words cannot be made",
}


def exceptions_in(function: ast.AST) -> set[str]:
    return set(CALLED) | {one.name for one in ast.walk(function) if isinstance(one, ast.ExceptHandler) and one.name}


def faults(source: str) -> Iterator[tuple[str, int, str]]:
    """Function, line and kind of each place where an exception is written as a program writes it."""
    tree = ast.parse(source)
    functions = [one for one in ast.walk(tree) if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)]
    for function in functions or [tree]:
        name, known = getattr(function, "name", ""), exceptions_in(function)
        for node in ast.walk(function):
            match node:
                case ast.FormattedValue(value=ast.Name(id=one), conversion=114) if one in known:
                    yield name, node.lineno, "!r"
                case ast.Call(func=ast.Name(id="repr"), args=[ast.Name(id=one)]) if one in known:
                    yield name, node.lineno, "repr()"
                case ast.Attribute(attr="__name__", value=ast.Call(func=ast.Name(id="type"), args=[ast.Name(id=one)])) if (
                    one in known
                ):
                    yield name, node.lineno, "the class's name"
                case ast.Call(func=ast.Attribute(), args=[ast.Constant(value=str(text)), *_]) if "!r}" in text:
                    yield name, node.lineno, "!r in a format"


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_exceptions_are_shown_in_words(path: Path) -> None:
    where = path.relative_to(ROOT).as_posix()
    found = {one for one in faults(path.read_text()) if (where, one[0]) not in ALLOWED}
    assert not found, f"{where}: show it by reactor.sentences: {sorted(found)}"


@pytest.mark.parametrize(
    "line",
    [
        'logger.warning("no heartbeat: {!r}", error)',
        'text = f"broke: {error!r}"',
        "text = repr(oops)",
        'text = f"{type(oops).__name__}: {oops}"',
    ],
)
def test_the_test_finds_what_it_is_for(line: str) -> None:
    source = f"def read():\n    try:\n        ask()\n    except ValueError as oops:\n        error = oops\n        {line}\n"
    assert [one[:2] for one in faults(source)] == [("read", 6)]
    assert not list(faults(source.replace(line, "text = sentence(oops)")))


def test_what_is_allowed_is_there() -> None:
    places = {(path.relative_to(ROOT).as_posix(), one[0]) for path in SOURCES for one in faults(path.read_text())}
    assert set(ALLOWED) <= places, "an exception that nothing needs any more"
