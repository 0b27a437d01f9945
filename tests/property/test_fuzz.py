"""No input of a stranger ends in an unhandled exception, and what is accepted reads back. `make fuzz`: a million inputs.

A failure names the seed, and the input by itself: it belongs into a test of its own beside the parser.
"""

import os
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.property.fuzz_targets import TARGETS, Target
from tests.property.searching import LONG, search_settings

pytestmark = pytest.mark.property

INPUTS = int(os.environ.get("FUZZ_INPUTS", "1000000" if LONG else "6000"))
"""Over all targets together."""
BATCH = 100
"""Inputs per seed: the drawing of a seed costs more than most inputs."""
_SHARE = INPUTS / sum(target.weight for target in TARGETS)


@pytest.mark.timeout(7200 if LONG else 900)
@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_any_input_is_read_or_refused(target: Target, capsys: pytest.CaptureFixture[str]) -> None:
    batches = -(-int(_SHARE * target.weight + 1) // BATCH)
    done = 0

    @search_settings(batches)
    @given(st.integers(0, 2**64 - 1))
    def batch(seed: int) -> None:
        nonlocal done
        rng = Random(seed)
        for number in range(BATCH):
            one = target.make(rng)
            try:
                target.check(one)
            except Exception as error:
                raise AssertionError(f"seed {seed}, input {number}: {one!r:.4000}") from error
            done += 1

    batch()
    assert done >= _SHARE * target.weight
    if LONG:
        with capsys.disabled():
            print(f"\n{target.name}: {done:,} inputs")
