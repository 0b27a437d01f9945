"""The development contracts on a real chain: every rule with what it allows and what it refuses."""

import math
import shutil
import subprocess
import time
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from eth_abi import encode
from eth_account import Account
from eth_account.messages import encode_typed_data
from eth_account.signers.local import LocalAccount
from eth_utils.abi import function_signature_to_4byte_selector
from eth_utils.crypto import keccak
from web3 import AsyncHTTPProvider, AsyncWeb3
from web3.contract import AsyncContract
from web3.exceptions import ContractLogicError
from web3.types import TxReceipt

from infra.contracts import FOLDER, MINT_CONTROLLER, WRAPPED_POCKET, load_artifact
from infra.localnet.anvil import Anvil, development_account
from infra.localnet.deploy import (
    DEFAULT_MINT_LIMIT,
    DEFAULT_MINT_PER_SECOND,
    MINTER_ROLE,
    PAUSER_ROLE,
    DeployError,
    Deployment,
    deploy_bridge,
    mint_controller,
    send,
    wrapped_pocket,
)

pytestmark = pytest.mark.integration

ZERO = "0x" + "00" * 20
ADMIN_ROLE = b"\x00" * 32
ADMIN, USER, OTHER = (development_account(index) for index in (0, 7, 8))
VALIDATORS = sorted((development_account(index) for index in range(4)), key=lambda one: int(one.address, 16))
STRANGER = development_account(6)
CURVE_ORDER = 0xFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFFEBAAEDCE6AF48A03BBFD25E8CD0364141
MINT_TYPES = {
    "MintData": [
        {"name": "recipient", "type": "address"},
        {"name": "amount", "type": "uint256"},
        {"name": "nonce", "type": "uint256"},
    ]
}


@dataclass(frozen=True, slots=True)
class Bridge:
    """A bridge of four validators with threshold 2, and the verbs of its users."""

    anvil: Anvil
    web3: AsyncWeb3[Any]
    deployment: Deployment
    token: AsyncContract
    controller: AsyncContract

    async def send(self, sender: LocalAccount, call: Any) -> TxReceipt:
        return await send(self.web3, sender, call)

    async def refused(self, sender: LocalAccount, call: Any, error: str, *arguments: object) -> None:
        """The call reverts with exactly this error; `error` is its signature, or OpenZeppelin's text."""
        with pytest.raises(ContractLogicError) as caught:
            await call.call({"from": sender.address})
        if "(" not in error:
            assert error in str(caught.value)
            return
        data = str(caught.value.data)
        assert data.startswith("0x" + function_signature_to_4byte_selector(error).hex()), f"{data} is not {error}"
        if arguments:
            types = error[error.index("(") + 1 : -1].split(",")
            assert data[10:] == encode(types, arguments).hex()

    async def let_admin_mint(self) -> None:
        """Give the admin the minter role, to test the token without the controller."""
        await self.send(ADMIN, self.token.functions.grantRole(MINTER_ROLE, ADMIN.address))

    def mint(self, amount: int, nonce: int, *, to: LocalAccount = USER) -> Any:
        return self.token.functions.mint(to.address, amount, nonce)

    def sign(self, signer: LocalAccount, amount: int, nonce: int) -> bytes:
        domain = {
            "name": "MintController",
            "version": "1",
            "chainId": self.deployment.chain_id,
            "verifyingContract": self.controller.address,
        }
        message = {"recipient": USER.address, "amount": amount, "nonce": nonce}
        return Account.sign_typed_data(signer.key, domain, MINT_TYPES, message).signature

    def redeem(self, amount: int, nonce: int, signatures: Sequence[bytes]) -> Any:
        return self.controller.functions.mintWrappedPocket((USER.address, amount, nonce), list(signatures))

    def signed_redeem(self, amount: int, nonce: int, signers: Sequence[LocalAccount] = tuple(VALIDATORS[:2])) -> Any:
        return self.redeem(amount, nonce, [self.sign(signer, amount, nonce) for signer in signers])

    async def balance(self, account: LocalAccount) -> int:
        return await self.token.functions.balanceOf(account.address).call()

    async def chain_time(self) -> int:
        return (await self.web3.eth.get_block("latest"))["timestamp"]


