"""Checks of the Ethereum side: endpoints, contracts, membership, clock."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Final

from reactor.chains.errors import WrongChain
from reactor.chains.ethereum.client import EthereumChain
from reactor.chains.ethereum.contracts import MINTER_ROLE, selector
from reactor.chains.ethereum.types import CallTrial, ContractFacts, Head
from reactor.foreign import shown
from reactor.preflight.endpoints import compared
from reactor.preflight.results import CheckResult, Level, failed, passed
from reactor.sentences import counted
from reactor.settings import Settings

_OLDEST_HEAD_SECONDS: Final = 300.0
_CALLS: Final = "use an endpoint or a plan that offers this call; it may be a limit of the provider for this block range"
_NODES: Final = "check ethereum.rpc_urls and the nodes behind them"


async def check_endpoints(chain: EthereumChain, settings: Settings) -> tuple[list[CheckResult], Head | None]:
    """Every endpoint answers, serves the configured chain and shows what the others show; the highest head."""
    outcomes = await chain.check_endpoints()
    heads = [head for head in outcomes.values() if isinstance(head, Head)]
    results = []
    for label, outcome in outcomes.items():
        if isinstance(outcome, Head):
            continue
        # SECURITY: a node of another chain would show other burns and other nonces.
        level: Level = "error" if isinstance(outcome, WrongChain) or not heads else "warning"
        remedy = "correct ethereum.chain_id or this endpoint" if isinstance(outcome, WrongChain) else _NODES
        results.append(failed("Ethereum endpoint", f"{label}: {outcome}", remedy, level))
    best = max(heads, key=lambda head: head.number, default=None)
    if best is not None:
        detail = f"{len(heads)} of {len(outcomes)} answer, chain {chain.chain_id}, head {best.number}"
        results.insert(0, passed("Ethereum", detail))
        await chain.survey()
    results += compared("Ethereum", chain.contradictions, settings.ethereum, len(heads))
    return results, best


async def check_calls(chain: EthereumChain, settings: Settings) -> list[CheckResult]:
    """Every endpoint answers each call that is made, and gives the logs of a real window."""
    found = await chain.try_calls(settings.ethereum.start_block)
    # An endpoint without a head is told by `check_endpoints`.
    trials = [one for one in found.values() if isinstance(one, CallTrial)]
    results = []
    for trial in trials:
        for call, error in trial.lacks.items():
            able = sum(call not in other.lacks for other in trials)
            # With too few that answer it nothing is read.
            level: Level = "error" if able < settings.ethereum.agreement else "warning"
            detail = f"{trial.endpoint} does not answer {call}: {error.reason}"
            results.append(failed("Ethereum endpoint", detail, _CALLS, level))
    if trials and not results:
        blocks = sorted({trial.blocks for trial in trials})
        sizes = " to ".join(dict.fromkeys([str(blocks[0]), str(blocks[-1])]))
        results.append(passed("Ethereum calls", f"each endpoint answers all that is asked, logs of {sizes} blocks at once"))
    return results


def check_head(settings: Settings, head: Head) -> list[CheckResult]:
    """The head is recent by this machine's clock, and above the start block."""
    age = datetime.now(UTC).timestamp() - head.time
    if age > _OLDEST_HEAD_SECONDS:
        detail, remedy = f"block {head.number} is {age:.0f} s old", "wait for the node to catch up, or check this clock"
        return [failed("Ethereum head", detail, remedy, "warning")]
    if age < -_OLDEST_HEAD_SECONDS:
        detail, remedy = f"block {head.number} lies {-age:.0f} s in the future", "synchronise this machine's clock"
        return [failed("Ethereum head", detail, remedy, "warning")]
    if head.number < settings.ethereum.start_block:
        detail = f"head {head.number} lies below ethereum.start_block {settings.ethereum.start_block}"
        return [failed("Ethereum head", detail, "correct the start block, or wait for the node to catch up", "warning")]
    return [passed("Ethereum head", f"block {head.number}, {age:.0f} s old")]


