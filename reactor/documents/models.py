"""The documents as pydantic models: the scoping document's BSON names, decimal strings for quantities, lists never null.

Reading never fails: the database is not trusted, so a field of a wrong type or shape is read as its default and named in
`malformed`; the flow then repairs it. Unknown fields are ignored.
"""

from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Annotated, Any, Final, Self

from bson import ObjectId
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from reactor.documents.statuses import TERMINAL, Collection

HISTORY_LIMIT: Final = 64
"""How many history entries a document keeps: the last ones."""
LONGEST_TEXT: Final = 4096
"""No field of ours is longer, `return_tx` and `typed_data` apart: a longer one is malformed."""
LONGEST_DATA: Final = 16384
MOST_ENTRIES: Final = 256
"""More signers, objections or history entries than this are malformed: no vault or contract has as many members."""

NO_TIME: Final = datetime.fromtimestamp(0, UTC)
CLOCKS_DIFFER: Final = timedelta(seconds=5)
"""So much may lie between two validators' clocks where their entries are compared for display."""


def _decimal(value: str) -> str:
    if value and not (value.isascii() and value.isdigit()):
        raise ValueError("not a decimal string")
    return value


Text = Annotated[str, Field(max_length=LONGEST_TEXT)]
Data = Annotated[str, Field(max_length=LONGEST_DATA)]
Decimal = Annotated[str, Field(max_length=78), AfterValidator(_decimal)]


class _Model(BaseModel):
    model_config = ConfigDict(strict=True, frozen=True, extra="ignore", arbitrary_types_allowed=True)


class HistoryEntry(_Model):
    """One status change: what it became, when, by whom (Ethereum address of the validator) and why."""

    status: Text = ""
    at: datetime = NO_TIME
    by: Text = ""
    reason: Text = ""


class Objection(_Model):
    """One validator's signed word that its final view refutes the document. `signer`: Ethereum address; 65-byte signature."""

    signer: Text = ""
    code: Text = ""
    reason: Text = ""
    signature: Text = ""


class Waiting(_Model):
    """For the eye: the typed reason why the document is where it is, with its parameters."""

    reason: Text = ""
    params: dict[str, str] = Field(default_factory=dict)
    by: Text = ""
    at: datetime = NO_TIME


class Memo(_Model):
    address: Text = ""
    chain_id: Text = ""


class MintData(_Model):
    """What the user passes to `mintWrappedPocket`, verbatim."""

    recipient: Text = ""
    amount: Decimal = ""
    nonce: Decimal = ""


class Request(_Model):
    """What the three request collections share. `id` is None where `_id` is no ObjectId (such a document is not ours)."""

    id: ObjectId | None = Field(default=None, alias="_id")
    transaction_hash: Text = ""
    sender_address: Text = ""
    sender_chain_id: Text = ""
    wpokt_address: Text = ""
    vault_address: Text = ""
    amount: Decimal = ""
    confirmations: Decimal = ""
    status: Text = ""
    signers: list[Text] = Field(default_factory=list, max_length=MOST_ENTRIES)
    signatures: list[Text] = Field(default_factory=list, max_length=MOST_ENTRIES)
    history: list[HistoryEntry] = Field(default_factory=list, max_length=MOST_ENTRIES)
    objections: list[Objection] = Field(default_factory=list, max_length=MOST_ENTRIES)
    waiting: Waiting | None = None
    created_at: datetime = NO_TIME
    updated_at: datetime = NO_TIME
    malformed: tuple[str, ...] = Field(default=(), exclude=True)

    @property
    def pairs(self) -> tuple[tuple[str, str], ...]:
        """The (signer, signature) entries as they stand; empty where the two lists are not parallel."""
        if len(self.signers) != len(self.signatures):
            return ()
        return tuple(zip(self.signers, self.signatures, strict=True))

    @property
    def current_waiting(self) -> Waiting | None:
        """What it waits for, unless that was written in an earlier status: by hand, or by a version that left it standing."""
        if self.waiting is None or self.status in TERMINAL:
            return None
        moved = self.history[-1].at if self.history else NO_TIME
        return self.waiting if self.waiting.at + CLOCKS_DIFFER >= moved else None

    @classmethod
    def read(cls, raw: Mapping[str, Any]) -> Self:
        """The document as far as it is well-formed; what is not stands in `malformed`."""
        fields = {name: value for name, value in raw.items() if name != "malformed"}
        bad: set[str] = set()
        while True:
            try:
                return cls.model_validate({**fields, "malformed": tuple(sorted(bad))})
            except ValidationError as error:
                found = {str(fault["loc"][0]) for fault in error.errors() if fault["loc"]}
                bad |= found
                for name in found:
                    fields.pop(name, None)


