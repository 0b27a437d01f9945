"""Prints what `mutmut run` found: the score by file, and which mutants no test noticed. Run by `make mutation`."""

import json
import sys
from collections import Counter
from pathlib import Path

from mutmut.stats import status_by_exit_code

NOTICED = frozenset({"killed", "timeout"})
MUTANTS = Path("mutants")


def main() -> int:
    """The table; 0 unless nothing was run."""
    noticed: Counter[str] = Counter()
    missed: Counter[str] = Counter()
    survivors: list[str] = []
    for file in sorted(MUTANTS.rglob("*.meta")):
        for name, code in json.loads(file.read_text())["exit_code_by_key"].items():
            status = status_by_exit_code[code]
            if status == "not checked":
                continue
            where = str(file.relative_to(MUTANTS)).removesuffix(".meta")
            if status in NOTICED:
                noticed[where] += 1
            else:
                missed[where] += 1
                survivors.append(name)
    total = noticed.total() + missed.total()
    if not total:
        print("no mutant was run", file=sys.stderr)
        return 1
    print("\n".join(survivors))
    for where in sorted({*noticed, *missed}):
        both = noticed[where] + missed[where]
        print(f"{where:50} {noticed[where]:5} of {both:5} noticed  {100 * noticed[where] / both:5.1f} %")
    print(f"{'score':50} {noticed.total():5} of {total:5} noticed  {100 * noticed.total() / total:5.1f} %")
    return 0


if __name__ == "__main__":
    sys.exit(main())
