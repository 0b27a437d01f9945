"""What a deposit or burn is to become, from the chains and the bridge's identity alone.

One deposit, one outcome (TRUST.md, rule 9). The fee and the maximum in force are those of the event's own height, so
every validator classifies alike at any time.
"""

from dataclasses import dataclass
from enum import StrEnum

from reactor.documents.bridge import Bridge
from reactor.documents.events import Burn, Deposit
from reactor.documents.reasons import ObjectionCode
from reactor.documents.statuses import Collection

ZERO_ETHEREUM = "0x" + "0" * 40
ZERO_POCKET = "0" * 40
# Go's strconv.ParseInt and big.Int accept a sign; forty digits are far above any chain id and keep int() cheap.
_LONGEST_CHAIN_ID = 40


class RefundCause(StrEnum):
    """Why a deposit that arrived is returned instead of minted."""

    MEMO = "memo"
    MEMO_ADDRESS_ZERO = "memo_address_zero"
    MEMO_CHAIN = "memo_chain"
    ABOVE_MAXIMUM = "above_maximum"


@dataclass(frozen=True, slots=True)
class ToMint:
    """The deposit is to be minted to `recipient` (Ethereum, lower case), in full: mints cost no Pocket fee."""

    recipient: str
    amount: int


@dataclass(frozen=True, slots=True)
class ToPay:
    """`amount` upokt go to the Pocket address `recipient`, `fee` is the transaction's; their sum left the other side."""

    recipient: str
    amount: int
    fee: int
    memo: str
    cause: RefundCause | None = None


@dataclass(frozen=True, slots=True)
class NotPayable:
    """Nothing can be paid: a quorum of objections with this code makes the document `failed`."""

    code: ObjectionCode


DepositOutcome = ToMint | ToPay | NotPayable
BurnOutcome = ToPay | NotPayable


def classify_deposit(bridge: Bridge, deposit: Deposit) -> DepositOutcome:
    """Mint, refund or nothing. Order: did money arrive, is it above the fee, is the memo right, is it within the maximum."""
    fee = bridge.deposit_fee.at(deposit.height)
    if deposit.code != 0 or deposit.amount is None or not deposit.is_send:
        return NotPayable(ObjectionCode.TRANSACTION_FAILED)
    if deposit.amount <= fee:
        return NotPayable(ObjectionCode.NOT_ABOVE_FEE)
    cause = _refund_cause(bridge, deposit, deposit.amount)
    if cause is None and deposit.memo_address is not None:
        return ToMint(deposit.memo_address, deposit.amount)
    return ToPay(deposit.sender, deposit.amount - fee, fee, deposit.tx_hash, cause)


def _refund_cause(bridge: Bridge, deposit: Deposit, amount: int) -> RefundCause | None:
    if deposit.memo_address is None or deposit.memo_chain_id is None:
        return RefundCause.MEMO
    if deposit.memo_address == ZERO_ETHEREUM:
        return RefundCause.MEMO_ADDRESS_ZERO
    if not same_chain_id(deposit.memo_chain_id, bridge.ethereum_chain_id):
        return RefundCause.MEMO_CHAIN
    if amount > bridge.maximum.at(deposit.height):
        return RefundCause.ABOVE_MAXIMUM
    return None


def same_chain_id(text: str, chain_id: int) -> bool:
    """Both sides as signed decimal integers: `0001` and `+1` are 1 (the deployed Morse rule)."""
    digits = text[1:] if text[:1] in {"+", "-"} else text
    if not digits or len(digits) > _LONGEST_CHAIN_ID or not (digits.isascii() and digits.isdigit()):
        return False
    return int(text) == chain_id


def deposit_collection(outcome: DepositOutcome) -> Collection:
    """The collection a deposit's document lies in. What cannot be paid lies with the invalid mints and fails there."""
    return Collection.MINT if isinstance(outcome, ToMint) else Collection.INVALID_MINT


def classify_burn(bridge: Bridge, burn: Burn) -> BurnOutcome:
    """Payout or nothing. A payout to the vault would be a deposit again: it would loop until fees ate the amount."""
    fee = bridge.burn_fee.at(burn.height)
    if burn.amount <= fee:
        return NotPayable(ObjectionCode.NOT_ABOVE_FEE)
    if burn.recipient == bridge.vault:
        return NotPayable(ObjectionCode.RECIPIENT_IS_VAULT)
    if burn.recipient == ZERO_POCKET:
        return NotPayable(ObjectionCode.RECIPIENT_IS_ZERO)
    return ToPay(burn.recipient, burn.amount - fee, fee, burn.tx_hash)
