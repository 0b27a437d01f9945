"""Both flows under everything that may go wrong: validators that see different chains, lost and late writes, restarts,
reorganisations, forged documents. What must hold, holds after each step; and once the forging ends, every request ends."""

import os
from typing import Any

import pytest
from bson import ObjectId
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from reactor.documents.classification import NotPayable, ToMint, ToPay
from reactor.documents.events import Burn, Deposit, Minted, Returned
from reactor.documents.keys import document_id, event_key
from reactor.documents.models import Burn as BurnModel
from reactor.documents.models import Mint
from reactor.documents.statuses import REQUESTS, Collection, Status
from tests.property.flow_validator import Validator
from tests.property.flow_world import (
    ADDRESSES,
    BRIDGE,
    FEE,
    MEMBERS,
    Id,
    Ledger,
    World,
    Write,
    entropies,
    everywhere,
    fresh,
    home,
    natural,
    outcome_of,
)

pytestmark = pytest.mark.property

USERS = ["0x" + "c1" * 20, "0x" + "c2" * 20]
POCKET_USERS = ["d1" * 20, "d2" * 20]
RESTLESS = 40
"""Rounds of all validators over all documents, chains standing still, after which they must have come to rest."""
LONG_ENOUGH = 60
"""Rounds, with chains moving on, after which every request must have ended."""

validators = st.integers(0, MEMBERS - 1)
pick = st.integers(0, 10**6)
chains = st.sampled_from(["pocket", "ethereum"])
BAD = st.sampled_from([None, 5, "", "x", [], ["x"], {"a": 1}, "7", "pending", True])
FIELDS = st.sampled_from(sorted({*Mint.model_fields, *BurnModel.model_fields} - {"id", "malformed"}))


