"""The development node's chain: its checks, blocks, mempool, index and state file."""

import base64
import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path

import pytest

from infra.localnet.pocket.chain import Chain, NotThereError
from infra.localnet.pocket.genesis import Genesis, GenesisError
from infra.localnet.pocket.ledger import FEE_COLLECTOR
from infra.localnet.pocket.mempool import CACHE_SIZE, AlreadyInCacheError, Mempool
from infra.localnet.pocket.merkle import leaf_of, prove, root_of
from infra.localnet.pocket.parameters import ACCOUNT_TXS, HEIGHT, ParameterError, parse
from infra.localnet.pocket.protobuf import write_varint
from infra.localnet.pocket.statefile import StateFileError
from infra.localnet.pocket.txindex import Found
from infra.localnet.pocket.wallet import Unsigned, Vault, Wallet, random_entropy
from infra.localnet.pocket.wire import decode

pytestmark = pytest.mark.unit

ALICE, BOB, POOR = Wallet.from_seed("alice"), Wallet.from_seed("bob"), Wallet.from_seed("poor")
NOBODY = Wallet.from_seed("nobody")
VAULT, VAULT7, VAULT8 = (Vault.from_seeds(count) for count in (3, 7, 8))
RICH = 10**12
FEE = 10_000


def make_chain(**more: object) -> Chain:
    balances = {wallet.address: RICH for wallet in (ALICE, VAULT, VAULT7, VAULT8)} | {POOR.address: FEE - 1}
    return Chain(Genesis(balances=balances, **more))  # type: ignore[arg-type]


def signed(
    amount_text: bytes = b"1", *, to: bytes = b"", fee: bytes = b"", signature: bytes | None = None, key: bool = True
) -> bytes:
    """A transaction of Alice's with arbitrary fields, signed over what the node will read from it."""

    def build(signed_with: bytes) -> bytes:
        def field(number: int, value: bytes) -> bytes:
            return bytes([number << 3 | 2]) + write_varint(len(value)) + value

        send = field(1, bytes.fromhex(ALICE.address)) + field(2, to) + field(3, amount_text)
        body = field(1, field(1, b"/x.nodes.MsgSend") + field(2, send)) + fee
        body += field(3, (field(1, bytes.fromhex(ALICE.public_key)) if key else b"") + field(2, signed_with))
        return write_varint(len(body)) + body

    from infra.localnet.pocket.wire import sign_bytes  # noqa: PLC0415 - the node's view of odd fields, in this helper only

    if signature is None:
        signature = ALICE.sign(sign_bytes(decode(build(b"s" * 64)), "localnet"))
    return build(signature)


def coin(denom: bytes, amount: bytes) -> bytes:
    value = b"\x0a" + bytes([len(denom)]) + denom + b"\x12" + bytes([len(amount)]) + amount
    return b"\x12" + bytes([len(value)]) + value


GOOD_FEE = coin(b"upokt", b"10000")
BOB_RAW = bytes.fromhex(BOB.address)


@dataclass(frozen=True)
class Row:
    raw: bytes
    codespace: str
    code: int
    text: str


def as_other_sender() -> bytes:
    unsigned = Unsigned(BOB.address, ALICE.address, 1)
    return unsigned.encode(bytes.fromhex(ALICE.public_key), ALICE.sign(unsigned.sign_bytes()))


def half_signed_vault() -> bytes:
    unsigned = Unsigned(VAULT.address, BOB.address, 1)
    one = VAULT.wallets[0].sign(unsigned.sign_bytes())
    return VAULT.complete(unsigned, [one, one, one])


