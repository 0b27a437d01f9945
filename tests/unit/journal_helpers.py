"""A bridge for journals and ledgers, and what is asked of a signing journal. The journal itself is a fixture in `conftest.py`."""

from reactor.documents.bridge import Bridge, Schedule
from reactor.documents.keys import burn_key, deposit_key, nonce_slot
from reactor.state.journal import Journal, JournalEntry
from reactor.state.verdicts import Refusal, Refused, Verdict

NOW = 1_700_000_000
"""What the journal's clock shows, in seconds since the epoch."""

BRIDGE = Bridge(
    pocket_chain_id="testnet",
    vault="aa" * 20,
    pocket_keys=("11" * 32, "22" * 32),
    pocket_start=10,
    deposit_fee=Schedule(((0, 10_000),)),
    maximum=Schedule(((0, 10**12),)),
    ethereum_chain_id=31337,
    wpokt="0x" + "bb" * 20,
    mint_controller="0x" + "cc" * 20,
    ethereum_start=100,
    burn_fee=Schedule(((0, 10_000),)),
)
ALICE = "0x" + "a1" * 20
HEIGHTS = {"pocket": 50, "ethereum": 500}
DEPOSIT = deposit_key(BRIDGE, "d1")
BURN = burn_key(BRIDGE, "0xb1", 0)


def mint(tx: str = "d1", digest: int = 1, nonce: int = 1, attempt: int = 0, height: int = 51) -> JournalEntry:
    slot = nonce_slot(BRIDGE, ALICE, nonce)
    return JournalEntry(deposit_key(BRIDGE, tx), "mint", attempt, bytes([digest]) * 32, slot, "pocket", height, "mint", ALICE)


def payout(digest: int = 1, attempt: int = 0, height: int = 501) -> JournalEntry:
    return JournalEntry(BURN, "payout", attempt, bytes([digest]) * 32, None, "ethereum", height, "payout", "5e" * 20)


def refusals(verdicts: list[Verdict]) -> list[Refusal | None]:
    return [verdict.reason if isinstance(verdict, Refused) else None for verdict in verdicts]


def slot_owner(journal: Journal, slot: str) -> str | None:
    """The event that a slot is bound to, as it lies in the file."""
    row = journal._db.read_one("SELECT event FROM slots WHERE slot = ?", (slot,))
    return None if row is None else str(row[0])