class FlowMachine(RuleBasedStateMachine):
    """Five validators, three of them enough for a mint, all of them for a payout."""

    @initialize(
        events=st.lists(st.sampled_from(["mint", "mint", "refund", "dust", "burn", "twins"]), max_size=3),
        passes=st.integers(0, 3),
    )
    def begin(self, events: list[str], passes: int) -> None:
        """Some requests are there already, and some of them on their way."""
        self.world = World()
        self.validators = [Validator(self.world, number, Ledger(self.world)) for number in range(MEMBERS)]
        self.under_way: list[Write] = []
        self.gone: list[Any] = []
        self.nonces: dict[str, str] = {}
        for event in events:
            if event in {"burn", "twins"}:
                self.burn(100, POCKET_USERS[0], 1 if event == "burn" else 2, forged=False)
            else:
                self.deposit(FEE if event == "dust" else 100, None if event == "refund" else USERS[0], 0, forged=False)
        for _ in range(passes):
            self.blocks("pocket", 1)
            self.blocks("ethereum", 1)
            self.heads(0)
            self._round(everywhere(self.world))

    def _doc(self, number: int) -> Id | None:
        documents = everywhere(self.world)
        return documents[number % len(documents)] if documents else None

    def _tick(self) -> None:
        self.world.clock += 1

    # ------------------------------------------------------------------ what happens on the chains

    @rule(
        amount=st.sampled_from([100, 100, 100, FEE, FEE + 1, 1000, 1001]),
        to=st.sampled_from([*USERS, None]),
        code=st.sampled_from([0, 0, 0, 10]),
        forged=st.booleans(),
    )
    def deposit(self, amount: int, to: str | None, code: int, *, forged: bool) -> None:
        """`forged`: somebody knows the transaction before it is in a block, and writes documents of it."""
        tx = self.world.tx_hash("pocket")
        block = self.world.block("pocket", 1)
        made = Deposit(tx, 0, block, POCKET_USERS[0], amount, code, True, "memo", to, "1" if to else None)
        if forged:
            self._announced(made)
        self.world.appears(made)
        self._tick()

    @rule(
        amount=st.sampled_from([100, 100, FEE, FEE + 1]),
        to=st.sampled_from([*POCKET_USERS, BRIDGE.vault]),
        twins=st.integers(1, 2),
        forged=st.booleans(),
    )
    def burn(self, amount: int, to: str, twins: int, *, forged: bool) -> None:
        tx = self.world.tx_hash("ethereum")
        made = [Burn(tx, i, i, self.world.block("ethereum", 1), USERS[0], to, amount) for i in range(twins)]
        if forged:
            self._announced(made[0])
        first = self.world.appears(made[0])
        for twin in made[1:]:
            event = Burn(tx, twin.burn_index, twin.log_index, first.block, twin.sender, to, amount)
            self.world.chains["ethereum"].events.append(event)
            self.world.sources[event_key(BRIDGE, event)] = event
        self._tick()

    def _announced(self, event: Deposit | Burn) -> None:
        """A document at block 1, which is final to all; they look at it, often enough to object and to fail it."""
        self.world.insert(*fresh(event))
        for _ in range(4):
            self._round([home(event)])

    @rule(chain=chains, blocks=st.integers(1, 4))
    def blocks(self, chain: str, blocks: int) -> None:
        for _ in range(blocks):
            self._tick()
            self.world.chains[chain].mine(self.world.clock)

    @rule(number=validators, chain=chains, behind=st.integers(0, 5))
    def head(self, number: int, chain: str, behind: int) -> None:
        """A new head, or an older one of another node; the scanner inserts what it sees."""
        one = self.validators[number]
        one.ledger.look(chain, self.world.chains[chain].head - behind)
        one.reinsert()
        self._tick()

    @rule(behind=st.integers(0, 1))
    def heads(self, behind: int) -> None:
        for number in range(MEMBERS):
            for chain in ("pocket", "ethereum"):
                self.validators[number].ledger.look(chain, self.world.chains[chain].head - behind)
            self.validators[number].reinsert()
        self._tick()

    @rule(number=pick, again=st.booleans())
    def reorganisation(self, number: int, *, again: bool) -> None:
        """A block that is not final is replaced. Its events come again, at once or later."""
        events = [event for chain in self.world.chains.values() for event in chain.events]
        if not events:
            return
        event = events[number % len(events)]
        if isinstance(event, Deposit | Burn) and any(twin.tx_hash == event.tx_hash for twin in events if twin is not event):
            return
        if self.world.reorganise(event):
            self.gone.append(event)
            if again:
                self.comes_again()

    @precondition(lambda self: self.gone)
    @rule()
    def comes_again(self) -> None:
        if not self.gone:
            return
        event = self.gone.pop()
        if isinstance(event, Minted) and self.world.nonce(event.recipient) + 1 != event.nonce:
            return
        if isinstance(event, Returned):
            self.world.indexed.add(event.tx_hash)
            self.world.mempool.pop(event.tx_hash, None)
        if event.tx_hash not in {one.tx_hash for one in self.world.on_chain(type(event))}:
            self.world.appears(event)

    @rule(number=pick)
    def user_mints(self, number: int) -> None:
        doc = self._doc(number)
        if doc is not None and doc[0] is Collection.MINT:
            self.world.user_mints(doc)

    @precondition(lambda self: self.world.mempool)
    @rule(number=pick, what=st.sampled_from(["included", "included", "failed", "lost"]))
    def return_transaction(self, number: int, what: str) -> None:
        tx = sorted(self.world.mempool)[number % len(self.world.mempool)]
        if what == "lost":
            del self.world.mempool[tx]
        else:
            self.world.include(tx, 0 if what == "included" else 10)

    # ------------------------------------------------------------------ what validators do

    @rule(number=validators, doc=pick)
    def handle(self, number: int, doc: int) -> None:
        found = self._doc(doc)
        if found is not None:
            self.validators[number].handle(found)
        self._tick()

    @rule(order=st.permutations(range(MEMBERS)), passes=st.integers(1, 3))
    def all_handle(self, order: list[int], passes: int) -> None:
        for _ in range(passes):
            self._round(everywhere(self.world), order)
        self._tick()

    @rule(number=validators, doc=pick)
    def look(self, number: int, doc: int) -> None:
        """Read and decide now, write later."""
        found = self._doc(doc)
        seen = None if found is None else self.validators[number].look(found)
        if seen is not None and len(self.under_way) < 8:
            self.under_way.append(seen[1])

    @precondition(lambda self: self.under_way)
    @rule(number=pick, lost=st.booleans())
    def late_write(self, number: int, *, lost: bool) -> None:
        write = self.under_way.pop(number % len(self.under_way))
        if not lost:
            write()

    @rule(
        behind=st.lists(st.integers(0, 4), min_size=MEMBERS, max_size=MEMBERS), code=st.sampled_from([0, 10]), released=validators
    )
    def time_passes(self, behind: list[int], code: int, released: int) -> None:
        """Blocks with what was submitted in them; not everyone sees all of it, not every operator has looked."""
        for tx in sorted(self.world.mempool):
            self.world.include(tx, code)
        for chain, there in self.world.chains.items():
            self._tick()
            there.mine(self.world.clock)
            for one in self.validators:
                one.ledger.look(chain, there.head - behind[one.number])
        for one in self.validators:
            one.reinsert()
        self._release(self.validators[released])
        self._round(everywhere(self.world))

    @rule(number=validators)
    def restart(self, number: int) -> None:
        self.validators[number].restart()

    @rule(number=validators)
    def pause_or_resume(self, number: int) -> None:
        self.validators[number].paused = not self.validators[number].paused

    @rule(number=validators)
    def thinks_it_lost(self, number: int) -> None:
        self.validators[number].lost = not self.validators[number].lost

    @rule(number=validators)
    def operator_releases(self, number: int) -> None:
        self._release(self.validators[number])

    @rule()
    def vault_short(self) -> None:
        self.world.short = not self.world.short

    @rule(threshold=st.integers(3, 4), limit=st.sampled_from([1000, 1000, 50]))
    def contract_changes(self, threshold: int, limit: int) -> None:
        self.world.threshold, self.world.limit = threshold, limit

    @rule()
    def come_to_rest(self) -> None:
        """Whatever they see of the chains: while those stand still and nobody forges, the writing ends."""
        self._rest()

    def _rest(self) -> None:
        for _ in range(RESTLESS):
            before = self.world.writes
            self._round(everywhere(self.world))
            if self.world.writes == before:
                return
        raise AssertionError("they write for ever")

    def _round(self, documents: list[Id], order: Any = range(MEMBERS)) -> None:
        for doc in documents:
            for number in order:
                self.validators[number].handle(doc)

    def _release(self, one: Validator) -> None:
        """The operator looked at the chain and allows the next attempt."""
        one.journal.held.clear()
        for key in self.world.sources:
            last = max((attempt for event, attempt in one.journal.signed if event == key), default=-1)
            failed = [e for e in self.world.on_chain(Returned) if e.code and e.entropy in entropies(self.world.sources[key])]
            if last >= 0 and len(failed) > one.journal.released.get(key, 0):
                one.journal.released[key] = len(failed)

    # ------------------------------------------------------------------ who can write to the database

    @rule(doc=pick)
    def note(self, doc: int) -> None:
        if (found := self._doc(doc)) is not None:
            self.world.keep(found)

    @precondition(lambda self: self.world.past)
    @rule(number=pick)
    def put_back(self, number: int) -> None:
        """An old version of a document, its signatures genuine."""
        doc, raw = self.world.past[number % len(self.world.past)]
        self.world.store[doc] = {**raw}

    @rule(doc=pick, status=st.sampled_from([*(status.value for status in Status), "done", 5, None]))
    def forge_status(self, doc: int, status: Any) -> None:
        if (found := self._doc(doc)) is not None:
            self.world.store[found]["status"] = status

    @rule(doc=pick, name=FIELDS, value=BAD)
    def forge_field(self, doc: int, name: str, value: Any) -> None:
        if (found := self._doc(doc)) is not None and (name in self.world.store[found] or isinstance(value, str)):
            self.world.store[found][name] = value

    @rule(doc=pick, other=pick)
    def forge_entries(self, doc: int, other: int) -> None:
        """All signatures that were ever made, and garbage, under their signers' names, in no order."""
        found = self._doc(doc)
        if found is None:
            return
        names = ADDRESSES if found[0] is Collection.MINT else BRIDGE.pocket_keys
        made = [(signer, text) for signer, _, text in sorted(self.world.made) if signer in names]
        pairs = [*made[other % (len(made) + 1) :], *made[: other % 3], (names[other % MEMBERS], "00"), ("0xstranger", "11")]
        self.world.store[found] |= {"signers": [one[0] for one in pairs], "signatures": [one[1] for one in pairs]}

    @rule(doc=pick)
    def delete(self, doc: int) -> None:
        if (found := self._doc(doc)) is not None:
            self.world.keep(found)
            del self.world.store[found]

    @precondition(lambda self: self.world.sources)
    @rule(number=pick, collection=st.sampled_from(REQUESTS), named=st.booleans())
    def forge_document(self, number: int, collection: Collection, *, named: bool) -> None:
        """Of a real event in any collection, under the right `_id` or another."""
        event = list(self.world.sources.values())[number % len(self.world.sources)]
        _, document = fresh(event)
        right = document_id(collection, event_key(BRIDGE, event))
        document["_id"] = right if named else ObjectId((number + 1).to_bytes(12, "big"))
        self.world.insert(collection, document)

    # ------------------------------------------------------------------ what must hold

    @invariant()
    def one_payment_and_one_mint_per_request(self) -> None:
        if not hasattr(self, "world"):
            return
        entropy_of = {entropy: key for key, event in self.world.sources.items() for entropy in entropies(event)}
        paid = [entropy_of[one.entropy] for one in self.world.on_chain(Returned) if one.code == 0]
        assert len(paid) == len(set(paid)), "paid twice"
        for key in paid:
            outcome = outcome_of(self.world.sources[key])
            assert isinstance(outcome, ToPay), "paid what is not payable"
        used = [(one.recipient, one.nonce) for one in self.world.on_chain(Minted)]
        assert len(used) == len(set(used))

    @invariant()
    def one_outcome_and_one_nonce_per_event(self) -> None:
        if not hasattr(self, "world"):
            return
        for one in self.validators:
            for (key, attempt), (outcome, digest) in one.journal.signed.items():
                if outcome == "objection":
                    continue
                assert self.nonces.setdefault(f"{key}:{attempt}", digest) == digest, "two validators, two digests"
        digests = [digest for digest in self.nonces.values() if digest.startswith("mint:")]
        assert len(digests) == len(set(digests)), "one nonce for two deposits"

    @invariant()
    def nonces_have_no_gap(self) -> None:
        if not hasattr(self, "world"):
            return
        for user in USERS:
            rows = [e for e in self.world.on_chain(Deposit) if getattr(outcome_of(e), "recipient", "") == user]
            rows = [e for e in rows if isinstance(outcome_of(e), ToMint)]
            for rank, event in enumerate(sorted(rows, key=lambda one: (one.height, one.index)), 1):
                digest = self.nonces.get(f"{event_key(BRIDGE, event)}:0")
                assert digest is None or digest.split(":")[-1] == str(rank)

    # ------------------------------------------------------------------ and it all ends

    def teardown(self) -> None:
        if not hasattr(self, "world"):
            return
        self.under_way.clear()
        self.world.short, self.world.threshold, self.world.limit = False, 3, 1000
        while self.gone:
            self.comes_again()
        for one in self.validators:
            # What people do about a document that is disputed: the ledger is read anew, and the counts begin anew.
            one.paused, one.lost, one.repairs = False, True, {}
        for _ in range(LONG_ENOUGH):
            self._everything_goes_on()
            if not self._unfinished():
                break
        assert not self._unfinished(), self._unfinished()
        self._rest()
        assert not self._unfinished(), "it ended, and did not stay so"
        self.one_payment_and_one_mint_per_request()
        self.one_outcome_and_one_nonce_per_event()
        self.nonces_have_no_gap()

    def _everything_goes_on(self) -> None:
        self._tick()
        for tx in sorted(self.world.mempool):
            self.world.include(tx)
        for doc in everywhere(self.world):
            if doc[0] is Collection.MINT:
                self.world.user_mints(doc)
        for chain, there in self.world.chains.items():
            there.mine(self.world.clock)
            for one in self.validators:
                one.ledger.look(chain, there.head)
        for one in self.validators:
            one.reinsert()
            self._release(one)
        self._round(everywhere(self.world))

    def _unfinished(self) -> list[str]:
        """Requests that did not end as the chains decide."""
        found = []
        for event in self.world.sources.values():
            if event not in self.world.chains["ethereum" if isinstance(event, Burn) else "pocket"].events:
                continue
            doc = self._home_now(event)
            status = self.world.store.get(doc, {}).get("status")
            wanted = "failed" if isinstance(outcome_of(event), NotPayable) else "success"
            if status != wanted:
                found.append(f"{doc[0].value} {status} for {outcome_of(event)}")
        return found

    def _home_now(self, event: Deposit | Burn) -> Id:
        """Where its document lies: under its own `_id`, or under another that took its key."""
        right = home(event)
        key = natural(fresh(event)[1])
        others = (one for one in everywhere(self.world) if one[0] is right[0] and natural(self.world.store[one]) == key)
        return right if right in self.world.store else next(others, right)


