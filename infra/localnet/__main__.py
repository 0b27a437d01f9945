"""`python -m infra.localnet`: a whole bridge on this machine, and what a user does with it."""

import asyncio
import contextlib
import os
import shutil
import signal
import sys
import time
from collections.abc import Coroutine, Iterator
from contextlib import AsyncExitStack
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from loguru import logger

from reactor.engine.tasks import wait_for_any
from reactor.sentences import sentence

if TYPE_CHECKING:
    from infra.localnet.network import Localnet
    from infra.localnet.screen import Screen

DEFAULT_DIRECTORY = Path(".localnet/up")

app = typer.Typer(
    help="A whole bridge on this machine: MongoDB, anvil, a Pocket node, the contracts and N validators.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)

Validators = Annotated[int, typer.Option(min=2, max=50, help="Validators; all of them sign a return.")]
Threshold = Annotated[int, typer.Option(min=1, max=50, help="Signatures that a mint needs.")]
MongoNodes = Annotated[int, typer.Option(help="Nodes of the embedded replica set: 1 or 3. MONGODB_URI wins over it.")]
BlockTime = Annotated[float, typer.Option(min=0.2, max=60, help="Seconds between blocks, on both chains.")]
Directory = Annotated[Path, typer.Option(help="Where the network lies.")]
UserNumber = Annotated[int, typer.Option("--user", min=1, help="Which user.")]
Amount = Annotated[str, typer.Argument(help="In POKT, up to six decimals.")]
PartName = Annotated[str, typer.Argument(metavar="NAME", help="validator-1, …; mongo-1, …; anvil; pocket")]


@app.command()
def demo(validators: Validators = 3, threshold: Threshold = 2, mongo_nodes: MongoNodes = 1, block_time: BlockTime = 1.0) -> None:
    """Show a mint, a refund and a return happening. Exit code 0 only if all succeeded and every balance is exact."""
    _run(_demo(validators, threshold, mongo_nodes, block_time))


@app.command()
def up(
    validators: Validators = 3,
    threshold: Threshold = 2,
    mongo_nodes: MongoNodes = 1,
    block_time: BlockTime = 1.0,
    directory: Directory = DEFAULT_DIRECTORY,
) -> None:
    """Run a network until Ctrl-C; print what can be done with it. Each start begins anew."""
    _run(_up(validators, threshold, mongo_nodes, block_time, directory))


@app.command()
def stop(name: PartName, directory: Directory = DEFAULT_DIRECTORY) -> None:
    """End a part of the running network as a service manager does (SIGTERM): an outage to practise on."""
    _run(_outage(directory, "stop", name))


@app.command()
def kill(name: PartName, directory: Directory = DEFAULT_DIRECTORY) -> None:
    """End a part of the running network as a power cut does (SIGKILL); not anvil, which would lose its chain."""
    _run(_outage(directory, "kill", name))


@app.command()
def start(name: PartName, directory: Directory = DEFAULT_DIRECTORY) -> None:
    """Start a part of the running network again, whatever ended it."""
    _run(_outage(directory, "start", name))


@app.command()
def deposit(
    amount: Amount,
    memo: Annotated[str | None, typer.Option(help="This text instead of a right memo.")] = None,
    recipient: Annotated[str | None, typer.Option(help="Ethereum address to mint for; by default the user's own.")] = None,
    user: UserNumber = 1,
    directory: Directory = DEFAULT_DIRECTORY,
) -> None:
    """Send POKT to the vault; prints the transaction's hash."""

    async def work() -> int:
        from infra.localnet.acts import acting_user  # noqa: PLC0415 - imports web3: not for --help

        async with acting_user(directory, user) as acting:
            print(await acting.deposit(_upokt(amount), recipient=recipient, memo=memo))
        return 0

    _run(work())


@app.command()
def mint(user: UserNumber = 1, directory: Directory = DEFAULT_DIRECTORY) -> None:
    """Mint all that is signed for the user, with the signatures from the database; prints the hashes."""

    async def work() -> int:
        from infra.localnet.acts import acting_user, mintable  # noqa: PLC0415 - imports web3: not for --help

        async with acting_user(directory, user) as acting:
            documents = await mintable(acting)
            for document in documents:
                print(await acting.mint(document))
            if not documents:
                print("nothing is signed for this user", file=sys.stderr)
        return 0 if documents else 1

    _run(work())


@app.command()
def burn(
    amount: Amount,
    recipient: Annotated[str | None, typer.Option(help="Pocket address to pay; by default the user's own.")] = None,
    user: UserNumber = 1,
    directory: Directory = DEFAULT_DIRECTORY,
) -> None:
    """Burn wPOKT, to be paid on Pocket; prints the transaction's hash."""

    async def work() -> int:
        from infra.localnet.acts import acting_user  # noqa: PLC0415 - imports web3: not for --help

        async with acting_user(directory, user) as acting:
            print(await acting.burn_and_bridge(_upokt(amount), recipient))
        return 0

    _run(work())


@app.command()
def balances(user: UserNumber = 1, directory: Directory = DEFAULT_DIRECTORY) -> None:
    """What a user, the vault and the token have."""

    async def work() -> int:
        from infra.localnet.acts import acting_user  # noqa: PLC0415 - imports web3: not for --help
        from infra.localnet.watch import coins  # noqa: PLC0415 - see above

        async with acting_user(directory, user) as acting:
            has = await acting.balances()
            rows = {
                f"{acting.name} on Pocket": has.pocket,
                f"{acting.name} on Ethereum": has.wpokt,
                "vault": await acting.pocket_balance(acting.info.vault),
                "token supply": await acting.token_supply(),
            }
        for name, amount in rows.items():
            print(f"{name:<20} {coins(amount):>24}")
        return 0

    _run(work())


async def _demo(validators: int, threshold: int, mongo_nodes: int, block_time: float) -> int:
    from infra.localnet import demo as demonstration  # noqa: PLC0415 - imports web3: not for --help
    from infra.localnet.screen import Screen  # noqa: PLC0415 - see above
    from infra.localnet.watch import LiveLog  # noqa: PLC0415 - see above

    began = time.monotonic()
    screen = Screen()
    with _scratch() as directory:
        net = _network(screen, directory, validators, threshold, mongo_nodes, block_time)
        async with AsyncExitStack() as stack:
            await _bring_up(stack, net, screen, directory)
            ready = time.monotonic()
            screen.say(f"the bridge runs: {threshold} of {validators} validators sign a mint, all a return")
            names = {key: one.name for one in net.validators for key in (one.address, one.public_key)}
            async with LiveLog(net.store, screen.change, names):
                outcome = await demonstration.perform(net, lambda text: screen.say(text, "bold"))
        demonstration.show(outcome, screen.console)
        ended = time.monotonic()
        extra = {
            "validators": validators,
            "threshold": threshold,
            "mongo_nodes": mongo_nodes,
            "setup_seconds": round(ready - began, 1),
            "total_seconds": round(ended - began, 1),
        }
        print(outcome.line(extra), flush=True)
        if not outcome.good:
            raise RuntimeError(outcome.problem or "a request or a balance is not as it has to be: see the tables")
    return 0


async def _up(validators: int, threshold: int, mongo_nodes: int, block_time: float, directory: Path) -> int:
    from infra.localnet.control import Control  # noqa: PLC0415 - imports web3: not for --help
    from infra.localnet.screen import Screen  # noqa: PLC0415 - see above
    from infra.localnet.up import command_line, guide, reserved  # noqa: PLC0415 - see above

    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    screen = Screen()
    async with AsyncExitStack() as stack:
        stack.enter_context(reserved(directory))
        _clear(directory)
        net = _network(screen, directory, validators, threshold, mongo_nodes, block_time)
        await _bring_up(stack, net, screen, directory)
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, stop.set)
        control = await stack.enter_async_context(Control(net, screen.say, command_line(net, DEFAULT_DIRECTORY)))
        guide(net, screen.console, DEFAULT_DIRECTORY)
        while not stop.is_set():
            control.look()
            await wait_for_any(stop, seconds=1.0)
        screen.say("stopping")
    return 0


