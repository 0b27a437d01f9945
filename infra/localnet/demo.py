"""The demonstration: one deposit minted, one bad deposit refunded, one burn returned, and every balance counted."""

import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, Final

from rich.console import Console
from rich.table import Table

from infra.localnet.deploy import UNIT
from infra.localnet.network import Localnet
from infra.localnet.pocket.ledger import FEE_COLLECTOR
from infra.localnet.stuck import StuckError
from infra.localnet.watch import coins
from reactor.documents.statuses import REQUESTS, Collection, Status

DEPOSIT: Final = 25 * UNIT
BAD_DEPOSIT: Final = 7 * UNIT
BURN: Final = 10 * UNIT
RESULT_PREFIX: Final = "DEMO RESULT "
_STEPS: Final = ("seen", *(status.value for status in (Status.CONFIRMED, Status.SIGNED, Status.SUBMITTED, Status.SUCCESS)))

Say = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Balance:
    """One account before and after, and what it has to be to the last uPOKT. `key`: its name for machines."""

    key: str
    name: str
    before: int
    after: int
    expected: int

    @property
    def exact(self) -> bool:
        """Whether it is as it has to be."""
        return self.after == self.expected


@dataclass(slots=True)
class Outcome:
    """How the demonstration went. `times`: seconds from the user's transaction to each step, by collection."""

    statuses: dict[str, str] = field(default_factory=lambda: dict.fromkeys((role.value for role in REQUESTS), "missing"))
    balances: list[Balance] = field(default_factory=list)
    times: dict[str, dict[str, float]] = field(default_factory=dict)
    problem: str = ""

    @property
    def good(self) -> bool:
        """Whether all three requests succeeded and every balance is exact."""
        done = all(status == Status.SUCCESS.value for status in self.statuses.values())
        return done and bool(self.balances) and all(balance.exact for balance in self.balances)

    def line(self, extra: Mapping[str, Any]) -> str:
        """The machine-readable line."""
        said = {
            **self.statuses,
            "balances_exact": bool(self.balances) and all(balance.exact for balance in self.balances),
            "balances": {
                one.key: {"before": str(one.before), "after": str(one.after), "expected": str(one.expected)}
                for one in self.balances
            },
            "seconds": self.times,
            **({"problem": self.problem.splitlines()[0]} if self.problem else {}),
            **extra,
        }
        return RESULT_PREFIX + json.dumps(said)


async def perform(net: Localnet, say: Say = lambda _: None) -> Outcome:
    """Do the three things as a user, wait until each has reached its end, and count.

    A network that is stuck is told in `problem`.
    """
    outcome = Outcome()
    user = net.users[0]
    before = await _count(net)
    sent: dict[Collection, tuple[str, float]] = {}
    try:
        say(f"the user sends {coins(DEPOSIT)} POKT to the vault, with a memo that names an Ethereum address")
        sent[Collection.MINT] = (await user.deposit(DEPOSIT), time.time())
        say(f"the user sends {coins(BAD_DEPOSIT)} POKT to the vault, with a memo that names nobody")
        sent[Collection.INVALID_MINT] = (await user.bad_deposit(BAD_DEPOSIT), time.time())
        document = await net.wait_for(Collection.MINT, sent[Collection.MINT][0], Status.SIGNED)
        say(f"the user mints, with {len(document['signatures'])} signatures from the database, and pays the gas")
        await user.mint(document)
        say(f"the user burns {coins(BURN)} wPOKT, to have them on Pocket again")
        sent[Collection.BURN] = (await user.burn_and_bridge(BURN), time.time())
        for role, (transaction, _) in sent.items():
            await net.wait_for(role, transaction, Status.SUCCESS, Status.FAILED)
    except StuckError as error:
        outcome.problem = str(error)
    for role, (transaction, began) in sent.items():
        found = await net.document(role, transaction)
        if found is not None:
            outcome.statuses[role.value] = str(found["status"])
            outcome.times[role.value] = _times(found, began)
    outcome.balances = _compare(net, before, await _count(net))
    return outcome


async def _count(net: Localnet) -> dict[str, int]:
    user = net.users[0]
    return {
        "user_pocket": await user.pocket_balance(),
        "user_ethereum": await user.wpokt_balance(),
        "vault": net.vault_balance(),
        "token_supply": await user.token_supply(),
        "fees": net.pocket.balance(FEE_COLLECTOR.hex()),
    }


def _compare(net: Localnet, before: Mapping[str, int], after: Mapping[str, int]) -> list[Balance]:
    fee = net.info.fee
    # The user pays the fees of two deposits. The refund and the return cost a fee each, out of what is paid back.
    accounts = (
        ("user_pocket", "user on Pocket (POKT)", BURN - DEPOSIT - 4 * fee),
        ("user_ethereum", "user on Ethereum (wPOKT)", DEPOSIT - BURN),
        ("vault", "vault (POKT)", DEPOSIT - BURN),
        ("token_supply", "token supply (wPOKT)", DEPOSIT - BURN),
        ("fees", "fees paid (POKT)", 4 * fee),
    )
    return [Balance(key, name, before[key], after[key], before[key] + change) for key, name, change in accounts]


def _times(document: Mapping[str, Any], began: float) -> dict[str, float]:
    """Seconds from the user's transaction to the first time in each status, as the validators' clocks say."""
    times = {"seen": _since(document["created_at"], began)}
    for entry in document["history"]:
        times.setdefault(str(entry["status"]), _since(entry["at"], began))
    return times


def _since(at: datetime, began: float) -> float:
    at = at if at.tzinfo is not None else at.replace(tzinfo=UTC)
    return round(max(0.0, at.timestamp() - began), 2)


def show(outcome: Outcome, console: Console) -> None:
    """The summary tables."""
    balances = Table(title="Balances", title_justify="left")
    balances.add_column("balance", no_wrap=True)
    for name in ("before", "after", "expected", ""):
        balances.add_column(name, justify="right", no_wrap=True)
    for one in outcome.balances:
        verdict = "exact" if one.exact else "WRONG"
        balances.add_row(one.name, coins(one.before), coins(one.after), coins(one.expected), verdict)
    times = Table("request", title="Seconds after the user's transaction", title_justify="left")
    for name in _STEPS:
        times.add_column(name, justify="right")
    times.add_column("status")
    for role, status in outcome.statuses.items():
        known = outcome.times.get(role, {})
        times.add_row(role, *(f"{known[step]:.1f}" if step in known else "" for step in _STEPS), status)
    console.print(balances, times)