@pytest.fixture
async def bridge() -> AsyncIterator[Bridge]:
    async with Anvil() as anvil:
        web3 = AsyncWeb3(AsyncHTTPProvider(anvil.url))
        try:
            made = await deploy_bridge(web3, [one.address for one in VALIDATORS], 2)
            token, controller = wrapped_pocket(web3, made.wpokt), mint_controller(web3, made.mint_controller)
            yield Bridge(anvil, web3, made, token, controller)
        finally:
            await web3.provider.disconnect()


def _events(contract: AsyncContract, name: str, receipt: TxReceipt) -> list[dict[str, Any]]:
    topic = "0x" + keccak(text=_event_signature(contract, name)).hex()
    own = [log for log in receipt["logs"] if log["address"] == contract.address and log["topics"][0].to_0x_hex() == topic]
    return [dict(contract.events[name]().process_log(log)["args"]) for log in own]


def _event_signature(contract: AsyncContract, name: str) -> str:
    entry = next(one for one in contract.abi if one["type"] == "event" and one["name"] == name)
    return f"{name}({','.join(one['type'] for one in entry['inputs'])})"


# --- the artifacts ------------------------------------------------------------------------------------------------


def _check_artifacts(folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["node", "compile.mjs", "--check"], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )


def test_compiling_again_gives_the_committed_artifacts() -> None:
    answer = _check_artifacts(FOLDER)
    assert answer.returncode == 0, f"run `npm ci` in infra/contracts if modules are missing:\n{answer.stderr}"


def test_a_changed_source_is_noticed(tmp_path: Path) -> None:
    for name in ("src", "artifacts"):
        shutil.copytree(FOLDER / name, tmp_path / name)
    for name in ("compile.mjs", "package.json"):
        shutil.copy(FOLDER / name, tmp_path / name)
    (tmp_path / "node_modules").symlink_to(FOLDER / "node_modules")
    source = tmp_path / "src" / "WrappedPocket.sol"
    source.write_text(source.read_text().replace("return 6;", "return 18;"))
    answer = _check_artifacts(tmp_path)
    assert answer.returncode == 1
    assert "artifacts/WrappedPocket.json differs" in answer.stderr
    assert "MintController" not in answer.stderr


# --- deployment ---------------------------------------------------------------------------------------------------


async def test_a_fresh_chain_gives_the_known_addresses(bridge: Bridge) -> None:
    assert bridge.deployment.wpokt == "0x5fbdb2315678afecb367f032d93f642f64180aa3"
    assert bridge.deployment.mint_controller == "0xe7f1725e7734ce288f8367e1bb143e90bb3f0512"
    assert bridge.deployment.start_block == 1
    assert bridge.deployment.validators == tuple(one.address.lower() for one in VALIDATORS)


async def test_the_code_on_chain_is_that_of_the_artifact(bridge: Bridge) -> None:
    # Immutables are filled in at deployment, so only the length and the parts before them are equal.
    code = (await bridge.web3.eth.get_code(bridge.token.address)).to_0x_hex()
    committed = load_artifact(WRAPPED_POCKET).deployed_bytecode
    assert len(code) == len(committed)
    assert code[:200] == committed[:200]


async def test_the_bridge_is_set_up(bridge: Bridge) -> None:
    functions = bridge.controller.functions
    assert await functions.validatorCount().call() == 4
    assert await functions.signerThreshold().call() == 2
    assert [await functions.validators(one.address).call() for one in VALIDATORS] == [True] * 4
    assert await functions.validators(STRANGER.address).call() is False
    assert await functions.maxMintLimit().call() == DEFAULT_MINT_LIMIT
    assert await functions.mintPerSecond().call() == DEFAULT_MINT_PER_SECOND
    assert await functions.currentMintLimit().call() == DEFAULT_MINT_LIMIT
    assert await functions.wPokt().call() == bridge.token.address


async def test_the_domain_that_validators_sign_under(bridge: Bridge) -> None:
    domain = await bridge.controller.functions.eip712Domain().call()
    assert domain == [b"\x0f", "MintController", "1", 31337, bridge.controller.address, b"\x00" * 32, []]
    message = encode_typed_data(
        {"name": domain[1], "version": domain[2], "chainId": domain[3], "verifyingContract": domain[4]},
        MINT_TYPES,
        {"recipient": ZERO, "amount": 1, "nonce": 1},
    )
    assert message.header.hex() == "8e668941bfb661db63f1dd1eccab7e0cae822ab8a2dac8d5ed152a266830e4be"


