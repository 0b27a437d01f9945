"""The commands against real servers, as an operator gives them."""

import asyncio
import json
import queue
import re
import signal
import socket
import subprocess
import threading
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from bson import ObjectId
from cli_helpers import end_processes, heartbeat, network, process

from infra.localnet.pocket.wallet import Wallet
from reactor.cli.common import EXIT_DUPLICATE, EXIT_REFUSED
from reactor.cli.main import main
from reactor.cli.status import EXIT_TOO_FEW
from reactor.documents.build import burn_document, deposit_document
from reactor.documents.events import BlockRef, Burn, Deposit
from reactor.documents.heartbeats import milliseconds
from reactor.documents.statuses import Collection
from reactor.parts import bridge_of, open_store
from reactor.settings import load_settings
from reactor.state.journal import Journal
from reactor.state.runs import note_run
from reactor.store.audit import read_audit
from reactor.store.heartbeats import beat

pytestmark = pytest.mark.integration

RECIPIENT = "0x" + "ab" * 20
SENDER = "cd" * 20


@pytest.fixture(scope="module")
def net():
    with network() as running:
        yield running


class Desk:
    """An operator of validator 0, on a database of its own."""

    def __init__(self, net, folder: Path, capsys):
        self.net, self.capsys = net, capsys
        self.database = f"t{folder.name[-20:]}{ObjectId()}"[:38]
        self.config = net.config(folder, 0, mongo__database=self.database)
        self.settings = load_settings(self.config, {})
        self.bridge = bridge_of(self.settings)

    def do(self, *arguments, code=0):
        assert main([*arguments, "--config", str(self.config)]) == code
        said = self.capsys.readouterr()
        return said.out + said.err

    def json(self, *arguments, code=0):
        assert main([*arguments, "--json", "--config", str(self.config)]) == code
        return json.loads(self.capsys.readouterr().out)

    def ready(self):
        self.do("init-db")
        self.do("journal", "new", "--allow-older")

    def store(self, work):
        """Do something with the shared database."""

        async def run():
            async with await open_store(self.settings) as store:
                return await work(store)

        return asyncio.run(run())

    def insert(self, role, *documents):
        self.store(lambda store: store.collection(role).insert_many([dict(one) for one in documents]))

    def update(self, role, document_id, change):
        self.store(lambda store: store.collection(role).update_one({"_id": document_id}, change))


@pytest.fixture
def desk(net, tmp_path, capsys):
    yield Desk(net, tmp_path, capsys)
    end_processes()


def mint(desk, number=1):
    block = BlockRef(10 + number, "ee" * 32, 1_700_000_000)
    deposit = Deposit(
        f"{number:064x}", 0, block, SENDER, 5_000_000, 0, True, "memo", RECIPIENT, str(desk.bridge.ethereum_chain_id)
    )
    return deposit_document(desk.bridge, deposit, datetime.now(UTC))[1]


def burn(desk, number=1, index=0):
    block = BlockRef(100, "0x" + "ff" * 32, 1_700_000_000)
    event = Burn("0x" + f"{number:064x}", index, index, block, RECIPIENT, SENDER, 7_000_000)
    return burn_document(desk.bridge, event, datetime.now(UTC))


# ---------------------------------------------------------------------- init-db, journal new, check


def test_init_db_makes_all_and_may_be_run_again(desk):
    first = desk.json("init-db")
    assert first["ok"]
    assert first["made"]
    second = desk.json("init-db")
    assert second["made"] == []
    assert "done: 0 made" in desk.do("init-db")


def test_init_db_lists_conflicts_and_changes_nothing(desk):
    desk.insert(Collection.MINT, {"transaction_hash": "a"}, {"transaction_hash": "a"})
    said = desk.do("init-db", code=1)
    assert "nothing was changed" in said
    assert "have the same transaction_hash" in said
    assert "remedy: " in said
    assert json.loads(desk.do("init-db", "--json", code=1))["conflicts"]
    names = desk.store(lambda store: store.database.list_collection_names())
    assert names == ["mint"]