def check_contracts(settings: Settings, facts: ContractFacts) -> list[CheckResult]:
    """The controller is the configured one on the configured chain, by its own word: what every signature is bound to."""
    domain, ethereum = facts.domain, settings.ethereum
    faults = []
    # SECURITY: signatures over another domain would be worthless here, or worth something elsewhere.
    if domain.chain_id != ethereum.chain_id:
        faults.append(f"chain id {domain.chain_id} instead of {ethereum.chain_id}")
    if domain.verifying_contract != ethereum.mint_controller_address:
        faults.append(f"contract {domain.verifying_contract} instead of {ethereum.mint_controller_address}")
    if (domain.name, domain.version) != ("MintController", "1"):
        faults.append(f"name {shown(domain.name)} version {shown(domain.version)} instead of MintController 1")
    if faults:
        remedy = "correct ethereum.mint_controller_address and ethereum.chain_id, or the endpoint"
        return [failed("contracts", f"the EIP-712 domain has {'; '.join(faults)}", remedy)]
    return [
        passed("contracts", f"MintController 1 on chain {domain.chain_id}, {facts.threshold} of {facts.validator_count} sign")
    ]


async def check_token(chain: EthereumChain) -> list[CheckResult]:
    """The controller mints the configured token: its public immutable `wPokt`, set when it was deployed."""
    answer = await chain.simulate(selector("wPokt()"))
    token = "0x" + answer.removeprefix("0x")[-40:].lower()
    # SECURITY: burns are read from the configured token, mints go through the controller: they must be the same bridge.
    if token != chain.wpokt:
        remedy = "correct ethereum.wrapped_pocket_address or ethereum.mint_controller_address"
        return [failed("token", f"the controller mints {token}, configured is {chain.wpokt}", remedy)]
    return [passed("token", f"{token}, minted by {chain.controller}")]


def check_members(settings: Settings, facts: ContractFacts, own: str, *, observe: bool) -> list[CheckResult]:
    """Who signs mints, by the contract's word: this validator, those configured, and how many there are."""
    results = []
    if own and own not in facts.validators:
        # A warning: becoming a member later is legal, and until then nothing is signed.
        remedy = "the contract's admin adds it with addValidator; it signs from then on, without a restart"
        results.append(failed("membership", f"{own} is no validator of the contract", remedy, "warning"))
    elif own:
        results.append(passed("membership", f"{own} is a validator of the contract"))
    elif not observe:
        results.append(failed("membership", "not checked: the Ethereum key did not open", "see the Ethereum key", "warning"))
    unknown = [one for one in settings.ethereum.validator_addresses if one not in facts.validators]
    if unknown:
        remedy = "remove them from ethereum.validator_addresses, or have them added to the contract"
        results.append(failed("members", f"configured but not in the contract: {', '.join(unknown)}", remedy, "warning"))
    if facts.validator_count > len(facts.validators):
        detail = (
            f"the contract counts {counted(facts.validator_count, 'validator')}, {len(facts.validators)} of them are known here"
        )
        results.append(failed("members", detail, "add the others to ethereum.validator_addresses", "warning"))
    if facts.threshold > facts.validator_count or facts.threshold < 1:
        detail = f"threshold {facts.threshold} of {facts.validator_count} validators: nothing can be minted"
        results.append(failed("threshold", detail, "the contract's admin corrects threshold or validators", "warning"))
    return results


def check_minter(settings: Settings, facts: ContractFacts) -> list[CheckResult]:
    """The controller may mint: without the token's role the token refuses every mint, however well it is signed."""
    controller, token = settings.ethereum.mint_controller_address, settings.ethereum.wrapped_pocket_address
    if facts.minter:
        return [passed("minter role", f"{controller} may mint {token}")]
    # A warning: payouts go on, and what is signed now can be minted once the role is granted.
    detail = f"{controller} lacks MINTER_ROLE on {token}: no user can mint"
    remedy = f"the token's admin calls grantRole({MINTER_ROLE}, {controller}) on the token, or correct the two addresses"
    return [failed("minter role", detail, remedy, "warning")]


def check_mints_open(facts: ContractFacts) -> list[CheckResult]:
    """Whether users can mint at present."""
    results = []
    if facts.paused:
        results.append(
            failed("token paused", "the token is paused: nobody can mint or burn", "the pauser unpauses it", "warning")
        )
    if facts.fee_flag:
        detail = f"the token keeps a fee of {facts.fee_basis / 100:g} % of each mint"
        results.append(passed("token fee", detail))
    detail = f"{facts.current_mint_limit} of {facts.max_mint_limit} upokt, {facts.mint_per_second} more per second"
    if facts.current_mint_limit * 10 < facts.max_mint_limit:
        results.append(failed("mint limit", detail, "it refills by itself; large deposits wait until then", "warning"))
    else:
        results.append(passed("mint limit", detail))
    return results
