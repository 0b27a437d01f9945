"""Why: each reason of this program, declared once. A new one is one entry here.

An entry holds the code, which stands in documents, heartbeats, journals and logs and therefore never changes; the sentence for
people; the names of the parameters that may stand beside it; and what else follows from the reason, so that nobody keeps a list
of reasons of his own. Parameters are texts.
"""

from enum import Enum, StrEnum, auto
from typing import Self


class Reason(StrEnum):
    """One declared reason: equal to its code. `sentence`: for somebody who does not know this program."""

    sentence: str
    params: frozenset[str]

    def __new__(cls, code: str, *_declared: object) -> Self:
        one = str.__new__(cls, code)
        one._value_ = code
        return one

    def __init__(self, _code: str, sentence: str, params: tuple[str, ...] = ()) -> None:
        self.sentence = sentence
        self.params = frozenset(params)

    @classmethod
    def of_code(cls, code: str) -> Self | None:
        """The reason of a code that somebody else wrote; None where this version knows none."""
        return next((one for one in cls if one.value == code), None)


class Of(Enum):
    """What a wait is about: that decides who is told of it."""

    REQUEST = auto()
    """The request itself: every validator finds it so."""
    CONTRACT = auto()
    """The contracts would refuse the signed mint now."""
    VALIDATOR = auto()
    """Keeps the validator that says it from signing, and nobody else: over once its signature is there."""
    PROCESS = auto()
    """This very process, which writes nothing: stands in no document."""
    MOMENT = auto()
    """Over in a moment: stands in no document, and a sweep need not come back for it."""


class WaitReason(Reason):
    """Why a document stays where it is."""

    of: Of

    def __init__(self, code: str, sentence: str, params: tuple[str, ...] = (), of: Of = Of.REQUEST) -> None:
        super().__init__(code, sentence, params)
        self.of = of

    NOT_FINAL = "not_final", "its source event is not final yet", ("chain", "final_at", "height", "final")
    NOT_SEEN = "not_seen", "this validator's own node has not shown the source event", ("height", "block")
    CLAIM_UNPROVEN = (
        "claim_unproven",
        "its status claims more than this validator's own nodes show yet",
        ("status", "attempt"),
    )
    LEDGER_BEHIND = "ledger_behind", "this validator has not read the chain up to the event", ("chain", "height", "detail")
    NONCE_UNKNOWN = "nonce_unknown", "the recipient's mint nonce cannot be computed yet", ("recipient", "nonce", "minted")
    SIGNATURES = "signatures", "more validators must sign", ("have", "need")
    UNCOMPLETED = "uncompleted", "enough have signed: a running validator completes it"
    USER = "user", "the user has not minted yet"
    EARLIER_MINT = "earlier_mint", "the recipient's mint before it must be taken first", ("nonce", "deposit")
    MINTED_NOT_FINAL = "minted_not_final", "the Minted event is not final yet", ("final_at", "height")
    OVER_LIMIT = (
        "over_limit",
        "the amount is above what the contract mints at once: it waits until the contract's admin raises that",
        ("amount", "limit"),
        Of.CONTRACT,
    )
    COOLING_DOWN = (
        "cooling_down",
        "the contract's mint limit is used up for now: it refills by itself, then the user can mint",
        ("amount", "per_second", "enough_at"),
        Of.CONTRACT,
    )
    MINTING_PAUSED = (
        "minting_paused",
        "the token is paused: nobody can mint until its pauser unpauses it",
        (),
        Of.CONTRACT,
    )
    FEE_INDIVISIBLE = (
        "fee_indivisible",
        "the token's fee is on: then only multiples of 0.01 POKT are minted, until the fee is off",
        ("amount", "unit"),
        Of.CONTRACT,
    )
    NO_MINTER_ROLE = (
        "no_minter_role",
        "the MintController lacks the token's minter role: nobody can mint until its admin grants it",
        (),
        Of.CONTRACT,
    )
    NOT_A_MEMBER = "not_a_member", "this validator's key is not among those that sign", ("address",), Of.VALIDATOR
    OBJECTIONS = "objections", "validators object; the quorum for failing it is not reached", ("code", "have", "need")
    VAULT_SHORT = "vault_short", "the vault's balance does not cover it and the returns under way", ("short",)
    UNSUBMITTED = "unsubmitted", "all have signed: a running validator submits the return"
    RETURN_PENDING = "return_pending", "the return transaction is submitted and not in a block yet", ("return_tx_hash",)
    RETURN_NOT_FINAL = "return_not_final", "the return transaction is in a block that is not final yet", ("final_at", "height")
    TURN = "turn", "another validator goes first", ("for",), Of.MOMENT
    HELD = "held", "it is held until an operator releases it", ("scope", "reason", "by", "detail"), Of.VALIDATOR
    PAUSED = "paused", "an operator paused this direction", ("scope", "reason", "by", "detail"), Of.VALIDATOR
    OVER_THRESHOLD = (
        "over_threshold",
        "it is above this validator's limit for one transfer: held until released, or the delay is over",
        ("amount", "limit", "until", "delay", "detail"),
        Of.VALIDATOR,
    )
    OVER_WINDOW = (
        "over_window",
        "this validator's limit for the window of time is used up: held until there is room, or released",
        ("amount", "limit", "moved", "seconds", "until", "delay", "detail"),
        Of.VALIDATOR,
    )
    DISPUTED = "disputed", "it was repaired three times and changed again each time", ("code", "fields", "status")
    IDENTITY = "identity", "this validator's bridge identity differs from that of the others", ("detail",), Of.VALIDATOR
    OTHER_PROCESS = (
        "other_process",
        "another process may be running with this validator's key",
        ("detail",),
        Of.VALIDATOR,
    )
    STATE_REPLACED = (
        "state_replaced",
        "a file of this validator's state was removed or replaced while it ran: it must be started again",
        ("detail",),
        Of.VALIDATOR,
    )
    OLDER_THAN_JOURNAL = (
        "older_than_journal",
        "its source event is older than this validator's signing journal",
        ("detail",),
        Of.VALIDATOR,
    )
    JOURNAL_CONFLICT = (
        "journal_conflict",
        "the signing journal binds the event to something else",
        ("detail",),
        Of.VALIDATOR,
    )
    OBSERVING = "observing", "this process observes and signs nothing", ("would",), Of.PROCESS
    LOST_RACE = "lost_race", "another writer was faster; it is read again", (), Of.MOMENT
    WRITTEN = "written", "this validator has just written to it; it is read again", ("wrote",), Of.MOMENT
    NOT_AGREED = (
        "not_agreed",
        "too few of this validator's own endpoints say the same; the parameters name those that do not",
        ("subject", "have", "need", "agreeing", "endpoints"),
    )


