"""What one has to know of a running network to use it, from the same process or another."""

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from pydantic import TypeAdapter, ValidationError

from infra.localnet.deploy import Deployment

INFO_FILE = "network.json"


class NoNetworkError(RuntimeError):
    """There is no description of a running network where one was looked for."""


@dataclass(frozen=True, slots=True)
class NetworkInfo:
    """Addresses and URLs. `fee`: uPOKT of every send on Pocket. `users`: how many there are, numbered from 1."""

    directory: Path
    mongo_uri: str
    database: str
    ethereum_url: str
    deployment: Deployment
    pocket_url: str
    pocket_chain_id: str
    vault: str
    fee: int
    seed: str
    users: int

    def save(self) -> Path:
        """Write it to the network's directory; the file."""
        file = self.directory / INFO_FILE
        file.touch(mode=0o600)
        file.write_bytes(TypeAdapter(NetworkInfo).dump_json(self, indent=2))
        return file

    @classmethod
    def load(cls, directory: Path) -> Self:
        """Read it. Raises `NoNetworkError`."""
        try:
            return TypeAdapter(cls).validate_json((directory / INFO_FILE).read_bytes())
        except OSError:
            raise NoNetworkError(f"no network runs in {directory}: start one with `make up`") from None
        except ValidationError as error:
            raise NoNetworkError(f"{directory / INFO_FILE} is damaged: start the network anew\n{error}") from error

    def as_dict(self) -> dict[str, object]:
        """Plain values, for people."""
        return asdict(self)
