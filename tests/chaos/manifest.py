"""A manifest: what a run consists of. Strictly read; everything drawn at random is drawn here, from the seed, before the run."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from random import Random
from typing import Any

from pydantic import Field, ValidationError, field_validator, model_validator

from tests.chaos.kinds import (
    ALL,
    ANY,
    FAULT,
    AnyFault,
    Clock,
    DiskFull,
    Fault,
    KmsThrottle,
    MongoCut,
    OnValidator,
    OplogLost,
    Release,
    Reorg,
    Rpc,
    Strict,
)

FOLDER = Path(__file__).parent


class ManifestError(ValueError):
    """A manifest that can't be used; each line names a field and what is wrong with it."""


class Requests(Strict):
    """How many requests people make. Burns are those that are on the chain in the end."""

    deposits: int = Field(ge=1)
    bad_deposits: int = Field(ge=0)
    burns: int = Field(ge=0)

    @property
    def count(self) -> int:
        """All of them."""
        return self.deposits + self.bad_deposits + self.burns


class Storm(Strict):
    """Faults one after the other, drawn from `faults` (without `at`; without `seconds` it is drawn, too).

    Storms blow beside one another. `pause` and `seconds`: least and most.
    """

    begin: float = Field(ge=0)
    until: float = Field(gt=0, le=3600)
    pause: tuple[float, float]
    seconds: tuple[float, float] = (0.5, 5.0)
    faults: tuple[dict[str, Any], ...] = Field(min_length=1)

    @field_validator("faults", mode="after")
    @classmethod
    def _faults_in_themselves(cls, value: tuple[dict[str, Any], ...]) -> tuple[dict[str, Any], ...]:
        for place, template in enumerate(value):
            if "at" in template:
                raise ValueError(f"faults.{place}.at is drawn in a storm: remove it")
            try:
                FAULT.validate_python(_with_seconds({**template, "at": 0.0}, 2))
            except ValidationError as error:
                raise ValueError("; ".join(f"faults.{place}.{line}" for line in _lines(error))) from None
        return value

    @model_validator(mode="after")
    def _in_order(self) -> Storm:
        for name in ("pause", "seconds"):
            least, most = getattr(self, name)
            if not 0 < least <= most:
                raise ValueError(f"{name} is {least} to {most}: give least and most, above 0")
        if self.begin >= self.until:
            raise ValueError(f"begin is {self.begin}, until {self.until}: it never blows")
        return self

    def drawn(self, rng: Random) -> Iterator[AnyFault]:
        """Its faults with their times."""
        at = self.begin + rng.uniform(*self.pause)
        while at < self.until:
            lasts = rng.uniform(*self.seconds)
            yield FAULT.validate_python(_with_seconds({**rng.choice(self.faults), "at": round(at, 1)}, lasts))
            at += lasts + rng.uniform(*self.pause)


