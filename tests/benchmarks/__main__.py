"""`python -m tests.benchmarks`: the signing hop, measured beside its floor and a polling baseline. See README.md."""

import argparse
import asyncio
import contextlib
import json
import tempfile
from pathlib import Path

from tests.benchmarks.bridge import MeasuredBridge
from tests.benchmarks.measure import Plan, measure
from tests.benchmarks.report import show


def main() -> None:
    """Measure, print, and keep the figures as JSON where asked to."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("--validators", type=int, default=12)
    parser.add_argument("--threshold", type=int, default=9)
    parser.add_argument("--in-flight", type=int, nargs="+", default=[1, 10, 100, 1000])
    parser.add_argument("--nodes", type=int, nargs="+", default=[1, 3], choices=[1, 3])
    parser.add_argument("--seconds", type=float, default=5.0, help="time of one point")
    parser.add_argument("--rounds", type=int, default=2, help="alternations of ours and the floor")
    parser.add_argument("--only", nargs="+", default=["ours", "floor", "baseline"], choices=["ours", "floor", "baseline"])
    parser.add_argument("--quick", action="store_true", help="one node, one round, short points, no second run")
    parser.add_argument("--hop-mints", type=int, default=100, help="mints of the second run, with chain nodes; 0: none")
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    parser.add_argument("--keep", type=Path, help="a new folder for state and logs that stays")
    given = parser.parse_args()
    if given.quick:
        given.nodes, given.rounds, given.seconds, given.hop_mints = [1], 1, min(given.seconds, 3.0), 0
    plan = Plan(
        in_flight=tuple(given.in_flight),
        nodes=tuple(given.nodes),
        seconds=given.seconds,
        rounds=given.rounds,
        only=tuple(given.only),
        hop_mints=given.hop_mints,
    )
    measured = MeasuredBridge(given.validators, given.threshold, plan.deposits)
    with contextlib.ExitStack() as stack:
        place = given.keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="benchmark-")))
        results = asyncio.run(measure(measured, plan, place))
    show(results)
    if given.json is not None:
        given.json.write_text(json.dumps(results.as_json(), indent=1))


if __name__ == "__main__":
    main()
