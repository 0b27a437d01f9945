"""Deploys the bridge's contracts on a development chain, in the order in which the real ones were deployed."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, cast

from eth_account.signers.local import LocalAccount
from eth_utils.address import to_checksum_address
from eth_utils.crypto import keccak
from web3 import AsyncWeb3
from web3.contract import AsyncContract
from web3.contract.async_contract import AsyncContractConstructor, AsyncContractFunction
from web3.types import Nonce, TxParams, TxReceipt, Wei

from infra.contracts import MINT_CONTROLLER, WRAPPED_POCKET, load_artifact
from infra.localnet.anvil import development_account

UNIT = 10**6
"""Smallest units of one wPOKT: 6 decimals, so one unit is one upokt."""
# What the deployed contract means by its initial 335000e18 and 3.8773e18, in wPOKT's 6 decimals.
DEFAULT_MINT_LIMIT = 335_000 * UNIT
DEFAULT_MINT_PER_SECOND = 3_877_300
PAUSER_ROLE = keccak(text="PAUSER_ROLE")
MINTER_ROLE = keccak(text="MINTER_ROLE")
_DEPLOY_GAS = 3_500_000
_CALL_GAS = 600_000
"""Enough for a mint with some two dozen signatures: 6,000 each, and what the token and the limit write."""
_RECEIPT_SECONDS = 60.0
_PRIORITY_FEE = Wei(10**9)

Call = AsyncContractFunction | AsyncContractConstructor


class DeployError(RuntimeError):
    """A transaction of the deployment failed, or its parameters can't work."""


@dataclass(frozen=True, slots=True)
class Deployment:
    """Where the bridge's contracts are. Addresses are lower case with 0x."""

    chain_id: int
    wpokt: str
    mint_controller: str
    validators: tuple[str, ...]
    threshold: int
    start_block: int
    """The block of the first contract: nothing of this bridge is older."""


async def deploy_bridge(
    web3: AsyncWeb3[Any],
    validators: Sequence[str],
    threshold: int,
    *,
    deployer: LocalAccount | None = None,
    mint_limit: int = DEFAULT_MINT_LIMIT,
    mint_per_second: int = DEFAULT_MINT_PER_SECOND,
) -> Deployment:
    """Deploy WrappedPocket and MintController, enter validators, threshold and limits, and let the controller mint.

    `deployer` (None: development account 0) gets the admin and the pauser role. `mint_limit` in wPOKT's smallest
    units, `mint_per_second` in the same per second. On a fresh anvil the addresses are always the same. Raises
    `DeployError`; waits for blocks, so the chain must mine by itself.
    """
    _check(validators, threshold, mint_limit, mint_per_second)
    owner = deployer if deployer is not None else development_account(0)
    first = await _deploy(web3, owner, WRAPPED_POCKET)
    token = wrapped_pocket(web3, str(first["contractAddress"]))
    second = await _deploy(web3, owner, MINT_CONTROLLER, token.address)
    controller = mint_controller(web3, str(second["contractAddress"]))

    functions = controller.functions
    unlimited = await functions.mintPerSecond().call()
    await send_all(
        web3,
        owner,
        [functions.addValidator(to_checksum_address(validator)) for validator in validators]
        + [
            functions.setSignerThreshold(threshold),
            token.functions.grantRole(MINTER_ROLE, controller.address),
            token.functions.grantRole(PAUSER_ROLE, owner.address),
            # The contract refuses a limit below the rate *in force*, which is at first 10^12 times too large: the rate
            # must come down before the limit can.
            functions.setMintCooldown(unlimited, mint_per_second),
            functions.setMintCooldown(mint_limit, mint_per_second),
        ],
    )
    return Deployment(
        chain_id=await web3.eth.chain_id,
        wpokt=token.address.lower(),
        mint_controller=controller.address.lower(),
        validators=tuple(validator.lower() for validator in validators),
        threshold=threshold,
        start_block=first["blockNumber"],
    )