def test_journal_new_notes_the_heads(desk):
    said = desk.json("journal", "new")
    journal = Journal.open(desk.settings.state.directory, desk.bridge)
    try:
        assert journal.heights == said["heights"]
        assert journal.heights["ethereum"] >= desk.net.deployed.start_block
        assert journal.export()["meta"]["allow_older"] == "0"
    finally:
        journal.close()
    assert "already" in desk.do("journal", "new", code=1)


def test_journal_new_with_older_says_what_it_means(desk):
    said = desk.do("journal", "new", "--allow-older")
    assert "signed a second time" in said
    assert desk.json("journal", "show")["meta"]["allow_older"] == "1"


def test_check_says_what_to_do_and_then_that_all_is_well(desk):
    said = desk.do("check", code=1)
    assert "reactor init-db" in said
    assert "reactor journal new" in said
    desk.ready()
    assert "0 failed" in desk.do("check")
    assert desk.json("check")["ok"] is True


# ---------------------------------------------------------------------- run


def ended(running: subprocess.Popen[str]) -> tuple[int, str]:
    out, err = running.communicate(timeout=120)
    return running.returncode, out + err


@pytest.mark.parametrize("observe", [[], ["--observe"]], ids=["signing", "observing"])
def test_run_refuses_without_indexes_and_journal_with_the_remedies(desk, observe):
    code, said = ended(process("run", *observe, "-c", desk.config))
    assert code == EXIT_REFUSED
    assert "not started: " in said
    assert "reactor init-db" in said
    assert "reactor journal new" in said
    assert "Traceback" not in said


def test_run_refuses_a_faulty_configuration_with_2(desk):
    code, said = ended(process("run", "-c", desk.config, REACTOR_ETHEREUM__START_BLOCK="0"))
    assert code == 2
    assert "ethereum.start_block" in said


class Lines:
    """The lines of a process as they come."""

    def __init__(self, running: subprocess.Popen[str], stream: str):
        self.running, self._lines = running, queue.Queue[str]()
        self._thread = threading.Thread(target=self._read, args=(getattr(running, stream),), daemon=True)
        self._thread.start()

    def _read(self, stream):
        for line in stream:
            self._lines.put(line.rstrip("\n"))

    def until(self, text, seconds=120.0) -> list[str]:
        """All lines up to the first that holds `text`."""
        seen = []
        while not seen or text not in seen[-1]:
            seen.append(self._lines.get(timeout=seconds))
        return seen

    def end(self) -> int:
        self.running.send_signal(signal.SIGTERM)
        code = self.running.wait(60)
        self._thread.join(60)
        self.running.stdout.close()
        self.running.stderr.close()
        return code


def test_run_signs_what_a_user_deposits_until_sigterm(desk):
    """One real validator: the whole way from the configuration to a signature in the database."""
    desk.ready()
    user = Wallet.from_seed("cli user")
    desk.net.pocket.chain.fund(bytes.fromhex(user.address), 10**9)
    log = Lines(process("run", "-c", desk.config), "stderr")
    try:
        log.until("validator 0x")
        assert f"process {log.running.pid} already runs" in desk.do("check")
        code, said = ended(process("run", "--observe", "-c", desk.config))
        assert (code, f"process {log.running.pid} already runs" in said) == (EXIT_DUPLICATE, True)
        memo = json.dumps({"address": RECIPIENT, "chain_id": str(desk.bridge.ethereum_chain_id)}, separators=(",", ":"))
        tx = desk.net.loop.run(user.pay(desk.net.pocket.url, desk.net.vault, 5_000_000, memo))
        log.until(f"{tx}: signed")
        explained = desk.json("explain", tx)["requests"][0]
    finally:
        code = log.end()
    assert code == 0
    assert explained["status"] == "confirmed"
    assert [one["verifies"] for one in explained["signatures"]["entries"]] == [True]
    assert explained["ledger"]["final"] is True
    assert explained["here"]["signed"][0]["outcome"] == "mint"
    assert {one["signer"] for one in explained["missing"]} == {one.ethereum_address for one in desk.net.validators[1:]}


