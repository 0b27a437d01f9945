"""The short manifest: a bridge of seven on a replica set of three, with a little of everything going wrong in half a minute."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.chaos.manifest import load
from tests.chaos.run import run

pytestmark = [pytest.mark.chaos, pytest.mark.xdist_group("bridge"), pytest.mark.timeout(900)]


async def test_nothing_is_lost_or_doubled_while_a_little_of_everything_breaks(tmp_path: Path) -> None:
    """`CHAOS_SEED=7` plays it with another seed; `make chaos` plays the long ones."""
    manifest = load("short")
    seed = int(os.environ.get("CHAOS_SEED", manifest.seed))
    done = await run("short", manifest, seed, tmp_path)
    assert done.faults >= 10
    assert done.requests["deposits"] == manifest.requests.deposits
    assert done.requests["bad_deposits"] == manifest.requests.bad_deposits
    assert done.requests["burns"] >= manifest.requests.burns
