"""Everything that reads what strangers wrote: how good input looks, and what must hold for any other.

A check lets nothing out but AssertionError: what is refused is refused with a documented error type, and what is accepted says
the same when it is written and read again.
"""

from __future__ import annotations

import asyncio
import json
import re
import tempfile
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from random import Random
from typing import Any

from reactor.chains.errors import ChainError, MalformedAnswer, NotFound, endpoint_label
from reactor.chains.ethereum import contracts, wire
from reactor.chains.ethereum.contracts import BURN_TOPIC, MINTED_TOPIC
from reactor.chains.ethereum.eip712 import recover_signer, typed_data
from reactor.chains.ethereum.finality import Finality
from reactor.chains.ethereum.logs import burns_of, minted_of, parse_logs
from reactor.chains.pocket.errors import PocketConfigError, PocketDecodeError, PocketRpcError
from reactor.chains.pocket.memo import Memo, MemoError, parse_memo
from reactor.chains.pocket.morse import answers, multisig
from reactor.chains.pocket.morse.codec import Envelope, decode_tx, encode_tx
from reactor.chains.pocket.morse.gotext import decode_utf8, json_string, parse_integer
from reactor.chains.pocket.morse.transport import Endpoint
from reactor.chains.pocket.morse.verify import verify_transaction
from reactor.documents.build import burn_document, deposit_document
from reactor.documents.classification import same_chain_id
from reactor.documents.models import Heartbeat, read_request
from reactor.documents.statuses import REQUESTS, Collection, Status, may_move
from reactor.flows import mint, payout
from reactor.flows.decisions import Move
from reactor.keys import keystore
from reactor.keys.problem import KeyProblem
from reactor.keys.uri import open_signer
from reactor.settings import SettingsError, load_settings, settings_fields
from tests.property.fuzzing import BSON_VALUES, TEXTS, damaged_bytes, damaged_json, damaged_text, damaged_tree
from tests.unit.handler_world import NOW, burn, deposit
from tests.unit.test_documents_classification import BRIDGE
from tests.unit.test_flow_tables import mint_facts, pay_facts
from tests.unit.test_settings_load import TOML

VECTORS = json.loads((Path(__file__).parents[1] / "vectors" / "pocket.json").read_text())["vectors"]
RAW_TXS = [bytes.fromhex(vector["raw_hex"]) for vector in VECTORS if "raw_hex" in vector]
LARGEST = 2**63 - 1
"""What the ledger stores as a number: heights, places, times."""


@dataclass(frozen=True)
class Target:
    """`make` draws an input, `check` says what must hold for it. `weight`: dear checks get fewer of the inputs."""

    name: str
    make: Callable[[Random], Any]
    check: Callable[[Any], None]
    weight: float = 1.0


# --- Pocket: transactions, memos, amounts -----------------------------------------------------------------------------


def _transaction(raw: bytes) -> None:
    for amino in (False, True):
        try:
            tx = decode_tx(raw, allow_amino=amino)
        except PocketDecodeError:
            assert not verify_transaction(raw, "localnet", allow_amino=amino).valid
            continue
        verify_transaction(raw, "localnet", allow_amino=amino)
        if tx.envelope is Envelope.AMINO:
            continue
        # The node reads many spellings of one transaction: the canonical one is read as the same, and is its own spelling.
        canonical = encode_tx(tx)
        assert decode_tx(canonical) == tx
        assert encode_tx(decode_tx(canonical)) == canonical


KEYS = [bytes([number]) * 32 for number in range(1, 6)]
BLOBS = [multisig.encode_multisig_key(KEYS), multisig.encode_multisignature([bytes(64), b"", b"x" * 64])]


def _multisig(data: bytes) -> None:
    with suppress(PocketDecodeError):
        assert multisig.encode_multisig_key(multisig.decode_multisig_key(data)) == data
    with suppress(PocketDecodeError):
        assert multisig.encode_multisignature(multisig.decode_multisignature(data)) == data


ADDRESS = "0x" + "ab" * 20
MEMOS = [
    f'{{"address":"{ADDRESS}","chain_id":"1"}}',
    f'{{"ADDRESS":"{ADDRESS.upper().replace("X", "x")}", "Chain_Id" : "0001", "more": [1, {{"a": null}}]}}',
    '{"address":null,"chain_id":"+1"}',
    "hello",
    '"\\ud83d\\ude00"',
]