class Manifest(Strict):
    """See README.md. Times in seconds from the first request on."""

    about: str = Field(min_length=1)
    seed: int = 1
    validators: int = Field(7, ge=7, le=50)
    threshold: int = Field(5, ge=1)
    users: int = Field(4, ge=1, le=50)
    seconds: float = Field(gt=0, le=3600, description="over which the requests are spread")
    stuck_seconds: float = Field(300.0, gt=0)
    ethereum_confirmations: int = Field(3, ge=1)
    pocket_confirmations: int = Field(1, ge=1)
    rpc_endpoints: int = Field(1, ge=1, le=2, description="2: behind the one that fails or lies there is the shared one")
    agreement: int = Field(1, ge=1, le=2, description="so many endpoints must agree, of those who have nodes of their own")
    oplog_mb: int | None = Field(None, ge=1)
    settings: dict[str, dict[str, Any]] = Field(default_factory=dict)
    felt: dict[str, str] = Field(default_factory=dict, description="by validator: what its log must say in the end")
    requests: Requests
    fault: tuple[AnyFault, ...] = ()
    storm: tuple[Storm, ...] = ()

    @model_validator(mode="after")
    def _fits(self) -> Manifest:
        faults = list(self.all_faults())
        for one in faults:
            if isinstance(one, OnValidator) and one.target not in {ANY, ALL, *self.names}:
                raise ValueError(f"{one.told}: there are validators 1 to {self.validators} only")
        if self.agreement > self.rpc_endpoints:
            raise ValueError(f"agreement is {self.agreement} of rpc_endpoints {self.rpc_endpoints}")
        if strangers := set(self.felt) - set(self.names):
            raise ValueError(f"felt names {', '.join(sorted(strangers))}: there are validators 1 to {self.validators} only")
        for name, pattern in self.felt.items():
            try:
                re.compile(pattern)
            except re.error as error:
                raise ValueError(f"felt.{name} is no regular expression: {error}") from None
        if self.threshold > self.validators:
            raise ValueError(f"threshold is {self.threshold} of {self.validators} validators")
        if any(isinstance(one, OplogLost) for one in faults) and self.oplog_mb is None:
            raise ValueError("oplog_mb is missing: a fault oplog_lost needs an oplog that can be overwritten, for example 1")
        deep = [one for one in faults if isinstance(one, Reorg) and one.depth > self.ethereum_confirmations]
        if deep and not any(isinstance(one, Release) for one in faults):
            raise ValueError(f"{deep[0].told} is deeper than ethereum_confirmations: a fault release must follow")
        return self

    @property
    def names(self) -> list[str]:
        """The validators."""
        return [f"validator-{number}" for number in range(1, self.validators + 1)]

    def all_faults(self) -> Iterator[AnyFault]:
        """One of each that may happen."""
        yield from self.fault
        for storm in self.storm:
            for template in storm.faults:
                yield FAULT.validate_python(_with_seconds({**template, "at": 0.0}, 2))

    def timeline(self, seed: int) -> list[AnyFault]:
        """Every fault of a run with this seed, in order, each with its target."""
        drawn = list(self.fault)
        for number, storm in enumerate(self.storm):
            drawn += storm.drawn(Random(f"{seed} storm {number}"))
        rng = Random(f"{seed} targets")
        return [self._aimed(one, rng) for one in sorted(drawn, key=lambda fault: fault.at)]

    def _aimed(self, fault: AnyFault, rng: Random) -> AnyFault:
        if isinstance(fault, OnValidator) and fault.target == ANY:
            return fault.model_copy(update={"target": rng.choice(self.names)})
        return fault

    def hit(self, kind: type[Fault], timeline: list[AnyFault]) -> set[str]:
        """The validators whom a fault of this kind befalls."""
        found = {one.target for one in timeline if isinstance(one, kind) and isinstance(one, OnValidator)}
        return set(self.names) if ALL in found else found

    def lined(self, timeline: list[AnyFault]) -> set[str]:
        """Who reaches the database over lines of our own."""
        return self.hit(MongoCut, timeline)

    def with_own_nodes(self, timeline: list[AnyFault]) -> set[str]:
        """Who has nodes of his own."""
        return self.hit(Rpc, timeline)

    def with_key_service(self, timeline: list[AnyFault]) -> set[str]:
        """Whose keys lie in a key service."""
        return self.hit(KmsThrottle, timeline)

    def with_own_disk(self, timeline: list[AnyFault]) -> set[str]:
        """Whose state lies on a small disk of its own."""
        return self.hit(DiskFull, timeline)

    def with_shifted_clock(self, timeline: list[AnyFault]) -> set[str]:
        """Whose clock jumps."""
        return self.hit(Clock, timeline)


def parse(text: str, source: str) -> Manifest:
    """A manifest from TOML. Raises `ManifestError`, which names every field that is wrong."""
    try:
        return Manifest.model_validate(_tuples(tomllib.loads(text)))
    except tomllib.TOMLDecodeError as error:
        raise ManifestError(f"{source} is no TOML: {error}") from None
    except ValidationError as error:
        raise ManifestError("\n".join(f"{source}: {line}" for line in _lines(error))) from None


def load(name: str) -> Manifest:
    """A manifest by its name in this folder, or by its path. Raises `ManifestError`."""
    path = Path(name) if name.endswith(".toml") else FOLDER / f"{name}.toml"
    try:
        return parse(path.read_text(), path.name)
    except OSError:
        raise ManifestError(f"there is no manifest {name}: give one of {', '.join(manifests())}, or a path") from None


def manifests() -> list[str]:
    """The names of those that lie here."""
    return sorted(path.stem for path in FOLDER.glob("*.toml"))


def _with_seconds(fault: dict[str, Any], lasts: float) -> dict[str, Any]:
    """With the drawn `seconds`, where the kind has them and the template does not say."""
    if "seconds" in fault or fault.get("kind") in _MOMENTARY:
        return fault
    return {**fault, "seconds": max(2, round(lasts)) if fault.get("kind") == "mongo_step_down" else round(lasts, 1)}


_MOMENTARY = {"reorg", "rollback", "oplog_lost", "release"}


def _tuples(value: object) -> Any:
    """Lists as tuples, which frozen models hold."""
    if isinstance(value, Mapping):
        return {key: _tuples(item) for key, item in value.items()}
    return tuple(_tuples(item) for item in value) if isinstance(value, list) else value


def _lines(error: ValidationError) -> list[str]:
    return [f"{'.'.join(map(str, one['loc'])) or 'manifest'}: {one['msg']}" for one in error.errors()]