def wrapped_pocket(web3: AsyncWeb3[Any], address: str) -> AsyncContract:
    """The token at `address`."""
    return _contract(web3, WRAPPED_POCKET, address)


def mint_controller(web3: AsyncWeb3[Any], address: str) -> AsyncContract:
    """The controller at `address`."""
    return _contract(web3, MINT_CONTROLLER, address)


async def send(web3: AsyncWeb3[Any], sender: LocalAccount, call: Call) -> TxReceipt:
    """Send one contract call or deployment, signed by `sender`, and wait for its receipt.

    It is simulated first: a revert raises web3's `ContractLogicError` with the contract's error. Raises `DeployError`
    if it reverts in the block all the same.
    """
    gas = await call.estimate_gas({"from": sender.address})
    return (await _send(web3, sender, [(call, gas * 5 // 4)]))[0]


async def send_all(web3: AsyncWeb3[Any], sender: LocalAccount, calls: Sequence[Call]) -> list[TxReceipt]:
    """Send calls that may depend on each other, unsimulated, with consecutive nonces, and wait for all receipts.

    Raises `DeployError` if one of them reverts.
    """
    return await _send(web3, sender, [(call, _CALL_GAS) for call in calls])


async def _deploy(web3: AsyncWeb3[Any], owner: LocalAccount, name: str, *arguments: object) -> TxReceipt:
    artifact = load_artifact(name)
    factory = web3.eth.contract(abi=artifact.abi, bytecode=artifact.bytecode)
    return (await _send(web3, owner, [(factory.constructor(*arguments), _DEPLOY_GAS)]))[0]


async def _send(web3: AsyncWeb3[Any], sender: LocalAccount, calls: Sequence[tuple[Call, int]]) -> list[TxReceipt]:
    nonce = await web3.eth.get_transaction_count(sender.address, "pending")
    chain_id = await web3.eth.chain_id
    fee = Wei(2 * await web3.eth.gas_price + _PRIORITY_FEE)
    hashes = []
    for offset, (call, gas) in enumerate(calls):
        envelope: TxParams = {
            "from": sender.address,
            "nonce": Nonce(nonce + offset),
            "chainId": chain_id,
            "gas": gas,
            "maxFeePerGas": fee,
            "maxPriorityFeePerGas": _PRIORITY_FEE,
        }
        transaction = await call.build_transaction(envelope)
        signed = sender.sign_transaction(cast("dict[str, Any]", transaction))
        hashes.append(await web3.eth.send_raw_transaction(signed.raw_transaction))
    receipts = []
    for (call, _), transaction_hash in zip(calls, hashes, strict=True):
        receipt = await web3.eth.wait_for_transaction_receipt(transaction_hash, timeout=_RECEIPT_SECONDS, poll_latency=0.02)
        if receipt["status"] != 1:
            raise DeployError(f"{_name(call)} reverted in transaction {transaction_hash.to_0x_hex()}")
        receipts.append(receipt)
    return receipts


def _contract(web3: AsyncWeb3[Any], name: str, address: str) -> AsyncContract:
    return web3.eth.contract(address=to_checksum_address(address), abi=load_artifact(name).abi)


def _name(call: Call) -> str:
    return "the deployment" if isinstance(call, AsyncContractConstructor) else str(call.fn_name)


def _check(validators: Sequence[str], threshold: int, mint_limit: int, mint_per_second: int) -> None:
    """Refuse what the contract would refuse, before anything is deployed."""
    if len({validator.lower() for validator in validators}) != len(validators):
        raise DeployError(f"validators are not different: {', '.join(validators)}")
    if not max(1, len(validators) // 2) <= threshold <= len(validators):
        raise DeployError(f"threshold {threshold} of {len(validators)} validators: give at least half and at most all")
    if mint_limit < mint_per_second:
        raise DeployError(f"mint_limit {mint_limit} is less than mint_per_second {mint_per_second}: raise it")
