"""The commit in the log's first line: wherever it can be learned, and nothing but a commit."""

from pathlib import Path

import pytest

from reactor import commit

pytestmark = pytest.mark.unit

ONE, TWO = "1" * 40, "2" * 40


@pytest.fixture
def tree(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "reactor").mkdir()
    monkeypatch.setattr(commit, "__file__", str(tmp_path / "reactor" / "commit.py"))
    monkeypatch.setattr(commit, "_commit_of_installation", lambda: "")
    return tmp_path


def put(path: Path, text: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, "latin-1")


def test_nothing_tells_it(tree: Path) -> None:
    assert commit.software_commit() == ""


@pytest.mark.parametrize("text", [ONE, ONE[:16]])
def test_an_image_tells_it_first(tree: Path, text: str) -> None:
    put(tree / ".git" / "HEAD", TWO)
    put(tree / "reactor" / "COMMIT", f"{text}\n")
    assert commit.software_commit() == ONE[:12]


@pytest.mark.parametrize("text", ["", "not a commit", "1" * 6, "1" * 65, "\x1b[2J", "\xff", "../../etc/passwd"])
def test_what_is_no_commit_is_passed_over(tree: Path, text: str) -> None:
    put(tree / "reactor" / "COMMIT", text)
    assert commit.software_commit() == ""
    put(tree / ".git" / "HEAD", TWO)
    assert commit.software_commit() == TWO[:12]


def test_a_checkout_tells_it(tree: Path) -> None:
    put(tree / ".git" / "HEAD", "ref: refs/heads/main\n")
    assert commit.software_commit() == ""
    put(tree / ".git" / "packed-refs", f"# pack-refs\n{TWO} refs/heads/main\n{ONE} refs/tags/x\n")
    assert commit.software_commit() == TWO[:12]
    put(tree / ".git" / "refs" / "heads" / "main", f"{ONE}\n")
    assert commit.software_commit() == ONE[:12]


@pytest.mark.parametrize("absolute", [False, True])
@pytest.mark.parametrize("packed", [False, True])
def test_one_of_several_work_trees_tells_it(tree: Path, absolute: bool, packed: bool) -> None:
    shared = tree / "main" / ".git"
    put(shared / "worktrees" / "w" / "HEAD", "ref: refs/heads/w\n")
    put(shared / "worktrees" / "w" / "commondir", "../..\n")
    if packed:
        put(shared / "packed-refs", f"# pack-refs with: peeled\n{ONE} refs/heads/w\n^{TWO}\n")
    else:
        put(shared / "refs" / "heads" / "w", ONE)
    put(tree / ".git", f"gitdir: {shared if absolute else 'main/.git'}/worktrees/w\n")
    assert commit.software_commit() == ONE[:12]
    put(shared / "worktrees" / "w" / "HEAD", f"{TWO}\n")
    assert commit.software_commit() == TWO[:12]


def test_an_installer_tells_it(tree: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Installed:
        def read_text(self, name: str) -> str | None:
            return f'{{"vcs_info": {{"vcs": "git", "commit_id": "{ONE}"}}}}' if name == "direct_url.json" else None

    monkeypatch.undo()
    monkeypatch.setattr(commit, "__file__", str(tree / "reactor" / "commit.py"))
    monkeypatch.setattr(commit, "distribution", lambda name: Installed())
    assert commit.software_commit() == ONE[:12]