def _memo(text: str) -> None:
    for memo in (text, text.encode("utf-8", "surrogatepass")):
        found = parse_memo(memo, "1")
        assert isinstance(found, Memo | MemoError)
        if isinstance(found, Memo):
            assert re.fullmatch("0x[0-9a-f]{40}", found.address)
            assert parse_memo(json.dumps({"address": found.address, "chain_id": found.chain_id}), "1") == found
            with suppress(RecursionError):  # the other parser has less patience with depth and with digits
                assert isinstance(json.loads(text, parse_int=str), dict)
    assert json.loads(json_string(decode_utf8(text.encode("utf-8", "surrogatepass")))) is not None


AMOUNTS = ["0", "1000000", "-5", "0x10", "0b11", "0o17", "017", "1_000", "+7", str(2**255 - 1), str(2**255)]


def _amount(text: str) -> None:
    amount = parse_integer(text.encode("utf-8", "surrogatepass"))
    if amount is not None:
        assert abs(amount) < 2**255
        assert parse_integer(str(amount).encode()) == amount
    assert same_chain_id(text, 1) in {True, False}
    with suppress(ValueError):
        finality = Finality.parse(text)
        assert finality.kind in {"latest", "safe", "finalized"}


# --- Pocket: answers --------------------------------------------------------------------------------------------------

ASKED = answers.Asked("node", "call")
HASH = "ab" * 32


def _tx_answer(vector: dict[str, Any]) -> dict[str, Any]:
    return {"hash": vector["hash"], **vector["rpc"]}


TX_ANSWERS = [_tx_answer(vector) for vector in VECTORS if "rpc" in vector]
POCKET_ANSWERS: list[Any] = [
    {
        "block": {
            "header": {"height": "7", "time": "2020-03-10T00:04:35.159615Z", "chain_id": "localnet"},
            "data": {"txs": ["aGVsbG8="]},
        },
        "block_id": {"hash": HASH.upper()},
    },
    {
        "block": {"header": {"height": "7", "time": "2020-03-10T00:04:35+00:00", "chain_id": "localnet"}, "data": {"txs": None}},
        "block_meta": {"block_id": {"hash": HASH}},
    },
    *TX_ANSWERS[:3],
    {"txs": TX_ANSWERS[:2], "total_txs": 2},
    {"height": 100},
    {"balance": 577231840000},
    {"txhash": HASH, "code": 6, "raw_log": '{"codespace":"auth","message":"this is a duplicate transaction"}'},
    {"txhash": HASH, "code": 4, "raw_log": "ERROR:\nCodespace: sdk\nCode: 4"},
    {"code": 66, "message": "tx (" + HASH + ") not found"},
    {"error": {"code": -32000, "message": "tx already exists in cache"}},
    {"error": {"code": 0}, "height": 5},
    json.dumps({"height": 5}),
]


def _pocket_answer(body: bytes) -> None:
    for status in (200, 400):
        try:
            value = answers.read_body(ASKED, status, body)
        except PocketRpcError:
            continue
        for parse in (
            answers.parse_block,
            answers.parse_block_txs,
            answers.parse_tx,
            answers.parse_page,
            lambda asked, found: answers.parse_submission(asked, found, HASH),
            lambda asked, found: answers.integer(asked, found, "height"),
            lambda asked, found: answers.integer(asked, found, "balance"),
        ):
            with suppress(PocketRpcError):
                _storable(parse(ASKED, value))


def _storable(found: Any) -> None:
    """Numbers that the ledger cannot hold would end the scanner instead of the answer."""
    if isinstance(found, tuple):
        for one in found:
            _storable(one)
    for name in ("height", "index", "code", "number", "time", "block_number", "log_index", "block_time"):
        value = getattr(found, name, 0)
        if name == "time" and hasattr(value, "timestamp"):
            value = int(value.timestamp())
        assert not isinstance(value, int) or abs(value) <= LARGEST, f"{name} {value}"
    assert not isinstance(found, int) or abs(found) <= LARGEST, found


# --- Ethereum: answers ------------------------------------------------------------------------------------------------

CONTRACT = "0x" + "5f" * 20


