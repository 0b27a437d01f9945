"""What the chains say, worked out without the bridge's own code: who is owed what, what was paid, which digests are justified.

The rules stand here a second time on purpose: the validators' journals are compared with them.
"""

import json
import re
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from eth_account.messages import _hash_eip191_message, encode_typed_data
from eth_utils.address import to_checksum_address

from infra.contracts import WRAPPED_POCKET, load_artifact
from infra.localnet.network import Localnet
from infra.localnet.pocket.txindex import IndexedTx
from infra.localnet.pocket.wallet import Unsigned
from reactor.state.journal import Journal

FEE = 10_000
_ADDRESS = re.compile(r"0[xX][0-9a-fA-F]{40}")
_INTEGER = re.compile(r"[+-]?[0-9]{1,9}")


@dataclass(frozen=True)
class Owed:
    """What one event justifies: the digests that may be signed for it, by attempt."""

    key: str
    outcome: str
    digests: tuple[bytes, ...]


@dataclass(frozen=True)
class Payment:
    """One transaction that the vault sent: recipient, amount, memo, entropy, result code."""

    hash: str
    recipient: str
    amount: int
    memo: str
    entropy: int
    code: int


class Judge:
    """Reads both chains of the network, from their first block."""

    def __init__(self, net: Localnet) -> None:
        self.net = net

    # --- Pocket ----------------------------------------------------------------------------------------------

    def _of_vault(self, *, received: bool) -> list[IndexedTx]:
        vault = bytes.fromhex(self.net.bridge.vault)
        node = self.net.pocket
        found = node.chain.index.of_account(
            vault, received=received, low=0, high=node.height, page=slice(0, 10**6), newest_first=False
        )
        return list(found.txs)

    def payments(self, memo: str | None = None, *, good: bool = True) -> list[Payment]:
        """What the vault sent, oldest first; of one memo, and only what arrived unless `good` is False."""
        sent = []
        for one in self._of_vault(received=False):
            assert one.tx is not None
            said, text = one.tx.msg, _text(one.tx.memo)
            sent.append(Payment(one.hash.lower(), said.to_address.hex(), said.amount, text, one.tx.entropy, one.result.code))
        return [one for one in sent if memo in {None, one.memo} and not (good and one.code)]

    def _deposits(self) -> list[IndexedTx]:
        vault = bytes.fromhex(self.net.bridge.vault)
        good = [one for one in self._of_vault(received=True) if one.tx is not None and one.result.code == 0]
        return [one for one in good if one.tx is not None and one.tx.msg.from_address != vault and one.tx.msg.amount > FEE]

    # --- what is owed ----------------------------------------------------------------------------------------

    async def owed(self) -> dict[str, Owed]:
        """By the event's key as the journal names it."""
        bridge = self.net.bridge
        found: dict[str, Owed] = {}
        rank: Counter[str] = Counter()
        for one in sorted(self._deposits(), key=lambda tx: (tx.height, tx.index)):
            assert one.tx is not None
            hash_ = one.hash.lower()
            key = f"pocket:localnet:{bridge.vault}:{hash_}"
            recipient = self._recipient(_text(one.tx.memo))
            if recipient is not None and one.tx.msg.amount <= bridge.maximum.at(one.height):
                rank[recipient] += 1
                found[key] = Owed(key, "mint", (self.mint_digest(recipient, one.tx.msg.amount, rank[recipient]),))
            else:
                sender = one.tx.msg.from_address.hex()
                found[key] = self._payout(key, sender, one.tx.msg.amount, hash_, "localnet", 0)
        for hash_, index, amount, recipient in await self.burns():
            if amount > FEE and recipient not in {bridge.vault, "0" * 40}:
                key = f"ethereum:31337:{bridge.wpokt}:{hash_}:{index}"
                found[key] = self._payout(key, recipient, amount, hash_, "31337", index)
        return found

    @staticmethod
    def _recipient(memo: str) -> str | None:
        """To whom a memo asks to mint, by the rules of the deployed bridge; None where it must be refunded."""
        try:
            said = json.loads(memo, object_pairs_hook=lambda pairs: {name.lower(): value for name, value in pairs})
        except ValueError:
            return None
        address, chain = (said.get("address"), said.get("chain_id")) if isinstance(said, dict) else (None, None)
        if not isinstance(address, str) or not isinstance(chain, str):
            return None
        if not _ADDRESS.fullmatch(address) or not _INTEGER.fullmatch(chain) or int(chain) != 31337 or not int(address, 16):
            return None
        return address.lower()

    def mint_digest(self, recipient: str, amount: int, nonce: int) -> bytes:
        """EIP-712 by eth-account."""
        bridge = self.net.bridge
        message = encode_typed_data(
            domain_data={
                "name": "MintController",
                "version": "1",
                "chainId": bridge.ethereum_chain_id,
                "verifyingContract": to_checksum_address(bridge.mint_controller),
            },
            message_types={
                "MintData": [
                    {"name": "recipient", "type": "address"},
                    {"name": "amount", "type": "uint256"},
                    {"name": "nonce", "type": "uint256"},
                ]
            },
            message_data={"recipient": to_checksum_address(recipient), "amount": amount, "nonce": nonce},
        )
        return bytes(_hash_eip191_message(message))

    def _payout(self, key: str, recipient: str, total: int, source: str, chain: str, index: int) -> Owed:
        digests = []
        for attempt in range(3):
            seed = json.dumps(["bridge-reactor/pocket-return-entropy/1", chain, source, index, attempt], separators=(",", ":"))
            entropy = int.from_bytes(sha256(seed.encode()).digest()[:8], "big", signed=True)
            said = Unsigned(self.net.bridge.vault, recipient, total - FEE, source, entropy, FEE)
            digests.append(sha256(said.sign_bytes()).digest())
        return Owed(key, "payout", tuple(digests))

    # --- Ethereum --------------------------------------------------------------------------------------------

    async def burns(self) -> list[tuple[str, int, int, str]]:
        """(transaction hash, index among its burns, amount, recipient), in the chain's order."""
        token = self._token()
        seen: Counter[str] = Counter()
        found = []
        for log in await token.events.BurnAndBridge().get_logs(from_block=0):
            hash_ = log["transactionHash"].to_0x_hex()
            said = log["args"]
            found.append((hash_, seen[hash_], int(said["amount"]), str(said["poktAddress"]).lower()[2:]))
            seen[hash_] += 1
        return found

    async def balance(self, address: str) -> int:
        return int(await self._token().functions.balanceOf(to_checksum_address(address)).call())

    async def nonce(self, address: str) -> int:
        return int(await self._token().functions.getUserNonce(to_checksum_address(address)).call())

    def _token(self) -> Any:
        abi = load_artifact(WRAPPED_POCKET).abi
        return self.net.web3.eth.contract(address=to_checksum_address(self.net.bridge.wpokt), abi=abi)

    # --- verdicts --------------------------------------------------------------------------------------------

    async def unjustified(self, journals: Iterable[Journal]) -> list[str]:
        """What the journals hold that the chains do not justify: wrong digests, events that never were, wrong objections."""
        owed = await self.owed()
        wrong = []
        for journal in journals:
            for row in journal.export()["signatures"]:
                due = owed.get(row["event"])
                if row["outcome"] == "objection":
                    if due is not None:
                        wrong.append(f"an objection to {row['event']}, which is due a {due.outcome}")
                elif due is None:
                    wrong.append(f"a {row['outcome']} for {row['event']}, for which nothing is due")
                elif row["outcome"] != due.outcome or bytes.fromhex(row["digest"]) != due.digests[row["attempt"]]:
                    wrong.append(f"{row['outcome']} {row['attempt']} for {row['event']} over {row['digest']}")
        return wrong

    async def unpaid_or_doubled(self) -> list[str]:
        """Payouts that are due and were not paid exactly once, and payments that nothing is due for."""
        due: Counter[tuple[str, int, str]] = Counter()
        for one in self._deposits():
            assert one.tx is not None
            if self._recipient(_text(one.tx.memo)) is None or one.tx.msg.amount > self.net.bridge.maximum.at(one.height):
                due[one.tx.msg.from_address.hex(), one.tx.msg.amount - FEE, one.hash.lower()] += 1
        for hash_, _, amount, recipient in await self.burns():
            if amount > FEE and recipient not in {self.net.bridge.vault, "0" * 40}:
                due[recipient, amount - FEE, hash_] += 1
        paid = Counter((one.recipient, one.amount, one.memo) for one in self.payments())
        return [f"{what}: due {due[what]}, paid {paid[what]}" for what in {*due, *paid} if due[what] != paid[what]]


def _text(memo: bytes) -> str:
    return memo.decode(errors="replace")
