"""The harness works: two validators, a few mints, nothing about speed."""

from pathlib import Path

import pytest

from tests.benchmarks.bridge import MeasuredBridge
from tests.benchmarks.measure import Plan, measure
from tests.benchmarks.report import show, targets

pytestmark = pytest.mark.integration


@pytest.mark.timeout(240)
async def test_the_harness_measures_all_three(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    measured = MeasuredBridge(validators=2, threshold=2, deposits=3000)
    plan = Plan(in_flight=(1,), nodes=(1,), seconds=1.0, rounds=1, idle=False)
    results = await measure(measured, plan, tmp_path)
    assert {name: len(points) for name, points in results.points[1].items()} == {"ours": 1, "floor": 1, "baseline": 1}
    for points in results.points[1].values():
        assert points[0].mints >= 1
        assert points[0].p50 > 0
    assert results.points[1]["ours"][0].counters["mongo update"] >= 2, "each of the two validators wrote its signature"
    show(results)
    shown = capsys.readouterr().out
    assert "ours / floor at 1" in shown
    assert len(list(targets(results))) == 4
