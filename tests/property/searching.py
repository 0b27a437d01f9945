"""How Hypothesis searches where inputs count by the thousand: `HYPOTHESIS_PROFILE=long` looks at many, each time others."""

from __future__ import annotations

import os
from typing import Final

from hypothesis import HealthCheck, Phase, settings

__all__ = ["LONG", "search_settings"]

LONG: Final = os.environ.get("HYPOTHESIS_PROFILE") == "long"


def search_settings(examples: int, *, shrink: bool = False, same: bool = not LONG) -> settings:
    """The settings of such a search. `shrink`: a failure is made small; `same`: each run looks at the same examples."""
    return settings(
        max_examples=examples,
        deadline=None,
        database=None,
        derandomize=same,
        phases=[Phase.generate, Phase.shrink] if shrink else [Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
