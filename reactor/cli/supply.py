"""`supply`: the books of both sides by the own ledger, beside what the chains themselves say."""

# ruff: noqa: PLC0415 - what is heavy is imported by the command that needs it

from __future__ import annotations

import asyncio
from contextlib import closing
from dataclasses import asdict, dataclass, replace
from time import monotonic, sleep
from typing import TYPE_CHECKING, Any, Final

import typer

from reactor.cli.changes import pokt
from reactor.cli.common import EXIT_PROBLEM, ConfigOption, JsonOption, Problem, clean, print_json, read_settings, say, warn
from reactor.cli.local import open_journal, read_ledger

if TYPE_CHECKING:
    from collections.abc import Awaitable

    from reactor.handlers.totals import Sums
    from reactor.settings import Settings

_CHAIN_SECONDS: Final = 15.0
_READINGS: Final = 3
"""So often in a row the vault must be short before that is told as certain."""
_WRITE_SECONDS: Final = 15.0
"""For a write to the disk of a running validator, beyond its pause between two."""
_LOOK_SECONDS: Final = 0.5
_CATCHING_UP: Final = 128
"""A ledger that moves on by more blocks than these between two readings is still being read up to the head."""
EXIT_NOT_COMPARED: Final = 6
"""Of `supply`: a chain did not answer, or the own ledger lags, so that the books cannot be compared with the chains."""
_TOTAL_SUPPLY: Final = "0x18160ddd"
"""The selector of ERC-20's `totalSupply()`."""


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(supply)


@dataclass(frozen=True, slots=True)
class Accounts:
    """Everything in upokt. `final`, `fresh`: what is final, and what was seen above it. None: that chain did not answer.

    `in_flight`: returns that were submitted and are in no block yet, fees included. `vault`, `token`: the vault's balance and the
    token's total supply as the chains say now. `read`: up to which block each kind was read for good. `doubt`: why a vault that
    seems short may not be; empty where it is certain.
    """

    final: Sums
    fresh: Sums
    in_flight: int
    vault: int | None
    token: int | None
    read: dict[str, int]
    doubt: str = ""

    @property
    def silent(self) -> list[str]:
        """The chains that did not answer."""
        return [name for name, total in (("Pocket", self.vault), ("Ethereum", self.token)) if total is None]

    @property
    def before_vault(self) -> int | None:
        """What the vault holds beyond all that the ledger saw: from before the start block, or sent otherwise."""
        return None if self.vault is None else self.vault - self.final.locked - self.fresh.locked

    @property
    def before_token(self) -> int | None:
        """The supply beyond all that the ledger saw: from before the start block."""
        return None if self.token is None else self.token - self.final.outstanding - self.fresh.outstanding

    @property
    def owed(self) -> int:
        """What is on its way to either side: deposits to be minted, burns to be returned, refunds."""
        return sum(one.to_be_minted + one.to_be_returned + one.to_be_refunded for one in (self.final, self.fresh))

    @property
    def surplus(self) -> int | None:
        """What the vault holds beyond everything it owes: the supply, and all that is on its way to either side."""
        return None if self.vault is None or self.token is None else self.vault - self.token - self.owed

    @property
    def short(self) -> bool:
        """Whether the vault seems to hold less than it owes."""
        return self.surplus is not None and self.surplus < 0

    @property
    def uncovered(self) -> bool:
        """Whether the vault holds less than the supply alone: nothing that the ledger does not know yet explains that."""
        return self.vault is not None and self.token is not None and self.vault < self.token

    @property
    def over(self) -> bool:
        """Whether more is out than in, by the own ledger alone."""
        return bool(self.final.mints_over or self.final.payouts_over)


def supply(config: ConfigOption = None, as_json: JsonOption = False) -> None:
    """Show what is locked, minted, in flight and returned, to the unit, and what the chains say of it.

    By the own ledger, since the start blocks. Exit code 0: the books balance, the vault covers the supply and all that is in
    flight. 1: more is out than in by the own ledger, or the vault is short, in each of three readings (it takes up to a minute
    then). 6: a chain did not answer or the own ledger lags, so that nothing can be compared.
    """
    settings = read_settings(config)
    accounts = _certain(settings, _accounts(settings))
    if as_json:
        print_json(_plain(accounts))
    else:
        _print(accounts)
    if code := _code(accounts):
        raise typer.Exit(code)