def machine(*events: str, passes: int = 3) -> FlowMachine:
    """For the plain tests below: a machine that is moved by hand."""
    made = FlowMachine()
    made.begin(list(events), passes)
    return made


def test_a_signer_with_two_valid_signatures_counts_once_and_the_mint_is_accepted() -> None:
    """A key service signs differently each time: whoever keeps the first answer can put both into the document."""
    one = machine("mint")
    doc = everywhere(one.world)[0]
    one.come_to_rest()
    one.forge_entries(0, 0)
    assert len(one.world.store[doc]["signers"]) > MEMBERS
    one.come_to_rest()
    assert one.world.store[doc]["signers"] == list(ADDRESSES)
    assert one.world.user_mints(doc)
    one.teardown()


def test_who_has_not_seen_a_return_fail_does_not_write_against_who_has() -> None:
    one = machine("burn")
    (doc,) = everywhere(one.world)
    one.come_to_rest()
    one.time_passes([0] * MEMBERS, 10, 0)
    one.blocks("pocket", 2)
    one.time_passes([0, 0, 0, 0, 4], 0, 0)
    one.come_to_rest()
    assert one.world.store[doc]["attempt"] == "1"
    one.teardown()
    assert len(one.world.on_chain(Returned)) == 2


def test_a_transaction_that_came_after_it_was_refuted_is_carried_out_all_the_same() -> None:
    """Its document was written before it was in a block, or it fell out of one: a quorum objected rightly, and it came."""
    one = machine(passes=0)
    one.blocks("pocket", 4)
    one.heads(0)
    one.deposit(100, USERS[0], 0, forged=True)
    (doc,) = everywhere(one.world)
    assert one.world.store[doc]["status"] == "failed"
    one.teardown()
    assert one.world.store[doc]["status"] == "success"


@pytest.mark.parametrize("status", ["signed", "submitted", "success", "done", 5])
def test_what_cannot_be_paid_fails_whatever_status_somebody_wrote(status: Any) -> None:
    one = machine("dust")
    (doc,) = everywhere(one.world)
    one.world.store[doc] |= {"status": status, "objections": "none"}
    one.teardown()
    assert one.world.store[doc]["status"] == "failed"


LONG = os.environ.get("HYPOTHESIS_PROFILE") == "long"
TestFlowMachine = FlowMachine.TestCase
TestFlowMachine.settings = settings(
    max_examples=2000 if LONG else 80,
    stateful_step_count=60 if LONG else 30,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