@pytest.mark.parametrize(
    ("validators", "threshold", "limits", "complaint"),
    [
        ([VALIDATORS[0].address, VALIDATORS[0].address.lower()], 1, {}, "not different"),
        ([VALIDATORS[0].address], 2, {}, "threshold 2 of 1"),
        ([VALIDATORS[0].address], 0, {}, "threshold 0 of 1"),
        ([VALIDATORS[0].address], 1, {"mint_limit": 1, "mint_per_second": 2}, "mint_limit 1"),
    ],
)
async def test_a_deployment_that_cannot_work_is_refused(
    validators: list[str], threshold: int, limits: dict[str, int], complaint: str
) -> None:
    async with Anvil() as anvil:
        web3 = AsyncWeb3(AsyncHTTPProvider(anvil.url))
        try:
            with pytest.raises(DeployError, match=complaint):
                await deploy_bridge(web3, validators, threshold, **limits)
            assert await anvil.block_number() == 0
        finally:
            await web3.provider.disconnect()


# --- WrappedPocket ------------------------------------------------------------------------------------------------


async def test_token_constants(bridge: Bridge) -> None:
    functions = bridge.token.functions
    assert await functions.name().call() == "Wrapped Pocket"
    assert await functions.symbol().call() == "wPOKT"
    assert await functions.decimals().call() == 6
    assert await functions.BASIS_POINTS().call() == 10_000
    assert await functions.MAX_FEE_BASIS().call() == 300
    assert (await functions.PAUSER_ROLE().call()).hex() == ("65d7a28e3265b37a6474929f336521b332c1681b933f6cb9f3376673440d862a")
    assert (await functions.MINTER_ROLE().call()).hex() == ("9f2df0fed2c77648de5860a4cc508cd0818c85b8b8a1ab4ceeef8d981c8956a6")
    assert await functions.feeFlag().call() is False
    assert (await functions.eip712Domain().call())[1:4] == ["Wrapped Pocket", "1", 31337]


async def test_the_deployer_gets_the_admin_role_only(bridge: Bridge) -> None:
    artifact = load_artifact(WRAPPED_POCKET)
    receipt = await bridge.send(OTHER, bridge.web3.eth.contract(abi=artifact.abi, bytecode=artifact.bytecode).constructor())
    token = wrapped_pocket(bridge.web3, receipt["contractAddress"])
    held = [await token.functions.hasRole(role, OTHER.address).call() for role in (ADMIN_ROLE, MINTER_ROLE, PAUSER_ROLE)]
    assert held == [True, False, False]
    assert await token.functions.hasRole(ADMIN_ROLE, ADMIN.address).call() is False


async def test_burn_and_bridge(bridge: Bridge) -> None:
    await bridge.let_admin_mint()
    await bridge.send(ADMIN, bridge.mint(100, 1))
    pokt = OTHER.address
    receipt = await bridge.send(USER, bridge.token.functions.burnAndBridge(60, pokt))
    assert _events(bridge.token, "BurnAndBridge", receipt) == [{"amount": 60, "poktAddress": pokt, "from": USER.address}]
    log = receipt["logs"][-1]
    assert (len(log["topics"]), log["data"]) == (4, b"")
    assert await bridge.balance(USER) == 40
    await bridge.refused(USER, bridge.token.functions.burnAndBridge(41, pokt), "ERC20: burn amount exceeds balance")
    await bridge.refused(OTHER, bridge.token.functions.burnAndBridge(1, pokt), "ERC20: burn amount exceeds balance")


async def test_burn_of_nothing_to_nobody_is_allowed(bridge: Bridge) -> None:
    receipt = await bridge.send(USER, bridge.token.functions.burnAndBridge(0, ZERO))
    assert _events(bridge.token, "BurnAndBridge", receipt) == [{"amount": 0, "poktAddress": ZERO, "from": USER.address}]


async def test_two_burns_have_two_events(bridge: Bridge) -> None:
    first = await bridge.send(USER, bridge.token.functions.burnAndBridge(0, ZERO))
    second = await bridge.send(USER, bridge.token.functions.burnAndBridge(0, OTHER.address))
    assert _events(bridge.token, "BurnAndBridge", first) != _events(bridge.token, "BurnAndBridge", second)


