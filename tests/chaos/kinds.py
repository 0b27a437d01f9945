"""The kinds of faults that a manifest may name, one frozen model each. README.md describes them for people."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, field_validator

from infra.localnet.pocket.misbehaviour import MISBEHAVIOUR, Misbehaviour

ANY, ALL = "any", "all"
_VALIDATOR = re.compile(r"any|all|validator-[1-9][0-9]*")

Seconds = Annotated[float, Field(gt=0, le=600)]


class Strict(BaseModel):
    """Nothing unknown, nothing converted silently."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)


class Fault(Strict):
    """Something that goes wrong `at` so many seconds after the requests began."""

    at: float = Field(ge=0, le=3600)

    @property
    def subject(self) -> str:
        """What it befalls: faults of one subject follow one another."""
        raise NotImplementedError

    @property
    def told(self) -> str:
        """One line of the timeline."""
        said = self.model_dump(exclude={"at", "kind", "target"}, mode="json")
        target = f" {self.target}" if isinstance(self, OnValidator | OnMongo) else ""
        return f"{self.model_dump()['kind']}{target}" + "".join(f" {name}={value}" for name, value in said.items())


class OnValidator(Fault):
    """Befalls one validator, or `all` one after the other; `any`: drawn by the seed."""

    target: str = ANY

    @field_validator("target")
    @classmethod
    def _a_validator(cls, value: str) -> str:
        if not _VALIDATOR.fullmatch(value):
            raise ValueError(f"is {value!r}: give validator-1 and so on, any or all")
        return value

    @property
    def subject(self) -> str:
        return self.target


class Kill(OnValidator):
    """`kill -9`; started again after `seconds`."""

    kind: Literal["kill"]
    seconds: Seconds


class Stop(OnValidator):
    """SIGTERM, which must end it with code 0; started again after `seconds`."""

    kind: Literal["stop"]
    seconds: Seconds


class Freeze(OnValidator):
    """SIGSTOP for `seconds`."""

    kind: Literal["freeze"]
    seconds: Seconds


class LoseDisk(OnValidator):
    """`kill -9`, and all of its state but the signing journal is lost; on another machine after `seconds`."""

    kind: Literal["lose_disk"]
    seconds: Seconds


class DiskFull(OnValidator):
    """The disk of its state has no room left, not for a byte. It is a small one of its own."""

    kind: Literal["disk_full"]
    seconds: Seconds

    @property
    def subject(self) -> str:
        return f"disk of {self.target}"


class JournalRemoved(OnValidator):
    """Its signing journal is moved away while it runs; `seconds` later its operator stops it, puts it back and starts it."""

    kind: Literal["journal_removed"]
    seconds: Seconds


class Clock(OnValidator):
    """Its clock jumps `by` seconds, and back after `seconds`."""

    kind: Literal["clock"]
    seconds: Seconds
    by: float

    @property
    def subject(self) -> str:
        return f"clock of {self.target}"


class MongoCut(OnValidator):
    """Nothing passes between it and the database: connections stay open, nothing arrives."""

    kind: Literal["mongo_cut"]
    seconds: Seconds

    @property
    def subject(self) -> str:
        return f"line of {self.target}"


class MongoDelay(MongoCut):
    """Everything between it and the database takes `milliseconds` longer, each way."""

    kind: Literal["mongo_delay"]  # type: ignore[assignment]
    milliseconds: int = Field(gt=0, le=10_000)


class MongoHalfOpen(MongoCut):
    """What one side says never arrives, while the other is heard."""

    kind: Literal["mongo_half_open"]  # type: ignore[assignment]
    lost: Literal["requests", "answers"]


How = Literal[
    "timeout",
    "slow",
    "429",
    "503",
    "reset",
    "empty",
    "html",
    "garbage",
    "truncated",
    "wrong_chain",
    "stale",
    "dropped_blocks",
    "duplicated_events",
    "hidden_events",
    "forged_event",
    "refused",
    "401",
    "403",
    "404",
    "limit",
    "absurd_date",
    "lagging_logs",
]
ONLY_ETHEREUM: frozenset[str] = frozenset({"truncated", "duplicated_events", "forged_event", "absurd_date", "lagging_logs"})


class Rpc(OnValidator):
    """Its own node of one chain fails or lies, `how` says."""

    kind: Literal["rpc"]
    seconds: Seconds
    chain: Literal["ethereum", "pocket"]
    how: How

    @field_validator("how")
    @classmethod
    def _possible(cls, value: str, info: Any) -> str:
        if value in ONLY_ETHEREUM and info.data.get("chain") == "pocket":
            raise ValueError(f"is {value!r}, which the Pocket node can't do: {', '.join(sorted(ONLY_ETHEREUM))} are Ethereum's")
        return value

    @property
    def subject(self) -> str:
        return f"{self.chain} node of {self.target}"


