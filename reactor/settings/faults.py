"""What is wrong with a configuration: every fault, where it is, and what to do."""

from collections.abc import Sequence
from dataclasses import dataclass

from reactor.sentences import counted


@dataclass(frozen=True, slots=True)
class Fault:
    """One fault. Its texts never hold the value of a secret.

    Attributes:
        field: the path in the TOML file, e.g. `ethereum.start_block`; empty for the file as a whole.
        env: the environment variable that sets it; empty where there is none.
        problem: what is wrong.
        remedy: what to do.
    """

    field: str
    env: str
    problem: str
    remedy: str

    def __str__(self) -> str:
        """One line: where, what, remedy."""
        where = f"{self.field} ({self.env})" if self.field and self.env else self.field or self.env or "configuration"
        return f"{where}: {self.problem}. {self.remedy}"


class SettingsError(Exception):
    """A configuration that is refused, with all its faults."""

    def __init__(self, faults: Sequence[Fault], source: str) -> None:
        self.faults = list(faults)
        self.source = source
        count = counted(len(self.faults), "fault")
        super().__init__("\n".join([f"{count} in the configuration ({source}):", *(f"  - {f}" for f in self.faults)]))