async def _outage(directory: Path, verb: str, name: str) -> int:
    from infra.localnet.control import ask  # noqa: PLC0415 - not for --help

    good, text = await ask(directory, verb, name)
    print(text, file=sys.stdout if good else sys.stderr)
    return 0 if good else 1


def _network(
    screen: "Screen", directory: Path, validators: int, threshold: int, mongo_nodes: int, block_time: float
) -> "Localnet":
    from infra.localnet.network import Localnet, given_mongo  # noqa: PLC0415 - imports web3: not for --help

    return Localnet(
        validators=validators,
        threshold=threshold,
        mongo_nodes=mongo_nodes,
        mongo_uri=given_mongo(),
        directory=directory,
        pocket_block_time=block_time,
        ethereum_block_time=block_time,
        on_step=screen.step,
    )


async def _bring_up(stack: AsyncExitStack, net: "Localnet", screen: "Screen", directory: Path) -> None:
    # Our own log goes to a file: the screen is for the person.
    logger.remove()
    logger.add(directory / "localnet.log", backtrace=False, diagnose=False)
    with screen.steps():
        await stack.enter_async_context(net)


@contextlib.contextmanager
def _scratch() -> Iterator[Path]:
    """A directory that stays only if the work in it failed; then the person is told where it is."""
    directory = Path(".localnet") / f"demo-{time.strftime('%Y%m%d-%H%M%S')}-{os.getpid()}"
    try:
        yield directory
    except Exception:
        if directory.exists():
            print(f"everything that ran lies in {directory}", file=sys.stderr)
        raise
    except BaseException:  # the person has ended it
        shutil.rmtree(directory, ignore_errors=True)
        raise
    shutil.rmtree(directory, ignore_errors=True)


