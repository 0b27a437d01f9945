"""Checks of the Pocket side: endpoints, signature limit, memo, balance, clock."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Final

from reactor.chains.pocket import PocketBlock, PocketChain
from reactor.foreign import shown
from reactor.preflight.endpoints import compared
from reactor.preflight.results import CheckResult, Level, failed, passed
from reactor.settings import Settings

_MEMO_NEEDED: Final = 66
"""The longest memo of ours: a burn's hash with its 0x."""
_OLDEST_HEAD_SECONDS: Final = 3600.0
"""Four of mainnet's fifteen-minute blocks."""
_NUMBER: Final = re.compile("[0-9]{1,18}")
_NODES: Final = "check pocket.rpc_urls and the nodes behind them"


async def check_endpoints(chain: PocketChain, settings: Settings) -> tuple[list[CheckResult], PocketBlock | None]:
    """Every endpoint answers, serves the configured chain and shows what the others show; the highest head."""
    outcomes = await chain.check(settings.pocket.vault_address)
    heads = [outcome.head for outcome in outcomes if outcome.head is not None]
    results = []
    for outcome in outcomes:
        if outcome.head is not None:
            everywhere = all(other.failing or other.head is None for other in outcomes)
            unserved: Level = "error" if everywhere else "warning"
            remedy = "this endpoint does not let through what the bridge asks: correct its URL, key or plan, or remove it"
            results += [failed("Pocket endpoint", one, remedy, unserved) for one in outcome.failing]
            continue
        wrong = "chain id is" in outcome.error
        # SECURITY: a node of another chain would show other deposits.
        level: Level = "error" if wrong or not heads else "warning"
        remedy = "correct pocket.chain_id or this endpoint" if wrong else _NODES
        results.append(failed("Pocket endpoint", f"{outcome.endpoint}: {outcome.error}", remedy, level))
    best = max(heads, key=lambda head: head.height, default=None)
    if best is not None:
        detail = f"{len(heads)} of {len(outcomes)} answer, chain {chain.chain_id}, height {best.height}"
        results.insert(0, passed("Pocket", detail))
        await chain.survey(settings.pocket.confirmations)
    results += compared("Pocket", chain.contradictions, settings.pocket, len(heads))
    return results, best


def check_head(settings: Settings, head: PocketBlock) -> list[CheckResult]:
    """The head is recent by this machine's clock, and above the start height."""
    age = (datetime.now(UTC) - head.time).total_seconds()
    if abs(age) > _OLDEST_HEAD_SECONDS:
        detail, remedy = f"block {head.height} is {age:.0f} s old", "wait for the node to catch up, or check this clock"
        return [failed("Pocket head", detail, remedy, "warning")]
    if head.height < settings.pocket.start_height:
        detail = f"height {head.height} lies below pocket.start_height {settings.pocket.start_height}"
        return [failed("Pocket head", detail, "correct the start height, or wait for the node to catch up", "warning")]
    return [passed("Pocket head", f"block {head.height}, {age:.0f} s old")]


async def check_signature_limit(chain: PocketChain, settings: Settings) -> list[CheckResult]:
    """The chain takes a multisignature of all the vault's keys; it counts the multisig key itself too."""
    keys = len(settings.pocket.multisig_public_keys)
    limit = await _number(chain, "auth/TxSigLimit")
    if isinstance(limit, str):
        return [failed("signature limit", f"auth/TxSigLimit is {limit}", _NODES, "warning")]
    if limit - 1 < keys:
        detail = f"auth/TxSigLimit {limit} lets {limit - 1} keys sign, the vault has {keys}: no return could ever be included"
        return [failed("signature limit", detail, "use a vault of fewer keys, or have the chain's parameter raised")]
    return [passed("signature limit", f"auth/TxSigLimit {limit} for {keys} keys")]


async def check_memo(chain: PocketChain) -> list[CheckResult]:
    """The chain takes the memo of a return: a burn's hash."""
    most = await _number(chain, "auth/MaxMemoCharacters")
    if isinstance(most, str):
        return [failed("memo", f"auth/MaxMemoCharacters is {most}", _NODES, "warning")]
    if most < _MEMO_NEEDED:
        detail = f"auth/MaxMemoCharacters {most} is less than the {_MEMO_NEEDED} of a burn's hash"
        return [failed("memo", detail, "have the chain's parameter raised: no return of a burn could be included")]
    return [passed("memo", f"auth/MaxMemoCharacters {most}")]


async def _number(chain: PocketChain, key: str) -> int | str:
    """A chain parameter that is a number; where the node gives anything else, that as it may be shown."""
    text = await chain.param(key)
    return int(text) if _NUMBER.fullmatch(text) else shown(text)


async def check_balance(chain: PocketChain, settings: Settings) -> list[CheckResult]:
    """The vault can pay at least one fee."""
    balance = await chain.balance(settings.pocket.vault_address)
    detail = f"{balance} upokt in {settings.pocket.vault_address}"
    if balance == 0:
        return [failed("vault balance", detail, "nothing to do before the first deposit; else find out where it went", "warning")]
    return [passed("vault balance", detail)]