def _log(topic: str, place: int, *rest: str) -> dict[str, Any]:
    return {
        "address": CONTRACT,
        "topics": [topic, *("0x" + one.rjust(64, "0") for one in rest)],
        "data": "0x",
        "blockNumber": hex(100 + place // 2),
        "blockHash": "0x" + f"{100 + place // 2:064x}",
        "blockTimestamp": hex(1_700_000_000),
        "transactionHash": "0x" + f"{place:064x}",
        "logIndex": hex(place),
        "removed": False,
    }


LOGS = [
    [_log(BURN_TOPIC, 0, "f4240", "ab" * 20, "cd" * 20), _log(MINTED_TOPIC, 1, "ab" * 20, "f4240", "1")],
    [_log(BURN_TOPIC, place, f"{place:x}", "ab" * 20, "cd" * 20) for place in range(3)],
    [],
]
DOMAIN = (
    "0x0f" + "0" * 62 + "".join(f"{word:064x}" for word in (0xE0, 0x120, 1, int("ab" * 20, 16), 0, 0x160, 14))
    + b"MintController".hex().ljust(64, "0") + f"{1:064x}" + b"1".hex().ljust(64, "0") + f"{0:064x}"
)  # fmt: skip
ETHEREUM_ANSWERS: list[Any] = [
    *LOGS,
    {"number": "0x64", "hash": "0x" + HASH, "parentHash": "0x" + "cd" * 32, "timestamp": "0x655f1234"},
    {"code": -32005, "message": "query returned more than 10000 results"},
    {
        "code": 3,
        "message": "execution reverted",
        "data": "0x08c379a0" + "00" * 31 + "20" + "00" * 31 + "01" + "41".ljust(64, "0"),
    },
    "0x" + "0" * 63 + "1",
    "0x",
    DOMAIN,
    None,
]


def _ethereum_answer(body: bytes) -> None:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        return
    with suppress(MalformedAnswer):
        logs = parse_logs(value)
        assert [(log.block_number, log.log_index) for log in logs] == sorted((log.block_number, log.log_index) for log in logs)
        times = {log.block_hash: 0 for log in logs}
        found = (*burns_of(logs, CONTRACT, times), *minted_of(logs, CONTRACT, times))
        assert all(event.contract == CONTRACT for event in found)
        _storable(found)
    with suppress(MalformedAnswer, NotFound):
        _storable(wire.header(value))
    with suppress(MalformedAnswer):
        domain = contracts.decode_domain(value)
        # What is signed is made of it: it must be fit for that.
        assert json.loads(typed_data(domain, ADDRESS, 1, 1))["domain"]["verifyingContract"] == domain.verifying_contract
    for decode in (contracts.decode_uint, contracts.decode_bool):
        with suppress(MalformedAnswer):
            assert decode(value, "asked") >= 0
    for method in ("eth_call", "eth_getLogs", "eth_blockNumber"):
        assert isinstance(wire.error_of(value, "http://host/key", method), ChainError)
    if isinstance(value, str):
        contracts.revert_reason(value)
        assert recover_signer(bytes(32), value) is None or value.startswith("0x")


# --- settings and keys ------------------------------------------------------------------------------------------------


@cache
def _folder() -> Path:
    return Path(tempfile.mkdtemp(prefix="fuzz-settings-"))


CONFIGS = [
    TOML.encode(),
    TOML.replace("burn_fee = 10000", "burn_fee = [{from_block = 18275606, amount = 1}]").encode(),
    TOML.encode() + b'[operation]\nobserve = "yes"\n',
]


def _toml(data: bytes) -> None:
    path = _folder() / "reactor.toml"
    path.write_bytes(data)
    _loads(path, {})


def _loads(path: Path, environ: dict[str, str]) -> None:
    refused: SettingsError | None = None
    try:
        assert load_settings(path, environ) == load_settings(path, environ)
    except SettingsError as error:
        refused = error
    assert refused is None or (refused.faults and str(refused))


def _environment(rng: Random) -> dict[str, str]:
    fields = settings_fields()
    chosen = rng.sample(fields, rng.randint(1, 4))
    good = [*TEXTS, "mainnet", "1", "latest-12", "safe", ADDRESS, "http://127.0.0.1:8081,http://127.0.0.1:8082", "env://X", "[1]"]
    found = {one.env + rng.choice(("", "", "", "_FILE")): damaged_text(rng, good) for one in chosen}
    # The environment of a process holds no NUL.
    return {name: value.replace("\0", "") for name, value in found.items()}


def _with_environment(environ: dict[str, str]) -> None:
    path = _folder() / "good.toml"
    if not path.exists():
        path.write_text(TOML)
    _loads(path, environ)


URIS = ["env://KEY", "file:///nowhere/key", "keystore:///nowhere/key", "file://host/key", "env://" + "ab" * 32, "gone://x"]


def _uri(text: str) -> None:
    if text.startswith("aws"):
        return
    for scheme in ("secp256k1", "ed25519"):
        with suppress(KeyProblem):
            asyncio.run(open_signer(text, scheme, environ={"KEY": "ab" * 32}, passphrase="x"))  # type: ignore[arg-type]
    assert isinstance(endpoint_label(text), str)
    with suppress(PocketConfigError):
        assert Endpoint.parse(text).name


@cache
def _keystores() -> list[Any]:
    return [
        keystore.encrypt(bytes([7]) * 32, "ed25519", "x", scrypt_n=2),
        keystore.encrypt(bytes([7]) * 32, "secp256k1", "x", scrypt_n=2),
    ]


def _keystore(data: bytes) -> None:
    text = data.decode(errors="replace")
    for scheme in ("secp256k1", "ed25519"):
        with suppress(KeyProblem):
            assert keystore.decrypt(text, scheme, "x", "keystore:///x") == bytes([7]) * 32  # type: ignore[arg-type]


# --- documents --------------------------------------------------------------------------------------------------------

DOCUMENTS = [
    dict(deposit_document(BRIDGE, deposit(5), NOW)[1]),
    dict(deposit_document(BRIDGE, deposit(5, to=None), NOW)[1]),
    dict(burn_document(BRIDGE, burn(5), NOW)),
    {
        "status": "signed", "signers": ["0xa", "0xb"], "signatures": ["by 0xa", "by 0xb"], "return_tx": "00",
        "return_tx_hash": "ab", "data": {"recipient": ADDRESS, "amount": "1", "nonce": "1"}, "nonce": "1", "attempt": "1",
        "history": [{"status": "pending", "at": NOW, "by": "", "reason": ""}],
        "objections": [{"signer": "0xa", "code": "x", "reason": "", "signature": ""}],
        "waiting": {"reason": "user", "params": {"a": "b"}, "by": "", "at": NOW},
    },
]  # fmt: skip


def _document(raw: Any) -> None:
    if not isinstance(raw, dict):
        return
    raw = {str(name): value for name, value in raw.items()}
    Heartbeat.read(raw)
    for collection in REQUESTS:
        document = read_request(collection, raw)
        again = read_request(collection, document.model_dump(by_alias=True))
        assert again.model_dump() == document.model_dump()
        assert not again.malformed
        assert len(document.pairs) in {0, len(document.signers)}
        if collection is Collection.INVALID_MINT:
            continue
        facts = mint_facts() if collection is Collection.MINT else pay_facts()
        decision = mint.decide(document, facts) if collection is Collection.MINT else payout.decide(document, facts)  # type: ignore[arg-type]
        if isinstance(decision, Move) and document.status in set(Status):
            assert may_move(document.status, decision.to)


TARGETS = [
    Target("pocket transaction", lambda rng: damaged_bytes(rng, RAW_TXS), _transaction),
    Target("multisig blobs", lambda rng: damaged_bytes(rng, BLOBS), _multisig, 2),
    Target("memo", lambda rng: damaged_text(rng, MEMOS), _memo, 2),
    Target("amounts", lambda rng: damaged_text(rng, AMOUNTS), _amount, 4),
    Target("pocket answers", lambda rng: damaged_json(rng, POCKET_ANSWERS), _pocket_answer, 2),
    Target("ethereum answers", lambda rng: damaged_json(rng, ETHEREUM_ANSWERS), _ethereum_answer, 2),
    Target("documents", lambda rng: damaged_tree(rng, DOCUMENTS, BSON_VALUES), _document),
    Target("configuration file", lambda rng: damaged_bytes(rng, CONFIGS), _toml, 0.1),
    Target("environment", _environment, _with_environment, 0.1),
    Target("key URIs", lambda rng: damaged_text(rng, URIS), _uri, 0.1),
    Target("keystores", lambda rng: damaged_json(rng, _keystores()), _keystore, 0.1),
]