async def test_only_a_minter_mints(bridge: Bridge) -> None:
    await bridge.refused(ADMIN, bridge.mint(5, 1), f"is missing role 0x{MINTER_ROLE.hex()}")
    await bridge.let_admin_mint()
    receipt = await bridge.send(ADMIN, bridge.mint(5, 1))
    assert _events(bridge.token, "Minted", receipt) == [{"recipient": USER.address, "amount": 5, "nonce": 1}]
    assert await bridge.balance(USER) == 5


async def test_nonces_are_consecutive_for_each_recipient(bridge: Bridge) -> None:
    await bridge.let_admin_mint()
    nonce_of = bridge.token.functions.getUserNonce
    assert await nonce_of(USER.address).call() == 0
    for wrong in (0, 2):
        await bridge.refused(ADMIN, bridge.mint(5, wrong), "UserNonce(address,uint256)", USER.address, wrong)
    await bridge.send(ADMIN, bridge.mint(5, 1))
    for wrong in (0, 1, 3):
        await bridge.refused(ADMIN, bridge.mint(5, wrong), "UserNonce(address,uint256)", USER.address, wrong)
    await bridge.send(ADMIN, bridge.mint(5, 2))
    await bridge.send(ADMIN, bridge.mint(5, 1, to=OTHER))
    assert [await nonce_of(one.address).call() for one in (USER, OTHER, STRANGER)] == [2, 1, 0]
    assert await bridge.token.functions.nonces(USER.address).call() == 0  # of permits: another thing


async def test_a_fee_is_taken_from_the_minted_amount(bridge: Bridge) -> None:
    await bridge.let_admin_mint()
    await bridge.send(ADMIN, bridge.token.functions.setFee(True, 300, OTHER.address))
    receipt = await bridge.send(ADMIN, bridge.mint(1_000_000, 1))
    assert _events(bridge.token, "Minted", receipt) == [{"recipient": USER.address, "amount": 970_000, "nonce": 1}]
    assert _events(bridge.token, "FeeCollected", receipt) == [{"feeCollector": OTHER.address, "amount": 30_000}]
    assert (await bridge.balance(USER), await bridge.balance(OTHER)) == (970_000, 30_000)
    await bridge.refused(ADMIN, bridge.mint(1_000_001, 2), "FeeBasisDust()")
    await bridge.refused(ADMIN, bridge.mint(9_999, 2), "FeeBasisDust()")


async def test_without_a_fee_dust_is_minted_whole(bridge: Bridge) -> None:
    await bridge.let_admin_mint()
    await bridge.send(ADMIN, bridge.token.functions.setFee(False, 300, OTHER.address))
    receipt = await bridge.send(ADMIN, bridge.mint(1_000_001, 1))
    assert _events(bridge.token, "Minted", receipt)[0]["amount"] == 1_000_001
    assert _events(bridge.token, "FeeCollected", receipt) == []
    assert await bridge.balance(OTHER) == 0


async def test_set_fee(bridge: Bridge) -> None:
    set_fee = bridge.token.functions.setFee
    await bridge.refused(USER, set_fee(True, 1, OTHER.address), f"is missing role 0x{ADMIN_ROLE.hex()}")
    await bridge.refused(ADMIN, set_fee(True, 1, ZERO), "FeeCollectorZero()")
    await bridge.refused(ADMIN, set_fee(True, 301, OTHER.address), "MaxBasis()")
    receipt = await bridge.send(ADMIN, set_fee(True, 300, OTHER.address))
    assert _events(bridge.token, "FeeSet", receipt) == [{"flag": True, "newFee": 300, "feeCollector": OTHER.address}]
    functions = bridge.token.functions
    state = (await functions.feeFlag().call(), await functions.feeBasis().call(), await functions.feeCollector().call())
    assert state == (True, 300, OTHER.address)


