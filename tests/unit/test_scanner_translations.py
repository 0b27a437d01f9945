"""From what a chain package reads to what the ledger keeps."""

from dataclasses import replace

import pytest

from reactor.chains.ethereum.types import BurnEvent, MintedEvent
from reactor.chains.pocket import PocketTx
from reactor.documents.classification import NotPayable, RefundCause, ToMint, ToPay, classify_deposit
from reactor.documents.events import BlockRef, Burn, Minted, Returned
from scanners.burns import burn_of
from scanners.deposits import deposit_of
from scanners.mints import minted_of
from scanners.returns import returned_of
from tests.unit.handler_world import FEE, POCKET_USER, USER, block
from tests.unit.test_documents_classification import BRIDGE, VAULT

pytestmark = pytest.mark.unit

MEMO = f'{{"address":"{USER}","chain_id":"1"}}'
TX = PocketTx(
    hash="ab" * 32,
    height=5,
    index=3,
    raw=b"",
    code=0,
    codespace="",
    decoded=True,
    is_send=True,
    from_address=POCKET_USER,
    to_address=VAULT,
    amount=1_000_000,
    memo=MEMO,
    entropy=-7,
    fee=FEE,
)


def outcome(**changes: object) -> object:
    found = deposit_of(BRIDGE, replace(TX, **changes), block(5))  # type: ignore[arg-type]
    return None if found is None else classify_deposit(BRIDGE, found)


def test_a_deposit_with_a_good_memo_is_to_be_minted() -> None:
    found = deposit_of(BRIDGE, TX, block(5))
    assert found is not None
    assert (found.tx_hash, found.index, found.block, found.sender) == ("ab" * 32, 3, block(5), POCKET_USER)
    assert (found.memo, found.memo_address, found.memo_chain_id) == (MEMO, USER, "1")
    assert classify_deposit(BRIDGE, found) == ToMint(USER, 1_000_000)


@pytest.mark.parametrize("memo", ["", "null", "hello", '{"address":"0x12","chain_id":"1"}', MEMO + "x"])
def test_one_with_a_bad_memo_goes_back_and_its_memo_is_kept(memo: str) -> None:
    found = deposit_of(BRIDGE, replace(TX, memo=memo), block(5))
    assert found is not None
    assert (found.memo, found.memo_address, found.memo_chain_id) == (memo, None, None)
    said = classify_deposit(BRIDGE, found)
    assert isinstance(said, ToPay)
    assert (said.recipient, said.cause) == (POCKET_USER, RefundCause.MEMO)


@pytest.mark.parametrize(
    "changes",
    [
        {"code": 10},
        {"to_address": POCKET_USER},
        {"decoded": False, "is_send": False, "amount": None, "from_address": "", "memo": ""},
    ],
)
def test_where_nothing_certainly_arrived_nothing_is_paid(changes: dict[str, object]) -> None:
    assert isinstance(outcome(**changes), NotPayable)


def test_what_does_not_decode_names_no_sender() -> None:
    found = deposit_of(BRIDGE, replace(TX, decoded=False, is_send=False, from_address="", amount=None), block(5))
    assert found is not None
    assert (found.sender, found.is_send, found.amount) == ("", False, None)


@pytest.mark.parametrize("changes", [{"from_address": VAULT}, {"is_send": False}])
def test_what_the_vault_sent_and_what_is_no_send_is_no_deposit(changes: dict[str, object]) -> None:
    assert deposit_of(BRIDGE, replace(TX, **changes), block(5)) is None  # type: ignore[arg-type]


def test_a_return_keeps_entropy_fee_and_code() -> None:
    sent = replace(TX, from_address=VAULT, to_address=POCKET_USER, memo="m", code=10)
    assert returned_of(sent, block(5)) == Returned("ab" * 32, 3, block(5), POCKET_USER, 1_000_000, FEE, "m", -7, 10)


def test_a_vault_transaction_that_is_no_send_has_no_recipient_that_could_explain_it() -> None:
    found = returned_of(replace(TX, decoded=False, is_send=False, amount=None, entropy=None), block(5))
    assert (found.recipient, found.amount, found.entropy) == ("", 0, 0)


def test_burns_and_mints() -> None:
    hashes = {"tx_hash": "0x" + "ab" * 32, "block_number": 5, "block_hash": "0x05", "block_time": 9}
    burned = BurnEvent(contract=BRIDGE.wpokt, burn_index=1, log_index=4, sender=USER, recipient=POCKET_USER, amount=7, **hashes)
    where = BlockRef(5, "0x05", 9)
    assert burn_of(burned) == Burn("0x" + "ab" * 32, 1, 4, where, USER, POCKET_USER, 7)
    made = MintedEvent(contract=BRIDGE.wpokt, recipient=USER, amount=7, nonce=2, log_index=4, **hashes)
    assert minted_of(made) == Minted(USER, 7, 2, "0x" + "ab" * 32, 4, where)
