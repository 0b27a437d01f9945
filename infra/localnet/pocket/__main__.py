"""`python -m infra.localnet.pocket`: the node as a process of its own."""

import argparse
import asyncio
import json
import signal
import sys
from dataclasses import replace
from pathlib import Path

from infra.localnet.pocket.genesis import DEFAULT_CHAIN_ID, Genesis, GenesisError
from infra.localnet.pocket.misbehaviour import AbciLogging, IndexLag, Misbehaviour, RefuseUntilBlock
from infra.localnet.pocket.node import PocketNode
from infra.localnet.pocket.statefile import StateFileError
from infra.localnet.ports import HOST

DEFAULT_PORT = 8081


def _arguments(argv: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m infra.localnet.pocket", description="Pocket (Morse) development node")
    parser.add_argument("--host", default=HOST)
    parser.add_argument("--port", type=int, default=DEFAULT_PORT, help="0 takes a free one (default: %(default)s)")
    parser.add_argument("--chain-id", help=f"default: the genesis file's, else {DEFAULT_CHAIN_ID}")
    parser.add_argument("--block-time", type=float, default=1.0, help="seconds; 0 makes blocks by POST /dev/step only")
    parser.add_argument("--genesis", type=Path, help="JSON file: see README.md")
    parser.add_argument("--state", type=Path, help="file in which the chain survives a restart")
    parser.add_argument("--index-lag-ms", type=float, default=0.0, help="transactions appear this long after their block")
    parser.add_argument("--refuse-until-block", action="store_true", help="refuse transactions until the first new block")
    parser.add_argument("--abci-logging", action="store_true", help="answer rawtx with logs")
    return parser.parse_args(argv)


def build(arguments: argparse.Namespace) -> PocketNode:
    """The node that the arguments describe. Raises `GenesisError`, `StateFileError` or `ValueError`."""
    genesis = Genesis.load(arguments.genesis) if arguments.genesis else Genesis()
    if arguments.chain_id:
        genesis = replace(genesis, chain_id=arguments.chain_id)
    switches: list[Misbehaviour] = []
    if arguments.index_lag_ms:
        switches.append(IndexLag(seconds=arguments.index_lag_ms / 1000))
    if arguments.refuse_until_block:
        switches.append(RefuseUntilBlock())
    if arguments.abci_logging:
        switches.append(AbciLogging())
    return PocketNode(
        genesis,
        host=arguments.host,
        port=arguments.port,
        block_time=arguments.block_time or None,
        state=arguments.state,
        misbehaviours=switches,
    )


async def _serve(node: PocketNode) -> None:
    done = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, done.set)
    async with node:
        # One line that a parent process can wait for and read.
        print(json.dumps({"url": node.url, "chain_id": node.chain.genesis.chain_id, "height": node.height}), flush=True)
        await done.wait()


def main(argv: list[str] | None = None) -> int:
    """Run until SIGINT or SIGTERM; the exit code."""
    try:
        asyncio.run(_serve(build(_arguments(argv))))
    except (GenesisError, StateFileError, ValueError, OSError) as error:
        print(f"pocket node: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