async def test_batch_mint(bridge: Bridge) -> None:
    await bridge.let_admin_mint()
    await bridge.send(ADMIN, bridge.token.functions.setFee(True, 100, STRANGER.address))
    batch = bridge.token.functions.batchMint
    to = [USER.address, OTHER.address, USER.address]
    receipt = await bridge.send(ADMIN, batch(to, [10_000, 20_000, 30_000], [1, 1, 2]))
    assert _events(bridge.token, "Minted", receipt) == [
        {"recipient": USER.address, "amount": 9_900, "nonce": 1},
        {"recipient": OTHER.address, "amount": 19_800, "nonce": 1},
        {"recipient": USER.address, "amount": 29_700, "nonce": 2},
    ]
    assert _events(bridge.token, "FeeCollected", receipt) == [{"feeCollector": STRANGER.address, "amount": 600}]
    assert await bridge.balance(STRANGER) == 600


async def test_batch_mint_refuses_as_mint_does(bridge: Bridge) -> None:
    batch = bridge.token.functions.batchMint
    both = [USER.address, OTHER.address]
    await bridge.refused(ADMIN, batch(both, [1, 1], [1, 1]), f"is missing role 0x{MINTER_ROLE.hex()}")
    await bridge.let_admin_mint()
    await bridge.refused(ADMIN, batch(both, [1], [1, 1]), "BatchMintLength()")
    await bridge.refused(ADMIN, batch(both, [1, 1], [1]), "BatchMintLength()")
    await bridge.refused(ADMIN, batch(both, [1, 1], [1, 2]), "UserNonce(address,uint256)", OTHER.address, 2)
    await bridge.send(ADMIN, bridge.token.functions.setFee(True, 100, STRANGER.address))
    await bridge.refused(ADMIN, batch(both, [10_000, 1], [1, 1]), "FeeBasisDust()")
    await bridge.send(ADMIN, batch(both, [10_000, 10_000], [1, 1]))


async def test_burn_is_blocked_and_burn_from_is_not(bridge: Bridge) -> None:
    await bridge.let_admin_mint()
    await bridge.send(ADMIN, bridge.mint(10, 1))
    await bridge.refused(USER, bridge.token.functions.burn(1), "BlockBurn()")
    await bridge.refused(OTHER, bridge.token.functions.burnFrom(USER.address, 4), "ERC20: insufficient allowance")
    await bridge.send(USER, bridge.token.functions.approve(OTHER.address, 4))
    receipt = await bridge.send(OTHER, bridge.token.functions.burnFrom(USER.address, 4))
    assert _events(bridge.token, "BurnAndBridge", receipt) == []
    assert await bridge.balance(USER) == 6


async def test_while_paused_nothing_moves(bridge: Bridge) -> None:
    await bridge.let_admin_mint()
    await bridge.send(ADMIN, bridge.mint(10, 1))
    functions = bridge.token.functions
    await bridge.send(USER, functions.approve(OTHER.address, 10))
    calls = [
        (USER, functions.transfer(OTHER.address, 1)),
        (OTHER, functions.burnFrom(USER.address, 1)),
        (OTHER, functions.transferFrom(USER.address, OTHER.address, 1)),
        (USER, functions.burnAndBridge(1, OTHER.address)),
        (ADMIN, functions.batchMint([USER.address], [1], [2])),
        (ADMIN, bridge.mint(1, 2)),
        (USER, bridge.signed_redeem(1, 2)),
    ]
    await bridge.send(ADMIN, functions.pause())
    for sender, call in calls:
        await bridge.refused(sender, call, "Pausable: paused")
    await bridge.send(ADMIN, functions.unpause())
    for sender, call in calls:
        await call.call({"from": sender.address})


async def test_only_a_pauser_pauses(bridge: Bridge) -> None:
    functions = bridge.token.functions
    await bridge.refused(USER, functions.pause(), f"is missing role 0x{PAUSER_ROLE.hex()}")
    await bridge.send(ADMIN, functions.grantRole(PAUSER_ROLE, USER.address))
    await bridge.send(USER, functions.pause())
    assert await functions.paused().call() is True
    await bridge.refused(OTHER, functions.unpause(), f"is missing role 0x{PAUSER_ROLE.hex()}")
    await bridge.send(USER, functions.unpause())
    assert await functions.paused().call() is False


# --- MintController -----------------------------------------------------------------------------------------------