ROWS = {
    "does not decode": Row(b"\x01\xff", "sdk", 2, "error decoding transaction: unexpected EOF"),
    "other message": Row(b"\x08\x0a\x06\x0a\x04/x.y", "sdk", 2, "no concrete type registered for type URL /x.y"),
    "unsupported key": Row(b"\x03\x1a\x01\x0a", "sdk", 2, "error decoding"),
    "amount 0": Row(signed(b"0", to=BOB_RAW, fee=GOOD_FEE), "pos", 109, "the amount to send must be positive"),
    "amount negative": Row(signed(b"-5", to=BOB_RAW, fee=GOOD_FEE), "pos", 109, "the amount to send must be positive"),
    "no recipient": Row(signed(b"1", fee=GOOD_FEE), "pos", 101, "validator does not exist for that address"),
    "empty signature": Row(signed(b"1", to=BOB_RAW, fee=GOOD_FEE, signature=b""), "sdk", 4, "empty signature"),
    "bad signature": Row(signed(b"1", to=BOB_RAW, fee=GOOD_FEE, signature=b"x" * 64), "sdk", 4, "signature verification failed"),
    "foreign key": Row(as_other_sender(), "sdk", 4, "signature verification failed"),
    "wrong chain": Row(Wallet.from_seed("alice", "mainnet").send(BOB.address, 1), "sdk", 4, "signature verification failed"),
    "vault half signed": Row(half_signed_vault(), "sdk", 4, "signature verification failed"),
    "fee 0": Row(signed(to=BOB_RAW, fee=coin(b"upokt", b"0")), "sdk", 14, "invalid fee 0upokt amount provided"),
    "fee negative": Row(signed(to=BOB_RAW, fee=coin(b"upokt", b"-1")), "sdk", 14, "invalid fee -1upokt amount provided"),
    "bad denom": Row(signed(to=BOB_RAW, fee=coin(b"UPOKT", b"10000")), "sdk", 14, "invalid fee 10000UPOKT amount provided"),
    "fee twice": Row(signed(to=BOB_RAW, fee=GOOD_FEE * 2), "sdk", 14, "invalid fee 10000upokt,10000upokt amount"),
    "memo too long": Row(ALICE.send(BOB.address, 1, "m" * 76), "auth", 1, "maximum number of characters is 75 but received 76"),
    "memo too long in bytes": Row(ALICE.send(BOB.address, 1, "é" * 38), "auth", 1, "but received 76 characters"),
    "fee below minimum": Row(ALICE.send(BOB.address, 1, fee=FEE - 1), "auth", 4, "Expected: 10000upokt\\\\nActual: 9999upokt"),
    "no fee": Row(ALICE.send(BOB.address, 1, fee=0), "auth", 4, "the fee for the transaction was insufficient"),
    "too many keys": Row(VAULT8.send(BOB.address, 1), "auth", 5, "the limit for signatures (8) is reached"),
    "no account": Row(NOBODY.send(BOB.address, 1), "sdk", 9, f"account {NOBODY.address} does not exist"),
    "fee not covered": Row(POOR.send(BOB.address, 1), "auth", 6, "does not have enough coins for the tx. Need 10000upokt"),
    "other currency": Row(signed(to=BOB_RAW, fee=coin(b"uatom", b"1") + GOOD_FEE), "auth", 6, "Need 1uatom,10000upokt"),
    "no key, none stored": Row(signed(to=BOB_RAW, fee=GOOD_FEE, key=False, signature=b"x"), "auth", 2, "cannot be found"),
}


@pytest.mark.parametrize("row", [pytest.param(row, id=name) for name, row in ROWS.items()])
def test_checktx_refuses_with_the_chains_code(row: Row) -> None:
    chain = make_chain()
    refused = chain.submit(row.raw).rejection
    assert refused is not None
    assert (refused.codespace, refused.code) == (row.codespace, row.code)
    log = json.loads(refused.log)
    assert list(log) == ["codespace", "code", "message"]
    assert row.text.replace("\\\\n", "\\n") in log["message"]
    assert log["message"].startswith(f"ERROR:\nCodespace: {row.codespace}\nCode: {row.code}\nMessage: ")
    assert len(chain.mempool) == 0
    # It was evicted from the cache: the same bytes may come again, and meet the same answer.
    assert chain.submit(row.raw).rejection == refused


@pytest.mark.parametrize(
    "raw",
    [
        pytest.param(ALICE.send(BOB.address, 1, "m" * 75), id="longest memo"),
        pytest.param(ALICE.send(BOB.address, RICH * 2), id="amount above the balance"),
        pytest.param(VAULT.send(BOB.address, 1, fee=0), id="vault without a fee"),
        pytest.param(VAULT7.send(BOB.address, 1), id="seven keys"),
        pytest.param(signed(to=BOB_RAW, fee=GOOD_FEE), id="plain"),
        pytest.param(ALICE.send(BOB.address, 1, entropy=-1), id="negative entropy"),
    ],
)
def test_checktx_accepts(raw: bytes) -> None:
    chain = make_chain()
    assert chain.submit(raw).rejection is None
    assert chain.mempool.waiting() == (raw,)