class ObjectionCode(Reason):
    """What a validator's own final view refutes about a document. A quorum of these makes it `failed`."""

    NOT_ON_CHAIN = "not_on_chain", "the chain holds no such event"
    OTHER_OUTCOME = "other_outcome", "the event belongs in another collection"
    TRANSACTION_FAILED = "transaction_failed", "the deposit's transaction failed on chain: nothing arrived"
    NOT_ABOVE_FEE = "not_above_fee", "the amount is not above the transaction fee: nothing would be left to pay out"
    RECIPIENT_IS_VAULT = "recipient_is_vault", "the payout would go to the vault itself"
    RECIPIENT_IS_ZERO = "recipient_is_zero", "the payout would go to the zero address"


class Ends(Enum):
    """How a hold ends."""

    RELEASED = auto()
    """An operator releases it, once it is explained."""
    RESUMED = auto()
    """It is a pause: an operator resumes the direction."""
    BY_ITSELF = auto()
    """With time, or when there is room again; an operator may release it before."""
    AFTER_READING = auto()
    """An operator must do something else before it may be released at all."""


class HoldReason(Reason):
    """Why this validator stopped signing something. What it is about stands in the hold's own `detail` and `subject`."""

    ends: Ends

    def __init__(self, code: str, sentence: str, ends: Ends = Ends.RELEASED) -> None:
        super().__init__(code, sentence)
        self.ends = ends

    OPERATOR = "operator", "an operator holds it"
    PAUSED = "paused", "an operator paused this direction", Ends.RESUMED
    UNEXPLAINED_RETURN = "unexplained_return", "a payment left the vault that no burn and no bad deposit explains"
    UNEXPLAINED_MINT = "unexplained_mint", "tokens were minted that no deposit explains"
    NONCE_CONTRADICTED = "nonce_contradicted", "a mint to this recipient is not the one whose turn it was"
    RETURN_FAILED = "return_failed", "its return failed in a block, or two different ones are complete: one too many may be paid"
    LOST_JOURNAL = (
        "lost_journal",
        "this key has made a signature that the signing journal does not know",
        Ends.AFTER_READING,
    )
    DEEP_REORG = "deep_reorg", "a final block was replaced, or a node lies"
    OVER_THRESHOLD = "over_threshold", "it is above this validator's limit for one transfer", Ends.BY_ITSELF
    OVER_WINDOW = "over_window", "this validator's limit for the window of time is used up", Ends.BY_ITSELF
    BOOKS_OVERDRAWN = "books_overdrawn", "more is out than in"


class Refusal(Reason):
    """Why the journal refuses a signature: said by the wait that the document shows then, with the particulars as `detail`.

    `of_limits`: refused by this validator's own limits.
    """

    wait: WaitReason
    of_limits: bool

    def __init__(self, code: str, wait: WaitReason, of_limits: bool = False) -> None:  # noqa: FBT001 - a row of a table
        super().__init__(code, wait.sentence, ("detail",))
        self.wait = wait
        self.of_limits = of_limits

    HELD = "held", WaitReason.HELD
    PAUSED = "paused", WaitReason.PAUSED
    OLDER_THAN_JOURNAL = "older_than_journal", WaitReason.OLDER_THAN_JOURNAL
    CONFLICT = "conflict", WaitReason.JOURNAL_CONFLICT
    UNRELEASED = "unreleased", WaitReason.HELD
    SLOT_TAKEN = "slot_taken", WaitReason.JOURNAL_CONFLICT
    OVER_THRESHOLD = "over_threshold", WaitReason.OVER_THRESHOLD, True
    OVER_WINDOW = "over_window", WaitReason.OVER_WINDOW, True
    AMOUNT_UNKNOWN = "amount_unknown", WaitReason.LEDGER_BEHIND, True
    OTHER_PROCESS = "other_process", WaitReason.OTHER_PROCESS
    STATE_REPLACED = "state_replaced", WaitReason.STATE_REPLACED