def _code(accounts: Accounts) -> int:
    """What is wrong for certain weighs more than that nothing could be compared."""
    if accounts.over or (accounts.short and not accounts.doubt):
        return EXIT_PROBLEM
    return EXIT_NOT_COMPARED if accounts.silent or accounts.doubt else 0


def _certain(settings: Settings, accounts: Accounts) -> Accounts:
    """The accounts as they are; where the vault seems short, as they were read last, with what makes that doubtful.

    The chains are asked after the ledger was read: a mint or return that it does not know yet counts twice, as done and as owed.
    So all is read again, several times, and only what stays is told as certain.
    """
    if accounts.over or not accounts.short:
        return accounts
    typer.echo("the vault seems to be short: all is read again, to be certain", err=True)
    if not accounts.uncovered and not _runs_here(settings):
        return replace(accounts, doubt="no validator runs here that notes what was minted and returned since")
    first = accounts
    for _ in range(_READINGS - 1):
        sleep(2 * max(settings.ethereum.poll_interval_ms, settings.pocket.poll_interval_ms) / 1000)
        accounts = _accounts(settings)
        if not accounts.short:
            return accounts
    moved = max(height - first.read[kind] for kind, height in accounts.read.items())
    if moved > _CATCHING_UP and not accounts.uncovered:
        return replace(accounts, doubt="the own ledger is still being read up to the heads of the chains")
    return accounts


def _runs_here(settings: Settings) -> bool:
    """Whether a validator runs on this state directory: it tries again and again whether its journal can be written."""
    from reactor.vitals import PROBE_SECONDS

    with closing(open_journal(settings)) as journal:
        before, until = journal.changes(), monotonic() + PROBE_SECONDS + _WRITE_SECONDS
        while journal.changes() == before:
            if monotonic() > until:
                return False
            sleep(_LOOK_SECONDS)
    return True


def _accounts(settings: Settings) -> Accounts:
    from reactor.handlers.totals import Sums, Totals
    from reactor.parts import bridge_of
    from reactor.state.rows import EventKind

    ledger = read_ledger(settings)
    if ledger is None:
        raise Problem(
            f"there is no ledger in {settings.state.directory}",
            "give the command on the validator's own machine, with its configuration",
        )
    bridge = bridge_of(settings)
    try:
        totals, fresh = Totals(), Sums()
        for _ in totals.catch_up(ledger, bridge):
            pass
        cursors = {kind: ledger.cursor(kind) for kind in EventKind}
        for kind in EventKind:
            for seen in ledger.not_final(kind):
                fresh.add(bridge, seen.event, ledger)
    finally:
        ledger.close()
    journal = open_journal(settings)
    try:
        in_flight = journal.in_flight_total()
    finally:
        journal.close()
    vault, token = asyncio.run(_chains(settings))
    read = {kind.value: cursor.height if cursor else 0 for kind, cursor in cursors.items()}
    return Accounts(totals.sums, fresh, in_flight, vault, token, read)


async def _chains(settings: Settings) -> tuple[int | None, int | None]:
    """The vault's balance and the token's total supply; none for a chain that does not answer."""
    vault, token = await asyncio.gather(_answer("Pocket", _vault(settings)), _answer("Ethereum", _token(settings)))
    return vault, token


async def _answer(name: str, question: Awaitable[int]) -> int | None:
    from reactor.chains.errors import ChainError
    from reactor.chains.pocket import PocketRpcError

    try:
        async with asyncio.timeout(_CHAIN_SECONDS):
            return await question
    except (ChainError, PocketRpcError, TimeoutError, ValueError) as error:
        warn(f"{name} does not answer ({clean(str(error), 300) or 'time-out'}): its own total is not known")
        return None


async def _vault(settings: Settings) -> int:
    from reactor.parts import pocket_chain

    async with pocket_chain(settings) as chain:
        return await chain.balance(settings.pocket.vault_address)


async def _token(settings: Settings) -> int:
    from reactor.chains.ethereum.contracts import decode_uint
    from reactor.parts import ethereum_chain

    async with ethereum_chain(settings) as chain:
        return decode_uint(await chain.simulate(_TOTAL_SUPPLY, to=settings.ethereum.wrapped_pocket_address), "totalSupply")