ORDERED = [
    # Each transaction has this fault and a later one; the earlier in the order of checks must win.
    pytest.param(signed(b"0", to=BOB_RAW, fee=coin(b"upokt", b"0")), ("pos", 109), id="message before fee"),
    pytest.param(signed(to=BOB_RAW, fee=coin(b"upokt", b"0"), signature=b""), ("sdk", 14), id="fee before signature"),
    pytest.param(signed(to=BOB_RAW, signature=b""), ("sdk", 4), id="empty signature before minimum fee"),
    pytest.param(ALICE.send(BOB.address, 1, "m" * 76, fee=1), ("auth", 1), id="memo before minimum fee"),
    pytest.param(signed(to=BOB_RAW, fee=coin(b"upokt", b"1"), signature=b"x"), ("auth", 4), id="minimum fee before signature"),
    pytest.param(
        VAULT8.complete(Unsigned(VAULT8.address, BOB.address, 1), [b"x" * 64]), ("auth", 5), id="key count before signature"
    ),
    pytest.param(NOBODY.send(BOB.address, 1, fee=1), ("auth", 4), id="minimum fee before account"),
]


@pytest.mark.parametrize(("raw", "expected"), ORDERED)
def test_the_checks_have_an_order(raw: bytes, expected: tuple[str, int]) -> None:
    refused = make_chain().submit(raw).rejection
    assert refused is not None
    assert (refused.codespace, refused.code) == expected


def test_a_key_may_be_left_out_if_the_account_has_one() -> None:
    chain = make_chain(public_keys={ALICE.address: ALICE.public_key})
    assert chain.submit(signed(to=BOB_RAW, fee=GOOD_FEE, key=False)).rejection is None
    refused = Chain(Genesis()).submit(signed(to=BOB_RAW, fee=GOOD_FEE, key=False)).rejection
    assert refused is not None
    assert (refused.codespace, refused.code) == ("auth", 3)


def test_limits_are_parameters() -> None:
    chain = make_chain(max_memo=256, sig_limit=9, fee=5)
    assert chain.submit(ALICE.send(BOB.address, 1, "m" * 256, fee=5)).rejection is None
    assert chain.submit(VAULT8.send(BOB.address, 1)).rejection is None
    assert make_chain(sig_limit=7).submit(VAULT7.send(BOB.address, 1)).rejection is not None


# --- blocks ----------------------------------------------------------------------------------------------------------


def test_a_send_moves_coins_and_keeps_the_supply() -> None:
    chain = make_chain()
    supply = chain.ledger.supply
    raw = ALICE.send(BOB.address, 5)
    chain.submit(raw)
    block = chain.step()
    assert block.txs == (raw,)
    assert chain.balance(bytes.fromhex(ALICE.address)) == RICH - 5 - FEE
    assert chain.balance(bytes.fromhex(BOB.address)) == 5
    assert chain.balance(FEE_COLLECTOR) == FEE
    assert chain.ledger.supply == supply
    found = chain.index.get(sha256(raw).hexdigest().upper())
    assert found is not None
    assert (found.height, found.index, found.result.code) == (2, 0, 0)


def test_a_send_that_fails_in_its_block_costs_the_fee_and_is_indexed() -> None:
    chain = make_chain()
    raw = ALICE.send(BOB.address, RICH - FEE + 1)
    hash_ = chain.submit(raw).hash
    chain.step()
    found = chain.index.get(hash_)
    assert found is not None
    assert (found.result.codespace, found.result.code, found.result.log) == ("sdk", 10, "")
    assert chain.balance(bytes.fromhex(ALICE.address)) == RICH - FEE
    assert chain.balance(bytes.fromhex(BOB.address)) is None
    # Evicted from the cache, but indexed: the same bytes are a duplicate now.
    refused = chain.submit(raw).rejection
    assert refused is not None
    assert (refused.codespace, refused.code) == ("auth", 6)
    assert f"this is a duplicate transaction: {hash_.lower()}" in refused.message


def test_the_whole_balance_less_the_fee_can_be_sent() -> None:
    chain = make_chain()
    hash_ = chain.submit(ALICE.send(BOB.address, RICH - FEE)).hash
    chain.step()
    found = chain.index.get(hash_)
    assert found is not None
    assert found.result.code == 0
    assert chain.balance(bytes.fromhex(ALICE.address)) == 0


