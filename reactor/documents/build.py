"""From a chain event to its document. `*_chain_fields` are the fields that the event alone decides: what repair restores."""

from datetime import datetime
from typing import Any

from reactor.documents.bridge import Bridge
from reactor.documents.classification import ToMint, classify_deposit, deposit_collection
from reactor.documents.events import Burn, Deposit, Minted, Returned
from reactor.documents.keys import document_id, event_key
from reactor.documents.statuses import Collection, Status

Document = dict[str, Any]


def deposit_document(
    bridge: Bridge, deposit: Deposit, created_at: datetime, now: datetime | None = None
) -> tuple[Collection, Document]:
    """The collection and the document that a deposit gets: always `pending`, whatever is to become of it.

    `created_at`: by the chain (see `state.created`); `now`: when it is written, the same where none is given.
    """
    outcome = classify_deposit(bridge, deposit)
    collection = deposit_collection(outcome)
    specific = (
        {"nonce": "", "data": None, "typed_data": "", "mint_tx_hash": ""} if collection is Collection.MINT else _payout_fields()
    )
    return collection, {
        "_id": document_id(collection, event_key(bridge, deposit)),
        **deposit_chain_fields(bridge, deposit),
        **_request_fields(created_at, now),
        **specific,
    }


def deposit_chain_fields(bridge: Bridge, deposit: Deposit) -> Document:
    """What a mint or invalid mint says of its deposit."""
    outcome = classify_deposit(bridge, deposit)
    common: Document = {
        "transaction_hash": deposit.tx_hash,
        "height": str(deposit.height),
        "sender_address": deposit.sender,
        "sender_chain_id": bridge.pocket_chain_id,
        "wpokt_address": bridge.wpokt,
        "vault_address": bridge.vault,
        "amount": str(deposit.amount or 0),
    }
    if not isinstance(outcome, ToMint):
        return {**common, "memo": deposit.memo}
    return {
        **common,
        "recipient_address": outcome.recipient,
        "recipient_chain_id": str(bridge.ethereum_chain_id),
        "memo": {"address": outcome.recipient, "chain_id": str(bridge.ethereum_chain_id)},
    }


def burn_document(bridge: Bridge, burn: Burn, created_at: datetime, now: datetime | None = None) -> Document:
    """The document of one burn event, dust too. `created_at` and `now` as for a deposit."""
    return {
        "_id": document_id(Collection.BURN, event_key(bridge, burn)),
        **burn_chain_fields(bridge, burn),
        **_request_fields(created_at, now),
        **_payout_fields(),
    }


def burn_chain_fields(bridge: Bridge, burn: Burn) -> Document:
    """What a burn document says of its event."""
    return {
        "transaction_hash": burn.tx_hash,
        "log_index": str(burn.log_index),
        "burn_index": str(burn.burn_index),
        "block_number": str(burn.height),
        "block_hash": burn.block.hash,
        "sender_address": burn.sender,
        "sender_chain_id": str(bridge.ethereum_chain_id),
        "recipient_address": burn.recipient,
        "recipient_chain_id": bridge.pocket_chain_id,
        "wpokt_address": bridge.wpokt,
        "vault_address": bridge.vault,
        "amount": str(burn.amount),
    }


def minted_document(bridge: Bridge, minted: Minted, created_at: datetime) -> Document:
    return {
        "_id": document_id(Collection.MINTED, event_key(bridge, minted)),
        "wpokt_address": bridge.wpokt,
        "recipient_address": minted.recipient,
        "recipient_chain_id": str(bridge.ethereum_chain_id),
        "amount": str(minted.amount),
        "nonce": str(minted.nonce),
        "transaction_hash": minted.tx_hash,
        "log_index": str(minted.log_index),
        "block_number": str(minted.height),
        "block_hash": minted.block.hash,
        "created_at": created_at,
    }


def returned_document(bridge: Bridge, returned: Returned, created_at: datetime) -> Document:
    return {
        "_id": document_id(Collection.RETURNED, event_key(bridge, returned)),
        "vault_address": bridge.vault,
        "sender_chain_id": bridge.pocket_chain_id,
        "transaction_hash": returned.tx_hash,
        "height": str(returned.height),
        "recipient_address": returned.recipient,
        "amount": str(returned.amount),
        "fee": str(returned.fee),
        "memo": returned.memo,
        "entropy": str(returned.entropy),
        "code": str(returned.code),
        "created_at": created_at,
    }


def _request_fields(created_at: datetime, now: datetime | None) -> Document:
    return {
        "confirmations": "0",
        "status": Status.PENDING.value,
        "signers": [],
        "signatures": [],
        "history": [],
        "objections": [],
        "waiting": None,
        "created_at": created_at,
        "updated_at": now or created_at,
    }


def _payout_fields() -> Document:
    return {"attempt": "0", "return_tx": "", "return_tx_hash": ""}
