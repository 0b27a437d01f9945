"""Audits the packages that a validator runs against the known vulnerabilities: `python -m infra.hygiene.dependency_audit`.

pip-audit reads the lock file, every line of which must be pinned and hashed, and asks the OSV database (https://osv.dev).
Exit code 0: nothing is known, or the database could not be asked, which is said loudly (with `--required` that is a 1);
1: a vulnerability is known, or the lock file is not fit to be audited.
"""

import argparse
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

ROOT: Final = Path(__file__).parents[2]
LOCK: Final = ROOT / "requirements.lock"
OSV_URL: Final = "https://api.osv.dev/v1/query"
LONGEST_SECONDS: Final = 20.0
"""For the whole audit: lint must not hang on a network that swallows packets."""
_ONE_ANSWER_SECONDS: Final = 5
ACCEPTED: Final[dict[str, str]] = {}
"""Vulnerabilities that lint passes over: identifier to the reason why they don't touch a validator."""


class LockError(Exception):
    """The lock file can't be audited: a line is not pinned, has no hash, or can't be read."""


@dataclass(frozen=True)
class Report:
    """What is known. `unasked`: why the database could not be asked, empty if it was."""

    vulnerable: list[str] = field(default_factory=list)
    packages: int = 0
    unasked: str = ""


def audit(lock: Path = LOCK, url: str = OSV_URL, seconds: float = LONGEST_SECONDS) -> Report:
    """Ask for every package of the lock file.

    Args:
        lock: requirements with hashes.
        url: the query address of an OSV database.
        seconds: for everything together.

    Raises:
        LockError: the file is not fit to be audited; this needs no network.
    """
    end = time.monotonic() + seconds
    with tempfile.TemporaryDirectory() as scratch:
        collected = _pip_audit(["--dry-run"], lock, scratch, seconds)
        if collected.returncode != 0:
            raise LockError(_last_line(collected.stderr))
        output = Path(scratch) / "report.json"
        options = ["--vulnerability-service", "osv", "--osv-url", url, "--timeout", str(_ONE_ANSWER_SECONDS)]
        options += ["--format", "json", "--desc", "off", "--output", str(output)]
        options += [word for name in ACCEPTED for word in ("--ignore-vuln", name)]
        try:
            asked = _pip_audit(options, lock, scratch, max(end - time.monotonic(), 0.1))
        except subprocess.TimeoutExpired:
            return Report(unasked=f"no complete answer within {seconds:g} s")
        # pip-audit ends with 1 both for a finding and for a fault; only with a finding is there a report.
        if not output.exists():
            return Report(unasked=_last_line(asked.stderr))
        return _read(json.loads(output.read_text()))


def _pip_audit(options: Sequence[str], lock: Path, scratch: str, seconds: float) -> "subprocess.CompletedProcess[str]":
    command = [sys.executable, "-m", "pip_audit", "--requirement", str(lock), "--require-hashes", "--disable-pip"]
    command += ["--progress-spinner", "off", "--cache-dir", scratch, *options]
    return subprocess.run(command, capture_output=True, text=True, timeout=seconds, check=False)


def _read(report: dict[str, Any]) -> Report:
    found = [
        f"{package['name']} {package['version']}: {one['id']}, fixed in {', '.join(one['fix_versions']) or 'no version yet'}"
        for package in report["dependencies"]
        for one in package.get("vulns", [])
    ]
    # What was passed over was not asked for: a finding, or a skipped package would count as a sound one.
    found += [f"{one['name']}: {one['skip_reason']}" for one in report["dependencies"] if "skip_reason" in one]
    return Report(found, len(report["dependencies"]))


def _last_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[-1][:120] if lines else "pip-audit gave no reason"


def main(arguments: Sequence[str] | None = None) -> int:
    """Audit and tell; the exit code."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("--lock", type=Path, default=LOCK)
    options.add_argument("--url", default=OSV_URL)
    options.add_argument("--seconds", type=float, default=LONGEST_SECONDS)
    options.add_argument("--required", action="store_true", help="fail if the database cannot be asked (releases)")
    given = options.parse_args(arguments)
    try:
        report = audit(given.lock, given.url, given.seconds)
    except LockError as error:
        print(f"{given.lock.name} cannot be audited: {error}\nremedy: write it anew with `make lock`", file=sys.stderr)
        return 1
    if report.unasked:
        print(f"WARNING: DEPENDENCIES NOT AUDITED, {given.url} could not be asked: {report.unasked}", file=sys.stderr)
        return int(given.required)
    if report.vulnerable:
        print("\n".join(["known vulnerabilities:", *report.vulnerable]), file=sys.stderr)
        print("remedy: `make lock`; or accept it with a reason in infra/hygiene/dependency_audit.py", file=sys.stderr)
        return 1
    print(f"{report.packages} locked packages audited: no known vulnerability")
    return 0


if __name__ == "__main__":
    sys.exit(main())
