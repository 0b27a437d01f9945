"""Checks of several endpoints of one chain: do they contradict each other, are there enough for the agreement?"""

from __future__ import annotations

from collections.abc import Sequence
from urllib.parse import urlsplit

from reactor.preflight.results import CheckResult, failed, passed
from reactor.sentences import counted
from reactor.settings.model import EthereumSettings, PocketSettings


def compared(
    chain: str, contradictions: Sequence[str], section: EthereumSettings | PocketSettings, answering: int
) -> list[CheckResult]:
    """The endpoints that show something else than the others, and whether enough of them are there to agree."""
    name = f"{chain} endpoint"
    remedy = f"see whether this node lags or lies; remove it from {chain.lower()}.rpc_urls if it does not recover"
    results = [failed(name, problem, remedy, "warning") for problem in contradictions]
    if section.agreement == 1:
        return results
    field = f"{chain.lower()}.agreement"
    if answering < section.agreement:
        detail = f"{section.agreement} endpoints must agree, {answering} answer: nothing is read or signed"
        return [*results, failed(f"{chain} agreement", detail, f"bring the others back, or lower {field}")]
    hosts = {urlsplit(url).hostname for url in section.rpc_urls}
    if len(hosts) < section.agreement:
        # SECURITY: one provider behind several URLs agrees with itself.
        detail = (
            f"{section.agreement} endpoints must agree, all are of {counted(len(hosts), 'host')}: one of them can lie for several"
        )
        return [*results, failed(f"{chain} agreement", detail, "use endpoints of different providers", "warning")]
    return [*results, passed(f"{chain} agreement", f"{section.agreement} of {len(section.rpc_urls)} endpoints must agree")]
