"""Why: the typed reasons that stand in documents, logs and `reactor explain`. One sentence each, parameters beside them."""

from enum import StrEnum


class WaitReason(StrEnum):
    """Why a document stays where it is."""

    NOT_FINAL = "not_final"
    NOT_SEEN = "not_seen"
    CLAIM_UNPROVEN = "claim_unproven"
    LEDGER_BEHIND = "ledger_behind"
    NONCE_UNKNOWN = "nonce_unknown"
    SIGNATURES = "signatures"
    USER = "user"
    MINTED_NOT_FINAL = "minted_not_final"
    OVER_LIMIT = "over_limit"
    COOLING_DOWN = "cooling_down"
    MINTING_PAUSED = "minting_paused"
    FEE_INDIVISIBLE = "fee_indivisible"
    NO_MINTER_ROLE = "no_minter_role"
    NOT_A_MEMBER = "not_a_member"
    OBJECTIONS = "objections"
    VAULT_SHORT = "vault_short"
    RETURN_PENDING = "return_pending"
    RETURN_NOT_FINAL = "return_not_final"
    TURN = "turn"
    HELD = "held"
    PAUSED = "paused"
    OVER_THRESHOLD = "over_threshold"
    OVER_WINDOW = "over_window"
    DISPUTED = "disputed"
    IDENTITY = "identity"
    OTHER_PROCESS = "other_process"
    STATE_REPLACED = "state_replaced"
    OLDER_THAN_JOURNAL = "older_than_journal"
    JOURNAL_CONFLICT = "journal_conflict"
    OBSERVING = "observing"
    LOST_RACE = "lost_race"
    NOT_AGREED = "not_agreed"
    ERROR = "error"


WAIT_SENTENCES: dict[WaitReason, str] = {
    WaitReason.NOT_FINAL: "its source event is not final yet",
    WaitReason.NOT_SEEN: "this validator's own node has not shown the source event",
    WaitReason.CLAIM_UNPROVEN: "its status claims more than this validator's own nodes show yet",
    WaitReason.LEDGER_BEHIND: "this validator has not read the chain up to the event",
    WaitReason.NONCE_UNKNOWN: "the recipient's mint nonce cannot be computed yet",
    WaitReason.SIGNATURES: "more validators must sign",
    WaitReason.USER: "the user has not minted yet",
    WaitReason.MINTED_NOT_FINAL: "the Minted event is not final yet",
    WaitReason.OVER_LIMIT: "the amount is above what the contract mints at once: it waits until the contract's admin raises that",
    WaitReason.COOLING_DOWN: "the contract's mint limit is used up for now: it refills by itself, then the user can mint",
    WaitReason.MINTING_PAUSED: "the token is paused: nobody can mint until its pauser unpauses it",
    WaitReason.FEE_INDIVISIBLE: "the token's fee is on: then only multiples of 0.01 POKT are minted, until the fee is off",
    WaitReason.NO_MINTER_ROLE: "the MintController lacks the token's minter role: nobody can mint until its admin grants it",
    WaitReason.NOT_A_MEMBER: "this validator's key is not among those that sign",
    WaitReason.OBJECTIONS: "validators object; the quorum for failing it is not reached",
    WaitReason.VAULT_SHORT: "the vault's balance does not cover it and the returns under way",
    WaitReason.RETURN_PENDING: "the return transaction is submitted and not in a block yet",
    WaitReason.RETURN_NOT_FINAL: "the return transaction is in a block that is not final yet",
    WaitReason.TURN: "another validator goes first",
    WaitReason.HELD: "it is held until an operator releases it",
    WaitReason.PAUSED: "an operator paused this direction",
    WaitReason.OVER_THRESHOLD: "it is above this validator's limit for one transfer: held until released, or the delay is over",
    WaitReason.OVER_WINDOW: "this validator's limit for the window of time is used up: held until there is room, or released",
    WaitReason.DISPUTED: "it was repaired three times and changed again each time",
    WaitReason.IDENTITY: "this validator's bridge identity differs from that of the others",
    WaitReason.OTHER_PROCESS: "another process may be running with this validator's key",
    WaitReason.STATE_REPLACED: "a file of this validator's state was removed or replaced while it ran: it must be started again",
    WaitReason.OLDER_THAN_JOURNAL: "its source event is older than this validator's signing journal",
    WaitReason.JOURNAL_CONFLICT: "the signing journal binds the event to something else",
    WaitReason.OBSERVING: "this process observes and signs nothing",
    WaitReason.LOST_RACE: "another writer was faster; it is read again",
    WaitReason.NOT_AGREED: "too few of this validator's own endpoints say the same; the parameters name those that do not",
    WaitReason.ERROR: "handling it raised an error; it is tried again",
}


class ObjectionCode(StrEnum):
    """What a validator's own final view refutes about a document. A quorum of these makes it `failed`."""

    NOT_ON_CHAIN = "not_on_chain"
    OTHER_OUTCOME = "other_outcome"
    TRANSACTION_FAILED = "transaction_failed"
    NOT_ABOVE_FEE = "not_above_fee"
    RECIPIENT_IS_VAULT = "recipient_is_vault"
    RECIPIENT_IS_ZERO = "recipient_is_zero"


OBJECTION_SENTENCES: dict[ObjectionCode, str] = {
    ObjectionCode.NOT_ON_CHAIN: "the chain holds no such event",
    ObjectionCode.OTHER_OUTCOME: "the event belongs in another collection",
    ObjectionCode.TRANSACTION_FAILED: "the deposit's transaction failed on chain: nothing arrived",
    ObjectionCode.NOT_ABOVE_FEE: "the amount is not above the transaction fee: nothing would be left to pay out",
    ObjectionCode.RECIPIENT_IS_VAULT: "the payout would go to the vault itself",
    ObjectionCode.RECIPIENT_IS_ZERO: "the payout would go to the zero address",
}


class HoldReason(StrEnum):
    """Why this validator stopped signing something until its operator releases it."""

    OPERATOR = "operator"
    UNEXPLAINED_RETURN = "unexplained_return"
    UNEXPLAINED_MINT = "unexplained_mint"
    NONCE_CONTRADICTED = "nonce_contradicted"
    RETURN_FAILED = "return_failed"
    LOST_JOURNAL = "lost_journal"
    DEEP_REORG = "deep_reorg"
    OVER_THRESHOLD = "over_threshold"
    OVER_WINDOW = "over_window"
    BOOKS_OVERDRAWN = "books_overdrawn"
