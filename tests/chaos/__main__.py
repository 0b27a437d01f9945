"""`python -m tests.chaos`: runs manifests of this folder, all of them or the named ones. See README.md."""

from __future__ import annotations

import argparse
import asyncio
import logging
import shutil
import sys
import tempfile
from pathlib import Path

from loguru import logger

from tests.chaos.manifest import Manifest, ManifestError, load, manifests
from tests.chaos.run import InvariantError, run


def main() -> int:
    """Run them one after the other; code 0 if all invariants held in all runs, 1 if not, 2 for a wrong manifest."""
    given = _arguments()
    # Clients that die in the middle of a request are what this is about.
    logging.getLogger("aiohttp.server").setLevel(logging.CRITICAL)
    logger.remove()
    logger.add(sys.stderr, level="WARNING", diagnose=False, backtrace=False)
    if given.list:
        print("\n".join(f"{name:<16} {load(name).about}" for name in manifests()))
        return 0
    try:
        chosen = {name: load(name) for name in given.manifest or manifests()}
    except ManifestError as error:
        print(error, file=sys.stderr)
        return 2
    said = [_one(name, manifest, seed, given) for name, manifest in chosen.items() for seed in _seeds(manifest, given)]
    print("\n".join(["", *(line for line, _ in said)]))
    return 0 if all(good for _, good in said) else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--manifest", nargs="+", help="names in tests/chaos without .toml, or paths; default: all")
    parser.add_argument("--seed", type=int, nargs="+", help="default: the manifest's own")
    parser.add_argument("--timeline", action="store_true", help="show the faults that a seed gives and run nothing")
    parser.add_argument("--keep", type=Path, help="a new folder for configuration, state and logs that stays")
    parser.add_argument("--list", action="store_true", help="show the manifests")
    return parser.parse_args()


def _seeds(manifest: Manifest, given: argparse.Namespace) -> list[int]:
    return given.seed or [manifest.seed]


def _one(name: str, manifest: Manifest, seed: int, given: argparse.Namespace) -> tuple[str, bool]:
    if given.timeline:
        shown = "\n".join(f"  at {fault.at:6.1f}  {fault.told}" for fault in manifest.timeline(seed))
        return f"{name}, seed {seed}:\n{shown}", True
    directory = (given.keep or Path(tempfile.mkdtemp(prefix="chaos-"))) / f"{Path(name).stem}-{seed}"
    try:
        done = asyncio.run(run(name, manifest, seed, directory, lambda text: print(text, flush=True)))
    except InvariantError as error:
        print(error, file=sys.stderr, flush=True)
        return f"{name}, seed {seed}: FAILED; see {directory}", False
    if given.keep is None:
        shutil.rmtree(directory.parent, ignore_errors=True)
    return f"{name}, seed {seed}: {done.requests.total()} requests, {done.faults} faults, {done.seconds:.0f} s", True


if __name__ == "__main__":
    sys.exit(main())
