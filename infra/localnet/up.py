"""A network that runs until somebody stops it, and what a person can do with it."""

import fcntl
import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from rich.console import Console

from infra.localnet.identities import user_identity
from infra.localnet.info import NetworkInfo
from infra.localnet.network import Localnet

_PYTHON: Final = ".venv/bin/python -m infra.localnet"


class RunsAlreadyError(RuntimeError):
    """Another network runs in that directory."""


@contextmanager
def reserved(directory: Path) -> Iterator[None]:
    """Have the directory for oneself. Raises `RunsAlreadyError`."""
    directory.mkdir(parents=True, exist_ok=True)
    descriptor = os.open(directory / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunsAlreadyError(
                f"a network runs in {directory} already: stop it (Ctrl-C), or name another --directory"
            ) from None
        yield
    finally:
        os.close(descriptor)


def guide(net: Localnet, console: Console, usual: Path) -> None:
    """Print what a user can do next, ready to paste. `usual`: the directory that commands take by default."""
    info, here = net.info, _shown(net.directory)
    config = _shown(net.validators[0].config)
    python, flag = _PYTHON, _flag(net, usual)
    threshold, count = info.deployment.threshold, len(net.validators)
    lines = [
        "",
        f"The bridge runs: {threshold} of {count} validators sign a mint, all a return. Ctrl-C ends it.",
        "",
        f"  MongoDB          {info.mongo_uri}   database {info.database}",
        f"  Ethereum         {info.ethereum_url}   chain id {info.deployment.chain_id}",
        f"  WrappedPocket    {info.deployment.wpokt}",
        f"  MintController   {info.deployment.mint_controller}",
        f"  Pocket           {info.pocket_url}   chain id {info.pocket_chain_id}",
        f"  vault            {info.vault}",
        *(_person(info, number) for number in range(1, info.users + 1)),
        f"  configuration    {here}/validator-1/reactor.toml, …",
        f"  logs             {here}/validator-1/validator.log, …",
        "",
        "Be a user:",
        f"  {python} deposit 5{flag}                  # 5 POKT to the vault; prints the hash",
        f"  {python} deposit 5 --memo nonsense{flag}  # comes back, less the fee",
        f"  {python} mint{flag}                       # mint whatever is signed for you",
        f"  {python} burn 2{flag}                     # 2 wPOKT back to Pocket",
        f"  {python} balances{flag}",
        "",
        "Be an operator:",
        f"  .venv/bin/reactor status --config {config}",
        f"  .venv/bin/reactor tail --config {config}",
        f"  .venv/bin/reactor explain --config {config} HASH",
        f"  .venv/bin/reactor check --config {config}",
        "",
        "Practise an outage (stop: as a service manager does, kill: as a power cut does), also of mongo-1, anvil and pocket:",
        f"  {python} stop{flag} validator-{count}",
        f"  {python} start{flag} validator-{count}",
        "",
    ]
    for line in lines:
        console.print(line, markup=False, soft_wrap=True)


def command_line(net: Localnet, usual: Path) -> Callable[[str, str], str]:
    """How a person gives a verb to a part of this network, by its name."""
    return lambda verb, name: f"{_PYTHON} {verb}{_flag(net, usual)} {name}"


def _flag(net: Localnet, usual: Path) -> str:
    return "" if net.info.directory == usual.resolve() else f" --directory {_shown(net.directory)}"


def _person(info: NetworkInfo, number: int) -> str:
    user = user_identity(info.seed, number)
    return f"  {user.name:<15}  Pocket {user.pocket.address}   Ethereum {user.ethereum_address}"


def _shown(path: Path) -> str:
    """Relative to where the person is, if it lies below."""
    try:
        return str(path.relative_to(Path.cwd()))
    except ValueError:
        return str(path)