def test_an_observer_runs_without_keys_and_writes_nothing(desk, tmp_path):
    desk.ready()
    desk.config = desk.net.config(tmp_path, 0, mongo__database=desk.database, ethereum__key=None, pocket__key=None)
    log = Lines(process("run", "--observe", "-c", desk.config), "stderr")
    try:
        assert "observing" in log.until("validator ")[-1]
        log.until("reading all open documents")
    finally:
        code = log.end()
    assert code == 0
    assert desk.store(lambda store: store.collection(Collection.HEARTBEAT).count_documents({})) == 0


# ---------------------------------------------------------------------- status


def test_status_of_an_empty_bridge(desk):
    desk.ready()
    said = desk.json("status", code=EXIT_TOO_FEW)
    assert said["documents"]["mint"] == {"open": dict.fromkeys(("pending", "confirmed", "signed", "submitted"), 0), "total": 0}
    assert [one["state"] for one in said["validators"]] == ["never"] * 3
    assert "0 of 3 can sign mints (all needed), 0 of 3 can sign payouts (3 needed)" in desk.do("status", code=EXIT_TOO_FEW)


def test_status_counts_documents_and_names_who_can_sign(desk):
    desk.ready()
    desk.insert(Collection.MINT, mint(desk, 1), {**mint(desk, 2), "status": "success"})
    desk.insert(Collection.BURN, {**burn(desk), "status": "signed"})
    here = heartbeat(desk.settings, desk.net.validators[1], holds=["signing: operator \x1b[2J"], problems=["a problem"])
    forged = {**heartbeat(desk.settings, desk.net.validators[2]), "counter": 99}
    foreign = heartbeat(desk.settings, desk.net.validators[0], identity="ff" * 32)
    for one in (here, forged, foreign):
        desk.store(lambda store, one=one: beat(store, one))
    said = desk.json("status", code=EXIT_TOO_FEW)
    assert said["documents"]["mint"]["open"]["pending"] == 1
    assert said["documents"]["mint"]["total"] == 2
    assert said["documents"]["burn"]["open"]["signed"] == 1
    assert said["oldest"]["signed"][0]["collection"] == "burn"
    assert [one["state"] for one in said["validators"]] == ["up", "up", "never"]
    assert said["forged_heartbeats"] == 1
    assert [one["can_sign"] for one in said["validators"]] == [["mint", "payout"], ["mint", "payout"], []]
    shown = desk.do("status", code=EXIT_TOO_FEW)
    assert "1 of 3 can sign mints (all needed), 1 of 3 can sign payouts (3 needed)" in shown
    assert "another bridge identity" in shown
    assert "a problem" in shown
    assert "\x1b[2J" not in shown
    assert f"{1:064x}" in shown


def well(desk, number, **fields):
    """The heartbeat of one that runs and can sign; `fields` differ."""
    said = {"phase": "running", "interval_ms": 600_000, "signs": ["mint", "payout"], "threshold": 2, **fields}
    return heartbeat(desk.settings, desk.net.validators[number], **said)


def test_status_says_by_its_code_whether_enough_can_sign(desk):
    desk.ready()
    beats = [well(desk, number) for number in range(3)]
    for one in beats:
        desk.store(lambda store, one=one: beat(store, one))
    assert "3 of 3 can sign mints (2 needed), 3 of 3 can sign payouts (3 needed)" in desk.do("status")
    # A payout needs all, a mint two of three: one that is alive and whose Ethereum node is dead is one that cannot sign.
    ill = {"healthy": False, "signs": [], "cannot": ["scan"], "problems": ["Ethereum: not read to its head for 99 s"]}
    desk.store(lambda store: beat(store, well(desk, 2, counter=2, **ill)))
    said = desk.json("status", code=EXIT_TOO_FEW)
    assert said["can_sign"] == {
        "mint": {"able": 2, "needed": 2, "of": 3, "enough": True},
        "payout": {"able": 2, "needed": 3, "of": 3, "enough": False},
    }
    assert [(one["state"], one["healthy"], one["can_sign"]) for one in said["validators"]][2] == ("up", False, [])
    shown = desk.do("status", code=EXIT_TOO_FEW)
    assert "Ethereum: not read to its head" in shown
    # And one that stopped, by its own word.
    last = {"healthy": False, "signs": [], "phase": "stopped", "pocket_height": "0"}
    desk.store(lambda store: beat(store, well(desk, 1, counter=2, **last)))
    said = desk.json("status", code=EXIT_TOO_FEW)
    assert [one["state"] for one in said["validators"]] == ["up", "stopped", "up"]
    shown = desk.do("status", code=EXIT_TOO_FEW)
    assert "1 of 3 can sign mints (2 needed)" in shown
    assert "of 0" not in shown, "a head that nobody has seen is no height"