class KmsThrottle(OnValidator):
    """Its key service refuses everything with ThrottlingException."""

    kind: Literal["kms_throttle"]
    seconds: Seconds

    @property
    def subject(self) -> str:
        return f"key service of {self.target}"


class KmsHang(KmsThrottle):
    """Its key service takes requests and does not answer them."""

    kind: Literal["kms_hang"]  # type: ignore[assignment]


class OplogLost(OnValidator):
    """It is killed, and comes back when the history that its stream would go on from is overwritten. Needs `oplog_mb`."""

    kind: Literal["oplog_lost"]


class OnMongo(Fault):
    """Befalls one node of the replica set: its primary, one of the others, or any."""

    target: Literal["primary", "secondary", "any"] = "primary"

    @property
    def subject(self) -> str:
        return "replica set"


class MongoKill(OnMongo):
    """`kill -9` of a mongod; started again after `seconds`."""

    kind: Literal["mongo_kill"]
    seconds: Seconds


class MongoStop(OnMongo):
    """SIGTERM to a mongod; started again after `seconds`."""

    kind: Literal["mongo_stop"]
    seconds: Seconds


class MongoFreeze(OnMongo):
    """SIGSTOP of a mongod for `seconds`."""

    kind: Literal["mongo_freeze"]
    seconds: Seconds


class MongoStepDown(OnMongo):
    """The primary hands over and does not stand for `seconds`."""

    kind: Literal["mongo_step_down"]
    seconds: int = Field(gt=1, le=600)


class MongoGone(OnMongo):
    """All nodes are frozen at once: the database is gone for `seconds`."""

    kind: Literal["mongo_gone"]
    seconds: Seconds


class SharedPocket(Fault):
    """The Pocket node that all share misbehaves; `switch` as infra/localnet/pocket/README.md describes them."""

    kind: Literal["pocket_node"]
    seconds: Seconds
    switch: dict[str, Any]

    @field_validator("switch")
    @classmethod
    def _a_switch(cls, value: dict[str, Any]) -> dict[str, Any]:
        MISBEHAVIOUR.validate_python(value)
        return value

    @property
    def misbehaviour(self) -> Misbehaviour:
        """The switch itself."""
        return MISBEHAVIOUR.validate_python(self.switch)

    @property
    def subject(self) -> str:
        return "pocket"


class PocketRestart(Fault):
    """The Pocket node that all share is killed and started again after `seconds`, with the habits of a real one: what waited for
    a block is lost, and until its first new block it refuses every transaction."""

    kind: Literal["pocket_restart"]
    seconds: Seconds

    @property
    def subject(self) -> str:
        return "pocket"


class _OnEthereum(Fault):
    @property
    def subject(self) -> str:
        return "ethereum"


class AnvilFreeze(_OnEthereum):
    """The Ethereum node that all share answers nothing for `seconds`."""

    kind: Literal["anvil_freeze"]
    seconds: Seconds


class Reorg(_OnEthereum):
    """The last `depth` blocks are replaced by others. `keep`: which of their transactions stand in the new ones."""

    kind: Literal["reorg"]
    depth: int = Field(gt=0, le=200)
    keep: Literal["all", "half", "none"]


class Rollback(_OnEthereum):
    """The last `depth` blocks are dropped: the chain is shorter than it was, its transactions come again in later blocks."""

    kind: Literal["rollback"]
    depth: int = Field(gt=0, le=200)


class Release(OnValidator):
    """All of `target` that can know of it hold with this reason, sign nothing for `watch` seconds when asked, and are released.

    A validator that was down can have read none of the blocks that a deep reorganisation took away: it has nothing to stop for.
    """

    kind: Literal["release"]
    target: str = ALL
    reason: str = "deep_reorg"
    watch: Seconds = 5.0

    @property
    def subject(self) -> str:
        return "release"


AnyFault = Annotated[
    Kill
    | Stop
    | Freeze
    | LoseDisk
    | DiskFull
    | JournalRemoved
    | Clock
    | MongoCut
    | MongoDelay
    | MongoHalfOpen
    | Rpc
    | KmsThrottle
    | KmsHang
    | OplogLost
    | MongoKill
    | MongoStop
    | MongoFreeze
    | MongoStepDown
    | MongoGone
    | SharedPocket
    | PocketRestart
    | AnvilFreeze
    | Reorg
    | Rollback
    | Release,
    Field(discriminator="kind"),
]
FAULT: TypeAdapter[AnyFault] = TypeAdapter(AnyFault)
"""Reads one fault; what is unknown is refused by name."""
