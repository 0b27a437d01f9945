"""Which commit of this software runs, so that a log or a report of a fault names it. Imports nothing of ours."""

import json
import re
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path


def software_commit() -> str:
    """The commit that runs, twelve characters; empty where nothing tells it.

    Told by a file `COMMIT` beside this one (made when an image is built), by what an installer noted, or by the git checkout.
    """
    here = Path(__file__).resolve().parent
    sources: tuple[Callable[[], str], ...] = (
        (here / "COMMIT").read_text,
        _commit_of_installation,
        partial(_commit_of_checkout, here.parent / ".git"),
    )
    for tell in sources:
        try:
            commit = tell().strip().lower()
        except (OSError, ValueError, KeyError, TypeError):
            continue
        if re.fullmatch("[0-9a-f]{7,64}", commit):
            return commit[:12]
    return ""


def _commit_of_installation() -> str:
    """PEP 610: an installer notes from which commit it installed. Raises what a missing or odd note raises."""
    try:
        note = distribution("bridge-reactor").read_text("direct_url.json")
    except PackageNotFoundError:
        return ""
    return str(json.loads(note or "{}")["vcs_info"]["commit_id"])


def _commit_of_checkout(git: Path) -> str:
    """The commit of a checkout, without the git program. `git`: its `.git`, a file where it is one of several work trees."""
    if git.is_file():
        git = (git.parent / git.read_text().partition("gitdir:")[2].strip()).resolve()
    head = (git / "HEAD").read_text().strip()
    if not head.startswith("ref: "):
        return head
    name = head.removeprefix("ref: ")
    common = (git / (git / "commondir").read_text().strip()).resolve() if (git / "commondir").is_file() else git
    for root in (git, common):
        if (root / name).is_file():
            return (root / name).read_text()
    lines = (common / "packed-refs").read_text().splitlines()
    return next((line.split()[0] for line in lines if line.endswith(f" {name}")), "")