async def test_a_fresh_controller(bridge: Bridge) -> None:
    artifact = load_artifact(MINT_CONTROLLER)
    factory = bridge.web3.eth.contract(abi=artifact.abi, bytecode=artifact.bytecode)
    with pytest.raises(ContractLogicError) as caught:
        await factory.constructor(ZERO).estimate_gas({"from": OTHER.address})
    assert str(caught.value.data) == "0xdfa8318d"  # NonZero()
    receipt = await bridge.send(OTHER, factory.constructor(bridge.token.address))
    functions = mint_controller(bridge.web3, receipt["contractAddress"]).functions
    assert await functions.signerThreshold().call() == 50
    assert await functions.validatorCount().call() == 0
    assert await functions.maxMintLimit().call() == 335_000 * 10**18
    assert await functions.mintPerSecond().call() == 38_773 * 10**14
    assert await functions.currentMintLimit().call() == 335_000 * 10**18
    assert await functions.lastMint().call() == 0
    await bridge.refused(ADMIN, functions.removeValidator(USER.address), "BelowMinThreshold()")


async def test_enough_signatures_mint_whoever_sends_them(bridge: Bridge) -> None:
    receipt = await bridge.send(STRANGER, bridge.signed_redeem(1_000, 1))
    assert _events(bridge.token, "Minted", receipt) == [{"recipient": USER.address, "amount": 1_000, "nonce": 1}]
    assert _events(bridge.controller, "CurrentMintLimit", receipt) == [
        {"limit": DEFAULT_MINT_LIMIT - 1_000, "lastMint": await bridge.chain_time()}
    ]
    assert await bridge.balance(USER) == 1_000
    await bridge.refused(STRANGER, bridge.signed_redeem(1_000, 1), "UserNonce(address,uint256)", USER.address, 1)
    await bridge.send(STRANGER, bridge.signed_redeem(1_000, 2, VALIDATORS))


async def test_too_few_signatures_mint_nothing(bridge: Bridge) -> None:
    await bridge.refused(USER, bridge.redeem(1_000, 1, []), "InvalidSignatures()")
    await bridge.refused(USER, bridge.signed_redeem(1_000, 1, VALIDATORS[:1]), "InvalidSignatures()")
    await bridge.refused(USER, bridge.signed_redeem(1_000, 1, [VALIDATORS[0]] * 2), "InvalidSignatures()")
    await bridge.refused(USER, bridge.signed_redeem(1_000, 1, [VALIDATORS[0], STRANGER]), "InvalidSignatures()")


async def test_signatures_of_other_data_mint_nothing(bridge: Bridge) -> None:
    signatures = [bridge.sign(one, 1_000, 1) for one in VALIDATORS]
    await bridge.refused(USER, bridge.redeem(1_001, 1, signatures), "InvalidSignatures()")
    await bridge.refused(USER, bridge.redeem(1_000, 2, signatures), "InvalidSignatures()")
    other = bridge.controller.functions.mintWrappedPocket((OTHER.address, 1_000, 1), signatures)
    await bridge.refused(USER, other, "InvalidSignatures()")
    await bridge.send(USER, bridge.redeem(1_000, 1, signatures))


async def test_extra_signatures_are_harmless_wherever_they_stand(bridge: Bridge) -> None:
    low, high = VALIDATORS[:2]
    for nonce, signers in enumerate(([STRANGER, low, high], [low, STRANGER, high], [low, low, high, STRANGER]), start=1):
        await bridge.send(USER, bridge.signed_redeem(1_000, nonce, signers))
    assert await bridge.balance(USER) == 3_000


async def test_signatures_out_of_order_are_lost(bridge: Bridge) -> None:
    a, b, c, d = VALIDATORS
    await bridge.refused(USER, bridge.signed_redeem(1_000, 1, [b, a]), "InvalidSignatures()")
    await bridge.refused(USER, bridge.signed_redeem(1_000, 1, [d, a, b, c]), "InvalidSignatures()")
    await bridge.send(USER, bridge.signed_redeem(1_000, 1, [b, a, c]))  # b and c count