def test_health_is_that_of_the_process_whose_state_lies_here(desk):
    desk.ready()
    assert "no validator has ever run" in desk.do("health", code=1)
    note_run(desk.settings.state.directory, "mine")
    # A healthy neighbour under the same host name: the compose file gives every operator the same.
    desk.store(lambda store: beat(store, well(desk, 1, instance="another")))
    assert "no heartbeat of it was ever heard" in desk.do("health", code=1)
    desk.store(lambda store: beat(store, well(desk, 0, instance="mine")))
    assert "up and healthy" in desk.do("health")
    old = {"interval_ms": 30_000, "updated_at": milliseconds(datetime.now(UTC) - timedelta(seconds=90))}
    for fields, word in (
        ({"healthy": False, "signs": [], "problems": ["signs no mints and no payouts: operator"]}, "signs no mints"),
        ({"healthy": False, "signs": [], "phase": "starting", "problems": ["read up to block 1 of 2"]}, "starting"),
        ({"healthy": False, "signs": [], "phase": "stopped"}, "stopped"),
        (old, "late"),
    ):
        desk.store(lambda store, fields=fields: beat(store, well(desk, 0, **{"instance": "mine", "counter": 2, **fields})))
        said = desk.do("health", code=1)
        assert word in said
        assert "not healthy" in said


def test_nobody_else_can_make_this_validator_look_healthy(desk):
    """SECURITY: whoever writes to the database, and another validator with its own key, may claim to be this process."""
    desk.ready()
    note_run(desk.settings.state.directory, "mine")
    ill = {"instance": "mine", "healthy": False, "signs": [], "problems": ["disk full"]}
    desk.store(lambda store: beat(store, well(desk, 0, **ill)))
    forged = {**well(desk, 0, **ill), "healthy": True, "hostname": "elsewhere", "counter": 99}
    desk.store(lambda store: beat(store, forged))
    assert "disk full" in desk.do("health", code=1)
    desk.store(lambda store: beat(store, well(desk, 1, instance="mine", counter=100)))
    assert "claim to be the process of this state directory" in desk.do("health", code=1)


# ---------------------------------------------------------------------- explain


@pytest.mark.parametrize("spell", [str, str.upper, lambda tx: f"0x{tx}", lambda tx: f"pocket:localnet:vault:{tx}"])
def test_explain_finds_a_document_by_every_form_of_its_hash(desk, spell):
    desk.ready()
    document = mint(desk)
    desk.insert(Collection.MINT, document)
    assert desk.json("explain", spell(document["transaction_hash"]))["requests"][0]["id"] == str(document["_id"])
    assert desk.json("explain", str(document["_id"]))["requests"][0]["status"] == "pending"


def test_explain_finds_a_payout_by_its_return(desk):
    desk.ready()
    desk.insert(Collection.BURN, {**burn(desk), "return_tx_hash": "5" * 64})
    assert desk.json("explain", "0x" + "5" * 64)["requests"][0]["collection"] == "burn"


def test_explain_says_who_is_missing_and_what_they_wait_for(desk):
    desk.ready()
    document = burn(desk)
    waiting = {"reason": "signatures", "params": {"have": "0", "need": "3"}, "by": "0xaa", "at": datetime.now(UTC)}
    desk.insert(Collection.BURN, {**document, "status": "confirmed", "waiting": waiting})
    key = f"{desk.bridge.ethereum_scope}:{document['transaction_hash']}:0"
    lists = {"collection": "burn", "key": key, "status": "confirmed", "reason": "vault_short", "params": {"short": "17"}}
    row = {**lists, "since": datetime(2026, 1, 2, tzinfo=UTC)}
    desk.store(lambda store: beat(store, heartbeat(desk.settings, desk.net.validators[1], open=[row])))
    said = desk.do("explain", document["transaction_hash"])
    assert "more validators must sign (have 0, need 3)" in said
    assert "vault's balance does not cover it" in said
    assert "short 17" in said
    assert said.count("MISSING") == 3
    found = desk.json("explain", document["transaction_hash"])["requests"][0]
    assert [one["state"] for one in found["missing"]] == ["never", "up", "never"]


