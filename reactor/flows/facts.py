"""Facts: what this validator knows by itself, from its ledger and its own nodes. Frozen; a flow sees nothing else.

Everything here was computed by the validator. What another wrote into the document appears only as already judged:
`SignatureView` and `objectors` hold what has been verified cryptographically.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from reactor.documents.bridge import Bridge
from reactor.documents.classification import BurnOutcome, DepositOutcome
from reactor.documents.events import Minted, Returned
from reactor.documents.objections import objection_quorum
from reactor.documents.reasons import WaitReason
from reactor.flows.decisions import Params, nothing

Pair = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Source:
    """The source event as the own ledger has it.

    `outcome` is None where the ledger holds no such event. `refuted`: the own scanner is final past the place that the
    document claims, and the own node knows no such transaction either. `fields`: what the event decides in the document.
    `final_at`: the head at which the event is final.
    """

    outcome: DepositOutcome | BurnOutcome | None = None
    final: bool = False
    refuted: bool = False
    fields: Mapping[str, Any] | None = None
    final_at: int = 0
    chain: str = "pocket"


@dataclass(frozen=True, slots=True)
class Quorum:
    """Who may sign mints, as the contract says now. `members`: Ethereum addresses, lower case."""

    threshold: int
    members: frozenset[str]

    @property
    def objections(self) -> int:
        """How many objections make a document fail."""
        return objection_quorum(self.threshold, len(self.members))


@dataclass(frozen=True, slots=True)
class Blocked:
    """Why this validator does not sign now although the event is justified: held, paused, not a member, observing …"""

    reason: WaitReason
    params: Params = field(default_factory=nothing)


@dataclass(frozen=True, slots=True)
class SignatureView:
    """The document's entries, verified over the own digest: those that count and those that do not, and whether in order.

    Each signer counts once, with his first valid entry; another valid one of his stands in `invalid`, so that it is dropped.
    """

    valid: tuple[Pair, ...] = ()
    invalid: tuple[Pair, ...] = ()
    ordered: bool = True

    def __post_init__(self) -> None:
        # SECURITY: a key service signs differently each time, so one signer can have several valid entries in a document. They
        # are one voice, and the contract refuses a list that names a signer twice.
        first = dict(reversed(self.valid))
        if len(first) == len(self.valid):
            return
        doubles = tuple(pair for pair in self.valid if first[pair[0]] != pair[1])
        object.__setattr__(self, "valid", tuple((signer, first[signer]) for signer in dict(self.valid)))
        object.__setattr__(self, "invalid", (*self.invalid, *doubles))
        object.__setattr__(self, "ordered", False)

    @property
    def signers(self) -> frozenset[str]:
        return frozenset(signer for signer, _ in self.valid)


@dataclass(frozen=True, slots=True)
class Common:
    """What every flow needs.

    `me`: the own Ethereum address (who acted, who objects). `own_key`: the name under which this flow's signatures stand (the
    same address for mints, the Ed25519 public key for payouts). `claim_refuted`: the document has claimed its status for so
    long that the evidence, had there been any, would lie in what this validator has read as final. `repairs`: how often this
    validator has repaired this document.
    """

    bridge: Bridge
    me: str
    own_key: str
    source: Source
    quorum: Quorum
    signatures: SignatureView = SignatureView()
    objectors: frozenset[str] = frozenset()
    own_objection: bool = False
    signed_before: bool = False
    claim_refuted: bool = False
    blocked: Blocked | None = None
    repairs: int = 0
    pocket_head: int = 0
    ethereum_head: int = 0
    oversized: bool = False


@dataclass(frozen=True, slots=True)
class MintTerms:
    """What the contracts take at present: amounts in upokt, `per_second` in upokt per second, `now` in Unix seconds.

    `maximum`: of one mint ever (`maxMintLimit`); `limit`: now (`currentMintLimit`), refilled by `per_second`; `fee`: the token
    keeps a fee; `minter`: the controller may mint.
    """

    maximum: int
    limit: int
    per_second: int
    paused: bool
    fee: bool
    minter: bool
    now: int


@dataclass(frozen=True, slots=True)
class MintFacts(Common):
    """Facts for one mint. `copies`: nonce, data and typed data as computed from the chains; None while the nonce is unknown.

    `minted`: the `Minted` event for (recipient, nonce) in the own ledger. `terms`: what the contracts take now.
    """

    copies: Mapping[str, Any] | None = None
    nonce_wait: Blocked | None = None
    minted: Minted | None = None
    minted_final: bool = False
    minted_final_at: int = 0
    terms: MintTerms = MintTerms(0, 0, 0, paused=False, fee=False, minter=True, now=0)


@dataclass(frozen=True, slots=True)
class PayoutFacts(Common):
    """Facts for one burn or invalid mint.

    `attempt`: how many returns of this event failed in a block, from the chain; `released`: how many the operator released.
    `paid`: the vault's own transaction that pays this event (code 0). `complete`: the journaled complete transaction of this
    attempt. `stored`: what the document's `return_tx` is worth. `shortfall`: what the vault lacks, 0 if it covers everything.
    `lost`: the submitted transaction is in no block and has had time enough.
    """

    attempt: int = 0
    released: int = 0
    paid: Returned | None = None
    paid_final: bool = False
    paid_final_at: int = 0
    complete_hash: str | None = None
    stored_valid: bool = False
    stored_hash: str = ""
    shortfall: int = 0
    lost: bool = False
    keys: tuple[str, ...] = ()
