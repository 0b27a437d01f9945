"""The bridge's identity: what enters signed bytes or classification, the same for every validator (TRUST.md, rule 8)."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from json import dumps


@dataclass(frozen=True, slots=True)
class Schedule:
    """An amount by source height: `steps` are (from height, amount), ascending; the first step starts at or below every event."""

    steps: tuple[tuple[int, int], ...]

    def __post_init__(self) -> None:
        heights = [height for height, _ in self.steps]
        if not heights or heights != sorted(set(heights)):
            raise ValueError("a schedule needs at least one step, heights ascending and distinct")

    def at(self, height: int) -> int:
        """The amount in force at `height`. Below the first step the first amount holds."""
        value = self.steps[0][1]
        for start, amount in self.steps:
            if start > height:
                break
            value = amount
        return value


@dataclass(frozen=True, slots=True)
class Bridge:
    """One wPOKT bridge. Two validators whose `identity` differ never sign for each other.

    `pocket_keys` are the vault's Ed25519 public keys in vault order (the order defines the address). `deposit_fee` and
    `maximum` go by the deposit's Pocket height, `burn_fee` by the burn's Ethereum block.
    """

    pocket_chain_id: str
    vault: str
    pocket_keys: tuple[str, ...]
    pocket_start: int
    deposit_fee: Schedule
    maximum: Schedule
    ethereum_chain_id: int
    wpokt: str
    mint_controller: str
    ethereum_start: int
    burn_fee: Schedule

    @property
    def pocket_scope(self) -> str:
        """How keys of Pocket things begin: chain id and vault."""
        return f"pocket:{self.pocket_chain_id}:{self.vault}"

    @property
    def ethereum_scope(self) -> str:
        """How keys of Ethereum things begin: chain id and contract."""
        return f"ethereum:{self.ethereum_chain_id}:{self.wpokt}"

    def identity(self) -> dict[str, object]:
        """The identity as plain JSON values: what `check` prints and compares."""
        return {
            "pocket_chain_id": self.pocket_chain_id,
            "vault_address": self.vault,
            "multisig_public_keys": list(self.pocket_keys),
            "pocket_start_height": str(self.pocket_start),
            "deposit_fee": _steps(self.deposit_fee.steps),
            "maximum": _steps(self.maximum.steps),
            "ethereum_chain_id": str(self.ethereum_chain_id),
            "wpokt_address": self.wpokt,
            "mint_controller_address": self.mint_controller,
            "ethereum_start_block": str(self.ethereum_start),
            "burn_fee": _steps(self.burn_fee.steps),
        }

    def identity_hash(self) -> str:
        """SHA-256 over the canonical JSON of `identity()`, lower hex."""
        return sha256(dumps(self.identity(), sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def _steps(steps: Sequence[tuple[int, int]]) -> list[list[str]]:
    return [[str(height), str(amount)] for height, amount in steps]