def test_explain_of_what_nobody_knows(desk):
    desk.ready()
    assert "nothing is known" in desk.do("explain", "9" * 64, code=1)
    assert "is no transaction hash" in desk.do("explain", "hello", code=2)


def test_explain_reads_a_broken_document(desk):
    """Whatever somebody wrote into it: wrong types, terminal controls, lists that do not fit."""
    desk.do("init-db")
    document = mint(desk)
    broken = {
        **document,
        "amount": 7,
        "nonce": "x",
        "status": "\x1b[31mowned",
        "signers": ["0xaa", 7],
        "signatures": "none",
        "history": [{"status": 1}, "x"],
        "waiting": {"reason": "\x1b]0;x\x07", "params": []},
        "objections": [{"signer": "0x1", "code": "not_on_chain", "signature": "zz"}],
        "height": None,
    }

    async def force(store):
        await store.collection(Collection.MINT).insert_one(broken, bypass_document_validation=True)

    desk.store(force)
    shown = desk.do("explain", document["transaction_hash"])
    assert "malformed" in shown
    assert "does not verify" in shown
    assert "\x1b" not in shown
    assert set(desk.json("explain", document["transaction_hash"])["requests"][0]["malformed"]) >= {"amount", "signers", "history"}


def test_explain_works_without_a_state_directory_and_without_nodes(desk, tmp_path):
    desk.do("init-db")
    document = mint(desk)
    desk.insert(Collection.MINT, document)
    folder = tmp_path / "laptop"
    folder.mkdir()
    desk.config = desk.net.config(folder, 0, mongo__database=desk.database, ethereum__rpc_urls=["http://127.0.0.1:1"])
    said = desk.do("explain", document["transaction_hash"])
    assert "none on this machine" in said
    assert "Ethereum does not answer" in said
    assert not (folder / "state").exists()


# ---------------------------------------------------------------------- the verbs that change something


def audits(desk):
    return [one | {"_id": 0} for one in reversed(desk.store(read_audit))]


def test_what_is_applied_lies_in_the_audit_collection_with_who_and_why(desk, monkeypatch):
    monkeypatch.setenv("LOGNAME", "alice")
    desk.ready()
    desk.do("pause", "mint")
    assert audits(desk) == []
    assert "audit entry" not in desk.do("pause", "mint", "--apply", "--why", "odd \x1b[2J prices")
    desk.do("release", "1", "--apply", "--why", "calm again")
    first, second = audits(desk)
    assert (first["by"], first["verb"], first["arguments"], first["why"]) == ("alice", "pause", ["mint"], "odd \x1b[2J prices")
    assert (first["evaluated"], first["matched"], first["host"]) == (0, 0, socket.gethostname())
    assert first["vault_address"] == desk.bridge.vault
    assert (second["verb"], second["arguments"]) == ("release", ["1", "hold 1 on direction:mint"])
    assert second["at"] >= first["at"]


def test_tail_shows_what_operators_do(desk):
    desk.ready()
    followed = process("tail", "-c", desk.config, "--limit", "1")
    ready, lines = Lines(followed, "stderr"), Lines(followed, "stdout")
    ready.until("following mint, invalid_mint")
    desk.do("hold", "signing", "--apply", "--why", "a look \x1b[2J at it")
    (line,) = lines.until("audit")
    assert ": hold, a look" in line
    assert "\x1b" not in line
    assert followed.wait(60) == 0
    assert lines.end() == 0


