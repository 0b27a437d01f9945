"""Each claim of the threat model and of the assumptions names tests, and each test that they name exists."""

import ast
import re
from functools import cache
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

TESTS = Path(__file__).parents[1]
INFRA = TESTS.parent / "infra"
NAMED = re.compile(r"`((?:unit|property|integration|e2e|chaos)/\w+\.py)::(\w+(?:::\w+)?)`")
ATTACKERS = [
    *("The database writer", "One validator", "M \N{MINUS SIGN} 1 validators together", "The RPC provider", "The network"),
    "The operator's laptop",
]


def threat_model() -> str:
    return (INFRA / "README.md").read_text().partition("\n## Threat model\n")[2].partition("\n## ")[0]


PAGES = {"threat model": threat_model(), "assumptions": (INFRA / "ASSUMPTIONS.md").read_text()}


@cache
def names_in(path: Path) -> frozenset[str]:
    """Test functions, classes and methods of a file, and what a state machine of Hypothesis is called."""
    if not path.is_file():
        return frozenset()
    found: set[str] = set()
    for node in ast.parse(path.read_text()).body:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(node.name)
        if isinstance(node, ast.ClassDef):
            found |= {f"{node.name}::{one.name}" for one in node.body if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)}
        elif isinstance(node, ast.Assign):
            found |= {target.id for target in node.targets if isinstance(target, ast.Name)}
    return frozenset(name for name in found if name.split("::")[-1].lower().startswith("test"))


def missing(page: str) -> list[str]:
    return [f"{path}::{name}" for path, name in NAMED.findall(page) if name not in names_in(TESTS / path)]


def rows(page: str) -> list[str]:
    """The rows of all tables but their heads."""
    lines = page.splitlines()
    heads = {number - 1 for number, line in enumerate(lines) if line.startswith("|---")}
    return [line for number, line in enumerate(lines) if line.startswith("| ") and number not in heads]


@pytest.mark.parametrize("name", PAGES)
def test_every_test_that_is_named_exists(name: str) -> None:
    assert missing(PAGES[name]) == []


@pytest.mark.parametrize("name", PAGES)
def test_every_claim_names_a_test(name: str) -> None:
    assert len(rows(PAGES[name])) > 20
    assert [row for row in rows(PAGES[name]) if not NAMED.search(row.split("|")[-2])] == []


def test_each_attacker_has_what_he_can_and_cannot_do() -> None:
    sections = {part.partition("\n")[0]: part for part in threat_model().split("\n### ")[1:]}
    assert list(sections) == ATTACKERS
    for name, section in sections.items():
        assert "**Can**" in section, name
        assert re.search(r"\| (he|they) cannot \| because \| shown by \|", section), name


def test_a_test_that_does_not_exist_is_noticed() -> None:
    """The twin: by file, and by name."""
    page = "`unit/test_threat_model.py::test_every_claim_names_a_test` `unit/test_none.py::test_x` `unit/test_logs.py::test_none`"
    assert missing(page) == ["unit/test_none.py::test_x", "unit/test_logs.py::test_none"]
    assert rows("| he cannot |\n|---|\n| fly |\n") == ["| fly |"]