async def test_a_malformed_or_high_s_signature_reverts_the_call(bridge: Bridge) -> None:
    good = [bridge.sign(one, 1_000, 1) for one in VALIDATORS]
    r, s, v = good[2][:32], int.from_bytes(good[2][32:64]), good[2][64]
    high = r + (CURVE_ORDER - s).to_bytes(32) + bytes([55 - v])
    await bridge.refused(USER, bridge.redeem(1_000, 1, [*good[:2], high]), "ECDSA: invalid signature 's' value")
    await bridge.refused(USER, bridge.redeem(1_000, 1, [*good[:2], good[2][:64]]), "ECDSA: invalid signature length")
    wrong_v = good[2][:64] + bytes([v - 27])
    await bridge.refused(USER, bridge.redeem(1_000, 1, [*good[:2], wrong_v]), "ECDSA: invalid signature")
    await bridge.send(USER, bridge.redeem(1_000, 1, good))


async def test_a_removed_validator_does_not_count(bridge: Bridge) -> None:
    call = bridge.signed_redeem(1_000, 1)
    await bridge.send(ADMIN, bridge.controller.functions.removeValidator(VALIDATORS[0].address))
    await bridge.refused(USER, call, "InvalidSignatures()")
    await bridge.send(ADMIN, bridge.controller.functions.addValidator(VALIDATORS[0].address))
    await bridge.send(USER, call)


async def test_a_raised_threshold_asks_for_more(bridge: Bridge) -> None:
    await bridge.send(ADMIN, bridge.controller.functions.setSignerThreshold(3))
    await bridge.refused(USER, bridge.signed_redeem(1_000, 1, VALIDATORS[:2]), "InvalidSignatures()")
    await bridge.send(USER, bridge.signed_redeem(1_000, 1, VALIDATORS[:3]))


async def test_the_controller_mints_only_with_its_role(bridge: Bridge) -> None:
    call = bridge.signed_redeem(1_000, 1)
    await bridge.send(ADMIN, bridge.token.functions.revokeRole(MINTER_ROLE, bridge.controller.address))
    await bridge.refused(USER, call, f"is missing role 0x{MINTER_ROLE.hex()}")
    await bridge.send(ADMIN, bridge.token.functions.grantRole(MINTER_ROLE, bridge.controller.address))
    await bridge.send(USER, call)


async def test_the_limit_is_spent_and_comes_back(bridge: Bridge) -> None:
    functions = bridge.controller.functions
    await bridge.send(ADMIN, functions.setMintCooldown(DEFAULT_MINT_PER_SECOND, 10))
    await bridge.send(ADMIN, functions.setMintCooldown(1_000, 10))
    await bridge.refused(USER, bridge.signed_redeem(1_001, 1), "OverMintLimit()")
    receipt = await bridge.send(USER, bridge.signed_redeem(1_000, 1))
    minted_at = await bridge.chain_time()
    assert _events(bridge.controller, "CurrentMintLimit", receipt) == [{"limit": 0, "lastMint": minted_at}]
    assert await functions.lastMintLimit().call() == 0
    assert await functions.lastMint().call() == minted_at

    asked = time.time()
    await bridge.anvil.increase_time(40)
    elapsed = await bridge.chain_time() - minted_at
    assert elapsed >= 40
    limit = await functions.currentMintLimit().call()
    # The node may answer as of a later second than its last block's, and it may be busy.
    late = math.ceil(time.time() - asked) + 1
    assert 10 * elapsed <= limit <= 10 * (elapsed + late)
    await bridge.refused(USER, bridge.signed_redeem(1_000, 2), "OverMintLimit()")
    await bridge.send(USER, bridge.signed_redeem(10 * elapsed, 2))

    await bridge.anvil.increase_time(10_000)
    assert await functions.currentMintLimit().call() == 1_000  # never above the maximum


async def test_a_lowered_maximum_holds_at_once_and_a_raised_one_fills_slowly(bridge: Bridge) -> None:
    functions = bridge.controller.functions
    await bridge.send(ADMIN, functions.setMintCooldown(DEFAULT_MINT_PER_SECOND, 0))
    await bridge.send(ADMIN, functions.setMintCooldown(1_000, 0))
    await bridge.send(USER, bridge.signed_redeem(400, 1))
    await bridge.send(ADMIN, functions.setMintCooldown(500, 0))
    assert await functions.currentMintLimit().call() == 500
    await bridge.send(ADMIN, functions.setMintCooldown(5_000, 0))
    assert await functions.currentMintLimit().call() == 600
    await bridge.refused(USER, bridge.signed_redeem(601, 2), "OverMintLimit()")
    await bridge.send(USER, bridge.signed_redeem(600, 2))