def _clear(directory: Path) -> None:
    """Remove what an earlier network left; refuses a directory that holds anything else."""
    known = {"mongo", "anvil.log", "anvil.state", "localnet.log", "network.json", "control.sock", ".lock"}
    left = list(directory.iterdir())
    strange = [path.name for path in left if path.name not in known and not path.name.startswith("validator-")]
    if strange:
        raise ValueError(f"{directory} holds {', '.join(sorted(strange))}: name an empty --directory")
    for path in left:
        if path.is_dir():
            shutil.rmtree(path)
        elif path.name != ".lock":
            path.unlink()


def _upokt(text: str) -> int:
    try:
        amount = Decimal(text) * 10**6
    except InvalidOperation:
        raise ValueError(f"amount {text!r}: give a number of POKT like 5 or 2.5") from None
    if not amount.is_finite() or amount != int(amount) or amount <= 0:
        raise ValueError(f"amount {text!r}: give a positive number of POKT with at most six decimals")
    return int(amount)


async def _ended_by_signal(work: Coroutine[Any, Any, int]) -> int:
    """Ctrl-C and SIGTERM end the work in order."""
    task = asyncio.current_task()
    assert task is not None
    for number in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(number, task.cancel)
    return await work


def _words(error: Exception) -> str:
    """Our own messages whole, be they of many lines; those of others as one sentence."""
    ours = type(error).__module__.startswith("infra.") or isinstance(error, ValueError)
    return (ours and str(error)) or sentence(error)


def _run(work: Coroutine[Any, Any, int]) -> None:
    """Run a command to its end; a fault is one line, with its remedy."""
    try:
        code = asyncio.run(_ended_by_signal(work))
    except (KeyboardInterrupt, asyncio.CancelledError):
        print("stopped", file=sys.stderr)
        code = 130
    except Exception as error:
        # The last place where an error can be told instead of thrown at a person.
        if os.environ.get("LOCALNET_TRACEBACK"):
            raise
        print(f"error: {_words(error)}", file=sys.stderr)
        code = 1
    raise typer.Exit(code)


if __name__ == "__main__":
    app(prog_name="python -m infra.localnet")