def test_pending_spends_are_not_added_up() -> None:
    chain = make_chain()
    first, second = (chain.submit(ALICE.send(BOB.address, RICH - 2 * FEE)) for _ in range(2))
    assert first.rejection is second.rejection is None
    chain.step()
    results = [found.result.code for answer in (first, second) if (found := chain.index.get(answer.hash))]
    assert results == [0, 10]


def test_a_fee_that_is_gone_in_the_block_leaves_no_trace() -> None:
    chain = make_chain()
    spend = chain.submit(ALICE.send(BOB.address, RICH - FEE))
    late = ALICE.send(BOB.address, 1)
    answer = chain.submit(late)
    assert spend.rejection is answer.rejection is None
    block = chain.step()
    assert late in block.txs
    assert chain.index.get(answer.hash) is None
    # The same bytes may still succeed later.
    chain.fund(bytes.fromhex(ALICE.address), 2 * FEE)
    assert chain.submit(late).rejection is None
    chain.step()
    assert chain.index.get(answer.hash) is not None


def test_seen_bytes_are_refused_until_they_fail() -> None:
    chain = make_chain()
    raw = ALICE.send(BOB.address, 1)
    chain.submit(raw)
    with pytest.raises(AlreadyInCacheError):
        chain.submit(raw)
    chain.step()
    with pytest.raises(AlreadyInCacheError):
        chain.submit(raw)
    assert chain.block(2).txs == (raw,)


def test_injected_bytes_skip_checktx_but_not_the_block() -> None:
    chain = make_chain()
    garbage, unsigned = chain.inject(b"garbage"), chain.inject(signed(to=BOB_RAW, fee=GOOD_FEE, signature=b"x" * 64))
    cheap = chain.inject(ALICE.send(BOB.address, 1, fee=1))
    good = chain.inject(ALICE.send(BOB.address, 1))
    assert len(chain.step().txs) == 4
    codes = [(found.result.codespace, found.result.code) for hash_ in (garbage, unsigned) if (found := chain.index.get(hash_))]
    assert codes == [("sdk", 2), ("sdk", 4)]
    assert chain.index.get(cheap) is None
    found = chain.index.get(good)
    assert found is not None
    assert (found.index, found.result.code) == (3, 0)


def test_blocks_chain_and_repeat() -> None:
    def run() -> Chain:
        chain = make_chain()
        chain.step()
        chain.submit(ALICE.send(BOB.address, 1, entropy=1))
        chain.step()
        return chain

    one, two = run(), run()
    assert [one.block(height).hash for height in (1, 2, 3)] == [two.block(height).hash for height in (1, 2, 3)]
    assert one.block(3).header["last_block_id"]["hash"] == one.block(2).hash
    assert one.block(1).header["last_block_id"]["hash"] == ""
    assert len({one.block(height).hash for height in (1, 2, 3)}) == 3
    assert one.block(3).header["total_txs"] == "1"
    two.fund(BOB_RAW, 1)
    two.submit(ALICE.send(BOB.address, 1, entropy=2))
    assert one.step().hash != two.step().hash


def test_a_clock_gives_the_times_and_never_runs_back() -> None:
    times = iter([datetime(2025, 6, 3, 12, tzinfo=UTC), datetime(2025, 6, 3, 11, tzinfo=UTC)])
    chain = Chain(clock=lambda: next(times))
    chain.step()
    assert chain.block(1).header["time"] == "2025-06-03T12:00:00Z"
    assert chain.block(2).time - chain.block(1).time == timedelta(milliseconds=1)
    assert chain.block(2).header["time"] == "2025-06-03T12:00:00.001Z"


def test_blocks_that_are_not_there() -> None:
    chain = Chain(Genesis(initial_height=100))
    assert chain.height == 100
    with pytest.raises(NotThereError, match="height 101 must be less than or equal to the current blockchain height 100"):
        chain.block(101)
    with pytest.raises(NotThereError, match="height 99 is not available, lowest height is 100"):
        chain.block(99)


def test_balances_are_remembered_by_height() -> None:
    chain = make_chain()
    alice = bytes.fromhex(ALICE.address)
    chain.submit(ALICE.send(BOB.address, 7))
    chain.step()
    chain.step()
    assert [chain.ledger.balance(alice, height) for height in (0, 1, 2, 3)] == [None, RICH, RICH - 7 - FEE, RICH - 7 - FEE]
    with pytest.raises(ValueError, match="cannot pay"):
        chain.fund(alice, -RICH)