async def test_add_validator(bridge: Bridge) -> None:
    add = bridge.controller.functions.addValidator
    await bridge.refused(USER, add(STRANGER.address), "NonAdmin()")
    await bridge.refused(ADMIN, add(ZERO), "NonZero()")
    await bridge.refused(ADMIN, add(VALIDATORS[0].address), "InvalidAddValidator()")
    receipt = await bridge.send(ADMIN, add(STRANGER.address))
    assert _events(bridge.controller, "NewValidator", receipt) == [{"validator": STRANGER.address}]
    assert await bridge.controller.functions.validatorCount().call() == 5
    await bridge.send(USER, bridge.signed_redeem(1_000, 1, sorted([VALIDATORS[0], STRANGER], key=_number)))


async def test_remove_validator(bridge: Bridge) -> None:
    remove = bridge.controller.functions.removeValidator
    await bridge.refused(USER, remove(VALIDATORS[0].address), "NonAdmin()")
    await bridge.refused(ADMIN, remove(ZERO), "NonZero()")
    await bridge.refused(ADMIN, remove(STRANGER.address), "InvalidRemoveValidator()")
    receipt = await bridge.send(ADMIN, remove(VALIDATORS[0].address))
    assert _events(bridge.controller, "RemovedValidator", receipt) == [{"validator": VALIDATORS[0].address}]
    await bridge.refused(ADMIN, remove(VALIDATORS[0].address), "InvalidRemoveValidator()")
    await bridge.send(ADMIN, remove(VALIDATORS[1].address))
    for anyone in (VALIDATORS[2].address, ZERO, STRANGER.address):  # the count is looked at first
        await bridge.refused(ADMIN, remove(anyone), "BelowMinThreshold()")
    assert await bridge.controller.functions.validatorCount().call() == 2


async def test_set_signer_threshold(bridge: Bridge) -> None:
    functions = bridge.controller.functions
    await bridge.refused(USER, functions.setSignerThreshold(3), "NonAdmin()")
    for wrong in (0, 1, 5):
        await bridge.refused(ADMIN, functions.setSignerThreshold(wrong), "InvalidSignatureRatio()")
    for right in (4, 2, 3):
        receipt = await bridge.send(ADMIN, functions.setSignerThreshold(right))
        assert _events(bridge.controller, "SignerThresholdSet", receipt) == [{"ratio": right}]
        assert await functions.signerThreshold().call() == right
    await bridge.send(ADMIN, functions.addValidator(STRANGER.address))
    await bridge.refused(ADMIN, functions.setSignerThreshold(1), "InvalidSignatureRatio()")
    await bridge.send(ADMIN, functions.setSignerThreshold(2))  # half of five, rounded down


async def test_set_mint_cooldown(bridge: Bridge) -> None:
    functions = bridge.controller.functions
    await bridge.refused(USER, functions.setMintCooldown(10**12, 1), "NonAdmin()")
    too_low = DEFAULT_MINT_PER_SECOND - 1
    await bridge.refused(ADMIN, functions.setMintCooldown(too_low, 1), "InvalidCooldownConfig()")
    receipt = await bridge.send(ADMIN, functions.setMintCooldown(DEFAULT_MINT_PER_SECOND, 1))
    assert _events(bridge.controller, "MintCooldownSet", receipt) == [{"newLimit": DEFAULT_MINT_PER_SECOND, "newCooldown": 1}]
    await bridge.send(ADMIN, functions.setMintCooldown(too_low, 1))  # measured by the rate in force before
    assert await functions.maxMintLimit().call() == too_low


async def test_the_admin_is_whoever_the_token_says(bridge: Bridge) -> None:
    call = bridge.controller.functions.setSignerThreshold(3)
    await bridge.refused(OTHER, call, "NonAdmin()")
    await bridge.send(ADMIN, bridge.token.functions.grantRole(ADMIN_ROLE, OTHER.address))
    await bridge.send(ADMIN, bridge.token.functions.renounceRole(ADMIN_ROLE, ADMIN.address))
    await bridge.refused(ADMIN, call, "NonAdmin()")
    await bridge.send(OTHER, call)


def _number(account: LocalAccount) -> int:
    return int(account.address, 16)
