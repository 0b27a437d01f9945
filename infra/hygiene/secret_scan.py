"""Scans the tree for secrets, without a network: `python -m infra.hygiene.secret_scan`; `--accept` renews the baseline.

detect-secrets looks at every file that git knows or would take. `.secrets.baseline` holds its settings (`DETECTORS`,
`LEFT_OUT`) and, as hashes, the worthless secrets of the tests. What is not in it fails lint.
"""

import argparse
import json
import os
import subprocess
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

from detect_secrets.core import baseline
from detect_secrets.core.secrets_collection import SecretsCollection
from detect_secrets.settings import configure_settings_from_baseline, default_settings, get_settings

ROOT: Final = Path(__file__).parents[2]
BASELINE: Final = ".secrets.baseline"
DETECTORS: Final = frozenset(
    {
        # Keys of either chain are hex or Base64; the rest is what this software and its makers could hold.
        *("HexHighEntropyString", "Base64HighEntropyString", "PrivateKeyDetector", "BasicAuthDetector", "KeywordDetector"),
        *("AWSKeyDetector", "JwtTokenDetector", "GitHubTokenDetector", "GitLabTokenDetector", "NpmDetector", "PypiTokenDetector"),
        *("SlackDetector", "ArtifactoryDetector"),
    }
)
"""The others of the library (of services that nobody here uses) would double the time."""
LEFT_OUT: Final = (
    # Golden data of the real chain and of published standards: thousands of hashes and signatures.
    r"^tests/vectors/",
    # Compiled contracts, checked against their sources by tests/integration/test_contracts.py.
    r"^infra/contracts/artifacts/",
    # Hashes of packages; the installers check them.
    r"\.lock$",
    r"package-lock\.json$",
    r"^\.secrets\.baseline$",
)
# Shorter than 16 bytes: identifiers of documents, pieces of hashes. The keys of both chains have 32, those of services 16.
NO_KEY: Final = r"^[0-9a-fA-F]{1,31}$"


def tree_files(root: Path) -> list[str]:
    """What git tracks, and what it would take with `git add`; paths below `root`."""
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listed = subprocess.run(command, cwd=root, capture_output=True, check=True).stdout.decode()
    return sorted({name for name in listed.split("\0") if name and (root / name).is_file()})


def scan(root: Path, names: Iterable[str]) -> SecretsCollection:
    """All that looks like a secret in these files below `root`, by the settings that are in force."""
    found = SecretsCollection()
    # The library's filters and results take paths as they are given: they must be those of the baseline on every machine.
    before = Path.cwd()
    os.chdir(root)
    try:
        found.scan_files(*names)
    finally:
        os.chdir(before)
    return found


def settings() -> dict[str, object]:
    """The detectors, the library's filters but for the one that asks a service, and `LEFT_OUT`."""
    with default_settings():
        found = get_settings().json()
    detectors = [one for one in found["plugins_used"] if one["name"] in DETECTORS]
    filters = [one for one in found["filters_used"] if "is_ignored_due_to_verification_policies" not in one["path"]]
    filters.append({"path": "detect_secrets.filters.regex.should_exclude_file", "pattern": list(LEFT_OUT)})
    filters.append({"path": "detect_secrets.filters.regex.should_exclude_secret", "pattern": [NO_KEY]})
    return {"plugins_used": detectors, "filters_used": filters}


def new_secrets(root: Path, names: Iterable[str]) -> list[str]:
    """What the baseline of `root` does not hold, one line each, never the secret itself."""
    known = baseline.load(json.loads((root / BASELINE).read_text()))
    unknown = scan(root, names) - known
    return sorted(f"{name}:{one.line_number}: {one.type}" for name, one in unknown)


def accept(root: Path, names: Iterable[str]) -> int:
    """Write the baseline anew with all that is there now; how many that is."""
    configure_settings_from_baseline(settings())
    found = scan(root, names)
    # Without line numbers and dates: it changes only when a secret does.
    text = json.dumps(baseline.format_for_output(found, is_slim_mode=True), indent=2)
    (root / BASELINE).write_text(text + "\n")
    return sum(1 for _ in found)


def main(arguments: Sequence[str] | None = None) -> int:
    """Scan and tell; the exit code is 1 where something new looks like a secret."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    options.add_argument("--accept", action="store_true", help="write the baseline with all that is there now")
    given = options.parse_args(arguments)
    names = tree_files(ROOT)
    if given.accept:
        print(f"{BASELINE} holds {accept(ROOT, names)} worthless secrets: read `git diff {BASELINE}` before you commit it")
        return 0
    if found := new_secrets(ROOT, names):
        print("\n".join(["these look like secrets:", *found]), file=sys.stderr)
        print("remedy: take it out and, if it was ever real, exchange it at once;", file=sys.stderr)
        print("if it is worthless by agreement (a test's), run `make secrets` and commit the baseline", file=sys.stderr)
        return 1
    print(f"no secret in {len(names)} files")
    return 0


if __name__ == "__main__":
    sys.exit(main())
