"""The first state of the chain and its parameters."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import ClassVar, Self

from pydantic import ConfigDict, NonNegativeInt, PositiveInt, TypeAdapter, ValidationError

UPOKT = "upokt"
DEFAULT_CHAIN_ID = "localnet"
SEND_FEE = 10_000
"""uPOKT: the fee of a send on every known network."""
DEFAULT_TIME = datetime(2025, 1, 1, tzinfo=UTC)
_HEX = frozenset("0123456789abcdef")


class GenesisError(ValueError):
    """The genesis cannot be used; the message names the field."""


@dataclass(frozen=True, slots=True)
class Genesis:
    """Parameters and balances at the start.

    `balances`: uPOKT by address (40 hex). `public_keys`: 64-hex ed25519 keys stored with accounts, which ordinary
    accounts don't have. `max_memo` (bytes) and `sig_limit` (a multisig holds at most `sig_limit - 1` keys) default to
    mainnet's values. `fee`: the least a single-key signer must offer for a send. `time`: that of the first block.
    """

    __pydantic_config__: ClassVar[ConfigDict] = ConfigDict(extra="forbid")

    chain_id: str = DEFAULT_CHAIN_ID
    balances: Mapping[str, NonNegativeInt] = field(default_factory=dict)
    public_keys: Mapping[str, str] = field(default_factory=dict)
    initial_height: PositiveInt = 1
    time: datetime = DEFAULT_TIME
    max_memo: NonNegativeInt = 75
    sig_limit: PositiveInt = 8
    fee: NonNegativeInt = SEND_FEE

    def __post_init__(self) -> None:
        if not self.chain_id:
            raise GenesisError("genesis: chain_id must not be empty")
        for address in (*self.balances, *self.public_keys):
            if len(address) != 40 or not set(address.lower()) <= _HEX:
                raise GenesisError(f"genesis: {address!r} is no address: 40 hex characters without 0x")
        for key in self.public_keys.values():
            if len(key) != 64 or not set(key.lower()) <= _HEX:
                raise GenesisError(f"genesis: {key!r} is no public key: 64 hex characters")
        if self.time.tzinfo is None:
            raise GenesisError("genesis: time must name its time zone")

    @classmethod
    def load(cls, path: Path) -> Self:
        """Read a JSON file with the fields of this class. Raises `GenesisError`."""
        try:
            return TypeAdapter(cls).validate_json(path.read_bytes())
        except (OSError, ValidationError) as error:
            raise GenesisError(f"genesis {path}: {error}") from error

    def with_chain_id(self, chain_id: str) -> Self:
        """The same genesis of another chain."""
        return replace(self, chain_id=chain_id)

    def dump(self) -> dict[str, object]:
        """As JSON, readable by `load`."""
        return TypeAdapter(Genesis).dump_python(self, mode="json")  # type: ignore[no-any-return]