def test_a_stop_is_in_force_on_an_old_database_without_the_collection(desk, tmp_path):
    """Not initialised, or renamed by somebody: the entry makes the collection, or says why not; the stop stands."""
    desk.do("journal", "new")
    said = desk.json("pause", "payout", "--apply", "--why", "x")
    assert said["audited"] is True
    desk.config = desk.net.config(tmp_path, 0, mongo__database=desk.database, mongo__uri="mongodb://127.0.0.1:1/?replicaSet=rs0")
    said = desk.json("hold", "signing", "--apply", "--why", "x")
    assert said["audited"] is False
    assert [one["scope"] for one in said["active"]] == ["direction:payout", "signing"]
    # Once the database is back the next verb tells what was done meanwhile.
    desk.config = desk.net.config(tmp_path, 0, mongo__database=desk.database)
    desk.do("release", "signing", "--apply", "--why", "y")
    assert [(one["verb"], one["why"]) for one in audits(desk)] == [("pause", "x"), ("hold", "x"), ("release", "y")]


# ---------------------------------------------------------------------- tail


def test_tail_tells_each_change_in_one_line(desk):
    desk.ready()
    document = mint(desk)
    followed = process("tail", "-c", desk.config, "--limit", "4")
    ready, lines = Lines(followed, "stderr"), Lines(followed, "stdout")
    ready.until("following mint, invalid_mint")
    desk.insert(Collection.MINT, document)
    first = lines.until("mint ")
    entry = {"at": datetime.now(UTC), "by": "0x" + "77" * 20, "reason": "the deposit is final"}
    moved = {"$set": {"status": "confirmed"}, "$push": {"history": {"status": "confirmed", **entry}}}
    desk.update(Collection.MINT, document["_id"], moved)
    second = lines.until("confirmed")
    desk.update(Collection.MINT, document["_id"], {"$push": {"signers": "0x" + "88" * 20, "signatures": "0x00"}})
    third = lines.until("signed by")
    desk.store(lambda store: store.collection(Collection.MINT).delete_one({"_id": document["_id"]}))
    lines.until("removed")
    assert followed.wait(60) == 0
    # Standard output is no terminal here: nothing is shortened.
    assert f"new, 5 POKT from {'cd' * 20} to 0x{'ab' * 20}" in first[-1]
    assert document["transaction_hash"] in first[-1]
    # A node that answers late leaves the threshold out (test_an_unknown_threshold_is_left_out), and the change is told.
    assert re.search(r"pending → confirmed  0(/2)? signatures  by 0x(77){20}  \(the deposit is final\)", second[-1])
    assert re.search(r"1(/2)? signatures?  signed by 0x(88){20}", third[-1])
    assert lines.end() == 0


def test_tail_filters_and_speaks_json(desk):
    desk.ready()
    wanted, other = mint(desk, 1), mint(desk, 2)
    tx = wanted["transaction_hash"]
    followed = process(
        "tail", "-c", desk.config, "--json", "--collection", "mint", "--hash", f"0x{tx.upper()}", "--status", "pending"
    )
    ready, lines = Lines(followed, "stderr"), Lines(followed, "stdout")
    ready.until("following mint")
    desk.insert(Collection.MINT, other)
    desk.insert(Collection.BURN, burn(desk))
    desk.insert(Collection.MINT, wanted)
    (line,) = lines.until("{")
    said = json.loads(line)
    assert (said["transaction_hash"], said["change"], said["status"]) == (tx, "new", "pending")
    assert lines.end() == 0


def test_tail_survives_a_document_that_is_too_large(desk):
    desk.ready()
    followed = process("tail", "-c", desk.config)
    ready, lines = Lines(followed, "stderr"), Lines(followed, "stdout")
    ready.until("following")
    huge = {**mint(desk, 1), "typed_data": "x" * 400_000}
    desk.insert(Collection.MINT, huge)
    assert "unreadable" in lines.until("mint")[-1]
    desk.insert(Collection.MINT, mint(desk, 2))
    assert "new, 5 POKT" in lines.until("mint")[-1]
    followed.send_signal(signal.SIGINT)
    assert followed.wait(60) == 0
    assert lines.end() == 0


def test_tail_of_an_unknown_collection_is_wrong_usage(desk):
    assert "give one of" in desk.do("tail", "--collection", "mints", code=2)
