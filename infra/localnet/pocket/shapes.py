"""What the RPC shows, before it is written as JSON."""

from base64 import b64encode
from typing import Any

from infra.localnet.pocket.ante import Rejection
from infra.localnet.pocket.blocks import Block
from infra.localnet.pocket.chain import Submission
from infra.localnet.pocket.gotext import encode_json, text_of, through_float64
from infra.localnet.pocket.merkle import leaf_of, prove
from infra.localnet.pocket.txindex import IndexedTx
from infra.localnet.pocket.wire import Transaction, message_json

Json = dict[str, Any]
_NO_PROOF: Json = {
    "data": None,
    "proof": {"aunts": None, "index": 0, "leaf_hash": None, "total": 0},
    "root_hash": "",
}
_NO_STDTX: Json = {"entropy": 0, "fee": [], "memo": "", "msg": None, "signature": {"pub_key": "", "signature": ""}}
_SEND_EVENT: Json = {"type": "message", "attributes": [{"key": "action", "value": "send"}]}
_SEND_LOG: Json = {"msg_index": 0, "success": True, "log": "", "events": [_SEND_EVENT]}


def answer_text(value: object) -> str:
    """A success body: keys in order, HTML escaped, every number a double, a newline behind."""
    return encode_json(through_float64(value)) + "\n"


def base64_of(data: bytes) -> str:
    """Bytes as Go shows them in JSON."""
    return b64encode(data).decode()


def stdtx(tx: Transaction | None) -> Json:
    """The decoded transaction; all empty if it does not decode."""
    if tx is None:
        return _NO_STDTX
    return {
        "entropy": tx.entropy,
        "fee": [{"amount": str(coin.amount), "denom": coin.denom} for coin in tx.fee],
        "memo": text_of(tx.memo),
        "msg": message_json(tx.msg),
        "signature": {"pub_key": tx.public_key.raw.hex() if tx.public_key else "", "signature": tx.signature.hex()},
    }


def transaction(tx: IndexedTx, block: Block | None = None) -> Json:
    """An indexed transaction, with its proof if its block is given."""
    msg = tx.tx.msg if tx.tx else None
    return {
        "hash": tx.hash,
        "height": tx.height,
        "index": tx.index,
        "proof": _proof(tx, block) if block else _NO_PROOF,
        "stdTx": stdtx(tx.tx),
        "tx": base64_of(tx.raw),
        "tx_result": {
            "code": tx.result.code,
            "codespace": tx.result.codespace,
            "data": None,
            "events": None,
            "info": "",
            "log": tx.result.log,
            "message_type": "send" if msg else "",
            "recipient": msg.to_address.hex().upper() if msg else "",
            "signer": msg.from_address.hex().upper() if msg else "",
        },
    }


def _proof(tx: IndexedTx, block: Block) -> Json:
    proof = prove([leaf_of(raw) for raw in block.txs], tx.index)
    return {
        "data": base64_of(tx.raw),
        "proof": {
            "aunts": [base64_of(aunt) for aunt in proof.aunts],
            "index": proof.index,
            "leaf_hash": base64_of(proof.leaf_hash),
            "total": proof.total,
        },
        "root_hash": proof.root.hex().upper(),
    }


def pending(hash_: str, tx: Transaction) -> Json:
    """A transaction of the mempool."""
    return {"hash": hash_, "message_type": "send", "stdTx": stdtx(tx)}


def block(shown: Block, chain_id: str) -> Json:
    """A block, whose header names `chain_id`."""
    return {
        "block": {
            "data": {"txs": [base64_of(raw) for raw in shown.txs] or None},
            "evidence": {"evidence": None},
            "header": {**shown.header, "chain_id": chain_id},
            "last_commit": {"block_id": shown.last_block_id, "precommits": None},
        },
        "block_id": shown.block_id,
    }


def account(address: bytes, balance: int, public_key: str | None) -> Json:
    """An account; one without coins has an empty list of them."""
    coins = [{"amount": str(balance), "denom": "upokt"}] if balance else []
    return {"address": address.hex(), "coins": coins, "public_key": public_key}


def submission(answer: Submission, *, abci_logging: bool, old_node: bool) -> Json:
    """The answer to `rawtx`: zeros are left out, so that no code means success."""
    shown: Json = {"logs": None, "txhash": answer.hash}
    if old_node:
        shown["height"] = "0"
    if answer.rejection is not None:
        shown |= rejection(answer.rejection)
    elif abci_logging:
        shown |= {"raw_log": encode_json([_SEND_LOG], sort=False), "logs": [_SEND_LOG]}
    return shown


def rejection(refused: Rejection) -> Json:
    """The fields of a refusal; the codespace is in the log only."""
    return {"code": refused.code, "raw_log": refused.log}
