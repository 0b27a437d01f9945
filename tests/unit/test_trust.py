"""The trust rules: each names the code that keeps it and the tests that attack it, and what the code cites is there."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.unit.test_threat_model import NAMED, missing

pytestmark = pytest.mark.unit

ROOT = Path(__file__).parents[2]
RULES = (ROOT / "reactor" / "TRUST.md").read_text()
HEAD = re.compile(r"^## Rule (\d+): .+$", re.MULTILINE)
MODULE = re.compile(r"`((?:reactor|scanners)/[\w/]+\.py)`")
CITED = re.compile(r"\b[Rr]ules? (\d+(?:(?:, | and )\d+)*)")
HIDDEN = "DESI" + "GN"
"""A document that is not in the repository, so nothing in the repository may cite it. (Spelt so that this file does not.)"""
SUFFIXES = {".py", ".md", ".toml", ".sol", ".yaml", ".yml", ".txt", ".json", ".js", ".sh"}
FOLDERS = ("reactor", "scanners", "infra", "tests")
INSTALLED = {"node_modules", "__pycache__"}


def sections() -> dict[int, str]:
    """The text of each rule, by its number."""
    parts = HEAD.split(RULES)[1:]
    return {int(number): text for number, text in zip(parts[::2], parts[1::2], strict=True)}


def line_of(section: str, name: str) -> str:
    """What stands behind `- Kept by:` or `- Attacked by:`."""
    return section.partition(f"- {name}:")[2].partition("\n- ")[0]


def modules(section: str) -> list[str]:
    return MODULE.findall(line_of(section, "Kept by"))


def cited(text: str) -> set[int]:
    """The numbers of the rules that a text cites."""
    return {int(number) for numbers in CITED.findall(text) for number in re.findall(r"\d+", numbers)}


def files() -> Iterator[Path]:
    """Whatever people read and wrote in this repository."""
    yield from (path for path in ROOT.iterdir() if path.suffix in SUFFIXES or path.name in {"Makefile", "LICENSE"})
    for folder in FOLDERS:
        for path in (ROOT / folder).rglob("*"):
            if path.is_file() and not INSTALLED & set(path.parts) and (path.suffix in SUFFIXES or path.name == "Dockerfile"):
                yield path


def code() -> Iterator[Path]:
    return (path for path in files() if path.suffix == ".py" and path != Path(__file__))


SECTIONS = sections()


def test_the_rules_are_numbered_without_a_gap() -> None:
    assert list(SECTIONS) == list(range(15))
    assert RULES.count("\n## ") == len(SECTIONS)


@pytest.mark.parametrize("number", SECTIONS)
def test_each_rule_says_what_it_is_who_keeps_it_and_what_attacks_it(number: int) -> None:
    section = SECTIONS[number]
    assert len(section.partition("- Kept by:")[0].split()) > 20
    assert modules(section)
    assert NAMED.findall(line_of(section, "Attacked by"))
    assert missing(section) == []


@pytest.mark.parametrize("number", SECTIONS)
def test_what_keeps_a_rule_is_there_and_marked(number: int) -> None:
    """A module that is named either cites the rule or marks a check that protects funds."""
    for name in modules(SECTIONS[number]):
        text = (ROOT / name).read_text()
        assert "SECURITY:" in text or number in cited(text), name


@pytest.mark.parametrize("number", SECTIONS)
def test_each_rule_is_cited_where_it_is_kept(number: int) -> None:
    assert [name for name in modules(SECTIONS[number]) if number in cited((ROOT / name).read_text())]


def test_what_is_cited_is_a_rule_and_names_the_module_that_cites_it() -> None:
    found = 0
    for path in code():
        name = path.relative_to(ROOT).as_posix()
        for number in cited(path.read_text()):
            assert number in SECTIONS, f"{name} cites rule {number}"
            product = name.startswith(("reactor/", "scanners/"))
            assert not product or name in modules(SECTIONS[number]), f"{name} cites rule {number}, which does not name it"
            found += 1
    assert found > 20


def test_a_citation_says_where_the_rules_are() -> None:
    for path in code():
        text = path.read_text()
        assert not cited(text) or "TRUST.md" in text, path
        assert not re.search(r"(?i)trust\s+rule", text), path


def test_nothing_cites_a_document_that_is_not_here() -> None:
    looked = list(files())
    assert len(looked) > 400
    assert [path for path in looked if re.search(rf"\b{HIDDEN}\b", path.read_text())] == []


def test_what_would_be_wrong_is_noticed() -> None:
    """The twin."""
    assert cited("TRUST.md, rule 5. And rules 0 and 14, rules 1, 2 and 3; rule of thumb; ruled 7") == {5, 0, 14, 1, 2, 3}
    kept = "- Kept by: `reactor/a.py`,\n  `scanners/b/c.py`\n- Attacked by: `reactor/d.py`"
    assert modules(kept) == ["reactor/a.py", "scanners/b/c.py"]
    assert missing("`unit/test_trust.py::test_none`") == ["unit/test_trust.py::test_none"]
    assert re.search(rf"\b{HIDDEN}\b", f"(see {HIDDEN} 6)")