# ---------------------------------------------------------------------- what is shown


def _plain(accounts: Accounts) -> dict[str, Any]:
    """Amounts as decimal strings."""
    final = accounts.final

    def text(value: int | None) -> str | None:
        return None if value is None else str(value)

    def texts(sums: Sums) -> dict[str, str]:
        return {name: str(value) for name, value in asdict(sums).items()}

    return {
        "read": {kind: str(height) for kind, height in accounts.read.items()},
        "final": texts(final),
        "not_final": texts(accounts.fresh),
        "mint": {
            "deposited": str(final.to_mint),
            "minted": str(final.minted),
            "token_fees": str(final.token_fees),
            "in_flight": str(final.to_be_minted),
            "over": str(final.mints_over),
        },
        "payout": {
            "burned": str(final.burned),
            "to_refund": str(final.to_refund),
            "returned": str(final.returned),
            "refunded": str(final.refunded),
            "in_flight": str(final.to_be_returned + final.to_be_refunded),
            "submitted": str(accounts.in_flight),
            "over": str(final.payouts_over),
        },
        "locked": str(final.locked),
        "outstanding": str(final.outstanding),
        "vault": {"balance": text(accounts.vault), "unaccounted": text(accounts.before_vault)},
        "token": {"total_supply": text(accounts.token), "unaccounted": text(accounts.before_token)},
        "surplus": text(accounts.surplus),
        "doubt": accounts.doubt,
        "not_compared": accounts.silent,
    }


def _row(name: str, value: int | None, note: str = "") -> None:
    shown = "not known" if value is None else f"{value:,} upokt"
    say(f"  {name:<22} {shown:>28}" + (f"   {note}" if note else ""))


def _print(accounts: Accounts) -> None:
    final, fresh = accounts.final, accounts.fresh
    say("since the start blocks, final, by this validator's own ledger")
    say("mints, read up to Pocket {deposit} and Ethereum {minted}".format(**accounts.read))
    _row("deposited to mint", final.to_mint)
    _row("minted", final.minted, "what the recipients got")
    _row("token's fees", final.token_fees, "minted to the token's fee collector")
    _row("in flight", final.to_be_minted, "deposited, not minted yet")
    say("payouts, read up to Ethereum {burn} and Pocket {returned}".format(**accounts.read))
    _row("burned", final.burned)
    _row("returned", final.returned, "fees included")
    _row("to be refunded", final.to_refund)
    _row("refunded", final.refunded, "fees included")
    _row("in flight", final.to_be_returned + final.to_be_refunded, f"of it {accounts.in_flight:,} submitted, in no block yet")
    say("the vault")
    _row("locked", final.locked, "all deposits less all that left")
    _row("not payable", final.kept_deposits + final.kept_burns, "not above the fee, or to the vault itself: it stays")
    _row("fees lost", final.lost_fees, "of returns that failed in a block")
    _row("not final yet", fresh.locked)
    _row("balance", accounts.vault, "as the node says now")
    _row("unaccounted", accounts.before_vault, "from before the start block, or sent otherwise")
    say("the token")
    _row("outstanding", final.outstanding, "minted, with the token's fees, less burned")
    _row("not final yet", fresh.outstanding)
    _row("total supply", accounts.token, "as the node says now")
    _row("unaccounted", accounts.before_token, "from before the start block")
    _print_verdict(accounts)


def _print_verdict(accounts: Accounts) -> None:
    if accounts.final.mints_over:
        warn(f"{accounts.final.mints_over:,} upokt more were minted than deposited to be minted")
    if accounts.final.payouts_over:
        warn(f"{accounts.final.payouts_over:,} upokt more left the vault than were burned or are to be refunded")
    if accounts.surplus is None:
        silent = " and ".join(accounts.silent)
        warn(f"not compared: {silent} did not answer, so whether the vault covers the supply is not known")
    elif accounts.surplus < 0:
        short = f"short by {pokt(str(-accounts.surplus))} POKT of the supply and all that is in flight"
        warn(f"the vault may be {short}; not compared: {accounts.doubt}" if accounts.doubt else f"the vault is {short}")
    else:
        say(f"the vault covers the supply and all that is in flight, with {pokt(str(accounts.surplus))} POKT to spare")