# --- index -----------------------------------------------------------------------------------------------------------


def entropies(found: Found) -> list[int]:
    return [tx.tx.entropy for tx in found.txs if tx.tx]


def test_pages_of_the_index() -> None:
    chain = make_chain()
    for number in range(1, 7):
        chain.submit(ALICE.send(BOB.address, 1, entropy=number))
        if number % 2 == 0:
            chain.step()

    def ask(
        low: int = 0, high: int = 99, page: slice = slice(0, 99), *, newest_first: bool = False, received: bool = True
    ) -> Found:
        address = BOB_RAW if received else bytes.fromhex(ALICE.address)
        return chain.index.of_account(address, received=received, low=low, high=high, page=page, newest_first=newest_first)

    assert entropies(ask()) == [1, 2, 3, 4, 5, 6]
    assert entropies(ask(received=False)) == [1, 2, 3, 4, 5, 6]
    assert entropies(ask(newest_first=True)) == [6, 5, 4, 3, 2, 1]
    assert entropies(ask(low=3)) == [3, 4, 5, 6]
    assert entropies(ask(high=3)) == [1, 2, 3, 4]
    assert entropies(ask(page=slice(4, 8))) == [5, 6]
    assert entropies(ask(page=slice(4, 8), newest_first=True)) == [2, 1]
    assert entropies(ask(low=3, high=3, page=slice(1, 2), newest_first=True)) == [3]
    assert ask(page=slice(6, 12)) == Found([], 6)
    assert ask(low=9).total == 0
    assert ask(low=5, high=2).total == 0
    assert chain.index.of_account(BOB_RAW, received=False, low=0, high=9, page=slice(0, 9), newest_first=False).total == 0
    assert entropies(chain.index.of_block(3, page=slice(0, 9), newest_first=True)) == [4, 3]


# --- parts -----------------------------------------------------------------------------------------------------------


def test_merkle_proofs_lead_to_the_root() -> None:
    leaves = [leaf_of(bytes([number])) for number in range(7)]
    assert root_of([]) == b""
    assert root_of(leaves[:1]) == leaves[0] == sha256(b"\x00" + sha256(b"\x00").digest()).digest()
    for index in range(7):
        proof = prove(leaves, index)
        assert climb(proof.leaf_hash, proof.index, proof.total, list(proof.aunts)) == root_of(leaves) == proof.root
        assert climb(leaves[index - 1], proof.index, proof.total, list(proof.aunts)) != proof.root


def climb(leaf: bytes, index: int, total: int, aunts: list[bytes]) -> bytes:
    """Tendermint's own way to check a proof."""
    if total == 1:
        assert aunts == []
        return leaf
    split = 1
    while split * 2 < total:
        split *= 2
    aunt = aunts.pop()
    if index < split:
        return sha256(b"\x01" + climb(leaf, index, split, aunts) + aunt).digest()
    return sha256(b"\x01" + aunt + climb(leaf, index - split, total - split, aunts)).digest()


def test_the_cache_is_bounded() -> None:
    mempool = Mempool()
    for number in range(CACHE_SIZE + 1):
        mempool.remember(str(number))
    mempool.remember("0")
    with pytest.raises(AlreadyInCacheError):
        mempool.remember(str(CACHE_SIZE))


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"[]", "json: cannot unmarshal array into Go value of type rpc.PaginateAddrParams"),
        (b'"x"', "json: cannot unmarshal string into Go value of type rpc.PaginateAddrParams"),
        (b'{"page":"1"}', "json: cannot unmarshal string into Go struct field PaginateAddrParams.page of type int"),
        (b'{"page":1.5}', "json: cannot unmarshal number 1.5 into Go struct field PaginateAddrParams.page of type int"),
        (b'{"height":9223372036854775808}', "json: cannot unmarshal number 9223372036854775808 into"),
        (b'{"address":1}', "json: cannot unmarshal number into Go struct field PaginateAddrParams.address of type string"),
        (b'{"received":"true"}', "json: cannot unmarshal string into Go struct field PaginateAddrParams.received of type bool"),
        (b'{"address":{}}', "json: cannot unmarshal object into"),
        (b'{"address":[]}', "json: cannot unmarshal array into"),
        (b"{", "unexpected end of JSON input"),
        (b"{} x", "invalid character 'x' after top-level value"),
        (b'{"page":NaN}', "invalid character 'N' looking for beginning of value"),
        (b" " * (1 << 20) + b"{}", "unexpected end of JSON input"),
    ],
)
def test_bodies_that_go_refuses(body: bytes, message: str) -> None:
    with pytest.raises(ParameterError) as raised:
        parse(body, ACCOUNT_TXS)
    assert str(raised.value).startswith(message)


