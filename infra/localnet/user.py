"""What a user of the bridge does, with nothing but a wallet on each side and the documents that everybody may read."""

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, cast

from eth_utils.address import to_checksum_address
from web3 import AsyncWeb3
from web3.types import Nonce, TxReceipt
from web3.utils.address import get_create_address

from infra.localnet.batch import burn_batch_code
from infra.localnet.deploy import DeployError, mint_controller, send, send_all, wrapped_pocket
from infra.localnet.identities import Identity
from infra.localnet.info import NetworkInfo
from infra.localnet.pocket.wallet import post
from infra.localnet.processes import wait_until

_BLOCK_SECONDS: Final = 60.0
_BATCH_GAS: Final = 60_000


@dataclass(frozen=True, slots=True)
class Balances:
    """What a user has: uPOKT on Pocket, wPOKT (the same unit) on Ethereum."""

    pocket: int
    wpokt: int


class User:
    """One user. Amounts in uPOKT; Pocket hashes and addresses without `0x`, Ethereum ones with, all lower case.

    Several things at once of one user queue up on Ethereum, where transactions are numbered.
    """

    def __init__(self, info: NetworkInfo, identity: Identity, web3: AsyncWeb3[Any]) -> None:
        self.info = info
        self.identity = identity
        self._web3 = web3
        self._token = wrapped_pocket(web3, info.deployment.wpokt)
        self._controller = mint_controller(web3, info.deployment.mint_controller)
        self._turn = asyncio.Lock()

    @property
    def name(self) -> str:
        """`user-1` and so on."""
        return self.identity.name

    @property
    def pocket_address(self) -> str:
        """40 hex characters."""
        return self.identity.pocket.address

    @property
    def ethereum_address(self) -> str:
        """With 0x."""
        return self.identity.ethereum_address

    # --- Pocket --------------------------------------------------------------------------------------------------

    def memo(self, recipient: str | None = None, chain_id: int | None = None) -> str:
        """The memo of a deposit for `recipient` (default: oneself), exactly as the frontend writes it."""
        said = {
            "address": recipient or str(self.identity.ethereum.address),
            "chain_id": str(chain_id or self.info.deployment.chain_id),
        }
        return json.dumps(said, separators=(",", ":"))

    async def deposit(self, amount: int, *, recipient: str | None = None, memo: str | None = None) -> str:
        """Send `amount` to the vault, to be minted for `recipient` (default: oneself); the hash.

        `memo`: this text instead, right or wrong. Raises `SubmitError` if the node refuses.
        """
        text = self.memo(recipient) if memo is None else memo
        return await self.identity.pocket.pay(self.info.pocket_url, self.info.vault, amount, text)

    async def bad_deposit(self, amount: int, memo: str = "no address at all") -> str:
        """Send `amount` to the vault with a memo that names nobody; the hash."""
        return await self.deposit(amount, memo=memo)

    # --- Ethereum ------------------------------------------------------------------------------------------------

    async def mint(self, document: Mapping[str, Any]) -> str:
        """Mint what a signed `mint` document allows, with its data and signatures as they stand there; the hash.

        It is simulated first: raises web3's `ContractLogicError` if the contract refuses.
        """
        async with self._turn:
            return _hash(await send(self._web3, self.identity.ethereum, self._mint_call(document)))

    async def mint_all(self, documents: Sequence[Mapping[str, Any]]) -> list[str]:
        """Mint several at once, those of one recipient by nonce; the hashes, in the order of `documents`.

        Raises `DeployError` if one reverts.
        """
        order = sorted(range(len(documents)), key=lambda place: int(documents[place]["data"]["nonce"]))
        async with self._turn:
            receipts = await send_all(self._web3, self.identity.ethereum, [self._mint_call(documents[place]) for place in order])
        hashes = dict(zip(order, map(_hash, receipts), strict=True))
        return [hashes[place] for place in range(len(documents))]

    async def burn_and_bridge(self, amount: int, recipient: str | None = None) -> str:
        """Burn own wPOKT for `recipient` on Pocket (40 hex characters; default: oneself); the transaction's hash."""
        call = self._token.functions.burnAndBridge(amount, _pocket_address(recipient or self.pocket_address))
        async with self._turn:
            return _hash(await send(self._web3, self.identity.ethereum, call))

    async def burn_many(self, burns: Sequence[tuple[int, str | None]]) -> str:
        """Several burns in one transaction, each (amount, recipient or None for oneself); its hash.

        The sender that the events name is a contract made in that very transaction. Raises `DeployError` if it fails.
        """
        account, token = self.identity.ethereum, self.info.deployment.wpokt
        pairs = [(amount, recipient or self.pocket_address) for amount, recipient in burns]
        code = burn_batch_code(token, pairs)
        async with self._turn:
            nonce = await self._web3.eth.get_transaction_count(account.address, "pending")
            batch = get_create_address(account.address, Nonce(nonce + 1))
            funding = self._token.functions.transfer(to_checksum_address(batch), sum(amount for amount, _ in pairs))
            await send(self._web3, account, funding)
            fee = 2 * await self._web3.eth.gas_price + 10**9
            transaction = {
                "nonce": nonce + 1,
                "chainId": self.info.deployment.chain_id,
                "gas": 300_000 + _BATCH_GAS * len(pairs),
                "maxFeePerGas": fee,
                "maxPriorityFeePerGas": 10**9,
                "value": 0,
                "data": code,
            }
            signed = account.sign_transaction(cast("dict[str, Any]", transaction))
            sent = await self._web3.eth.send_raw_transaction(signed.raw_transaction)
            receipt = await self._web3.eth.wait_for_transaction_receipt(sent, timeout=_BLOCK_SECONDS, poll_latency=0.02)
        if receipt["status"] != 1:
            raise DeployError(f"{len(pairs)} burns in transaction {_hash(receipt)} reverted")
        return _hash(receipt)

    # --- what one has --------------------------------------------------------------------------------------------

    async def pocket_balance(self, address: str | None = None) -> int:
        """uPOKT of an address (default: one's own), as the node says."""
        answer = await post(self.info.pocket_url, "/v1/query/balance", {"height": 0, "address": address or self.pocket_address})
        return int(answer["balance"])

    async def wpokt_balance(self) -> int:
        """wPOKT, in units of uPOKT."""
        return int(await self._token.functions.balanceOf(self.identity.ethereum.address).call())

    async def balances(self) -> Balances:
        """Both sides."""
        return Balances(await self.pocket_balance(), await self.wpokt_balance())

    async def token_supply(self) -> int:
        """wPOKT of everybody, in units of uPOKT."""
        return int(await self._token.functions.totalSupply().call())

    async def nonce(self) -> int:
        """The nonce of one's last mint, 0 before the first."""
        return int(await self._token.functions.getUserNonce(self.identity.ethereum.address).call())

    async def wait_in_block(self, pocket_hash: str, *, seconds: float = _BLOCK_SECONDS) -> int:
        """Wait until one's Pocket transaction is in a block; the height. Raises `TimeoutError`."""
        found: list[int] = []

        async def included() -> bool:
            try:
                answer = await post(self.info.pocket_url, "/v1/query/tx", {"hash": pocket_hash, "prove": False})
            except RuntimeError:  # not in a block yet: the node answers with an error
                return False
            found[:] = [int(answer["height"])]
            return True

        await wait_until(included, seconds=seconds, what=f"Pocket transaction {pocket_hash} to be in a block")
        return found[0]

    def _mint_call(self, document: Mapping[str, Any]) -> Any:  # noqa: ANN401 - web3's call type is generic
        data = document["data"]
        said = (to_checksum_address(data["recipient"]), int(data["amount"]), int(data["nonce"]))
        signatures = [bytes.fromhex(signature.removeprefix("0x")) for signature in document["signatures"]]
        return self._controller.functions.mintWrappedPocket(said, signatures)


def _pocket_address(address: str) -> str:
    return to_checksum_address("0x" + address.removeprefix("0x"))


def _hash(receipt: TxReceipt) -> str:
    return receipt["transactionHash"].to_0x_hex()