class Mint(Request):
    """A deposit to be minted. `nonce`, `data` and `typed_data` are copies that every validator computes by itself."""

    height: Decimal = ""
    recipient_address: Text = ""
    recipient_chain_id: Text = ""
    nonce: Decimal = ""
    memo: Memo | None = None
    data: MintData | None = None
    typed_data: Data = ""
    mint_tx_hash: Text = ""


class Payout(Request):
    """What ends in a return transaction on Pocket. `attempt` counts from 0; a new one only after the old failed in a block."""

    attempt: Decimal = "0"
    return_tx: Data = ""
    return_tx_hash: Text = ""


class InvalidMint(Payout):
    """A deposit to be returned, or one that nothing can be done for. `memo` is the raw text."""

    height: Decimal = ""
    memo: Text = ""


class Burn(Payout):
    """A burn to be paid out on Pocket. `log_index`, `block_number`, `block_hash` are facts, corrected until it is final."""

    log_index: Decimal = ""
    burn_index: Decimal = ""
    block_number: Decimal = ""
    block_hash: Text = ""
    recipient_address: Text = ""
    recipient_chain_id: Text = ""


class OpenDocument(_Model):
    """One open document in a heartbeat: what it is and what it waits for."""

    collection: Text = ""
    key: Text = ""
    status: Text = ""
    reason: Text = ""
    params: dict[str, str] = Field(default_factory=dict)
    since: datetime = NO_TIME


class Hindrance(_Model):
    """One reason why a validator is not healthy, for programs: `code`, `about` and `costs` of a `reactor.health.Problem`."""

    code: Text = ""
    about: Text = ""
    costs: list[Text] = Field(default_factory=list, max_length=16)


class Heartbeat(_Model):
    """What a validator says of itself, signed with its Ethereum key; true at all times (`healthy` included).

    The first block of fields are those that the existing monitor app reads. `rivals`: the instances of other processes with the
    same key that it has heard of (`handlers.twins`). `phase`, `cannot`, `signs`: see `reactor.health`; `interval_ms`: the pause
    until the next one, at most; `threshold`: signatures that a mint needs, as the contract said last, 0 if not known;
    `hindrances`: what costs the abilities in `cannot`. An earlier version writes none of these.
    """

    id: ObjectId | None = Field(default=None, alias="_id")
    validator_id: Text = ""
    hostname: Text = ""
    pokt_vault_address: Text = ""
    pokt_public_key: Text = ""
    pokt_address: Text = ""
    eth_address: Text = ""
    wpokt_address: Text = ""
    healthy: bool = False
    created_at: datetime = NO_TIME
    updated_at: datetime = NO_TIME
    identity: Text = ""
    instance: Text = ""
    started_at: datetime = NO_TIME
    counter: int = 0
    version: Text = ""
    phase: Text = ""
    interval_ms: int = Field(default=0, ge=0)
    cannot: list[Text] = Field(default_factory=list, max_length=16)
    signs: list[Text] = Field(default_factory=list, max_length=2)
    threshold: int = Field(default=0, ge=0)
    rivals: list[Text] = Field(default_factory=list, max_length=50)
    pocket_chain_id: Text = ""
    ethereum_chain_id: Text = ""
    pocket_height: Decimal = ""
    ethereum_height: Decimal = ""
    pocket_cursor: Decimal = ""
    ethereum_cursor: Decimal = ""
    last_signature_at: datetime | None = None
    stream_age_ms: int = 0
    open_count: int = 0
    open: list[OpenDocument] = Field(default_factory=list, max_length=50)
    holds: list[Text] = Field(default_factory=list, max_length=50)
    problems: list[Text] = Field(default_factory=list, max_length=50)
    hindrances: list[Hindrance] = Field(default_factory=list, max_length=50)
    signature: Text = ""

    @classmethod
    def read(cls, raw: Mapping[str, Any]) -> Self | None:
        """The heartbeat, or None where it is not one: what is malformed cannot have been signed by a validator."""
        try:
            return cls.model_validate(dict(raw))
        except ValidationError:
            return None


AnyRequest = Mint | InvalidMint | Burn

REQUEST_MODELS: Final[dict[Collection, type[Mint] | type[InvalidMint] | type[Burn]]] = {
    Collection.MINT: Mint,
    Collection.INVALID_MINT: InvalidMint,
    Collection.BURN: Burn,
}


def read_request(collection: Collection, raw: Mapping[str, Any]) -> AnyRequest:
    """A request document of `collection`, malformed fields named instead of raised."""
    return REQUEST_MODELS[collection].read(raw)
