"""Pre-flight: is everything there that this validator needs, and does it agree? Each check has a result and a remedy.

`run` asks the same list before it starts that `reactor check` shows: failures of level `error` forbid a start, those of level
`warning` do not.
"""

from reactor.preflight.checks import preflight
from reactor.preflight.results import CheckResult, Level, failures

__all__ = ["CheckResult", "Level", "failures", "preflight"]
