"""One validator as it runs for real, but for its chains.

`python -m tests.benchmarks.ours <configuration> <head> <threshold>`.
"""

import asyncio
import contextlib
import sys
from pathlib import Path

from reactor.engine.supervisor import Stop
from reactor.logs import configure_logs
from reactor.settings import load_settings
from reactor.validator import Chains, Validator
from tests.benchmarks.chains import InstantEthereum, InstantPocket
from tests.benchmarks.reporting import answer_until_closed


class MeasuredValidator(Validator):
    """The real wiring, stores, journal and keys, over chains in this process."""

    head: int
    threshold: int

    def _open_chains(self) -> Chains:
        members = self.settings.ethereum.validator_addresses
        self.instant = (InstantEthereum(members, self.threshold), InstantPocket(self.head))
        return Chains(*self.instant)  # type: ignore[arg-type]  # they have the methods that are called

    def report(self) -> dict[str, float]:
        """Counters since the start: Mongo commands by name, chain reads by kind, handlings."""
        counters = self.dispatcher.counters
        shown: dict[str, float] = {f"mongo {name}": count for name, count in self.store.operations.items()}
        for chain in self.instant:
            shown |= {f"rpc {kind}": count for kind, count in chain.calls.items()}
        return shown | {
            "handled": counters.handled,
            "wakeups": counters.wakeups,
            "coalesced": counters.coalesced,
            "failed": counters.failed,
            "events": self.reactor.feed.counters.events,
        }


async def main(configuration: Path, head: int, threshold: int) -> None:
    """Run until standard input ends."""
    MeasuredValidator.head, MeasuredValidator.threshold = head, threshold
    settings = load_settings(configuration, {})
    configure_logs(level="INFO", format="human")
    validator = await MeasuredValidator.open(settings)
    # The deposits to be measured are in the ledger and not yet in the database: a sweep that drew them would insert them. And
    # always the same are looked at: what a look at another recipient reads from the chain is not the mints' cost.
    validator.reconciler.pick = lambda _: 0
    running = asyncio.create_task(validator.run(Stop()))
    try:
        async with asyncio.timeout(60):
            await validator.reactor.feed.live.wait()
            while not (validator.heads.newest("pocket") and validator.heads.newest("ethereum")):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        answering = asyncio.create_task(answer_until_closed(validator.report))
        await asyncio.wait([running, answering], return_when=asyncio.FIRST_COMPLETED)
    finally:
        running.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await running
        await validator.close()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])))