@pytest.mark.parametrize(
    "body", [b"", b"{}", b"null", b'{"height":null}', b'{"other":[1,{"height":5}]}', b'{"height":7,"height":0}']
)
def test_bodies_of_defaults(body: bytes) -> None:
    assert parse(body, HEIGHT).integer("height") == 0


def test_keys_of_bodies_match_in_any_case() -> None:
    assert parse(b'{"HEIGHT":-3}', HEIGHT).integer("height") == -3


# --- genesis and state file ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"chain_id":""}', "chain_id must not be empty"),
        ('{"balances":{"0xab":1}}', "is no address"),
        (json.dumps({"balances": {"a" * 40: -1}}), "greater than or equal to 0"),
        (json.dumps({"public_keys": {"a" * 40: "b"}}), "is no public key"),
        ('{"colour":"red"}', "colour"),
        ('{"time":"2025-01-01T00:00:00"}', "must name its time zone"),
        ("{", "JSON"),
    ],
)
def test_a_genesis_is_refused(tmp_path: Path, text: str, message: str) -> None:
    path = tmp_path / "genesis.json"
    path.write_text(text)
    with pytest.raises(GenesisError, match=message):
        Genesis.load(path)
    with pytest.raises(GenesisError, match="nowhere"):
        Genesis.load(tmp_path / "nowhere.json")


def test_a_genesis_survives_its_file(tmp_path: Path) -> None:
    genesis = Genesis("x", {ALICE.address: 5}, {ALICE.address: ALICE.public_key}, initial_height=7, max_memo=256)
    path = tmp_path / "genesis.json"
    path.write_text(json.dumps(genesis.dump()))
    assert Genesis.load(path) == genesis


def run_with_state(path: Path, act: Callable[[Chain], None]) -> tuple[list[str], dict[str, int], int]:
    chain = Chain(Genesis(balances={ALICE.address: RICH}), state=path)
    try:
        act(chain)
        hashes = [chain.block(height).hash for height in range(1, chain.height + 1)]
        return hashes, chain.ledger.balances(), len(chain.index)
    finally:
        chain.close()


def use(chain: Chain) -> None:
    chain.step()
    chain.fund(BOB_RAW, 3)
    chain.submit(ALICE.send(BOB.address, 1))
    chain.inject(ALICE.send(BOB.address, 2 * RICH))
    chain.inject(b"garbage")
    chain.step()
    chain.submit(ALICE.send(BOB.address, 1, entropy=random_entropy()))


def test_the_chain_survives_in_its_file(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "state.jsonl"
    before = run_with_state(path, use)
    after = run_with_state(path, lambda chain: None)
    assert after == before
    assert len(before[0]) == 3
    assert before[2] == 3
    # The mempool did not survive, as on a real node.
    raw = base64.b64decode(json.loads(path.read_text().splitlines()[-1])["txs"][0])
    assert decode(raw).msg.amount == 1


def test_a_torn_last_line_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "state.jsonl"
    before = run_with_state(path, use)
    with path.open("ab") as file:
        file.write(b'{"block": 4, "time": "20')
    assert run_with_state(path, lambda chain: None) == before
    grown = run_with_state(path, lambda chain: chain.step() and None)
    assert grown[0][:3] == before[0]
    assert len(run_with_state(path, lambda chain: None)[0]) == 4


def test_a_foreign_or_damaged_state_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.jsonl"
    run_with_state(path, use)
    with pytest.raises(StateFileError, match="holds the chain 'localnet', not 'other'"):
        Chain(Genesis("other"), state=path)
    path.write_text(path.read_text().replace('"block"', '"blok"'))
    with pytest.raises(StateFileError, match="line 2"):
        Chain(Genesis(), state=path)
